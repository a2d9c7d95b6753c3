package ctrd

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/containerd/containerd/v2/contrib/seccomp"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"tags.cncf.io/container-device-interface/pkg/cdi"
	cdispecs "tags.cncf.io/container-device-interface/specs-go"

	"github.com/optml/optml/runtime/cgroup"
	"github.com/optml/optml/runtime/container"
)

const (
	wantNofile  = 1 << 20 // START-13
	oomScoreAdj = 500     // the container goes before the host's services, and before optml
	defaultShm  = 64 << 20
	cpuPeriod   = 100_000 // microseconds, the kernel's default
)

// specOpts make the OCI specification: containerd's default, changed to what Docker gives where the two differ
// (runtime table of the contract), since images are made and tried with Docker.
func (c *Client) specOpts(s container.Spec, f imageFacts, files string, rc Runc) ([]oci.SpecOpts, error) {
	args, err := processArgs(s, f.config.Config)
	if err != nil {
		return nil, fmt.Errorf("container %s: %w", s.ID, err)
	}
	opts := []oci.SpecOpts{
		oci.WithDefaultSpec(),
		c.withImage(f),
		oci.WithProcessArgs(args...),
		withEdits(s.Edits), // before the environment, which holds over what they set
		oci.WithEnv(s.Env),
		withoutNoise,
		oci.WithNewPrivileges, // else sudo and setuid programs of images fail
		oci.WithDevShmSize(max(1, (cmp.Or(s.ShmBytes, defaultShm)+1023)/1024)),
		oci.WithCgroup(cgroupPath(s.Job, s.ID)),
		withRlimits(s.Edits != nil),
		oci.WithPidsLimit(pidsMax()),
		withoutIPv6,
	}
	if s.Hostname != "" {
		opts = append(opts, oci.WithHostname(s.Hostname), oci.WithEnv([]string{"HOSTNAME=" + s.Hostname}))
	}
	if s.Memory > 0 {
		opts = append(opts, oci.WithMemoryLimit(uint64(s.Memory)))
		if hasSwapLimit() {
			opts = append(opts, oci.WithMemorySwap(s.Memory)) // memory and swap together: no swap, as on the service
		}
	}
	if s.CPUs > 0 {
		opts = append(opts, oci.WithCPUCFS(int64(s.CPUs*cpuPeriod), cpuPeriod))
		// The quota alone would leave nproc, OpenMP and whoever else counts processors with the host's number, and so with
		// threads that take each other's time; being bound to some alone, programs that read only the quota.
		if n := int(math.Ceil(s.CPUs)); n < runtime.NumCPU() {
			cpus, err := chooseCPUs(n, s.ID)
			if err != nil {
				return nil, fmt.Errorf("container %s: %w", s.ID, err)
			}
			if cpus != "" {
				opts = append(opts, oci.WithCPUs(cpus))
			}
		}
	}
	// As in Docker: programs look there for the limits that they have.
	mounts := []specs.Mount{{Type: "cgroup", Source: "cgroup", Destination: "/sys/fs/cgroup", Options: []string{"ro", "nosuid", "noexec", "nodev"}}}
	opts = append(opts, withCgroupNamespace)
	for _, name := range guestFileNames {
		mounts = append(mounts, bind(filepath.Join(files, name), "/etc/"+name, true))
	}
	for _, m := range s.Mounts {
		mounts = append(mounts, bind(m.Source, m.Target, m.ReadOnly))
	}
	if s.Init {
		init, err := findInit()
		if err != nil {
			return nil, fmt.Errorf("container %s: %w", s.ID, err)
		}
		mounts = append(mounts, bind(init, guestInit, true))
		opts = append(opts, oci.WithProcessArgs(append([]string{guestInit, "--"}, args...)...))
	}
	opts = append(opts, oci.WithMounts(mounts))
	if rc.Seccomp {
		opts = append(opts, seccomp.WithDefaultProfile(), withoutX32) // after the capabilities, which it looks at
	} else {
		c.log().Warn("runc is built without seccomp: the container runs without a system call filter", "runc", rc.Path)
	}
	return opts, nil
}

// withoutX32 leaves x32 out of the system call filter, which hardly a kernel offers and the service's do not: runc's
// library takes seven milliseconds for each architecture beside the host's own. A program that tries one of its calls
// all the same is killed.
func withoutX32(_ context.Context, _ oci.Client, _ *containers.Container, s *oci.Spec) error {
	f := s.Linux.Seccomp
	f.Architectures = slices.DeleteFunc(f.Architectures, func(a specs.Arch) bool { return a == specs.ArchX32 })
	return nil
}

// withCgroupNamespace hides the host's control groups on a host of version 2, as Docker does: a container then finds its
// own at the root. Version 1 shows a container its own in any case.
func withCgroupNamespace(ctx context.Context, cl oci.Client, c *containers.Container, s *oci.Spec) error {
	h, err := cgroup.Host()
	if err != nil || h.Unified == "" {
		return err
	}
	return oci.WithLinuxNamespace(specs.LinuxNamespace{Type: specs.CgroupNamespace})(ctx, cl, c, s)
}

func chooseCPUs(n int, id string) (string, error) {
	h, err := cgroup.Host()
	if err != nil {
		return "", err
	}
	return h.ChooseCPUs(n, id)
}

// guestFileNames are the files of /etc that we make. They cannot be written by the container.
var guestFileNames = []string{"hosts", "resolv.conf", "hostname"}

// bind is a mount that also carries what is mounted below the source, now and later (FUSE is mounted first, but may be
// mounted again).
func bind(source, target string, ro bool) specs.Mount {
	m := specs.Mount{Type: "bind", Source: source, Destination: target, Options: []string{"rbind", "rslave"}}
	if ro {
		m.Options = append(m.Options, "ro")
		if hasMountSetattr() {
			m.Options = append(m.Options, "rro")
		} else {
			m.Options[0] = "bind" // ro alone would leave what is mounted below writable
		}
	}
	return m
}

// hasMountSetattr says whether the kernel can make a whole tree of mounts read-only (Linux 5.12).
var hasMountSetattr = sync.OnceValue(func() bool {
	return unix.MountSetattr(-1, "", 0, &unix.MountAttr{}) != unix.ENOSYS
})

// withoutNoise removes the tmpfs on /run, which would hide what the image has there, and sets the OOM score.
func withoutNoise(ctx context.Context, cl oci.Client, c *containers.Container, s *oci.Spec) error {
	if err := oci.WithoutRunMount(ctx, cl, c, s); err != nil {
		return err
	}
	s.Process.OOMScoreAdj = new(oomScoreAdj)
	return nil
}

// withRlimits sets the limits of START-13, as far as the host allows (ruling 18).
func withRlimits(gpus bool) oci.SpecOpts {
	return func(_ context.Context, _ oci.Client, _ *containers.Container, s *oci.Spec) error {
		s.Process.Rlimits = rlimits(gpus || pinsMemory())
		return nil
	}
}

func rlimits(pinned bool) []specs.POSIXRlimit {
	n := nofileMax()
	out := []specs.POSIXRlimit{
		{Type: "RLIMIT_NOFILE", Hard: n, Soft: n},
		{Type: "RLIMIT_CORE", Hard: 0, Soft: 0},
	}
	if pinned {
		m := memlockMax()
		out = append(out, specs.POSIXRlimit{Type: "RLIMIT_MEMLOCK", Hard: m, Soft: m})
	}
	return out
}

// pinsMemory says whether the host has devices whose drivers lock memory: GPUs, InfiniBand (START-13).
func pinsMemory() bool {
	for _, dev := range []string{"/dev/nvidiactl", "/dev/infiniband"} {
		if _, err := os.Stat(dev); err == nil {
			return true
		}
	}
	return false
}

// memlockMax is the limit of locked memory that a container gets on a host with GPUs: none, math.MaxUint64, or what the
// host allows (ruling 18).
func memlockMax() uint64 {
	var r unix.Rlimit
	if !hasCap(unix.CAP_SYS_RESOURCE) && unix.Getrlimit(unix.RLIMIT_MEMLOCK, &r) == nil {
		return r.Max
	}
	return math.MaxUint64
}

// withEdits applies the edits of the Container Device Interface that give a container its GPUs.
func withEdits(raw json.RawMessage) oci.SpecOpts {
	return func(_ context.Context, _ oci.Client, _ *containers.Container, s *oci.Spec) error {
		if raw == nil {
			return nil
		}
		var e cdispecs.ContainerEdits
		d := json.NewDecoder(bytes.NewReader(raw))
		d.DisallowUnknownFields()
		if err := d.Decode(&e); err != nil {
			return fmt.Errorf("device edits: %w", err)
		}
		edits := &cdi.ContainerEdits{ContainerEdits: &e}
		if err := edits.Validate(); err != nil {
			return fmt.Errorf("device edits: %w", err)
		}
		if err := edits.Apply(s); err != nil {
			return fmt.Errorf("device edits: %w", err)
		}
		return nil
	}
}

// pidsMax is how many processes and threads a container may have: half of what the host can, so that one that forks
// without end does not take the host with it (START-16).
func pidsMax() int64 {
	most := int64(1 << 22) // more than which no kernel has
	for _, name := range []string{"pid_max", "threads-max"} {
		b, err := os.ReadFile("/proc/sys/kernel/" + name)
		if err != nil {
			continue
		}
		if n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64); err == nil {
			most = min(most, n)
		}
	}
	return max(most/2, 64)
}

// withoutIPv6 switches IPv6 off in the container's network namespace, before any link is in it.
func withoutIPv6(_ context.Context, _ oci.Client, _ *containers.Container, s *oci.Spec) error {
	if _, err := os.Stat("/proc/sys/net/ipv6/conf/all/disable_ipv6"); err != nil {
		return nil
	}
	if s.Linux.Sysctl == nil {
		s.Linux.Sysctl = map[string]string{}
	}
	for _, k := range []string{"all", "default"} {
		s.Linux.Sysctl["net.ipv6.conf."+k+".disable_ipv6"] = "1"
		s.Linux.Sysctl["net.ipv6.conf."+k+".accept_ra"] = "0"
	}
	return nil
}

// nofileMax is the limit of open files that a container gets: 1048576, or what the host allows (ruling 18). Without
// CAP_SYS_RESOURCE a limit above our own fails in runc.
func nofileMax() uint64 {
	n := uint64(wantNofile)
	if b, err := os.ReadFile("/proc/sys/fs/nr_open"); err == nil {
		if m, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64); err == nil {
			n = min(n, m)
		}
	}
	if !hasCap(unix.CAP_SYS_RESOURCE) {
		var r unix.Rlimit
		if unix.Getrlimit(unix.RLIMIT_NOFILE, &r) == nil {
			n = min(n, r.Max)
		}
	}
	return n
}

func hasCap(c uint) bool {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if unix.Capget(&hdr, &data[0]) != nil {
		return false
	}
	return data[c/32].Effective&(1<<(c%32)) != 0
}

// hasSwapLimit says whether the kernel can limit memory and swap together; without swap accounting runc would fail.
func hasSwapLimit() bool {
	h, err := cgroup.Host()
	if err != nil {
		return false
	}
	if h.Unified != "" {
		b, err := os.ReadFile("/proc/swaps")
		return err == nil && strings.Count(string(b), "\n") > 0
	}
	_, err = os.Stat(filepath.Join(h.V1["memory"], "memory.memsw.limit_in_bytes"))
	return err == nil
}

// guestInit is where --init's program is in the container.
const guestInit = "/dev/.optml-init"

// MissingInitError says that the host has no static init to run as PID 1.
type MissingInitError struct{ Hint string }

func (e *MissingInitError) Error() string {
	return "find an init for PID 1: no " + strings.Join(inits, " nor ") + " in PATH"
}

// inits are static programs that take "-- COMMAND".
var inits = []string{"tini-static", "docker-init", "catatonit"}

func findInit() (string, error) {
	for _, name := range inits {
		if p, err := exec.LookPath(name); err == nil {
			return filepath.EvalSymlinks(p)
		}
	}
	return "", &MissingInitError{Hint: "apt-get install tini"}
}
