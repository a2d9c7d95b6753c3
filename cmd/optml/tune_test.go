package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/optml/optml/job"
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
