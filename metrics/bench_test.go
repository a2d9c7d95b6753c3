package metrics

import (
	"bytes"
	"regexp"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/optml/optml/metrics/metricstest"
	"golang.org/x/sys/unix"
)

var benchText = sync.OnceValue(func() []byte { return metricstest.Log(200_000) })

func reportLines(b *testing.B, lines int) {
	b.ReportMetric(float64(b.N)*float64(lines)/1e6/b.Elapsed().Seconds(), "Mlines/s")
}

// sweepBench is the product: the log as it is read, 64 KiB at a time.
func sweepBench(b *testing.B, text []byte) {
	s, err := Compile(metricstest.Definitions)
	if err != nil {
		b.Fatal(err)
	}
	st := s.Stream("algo-1", nil)
	for rest := text; len(rest) > 0; {
		n := min(len(rest), 64<<10)
		st.Sweep(rest[:n], time.Time{})
		rest = rest[n:]
	}
	st.Close(time.Time{})
	if len(s.Unmatched()) > 0 {
		b.Fatal(s.Unmatched())
	}
}

// naiveBench is what one writes first: each definition on each line, with Go's regexp.
func naiveBench(b *testing.B, text []byte) {
	var res []*regexp.Regexp
	for _, d := range metricstest.Definitions {
		res = append(res, regexp.MustCompile(d.Regex))
	}
	for line := range bytes.Lines(text) {
		for _, re := range res {
			re.FindSubmatch(line)
		}
	}
}

func BenchmarkSweep(b *testing.B) {
	text := benchText()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		sweepBench(b, text)
	}
	reportLines(b, bytes.Count(text, []byte("\n")))
}

func BenchmarkNaive(b *testing.B) {
	text := benchText()[:2<<20]
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		naiveBench(b, text)
	}
	reportLines(b, bytes.Count(text, []byte("\n")))
}

// BenchmarkRatio takes turns and compares processor time, so it can be trusted on a busy machine: times faster than
// naive, per line.
func BenchmarkRatio(b *testing.B) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cpu := func() time.Duration {
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	text := benchText()
	part := text[:1<<20]
	var ratios []float64
	for b.Loop() {
		begin := cpu()
		sweepBench(b, text)
		middle := cpu()
		naiveBench(b, part)
		end := cpu()
		perByte := float64(middle-begin) / float64(len(text))
		ratios = append(ratios, float64(end-middle)/float64(len(part))/perByte)
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], "x-naive")
}
