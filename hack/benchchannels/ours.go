package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
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
	members := map[string]any{
		"AlgorithmSpecification": map[string]any{"TrainingImage": readerImage, "TrainingInputMode": mode},
		"HyperParameters":        map[string]any{"plan": string(p)},
	}
	if prefix != "" {
		input := measure.Input("s3://" + bucket + "/" + prefix)
		input[0].(map[string]any)["CompressionType"] = compression
		members["InputDataConfig"] = input
	}
	file, err := o.Training(name, readerImage, members)
	if err != nil {
		return r, err
	}
	defer os.Remove(file)
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
	if err := measure.FindAnswer(out.Bytes(), &r.answer); err != nil {
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
