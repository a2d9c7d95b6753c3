package ctrd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/optml/optml/runtime/container"
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
	if err != nil || h.String() != "v1" || h.v1["cpuacct"] != "/sys/fs/cgroup/cpu,cpuacct" || h.v1["unified"] != "/sys/fs/cgroup/unified" {
		t.Errorf("hybrid is %+v, %v", h, err)
	}
	g := cgroup{h: h, path: "/optml/j/c"}
	if got := g.file("cpuacct", "cpuacct.usage"); got != "/sys/fs/cgroup/cpu,cpuacct/optml/j/c/cpuacct.usage" {
		t.Error(got)
	}
	dirs := map[string]bool{}
	for _, d := range h.dirs("/optml") {
		dirs[d] = true
	}
	want := map[string]bool{"/sys/fs/cgroup/memory/optml": true, "/sys/fs/cgroup/cpu,cpuacct/optml": true, "/sys/fs/cgroup/unified/optml": true}
	for d := range want {
		if !dirs[d] {
			t.Errorf("%s is not among %v", d, dirs)
		}
	}
	h, err = parseHierarchy([]byte(unified))
	if err != nil || h.String() != "v2" || h.unified != "/sys/fs/cgroup" {
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

func TestUsageVersion1(t *testing.T) {
	dir := fixture(t, map[string]string{
		"cpuacct/optml/j/c/cpuacct.usage":                           "1234567890\n",
		"memory/optml/j/c/memory.usage_in_bytes":                    "104857600\n",
		"memory/optml/j/c/memory.max_usage_in_bytes":                "209715200\n",
		"memory/optml/j/c/memory.limit_in_bytes":                    "9223372036854771712\n",
		"memory/optml/j/c/memory.stat":                              "cache 4096\nrss 100\ninactive_file 1\ntotal_inactive_file 4857600\n",
		"memory/optml/j/c/memory.oom_control":                       "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
		"pids/optml/j/c/pids.current":                               "7\n",
		"blkio/optml/j/c/blkio.throttle.io_service_bytes_recursive": "254:0 Read 8192\n254:0 Write 4096\n254:0 Sync 0\n8:0 Read 1\n254:0 Total 12288\nTotal 12289\n",
	})
	h := hierarchy{v1: map[string]string{}}
	for _, c := range []string{"cpuacct", "memory", "pids", "blkio"} {
		h.v1[c] = filepath.Join(dir, c)
	}
	g := cgroup{h: h, path: "/optml/j/c"}
	want := container.Usage{
		CPU: 1234567890, MemoryBytes: 100_000_000, MemoryPeak: 209715200, ReadBytes: 8193, WrittenBytes: 4096, PIDs: 7,
	}
	if diff := cmp.Diff(want, g.usage()); diff != "" {
		t.Error(diff)
	}
	if !g.oomKilled() {
		t.Error("the OOM kill is not seen")
	}
}

func TestUsageVersion2(t *testing.T) {
	dir := fixture(t, map[string]string{
		"optml/j/c/cpu.stat":       "usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\nnr_periods 0\n",
		"optml/j/c/memory.current": "104857600\n",
		"optml/j/c/memory.peak":    "209715200\n",
		"optml/j/c/memory.max":     "max\n",
		"optml/j/c/memory.stat":    "anon 100\nfile 200\ninactive_file 4857600\nactive_file 7\n",
		"optml/j/c/memory.events":  "low 0\nhigh 0\nmax 12\noom 1\noom_kill 1\noom_group_kill 0\n",
		"optml/j/c/pids.current":   "7\n",
		"optml/j/c/io.stat":        "254:0 rbytes=8192 wbytes=4096 rios=2 wios=1 dbytes=0 dios=0\n8:0 rbytes=1 wbytes=0 rios=1 wios=0\n",
	})
	g := cgroup{h: hierarchy{unified: dir}, path: "/optml/j/c"}
	want := container.Usage{
		CPU: 2500 * time.Millisecond, MemoryBytes: 100_000_000, MemoryPeak: 209715200, ReadBytes: 8193, WrittenBytes: 4096, PIDs: 7,
	}
	if diff := cmp.Diff(want, g.usage()); diff != "" {
		t.Error(diff)
	}
	if !g.oomKilled() {
		t.Error("the OOM kill is not seen")
	}
	if err := os.WriteFile(filepath.Join(dir, "optml/j/c/memory.max"), []byte("67108864\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := g.usage().MemoryLimit; got != 64<<20 {
		t.Errorf("limit is %d", got)
	}
}

// TestUsageOfNothing is a host without some controllers, or a group that has gone: zeros, no failure.
func TestUsageOfNothing(t *testing.T) {
	g := cgroup{h: hierarchy{unified: t.TempDir()}, path: "/optml/j/c"}
	if diff := cmp.Diff(container.Usage{}, g.usage()); diff != "" {
		t.Error(diff)
	}
	if g.oomKilled() {
		t.Error("an OOM kill of nothing")
	}
	if pids, err := g.pids(); err != nil || len(pids) > 0 {
		t.Errorf("processes %v, %v", pids, err)
	}
}

func TestGroupsThatAreNotOurs(t *testing.T) {
	dir := fixture(t, map[string]string{"cgroup.procs": "1\n", "system.slice/cgroup.procs": "2\n"})
	for _, path := range []string{"", "/", "/optml", "/optml/j", "/optml/../system.slice", "/system.slice", "/optml/j/../..", "/optml//c"} {
		g := cgroup{h: hierarchy{unified: dir}, path: path}
		if _, err := g.pids(); err == nil {
			t.Errorf("%q: its processes would be killed", path)
		}
		if err := g.remove(); err == nil {
			t.Errorf("%q: it would be removed", path)
		}
	}
}

func TestParseNetDev(t *testing.T) {
	const text = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:    9999      99    0    0    0     0          0         0     9999      99    0    0    0     0       0          0
  eth0:    1500      10    0    0    0     0          0         0      700       5    0    0    0     0       0          0
`
	if rx, tx := parseNetDev([]byte(text)); rx != 1500 || tx != 700 {
		t.Errorf("received %d, sent %d", rx, tx)
	}
	if rx, tx := parseNetDev([]byte(strings.Repeat("x:\n", 3))); rx != 0 || tx != 0 {
		t.Errorf("rubbish is %d, %d", rx, tx)
	}
}

func TestSeccompOf(t *testing.T) {
	for text, want := range map[string]bool{
		`{"linux":{"seccomp":{"enabled":true}}}`: true, `{"linux":{"seccomp":{"enabled":false}}}`: false,
		`{"linux":{"seccomp":{}}}`: true, `{"linux":{}}`: false, `not json`: false,
	} {
		if got := seccompOf([]byte(text)); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}
