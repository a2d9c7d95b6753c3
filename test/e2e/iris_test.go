//go:build e2e

package e2e

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// secondValidation is how long validating the example may take once the image is there.
const secondValidation = 15 * time.Second

// TestIris validates the example with its real image, twice, as a user does: in the example's own directory, its buckets
// being directories. OPTML_SKLEARN names the image; without it the example's own tests make it.
func TestIris(t *testing.T) {
	example, s3 := irisExample(t)
	for i := range 2 {
		r := ok(t, "validate", "--quiet", "--output", "json", "--s3-dir", s3, filepath.Join(example, "algorithm.json"))
		v := validated(t, r)
		t.Logf("validation %d took %.1f s", i+1, r.took.Seconds())
		if i > 0 && r.took > secondValidation && !raceEnabled {
			t.Errorf("validation %d took %.1f s, want at most %v", i+1, r.took.Seconds(), secondValidation)
		}
		if v.Verdict != "passed" || v.Status != "Completed" || len(v.Jobs) != 2 {
			t.Fatalf("%s", r)
		}
		s := record(t, v.Jobs[0].Name)
		metrics := map[string]float64{}
		for _, m := range s.Metrics {
			metrics[m.Name] = m.Value
		}
		if metrics["validation:accuracy"] < 0.9 || len(metrics) != 3 {
			t.Errorf("metrics %v", metrics)
		}
		if f := unpack(t, read(filepath.Join(s3, "optml-iris-output/training", v.Jobs[0].Name, "output/model.tar.gz"))); len(f) == 0 {
			t.Error("model.tar.gz is empty")
		}
		predictions := strings.Fields(string(read(filepath.Join(s3, "optml-iris-output/transform/iris-batch.csv.out"))))
		truth := strings.Fields(string(read(filepath.Join(example, "data/optml-iris/validation/iris-validation.csv"))))
		if len(predictions) != len(truth) {
			t.Fatalf("%d predictions of %d rows", len(predictions), len(truth))
		}
		right := 0
		for j, row := range truth { // the rows of the batch are those of the validation channel, without their label
			label, _, _ := strings.Cut(row, ",")
			if predictions[j] == label {
				right++
			}
		}
		t.Logf("%d of %d predictions are right", right, len(truth))
		if right*10 < len(truth)*9 {
			t.Errorf("%d of %d predictions are right", right, len(truth))
		}
	}
	ok(t, "prune", "--all-finished")
}

// irisExample brings the example's image in, and copies its buckets. Without the image the test is skipped.
func irisExample(t *testing.T) (example, s3 string) {
	t.Helper()
	archive := os.Getenv("OPTML_SKLEARN")
	if archive == "" {
		if full {
			t.Fatal("OPTML_SKLEARN must name the image in the full tier: hack/mkimage-sklearn makes it")
		}
		t.Skip("OPTML_SKLEARN names no image; `make e2e-full` has one")
	}
	sameHost(t)
	example, err := filepath.Abs("../../examples/iris")
	if err != nil {
		t.Fatal(err)
	}
	s3 = t.TempDir()
	if err := os.CopyFS(s3, os.DirFS(filepath.Join(example, "data"))); err != nil {
		t.Fatal(err)
	}
	ok(t, "images", "import", archive)
	t.Cleanup(func() { ok(t, "images", "rm", "optml-examples/sklearn:1") })
	return example, s3
}

// TestIrisModes: one training script in a real image gets the same data in all three modes, so it ends with the same
// metrics.
func TestIrisModes(t *testing.T) {
	example, s3 := irisExample(t)
	var want map[string]float64
	for _, file := range []string{"training-job.json", "train-pipe.json", "train-fastfile.json"} {
		name := jobName("iris")
		ok(t, "train", "--quiet", "--name", name, "--s3-dir", s3, filepath.Join(example, file))
		s := record(t, name)
		got := map[string]float64{}
		for _, m := range s.Metrics {
			got[m.Name] = m.Value
		}
		if want == nil {
			want = got
		}
		if len(got) != 3 || !maps.Equal(got, want) {
			t.Errorf("%s: metrics %v, in File mode %v", file, got, want)
		}
		if len(s.Channels) != 2 || s.Channels[0].Objects == 0 || s.Channels[0].Mode != map[string]string{"training-job.json": "File", "train-pipe.json": "Pipe", "train-fastfile.json": "FastFile"}[file] {
			t.Errorf("%s: %+v", file, s.Channels)
		}
	}
}
