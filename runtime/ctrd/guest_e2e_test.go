//go:build e2e

package ctrd

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/optml/optml/runtime/container"
)

// TestWhatTheGuestSees looks at a container's process from the host: the table of Docker's defaults.
func TestWhatTheGuestSees(t *testing.T) {
	s := newSpec(t, "TINY_SLEEP=5m", "FOO=bar")
	s.ShmBytes, s.Hostname = 300<<20, "ip-10-0-0-1"
	s.Network.Hosts = []string{"algo-1", "algo-2"}
	src := t.TempDir()
	s.Mounts = []container.Mount{{Source: src, Target: "/opt/ml/model"}, {Source: src, Target: "/opt/ml/input", ReadOnly: true}}
	task := launch(t, s)
	if err := task.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	proc := func(name string) string {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", task.PID(), name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	field := func(text, key string) string {
		for line := range strings.Lines(text) {
			if v, ok := strings.CutPrefix(line, key); ok {
				return strings.Join(strings.Fields(v), " ")
			}
		}
		return "none"
	}
	waitFor(t, "the program to run", func() bool { return strings.Contains(proc("cmdline"), "train") })
	status := proc("status")
	for key, want := range map[string]string{
		"CapEff:": "00000000a80425fb", "NoNewPrivs:": "0", "Seccomp:": "2", "Uid:": "0 0 0 0",
	} {
		if got := field(status, key); got != want {
			t.Errorf("%s %s, want %s", key, got, want)
		}
	}
	nofile := fmt.Sprintf("%d %d files", nofileMax(), nofileMax())
	if got := field(proc("limits"), "Max open files"); got != nofile { // START-13, ruling 18
		t.Errorf("open files: %s, want %s", got, nofile)
	}
	if got := strings.TrimSpace(proc("oom_score_adj")); got != "500" {
		t.Errorf("OOM score is %s", got)
	}
	env := strings.Split(proc("environ"), "\x00")
	for _, kv := range []string{"FOO=bar", "HOME=/root", "HOSTNAME=ip-10-0-0-1"} { // START-8
		if !slices.Contains(env, kv) {
			t.Errorf("environment lacks %s: %q", kv, env)
		}
	}
	if !strings.Contains(proc("cgroup"), cgroupPath(s.Job, s.ID)) {
		t.Errorf("cgroups are %s", proc("cgroup"))
	}
	if got := strings.TrimSpace(proc("root/etc/hostname")); got != s.Hostname {
		t.Errorf("hostname file is %q", got)
	}
	if got, want := proc("root/etc/hosts"), string(hostsFile(loneNet(s.Job).Subnet, s.Network.Hosts, 0, s.Hostname)); got != want {
		t.Errorf("hosts are %q, want %q", got, want)
	}
	if got := proc("root/etc/resolv.conf"); got != "" {
		t.Errorf("an isolated container has resolvers: %q", got)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(fmt.Sprintf("/proc/%d/root/dev/shm", task.PID()), &fs); err != nil || int64(fs.Blocks)*fs.Bsize != s.ShmBytes {
		t.Errorf("/dev/shm has %d bytes, %v", int64(fs.Blocks)*fs.Bsize, err)
	}
	mounts := proc("mountinfo")
	for target, want := range map[string]string{"/opt/ml/model": "rw", "/opt/ml/input": "ro", "/etc/hosts": "ro", "/run": "none"} {
		got := "none"
		for line := range strings.Lines(mounts) {
			if f := strings.Fields(line); f[4] == target {
				got = f[5][:2]
			}
		}
		if got != want {
			t.Errorf("%s is mounted %s, want %s", target, got, want)
		}
	}
	if got := proc("net/if_inet6"); got != "" {
		t.Errorf("IPv6 is on: %s", got)
	}
}

func TestInit(t *testing.T) { // START-5
	if _, err := findInit(); err != nil {
		s := newSpec(t)
		s.Init = true
		if _, err := client_.Launch(t.Context(), s); err == nil || !strings.Contains(err.Error(), "tini-static") {
			t.Errorf("error is %v", err)
		}
		return
	}
	s := newSpec(t, "TINY_EXIT_CODE=6", "TINY_SLEEP=200ms")
	s.Init = true
	task := launch(t, s)
	if err := task.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the init to run", func() bool {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", task.PID()))
		return strings.HasPrefix(string(b), guestInit)
	})
	if e := wait(t, task); e.Code != 6 {
		t.Errorf("exit is %+v, want code 6", e)
	}
}

// TestManyAtOnce launches jobs at the same time through two clients: each gets its own network.
func TestManyAtOnce(t *testing.T) {
	second, err := Dial(t.Context(), testCfg)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	const jobs = 6
	specs := make([]container.Spec, jobs)
	for i := range specs {
		specs[i] = newSpec(t, "TINY_EXIT_CODE=0")
		if specs[i].Network.Isolated = i%2 == 0; specs[i].Network.Isolated {
			specs[i].Network.Hosts = []string{"algo-1", "algo-2"} // a lone one would have no subnet of its own
		}
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	subnets := map[netip.Prefix]string{}
	for i, s := range specs {
		wg.Go(func() {
			c := client_
			if i%2 == 1 {
				c = second
			}
			task, err := c.Launch(t.Context(), s)
			if err != nil {
				t.Error(err)
				return
			}
			nf, err := readNet(c.netPath(s.Network.Bridge))
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			if other := subnets[nf.Subnet]; other != "" {
				t.Errorf("%s and %s share %v", other, s.ID, nf.Subnet)
			}
			subnets[nf.Subnet] = s.ID
			mu.Unlock()
			if err := task.Start(t.Context()); err != nil {
				t.Error(err)
			}
			if e, err := task.Wait(t.Context()); err != nil || e.Code != 0 {
				t.Errorf("exit is %+v, %v", e, err)
			}
			if err := task.Close(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	nothingLeft(t)
}

// TestMemoryOfTheRoles prints what daemon, shim and logger take (ruling 23: under 120 MB together).
func TestMemoryOfTheRoles(t *testing.T) {
	_, c := ownDaemon(t)
	s := newSpec(t, "TINY_STDOUT_MB=20", "TINY_SLEEP=5m")
	task := launchOn(t, c, s)
	if err := task.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the log to grow", func() bool { st, err := os.Stat(s.Log + ".log"); return err == nil && st.Size() > 20_000_000 })
	daemon, err := daemonPID(c.cfg)
	if err != nil {
		t.Fatal(err)
	}
	shim := parent(t, task.PID())
	total := 0
	for name, pid := range map[string]int{"daemon": daemon, "shim": shim, "logger": child(t, shim, loggerName)} {
		var kb int
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		for line := range strings.Lines(string(b)) {
			fmt.Sscanf(line, "VmRSS: %d kB", &kb)
		}
		t.Logf("%s %d: %d MB", name, pid, kb/1024)
		total += kb
	}
	if total > 120<<10 && !raceDetector() { // which doubles it
		t.Errorf("together %d MB", total/1024)
	}
}

func raceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// child finds a child process by the base name of its command.
func child(t *testing.T, pid int, name string) int {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		n, err := strconv.Atoi(filepath.Base(dir))
		args, rerr := os.ReadFile(dir + "/cmdline")
		if err != nil || rerr != nil {
			continue // gone meanwhile
		}
		command, _, _ := strings.Cut(string(args), "\x00")
		if filepath.Base(command) == name && parentOf(n) == pid {
			return n
		}
	}
	t.Fatalf("%d has no child %s", pid, name)
	return 0
}

// parentOf is the parent of a process, 0 when it has gone.
func parentOf(pid int) (parent int) {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(b)) {
		fmt.Sscanf(line, "PPid: %d", &parent)
	}
	return parent
}
