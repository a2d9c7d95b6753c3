//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// prometheus reads exposed text with its own parser: "name host value" of a family, by what the label name says.
func prometheus(t *testing.T, text []byte, family string) map[string]float64 {
	t.Helper()
	p := expfmt.NewTextParser(model.LegacyValidation)
	families, err := p.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	out := map[string]float64{}
	f := families[family]
	if f == nil {
		return out
	}
	for _, m := range f.Metric {
		i := slices.IndexFunc(m.Label, func(l *dto.LabelPair) bool { return l.GetName() == "name" })
		out[m.Label[i].GetValue()] = m.GetGauge().GetValue()
	}
	return out
}

// TestMetricsOfADetachedJob: the process in the background serves the page; an address that is taken is told before.
func TestMetricsOfADetachedJob(t *testing.T) {
	sameHost(t)
	name := jobName("away")
	x := training(name, "sleep", "5m", "sigterm", "exit")
	x["Environment"] = doc{"TINY_PRINT": "loss=0.5\n"}
	x["AlgorithmSpecification"].(doc)["MetricDefinitions"] = []doc{{"Name": "loss", "Regex": `loss=([0-9.]+)`}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if r := expect(t, 2, "train", "--detach", "--metrics-listen", addr, x.file(t)); !strings.Contains(r.stderr, "--metrics-listen "+addr+": bind: address already in use") {
		t.Errorf("%s", r)
	}
	l.Close()
	ok(t, "train", "--detach", "--metrics-listen", addr, x.file(t))
	eventually(t, "the metric on the page", func() bool {
		resp, err := http.Get("http://" + addr + "/metrics")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		return err == nil && prometheus(t, text, "optml_metric")["loss"] == 0.5
	})
	ok(t, "stop", name)
}

// TestMetricsWhileItRuns: expressions that backtrack, instance metrics, the page and the file for Prometheus, and what
// never matched (MET-1, MET-3, MET-5, training 5.2).
func TestMetricsWhileItRuns(t *testing.T) {
	sameHost(t)
	d := fakeDriver(t)
	name := jobName("scraped")
	x := training(name, "sleep", "5m", "sigterm", "exit")
	x["Environment"] = doc{"TINY_PRINT": "val_loss=9 loss=0.5\n[1]\tvalidation-auc:0.75\naccuracy: 0.9\n"}
	x["AlgorithmSpecification"].(doc)["MetricDefinitions"] = []doc{
		{"Name": "train:loss", "Regex": `(?<!val_)loss=([0-9.]+)`},
		{"Name": "validation:auc", "Regex": `#011validation-auc:(\S+)`},
		{"Name": "accuracy", "Regex": `accuracy=([0-9.]+)`},
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := free.Addr().String()
	free.Close()
	url := "http://" + addr + "/metrics"
	p := begin(t, d.env, "train", "--gpus", "2", "--metrics-listen", addr, x.file(t))
	var values, instance map[string]float64
	eventually(t, "all metrics on the page", func() bool {
		resp, err := http.Get(url)
		if err != nil {
			return false // it does not listen yet
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		values, instance = prometheus(t, text, "optml_metric"), prometheus(t, text, "optml_instance_utilization_percent")
		return len(values) == 2 && len(instance) == 5
	})
	if values["train:loss"] != 0.5 || values["validation:auc"] != 0.75 {
		t.Error(values)
	}
	for _, name := range []string{"CPUUtilization", "MemoryUtilization", "DiskUtilization", "GPUUtilization", "GPUMemoryUtilization"} {
		if v, ok := instance[name]; !ok || v < 0 || v > 400 {
			t.Errorf("%s: %v", name, instance)
		}
	}
	if r := ok(t, "describe", name); !strings.Contains(r.stdout, "Using") || !strings.Contains(r.stdout, "GPU memory") {
		t.Errorf("%s", r)
	}
	if err := p.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if r := p.wait(t); r.code != 6 || !strings.Contains(r.stderr, "metrics at "+url) || !strings.Contains(r.stderr, "uses a negative lookbehind (?<!") || !strings.Contains(r.stdout, "CPUUtilization") {
		t.Errorf("%s", r)
	}

	s := record(t, name)
	if len(s.Usage) != 1 || len(s.Usage[0].Metrics) != 5 {
		t.Errorf("%+v", s.Usage)
	}
	told := false
	for _, w := range s.Warnings {
		told = told || w.Rule == "MET-1" && strings.Contains(w.Text, `is "accuracy: 0.9", which has "accuracy" of "accuracy="`)
	}
	if !told {
		t.Errorf("%+v", s.Warnings)
	}
	dir := filepath.Join(w.root, "jobs", "training", name)
	text, err := os.ReadFile(filepath.Join(dir, "metrics.prom"))
	if err != nil || prometheus(t, text, "optml_metric")["validation:auc"] != 0.75 || len(prometheus(t, text, "optml_instance_utilization_percent")) != 5 {
		t.Errorf("%v %s", err, text)
	}
	b, err := os.ReadFile(filepath.Join(dir, "metrics.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	count := map[bool]int{}
	for line := range bytes.Lines(b) {
		var x struct{ Instance bool }
		if err := json.Unmarshal(line, &x); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		count[x.Instance]++
	}
	if count[false] != 2 || count[true] < 5 {
		t.Errorf("%s", b)
	}
	if resp, err := http.Get(url); err == nil {
		resp.Body.Close()
		t.Error("the page outlives the job's owner")
	}
}
