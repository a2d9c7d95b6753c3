package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/optml/optml/job"
	"github.com/optml/optml/ledger"
)

type stopOptions struct {
	jobs   string
	job    string
	kill   bool
	noWait bool
}

func (a *app) cmdStop() *cobra.Command {
	o := stopOptions{}
	c := &cobra.Command{
		Use:   "stop JOB",
		Short: "Stop a job: SIGTERM, then SIGKILL after its grace period",
		Long: `Stop a job as StopTrainingJob and StopTransformJob do, from any terminal: the main
process of its container gets SIGTERM, and SIGKILL if it still runs when the grace
is over, which is after 120 s of a training and 30 s of a transform unless the job was
started with another --grace. What a training has written to /opt/ml/model is
uploaded; a stopped transform leaves no .out object. It returns when the job has
ended. If the process that ran the job has died, the job is recovered instead.`,
		Example: `  optml stop my-job
  optml stop my-job --no-wait
  optml stop my-job --kill`,
		Args: nargs(1, 1, "the job's name"),
		RunE: func(c *cobra.Command, args []string) error {
			o.jobs, o.job = a.jobs(), args[0]
			err := runStop(c.Context(), o, a.stderr)
			var dead *ownerDeadError
			if errors.As(err, &dead) { // nobody is there to stop it: recover it here and now (D13)
				return a.recoverDead(a.stderr)
			}
			return err
		},
	}
	c.Flags().BoolVar(&o.kill, "kill", false, "SIGKILL at once")
	c.Flags().BoolVar(&o.noWait, "no-wait", false, "do not wait for the job's end")
	return c
}

// ownerDeadError says that a job that is not finished has nobody who carries it out.
type ownerDeadError struct{ name string }

func (e *ownerDeadError) Error() string { return "job " + e.name + ": its owner has died" }
func (e *ownerDeadError) Hint() string  { return "`optml prune` recovers it" }

func runStop(ctx context.Context, o stopOptions, stderr io.Writer) error {
	j, err := ledger.Find(o.jobs, o.job)
	if err != nil {
		return err
	}
	if err := j.RequestStop(ledger.Stop{Reason: "optml stop", Kill: o.kill}); err != nil {
		if errors.Is(err, ledger.ErrFinished) {
			return stopFinished(j)
		}
		return err
	}
	owned, err := j.Owned()
	if err != nil {
		return err
	}
	if !owned {
		if s, err := j.State(); err == nil && s.Final {
			return nil // it ended in this instant
		}
		return &ownerDeadError{j.Name()}
	}
	if o.noWait {
		fmt.Fprintf(stderr, "optml: %s: stop requested\n", j.Name())
		return nil
	}
	fmt.Fprintf(stderr, "optml: %s: %s\n", j.Name(), stoppingText(j.Plan(), o.kill))
	for e, err := range j.Follow(contextOr(ctx)) {
		if errors.Is(err, ledger.ErrOwnerDead) {
			return &ownerDeadError{j.Name()}
		}
		if err != nil {
			return err
		}
		if t, ok := e.Body.(ledger.Transition); ok && ledger.IsFinal(t.Status) {
			fmt.Fprintf(stderr, "optml: %s: %s\n", j.Name(), t.Status)
		}
	}
	return nil
}

// stoppingText says how long it may take.
func stoppingText(p *job.Plan, kill bool) string {
	grace := job.Duration(0)
	switch {
	case p.Training != nil:
		grace = p.Training.Grace
	case p.Transform != nil:
		grace = p.Transform.Grace
	}
	if kill || grace == 0 {
		return "stopping"
	}
	return fmt.Sprintf("stopping; its container may take %s to end before it is killed (--kill kills it now)", grace.Std())
}

// stopFinished is the service's answer to stopping a job that has ended.
func stopFinished(j *ledger.Job) error {
	s, err := j.State()
	if err != nil {
		return err
	}
	return &usageError{
		Err:  errors.New("The request was rejected because the " + string(j.Kind()) + " job is in status " + s.Status),
		Hint: "only a job that runs can be stopped",
	}
}

// contextOr is ctx, or one that never ends: cobra gives none when a test calls a command.
func contextOr(ctx context.Context) context.Context {
	if ctx == nil {
		return context.Background()
	}
	return ctx
}
