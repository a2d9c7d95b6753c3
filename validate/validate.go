// Package validate carries out a validation profile as the service does: of an algorithm a training job, a model made of
// its artifacts, a batch transform (VAL-1); of a model package the transform (VAL-2). The validation is an entry of the ledger; the jobs are entries of their own,
// with names of their own for each run (VAL-6, ruling 2). What was recorded is then judged rule by rule.
package validate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/optml/optml/harness"
	"github.com/optml/optml/job"
	"github.com/optml/optml/ledger"
)

// Run carries out the validation that o owns; its children are created under root. It returns the final transition of
// the validation. The error is only for what kept the end from being recorded.
func Run(ctx context.Context, root string, o *ledger.Owner, p *job.Plan, h harness.Host) (ledger.Transition, error) {
	if h.Log == nil {
		h.Log = slog.New(slog.DiscardHandler)
	}
	v := &validation{root: root, owner: o, plan: p, host: h}
	for _, w := range p.Warnings {
		if err := o.Append(ledger.Warning{Rule: w.Rule, Text: w.Text}); err != nil {
			return ledger.Transition{}, err
		}
	}
	if err := o.Append(ledger.Transition{Status: ledger.StatusInProgress, Message: "Validating the " + subject(p)}); err != nil {
		return ledger.Transition{}, err
	}
	stops, end := v.stops()
	defer end()

	ev := evidence{plan: p}
	final, err := v.children(ctx, stops, &ev)
	if err == nil {
		if err = v.probe(ctx, stops, &ev); err == nil && len(ev.probes) > 0 && final.Status == ledger.StatusCompleted && stops.asked() {
			final = stoppedProbing()
		}
	}
	if err != nil {
		final = ledger.Transition{Status: ledger.StatusFailed, FailureReason: "InternalServerError: We encountered an internal error. Please try again.",
			Detail: err.Error(), ExitCode: new(harness.ExitInternal)}
	}
	var broken []string
	for _, r := range rules {
		verdict := r.judge(ev)
		if verdict.Outcome == failed {
			broken = append(broken, r.id)
		}
		verdict.Rule = r.id
		if err := o.Append(verdict); err != nil {
			return final, err
		}
	}
	if len(broken) > 0 && final.Status == ledger.StatusCompleted {
		final = ledger.Transition{Status: ledger.StatusFailed, FailureReason: fmt.Sprintf("ClientError: %d of %d validation rules failed", len(broken), len(rules)),
			Detail: "the jobs ended well, but not every rule holds: " + strings.Join(broken, ", "), Hint: "the report names each rule and what to change", ExitCode: new(harness.ExitVerdict)}
	}
	if err := os.RemoveAll(o.WorkDir()); err != nil {
		v.host.Log.Warn("remove scratch", "error", err)
	}
	return final, o.Append(final)
}

type validation struct {
	root  string
	owner *ledger.Owner
	plan  *job.Plan
	host  harness.Host
}

// children runs the jobs in sequence; a failure stops the rest (VAL-1).
func (v *validation) children(ctx context.Context, stops *fan, ev *evidence) (ledger.Transition, error) {
	p := v.plan.Validation
	if p.Skipped != "" { // VAL-7
		return ledger.Transition{Status: ledger.StatusCompleted, Message: "Nothing was run: " + p.Skipped, ExitCode: new(harness.ExitCompleted)}, nil
	}
	if p.Training != nil { // VAL-2: a model package brings its model
		final, state, err := v.child(ctx, stops, p.Training)
		ev.training, ev.trainingWords = state, v.words(state)
		if err != nil || final.Status != ledger.StatusCompleted {
			return v.failed("training", final), err
		}
	}
	if p.Transform == nil { // VAL-4: optional for algorithms
		return completed(), nil
	}
	if ev.emptyModel() {
		// There is nothing to make a model of, so the transform cannot be (ruling 19).
		return ledger.Transition{Status: ledger.StatusFailed, FailureReason: "ClientError: " + emptyModel, Detail: emptyModel, Hint: emptyModelRemedy, ExitCode: new(harness.ExitClient)}, nil
	}
	final, state, err := v.child(ctx, stops, p.Transform)
	ev.transform, ev.transformWords = state, v.words(state)
	if err != nil || final.Status != ledger.StatusCompleted {
		return v.failed("transform", final), err
	}
	return completed(), nil
}

func completed() ledger.Transition {
	return ledger.Transition{Status: ledger.StatusCompleted, Message: "Validation completed", ExitCode: new(harness.ExitCompleted)}
}

// subject is what is validated.
func subject(p *job.Plan) string {
	if p.Operation == job.CreateModelPackage {
		return "model package"
	}
	return "algorithm"
}

// failed is the validation's end when a job did not complete. An algorithm has no status Stopped (VAL-20).
func (v *validation) failed(which string, t ledger.Transition) ledger.Transition {
	if t.Status == ledger.StatusStopped {
		t.FailureReason = "ClientError: the validation was stopped during the " + which + " job"
	}
	t.Status, t.Secondary = ledger.StatusFailed, ""
	t.Message = "Validation failed: the " + which + " job did not complete"
	return t
}

// words are what a job's container that ended printed last.
func (v *validation) words(s *ledger.State) string {
	if s == nil || endedContainer(s) == "" {
		return ""
	}
	j, err := ledger.Find(v.root, string(s.Kind)+"/"+s.Name)
	if err != nil {
		return ""
	}
	return lastWords(j.LogPath(endedContainer(s)))
}

// child carries out one of the profile's jobs.
func (v *validation) child(ctx context.Context, stops *fan, plan *job.Plan) (ledger.Transition, *ledger.State, error) {
	return v.carry(ctx, stops, begun(plan, time.Now().UTC()), nil)
}

// aside is what is done about a job that is not the profile's.
type aside struct {
	does  string                             // for the record
	lay   func() error                       // once the job has its directory, before it begins
	watch func(context.Context, *ledger.Job) // beside it, until its end
}

// carry carries out a job as an entry of its own. probe may be nil.
func (v *validation) carry(ctx context.Context, stops *fan, p *job.Plan, probe *aside) (ledger.Transition, *ledger.State, error) {
	r := ledger.Request{Plan: p}
	r.UID, r.GID = v.owner.Job().User()
	// What was said for the validation holds for its jobs: whoever recovers one needs it.
	var options json.RawMessage
	if err := v.owner.Job().Options(&options); err == nil {
		r.Options = options
	} else if !errors.Is(err, fs.ErrNotExist) {
		return ledger.Transition{}, nil, err
	}
	o, err := ledger.Create(v.root, r)
	if err != nil {
		return ledger.Transition{}, nil, err
	}
	defer o.Close()
	child := ledger.Child{Kind: string(p.Kind), Name: p.Name}
	if probe != nil {
		child.Probe = probe.does
	}
	if err := v.owner.Append(child); err != nil {
		return ledger.Transition{}, nil, err
	}
	h := v.host
	h.Stops = stops.tap()
	if probe != nil {
		if err := probe.lay(); err != nil {
			return ledger.Transition{}, nil, err
		}
		beside, end := context.WithCancel(ctx)
		var wg sync.WaitGroup
		wg.Go(func() { probe.watch(beside, o.Job()) })
		defer wg.Wait()
		defer end()
	}
	final, err := harness.Run(ctx, o, p, h)
	s := o.State()
	return final, &s, err
}

// begun is a child's plan with the time at which the child is made, which is not that of the validation.
func begun(p *job.Plan, at time.Time) *job.Plan {
	c := *p
	switch {
	case p.Training != nil:
		t := *p.Training
		t.CreationTime, c.Training = at, &t
	case p.Transform != nil:
		t := *p.Transform
		t.CreationTime, c.Transform = at, &t
	}
	return &c
}

// stops gathers the requests to stop the validation, from its entry and from the host, for whichever child runs.
func (v *validation) stops() (*fan, func()) {
	f := &fan{}
	done := make(chan struct{})
	var wg sync.WaitGroup
	for _, from := range []<-chan ledger.Stop{v.owner.Stops(), v.host.Stops} {
		if from == nil {
			continue
		}
		wg.Go(func() {
			for {
				select {
				case s, ok := <-from:
					if !ok {
						return
					}
					f.send(s)
				case <-done:
					return
				}
			}
		})
	}
	return f, func() { close(done); wg.Wait() }
}

// fan gives every child all requests, those from before its time too.
type fan struct {
	mu   sync.Mutex
	past []ledger.Stop
	taps []chan ledger.Stop
}

func (f *fan) send(s ledger.Stop) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.past = append(f.past, s)
	for _, c := range f.taps {
		select {
		case c <- s:
		default: // it has as many as can mean anything
		}
	}
}

func (f *fan) tap() <-chan ledger.Stop {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := make(chan ledger.Stop, 8)
	for _, s := range f.past[:min(len(f.past), cap(c))] {
		c <- s
	}
	f.taps = append(f.taps, c)
	return c
}
