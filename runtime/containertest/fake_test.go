package containertest

import (
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/optml/optml/runtime/container"
)

func TestSuite(t *testing.T) {
	defer goleak.VerifyNone(t)
	l := New(map[string]Image{"tiny": Tiny()})
	var n atomic.Int64
	RunSuite(t, Subject{Launcher: l, Spec: func(t *testing.T) container.Spec {
		return container.Spec{
			ID: fmt.Sprintf("c%d", n.Add(1)), Job: t.TempDir(), Image: "tiny", Log: filepath.Join(t.TempDir(), "algo-1"),
			Network: container.Network{Isolated: true},
		}
	}})
	if left := l.Live(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestPathIsBelowTheDeepestMount(t *testing.T) {
	p := &Process{Spec: container.Spec{Mounts: []container.Mount{
		{Source: "/host/ml", Target: "/opt/ml"}, {Source: "/host/train", Target: "/opt/ml/input/data/train"},
	}}}
	for name, want := range map[string]string{
		"/opt/ml/model/w":             "/host/ml/model/w",
		"/opt/ml/input/data/train/x":  "/host/train/x",
		"/opt/ml/input/data/train":    "/host/train",
		"/opt/ml/input/data/training": "/host/ml/input/data/training",
	} {
		if got := p.Path(name); got != want {
			t.Errorf("%s is at %s, want %s", name, got, want)
		}
	}
}

func TestOOM(t *testing.T) {
	l := New(map[string]Image{"i": {Entrypoint: []string{"run"}, Commands: map[string]Program{"run": func(p *Process) int { p.OOM(); return 0 }}}})
	task, err := l.Launch(t.Context(), container.Spec{ID: "a", Job: t.TempDir(), Image: "i", Log: filepath.Join(t.TempDir(), "a"), Args: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	defer task.Close(t.Context())
	if err := task.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e, err := task.Wait(t.Context()); err != nil || !e.OOM || e.Code != 137 {
		t.Errorf("exit is %+v, %v", e, err)
	}
}
