package metrics

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"regexp"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/optml/optml/job"
	"golang.org/x/sys/unix"
)

// benchDefs are ten definitions of the kinds that people and AWS's own images use.
var benchDefs = []job.MetricDefinition{
	{Name: "train:loss", Regex: `train_loss=([0-9.]+)`},
	{Name: "val:loss", Regex: `val_loss: ([0-9\.]+)`},
	{Name: "validation:auc", Regex: `.*\[[0-9]+\].*#011validation-auc:(\S+)`},
	{Name: "train:auc", Regex: `.*\[[0-9]+\].*#011train-auc:(\S+)`},
	{Name: "accuracy", Regex: `(?i)accuracy\s*=\s*([-+]?[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)`},
	{Name: "throughput", Regex: `throughput: ([0-9.]+) (?:samples|images)/s`},
	{Name: "lr", Regex: `learning[_ ]rate[:=] ?(\S+)`},
	{Name: "epoch", Regex: `Epoch (\d+)/\d+`},
	{Name: "f1", Regex: `f1_(?:macro|micro) = (0\.\d+|1\.0+)`},
	{Name: "bleu", Regex: `BLEU-?4?=(\d+(?:\.\d+)?)`},
}

// benchLog is n lines of 115 bytes on average of which 9 % hold a metric.
func benchLog(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	words := []string{"loading", "shard", "worker", "batch", "INFO", "step", "elapsed", "data", "gradient", "checkpoint", "tensor", "device",
		"memory", "alloc", "epoch", "model", "layer", "loss", "train", "optimizer", "scheduler", "/opt/ml/input/data/train/part-0001.csv", "0.00123", "128", "cuda:0"}
	hits := []string{"train_loss=0.%d", "val_loss: 0.%d", "[%d]\ttrain-auc:0.9\tvalidation-auc:0.8", "Accuracy = 0.%d", "throughput: %d.5 samples/s",
		"learning_rate=1e-%d", "Epoch %d/100", "f1_macro = 0.%d", "BLEU-4=%d.25"}
	var b bytes.Buffer
	for i := range n {
		start := b.Len()
		fmt.Fprintf(&b, "2026-03-01 12:%02d:%02d,%03d ", i/60000%60, i/1000%60, i%1000)
		length := 60 + r.IntN(110)
		if r.IntN(100) < 9 {
			fmt.Fprintf(&b, hits[r.IntN(len(hits))]+" ", r.IntN(10))
		}
		for b.Len()-start < length {
			b.WriteString(words[r.IntN(len(words))])
			b.WriteByte(' ')
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}

var benchText = sync.OnceValue(func() []byte { return benchLog(200_000) })

func reportLines(b *testing.B, lines int) {
	b.ReportMetric(float64(b.N)*float64(lines)/1e6/b.Elapsed().Seconds(), "Mlines/s")
}

// sweepBench is the product: the log as it is read, 64 KiB at a time.
func sweepBench(b *testing.B, text []byte) {
	s, err := Compile(benchDefs)
	if err != nil {
		b.Fatal(err)
	}
	st := s.Stream("algo-1")
	for rest := text; len(rest) > 0; {
		n := min(len(rest), 64<<10)
		st.Sweep(rest[:n], time.Time{}, nil)
		rest = rest[n:]
	}
	if len(s.Unmatched()) > 0 {
		b.Fatal(s.Unmatched())
	}
}

// naiveBench is what one writes first: each definition on each line, with Go's regexp.
func naiveBench(b *testing.B, text []byte) {
	var res []*regexp.Regexp
	for _, d := range benchDefs {
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
