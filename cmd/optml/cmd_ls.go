package main

import (
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/optml/optml/human"
	"github.com/optml/optml/job"
	"github.com/optml/optml/ledger"
)

type lsOptions struct {
	jobs   string // root of the ledger
	kind   job.Kind
	status string
	quiet  bool
	output format
	now    time.Time
}

func (a *app) cmdLs() *cobra.Command {
	o := lsOptions{}
	kind := ""
	c := &cobra.Command{
		Use:   "ls",
		Short: "List jobs, oldest first",
		Example: `  optml ls
  optml ls --kind training --status Failed
  optml rm $(optml ls -q --status Failed)`,
		Args: nargs(0, 0, ""),
		RunE: func(c *cobra.Command, _ []string) error {
			o.jobs, o.output, o.now, o.kind = a.jobs(), a.output, time.Now(), job.Kind(kind)
			return runLs(o, a.stdout, a.stderr)
		},
	}
	f := c.Flags()
	f.Var(choice{&kind, []string{string(job.KindTraining), string(job.KindTransform), string(job.KindServing), string(job.KindValidation), string(job.KindBench)}}, "kind", "only jobs of this `kind`: training, transform, serving, validation or bench")
	f.StringVar(&o.status, "status", "", "only jobs in this `status`: InProgress, Completed, Failed, Stopping or Stopped")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "names only (kind/name)")
	return c
}

// entry is one line of ls.
type entry struct {
	Kind            job.Kind   `json:"kind"`
	Name            string     `json:"name"`
	ARN             string     `json:"arn,omitempty"`
	Status          string     `json:"status"`
	SecondaryStatus string     `json:"secondaryStatus,omitempty"`
	FailureReason   string     `json:"failureReason,omitempty"`
	CreationTime    time.Time  `json:"creationTime"`
	EndTime         *time.Time `json:"endTime,omitempty"`
	ExitCode        *int       `json:"exitCode,omitempty"`
	OwnerLives      bool       `json:"ownerLives"`
	Directory       string     `json:"directory"`
}

func runLs(o lsOptions, stdout, stderr io.Writer) error {
	var kinds []job.Kind
	if o.kind != "" {
		kinds = []job.Kind{o.kind}
	}
	jobs, err := ledger.List(o.jobs, kinds...)
	if err != nil {
		fmt.Fprintf(stderr, "optml: some jobs cannot be read: %v\n", err)
	}
	entries := []entry{}
	for _, j := range jobs {
		e, err := entryOf(j)
		if err != nil {
			fmt.Fprintf(stderr, "optml: %s cannot be read: %v\n", j.Dir(), err)
			continue
		}
		if o.status == "" || e.Status == o.status {
			entries = append(entries, e)
		}
	}
	switch {
	case o.output == formatJSON:
		return writeJSON(stdout, entries)
	case o.quiet:
		for _, e := range entries {
			fmt.Fprintf(stdout, "%s/%s\n", e.Kind, e.Name)
		}
		return nil
	}
	return human.Table(stdout, func(t io.Writer) {
		fmt.Fprintln(t, "KIND\tNAME\tSTATUS\tCREATED\tTOOK")
		for _, e := range entries {
			took := "-"
			if e.EndTime != nil {
				took = timeText(e.EndTime.Sub(e.CreationTime))
			} else if e.OwnerLives {
				took = timeText(o.now.Sub(e.CreationTime)) + " so far"
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", e.Kind, e.Name, statusText(e), clock(e.CreationTime), took)
		}
	})
}

func entryOf(j *ledger.Job) (entry, error) {
	owned, err := j.Owned() // asked first: a job that has no owner now says in its events how it ended, if it did
	if err != nil {
		return entry{}, err
	}
	s, err := j.State()
	if err != nil {
		return entry{}, err
	}
	e := entry{
		Kind: j.Kind(), Name: j.Name(), ARN: s.ARN, Status: s.Status, SecondaryStatus: s.Secondary, FailureReason: s.FailureReason,
		CreationTime: s.CreationTime, ExitCode: s.ExitCode, OwnerLives: owned, Directory: j.Dir(),
	}
	if s.Final {
		e.EndTime = new(s.FinalTime)
	}
	return e, nil
}

// statusText is the status with what a person must know beside it.
func statusText(e entry) string {
	switch {
	case e.EndTime == nil && !e.OwnerLives:
		return e.Status + " (owner died: optml prune)"
	case e.EndTime == nil && e.SecondaryStatus != "" && e.SecondaryStatus != e.Status:
		return e.Status + " (" + e.SecondaryStatus + ")"
	case slices.Contains([]string{"MaxRuntimeExceeded", "Interrupted"}, e.SecondaryStatus):
		return e.Status + " (" + e.SecondaryStatus + ")"
	}
	return e.Status
}
