// Package examples holds complete, runnable inputs; its tests keep them true.
package examples

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/optml/optml/job"
)

func read(t *testing.T, name string) *job.Document {
	t.Helper()
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	d, err := job.Decode(name, raw)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

var host = job.HostFacts{CPUs: 2, MemoryBytes: 8 << 30, Arch: runtime.GOARCH, Now: time.Unix(1_800_000_000, 0)}

// Each document is accepted, also under --strict: an example must be what the service takes (ruling 3).
func TestIrisDocumentsArePlanned(t *testing.T) {
	for _, names := range [][]string{{"iris/algorithm.json"}, {"iris/training-job.json"}, {"iris/train-pipe.json"}, {"iris/train-fastfile.json"}, {"iris/transform-job.json", "iris/model.json"}} {
		for _, strict := range []bool{false, true} {
			var docs []*job.Document
			for _, name := range names {
				docs = append(docs, read(t, name))
			}
			p, err := job.Make(docs, job.Options{Strict: strict}, host)
			if err != nil {
				t.Errorf("%v, strict %v: %v", names, strict, err)
				continue
			}
			if len(p.Warnings) > 0 {
				t.Errorf("%v, strict %v: %v", names, strict, p.Warnings)
			}
		}
	}
}

func rows(t *testing.T, name string) [][]string {
	t.Helper()
	f, err := os.Open(filepath.Join("iris/data/optml-iris", name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// The 150 rows are split 40 to 10 in each class, and the batch is the validation rows without their labels.
func TestIrisData(t *testing.T) {
	train, validation, batch := rows(t, "train/iris-train.csv"), rows(t, "validation/iris-validation.csv"), rows(t, "batch/iris-batch.csv")
	count := func(r [][]string) map[string]int {
		n := map[string]int{}
		for _, row := range r {
			n[row[0]]++
		}
		return n
	}
	for name, want := range map[string]int{"setosa": 40, "versicolor": 40, "virginica": 40} {
		if got := count(train)[name]; got != want {
			t.Errorf("%d of %s in train, wanted %d", got, name, want)
		}
		if got := count(validation)[name]; got != want/4 {
			t.Errorf("%d of %s in validation, wanted %d", got, name, want/4)
		}
	}
	if len(batch) != len(validation) {
		t.Fatalf("%d rows in the batch, %d in validation", len(batch), len(validation))
	}
	for i := range batch {
		if !slices.Equal(batch[i], validation[i][1:]) {
			t.Errorf("row %d: %v is not %v without its label", i+1, batch[i], validation[i])
		}
	}
}

// What the algorithm promises about hyperparameters is what the program reads.
func TestIrisHyperparametersAreTheProgrammes(t *testing.T) {
	raw, err := os.ReadFile("iris/algorithm.json")
	if err != nil {
		t.Fatal(err)
	}
	var a struct {
		TrainingSpecification struct {
			TrainingImage            string
			SupportedHyperParameters []struct{ Name, DefaultValue string }
			MetricDefinitions        []struct{ Name string }
		}
	}
	if err := json.Unmarshal(raw, &a); err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile("sklearn-image/train")
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range a.TrainingSpecification.SupportedHyperParameters {
		if !strings.Contains(string(program), fmt.Sprintf("%q: ", h.Name)) {
			t.Errorf("train does not read %s", h.Name)
		}
		for line := range strings.Lines(string(program)) {
			if strings.Contains(line, fmt.Sprintf("number(%q", h.Name)) && h.DefaultValue != "" && !strings.Contains(line, ", "+h.DefaultValue+", ") {
				t.Errorf("%s: default %s is not that of %s", h.Name, h.DefaultValue, strings.TrimSpace(line))
			}
		}
	}
	for _, m := range a.TrainingSpecification.MetricDefinitions {
		if !strings.Contains(string(program), fmt.Sprintf("metrics[%q]", m.Name)) {
			t.Errorf("train does not print %s", m.Name)
		}
	}
	if n := len(a.TrainingSpecification.SupportedHyperParameters); n != 5 {
		t.Errorf("%d hyperparameters", n)
	}
}
