package report

import (
	"bytes"
	"strings"
	"testing"

	junit "github.com/joshdk/go-junit"
	validator "github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/optml/optml/test/schematest"
)

const schemaFile = "../docs/report.schema.json"

// The schema in docs is that of Report, with what its comments say. go test ./report -update writes it.
func TestSchemaIsThatOfReport(t *testing.T) {
	schematest.Check(t, schemaFile, "optml report, format 1", &Report{}, *update, map[string]string{"report": "."})
}

// A validator that is not ours finds that what we print keeps to the schema, and that what does not is refused.
func TestJSONKeepsToSchema(t *testing.T) {
	s, err := validator.NewCompiler().Compile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	check := func(r *Report) error {
		t.Helper()
		var b bytes.Buffer
		if err := r.JSON(&b); err != nil {
			t.Fatal(err)
		}
		v, err := validator.UnmarshalJSON(&b)
		if err != nil {
			t.Fatal(err)
		}
		return s.Validate(v)
	}
	for name, f := range cases {
		if err := check(f()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, failed := range []bool{false, true} {
		r, err := Make(onDisk(t, failed))
		if err != nil {
			t.Fatal(err)
		}
		if err := check(r); err != nil {
			t.Error(err)
		}
	}
	r := training()
	r.Verdict = "great"
	if check(r) == nil {
		t.Error("a verdict that there is not passes")
	}
	if s.Validate(map[string]any{"format": 1}) == nil {
		t.Error("a report without its members passes")
	}
}

// A parser that is not ours reads the JUnit form: a suite for the validation with a case a rule, and one for each job.
func TestJUnit(t *testing.T) {
	r, err := Make(onDisk(t, true))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := r.JUnit(&b); err != nil {
		t.Fatal(err)
	}
	suites, err := junit.Ingest(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range suites {
		for _, c := range s.Tests {
			line := s.Name + ": " + c.Name + ": " + string(c.Status)
			if c.Error != nil {
				line += ": " + c.Error.Error()
			}
			got = append(got, line)
		}
	}
	want := []string{
		"validation/iris-r1: document is what the service accepts: passed",
		"validation/iris-r1: training completes: passed",
		"validation/iris-r1: every defined metric is seen: passed",
		"validation/iris-r1: /ping answers 200: passed",
		"validation/iris-r1: every input object gets an output: failed: to do: answer every record: record 2 of in/bad.csv got status 500; failing/1 has the request and the answer",
		"validation/iris-r1: exits on bad input: skipped",
		"training/iris-r1-training: iris-r1-training completes: passed",
		"transform/iris-r1-transform: iris-r1-transform completes: failed: objects failed: 1 of 3",
	}
	for i, w := range want {
		if i >= len(got) || !strings.HasPrefix(got[i], w) {
			t.Fatalf("case %d of\n%s\nis not\n%s", i, strings.Join(got, "\n"), w)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d cases", len(got))
	}
	if x := suites[0].Totals; x.Passed != 4 || x.Failed != 1 || x.Skipped != 1 {
		t.Errorf("%+v", x)
	}
	if x := suites[2].Properties["status"]; x != "Failed" {
		t.Error(x)
	}
}
