package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/optml/optml/harness"
	"github.com/optml/optml/human"
	"github.com/optml/optml/ledger"
	"github.com/optml/optml/runtime/ctrd"
	"github.com/optml/optml/runtime/gpu"
)

// machine is the host as the checks see it; tests put another in its place.
type machine struct {
	fs     fs.FS // of /proc, /sys and /dev
	euid   int
	facts  func(context.Context) ctrd.Facts
	statfs func(path string) (unix.Statfs_t, error)
	dial   func(socket string) error
	use    func(tree string) int64 // bytes on disk
	gpus   func(context.Context) gpu.Inventory

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
		use:  harness.DiskUse,
		gpus: hostGPUs().Inventory,
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
	{"disk use", checkUse},
	{"ulimits", checkLimits},
	{"volumes", checkVolumes},
	{"forwarding", checkForwarding},
	{"fuse", checkFuse},
	{"gpus", checkGPU},
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
	if st, err := m.statfs(existing(m.root)); err == nil && st.Type == unix.OVERLAYFS_SUPER_MAGIC {
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
	free := int64(st.Bavail) * st.Bsize
	text := fmt.Sprintf("%s has %s free", m.root, human.Bytes(free))
	switch {
	case free < diskEmpty:
		return lacks("optml images rm, optml prune --older-than 30d, or --root on another disk", "%s", text)
	case free < diskLow:
		return note("optml images rm, optml prune --older-than 30d, or --root on another disk", "%s; images and data take more", text)
	}
	return ok("%s", text)
}

// What optml may hold on its disk before doctor says what to remove: a quarter of the disk, on a small one this much.
const (
	usePart  = 4
	useLeast = 20 << 30
)

// checkUse says what below --root takes the room, so that it does not grow unseen.
func checkUse(_ context.Context, m *machine) finding {
	work, _ := filepath.Glob(filepath.Join(m.jobs, "*", "*", "work"))
	scratch := int64(0)
	for _, dir := range work {
		scratch += m.use(dir)
	}
	parts := []struct {
		what, mend string
		bytes      int64
	}{
		{"images", "optml prune --unused-images", m.use(filepath.Join(m.root, "containerd"))},
		{"records and logs", "optml prune --older-than 30d", m.use(m.jobs) - scratch},
		{"jobs at work, and artifacts that could not be uploaded", "optml describe JOB says where they are; optml rm JOB removes them", scratch},
		{"programs", "optml prune", m.use(filepath.Join(m.root, "bin"))},
	}
	total, largest := int64(0), 0
	var texts []string
	for i, p := range parts {
		total += p.bytes
		if p.bytes > parts[largest].bytes {
			largest = i
		}
		if p.bytes > 0 {
			texts = append(texts, p.what+" "+human.Bytes(p.bytes))
		}
	}
	text := fmt.Sprintf("%s holds %s", m.root, human.Bytes(total))
	if len(texts) > 0 {
		text += ": " + strings.Join(texts, ", ")
	}
	budget := int64(useLeast)
	if st, err := m.statfs(existing(m.root)); err == nil {
		budget = max(budget, int64(st.Blocks)*st.Bsize/usePart)
	}
	if total > budget {
		return note(parts[largest].mend, "%s; more than %s", text, human.Bytes(budget))
	}
	return ok("%s", text)
}

// wantNofile is what containers get where the host allows it (START-13).
const wantNofile = 1 << 20

// checkLimits prints the limits that containers get (ruling 18).
func checkLimits(ctx context.Context, m *machine) finding {
	f := m.facts(ctx)
	text := fmt.Sprintf("containers get %d open files, no core files", f.NofileMax)
	mend := ""
	if f.NofileMax < wantNofile {
		text = fmt.Sprintf("containers get %d open files, not %d, since the host allows no more, and no core files", f.NofileMax, wantNofile)
		mend = fmt.Sprintf("ulimit -Hn %d before starting optml", wantNofile)
	}
	if l := f.Memlock; l != nil {
		if *l == math.MaxUint64 {
			text += ", locked memory without limit"
		} else {
			text += fmt.Sprintf(", %s of locked memory, since the host allows no more", human.Bytes(int64(*l)))
			mend = strings.TrimPrefix(mend+"; ulimit -Hl unlimited before starting optml", "; ")
		}
	}
	if mend != "" {
		return note(mend, "%s", text)
	}
	return ok("%s", text)
}

// checkVolumes says whether --enforce-volume-size can be had.
func checkVolumes(_ context.Context, m *machine) finding {
	if _, err := fs.Stat(m.fs, "dev/loop-control"); err != nil {
		return note("modprobe loop", "/dev/loop-control is not there; --enforce-volume-size needs it")
	}
	for _, dir := range []string{"usr/sbin", "sbin", "usr/bin", "usr/local/sbin"} {
		if _, err := fs.Stat(m.fs, dir+"/mkfs.ext4"); err == nil {
			return ok("--enforce-volume-size can be had")
		}
	}
	return note("apt-get install e2fsprogs", "mkfs.ext4 is not there; --enforce-volume-size needs it")
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

// checkGPU is never a lack: most jobs need none.
func checkGPU(ctx context.Context, m *machine) finding {
	inv := m.gpus(ctx)
	if inv.Absent != "" {
		return note(gpuMend(inv.Absent), "none: %s", inv.Absent)
	}
	usable := len(inv.Usable())
	if broken := slices.IndexFunc(inv.GPUs, func(g gpu.GPU) bool { return g.Broken != "" }); broken >= 0 {
		return note("nvidia-smi and dmesg say more", "%d can be used, and GPU %s cannot: %s", usable, inv.GPUs[broken].Index, inv.GPUs[broken].Broken)
	}
	return ok("%d, driver %s, CUDA up to %s", usable, orDash(inv.Driver), orDash(inv.CUDA))
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
