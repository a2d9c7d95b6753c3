package ledger

import (
	"fmt"
	"os"
	"sync"

	"github.com/optml/optml/job"
)

// Owner is the one writer of a job. It holds the job's lock until Close, Handover or the end of the process. Its
// methods may be called concurrently.
type Owner struct {
	layout
	plan *job.Plan

	mu      sync.Mutex
	lock    *os.File // nil: no longer the owner
	journal *journal
	state   *State
	seq     int64

	stops    stopWatch
	appended *wakeup
}

// Plan is the job's plan. It must not be changed.
func (o *Owner) Plan() *job.Plan { return o.plan }

// Job is the job as everybody else sees it. Who follows it here is woken by this process itself.
func (o *Owner) Job() *Job { return &Job{layout: o.layout, plan: o.plan, appended: o.appended} }

// State is the fold of the events so far, this process' own included, without reading the file.
func (o *Owner) State() State {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.state.clone()
}

// Append writes an event that belongs to no host and no step.
func (o *Owner) Append(b Body) error { return o.append("", "", b) }

// At is where events of one host and step are appended.
func (o *Owner) At(host, step string) At { return At{o, host, step} }

// At appends with its host and step. It is a value, to be passed to whoever carries the step out.
type At struct {
	o          *Owner
	host, step string
}

// Append writes an event. When it returns, the event is in the file; an Intent and a final Transition are on the disk
// too, with all before them. Other Transitions are on their way there: nothing waits that has no effect to announce.
func (a At) Append(b Body) error { return a.o.append(a.host, a.step, b) }

// Step is the same host with another step.
func (a At) Step(step string) At { return At{a.o, a.host, step} }

// Host is the same step on another host.
func (a At) Host(host string) At { return At{a.o, host, a.step} }

func (o *Owner) append(host, step string, b Body) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.lock == nil {
		return fmt.Errorf("append %T to %s: %w", b, o.Dir(), ErrClosed)
	}
	if _, ok := b.(Unknown); ok || b == nil {
		return fmt.Errorf("append to %s: event body %T is not one of the closed set", o.Dir(), b)
	}
	e := Event{Seq: o.seq + 1, Time: notBefore(o.state.ModifiedTime), Host: host, Step: step, Body: b}
	t, transition := b.(Transition)
	_, intent := b.(Intent)
	if err := o.journal.append(e, intent || transition && IsFinal(t.Status)); err != nil {
		return fmt.Errorf("append %T to %s: %w", b, o.Dir(), err)
	}
	if transition && !IsFinal(t.Status) {
		o.journal.syncSoon()
	}
	o.seq = e.Seq
	o.state.apply(e)
	o.appended.wake()
	if transition {
		o.cacheStatus()
	}
	return nil
}

// cacheStatus writes status.json. It is a cache for others, so failing to is not an error of the job.
func (o *Owner) cacheStatus() { _ = writeJSON(o.path(statusFile), o.state) }

// Close gives the job up: the lock is free when it returns, and whoever waits for it (a guard) goes on. What was
// appended stays; a job that is not finished is then one whose owner died. It is idempotent.
func (o *Owner) Close() error {
	lock, err := o.detach()
	if lock == nil {
		return err
	}
	os.Remove(o.path(liveFile))
	o.mu.Lock()
	o.cacheStatus()
	o.mu.Unlock()
	os.Remove(o.path(reserveFile))
	if cerr := lock.Close(); err == nil {
		err = cerr
	}
	return err
}

// Handover makes this process cease to be the owner without the job ever being without one: the file that it returns
// holds the lock. Give it to a child process (exec.Cmd.ExtraFiles), which calls Inherit, then close it here.
func (o *Owner) Handover() (*os.File, error) {
	lock, err := o.detach()
	if lock == nil && err == nil {
		err = fmt.Errorf("hand over %s: %w", o.Dir(), ErrClosed)
	}
	return lock, err
}

// detach ends all writing and returns the lock, nil if that was done before.
func (o *Owner) detach() (*os.File, error) {
	o.stops.close()
	o.mu.Lock()
	defer o.mu.Unlock()
	lock := o.lock
	if lock == nil {
		return nil, nil
	}
	o.lock = nil
	o.appended.retire()
	return lock, o.journal.f.Close()
}
