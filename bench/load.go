package bench

import (
	"bytes"
	"fmt"
	"html/template"
	"slices"
	"strings"

	"github.com/optml/optml/human"
	"github.com/optml/optml/load"
	"github.com/optml/optml/report"
)

// Load is what load was put on the container of a run, and what became of it.
type Load struct {
	Ready float64 `json:"ready,omitempty"` // seconds from the start of the process to the first 200 on /ping
	First float64 `json:"first,omitempty"` // seconds that the first invocation took
	// FirstError is why the first invocation was not answered well.
	FirstError string `json:"firstError,omitempty"`

	Closed *load.Curve `json:"closed,omitempty"` // closed loops: a point a concurrency
	Open   *load.Curve `json:"open,omitempty"`   // open loops: a point a rate
	// Cut is why there is less than was asked for.
	Cut string `json:"cut,omitempty"`
}

// curves are those that have points.
func (l *Load) curves() (all []*load.Curve) {
	for _, c := range []*load.Curve{l.Closed, l.Open} {
		if c != nil && len(c.Points) > 0 {
			all = append(all, c)
		}
	}
	return all
}

// Served adds a load to what became of its run. A run in which nothing of some load was answered well counts for nothing.
func (o *Outcome) Served(l *Load) {
	o.Load = l
	if o.Error != "" {
		return
	}
	o.Figures["ready"] = l.Ready
	if l.FirstError == "" {
		o.Figures["first"] = l.First
	}
	for i, c := range l.curves() {
		for k, p := range c.Points {
			if p.Good == 0 && p.Sent > 0 { // else it was so slow that all of it waited: it was not held
				o.Error = fmt.Sprintf("no good answer to %d requests", p.Sent)
				if len(p.Errors) > 0 && len(p.Errors[0].Texts) > 0 {
					o.Error += ": " + p.Errors[0].Texts[0]
				}
				return
			}
			o.Figures["throughput"] = max(o.Figures["throughput"], p.Throughput)
			if i > 0 || k > 0 {
				continue
			}
			for name, percent := range map[string]float64{"p50": 50, "p99": 99} {
				if v, ok := p.Latency.At(percent); ok {
					o.Figures[name] = v
				}
			}
			if p.Path != nil {
				o.Figures["path"] = p.Path.Median
			}
		}
		if c.Knee != nil {
			o.Figures["knee"] = c.Points[*c.Knee].Throughput
		}
	}
}

// loadsWhole says that no point of a load is missing, as in a file that somebody has edited.
func (r *Result) loadsWhole() bool {
	for _, v := range r.Variants {
		for _, x := range v.Runs {
			if x.Load == nil {
				continue
			}
			for _, c := range x.Load.curves() {
				if slices.Contains(c.Points, nil) {
					return false
				}
			}
		}
	}
	return true
}

// shown is the run whose load is shown: of those that count the nearest to the median, else the last one with a load.
func (v *Variant) shown(figure string) (shown *Run) {
	s := v.Summary(figure)
	for i := range v.Runs {
		r := &v.Runs[i]
		switch y, ok := r.Figures[figure]; {
		case r.Load == nil:
		case s == nil || shown == nil:
			shown = r
		case !r.counts() || !ok:
		case !shown.counts() || abs(y-s.Median) < abs(shown.Figures[figure]-s.Median):
			shown = r
		}
	}
	return shown
}

// loads writes the load of each variant; where there is one variant, all that is known of each of its loads.
func (r *Result) loads(b *bytes.Buffer) error {
	for i := range r.Variants {
		v := &r.Variants[i]
		run := v.shown(r.Settings.Figure)
		if run == nil {
			continue
		}
		fmt.Fprintf(b, "\nLOAD, %s, run %d%s\n", human.Line(v.Name), run.N, run.cut())
		for k, c := range run.Load.curves() {
			if k > 0 {
				b.WriteByte('\n')
			}
			if err := writeCurve(b, c); err != nil {
				return err
			}
		}
		if run.Load.FirstError != "" {
			fmt.Fprintf(b, "the first invocation was not answered well: %s\n", human.Line(run.Load.FirstError))
		}
		for _, c := range run.Load.curves() {
			for _, p := range c.Points {
				if len(r.Variants) > 1 {
					continue
				}
				b.WriteByte('\n')
				if err := p.WriteText(b); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (r *Run) cut() string {
	if r.Load.Cut == "" {
		return ""
	}
	return ", CUT SHORT: " + human.Line(r.Load.Cut)
}

// writeCurve writes the table without the blanks at the ends of its lines.
func writeCurve(b *bytes.Buffer, c *load.Curve) error {
	var t bytes.Buffer
	if err := c.WriteText(&t); err != nil {
		return err
	}
	for line := range bytes.Lines(t.Bytes()) {
		b.Write(bytes.TrimRight(line, " \n"))
		b.WriteByte('\n')
	}
	return nil
}

type pageLoad struct {
	Title, Curve string
	Points       []pagePoint
}

type pagePoint struct{ Title, Text, Seconds string }

// pageLoads are the loads of all variants, and the plots of throughput and latency.
func (r *Result) pageLoads() (all []pageLoad, plots []template.HTML, err error) {
	var open, closed loadPlot
	for i := range r.Variants {
		v := &r.Variants[i]
		run := v.shown(r.Settings.Figure)
		if run == nil {
			continue
		}
		x := pageLoad{Title: fmt.Sprintf("%s, run %d%s", v.Name, run.N, run.cut())}
		for k, c := range run.Load.curves() {
			var b bytes.Buffer
			if k > 0 {
				b.WriteByte('\n')
			}
			if err := writeCurve(&b, c); err != nil {
				return nil, nil, err
			}
			x.Curve += b.String()
			for _, p := range c.Points {
				var text, seconds bytes.Buffer
				if err := p.WriteText(&text); err != nil {
					return nil, nil, err
				}
				if err := p.WriteTimeline(&seconds); err != nil {
					return nil, nil, err
				}
				head, rest, _ := strings.Cut(text.String(), "\n")
				x.Points = append(x.Points, pagePoint{head, rest, seconds.String()})
			}
		}
		all = append(all, x)
		open.add(v.Name, run.Load.Open)
		closed.add(v.Name, run.Load.Closed)
	}
	x, y := Figure{Unit: "1/s"}.axis(), Figure{Unit: "s"}.axis()
	x.Zero, y.Log = true, true // an overloaded server's seconds would make lines of all others flat
	for _, p := range []struct {
		title string
		loadPlot
	}{{"latency, open loop", open}, {"latency, closed loop", closed}} {
		if h := report.Curve(p.title, "good answers a second, in the order of the loads; a ring: not held", p.lines, p.marks, x, y); h != "" {
			plots = append(plots, h)
		}
	}
	return all, plots, nil
}

// loadPlot is a plot of throughput and latency.
type loadPlot struct {
	variants int
	lines    []report.Line
	marks    []report.Mark
}

// add adds the lines of a curve: half and 99 % of the answers, over what was answered. A point alone is none.
func (x *loadPlot) add(name string, c *load.Curve) {
	x.variants++
	if c == nil || len(c.Points) < 2 {
		return
	}
	for _, percent := range []float64{50, 99} {
		l := report.Line{Name: fmt.Sprintf("%s, p%g", name, percent), Group: x.variants, Dashed: percent > 50}
		for _, p := range c.Points {
			if v, ok := p.Latency.At(percent); ok {
				l.Points, l.Hollow = append(l.Points, [2]float64{p.Throughput, v}), append(l.Hollow, !p.Held)
			}
		}
		x.lines = append(x.lines, l)
	}
	if c.Knee != nil {
		at := c.Points[*c.Knee].Throughput
		x.marks = append(x.marks, report.Mark{X: at, Text: "knee " + text("1/s", at), Group: x.variants})
	}
}
