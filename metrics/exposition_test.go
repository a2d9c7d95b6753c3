package metrics

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// parse reads Prometheus text with its own parser: "family{label=value,...} value".
func parse(t *testing.T, text []byte) (out []string) {
	t.Helper()
	p := expfmt.NewTextParser(model.LegacyValidation)
	families, err := p.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	for name, f := range families {
		for _, m := range f.Metric {
			var labels []string
			for _, l := range m.Label {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			out = append(out, fmt.Sprintf("%s{%s} %v", name, strings.Join(labels, ","), m.GetGauge().GetValue()+m.GetCounter().GetValue()))
		}
	}
	slices.Sort(out)
	return out
}

// MET-9: values go by the job's name; MET-11: those of all hosts to one metric, which tells them apart by a label.
func TestExposition(t *testing.T) {
	e := NewExposition("training", "my-job")
	hostile := "a\"b\\c\nd{}\xff"
	for _, s := range []Sample{
		{Host: "algo-1", Name: "validation:auc", Value: 0.5}, {Host: "algo-1", Name: "validation:auc", Value: 0.75}, {Host: "algo-2", Name: "validation:auc", Value: 1},
		{Host: "algo-1", Name: hostile, Value: -1e-300}, {Host: "algo-1", Name: CPUUtilization, Value: 7}, {Host: "algo-1", Name: CPUUtilization, Value: 150, Instance: true},
	} {
		e.Add(s)
	}
	path := filepath.Join(t.TempDir(), "metrics.prom")
	for range 2 { // whole, and again
		if err := e.WriteFile(path); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	of := func(family, host, name string, v any) string {
		return fmt.Sprintf("%s{job_name=my-job,kind=training,host=%s,name=%s} %v", family, host, name, v)
	}
	want := []string{
		of(familyLog, "algo-1", "validation:auc", 0.75), of(familyCount, "algo-1", "validation:auc", 2), of(familyLog, "algo-2", "validation:auc", 1), of(familyCount, "algo-2", "validation:auc", 1),
		of(familyLog, "algo-1", strings.ToValidUTF8(hostile, "\uFFFD"), "-1e-300"), of(familyCount, "algo-1", strings.ToValidUTF8(hostile, "\uFFFD"), 1),
		of(familyLog, "algo-1", CPUUtilization, 7), of(familyCount, "algo-1", CPUUtilization, 1), of(familyInstance, "algo-1", CPUUtilization, 150),
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, parse(t, text)); diff != "" {
		t.Error(diff)
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Error(entries)
	}
}

// A validation's jobs are on one page, each family once.
func TestPage(t *testing.T) {
	var p Page
	for i := range pageJobs + 3 {
		e := NewExposition("training", fmt.Sprint("job-", i))
		e.Add(Sample{Host: "algo-1", Name: "m", Value: float64(i)})
		p.Show(e)
	}
	srv := httptest.NewServer(&p)
	defer srv.Close()
	for _, tc := range []struct {
		method, path string
		want         int
	}{{"GET", "/metrics", 200}, {"HEAD", "/metrics", 200}, {"POST", "/metrics", 405}, {"GET", "/", 404}, {"GET", "/metrics/x", 404}} {
		req, err := http.NewRequestWithContext(t.Context(), tc.method, srv.URL+tc.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != tc.want {
			t.Errorf("%s %s: %d %v", tc.method, tc.path, resp.StatusCode, err)
		}
		if tc.method == "GET" && tc.want == 200 {
			if got := parse(t, body); len(got) != 2*pageJobs || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain; version=0.0.4") {
				t.Errorf("%v %q", resp.Header, got)
			}
		}
	}
}
