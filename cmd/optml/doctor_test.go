package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"testing/fstest"

	"golang.org/x/sys/unix"

	"github.com/optml/optml/harness"
	"github.com/optml/optml/runtime/ctrd"
	"github.com/optml/optml/runtime/gpu"
)

// goodMachine lacks nothing.
func goodMachine(t *testing.T) *machine {
	return &machine{
		fs: fstest.MapFS{
			"proc/self/mountinfo":              {Data: []byte("21 1 0:2 / /run rw - tmpfs tmpfs rw\n")},
			"sys/fs/cgroup/cgroup.controllers": {Data: []byte("cpuset cpu io memory hugetlb pids\n")},
			"dev/fuse":                         {},
			"dev/loop-control":                 {},
			"usr/sbin/mkfs.ext4":               {},
		},
		facts: func(context.Context) ctrd.Facts {
			return ctrd.Facts{Kernel: "6.1.0-18-amd64", Overlay: true, Forward: true, NofileMax: 1 << 20,
				Runc: ctrd.Runc{Path: "/usr/sbin/runc", Version: "1.1.5", Seccomp: true}}
		},
		statfs: func(string) (unix.Statfs_t, error) {
			return unix.Statfs_t{Type: unix.EXT4_SUPER_MAGIC, Bavail: 50 << 20, Bsize: 4096}, nil
		},
		dial: func(string) error { return nil },
		use:  func(string) int64 { return 1 << 20 },
		gpus: func(context.Context) gpu.Inventory {
			return gpu.Inventory{Driver: "550.54.15", CUDA: "12.4", GPUs: []gpu.GPU{{Index: "0"}}}
		},
		root: t.TempDir(), runDir: "/run/optml", jobs: t.TempDir(),
	}
}

func TestDoctorFindsWhatIsLacking(t *testing.T) {
	files := func(m *machine) fstest.MapFS { return m.fs.(fstest.MapFS) }
	but := func(change func(*ctrd.Facts)) func(*machine) {
		return func(m *machine) {
			f := m.facts(t.Context())
			change(&f)
			m.facts = func(context.Context) ctrd.Facts { return f }
		}
	}
	for _, c := range []struct {
		name, check, level, mend string
		break_                   func(*machine)
	}{
		{"a user", "root", levelLacks, "run optml with sudo", func(m *machine) { m.euid = 1000 }},
		{"an old kernel", "kernel", levelNote, "a kernel of 5.10", but(func(f *ctrd.Facts) { f.Kernel = "4.19.0-27-amd64" })},
		{"no overlayfs", "overlayfs", levelLacks, "modprobe overlay", but(func(f *ctrd.Facts) { f.Overlay = false })},
		{"root on overlayfs", "overlayfs", levelLacks, "--root", func(m *machine) {
			m.statfs = func(string) (unix.Statfs_t, error) {
				return unix.Statfs_t{Type: unix.OVERLAYFS_SUPER_MAGIC, Bavail: 50 << 20, Bsize: 4096}, nil
			}
		}},
		{"no runc", "runc", levelLacks, "apt-get install runc", but(func(f *ctrd.Facts) {
			f.RuncErr = &ctrd.MissingRuncError{Name: "runc", Hint: "apt-get install runc", Err: exec.ErrNotFound}
		})},
		{"runc that does not run", "runc", levelLacks, "apt-get install --reinstall runc", but(func(f *ctrd.Facts) { f.RuncErr = errors.New("exec format error") })},
		{"runc without seccomp", "runc", levelNote, "apt-get install runc", but(func(f *ctrd.Facts) { f.Runc.Seccomp = false })},
		{"no memory controller", "cgroups", levelLacks, "cgroup_disable=memory", func(m *machine) {
			files(m)["sys/fs/cgroup/cgroup.controllers"] = &fstest.MapFile{Data: []byte("cpu pids\n")}
		}},
		{"no cgroups", "cgroups", levelLacks, "cgroupfs-mount", func(m *machine) { delete(files(m), "sys/fs/cgroup/cgroup.controllers") }},
		{"containerd that is not there", "containerd", levelLacks, "systemctl start containerd", func(m *machine) {
			m.containerd, m.dial = "/x.sock", func(string) error { return errors.New("connection refused") }
		}},
		{"a full disk", "disk", levelLacks, "optml images rm", func(m *machine) {
			m.statfs = func(string) (unix.Statfs_t, error) { return unix.Statfs_t{Bavail: 10, Bsize: 4096}, nil }
		}},
		{"a small disk", "disk", levelNote, "optml images rm", func(m *machine) {
			m.statfs = func(string) (unix.Statfs_t, error) { return unix.Statfs_t{Bavail: 1 << 20, Bsize: 4096}, nil }
		}},
		{"images over the budget", "disk use", levelNote, "optml prune --unused-images", func(m *machine) {
			m.use = func(tree string) int64 {
				return map[string]int64{m.root + "/containerd": 30 << 30, m.jobs: 1 << 30}[tree]
			}
		}},
		{"records over the budget", "disk use", levelNote, "optml prune --older-than", func(m *machine) {
			m.use = func(tree string) int64 {
				return map[string]int64{m.root + "/containerd": 3 << 30, m.jobs: 30 << 30}[tree]
			}
		}},
		{"no loop devices", "volumes", levelNote, "modprobe loop", func(m *machine) { delete(files(m), "dev/loop-control") }},
		{"no mkfs", "volumes", levelNote, "apt-get install e2fsprogs", func(m *machine) { delete(files(m), "usr/sbin/mkfs.ext4") }},
		{"little locked memory", "ulimits", levelNote, "ulimit -Hl unlimited", but(func(f *ctrd.Facts) { f.Memlock = new(uint64(8 << 20)) })},
		{"few files", "ulimits", levelNote, "ulimit -Hn 1048576", but(func(f *ctrd.Facts) { f.NofileMax = 20000 })},
		{"a GPU that does not answer", "gpus", levelNote, "nvidia-smi", func(m *machine) {
			m.gpus = func(context.Context) gpu.Inventory {
				return gpu.Inventory{GPUs: []gpu.GPU{{Index: "0", Broken: "lost"}}}
			}
		}},
		{"no GPU helper", "gpus", levelNote, "make build", func(m *machine) {
			m.gpus = func(context.Context) gpu.Inventory { return gpu.Inventory{Absent: gpu.WithoutHelper} }
		}},
		{"no forwarding", "forwarding", levelNote, "", but(func(f *ctrd.Facts) { f.Forward = false })},
		{"no fuse", "fuse", levelNote, "modprobe fuse", func(m *machine) { delete(files(m), "dev/fuse") }},
		{"a mount that was left", "leftovers", levelNote, "optml prune", func(m *machine) {
			files(m)["proc/self/mountinfo"] = &fstest.MapFile{Data: []byte("30 1 0:3 / /run/optml/x rw - tmpfs tmpfs rw\n")}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := goodMachine(t)
			c.break_(m)
			var b bytes.Buffer
			err := runDoctor(t.Context(), m, formatJSON, &b)
			if want := map[bool]int{true: harness.ExitHost}[c.level == levelLacks]; exitCode(err) != want {
				t.Errorf("exit code %d, want %d", exitCode(err), want)
			}
			var all []finding
			if err := json.Unmarshal(b.Bytes(), &all); err != nil {
				t.Fatal(err)
			}
			for _, f := range all {
				switch {
				case f.Check == c.check && (f.Level != c.level || !strings.Contains(f.Mend, c.mend)):
					t.Errorf("%+v, want level %s and a way to mend it with %q", f, c.level, c.mend)
				case f.Check != c.check && f.Level != levelOK:
					t.Errorf("%+v is not what was broken", f)
				}
			}
		})
	}
}

func TestDoctorOnAGoodHost(t *testing.T) {
	var b bytes.Buffer
	if err := runDoctor(t.Context(), goodMachine(t), formatText, &b); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(b.String(), "\n"); n != len(checks) {
		t.Errorf("%d lines for %d checks:\n%s", n, len(checks), b.String())
	}
	if strings.Contains(b.String(), "->") {
		t.Errorf("there is nothing to mend:\n%s", b.String())
	}
}
