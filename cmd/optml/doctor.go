package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/optml/optml/ledger"
	"github.com/optml/optml/runtime/ctrd"
)

// machine is the host as the checks see it; tests put another in its place.
type machine struct {
	fs     fs.FS // of /proc, /sys and /dev
	euid   int
	facts  func(context.Context) ctrd.Facts
	statfs func(path string) (unix.Statfs_t, error)
	dial   func(socket string) error

	root, runDir, jobs, containerd string
}

// thisMachine is the real one.
func (a *app) thisMachine() *machine {
	return &machine{
		fs: os.DirFS("/"), euid: os.Geteuid(), statfs: statfs,
		facts: func(ctx context.Context) ctrd.Facts {
			return ctrd.Inspect(ctx, ctrd.Config{Root: a.root, RunDir: a.runDir})
		},
		dial: func(socket string) error {
			c, err := net.DialTimeout("unix", socket, 2*time.Second)
			if err == nil {
				c.Close()
			}
			return err
		},
		root: a.root, runDir: a.runDir, jobs: a.jobs(), containerd: a.containerd,
	}
}

// levels of a finding.
const (
	levelOK    = "ok"
	levelNote  = "note"  // works, and worth knowing
	levelLacks = "lacks" // jobs do not run
)

// finding is what one check found.
type finding struct {
	Check string `json:"check"`
	Level string `json:"level"`
	Text  string `json:"text"`
	Mend  string `json:"mend,omitempty"` // the command, or what to do
}

func ok(format string, args ...any) finding {
	return finding{Level: levelOK, Text: fmt.Sprintf(format, args...)}
}

func note(mend, format string, args ...any) finding {
	return finding{Level: levelNote, Text: fmt.Sprintf(format, args...), Mend: mend}
}

func lacks(mend, format string, args ...any) finding {
	return finding{Level: levelLacks, Text: fmt.Sprintf(format, args...), Mend: mend}
}

// checks is the table, in the order of the output.
var checks = []struct {
	name  string
	check func(context.Context, *machine) finding
}{
	{"root", checkRoot},
	{"kernel", checkKernel},
	{"overlayfs", checkOverlay},
	{"runc", checkRunc},
	{"cgroups", checkCgroups},
	{"containerd", checkContainerd},
	{"disk", checkDisk},
	{"open files", checkNofile},
	{"forwarding", checkForwarding},
	{"fuse", checkFuse},
	{"leftovers", checkLeftovers},
}

func checkRoot(_ context.Context, m *machine) finding {
	if m.euid != 0 {
		return lacks("run optml with sudo", "this is user %d; containers, networks and mounts need root", m.euid)
	}
	return ok("yes")
}

// checkKernel: 5.9 has close_range, which runc wants; Linux before it runs, untested.
func checkKernel(ctx context.Context, m *machine) finding {
	release := m.facts(ctx).Kernel
	major, rest, _ := strings.Cut(release, ".")
	minor, _, _ := strings.Cut(rest, ".")
	a, _ := strconv.Atoi(major)
	b, _ := strconv.Atoi(strings.TrimRight(minor, "-abcdefghijklmnopqrstuvwxyz"))
	if a < 5 || a == 5 && b < 10 {
		return note("a kernel of 5.10 or newer is what optml is tried on", "Linux %s, %s", release, runtime.GOARCH)
	}
	return ok("Linux %s, %s", release, runtime.GOARCH)
}

func checkOverlay(ctx context.Context, m *machine) finding {
	if !m.facts(ctx).Overlay {
		return lacks("modprobe overlay", "the kernel does not know it")
	}
	if st, err := m.statfs(existing(m.root)); err == nil && int64(st.Type) == unix.OVERLAYFS_SUPER_MAGIC {
		return lacks("give --root a directory on a disk (a volume, when this is a container)",
			"%s lies on overlayfs, and image layers cannot be stacked on that", m.root)
	}
	return ok("yes")
}

func checkRunc(ctx context.Context, m *machine) finding {
	f := m.facts(ctx)
	var missing *ctrd.MissingRuncError
	switch r := f.Runc; {
	case errors.As(f.RuncErr, &missing):
		return lacks(missing.Hint, "not found")
	case f.RuncErr != nil:
		return lacks("apt-get install --reinstall runc", "%v", f.RuncErr)
	case !r.Seccomp:
		return note("apt-get install runc", "%s, %s, built without seccomp: containers run without a filter of system calls", r.Path, r.Version)
	default:
		return ok("%s, %s, seccomp", r.Path, r.Version)
	}
}

func checkCgroups(_ context.Context, m *machine) finding {
	if b, err := fs.ReadFile(m.fs, "sys/fs/cgroup/cgroup.controllers"); err == nil {
		for _, need := range []string{"cpu", "memory", "pids"} {
			if !hasWord(string(b), need) {
				return lacks("boot with systemd.unified_cgroup_hierarchy=1 and without cgroup_disable="+need, "version 2, without the %s controller", need)
			}
		}
		return ok("version 2")
	}
	var missing []string
	for _, need := range []string{"cpu", "memory", "freezer", "devices", "pids"} {
		if _, err := fs.Stat(m.fs, "sys/fs/cgroup/"+need); err != nil {
			missing = append(missing, need)
		}
	}
	if len(missing) > 0 {
		return lacks("mount cgroups: apt-get install cgroupfs-mount, or boot with systemd", "version 1, without %s", strings.Join(missing, ", "))
	}
	return ok("version 1")
}

func hasWord(s, word string) bool {
	for _, w := range strings.Fields(s) {
		if w == word {
			return true
		}
	}
	return false
}

func checkContainerd(_ context.Context, m *machine) finding {
	if m.containerd == "" {
		return ok("the one inside optml (another: --containerd-address)")
	}
	if err := m.dial(m.containerd); err != nil {
		return lacks("systemctl start containerd, or leave --containerd-address away", "%s does not answer: %v", m.containerd, err)
	}
	return ok("the host's, at %s", m.containerd)
}

// Free space below which jobs are likely to end with a full disk, and below which nothing begins.
const (
	diskLow   = 10 << 30
	diskEmpty = 1 << 30
)

func checkDisk(_ context.Context, m *machine) finding {
	at := existing(m.root)
	st, err := m.statfs(at)
	if err != nil {
		return note("", "%s: %v", at, err)
	}
	free := int64(st.Bavail) * int64(st.Bsize)
	text := fmt.Sprintf("%s has %s free", m.root, bytesText(free))
	switch {
	case free < diskEmpty:
		return lacks("optml images rm, optml prune --older-than 30d, or --root on another disk", "%s", text)
	case free < diskLow:
		return note("optml images rm, optml prune --older-than 30d, or --root on another disk", "%s; images and data take more", text)
	}
	return ok("%s", text)
}

// wantNofile is what containers get where the host allows it (START-13).
const wantNofile = 1 << 20

func checkNofile(ctx context.Context, m *machine) finding {
	n := m.facts(ctx).NofileMax
	if n < wantNofile {
		return note(fmt.Sprintf("ulimit -Hn %d before starting optml", wantNofile), "containers get %d, not %d, since the host allows no more", n, wantNofile)
	}
	return ok("containers get %d", n)
}

func checkForwarding(ctx context.Context, m *machine) finding {
	if m.facts(ctx).Forward {
		return ok("net.ipv4.ip_forward is on")
	}
	return note("", "net.ipv4.ip_forward is off; a job without network isolation turns it on, and it stays on")
}

func checkFuse(_ context.Context, m *machine) finding {
	if _, err := fs.Stat(m.fs, "dev/fuse"); err != nil {
		return note("modprobe fuse", "/dev/fuse is not there; FastFile channels will need it")
	}
	return ok("yes")
}

func checkLeftovers(_ context.Context, m *machine) finding {
	jobs, err := ledger.List(m.jobs)
	if err != nil {
		return note("", "some jobs cannot be read: %v", err)
	}
	var dead, keep []string
	running := 0
	for _, j := range jobs {
		owned, err := j.Owned()
		if err != nil {
			continue
		}
		s, err := j.State()
		switch {
		case err != nil:
		case owned:
			running++
		case !s.Final:
			dead = append(dead, string(j.Kind())+"/"+j.Name())
		case len(s.Kept()) > 0:
			keep = append(keep, j.Name())
		}
	}
	if len(dead) > 0 {
		return note("optml prune", "the owner of %s has died", strings.Join(dead, ", "))
	}
	if len(keep) > 0 {
		return note("optml upload "+keep[0], "the only copy of artifacts that could not be uploaded is in the record of %s", strings.Join(keep, ", "))
	}
	if running == 0 {
		if held := mountsBelow(m.fs, m.runDir); len(held) > 0 {
			return note("optml prune", "no job runs, and this is mounted: %s", strings.Join(held, ", "))
		}
	}
	return ok("none; %d jobs on record, %d running", len(jobs), running)
}

func mountsBelow(f fs.FS, dir string) []string {
	b, err := fs.ReadFile(f, "proc/self/mountinfo")
	if err != nil {
		return nil
	}
	var found []string
	for line := range strings.Lines(string(b)) {
		if w := strings.Fields(line); len(w) > 4 && strings.HasPrefix(w[4], dir+"/") {
			found = append(found, w[4])
		}
	}
	return found
}

// existing is the nearest directory above path that is there.
func existing(path string) string {
	for path != "/" && path != "." {
		if _, err := os.Stat(path); err == nil {
			return path
		}
		path = filepath.Dir(path)
	}
	return path
}

func statfs(path string) (st unix.Statfs_t, err error) { return st, unix.Statfs(path, &st) }
