package report

import (
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
	Wide, High  float64
	Left, Right float64
	Top, Bottom float64
}

type tick struct{ At, Text, Edge string }

type plotLine struct {
	Class  int // colour
	Host   string
	Points string
	Dots   []dot
}

// dot is one sample. Time and Value are as in the file.
type dot struct{ X, Y, Time, Value, Says string }

// newPlot draws a series; format is how its values are said, zero whether the axis begins at 0.
func newPlot(s *series, t0 time.Time, format func(float64) string, zero bool) plot {
	p := plot{Title: s.name, Over: "time", Wide: plotWide, High: plotHigh, Left: plotLeft, Right: plotRight, Top: plotTop, Bottom: plotBottom}
	sayX, ticksX := secondsText, timeTicks
	if s.x != nil {
		p.Over, sayX, ticksX = s.over, s.x, roundTicks
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
	if zero {
		y0, y1 = min(0, y0), max(0, y1)
	}
	p.YTicks, y0, y1 = scale(y0, y1, format)
	at := func(v, a, b, from, to float64) string {
		return number(from + (v/2-a/2)/(b/2-a/2)*(to-from)) // b-a may be too much for a float64
	}
	for i := range p.YTicks {
		v, _ := strconv.ParseFloat(p.YTicks[i].At, 64)
		p.YTicks[i].At = at(v, y0, y1, plotBottom, plotTop)
	}
	for _, v := range ticksX(x0, x1) {
		x := tick{At: at(v, x0, x1, plotLeft, plotRight), Text: sayX(v)}
		if (v-x0)/(x1-x0) > 0.94 { // so that the edge does not cut it
			x.Edge = "e"
		}
		if n := len(p.XTicks); n == 0 || p.XTicks[n-1].Text != x.Text {
			p.XTicks = append(p.XTicks, x)
		}
	}
	p.X0, p.X1, p.Y0, p.Y1 = exact(x0), exact(x1), exact(y0), exact(y1)
	for i, l := range s.lines {
		pl := plotLine{Class: i % linesMost, Host: l.host}
		var b []byte
		for _, q := range drawn[i] {
			x := at(q.t.Sub(t0).Seconds(), x0, x1, plotLeft, plotRight)
			y := at(q.v, y0, y1, plotBottom, plotTop)
			b = append(append(append(append(b, x...), ','), y...), ' ')
			if l.n <= pointsRaw {
				says := sayX(q.t.Sub(t0).Seconds()) + ": " + format(q.v)
				if len(s.lines) > 1 {
					says = l.host + ", " + says
				}
				pl.Dots = append(pl.Dots, dot{x, y, q.t.UTC().Format(time.RFC3339Nano), exact(q.v), says})
			}
		}
		if len(b) > 0 {
			pl.Points = string(b[:len(b)-1])
		}
		p.Lines = append(p.Lines, pl)
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
		p.Note += fmt.Sprintf("; %s of further instances are left out", countText(s.left, "sample"))
	}
	return p
}

// scale gives ticks at round values and the axis that they span.
func scale(low, high float64, format func(float64) string) (ticks []tick, from, to float64) {
	if high-low <= math.Abs(high)*1e-9 {
		pad := math.Abs(high) / 2
		if pad == 0 {
			pad = 1
		}
		low, high = low-pad, high+pad
	}
	span := high - low
	if math.IsInf(span, 0) { // of values at both ends of what a float64 holds
		return []tick{{At: exact(low), Text: format(low)}, {At: exact(high), Text: format(high)}}, low, high
	}
	step := math.Pow(10, math.Floor(math.Log10(span/ticksMost)))
	for _, m := range []float64{1, 2, 5, 10} {
		if span/(step*m) <= ticksMost {
			step *= m
			break
		}
	}
	from, to = math.Floor(low/step)*step, math.Ceil(high/step)*step
	for i := range int(math.Round((to-from)/step)) + 1 {
		v := from + float64(i)*step
		if math.Abs(v) < step*1e-6 {
			v = 0
		}
		ticks = append(ticks, tick{At: exact(v), Text: format(v)})
	}
	return ticks, from, to
}

// roundTicks are round numbers between two.
func roundTicks(from, to float64) (out []float64) {
	ticks, _, _ := scale(from, to, tickText)
	for _, t := range ticks {
		if v, err := strconv.ParseFloat(t.At, 64); err == nil && v >= from && v <= to {
			out = append(out, v)
		}
	}
	return out
}

// timeTicks are round numbers of seconds between two.
func timeTicks(from, to float64) []float64 {
	steps := []float64{0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 4 * 3600, 6 * 3600, 12 * 3600, 24 * 3600}
	step := steps[0]
	for _, step = range steps {
		if (to-from)/step <= ticksMost {
			break
		}
	}
	for (to-from)/step > ticksMost {
		step *= 2
	}
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
