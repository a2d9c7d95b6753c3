// Package bench runs a job again and again, in one or more variants, and says which is faster, by how much, and how sure
// that is. It has the plan of the runs (rounds, order, warm-ups), what is read of each run's record, the statistics, and
// the forms of the result: text, JSON, HTML, and what benchstat reads. Running a job is its caller's.
//
// Result is the schema of the JSON form; docs/bench.schema.json is generated from it. Format changes when a member changes
// its meaning or goes; members may be added. Members that are unknown or do not apply are left out. Times are RFC 3339 in
// UTC, figures are in the unit that their name has in Figures.
package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"
)

// Format is the version of the schema.
const Format = 1

// Confidence is that of all intervals.
const Confidence = 0.95

// Result is a benchmark: its runs, and what follows from them.
type Result struct {
	Format int    `json:"format"`
	Name   string `json:"name"`                                                        // of the entry of the ledger
	Job    string `json:"job"`                                                         // the document's job
	Kind   string `json:"kind" jsonschema:"enum=training,enum=transform,enum=serving"` // training, transform, serving

	Began time.Time `json:"began"`
	Ended time.Time `json:"ended"`
	// Partial is why there are fewer runs than were asked for; absent: there are all.
	Partial string `json:"partial,omitempty"`

	Settings Settings `json:"settings"`
	Host     Host     `json:"host"`
	Optml    string   `json:"optml,omitempty"` // version and platform

	Figures     []Figure     `json:"figures"` // that the runs have, in the order in which they are shown
	Variants    []Variant    `json:"variants"`
	Comparisons []Comparison `json:"comparisons,omitempty"`
	Verdicts    []string     `json:"verdicts,omitempty"` // of the figure in the settings, as sentences
	Drift       *Drift       `json:"drift,omitempty"`    // when there is one
	Warnings    []string     `json:"warnings,omitempty"`
}

// Settings are what was asked for.
type Settings struct {
	Runs    int    `json:"runs"`    // of each variant
	Warmups int    `json:"warmups"` // of each variant, before; they are not in the figures
	Seed    uint64 `json:"seed"`    // of the order within the rounds
	Figure  string `json:"figure"`  // that the verdicts are of
	Cache   string `json:"cache" jsonschema:"enum=warm,enum=cold"`
	Outputs string `json:"outputs" jsonschema:"enum=discard,enum=document"` // discard: written to this machine and removed
	Load    string `json:"load,omitempty"`                                  // that is put on a serving, in words
}

// Host is the machine.
type Host struct {
	Name        string   `json:"name,omitempty"`
	CPU         string   `json:"cpu,omitempty"` // its model
	CPUs        int      `json:"cpus"`
	MemoryBytes int64    `json:"memoryBytes,omitempty"`
	Kernel      string   `json:"kernel,omitempty"`
	Governor    string   `json:"governor,omitempty"` // of the processors' frequency; absent: it cannot be seen
	GPUs        []string `json:"gpus,omitempty"`
}

// Figure is something that is measured of a run.
type Figure struct {
	Name   string `json:"name"`
	Label  string `json:"label"`
	Unit   string `json:"unit" jsonschema:"enum=s,enum=1/s,enum=B,enum=%"`
	Better string `json:"better,omitempty" jsonschema:"enum=lower,enum=higher"` // absent: neither
	// Own is what the runs' own figures of this name are: wall: seconds in which only optml and the runtime worked; cpu:
	// processor seconds of the process that carries the job out.
	Own string `json:"own,omitempty" jsonschema:"enum=wall,enum=cpu"`
}

// Variant is one way to run the job.
type Variant struct {
	Name     string    `json:"name"`
	Members  []Setting `json:"members,omitempty"` // what is other than in the document
	Document string    `json:"document,omitempty"`
	Image    string    `json:"image,omitempty"`    // with its digest
	Runs     []Run     `json:"runs"`               // in the order in which they ran, warm-ups and failures included
	Failed   int       `json:"failed"`             // of them, without warm-ups
	Warnings []string  `json:"warnings,omitempty"` // of its documents, as optml plan has them

	Summaries []Summary `json:"summaries,omitempty"` // one a figure
	Timeline  *Timeline `json:"timeline,omitempty"`  // what the run with the median of the figure used
}

// Setting is a member and its value.
type Setting struct {
	Path  string `json:"path"`
	Value string `json:"value"`
}

// Run is one job.
type Run struct {
	N       int       `json:"n"`                // its place in the order of all runs, from 1
	Round   int       `json:"round,omitempty"`  // from 1
	Warmup  bool      `json:"warmup,omitempty"` // it counts for nothing
	Job     string    `json:"job"`              // kind/name of its entry
	Began   time.Time `json:"began"`
	Status  string    `json:"status"`          // Completed, Failed, Stopped
	Error   string    `json:"error,omitempty"` // why it counts for nothing
	Outlier bool      `json:"outlier,omitempty"`

	Figures map[string]float64 `json:"figures,omitempty"`
	Own     map[string]float64 `json:"own,omitempty"` // seconds of optml's in the figures that are times
	Noise   Noise              `json:"noise"`
	Load    *Load              `json:"load,omitempty"` // of a serving

	timeline *Timeline
}

func (r *Run) counts() bool { return !r.Warmup && r.Error == "" }

// Noise is what else the machine did meanwhile.
type Noise struct {
	Load          float64 `json:"load"`                    // load average of the minute before
	OtherCPUs     float64 `json:"otherCPUs"`               // processors that were busy with something else, on average
	Steal         float64 `json:"steal,omitempty"`         // processors that the hypervisor kept for others
	MHz           float64 `json:"mhz,omitempty"`           // of the processors at the end, on average
	MaxMHz        float64 `json:"maxMHz,omitempty"`        // that they are made for
	ThermalEvents int64   `json:"thermalEvents,omitempty"` // times that a processor was slowed down for its heat
	CPUPressure   float64 `json:"cpuPressure,omitempty"`   // percent of the time in which somebody waited for a processor
	IOPressure    float64 `json:"ioPressure,omitempty"`    // for a disk
	Containers    int     `json:"containers,omitempty"`    // of others that ran when the run began
	Throttled     float64 `json:"throttledSeconds,omitempty"`
	GPUsInUse     int     `json:"gpusInUse,omitempty"` // by others, when the run began
}

// Summary is what the runs of a variant come to in one figure.
type Summary struct {
	Figure string   `json:"figure"`
	N      int      `json:"n"`
	Median float64  `json:"median"`
	Low    *float64 `json:"low,omitempty"` // of the median's confidence interval; absent: too few runs
	High   *float64 `json:"high,omitempty"`
	Min    float64  `json:"min"`
	Max    float64  `json:"max"`
	Q1     float64  `json:"q1"`
	Q3     float64  `json:"q3"`
	Own    *float64 `json:"own,omitempty"` // the median of optml's own
}

// Comparison is of two variants in one figure.
type Comparison struct {
	Figure string `json:"figure"`
	Of     string `json:"of"`
	To     string `json:"to"` // what it is compared to
	// P is the probability of ranks that lie as far apart when there is no difference (Mann-Whitney U).
	P       float64 `json:"p"`
	Level   float64 `json:"level"` // below which P shows a difference: 0.05 over the number of comparisons
	Differs bool    `json:"differs"`
	Ratio   *Ratio  `json:"ratio,omitempty"` // absent: a run had 0
}

// Ratio is Of over To, with an interval that holds for all comparisons of a figure together.
type Ratio struct {
	Value float64  `json:"value"`
	Low   *float64 `json:"low,omitempty"` // absent: too few runs
	High  *float64 `json:"high,omitempty"`
}

// Drift is a change over the runs.
type Drift struct {
	Figure string  `json:"figure"`
	Change float64 `json:"change"` // from the first to the last run, as a share: 0.1 is 10 % more
	P      float64 `json:"p"`      // of a trend as clear when there is none (Mann-Kendall)
}

// Timeline is what one run's instances used over time, in percent.
type Timeline struct {
	N      int      `json:"n"` // of the run
	Series []Series `json:"series"`
}

// Series is one metric.
type Series struct {
	Name   string       `json:"name"`
	Host   string       `json:"host,omitempty"`
	Points [][2]float64 `json:"points"` // seconds since the run began, percent
}

// Variant returns the variant of that name, nil without one.
func (r *Result) Variant(name string) *Variant {
	for i := range r.Variants {
		if r.Variants[i].Name == name {
			return &r.Variants[i]
		}
	}
	return nil
}

// Figure returns the figure of that name.
func (r *Result) Figure(name string) (Figure, bool) {
	for _, f := range r.Figures {
		if f.Name == name {
			return f, true
		}
	}
	return Figure{}, false
}

// Summary returns what the variant's runs come to in a figure, nil when no run has it.
func (v *Variant) Summary(figure string) *Summary {
	for i := range v.Summaries {
		if v.Summaries[i].Figure == figure {
			return &v.Summaries[i]
		}
	}
	return nil
}

// values are a figure of the runs that count, with the runs' places.
func (v *Variant) values(figure string) (values []float64, at []int) {
	for i := range v.Runs {
		if r := &v.Runs[i]; r.counts() {
			if x, ok := r.Figures[figure]; ok {
				values, at = append(values, x), append(at, i)
			}
		}
	}
	return values, at
}

// Failed is how many runs failed, of how many; warm-ups do not count.
func (r *Result) Failed() (failed, of int) {
	for _, v := range r.Variants {
		failed += v.Failed
		for _, x := range v.Runs {
			if !x.Warmup {
				of++
			}
		}
	}
	return failed, of
}

// JSON writes the result.
func (r *Result) JSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

// maxResult bounds a result that is read: a million runs are far less.
const maxResult = 256 << 20

// Read reads a result from a file in its JSON form.
func Read(path string) (*Result, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxResult+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(b) > maxResult {
		return nil, fmt.Errorf("%s: more than %d bytes are no benchmark's", path, maxResult)
	}
	r := new(Result)
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("%s is no result of optml bench: %w", path, err)
	}
	switch {
	case r.Format == 0 || len(r.Variants) == 0 || len(r.Figures) == 0:
		return nil, fmt.Errorf("%s is no result of optml bench", path)
	case !r.loadsWhole():
		return nil, fmt.Errorf("%s is no result of optml bench: a load has no figures", path)
	case r.Format != Format:
		return nil, fmt.Errorf("%s has format %d; this optml knows %d", path, r.Format, Format)
	}
	if _, ok := r.Figure(r.Settings.Figure); !ok {
		return nil, errors.New(path + " has no figure " + r.Settings.Figure)
	}
	if !slices.ContainsFunc(r.Variants, func(v Variant) bool { return len(v.Summaries) > 0 }) {
		r.conclude() // it was under way when it was written
	}
	return r, nil
}
