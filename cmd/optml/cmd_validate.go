package main

import (
	"github.com/spf13/cobra"

	"github.com/optml/optml/job"
)

func (a *app) cmdValidate() *cobra.Command {
	var f jobFlags
	c := &cobra.Command{
		Use:   "validate ALGORITHM.json",
		Short: "Validate an algorithm from a CreateAlgorithm request: train, make the model, transform",
		Long: `Validate an algorithm as the service does, from a CreateAlgorithm request with a
ValidationSpecification ("-" reads stdin): a training job, a model of its
artifacts, a batch transform with it, without network. Each validation is a new
run; its jobs carry a suffix of the run.

--from takes what "aws sagemaker describe-algorithm" or describe-model-package
prints, or "optml describe VALIDATION --output json", and validates that again
here. What only a reply has (ARNs, statuses, times) is left out, and said.

The exit code is 0 when the algorithm passes. ` + "`optml report NAME -o report.html`" + `
makes a page of it, and --format junit what CI shows.`,
		Example: `  optml validate algorithm.json
  optml validate algorithm.json --s3-dir ./data --output json > verdict.json
  optml validate --from describe-algorithm.json`,
		Args: f.nargs,
		RunE: func(_ *cobra.Command, args []string) error {
			path := f.document(args)
			docs, err := a.decodeAll(&f, path, []string{job.CreateAlgorithm, job.CreateModelPackage})
			if err != nil {
				return err
			}
			return a.runAll(&f, path, docs, nil)
		},
	}
	f.add(c, false)
	f.replay(c, "describe-algorithm or describe-model-package")
	f.instances(c)
	f.data(c)
	f.requests(c)
	c.Flags().StringVar(&f.profile, "profile", "", "only the validation profile with this `name`")
	return c
}
