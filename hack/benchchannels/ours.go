package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/optml/optml/hack/measure"
)

// reading is a reader's plan; reader/main.go says what its members mean.
type reading struct {
	Path    string
	Pipe    bool `json:",omitempty"`
	Block   int
	Readers int  `json:",omitempty"`
	Epochs  int  `json:",omitempty"`
	Drop    bool `json:",omitempty"`
	Random  int  `json:",omitempty"`
	Sum     bool `json:",omitempty"`
	Counter bool `json:",omitempty"`
}

// answer is what a reader prints.
type answer struct {
	Started, Opened, First, Ended int64
	Epochs                        []int64
	Bytes, Files                  int64
	Sum                           uint32
}

// readAnswer finds a reader's line in a log, whatever stands before it.
func readAnswer(log []byte) (answer, error) {
	for s := bufio.NewScanner(bytes.NewReader(log)); s.Scan(); {
		_, text, ok := strings.Cut(s.Text(), `{"bench":`)
		var a answer
		if ok && json.Unmarshal([]byte(strings.TrimSuffix(text, "}")), &a) == nil {
			return a, nil
		}
	}
	return answer{}, fmt.Errorf("the reader printed no answer:\n%s", log)
}

// optml is the binary with a root of its own.
type optml struct {
	*measure.Optml
	count int
}

func newOptml(bin, dir, runDir, archive string) (*optml, error) {
	o, err := measure.NewOptml(bin, dir, runDir, archive)
	return &optml{Optml: o}, err
}

// source is where a job's data comes from.
type source struct {
	server *server
	dir    string // instead of a server: what stands for S3
}

func (o *optml) command(from *source, args ...string) *exec.Cmd {
	if from.dir != "" {
		args = append([]string{"--s3-dir", from.dir}, args...)
	}
	cmd := o.Command(args...)
	if from.server != nil {
		cmd.Env = from.server.environ()
		cmd.Args = append(cmd.Args, "--endpoint-url", from.server.URL)
	}
	return cmd
}

// result is one job's.
type result struct {
	answer
	began   time.Time
	filled  time.Duration // how long the channel's Fill took, as the record has it
	cpu     time.Duration
	peak    int64
	beside  map[string]int64
	checked bool
}

// train runs a job with one channel, or none when prefix is "", and reads it in the container as the plan says.
func (o *optml) train(from *source, mode, prefix, compression string, plan reading) (r result, err error) {
	o.count++
	name := fmt.Sprintf("bench-%d", o.count)
	p, err := json.Marshal(plan)
	if err != nil {
		return r, err
	}
	doc := map[string]any{
		"TrainingJobName": name, "RoleArn": "arn:aws:iam::000000000000:role/bench", "EnableNetworkIsolation": true,
		"AlgorithmSpecification": map[string]any{"TrainingImage": "reader:latest", "TrainingInputMode": mode},
		"HyperParameters":        map[string]any{"plan": string(p)},
		"OutputDataConfig":       map[string]any{"S3OutputPath": "s3://out/"},
		"ResourceConfig":         map[string]any{"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 100},
		"StoppingCondition":      map[string]any{"MaxRuntimeInSeconds": 3600},
	}
	if prefix != "" {
		doc["InputDataConfig"] = []any{map[string]any{"ChannelName": "train", "CompressionType": compression,
			"DataSource": map[string]any{"S3DataSource": map[string]any{"S3DataType": "S3Prefix", "S3Uri": "s3://" + bucket + "/" + prefix}}}}
	}
	text, err := json.Marshal(doc)
	if err != nil {
		return r, err
	}
	file := filepath.Join(o.Dir, "job.json")
	if err := os.WriteFile(file, text, 0o644); err != nil {
		return r, err
	}
	var out bytes.Buffer
	cmd := o.command(from, "train", file, "--progress", "none", "--logs")
	cmd.Stdout, cmd.Stderr = &out, &out
	defer func() { _ = o.command(from, "rm", name).Run() }()
	r.began = time.Now()
	if err := cmd.Start(); err != nil {
		return r, err
	}
	w := measure.Watch(cmd.Process.Pid, o.Helpers)
	err = cmd.Wait()
	w.End()
	if err != nil {
		return r, fmt.Errorf("optml train: %w\n%s", err, out.Bytes())
	}
	r.cpu, r.peak, r.beside, r.checked = measure.CPU(cmd), w.Peak, w.Beside, plan.Sum
	if r.answer, err = readAnswer(out.Bytes()); err != nil {
		return r, err
	}
	if mode == "File" && prefix != "" {
		r.filled, err = o.filled(name)
	}
	return r, err
}

func (o *optml) filled(name string) (time.Duration, error) {
	b, err := o.Command("report", name, "--output", "json").Output()
	if err != nil {
		return 0, fmt.Errorf("optml report: %w", err)
	}
	var report struct {
		Channels []struct {
			Seconds float64 `json:"seconds"`
		} `json:"channels"`
	}
	if err := json.Unmarshal(b, &report); err != nil || len(report.Channels) != 1 {
		return 0, errors.Join(fmt.Errorf("optml report: %d channels", len(report.Channels)), err)
	}
	return time.Duration(report.Channels[0].Seconds * float64(time.Second)), nil
}

func (r result) sample(took ...time.Duration) measure.Sample {
	return measure.Sample{Took: took, CPU: r.cpu, Peak: r.peak, Beside: r.beside, Bytes: r.Bytes, Sum: r.Sum, HasSum: r.checked}
}

// between are the instants that rows are measured from and to.
func (a answer) firstToEnd() time.Duration { return time.Duration(a.Ended - a.First) }
func (a answer) openToEnd() time.Duration  { return time.Duration(a.Ended - a.Opened) }
