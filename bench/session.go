package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/optml/optml/human"
	"github.com/optml/optml/job"
	"github.com/optml/optml/ledger"
)

const stopped = ledger.StatusStopped

// failuresMost is after how many failures in a row a variant is given up: what never works need not be tried all night.
const failuresMost = 3

// Task is one run to be carried out.
type Task struct {
	Variant int // which of Config.Variants
	N       int // its place among all runs, from 1
	Warmup  bool
}

// Config is a benchmark to be carried out.
type Config struct {
	Name     string // of the benchmark's entry
	Job      string // of the document
	Kind     job.Kind
	Variants []Variant // with names and members, without runs
	Settings Settings
	Machine  Machine
	Optml    string

	// Run carries one run out. An error ends the benchmark: it is for what would keep all further runs from being made. A
	// run that fails, or that somebody stops, is an Outcome.
	Run func(context.Context, Task) (Outcome, error)
	// Before is called before each run, outside of what is measured: it drops caches. nil: nothing is to be done.
	Before func() error
	Save   func(*Result) error // after each run, so that nothing is lost; may be nil
	Say    func(format string, args ...any)
}

// Carry carries a benchmark out: the warm-ups of each variant, then in each round each variant once, in an order that the
// seed decides. When ctx is done the run that is under way is the last, and the result says that it is partial. The error
// is that of Config.Run or Config.Before; the result holds what there is in any case.
func Carry(ctx context.Context, c Config) (*Result, error) {
	if c.Say == nil {
		c.Say = func(string, ...any) {}
	}
	if c.Settings.Cache == "" {
		c.Settings.Cache = "warm"
	}
	if c.Settings.Outputs == "" {
		c.Settings.Outputs = "discard"
	}
	s := &session{Config: c, result: &Result{
		Format: Format, Name: c.Name, Job: c.Job, Kind: string(c.Kind), Began: time.Now().UTC(), Settings: c.Settings,
		Host: c.Machine.Host(), Optml: c.Optml, Variants: slices.Clone(c.Variants),
	}, streak: make([]int, len(c.Variants))}
	for i := range s.result.Variants {
		s.result.Variants[i].Runs = []Run{}
	}
	err := s.all(ctx)
	s.finish()
	if c.Save != nil {
		err = errors.Join(err, c.Save(s.result))
	}
	return s.result, err
}

type session struct {
	Config
	result *Result
	n      int
	streak []int // failures in a row, by variant
}

func (s *session) all(ctx context.Context) error {
	for range s.Settings.Warmups {
		for v := range s.Variants {
			if done, err := s.one(ctx, Task{Variant: v, Warmup: true}, 0); done || err != nil {
				return err
			}
		}
	}
	random := rand.New(rand.NewPCG(s.Settings.Seed, 0x6f70746d6c))
	for round := range s.Settings.Runs {
		for _, v := range random.Perm(len(s.Variants)) {
			if done, err := s.one(ctx, Task{Variant: v}, round+1); done || err != nil {
				return err
			}
		}
	}
	return nil
}

// one carries one run out. done: there is to be no other.
func (s *session) one(ctx context.Context, t Task, round int) (done bool, err error) {
	v := &s.result.Variants[t.Variant]
	if ctx.Err() != nil {
		s.result.Partial = why(ctx)
		return true, nil
	}
	if s.streak[t.Variant] == failuresMost {
		return false, nil
	}
	if s.Before != nil {
		if err := s.Before(); err != nil {
			s.result.Partial = err.Error()
			return true, err
		}
	}
	s.n++
	t.N = s.n
	before := s.Machine.read()
	o, err := s.Config.Run(ctx, t)
	after := s.Machine.read()
	if err != nil {
		s.result.Partial = err.Error()
		return true, err
	}
	r := Run{N: t.N, Round: round, Warmup: t.Warmup, Job: o.Job, Began: o.Began.UTC(), Status: o.Status, Error: o.Error,
		Figures: o.Figures, Own: o.Own, Load: o.Load, Noise: s.Machine.between(before, after, o.Busy), timeline: o.Timeline}
	r.Noise.Throttled = o.Figures["throttled"]
	if o.Image != "" {
		v.Image = o.Image
	}
	v.Runs = append(v.Runs, r)
	s.tell(t, v, &r)
	switch {
	case ctx.Err() != nil && o.Status == stopped:
		s.result.Partial = why(ctx)
		done = true
	case o.Error == "":
		s.streak[t.Variant] = 0
	default:
		if s.streak[t.Variant]++; s.streak[t.Variant] == failuresMost {
			s.Say("%s: given up after %d failures in a row", v.Name, failuresMost)
			if s.result.Partial != "" {
				s.result.Partial += "; "
			}
			s.result.Partial += fmt.Sprintf("%s was given up after %d failures in a row", v.Name, failuresMost)
		}
	}
	if s.Save == nil || done {
		return done, nil
	}
	if err := s.Save(s.soFar()); err != nil {
		s.result.Partial = err.Error()
		return true, err
	}
	return false, nil
}

// soFar is the result of a benchmark under way: what follows from the runs is left to who reads it, and is not made anew
// after each.
func (s *session) soFar() *Result {
	r := *s.result
	r.Partial = cmp.Or(r.Partial, "it is under way, or its process has died")
	r.Ended, r.Figures = time.Now().UTC(), s.seen()
	return &r
}

func why(ctx context.Context) string {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause.Error()
	}
	return "it was stopped"
}

// tell says how a run went.
func (s *session) tell(t Task, v *Variant, r *Run) {
	left := s.left()
	what := fmt.Sprintf("run %d of %d", t.N, t.N+left)
	if t.Warmup {
		what += " (warm-up)"
	}
	if len(s.Variants) > 1 {
		what += ", " + v.Name
	}
	if r.Error != "" {
		s.Say("%s: %s: %s", what, r.Status, human.Line(r.Error))
		return
	}
	f, _ := known(s.Settings.Figure)
	rest := ""
	if left > 0 {
		rest = ", about " + secondsText(time.Since(s.result.Began).Seconds()/float64(t.N)*float64(left)) + " left"
	}
	s.Say("%s: %s %s%s", what, f.Label, text(f.Unit, r.Figures[f.Name]), rest)
}

// left is how many runs are to be made yet.
func (s *session) left() (n int) {
	for i, v := range s.result.Variants {
		if s.streak[i] < failuresMost {
			n += s.Settings.Warmups + s.Settings.Runs - len(v.Runs)
		}
	}
	return n
}

func known(name string) (Figure, bool) {
	for _, f := range figures {
		if f.Name == name {
			return f, true
		}
	}
	return Figure{Name: name, Label: name}, false
}

// finish makes what follows from the runs so far.
func (s *session) finish() {
	r := s.result
	r.Ended, r.Figures = time.Now().UTC(), s.seen()
	r.conclude()
	for i := range r.Variants {
		r.Variants[i].keepTimeline(s.Settings.Figure)
	}
}

// seen are the figures that the runs have.
func (s *session) seen() (all []Figure) {
	names := map[string]bool{s.Settings.Figure: true}
	for _, v := range s.result.Variants {
		for _, x := range v.Runs {
			for name := range maps.Keys(x.Figures) {
				names[name] = true
			}
		}
	}
	for _, f := range figures {
		if names[f.Name] {
			all = append(all, f)
		}
	}
	return all
}

// keepTimeline keeps that of the run which is nearest to the median.
func (v *Variant) keepTimeline(figure string) {
	s := v.Summary(figure)
	if s == nil {
		return
	}
	v.Timeline = nil
	nearest := 0.0
	for i := range v.Runs {
		r := &v.Runs[i]
		if !r.counts() || r.timeline == nil {
			continue
		}
		off := abs(r.Figures[figure] - s.Median)
		if v.Timeline == nil || off < nearest {
			v.Timeline, nearest = &Timeline{N: r.N, Series: r.timeline.Series}, off
		}
	}
}

func abs(v float64) float64 { return max(v, -v) }

// Vary is a --vary: a member and the values that it is to have.
type Vary struct {
	Member string
	Values []string
}

// ParseVary reads MEMBER=a,b,c. A value with a comma in it stands in double quotes.
func ParseVary(s string) (Vary, error) {
	member, rest, ok := strings.Cut(s, "=")
	v := Vary{Member: strings.TrimSpace(member)}
	if !ok || v.Member == "" {
		return v, errors.New("it is MEMBER=VALUE,VALUE…, such as InputMode=File,Pipe")
	}
	for more := true; more; {
		var value string
		if strings.HasPrefix(rest, `"`) {
			end := strings.Index(rest[1:], `"`)
			if end < 0 {
				return v, fmt.Errorf("a quote is not closed in %s", rest)
			}
			value, rest = rest[1:end+1], rest[end+2:]
			if rest != "" && rest[0] != ',' {
				return v, fmt.Errorf("between a value in quotes and the next there is a comma: %s", rest)
			}
			rest, more = strings.TrimPrefix(rest, ","), rest != ""
		} else {
			value, rest, more = strings.Cut(rest, ",")
		}
		if slices.Contains(v.Values, value) {
			return v, fmt.Errorf("%s is there twice", value)
		}
		v.Values = append(v.Values, value)
	}
	return v, nil
}

// VariantsMost bounds the product of all that is varied.
const VariantsMost = 64

// Combine is the cartesian product of what is varied: each combination is the place of a value in each Vary.
func Combine(all []Vary) ([][]int, error) {
	out := [][]int{{}}
	for _, v := range all {
		var next [][]int
		for _, c := range out {
			for i := range v.Values {
				next = append(next, append(slices.Clone(c), i))
			}
		}
		if out = next; len(out) > VariantsMost {
			return nil, fmt.Errorf("these are more than %d variants", VariantsMost)
		}
	}
	return out, nil
}
