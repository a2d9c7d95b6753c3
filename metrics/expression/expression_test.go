package expression

import (
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// MET-5: a pattern that Go refuses runs on the other engine, and what it has of another dialect is named.
func TestBacktracks(t *testing.T) {
	for _, tc := range []struct {
		pattern, construct, line string
		want                     []string // the first group, or the match
	}{
		{`(?<=loss=)\d`, "a lookbehind (?<=", "loss=3 x=4 loss=5", []string{"3", "5"}},
		{`(?<!val_)loss=(\d)`, "a negative lookbehind (?<!", "val_loss=1 loss=2", []string{"2"}},
		{`loss=(\d)(?= end)`, "a lookahead (?=", "loss=1 loss=2 end", []string{"2"}},
		{`loss=(\d)(?! end)`, "a negative lookahead (?!", "loss=1 loss=2 end", []string{"1"}},
		{`(?>a+)=(\d)`, "an atomic group (?>", "aa=1", []string{"1"}},
		{`(['"])l\1=(\d)`, `a backreference \1`, `"l"=4`, []string{`"`}},
		{`(?P<q>['"])l(?P=q)`, "a named backreference (?P=", `"l"`, []string{`"`}},
		{`a++=(\d)`, "a possessive quantifier ++", "aaa=7", []string{"7"}},
		{`a{1,2000}=(\d)`, "the repetition {1,2000} (at most 1000)", "aa=7", []string{"7"}},
		{`(?#note)a=(\d)`, "a comment (?#", "a=1", []string{"1"}},
		{`a=(\d)\Z`, `the anchor \Z`, "a=1 a=2", []string{"2"}},
		{`(?<=é)(?P<first>\d)(\d)`, "a lookbehind (?<=", "12 é34", []string{"3"}}, // groups count in their order, bytes are bytes
		{`(?<=x)(\w+)`, "a lookbehind (?<=", "xaé", []string{"a"}},                // ASCII, as Go's
		{`(?<=x)(a)|(b)`, "a lookbehind (?<=", "b", []string{""}},
		{"(?<=\uFFFD)(\\d)", "a lookbehind (?<=", "\xff7", []string{"7"}},
	} {
		e, err := Compile(tc.pattern)
		if err != nil {
			t.Error(err)
			continue
		}
		if e.Construct() != tc.construct || e.Regexp() != nil {
			t.Errorf("%s: construct %q, want %q", tc.pattern, e.Construct(), tc.construct)
		}
		all, err := e.FindAll([]byte(tc.line))
		var got []string
		for _, m := range all {
			if len(m) != 2*(e.Groups()+1) {
				t.Errorf("%s: %v with %d groups", tc.pattern, m, e.Groups())
			}
			i := min(2, len(m)-2)
			if m[i] < 0 {
				got = append(got, "")
				continue
			}
			got = append(got, tc.line[m[i]:m[i+1]])
		}
		if diff := cmp.Diff(tc.want, got); diff != "" || err != nil {
			t.Errorf("%s on %q: %v %s", tc.pattern, tc.line, err, diff)
		}
	}
}

// MET-5: what neither engine takes, or would read as something else, is refused with its name.
func TestRefused(t *testing.T) {
	for pattern, want := range map[string]string{
		`(?|(a)|(b))`: "a branch reset (?|",
		`(?R)`:        "a recursion (?R",
		`\h+`:         `the escape \h`,
		`(?<=a)\R`:    `the escape \R`,
		`a\Kb`:        `the escape \K`,
		`[b-a]`:       "the class b-a",
		`(a`:          "missing closing )",
		`(a)\2`:       `a backreference \2`,
		`*`:           "missing argument to repetition operator",
	} {
		_, err := Compile(pattern)
		e, _ := errors.AsType[*Error](err)
		if e == nil {
			t.Errorf("%s: %v", pattern, err)
			continue
		}
		if e.Construct != want || e.Pattern != pattern || e.Unwrap() == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %+v, want %s", pattern, e, want)
		}
	}
	if _, err := Compile(`(?<=\Q\h\E)a`); err != nil {
		t.Errorf("quoted: %v", err)
	}
}

// A pattern of catastrophic backtracking does not hold the log up.
func TestGivesUp(t *testing.T) {
	e, err := Compile(`(?=(a+)+$)(a+)+$`)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if _, err := e.FindAll([]byte(strings.Repeat("a", 5000) + "!")); !errors.Is(err, ErrGaveUp) {
		t.Error(err)
	}
	if took := time.Since(began); took > 100*Patience { // it would be years
		t.Error(took)
	}
}

// FuzzEngine: no pattern breaks the engines, and what they find lies in the line.
func FuzzEngine(f *testing.F) {
	for _, p := range []string{`loss=(\d+)`, `(?i)Loss[:=]\s*([0-9.]+)`, `.*\[[0-9]+\].*#011auc:(\S+)`, `(a|ab)(c|bcd)(d*)`, `^x*?(y|z)$`} {
		f.Add(p, "[1]#011auc:2 loss=1 abcd xxy")
	}
	f.Fuzz(func(t *testing.T, pattern, line string) {
		if len(pattern) > 60 || len(line) > 200 || strings.ContainsRune(line, '\n') {
			return
		}
		_, err := regexp.Compile(pattern)
		e, berr := Compile(pattern)
		if (err == nil) && (berr != nil || e.Regexp() == nil) {
			t.Fatalf("%q: %v", pattern, berr)
		}
		if berr != nil {
			return
		}
		all, err := e.FindAll([]byte(line))
		if err != nil && !errors.Is(err, ErrGaveUp) {
			t.Fatal(err)
		}
		for _, m := range all {
			for i := 0; i < len(m); i += 2 {
				if m[i] > m[i+1] || m[i+1] > len(line) || m[i] < -1 {
					t.Fatalf("%q on %q: %v", pattern, line, m)
				}
			}
		}
	})
}
