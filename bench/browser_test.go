package bench

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/optml/optml/load"
	"github.com/optml/optml/test/browsertest"
)

// A real browser shows the page of a benchmark of trainings: it is drawn, asks for nothing, runs nothing, what an
// algorithm said is text, and its dots are the numbers of the JSON form, each in its place.
func TestTrainPageInBrowser(t *testing.T) {
	r := three(t)
	r.Began = time.Unix(0, 0)
	r.Variants[1].Name, r.Variants[1].Members[0].Value = `<script>document.title="owned"</script>`, "<b>"
	r.conclude()
	r.Variants[0].Runs[0].Figures["channelBytes"] = 3800
	r, dom := shown(t, r)
	for _, f := range []string{"total", "run", "create"} {
		checkStrips(t, r, dom, f)
	}
	for i := range r.Variants {
		v := &r.Variants[i]
		var order [][2]float64
		for _, x := range v.Runs {
			if x.counts() {
				order = append(order, [2]float64{x.Began.Sub(r.Began).Seconds(), x.Figures["total"]})
			}
		}
		checkLine(t, dom, "total", v.Name, order, nil)
		checkLine(t, dom, "CPUUtilization", v.Name, v.Timeline.Series[0].Points, nil)
	}
	if text := browsertest.Text(dom); !strings.Contains(text, `training/b-9: AlgorithmError: \x1b[31mno\n<script>`) || !strings.Contains(text, `<script>document.title="owned"</script>`) {
		t.Errorf("what was said is no text of the page")
	}
}

// The page of a benchmark of servings has the curve of throughput and latency, as the JSON form has it.
func TestServePageInBrowser(t *testing.T) {
	r := served(t, false)
	const said = `</svg><script>alert(1)</script>`
	r.Variants[0].Name = said
	for i := range r.Variants {
		for k := range r.Variants[i].Runs {
			l := r.Variants[i].Runs[k].Load
			l.Open = &load.Curve{Points: slices.Clone(l.Closed.Points), Knee: new(0)}
			for n := range l.Open.Points {
				p := *l.Open.Points[n]
				p.Loop, p.Concurrency, p.Rate = "open", 0, float64(100*(n+1))
				if n == 1 {
					p.Held, p.Why, p.Throughput = false, "<i>they pile up</i>", 4*l.Closed.Points[1].Throughput
				}
				l.Open.Points[n] = &p
			}
			r.Variants[i].Runs[k].Load = l
		}
	}
	r.conclude()
	r, dom := shown(t, r)
	checkStrips(t, r, dom, "throughput")
	for i := range r.Variants {
		v := &r.Variants[i]
		l := v.shown("throughput").Load
		for title, c := range map[string]*load.Curve{"latency, open loop": l.Open, "latency, closed loop": l.Closed} {
			for _, percent := range []float64{50, 99} {
				var points [][2]float64
				var hollow []bool
				for _, p := range c.Points {
					y, ok := p.Latency.At(percent)
					if !ok {
						t.Fatal("no percentile")
					}
					points, hollow = append(points, [2]float64{p.Throughput, y}), append(hollow, !p.Held)
				}
				checkLine(t, dom, title, fmt.Sprintf("%s, p%g", v.Name, percent), points, hollow)
			}
			figure := find(dom, "figure", "data-metric", title)
			marks := all(figure, "line", "class", "mark")
			if want := c.Points[*c.Knee].Throughput; len(marks) != 2 || number(t, marks[i], "data-x") != want || !strings.Contains(browsertest.Text(figure), "knee "+text("1/s", want)) {
				t.Errorf("%s: %d marks", title, len(marks))
			}
		}
	}
	if text := browsertest.Text(dom); !strings.Contains(text, said) || !strings.Contains(text, "<i>they pile up</i>") {
		t.Error("what was said is no text of the page")
	}
}

// TestShow keeps the pages of tests for people to look at: OPTML_PAGES=DIR go test -run TestShow ./bench.
func TestShow(t *testing.T) {
	dir := os.Getenv("OPTML_PAGES")
	if dir == "" {
		t.Skip("OPTML_PAGES does not name a directory")
	}
	for name, r := range map[string]*Result{"bench-train": three(t), "bench-serve": served(t, false)} {
		var b bytes.Buffer
		if err := r.HTML(&b); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name+".html"), b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// shown writes a result in its JSON form, reads it again, and shows its page in a browser. Nothing of the page is a
// script.
func shown(t *testing.T, r *Result) (*Result, *html.Node) {
	t.Helper()
	var b, page bytes.Buffer
	if err := r.JSON(&b); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "r.json")
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	read, err := Read(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.HTML(&page); err != nil {
		t.Fatal(err)
	}
	dom, err := html.Parse(strings.NewReader(browsertest.Open(t, page.Bytes())))
	if err != nil {
		t.Fatal(err)
	}
	if title := find(dom, "title", "", ""); title == nil || browsertest.Text(title) != "benchmark: b" || find(dom, "script", "", "") != nil || find(dom, "b", "", "") == nil {
		t.Error("the page has changed itself")
	}
	return read, dom
}

// checkStrips holds the rows of dots of a figure to the runs that count.
func checkStrips(t *testing.T, r *Result, dom *html.Node, figure string) {
	t.Helper()
	f, _ := r.Figure(figure)
	plot := find(dom, "figure", "data-strips", f.Label)
	if plot == nil {
		t.Fatalf("no rows of %s", f.Label)
	}
	from, to := number(t, plot, "data-x0"), number(t, plot, "data-x1")
	at := func(n *html.Node, name string, v float64) {
		t.Helper()
		got, err := strconv.ParseFloat(strings.TrimSuffix(browsertest.Attribute(n, name), "%"), 64)
		if want := 100 * (v - from) / (to - from); err != nil || math.Abs(got-want) > 0.01 || want < 0 || want > 100 {
			t.Errorf("%s: %v is at %s, want %v%%", figure, v, browsertest.Attribute(n, name), want)
		}
	}
	for i := range r.Variants {
		v := &r.Variants[i]
		row := find(plot, "svg", "data-row", v.Name)
		values, _ := v.values(figure)
		dots := all(row, "circle", "", "")
		if len(dots) != len(values) || len(values) == 0 {
			t.Fatalf("%s: %d dots of %d runs", figure, len(dots), len(values))
		}
		for k, d := range dots {
			if number(t, d, "data-value") != values[k] {
				t.Errorf("%s: dot %d is %s, want %v", figure, k, browsertest.Attribute(d, "data-value"), values[k])
			}
			at(d, "cx", values[k])
		}
		s := v.Summary(figure)
		at(all(row, "line", "class", "middle")[0], "x1", s.Median)
		if s.Low != nil {
			band := all(row, "line", "class", "band")[0]
			at(band, "x1", *s.Low)
			at(band, "x2", *s.High)
		}
	}
}

// checkLine holds a line of a plot to its points.
func checkLine(t *testing.T, dom *html.Node, title, name string, points [][2]float64, hollow []bool) {
	t.Helper()
	plot := find(dom, "figure", "data-metric", title)
	if plot == nil {
		t.Fatalf("no plot of %s", title)
	}
	line := find(plot, "g", "data-host", name)
	dots := all(line, "circle", "", "")
	if len(dots) != len(points) || len(dots) == 0 {
		t.Fatalf("%s, %s: %d dots of %d", title, name, len(dots), len(points))
	}
	x0, x1, y0, y1 := number(t, plot, "data-x0"), number(t, plot, "data-x1"), number(t, plot, "data-y0"), number(t, plot, "data-y1")
	place := func(v, a, b float64, log bool) float64 {
		if log {
			v, a, b = math.Log(v), math.Log(a), math.Log(b)
		}
		return (v - a) / (b - a)
	}
	log := browsertest.Has(plot, "data-log")
	for i, d := range dots {
		x, y := points[i][0], points[i][1]
		if got := number(t, d, "data-x"); math.Abs(got-x) > 1e-9*max(1, math.Abs(x)) || number(t, d, "data-value") != y {
			t.Errorf("%s, %s: dot %d is %s, %s, want %v, %v", title, name, i, browsertest.Attribute(d, "data-x"), browsertest.Attribute(d, "data-value"), x, y)
		}
		// The inside of a plot: from 52 to 350, and from 164 up to 10.
		wantX, wantY := 52+298*place(x, x0, x1, false), 164-154*place(y, y0, y1, log)
		if math.Abs(number(t, d, "cx")-wantX) > 0.01 || math.Abs(number(t, d, "cy")-wantY) > 0.01 {
			t.Errorf("%s, %s: %v, %v is at %s, %s, want %v, %v", title, name, x, y, browsertest.Attribute(d, "cx"), browsertest.Attribute(d, "cy"), wantX, wantY)
		}
		if ring := browsertest.Attribute(d, "class") == "hollow"; hollow != nil && ring != hollow[i] {
			t.Errorf("%s, %s: dot %d is a ring: %v", title, name, i, ring)
		}
	}
}

// all are the elements below n with a name and, unless that is "", an attribute.
func all(n *html.Node, element, name, value string) (found []*html.Node) {
	if n == nil {
		return nil
	}
	for x := range n.Descendants() {
		if x.Type == html.ElementNode && x.Data == element && (name == "" || browsertest.Attribute(x, name) == value) {
			found = append(found, x)
		}
	}
	return found
}

func find(n *html.Node, element, name, value string) *html.Node {
	if found := all(n, element, name, value); len(found) > 0 {
		return found[0]
	}
	return nil
}

func number(t *testing.T, n *html.Node, name string) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(browsertest.Attribute(n, name), 64)
	if err != nil {
		t.Fatalf("%s of %s: %v", name, n.Data, err)
	}
	return v
}
