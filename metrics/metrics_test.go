package metrics

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dlclark/regexp2/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/optml/optml/job"
	"github.com/optml/optml/metrics/metricstest"
)

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// byLine is what the package's results must be, without any of its means: each definition on each line.
func byLine(defs []job.MetricDefinition, log string) (samples []Sample) {
	var off int64
	var res []func(string) [][]string
	for _, d := range defs {
		res = append(res, oneByOne(d.Regex))
	}
	for line := range strings.SplitSeq(log, "\n") {
		raw := line[:min(len(line), 256<<10)]
		var esc strings.Builder
		for i := range len(raw) {
			if c := raw[i]; c >= 1 && c <= 0x1f || c == 0x7f {
				fmt.Fprintf(&esc, "#%03o", c)
			} else {
				esc.WriteByte(c)
			}
		}
		for i, d := range defs {
			found := res[i](esc.String())
			if found == nil {
				found = res[i](raw)
			}
			for _, m := range found {
				text := m[0]
				if len(m) > 1 {
					text = m[1]
				}
				v, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
				if err == nil && !math.IsNaN(v) && !math.IsInf(v, 0) {
					samples = append(samples, Sample{At: t0, Host: "algo-1", Name: d.Name, Value: v, Offset: off})
				}
			}
		}
		off += int64(len(line)) + 1
	}
	return samples
}

// oneByOne finds a pattern's matches on a line, with their groups.
func oneByOne(pattern string) func(string) [][]string {
	if re, err := regexp.Compile(pattern); err == nil {
		return func(s string) [][]string { return re.FindAllStringSubmatch(s, -1) }
	}
	re := regexp2.MustCompile(pattern, regexp2.RE2, regexp2.OptionMaintainCaptureOrder())
	return func(s string) (all [][]string) {
		for m, _ := re.FindStringMatch(s); m != nil; m, _ = re.FindNextMatch(m) {
			var groups []string
			for _, g := range m.Groups() {
				groups = append(groups, g.String())
			}
			all = append(all, groups)
		}
		return all
	}
}

// sweep feeds log in pieces of the given sizes, over and over.
func sweep(t testing.TB, s *Set, log string, sizes ...int) (samples []Sample) {
	t.Helper()
	st := s.Stream("algo-1", func(some []Sample) { samples = append(samples, some...) })
	if sizes[0]%2 > 0 {
		st.alone = 2
	}
	for i := 0; len(log) > 0; i++ {
		n := min(sizes[i%len(sizes)], len(log))
		st.Sweep([]byte(log[:n]), t0)
		log = log[n:]
	}
	st.Close(t0)
	return samples
}

func compile(t testing.TB, defs ...job.MetricDefinition) *Set {
	t.Helper()
	s, err := Compile(defs)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func def(name, regex string) job.MetricDefinition {
	return job.MetricDefinition{Name: name, Regex: regex}
}

// values are "name=value" of what a log gives.
func values(t *testing.T, log string, defs ...job.MetricDefinition) []string {
	t.Helper()
	got := sweep(t, compile(t, defs...), log, 7)
	if diff := cmp.Diff(byLine(defs, log), got); diff != "" {
		t.Error("not as line by line:", diff)
	}
	var out []string
	for _, s := range got {
		out = append(out, fmt.Sprintf("%s=%v", s.Name, s.Value))
	}
	return out
}

func TestRules(t *testing.T) {
	auc := def("auc", `.*\[[0-9]+\].*#011validation-auc:(\S+)`)
	for _, tc := range []struct {
		rule, name string
		log        string
		defs       []job.MetricDefinition
		want       []string
	}{
		{"MET-1", "the first group", "loss=1 acc=2\n", []job.MetricDefinition{def("m", `loss=(\d) acc=(\d)`)}, []string{"m=1"}},
		{"MET-1", "no group: the whole match", "x 0.25 y\n", []job.MetricDefinition{def("m", `0\.[0-9]+`)}, []string{"m=0.25"}},
		{"MET-1", "a group that took no part", "b\n", []job.MetricDefinition{def("m", `a(\d)|b`)}, nil},
		{"MET-2", "no number", "loss=abc\nloss=\nloss=1.2.3\nloss=1e3\n", []job.MetricDefinition{def("m", `loss=(.*)`)}, []string{"m=1000"}},
		{"MET-2", "spaces around it", "loss= \u00a07.5  \n", []job.MetricDefinition{def("m", `loss=(.*)`)}, []string{"m=7.5"}},
		{"MET-2", "NaN and infinities", "l=nan\nl=NaN\nl=inf\nl=-Infinity\nl=1e999\nl=2\n", []job.MetricDefinition{def("m", `l=(\S+)`)}, []string{"m=2"}},
		{"MET-3", "acceptance check 9", "[12]\ttrain-auc:0.9\tvalidation-auc:0.8\n", []job.MetricDefinition{auc}, []string{"auc=0.8"}},
		{"MET-3", "other control characters", "a\x1b[1mloss=3\x1b[0m\n\x7floss=4\n", []job.MetricDefinition{def("m", `(?:#033\[1m|#177)loss=(\d)`)}, []string{"m=3", "m=4"}},
		{"MET-3", "raw when the escaped line does not match", "\tloss=3\n", []job.MetricDefinition{def("m", `\tloss=(\d)`)}, []string{"m=3"}},
		{"MET-3", "not raw as well", "loss=3\tloss=4\n", []job.MetricDefinition{def("m", `loss=(\d)`)}, []string{"m=3", "m=4"}},
		{"MET-3", "an escape that looks like text", "\t9 loss=1\n", []job.MetricDefinition{def("m", `#0119 loss=(\d)`)}, []string{"m=1"}},
		{"MET-3", "text beside UTF-8", "█▌ 50% acc=0.5 é\n", []job.MetricDefinition{def("m", `▌ .*acc=(\S+) é`)}, []string{"m=0.5"}},
		{"MET-3", "a NUL stays", "a\x00l=1\n", []job.MetricDefinition{def("m", "a\x00l=(.)")}, []string{"m=1"}},
		{"MET-4", "a carriage return does not end a line", "10% l=1\r20% l=2\n", []job.MetricDefinition{def("m", `^10%.*l=(\d)$`)}, []string{"m=2"}},
		{"MET-4", "it is text for a greedy group", "l=1\r\n", []job.MetricDefinition{def("m", `l=(.*)`), def("n", `l=([0-9]+)`)}, []string{"n=1"}},
		{"MET-6", "all matches in order", "l=1 l=2 l=3\n", []job.MetricDefinition{def("m", `l=(\d)`)}, []string{"m=1", "m=2", "m=3"}},
		{"MET-6", "that do not overlap", "1111 \n", []job.MetricDefinition{def("m", `11`)}, []string{"m=11", "m=11"}},
		{"MET-6", "the last one behind a greedy run", "[1] l=1 l=2 l=x [3]\nl=4\n[l=5\n1] [9]l=6 l=7[\n", []job.MetricDefinition{def("m", `.*\[[0-9]\].*l=(\d)`), def("n", `.*l=(\d+)`)},
			[]string{"m=2", "n=2", "n=4", "n=5", "m=7", "n=7"}},
		{"MET-6", "many places behind a greedy run", strings.Repeat("l=1", 20) + strings.Repeat("l=x", 20) + "\n", []job.MetricDefinition{def("m", `.*l=(\d)`)}, []string{"m=1"}},
		{"MET-7", "several definitions", "l=1\n", []job.MetricDefinition{def("b", `l=(\d)`), def("a", `(\d)`)}, []string{"b=1", "a=1"}},
		{"MET-7", "a name twice", "x=1 y=2\n", []job.MetricDefinition{def("m", `y=(\d)`), def("m", `x=(\d)`)}, []string{"m=2", "m=1"}},
		{"MET-1", "case", "LOSS=1 Loss=2 loſs=3 \u212a=4\n", []job.MetricDefinition{def("m", `(?i)loss=(\d)`), def("k", `(?i)k=(\d)`)}, []string{"m=1", "m=2", "m=3", "k=4"}},
		{"MET-1", "anchors", "l=1\nxl=2\nl=3", []job.MetricDefinition{def("m", `^l=(\d)$`)}, []string{"m=1", "m=3"}},
		{"MET-1", "what is not UTF-8", "\xff\xfel=1\n", []job.MetricDefinition{def("m", "\uFFFDl=(.)")}, []string{"m=1"}},
		{"MET-1", "empty lines and an empty log", "\n\n", []job.MetricDefinition{def("m", `^$`), def("n", `.*`)}, nil},
	} {
		t.Run(tc.rule+" "+tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, values(t, tc.log, tc.defs...)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCounts(t *testing.T) {
	s := compile(t, def("m", `l=(\S*)`), def("t", `\tt=(\d)`), def("never", `never=(\d)`), def("m", `L=(\d)`))
	sweep(t, s, "l=1\nl=x\nl=\nl=nan\n\tt=5\nL=9\n", 3)
	want := []Definition{
		{Name: "m", Regex: `l=(\S*)`, Matches: 4, Samples: 1, NotFinite: 1, NotNumbers: 2, Example: "x"},
		{Name: "t", Regex: `\tt=(\d)`, Matches: 1, Samples: 1, RawLines: 1},
		{Name: "never", Regex: `never=(\d)`},
		{Name: "m", Regex: `L=(\d)`, Matches: 1, Samples: 1},
	}
	if diff := cmp.Diff(want, s.Definitions()); diff != "" {
		t.Error(diff)
	}
	// MET-8, MET-7: one series a name, in the order of the definitions; none for what gave nothing.
	if diff := cmp.Diff([]Final{{"m", 9, t0, 2}, {"t", 5, t0, 1}}, s.Finals()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]job.MetricDefinition{def("never", `never=(\d)`)}, s.Unmatched()); diff != "" {
		t.Error(diff)
	}
	var rules []string
	for _, w := range s.Warnings() {
		rules = append(rules, w.Rule)
		if !strings.Contains(w.Text, `metric "`) {
			t.Error("does not name the metric:", w.Text)
		}
	}
	if want := []string{"MET-2", "MET-2", "MET-3", "MET-1"}; !slices.Equal(want, rules) {
		t.Errorf("%v, want %v", rules, want)
	}
}

// MET-10: 256 KiB of a line are matched, and the next line is whole again.
func TestLongLines(t *testing.T) {
	limit := 256 << 10
	d := []job.MetricDefinition{def("m", `l=(\d)`), def("end", `=(\d)$`)}
	for _, length := range []int{limit - 1, limit, limit + 1, limit + 4097} {
		line := "l=1" + strings.Repeat("y", length-6) + "l=2"
		log := "l=3\n" + line + "\nl=4\n" + line
		want := byLine(d, log)
		for _, size := range []int{4096, limit + 1, 10 * limit} {
			s := compile(t, d...)
			if diff := cmp.Diff(want, sweep(t, s, log, size)); diff != "" {
				t.Errorf("length %d in pieces of %d: %s", length, size, diff)
			}
			if warned := len(s.Warnings()) > 0 && slices.ContainsFunc(s.Warnings(), func(w job.Warning) bool { return w.Rule == "MET-10" }); warned != (length > limit) {
				t.Errorf("length %d in pieces of %d: warned %v", length, size, warned)
			}
		}
	}
}

// MET-11: hosts are streams of their own, whose lines do not mix, and one metric.
func TestHosts(t *testing.T) {
	s := compile(t, def("m", `l=(\d+)\.`))
	var wg sync.WaitGroup
	var total [3]int
	for h := range 3 {
		wg.Go(func() {
			st := s.Stream(fmt.Sprintf("algo-%d", h+1), func(some []Sample) {
				if x := some[0]; len(some) == 1 && x.Value == 12 && x.Host == fmt.Sprintf("algo-%d", h+1) {
					total[h]++
				}
			})
			for range 1000 {
				for _, part := range []string{"l=", "12", ".\n"} {
					st.Sweep([]byte(part), t0)
				}
			}
		})
	}
	wg.Wait()
	if total != [3]int{1000, 1000, 1000} || s.Finals()[0].Count != 3000 {
		t.Error(total, s.Finals())
	}
}

// MET-5: a pattern that cannot be used is told with its definition, and what it uses.
func TestRefusedDefinition(t *testing.T) {
	_, err := Compile([]job.MetricDefinition{def("ok", "a"), def("bad", `\h+`)})
	e, _ := errors.AsType[*DefinitionError](err)
	if e == nil || e.Index != 1 || e.Name != "bad" || !strings.Contains(err.Error(), `bad): the escape \h is not supported in \h+`) {
		t.Error(err)
	}
}

// MET-5: a definition that backtracks without end loses its lines, not the log.
func TestCatastrophe(t *testing.T) {
	s := compile(t, def("bad", `(?=(a+)+$)(a+)+$`), def("good", `n=(\d)`))
	s.defs[0].budget.spent.Store(int64(backAllowance - time.Millisecond))
	long := strings.Repeat("a", 5000) + "! n=1\n"
	if got := sweep(t, s, long+long+long, 4096); len(got) != 3 {
		t.Errorf("%d samples", len(got))
	}
	if d := s.Definitions()[0]; d.GaveUp != 1 || d.Dropped != 2 {
		t.Errorf("%+v", d)
	}
	if !slices.ContainsFunc(s.Warnings(), func(w job.Warning) bool {
		return w.Rule == "MET-5" && strings.Contains(w.Text, "2 lines were not tried")
	}) {
		t.Error(s.Warnings())
	}
}

func TestNoDefinitions(t *testing.T) {
	s := compile(t)
	if got := sweep(t, s, "a\nb\n", 1); got != nil || s.Finals() != nil || s.Unmatched() != nil || s.Warnings() != nil {
		t.Error(got)
	}
}

// The benchmark's log gives the same line by line.
func TestBenchmarkLog(t *testing.T) {
	log := string(metricstest.Log(3000))
	for _, sizes := range [][]int{{64 << 10}, {1000, 1, 0, 77777}, {200 << 10, 3}, {77777}} {
		if diff := cmp.Diff(byLine(metricstest.Definitions, log), sweep(t, compile(t, metricstest.Definitions...), log, sizes...)); diff != "" {
			t.Error(sizes, diff)
		}
	}
}

// fuzzPatterns are the shapes that literals are derived from.
var fuzzPatterns = []string{
	`loss=(\S+)`, `(?i)Loss[:=]\s*([0-9.]+)`, `.*\[[0-9]+\].*#011validation-auc:(\S+)`, `(?:acc|auc|loss)=(\d+)`, `(?i)(?:ks|sk)=(\d)`,
	`\tx=(\d)`, `#0(\d)`, `^(\d+)$`, `a?b?c?(\d)`, `(\d)x{2,3}`, `[xX]y=(\d)|z=(\d)`, "\uFFFD(\\d)", `(?s).(\d)`, `\b1(\d*)\b`, `e(p|P)och ?(\d)`,
	`1#(\d)`, `0119(\d)?`, `(?i)k+(\d)`, `é=(\d)`, `(?i)É=(\d)`, `(?m)^s(\d)$`, `()`, `x*`, `7auc(\d)`,
	`(?<=loss=)(\d)`, `(\d)#011\1`, `(?i)s++=(\d)(?!x)`, `(?<!1)(\d)(?=\t|#)`,
	`sk=(\S+)`, `loss=([^1]+)`, `x=(\d)\b`, `aa=?(\d+)/\d`, `k(\x80*\d)$`,
	`.*=(\d)`, `s.*k.*u=(\d).*`, `.*\bx.*=(\d)$`, `a?.*#(\d+)#`, `(?s).*?x.*y=(\d)`, `.*aa(\d)?`, `[a-c]+.*=(\d)(\d)`,
}

func FuzzSweep(f *testing.F) {
	f.Add("[1]\tvalidation-auc:0.5\nloss=3\r\nLOSS: 4\n", uint16(3), ^uint64(0))
	f.Add("\t9\x1b\x7f#011#\n1\n\xff1 k\u212a2 \u017fk=1 xx2xx\n", uint16(1), uint64(0xaaaaaaaaaa))
	f.Add("l1\x019#0111 7auc2 \x177auc3\nyy", uint16(4), uint64(0x5555555555))
	f.Fuzz(func(t *testing.T, log string, size uint16, which uint64) {
		if len(log) > 4000 {
			return
		}
		var defs []job.MetricDefinition
		for i, p := range fuzzPatterns {
			if which>>i&1 == 1 {
				defs = append(defs, def(strconv.Itoa(i), p))
			}
		}
		got := sweep(t, compile(t, defs...), log, int(size)+1, 5)
		if diff := cmp.Diff(byLine(defs, log), got); diff != "" {
			t.Error(diff)
		}
	})
}

// Whatever the pattern, the literals lose no match.
func FuzzPattern(f *testing.F) {
	for i, p := range fuzzPatterns {
		f.Add(p, fmt.Sprintf("x=%d #011%d\n\tloss=1 sk=2 kſ=3 auc=4\nacc=5\x7f", i, i))
	}
	f.Fuzz(func(t *testing.T, pattern, log string) {
		if len(pattern) > 100 || len(log) > 2000 {
			return
		}
		d := def("m", pattern)
		s, err := Compile([]job.MetricDefinition{d})
		if err != nil || s.defs[0].re == nil { // what backtracks has no literals, and may take its time
			return
		}
		if diff := cmp.Diff(byLine([]job.MetricDefinition{d}, log), sweep(t, s, log, 11)); diff != "" {
			t.Errorf("%q with literals %v: %s", pattern, s.defs[0].literals, diff)
		}
	})
}

func TestLowerASCII(t *testing.T) {
	var all []byte
	for i := range 256 {
		all = append(all, byte(i))
	}
	for n := range len(all) {
		want := bytes.Map(func(r rune) rune { return r }, nil)
		for _, c := range all[n:] {
			want = append(want, lower(c))
		}
		if got := lowerASCII(nil, all[n:]); !bytes.Equal(got, want) {
			t.Fatalf("from %d: %q", n, got)
		}
	}
}

func FuzzIndex(f *testing.F) {
	f.Add([]byte("hello world"), []byte("wor"), uint8(2))
	f.Add([]byte("aaaaab"), []byte("aab"), uint8(0))
	f.Fuzz(func(t *testing.T, b, text []byte, rare uint8) {
		if len(text) == 0 {
			return
		}
		if got, want := index(b, text, int(rare)%len(text)), bytes.Index(b, text); got != want {
			t.Errorf("index(%q, %q, %d) = %d, want %d", b, text, int(rare)%len(text), got, want)
		}
	})
}

// Whatever the literals and the log, their lines are found: in passes, by grams, and by both.
func FuzzFinder(f *testing.F) {
	f.Add([]byte("train_loss=1 val_loss: 2\nACCURACY = 3\nno\nEpoch 4 train_loss="), "train_loss=\x00val_loss: \x00accuracy\x00Epoch ", uint8(4))
	f.Add([]byte("aaaaaaaaaaaa\naaaabaaa\n\n"), "aaaa\x00aaab\x00aaaaaaaaa\x00b", uint8(0))
	f.Fuzz(func(t *testing.T, block []byte, texts string, folds uint8) {
		var find finder
		var lits []literal
		for i, text := range strings.Split(texts, "\x00") {
			l := literal{text: text, fold: folds>>(i%8)&1 == 1}
			if l.fold {
				l.text = string(lowerASCII(nil, []byte(text)))
			}
			if text == "" || strings.Contains(text, "\n") || i == 40 {
				return
			}
			lits = append(lits, l)
			find.add(i, []literal{l})
		}
		var want []hit
		pos := 0
		for line := range bytes.Lines(block) {
			text := bytes.TrimSuffix(line, []byte("\n"))
			for i, l := range lits {
				if l.fold && bytes.Contains(lowerASCII(nil, text), []byte(l.text)) || !l.fold && bytes.Contains(text, []byte(l.text)) {
					want = append(want, hit{pos, pos + len(text), i})
				}
			}
			pos += len(line)
		}
		var s search
		if got := find.find(&s, block); !slices.Equal(got, want) {
			t.Errorf("%v in %q: %v, want %v", lits, block, got, want)
		}
		var all []int // by grams, whatever plan thinks of it
		shortest := math.MaxInt
		for k, n := range find.needles {
			if len(n.text) >= gramSize {
				all, shortest = append(all, k), min(shortest, len(n.text))
			}
		}
		if all == nil {
			return
		}
		s.passes = nil
		for k, n := range find.needles {
			if len(n.text) < gramSize {
				s.passes = append(s.passes, pass{needle: k})
			}
		}
		s.grams.build(find.needles, all, shortest-gramSize+1, &s.census)
		if got := find.find(&s, block); !slices.Equal(got, want) {
			t.Errorf("%v in %q by grams: %v, want %v", lits, block, got, want)
		}
	})
}

func TestRequired(t *testing.T) {
	for regex, want := range map[string]string{
		`loss=(\d)`:                              `[{loss= false}]`,
		`.*\[[0-9]+\].*#011validation-auc:(\S+)`: `[{validation-auc: false}]`,
		`(?i)Loss=`:                              "[{loss= true} {\u017f false}]",
		`(?i)K\d`:                                "[{k true} {\u212a false}]",
		`learning[_ ]rate[:=] ?(\S+)`:            `[{learning false}]`,
		`(?:acc|loss)=(\d)`:                      `[{acc= false} {loss= false}]`,
		`(?:train|test)_loss: (\d)`:              `[{train_loss:  false} {test_loss:  false}]`,
		`(?:train .*|test .*)auc=(\d)`:           `[{auc= false}]`,
		`a{3}b+`:                                 `[{aaa false}]`,
		`\tx`:                                    `[{x false}]`,
		`#011`:                                   `[]`,
		`1abc`:                                   `[{abc false}]`,
		`a#0b`:                                   `[{a false}]`,
		`(\d+)`:                                  `[]`,
		`.*`:                                     `[]`,
		`x?`:                                     `[]`,
		``:                                       `[]`,
		`(a|b*)`:                                 `[]`,
		"a\uFFFDb":                               `[{a false}]`,
		`(?i)naïve`:                              `[{na true}]`,
	} {
		if got := fmt.Sprint(required(regex)); got != want {
			t.Errorf("%s: %s, want %s", regex, got, want)
		}
	}
}
