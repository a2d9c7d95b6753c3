package measure

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// highWater is a process's VmHWM in bytes, 0 when it is gone.
func highWater(pid int) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := bytes.Cut(b, []byte("VmHWM:"))
	kb, _, _ := bytes.Cut(rest, []byte(" kB"))
	n, _ := strconv.ParseInt(string(bytes.TrimSpace(kb)), 10, 64)
	return n << 10
}

// Watcher reads a process's VmHWM until it has ended. ru_maxrss will not do: it holds what the parent had when it forked.
type Watcher struct {
	pid    int
	helper func() map[int]string // further processes and their names; nil: none
	stop   chan struct{}
	done   sync.WaitGroup
	Peak   int64            // after End
	Beside map[string]int64 // peak of each further process, by program
}

// Watch begins to read the VmHWM of a process and of its helpers.
func Watch(pid int, helper func() map[int]string) *Watcher {
	w := &Watcher{pid: pid, helper: helper, stop: make(chan struct{}), Beside: map[string]int64{}}
	w.done.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			w.Peak = max(w.Peak, highWater(pid))
			if helper != nil && i%25 == 10 { // a look at all processes is work
				for p, name := range helper() {
					if n := highWater(p); n > 0 {
						w.Beside[name] = max(w.Beside[name], n)
					}
				}
			}
			select {
			case <-tick.C:
			case <-w.stop:
				return
			}
		}
	})
	return w
}

// End ends the reading.
func (w *Watcher) End() {
	close(w.stop)
	w.done.Wait()
}

// commandLine is a process's command line, "" when it is gone.
func commandLine(pid int) string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return string(bytes.ReplaceAll(bytes.TrimRight(b, "\x00"), []byte{0}, []byte(" ")))
}

// Processes yields each process with its command line.
func Processes(yield func(pid int, command string) bool) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && pid != os.Getpid() && !yield(pid, commandLine(pid)) {
			return
		}
	}
}

// CPU is the processor time of a process that was waited for, with that of the children that it waited for.
func CPU(cmd *exec.Cmd) time.Duration {
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
}

// Spent is the processor time of this process so far.
func Spent() time.Duration {
	var ru syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &ru) // has no errors for SELF
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// RunAll runs commands as a shell runs a pipeline: the output of each is the next one's input. It returns the processor
// time and the peak memory of all together, and for a failure what they said on stderr.
func RunAll(out *os.File, cmds ...*exec.Cmd) (took, used time.Duration, peak int64, err error) {
	var said bytes.Buffer
	var ends []*os.File
	var watchers []*Watcher
	t0 := time.Now()
	for i, c := range cmds {
		c.Stderr = &said
		if i == len(cmds)-1 {
			if out != nil {
				c.Stdout = out
			}
		} else {
			r, w, err := os.Pipe()
			if err != nil {
				return 0, 0, 0, err
			}
			c.Stdout, cmds[i+1].Stdin = w, r
			ends = append(ends, r, w)
		}
	}
	var started []*exec.Cmd
	for _, c := range cmds {
		if err = c.Start(); err != nil {
			break
		}
		started = append(started, c)
		watchers = append(watchers, Watch(c.Process.Pid, nil))
	}
	for _, f := range ends {
		f.Close()
	}
	if out != nil {
		out.Close()
	}
	for _, c := range started {
		if e := c.Wait(); e != nil && err == nil {
			err = fmt.Errorf("%s: %w\n%s", filepath.Base(c.Path), e, said.Bytes())
		}
		used += CPU(c)
	}
	took = time.Since(t0)
	for _, w := range watchers {
		w.End()
		peak += w.Peak
	}
	return took, used, peak, err
}
