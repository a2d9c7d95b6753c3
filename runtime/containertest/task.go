package containertest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/optml/optml/logfile"
	"github.com/optml/optml/runtime/container"
)

// Task is a fake container.
type Task struct {
	l       *Launcher
	spec    container.Spec
	program Program
	process *Process
	signals chan os.Signal
	cancel  context.CancelFunc
	log     *logfile.Writer
	pid     int
	done    chan struct{} // closed when exit is set

	ports *ports

	mu       sync.Mutex
	started  bool
	ended    bool
	exit     container.Exit
	usage    container.Usage
	layer    string
	closing  sync.Once
	closeErr error
}

// ports are what listens in a network, which several containers may share.
type ports struct {
	mu   sync.Mutex
	open map[string]*listener
}

var _ container.Task = (*Task)(nil)

// firstPID is above what a host would have, so that nothing is signalled by mistake.
const firstPID = 1 << 22

// guardPoll is how often the guard looks at the owner's lock.
const guardPoll = 50 * time.Millisecond

func newTask(l *Launcher, s container.Spec, program Program, args, env []string, n int) (*Task, error) {
	shared := &ports{open: map[string]*listener{}}
	if of := s.Network.Of; of != "" {
		other := l.live[of]
		if other == nil || other.spec.Job != s.Job {
			return nil, fmt.Errorf("container %s: its network is that of %s, which is no container of the job", s.ID, of)
		}
		shared = other.ports
	}
	log, err := logfile.Create(s.Log)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	t := &Task{
		l: l, spec: s, program: program, log: log, cancel: cancel, pid: firstPID + n,
		signals: make(chan os.Signal, 16), done: make(chan struct{}), ports: shared,
	}
	t.process = &Process{
		Context: ctx, Spec: s, Args: args, Env: env, Signals: t.signals, Hostname: s.Hostname, t: t,
		Stdout: output{t, logfile.Stdout}, Stderr: output{t, logfile.Stderr},
	}
	if s.Guard != "" {
		f, err := os.Open(s.Guard)
		if err != nil {
			t.close()
			return nil, fmt.Errorf("open guard: %w", err)
		}
		go t.guard(f)
	}
	return t, nil
}

// guard kills the container when the owner's lock is free (D11).
func (t *Task) guard(f *os.File) {
	defer f.Close()
	for {
		if unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) == nil {
			t.end(container.Exit{Code: 137, Signal: 9})
			t.log.Close()
			return
		}
		select {
		case <-t.done:
			return
		case <-time.After(guardPoll):
		}
	}
}

// Start implements container.Task.
func (t *Task) Start(ctx context.Context) error {
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("start container %s: %w", t.spec.ID, err)
	}
	if t.l.OnStart != nil {
		if err := t.l.OnStart(t.spec); err != nil {
			return err
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.started || t.ended {
		return fmt.Errorf("start container %s: already started", t.spec.ID)
	}
	t.started = true
	go func() {
		code := t.program(t.process)
		t.end(container.Exit{Code: code})
	}()
	return nil
}

// end records how the process ended; the first one counts.
func (t *Task) end(e container.Exit) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return
	}
	t.ended = true
	e.At = time.Now()
	t.exit = e
	t.cancel()
	close(t.done)
	t.ports.mu.Lock()
	defer t.ports.mu.Unlock()
	for port, l := range t.ports.open {
		if l.of == t {
			l.Close()
			delete(t.ports.open, port)
		}
	}
}

// Wait implements container.Task.
func (t *Task) Wait(ctx context.Context) (container.Exit, error) {
	select {
	case <-t.done:
		return t.exit, nil
	case <-ctx.Done():
		return container.Exit{}, fmt.Errorf("wait for container %s: %w", t.spec.ID, context.Cause(ctx))
	}
}

// Signal implements container.Task.
func (t *Task) Signal(_ context.Context, sig os.Signal) error {
	if sig == syscall.SIGKILL {
		t.end(container.Exit{Code: 137, Signal: 9})
		return nil
	}
	select {
	case t.signals <- sig:
	default: // nobody reads: ignored
	}
	return nil
}

// Dial implements container.Task.
func (t *Task) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	fail := func(err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fail(err)
	}
	t.ports.mu.Lock()
	l := t.ports.open[address]
	t.ports.mu.Unlock()
	if ip := net.ParseIP(host); l == nil && ip != nil && !ip.IsLoopback() { // nothing else is there, and an isolated one has no route
		if t.spec.Network.Isolated {
			return fail(syscall.ENETUNREACH)
		}
		return fail(syscall.ETIMEDOUT)
	}
	if l == nil {
		t.ports.mu.Lock()
		l = t.ports.open[port]
		t.ports.mu.Unlock()
	}
	if l == nil {
		return fail(syscall.ECONNREFUSED)
	}
	here, there := net.Pipe()
	select {
	case l.conns <- there:
		return here, nil
	case <-l.closed:
		return fail(syscall.ECONNREFUSED)
	case <-ctx.Done():
		return fail(context.Cause(ctx))
	}
}

// Listening implements container.Task.
func (t *Task) Listening(context.Context) ([]netip.AddrPort, error) {
	t.ports.mu.Lock()
	defer t.ports.mu.Unlock()
	var out []netip.AddrPort
	for at := range t.ports.open {
		if a, err := netip.ParseAddrPort(at); err == nil {
			out = append(out, a)
		} else if p, err := strconv.ParseUint(at, 10, 16); err == nil { // a process's, on all interfaces
			out = append(out, netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(p)))
		}
	}
	slices.SortFunc(out, netip.AddrPort.Compare)
	return out[:min(len(out), container.MaxListening)], nil
}

// Listen implements container.Task.
func (t *Task) Listen(_ context.Context, address string) (net.Listener, error) {
	if _, err := netip.ParseAddrPort(address); err != nil {
		return nil, fmt.Errorf("listen in container %s: %w", t.spec.ID, err)
	}
	return t.listen(address)
}

// SetUsage sets what Usage returns.
func (t *Task) SetUsage(u container.Usage) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.usage = u
}

// Usage implements container.Task.
func (t *Task) Usage(context.Context) (container.Usage, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	u := t.usage
	if u.At.IsZero() {
		u.At = time.Now()
	}
	return u, nil
}

// Processes implements container.Task.
func (t *Task) Processes(context.Context) ([]container.Process, error) {
	t.mu.Lock()
	running := t.started && !t.ended
	t.mu.Unlock()
	switch {
	case !running:
		return nil, nil
	case t.l.OnProcesses != nil:
		return t.l.OnProcesses(t.spec), nil
	}
	return []container.Process{{PID: 1, Main: true, Command: strings.Join(t.process.Args, " "), Term: container.HandlingDefault}}, nil
}

// PID implements container.Task.
func (t *Task) PID() int { return t.pid }

// Interface implements container.Task.
func (t *Task) Interface() string { return "eth0" }

// Addr implements container.Task. The fake has one address.
func (t *Task) Addr() string { return "127.0.0.1" }

// Layer implements container.Task.
func (t *Task) Layer(context.Context) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.layer, nil
}

// Close implements container.Task.
func (t *Task) Close(context.Context) error {
	t.closing.Do(func() {
		if t.l.OnClose != nil {
			t.closeErr = t.l.OnClose(t.spec)
		}
		t.closeErr = errors.Join(t.closeErr, t.close())
		t.l.forget(t.spec.ID)
	})
	return t.closeErr
}

func (t *Task) close() error {
	t.end(container.Exit{Code: 137, Signal: 9})
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.layer != "" {
		_ = os.RemoveAll(t.layer)
	}
	return t.log.Close()
}

// output is a stream of the process.
type output struct {
	t *Task
	s logfile.Stream
}

func (o output) Write(p []byte) (int, error) {
	select {
	case <-o.t.done:
		return 0, os.ErrClosed
	default:
	}
	o.t.log.Write(o.s, p)
	return len(p), nil
}
