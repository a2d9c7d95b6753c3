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

// Line is a line of a plot.
type Line struct {
	Name   string
	Points [][2]float64
	Group  int // lines of a group have one colour, from 1 on; 0: its place decides
	Dashed bool
	Hollow []bool // by point: it is drawn as a ring
}

// Mark is a place on the X axis of a plot, with a word for it.
type Mark struct {
	X     float64
	Text  string
	Group int // of the lines that it belongs to
}

// Timeline draws lines over time from 0 s on.
func Timeline(title string, lines []Line, y Axis) template.HTML {
	return lineFigure(&series{name: title, over: "time"}, lines, y)
}

// Curve draws lines over something else than time, which over names. Points stand in the order in which they are joined.
func Curve(title, over string, lines []Line, marks []Mark, x, y Axis) template.HTML {
	return lineFigure(&series{name: title, over: over, x: &x, marks: marks}, lines, y)
}

func lineFigure(s *series, lines []Line, y Axis) template.HTML {
	t0 := time.Unix(0, 0)
	s.of = "lines"
	for _, l := range lines {
		if len(s.lines) == linesMost {
			s.left += int64(len(l.Points))
			continue
		}
		x := &line{host: l.Name, group: l.Group, dashed: l.Dashed, hollow: l.Hollow}
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
	p := newPlot(s, t0, y)
	if s.x != nil || len(s.lines) > 1 {
		p.Last = "" // it would be of one line, and of which?
	}
	var b bytes.Buffer
	if err := pageTemplate().ExecuteTemplate(&b, "plot", p); err != nil {
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

// The height of a row of dots in pixels, and about how many wide a row is on a phone, and a letter of a tick.
const (
	stripHigh   = 24.0
	stripNarrow = 280.0
	letterWide  = 6.5
)

// Strips draws all values of some things over one axis, each as a dot that says its value. Dots of one row are spread in
// height, so that all are seen. Places are in percent of the width, so that letters are as large on a phone as on a desk.
func Strips(title string, strips []Strip, y Axis) template.HTML {
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
	ticks, from, to := y.ticks(low, high)
	at := func(v float64) string { return number(100*(v/2-from/2)/(to/2-from/2)) + "%" }
	esc := func(s string) string { return template.HTMLEscapeString(human.Line(s)) }
	letters := 0
	for _, t := range ticks {
		letters = max(letters, len([]rune(t.Text)))
	}
	every := 1 // of the ticks has a word
	for float64(letters+1)*letterWide > stripNarrow/float64(len(ticks)-1)*float64(every) {
		every++
	}
	var grid, words strings.Builder
	for i, t := range ticks {
		fmt.Fprintf(&grid, `<line class="grid" x1="%s" x2="%[1]s" y1="0" y2="%g"/>`, at(t.value), stripHigh)
		if i%every == 0 {
			fmt.Fprintf(&words, `<text class="tx" x="%s" y="12">%s</text>`, at(t.value), esc(t.Text))
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<figure class="card plot strips" data-strips="%s" data-x0="%s" data-x1="%s"><figcaption><b>%[1]s</b></figcaption><div class="rows">`, esc(title), exact(from), exact(to))
	for i, s := range strips {
		middle := "none"
		if len(s.Values) > 0 {
			middle = y.Say(s.Middle)
		}
		fmt.Fprintf(&b, `<p class="s%d"><span>%s</span> <b>%s</b></p>`, i%linesMost, esc(s.Name), esc(middle))
		if len(s.Values) == 0 {
			continue
		}
		fmt.Fprintf(&b, `<svg class="s%d" role="img" aria-label="%s of each run of %s, median %s" data-row="%[3]s">%[5]s`, i%linesMost, esc(title), esc(s.Name), esc(middle), &grid)
		if s.Low != nil && s.High != nil {
			fmt.Fprintf(&b, `<line class="band" x1="%s" x2="%s" y1="%g" y2="%[3]g" stroke="currentColor" stroke-width="6" stroke-opacity=".3"/>`, at(*s.Low), at(*s.High), stripHigh/2)
		}
		for k, v := range s.Values {
			fmt.Fprintf(&b, `<circle cx="%s" cy="%g" r="3" fill-opacity=".7" data-value="%s"><title>%s</title></circle>`, at(v), stripHigh/2-6+float64(k*5%13), exact(v), esc(y.Say(v)))
		}
		fmt.Fprintf(&b, `<line class="middle" x1="%s" x2="%[1]s" y1="2" y2="%g" stroke="currentColor" stroke-width="2" data-value="%s"><title>median %s</title></line></svg>`,
			at(s.Middle), stripHigh-2, exact(s.Middle), esc(middle))
	}
	fmt.Fprintf(&b, `<svg class="axis" aria-hidden="true">%s</svg></div></figure>`, &words)
	return template.HTML(b.String())
}
