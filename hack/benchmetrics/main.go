// benchmetrics measures what metrics cost: finding them in a log against what one writes first, in Python and in Go; the
// log of a real job with metrics and without; and the readings of an instance while a job runs. Root is needed for the
// last two.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/optml/optml/hack/measure"
	"github.com/optml/optml/job"
	"github.com/optml/optml/metrics"
	"github.com/optml/optml/metrics/metricstest"
	"github.com/optml/optml/test/images"
)

const (
	lines       = 1_000_000
	copies      = 4 // of the log that a job prints
	sampled     = 20 * time.Second
	printerName = "optml.bench/printer:1"
	tinyName    = "optml.bench/tiny:1"
)

// bench is what all rows share.
type bench struct {
	bin, dir, short string
	file            string // the log
	log             []byte // with its tabs as the service has them (MET-4)
	optml           *measure.Optml
	jobs            int
}

func main() {
	bin := flag.String("optml", "build/optml", "the `binary` to measure")
	n := flag.Int("n", 5, "runs of each side that count; one more before does not")
	only := flag.String("rows", "", "measure only the rows whose name matches this `regexp`")
	out := flag.String("json", "", "write every sample to this `file`")
	dir := flag.String("dir", "/dev/shm", "`directory` in memory for the log and ours' root; 2 GiB")
	list := flag.Bool("list", false, "list the rows")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "benchmetrics [-optml FILE] [-n RUNS] [-rows REGEXP]: what metrics cost")
		flag.PrintDefaults()
	}
	flag.Parse()
	if *list {
		measure.List(rows)
		return
	}
	if err := run(*bin, *n, *only, *out, *dir); err != nil {
		fmt.Fprintln(os.Stderr, "benchmetrics:", err)
		os.Exit(1)
	}
}

func run(bin string, n int, only, out, dir string) error {
	chosen, err := measure.Choose(rows, only)
	if err != nil {
		return err
	}
	b := &bench{}
	if b.bin, err = filepath.Abs(bin); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp(dir, "optml-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	if b.short, err = os.MkdirTemp("/run", "ob"); err != nil {
		return err
	}
	defer os.RemoveAll(b.short)
	defer func() {
		if b.optml != nil {
			b.optml.Close()
		}
	}()
	b.log = bytes.ReplaceAll(metricstest.Log(lines), []byte("\t"), []byte("#011"))
	b.file = filepath.Join(b.dir, "s3", "in", "log")
	for _, d := range []string{"s3/in", "s3/out"} {
		if err := os.MkdirAll(filepath.Join(b.dir, d), 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(b.file, b.log, 0o644); err != nil {
		return err
	}
	var stopped atomic.Bool
	defer measure.Heed(&stopped, func() { measure.Kill(b.dir, b.short) })()
	return measure.All(b, chosen, measure.Options{N: n, JSON: out, Stopped: &stopped})
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
	script := filepath.Join(b.dir, "extract.py")
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
	program := filepath.Join(b.dir, "train")
	data, err := measure.Program(program, "benchmetrics/train")
	if err != nil {
		return err
	}
	tiny, err := images.Build(images.Options{})
	if err != nil {
		return err
	}
	printer, err := images.Build(images.Options{Without: []string{"train"}, Files: []images.File{{Name: "/usr/local/bin/train", Mode: 0o755, Data: data}}})
	if err != nil {
		return err
	}
	archive := filepath.Join(b.dir, "images.tar")
	if err := images.WriteOCIArchive(archive, images.Named{Ref: tinyName, Image: tiny}, images.Named{Ref: printerName, Image: printer}); err != nil {
		return err
	}
	b.optml, err = measure.NewOptml(b.bin, filepath.Join(b.dir, "optml"), filepath.Join(b.short, "o"), archive)
	return err
}

// job runs a training job to its end.
func (b *bench) job(change map[string]any) (s measure.Sample, err error) {
	if err := b.start(); err != nil {
		return s, err
	}
	b.jobs++
	name := fmt.Sprintf("metrics-%d", b.jobs)
	d := map[string]any{
		"TrainingJobName": name, "RoleArn": "arn:aws:iam::000000000000:role/bench", "EnableNetworkIsolation": true,
		"OutputDataConfig":  map[string]any{"S3OutputPath": "s3://out/"},
		"ResourceConfig":    map[string]any{"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 10},
		"StoppingCondition": map[string]any{"MaxRuntimeInSeconds": 600},
	}
	maps.Copy(d, change)
	text, err := json.Marshal(d)
	if err != nil {
		return s, err
	}
	file := filepath.Join(b.dir, name+".json")
	if err := os.WriteFile(file, text, 0o644); err != nil {
		return s, err
	}
	defer os.Remove(file)
	defer func() { _ = b.optml.Command("rm", name).Run() }()
	cmd := b.optml.Command("--s3-dir", filepath.Join(b.dir, "s3"), "train", "--quiet", file)
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
		algorithm := map[string]any{"TrainingImage": printerName, "TrainingInputMode": "File"}
		if all != nil {
			algorithm["MetricDefinitions"] = all
		}
		return measure.Side{Name: name, Target: target, Run: func(bool) (measure.Sample, error) {
			return b.job(map[string]any{"AlgorithmSpecification": algorithm, "Environment": map[string]string{"TIMES": strconv.Itoa(copies)},
				"InputDataConfig": []any{map[string]any{"ChannelName": "train",
					"DataSource": map[string]any{"S3DataSource": map[string]any{"S3DataType": "S3Prefix", "S3Uri": "s3://in/"}}}}})
		}}
	}
	return &measure.Contest{Close: func() {}, Sides: []measure.Side{side("ten definitions", 0, metricstest.Definitions), side("no definition", 0.7, nil)}}, nil
}

// sampler is the processor time of the owner of a job that sleeps, less that of one which does not; the limit is one
// hundredth of a processor.
func (b *bench) sampler() (*measure.Contest, error) {
	asleep := func(t time.Duration) (measure.Sample, error) {
		return b.job(map[string]any{"AlgorithmSpecification": map[string]any{"TrainingImage": tinyName, "TrainingInputMode": "File"},
			"HyperParameters": map[string]string{"sleep": t.String()}})
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
