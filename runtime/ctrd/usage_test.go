package ctrd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/optml/optml/runtime/cgroup"
	"github.com/optml/optml/runtime/container"
)

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
		"cpu/optml/j/c/cpu.stat":                                    "nr_periods 10\nnr_throttled 2\nthrottled_time 55000000\n",
		"blkio/optml/j/c/blkio.throttle.io_service_bytes_recursive": "254:0 Read 8192\n254:0 Write 4096\n254:0 Sync 0\n8:0 Read 1\n254:0 Total 12288\nTotal 12289\n",
	})
	h := cgroup.Hierarchy{V1: map[string]string{}}
	for _, c := range []string{"cpu", "cpuacct", "memory", "pids", "blkio"} {
		h.V1[c] = filepath.Join(dir, c)
	}
	g := cgroup.Group{H: h, Path: "/optml/j/c"}
	want := container.Usage{
		CPU: 1234567890, Throttled: 55 * time.Millisecond, MemoryBytes: 100_000_000, MemoryPeak: 209715200, ReadBytes: 8193, WrittenBytes: 4096, PIDs: 7,
	}
	if diff := cmp.Diff(want, groupUsage(g)); diff != "" {
		t.Error(diff)
	}
	if !g.OOMKilled() {
		t.Error("the OOM kill is not seen")
	}
}

func TestUsageVersion2(t *testing.T) {
	dir := fixture(t, map[string]string{
		"optml/j/c/cpu.stat":       "usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\nnr_periods 9\nnr_throttled 1\nthrottled_usec 7000\n",
		"optml/j/c/memory.current": "104857600\n",
		"optml/j/c/memory.peak":    "209715200\n",
		"optml/j/c/memory.max":     "max\n",
		"optml/j/c/memory.stat":    "anon 100\nfile 200\ninactive_file 4857600\nactive_file 7\n",
		"optml/j/c/memory.events":  "low 0\nhigh 0\nmax 12\noom 1\noom_kill 1\noom_group_kill 0\n",
		"optml/j/c/pids.current":   "7\n",
		"optml/j/c/io.stat":        "254:0 rbytes=8192 wbytes=4096 rios=2 wios=1 dbytes=0 dios=0\n8:0 rbytes=1 wbytes=0 rios=1 wios=0\n",
	})
	g := cgroup.Group{H: cgroup.Hierarchy{Unified: dir}, Path: "/optml/j/c"}
	want := container.Usage{
		CPU: 2500 * time.Millisecond, Throttled: 7 * time.Millisecond, MemoryBytes: 100_000_000, MemoryPeak: 209715200, ReadBytes: 8193, WrittenBytes: 4096, PIDs: 7,
	}
	if diff := cmp.Diff(want, groupUsage(g)); diff != "" {
		t.Error(diff)
	}
	if !g.OOMKilled() {
		t.Error("the OOM kill is not seen")
	}
	if err := os.WriteFile(filepath.Join(dir, "optml/j/c/memory.max"), []byte("67108864\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := groupUsage(g).MemoryLimit; got != 64<<20 {
		t.Errorf("limit is %d", got)
	}
}

// TestUsageOfNothing is a host without some controllers, or a group that has gone: zeros, no failure.
func TestUsageOfNothing(t *testing.T) {
	g := cgroup.Group{H: cgroup.Hierarchy{Unified: t.TempDir()}, Path: "/optml/j/c"}
	if diff := cmp.Diff(container.Usage{}, groupUsage(g)); diff != "" {
		t.Error(diff)
	}
	if g.OOMKilled() {
		t.Error("an OOM kill of nothing")
	}
	if pids, err := g.PIDs(); err != nil || len(pids) > 0 {
		t.Errorf("processes %v, %v", pids, err)
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
