package load

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// number is a count or a rate as people read it: three digits, or all of a large one.
func number(v float64) string {
	if v >= 100 || v == math.Trunc(v) {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

// span is a duration of so many seconds: three digits and a unit.
func span(seconds float64) string {
	d := time.Duration(seconds * 1e9)
	for _, u := range []struct {
		at   time.Duration
		name string
	}{{time.Second, "s"}, {time.Millisecond, "ms"}, {time.Microsecond, "us"}} {
		if d >= u.at {
			v := float64(d) / float64(u.at)
			switch {
			case v >= 99.95:
				return strconv.FormatFloat(v, 'f', 0, 64) + " " + u.name
			case v >= 9.995:
				return strconv.FormatFloat(v, 'f', 1, 64) + " " + u.name
			}
			return strconv.FormatFloat(v, 'f', 2, 64) + " " + u.name
		}
	}
	return fmt.Sprintf("%d ns", d.Nanoseconds())
}

// load says what was put on the server.
func (r *Result) load() string {
	if r.Loop == "closed" {
		return fmt.Sprintf("closed loop, %d at a time", r.Concurrency)
	}
	a := Arrivals{Name: r.Arrivals, Rate: r.Rate, Seed: r.Seed}
	return fmt.Sprintf("open loop, %s", &a)
}

// WriteText writes r for people.
func (r *Result) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %s s\n", r.load(), number(math.Round(r.Seconds*10)/10))
	fmt.Fprintf(&b, "  requests    %d sent, %d good, %d failed", r.Sent, r.Good, r.Failed)
	for _, x := range []struct {
		n    int64
		what string
	}{{r.Missed, "never sent"}, {r.Unfinished, "unfinished"}, {r.Repeated, "sent again over a new connection"}} {
		if x.n > 0 {
			fmt.Fprintf(&b, ", %d %s", x.n, x.what)
		}
	}
	fmt.Fprintf(&b, "\n  throughput  %s/s", number(r.Throughput))
	if r.Loop == "open" && !r.Held {
		fmt.Fprintf(&b, "; NOT HELD: %s", r.Why)
	}
	b.WriteByte('\n')
	r.Latency.line(&b, "latency")
	if r.Late != nil {
		r.Service.line(&b, "service")
		r.Late.line(&b, "late")
	}
	if r.Corrected != nil {
		r.Corrected.line(&b, "corrected")
	}
	if r.Path != nil {
		fmt.Fprintf(&b, "  path        %s of the median are the way there and back", span(r.Path.Median))
		if r.Path.P99 > 0 {
			fmt.Fprintf(&b, " (p99 %s)", span(r.Path.P99))
		}
		b.WriteString(": the same load on a server that does nothing\n")
	}
	for _, e := range r.Errors {
		fmt.Fprintf(&b, "  %-11s %d\n", e.Kind, e.Count)
		for _, t := range e.Texts {
			fmt.Fprintf(&b, "              %s\n", oneLine(t))
		}
	}
	for _, s := range r.Stalls {
		fmt.Fprintf(&b, "  stall       no answer for %s from second %.1f on, with requests waiting\n", span(s.Seconds), s.At)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "  note        %s\n", n)
	}
	if r.Cut != "" {
		fmt.Fprintf(&b, "  cut short   %s\n", r.Cut)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}

func (d Distribution) line(b *strings.Builder, name string) {
	if d.Count == 0 {
		fmt.Fprintf(b, "  %-11s none\n", name)
		return
	}
	fmt.Fprintf(b, "  %-11s mean %s", name, span(d.Mean))
	for _, p := range d.Percentiles {
		fmt.Fprintf(b, "  p%s %s", strconv.FormatFloat(p.Percent, 'f', -1, 64), span(p.Seconds))
	}
	fmt.Fprintf(b, "  max %s\n", span(d.Max))
}

// WriteTimeline writes the table of seconds.
func (r *Result) WriteTimeline(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "second\tdue\tsent\tgood\tfailed\tp50\tp99\tmax\t")
	for _, s := range r.Timeline {
		fmt.Fprintf(t, "%d\t%d\t%d\t%d\t%d\t", s.At, s.Due, s.Sent, s.Good, s.Failed)
		if s.Max > 0 {
			fmt.Fprintf(t, "%s\t%s\t%s\t\n", span(s.P50), span(s.P99), span(s.Max))
		} else {
			fmt.Fprintln(t, "-\t-\t-\t")
		}
	}
	return t.Flush()
}

// WriteText writes the curve as a table, a line a load.
func (c *Curve) WriteText(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "load\tgood/s\tmean\tp50\tp90\tp99\tp99.9\tmax\tfailed\tmissed\t")
	at := func(d Distribution, p float64) string {
		if s, ok := d.At(p); ok {
			return span(s)
		}
		return "-"
	}
	for i, p := range c.Points {
		load := number(p.Rate) + "/s"
		if p.Loop == "closed" {
			load = fmt.Sprintf("%d at a time", p.Concurrency)
		}
		d := p.Latency
		mean, most := "-", "-"
		if d.Count > 0 {
			mean, most = span(d.Mean), span(d.Max)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\t", load, number(p.Throughput), mean,
			at(d, 50), at(d, 90), at(d, 99), at(d, 99.9), most, p.Failed, p.Missed)
		var says []string
		if c.Knee != nil && *c.Knee == i {
			says = append(says, "the knee")
		}
		if c.Most != nil && *c.Most == i {
			says = append(says, "the most that was held")
		}
		if !p.Held {
			says = append(says, "not held")
		}
		fmt.Fprintln(t, strings.Join(says, ", "))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for i, p := range c.Points {
		if !p.Held {
			if _, err := fmt.Fprintf(w, "%s not held: %s\n", c.Points[i].load(), p.Why); err != nil {
				return err
			}
		}
	}
	if c.Skipped > 0 {
		what := "loads were"
		if c.Skipped == 1 {
			what = "load was"
		}
		_, err := fmt.Fprintf(w, "%d higher %s not tried\n", c.Skipped, what)
		return err
	}
	return nil
}
