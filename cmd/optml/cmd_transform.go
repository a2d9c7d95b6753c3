package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/optml/optml/job"
)

func (a *app) cmdTransform() *cobra.Command {
	var f jobFlags
	var m modelFlags
	c := &cobra.Command{
		Use:   "transform JOB.json",
		Short: "Run a batch transform from a CreateTransformJob request",
		Long: `Run a batch transform from a CreateTransformJob request ("-" reads stdin).
The model is that of a CreateModel request (--model-doc), or a model.tar.gz with
an inference image (--model, --image). A model package that the model names is
that of a CreateModelPackage request (--model-package); its algorithm is that of
the last validation here which it has passed, or of --algorithm.`,
		Example: `  optml transform job.json --model-doc model.json
  optml transform job.json --model out/model.tar.gz --image registry/name:tag`,
		Args: nargs(1, 1, "the document"),
		RunE: func(_ *cobra.Command, args []string) error {
			if err := m.check(); err != nil {
				return err
			}
			docs, err := a.decodeAll(args[0], job.CreateTransformJob, second{m.document, job.CreateModel},
				second{m.pkg, job.CreateModelPackage}, second{m.algorithm, job.CreateAlgorithm})
			if err != nil {
				return err
			}
			if docs, err = a.withAlgorithm(docs, f.quiet); err != nil {
				return err
			}
			return a.runAll(&f, args[0], docs, m.set)
		},
	}
	f.add(c, false)
	m.add(c)
	return c
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
	c.Flags().StringVar(&m.document, "model-doc", "", "`file` with the CreateModel request that ModelName names")
	c.Flags().StringVar(&m.pkg, "model-package", "", "`file` with the CreateModelPackage request that the model's ModelPackageName names")
	c.Flags().StringVar(&m.algorithm, "algorithm", "", "`file` with the CreateAlgorithm request that the package's AlgorithmName names")
	c.Flags().StringVar(&m.model, "model", "", "model.tar.gz, a path or an object's `URI`, instead of the ModelDataUrl")
	c.Flags().StringVar(&m.image, "image", "", "inference `image`, when there is no --model-doc")
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
