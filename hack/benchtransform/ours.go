package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/optml/optml/hack/measure"
)

// answer is what the server says; server/main.go tells what its members mean.
type answer struct {
	First, Last     int64
	Requests, Bytes int64
	Sum             uint32
	Host            string
}

func (a answer) took() time.Duration { return time.Duration(a.Last - a.First) }

// optml is the binary with a root of its own.
type optml struct {
	*measure.Optml
	s3    string
	count int
}

// work is a transform of one object.
type work struct {
	key, split, strategy string
	concurrent, payload  int
	env                  map[string]string // of the server
	join                 bool              // each row with its result
}

// documents writes the requests of a job.
func (o *optml) documents(w work) (name string, args []string, err error) {
	o.count++
	name = fmt.Sprintf("bench-%d", o.count)
	if w.env == nil {
		w.env = map[string]string{}
	}
	model := map[string]any{
		"ModelName": "bench", "ExecutionRoleArn": "arn:aws:iam::000000000000:role/bench", "EnableNetworkIsolation": true,
		"PrimaryContainer": map[string]any{"Image": serverImage, "Environment": w.env},
	}
	job := map[string]any{
		"TransformJobName": name, "ModelName": "bench", "MaxConcurrentTransforms": w.concurrent, "BatchStrategy": w.strategy,
		"TransformInput": map[string]any{"ContentType": "text/csv", "SplitType": w.split,
			"DataSource": map[string]any{"S3DataSource": map[string]any{"S3DataType": "S3Prefix", "S3Uri": "s3://in/" + w.key}}},
		"TransformOutput":    map[string]any{"S3OutputPath": "s3://out/" + name, "Accept": "text/csv"},
		"TransformResources": map[string]any{"InstanceType": "ml.m5.large", "InstanceCount": 1},
	}
	if w.payload >= 0 { // else it is to be found
		job["MaxPayloadInMB"] = w.payload
	}
	if w.join {
		job["DataProcessing"] = map[string]any{"JoinSource": "Input"}
		job["TransformOutput"].(map[string]any)["AssembleWith"] = "Line"
	}
	args = []string{"--s3-dir", o.s3, "transform", filepath.Join(o.Dir, name+".json"), "--model-doc", filepath.Join(o.Dir, name+"-model.json")}
	for file, doc := range map[string]any{args[3]: job, args[5]: model} {
		text, err := json.Marshal(doc)
		if err != nil {
			return "", nil, err
		}
		if err := os.WriteFile(file, text, 0o644); err != nil {
			return "", nil, err
		}
	}
	return name, args, nil
}

// forget removes what a job has left.
func (o *optml) forget(name string) {
	_ = o.Command("rm", name).Run()
	os.RemoveAll(filepath.Join(o.s3, "out", name))
}

// transform runs a job.
func (o *optml) transform(w work) (s measure.Sample, a answer, err error) {
	name, args, err := o.documents(w)
	if err != nil {
		return s, a, err
	}
	defer o.forget(name)
	var out bytes.Buffer
	cmd := o.Command(append(args, "--progress", "none", "--logs")...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return s, a, err
	}
	watcher := measure.Watch(cmd.Process.Pid, o.Helpers)
	err = cmd.Wait()
	watcher.End()
	if err != nil {
		return s, a, fmt.Errorf("optml transform: %w\n%s", err, out.Bytes())
	}
	if err := measure.FindAnswer(out.Bytes(), &a); err != nil {
		return s, a, err
	}
	return measure.Sample{CPU: measure.CPU(cmd), Peak: watcher.Peak, Beside: watcher.Beside, Bytes: a.Bytes, Sum: a.Sum}, a, nil
}

// held is a container of ours that is never ready, so that its network and its server are there for the peers.
type held struct {
	o       *optml
	name    string
	cmd     *exec.Cmd
	said    bytes.Buffer
	network string // its namespace
	host    string // as optml dials it
}

// hold starts one.
func (b *bench) hold() (h *held, err error) {
	o := b.optml
	mark := filepath.Base(b.Dir)
	name, args, err := o.documents(work{key: "nothing", split: "None", strategy: "SingleRecord", concurrent: 1, payload: 1, env: map[string]string{"BENCH_HOLD": mark}})
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(o.s3, "in", "nothing"), []byte("x"), 0o644); err != nil {
		return nil, err
	}
	h = &held{o: o, name: name, cmd: o.Command(append(args, "--quiet", "--ping-timeout", "6h")...)}
	h.cmd.Stdout, h.cmd.Stderr = &h.said, &h.said
	if err := h.cmd.Start(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			h.close()
			err = fmt.Errorf("a container for the peers: %w\n%s", err, h.said.Bytes())
		}
	}()
	for range 300 {
		time.Sleep(100 * time.Millisecond)
		if h.network == "" {
			for pid := range measure.Processes {
				env, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
				if bytes.Contains(env, []byte("BENCH_HOLD="+mark+"\x00")) {
					h.network = fmt.Sprintf("/proc/%d/ns/net", pid)
				}
			}
			continue
		}
		var a answer
		if a, err = b.ask(h, "127.0.0.1:8080", false); err == nil && a.Host != "" {
			h.host = a.Host
			return h, nil
		}
	}
	return h, fmt.Errorf("it does not answer: %v", err)
}

func (h *held) close() {
	_ = h.o.Command("stop", h.name).Run()
	late := time.AfterFunc(time.Minute, func() { _ = h.cmd.Process.Kill() })
	_ = h.cmd.Wait() // it was stopped: that is not 0
	late.Stop()
	h.o.forget(h.name)
}

// command is a program in the container's network.
func (h *held) command(program string, args ...string) *exec.Cmd {
	cmd := exec.Command("nsenter", append([]string{"--net=" + h.network, program}, args...)...)
	cmd.Env = measure.Plain()
	return cmd
}

// ask takes the held server's answer and begins a new one.
func (b *bench) ask(h *held, host string, sum bool) (a answer, err error) {
	url := "http://" + host + "/bench"
	if sum {
		url += "?sum=1"
	}
	out, err := h.command(b.self, "get", url).Output()
	if err == nil {
		err = json.Unmarshal(out, &a)
	}
	return a, err
}
