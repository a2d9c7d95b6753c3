// Package logger is the process beside each container that writes its log (D2) and, as its guard, kills it when the
// owner of its job dies (D11). It knows nothing of containerd, so that a program of it alone starts in a millisecond:
// one starts before each container.
package logger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/optml/optml/logfile"
	"github.com/optml/optml/runtime/cgroup"
)

// The descriptors that containerd gives to a logger: the read ends of the container's stdout and stderr, and one to
// close when it is ready.
const (
	stdoutFD = 3
	stderrFD = 4
	goFD     = 5
)

// The logger's arguments come as pairs, in any order: containerd makes them from a URI's query.
const (
	ArgLog    = "log"    // path of the log without its ending
	ArgGuard  = "guard"  // path of the lock that the owner holds
	ArgCgroup = "cgroup" // path of the container's group in the hierarchy
)

// pipeSize is what the container's pipes are grown to: fewer wake-ups for who prints much.
const pipeSize = 1 << 20

// drainQuiet is how long the pipes of a container that the guard has killed must be silent to count as drained. The
// shim holds their write ends too, so they do not end before somebody deletes the task.
const drainQuiet = 50 * time.Millisecond

// Main is the logger role: it writes what the container prints to its log (D2), and kills the container when
// its owner dies (D11). containerd's shim starts it before the container exists. It ends when the log does.
func Main(args []string) int {
	// containerd asks for the end with SIGTERM at the same moment as it closes the pipes, with bytes still in them.
	signal.Ignore(unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	debug.SetGCPercent(40) // one process for each container: small beats fast
	if err := runLogger(args); err != nil {
		fmt.Fprintf(os.Stderr, "optml-logger: %v\n", err)
		return 1
	}
	return 0
}

func runLogger(args []string) error {
	arg := map[string]string{}
	for i := 0; i+1 < len(args); i += 2 {
		arg[args[i]] = args[i+1]
	}
	if arg[ArgLog] == "" {
		return errors.New("no log given")
	}
	w, err := logfile.Create(arg[ArgLog])
	if err != nil {
		return err
	}
	var pipes []*os.File
	for _, fd := range []int{stdoutFD, stderrFD} {
		_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETPIPE_SZ, pipeSize) // refused beyond the host's limit: then it stays as it is
		if err := unix.SetNonblock(fd, true); err != nil {             // so that the runtime can poll it, and a deadline works
			return fmt.Errorf("prepare pipe: %w", err)
		}
		pipes = append(pipes, os.NewFile(uintptr(fd), "pipe"))
	}
	if arg[ArgGuard] != "" {
		g, err := newGuard(arg[ArgGuard], arg[ArgCgroup])
		if err != nil {
			return err
		}
		go g.watch(func() { drain(pipes) })
	}
	os.NewFile(goFD, "ready").Close()

	var wg sync.WaitGroup
	for i, s := range []logfile.Stream{logfile.Stdout, logfile.Stderr} {
		wg.Go(func() {
			// The only error of a pipe is the deadline that drain sets.
			_ = w.Copy(s, pipes[i])
		})
	}
	wg.Wait()
	return w.Close()
}

// drain makes the readers of pipes stop once nothing more is in them.
func drain(pipes []*os.File) {
	quiet := time.Now()
	for time.Since(quiet) < drainQuiet {
		fds := []unix.PollFd{{Fd: stdoutFD, Events: unix.POLLIN}, {Fd: stderrFD, Events: unix.POLLIN}}
		if n, err := unix.Poll(fds, 0); err == nil && n > 0 && (fds[0].Revents|fds[1].Revents)&unix.POLLIN != 0 {
			quiet = time.Now()
		}
		time.Sleep(time.Millisecond)
	}
	for _, p := range pipes {
		p.SetReadDeadline(time.Now())
	}
}

// guard kills a container when the lock that its owner holds is freed.
type guard struct {
	lock  *os.File
	group cgroup.Group
}

func newGuard(lock, path string) (*guard, error) {
	h, err := cgroup.Host()
	if err != nil {
		return nil, err
	}
	if path == "" || path == "/" {
		return nil, errors.New("no cgroup given to guard")
	}
	f, err := os.Open(lock)
	if err != nil {
		return nil, fmt.Errorf("open guard: %w", err)
	}
	return &guard{lock: f, group: cgroup.Group{H: h, Path: path}}, nil
}

// watch blocks in flock until the owner has gone, then kills the container and calls then. The thread that blocks here
// goes with the process when the container ends first.
func (g *guard) watch(then func()) {
	for {
		// Shared, so that the guards of a job's containers do not wait for each other.
		err := unix.Flock(int(g.lock.Fd()), unix.LOCK_SH)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EINTR) {
			return // no such lock on this file system: newGuard's caller was refused by the owner's own lock before
		}
	}
	g.lock.Close() // at once: who adopts the job wants it exclusively
	ctx, cancel := context.WithTimeout(context.Background(), guardTimeout)
	defer cancel()
	// The group may not exist yet when the owner dies early, so an empty one is looked at again for a while.
	for deadline := time.Now().Add(guardGrace); ; time.Sleep(cgroup.Poll) {
		pids, err := g.group.PIDs()
		if err == nil && len(pids) > 0 {
			deadline = time.Now().Add(drainQuiet) // new ones may come until runc itself has gone
			_ = g.group.Kill(ctx)
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			break
		}
	}
	then()
}

const (
	guardTimeout = 30 * time.Second
	// guardGrace is how long a container may take from its logger's start to its first process: runc create takes
	// 30 ms.
	guardGrace = 10 * time.Second
)
