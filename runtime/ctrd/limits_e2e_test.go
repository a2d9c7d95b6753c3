//go:build e2e

package ctrd

import (
	"os"
	"testing"
	"time"

	"github.com/optml/optml/test/images"
)

func TestOOM(t *testing.T) { // END-3
	s := newSpec(t, "TINY_ALLOCATE_MB=all")
	s.Memory = 64 << 20
	task := launch(t, s)
	if err := task.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e := wait(t, task); e.Code != 137 || !e.OOM {
		t.Errorf("exit is %+v, want 137 by OOM", e)
	}
	u, err := task.Usage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if u.MemoryLimit != 64<<20 || u.MemoryPeak < 32<<20 || u.CPU <= 0 {
		t.Errorf("usage is %+v", u)
	}
}

func TestUsage(t *testing.T) {
	s := newSpec(t, "TINY_ALLOCATE_MB=50", "TINY_SLEEP=5m", "TINY_LISTEN=127.0.0.1:8080")
	task := launch(t, s)
	if err := task.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the memory to be in use", func() bool {
		u, err := task.Usage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return u.MemoryBytes > 50<<20 && u.CPU > 0 && u.PIDs > 0 && u.MemoryLimit == 0
	})
}

func TestBigLog(t *testing.T) { // nothing lost, nothing cut
	s := newSpec(t, "TINY_STDOUT_MB=50", "TINY_STDERR_MB=10")
	task := launch(t, s)
	began := time.Now()
	if err := task.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e := wait(t, task); e.Code != 0 {
		t.Fatalf("exit is %+v", e)
	}
	if err := task.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("%v", time.Since(began))
	for stream, n := range map[string]int64{"out": 500_000, "err": 100_000} {
		f, err := os.Open(s.Log + ".log")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := images.CheckLines(f, stream, n); err != nil {
			t.Errorf("%s: %v", stream, err)
		}
	}
}
