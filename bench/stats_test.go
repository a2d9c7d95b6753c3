package bench

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/aclements/go-moremath/stats"
)

// noisy are n times around a true one, with the skew that times have: they are never below, sometimes far above.
func noisy(r *rand.Rand, truth, spread float64, n int) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = truth * (1 + spread*r.ExpFloat64())
	}
	return out
}

// Where there is no difference, one is claimed no more often than said; the interval of the ratio holds the truth as
// often as said.
func TestFalsePositives(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	const times = 2000
	for _, n := range []int{5, 10, 20} {
		claimed, missed := 0, 0
		for range times {
			c := compare(noisy(r, 1, 0.05, n), noisy(r, 1, 0.05, n), alpha)
			if c.Differs {
				claimed++
			}
			if *c.Ratio.Low > 1 || *c.Ratio.High < 1 {
				missed++
			}
		}
		// 0.05 and three standard deviations of a count of 2000; a discrete test claims less.
		if most := times*alpha + 3*math.Sqrt(times*alpha*(1-alpha)); float64(claimed) > most || float64(missed) > most {
			t.Errorf("%d runs: of %d comparisons of the same, %d claim a difference, %d intervals miss 1", n, times, claimed, missed)
		}
		if claimed == 0 {
			t.Errorf("%d runs: nothing is ever claimed, so this shows nothing", n)
		}
	}
}

// With several comparisons, none of them claims a difference more often than said.
func TestFalsePositivesOfSeveral(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	const times = 1000
	claimed := 0
	for range times {
		res := Result{Figures: []Figure{{Name: "total", Unit: "s", Better: "lower"}}, Settings: Settings{Figure: "total"}}
		for _, name := range []string{"a", "b", "c", "d"} {
			res.Variants = append(res.Variants, variantOf(name, noisy(r, 1, 0.05, 10)...))
		}
		res.conclude()
		if len(res.Comparisons) != 6 {
			t.Fatalf("%d comparisons of 4 variants", len(res.Comparisons))
		}
		if slices.ContainsFunc(res.Comparisons, func(c Comparison) bool { return c.Differs }) {
			claimed++
		}
	}
	if most := times*alpha + 3*math.Sqrt(times*alpha*(1-alpha)); float64(claimed) > most {
		t.Errorf("of %d benchmarks of four that are the same, %d claim a difference", times, claimed)
	}
}

// A difference of 5 % is found with 20 runs, and the interval holds the truth as often as said.
func TestFivePercent(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	const times = 500
	found, held := 0, 0
	for range times {
		c := compare(noisy(r, 0.210, 0.01, 20), noisy(r, 0.200, 0.01, 20), alpha)
		if c.Differs && c.Ratio.Value > 1 {
			found++
		}
		if *c.Ratio.Low <= 1.05 && 1.05 <= *c.Ratio.High {
			held++
		}
	}
	if found < times*99/100 || held < times*92/100 {
		t.Errorf("of %d: %d found, %d intervals hold the truth", times, found, held)
	}
}

// The interval of the ratio excludes 1 exactly when the test claims a difference.
func TestIntervalGoesWithTest(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for range 3000 {
		n, m := 4+r.IntN(20), 4+r.IntN(20)
		a, b := noisy(r, 1+0.05*r.Float64(), 0.05, n), noisy(r, 1, 0.05, m)
		c := compare(a, b, alpha)
		excludes := *c.Ratio.Low > 1 || *c.Ratio.High < 1
		if excludes != c.Differs && math.Abs(c.P-alpha) > 1e-9 {
			t.Fatalf("p %v, ratio %v to %v", c.P, *c.Ratio.Low, *c.Ratio.High)
		}
		if c.Ratio.Value < *c.Ratio.Low || c.Ratio.Value > *c.Ratio.High {
			t.Fatalf("%+v", c.Ratio)
		}
	}
}

// The estimate and its interval against what is known: R's wilcox.test(a, b, conf.int=TRUE) on the logarithms of ten and
// ten values gives ranks 24 and 77 of the hundred ratios.
func TestCritical(t *testing.T) {
	for _, x := range []struct {
		n, m  int
		level float64
		want  int
	}{{3, 3, 0.05, 0}, {4, 4, 0.05, 1}, {5, 5, 0.05, 3}, {10, 10, 0.05, 24}, {20, 20, 0.05, 128}, {10, 10, 0.01, 17}} {
		if got := critical(x.n, x.m, x.level); got != x.want {
			t.Errorf("%d and %d at %v: %d, want %d", x.n, x.m, x.level, got, x.want)
		}
	}
	exact, normal := critical(50, 50, 0.05), critical(51, 51, 0.05)
	if normal < exact || normal > exact+60 {
		t.Errorf("%d with 50, %d with 51", exact, normal)
	}
	if n := needed(0.05); n != 4 {
		t.Errorf("%d runs are needed", n)
	}
}

func TestCompareEdges(t *testing.T) {
	same := []float64{2, 2, 2, 2, 2, 2, 2, 2}
	for name, x := range map[string]struct {
		a, b    []float64
		differs bool
		ratio   float64 // 0: none
		open    bool    // the interval has no ends
	}{
		"no variance, the same": {same, same, false, 1, false},
		"no variance, twice":    {[]float64{4, 4, 4, 4, 4, 4, 4, 4}, same, true, 2, false},
		"one run each":          {[]float64{3}, []float64{2}, false, 1.5, true},
		"three runs each":       {[]float64{3, 3.1, 3.2}, []float64{2, 2.1, 2.2}, false, 3.1 / 2.1, true},
		"zeros":                 {[]float64{0, 0, 0, 0, 0}, []float64{1, 1, 1, 1, 1}, true, 0, false},
		"zeros and zeros":       {[]float64{0, 0, 0, 0}, []float64{0, 0, 0, 0}, false, 0, false},
		"nothing":               {nil, same, false, 0, false},
	} {
		c := compare(x.a, x.b, alpha)
		if c.Differs != x.differs || (c.Ratio == nil) != (x.ratio == 0) {
			t.Errorf("%s: %+v", name, c)
			continue
		}
		if c.Ratio != nil && (math.Abs(c.Ratio.Value-x.ratio) > 0.02 || (c.Ratio.Low == nil) != x.open) {
			t.Errorf("%s: %+v", name, c.Ratio)
		}
	}
}

func TestOutliersAndDrift(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	values := make([]float64, 20)
	for i := range values {
		values[i] = 1 + 0.02*r.NormFloat64()
	}
	values[7] = 3
	if got := outliers(values); !slices.Equal(got, []int{7}) {
		t.Errorf("one in twenty: %v", got)
	}
	if got := outliers([]float64{1, 1, 1, 1, 1, 1, 1, 1, 1, 1.5}); !slices.Equal(got, []int{9}) {
		t.Errorf("no variance but one: %v", got)
	}
	if got := outliers([]float64{1, 1, 9}); got != nil {
		t.Errorf("of three: %v", got)
	}
	slower := make([]float64, 20)
	for i := range slower {
		slower[i] = 1 + 0.01*float64(i) + 0.01*r.Float64()
	}
	if change, p, shown := drift(slower); !shown || math.Abs(change-0.19) > 0.03 {
		t.Errorf("%v, p %v, %v", change, p, shown)
	}
	claimed := 0
	for range 1000 {
		if _, _, shown := drift(noisy(r, 1, 0.2, 20)); shown {
			claimed++
		}
	}
	if claimed > 25 {
		t.Errorf("of 1000 without a drift, %d have one", claimed)
	}
	if _, _, shown := drift(slices.Repeat([]float64{1}, 20)); shown {
		t.Error("no variance drifts")
	}
}

// An outlier in twenty moves neither the median nor the verdict.
func TestOneOutlier(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	a, b := noisy(r, 1, 0.01, 20), noisy(r, 1, 0.01, 20)
	a[3] = 50
	v := variantOf("a", a...)
	s := summarise(Figure{Name: "total"}, &v)
	if s.Median > 1.02 || *s.High > 1.03 || s.Max != 50 {
		t.Errorf("%+v", s)
	}
	if c := compare(a, b, alpha); c.Differs && c.Ratio.Value > 1.01 {
		t.Errorf("%+v", c)
	}
	_ = stats.StdNormal
}
