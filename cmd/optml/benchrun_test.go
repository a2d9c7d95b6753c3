package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/optml/optml/job"
)

const benchTraining = `{
  "TrainingJobName": "t", "HyperParameters": {"epochs": "3"},
  "AlgorithmSpecification": {"TrainingImage": "img:1", "TrainingInputMode": "File"},
  "RoleArn": "arn:aws:iam::123456789012:role/r", "OutputDataConfig": {"S3OutputPath": "s3://b/out"},
  "CheckpointConfig": {"S3Uri": "s3://b/checkpoints"},
  "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 5}, "StoppingCondition": {"MaxRuntimeInSeconds": 600}
}`

const benchTransform = `{
  "TransformJobName": "x", "ModelName": "m", "TransformInput": {"DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://b/in"}}},
  "TransformOutput": {"S3OutputPath": "s3://b/out"}, "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1}
}`

const benchModel = `{"ModelName": "m", "ExecutionRoleArn": "arn:aws:iam::123456789012:role/r", "PrimaryContainer": {"Image": "serve:1", "Environment": {"WORKERS": "1"}}}`

// variantsOf makes the variants of documents with flags.
func variantsOf(t *testing.T, b benchFlags, more func(*job.Options), main string, others ...string) ([]benchVariant, error) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "main.json")
	if err := os.WriteFile(path, []byte(main), 0o644); err != nil {
		t.Fatal(err)
	}
	for i, v := range b.vs {
		b.vs[i] = filepath.Join(dir, v)
		text := strings.Replace(main, `"epochs": "3"`, `"epochs": "9"`, 1)
		if err := os.WriteFile(b.vs[i], []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	a := newApp(strings.NewReader(""), &bytes.Buffer{}, &bytes.Buffer{})
	return a.variants(&jobFlags{}, &b, path, func(p string) ([]given, error) {
		d, err := a.decode(p, request, true)
		if err != nil {
			return nil, err
		}
		docs := []given{d}
		for _, o := range others {
			d, err := job.Decode("other", []byte(o))
			if err != nil {
				return nil, err
			}
			docs = append(docs, given{d, []byte(o)})
		}
		return docs, nil
	}, more)
}

func TestBenchVariants(t *testing.T) {
	all, err := variantsOf(t, benchFlags{vary: []string{"TrainingInputMode=File,Pipe", "epochs=1,2"}, vs: []string{"other.json"}}, nil, benchTraining)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, v := range all {
		names = append(names, v.Name)
	}
	want := []string{
		"main.json, TrainingInputMode=File, epochs=1", "main.json, TrainingInputMode=File, epochs=2", "main.json, TrainingInputMode=Pipe, epochs=1", "main.json, TrainingInputMode=Pipe, epochs=2",
		"other.json, TrainingInputMode=File, epochs=1", "other.json, TrainingInputMode=File, epochs=2", "other.json, TrainingInputMode=Pipe, epochs=1", "other.json, TrainingInputMode=Pipe, epochs=2",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
	if raw := string(all[3].docs[0].raw); !strings.Contains(raw, `"TrainingInputMode": "Pipe"`) || !strings.Contains(raw, `"epochs": "2"`) {
		t.Errorf("%s", raw)
	}
	if m := all[3].Members; m[0].Path != "AlgorithmSpecification.TrainingInputMode" || m[1].Path != "HyperParameters.epochs" {
		t.Errorf("%+v", m)
	}
	// The document itself is what all variants are made of.
	if raw := string(all[0].docs[0].raw); !strings.Contains(raw, `"TrainingInputMode": "File"`) || !strings.Contains(raw, `"epochs": "1"`) {
		t.Errorf("%s", raw)
	}
	if all, err = variantsOf(t, benchFlags{}, nil, benchTraining); err != nil || len(all) != 1 || all[0].Name != "the job" {
		t.Errorf("%+v %v", all, err)
	}
	if all, err = variantsOf(t, benchFlags{vary: []string{"image=a:1,b:1", `gpus=0,all,"device=0,2"`}}, nil, benchTraining); err != nil || len(all) != 6 {
		t.Fatalf("%d %v", len(all), err)
	}
	if v := all[5]; !strings.Contains(string(v.docs[0].raw), `"TrainingImage": "b:1"`) || !cmp.Equal(v.options.GPUs.Devices, []string{"0", "2"}) || v.Members[0].Path != "AlgorithmSpecification.TrainingImage" {
		t.Errorf("%+v", v)
	}
	// Members of the documents that go with a transform.
	all, err = variantsOf(t, benchFlags{vary: []string{"WORKERS=1,2", "MaxConcurrentTransforms=4", "image=z:1"}}, nil, benchTransform, benchModel)
	if err != nil || len(all) != 2 {
		t.Fatal(err)
	}
	if raw := string(all[1].docs[1].raw); !strings.Contains(raw, `"WORKERS": "2"`) || !strings.Contains(raw, `"Image": "z:1"`) || !strings.Contains(string(all[1].docs[0].raw), `"MaxConcurrentTransforms": 4`) {
		t.Errorf("%s", raw)
	}
	all, err = variantsOf(t, benchFlags{vary: []string{"image=z:1"}}, func(o *job.Options) { o.ModelImage = "y:1" }, benchTransform)
	if err != nil || all[0].options.ModelImage != "z:1" {
		t.Errorf("%+v %v", all, err)
	}
}

func TestBenchVariantsRefused(t *testing.T) {
	for vary, want := range map[string]string{
		"InputMod=File":               `no member "InputMod"`,
		"gpus=many":                   "it is a number, all",
		"RoleArn":                     "MEMBER=VALUE",
		"VolumeSizeInGB=x":            "not a whole number",
		"ResourceConfig=1":            "not a single value",
		"epochs=1,1":                  "twice",
		"epochs=" + manyValues(t, 65): "more than 64 variants",
	} {
		_, err := variantsOf(t, benchFlags{vary: []string{vary}}, nil, benchTraining)
		var u *usageError
		if !errors.As(err, &u) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: %v", vary, err)
		}
	}
	if _, err := variantsOf(t, benchFlags{vary: []string{"image=a"}}, nil, benchTransform); err == nil || !strings.Contains(err.Error(), "name no image") {
		t.Error(err)
	}
	if _, err := variantsOf(t, benchFlags{vary: []string{"epochs=1", "epochs=2"}}, nil, benchTraining); err == nil || !strings.Contains(err.Error(), "given twice") {
		t.Error(err)
	}
}

func manyValues(t *testing.T, n int) string {
	t.Helper()
	var all []string
	for i := range n {
		all = append(all, strings.Repeat("x", i+1))
	}
	return strings.Join(all, ",")
}

// What a run makes goes to a directory that is removed, its checkpoints too: nothing of one run is there for the next.
func TestBenchRedirects(t *testing.T) {
	all, err := variantsOf(t, benchFlags{}, nil, benchTraining)
	if err != nil {
		t.Fatal(err)
	}
	p, err := makePlan(all[0].docs, all[0].options)
	if err != nil {
		t.Fatal(err)
	}
	redirect(p, "/w/out")
	x := p.Training
	if x.ModelURI != "/w/out/model.tar.gz" || x.OutputURI != "/w/out/output.tar.gz" || x.Checkpoint.URI != "/w/out/checkpoints" {
		t.Errorf("%+v", x)
	}
	if all, err = variantsOf(t, benchFlags{}, nil, benchTransform, benchModel); err != nil {
		t.Fatal(err)
	}
	if p, err = makePlan(all[0].docs, all[0].options); err != nil {
		t.Fatal(err)
	}
	if redirect(p, "/w/out"); p.Transform.Output.Path != "/w/out/transform" {
		t.Errorf("%+v", p.Transform.Output)
	}
	// The names of runs are short enough for the service, and each has one of its own.
	long := job.PlanBench(&job.Plan{Name: strings.Repeat("n", 63)}, "", "abc123", hostFacts().Now)
	if n := long.JobName(10_000); len(n) > 63 || !strings.HasSuffix(n, "-bench-abc123-10000") {
		t.Errorf("%s", n)
	}
	given := job.PlanBench(&job.Plan{}, strings.Repeat("n", 63), "", hostFacts().Now)
	if n := given.JobName(7); len(n) > 63 || n == given.JobName(8) {
		t.Errorf("%s", n)
	}
}

func TestPercent(t *testing.T) {
	for in, want := range map[string]float64{"5%": 0.05, "0.05": 0.05, "0": 0, "12.5 %": 0.125} {
		var p percent
		if err := p.Set(in); err != nil || p.share != want || !p.set {
			t.Errorf("%s: %+v %v", in, p, err)
		}
	}
	for _, in := range []string{"", "x", "-1%", "NaN"} {
		if new(percent).Set(in) == nil {
			t.Errorf("%q passes", in)
		}
	}
}
