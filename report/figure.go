package report

import (
	"bytes"
	"fmt"
	"html/template"
	"strings"
	"time"

	"github.com/optml/optml/human"
)

// What pages of other rooms are made of: this page's style, and its plots.

// Style is the style sheet of the page.
func Style() template.CSS {
	var b bytes.Buffer
	_ = pageTemplate().ExecuteTemplate(&b, "style", nil) // it is a constant
	return template.CSS(b.String())
}

// Line is a line of a plot: points of seconds and values.
type Line struct {
	Name   string
	Points [][2]float64
}

// Timeline draws lines over time from 0 s on. format is how values are said.
func Timeline(title string, lines []Line, format func(float64) string) template.HTML {
	return lineFigure(&series{name: title, over: "time"}, lines, format)
}

// Curve draws lines over something else than time, which over names and x says. Points stand in the order in which they
// are joined.
func Curve(title, over string, lines []Line, x, format func(float64) string) template.HTML {
	return lineFigure(&series{name: title, over: over, x: x}, lines, format)
}

func lineFigure(s *series, lines []Line, format func(float64) string) template.HTML {
	t0 := time.Unix(0, 0)
	for _, l := range lines {
		if len(s.lines) == linesMost {
			s.left += int64(len(l.Points))
			continue
		}
		x := &line{host: l.Name}
		for _, p := range l.Points {
			x.add(point{t0.Add(time.Duration(p[0] * float64(time.Second))), p[1]})
			s.n++
		}
		if x.n > 0 {
			s.lines = append(s.lines, x)
		}
	}
	if len(s.lines) == 0 {
		return ""
	}
	var b bytes.Buffer
	if err := pageTemplate().ExecuteTemplate(&b, "plot", newPlot(s, t0, format, true)); err != nil {
		return "" // the template takes any plot
	}
	return template.HTML(b.String())
}

// Strip is the values of one thing: a row of dots, with its middle marked.
type Strip struct {
	Name      string
	Values    []float64
	Middle    float64
	Low, High *float64 // of the middle; nil: not known
}

// The inside of a plot of strips, in units of its view box.
const (
	stripRow   = 34.0
	stripTop   = 8.0
	stripWide  = 760.0
	stripLeft  = 16.0
	stripRight = 744.0
)

// Strips draws all values of some things over one axis, each as a dot that says its value. Dots of one row are spread in
// height, so that all are seen.
func Strips(title string, strips []Strip, format func(float64) string) template.HTML {
	low, high, any := 0.0, 0.0, false
	for _, s := range strips {
		for _, v := range s.Values {
			if !any {
				low, high, any = v, v, true
			}
			low, high = min(low, v), max(high, v)
		}
	}
	if !any {
		return ""
	}
	ticks, from, to := scale(low, high, format)
	at := func(v float64) string { return number(stripLeft + (v/2-from/2)/(to/2-from/2)*(stripRight-stripLeft)) }
	bottom := stripTop + stripRow*float64(len(strips))
	var b strings.Builder
	fmt.Fprintf(&b, `<figure class="card plot" data-strips="%s"><figcaption><b>%[1]s</b></figcaption><svg viewBox="0 0 %g %g" role="img" aria-label="%[1]s of each run">`,
		template.HTMLEscapeString(human.Line(title)), stripWide, bottom+24)
	for i, t := range ticks {
		var v float64
		fmt.Sscan(t.At, &v)
		class := "tx"
		switch i { // so that the edges do not cut them
		case 0:
			class = "tl"
		case len(ticks) - 1:
			class = "txe"
		}
		fmt.Fprintf(&b, `<line class="grid" x1="%s" x2="%[1]s" y1="%g" y2="%g"/><text class="%[6]s" x="%[1]s" y="%[4]g">%[5]s</text>`,
			at(v), stripTop, bottom, bottom+16, template.HTMLEscapeString(t.Text), class)
	}
	for i, s := range strips {
		top := stripTop + stripRow*float64(i)
		fmt.Fprintf(&b, `<g class="s%d"><text x="%g" y="%g">%s</text>`, i%linesMost, stripLeft, top+9, template.HTMLEscapeString(human.Line(s.Name)))
		if s.Low != nil && s.High != nil {
			fmt.Fprintf(&b, `<line x1="%s" x2="%s" y1="%g" y2="%[3]g" stroke="currentColor" stroke-width="5" stroke-opacity=".3"/>`, at(*s.Low), at(*s.High), top+21)
		}
		for k, v := range s.Values {
			fmt.Fprintf(&b, `<circle cx="%s" cy="%g" r="2.6" fill-opacity=".7"><title>%s</title></circle>`, at(v), top+15+float64(k*5%13), template.HTMLEscapeString(format(v)))
		}
		if len(s.Values) > 0 {
			fmt.Fprintf(&b, `<line x1="%s" x2="%[1]s" y1="%g" y2="%g" stroke="currentColor" stroke-width="2"><title>median %s</title></line>`, at(s.Middle), top+12, top+30, template.HTMLEscapeString(format(s.Middle)))
		}
		b.WriteString("</g>")
	}
	b.WriteString("</svg></figure>")
	return template.HTML(b.String())
}
