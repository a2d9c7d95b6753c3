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

Then each rule has a verdict: passed, failed or not checked, with the evidence and
what to change. --probe checks what the profile's own jobs do not show, with jobs
that are given what they should refuse, that are stopped, and that run as on the
smallest instance types that the algorithm supports and this machine can hold:

  bad hyperparameter  the training exits, and not with 0      5 minutes at most
  empty channels      the same, for each required channel     5 minutes each
  stop                the training ends on SIGTERM            half of the profile's
                                                              training, and --grace
  malformed requests  /invocations answers 4xx and goes on    5 minutes after /ping
  stop of serve       the container ends on SIGTERM           seconds, and --grace
  instance types      as the profile's jobs                   as long as those

` + "`optml plan --probe`" + ` says what each would do. Their outputs are not kept.

The exit code is 0 when the algorithm passes. ` + "`optml report NAME -o report.html`" + `
makes a page of it, and --format junit what CI shows.`,
		Example: `  optml validate algorithm.json
  optml validate algorithm.json --probe --grace 10s
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
	f.validation(c)
	return c
}
