package cgroup

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// warmEvery is shorter than a grace period of the kernel, ten milliseconds or more.
const warmEvery = 4 * time.Millisecond

// Warm keeps the kernel ready to put processes into groups until cool is called. The first to do so after a while waits
// for a grace period (the mount option favordynmods exists for that), and runc does so after it has been started, when
// the whole job waits for it. So here a thread is put into the group that it is in, again and again: nothing moves, and
// the waiting is done while others work. It is only done for version 1, and where it cannot be nobody misses it.
func (h Hierarchy) Warm() (cool func()) {
	if h.Unified != "" {
		return func() {}
	}
	end := make(chan struct{})
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		b, err := os.ReadFile("/proc/thread-self/cgroup")
		if err != nil {
			return
		}
		tasks, err := os.OpenFile(filepath.Join(h.V1["memory"], groupOf(string(b), "memory"), "tasks"), os.O_WRONLY, 0)
		if err != nil {
			return
		}
		defer tasks.Close()
		self := []byte(strconv.Itoa(unix.Gettid()))
		for {
			if _, err := tasks.Write(self); err != nil {
				return
			}
			select {
			case <-end:
				return
			case <-time.After(warmEvery):
			}
		}
	}()
	return func() { close(end) }
}

// groupOf finds the group of a controller in the text of /proc/PID/cgroup, of version 1.
func groupOf(text, controller string) string {
	for line := range strings.Lines(text) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 {
			continue
		}
		for c := range strings.SplitSeq(f[1], ",") {
			if c == controller {
				return f[2]
			}
		}
	}
	return ""
}
