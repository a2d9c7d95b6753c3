package ctrd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/runc"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/optml/optml/runtime/cgroup"
	"github.com/optml/optml/runtime/container"
)

// ErrLost says that a container has ended without anybody having seen how: its shim died first.
var ErrLost = errors.New("the container's end was not observed")

// task implements container.Task.
type task struct {
	c     *Client
	spec  container.Spec
	addr  string // in the bridge's network, else the loopback's
	group cgroup.Group
	args  []string // of the process, with its environment and working directory
	env   []string
	cwd   string
	pid   int
	ct    client.Task
	pidfd int      // of the main process; -1: none
	ns    *os.File // its network namespace, which Dial enters
	far   *os.File // where the link of a lone network ends; nil: it has another

	watched bool          // watch has been begun
	done    chan struct{} // closed when exit and err are set
	exit    container.Exit
	err     error

	killed atomic.Bool // SIGKILL was ours

	mu     sync.Mutex
	final  *container.Usage // the last counters, read when the process had ended
	closed bool
}

var _ container.Task = (*task)(nil)

// adopt takes hold of the created task's process.
func (t *task) adopt(ct client.Task) error {
	t.pid = int(ct.Pid())
	fd, err := unix.PidfdOpen(t.pid, 0)
	if err != nil {
		return fmt.Errorf("hold process %d: %w", t.pid, err)
	}
	t.pidfd = fd
	return checkNetns(t.ns, t.pid)
}

// load finds the task anew, as after a restart of the daemon.
func (t *task) load(ctx context.Context) (client.Task, error) {
	cont, err := t.c.conn.LoadContainer(ctx, t.spec.ID)
	if err != nil {
		return nil, err
	}
	return cont.Task(ctx, nil)
}

// Start implements container.Task.
func (t *task) Start(ctx context.Context) error {
	ctx = t.c.ctx(ctx)
	var predicted *container.StartError
	if !t.spec.Init {
		predicted = predictExec(t.pid, t.args, t.env, t.cwd)
	}
	err := t.ct.Start(ctx)
	if err == nil {
		return t.confirm(ctx, predicted)
	}
	if se := startError(err); se != nil {
		return se
	}
	return fmt.Errorf("start container %s: %w", t.spec.ID, err)
}

// confirm returns the predicted error if the process does end at once as runc does when it cannot execute.
func (t *task) confirm(ctx context.Context, predicted *container.StartError) error {
	if predicted == nil {
		return nil
	}
	select {
	case <-t.done:
		if t.err == nil && (t.exit.Code == 1 || t.exit.Code == 255) { // by runc's version
			return predicted
		}
	case <-ctx.Done():
	case <-time.After(confirmTimeout):
	}
	return nil
}

// confirmTimeout is how long runc may take to fail.
const confirmTimeout = 2 * time.Second

const (
	// retryMin and retryMax space the attempts to reach a daemon that does not answer.
	retryMin = 20 * time.Millisecond
	retryMax = time.Second
)

// watch waits for the process, through restarts of the daemon, and records how it ended.
func (t *task) watch(ct client.Task) {
	defer close(t.done)
	ctx := t.c.ctx(context.Background())
	for wait := retryMin; ; wait = min(2*wait, retryMax) {
		ch, err := ct.Wait(ctx)
		if err == nil {
			var code uint32
			var at time.Time
			if code, at, err = (<-ch).Result(); err == nil {
				t.ended(container.Exit{Code: int(code), At: at})
				return
			}
		}
		if t.gone(wait) {
			t.endedUnseen(ctx, err)
			return
		}
		if fresh, rerr := t.reload(ctx); rerr == nil {
			ct = fresh
		} else if t.c.closed.Load() {
			t.err = fmt.Errorf("wait for container %s: %w", t.spec.ID, os.ErrClosed)
			return
		} else if errdefs.IsNotFound(rerr) && t.gone(lostTimeout) {
			// Its shim has died, and runc has killed the process, which takes up to two seconds.
			t.endedUnseen(ctx, rerr)
			return
		}
	}
}

const (
	// lostTimeout is how long a process whose shim has died may live on; 1.9 s has been measured.
	lostTimeout = 10 * time.Second
	// askTimeout is how long a containerd that does not answer is asked how a process ended.
	askTimeout = 30 * time.Second
	// reapTimeout is how long a shim may take from a process's end to having written down how it ended.
	reapTimeout = time.Second
)

// endedUnseen records the end of a process that is dead and that containerd did not tell us of. A daemon that starts
// forgets the tasks that have ended meanwhile, so it is asked last.
func (t *task) endedUnseen(ctx context.Context, cause error) {
	for deadline := time.Now().Add(reapTimeout); time.Now().Before(deadline); time.Sleep(cgroup.Poll) {
		if e, ok := t.recordedExit(); ok {
			t.ended(e)
			return
		}
		e, reaped := pidfdExit(t.pidfd)
		if reaped && (e.Signal != int(unix.SIGKILL) || t.killed.Load()) {
			t.ended(e)
			return
		}
		if reaped && errdefs.IsNotFound(cause) {
			break // runc killed it after its shim's death: no more will be known
		}
	}
	for deadline := time.Now().Add(askTimeout); ; time.Sleep(retryMin) {
		e, err := t.askStatus(ctx)
		if err == nil {
			t.ended(e)
			return
		}
		if errdefs.IsNotFound(err) || t.c.closed.Load() || time.Now().After(deadline) {
			break
		}
	}
	t.ended(container.Exit{Code: 255})
	t.err = fmt.Errorf("container %s: %w (%w)", t.spec.ID, ErrLost, cause)
}

// recordedExit reads what the embedded daemon's shim wrote down.
func (t *task) recordedExit() (container.Exit, bool) {
	e, err := runc.ReadExitStatus(t.c.cfg.bundle(t.spec.ID))
	return container.Exit{Code: e.Status, At: e.Timestamp}, err == nil
}

// reload reaches the daemon again, starting it if it is ours, and finds the task anew.
func (t *task) reload(ctx context.Context) (client.Task, error) {
	if err := t.c.revive(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	return t.load(ctx)
}

func (t *task) askStatus(ctx context.Context) (container.Exit, error) {
	ct, err := t.reload(ctx)
	if err != nil {
		return container.Exit{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	st, err := ct.Status(ctx)
	if err != nil {
		return container.Exit{}, err
	}
	if st.Status != client.Stopped {
		return container.Exit{}, fmt.Errorf("task is %s", st.Status)
	}
	return container.Exit{Code: int(st.ExitStatus), At: st.ExitTime}, nil
}

// gone waits for the main process to be dead, at most for d.
func (t *task) gone(d time.Duration) bool { return pidfdDead(t.pidfd, d) }

// ended records the exit with what the cgroup says, which lives until the task is deleted.
func (t *task) ended(e container.Exit) {
	if told, ok := pidfdExit(t.pidfd); ok && told.Code == e.Code {
		e.Signal = told.Signal // 0 of a process that ends itself with 137
	} else if e.Code > 128 && e.Code <= 128+64 {
		e.Signal = e.Code - 128
	}
	e.OOM = t.group.OOMKilled()
	if e.At.IsZero() {
		e.At = time.Now()
	}
	t.exit = e
	u := t.counters()
	t.mu.Lock()
	t.final = &u
	t.mu.Unlock()
}

// Wait implements container.Task.
func (t *task) Wait(ctx context.Context) (container.Exit, error) {
	select {
	case <-t.done:
		return t.exit, t.err
	case <-ctx.Done():
		return container.Exit{}, fmt.Errorf("wait for container %s: %w", t.spec.ID, context.Cause(ctx))
	}
}

// Signal implements container.Task. The kernel is asked and not the daemon: it is there always, and the descriptor
// cannot mean another process.
func (t *task) Signal(_ context.Context, sig os.Signal) error {
	s, ok := sig.(syscall.Signal)
	if !ok {
		return fmt.Errorf("signal container %s: %v is no signal of this system", t.spec.ID, sig)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil
	}
	if s == syscall.SIGKILL {
		t.killed.Store(true)
	}
	if err := unix.PidfdSendSignal(t.pidfd, s, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("signal container %s: %w", t.spec.ID, err)
	}
	return nil
}

// Dial implements container.Task.
func (t *task) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	ns, err := t.netns()
	if err != nil {
		return nil, fmt.Errorf("dial in container %s: %w", t.spec.ID, err)
	}
	defer ns.Close()
	return dialIn(ctx, ns, network, addr)
}

// Listen implements container.Task. It ends with this process, however that ends.
func (t *task) Listen(_ context.Context, addr string) (net.Listener, error) {
	ns, err := t.netns()
	if err != nil {
		return nil, fmt.Errorf("listen in container %s: %w", t.spec.ID, err)
	}
	defer ns.Close()
	l, err := listenIn(ns, addr)
	if err != nil {
		return nil, fmt.Errorf("listen in container %s: %w", t.spec.ID, err)
	}
	return l, nil
}

// netns opens the container's network namespace once more.
func (t *task) netns() (*os.File, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, net.ErrClosed
	}
	fd, err := unix.FcntlInt(t.ns.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "netns"), nil
}

// Usage implements container.Task. Of a container that has ended it is the last one.
func (t *task) Usage(context.Context) (container.Usage, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.final != nil {
		return *t.final, nil
	}
	if t.closed {
		return container.Usage{}, fmt.Errorf("usage of container %s: %w", t.spec.ID, os.ErrClosed)
	}
	return t.counters(), nil
}

func (t *task) counters() container.Usage {
	u := groupUsage(t.group)
	u.At = time.Now()
	if b, err := os.ReadFile("/proc/" + strconv.Itoa(t.pid) + "/net/dev"); err == nil {
		u.RxBytes, u.TxBytes = parseNetDev(b)
	}
	return u
}

// PID implements container.Task.
func (t *task) PID() int { return t.pid }

// Interface implements container.Task (RES-5).
func (t *task) Interface() string { return guestLink }

// Addr implements container.Task.
func (t *task) Addr() string { return t.addr }

// Layer implements container.Task.
func (t *task) Layer(ctx context.Context) (string, error) {
	mounts, err := t.c.conn.SnapshotService(t.c.cfg.Snapshotter).Mounts(t.c.ctx(ctx), t.spec.ID)
	if err != nil {
		return "", fmt.Errorf("find what container %s has written: %w", t.spec.ID, err)
	}
	for _, m := range mounts {
		for _, o := range m.Options {
			if dir, ok := strings.CutPrefix(o, "upperdir="); ok {
				return dir, nil
			}
		}
	}
	return "", nil // a snapshotter that copies the image
}

const (
	// closeTimeout bounds Close whatever its context: the logger has 12 s in containerd's shim, the rest is quick.
	closeTimeout = 60 * time.Second
	// logTimeout is how long a log may take to be complete after its task is gone.
	logTimeout = 15 * time.Second
)

// Close implements container.Task.
func (t *task) Close(ctx context.Context) error {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return nil
	}
	t.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.c.ctx(ctx)), closeTimeout)
	defer cancel()
	if err := t.remove(ctx); err != nil {
		return fmt.Errorf("close container %s: %w", t.spec.ID, err)
	}
	return nil
}

// remove kills the container and removes all of it, in any state that it may be in. Only when everything is gone does
// its run file go too, so that a sweep finds what this one had to leave.
func (t *task) remove(ctx context.Context) error {
	t.killed.Store(true)
	err := t.c.removeContainer(ctx, runFile{
		ID: t.spec.ID, Job: t.spec.Job, Bridge: t.spec.Network.Bridge, Cgroup: t.group.Path, Log: t.spec.Log,
	})
	if err != nil {
		return err
	}
	if t.watched {
		<-t.done // soon: the process is dead and the task deleted
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed {
		t.closed = true
		t.c.tasks.Delete(t.spec.ID)
		for _, ns := range []*os.File{t.ns, t.far} {
			if ns != nil {
				ns.Close()
			}
		}
		if t.pidfd > 0 {
			unix.Close(t.pidfd)
		}
	}
	return nil
}
