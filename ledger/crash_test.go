package ledger

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// D5: of two that make the same job, one does.
func TestProcessesRaceForAName(t *testing.T) {
	for range 5 {
		root := t.TempDir()
		var cs []*child
		for range 3 {
			cs = append(cs, start(t, "race", root))
		}
		for _, c := range cs {
			c.in.Close()
		}
		mine, taken := 0, 0
		for _, c := range cs {
			switch out := c.wait(); strings.TrimSpace(out) {
			case "mine":
				mine++
			case "taken":
				taken++
			default:
				t.Fatalf("child: %q", out)
			}
		}
		if mine != 1 || taken != 2 {
			t.Fatalf("%d made it, %d were refused", mine, taken)
		}
		if e, _ := os.ReadDir(filepath.Join(root, "training")); len(e) != 1 {
			t.Errorf("left behind: %v", e)
		}
	}
}

// Ruling 28: whenever the writer dies, what it was told is in the file is there, and the job can be taken over.
func TestKilledWriterLosesNothing(t *testing.T) {
	for range 8 {
		root := t.TempDir()
		c := start(t, "writer", root)
		time.Sleep(time.Duration(rand.IntN(60)) * time.Millisecond)
		dir := filepath.Join(root, "training", "killed")
		if _, err := Adopt(dir); !errors.Is(err, ErrOwned) {
			t.Fatalf("a living owner's job was taken: %v", err)
		}
		c.Process.Kill()
		lines := strings.Split(strings.TrimSpace(c.wait()), "\n")
		told, _ := strconv.Atoi(lines[len(lines)-1])

		j, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		if owned, err := j.Owned(); owned || err != nil {
			t.Fatalf("owned %v, %v", owned, err)
		}
		var got int
		var last error
		for e, err := range j.Follow(t.Context()) {
			if err != nil {
				last = err
				break
			}
			got = int(e.Seq)
			if want := fmt.Sprint(got); got%5 == 0 && e.Body.(Transition).Message != want {
				t.Fatalf("event %d is %+v", got, e.Body)
			}
		}
		if !errors.Is(last, ErrOwnerDead) || got < told {
			t.Fatalf("%d events of %d, %v", got, told, last)
		}
		o, err := Adopt(dir)
		if err != nil {
			t.Fatal(err)
		}
		mustAppend(t, o, Warning{Text: "after"})
		s := o.State()
		if s.Seq != int64(got)+2 || len(s.Adopted) != 1 || s.Adopted[0].Reason != ReasonOwnerDied || s.Final {
			t.Errorf("after %d events: %+v", got, s)
		}
		o.Close()
		if s, err := j.State(); err != nil || s.Damaged != 0 {
			t.Errorf("%+v, %v", s, err)
		}
	}
}

// A torn last line is not an event, and the next one does not stick to it.
func TestTornLastLine(t *testing.T) {
	for name, tail := range map[string]string{
		"half a line":          `{"seq":3,"time":"2026-03-01T12:0`,
		"whole but no end":     `{"seq":3,"time":"2026-03-01T12:00:00Z","type":"Warning","body":{"text":"x"}}`,
		"zeros of a lost page": strings.Repeat("\x00", 70000),
	} {
		t.Run(name, func(t *testing.T) {
			o := create(t, t.TempDir(), "a")
			mustAppend(t, o, Warning{Text: "1"}, Warning{Text: "2"})
			o.Close()
			f, err := os.OpenFile(o.EventsPath(), os.O_WRONLY|os.O_APPEND, 0)
			if err != nil {
				t.Fatal(err)
			}
			f.WriteString(tail)
			f.Close()
			j := o.Job()
			if s, err := j.State(); err != nil || s.Seq != 2 || s.Damaged != 0 {
				t.Fatalf("before: %+v, %v", s, err)
			}
			o, err = Adopt(o.Dir())
			if err != nil {
				t.Fatal(err)
			}
			defer o.Close()
			mustAppend(t, o, Warning{Text: "4"})
			if s, err := j.State(); err != nil || s.Seq != 4 || s.Damaged != 0 || len(s.Warnings) != 3 {
				t.Fatalf("after: %+v, %v", s, err)
			}
		})
	}
}

func TestDamagedLinesArePassedOver(t *testing.T) {
	o := create(t, t.TempDir(), "a")
	mustAppend(t, o, Warning{Text: "1"})
	o.Close()
	f, err := os.OpenFile(o.EventsPath(), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString("\n{}\nnot json\n" + `{"seq":2,"time":"2026-03-01T12:00:00Z","type":"FromTheFuture","body":{}}` + "\n" +
		`{"seq":3,"time":"2026-03-01T12:00:00Z","type":"Warning","body":[]}` + "\n" + strings.Repeat("y", 3*maxLine) + "\n")
	f.Close()
	o, err = Adopt(o.Dir())
	if err != nil {
		t.Fatal(err)
	}
	mustAppend(t, o, Transition{Status: StatusFailed})
	defer o.Close()
	s, err := o.Job().State()
	if err != nil || s.Damaged != 4 || !s.Final || len(s.Warnings) != 1 {
		t.Errorf("%+v, %v", s, err)
	}
	n := 0
	for e, err := range o.Job().Follow(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := e.Body.(Unknown); ok {
			t.Error("an unknown event was yielded")
		}
		n++
	}
	if n != 3 {
		t.Errorf("%d events followed", n)
	}
}

// D5: whoever is killed while making a job leaves only what Sweep removes, and Sweep removes no job.
func TestKilledCreatorIsSwept(t *testing.T) {
	for range 8 {
		root := t.TempDir()
		c := start(t, "creator", root)
		for until := time.Now().Add(time.Duration(10+rand.IntN(60)) * time.Millisecond); time.Now().Before(until); {
			if _, err := Sweep(root); err != nil {
				t.Fatal(err)
			}
		}
		c.Process.Kill()
		if out := c.wait(); out != "" {
			t.Fatalf("a sweep beside the creator disturbed it: %s", out)
		}
		if _, err := Sweep(root); err != nil {
			t.Fatal(err)
		}
		jobs, err := List(root)
		if err != nil {
			t.Fatal(err)
		}
		entries, err := os.ReadDir(filepath.Join(root, "training"))
		if err != nil || len(entries) != len(jobs) {
			t.Fatalf("%d entries, %d jobs, %v", len(entries), len(jobs), err)
		}
		for i, j := range jobs {
			s, err := j.State()
			if err != nil {
				t.Fatal(err)
			}
			if !s.Final && j.Name() != fmt.Sprintf("job-%d", len(jobs)-1) {
				t.Errorf("%d: %s is %s", i, j.Name(), s.Status)
			}
		}
	}
}

func TestOwnedDoesNotDisturb(t *testing.T) {
	root := t.TempDir()
	c := start(t, "owner", root)
	j, err := Open(filepath.Join(root, "training", "owned"))
	if err != nil {
		t.Fatal(err)
	}
	if owned, err := j.Owned(); !owned || err != nil {
		t.Fatal(owned, err)
	}
	c.in.Close()
	c.wait()
	if owned, err := j.Owned(); owned || err != nil {
		t.Fatal(owned, err)
	}
	// Many ask while one adopts: it always succeeds.
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				j.Owned()
			}
		}
	}()
	for range 50 {
		o, err := Adopt(j.Dir())
		if err != nil {
			t.Fatal(err)
		}
		o.Close()
	}
	close(stop)
	<-done
}

// D11: the guard of a dead owner holds the flock while it kills; whoever adopts waits for it.
func TestAdoptWaitsForGuards(t *testing.T) {
	o := create(t, t.TempDir(), "a")
	guard, err := os.Open(o.LockPath())
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(guard.Fd()), unix.LOCK_SH|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) {
		t.Fatalf("a guard got the lock of a living owner: %v", err)
	}
	o.Close()
	if err := unix.Flock(int(guard.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		t.Fatalf("a guard did not get the lock of a dead owner: %v", err)
	}
	killed := time.Now().Add(50 * time.Millisecond)
	time.AfterFunc(time.Until(killed), func() { guard.Close() })
	o, err = Adopt(o.Dir())
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	if time.Now().Before(killed) {
		t.Error("adopted beside a guard that was still killing")
	}
}

// --detach: the job is never without an owner.
func TestHandover(t *testing.T) {
	o := create(t, t.TempDir(), "a")
	mustAppend(t, o, Transition{Status: "InProgress", Secondary: "Starting"})
	lock, err := o.Handover()
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Append(StepBegan{}); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if _, err := o.Handover(); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if err := o.Close(); err != nil {
		t.Error(err)
	}
	j := o.Job()
	if owned, _ := j.Owned(); !owned {
		t.Error("without an owner between the two")
	}
	c := start(t, "inherit", o.Dir(), lock)
	lock.Close()
	if owned, _ := j.Owned(); !owned {
		t.Error("the child does not own it")
	}
	if _, err := Adopt(o.Dir()); !errors.Is(err, ErrOwned) {
		t.Error(err)
	}
	c.in.Close()
	c.wait()
	s, err := j.State()
	if err != nil || s.Status != StatusStopped || s.Seq != 2 {
		t.Errorf("%+v %v", s, err)
	}
	if owned, _ := j.Owned(); owned {
		t.Error("still owned")
	}
}

func TestInheritRefusesAnotherJobsLock(t *testing.T) {
	root := t.TempDir()
	a, b := create(t, root, "a"), create(t, root, "b")
	lock, err := a.Handover()
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if _, err := Inherit(b.Dir(), lock); err == nil {
		t.Error("inherited by a wrong lock")
	}
}

// Ruling 30: a reboot, by an injected boot id.
func TestAdoptAfterReboot(t *testing.T) {
	t.Setenv("OPTML_BOOT_ID", "boot-1")
	o := create(t, t.TempDir(), "a")
	mustAppend(t, o.At("algo-1", "run"), Started{Container: "algo-1", ID: "c", PID: 7, BootID: BootID()})
	o.Close()
	t.Setenv("OPTML_BOOT_ID", "boot-2")
	o, err := Adopt(o.Dir())
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	s := o.State()
	if len(s.Adopted) != 1 || s.Adopted[0].Reason != ReasonHostRebooted {
		t.Errorf("%+v", s.Adopted)
	}
	if r := s.Running(); len(r) != 1 || !r[0].Gone("boot-2") || r[0].Gone("boot-1") || r[0].Gone("") {
		t.Errorf("%+v", r)
	}
	mustAppend(t, o.At("algo-1", "run"), Exited{Container: "algo-1", Code: 137})
	s = o.State()
	if len(s.Running()) != 0 || !s.Containers[0].Gone("boot-1") {
		t.Errorf("%+v", s.Containers)
	}
	t.Setenv("OPTML_BOOT_ID", "")
	if real := BootID(); len(real) != 36 {
		t.Errorf("the kernel's boot id is %q", real)
	}
}

// A job ends with its final transition even where the disk is full. The small disk is a tmpfs in a mount namespace of
// a child process.
func TestFullDisk(t *testing.T) {
	cmd := roleCmd(t, "fulldisk", t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, unix.EPERM) {
		t.Skip("a small disk needs root:", err)
	}
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func fullDisk(root string) error {
	if err := unix.Mount("tmpfs", root, "tmpfs", 0, "size=1m"); err != nil {
		return err
	}
	o, err := Create(root, Request{Plan: trainingPlan("a")})
	if err != nil {
		return err
	}
	if err := removeTree(root); err == nil || !strings.Contains(err.Error(), root+" is mounted in it") {
		return fmt.Errorf("removed over a mount: %v", err)
	}
	hog, err := os.Create(filepath.Join(o.WorkDir(), "hog"))
	for err == nil {
		_, err = hog.Write(make([]byte, 4096))
	}
	hog.Close()
	if !errors.Is(err, unix.ENOSPC) {
		return err
	}
	if err := errors.Join(
		o.At("algo-1", "run").Append(Warning{Text: strings.Repeat("x", 8000)}),
		o.At("algo-1", "run").Append(StepEnded{Error: strings.Repeat("no space ", 500)}),
		o.Append(Transition{Status: StatusFailed, FailureReason: strings.Repeat("y", 1024), ExitCode: new(1)}),
	); err != nil {
		return err
	}
	for err = nil; err == nil; { // and when even that is used up, the file holds whole lines only
		err = o.Append(Warning{Text: strings.Repeat("z", 20000)})
	}
	if !errors.Is(err, unix.ENOSPC) {
		return err
	}
	o.Live(Snapshot{Step: strings.Repeat("s", 1<<20)})
	if _, err := os.Stat(filepath.Join(o.Dir(), ".live.json.tmp")); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("a temporary file was left: %v", err)
	}
	if err := os.Remove(hog.Name()); err != nil {
		return err
	}
	if err := o.Append(Warning{Text: "space again"}); err != nil {
		return err
	}
	s, err := o.Job().State()
	if err != nil || s.Damaged != 0 || s.Status != StatusFailed {
		return fmt.Errorf("%d damaged, %s, %v", s.Damaged, s.Status, err)
	}
	return o.Close()
}
