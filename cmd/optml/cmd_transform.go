package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/optml/optml/job"
)

func (a *app) cmdTransform() *cobra.Command {
	var f jobFlags
	var m modelFlags
	var failed string
	var tune bool
	c := &cobra.Command{
		Use:   "transform JOB.json",
		Short: "Run a batch transform from a CreateTransformJob request",
		Long: `Run a batch transform from a CreateTransformJob request ("-" reads stdin).
The model is that of a CreateModel request (--model-doc), or a model.tar.gz with
an inference image (--model, --image). A model package that the model names is
that of a CreateModelPackage request (--model-package); its algorithm is that of
the last validation here which it has passed, or of --algorithm.

--from takes what "aws sagemaker describe-transform-job" prints of a job, or
"optml describe JOB --output json", and runs that job again here; the model's
files may be replies of describe-model and its like too. What only a reply has
(ARNs, statuses, times) is left out, and said.

What failed is on record: each failed object in failures.jsonl of the job's
directory, and the first failing batches with their responses in failing/.
--rerun-failed JOB is a new job with the documents, the model and the flags of
JOB, for exactly the objects that failed there.

--tune tries MaxConcurrentTransforms, MaxPayloadInMB and, where the document leaves
it open, BatchStrategy on a sample of the input, each with a container of its own.`,
		Example: `  optml transform job.json --model-doc model.json
  optml transform job.json --model out/model.tar.gz --image registry/name:tag
  optml transform --rerun-failed my-job
  optml transform job.json --model-doc model.json --tune
  optml transform --from describe-transform-job.json --model-doc describe-model.json`,
		Args: func(c *cobra.Command, args []string) error {
			if failed != "" {
				return nargs(0, 0, "")(c, args)
			}
			return f.nargs(c, args)
		},
		RunE: func(c *cobra.Command, args []string) error {
			if failed != "" {
				hint := "a rerun has the documents, the model and the flags of the job in which the objects failed"
				if err := exclude(c, "rerun-failed", hint, func(name string) bool { return !slices.Contains(rerunFlags, name) }); err != nil {
					return err
				}
				return a.rerunFailed(&f, failed)
			}
			if err := m.check(); err != nil {
				return err
			}
			path := f.document(args)
			docs, err := a.decodeAll(&f, path, []string{job.CreateTransformJob}, second{m.document, job.CreateModel},
				second{m.pkg, job.CreateModelPackage}, second{m.algorithm, job.CreateAlgorithm})
			if err != nil {
				return err
			}
			if docs, err = a.withAlgorithm(docs, f.quiet); err != nil {
				return err
			}
			if tune {
				hint := "a tuning is no job: what its trials make is removed"
				if err := exclude(c, "tune", hint, func(name string) bool { return slices.Contains(notTuned, name) }); err != nil {
					return err
				}
				return a.tune(&f, path, docs, m.set)
			}
			return a.runAll(&f, path, docs, m.set)
		},
	}
	f.add(c, false)
	f.replay(c, "describe-transform-job")
	f.requests(c)
	f.instances(c)
	m.add(c)
	c.Flags().BoolVar(&tune, "tune", false, "try settings on a sample of the input and print the best; no job is run")
	c.Flags().StringVar(&failed, "rerun-failed", "", "process again what failed in this `job`, a transform")
	return c
}

// rerunFlags may be given with --rerun-failed: they say how a job is run, not what it is.
var rerunFlags = []string{"rerun-failed", "name", "replace", "pull", "detach", "progress", "logs", "quiet", "record-requests", "metrics-listen"}

// notTuned may not be given with --tune: they are about a job and its record.
var notTuned = []string{"name", "replace", "detach", "progress", "logs", "record-requests", "metrics-listen"}

// exclude refuses flags that are not for what another flag asks for.
func exclude(c *cobra.Command, flag, hint string, not func(name string) bool) error {
	var err error
	c.LocalFlags().VisitAll(func(x *pflag.Flag) {
		if err == nil && x.Changed && not(x.Name) {
			err = &usageError{Err: fmt.Errorf("--%s and --%s exclude each other", x.Name, flag), Hint: hint}
		}
	})
	return err
}

// modelFlags say which model a transform drives.
type modelFlags struct {
	document  string
	model     string
	image     string
	pkg       string
	algorithm string
}

func (m *modelFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&m.document, "model-doc", "", "`file` with the CreateModel request that ModelName names, or describe-model's reply")
	m.addPackage(c)
	c.Flags().StringVar(&m.model, "model", "", "model.tar.gz, a path or an object's `URI`, instead of the ModelDataUrl")
	c.Flags().StringVar(&m.image, "image", "", "inference `image`, when there is no --model-doc")
}

func (m *modelFlags) addPackage(c *cobra.Command) {
	c.Flags().StringVar(&m.pkg, "model-package", "", "`file` with the CreateModelPackage request that the model's ModelPackageName names")
	c.Flags().StringVar(&m.algorithm, "algorithm", "", "`file` with the CreateAlgorithm request that the package's AlgorithmName names")
}

func (m *modelFlags) check() error {
	switch {
	case m.document == "" && m.image == "":
		hint := "a CreateModel request with --model-doc, or an image with --image and its artifacts with --model"
		return &usageError{Err: fmt.Errorf("which model? A transform job names one, and optml has no store of models"), Hint: hint}
	case m.document != "" && m.image != "":
		return usage("--model-doc and --image exclude each other")
	}
	return nil
}

func (m *modelFlags) set(o *job.Options) {
	o.ModelImage, o.ModelURI = m.image, m.model
	// A path on the command line is relative to where the user is, not to the document.
	if m.model != "" && !strings.Contains(m.model, "://") {
		if abs, err := filepath.Abs(m.model); err == nil {
			o.ModelURI = abs
		}
	}
}
