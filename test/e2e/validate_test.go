//go:build e2e

package e2e

import (
	"slices"
	"strings"
	"testing"
)

// verdict is what `optml validate --output json` prints, as far as the tests look.
type verdict struct {
	Kind, Name, Verdict, Status string
	Rules                       []struct{ ID, Rule, Outcome, Evidence, Remedy string }
	Failure                     *struct{ Reason string }
	Jobs                        []struct{ Kind, Name, Status, Probe string }
}

func validated(t *testing.T, r result) verdict {
	t.Helper()
	v := decode[verdict](t, []byte(r.stdout))
	if v.Kind != "validation" || len(v.Rules) == 0 {
		t.Fatalf("%+v\n%s", v, r)
	}
	return v
}

// TestValidate carries an algorithm from its document to a verdict, twice: each validation is a new run (VAL-1, VAL-6,
// ruling 2).
func TestValidate(t *testing.T) {
	sameHost(t)
	put(t, "data", "train/a.csv", "1,2\n", "batch/x.csv", "p\nq\n")
	file := algorithm("tiny-algorithm", "s3://data/batch/", []string{"model", "m"}, []string{"TINY_INVOKE", "upper", "TINY_REQUIRE_MODEL", "model.txt"}).file(t)
	var names []string
	for range 2 {
		v := validated(t, ok(t, "validate", "--quiet", "--output", "json", file))
		if v.Verdict != "passed" || v.Status != "Completed" || len(v.Jobs) != 2 || v.Jobs[0].Status != "Completed" || v.Jobs[1].Status != "Completed" {
			t.Errorf("%+v", v)
		}
		for _, r := range v.Rules {
			if r.Outcome == "failed" {
				t.Errorf("rule %+v", r)
			}
		}
		if slices.Contains(names, v.Name) {
			t.Errorf("%s is not a new run", v.Name)
		}
		names = append(names, v.Name)
		out := keys(t, "out", "validate-tiny-algorithm")
		if len(out) != 1 || string(object(t, "out", "validate-tiny-algorithm/"+out[0])) != "P\nQ\n\n" {
			t.Errorf("outputs %v", out)
		}
		if object(t, "out", "validate/"+v.Jobs[0].Name+"/output/model.tar.gz") == nil {
			t.Errorf("no model.tar.gz of %s", v.Jobs[0].Name)
		}
	}
	// A report can be remade, and removing the validation removes its jobs.
	if r := ok(t, "report", names[0]); !strings.Contains(r.stdout, "PASSED") {
		t.Errorf("%s", r)
	}
	ok(t, "rm", names[0])
	if r := ok(t, "ls", "-q"); strings.Contains(r.stdout, names[0]) || strings.Count(r.stdout, strings.TrimPrefix(names[0], "tiny-algorithm")) != 0 {
		t.Errorf("%s", r)
	}
}

// TestValidateStopsAtAFailure: without a model there is no transform (VAL-1).
func TestValidateStopsAtAFailure(t *testing.T) {
	sameHost(t)
	put(t, "data", "train/a.csv", "1,2\n", "batch/x.csv", "p\n")
	file := algorithm("failing-algorithm", "s3://data/batch/", []string{"exit_code", "3", "failure", "bad luck"}, nil).file(t)
	v := validated(t, expect(t, 3, "validate", "--quiet", "--output", "json", file))
	if v.Status != "Failed" || v.Failure == nil || v.Failure.Reason != "AlgorithmError: bad luck, exit code: 3" || len(v.Jobs) != 1 {
		t.Errorf("%+v", v)
	}
}
