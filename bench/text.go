package bench

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/optml/optml/human"
)

// columnsMost is how many variants stand side by side in the table of phases; those of more are in the other forms.
const columnsMost = 6

// Text writes the result for a terminal.
func (r *Result) Text(w io.Writer) error {
	var b bytes.Buffer
	main, _ := r.Figure(r.Settings.Figure)
	fmt.Fprintf(&b, "%s: %s\n", human.Line(r.Name), r.head())
	if r.Partial != "" {
		fmt.Fprintf(&b, "PARTIAL: %s\n", human.Line(r.Partial))
	}
	b.WriteByte('\n')
	_ = human.Table(&b, func(t io.Writer) {
		fmt.Fprintf(t, "%s\tmedian\t95 %% CI\tmiddle half\tleast and most\toptml's own\truns\n", strings.ToUpper(main.Label))
		for i := range r.Variants {
			v := &r.Variants[i]
			x := v.row(main)
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", human.Line(x.Name), x.Median, x.CI, x.Half, x.Range, x.Own, x.Runs)
		}
	})
	if len(r.Verdicts) > 0 {
		b.WriteByte('\n')
		for _, v := range r.Verdicts {
			fmt.Fprintf(&b, "%s\n", human.Line(v))
		}
	}
	r.phases(&b, main)
	for _, v := range r.Variants {
		for _, x := range v.Runs {
			if x.Warmup && x.Figures["pull"] > 0 {
				fmt.Fprintf(&b, "%s: the image was pulled in %s and unpacked in %s, in warm-up run %d\n", human.Line(v.Name), secondsText(x.Figures["pull"]), secondsText(x.Figures["unpack"]), x.N)
			}
		}
	}
	if err := r.loads(&b); err != nil {
		return err
	}
	if len(r.Warnings) > 0 {
		b.WriteByte('\n')
		for _, x := range r.Warnings {
			fmt.Fprintf(&b, "warning: %s\n", human.Line(x))
		}
	}
	r.foot(&b)
	_, err := w.Write(b.Bytes())
	return err
}

// head says what was run: 3 variants of training iris, 10 runs each after 1 warm-up, in 23.3 s.
func (r *Result) head() string {
	what, runs := r.Kind+" "+human.Line(r.Job), human.Count(r.Settings.Runs, "run")
	if n := len(r.Variants); n > 1 {
		what, runs = fmt.Sprintf("%d variants of %s", n, what), runs+" each"
	}
	if r.Settings.Warmups > 0 {
		runs += " after " + human.Count(r.Settings.Warmups, "warm-up")
	}
	return fmt.Sprintf("%s, %s, in %s", what, runs, secondsText(r.Ended.Sub(r.Began).Seconds()))
}

// phases are all other figures, the median of each variant with optml's own part of it.
func (r *Result) phases(b *bytes.Buffer, main Figure) {
	if len(r.Variants) > columnsMost {
		b.WriteByte('\n')
		fmt.Fprintf(b, "The other figures of so many variants are in the JSON form and on the page (-o FILE.html).\n")
		return
	}
	if !slices.ContainsFunc(r.Figures, func(f Figure) bool { return f.Name != main.Name && r.any(f.Name) }) {
		return
	}
	b.WriteByte('\n')
	starred := false
	_ = human.Table(b, func(t io.Writer) {
		fmt.Fprint(t, "MEDIANS")
		for _, v := range r.Variants {
			fmt.Fprintf(t, "\t%s\t(own)", human.Line(v.Name))
		}
		fmt.Fprintln(t)
		for _, f := range r.Figures {
			if f.Name == main.Name || !r.any(f.Name) {
				continue
			}
			fmt.Fprint(t, f.Label)
			for i := range r.Variants {
				v := &r.Variants[i]
				s := v.Summary(f.Name)
				if s == nil {
					fmt.Fprint(t, "\t-\t")
					continue
				}
				mark := ""
				if i > 0 {
					if c := r.Comparison(f.Name, v.Name, r.Variants[0].Name); c != nil && c.Differs {
						mark, starred = " *", true
					}
				}
				fmt.Fprintf(t, "\t%s%s\t%s", text(f.Unit, s.Median), mark, s.ownText(f))
			}
			fmt.Fprintln(t)
		}
	})
	if starred {
		fmt.Fprintf(b, "*: shown to differ from %s\n", human.Line(r.Variants[0].Name))
	}
}

// any says whether a figure is other than 0 in any run that counts.
func (r *Result) any(figure string) bool {
	for i := range r.Variants {
		if s := r.Variants[i].Summary(figure); s != nil && s.Max != 0 {
			return true
		}
	}
	return false
}

// ownText is optml's own part of a figure: of wall time the seconds and the share, of a run the processor time.
func (s *Summary) ownText(f Figure) string {
	if s.Own == nil {
		return ""
	}
	if f.Own == "cpu" {
		if s.Median == 0 || f.Name == "transform" { // it began before the transform, and went on until the container's end
			return secondsText(*s.Own) + " CPU"
		}
		return fmt.Sprintf("%s CPU, %s", secondsText(*s.Own), share(*s.Own/s.Median))
	}
	if s.Median == 0 {
		return secondsText(*s.Own)
	}
	if *s.Own >= s.Median {
		return "all"
	}
	return fmt.Sprintf("%s, %s", secondsText(*s.Own), share(*s.Own/s.Median))
}

// foot says how it was made.
func (r *Result) foot(b *bytes.Buffer) {
	b.WriteByte('\n')
	cache := "page cache warm"
	if r.Settings.Cache == "cold" {
		cache = "the whole machine's page cache dropped before each run"
	}
	outputs := "outputs written to this machine and removed"
	if r.Settings.Outputs == "document" {
		outputs = "outputs where the document says"
	}
	host := []string{fmt.Sprintf("%d processors", r.Host.CPUs)}
	for _, x := range slices.Concat([]string{r.Host.CPU}, r.Host.GPUs, []string{r.frequency()}) {
		if x != "" {
			host = append(host, human.Line(x))
		}
	}
	if r.Settings.Load != "" {
		outputs = r.Settings.Load
	}
	fmt.Fprintf(b, "%s; %s; %s; seed %d; %s\n", cache, outputs, strings.Join(host, ", "), r.Settings.Seed, r.Began.UTC().Format(time.DateTime+" UTC"))
}

func (r *Result) frequency() string {
	for _, v := range r.Variants {
		for _, x := range v.Runs {
			if x.Noise.MHz > 0 {
				return ""
			}
		}
	}
	return "whose frequency cannot be seen"
}

// Benchstat writes what benchstat reads: a line a run, a unit a figure.
func (r *Result) Benchstat(w io.Writer) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "name: %s\njob: %s\nkind: %s\n", oneWord(r.Name), oneWord(r.Job), r.Kind)
	if r.Host.CPU != "" {
		fmt.Fprintf(&b, "cpu: %s\n", human.Line(r.Host.CPU))
	}
	if r.Partial != "" {
		fmt.Fprintf(&b, "partial: %s\n", human.Line(r.Partial))
	}
	for _, f := range r.Figures {
		if f.Better != "" {
			fmt.Fprintf(&b, "Unit %s better=%s\n", f.unit(), f.Better)
		}
	}
	for _, v := range r.Variants {
		for _, x := range v.Runs {
			if !x.counts() {
				continue
			}
			fmt.Fprintf(&b, "Benchmark%s%s 1", title(r.Kind), benchName(v))
			for _, f := range r.Figures {
				if y, ok := x.Figures[f.Name]; ok {
					fmt.Fprintf(&b, " %v %s", y, f.unit())
				}
			}
			b.WriteByte('\n')
		}
	}
	_, err := w.Write(b.Bytes())
	return err
}

// unit is a figure's in benchstat's format. A unit there is a name too: total-sec, memoryPeak-bytes.
func (f Figure) unit() string {
	return f.Name + map[string]string{"s": "-sec", "B": "-bytes", "%": "-percent", "1/s": "-per-sec"}[f.Unit]
}

// benchName is the variant as benchstat's names have it: /InputMode=Pipe.
func benchName(v Variant) string {
	var b strings.Builder
	if v.Document != "" {
		b.WriteString("/document=" + oneWord(v.Document))
	}
	for _, m := range v.Members {
		key := strings.Map(func(r rune) rune {
			if strings.ContainsRune("/=[]", r) {
				return '_'
			}
			return r
		}, m.Path)
		b.WriteString("/" + oneWord(key) + "=" + oneWord(m.Value))
	}
	if b.Len() == 0 && v.Name != "" {
		b.WriteString("/" + oneWord(v.Name))
	}
	return b.String()
}

// oneWord has no blanks and no slashes, which mean something in names.
func oneWord(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '/' || r <= ' ' || r == 0x7f:
			return '_'
		}
		return r
	}, s)
}

func title(kind string) string {
	if kind == "" {
		return "Job"
	}
	return strings.ToUpper(kind[:1]) + kind[1:]
}
