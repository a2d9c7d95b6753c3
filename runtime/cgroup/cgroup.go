// Package cgroup is the control groups of containers, in version 1 and 2: who is in one, what it counts, and its end.
package cgroup

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
)

// Parent is the directory of the hierarchy under which every container of ours lies: /optml/JOB/CONTAINER.
const Parent = "/optml"

// Hierarchy is where the host's control groups are mounted.
type Hierarchy struct {
	Unified string            // mount point of a pure version 2 host, else ""
	V1      map[string]string // controller -> mount point
}

// Host is the hierarchy of this host, read once.
var Host = sync.OnceValues(func() (Hierarchy, error) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return Hierarchy{}, fmt.Errorf("find control groups: %w", err)
	}
	return parseHierarchy(b)
})

// parseHierarchy reads a mountinfo. A host with version 1 controllers and a version 2 tree without any ("hybrid") is
// of version 1.
func parseHierarchy(mountinfo []byte) (Hierarchy, error) {
	h := Hierarchy{V1: map[string]string{}}
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
				if _, ok := h.V1[opt]; !ok {
					h.V1[opt] = l[4]
				}
			}
		}
	}
	if _, ok := h.V1["memory"]; !ok {
		h.V1, h.Unified = nil, v2
	} else if v2 != "" {
		h.V1["unified"] = v2 // runc makes a container's group there too
	}
	if h.Unified == "" && len(h.V1) == 0 {
		return h, errors.New("find control groups: none mounted under /sys/fs/cgroup")
	}
	return h, nil
}

func (h Hierarchy) String() string {
	if h.Unified != "" {
		return "v2"
	}
	return "v1"
}

// Dirs are all directories that a cgroup path has on this host, without duplicates.
func (h Hierarchy) Dirs(path string) []string {
	if h.Unified != "" {
		return []string{filepath.Join(h.Unified, path)}
	}
	seen := map[string]bool{}
	var out []string
	for _, mount := range h.V1 {
		if !seen[mount] {
			seen[mount] = true
			out = append(out, filepath.Join(mount, path))
		}
	}
	return out
}

// Group is one container's control group.
type Group struct {
	H    Hierarchy
	Path string // /optml/JOB/CONTAINER
}

// File is the path of one of the group's files. Version 2 has no controllers in paths.
func (g Group) File(controller, name string) string {
	if g.H.Unified != "" {
		return filepath.Join(g.H.Unified, g.Path, name)
	}
	return filepath.Join(g.H.V1[controller], g.Path, name)
}

// Ours says whether the group is one of a container of ours. It is asked before anything is killed or removed: an
// empty path would mean the whole host.
func (g Group) Ours() error {
	rest, ok := strings.CutPrefix(g.Path, Parent+"/")
	job, id, two := strings.Cut(rest, "/")
	if !ok || !two || job == "" || id == "" || filepath.Clean(g.Path) != g.Path {
		return fmt.Errorf("cgroup %q is not a container's", g.Path)
	}
	return nil
}

// PIDs are the processes in the group and below it. A group that does not exist has none.
func (g Group) PIDs() ([]int, error) {
	if err := g.Ours(); err != nil {
		return nil, err
	}
	root := filepath.Dir(g.File("memory", "cgroup.procs"))
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
		return nil, fmt.Errorf("list processes of %s: %w", g.Path, err)
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

// Poll is how often a group that is being killed is looked at.
const Poll = 2 * time.Millisecond

// Kill kills every process in the group and returns when it is empty.
func (g Group) Kill(ctx context.Context) error {
	for {
		pids, err := g.PIDs()
		if err != nil {
			return err
		}
		if len(pids) == 0 {
			return nil
		}
		if g.H.Unified == "" || os.WriteFile(g.File("", "cgroup.kill"), []byte("1"), 0) != nil {
			for _, pid := range pids {
				if pid > 1 {
					unix.Kill(pid, unix.SIGKILL)
				}
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("kill %d processes of %s: %w", len(pids), g.Path, context.Cause(ctx))
		case <-time.After(Poll):
		}
	}
}

// Remove removes the group's directories, which must be empty of processes, and the job's if it was the last.
func (g Group) Remove() error {
	if err := g.Ours(); err != nil {
		return err
	}
	var errs []error
	for _, dir := range g.H.Dirs(g.Path) {
		if err := removeTree(dir); err != nil {
			errs = append(errs, err)
		}
	}
	release, err := g.H.lock(unix.LOCK_EX)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	defer release()
	for _, dir := range g.H.Dirs(g.Path) {
		unix.Rmdir(filepath.Dir(dir)) // fails while another container of the job is there
		unix.Rmdir(filepath.Dir(filepath.Dir(dir)))
	}
	return errors.Join(errs...)
}

// Hold keeps the directories above groups from being removed until release is called: whoever makes a group makes them
// one after the other, and another's last container may go just then.
func (h Hierarchy) Hold() (release func(), err error) { return h.lock(unix.LOCK_SH) }

// lock takes the lock of the hierarchy, which all optml processes of the host share.
func (h Hierarchy) lock(how int) (release func(), err error) {
	dir := h.Unified
	if dir == "" {
		dir = h.V1["memory"]
	}
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("lock control groups: %w", err)
	}
	for {
		if err = unix.Flock(fd, how); err != unix.EINTR {
			break
		}
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("lock control groups at %s: %w", dir, err)
	}
	return func() { unix.Close(fd) }, nil
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

// OOMKilled says whether the kernel killed a process of the group for lack of memory (END-3). The files live until
// the task is deleted.
func (g Group) OOMKilled() bool {
	name := "memory.oom_control"
	if g.H.Unified != "" {
		name = "memory.events"
	}
	b, err := os.ReadFile(g.File("memory", name))
	return err == nil && keyed(b)["oom_kill"] > 0
}

// Number reads a file with one number; 0 when there is none.
func (g Group) Number(controller, name string) int64 {
	b, err := os.ReadFile(g.File(controller, name))
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseInt(string(bytes.TrimSpace(b)), 10, 64)
	return n
}

// Keyed reads a file of lines "key value".
func (g Group) Keyed(controller, name string) map[string]int64 {
	b, err := os.ReadFile(g.File(controller, name))
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
