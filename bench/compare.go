package bench

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/optml/optml/human"
)

// Compared is one result held against another: the JSON form of it.
type Compared struct {
	Format      int          `json:"format"`
	From        string       `json:"from"` // what is compared to
	To          string       `json:"to"`
	Figure      Figure       `json:"figure"`
	Comparisons []Comparison `json:"comparisons"` // Of and To are variants, of the result To and of the result From
	Verdicts    []string     `json:"verdicts"`
	Warnings    []string     `json:"warnings,omitempty"`
}

// Compare holds the variants of b against those of a that have the same names; where both have one only, these. figure ""
// is that of b's verdicts.
func Compare(a, b *Result, aName, bName, figure string) (*Compared, error) {
	if figure == "" {
		figure = b.Settings.Figure
	}
	f, ok := b.Figure(figure)
	if _, both := a.Figure(figure); !ok || !both {
		return nil, fmt.Errorf("%s and %s do not both have the figure %s", aName, bName, figure)
	}
	c := &Compared{Format: Format, From: aName, To: bName, Figure: f, Comparisons: []Comparison{}, Verdicts: []string{}}
	say := func(format string, args ...any) { c.Warnings = append(c.Warnings, fmt.Sprintf(format, args...)) }
	type pair struct{ a, b *Variant }
	var pairs []pair
	if len(a.Variants) == 1 && len(b.Variants) == 1 {
		pairs = append(pairs, pair{&a.Variants[0], &b.Variants[0]})
	} else {
		for i := range b.Variants {
			if v := a.Variant(b.Variants[i].Name); v != nil {
				pairs = append(pairs, pair{v, &b.Variants[i]})
			} else {
				say("%s is only in %s", b.Variants[i].Name, bName)
			}
		}
		for _, v := range a.Variants {
			if b.Variant(v.Name) == nil {
				say("%s is only in %s", v.Name, aName)
			}
		}
	}
	if len(pairs) == 0 {
		return nil, fmt.Errorf("%s and %s have no variant in common", aName, bName)
	}
	if a.Kind != b.Kind {
		say("one is of a %s, the other of a %s", a.Kind, b.Kind)
	}
	if a.Host.CPU != b.Host.CPU || a.Host.CPUs != b.Host.CPUs || a.Host.Name != b.Host.Name {
		say("they are not of one machine: %s and %s", a.Host.says(), b.Host.says())
	}
	if a.Settings.Cache != b.Settings.Cache || a.Settings.Outputs != b.Settings.Outputs {
		say("they were not run alike: cache %s and %s, outputs %s and %s", a.Settings.Cache, b.Settings.Cache, a.Settings.Outputs, b.Settings.Outputs)
	}
	for _, r := range []struct {
		*Result
		name string
	}{{a, aName}, {b, bName}} {
		if r.Partial != "" {
			say("%s is partial: %s", r.name, r.Partial)
		}
	}
	level := alpha / float64(len(pairs))
	for _, p := range pairs {
		x, _ := p.b.values(figure)
		y, _ := p.a.values(figure)
		if len(x) == 0 || len(y) == 0 {
			say("%s: one of them has no run that counts", p.b.Name)
			continue
		}
		k := compare(x, y, level)
		k.Figure, k.Of, k.To = figure, p.b.Name, p.a.Name
		c.Comparisons = append(c.Comparisons, k)
		k.Of, k.To = p.b.Name+" ("+bName+")", p.a.Name+" ("+aName+")"
		c.Verdicts = append(c.Verdicts, k.Says(f))
		if n := needed(level); len(x) < n && len(y) < n {
			say("%s: %s cannot show any difference, however large; it takes %d of each", p.b.Name, human.Count(max(len(x), len(y)), "run"), n)
		}
	}
	if len(c.Comparisons) == 0 {
		return nil, errors.New("there is nothing to compare: no variant has runs that count on both sides")
	}
	return c, nil
}

func (h Host) says() string {
	return fmt.Sprintf("%s (%d × %s)", cmp.Or(h.Name, "a machine"), h.CPUs, cmp.Or(h.CPU, "processor"))
}

// Slower are the variants that are shown to be slower by more than a share, each as a sentence.
func (c *Compared) Slower(share float64) (slower []string) {
	for i, k := range c.Comparisons {
		if !k.Differs || k.Ratio == nil {
			continue
		}
		r := k.Ratio.Value
		if c.Figure.Better == "higher" {
			r = 1 / r
		}
		if r-1 > share {
			slower = append(slower, c.Verdicts[i])
		}
	}
	return slower
}

// Text writes the comparison for a terminal.
func (c *Compared) Text(w io.Writer) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s against %s, %s:\n", human.Line(c.To), human.Line(c.From), c.Figure.Label)
	for _, v := range c.Verdicts {
		fmt.Fprintf(&b, "  %s\n", human.Line(v))
	}
	for _, x := range c.Warnings {
		fmt.Fprintf(&b, "warning: %s\n", human.Line(x))
	}
	_, err := w.Write(b.Bytes())
	return err
}

// JSON writes the comparison.
func (c *Compared) JSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(c)
}
