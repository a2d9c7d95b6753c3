//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Bounds of memory while a log of any size goes through (ruling 23).
const (
	ownerBound = 200 << 20 // the owner's
	restBound  = 100 << 20 // of containerd, shim and logger together, beside what containerd had before
)

// logMB is the size of the log: 1 GB in the full tier.
func logMB() int {
	if full {
		return 1000
	}
	return 100
}

// TestBigLog prints numbered lines on stdout, fewer on stderr at the same time, and reads each of them back: in order,
// none lost, none merged with another. The owner looks for metrics in them all the while.
func TestBigLog(t *testing.T) {
	sameHost(t)
	name := jobName("big")
	mb := logMB()
	d := training(name, "stdout_mb", strconv.Itoa(mb), "stderr_mb", strconv.Itoa(mb/10), "metrics", "1")
	d["AlgorithmSpecification"].(doc)["MetricDefinitions"] = []doc{{"Name": "loss", "Regex": `train:loss=([0-9.]+);`}}
	peak := watchMemory(t)
	began := time.Now()
	p := begin(t, nil, "train", "--quiet", d.file(t))
	owner := watchOwner(p.Process.Pid)
	if r := p.waitFor(t, 5*time.Minute); r.code != 0 {
		t.Fatal(r)
	}
	took := time.Since(began)
	own, rest := owner(), peak()
	total := int64(0)
	for role, n := range rest {
		total += n
		t.Logf("%s %d MB", role, n>>20)
	}
	t.Logf("%d MB in %.1f s, %.0f MB/s; owner %d MB, the others together %d MB more (VmHWM)", mb+mb/10, took.Seconds(), float64(mb+mb/10)/took.Seconds(), own>>20, total>>20)
	if !raceEnabled {
		if own == 0 || own > ownerBound {
			t.Errorf("the owner had %d MB", own>>20)
		}
		if len(rest) < 3 || total > restBound {
			t.Errorf("containerd, shim and logger took %d MB: %v", total>>20, rest)
		}
	}
	if s := record(t, name); len(s.Metrics) != 1 || s.Metrics[0].Value != 1 {
		t.Errorf("metrics %+v", s.Metrics)
	}
	path := logPath(name)
	checkLines(t, open(t, path), map[string]int64{"out": int64(mb) * 1e4, "err": int64(mb) * 1e3})

	// `optml logs` gives the same bytes.
	out, err := os.Create(filepath.Join(t.TempDir(), "logs"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := command(t.Context(), nil, "logs", name)
	cmd.Stdout = out
	if err := errors.Join(cmd.Run(), out.Close()); err != nil {
		t.Fatal(err)
	}
	if !sameBytes(t, open(t, path), open(t, out.Name())) {
		t.Error("optml logs prints something else")
	}
	ok(t, "rm", name)
}

// TestBigLogOfACrash kills the owner when its container has just printed its last line, and another while it prints: of
// the first all lines are there, of the second all up to where it was killed.
func TestBigLogOfACrash(t *testing.T) {
	sameHost(t)
	mb := logMB()
	for _, when := range []string{"after", "amidst"} {
		name := jobName("big")
		p := begin(t, nil, "train", "--quiet", training(name, "stdout_mb", strconv.Itoa(mb), "sleep", "5m").file(t))
		running(t, name)
		path := logPath(name)
		eventually(t, "the lines", func() bool {
			if when == "after" { // the model is written when all is printed; the pipe may still be full of it
				return artifacts(t, "training", name)["model/model.txt"] > 0
			}
			fi, err := os.Stat(path)
			return err == nil && fi.Size() > int64(mb)*1e5
		})
		if err := p.Process.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		p.wait(t)
		ok(t, "prune")
		want := map[string]int64{"out": int64(mb) * 1e4}
		if when == "amidst" {
			want["out"] = -1
		}
		n := checkLines(t, open(t, path), want)
		t.Logf("killed %s printing: %d of %d lines", when, n, int64(mb)*1e4)
		ok(t, "rm", name)
	}
}

func logPath(name string) string {
	return filepath.Join(w.root, "jobs", "training", name, "logs", "algo-1.log")
}

func open(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// checkLines reads a log of the tiny image's numbered lines, "out 000000000042 xxx…" of 100 bytes, and holds that each
// stream's numbers follow on each other and that there are as many as want says; -1 is any number, whose last line may
// be cut. It returns how many there are.
func checkLines(t *testing.T, f *os.File, want map[string]int64) int64 {
	t.Helper()
	next := map[string]int64{}
	r := bufio.NewReaderSize(f, 1<<20)
	fill := strings.Repeat("x", 100-18)
	wrong, others := 0, 0
	for {
		line, err := r.ReadSlice('\n')
		if errors.Is(err, io.EOF) {
			if len(line) > 0 && want["out"] >= 0 {
				t.Errorf("the log ends in a cut line: %q", line)
			}
			break
		}
		if err != nil {
			t.Fatalf("after %v: %v: %.100q", next, err, line)
		}
		stream := string(line[:min(3, len(line))])
		if stream != "out" && stream != "err" {
			if others++; others > 20 || bytes.Contains(line, []byte("xxxx")) {
				t.Fatalf("after %v: %.200q", next, line)
			}
			continue
		}
		if string(line) != fmt.Sprintf("%s %012d %s\n", stream, next[stream], fill) {
			t.Errorf("line %d of %s is %.120q", next[stream], stream, line)
			if wrong++; wrong > 3 {
				t.FailNow()
			}
		}
		next[stream]++
	}
	for stream, n := range want {
		if n >= 0 && next[stream] != n {
			t.Errorf("%d lines of %s, want %d", next[stream], stream, n)
		}
	}
	if next["out"] == 0 {
		t.Error("no line at all")
	}
	return next["out"]
}

func sameBytes(t *testing.T, a, b io.Reader) bool {
	t.Helper()
	x, y := make([]byte, 1<<20), make([]byte, 1<<20)
	for {
		n, err := io.ReadFull(a, x)
		m, berr := io.ReadFull(b, y)
		if !bytes.Equal(x[:n], y[:m]) || (err == nil) != (berr == nil) {
			return false
		}
		if err != nil {
			return true
		}
	}
}

// vmHWM is the largest resident memory that a process has had, in bytes.
func vmHWM(pid int) int64 {
	for line := range strings.Lines(string(read(fmt.Sprintf("/proc/%d/status", pid)))) {
		if v, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(v), " kB"), 10, 64)
			return n << 10
		}
	}
	return 0
}

// sample calls f until the function returned is called, and once more then.
func sample(f func()) (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			f()
			select {
			case <-done:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
	return func() { close(done); wg.Wait() }
}

// watchOwner follows the peak of one process until it has gone.
func watchOwner(pid int) func() int64 {
	var peak int64
	stop := sample(func() { peak = max(peak, vmHWM(pid)) })
	return func() int64 { stop(); return peak }
}

// watchMemory follows the peaks of containerd, shims and loggers from now on, by role. Of a containerd that has a past
// only what it takes from now on counts.
func watchMemory(t *testing.T) func() map[string]int64 {
	t.Helper()
	serving := func() []process {
		all := ourProcesses()
		if w.given != nil {
			all = append(all, process{pid: w.given.cmd.Process.Pid, role: "containerd"})
		}
		return all
	}
	past := map[string]int64{}
	for _, p := range serving() {
		if p.role == "containerd" {
			if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.pid), []byte("5"), 0); err != nil { // its peak is now what it has
				t.Fatal(err)
			}
			past[p.role] = vmHWM(p.pid)
		}
	}
	peak := map[string]int64{} // the roles may have it at different times
	stop := sample(func() {
		now := map[string]int64{}
		for _, p := range serving() {
			now[p.role] += vmHWM(p.pid)
		}
		for _, role := range []string{"containerd", "shim", "logger"} {
			if n := now[role]; n > 0 {
				peak[role] = max(peak[role], n-past[role])
			}
		}
	})
	return func() map[string]int64 { stop(); return peak }
}
