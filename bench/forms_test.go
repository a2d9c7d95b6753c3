package bench

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	validator "github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/perf/benchfmt"

	"github.com/optml/optml/test/schematest"
)

var update = flag.Bool("update", false, "write the files that the tests compare with")

const schemaFile = "../docs/bench.schema.json"

// three is a result with most of what there can be in one.
func three(t *testing.T) *Result {
	t.Helper()
	c := synthetic(rand.New(rand.NewPCG(2, 1)), map[string]float64{"InputMode=File": 2, "InputMode=Pipe": 1}, func(x Task) string {
		if x.N == 9 {
			return "AlgorithmError: \x1b[31mno\n<script>"
		}
		return ""
	})
	for i := range c.Variants {
		_, value, _ := strings.Cut(c.Variants[i].Name, "=")
		c.Variants[i].Members = []Setting{{"InputDataConfig[0].InputMode", value}}
	}
	r, err := Carry(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// The schema in docs is that of Result, with what its comments say. go test ./bench -update writes it.
func TestSchemaIsThatOfResult(t *testing.T) {
	schematest.Check(t, schemaFile, "optml bench, format 1", &Result{}, *update, map[string]string{"bench": ".", "load": "../load"})
}

// A validator that is not ours finds that what is written keeps to the schema; what is read is what was written.
func TestJSONKeepsToSchema(t *testing.T) {
	s, err := validator.NewCompiler().Compile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	r := three(t)
	var b bytes.Buffer
	if err := r.JSON(&b); err != nil {
		t.Fatal(err)
	}
	v, err := validator.UnmarshalJSON(bytes.NewReader(b.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(v); err != nil {
		t.Error(err)
	}
	if s.Validate(map[string]any{"format": 1}) == nil {
		t.Error("a result without its members passes")
	}
	path := filepath.Join(t.TempDir(), "r.json")
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	again, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	// What was written while it ran comes to the same.
	under := *r
	under.Comparisons, under.Verdicts, under.Warnings, under.Variants = nil, nil, nil, slices.Clone(r.Variants)
	for i := range under.Variants {
		under.Variants[i].Summaries = nil
	}
	var u bytes.Buffer
	if err := errors.Join(under.JSON(&u), os.WriteFile(path, u.Bytes(), 0o644)); err != nil {
		t.Fatal(err)
	}
	if x, err := Read(path); err != nil || !cmp.Equal(x.Comparisons, r.Comparisons) || !cmp.Equal(x.Verdicts, r.Verdicts) {
		t.Errorf("%v", err)
	}
	var c bytes.Buffer
	if err := again.JSON(&c); err != nil || c.String() != b.String() {
		t.Errorf("%v %s", err, cmp.Diff(b.String(), c.String()))
	}
	for text, want := range map[string]string{"{": "no result", "{}": "no result", `{"format":2,"variants":[{}],"figures":[{}]}`: "has format 2",
		`{"format":1,"variants":[{}],"figures":[{"name":"x"}],"settings":{"figure":"total"}}`: "no figure total"} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// benchstat's own reader finds a line a run, with all units.
func TestBenchstat(t *testing.T) {
	var b bytes.Buffer
	if err := three(t).Benchstat(&b); err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for r := benchfmt.NewReader(&b, "x"); r.Scan(); {
		switch x := r.Result().(type) {
		case *benchfmt.Result:
			seen[string(x.Name)]++
			if v, ok := x.Value("total-sec"); !ok || v < 0.9 || x.GetConfig("job") != "j" {
				t.Errorf("%s %v", x.Name, x.Values)
			}
		case *benchfmt.SyntaxError:
			t.Error(x)
		}
	}
	n := seen["Training/InputDataConfig_0_.InputMode=File"] + seen["Training/InputDataConfig_0_.InputMode=Pipe"]
	if len(seen) != 2 || n != 19 {
		t.Errorf("%v", seen)
	}
}

func TestText(t *testing.T) {
	var b bytes.Buffer
	r := three(t)
	r.Variants[1].Runs[0].Figures["pull"], r.Variants[1].Runs[0].Figures["unpack"] = 12.5, 0.75
	if err := r.Text(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"b: 2 variants of training j, 10 runs each after 1 warm-up, in ",
		"TOTAL           median  95 % CI  ", "InputMode=File  2.0", ", 4.5 %", ", 1 failed\n",
		"InputMode=Pipe is ", "x faster than InputMode=File (95 % CI ",
		"create the container  50.0 ms         all", "2.00 ms CPU, 0.1 %", " *  ",
		"warning: InputMode=", "1 run failed; the first, training/b-9: AlgorithmError: \\x1b[31mno\\n<script>",
		"seed 1;", "InputMode=Pipe: the image was pulled in 12.5 s and unpacked in 750 ms, in warm-up run 2\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, b.String())
		}
	}
	if strings.Contains(b.String(), "\x1b") || strings.Contains(b.String(), " \n") {
		t.Errorf("%q", b.String())
	}
}

func resultOf(variants ...Variant) *Result {
	r := &Result{Format: Format, Settings: Settings{Figure: "total", Runs: 8}, Figures: []Figure{{"total", "total", "s", "lower", "wall"}}, Variants: variants}
	r.conclude()
	return r
}

func scaled(factor float64) []float64 {
	var out []float64
	for i := range 8 {
		out = append(out, factor*(1+float64(i)/1000))
	}
	return out
}

func TestCompareResults(t *testing.T) {
	a := resultOf(variantOf("x", scaled(1)...), variantOf("y", scaled(2)...), variantOf("gone", 1))
	b := resultOf(variantOf("x", scaled(1.1)...), variantOf("y", scaled(2)...), variantOf("new", 1))
	b.Host.Name, b.Partial = "other", "interrupted"
	c, err := Compare(a, b, "A.json", "B.json", "")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"x (B.json) takes 10 % longer than x (A.json) (95 % CI 9.7 % to 10 %)",
		"no difference shown between y (B.json) and y (A.json) (it is within -0.3 % to +0.3 %, 95 % CI)",
	}
	if diff := cmp.Diff(want, c.Verdicts); diff != "" {
		t.Error(diff)
	}
	all := fmt.Sprint(c.Warnings)
	for _, w := range []string{"new is only in B.json", "gone is only in A.json", "not of one machine", "B.json is partial: interrupted"} {
		if !strings.Contains(all, w) {
			t.Errorf("%q is not in %s", w, all)
		}
	}
	if s := c.Slower(0.05); len(s) != 1 || s[0] != want[0] {
		t.Errorf("%q", s)
	}
	if s := c.Slower(0.15); len(s) != 0 {
		t.Errorf("%q", s)
	}
	// Faster is not slower, and one variant each is compared whatever its name.
	if c, err = Compare(resultOf(variantOf("p", scaled(2)...)), resultOf(variantOf("q", scaled(1)...)), "a", "b", "total"); err != nil || len(c.Slower(0)) != 0 || !c.Comparisons[0].Differs {
		t.Errorf("%+v %v", c, err)
	}
	for _, x := range []struct {
		b      *Result
		figure string
		want   string
	}{{resultOf(variantOf("x", 1)), "run", "both have the figure run"}, {resultOf(variantOf("z", 1)), "", "no variant in common"}, {resultOf(variantOf("gone")), "", "nothing to compare"}} {
		if _, err := Compare(a, x.b, "a", "b", x.figure); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%v, want %s", err, x.want)
		}
	}
	var w bytes.Buffer
	if err := c.Text(&w); err != nil || !strings.HasPrefix(w.String(), "b against a, total:\n  q (b) is 2.00x faster than p (a)") {
		t.Errorf("%v %s", err, w.String())
	}
}
