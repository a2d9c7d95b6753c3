package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/optml/optml/ledger"
	"github.com/optml/optml/runtime/container"
)

// slowImages answers when the test says so.
type slowImages struct{ asked, answer chan struct{} }

func (s slowImages) Ensure(context.Context, string, container.Pull) (container.Image, error) {
	close(s.asked)
	<-s.answer
	return container.Image{Ref: "x"}, nil
}

// A pull is a bar while it lasts, at 100 % too, and none afterwards.
func TestPullsAreBars(t *testing.T) {
	s := slowImages{make(chan struct{}), make(chan struct{})}
	p := &pulls{images: s}
	if got := p.meters(); len(got) > 0 {
		t.Errorf("meters before any pull: %+v", got)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if i, err := p.Ensure(t.Context(), "docker.io/library/big:1", ""); err != nil || i.Ref != "x" {
			t.Errorf("Ensure = %+v, %v", i, err)
		}
	}()
	<-s.asked
	if got := p.meters(); len(got) > 0 {
		t.Errorf("an image that is here, or a registry that has not answered, is no bar: %+v", got)
	}
	count := p.now["docker.io/library/big:1"]
	count.Total.Store(100 << 20)
	count.Done.Store(100 << 20)
	count.Unpacking.Store(1)

	o := makeJob(t, "a")
	o.Live(ledger.Snapshot{})
	appendAll(t, o, ledger.Transition{Status: "InProgress", Secondary: "Downloading"})
	var b bytes.Buffer
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		con := newConsole(&b)
		con.wide = 100
		progressOptions{mode: progressBars, pulls: p}.watch(t.Context(), o.Job(), con)
	}()
	time.Sleep(600 * time.Millisecond)
	close(s.answer)
	<-done
	if got := p.meters(); len(got) > 0 {
		t.Errorf("meters after the pull: %+v", got)
	}
	appendAll(t, o, ledger.Transition{Status: "Completed"})
	<-watched
	for _, want := range []string{"pull big:1", "100.0 MiB / 100.0 MiB", "unpacking"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in %q", want, b.String())
		}
	}
	if last := b.String()[strings.LastIndex(b.String(), "\x1b[J"):]; strings.Contains(last, "pull") {
		t.Errorf("the bar is still there at the end: %q", last)
	}
}
