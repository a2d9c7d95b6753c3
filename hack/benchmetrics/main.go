// benchmetrics measures what metrics cost: finding them in a log against what one writes first, in Python and in Go; the
// log of a real job with metrics and without; and the readings of an instance while a job runs. Root is needed for the
// last two.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/optml/optml/hack/measure"
	"github.com/optml/optml/job"
	"github.com/optml/optml/metrics"
	"github.com/optml/optml/metrics/metricstest"
	"github.com/optml/optml/test/images"
)

const (
	lines        = 1_000_000
	copies       = 4 // of the log that a job prints
	sampled      = 20 * time.Second
	printerImage = "optml.bench/printer:1"
	tinyImage    = "optml.bench/tiny:1"
)

// bench is what all rows share.
type bench struct {
	bin, in string

	measure.Space
	file  string         // the log
	log   []byte         // with its tabs as the service has them (MET-4)
	optml *measure.Optml // nil: not yet
	jobs  int
}

func main() {
	b := &bench{}
	flag.StringVar(&b.bin, "optml", "build/optml", "the `binary` to measure")
	flag.StringVar(&b.in, "dir", "/dev/shm", "`directory` in memory for the log and ours' root; 2 GiB")
	measure.Program[*bench]{
		Usage: "benchmetrics [-optml FILE] [-n RUNS] [-rows REGEXP]: what metrics cost",
		Rows:  rows, Runs: 5,
		Prepare: (*bench).prepare, End: (*bench).end, Kill: func(b *bench) { b.Kill() },
	}.Main(b)
}

// prepare makes the directories and the log.
func (b *bench) prepare() error {
	if err := b.Make(b.in, "s3/in", "s3/out"); err != nil {
		return err
	}
	b.log = bytes.ReplaceAll(metricstest.Log(lines), []byte("\t"), []byte("#011"))
	b.file = b.File("s3/in/log")
	return os.WriteFile(b.file, b.log, 0o644)
}

// end takes away what prepare and the rows have made.
func (b *bench) end() {
	if b.optml != nil {
		b.optml.Close()
	}
	b.Remove()
}

var rows = []measure.Row[*bench]{
	{Name: "extract", Says: "ten definitions over a million lines of 115 bytes, of which 9 % hold a metric", Instants: []string{"all lines"}, Unit: "klines/s",
		Amount: func(*bench) float64 { return lines / 1e3 }, Ready: (*bench).extract},
	{Name: "log", Says: "a job that prints a log of 460 MB, command line to exit", Instants: []string{"exit"}, Unit: "MB/s",
		Amount: func(b *bench) float64 { return float64(copies*len(b.log)) / 1e6 }, Ready: (*bench).printed},
	{Name: "sampler", Says: "processor time of the readings in " + sampled.String() + " of a job that sleeps", Instants: []string{"processor time"}, Ready: (*bench).sampler},
}

// extract finds the metrics of the log: values of the first group that are numbers. All sides must find as many.
func (b *bench) extract() (*measure.Contest, error) {
	script := b.File("extract.py")
	var defs bytes.Buffer
	for _, d := range metricstest.Definitions {
		fmt.Fprintf(&defs, "    rb'%s',\n", d.Regex)
	}
	text := "import re, sys, time\nexpressions = [re.compile(e) for e in (\n" + defs.String() + `)]
lines = open(sys.argv[1], "rb").readlines()
found, began = 0, time.perf_counter()
for line in lines:
    for e in expressions:
        m = e.search(line)
        if m:
            try:
                float(m.group(1))
                found += 1
            except ValueError:
                pass
print(time.perf_counter() - began, found)
`
	if err := os.WriteFile(script, []byte(text), 0o644); err != nil {
		return nil, err
	}
	return &measure.Contest{Close: func() {}, Sides: []measure.Side{
		{Name: "optml's sweep", Run: b.swept},
		{Name: "Python's re, line by line", Target: 40, Runs: 3, Run: func(bool) (measure.Sample, error) {
			out, err := exec.Command("/usr/bin/python3", script, b.file).Output()
			if err != nil {
				return measure.Sample{}, fmt.Errorf("python3: %w", err)
			}
			took, found, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
			s, err1 := strconv.ParseFloat(took, 64)
			n, err2 := strconv.ParseInt(found, 10, 64)
			return measure.Sample{Took: []time.Duration{time.Duration(s * 1e9)}, Bytes: n}, errors.Join(err1, err2)
		}},
		{Name: "Go's regexp, line by line", Target: 30, Run: b.naive},
	}}, nil
}

// swept is the product: the log as it is read, 64 KiB at a time.
func (b *bench) swept(bool) (measure.Sample, error) {
	set, err := metrics.Compile(metricstest.Definitions)
	if err != nil {
		return measure.Sample{}, err
	}
	found, cpu, began := int64(0), measure.Spent(), time.Now()
	st := set.Stream("algo-1", func(some []metrics.Sample) { found += int64(len(some)) })
	for rest := b.log; len(rest) > 0; {
		n := min(len(rest), 64<<10)
		st.Sweep(rest[:n], time.Time{})
		rest = rest[n:]
	}
	st.Close(time.Time{})
	return measure.Sample{Took: []time.Duration{time.Since(began)}, CPU: measure.Spent() - cpu, Bytes: found}, nil
}

func (b *bench) naive(bool) (measure.Sample, error) {
	var all []*regexp.Regexp
	for _, d := range metricstest.Definitions {
		e, err := regexp.Compile(d.Regex)
		if err != nil {
			return measure.Sample{}, err
		}
		all = append(all, e)
	}
	found, cpu, began := int64(0), measure.Spent(), time.Now()
	for line := range bytes.Lines(b.log) {
		for _, e := range all {
			if m := e.FindSubmatch(line); m != nil {
				if _, err := strconv.ParseFloat(string(m[1]), 64); err == nil {
					found++
				}
			}
		}
	}
	return measure.Sample{Took: []time.Duration{time.Since(began)}, CPU: measure.Spent() - cpu, Bytes: found}, nil
}

// start gives ours a root of its own, with two images: one that prints the log, one that sleeps.
func (b *bench) start() error {
	if b.optml != nil {
		return nil
	}
	tiny, err := images.Build(images.Options{})
	if err != nil {
		return err
	}
	printer, err := measure.Image(b.File("train"), "benchmetrics/train", "train")
	if err != nil {
		return err
	}
	archive := b.File("images.tar")
	if err := images.WriteOCIArchive(archive, images.Named{Ref: tinyImage, Image: tiny}, images.Named{Ref: printerImage, Image: printer}); err != nil {
		return err
	}
	b.optml, err = measure.NewOptml(b.bin, b.File("optml"), filepath.Join(b.Short, "o"), archive)
	return err
}

// job runs a training job to its end.
func (b *bench) job(image string, members map[string]any) (s measure.Sample, err error) {
	if err := b.start(); err != nil {
		return s, err
	}
	b.jobs++
	name := fmt.Sprintf("metrics-%d", b.jobs)
	file, err := b.optml.Training(name, image, members)
	if err != nil {
		return s, err
	}
	defer os.Remove(file)
	defer func() { _ = b.optml.Command("rm", name).Run() }()
	cmd := b.optml.Command("--s3-dir", b.File("s3"), "train", "--quiet", file)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	began := time.Now()
	if err := cmd.Run(); err != nil {
		return s, fmt.Errorf("optml train: %w\n%s", err, out.Bytes())
	}
	return measure.Sample{Took: []time.Duration{time.Since(began)}, CPU: measure.CPU(cmd)}, nil
}

// printed is the log of a job with ten definitions, and without.
func (b *bench) printed() (*measure.Contest, error) {
	side := func(name string, target float64, defs []job.MetricDefinition) measure.Side {
		var all []map[string]string
		for _, d := range defs {
			all = append(all, map[string]string{"Name": d.Name, "Regex": d.Regex})
		}
		algorithm := map[string]any{"TrainingImage": printerImage, "TrainingInputMode": "File"}
		if all != nil {
			algorithm["MetricDefinitions"] = all
		}
		return measure.Side{Name: name, Target: target, Run: func(bool) (measure.Sample, error) {
			return b.job(printerImage, map[string]any{"AlgorithmSpecification": algorithm, "InputDataConfig": measure.Input("s3://in/"),
				"Environment": map[string]string{"TIMES": strconv.Itoa(copies)}})
		}}
	}
	return &measure.Contest{Close: func() {}, Sides: []measure.Side{side("ten definitions", 0, metricstest.Definitions), side("no definition", 0.7, nil)}}, nil
}

// sampler is the processor time of the owner of a job that sleeps, less that of one which does not; the limit is one
// hundredth of a processor.
func (b *bench) sampler() (*measure.Contest, error) {
	asleep := func(t time.Duration) (measure.Sample, error) {
		return b.job(tinyImage, map[string]any{"HyperParameters": map[string]string{"sleep": t.String()}})
	}
	return &measure.Contest{Close: func() {}, Sides: []measure.Side{
		{Name: "owner", Run: func(bool) (measure.Sample, error) {
			short, err := asleep(0)
			if err != nil {
				return short, err
			}
			long, err := asleep(sampled)
			long.Took = []time.Duration{max(long.CPU-short.CPU, time.Microsecond)}
			return long, err
		}},
		{Name: "1 % of a processor", Target: 1, Run: func(bool) (measure.Sample, error) {
			return measure.Sample{Took: []time.Duration{sampled / 100}}, nil
		}},
	}}, nil
}
