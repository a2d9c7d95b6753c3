package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/optml/optml/job"
	"github.com/optml/optml/transform"
)

// The grid has what the service allows (BT-91, BT-92) and what can make a difference.
func TestTunedSettings(t *testing.T) {
	single, multi := "SingleRecord", "MultiRecord"
	for _, c := range []struct {
		name       string
		t          job.Transform
		largest    int64
		n          int
		has, lacks []setting
	}{
		{"open", job.Transform{Input: job.TransformInput{SplitType: "Line"}}, 0, 31,
			[]setting{{single, 1, 6}, {single, 16, 6}, {multi, 32, 1}, {multi, 2, 50}, {multi, 1, 1}}, []setting{{single, 1, 1}, {multi, 4, 50}, {"", 1, 6}}},
		{"one record a request", job.Transform{Input: job.TransformInput{SplitType: "Line"}, BatchStrategy: &single, MaxPayloadMB: new(20)}, 0, 3,
			[]setting{{"", 4, 20}}, []setting{{"", 8, 20}}},
		{"large records", job.Transform{Input: job.TransformInput{SplitType: "Line"}, BatchStrategy: &multi}, 30 << 20, 4, []setting{{"", 1, 30}, {"", 2, 30}, {"", 1, 50}, {"", 2, 50}}, nil},
		{"the document's own payload", job.Transform{Input: job.TransformInput{SplitType: "Line"}, BatchStrategy: &multi, MaxPayloadMB: new(100)}, 60 << 20, 1, []setting{{"", 1, 100}}, nil},
		{"nothing is split", job.Transform{Input: job.TransformInput{SplitType: "None"}}, 0, 5, []setting{{"", 16, 6}}, nil},
		{"large objects", job.Transform{Input: job.TransformInput{SplitType: "None"}}, 20<<20 + 1, 3, []setting{{"", 1, 21}, {"", 4, 21}}, nil},
		{"streamed", job.Transform{Input: job.TransformInput{SplitType: "None"}, MaxPayloadMB: new(0)}, 0, 6, []setting{{"", 32, 0}}, nil},
	} {
		got := settings(&c.t, c.largest)
		if len(got) != c.n {
			t.Errorf("%s: %d settings, want %d: %v", c.name, len(got), c.n, got)
		}
		for _, s := range c.has {
			if !slices.Contains(got, s) {
				t.Errorf("%s: no %v", c.name, s)
			}
		}
		for _, s := range append(c.lacks, setting{"", 0, 0}) {
			if slices.Contains(got, s) {
				t.Errorf("%s: has %v", c.name, s)
			}
		}
	}
}

// The fastest is chosen, of those that are alike the one that needs the least memory, of those that failed none.
func TestBestSetting(t *testing.T) {
	trials := []trial{
		{setting: setting{"", 1, 6}, Records: 1, RecordsPerSecond: 50},
		{setting: setting{"", 4, 6}, Records: 1, RecordsPerSecond: 99},
		{setting: setting{"", 16, 6}, Records: 1, RecordsPerSecond: 100},
		{setting: setting{"", 2, 6}, Records: 1, RecordsPerSecond: 500, Error: "it\nfell over"},
	}
	if got := best(trials); got != 1 {
		t.Errorf("the best is %d", got)
	}
	var b bytes.Buffer
	if err := printTrials(trials, formatText, &b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"best  4           6", "failed: it fell over\n", "\"MaxConcurrentTransforms\": 4,\n\"MaxPayloadInMB\": 6,\n"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	b.Reset()
	if err := printTrials(trials, formatJSON, &b); err != nil || !strings.Contains(b.String(), `"best": {`) {
		t.Errorf("%v:\n%s", err, b.String())
	}
	if err := printTrials(trials[3:], formatText, &b); err == nil {
		t.Error("a setting that failed is the best")
	}
}

// What is near the best is tried again; the median counts, and a failure.
func TestTunedAgain(t *testing.T) {
	trials := []trial{
		{setting: setting{"", 1, 6}, Records: 1, RecordsPerSecond: 50},
		{setting: setting{"", 4, 6}, Records: 1, RecordsPerSecond: 90, BytesPerSecond: 900, Tried: 1},
		{setting: setting{"", 16, 6}, Records: 1, RecordsPerSecond: 100, BytesPerSecond: 1000, Tried: 1},
		{setting: setting{"", 2, 6}, Records: 1, RecordsPerSecond: 500, Error: "it fell over"},
	}
	final := finalists(trials)
	if !slices.Equal(final, []int{2, 1}) {
		t.Fatalf("finalists %v", final)
	}
	for _, rate := range []float64{50, 52} { // the first run was luck
		trials[2].again(trial{Records: 1, RecordsPerSecond: rate})
	}
	trials[1].again(trial{Records: 1, RecordsPerSecond: 92})
	if x := trials[2]; x.RecordsPerSecond != 52 || x.BytesPerSecond != 520 || x.Tried != 3 || best(trials) != 1 || trials[1].RecordsPerSecond != 91 {
		t.Errorf("%+v", trials)
	}
	if trials[1].again(trial{Error: "no"}); best(trials) != 2 {
		t.Errorf("%+v", trials)
	}
	if got := finalists(nil); len(got) != 0 {
		t.Errorf("finalists %v", got)
	}
}

// A sample that is the beginning of an object stands for all of it, as far as the settings need it.
func TestSampleIsLengthened(t *testing.T) {
	for _, c := range []struct{ long, size, want int64 }{{0, 100, 10}, {35, 100, 30}, {1000, 40, 1000}, {tuneObject + 1, 45, 40}, {-1, 25, 20}, {1000, 0, 10}} {
		name := filepath.Join(t.TempDir(), "x")
		if err := os.WriteFile(name, []byte("1\n22\n333\n4\n")[:10], 0o600); err != nil {
			t.Fatal(err)
		}
		s := &sampled{transform.Sampled{Files: []string{name}, Bytes: 10, Records: 3, Long: c.long}, 1, 0}
		err := s.lengthen(c.size)
		text, _ := os.ReadFile(name)
		if err != nil || int64(len(text)) != c.want || s.Bytes != c.want || int64(s.Records) != 3*c.want/10 || !bytes.Equal(text, bytes.Repeat(text[:10], int(c.want/10))) {
			t.Errorf("%+v: %v, %q, %+v", c, err, text, s)
		}
	}
	name := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		total int64
		times int
	}{{0, 50}, {tuneInput - 1, 50}, {tuneInput, 7}, {10, 50}} { // what is large is not made larger
		s := &sampled{transform.Sampled{Files: []string{name}, Bytes: 10 << 20}, 1, c.total}
		more, err := s.grow(50)
		if err != nil || !more || s.times != c.times {
			t.Errorf("of %d: %d times, %v", c.total, s.times, err)
		}
		for i := 1; i < s.times; i++ {
			os.Remove(fmt.Sprintf("%s-%d", name, i))
		}
	}
	for _, c := range []struct {
		grid []setting
		want int64
	}{
		{[]setting{{"", 1, 6}, {"", 16, 6}}, 0},
		{[]setting{{"", 1, 6}, {"", 2, 50}}, 200 << 20},
		{[]setting{{"SingleRecord", 1, 6}, {"MultiRecord", 4, 6}}, 48 << 20},
	} {
		if got := needs(c.grid); got != c.want {
			t.Errorf("%v: %d, want %d", c.grid, got, c.want)
		}
	}
}

// A setting goes into the document, whose other members stay.
func TestSettingInADocument(t *testing.T) {
	raw := []byte(`{"TransformJobName":"j","ModelName":"m","BatchStrategy":"MultiRecord","MaxPayloadInMB":1,"TransformInput":{"DataSource":{"S3DataSource":{"S3DataType":"S3Prefix","S3Uri":"s3://b/i/"}}},"TransformOutput":{"S3OutputPath":"s3://b/o"},"TransformResources":{"InstanceType":"ml.m5.large","InstanceCount":1}}`)
	d, err := job.Decode("x", raw)
	if err != nil {
		t.Fatal(err)
	}
	got, err := setting{"SingleRecord", 3, 7}.document(given{d, raw})
	if err != nil {
		t.Fatal(err)
	}
	p, err := job.Make([]*job.Document{got.Document}, job.Options{ModelImage: "i:1"}, job.HostFacts{})
	if err != nil {
		t.Fatal(err)
	}
	x := p.Transform
	env := x.Instances[0].Containers[0].Env
	if *x.MaxConcurrent != 3 || *x.MaxPayloadMB != 7 || *x.BatchStrategy != "SingleRecord" || x.Input.Source.URI != "s3://b/i/" ||
		env["SAGEMAKER_MAX_CONCURRENT_TRANSFORMS"] != "3" || env["SAGEMAKER_MAX_PAYLOAD_IN_MB"] != "7" || env["SAGEMAKER_BATCH_STRATEGY"] != "SINGLE_RECORD" {
		t.Errorf("%+v, %v", x, env)
	}
}
