package ledger

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// runRole is what this test binary does as a child process. Each role prints a line when it is ready.
func runRole(role string) int {
	dir := os.Getenv("LEDGER_TEST_DIR")
	fail := func(err error) int {
		fmt.Println("error:", err)
		return 1
	}
	switch role {
	case "race": // wait for the start, then try to be the one
		fmt.Println("ready")
		io.ReadAll(os.Stdin)
		o, err := Create(dir, Request{Plan: trainingPlan("raced")})
		if errors.Is(err, ErrInUse) {
			fmt.Println("taken")
			return 0
		}
		if err != nil {
			return fail(err)
		}
		fmt.Println("mine")
		time.Sleep(200 * time.Millisecond) // both must have tried while this one lives
		o.Close()
		return 0
	case "writer": // append until killed; what is printed is in the file
		o, err := Create(dir, Request{Plan: trainingPlan("killed")})
		if err != nil {
			return fail(err)
		}
		fmt.Println("ready")
		for i := 1; ; i++ {
			b := Body(Warning{Text: fmt.Sprintf("%d %s", i, strings.Repeat("x", rand.IntN(2000)))})
			if i%5 == 0 {
				b = Transition{Status: "InProgress", Message: fmt.Sprint(i)}
			}
			if err := o.Append(b); err != nil {
				return fail(err)
			}
			o.Live(Snapshot{At: time.Now(), Step: "run"})
			fmt.Println(i)
		}
	case "creator": // make jobs until killed
		fmt.Println("ready")
		for i := 0; ; i++ {
			o, err := Create(dir, Request{Plan: trainingPlan(fmt.Sprintf("job-%d", i)), Documents: map[string][]byte{"d.json": make([]byte, 1<<16)}})
			if err != nil {
				return fail(err)
			}
			if err := o.Append(Transition{Status: StatusCompleted, ExitCode: new(0)}); err != nil {
				return fail(err)
			}
			o.Close()
		}
	case "fulldisk":
		if err := fullDisk(dir); err != nil {
			return fail(err)
		}
		return 0
	case "owner": // own a job and sleep
		o, err := Create(dir, Request{Plan: trainingPlan("owned")})
		if err != nil {
			return fail(err)
		}
		fmt.Println("ready")
		io.ReadAll(os.Stdin)
		if err := o.Append(Transition{Status: StatusCompleted, ExitCode: new(0)}); err != nil {
			return fail(err)
		}
		o.Close()
		return 0
	case "inherit": // own by the lock on descriptor 3
		o, err := Inherit(dir, os.NewFile(3, "lock"))
		if err != nil {
			return fail(err)
		}
		fmt.Println("ready")
		io.ReadAll(os.Stdin)
		if err := o.Append(Transition{Status: StatusStopped, ExitCode: new(0)}); err != nil {
			return fail(err)
		}
		o.Close()
		return 0
	}
	return 2
}

func roleCmd(t *testing.T, role, dir string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	// The race detector waits a second at the end of each process.
	cmd.Env = append(os.Environ(), "LEDGER_TEST_ROLE="+role, "LEDGER_TEST_DIR="+dir, "GORACE=atexit_sleep_ms=0")
	return cmd
}

// child is this test binary in a role, started and ready.
type child struct {
	*exec.Cmd
	in  io.WriteCloser
	out *strings.Builder
	eof chan struct{}
}

func start(t *testing.T, role, dir string, files ...*os.File) *child {
	t.Helper()
	c := &child{Cmd: roleCmd(t, role, dir), out: new(strings.Builder), eof: make(chan struct{})}
	c.ExtraFiles = files
	var err error
	c.in, err = c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.Stderr = os.Stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make([]byte, 6)
	if _, err := io.ReadFull(out, ready); err != nil || string(ready) != "ready\n" {
		rest, _ := io.ReadAll(out)
		t.Fatalf("child %s: %q%q %v", role, ready, rest, err)
	}
	go func() {
		defer close(c.eof)
		io.Copy(c.out, out)
	}()
	t.Cleanup(func() {
		c.Process.Kill()
		c.wait()
	})
	return c
}

// wait returns what the child printed, when it has ended.
func (c *child) wait() string {
	c.in.Close()
	<-c.eof
	c.Wait()
	return c.out.String()
}
