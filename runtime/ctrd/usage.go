package ctrd

import (
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/optml/optml/runtime/cgroup"
	"github.com/optml/optml/runtime/container"
)

// groupUsage reads the counters of a group; those that the host does not have stay zero.
func groupUsage(g cgroup.Group) container.Usage {
	if g.H.Unified != "" {
		return groupUsage2(g)
	}
	return groupUsage1(g)
}

func groupUsage1(g cgroup.Group) container.Usage {
	u := container.Usage{
		CPU:         time.Duration(g.Number("cpuacct", "cpuacct.usage")),
		Throttled:   time.Duration(g.Keyed("cpu", "cpu.stat")["throttled_time"]),
		MemoryBytes: g.Number("memory", "memory.usage_in_bytes"),
		MemoryPeak:  g.Number("memory", "memory.max_usage_in_bytes"),
		MemoryLimit: limit(g.Number("memory", "memory.limit_in_bytes")),
		PIDs:        int(g.Number("pids", "pids.current")),
	}
	u.MemoryBytes = max(0, u.MemoryBytes-g.Keyed("memory", "memory.stat")["total_inactive_file"])
	b, err := os.ReadFile(g.File("blkio", "blkio.throttle.io_service_bytes_recursive"))
	if err != nil {
		b, _ = os.ReadFile(g.File("blkio", "blkio.throttle.io_service_bytes"))
	}
	u.ReadBytes, u.WrittenBytes = parseBlkio(b)
	return u
}

func groupUsage2(g cgroup.Group) container.Usage {
	cpu := g.Keyed("", "cpu.stat")
	u := container.Usage{
		CPU:         time.Duration(cpu["usage_usec"]) * time.Microsecond,
		Throttled:   time.Duration(cpu["throttled_usec"]) * time.Microsecond,
		MemoryBytes: g.Number("", "memory.current"),
		MemoryPeak:  g.Number("", "memory.peak"),
		MemoryLimit: limit(g.Number("", "memory.max")),
		PIDs:        int(g.Number("", "pids.current")),
	}
	u.MemoryBytes = max(0, u.MemoryBytes-g.Keyed("", "memory.stat")["inactive_file"])
	b, _ := os.ReadFile(g.File("", "io.stat"))
	u.ReadBytes, u.WrittenBytes = parseIOStat(b)
	return u
}

// limit turns "no limit" into 0: version 1 says it with the largest multiple of a page, version 2 with "max", which
// number reads as 0.
func limit(n int64) int64 {
	if n >= 1<<62 {
		return 0
	}
	return n
}

// parseBlkio sums the lines "8:0 Read 4096" of version 1.
func parseBlkio(b []byte) (read, written int64) {
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) != 3 {
			continue
		}
		n, _ := strconv.ParseInt(f[2], 10, 64)
		switch f[1] {
		case "Read":
			read += n
		case "Write":
			written += n
		}
	}
	return read, written
}

// parseIOStat sums the lines "8:0 rbytes=4096 wbytes=0 …" of version 2.
func parseIOStat(b []byte) (read, written int64) {
	for f := range strings.FieldsSeq(string(b)) {
		k, v, _ := strings.Cut(f, "=")
		n, _ := strconv.ParseInt(v, 10, 64)
		switch k {
		case "rbytes":
			read += n
		case "wbytes":
			written += n
		}
	}
	return read, written
}

// parseNetDev sums what the interfaces other than the loopback have received and sent, from /proc/PID/net/dev.
func parseNetDev(b []byte) (rx, tx int64) {
	for line := range strings.Lines(string(b)) {
		name, rest, ok := strings.Cut(line, ":")
		f := strings.Fields(rest)
		if !ok || strings.TrimSpace(name) == "lo" || len(f) < 9 {
			continue
		}
		r, _ := strconv.ParseInt(f[0], 10, 64)
		t, _ := strconv.ParseInt(f[8], 10, 64)
		rx, tx = rx+r, tx+t
	}
	return rx, tx
}
