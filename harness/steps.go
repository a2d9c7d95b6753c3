package harness

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/optml/optml/ledger"
)

// Steps are the names that events carry, in the order of a run.
var Steps = []string{"layout", "image", "channels", "create", "restore", "fill", "start", "wait", "checkpoints", "artifacts", "upload", "model", "serve", "transform", "load"}

// undo takes back what a step did outside the job's directory.
type undo struct {
	what string
	do   func(context.Context) error
}

// undoTimeout bounds one undo: a container that must be killed takes up to two seconds to die when its shim is gone.
const undoTimeout = 30 * time.Second

// do runs a step: its begin and end are events, its failpoint is armed. host is empty for what is not per host.
func (r *run) do(ctx context.Context, host, name string, f func(context.Context) error) error {
	if err := r.begin(host, name); err != nil {
		return err
	}
	defer r.host.Fail.arm(name)()
	began := time.Now()
	err := ctx.Err()
	if err == nil {
		err = f(ctx)
	}
	r.host.Fail.atEnd(name)
	return r.end(host, name, time.Since(began), err)
}

func (r *run) begin(host, name string) error {
	r.mu.Lock()
	r.step = name
	r.mu.Unlock()
	return r.appendAt(host, name, ledger.StepBegan{})
}

func (r *run) end(host, name string, took time.Duration, err error) error {
	e := ledger.StepEnded{Duration: took}
	if err != nil {
		e.Error = err.Error()
	}
	return errors.Join(err, r.appendAt(host, name, e))
}

// later registers an undo; they run in reverse order when the run ends.
func (r *run) later(what string, f func(context.Context) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.undos = append(r.undos, undo{what, f})
}

// undoAll runs the undos in reverse, each on its own deadline and whatever became of the run's context.
func (r *run) undoAll() error {
	r.mu.Lock()
	undos := r.undos
	r.undos = nil
	r.mu.Unlock()
	var errs []error
	for i := len(undos) - 1; i >= 0; i-- {
		ctx, cancel := context.WithTimeout(context.Background(), undoTimeout)
		if err := undos[i].do(ctx); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", undos[i].what, err))
		}
		cancel()
	}
	return errors.Join(errs...)
}

// Failpoint kills this process with SIGKILL in a step, as a crash would: "image" when the step begins, "image+20ms"
// that long after, "image!" at its end, before the end is recorded. It comes from OPTML_FAIL; crash tests set it.
type Failpoint struct {
	Step  string
	After time.Duration
	AtEnd bool
}

// ParseFailpoint reads OPTML_FAIL. "" is none.
func ParseFailpoint(s string) (Failpoint, error) {
	var f Failpoint
	var err error
	name, after, delayed := strings.Cut(s, "+")
	if delayed {
		if f.After, err = time.ParseDuration(after); err != nil {
			return f, fmt.Errorf("OPTML_FAIL %q: %w", s, err)
		}
	}
	f.Step, f.AtEnd = strings.CutSuffix(name, "!")
	if f.Step == "" {
		return Failpoint{}, nil
	}
	if slices.Contains(Steps, f.Step) {
		return f, nil
	}
	return Failpoint{}, fmt.Errorf("OPTML_FAIL %q: no such step; the steps are %s", s, strings.Join(Steps, ", "))
}

func (f Failpoint) arm(step string) (disarm func()) {
	if f.Step != step || f.AtEnd {
		return func() {}
	}
	if f.After == 0 {
		die()
	}
	t := time.AfterFunc(f.After, die)
	return func() { t.Stop() }
}

func (f Failpoint) atEnd(step string) {
	if f.Step == step && f.AtEnd {
		die()
	}
}

func die() {
	_ = syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
	select {}
}
