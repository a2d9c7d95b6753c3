package load

import (
	"math"
	"testing"
	"time"
)

// TestCorrection: for values with few steps it is the library's own; for others it adds as many.
func TestCorrection(t *testing.T) {
	values := []time.Duration{time.Millisecond, 3 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 300 * time.Millisecond}
	ours, theirs := newHistogram(digits), newHistogram(digits)
	for _, v := range values {
		ours.record(v)
		if err := theirs.RecordCorrectedValue(int64(v), int64(10*time.Millisecond)); err != nil {
			t.Fatal(err)
		}
	}
	got := ours.corrected(10 * time.Millisecond)
	if got.TotalCount() != theirs.TotalCount() {
		t.Errorf("%d values, want %d", got.TotalCount(), theirs.TotalCount())
	}
	for p := 1.0; p <= 100; p++ {
		if a, b := float64(got.at(p)), float64(theirs.ValueAtPercentile(p)); math.Abs(a-b) > 0.005*b {
			t.Errorf("p%v: %v, want %v", p, a, b)
		}
	}

	long := newHistogram(digits)
	long.record(time.Hour)
	start := time.Now()
	got = long.corrected(minInterval)
	if want := int64(time.Hour / minInterval); math.Abs(float64(got.TotalCount()-want)) > 0.001*float64(want) {
		t.Errorf("%d values, want %d", got.TotalCount(), want)
	}
	for _, p := range []float64{1, 50, 99} {
		if want := p / 100 * 3600; math.Abs(got.at(p).Seconds()-want) > 0.01*want {
			t.Errorf("p%v: %v, want %v s", p, got.at(p), want)
		}
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestPercentilesNeedValues(t *testing.T) {
	h := newHistogram(digits)
	for i := range 1000 {
		h.record(time.Duration(i+1) * time.Millisecond)
	}
	d := h.distribution()
	if p, ok := d.At(99.9); !ok || math.Abs(p-0.999) > 0.001 {
		t.Errorf("p99.9 %v, %v", p, ok)
	}
	if p, ok := d.At(99.99); ok {
		t.Errorf("p99.99 of 1,000 values: %v", p)
	}
	if d.Min != 0.001 || d.Max != 1 || math.Abs(d.Mean-0.5005) > 1e-9 {
		t.Errorf("%+v", d)
	}
	if n := len(d.Curve); n < 20 || n > 200 || d.Curve[n-1].Seconds != 1 {
		t.Errorf("%d points", n)
	}
	if none := newHistogram(digits).distribution(); none.Count != 0 || none.Percentiles != nil {
		t.Errorf("%+v", none)
	}
}

func TestSpans(t *testing.T) {
	for s, want := range map[float64]string{0: "0 ns", 1.5e-7: "150 ns", 2.1e-5: "21.0 us", 0.0995: "99.5 ms", 0.1234: "123 ms", 1: "1.00 s", 3600: "3600 s"} {
		if got := span(s); got != want {
			t.Errorf("%v: %q, want %q", s, got, want)
		}
	}
}
