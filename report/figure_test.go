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
	for _, want := range []string{`data-strips="to&lt;tal"`, "a&amp;b", "<title>3 s</title>", "<title>median 2 s</title>", `class="band"`, `data-value="3"`, "<b>no run</b>", ">1.5 s</text>"} {
		if !strings.Contains(h, want) {
			t.Errorf("%s is not in %s", want, h)
		}
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
