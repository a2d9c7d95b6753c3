//go:build e2e

package ctrd

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/optml/optml/runtime/cgroup"
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

// Ruling 14: a container that is given a processor sees one, is bound to it and gets its time; its limits stand where
// programs look for them. A second one gets another.
func TestCPUs(t *testing.T) {
	if runtime.NumCPU() < 2 {
		t.Skip("this host has one processor")
	}
	bound := map[string]bool{}
	for range 2 {
		s := newSpec(t, "TINY_SLEEP=5m")
		s.CPUs, s.Memory = 1, 256<<20
		task := launch(t, s)
		if err := task.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		status := readProc(t, task.PID(), "status")
		_, rest, _ := strings.Cut(status, "Cpus_allowed_list:")
		cpus, _, _ := strings.Cut(strings.TrimSpace(rest), "\n")
		if strings.ContainsAny(cpus, ",-") || cpus == "" {
			t.Errorf("bound to %q, want one processor", cpus)
		}
		bound[cpus] = true
		quota, memory := "cpu.max", "memory.max"
		if h, err := cgroup.Host(); err != nil {
			t.Fatal(err)
		} else if h.Unified == "" {
			quota, memory = "cpu/cpu.cfs_quota_us", "memory/memory.limit_in_bytes"
		}
		quota, memory = readProc(t, task.PID(), "root/sys/fs/cgroup/"+quota), readProc(t, task.PID(), "root/sys/fs/cgroup/"+memory)
		if strings.Fields(quota)[0] != "100000" || strings.TrimSpace(memory) != "268435456" {
			t.Errorf("quota %q, memory %q", quota, memory)
		}
	}
	if len(bound) != 2 {
		t.Errorf("two containers are bound to %v", bound)
	}
}

// On a host of version 2 a container has a hierarchy of its own, as in Docker.
func TestCgroupVersion2(t *testing.T) {
	h, err := cgroup.Host()
	if err != nil {
		t.Fatal(err)
	}
	if h.Unified == "" {
		t.Skip("this host has control groups of version 1; version 2 is shown by the fixtures of runtime/cgroup and TestUsageVersion2")
	}
	s := newSpec(t, "TINY_SLEEP=5m")
	s.Memory = 128 << 20
	task := launch(t, s)
	if err := task.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := readProc(t, task.PID(), "root/sys/fs/cgroup/memory.max"); strings.TrimSpace(got) != "134217728" {
		t.Errorf("memory.max is %q", got)
	}
	if u, err := task.Usage(t.Context()); err != nil || u.MemoryLimit != 128<<20 || u.PIDs == 0 {
		t.Errorf("usage is %+v, %v", u, err)
	}
}

// readProc reads a file of a process.
func readProc(t *testing.T, pid int, name string) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
	if err != nil {
		t.Error(err)
		return "none"
	}
	return string(b)
}
