package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/optml/optml/job"
)

// variantOf is a variant whose runs took so long.
func variantOf(name string, seconds ...float64) Variant {
	v := Variant{Name: name, Runs: []Run{}}
	for i, s := range seconds {
		v.Runs = append(v.Runs, Run{N: i + 1, Round: i + 1, Status: "Completed", Job: fmt.Sprintf("training/%s-%d", name, i+1),
			Figures: map[string]float64{"total": s, "run": s / 2}, Own: map[string]float64{"total": 0.01, "run": 0.001}})
	}
	return v
}

// synthetic runs variants of which each takes its time and some noise, without a clock.
func synthetic(r *rand.Rand, seconds map[string]float64, fail func(Task) string) Config {
	c := Config{Name: "b", Job: "j", Kind: job.KindTraining, Settings: Settings{Runs: 10, Warmups: 1, Seed: 1, Figure: "total"}}
	for _, name := range slices.Sorted(mapKeys(seconds)) {
		c.Variants = append(c.Variants, Variant{Name: name})
	}
	c.Run = func(_ context.Context, t Task) (Outcome, error) {
		o := Outcome{Job: fmt.Sprintf("training/b-%d", t.N), Status: "Completed", Began: time.Unix(int64(t.N), 0)}
		if fail != nil {
			if o.Error = fail(t); o.Error != "" {
				o.Status = "Failed"
				return o, nil
			}
		}
		s := seconds[c.Variants[t.Variant].Name] * (1 + 0.01*r.ExpFloat64())
		o.Figures = map[string]float64{"total": s, "run": s - 0.1, "create": 0.05}
		o.Own = map[string]float64{"total": 0.09, "run": 0.002, "create": 0.05}
		o.Timeline = &Timeline{Series: []Series{{Name: "CPUUtilization", Points: [][2]float64{{0, 100}, {s, float64(t.N)}}}}}
		return o, nil
	}
	return c
}

func mapKeys(m map[string]float64) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func order(r *Result, warmups bool) (names []string) {
	byN := map[int]string{}
	for _, v := range r.Variants {
		for _, x := range v.Runs {
			if x.Warmup == warmups {
				byN[x.N] = v.Name
			}
		}
	}
	for n := range 1000 {
		if name, ok := byN[n]; ok {
			names = append(names, name)
		}
	}
	return names
}

func TestSession(t *testing.T) {
	var said []string
	saved := 0
	c := synthetic(rand.New(rand.NewPCG(1, 1)), map[string]float64{"fast": 1, "slow": 1.9}, nil)
	c.Say = func(f string, args ...any) { said = append(said, fmt.Sprintf(f, args...)) }
	partial := ""
	c.Save = func(r *Result) error {
		if saved++; saved == 5 {
			partial = r.Partial
		}
		return nil
	}
	r, err := Carry(t.Context(), c)
	if err != nil || r.Partial != "" {
		t.Fatal(err, r.Partial)
	}
	if got := order(r, true); !slices.Equal(got, []string{"fast", "slow"}) {
		t.Errorf("warm-ups: %v", got)
	}
	got := order(r, false)
	if len(got) != 20 {
		t.Fatalf("%d runs", len(got))
	}
	swapped := 0
	for i := 0; i < 20; i += 2 {
		if got[i] == got[i+1] {
			t.Errorf("round %d runs %s twice", i/2, got[i])
		}
		if got[i] == "slow" {
			swapped++
		}
	}
	if swapped == 0 || swapped == 10 {
		t.Error("the order within the rounds never changes")
	}
	again, err := Carry(t.Context(), c)
	if err != nil || !slices.Equal(order(again, false), got) {
		t.Error("the same seed gives another order")
	}
	c.Settings.Seed = 2
	if other, _ := Carry(t.Context(), c); slices.Equal(order(other, false), got) {
		t.Error("another seed gives the same order")
	}
	if len(r.Verdicts) != 1 || !strings.HasPrefix(r.Verdicts[0], "slow is 1.90x slower than fast (95 % CI 1.8") {
		t.Errorf("%q", r.Verdicts)
	}
	if len(r.Warnings) != 0 {
		t.Errorf("%q", r.Warnings)
	}
	if want := "run 1 of 22 (warm-up), fast: total 1.0"; !strings.HasPrefix(said[0], want) {
		t.Errorf("%q", said[0])
	}
	if saved < 22*3 {
		t.Errorf("saved %d times", saved)
	}
	if partial != "it is under way, or its process has died" || r.Partial != "" {
		t.Errorf("while it runs, the result says %q", partial)
	}
	if tl := r.Variant("slow").Timeline; tl == nil || tl.N < 3 || len(tl.Series) != 1 {
		t.Errorf("%+v", tl)
	}
	if s := r.Variant("fast").Summary("total"); s.N != 10 || *s.Own != 0.09 || s.Low == nil || s.Median < 1 || s.Median > 1.03 {
		t.Errorf("%+v", s)
	}
}

// What a variant's documents are warned of is said with its name, what all are warned of once without.
func TestWarningsOfDocuments(t *testing.T) {
	c := synthetic(rand.New(rand.NewPCG(1, 1)), map[string]float64{"a": 1, "b": 1}, nil)
	c.Variants[0].Warnings = []string{"no such instance type", "both"}
	c.Variants[1].Warnings = []string{"both"}
	r, err := Carry(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"a: no such instance type", "both"}; !slices.Equal(r.Warnings, want) {
		t.Errorf("%q, want %q", r.Warnings, want)
	}
}

// A run that fails is counted and shown, and the rest goes on; a variant that never works is given up.
func TestFailures(t *testing.T) {
	c := synthetic(rand.New(rand.NewPCG(1, 2)), map[string]float64{"a": 1, "b": 1}, func(x Task) string {
		if x.N == 7 {
			return "AlgorithmError: exit code 1"
		}
		return ""
	})
	r, err := Carry(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	failed, of := r.Failed()
	if failed != 1 || of != 20 || r.Partial != "" {
		t.Errorf("%d of %d, %q", failed, of, r.Partial)
	}
	if !slices.ContainsFunc(r.Warnings, func(w string) bool {
		return strings.Contains(w, "1 run failed; the first, training/b-7: AlgorithmError: exit code 1")
	}) {
		t.Errorf("%q", r.Warnings)
	}
	n := r.Variant("a").Summary("total").N + r.Variant("b").Summary("total").N
	if n != 19 {
		t.Errorf("%d runs count", n)
	}
	c = synthetic(rand.New(rand.NewPCG(1, 3)), map[string]float64{"a": 1, "b": 1}, func(x Task) string {
		if x.Variant == 1 {
			return "no"
		}
		return ""
	})
	if r, err = Carry(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if n := len(r.Variant("b").Runs); n != failuresMost || len(r.Variant("a").Runs) != 11 || !strings.Contains(r.Partial, "b was given up") {
		t.Errorf("%d runs of b, %q", n, r.Partial)
	}
}

// Ctrl-C ends the run under way; what there is is kept and marked, and the run that was stopped counts for nothing.
func TestStopped(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	c := synthetic(rand.New(rand.NewPCG(1, 4)), map[string]float64{"a": 1, "b": 2}, nil)
	run := c.Run
	c.Run = func(ctx context.Context, x Task) (Outcome, error) {
		if x.N == 15 {
			cancel(errors.New("interrupted"))
			return Outcome{Job: "training/b-15", Status: "Stopped", Error: "interrupted"}, nil
		}
		return run(ctx, x)
	}
	var last *Result
	c.Save = func(r *Result) error { last = r; return nil }
	r, err := Carry(ctx, c)
	if err != nil || r.Partial != "interrupted" || last.Partial != r.Partial {
		t.Fatalf("%v, %q", err, r.Partial)
	}
	failed, of := r.Failed()
	if failed != 0 || of != 13 || len(r.Comparisons) == 0 || !strings.Contains(strings.Join(r.Warnings, "\n"), "a part of what was asked for: interrupted") {
		t.Errorf("%d of %d, %q", failed, of, r.Warnings)
	}
}

// What would keep all further runs from being made ends the benchmark with what there is.
func TestBroken(t *testing.T) {
	c := synthetic(rand.New(rand.NewPCG(1, 5)), map[string]float64{"a": 1}, nil)
	run, broken := c.Run, errors.New("containerd is gone")
	c.Run = func(ctx context.Context, x Task) (Outcome, error) {
		if x.N == 5 {
			return Outcome{}, broken
		}
		return run(ctx, x)
	}
	r, err := Carry(t.Context(), c)
	if !errors.Is(err, broken) || r.Partial != broken.Error() || r.Variants[0].Summary("total").N != 3 {
		t.Errorf("%v %+v", err, r)
	}
	c.Run, c.Before = run, func() error { return broken }
	if r, err = Carry(t.Context(), c); !errors.Is(err, broken) || len(r.Variants[0].Runs) != 0 {
		t.Errorf("%v", err)
	}
}

func TestSingleRun(t *testing.T) {
	c := synthetic(rand.New(rand.NewPCG(1, 6)), map[string]float64{"a": 1, "b": 2}, nil)
	c.Settings.Runs, c.Settings.Warmups = 1, 0
	r, err := Carry(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if s := r.Variants[0].Summary("total"); s.N != 1 || s.Low != nil {
		t.Errorf("%+v", s)
	}
	if r.Comparisons[0].Differs || !strings.HasPrefix(r.Verdicts[0], "no difference shown between b and a") {
		t.Errorf("%+v %q", r.Comparisons[0], r.Verdicts)
	}
	if all := strings.Join(r.Warnings, "\n"); !strings.Contains(all, "it takes 6") || !strings.Contains(all, "cannot show any difference, however large; with 2 variants it takes 4") {
		t.Errorf("%s", all)
	}
}

func TestDriftAndSpreadAreTold(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 7))
	c := synthetic(r, map[string]float64{"a": 1, "b": 1}, nil)
	run := c.Run
	c.Run = func(ctx context.Context, x Task) (Outcome, error) {
		o, err := run(ctx, x)
		o.Figures["total"] *= 1 + float64(x.N)/50
		return o, err
	}
	res, err := Carry(t.Context(), c)
	if err != nil || res.Drift == nil || res.Drift.Change < 0.2 || !strings.Contains(strings.Join(res.Warnings, "\n"), "drift: from the first to the last run, total went up by") {
		t.Errorf("%v %+v %q", err, res.Drift, res.Warnings)
	}
	c.Run = func(ctx context.Context, x Task) (Outcome, error) {
		o, err := run(ctx, x)
		o.Figures["total"] *= 1 + 3*r.Float64()
		return o, err
	}
	if res, err = Carry(t.Context(), c); err != nil || !strings.Contains(strings.Join(res.Warnings, "\n"), "the spread makes this worthless") {
		t.Errorf("%v %q %+v", err, res.Warnings, res.Variants[0].Summaries)
	}
}

func TestThreeVariants(t *testing.T) {
	c := synthetic(rand.New(rand.NewPCG(1, 8)), map[string]float64{"1-File": 2, "2-Pipe": 1.0, "3-FastFile": 1.0}, nil)
	r, err := Carry(t.Context(), c)
	if err != nil || len(r.Verdicts) != 3 {
		t.Fatalf("%v %q", err, r.Verdicts)
	}
	for i, want := range []string{"2-Pipe is ", "3-FastFile is ", ""} {
		if !strings.HasPrefix(r.Verdicts[i], want) {
			t.Errorf("%q", r.Verdicts[i])
		}
	}
	if !strings.Contains(r.Verdicts[2], "has the best median, and is not shown to differ from") {
		t.Errorf("%q", r.Verdicts[2])
	}
}

func TestSays(t *testing.T) {
	s, rate, bytes := Figure{Name: "total", Unit: "s", Better: "lower"}, Figure{Unit: "1/s", Better: "higher"}, Figure{Unit: "B", Better: "lower"}
	r := func(v, low, high float64) *Ratio { return &Ratio{v, &low, &high} }
	for _, x := range []struct {
		f    Figure
		c    Comparison
		want string
	}{
		{s, Comparison{Of: "Pipe", To: "File", Differs: true, Ratio: r(1/1.8, 1/1.9, 1/1.7)}, "Pipe is 1.80x faster than File (95 % CI 1.70 to 1.90)"},
		{s, Comparison{Of: "Pipe", To: "File", Differs: true, Ratio: r(1.8, 1.7, 1.9)}, "Pipe is 1.80x slower than File (95 % CI 1.70 to 1.90)"},
		{s, Comparison{Of: "b", To: "a", Differs: true, Ratio: r(1.05, 1.04, 1.06)}, "b takes 5.0 % longer than a (95 % CI 4.0 % to 6.0 %)"},
		{s, Comparison{Of: "b", To: "a", Differs: true, Ratio: r(0.95, 0.94, 0.96)}, "b takes 5.0 % less time than a (95 % CI 4.0 % to 6.0 %)"},
		{rate, Comparison{Of: "b", To: "a", Differs: true, Ratio: r(2, 1.9, 2.1)}, "b is 2.00x faster than a (95 % CI 1.90 to 2.10)"},
		{rate, Comparison{Of: "b", To: "a", Differs: true, Ratio: r(0.95, 0.94, 0.96)}, "b does 5.0 % less than a (95 % CI 4.0 % to 6.0 %)"},
		{bytes, Comparison{Of: "b", To: "a", Differs: true, Ratio: r(3, 2.9, 3.1)}, "b is 3.00x more than a (95 % CI 2.90 to 3.10)"},
		{s, Comparison{Of: "b", To: "a", Ratio: r(1.001, 0.98, 1.03)}, "no difference shown between b and a (it is within -2.0 % to +3.0 %, 95 % CI)"},
		{s, Comparison{Of: "b", To: "a", Ratio: &Ratio{Value: 2}}, "no difference shown between b and a"},
		{s, Comparison{Of: "b", To: "a", Differs: true}, "b and a differ, but one of them has a 0, so there is no ratio"},
	} {
		if got := x.c.Says(x.f); got != x.want {
			t.Errorf("%q, want %q", got, x.want)
		}
	}
}

func TestVary(t *testing.T) {
	for in, want := range map[string]Vary{
		"InputMode=File,Pipe":         {"InputMode", []string{"File", "Pipe"}},
		`gpus="device=0,1",2`:         {"gpus", []string{"device=0,1", "2"}},
		"HyperParameters.x=":          {"HyperParameters.x", []string{""}},
		"HyperParameters.x=a=b,":      {"HyperParameters.x", []string{"a=b", ""}},
		`HyperParameters.x="a,b"`:     {"HyperParameters.x", []string{"a,b"}},
		`HyperParameters.x="a","b,c"`: {"HyperParameters.x", []string{"a", "b,c"}},
	} {
		got, err := ParseVary(in)
		if err != nil || !cmp.Equal(got, want) {
			t.Errorf("%s: %+v, %v", in, got, err)
		}
	}
	for _, in := range []string{"InputMode", "=a", "x=a,a", `x="a`, `x="a"b`} {
		if got, err := ParseVary(in); err == nil {
			t.Errorf("%s: %+v", in, got)
		}
	}
	all, err := Combine([]Vary{{"a", []string{"1", "2"}}, {"b", []string{"x", "y", "z"}}})
	if err != nil || !cmp.Equal(all, [][]int{{0, 0}, {0, 1}, {0, 2}, {1, 0}, {1, 1}, {1, 2}}) {
		t.Errorf("%v %v", all, err)
	}
	if _, err := Combine(slices.Repeat([]Vary{{"a", []string{"1", "2"}}}, 7)); err == nil {
		t.Error("128 variants are allowed")
	}
}

func TestNoise(t *testing.T) {
	host := func(busy, steal, cpuWait string, throttled string) fstest.MapFS {
		f := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
		return fstest.MapFS{
			"proc/loadavg":             f("1.50 1.00 0.50 2/100 4242\n"),
			"proc/stat":                f("cpu  " + busy + " 0 0 9000 100 0 0 " + steal + " 0 0\ncpu0 1 2 3 4 5 6 7 8 9 10\n"),
			"proc/pressure/cpu":        f("some avg10=0.00 avg60=0.00 avg300=0.00 total=" + cpuWait + "\nfull avg10=0 avg60=0 avg300=0 total=9\n"),
			"proc/cpuinfo":             f("processor : 0\nmodel name : A Processor\n"),
			"proc/meminfo":             f("MemTotal:       16000000 kB\n"),
			"proc/sys/kernel/hostname": f("box\n"), "proc/sys/kernel/osrelease": f("6.12.0\n"),
			"sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq":             f("2000000\n"),
			"sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq":             f("4000000\n"),
			"sys/devices/system/cpu/cpu0/cpufreq/scaling_governor":             f("powersave\n"),
			"sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": f(throttled),
		}
	}
	m := Machine{GPUNames: []string{"A GPU"}, Root: host("1000", "0", "1000000", "3"), Containers: func() int { return 2 }, GPUs: func() int { return 1 }}
	a := m.read()
	m.Root = host("1900", "100", "3000000", "5")
	b := m.read()
	b.at = a.at.Add(10 * time.Second)
	want := Noise{Load: 1.5, OtherCPUs: 0.4, Steal: 0.1, MHz: 2000, MaxMHz: 4000, ThermalEvents: 2, CPUPressure: 20, Containers: 2, GPUsInUse: 1}
	if diff := cmp.Diff(want, m.between(a, b, 5*time.Second)); diff != "" {
		t.Error(diff)
	}
	h := m.Host()
	if h.CPU != "A Processor" || h.MemoryBytes != 16000000<<10 || h.Name != "box" || h.Kernel != "6.12.0" || h.Governor != "powersave" || len(h.GPUs) != 1 {
		t.Errorf("%+v", h)
	}
	if n := (Machine{}).between((Machine{}).read(), (Machine{}).read(), 0); n.OtherCPUs != 0 {
		t.Errorf("%+v", n)
	}
	// It is told of in the result.
	r := Result{Host: Host{CPUs: 2, Governor: "powersave"}, Settings: Settings{Figure: "total"}, Figures: []Figure{{Name: "total", Unit: "s", Label: "total"}}}
	v := variantOf("a", 1, 1, 1, 1, 1, 1, 1, 1)
	for i := range v.Runs {
		v.Runs[i].Noise = want
		v.Runs[i].Noise.OtherCPUs, v.Runs[i].Noise.Throttled = 1.1, 0.2
	}
	v.Runs[3].Noise.MHz = 3000
	r.Variants = []Variant{v}
	r.conclude()
	all := strings.Join(r.Warnings, "\n")
	for _, w := range []string{"kept 1.1 of 2 processors busy", "the hypervisor gave up", "between 2000 and 3000 MHz", "governor of the processors' frequency is powersave",
		"slowed down 16 times for their heat", "2 containers of others ran beside", "1 GPU in use by others", "held back by their quota of processors for 200 ms"} {
		if !strings.Contains(all, w) {
			t.Errorf("%q is not told: %s", w, all)
		}
	}
}
