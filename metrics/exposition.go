package metrics

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
)

// Exposition is a job's last values in Prometheus' text format. A metric's name, which may hold any character, is the
// value of a label. Values carry no time, since node_exporter's textfile collector takes none. It may be used
// concurrently, and holds one value for each name and host.
type Exposition struct {
	job, kind string

	mu   sync.Mutex
	last map[seriesKey]*lastValue
}

type seriesKey struct {
	instance   bool
	host, name string
}

type lastValue struct {
	value float64
	count uint64
}

// NewExposition is that of a job: its kind is training or transform.
func NewExposition(kind, job string) *Exposition {
	return &Exposition{job: job, kind: kind, last: map[seriesKey]*lastValue{}}
}

// Add takes samples.
func (e *Exposition) Add(samples ...Sample) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, s := range samples {
		k := seriesKey{s.Instance, s.Host, s.Name}
		v := e.last[k]
		if v == nil {
			v = new(lastValue)
			e.last[k] = v
		}
		v.value = s.Value
		v.count++
	}
}

// families that are exposed, by what a sample is.
const (
	familyLog      = "optml_metric"
	familyCount    = "optml_metric_samples_total"
	familyInstance = "optml_instance_utilization_percent"
)

// add appends the job's values to families.
func (e *Exposition) add(to map[string]*dto.MetricFamily) {
	put := func(name, help string, typ dto.MetricType, m *dto.Metric) {
		f := to[name]
		if f == nil {
			f = &dto.MetricFamily{Name: &name, Help: &help, Type: &typ}
			to[name] = f
		}
		f.Metric = append(f.Metric, m)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	keys := slices.SortedFunc(maps.Keys(e.last), func(a, b seriesKey) int {
		return cmp.Or(cmp.Compare(a.host, b.host), cmp.Compare(a.name, b.name))
	})
	for _, k := range keys {
		v := e.last[k]
		var labels []*dto.LabelPair
		for _, l := range [][2]string{{"job_name", e.job}, {"kind", e.kind}, {"host", k.host}, {"name", k.name}} {
			labels = append(labels, &dto.LabelPair{Name: &l[0], Value: new(strings.ToValidUTF8(l[1], "\uFFFD"))})
		}
		gauge := &dto.Metric{Label: labels, Gauge: &dto.Gauge{Value: &v.value}}
		if k.instance {
			put(familyInstance, "Of a job's instance, as SageMaker publishes it: the sum over processors or GPUs.", dto.MetricType_GAUGE, gauge)
			continue
		}
		put(familyLog, "The last value of a job's metric, by its name in MetricDefinitions.", dto.MetricType_GAUGE, gauge)
		put(familyCount, "Values of a job's metric so far.", dto.MetricType_COUNTER, &dto.Metric{Label: labels, Counter: &dto.Counter{Value: new(float64(v.count))}})
	}
}

// WriteFile writes the file anew, whole.
func (e *Exposition) WriteFile(path string) error {
	var b bytes.Buffer
	if err := writeText(&b, e); err != nil {
		return err
	}
	tmp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
	err := os.WriteFile(tmp, b.Bytes(), 0o640)
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	return nil
}

// writeText writes the values of jobs; a family is written once.
func writeText(w io.Writer, jobs ...*Exposition) error {
	families := map[string]*dto.MetricFamily{}
	for _, e := range jobs {
		e.add(families)
	}
	enc := expfmt.NewEncoder(w, expfmt.NewFormat(expfmt.TypeTextPlain))
	for _, name := range slices.Sorted(maps.Keys(families)) {
		if err := enc.Encode(families[name]); err != nil {
			return fmt.Errorf("metrics: write Prometheus text: %w", err)
		}
	}
	return nil
}

// Page serves the values of the jobs that a process has carried out, at /metrics.
type Page struct {
	mu   sync.Mutex
	jobs []*Exposition
}

// pageJobs is how many jobs a page shows, the last ones.
const pageJobs = 16

// Show adds a job to the page.
func (p *Page) Show(e *Exposition) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.jobs = append(p.jobs, e)
	p.jobs = p.jobs[max(0, len(p.jobs)-pageJobs):]
}

// ServeHTTP implements http.Handler.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/metrics" {
		http.NotFound(w, r)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "GET /metrics", http.StatusMethodNotAllowed)
		return
	}
	p.mu.Lock()
	jobs := slices.Clone(p.jobs)
	p.mu.Unlock()
	var b bytes.Buffer
	if err := writeText(&b, jobs...); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", string(expfmt.NewFormat(expfmt.TypeTextPlain)))
	_, _ = w.Write(b.Bytes())
}
