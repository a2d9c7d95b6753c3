package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/optml/optml/ledger"
)

type rmOptions struct {
	jobs    string
	args    []string
	discard bool
}

func (a *app) cmdRm() *cobra.Command {
	var discard bool
	c := &cobra.Command{
		Use:   "rm JOB...",
		Short: "Remove finished jobs: record and logs, not what they made",
		Long: `Remove finished jobs: their record, logs and metrics. Model artifacts and
transform outputs stay where the job put them. A job that holds the only copy of
an artifact, because it could not be uploaded, stays unless --discard is given.`,
		Args: nargs(1, -1, "the job's name"),
		RunE: func(_ *cobra.Command, args []string) error {
			return runRm(rmOptions{a.jobs(), args, discard}, a.stderr)
		},
	}
	c.Flags().BoolVar(&discard, "discard", false, "also artifacts that exist nowhere else")
	return c
}

// runRm removes each job that it can; the error joins those that it cannot.
func runRm(o rmOptions, stderr io.Writer) error {
	var errs []error
	for _, name := range o.args {
		j, err := ledger.Find(o.jobs, name)
		if err == nil {
			err = removeFinished(j, o.discard)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		fmt.Fprintf(stderr, "optml: removed %s/%s\n", j.Kind(), j.Name())
	}
	return errors.Join(errs...)
}

// removeFinished refuses what runs and what a dead owner left: its container, network and artifacts must be seen to
// first.
func removeFinished(j *ledger.Job, discard bool) error {
	owned, err := j.Owned()
	if err != nil {
		return err
	}
	if owned {
		return &runningError{j}
	}
	s, err := j.State()
	if err != nil {
		return err
	}
	if !s.Final || len(s.Open) > 0 {
		return &ownerDeadError{j.Name()}
	}
	if err := s.OnlyCopy(); err != nil && !discard {
		return err
	}
	children, err := family(j)
	if err != nil {
		return err
	}
	for _, c := range children[1:] { // the jobs of a validation go with it
		if err := removeFinished(c, discard); err != nil {
			return err
		}
	}
	return ledger.Remove(j)
}

// runningError says that a job cannot be removed while it runs.
type runningError struct{ j *ledger.Job }

func (e *runningError) Error() string {
	return fmt.Sprintf("%s/%s runs", e.j.Kind(), e.j.Name())
}
func (e *runningError) Hint() string  { return "`optml stop " + e.j.Name() + "` stops it first" }
func (e *runningError) Unwrap() error { return ledger.ErrOwned }
