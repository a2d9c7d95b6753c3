package main

import (
	"github.com/spf13/cobra"

	"github.com/optml/optml/job"
)

func (a *app) cmdValidate() *cobra.Command {
	var f jobFlags
	var algorithm string
	var reports []string
	c := &cobra.Command{
		Use:   "validate DOCUMENT.json",
		Short: "Validate an algorithm or a model package from its Create request, as the service does",
		Long: `Validate an algorithm or a model package as the service does, without network.
DOCUMENT ("-" reads stdin) is one of

  CreateAlgorithm      a training job, a model of its artifacts, a batch transform
  CreateModelPackage   a batch transform with the package's model, or with the
                       package's ModelDataUrl and the inference containers of its
                       SourceAlgorithm: that of the last validation here which it
                       has passed, or of --algorithm

with a ValidationSpecification: without a validation profile nothing is run, as
on the service. Each validation is a new run; its jobs carry a suffix of the run.

Then each rule has a verdict: passed, failed or not checked, with the evidence and
what to change. --probe checks what the profile's own jobs do not show, with jobs
that are given what they should refuse, that are stopped, and that run as on the
smallest instance types that are supported and this machine can hold:

  bad hyperparameter  the training exits, and not with 0      5 minutes at most
  empty channels      the same, for each required channel     5 minutes each
  stop                the training ends on SIGTERM            half of the profile's
                                                              training, and --grace
  malformed requests  /invocations answers 4xx and goes on    5 minutes after /ping
  stop of serve       the container ends on SIGTERM           seconds, and --grace
  instance types      as the profile's jobs                   as long as those

` + "`optml plan --probe`" + ` says what each would do. Their outputs are not kept.

An image with Critical or High findings cannot be published. optml scans nothing:
it reads the reports of trivy or grype in JSON that --scan-report gives it.

--from takes what "aws sagemaker describe-algorithm" or describe-model-package
prints, or "optml describe VALIDATION --output json", and validates that again
here. What only a reply has (ARNs, statuses, times) is left out, and said.

The exit code is 0 when the document passes. ` + "`optml report NAME -o report.html`" + `
makes a page of it, and --format junit what CI shows.`,
		Example: `  optml validate algorithm.json
  optml validate algorithm.json --probe --grace 10s
  optml validate algorithm.json --s3-dir ./data --output json > verdict.json
  optml validate --from describe-algorithm.json
  optml validate package.json --algorithm algorithm.json
  trivy image --format json --output scan.json registry/name:tag
  optml validate algorithm.json --scan-report scan.json`,
		Args: f.nargs,
		RunE: func(_ *cobra.Command, args []string) error {
			path := f.document(args)
			docs, err := a.decodeAll(&f, path, []string{job.CreateAlgorithm, job.CreateModelPackage}, second{algorithm, job.CreateAlgorithm})
			if err != nil {
				return err
			}
			if algorithm != "" && docs[0].Operation == job.CreateAlgorithm {
				return usage("--algorithm is for a model package whose SourceAlgorithmSpecification names one, and %s is a %s request", path, job.CreateAlgorithm)
			}
			if docs[0].Operation == job.CreateModelPackage {
				if docs, err = a.withAlgorithm(docs, f.quiet); err != nil {
					return err
				}
			}
			if f.scans, err = readScans(reports); err != nil {
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
	c.Flags().StringVar(&algorithm, "algorithm", "", "`file` with the CreateAlgorithm request that a model package's AlgorithmName names")
	c.Flags().StringArrayVar(&reports, "scan-report", nil, "`file` with a JSON report of trivy or grype on an image of the document, or IMAGE=FILE if it names the image otherwise; repeatable")
	f.validation(c)
	return c
}
