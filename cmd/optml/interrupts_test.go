package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/optml/optml/ledger"
)

// newInterrupts is the state machine without signals: tests call on.
func newInterrupts(t *testing.T) (*interrupts, context.Context, *strings.Builder, *[]int) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	said, codes := &strings.Builder{}, &[]int{}
	return &interrupts{
		Stops: make(chan ledger.Stop, 2), cancel: cancel,
		say:    func(f string, a ...any) { fmt.Fprintf(said, f+"\n", a...) },
		hangup: func() { said.WriteString("hangup\n") },
		exit:   func(code int) { *codes = append(*codes, code) },
	}, ctx, said, codes
}

func TestSignalsStopThenKillThenLeave(t *testing.T) { // D13
	i, ctx, said, codes := newInterrupts(t)
	i.begin("The artifacts are kept.")
	i.on(syscall.SIGINT)
	if s := <-i.Stops; s.Kill || s.Reason != "interrupted" {
		t.Errorf("the first signal sent %+v, want a stop with grace", s)
	}
	i.on(syscall.SIGTERM)
	if s := <-i.Stops; !s.Kill {
		t.Errorf("the second signal sent %+v, want a kill", s)
	}
	if len(*codes) > 0 {
		t.Errorf("two signals made it leave with %v", *codes)
	}
	i.on(syscall.SIGINT)
	if len(*codes) != 1 || (*codes)[0] != exitInterrupted {
		t.Errorf("the third signal left with %v, want %d", *codes, exitInterrupted)
	}
	if !strings.HasSuffix(said.String(), "leaving. The artifacts are kept.\n") {
		t.Errorf("it said %q, want where the artifacts are at the end", said)
	}
	if ctx.Err() != nil {
		t.Error("the job's context was cancelled: delivery would not run")
	}
}

func TestSignalBeforeTheJobEndsTheCommand(t *testing.T) {
	i, ctx, _, codes := newInterrupts(t)
	i.on(syscall.SIGINT)
	if !errors.Is(context.Cause(ctx), errInterrupted) {
		t.Errorf("cause = %v, want errInterrupted", context.Cause(ctx))
	}
	if got := exitCode(interrupted(ctx, errors.New("dial: cancelled"))); got != exitInterrupted {
		t.Errorf("exit code %d, want %d", got, exitInterrupted)
	}
	i.on(syscall.SIGINT)
	if len(*codes) != 1 {
		t.Error("a second signal must leave at once, whatever hangs")
	}
}

func TestSignalBetweenPreparationAndRunIsNotLost(t *testing.T) {
	i, _, _, _ := newInterrupts(t)
	i.on(syscall.SIGINT)
	i.begin("")
	select {
	case s := <-i.Stops:
		if s.Kill {
			t.Errorf("sent %+v, want a stop with grace", s)
		}
	default:
		t.Error("the signal from just before the run was lost")
	}
}

func TestHangupDetaches(t *testing.T) { // D11: it never kills a training
	i, ctx, said, codes := newInterrupts(t)
	i.begin("")
	i.on(syscall.SIGHUP)
	if said.String() != "hangup\n" || len(i.Stops) > 0 || len(*codes) > 0 || ctx.Err() != nil {
		t.Errorf("SIGHUP did more than detach: said %q, %d stops, exits %v", said, len(i.Stops), *codes)
	}
}
