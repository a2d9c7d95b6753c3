package main

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// metrics prints a falling loss and a rising accuracy.
func metrics(o options) error {
	n := o.number("metrics", 0)
	format := o.text("metrics_format", "step={step}; train:loss={loss}; validation:accuracy={accuracy};")
	w := os.Stdout
	if o.text("metrics_stream", "stdout") == "stderr" {
		w = os.Stderr
	}
	for i := 1; i <= n; i++ {
		line := strings.NewReplacer(
			"{step}", strconv.Itoa(i),
			"{loss}", strconv.FormatFloat(1/float64(i), 'f', 6, 64),
			"{accuracy}", strconv.FormatFloat(1-1/float64(i+1), 'f', 6, 64),
		).Replace(format)
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
		time.Sleep(o.duration("metrics_interval", 0))
	}
	return nil
}

// lines prints numbered lines, both streams at the same time. Line n of stdout is "out " and n in 12 digits, filled up
// with x; stderr has "err ".
func lines(o options) error {
	size := max(18, o.number("line_bytes", 100))
	var wg sync.WaitGroup
	errs := make([]error, 2)
	for i, s := range []struct {
		w    io.Writer
		name string
		mb   int
	}{{os.Stdout, "out", o.number("stdout_mb", 0)}, {os.Stderr, "err", o.number("stderr_mb", 0)}} {
		wg.Go(func() {
			w := bufio.NewWriterSize(s.w, 1<<16)
			fill := strings.Repeat("x", size-18)
			for n := range int64(s.mb) * 1e6 / int64(size) {
				if _, errs[i] = fmt.Fprintf(w, "%s %012d %s\n", s.name, n, fill); errs[i] != nil {
					return
				}
			}
			errs[i] = w.Flush()
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// writeNoise writes n bytes that do not compress and are the same each time.
func writeNoise(path string, n int64, seed uint64) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	var key [32]byte
	key[0] = byte(seed)
	key[1] = byte(seed >> 8)
	_, err = io.CopyN(f, rand.NewChaCha8(key), n)
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}

// allocate takes memory and writes to each page, so that it counts.
func allocate(v string) {
	limit := 1 << 40
	if v != "all" {
		limit, _ = strconv.Atoi(v)
	}
	var kept [][]byte
	for range limit {
		b := make([]byte, 1<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		kept = append(kept, b)
	}
	held.Store(&kept)
}

var held atomic.Pointer[[][]byte] // keeps what allocate took until the process ends

// forkHolders starts children that keep our stdout and stderr.
func forkHolders(n int, sleep string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for range n {
		c := exec.Command(self, "hold", sleep)
		c.Stdout, c.Stderr = os.Stdout, os.Stderr
		if err := c.Start(); err != nil {
			return err
		}
		sayJSON(map[string]any{"child": c.Process.Pid})
	}
	return nil
}

func hold(args []string) {
	d := time.Hour
	if len(args) > 0 {
		if v, err := time.ParseDuration(args[0]); err == nil {
			d = v
		}
	}
	time.Sleep(d)
	fmt.Println("child ends")
}

// processes makes n processes of a few KiB each, which do nothing until they are killed, and returns how many it made.
func processes(n int) (int, error) {
	for i := range n {
		pid, _, errno := syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
		if errno != 0 {
			return i, errno
		}
		for pid == 0 { // the child, which is a copy of this thread alone: it may make system calls and no more
			syscall.RawSyscall6(syscall.SYS_PPOLL, 0, 0, 0, 0, 0, 0)
		}
	}
	return n, nil
}

// begin makes a file with something in it that is not its all.
func begin(path string) (*os.File, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	_, err = f.Write(make([]byte, 4096))
	return f, err
}

// segv ends us by SIGSEGV: without the handler of the Go runtime the kernel does that even to a PID 1.
func segv() {
	var action [4]uint64 // SIG_DFL
	syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(syscall.SIGSEGV), uintptr(unsafe.Pointer(&action)), 0, 8, 0, 0)
	var nowhere *int
	*nowhere = 1
}
