package job

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite testdata/*.plan.json and docs/fidelity.md")

// machine is a host for tests.
var machine = HostFacts{CPUs: 4, MemoryBytes: 16 << 30, Arch: "amd64", Now: time.Date(2026, 11, 20, 9, 30, 0, 0, time.UTC)}

// fixture decodes a document of testdata.
func fixture(t testing.TB, name string) *Document {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, name, string(data))
}

func decode(t testing.TB, name, text string) *Document {
	t.Helper()
	d, err := Decode(name, []byte(text))
	if err != nil {
		t.Fatalf("decode %s: %v", name, err)
	}
	return d
}

// flows are the documents of the three kinds of plan.
var flows = map[string][]string{
	"training": {"training.json"}, "transform": {"transform.json", "model.json"}, "algorithm": {"algorithm.json"},
}

func fixtures(t testing.TB, names ...string) []*Document {
	t.Helper()
	var out []*Document
	for _, n := range names {
		out = append(out, fixture(t, n))
	}
	return out
}

// TestPlans holds the whole plan of each flow: START table, TREE and OUT paths, VAL-1, VAL-6, BT-10 to BT-15, ruling 6.
func TestPlans(t *testing.T) {
	for name, docs := range flows {
		t.Run(name, func(t *testing.T) {
			p, err := Make(fixtures(t, docs...), Options{RunSuffix: "r1"}, machine)
			if err != nil {
				t.Fatal(err)
			}
			got, err := json.MarshalIndent(p, "", " ")
			if err != nil {
				t.Fatal(err)
			}
			golden(t, filepath.Join("testdata", name+".plan.json"), string(got)+"\n")
			var back Plan
			if err := json.Unmarshal(got, &back); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(p, &back); diff != "" {
				t.Errorf("the plan does not survive its own JSON: %s", diff)
			}
		})
	}
}

// golden compares with a file, or rewrites it under -update.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("%s is out of step (go test ./job -update rewrites it): %s", path, diff)
	}
}
