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

The exit code is 0 when the algorithm passes. ` + "`optml report NAME -o report.html`" + `
makes a page of it, and --format junit what CI shows.`,
		Example: `  optml validate algorithm.json
  optml validate algorithm.json --s3-dir ./data --output json > verdict.json`,
		Args: nargs(1, 1, "the document"),
		RunE: func(_ *cobra.Command, args []string) error {
			d, err := decode(args[0], a.stdin, job.CreateAlgorithm)
			if err != nil {
				return err
			}
			return a.runAll(&f, args[0], []given{d}, nil)
		},
	}
	f.add(c, false)
	f.instances(c)
	f.data(c)
	f.requests(c)
	c.Flags().StringVar(&f.profile, "profile", "", "only the validation profile with this `name`")
	return c
}
