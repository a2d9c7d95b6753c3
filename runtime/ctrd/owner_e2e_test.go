//go:build e2e

package ctrd

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/optml/optml/logfile"
	"github.com/optml/optml/runtime/container"
)

// ownerEnv makes this binary an owner process: it launches the Spec in the variable, prints its PID and waits to be
// killed.
const ownerEnv = "OPTML_E2E_OWNER"

type ownerJob struct {
	Config Config
	Spec   container.Spec
	At     string // "launched" or "started"
}

func ownerMain() int {
	var j ownerJob
	err := json.Unmarshal([]byte(os.Getenv(ownerEnv)), &j)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	ctx := context.Background()
	lock, err := os.OpenFile(j.Spec.Guard, os.O_CREATE|os.O_RDWR, 0o600)
	if err == nil {
		err = unix.Flock(int(lock.Fd()), unix.LOCK_EX)
	}
	var c *Client
	if err == nil {
		c, err = Dial(ctx, j.Config)
	}
	var task container.Task
	if err == nil {
		task, err = c.Launch(ctx, j.Spec)
	}
	if err == nil && j.At == "started" {
		err = task.Start(ctx)
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println(task.PID())
	time.Sleep(time.Hour)
	lock.Close() // until here it must not be collected
	return 1
}

// startOwner runs an owner process and returns it with the PID of its container.
func startOwner(t *testing.T, j ownerJob) (*exec.Cmd, int) {
	t.Helper()
	j.Config = testCfg
	b, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), ownerEnv+"="+string(b))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	buf := make([]byte, 1024)
	n, _ := out.Read(buf)
	var pid int
	if _, err := fmt.Sscan(string(buf[:n]), &pid); err != nil {
		t.Fatalf("owner says %q", buf[:n])
	}
	return cmd, pid
}

func TestContainerDiesWithItsOwner(t *testing.T) { // D11
	for _, at := range []string{"launched", "started"} {
		t.Run(at, func(t *testing.T) {
			s := newSpec(t, "TINY_STDOUT_MB=20", "TINY_SLEEP=5m")
			s.Guard = s.Job + "/lock"
			cmd, pid := startOwner(t, ownerJob{Spec: s, At: at})
			fd, err := unix.PidfdOpen(pid, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(fd)
			if at == "started" {
				waitFor(t, "the log to grow", func() bool { st, err := os.Stat(s.Log + ".log"); return err == nil && st.Size() > 20_000_000 })
			}
			cmd.Process.Kill()
			if !pidfdDead(fd, 10*time.Second) {
				t.Fatal("the container lives on")
			}
			// Nobody deletes the task, and yet the log becomes complete.
			r, err := logfile.Open(s.Log)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			waitFor(t, "the log to be complete", func() bool { ok, _ := r.Complete(); return ok })
			if at == "started" {
				if size, _ := r.Size(); size < 20_000_000 {
					t.Errorf("log has %d bytes", size)
				}
			}
			// A live job is not touched, a dead one leaves nothing.
			if swept, err := client_.Sweep(t.Context(), func(string) bool { return true }); err != nil || !swept.Empty() {
				t.Errorf("sweep of live jobs: %+v, %v", swept, err)
			}
			swept, err := client_.Sweep(t.Context(), func(job string) bool { return job != s.Job })
			if err != nil || len(swept.Containers) != 1 || swept.Containers[0] != s.ID {
				t.Errorf("swept %+v, %v", swept, err)
			}
			nothingLeft(t)
		})
	}
}

func nothingLeft(t *testing.T) {
	t.Helper()
	var l Leftovers
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		var err error
		if l, err = client_.Leftovers(t.Context()); err != nil {
			t.Fatal(err)
		}
		l = onlyMine(l)
		if l.Empty() {
			return
		}
	}
	t.Errorf("left: %+v", l)
}

// onlyMine leaves out what belongs to another optml on this host.
func onlyMine(l Leftovers) Leftovers {
	other := func(s string) bool {
		return !strings.Contains(s, idPrefix) && !strings.HasPrefix(s, bridgePrefix) && !strings.HasPrefix(s, testDir)
	}
	for _, s := range []*[]string{&l.Rules, &l.Links, &l.Cgroups} {
		*s = slices.DeleteFunc(*s, other)
	}
	return l
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long for %s", what)
		}
	}
}

func TestKillJob(t *testing.T) {
	s, other := newSpec(t, "TINY_SLEEP=5m"), newSpec(t, "TINY_SLEEP=5m")
	task, otherTask := launch(t, s), launch(t, other)
	for _, x := range []container.Task{task, otherTask} {
		if err := x.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := client_.KillJob(t.Context(), s.Job); err != nil {
		t.Fatal(err)
	}
	if e := wait(t, task); e.Code != 137 {
		t.Errorf("exit is %+v", e)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if e, err := otherTask.Wait(ctx); err == nil {
		t.Errorf("the other job's container ended too: %+v", e)
	}
	if l, _ := client_.Leftovers(t.Context()); len(l.Containers) != 1 || !strings.Contains(l.Containers[0], other.ID) {
		t.Errorf("left: %+v", l)
	}
}

// TestSweepWithoutRunFiles is a host whose /run was emptied by a reboot, while containerd's database was not.
func TestSweepWithoutRunFiles(t *testing.T) {
	s := newSpec(t, "TINY_SLEEP=5m")
	s.Network.Isolated = false // there is nothing of a lone network
	task := launch(t, s)
	if err := task.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := client_.removeRunFile(s.ID); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(client_.netPath(s.Network.Bridge)); err != nil {
		t.Fatal(err)
	}
	swept, err := client_.Sweep(t.Context(), func(job string) bool { return job != s.Job })
	if err != nil || len(swept.Containers) != 1 || len(swept.Networks) != 1 {
		t.Errorf("swept %+v, %v", swept, err)
	}
	nothingLeft(t)
}

// TestOwnerKilledAnywhere kills owners at random moments of a launch (ruling 28).
func TestOwnerKilledAnywhere(t *testing.T) {
	for i := range 12 {
		s := newSpec(t, "TINY_SLEEP=5m")
		s.Guard = s.Job + "/lock"
		s.Network.Isolated = i%2 == 0 // an open network leaves a rule too
		b, err := json.Marshal(ownerJob{Config: testCfg, Spec: s, At: "started"})
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), ownerEnv+"="+string(b))
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "the owner to begin", func() bool { _, err := os.Stat(s.Guard); return err == nil })
		time.Sleep(time.Duration(rand.Int64N(int64(250 * time.Millisecond))))
		cmd.Process.Kill()
		cmd.Wait()
		swept, err := client_.Sweep(t.Context(), func(job string) bool { return job != s.Job })
		if err != nil {
			t.Errorf("%d: %v", i, err)
		}
		t.Logf("%d: swept %v", i, swept)
		nothingLeft(t)
		if pids := client_.shims(s.ID); len(pids) > 0 {
			t.Errorf("%d: shims live on: %v", i, pids)
		}
		if dirs, _ := filepath.Glob("/sys/fs/cgroup/*" + filepath.Dir(cgroupPath(s.Job, s.ID))); len(dirs) > 0 {
			t.Errorf("%d: the job's groups are left: %v", i, dirs)
		}
	}
}
