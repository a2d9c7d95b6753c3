package main

import (
	"slices"

	"github.com/spf13/cobra"

	"github.com/optml/optml/job"
)

func (a *app) cmdTrain() *cobra.Command {
	var f jobFlags
	var algorithm, resume string
	c := &cobra.Command{
		Use:   "train JOB.json",
		Short: "Run a training job from a CreateTrainingJob request",
		Long: `Run a training job from a CreateTrainingJob request, as
"aws sagemaker create-training-job --cli-input-json" takes it ("-" reads stdin).

An algorithm that the request names is that of its last validation here which it
has passed, or of a CreateAlgorithm request (--algorithm).

--from takes what "aws sagemaker describe-training-job" prints of a job, or
"optml describe JOB --output json", and runs that job again here. What only a
reply has (ARNs, statuses, times) is left out, and said.

Ctrl-C stops the job with its grace period, a second one kills the container,
a third leaves at once. The model artifacts of a stopped job are uploaded.

--spot-interrupt-after stops the job as a spot instance that is taken away would,
and reports whether the signal reached the script and what it had saved.

--resume JOB begins a job again that was interrupted, stopped or failed: the next
attempt under its name, with its documents and flags, an empty /opt/ml/model, and
the checkpoints of its CheckpointConfig restored.`,
		Example: `  optml train job.json
  optml train job.json --s3-dir ./data --name try-2 --replace
  optml train job.json --spot-interrupt-after 30s --grace 20s
  NAME=$(optml train job.json --detach); optml logs -f $NAME
  optml train --resume my-job
  aws sagemaker describe-training-job --training-job-name J | optml train --from -`,
		Args: func(c *cobra.Command, args []string) error {
			if resume != "" {
				return nargs(0, 0, "")(c, args)
			}
			return f.nargs(c, args)
		},
		RunE: func(c *cobra.Command, args []string) error {
			if resume != "" {
				hint := "a job is resumed with its own documents and flags"
				if err := exclude(c, "resume", hint, func(name string) bool { return !slices.Contains(resumeFlags, name) }); err != nil {
					return err
				}
				return a.resume(&f, resume)
			}
			if c.Flags().Changed("spot-interrupt-after") && f.interruptAfter == 0 {
				return usage("--spot-interrupt-after: the process must have run for some time, such as 30s")
			}
			path := f.document(args)
			docs, err := a.decodeAll(&f, path, []string{job.CreateTrainingJob}, second{algorithm, job.CreateAlgorithm})
			if err != nil {
				return err
			}
			if docs, err = a.withAlgorithm(docs, f.quiet); err != nil {
				return err
			}
			return a.runAll(&f, path, docs, nil)
		},
	}
	f.add(c, true)
	f.replay(c, "describe-training-job")
	f.place(c)
	f.rehearse(c)
	f.data(c)
	c.Flags().StringVar(&resume, "resume", "", "begin this `job` again, which did not complete, with its checkpoints")
	c.Flags().Var(&f.checkpoints, "checkpoint-interval", "`time` from one sync of the checkpoints to the next (default 30s)")
	c.Flags().StringVar(&algorithm, "algorithm", "", "`file` with the CreateAlgorithm request that AlgorithmName names (default: that of its last validation)")
	return c
}

// second is a document that goes with the main one; an empty path is none.
type second struct{ path, operation string }

// decodeAll reads the main document and those that it refers to, which may be replies too.
func (a *app) decodeAll(f *jobFlags, path string, operations []string, more ...second) ([]given, error) {
	return a.decodeAs(f.form(), f.quiet, path, operations, more...)
}

// decodeAs is decodeAll with the main document in a form of its own.
func (a *app) decodeAs(main form, quiet bool, path string, operations []string, more ...second) ([]given, error) {
	d, err := a.decode(path, main, quiet, operations...)
	if err != nil {
		return nil, err
	}
	docs, stdin := []given{d}, path == "-"
	for _, m := range more {
		if m.path == "" {
			continue
		}
		if m.path == "-" && stdin {
			return nil, usage("only one document can be read from stdin")
		}
		stdin = stdin || m.path == "-"
		d, err := a.decode(m.path, either, quiet, m.operation)
		if err != nil {
			return nil, err
		}
		docs = append(docs, d)
	}
	return docs, nil
}
