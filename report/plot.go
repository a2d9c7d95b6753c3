package report

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"time"
)

// The inside of a plot, in units of its view box; a unit is about a pixel.
const (
	plotWide, plotHigh                       = 360.0, 190.0
	plotLeft, plotRight, plotTop, plotBottom = 52.0, 350.0, 10.0, 164.0
	ticksMost                                = 4
)

// plot is a picture of lines over time, ready for the page.
type plot struct {
	Title, Note string
	Over        string // what X is
	Last        string
	X0, X1      string // seconds from the job's creation at the left and the right edge
	Y0, Y1      string
	XTicks      []tick
	YTicks      []tick
	Lines       []plotLine
	Marks       []plotMark
	Log         bool // Y
	Wide, High  float64
	Left, Right float64
	Top, Bottom float64
}

type tick struct {
	At, Text, Edge string
	value          float64
}

type plotLine struct {
	Class  int // colour
	Host   string
	Dashed bool
	Points string
	Dots   []dot
}

// dot is one sample. Time and Value are as in the file; At is instead of Time where X is something else.
type dot struct {
	X, Y, Time, At, Value, Says string
	Hollow                      bool
}

// plotMark is a line from the top to the bottom of a plot, with a word.
type plotMark struct {
	Class         int
	X, Y, Text    string
	Edge, At, Say string
}

// newPlot draws a series.
func newPlot(s *series, t0 time.Time, y Axis) plot {
	p := plot{Title: s.name, Over: "time", Wide: plotWide, High: plotHigh, Left: plotLeft, Right: plotRight, Top: plotTop, Bottom: plotBottom}
	sayX, format := secondsText, y.Say
	if s.x != nil {
		p.Over, sayX = s.over, s.x.Say
	}
	x0, x1, y0, y1 := math.Inf(1), math.Inf(-1), math.Inf(1), math.Inf(-1)
	drawn := make([][]point, len(s.lines))
	var last point
	kept := int64(0)
	for i, l := range s.lines {
		drawn[i] = l.points()
		for _, q := range drawn[i] {
			x := q.t.Sub(t0).Seconds()
			x0, x1, y0, y1 = min(x0, x), max(x1, x), min(y0, q.v), max(y1, q.v)
		}
		if l.last.t.After(last.t) || i == 0 {
			last = l.last
		}
		kept += int64(len(drawn[i]))
	}
	if x1-x0 < 0.001 {
		x0, x1 = max(0, x0-5), x1+5
	}
	y.Log = y.Log && y0 > 0
	if y.Zero && !y.Log {
		y0, y1 = min(0, y0), max(0, y1)
	}
	if s.x != nil {
		if s.x.Zero {
			x0, x1 = min(0, x0), max(0, x1)
		}
		_, x0, x1 = s.x.ticks(x0, x1)
	}
	p.YTicks, y0, y1 = y.ticks(y0, y1)
	p.Log = y.Log
	at := func(v, a, b, from, to float64) string {
		return number(from + (v/2-a/2)/(b/2-a/2)*(to-from)) // b-a may be too much for a float64
	}
	high := func(v float64) string {
		if y.Log {
			return at(math.Log(v), math.Log(y0), math.Log(y1), plotBottom, plotTop)
		}
		return at(v, y0, y1, plotBottom, plotTop)
	}
	for i := range p.YTicks {
		p.YTicks[i].At = high(p.YTicks[i].value)
	}
	for _, x := range ticksOver(s.x, x0, x1) {
		x.At = at(x.value, x0, x1, plotLeft, plotRight)
		if (x.value-x0)/(x1-x0) > 0.94 { // so that the edge does not cut it
			x.Edge = "e"
		}
		if n := len(p.XTicks); n == 0 || p.XTicks[n-1].Text != x.Text {
			p.XTicks = append(p.XTicks, x)
		}
	}
	p.X0, p.X1, p.Y0, p.Y1 = exact(x0), exact(x1), exact(y0), exact(y1)
	for i, l := range s.lines {
		pl := plotLine{Class: i % linesMost, Host: l.host, Dashed: l.dashed}
		if l.group > 0 {
			pl.Class = (l.group - 1) % linesMost
		}
		var b []byte
		for k, q := range drawn[i] {
			x := at(q.t.Sub(t0).Seconds(), x0, x1, plotLeft, plotRight)
			y := high(q.v)
			b = append(append(append(append(b, x...), ','), y...), ' ')
			if l.n <= pointsRaw {
				says := sayX(q.t.Sub(t0).Seconds()) + ": " + format(q.v)
				if len(s.lines) > 1 {
					says = l.host + ", " + says
				}
				d := dot{X: x, Y: y, Value: exact(q.v), Says: says, Hollow: k < len(l.hollow) && l.hollow[k]}
				if t0.Unix() == 0 { // no moments, seconds or something else
					d.At = exact(q.t.Sub(t0).Seconds())
				} else {
					d.Time = q.t.UTC().Format(time.RFC3339Nano)
				}
				pl.Dots = append(pl.Dots, d)
			}
		}
		if len(b) > 0 {
			pl.Points = string(b[:len(b)-1])
		}
		p.Lines = append(p.Lines, pl)
	}
	for i, m := range s.marks {
		x := plotMark{Class: m.Group - 1, X: at(m.X, x0, x1, plotLeft, plotRight), At: exact(m.X), Text: m.Text, Y: number(plotTop + 9 + 12*float64(i%4)), Say: m.Text + ", " + sayX(m.X)}
		if (m.X-x0)/(x1-x0) > 0.8 {
			x.Edge = "e"
		}
		p.Marks = append(p.Marks, x)
	}
	p.Last = format(last.v)
	p.Note = countText(s.n, "sample")
	if s.x != nil {
		p.Note = "over " + s.over
	}
	if kept < s.n-s.left {
		p.Note += "; of each column of pixels the least and the greatest"
	}
	if s.left > 0 {
		p.Note += fmt.Sprintf("; %s of further %s are left out", countText(s.left, "sample"), cmp.Or(s.of, "instances"))
	}
	return p
}

// Axis says what the values of a plot are in, and how they are said.
type Axis struct {
	Unit string               // s, B, %, 1/s: its ticks are said in one unit and with as many digits as they need; "": by Say
	Say  func(float64) string // a value
	Zero bool                 // it has 0 on it
	Log  bool                 // as far from 1 to 10 as from 10 to 100; where all values are above 0
}

// ticks are at round values; the axis spans them.
func (a Axis) ticks(low, high float64) (ticks []tick, from, to float64) {
	if high-low <= math.Abs(high)*1e-9 {
		pad := math.Abs(high) / 2
		if pad == 0 {
			pad = 1
		}
		low, high = low-pad, high+pad
	}
	span := high - low
	if math.IsInf(span, 0) { // of values at both ends of what a float64 holds
		return []tick{{value: low, Text: a.Say(low)}, {value: high, Text: a.Say(high)}}, low, high
	}
	if a.Log {
		return a.tenfolds(low, high)
	}
	step := a.step(span)
	from, to = math.Floor(low/step)*step, math.Ceil(high/step)*step
	say := a.label(step, max(math.Abs(from), math.Abs(to)))
	for i := range int(math.Round((to-from)/step)) + 1 {
		v := from + float64(i)*step
		if math.Abs(v) < step*1e-6 {
			v = 0
		}
		ticks = append(ticks, tick{value: v, Text: say(v)})
	}
	return ticks, from, to
}

// tenfolds are the ticks of a logarithmic axis: 1, 2, 5, 10, 20 …, or of these the powers of ten and the ends where they are
// many.
func (a Axis) tenfolds(low, high float64) (ticks []tick, from, to float64) {
	var all, tens []float64
	for e := math.Floor(math.Log10(low)); e <= math.Log10(high)+1; e++ {
		for _, m := range []float64{1, 2, 5} {
			all = append(all, m*math.Pow(10, e))
		}
	}
	first, last := 0, len(all)-1
	for first+1 < len(all) && all[first+1] <= low*(1+1e-9) {
		first++
	}
	for last > first+1 && all[last-1] >= high*(1-1e-9) {
		last--
	}
	for i := first; i <= last; i++ {
		if i%3 == 0 || i == first || i == last {
			tens = append(tens, all[i])
		}
	}
	from, to = all[first], all[last]
	if all = all[first : last+1]; len(all) > 7 {
		all = tens
	}
	for _, v := range all {
		ticks = append(ticks, tick{value: v, Text: a.label(v, v)(v)})
	}
	return ticks, from, to
}

// step is how far ticks are apart.
func (a Axis) step(span float64) float64 {
	switch {
	case a.Unit == "B" && span > ticksMost:
		return math.Exp2(math.Ceil(math.Log2(span / ticksMost)))
	case a.Unit == "s" && span > 2*60:
		return timeStep(span)
	}
	step := math.Pow(10, math.Floor(math.Log10(span/ticksMost)))
	for _, m := range []float64{1, 2, 5, 10} {
		if span/(step*m) <= ticksMost {
			return step * m
		}
	}
	return step * 10
}

// label says the ticks of an axis: all in one unit, with the digits that the step has.
func (a Axis) label(step, most float64) func(float64) string {
	by, unit := 1.0, ""
	switch a.Unit {
	case "s":
		switch {
		case most >= 2*60:
			return a.Say
		case most < 0.001:
			by, unit = 1e-6, " µs"
		case most < 1:
			by, unit = 1e-3, " ms"
		default:
			unit = " s"
		}
	case "B":
		unit = " B"
		for _, u := range []string{" KiB", " MiB", " GiB", " TiB", " PiB"} {
			if most < by*1024 {
				break
			}
			by, unit = by*1024, u
		}
	case "%":
		unit = " %"
	case "1/s":
		unit = "/s"
	default:
		return a.Say
	}
	digits, enough := 0, 9
	if a.Unit == "B" { // halves of halves have ever more digits
		enough = 3
	}
	for x := step / by; digits < enough && math.Abs(x-math.Round(x)) > 1e-6*x; digits++ {
		x *= 10
	}
	return func(v float64) string {
		if v == 0 {
			return "0"
		}
		return strconv.FormatFloat(v/by, 'f', digits, 64) + unit
	}
}

// ticksOver are those below a plot, within its edges: of time, or of what x is.
func ticksOver(x *Axis, from, to float64) (out []tick) {
	if x == nil {
		for _, v := range timeTicks(from, to) {
			out = append(out, tick{value: v, Text: secondsText(v)})
		}
		return out
	}
	ticks, _, _ := x.ticks(from, to)
	for _, t := range ticks {
		if t.value >= from && t.value <= to {
			out = append(out, t)
		}
	}
	return out
}

// timeStep is a round number of seconds of which not too many fit into a span.
func timeStep(span float64) float64 {
	steps := []float64{0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 4 * 3600, 6 * 3600, 12 * 3600, 24 * 3600}
	step := steps[0]
	for _, step = range steps {
		if span/step <= ticksMost {
			break
		}
	}
	for span/step > ticksMost {
		step *= 2
	}
	return step
}

// timeTicks are round numbers of seconds between two.
func timeTicks(from, to float64) []float64 {
	step := timeStep(to - from)
	var out []float64
	for v := math.Ceil(from/step) * step; v <= to; v += step {
		out = append(out, v)
	}
	return out
}

func exact(v float64) string  { return strconv.FormatFloat(v, 'g', -1, 64) }
func number(v float64) string { return strconv.FormatFloat(v, 'f', 2, 64) }

func percentText(v float64) string { return strconv.FormatFloat(v, 'f', 1, 64) + " %" }

// tickText is a value on an axis.
func tickText(v float64) string { return strconv.FormatFloat(v, 'g', 4, 64) }
