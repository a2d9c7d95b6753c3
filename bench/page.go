package bench

import (
	"bytes"
	"cmp"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"

	"github.com/optml/optml/human"
	"github.com/optml/optml/report"
)

//go:embed page.tmpl
var pageText string

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{"plain": human.Line, "lines": plainLines, "count": human.Count[int]}).Parse(pageText))

type pageView struct {
	*Result
	Style      template.CSS
	Head, Foot string
	FailedRuns bool
	Main       Figure
	First      string
	Starred    bool // some figure is shown to differ from the first variant's
	Rows       []pageRow
	Strips     []template.HTML
	Figures    []pageFigure
	Timelines  []template.HTML
	Short      bool // the runs were too short for timelines
	Spread     bool // there are runs enough to show how they lie
	Order      template.HTML
	Loads      []pageLoad
	Curves     []template.HTML
	All        []pageRun
}

type pageRow struct{ Name, Median, CI, Half, Range, Own, Runs string }

type pageFigure struct {
	Label string
	Cells []pageCell
}

type pageCell struct {
	Text, Own string
	Differs   bool
}

type pageRun struct {
	N                                        int
	Variant, Job, Figure, Others, Load, Note string
}

// HTML writes the result as one page that needs nothing else: no network, no script.
func (r *Result) HTML(w io.Writer) error {
	main, _ := r.Figure(r.Settings.Figure)
	failed, _ := r.Failed()
	var foot bytes.Buffer
	r.foot(&foot)
	v := pageView{Result: r, Style: report.Style(), Main: main, FailedRuns: failed > 0, Foot: strings.TrimSpace(foot.String()),
		Head: r.head()}
	if len(r.Variants) > 0 {
		v.First = r.Variants[0].Name
	}
	for i := range r.Variants {
		v.Rows = append(v.Rows, r.Variants[i].row(main))
		if x := r.Variants[i].Summary(main.Name); x != nil && x.N > 1 {
			v.Spread = true
		}
	}
	for _, f := range slices.Concat([]Figure{main}, r.Figures) {
		if f.Name == main.Name && len(v.Strips) > 0 || !r.any(f.Name) {
			continue
		}
		v.Strips = append(v.Strips, r.strips(f))
		x := r.pageFigure(f)
		v.Figures, v.Starred = append(v.Figures, x), v.Starred || slices.ContainsFunc(x.Cells, func(c pageCell) bool { return c.Differs })
	}
	if v.Timelines, v.Short = r.timelines(); v.Spread {
		v.Order = r.order(main)
	}
	var err error
	if v.Loads, v.Curves, err = r.pageLoads(); err != nil {
		return err
	}
	v.All = r.pageRuns(main)
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, v); err != nil {
		return fmt.Errorf("page: %w", err)
	}
	_, err = w.Write(b.Bytes())
	return err
}

// row is the variant's in a table of one figure.
func (v *Variant) row(f Figure) pageRow {
	x := pageRow{Name: v.Name, Median: "-", CI: "-", Half: "-", Range: "-", Own: "-", Runs: "0"}
	s := v.Summary(f.Name)
	if s != nil {
		x.Median, x.CI = text(f.Unit, s.Median), "too few runs"
		if s.Low != nil {
			x.CI = text(f.Unit, *s.Low) + " to " + text(f.Unit, *s.High)
		}
		if s.N > 1 {
			x.Half, x.Range = text(f.Unit, s.Q1)+" to "+text(f.Unit, s.Q3), text(f.Unit, s.Min)+" to "+text(f.Unit, s.Max)
		}
		x.Own, x.Runs = s.ownText(f), fmt.Sprint(s.N)
	}
	if v.Failed > 0 {
		x.Runs += fmt.Sprintf(", %d failed", v.Failed)
	}
	return x
}

func (r *Result) strips(f Figure) template.HTML {
	var all []report.Strip
	for i := range r.Variants {
		v := &r.Variants[i]
		values, _ := v.values(f.Name)
		s := report.Strip{Name: v.Name, Values: values}
		if x := v.Summary(f.Name); x != nil {
			s.Middle, s.Low, s.High = x.Median, x.Low, x.High
		}
		all = append(all, s)
	}
	return report.Strips(f.Label, all, f.axis())
}

// axis is how a plot says the figure.
func (f Figure) axis() report.Axis {
	return report.Axis{Unit: f.Unit, Say: func(v float64) string { return text(f.Unit, v) }}
}

func (r *Result) pageFigure(f Figure) pageFigure {
	x := pageFigure{Label: f.Label}
	for i := range r.Variants {
		v := &r.Variants[i]
		s := v.Summary(f.Name)
		if s == nil {
			x.Cells = append(x.Cells, pageCell{Text: "-"})
			continue
		}
		c := pageCell{Text: text(f.Unit, s.Median), Own: s.ownText(f)}
		if i > 0 {
			k := r.Comparison(f.Name, v.Name, r.Variants[0].Name)
			c.Differs = k != nil && k.Differs
		}
		x.Cells = append(x.Cells, c)
	}
	return x
}

// timelines are one plot a metric, one line a variant and host. short: there are readings, one a line.
func (r *Result) timelines() (out []template.HTML, short bool) {
	var names []string
	lines := map[string][]report.Line{}
	for _, v := range r.Variants {
		if v.Timeline == nil {
			continue
		}
		for _, s := range v.Timeline.Series {
			if lines[s.Name] == nil {
				names = append(names, s.Name)
			}
			name := v.Name
			if s.Host != "" && s.Host != "algo-1" {
				name += ", " + s.Host
			}
			lines[s.Name] = append(lines[s.Name], report.Line{Name: name, Points: s.Points})
		}
	}
	y := Figure{Unit: "%"}.axis()
	y.Zero = true
	for _, n := range names {
		if !slices.ContainsFunc(lines[n], func(l report.Line) bool { return len(l.Points) > 1 }) {
			short = true
			continue
		}
		out = append(out, report.Timeline(n, lines[n], y))
	}
	return out, short && len(out) == 0
}

// order is the figure over the time at which the runs began: a drift is seen there.
func (r *Result) order(f Figure) template.HTML {
	var lines []report.Line
	for _, v := range r.Variants {
		l := report.Line{Name: v.Name}
		for _, x := range v.Runs {
			if y, ok := x.Figures[f.Name]; ok && x.counts() {
				l.Points = append(l.Points, [2]float64{x.Began.Sub(r.Began).Seconds(), y})
			}
		}
		lines = append(lines, l)
	}
	x := Figure{Unit: "s"}.axis()
	x.Zero = true
	return report.Curve(f.Label, "the time at which the run began", lines, nil, x, f.axis())
}

func (r *Result) pageRuns(f Figure) (all []pageRun) {
	for _, v := range r.Variants {
		for _, x := range v.Runs {
			p := pageRun{N: x.N, Variant: v.Name, Job: x.Job, Figure: "-", Others: fmt.Sprintf("%.2f CPUs", x.Noise.OtherCPUs), Load: fmt.Sprintf("%.2f", x.Noise.Load), Note: x.Error}
			if y, ok := x.Figures[f.Name]; ok {
				p.Figure = text(f.Unit, y)
			}
			switch {
			case x.Warmup && x.Error == "":
				p.Note = "warm-up"
			case x.Outlier:
				p.Note = "outlier"
			}
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b pageRun) int { return cmp.Compare(a.N, b.N) })
	return all
}
