package main

import (
	"errors"
	"fmt"

	"github.com/optml/optml/harness"
	"github.com/optml/optml/job"
	"github.com/optml/optml/ledger"
)

// resumeFlags may be given with --resume: they say how the job is watched. What it is, is on record.
var resumeFlags = []string{"resume", "detach", "progress", "logs", "quiet"}

// resume begins a training job again that did not complete: another attempt under its name, with its documents and
// options, and with the checkpoints that it left.
func (a *app) resume(f *jobFlags, name string) error {
	j, err := ledger.Find(a.jobs(), name)
	if err != nil {
		return err
	}
	what := string(j.Kind()) + "/" + j.Name()
	if op := j.Plan().Operation; op != job.CreateTrainingJob {
		return &usageError{Err: fmt.Errorf("%s is of a %s request: only a training job can be resumed", what, op), Hint: "run it anew; a transform does with --rerun-failed what failed"}
	}
	var k kept
	if err := j.Options(&k); err != nil {
		return fmt.Errorf("read options of %s: %w", what, err)
	}
	here := a.hostOptions(f)
	k.Host.Root, k.Host.RunDir, k.Host.Containerd = here.Root, here.RunDir, here.Containerd
	r := runOptions{jobs: a.jobs(), kept: k, detach: f.detach, progress: f.progressOptions(), output: a.output, app: a}
	r.own = func() (*ledger.Owner, error) {
		o, err := ledger.Reopen(j.Dir())
		if err != nil {
			return nil, err
		}
		err = resumable(o.State(), what)
		if err == nil {
			err = harness.Resume(o)
		}
		if err != nil {
			return nil, errors.Join(err, o.Close())
		}
		if s := o.State(); !f.quiet {
			how := "from the start: it keeps no checkpoints"
			if c := o.Plan().Training.Checkpoint; c != nil {
				how = "with the checkpoints of " + c.URI
			}
			fmt.Fprintf(a.stderr, "optml: %s: attempt %d, %s\n", what, s.Attempt(), how)
		}
		return o, nil
	}
	if s, err := j.State(); err == nil && s.Final { // no need of containerd to say no
		if err := resumable(s, what); err != nil {
			return err
		}
	}
	return r.carry(j.Plan(), nil, a.stdout, a.stderr)
}

// resumable refuses what is whole, and what would be lost.
func resumable(s ledger.State, what string) error {
	if s.Status == ledger.StatusCompleted {
		return &usageError{Err: fmt.Errorf("%s is Completed: there is nothing to resume", what), Hint: "run it anew with --name or --replace"}
	}
	return s.OnlyCopy()
}
