package load

import (
	"math"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"
)

const (
	// What a histogram can tell apart, and the most it can hold: a request that was due at the beginning of the longest run
	// and ended a timeout after its end.
	leastLatency = 100 * time.Nanosecond
	mostLatency  = 2*MaxDuration + maxTimeout

	digits    = 3   // of a value: within 0.1 %
	rowDigits = 2   // in the table of seconds
	maxSteps  = 1e4 // that the correction adds for one value
)

// histogram is latencies in a fixed amount of memory, with what it rounds kept exactly beside.
type histogram struct {
	*hdr.Histogram
	sum           float64
	least, most   time.Duration
	significantly int
}

func newHistogram(digits int) *histogram {
	return &histogram{Histogram: hdr.New(int64(leastLatency), int64(mostLatency), digits), significantly: digits}
}

func (h *histogram) record(d time.Duration) {
	d = min(max(d, 0), mostLatency)
	if h.TotalCount() == 0 || d < h.least {
		h.least = d
	}
	h.most = max(h.most, d)
	h.sum += float64(d)
	_ = h.RecordValue(int64(d)) // it is in its range
}

func (h *histogram) reset() {
	h.Reset()
	h.sum, h.least, h.most = 0, 0, 0
}

// at is the value that so many per cent do not exceed, to the histogram's precision.
func (h *histogram) at(percent float64) time.Duration {
	return min(time.Duration(h.ValueAtPercentile(percent)), h.most)
}

// corrected adds what a client that sends one request an interval would have seen while it waited for each answer: those
// that it did not send (HdrHistogram's correction for coordinated omission). Of very many of them some are put together.
func (h *histogram) corrected(interval time.Duration) *histogram {
	out := newHistogram(h.significantly)
	add := func(v, n int64) {
		_ = out.RecordValues(v, n)
		out.sum += float64(v) * float64(n)
	}
	for _, b := range h.Distribution() {
		if b.Count == 0 {
			continue
		}
		v := b.From + (b.To-b.From)/2
		add(v, b.Count)
		missing := v/int64(interval) - 1
		stride := int64(math.Ceil(float64(missing) / maxSteps))
		for k := int64(1); k <= missing; k += stride {
			n := min(stride, missing-k+1)
			add(v-(k+(n-1)/2)*int64(interval), b.Count*n)
		}
	}
	out.least, out.most = min(h.least, time.Duration(out.ValueAtPercentile(0))), h.most
	return out
}

// Distribution is how long something took. Durations are in seconds.
type Distribution struct {
	Count int64   `json:"count"`
	Mean  float64 `json:"mean"`
	Min   float64 `json:"min"`
	Max   float64 `json:"max"`
	// Percentiles are those of 50, 75, 90, 95, 99, 99.9 and 99.99 % that the count has values beyond, within 0.1 %.
	Percentiles []Percentile `json:"percentiles,omitempty"`
	// Curve is the whole of it, for a plot: closer together towards 100 %.
	Curve []Percentile `json:"curve,omitempty"`
}

// Percentile is the value that so many per cent do not exceed.
type Percentile struct {
	Percent float64 `json:"percent"`
	Seconds float64 `json:"seconds"`
}

var percentiles = []float64{50, 75, 90, 95, 99, 99.9, 99.99}

// At returns a percentile of the list, and false where there are too few values for it.
func (d Distribution) At(percent float64) (seconds float64, ok bool) {
	for _, p := range d.Percentiles {
		if p.Percent == percent {
			return p.Seconds, true
		}
	}
	return 0, false
}

// Median in seconds; 0: there is nothing.
func (d Distribution) Median() float64 {
	s, _ := d.At(50)
	return s
}

func (h *histogram) distribution() Distribution {
	n := h.TotalCount()
	d := Distribution{Count: n}
	if n == 0 {
		return d
	}
	d.Mean, d.Min, d.Max = h.sum/float64(n)/1e9, h.least.Seconds(), h.most.Seconds()
	for _, p := range percentiles {
		if float64(n)*(100-p)/100 >= 1-1e-9 {
			d.Percentiles = append(d.Percentiles, Percentile{p, h.at(p).Seconds()})
		}
	}
	for _, b := range h.CumulativeDistributionWithTicks(5) {
		d.Curve = append(d.Curve, Percentile{b.Quantile, min(time.Duration(b.ValueAt), h.most).Seconds()})
	}
	return d
}
