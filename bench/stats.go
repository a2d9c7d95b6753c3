package bench

import (
	"math"
	"slices"
	"sort"
	"sync"

	"github.com/aclements/go-moremath/stats"
	"golang.org/x/perf/benchmath"
)

// alpha is how likely a benchmark may be to claim any difference where there is none: all comparisons of a figure share
// it (Bonferroni), in the tests and in the intervals, so that an interval without 1 and a claim are the same thing.
const alpha = 1 - Confidence

// summarise says what a variant's runs come to in a figure.
func summarise(f Figure, v *Variant) *Summary {
	values, at := v.values(f.Name)
	if len(values) == 0 {
		return nil
	}
	s := &Summary{Figure: f.Name, N: len(values)}
	sample := benchmath.NewSample(values, thresholds(alpha)) // it sorts
	m := benchmath.AssumeNothing.Summary(sample, Confidence)
	s.Median, s.Low, s.High = m.Center, finite(m.Lo), finite(m.Hi)
	s.Min, s.Max = values[0], values[len(values)-1]
	x := stats.Sample{Xs: values, Sorted: true}
	s.Q1, s.Q3 = x.Quantile(0.25), x.Quantile(0.75)
	var own []float64
	for _, i := range at {
		if o, ok := v.Runs[i].Own[f.Name]; ok {
			own = append(own, o)
		}
	}
	if len(own) > 0 {
		s.Own = new(median(own))
	}
	return s
}

func thresholds(level float64) *benchmath.Thresholds {
	t := benchmath.DefaultThresholds
	t.CompareAlpha = level
	return &t
}

func finite(v float64) *float64 {
	if math.IsInf(v, 0) || math.IsNaN(v) {
		return nil
	}
	return &v
}

func median(values []float64) float64 {
	return stats.Sample{Xs: slices.Sorted(slices.Values(values)), Sorted: true}.Quantile(0.5)
}

// compare tests whether of and to differ at a level.
func compare(of, to []float64, level float64) Comparison {
	c := Comparison{P: 1, Level: level}
	if len(of) == 0 || len(to) == 0 {
		return c
	}
	of, to = slices.Clone(of), slices.Clone(to)
	r := benchmath.AssumeNothing.Compare(benchmath.NewSample(of, thresholds(level)), benchmath.NewSample(to, thresholds(level)))
	if !math.IsNaN(r.P) {
		c.P = min(r.P, 1)
	}
	c.Differs = c.P < level
	c.Ratio = ratio(of, to, level)
	return c
}

// ratio is the ratio of two samples with its interval: the Hodges-Lehmann estimate on logarithms, that is, the median of
// the ratios of all pairs, and the interval of those ratios that the Mann-Whitney test does not refuse. benchmath has
// intervals of medians only, and dividing two of them gives one that is too wide and goes with no test; this one
// excludes 1 exactly when the test claims a difference. nil when a value is not above 0.
func ratio(of, to []float64, level float64) *Ratio {
	if slices.Min(of) <= 0 || slices.Min(to) <= 0 {
		return nil
	}
	all := make([]float64, 0, len(of)*len(to))
	for _, a := range of {
		for _, b := range to {
			all = append(all, math.Log(a/b))
		}
	}
	slices.Sort(all)
	r := &Ratio{Value: math.Exp(median(all))}
	if k := critical(len(of), len(to), level); k > 0 {
		r.Low, r.High = new(math.Exp(all[k-1])), new(math.Exp(all[len(all)-k]))
	}
	return r
}

// exactMost is up to how many runs the distribution of U is counted out; the normal distribution is as good beyond.
const exactMost = 50

// critical is how many of the sorted ratios lie outside the interval at either end; 0: it has no ends.
func critical(n, m int, level float64) int {
	key := criticalKey{n, m, level}
	if k, ok := criticalKnown.Load(key); ok {
		return k.(int)
	}
	k := countOut(n, m, level)
	criticalKnown.Store(key, k)
	return k
}

type criticalKey struct {
	n, m  int
	level float64
}

var criticalKnown sync.Map // counting out takes time, and a benchmark asks the same over and over

func countOut(n, m int, level float64) int {
	if n > exactMost || m > exactMost {
		x := float64(n) * float64(m)
		z := -stats.InvCDF(stats.StdNormal)(level / 2)
		return max(0, int(math.Floor(x/2-z*math.Sqrt(x*float64(n+m+1)/12))))
	}
	d := stats.UDist{N1: n, N2: m}
	return sort.Search(n*m, func(k int) bool { return d.CDF(float64(k)) > level/2 })
}

// needed is how many runs of each of two variants it takes to show any difference at a level.
func needed(level float64) int {
	for n := 2; n < exactMost; n++ {
		if critical(n, n, level) > 0 {
			return n
		}
	}
	return exactMost
}

// outliers are the values that lie beyond Tukey's outer fences: three times the middle half's width away from it. Where
// half of the values are the same there is no width; then a tenth of the median is one.
func outliers(values []float64) []int {
	const least = 8 // fewer have no middle half worth the name
	if len(values) < least {
		return nil
	}
	x := stats.Sample{Xs: slices.Sorted(slices.Values(values)), Sorted: true}
	q1, q3 := x.Quantile(0.25), x.Quantile(0.75)
	width := q3 - q1
	if width == 0 {
		width = math.Abs(q1) / 10
	}
	var out []int
	for i, v := range values {
		if v < q1-3*width || v > q3+3*width {
			out = append(out, i)
		}
	}
	return out
}

const (
	driftLeast  = 8 // runs
	driftMost   = 1000
	driftP      = 0.01 // looked at once a benchmark
	driftChange = 0.02 // less is not worth a word
)

// drift looks for a trend in values in the order in which they came (Mann-Kendall), and how far it goes (Theil-Sen). They
// are relative to what is usual.
func drift(values []float64) (change, p float64, shown bool) {
	if len(values) > driftMost { // all pairs are looked at
		every := (len(values) + driftMost - 1) / driftMost
		var some []float64
		for i := 0; i < len(values); i += every {
			some = append(some, values[i])
		}
		values = some
	}
	n := len(values)
	if n < driftLeast {
		return 0, 1, false
	}
	s := 0
	var slopes []float64
	for i := range values {
		for j := i + 1; j < n; j++ {
			switch {
			case values[j] > values[i]:
				s++
			case values[j] < values[i]:
				s--
			}
			slopes = append(slopes, (values[j]-values[i])/float64(j-i))
		}
	}
	sd := math.Sqrt(float64(n*(n-1)*(2*n+5)) / 18)
	z := max(0, math.Abs(float64(s))-1) / sd
	p = min(1, 2*stats.StdNormal.CDF(-z))
	change = median(slopes) * float64(n-1)
	return change, p, p < driftP && math.Abs(change) >= driftChange
}
