package harness

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/optml/optml/job"
	"github.com/optml/optml/ledger"
	"github.com/optml/optml/metrics"
	"github.com/optml/optml/runtime/container"
	"github.com/optml/optml/runtime/containertest"
)

// samplesOf are the lines of metrics.jsonl: "host name value", of the instance with a star before.
func samplesOf(t *testing.T, path string) (all []string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		var x struct {
			Host, Name string
			Value      float64
			Instance   bool
		}
		if err := json.Unmarshal([]byte(line), &x); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		star := ""
		if x.Instance {
			star = "*"
		}
		all = append(all, fmt.Sprintf("%s%s %s %g", star, x.Host, x.Name, x.Value))
	}
	return all
}

// Training 5.2: CPU and GPUs are sums, memory and disk are shares; an instance of several containers is their sum. They
// are in metrics.jsonl, and their means and maxima on record.
func TestInstanceMetrics(t *testing.T) {
	b := newBench(t, algo(func(*containertest.Process) int { return 0 }))
	p := trainingPlan("measured")
	o := b.create(p)
	defer o.Close()
	gpus := newFakeGPUs(2)
	r := &run{owner: o, plan: p, host: Host{Memory: 1000, GPUs: gpus, Page: new(metrics.Page)}}
	r.taken, _ = gpus.Take(t.Context(), container.GPURequest{Count: 2})
	r.gpus = map[string][]container.GPU{"algo-1": r.taken.List()}
	r.disks = map[string]func() (int64, int64){"algo-1": func() (int64, int64) { return 3, 12 }}
	began := time.Now().Add(-time.Hour)
	var tasks []*containertest.Task
	var sources []func(*ledger.Snapshot)
	for i := range 2 {
		task, err := b.launcher.Launch(t.Context(), container.Spec{ID: fmt.Sprint("c", i), Job: o.Dir(), Image: "algo", Args: []string{"train"}, Log: o.LogPath(fmt.Sprint("c", i))})
		if err != nil {
			t.Fatal(err)
		}
		defer task.Close(t.Context())
		fake := task.(*containertest.Task)
		fake.SetUsage(container.Usage{At: began})
		tasks = append(tasks, fake)
		sources = append(sources, r.usage(fmt.Sprint("c", i), "algo-1", i == 0, task))
	}
	look := func(after, cpu time.Duration, memory int64) (s ledger.Snapshot) {
		for _, task := range tasks {
			task.SetUsage(container.Usage{At: began.Add(after), CPU: cpu, MemoryBytes: memory})
		}
		s.Last = true
		sources[1](&s)
		sources[0](&s)
		return s
	}
	look(time.Second, 0, 0) // nothing has started: not measured
	r.measure("algo-1")
	r.meters["algo-1"].meter = metrics.NewMeter("algo-1", began.Add(time.Second))
	look(2*time.Second, 1500*time.Millisecond, 100)
	s := look(3*time.Second, 1500*time.Millisecond, 50)
	if x := s.Containers[1]; x.Container != "c0" || *x.GPUPercent != 100 || x.DiskPercent != 25 || x.MemoryPercent != 5 {
		t.Errorf("%+v", x)
	}
	r.unmeasured()
	r.recorded()
	want := []string{
		"*algo-1 CPUUtilization 300", "*algo-1 MemoryUtilization 20", "*algo-1 DiskUtilization 25", "*algo-1 GPUUtilization 100", "*algo-1 GPUMemoryUtilization 50",
		"*algo-1 CPUUtilization 0", "*algo-1 MemoryUtilization 10", "*algo-1 DiskUtilization 25", "*algo-1 GPUUtilization 100", "*algo-1 GPUMemoryUtilization 50",
	}
	if diff := cmp.Diff(want, samplesOf(t, o.MetricsPath())); diff != "" {
		t.Error(diff)
	}
	totals := []ledger.UsageOfHost{{Host: "algo-1", InstanceUsage: ledger.InstanceUsage{Metrics: []ledger.UsageMetric{{Name: "CPUUtilization", Mean: 150, Max: 300}, {Name: "MemoryUtilization", Mean: 15, Max: 20},
		{Name: "DiskUtilization", Mean: 25, Max: 25}, {Name: "GPUUtilization", Mean: 100, Max: 100}, {Name: "GPUMemoryUtilization", Mean: 50, Max: 50}}}}}
	usage := o.State().Usage
	if own := usage[0].OwnerCPU; own <= 0 {
		t.Errorf("this process has used %v", own)
	}
	if c := usage[0].Counters; c != (ledger.UsageCounters{CPU: 3 * time.Second}) { // of both containers
		t.Errorf("%+v", c)
	}
	usage[0].OwnerCPU, usage[0].Counters = 0, ledger.UsageCounters{}
	if diff := cmp.Diff(totals, usage); diff != "" {
		t.Error(diff)
	}
	text, err := os.ReadFile(o.ExpositionPath())
	if err != nil || !strings.Contains(string(text), `host="algo-1",name="GPUUtilization"} 100`) {
		t.Errorf("%v %s", err, text)
	}
}

// MET-1, MET-5: the samples of a whole run; a definition that backtracks finds its values, and one that matched nothing
// is told with the nearest line.
func TestMetricsOfARun(t *testing.T) {
	b := newBench(t, algo(func(p *containertest.Process) int {
		fmt.Fprintln(p.Stdout, "val_loss=9 loss=0.5")
		fmt.Fprintln(p.Stderr, "auc: 0.75")
		return 0
	}))
	p := trainingPlan("run")
	p.Training.Metrics = []job.MetricDefinition{{Name: "train:loss", Regex: `(?<!val_)loss=([0-9.]+)`}, {Name: "auc", Regex: `auc=([0-9.]+)`}}
	b.host.Page = new(metrics.Page)
	_, s := b.run(p)
	if len(s.Metrics) != 1 || s.Metrics[0].Value != 0.5 {
		t.Errorf("%+v", s.Metrics)
	}
	told := false
	for _, w := range s.Warnings {
		told = told || w.Rule == "MET-1" && strings.Contains(w.Text, `metric "auc": no line of the log matched auc=([0-9.]+); the nearest line, at byte 20 of the log, is "auc: 0.75", which has "auc" of "auc="`)
	}
	if !told {
		t.Errorf("%+v", s.Warnings)
	}
}

// What a dead owner measured stays; what it found in the log is found again, once.
func TestSamplesOfADeadOwner(t *testing.T) {
	b := newBench(t, nil)
	o := b.create(trainingPlan("dead"))
	defer o.Close()
	old := `{"time":"2026-03-01T12:00:00Z","host":"algo-1","name":"loss","value":1,"offset":0}
{"time":"2026-03-01T12:00:00Z","host":"algo-1","name":"CPUUtilization","value":7,"instance":true}
{"time":"2026-0`
	if err := os.WriteFile(o.MetricsPath(), []byte(old), 0o640); err != nil {
		t.Fatal(err)
	}
	r := &run{owner: o, plan: o.Plan()}
	r.recorder().add(metrics.Sample{Host: "algo-1", Name: "loss", Value: 1})
	r.recorded()
	if diff := cmp.Diff([]string{"*algo-1 CPUUtilization 7", "algo-1 loss 1"}, samplesOf(t, o.MetricsPath())); diff != "" {
		t.Error(diff)
	}
}
