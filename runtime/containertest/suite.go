package containertest

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/optml/optml/logfile"
	"github.com/optml/optml/runtime/container"
)

// Subject is a Launcher under test.
type Subject struct {
	Launcher container.Launcher
	// Spec returns a Spec with its own ID, Job and Log, whose image has no ENTRYPOINT and behaves as Tiny does.
	Spec func(t *testing.T) container.Spec
}

// RunSuite tests what container.Launcher and container.Task promise.
func RunSuite(t *testing.T, s Subject) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, Subject)
	}{
		{"exit codes are the process's (END-1)", exitCodes},
		{"SIGKILL is 137 (END-1)", killed},
		{"SIGTERM reaches the process (STOP-1)", terminated},
		{"a signal after the end is no error (STOP-4)", lateSignal},
		{"Processes are those that run", processes},
		{"a command that is not there is 127 at Launch (START-2, END-4)", notFound},
		{"a command that is not executable is 126 (END-4)", notExecutable},
		{"the entrypoint replaces the image's (training 1.1)", entrypoint},
		{"the log is whole after Close (D2)", log},
		{"Wait ends with its context, the container goes on", waitCancelled},
		{"Dial reaches a port of the container (D3)", dial},
		{"Listen is reached from inside the container's network alone (ENV-6)", listenInside},
		{"Listening tells where a process takes connections (INF-50)", listening},
		{"a container in another one's network (INF-54)", sharedNetwork},
		{"Close kills, twice and at the same time", closeRunning},
		{"Close before Start", closeUnstarted},
		{"an ID is taken once", sameID},
		{"Usage answers while it runs and afterwards", usage},
		{"Layer holds what was written beside the mounts", layer},
		{"the container does not outlive its owner (D11)", guard},
		{"an image that is not there", noImage},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, s) })
	}
}

// patience is how long anything here may take.
const patience = 30 * time.Second

func (s Subject) launch(t *testing.T, spec container.Spec) container.Task {
	t.Helper()
	task, err := s.Launcher.Launch(t.Context(), spec)
	if err != nil {
		t.Fatalf("Launch: %v", err)
	}
	t.Cleanup(func() {
		if err := task.Close(context.Background()); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return task
}

func (s Subject) spec(t *testing.T, env ...string) container.Spec {
	spec := s.Spec(t)
	spec.Entrypoint, spec.Args = nil, []string{"train"}
	spec.Env = append(spec.Env, env...)
	return spec
}

func start(t *testing.T, task container.Task) {
	t.Helper()
	if err := task.Start(t.Context()); err != nil {
		t.Fatalf("Start: %v", err)
	}
}

func wait(t *testing.T, task container.Task) container.Exit {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	e, err := task.Wait(ctx)
	if err != nil {
		t.Fatalf("Wait: %v", err)
	}
	return e
}

func closeTask(t *testing.T, task container.Task) {
	t.Helper()
	if err := task.Close(t.Context()); err != nil {
		t.Fatalf("Close: %v", err)
	}
}

func contents(t *testing.T, spec container.Spec) string {
	t.Helper()
	b, err := os.ReadFile(logfile.LogName(spec.Log))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func exitCodes(t *testing.T, s Subject) {
	for code, env := range map[int][]string{0: nil, 3: {"TINY_EXIT_CODE=3"}, 255: {"TINY_EXIT_CODE=255"}} {
		before := time.Now().Add(-time.Second)
		task := s.launch(t, s.spec(t, env...))
		early := make(chan container.Exit, 1)
		go func() { // Wait may be called before Start
			e, _ := task.Wait(t.Context())
			early <- e
		}()
		start(t, task)
		e := wait(t, task)
		if e.Code != code || e.OOM || e.Signal > 0 && code < 128 {
			t.Errorf("exit is %+v, want code %d", e, code)
		}
		if e.At.Before(before) || e.At.After(time.Now().Add(time.Second)) {
			t.Errorf("the end was at %v, it is %v", e.At, time.Now())
		}
		if again := wait(t, task); again != e {
			t.Errorf("the second Wait says %+v, the first %+v", again, e)
		}
		if first := <-early; first != e {
			t.Errorf("Wait before Start says %+v, after it %+v", first, e)
		}
	}
}

func killed(t *testing.T, s Subject) {
	task := s.launch(t, s.spec(t, "TINY_SLEEP=1m"))
	start(t, task)
	if err := task.Signal(t.Context(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if e := wait(t, task); e.Code != 137 || e.Signal != 9 || e.OOM {
		t.Errorf("exit is %+v, want code 137, signal 9", e)
	}
}

func terminated(t *testing.T, s Subject) {
	spec := s.spec(t, "TINY_SLEEP=1m", "TINY_SIGTERM=exit", "TINY_SIGTERM_EXIT_CODE=7", "TINY_PRINT=ready\n", "TINY_LISTEN=127.0.0.1:8080")
	task := s.launch(t, spec)
	start(t, task)
	reach(t, task) // then it has its handler
	if err := task.Signal(t.Context(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if e := wait(t, task); e.Code != 7 {
		t.Errorf("exit is %+v, want code 7", e)
	}
}

func processes(t *testing.T, s Subject) {
	task := s.launch(t, s.spec(t, "TINY_SLEEP=5m", "TINY_PRINT=started\n"))
	if ps, err := task.Processes(t.Context()); err != nil || len(ps) > 1 { // runc's own waits to become the main one
		t.Errorf("before the start: %+v, %v", ps, err)
	}
	start(t, task)
	ps, err := task.Processes(t.Context())
	if err != nil || len(ps) != 1 || ps[0].PID != 1 || !ps[0].Main {
		t.Errorf("%+v, %v; want PID 1 alone", ps, err)
	}
	if err := task.Signal(t.Context(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	wait(t, task)
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if ps, err = task.Processes(t.Context()); err == nil && len(ps) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after the end: %+v, %v", ps, err)
		}
	}
}

func lateSignal(t *testing.T, s Subject) {
	task := s.launch(t, s.spec(t))
	start(t, task)
	wait(t, task)
	for _, sig := range []os.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		if err := task.Signal(t.Context(), sig); err != nil {
			t.Errorf("%v after the end: %v", sig, err)
		}
	}
	closeTask(t, task)
	if err := task.Signal(t.Context(), syscall.SIGTERM); err != nil {
		t.Errorf("after Close: %v", err)
	}
}

func notFound(t *testing.T, s Subject) {
	spec := s.spec(t)
	spec.Args = []string{"no-such-command"}
	task, err := s.Launcher.Launch(t.Context(), spec)
	if err == nil {
		task.Close(t.Context())
		t.Fatal("Launch found a command that is not there")
	}
	se, ok := errors.AsType[*container.StartError](err)
	if !ok || se.Code != 127 || se.Msg != `exec: "no-such-command": executable file not found in $PATH` {
		t.Errorf("error is %#v (%v)", se, err)
	}
	s.launch(t, s.withID(t, spec.ID)) // nothing of it is left
}

// withID is a good Spec with the ID of one that failed.
func (s Subject) withID(t *testing.T, id string) container.Spec {
	spec := s.spec(t)
	spec.ID = id
	return spec
}

func notExecutable(t *testing.T, s Subject) {
	spec := s.spec(t)
	spec.Args = []string{"/etc/passwd"}
	task, err := s.Launcher.Launch(t.Context(), spec)
	if err == nil {
		defer task.Close(t.Context())
		err = task.Start(t.Context())
	}
	if se, ok := errors.AsType[*container.StartError](err); !ok || se.Code != 126 {
		t.Errorf("error is %v, want a start error with code 126", err)
	}
}

func entrypoint(t *testing.T, s Subject) {
	spec := s.spec(t, "TINY_EXIT_CODE=4")
	spec.Entrypoint, spec.Args = []string{"/tiny"}, []string{"train"}
	task := s.launch(t, spec)
	start(t, task)
	if e := wait(t, task); e.Code != 4 {
		t.Errorf("exit is %+v, want code 4", e)
	}
}

func log(t *testing.T, s Subject) {
	spec := s.spec(t, "TINY_PRINT=first\nlast without newline", "TINY_PRINT_STDERR=error\n")
	task := s.launch(t, spec)
	start(t, task)
	wait(t, task)
	closeTask(t, task)
	got := contents(t, spec)
	for _, want := range []string{"first\n", "last without newline", "error\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("log is %q, it lacks %q", got, want)
		}
	}
	r, err := logfile.Open(spec.Log)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if complete, lost := r.Complete(); !complete || lost {
		t.Errorf("log is complete %v, lossy %v", complete, lost)
	}
	for c, err := range r.Chunks(0) {
		if err != nil {
			t.Fatal(err)
		}
		want := logfile.Stdout
		if strings.Contains(string(c.Data), "error") {
			want = logfile.Stderr
		}
		if c.Stream != want {
			t.Errorf("%q is of %v", c.Data, c.Stream)
		}
	}
}

func waitCancelled(t *testing.T, s Subject) {
	task := s.launch(t, s.spec(t, "TINY_SLEEP=1m"))
	start(t, task)
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if _, err := task.Wait(ctx); !errors.Is(err, cause) {
		t.Errorf("error is %v, want the cause", err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	if e, err := task.Wait(ctx); err == nil {
		t.Errorf("the container ended with %+v", e)
	}
}

// reach dials until the container answers.
func reach(t *testing.T, task container.Task) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		conn, err := task.Dial(t.Context(), "tcp", "127.0.0.1:8080")
		if err == nil {
			b, err := io.ReadAll(conn)
			conn.Close()
			if err != nil || string(b) != "tiny\n" {
				t.Fatalf("read %q, %v", b, err)
			}
			return
		}
		if !errors.Is(err, syscall.ECONNREFUSED) || time.Now().After(deadline) {
			t.Fatalf("Dial: %v", err)
		}
	}
}

func dial(t *testing.T, s Subject) {
	task := s.launch(t, s.spec(t, "TINY_SLEEP=1m", "TINY_LISTEN=0.0.0.0:8080"))
	if _, err := task.Dial(t.Context(), "tcp", "127.0.0.1:8080"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("before Start: %v, want connection refused", err)
	}
	start(t, task)
	reach(t, task)
	closeTask(t, task)
	if conn, err := task.Dial(t.Context(), "tcp", "127.0.0.1:8080"); err == nil {
		conn.Close()
		t.Error("a closed container was reached")
	}
}

func listening(t *testing.T, s Subject) {
	task := s.launch(t, s.spec(t, "TINY_SLEEP=1m", "TINY_LISTEN=0.0.0.0:8080"))
	if at, err := task.Listening(t.Context()); err != nil || len(at) != 0 {
		t.Errorf("before Start: %v %v", at, err)
	}
	start(t, task)
	reach(t, task)
	at, err := task.Listening(t.Context())
	if err != nil || len(at) != 1 || at[0].Port() != 8080 || !at[0].Addr().IsUnspecified() {
		t.Errorf("%v %v", at, err)
	}
	closeTask(t, task)
	if at, err := task.Listening(t.Context()); err == nil && len(at) > 0 {
		t.Errorf("after Close: %v", at)
	}
}

func listenInside(t *testing.T, s Subject) {
	const addr = "169.254.170.2:80"
	task := s.launch(t, s.spec(t, "TINY_SLEEP=1m"))
	l, err := task.Listen(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	start(t, task)
	served := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			c.Close()
		}
		served <- err
	}()
	c, err := task.Dial(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if err := <-served; err != nil {
		t.Error(err)
	}
	other := s.launch(t, s.spec(t, "TINY_SLEEP=1m"))
	if c, err := other.Dial(t.Context(), "tcp", addr); err == nil {
		c.Close()
		t.Error("another container reaches it")
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if c, err := task.Dial(t.Context(), "tcp", addr); !errors.Is(err, syscall.ECONNREFUSED) {
		if err == nil {
			c.Close()
		}
		t.Errorf("after its close: %v, want connection refused", err)
	}
	for _, bad := range []string{"", "169.254.170.2", "[::1]:80x", "localhost:80"} {
		if l, err := task.Listen(t.Context(), bad); err == nil {
			l.Close()
			t.Errorf("listens at %q", bad)
		}
	}
	closeTask(t, task)
	closeTask(t, other)
}

func sharedNetwork(t *testing.T, s Subject) {
	spec := s.spec(t, "TINY_SLEEP=1m")
	first := s.launch(t, spec)
	start(t, first)
	inside := s.spec(t, "TINY_SLEEP=1m", "TINY_LISTEN=0.0.0.0:8080")
	inside.Job, inside.Network = spec.Job, spec.Network
	inside.Network.Of = spec.ID
	second := s.launch(t, inside)
	if first.Addr() != second.Addr() {
		t.Errorf("addresses %s and %s", first.Addr(), second.Addr())
	}
	start(t, second)
	reach(t, first)
	reach(t, second)
	closeTask(t, second)
	if _, err := first.Dial(t.Context(), "tcp", "127.0.0.1:8080"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("after the end of who listened: %v, want connection refused", err)
	}
	closeTask(t, first)
	stray := s.spec(t)
	stray.Job, stray.Network = spec.Job, inside.Network // of one that is closed
	if task, err := s.Launcher.Launch(t.Context(), stray); err == nil {
		t.Error("launched into the network of a container that is gone")
		closeTask(t, task)
	}
}

func closeRunning(t *testing.T, s Subject) {
	spec := s.spec(t, "TINY_SLEEP=1m")
	task := s.launch(t, spec)
	start(t, task)
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // Close works on its own deadline
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if err := task.Close(ctx); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
	wg.Wait()
	if e := wait(t, task); e.Code != 137 {
		t.Errorf("exit is %+v, want code 137", e)
	}
	closeTask(t, task)
	s.launch(t, s.withID(t, spec.ID))
}

func closeUnstarted(t *testing.T, s Subject) {
	spec := s.spec(t)
	task := s.launch(t, spec)
	closeTask(t, task)
	if err := task.Start(t.Context()); err == nil {
		t.Error("a closed container was started")
	}
	s.launch(t, s.withID(t, spec.ID))
}

func sameID(t *testing.T, s Subject) {
	spec := s.spec(t, "TINY_SLEEP=1m", "TINY_LISTEN=127.0.0.1:8080")
	task := s.launch(t, spec)
	start(t, task)
	if _, err := s.Launcher.Launch(t.Context(), s.withID(t, spec.ID)); err == nil {
		t.Error("an ID was taken twice")
	}
	reach(t, task) // the first one is as it was
}

func usage(t *testing.T, s Subject) {
	task := s.launch(t, s.spec(t, "TINY_SLEEP=1m"))
	start(t, task)
	for _, when := range []string{"running", "ended"} {
		u, err := task.Usage(t.Context())
		if err != nil || u.At.IsZero() {
			t.Errorf("%s: %+v, %v", when, u, err)
		}
		task.Signal(t.Context(), syscall.SIGKILL)
		wait(t, task)
	}
	if task.Interface() != "eth0" {
		t.Errorf("interface is %q", task.Interface())
	}
	if task.PID() <= 1 {
		t.Errorf("PID is %d", task.PID())
	}
}

func layer(t *testing.T, s Subject) {
	task := s.launch(t, s.spec(t, "TINY_SCRATCH=/srv/deep/file:1000"))
	start(t, task)
	wait(t, task)
	dir, err := task.Layer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(filepath.Join(dir, "srv/deep/file")); err != nil || fi.Size() != 1000 {
		t.Errorf("%v, %v", fi, err)
	}
}

func guard(t *testing.T, s Subject) {
	spec := s.spec(t, "TINY_SLEEP=1m", "TINY_PRINT=before", "TINY_LISTEN=127.0.0.1:8080")
	spec.Guard = filepath.Join(spec.Job, "lock")
	owner, err := os.Create(spec.Guard)
	if err != nil {
		t.Fatal(err)
	}
	defer owner.Close()
	if err := unix.Flock(int(owner.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	task := s.launch(t, spec)
	start(t, task)
	reach(t, task)
	owner.Close() // as if it had died
	began := time.Now()
	if e := wait(t, task); e.Code != 137 {
		t.Errorf("exit is %+v, want code 137", e)
	}
	if d := time.Since(began); d > time.Second {
		t.Errorf("the container outlived its owner by %v", d)
	}
	r, err := logfile.Open(spec.Log)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for complete := false; !complete; time.Sleep(5 * time.Millisecond) { // without anybody's Close
		if complete, _ = r.Complete(); time.Since(began) > patience {
			t.Fatal("the log is never complete")
		}
	}
	if got := contents(t, spec); !strings.HasSuffix(got, "before") {
		t.Errorf("log is %q", got)
	}
}

func noImage(t *testing.T, s Subject) {
	spec := s.spec(t)
	spec.Image = "optml.test/no-such-image:1"
	_, err := s.Launcher.Launch(t.Context(), spec)
	if ie, ok := errors.AsType[*container.ImageError](err); !ok || ie.Kind != container.ImageNotFound {
		t.Errorf("error is %v, want an image error, not found", err)
	}
	s.launch(t, s.withID(t, spec.ID))
}
