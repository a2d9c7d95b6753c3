package main

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

// watcher reads a process's VmHWM until it has ended. ru_maxrss will not do: it holds what the parent had when it forked.
type watcher struct {
	pid    int
	helper func() map[int]string // further processes and their names; nil: none
	stop   chan struct{}
	done   sync.WaitGroup
	peak   int64
	beside map[string]int64 // peak of each further process, by program
}

func watch(pid int, helper func() map[int]string) *watcher {
	w := &watcher{pid: pid, helper: helper, stop: make(chan struct{}), beside: map[string]int64{}}
	w.done.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			w.peak = max(w.peak, highWater(pid))
			if helper != nil && i%25 == 10 { // a look at all processes is work
				for p, name := range helper() {
					if n := highWater(p); n > 0 {
						w.beside[name] = max(w.beside[name], n)
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

func (w *watcher) end() {
	close(w.stop)
	w.done.Wait()
}

func command(pid int) string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return string(bytes.ReplaceAll(bytes.TrimRight(b, "\x00"), []byte{0}, []byte(" ")))
}

// processes yields each process with its command line.
func processes(yield func(pid int, command string) bool) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && pid != os.Getpid() && !yield(pid, command(pid)) {
			return
		}
	}
}

// cpu is the processor time of a process that was waited for, with that of the children that it waited for.
func cpu(cmd *exec.Cmd) time.Duration {
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
}

// spent is the processor time of this process so far.
func spent() time.Duration {
	var ru syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &ru) // has no errors for SELF
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// runAll runs commands as a shell runs a pipeline: the output of each is the next one's input. It returns the processor
// time and the peak memory of all together, and for a failure what they said on stderr.
func runAll(out *os.File, cmds ...*exec.Cmd) (took, used time.Duration, peak int64, err error) {
	var said bytes.Buffer
	var ends []*os.File
	var watchers []*watcher
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
		watchers = append(watchers, watch(c.Process.Pid, nil))
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
		used += cpu(c)
	}
	took = time.Since(t0)
	for _, w := range watchers {
		w.end()
		peak += w.peak
	}
	return took, used, peak, err
}
