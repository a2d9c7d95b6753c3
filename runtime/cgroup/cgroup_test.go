package cgroup

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestParseHierarchy(t *testing.T) {
	const hybrid = `30 23 0:26 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:10 - cgroup2 cgroup2 rw
32 30 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
`
	const unified = `35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate
36 24 0:31 / /proc rw - proc proc rw
`
	h, err := parseHierarchy([]byte(hybrid))
	if err != nil || h.String() != "v1" || h.V1["cpuacct"] != "/sys/fs/cgroup/cpu,cpuacct" || h.V1["unified"] != "/sys/fs/cgroup/unified" {
		t.Errorf("hybrid is %+v, %v", h, err)
	}
	g := Group{H: h, Path: "/optml/j/c"}
	if got := g.File("cpuacct", "cpuacct.usage"); got != "/sys/fs/cgroup/cpu,cpuacct/optml/j/c/cpuacct.usage" {
		t.Error(got)
	}
	dirs := map[string]bool{}
	for _, d := range h.Dirs("/optml") {
		dirs[d] = true
	}
	want := map[string]bool{"/sys/fs/cgroup/memory/optml": true, "/sys/fs/cgroup/cpu,cpuacct/optml": true, "/sys/fs/cgroup/unified/optml": true}
	for d := range want {
		if !dirs[d] {
			t.Errorf("%s is not among %v", d, dirs)
		}
	}
	h, err = parseHierarchy([]byte(unified))
	if err != nil || h.String() != "v2" || h.Unified != "/sys/fs/cgroup" {
		t.Errorf("unified is %+v, %v", h, err)
	}
	if _, err := parseHierarchy([]byte("36 24 0:31 / /proc rw - proc proc rw\n")); err == nil {
		t.Error("a host without control groups is no error")
	}
}

// fixture makes the files of a group; the texts are those of real hosts.
func fixture(t *testing.T, files map[string]string) string {
	dir := t.TempDir()
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestGroupsThatAreNotOurs(t *testing.T) {
	dir := fixture(t, map[string]string{"cgroup.procs": "1\n", "system.slice/cgroup.procs": "2\n"})
	for _, path := range []string{"", "/", "/optml", "/optml/j", "/optml/../system.slice", "/system.slice", "/optml/j/../..", "/optml//c"} {
		g := Group{H: Hierarchy{Unified: dir}, Path: path}
		if _, err := g.PIDs(); err == nil {
			t.Errorf("%q: its processes would be killed", path)
		}
		if err := g.Remove(); err == nil {
			t.Errorf("%q: it would be removed", path)
		}
	}
}

// TestOOMKilled reads the counter of either version; a group that has gone was not killed.
func TestOOMKilled(t *testing.T) {
	v1 := fixture(t, map[string]string{"memory/optml/j/c/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"})
	v2 := fixture(t, map[string]string{"optml/j/c/memory.events": "max 12\noom 1\noom_kill 1\n"})
	for _, c := range []struct {
		h    Hierarchy
		want bool
	}{
		{Hierarchy{V1: map[string]string{"memory": filepath.Join(v1, "memory")}}, true},
		{Hierarchy{Unified: v2}, true},
		{Hierarchy{Unified: t.TempDir()}, false},
	} {
		g := Group{H: c.h, Path: "/optml/j/c"}
		if got := g.OOMKilled(); got != c.want {
			t.Errorf("%v: %v", c.h, got)
		}
		if pids, err := g.PIDs(); err != nil || len(pids) > 0 {
			t.Errorf("%v: processes %v, %v", c.h, pids, err)
		}
	}
}

// TestHold: while somebody makes groups, nobody removes the directories above them.
func TestHold(t *testing.T) {
	h := Hierarchy{Unified: t.TempDir()}
	g := Group{H: h, Path: "/optml/j/c"}
	if err := os.MkdirAll(filepath.Join(h.Unified, "optml/j/c"), 0o755); err != nil {
		t.Fatal(err)
	}
	release, err := h.Hold()
	if err != nil {
		t.Fatal(err)
	}
	other, err := h.Hold() // several may
	if err != nil {
		t.Fatal(err)
	}
	other()
	removed := make(chan error)
	go func() { removed <- g.Remove() }()
	select {
	case err := <-removed:
		t.Fatalf("removed while it was held: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	if _, err := os.Stat(filepath.Join(h.Unified, "optml/j")); err != nil {
		t.Error(err)
	}
	release()
	if err := <-removed; err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(h.Unified, "optml")); !os.IsNotExist(err) {
		t.Errorf("the parent is still there: %v", err)
	}
}
