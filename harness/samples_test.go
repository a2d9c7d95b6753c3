package harness

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/optml/optml/ledger"
	"github.com/optml/optml/runtime/containertest"
)

// samplesOf are the samples on record, each as one line.
func (b *bench) samplesOf(kind, name string) (out []string) {
	b.t.Helper()
	j, err := ledger.Find(b.root, kind+"/"+name)
	if err != nil {
		b.t.Fatal(err)
	}
	f, err := os.ReadFile(j.SamplesPath())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		b.t.Fatal(err)
	}
	for l := range bytes.Lines(f) {
		var s sample
		if err := json.Unmarshal(l, &s); err != nil {
			b.t.Fatal(err)
		}
		out = append(out, fmt.Sprintf("%s %s %d %q", s.Kind, s.Name, s.Bytes, s.Data))
	}
	return out
}

// What was read and written is sampled for the report (VAL-45), without a request for it.
func TestSamplesOfTraining(t *testing.T) {
	b := newBench(t, algo(func(p *containertest.Process) int {
		write(p, "/opt/ml/model/w.bin", "weights")
		write(p, "/opt/ml/output/data/big", strings.Repeat("x", 3*sampleBytes))
		return 0
	}))
	if final, _ := b.run(trainingPlan("s")); final.Status != "Completed" {
		t.Fatalf("%+v", final)
	}
	want := []string{
		`input train/a.csv 4 "1,2\n"`, `input train/sub/b.csv 4 "3,4\n"`, `output model/w.bin 7 "weights"`,
		fmt.Sprintf("output output/big %d %q", 3*sampleBytes, strings.Repeat("x", sampleBytes)),
	}
	if got := b.samplesOf("training", "s"); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func TestSamplesOfTransform(t *testing.T) {
	b := newBench(t, serving(server(200, upper)))
	if final, _ := b.run(transformPlan("s", "")); final.Status != "Completed" {
		t.Fatalf("%+v", final)
	}
	want := []string{`input a.csv 4 "1,2\n"`, `input sub/b.csv 4 "3,4\n"`, `output a.csv.out 4 "1A2\n"`, `output sub/b.csv.out 4 "3A4\n"`}
	got := b.samplesOf("transform", "s")
	for i := range got {
		got[i] = strings.Replace(got[i], "input train/", "input ", 1)
	}
	slices.Sort(got) // outputs are begun in any order
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	// An object without an output has none to show.
	b = newBench(t, serving(server(200, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", 400) })))
	b.run(transformPlan("bad", ""))
	for _, s := range b.samplesOf("transform", "bad") {
		if strings.HasPrefix(s, "output") {
			t.Error(s)
		}
	}
}

// Whatever a container has left, few entries are looked at, and nothing outside is read.
func TestSampleDir(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		os.Symlink(secret, filepath.Join(dir, "a")), os.Symlink("/", filepath.Join(dir, "b")),
		os.WriteFile(filepath.Join(dir, "c"), nil, 0o644), os.WriteFile(filepath.Join(dir, "d"), []byte("d"), 0o644), os.WriteFile(filepath.Join(dir, "e"), []byte("e"), 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	got := sampleDir("output", "model", dir)
	if len(got) != samplesOfDir || got[0].Name != "model/c" || got[1].Name != "model/d" || string(got[1].Data) != "d" {
		t.Errorf("%+v", got)
	}
	many := t.TempDir()
	for i := range sampleVisits {
		if err := os.Mkdir(filepath.Join(many, fmt.Sprintf("%04d", i)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(many, "0500", "z"), []byte("z"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := sampleDir("output", "model", many); len(got) != 0 {
		t.Errorf("%+v", got)
	}
	if got := sampleDir("output", "model", filepath.Join(dir, "gone")); got != nil {
		t.Errorf("%+v", got)
	}
}
