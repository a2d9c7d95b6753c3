package ctrd

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/optml/optml/runtime/container"
)

// cgroupParent is the directory of the hierarchy under which every container of ours lies: /optml/JOB/CONTAINER.
const cgroupParent = "/optml"

// hierarchy is where the host's control groups are mounted.
type hierarchy struct {
	unified string            // mount point of a pure version 2 host, else ""
	v1      map[string]string // controller -> mount point
}

var hostHierarchy = sync.OnceValues(func() (hierarchy, error) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return hierarchy{}, fmt.Errorf("find control groups: %w", err)
	}
	return parseHierarchy(b)
})

// parseHierarchy reads a mountinfo. A host with version 1 controllers and a version 2 tree without any ("hybrid") is
// of version 1.
func parseHierarchy(mountinfo []byte) (hierarchy, error) {
	h := hierarchy{v1: map[string]string{}}
	var v2 string
	for line := range strings.Lines(string(mountinfo)) {
		left, right, ok := strings.Cut(line, " - ")
		if !ok {
			continue
		}
		l, r := strings.Fields(left), strings.Fields(right)
		if len(l) < 5 || len(r) < 3 {
			continue
		}
		switch r[0] {
		case "cgroup2":
			if v2 == "" {
				v2 = l[4]
			}
		case "cgroup":
			for opt := range strings.SplitSeq(r[2], ",") {
				if _, ok := h.v1[opt]; !ok {
					h.v1[opt] = l[4]
				}
			}
		}
	}
	if _, ok := h.v1["memory"]; !ok {
		h.v1, h.unified = nil, v2
	} else if v2 != "" {
		h.v1["unified"] = v2 // runc makes a container's group there too
	}
	if h.unified == "" && len(h.v1) == 0 {
		return h, errors.New("find control groups: none mounted under /sys/fs/cgroup")
	}
	return h, nil
}

func (h hierarchy) String() string {
	if h.unified != "" {
		return "v2"
	}
	return "v1"
}

// dirs are all directories that a cgroup path has on this host, without duplicates.
func (h hierarchy) dirs(path string) []string {
	if h.unified != "" {
		return []string{filepath.Join(h.unified, path)}
	}
	seen := map[string]bool{}
	var out []string
	for _, mount := range h.v1 {
		if !seen[mount] {
			seen[mount] = true
			out = append(out, filepath.Join(mount, path))
		}
	}
	return out
}

// cgroup is one container's control group.
type cgroup struct {
	h    hierarchy
	path string // /optml/JOB/CONTAINER
}

func (g cgroup) file(controller, name string) string {
	if g.h.unified != "" {
		return filepath.Join(g.h.unified, g.path, name)
	}
	return filepath.Join(g.h.v1[controller], g.path, name)
}

// ours says whether the group is one of a container of ours. It is asked before anything is killed or removed: an
// empty path would mean the whole host.
func (g cgroup) ours() error {
	rest, ok := strings.CutPrefix(g.path, cgroupParent+"/")
	job, id, two := strings.Cut(rest, "/")
	if !ok || !two || job == "" || id == "" || filepath.Clean(g.path) != g.path {
		return fmt.Errorf("cgroup %q is not a container's", g.path)
	}
	return nil
}

// pids are the processes in the group and below it. A group that does not exist has none.
func (g cgroup) pids() ([]int, error) {
	if err := g.ours(); err != nil {
		return nil, err
	}
	root := filepath.Dir(g.file("memory", "cgroup.procs"))
	var out []int
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return ignoreGone(err)
		}
		b, err := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		if err != nil {
			return ignoreGone(err)
		}
		for f := range strings.FieldsSeq(string(b)) {
			if pid, err := strconv.Atoi(f); err == nil {
				out = append(out, pid)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list processes of %s: %w", g.path, err)
	}
	return out, nil
}

func ignoreGone(err error) error {
	// A group that is removed meanwhile answers ENODEV to an open file of it.
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

// killPoll is how often a group that is being killed is looked at.
const killPoll = 2 * time.Millisecond

// kill kills every process in the group and returns when it is empty.
func (g cgroup) kill(ctx context.Context) error {
	for {
		pids, err := g.pids()
		if err != nil {
			return err
		}
		if len(pids) == 0 {
			return nil
		}
		if g.h.unified == "" || os.WriteFile(g.file("", "cgroup.kill"), []byte("1"), 0) != nil {
			for _, pid := range pids {
				if pid > 1 {
					unix.Kill(pid, unix.SIGKILL)
				}
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("kill %d processes of %s: %w", len(pids), g.path, context.Cause(ctx))
		case <-time.After(killPoll):
		}
	}
}

// remove removes the group's directories, which must be empty of processes, and the job's if it was the last.
func (g cgroup) remove() error {
	if err := g.ours(); err != nil {
		return err
	}
	var errs []error
	for _, dir := range g.h.dirs(g.path) {
		if err := removeTree(dir); err != nil {
			errs = append(errs, err)
		}
		unix.Rmdir(filepath.Dir(dir)) // fails while another container of the job is there
		unix.Rmdir(filepath.Dir(filepath.Dir(dir)))
	}
	return errors.Join(errs...)
}

// removeTree removes a group and those below it, deepest first; files in them go with them.
func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return ignoreGone(err)
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove cgroup %s: %w", dir, err)
	}
	return nil
}

// oomKilled says whether the kernel killed a process of the group for lack of memory (END-3). The files live until
// the task is deleted.
func (g cgroup) oomKilled() bool {
	name := "memory.oom_control"
	if g.h.unified != "" {
		name = "memory.events"
	}
	b, err := os.ReadFile(g.file("memory", name))
	return err == nil && keyed(b)["oom_kill"] > 0
}

// usage reads the counters of the group; those that the host does not have stay zero.
func (g cgroup) usage() container.Usage {
	if g.h.unified != "" {
		return g.usage2()
	}
	return g.usage1()
}

func (g cgroup) usage1() container.Usage {
	u := container.Usage{
		CPU:         time.Duration(g.number("cpuacct", "cpuacct.usage")),
		MemoryBytes: g.number("memory", "memory.usage_in_bytes"),
		MemoryPeak:  g.number("memory", "memory.max_usage_in_bytes"),
		MemoryLimit: limit(g.number("memory", "memory.limit_in_bytes")),
		PIDs:        int(g.number("pids", "pids.current")),
	}
	u.MemoryBytes = max(0, u.MemoryBytes-g.keyed("memory", "memory.stat")["total_inactive_file"])
	b, err := os.ReadFile(g.file("blkio", "blkio.throttle.io_service_bytes_recursive"))
	if err != nil {
		b, _ = os.ReadFile(g.file("blkio", "blkio.throttle.io_service_bytes"))
	}
	u.ReadBytes, u.WrittenBytes = parseBlkio(b)
	return u
}

func (g cgroup) usage2() container.Usage {
	u := container.Usage{
		CPU:         time.Duration(g.keyed("", "cpu.stat")["usage_usec"]) * time.Microsecond,
		MemoryBytes: g.number("", "memory.current"),
		MemoryPeak:  g.number("", "memory.peak"),
		MemoryLimit: limit(g.number("", "memory.max")),
		PIDs:        int(g.number("", "pids.current")),
	}
	u.MemoryBytes = max(0, u.MemoryBytes-g.keyed("", "memory.stat")["inactive_file"])
	b, _ := os.ReadFile(g.file("", "io.stat"))
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

func (g cgroup) number(controller, name string) int64 {
	b, err := os.ReadFile(g.file(controller, name))
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseInt(string(bytes.TrimSpace(b)), 10, 64)
	return n
}

func (g cgroup) keyed(controller, name string) map[string]int64 {
	b, err := os.ReadFile(g.file(controller, name))
	if err != nil {
		return nil
	}
	return keyed(b)
}

// keyed reads lines of "key value".
func keyed(b []byte) map[string]int64 {
	out := map[string]int64{}
	for sc := bufio.NewScanner(bytes.NewReader(b)); sc.Scan(); {
		k, v, ok := strings.Cut(sc.Text(), " ")
		if n, err := strconv.ParseInt(v, 10, 64); ok && err == nil {
			out[k] = n
		}
	}
	return out
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
