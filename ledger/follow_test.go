package ledger

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// followers are the ways to follow a job: in its owner's process, and in another.
var followers = map[string]func(*testing.T, *Owner) *Job{
	"here": func(_ *testing.T, o *Owner) *Job { return o.Job() },
	"elsewhere": func(t *testing.T, o *Owner) *Job {
		j, err := Open(o.Dir())
		if err != nil {
			t.Fatal(err)
		}
		return j
	},
}

func TestFollowWaitsForEvents(t *testing.T) {
	for name, from := range followers {
		t.Run(name, func(t *testing.T) {
			o := create(t, t.TempDir(), "a")
			j := from(t, o)
			var wg sync.WaitGroup
			defer wg.Wait()
			wg.Go(func() {
				for range 20 {
					time.Sleep(time.Millisecond)
					o.Append(Warning{Text: "w"})
				}
				o.Append(Transition{Status: StatusCompleted})
				o.Append(Warning{Text: "after the end"})
			})
			var n int64
			for e, err := range j.Follow(t.Context()) {
				if n++; err != nil || e.Seq != n {
					t.Fatal(e, err)
				}
			}
			if n != 21 {
				t.Errorf("%d events", n)
			}
		})
	}
}

func TestFollowIsPrompt(t *testing.T) {
	for name, from := range followers {
		t.Run(name, func(t *testing.T) { followIsPrompt(t, from) })
	}
}

func followIsPrompt(t *testing.T, from func(*testing.T, *Owner) *Job) {
	// On a busy machine one event may be late for other reasons; the poll would make every one late.
	for try := range 5 {
		o := create(t, t.TempDir(), "a")
		j := from(t, o)
		go func() {
			time.Sleep(20 * time.Millisecond) // long enough for the first reading to have ended
			o.Append(Transition{Status: StatusCompleted})
		}()
		var late time.Duration
		for e, err := range j.Follow(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			late = time.Since(e.Time)
		}
		if late <= pollEvery/2 {
			return
		}
		if try == 4 {
			t.Errorf("told after %v: by the poll, not woken", late)
		}
	}
}

func TestFollowEndsWithItsContext(t *testing.T) {
	o := create(t, t.TempDir(), "a")
	cause := errors.New("the user went away")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(10*time.Millisecond, func() { cancel(cause) })
	for _, err := range o.Job().Follow(ctx) {
		if !errors.Is(err, cause) {
			t.Fatal(err)
		}
	}
	mustAppend(t, o, Warning{}, Warning{Text: "2"})
	for range o.Job().Follow(t.Context()) {
		break // a reader that has seen enough
	}
}

// An owner that died leaves no one waiting; when another has adopted, following goes on.
func TestFollowOwnerDies(t *testing.T) {
	root := t.TempDir()
	c := start(t, "owner", root)
	j, err := Open(filepath.Join(root, "training", "owned"))
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(20*time.Millisecond, func() { c.Process.Kill() })
	n := 0
	for _, err := range j.Follow(t.Context()) {
		n++
		if !errors.Is(err, ErrOwnerDead) {
			t.Fatal(err)
		}
	}
	if n != 1 {
		t.Error(n)
	}
	c.wait()
	o, err := Adopt(j.Dir())
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		time.Sleep(20 * time.Millisecond)
		o.Append(Transition{Status: StatusFailed})
		o.Close()
	})
	for _, err := range j.Follow(t.Context()) {
		if err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
}

// D13.
func TestStops(t *testing.T) {
	o := create(t, t.TempDir(), "a")
	j := o.Job()
	if err := j.RequestStop(Stop{Reason: "before"}); err != nil {
		t.Fatal(err)
	}
	stops := o.Stops()
	if s := <-stops; s.Reason != "before" || s.Kill || s.At.IsZero() {
		t.Errorf("%+v", s)
	}
	if err := j.RequestStop(Stop{Reason: "again"}); err != nil {
		t.Error("asking again:", err)
	}
	if err := j.RequestStop(Stop{Reason: "now", Kill: true}); err != nil {
		t.Fatal(err)
	}
	if s := <-stops; s.Reason != "now" || !s.Kill {
		t.Errorf("%+v", s)
	}
	if o.Stops() != stops {
		t.Error("another channel")
	}
	finish(t, o, StatusStopped)
	if s, ok := <-stops; ok {
		t.Errorf("told of %+v", s)
	}
	if err := j.RequestStop(Stop{}); !errors.Is(err, ErrFinished) {
		t.Error(err)
	}
	entries, _ := filepath.Glob(filepath.Join(o.Dir(), ".tmp-*"))
	if len(entries) > 0 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestStopsClosedUnheard(t *testing.T) {
	o := create(t, t.TempDir(), "a")
	o.Close()
	if _, ok := <-o.Stops(); ok {
		t.Error("a stop from nowhere")
	}
	// What is in the file does not matter: somebody made it to stop the job.
	o = create(t, t.TempDir(), "b")
	if err := os.WriteFile(filepath.Join(o.Dir(), "stop.json"), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s := <-o.Stops(); s.Reason == "" || s.Kill {
		t.Errorf("%+v", s)
	}
}

// An owner polled in a bubble lets the bubble's clock run: an hour's wait takes no time.
func TestOwnerInABubble(t *testing.T) {
	root := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		o, err := Create(root, Request{Plan: trainingPlan("a")})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		time.AfterFunc(time.Hour, func() { o.Job().RequestStop(Stop{Reason: "late"}) })
		s := <-o.Stops()
		if waited := time.Since(began); s.Reason != "late" || waited < time.Hour || waited > time.Hour+time.Second {
			t.Errorf("%+v after %v", s, waited)
		}
		time.AfterFunc(time.Minute, func() { o.Append(Transition{Status: StatusStopped}) })
		n := 0
		for _, err := range o.Job().Follow(t.Context()) {
			if n++; err != nil {
				t.Error(err)
			}
		}
		if n != 1 {
			t.Error(n)
		}
		o.Close()
	})
}

func TestLive(t *testing.T) {
	o := create(t, t.TempDir(), "a")
	j := o.Job()
	if _, ok, err := j.Live(); ok || err != nil {
		t.Error(ok, err)
	}
	o.Live(Snapshot{At: t0, Step: "run", Channels: []ChannelLive{{ChannelTotals: ChannelTotals{Channel: "train", Bytes: 5}}}, Transform: &TransformLive{Objects: 1}})
	s, ok, err := j.Live()
	if !ok || err != nil || s.Step != "run" || s.Channels[0].Bytes != 5 || s.Transform.Objects != 1 {
		t.Error(s, ok, err)
	}
	o.Close()
	o.Live(Snapshot{})
	if _, ok, err := j.Live(); ok || err != nil {
		t.Error("live counters of a job that nobody runs:", ok, err)
	}
}
