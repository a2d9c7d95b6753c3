package ledger

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A finished job is reopened and begun again: its history stays, its end was an interruption, what it printed is put
// aside, requests to stop it are forgotten. Whoever follows sees the attempt that runs. One who dies on the way harms
// nothing.
func TestRestart(t *testing.T) {
	o := create(t, t.TempDir(), "a")
	if _, err := Reopen(o.Dir()); !errors.Is(err, ErrOwned) {
		t.Errorf("%v", err)
	}
	mustAppend(t, o, Transition{Status: StatusInProgress, Secondary: "Training"}, Started{Container: "algo-1"})
	if err := o.Job().RequestStop(Stop{Reason: "x"}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(o.LogPath("algo-1")+".log", []byte("one"), 0o644); err != nil {
		t.Fatal(err)
	}
	o.Close()
	if _, err := Reopen(o.Dir()); !errors.Is(err, ErrUnfinished) {
		t.Errorf("%v", err)
	}
	o, err := Adopt(o.Dir())
	if err != nil {
		t.Fatal(err)
	}
	mustAppend(t, o, Transition{Status: StatusFailed, Secondary: "Failed", FailureReason: "why"})
	o.Close()
	if o, err = Reopen(o.Dir()); err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	// Somebody had begun this and died: the log is moved, the event is not there.
	if err := errors.Join(os.MkdirAll(o.AttemptDir(1), 0o755), os.Rename(o.LogsDir(), filepath.Join(o.AttemptDir(1), "logs")), os.Mkdir(o.LogsDir(), 0o755)); err != nil {
		t.Fatal(err)
	}
	if err := o.Restart("again"); err != nil {
		t.Fatal(err)
	}
	s := o.State()
	if s.Final || s.Status != StatusInProgress || s.Secondary != "Interrupted" || s.FailureReason != "" || len(s.Containers)+len(s.Adopted) != 0 || s.Attempt() != 2 {
		t.Errorf("%+v", s)
	}
	if p := s.Attempts[0]; p.Number != 1 || p.Status != StatusFailed || p.FailureReason != "why" || p.Reason != "again" {
		t.Errorf("%+v", p)
	}
	if n := len(s.Transitions); n != 2 || s.Transitions[1].Status != "Interrupted" || s.Transitions[1].StatusMessage != "why" || s.Transitions[1].EndTime.IsZero() {
		t.Errorf("%+v", s.Transitions)
	}
	if b, err := os.ReadFile(filepath.Join(o.AttemptDir(1), "logs/algo-1.log")); err != nil || string(b) != "one" {
		t.Errorf("%q %v", b, err)
	}
	select {
	case x := <-o.Stops():
		t.Errorf("stopped by an old request: %+v", x)
	case <-time.After(10 * time.Millisecond):
	}
	mustAppend(t, o, Transition{Status: StatusInProgress, Secondary: "Starting"}, Transition{Status: StatusCompleted, Secondary: "Completed"})
	var seen []string
	for e, err := range o.Job().Follow(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if x, ok := e.Body.(Transition); ok {
			seen = append(seen, x.Status)
		}
	}
	if len(seen) != 2 || seen[1] != StatusCompleted {
		t.Errorf("who follows sees %v", seen)
	}
	again, err := o.Job().State()
	if err != nil || again.Status != StatusCompleted || again.Attempt() != 2 {
		t.Errorf("%+v %v", again, err)
	}
}

// A job that holds the only copy of an artifact is not replaced.
func TestReplaceKeepsTheOnlyCopy(t *testing.T) {
	root := t.TempDir()
	o := create(t, root, "a")
	mustAppend(t, o, UploadTotals{Artifact: "model", URI: "s3://b/m", Kept: "/x"}, Transition{Status: StatusFailed})
	o.Close()
	_, err := Create(root, Request{Plan: trainingPlan("a"), Replace: true})
	var kept *KeptError
	if !errors.As(err, &kept) || kept.First.Kept != "/x" {
		t.Fatalf("%v", err)
	}
	if o, err = Reopen(o.Dir()); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, o, UploadTotals{Artifact: "model", URI: "s3://b/m"})
	o.Close()
	if o, err = Create(root, Request{Plan: trainingPlan("a"), Replace: true}); err != nil {
		t.Fatal(err)
	}
	o.Close()
}

// A clock that is set back stands still in the record until it is where it was (times never run backwards).
func TestClockSetBack(t *testing.T) {
	clock := filepath.Join(t.TempDir(), "clock")
	t.Setenv("OPTML_CLOCK", clock)
	o := create(t, t.TempDir(), "a")
	defer o.Close()
	last := time.Time{}
	for _, off := range []string{"0s", "3h", "-2h", "nonsense", "4h"} {
		if err := os.WriteFile(clock, []byte(off), 0o644); err != nil {
			t.Fatal(err)
		}
		mustAppend(t, o, StepBegan{})
		if now := o.State().ModifiedTime; now.Before(last) {
			t.Errorf("%s: %v after %v", off, now, last)
		} else {
			last = now
		}
	}
	if until := time.Until(last); until < 3*time.Hour {
		t.Errorf("the last jump does not show: %v", until)
	}
}
