package bench

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/optml/optml/human"
	"github.com/optml/optml/job"
)

// conclude makes all that follows from the runs: summaries, comparisons, verdicts, warnings.
func (r *Result) conclude() {
	r.Comparisons, r.Verdicts, r.Warnings, r.Drift = nil, nil, nil, nil
	for i := range r.Variants {
		v := &r.Variants[i]
		v.Summaries = nil
		v.Failed = 0
		for k := range v.Runs {
			v.Runs[k].Outlier = false
			if x := &v.Runs[k]; x.Error != "" && !x.Warmup && x.Status != stopped {
				v.Failed++
			}
		}
		for _, f := range r.Figures {
			if s := summarise(f, v); s != nil {
				v.Summaries = append(v.Summaries, *s)
			}
		}
		values, at := v.values(r.Settings.Figure)
		for _, k := range outliers(values) {
			v.Runs[at[k]].Outlier = true
		}
	}
	r.compareAll()
	r.findDrift()
	r.warn()
}

// compareAll compares all pairs in the figure that matters; in each other one, all variants to the first.
func (r *Result) compareAll() {
	n := len(r.Variants)
	if n < 2 {
		return
	}
	pairs := n * (n - 1) / 2
	main, _ := r.Figure(r.Settings.Figure)
	add := func(f Figure, of, to *Variant, level float64) *Comparison {
		a, _ := of.values(f.Name)
		b, _ := to.values(f.Name)
		if len(a) == 0 || len(b) == 0 {
			return nil
		}
		c := compare(a, b, level)
		c.Figure, c.Of, c.To = f.Name, of.Name, to.Name
		r.Comparisons = append(r.Comparisons, c)
		return &r.Comparisons[len(r.Comparisons)-1]
	}
	for i := range n {
		for k := i + 1; k < n; k++ {
			if c := add(main, &r.Variants[k], &r.Variants[i], alpha/float64(pairs)); c != nil && i == 0 {
				r.Verdicts = append(r.Verdicts, c.Says(main))
			}
		}
	}
	if n > 2 {
		r.Verdicts = append(r.Verdicts, r.best(main)...)
	}
	var others []Figure
	for _, f := range r.Figures {
		if f.Name != main.Name && f.Better != "" {
			others = append(others, f)
		}
	}
	for _, f := range others {
		for k := 1; k < n; k++ {
			add(f, &r.Variants[k], &r.Variants[0], alpha/float64((n-1)*len(others)))
		}
	}
}

// Comparison returns that of two variants, whichever of them it is of; nil without one.
func (r *Result) Comparison(figure, a, b string) *Comparison {
	for i, c := range r.Comparisons {
		if c.Figure == figure && (c.Of == a && c.To == b || c.Of == b && c.To == a) {
			return &r.Comparisons[i]
		}
	}
	return nil
}

// best names the variant with the best median, and which others are not shown to be worse.
func (r *Result) best(f Figure) []string {
	var top *Variant
	for i := range r.Variants {
		s := r.Variants[i].Summary(f.Name)
		if s == nil {
			continue
		}
		if top == nil || better(f, s.Median, top.Summary(f.Name).Median) {
			top = &r.Variants[i]
		}
	}
	if top == nil {
		return nil
	}
	var alike []string
	for _, v := range r.Variants {
		if c := r.Comparison(f.Name, v.Name, top.Name); c != nil && !c.Differs {
			alike = append(alike, v.Name)
		}
	}
	if len(alike) == 0 {
		return []string{top.Name + " is the best of all"}
	}
	return []string{fmt.Sprintf("%s has the best median, and is not shown to differ from %s", top.Name, strings.Join(alike, ", "))}
}

func better(f Figure, a, b float64) bool {
	if f.Better == "higher" {
		return a > b
	}
	return a < b
}

// times is from which factor on a difference is said as a factor: "1.8x faster" is human.Line, "1.04x faster" is not.
const times = 1.2

// Says is the comparison as a sentence.
func (c *Comparison) Says(f Figure) string {
	if !c.Differs {
		text := fmt.Sprintf("no difference shown between %s and %s", c.Of, c.To)
		if x := c.Ratio; x != nil && x.Low != nil {
			text += fmt.Sprintf(" (it is within %s, 95 %% CI)", between(*x.Low, *x.High, func(v float64) string { return signed(v - 1) }))
		}
		return text
	}
	x := c.Ratio
	if x == nil {
		return fmt.Sprintf("%s and %s differ, but one of them has a 0, so there is no ratio", c.Of, c.To)
	}
	v, low, high := x.Value, orNaN(x.Low), orNaN(x.High)
	word := map[string][2]string{"s": {"faster", "slower"}, "1/s": {"slower", "faster"}}[f.Unit]
	if word[0] == "" {
		word = [2]string{"less", "more"}
	}
	if v >= times || v <= 1/times {
		w := word[1]
		if v < 1 {
			v, low, high, w = 1/v, 1/high, 1/low, word[0]
		}
		return fmt.Sprintf("%s is %sx %s than %s (95 %% CI %s)", c.Of, factor(v), w, c.To, between(low, high, factor))
	}
	takes := map[string][2]string{"s": {"takes %s less time than", "takes %s longer than"}, "1/s": {"does %s less than", "does %s more than"}}[f.Unit]
	if takes[0] == "" {
		takes = [2]string{"has %s less than", "has %s more than"}
	}
	say := takes[1]
	if v < 1 {
		v, low, high, say = 2-v, 2-high, 2-low, takes[0]
	}
	return fmt.Sprintf("%s "+say+" %s (95 %% CI %s)", c.Of, share(v-1), c.To, between(low-1, high-1, share))
}

func orNaN(v *float64) float64 {
	if v == nil {
		return math.NaN()
	}
	return *v
}

func between(low, high float64, text func(float64) string) string {
	return text(low) + " to " + text(high)
}

func factor(v float64) string {
	if v >= 9.95 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// share is a part as percent, with as many digits as it has to say.
func share(v float64) string {
	p := v * 100
	if math.Abs(p) < 9.95 {
		return fmt.Sprintf("%.1f %%", p)
	}
	return fmt.Sprintf("%.0f %%", p)
}

func signed(v float64) string {
	if v > 0 {
		return "+" + share(v)
	}
	return share(v)
}

// findDrift looks at all runs in their order, each relative to its variant's median.
func (r *Result) findDrift() {
	type at struct {
		n int
		v float64
	}
	var all []at
	for i := range r.Variants {
		v := &r.Variants[i]
		s := v.Summary(r.Settings.Figure)
		if s == nil || s.Median == 0 {
			continue
		}
		for _, x := range v.Runs {
			if y, ok := x.Figures[r.Settings.Figure]; ok && x.counts() {
				all = append(all, at{x.N, y / s.Median})
			}
		}
	}
	slices.SortFunc(all, func(a, b at) int { return cmp.Compare(a.n, b.n) })
	var values []float64
	for _, x := range all {
		values = append(values, x.v)
	}
	if change, p, shown := drift(values); shown {
		r.Drift = &Drift{r.Settings.Figure, change, p}
	}
}

const (
	// spreadMost: with a middle half that is wider than this share of the median, figures say little.
	spreadMost = 0.15
	// ownMost: from this share of the total on, what optml itself takes drowns what is compared.
	ownMost = 0.25
	// othersMost is how much of the machine may be busy with something else.
	othersMost = 0.1
)

// warn says what keeps the figures from being trusted.
func (r *Result) warn() {
	say := func(format string, args ...any) { r.Warnings = append(r.Warnings, fmt.Sprintf(format, args...)) }
	main, _ := r.Figure(r.Settings.Figure)
	if r.Partial != "" {
		say("this is a part of what was asked for: %s", r.Partial)
	}
	r.warnDocuments(say)
	level := alpha
	if n := len(r.Variants); n > 2 {
		level /= float64(n*(n-1)) / 2
	}
	fewest := 0
	for i := range r.Variants {
		v := &r.Variants[i]
		if v.Failed > 0 {
			first := slices.IndexFunc(v.Runs, func(x Run) bool { return x.Error != "" && !x.Warmup && x.Status != stopped })
			say("%s: %s failed; the first, %s: %s", v.Name, human.Count(v.Failed, "run"), v.Runs[first].Job, human.Line(v.Runs[first].Error))
		}
		s := v.Summary(main.Name)
		if s == nil {
			if v.Failed == 0 { // else it is said
				say("%s: no run has a figure", v.Name)
			}
			continue
		}
		if fewest == 0 || s.N < fewest {
			fewest = s.N
		}
		if s.Low == nil && !(r.Kind == string(job.KindServing) && r.Settings.Runs == 1) { // one says much already, and is the default
			are := "are"
			if s.N == 1 {
				are = "is"
			}
			say("%s: %s %s too few for an interval of the median; it takes 6", v.Name, human.Count(s.N, "run"), are)
		}
		if s.Median > 0 {
			if w := (s.Q3 - s.Q1) / s.Median; w > spreadMost {
				say("%s: the spread makes this worthless for small differences: the middle half of the runs is %s of the median wide; look for what else the machine does, or take more or longer runs", v.Name, share(w))
			}
		}
		if s.Own != nil && s.Median > 0 && main.Own == "wall" && *s.Own/s.Median > ownMost {
			say("%s: %s of %s is optml's own time; longer jobs, or --figure run, say more of the container", v.Name, share(*s.Own/s.Median), text(main.Unit, s.Median))
		}
		for _, x := range v.Runs {
			if x.Outlier {
				say("%s: run %d is an outlier with %s; it counts like the others, and moves a median little", v.Name, x.N, text(main.Unit, x.Figures[main.Name]))
			}
		}
	}
	if n := needed(level); len(r.Variants) > 1 && fewest > 0 && fewest < n {
		say("%s of a variant cannot show any difference, however large; with %s it takes %d", human.Count(fewest, "run"), human.Count(len(r.Variants), "variant"), n)
	}
	if d := r.Drift; d != nil {
		way := "up"
		if d.Change < 0 {
			way = "down"
		}
		say("drift: from the first to the last run, %s went %s by %s; the order of the variants within the rounds is random, so that it widens intervals more than it moves them", main.Label, way, share(math.Abs(d.Change)))
	}
	r.warnNoise(say)
}

// warnDocuments says what the variants' documents are warned of; what is true of all is said once.
func (r *Result) warnDocuments(say func(string, ...any)) {
	of := map[string]int{}
	for _, v := range r.Variants {
		for _, w := range v.Warnings {
			of[w]++
		}
	}
	for _, v := range r.Variants {
		for _, w := range v.Warnings {
			switch {
			case of[w] == len(r.Variants):
				say("%s", w)
				of[w] = 0
			case of[w] > 0:
				say("%s: %s", v.Name, w)
			}
		}
	}
}

func (r *Result) warnNoise(say func(string, ...any)) {
	var others, steal, mhz, throttled, run []float64
	var containers, gpus, events int64
	for _, v := range r.Variants {
		for _, x := range v.Runs {
			if !x.counts() {
				continue
			}
			n := x.Noise
			others, steal = append(others, n.OtherCPUs), append(steal, n.Steal)
			if n.MHz > 0 {
				mhz = append(mhz, n.MHz)
			}
			throttled, run = append(throttled, n.Throttled), append(run, max(x.Figures["run"], x.Figures["transform"]))
			containers, gpus, events = max(containers, int64(n.Containers)), max(gpus, int64(n.GPUsInUse)), events+n.ThermalEvents
		}
	}
	if len(others) == 0 {
		return
	}
	cpus := float64(max(1, r.Host.CPUs))
	if m := median(others); m > othersMost*cpus {
		say("noise: something else kept %.1f of %d processors busy during half of the runs or more (%.1f at most)", m, r.Host.CPUs, slices.Max(others))
	} else if m := slices.Max(others); m > 2*othersMost*cpus {
		say("noise: something else kept %.1f of %d processors busy during one of the runs", m, r.Host.CPUs)
	}
	if m := slices.Max(steal); m > 0.02*cpus {
		say("noise: the hypervisor gave up to %.1f processors to others", m)
	}
	if len(mhz) > 1 && slices.Max(mhz) > 1.1*slices.Min(mhz) {
		say("noise: the processors' frequency was between %.0f and %.0f MHz", slices.Min(mhz), slices.Max(mhz))
	}
	if g := r.Host.Governor; g != "" && g != "performance" {
		say("noise: the governor of the processors' frequency is %s; performance is steadier", g)
	}
	if events > 0 {
		say("noise: processors were slowed down %s for their heat", human.Count(int(events), "time"))
	}
	if containers > 0 {
		say("noise: %s of others ran beside", human.Count(int(containers), "container"))
	}
	if gpus > 0 {
		say("noise: %s in use by others", human.Count(int(gpus), "GPU"))
	}
	if t, d := median(throttled), median(run); d > 0 && t > 0.05*d {
		say("the containers were held back by their quota of processors for %s of a run: that is the size of the instance, and part of the figures", text("s", t))
	}
}
