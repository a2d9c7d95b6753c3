package harness

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/optml/optml/job"
	"github.com/optml/optml/ledger"
	"github.com/optml/optml/runtime/container"
)

// Reaper clears up containers whose job has no owner any more. runtime/ctrd has it.
type Reaper interface {
	// KillJob ends the containers of the job in dir and removes them. When it returns their logs are complete.
	KillJob(ctx context.Context, dir string) error
	// Sweep removes containers, snapshots, networks and files of every job for which alive is false.
	Sweep(ctx context.Context, alive func(dir string) bool) error
}

// Recovered is a job whose owner had died, as it was left by Recover.
type Recovered struct {
	Kind  job.Kind
	Name  string
	Dir   string
	Final ledger.Transition
}

// Recover goes over the jobs under root that have neither an owner nor an end: what their containers made is delivered,
// the record is ended with the truth, and what they left on the host is removed. A job whose owner lives is not touched
// (ruling 1). It also removes what crashes left outside any job. Jobs that cannot be recovered are left for the next
// time and joined into the error.
func Recover(ctx context.Context, root string, h Host, reaper Reaper) ([]Recovered, error) {
	if h.Log == nil {
		h.Log = slog.New(slog.DiscardHandler)
	}
	jobs, err := ledger.List(root)
	errs := []error{err}
	var done []Recovered
	for _, j := range jobs {
		final, err := recoverJob(ctx, j, h, reaper)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("recover %s/%s: %w", j.Kind(), j.Name(), err))
		case final != nil:
			done = append(done, Recovered{j.Kind(), j.Name(), j.Dir(), *final})
		}
	}
	if _, err := ledger.Sweep(root); err != nil {
		errs = append(errs, err)
	}
	if err := reaper.Sweep(ctx, living(root)); err != nil {
		errs = append(errs, err)
	}
	return done, errors.Join(errs...)
}

// living says of a job's directory whether the job is to be left alone: somebody owns it, or it has no end and could
// not be recovered. Directories outside of root belong to another optml, whose sweep will see to them.
func living(root string) func(string) bool {
	root, err := filepath.Abs(root)
	return func(dir string) bool {
		if rel, rerr := filepath.Rel(root, dir); err != nil || rerr != nil || !filepath.IsLocal(rel) {
			return true
		}
		j, err := ledger.Open(dir)
		if err != nil {
			return !errors.Is(err, os.ErrNotExist)
		}
		if owned, err := j.Owned(); owned || err != nil {
			return true
		}
		s, err := j.State()
		return err != nil || !s.Final
	}
}

// recoverJob returns nil for a job that needs nothing.
func recoverJob(ctx context.Context, j *ledger.Job, h Host, reaper Reaper) (*ledger.Transition, error) {
	s, err := j.State()
	if err != nil || s.Final && len(s.Open) == 0 {
		return nil, err
	}
	if owned, err := j.Owned(); owned || err != nil {
		return nil, err
	}
	if s.Final {
		return nil, release(j, h)
	}
	if h.StoresOf != nil {
		if h.Stores, err = h.StoresOf(j); err != nil {
			return nil, err
		}
	}
	o, err := ledger.Adopt(j.Dir())
	if errors.Is(err, ledger.ErrOwned) {
		return nil, nil // somebody was quicker
	}
	if err != nil {
		return nil, err
	}
	defer o.Close()
	if s = o.State(); s.Final {
		return nil, nil
	}
	if err := reaper.KillJob(ctx, o.Dir()); err != nil {
		return nil, err
	}
	r := &run{owner: o, plan: o.Plan(), host: h, kill: make(chan struct{})}
	end := Ending{Kind: j.Kind(), Region: r.plan.Region, Err: orphaned(s)}
	switch j.Kind() {
	case job.KindTraining:
		r.salvage(ctx, s, &end)
	case job.KindTransform:
		r.dropOutputs(ctx)
	}
	if err := unmount(o, h); err != nil {
		return nil, err
	}
	final, err := r.finish(end)
	return &final, err
}

// release takes back what somebody had mounted who was delivering the artifacts of a finished job, and died.
func release(j *ledger.Job, h Host) error {
	o, err := ledger.Reopen(j.Dir())
	if errors.Is(err, ledger.ErrOwned) {
		return nil // somebody was quicker
	}
	if err != nil {
		return err
	}
	return errors.Join(unmount(o, h), o.Close())
}

// unmount takes back what a dead owner had mounted, and records that nothing is left of what it had made.
func unmount(o *ledger.Owner, h Host) error {
	if err := dropMounts(h.MountDir, o.State()); err != nil {
		return err
	}
	for _, i := range o.State().Open {
		if err := o.At(i.Host, i.Step).Append(ledger.Released{Kind: i.Kind, ID: i.ID}); err != nil {
			return err
		}
	}
	return nil
}

// OrphanedError is how a job ends whose owner died.
type OrphanedError struct {
	Step   string
	At     time.Time
	Reason string // owner died, host rebooted
}

func (e *OrphanedError) Error() string {
	what := "the optml process that ran this job died"
	if e.Reason == ledger.ReasonHostRebooted {
		what = "the host rebooted while this job ran"
	}
	return fmt.Sprintf("%s in step %q, last seen at %s", what, e.Step, e.At.Format(time.RFC3339))
}

// orphaned reads from an adopted job's record how its owner died. What came after the first adoption is of those who
// recovered it, one of whom may have died too.
func orphaned(s ledger.State) error {
	e := &OrphanedError{Step: "prepare", At: s.CreationTime, Reason: ledger.ReasonOwnerDied}
	adopted := s.ModifiedTime
	if len(s.Adopted) > 0 {
		adopted, e.Reason = s.Adopted[0].At, s.Adopted[0].Reason
	}
	saw := func(at time.Time) {
		if at.After(e.At) && at.Before(adopted) {
			e.At = at
		}
	}
	for _, step := range s.Steps {
		saw(step.Begin)
		saw(step.End)
		if step.End.IsZero() && !step.Begin.After(adopted) {
			e.Step = step.Name
		}
	}
	for _, t := range s.Transitions {
		saw(t.StartTime)
	}
	for _, c := range s.Containers {
		saw(c.Started)
		if c.Exited != nil {
			saw(c.Exited.At)
		}
	}
	return e
}

// salvage delivers what a training left. If its owner saw the container end, the job ends as that owner would have ended
// it; an exit that no owner saw is never Completed (D11).
func (r *run) salvage(ctx context.Context, s ledger.State, end *Ending) {
	t := r.plan.Training
	in := &instance{run: r, training: t, host: t.Instances[0].Host, spec: t.Instances[0].Containers[0]}
	started := false
	placed := errors.Join(in.place(), in.reopenVolume(ctx))
	r.dropUploads(ctx, t.ModelURI, t.OutputURI)
	if t.Checkpoint != nil && placed == nil {
		if end.Upload = in.openCheckpoints(ctx); end.Upload == nil {
			r.unfinished(in.checkpoints.SweepUploads(ctx))
		}
	}
	for _, c := range s.Containers {
		if c.Name != in.spec.Name {
			continue
		}
		started = true
		if placed != nil { // then what the container made is kept where it is
			end.Upload = placed
			return
		}
		if c.Exited != nil {
			end.Exit = &container.Exit{Code: c.Exited.Code, Signal: c.Exited.Signal, OOM: c.Exited.OOM, At: c.Exited.At}
			end.Err = causeOnRecord(r.plan, s)
			end.Failure = in.failure(*end)
		}
	}
	// An owner that died between starting the process and recording it leaves no word of it, but perhaps a model.
	switch {
	case placed != nil:
	case started || in.tree.HasArtifacts():
		end.Upload = errors.Join(end.Upload, in.deliver(ctx))
	case in.checkpoints != nil:
		end.Upload = in.lastSync(ctx)
	}
}

// dropUploads removes what a dead owner left half written of these objects.
func (r *run) dropUploads(ctx context.Context, uris ...string) {
	for _, uri := range uris {
		store, key, err := r.host.Stores.Open(ctx, uri)
		if err == nil {
			_, err = store.Sweep(ctx, key, 0)
		}
		r.unfinished(err)
	}
}

// unfinished warns that a search for unfinished uploads failed.
func (r *run) unfinished(err error) {
	if err != nil {
		r.append(ledger.Warning{Rule: "OUT-1", Text: "an unfinished upload could not be looked for: " + err.Error()})
	}
}

// causeOnRecord is why a job whose container has ended was stopped, if it was.
func causeOnRecord(p *job.Plan, s ledger.State) error {
	var began time.Time // of this attempt
	if n := len(s.Attempts); n > 0 {
		began = s.Attempts[n-1].At
	}
	if slices.ContainsFunc(s.Transitions, func(t ledger.StatusSpan) bool {
		return t.Status == "Interrupted" && !t.StartTime.Before(began)
	}) {
		return Interrupted{p.Training.InterruptAfter.Std()}
	}
	if s.Status != ledger.StatusStopping {
		return nil
	}
	if strings.HasPrefix(s.Detail, maxRuntime) {
		return MaxRuntimeExceeded{p.Training.MaxRuntime.Std()}
	}
	return StopRequested{ledger.Stop{Reason: "on record before the owner died"}}
}
