package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/optml/optml/job"
	"github.com/optml/optml/ledger"
)

func at(seconds float64) time.Time {
	return time.Unix(1000, 0).Add(time.Duration(seconds * float64(time.Second)))
}

func step(name string, from, to float64) ledger.Step {
	return ledger.Step{Host: "algo-1", Name: name, Begin: at(from), End: at(to)}
}

func figuresOf(s ledger.State, line time.Time) (map[string]float64, map[string]float64, Outcome) {
	var o Outcome
	m := measure{state: &s, figures: map[string]float64{}, own: map[string]float64{}}
	m.began(line)
	m.times()
	m.use(&o)
	return m.figures, m.own, o
}

var near = cmpopts.EquateApprox(0, 1e-6)

// The phases of a training: what was done side by side counts once in optml's own time.
func TestMeasureTraining(t *testing.T) {
	s := ledger.State{
		Kind: job.KindTraining, CreationTime: at(0), FinalTime: at(12), Status: "Completed",
		Steps: []ledger.Step{
			step("layout", 0, 0.1), step("channels", 0.1, 0.2), step("image", 0.2, 1.2), step("fill", 0.2, 2), step("create", 1.2, 1.5),
			step("start", 2, 2.1), step("wait", 2.1, 10.1), step("artifacts", 10.1, 10.2), step("upload", 10.2, 11.2),
		},
		Images:     []ledger.ImageResolved{{Ref: "img:1", Digest: "sha256:1", Pulled: 700 * time.Millisecond, Unpacked: 200 * time.Millisecond}},
		Containers: []ledger.Container{{Host: "algo-1", Name: "algo-1", Started: at(2.1), Exited: &ledger.Exited{At: at(10.1)}}},
		Channels: []ledger.ChannelOfHost{{Host: "algo-1", ChannelTotals: ledger.ChannelTotals{Channel: "a", Bytes: 100, ReaderWaited: time.Second, WeWaited: 2 * time.Second}},
			{Host: "algo-1", ChannelTotals: ledger.ChannelTotals{Channel: "b", Bytes: 50}}},
		Usage: []ledger.UsageOfHost{{Host: "algo-1", InstanceUsage: ledger.InstanceUsage{
			Metrics:  []ledger.UsageMetric{{Name: "CPUUtilization", Mean: 150}, {Name: "MemoryUtilization", Mean: 12}, {Name: "GPUUtilization", Mean: 80}},
			Counters: ledger.UsageCounters{CPU: 11 * time.Second, Throttled: time.Second, MemoryPeak: 1 << 20, Read: 7, Written: 8, Received: 9, Sent: 10},
			OwnerCPU: 80 * time.Millisecond}}},
	}
	got, own, o := figuresOf(s, at(2.5))
	want := map[string]float64{
		"total": 12, "pull": 0.7, "unpack": 0.2, "stage": 1.8, "create": 0.3, "start": 0.1, "run": 8, "upload": 1, "clear": 0.8,
		"scriptWaited": 1, "dataWaited": 2, "channelBytes": 150, "cpu": 11, "throttled": 1, "memoryPeak": 1 << 20, "read": 7, "written": 8,
		"received": 9, "sent": 10, "cpuPercent": 150, "memoryPercent": 12, "gpuPercent": 80,
	}
	if diff := cmp.Diff(want, got, near); diff != "" {
		t.Error(diff)
	}
	// 0 to 0.2, 2 to 2.1, 10.1 to 10.2 and 11.2 to 12.
	if diff := cmp.Diff(map[string]float64{"total": 1.2, "create": 0.3, "start": 0.1, "clear": 0.8, "run": 0.08}, own, near); diff != "" {
		t.Error(diff)
	}
	if o.Busy != 11*time.Second+80*time.Millisecond {
		t.Errorf("busy %v", o.Busy)
	}
	// A process that is quicker than the record of its start has run since its first line.
	if got, _, _ = figuresOf(s, at(2.05)); got["run"] != 8.05 {
		t.Errorf("run %v", got["run"])
	}
	// An image that was here costs no pull, and looking it up is optml's own.
	s.Images[0].Pulled, s.Images[0].Unpacked = 0, 0
	if got, own, _ = figuresOf(s, time.Time{}); got["pull"] != 0 || !cmp.Equal(own["total"], 1.2, near) {
		t.Errorf("%v %v", got, own)
	}
}

func TestMeasureTransform(t *testing.T) {
	s := ledger.State{
		Kind: job.KindTransform, CreationTime: at(0), FinalTime: at(10), Status: "Completed",
		Steps:      []ledger.Step{step("model", 0.1, 1.1), step("create", 1.1, 1.3), step("serve", 1.3, 1.4), step("transform", 1.4, 9.4)},
		Containers: []ledger.Container{{Name: "algo-1", Started: at(1.4), Exited: &ledger.Exited{At: at(9.6)}}},
		Transform:  &ledger.TransformTotals{Records: 600, Requests: 60, Duration: 8 * time.Second, PingAfter: 2 * time.Second},
		Usage:      []ledger.UsageOfHost{{InstanceUsage: ledger.InstanceUsage{OwnerCPU: time.Second}}},
	}
	got, own, _ := figuresOf(s, time.Time{})
	for name, want := range map[string]float64{"total": 10, "model": 1, "create": 0.2, "start": 0.1, "ready": 2, "transform": 6, "records": 100, "requests": 10, "stop": 0.2, "clear": 0.4} {
		if !cmp.Equal(got[name], want, near) {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
	if !cmp.Equal(own["total"], 0.8, near) || own["transform"] != 1 {
		t.Errorf("%v", own)
	}
}

// A long series keeps its shape in few points; metrics of the log tell of the first one only.
func TestSamples(t *testing.T) {
	path := filepath.Join(t.TempDir(), "metrics.jsonl")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5000 {
		fmt.Fprintf(f, `{"time":%q,"host":"algo-1","name":"CPUUtilization","value":%d,"instance":true}`+"\n", at(float64(i)).Format(time.RFC3339Nano), i%2*100)
	}
	fmt.Fprintf(f, `{"time":%q,"host":"algo-1","name":"loss","value":1}`+"\nrubbish\n", at(7).Format(time.RFC3339Nano))
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	tl, first := samples(path, at(0))
	if len(tl.Series) != 1 || !first.Equal(at(7)) {
		t.Fatalf("%+v %v", tl, first)
	}
	p := tl.Series[0].Points
	if len(p) > pointsMost || len(p) < pointsMost/4 || p[len(p)-1][0] < 4800 || p[3][1] != 50 {
		t.Errorf("%d points, %v", len(p), p[:4])
	}
	if tl, first := samples(filepath.Join(t.TempDir(), "gone"), at(0)); tl != nil || !first.IsZero() {
		t.Error("there is something of nothing")
	}
}

func TestFigureNames(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range figures {
		if seen[f.Name] || f.Label == "" || f.Unit == "" {
			t.Errorf("%+v", f)
		}
		seen[f.Name] = true
	}
	for _, k := range []job.Kind{job.KindTraining, job.KindTransform} {
		for _, n := range notOf[k] {
			if !seen[n] {
				t.Errorf("%s: there is no figure %s", k, n)
			}
		}
		if n := len(FigureNames(k)); n != len(figures)-len(notOf[k]) {
			t.Errorf("%s has %d figures", k, n)
		}
	}
}
