//go:build e2e

package ctrd

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/optml/optml/runtime/cgroup"
)

func TestDaemonIsKilled(t *testing.T) { // Wait survives it (container.Task)
	_, c := ownDaemon(t)
	for _, when := range []string{"before the end", "after the end"} {
		t.Run(when, func(t *testing.T) {
			s := newSpec(t, "TINY_SLEEP=5m", "TINY_SIGTERM=exit", "TINY_SIGTERM_EXIT_CODE=5", "TINY_LISTEN=127.0.0.1:8080")
			task := launchOn(t, c, s)
			if err := task.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			waitFor(t, "the process to listen", func() bool {
				conn, err := task.Dial(t.Context(), "tcp", "127.0.0.1:8080")
				if err == nil {
					conn.Close()
				}
				return err == nil
			})
			killDaemon(t, c)
			if when == "before the end" {
				if err := ensureDaemon(t.Context(), c.cfg); err != nil {
					t.Fatal(err)
				}
			}
			if err := task.Signal(t.Context(), syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if e := wait(t, task); e.Code != 5 {
				t.Errorf("exit is %+v, want code 5", e)
			}
			if err := task.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			nothingLeft(t)
		})
	}
}

func killDaemon(t *testing.T, c *Client) {
	t.Helper()
	pid, err := daemonPID(c.cfg)
	if err != nil || pid == 0 {
		t.Fatalf("daemon is %d, %v", pid, err)
	}
	unix.Kill(pid, unix.SIGKILL)
	waitFor(t, "the daemon to be dead", func() bool { return !answers(c.cfg.socket()) })
}

func TestShimIsKilled(t *testing.T) {
	s := newSpec(t, "TINY_SLEEP=5m")
	task := launch(t, s)
	if err := task.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	shim := parent(t, task.PID())
	if err := unix.Kill(shim, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	e, err := task.Wait(t.Context())
	if !errors.Is(err, ErrLost) {
		t.Errorf("exit is %+v, %v, want that it was lost", e, err)
	}
	if d := time.Since(began); d > 10*time.Second {
		t.Errorf("that took %v", d)
	}
	if err := task.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t)
}

func parent(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(b)[strings.LastIndexByte(string(b), ')')+1:])
	n, err := strconv.Atoi(f[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestDaemonLeavesWhenIdle(t *testing.T) { // D15
	dir, err := os.MkdirTemp("/tmp", "oi")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	cfg := Config{Root: filepath.Join(dir, "root"), RunDir: filepath.Join(dir, "run"), Idle: 200 * time.Millisecond}
	var wg sync.WaitGroup // several at once start one daemon
	clients := make([]*Client, 4)
	for i := range clients {
		wg.Go(func() {
			c, err := Dial(t.Context(), cfg)
			if err != nil {
				t.Error(err)
				return
			}
			clients[i] = c
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	defer StopDaemon(t.Context(), cfg)
	pid, err := daemonPID(clients[0].cfg)
	if err != nil || pid == 0 {
		t.Fatalf("daemon is %d, %v", pid, err)
	}
	for _, c := range clients[1:] {
		c.Close()
	}
	time.Sleep(time.Second)
	if now, _ := daemonPID(clients[0].cfg); now != pid {
		t.Errorf("the daemon left while it had a user")
	}
	last := clients[0].cfg
	clients[0].Close()
	waitFor(t, "the daemon to leave", func() bool { return !answers(last.socket()) })
	again, err := Dial(t.Context(), cfg)
	if err != nil {
		t.Fatalf("after it left: %v", err)
	}
	again.Close()
}

func TestRunDirectoryTooLong(t *testing.T) {
	_, err := Dial(t.Context(), Config{Root: t.TempDir(), RunDir: "/tmp/" + strings.Repeat("x", 60)})
	if err == nil || !strings.Contains(err.Error(), "too long") {
		t.Errorf("error is %v", err)
	}
}

// TestReboot is a host whose /run is empty and whose processes are gone, but not containerd's database.
func TestReboot(t *testing.T) {
	cfg, c := ownDaemon(t)
	s := newSpec(t, "TINY_SLEEP=5m")
	task, err := c.Launch(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if err := task.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	shim := parent(t, task.PID())
	c.Close() // its process would not live on either, and start the daemon anew
	killDaemon(t, c)
	unix.Kill(shim, unix.SIGKILL)
	unix.Kill(task.PID(), unix.SIGKILL)
	waitFor(t, "the mount to be free", func() bool {
		return unix.Unmount(filepath.Join(c.cfg.bundle(s.ID), "rootfs"), unix.MNT_DETACH) != nil
	})
	group := cgroup.Group{H: must(cgroup.Host()), Path: cgroupPath(s.Job, s.ID)}
	waitFor(t, "the cgroup to be empty", func() bool { return group.Remove() == nil })
	if link, err := netlink.LinkByName(s.Network.Bridge); err == nil {
		netlink.LinkDel(link)
	}
	if err := os.RemoveAll(cfg.RunDir); err != nil {
		t.Fatal(err)
	}
	cfg.BootID = "another"
	again, err := Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	swept, err := again.Sweep(t.Context(), func(job string) bool { return job != s.Job })
	if err != nil || len(swept.Containers) != 1 {
		t.Errorf("swept %+v, %v", swept, err)
	}
	l, err := again.Leftovers(t.Context())
	if err != nil || len(l.Containers)+len(l.Snapshots)+len(l.RunFiles)+len(l.Mounts) > 0 {
		t.Errorf("left: %+v, %v", l, err)
	}
}

// TestDaemonStaysWithAContainer stays for a container that nobody watches (D15).
func TestDaemonStaysWithAContainer(t *testing.T) {
	cfg, c := ownDaemon(t)
	s := newSpec(t, "TINY_SLEEP=5m")
	task, err := c.Launch(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if _, err := task.Wait(t.Context()); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Wait on a closed connection: %v", err)
	}
	time.Sleep(time.Second) // five times the idle time
	if !answers(c.cfg.socket()) {
		t.Error("the daemon left with a container in it")
	}
	again, err := Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if err := again.KillJob(t.Context(), s.Job); err != nil {
		t.Error(err)
	}
}

// TestDaemonLeavesWithItsDirectory leaves when nobody can find it any more.
func TestDaemonLeavesWithItsDirectory(t *testing.T) {
	cfg, c := ownDaemon(t)
	pid, err := daemonPID(c.cfg)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	for _, dir := range []string{cfg.Root, cfg.RunDir} {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	waitFor(t, "the daemon to leave", func() bool { return unix.Kill(pid, 0) != nil })
}

// ownDaemon starts a daemon apart from the tests' common one, with the tiny image.
func ownDaemon(t *testing.T) (Config, *Client) {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "od")
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Root: filepath.Join(dir, "root"), RunDir: filepath.Join(dir, "run"), Idle: 200 * time.Millisecond}
	c, err := Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		if err := StopDaemon(context.Background(), cfg); err != nil {
			t.Error(err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := importTiny(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	return cfg, c
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
