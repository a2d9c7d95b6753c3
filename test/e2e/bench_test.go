//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/optml/optml/bench"
	"github.com/optml/optml/load"
)

// benchmarked runs a benchmark and returns its result.
func benchmarked(t *testing.T, args ...string) bench.Result {
	t.Helper()
	r := ok(t, append([]string{"bench"}, append(args, "--quiet", "--output", "json")...)...)
	var x bench.Result
	if err := json.Unmarshal([]byte(r.stdout), &x); err != nil {
		t.Fatal(err)
	}
	return x
}

// A container that sleeps for 200 ms and one that sleeps for 210 ms: with 20 runs of each the difference is found, and the
// interval holds the truth. Of 20 comparisons of 200 ms with 200 ms two claim a difference at most.
func TestBenchStatistics(t *testing.T) {
	if !full {
		t.Skip("of the full tier: OPTML_FULL=1")
	}
	sameHost(t)
	d := training(jobName("nap"), "sleep", "200ms").file(t)
	r := benchmarked(t, "train", d, "--vary", "HyperParameters.sleep=200ms,210ms", "--runs", "20", "--figure", "run", "--seed", "1")
	c := r.Comparisons[0]
	t.Logf("%s; ratio %+v, from %v to %v, p %v", r.Verdicts[0], c.Ratio.Value, *c.Ratio.Low, *c.Ratio.High, c.P)
	for _, w := range r.Warnings {
		t.Log(w)
	}
	if !c.Differs || c.Ratio.Value <= 1 || *c.Ratio.Low > 1.05 || *c.Ratio.High < 1.05 {
		t.Errorf("%+v", c)
	}
	const times = 20
	claimed := 0
	for range times {
		r := benchmarked(t, "train", d, "--vary", "HyperParameters.sleep=200ms,0.2s", "--runs", "10", "--warmups", "0", "--figure", "run")
		if slices.ContainsFunc(r.Comparisons, func(c bench.Comparison) bool { return c.Figure == "run" && c.Differs }) {
			claimed++
			t.Log(r.Verdicts)
		}
	}
	t.Logf("%d of %d comparisons of the same claim a difference", claimed, times)
	if claimed > 2 {
		t.Errorf("%d of %d comparisons of the same claim a difference", claimed, times)
	}
}

// What a benchmark says of a job is what a clock around optml train says, and optml's own part of a job of ten seconds is
// small.
func TestBenchAgainstTime(t *testing.T) {
	if !full {
		t.Skip("of the full tier: OPTML_FULL=1")
	}
	sameHost(t)
	d := training(jobName("ten"), "sleep", "10s")
	r := benchmarked(t, "train", d.file(t), "--runs", "2", "--warmups", "0")
	s := r.Variants[0].Summary("total")
	var took []time.Duration
	for range 2 {
		d["TrainingJobName"] = jobName("timed")
		took = append(took, ok(t, "train", "--quiet", d.file(t)).took)
	}
	by := slices.Min(took).Seconds()
	t.Logf("optml bench: %.3f s, %.1f %% of it its own; a clock around optml train: %v", s.Min, 100**s.Own/s.Median, took)
	if diff := s.Min/by - 1; diff < -0.05 || diff > 0.05 {
		t.Errorf("%.3f s and %.3f s", s.Min, by)
	}
	if own := *s.Own / s.Median; own > 0.03 {
		t.Errorf("%.1f %% of a job of 10 s is optml's own", 100*own)
	}
}

// A benchmark whose process is killed leaves what every job leaves: the next command ends its record and its run's, and
// the runs before are in its result.
func TestBenchKilled(t *testing.T) {
	sameHost(t)
	name := jobName("killed")
	d := training(name, "sleep", "1h")
	p := begin(t, nil, "bench", "train", d.file(t), "--vary", "HyperParameters.sleep=50ms,1h", "--warmups", "0", "--seed", "2", "--name", name)
	eventually(t, "the second run", func() bool {
		_, err := os.Stat(filepath.Join(w.root, "jobs", "training", name+"-2", "logs", "algo-1.log"))
		return err == nil
	})
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	p.wait(t)
	ok(t, "prune")
	for _, j := range []string{"bench/" + name, "training/" + name + "-2"} {
		if s := record(t, j); s.Status != "Failed" || s.ExitCode == nil {
			t.Errorf("%s: %+v", j, s.Status)
		}
	}
	r := ok(t, "bench", "show", name, "--output", "json")
	var x bench.Result
	if err := json.Unmarshal([]byte(r.stdout), &x); err != nil || len(x.Variants[0].Runs) != 1 {
		t.Errorf("%v\n%s", err, r.stdout)
	}
	if left, err := filepath.Glob(filepath.Join(w.root, "jobs", "bench", name, "work", "*")); err != nil || len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	ok(t, "rm", name)
}

// A container that answers nothing for two seconds, from the 100th request of an open loop on: at 50 requests a second 100
// users wait for it, three quarters of them for more than half a second, and the stall is told. Two clients who wait for each
// other's answers send two requests in that time, and their percentiles know nothing of it: that, too, is said. A busy
// machine delays some requests more: it is what takes half a second that counts.
func TestBenchServeShowsStall(t *testing.T) {
	if !full {
		t.Skip("of the full tier: OPTML_FULL=1")
	}
	sameHost(t)
	const rate, seconds = 50, 8
	row := filepath.Join(t.TempDir(), "row.csv")
	if err := os.WriteFile(row, []byte("1,2,3\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	m := modelDoc("", "TINY_INVOKE_DELAY", "2ms", "TINY_STALL_NTH", "101", "TINY_STALL_FOR", "2s").file(t) // one goes before the load
	loaded := func(args ...string) *load.Result {
		t.Helper()
		r := benchmarked(t, append([]string{"serve", m, "--payload", row, "--duration", fmt.Sprintf("%ds", seconds), "--warmup", "0s", "--name", jobName("stall")}, args...)...)
		l := r.Variants[0].Runs[0].Load
		if l == nil {
			t.Fatalf("%+v", r.Variants[0].Runs[0])
		}
		for _, c := range []*load.Curve{l.Open, l.Closed} {
			if c != nil {
				return c.Points[0]
			}
		}
		t.Fatal("no load")
		return nil
	}
	// delayed is how many took half a second or more.
	delayed := func(d load.Distribution) float64 {
		below := 0.0
		for _, p := range d.Curve {
			if p.Seconds < 0.5 {
				below = p.Percent
			}
		}
		return (1 - below/100) * float64(d.Count)
	}

	open := loaded("--rate", fmt.Sprint(rate), "--connections", "1000")
	t.Logf("open loop: %.0f of %d took 0.5 s or more; %+v; stalls %+v", delayed(open.Latency), open.Sent, open.Latency.Percentiles, open.Stalls)
	if open.Due < rate*seconds-2 || open.Sent < open.Due-rate/5 || open.Good != open.Sent {
		t.Errorf("%d due, %d sent, %d good", open.Due, open.Sent, open.Good)
	}
	// Of 400 the 100 wait from 0 to 2 s: 75 for more than 0.5 s, 40 for more than 1.2 s, 20 for more than 1.6 s.
	if n := delayed(open.Latency); n < rate || n > 3*rate {
		t.Errorf("%.0f of %d took 0.5 s or more", n, open.Sent)
	}
	for p, least := range map[float64]float64{90: 1, 95: 1.4, 99: 1.8} {
		if got, ok := open.Latency.At(p); !ok || got < least {
			t.Errorf("p%v is %v s, at least %v", p, got, least)
		}
	}
	if got, _ := open.Latency.At(50); got > 0.5 {
		t.Errorf("half of the requests took %v s: the stall is some's, not everybody's", got)
	}
	if !slices.ContainsFunc(open.Stalls, func(s load.Stall) bool { return s.Seconds > 1.8 }) {
		t.Errorf("stalls %+v", open.Stalls)
	}

	closed := loaded("--concurrency", "2")
	t.Logf("closed loop: %.0f of %d took 0.5 s or more; %+v", delayed(closed.Latency), closed.Sent, closed.Latency.Percentiles)
	if got, _ := closed.Latency.At(90); closed.Latency.Max < 1.8 || got > 0.5 {
		t.Errorf("p90 %v s, the most %v s", got, closed.Latency.Max)
	}
	if !strings.Contains(strings.Join(closed.Notes, "\n"), "coordinated omission") {
		t.Errorf("%q", closed.Notes)
	}
}

// --cold really drops the pages of what a job reads before each run: the file of a channel, which each run has read into
// the page cache, leaves it as often as there are runs. Without --cold it stays.
func TestBenchCold(t *testing.T) {
	if !full {
		t.Skip("of the full tier: OPTML_FULL=1")
	}
	sameHost(t)
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("1"), 0o200); err != nil {
		t.Skip("this host does not let its page cache be dropped: ", err)
	}
	s3 := t.TempDir()
	file := filepath.Join(s3, "in", "data", "a.bin")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	const size = 4 << 20
	if err := os.WriteFile(file, make([]byte, size), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	mapped, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(mapped)
	resident := func() float64 {
		pages := make([]byte, size/os.Getpagesize())
		if _, _, e := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&mapped[0])), size, uintptr(unsafe.Pointer(&pages[0]))); e != 0 {
			t.Error(e)
		}
		n := 0
		for _, p := range pages {
			n += int(p & 1)
		}
		return float64(n) / float64(len(pages))
	}
	unix.Sync()
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("1"), 0o200); err != nil {
		t.Fatal(err)
	}
	if resident() > 0.1 {
		t.Skip("the file's pages cannot be dropped: it is in memory itself, as on tmpfs")
	}
	d := training(jobName("cold"), "channels", "sha256", "sleep", "100ms")
	d["InputDataConfig"] = []doc{channel("train", "s3://in/data/")}
	// left is how often the file's pages leave the page cache while a benchmark runs.
	left := func(args ...string) (times int) {
		if _, err := os.ReadFile(file); err != nil {
			t.Fatal(err)
		}
		done, seen := make(chan struct{}), make(chan int)
		go func() {
			n, there := 0, true
			for tick := time.NewTicker(2 * time.Millisecond); ; <-tick.C {
				switch r := resident(); {
				case there && r < 0.1:
					n, there = n+1, false
				case !there && r > 0.9:
					there = true
				}
				select {
				case <-done:
					seen <- n
					return
				default:
				}
			}
		}()
		r := benchmarked(t, append([]string{"train", d.file(t), "--s3-dir", s3, "--runs", "3", "--warmups", "1"}, args...)...)
		close(done)
		for _, x := range r.Variants[0].Runs {
			if x.Error != "" {
				t.Error(x.Error)
			}
		}
		if want := map[bool]string{true: "cold", false: "warm"}[len(args) > 0]; r.Settings.Cache != want {
			t.Errorf("cache %s, want %s", r.Settings.Cache, want)
		}
		return <-seen
	}
	if n := left(); n != 0 {
		t.Errorf("without --cold the pages left %d times", n)
	}
	if n := left("--cold"); n != 4 {
		t.Errorf("with --cold the pages left %d times in 4 runs", n)
	}
}
