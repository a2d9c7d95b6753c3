package metrics

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

type onDisk struct {
	Time   time.Time `json:"time"`
	Host   string    `json:"host"`
	Name   string    `json:"name"`
	Value  float64   `json:"value"`
	Offset int64     `json:"offset"`
}

func readLines(t *testing.T, path string) (lines []onDisk, broken int) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		var l onDisk
		if json.Unmarshal(sc.Bytes(), &l) != nil {
			broken++
			continue
		}
		lines = append(lines, l)
	}
	return lines, broken
}

func TestJSONL(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.jsonl")
	s, err := OpenJSONL(path)
	if err != nil {
		t.Fatal(err)
	}
	in := []Sample{
		{At: t0.Add(123456789), Host: "algo-1", Name: "validation:auc", Value: 0.8, Offset: 12},
		{At: t0, Host: "", Name: "a \"quoted\" <é>\n", Value: -1e-300},
		{At: t0, Host: "algo-2", Name: "big", Value: 123456789012345680, Offset: 1 << 40},
	}
	for _, x := range in {
		if err := s.Add(x); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	var want []onDisk
	for _, x := range in {
		want = append(want, onDisk{x.At, x.Host, x.Name, x.Value, x.Offset})
	}
	got, broken := readLines(t, path)
	if diff := cmp.Diff(want, got); diff != "" || broken > 0 {
		t.Error(broken, diff)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Add(in[0]); err == nil { // buffered, but no flush will succeed
		err = s.Flush()
		if !errors.Is(err, os.ErrClosed) || s.Add(in[0]) == nil || s.Flush() == nil {
			t.Error(err)
		}
	}

	// A killed process leaves half a line; the next sample is not glued to it.
	if err := os.WriteFile(path, []byte(`{"time":"2026`), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err = OpenJSONL(path); err != nil {
		t.Fatal(err)
	}
	s.Add(in[0])
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got, broken := readLines(t, path); len(got) != 1 || broken != 1 {
		t.Error(got, broken)
	}
}

// Training 5.2.
func TestBetween(t *testing.T) {
	at := func(s int, cpu time.Duration, mem, limit int64) Usage {
		return Usage{At: t0.Add(time.Duration(s) * time.Second), CPU: cpu, MemoryBytes: mem, MemoryLimit: limit}
	}
	for name, tc := range map[string]struct {
		a, b Usage
		host int64
		want Instance
	}{
		"two and a half cores":   {at(0, 0, 0, 0), at(2, 5*time.Second, 0, 0), 100, Instance{CPUUtilization: 250}},
		"memory of the limit":    {at(0, 0, 0, 0), at(1, 0, 25, 50), 100, Instance{MemoryUtilization: 50}},
		"memory of the host":     {at(0, 0, 0, 0), at(1, 0, 25, 0), 100, Instance{MemoryUtilization: 25}},
		"a limit above the host": {at(0, 0, 0, 0), at(1, 0, 25, 1<<62), 100, Instance{MemoryUtilization: 25}},
		"a host not known":       {at(0, 0, 0, 0), at(1, 0, 25, 0), 0, Instance{}},
		"more than all":          {at(0, 0, 0, 0), at(1, 0, 120, 0), 100, Instance{MemoryUtilization: 100}},
		"one moment":             {at(1, 0, 0, 0), at(1, 1, 0, 0), 100, Instance{}},
		"backwards":              {at(0, 9, 0, 0), at(1, 3, 0, 0), 100, Instance{}},
		"disk":                   {Usage{}, Usage{DiskUsed: 3, DiskSize: 12}, 0, Instance{DiskUtilization: 25}},
		"GPUs": {Usage{}, Usage{GPUs: []GPU{{Busy: 90, MemoryUsed: 1, MemoryTotal: 2}, {Busy: 30, MemoryUsed: 1, MemoryTotal: 4}, {MemoryTotal: 0, Busy: 101}}}, 0,
			Instance{GPUUtilization: 220, GPUMemoryUtilization: 75}},
	} {
		if got := Between(tc.a, tc.b, tc.host); got != tc.want {
			t.Errorf("%s: %+v, want %+v", name, got, tc.want)
		}
	}
}

// The file of samples has a limit, up to which a series thins out and does not stop; the instance's samples are all kept.
func TestJSONLThinsOut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "metrics.jsonl")
	s, err := OpenJSONL(path)
	if err != nil {
		t.Fatal(err)
	}
	s.left, s.half = 200<<10, 100<<10
	const n = 20_000
	for i := range n {
		for _, x := range []Sample{{At: t0, Host: "algo-1", Name: "a", Value: float64(i)}, {At: t0, Host: "algo-1", Name: "b", Value: float64(i)}} {
			if err := s.Add(x); err != nil {
				t.Fatal(err)
			}
		}
		if i%1000 == 0 {
			s.Add(Sample{At: t0, Host: "algo-1", Name: CPUUtilization, Instance: true})
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	fi, err := os.Stat(path)
	if err != nil || fi.Size() > 200<<10 {
		t.Fatal(fi.Size(), err)
	}
	got, _ := readLines(t, path)
	count, last := map[string]int{}, map[string]float64{}
	for _, l := range got {
		count[l.Name]++
		last[l.Name] = l.Value
	}
	if count["a"] < 500 || count["b"] < 500 || last["a"] < n*9/10 || last["b"] < n*9/10 || count[CPUUtilization] != n/1000 {
		t.Error(count, last)
	}
	if s.Skipped()+int64(len(got)) != 2*n+n/1000 {
		t.Error(s.Skipped(), len(got))
	}

	// A log that is read again gives its samples again; the instance's are kept.
	if err := KeepInstance(path); err != nil {
		t.Fatal(err)
	}
	if got, broken := readLines(t, path); len(got) != n/1000 || broken != 0 || got[0].Name != CPUUtilization {
		t.Error(len(got), broken)
	}
	if err := KeepInstance(path + ".none"); err != nil {
		t.Error(err)
	}
}
