package report

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

func TestStrips(t *testing.T) {
	low, high := 1.9, 2.1
	format := func(v float64) string { return fmt.Sprintf("%g s", v) }
	y := Axis{Unit: "s", Say: format}
	h := string(Strips("to<tal", []Strip{{"a&b", []float64{1, 2, 3}, 2, &low, &high}, {Name: "none"}, {"one", []float64{2}, 2, nil, nil}}, y))
	if n := strings.Count(h, "<circle"); n != 4 {
		t.Errorf("%d dots", n)
	}
	for _, want := range []string{`data-strips="to&lt;tal"`, "a&amp;b", "<title>3 s</title>", "<title>median 2 s</title>", `class="band"`, `data-value="3"`, "<b>none</b>", ">1.5 s</text>"} {
		if !strings.Contains(h, want) {
			t.Errorf("%s is not in %s", want, h)
		}
	}
	if n := strings.Count(h, `<line class="grid"`); n != 2*5 {
		t.Errorf("%d lines of the grid", n)
	}
	// 1 is at the left edge of the axis, 3 at the right one.
	if x := regexp.MustCompile(`<circle cx="([0-9.]+)%"`).FindAllStringSubmatch(h, -1); x[0][1] != "0.00" || x[2][1] != "100.00" || x[3][1] != x[1][1] {
		t.Errorf("%v", x)
	}
	if strings.Contains(h, "%!") || Strips("x", nil, y) != "" {
		t.Errorf("%s", h)
	}
}

func TestTimeline(t *testing.T) {
	y := Axis{Say: func(v float64) string { return fmt.Sprint(v) }}
	var lines []Line
	for i := range linesMost + 2 {
		lines = append(lines, Line{Name: fmt.Sprintf("l%d", i), Points: [][2]float64{{0, 1}, {1, 2}}})
	}
	h := string(Timeline("CPU", lines, y))
	if n := strings.Count(h, "<polyline"); n != linesMost || !strings.Contains(h, "4 samples of further lines are left out") {
		t.Errorf("%d lines in %s", n, h)
	}
	if Timeline("x", nil, y) != "" || Timeline("x", []Line{{Name: "a"}}, y) != "" {
		t.Error("there is a plot of nothing")
	}
	if s := string(Style()); !strings.Contains(s, ".plot") || strings.Contains(s, "<") {
		t.Error("no style")
	}
}

// Ticks are round, in one unit, and no two say the same.
func TestTicks(t *testing.T) {
	for _, x := range []struct {
		unit      string
		low, high float64
		log       bool
		want      string
	}{
		{"s", 0.765, 1.34, false, "0.6 s, 0.8 s, 1.0 s, 1.2 s, 1.4 s"},
		{"s", 10.159, 10.265, false, "10.15 s, 10.20 s, 10.25 s, 10.30 s"},
		{"s", 0.0002, 0.0009, false, "0.2 ms, 0.4 ms, 0.6 ms, 0.8 ms, 1.0 ms"},
		{"s", 0, 600, false, "0 sec, 300 sec, 600 sec"},
		{"B", 0, 3800, false, "0, 1 KiB, 2 KiB, 3 KiB, 4 KiB"},
		{"B", 58.4 * (1 << 20), 58.5 * (1 << 20), false, "58.375 MiB, 58.406 MiB, 58.438 MiB, 58.469 MiB, 58.500 MiB"},
		{"B", 0, 3, false, "0, 1 B, 2 B, 3 B"},
		{"%", 0, 0.0075, false, "0, 0.002 %, 0.004 %, 0.006 %, 0.008 %"},
		{"1/s", 100, 681, false, "0, 200/s, 400/s, 600/s, 800/s"},
		{"s", 0.0021, 0.018, true, "2 ms, 5 ms, 10 ms, 20 ms"},
		{"s", 0.002, 3.2, true, "2 ms, 10 ms, 100 ms, 1 s, 5 s"},
		{"s", 1, 1, true, "500 ms, 1 s, 2 s"},
	} {
		a := Axis{Unit: x.unit, Log: x.log, Say: func(v float64) string { return fmt.Sprintf("%g sec", v) }}
		ticks, from, to := a.ticks(x.low, x.high)
		var says []string
		for _, k := range ticks {
			says = append(says, k.Text)
		}
		if got := strings.Join(says, ", "); got != x.want || from > x.low || to < x.high {
			t.Errorf("%v to %v %s: %s, from %v to %v", x.low, x.high, x.unit, got, from, to)
		}
	}
}

// A curve has a mark at its knee, rings for what was not held, and one colour for lines that go together.
func TestCurve(t *testing.T) {
	say := func(v float64) string { return fmt.Sprint(v) }
	lines := []Line{
		{Name: "a, p50", Group: 1, Points: [][2]float64{{100, 0.001}, {200, 0.01}}, Hollow: []bool{false, true}},
		{Name: "a, p99", Group: 1, Dashed: true, Points: [][2]float64{{100, 0.002}, {200, 0.1}}},
		{Name: "b, p50", Group: 2, Points: [][2]float64{{100, 0.001}}},
	}
	h := string(Curve("latency", "answers", lines, []Mark{{100, "knee <100/s", 1}}, Axis{Unit: "1/s", Say: say, Zero: true}, Axis{Unit: "s", Say: say, Log: true}))
	for want, n := range map[string]int{
		`<g class="s0"`: 3, `<g class="s1"`: 1, "<polyline class=\"dash\"": 1, `class="hollow"`: 1, "knee &lt;100/s": 2, `data-x="200"`: 2, " data-log": 1, `class="last"`: 0,
		"10 ms": 1, "200/s": 1, "data-time": 0,
	} {
		if got := strings.Count(h, want); got != n {
			t.Errorf("%q: %d times, want %d", want, got, n)
		}
	}
	// A tenfold is as far everywhere: 1 and 10 ms are as far apart as 10 and 100 ms.
	y := regexp.MustCompile(`cy="([0-9.]+)"`).FindAllStringSubmatch(h, -1)
	if len(y) != 5 || y[0][1] != y[4][1] || y[0][1] != number(plotBottom) || y[1][1] != number((plotTop+plotBottom)/2) || y[3][1] != number(plotTop) {
		t.Errorf("%v", y)
	}
	// A value of 0 has no logarithm.
	lines[0].Points[0][1] = 0
	if h := string(Curve("x", "y", lines, nil, Axis{Say: say}, Axis{Say: say, Log: true})); strings.Contains(h, "data-log") || strings.Contains(h, "NaN") || strings.Contains(h, "Inf") {
		t.Error(h)
	}
}
