package job

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
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

// flows are the documents of each kind of plan.
var flows = map[string][]string{
	"training": {"training.json"}, "transform": {"transform.json", "model.json"}, "algorithm": {"algorithm.json"}, "package": {"package.json"},
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

// plan makes a plan of a text with its companions, which must pass.
func plan(t testing.TB, o Options, h HostFacts, text string) *Plan {
	t.Helper()
	p, err := Make(companionsOf(t, "doc", text), o, h)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// The START table: which command runs (START-1).
func TestCommand(t *testing.T) {
	for name, tc := range map[string]struct {
		entrypoint, arguments []any
		wantEntry, wantArgs   []string
	}{
		"neither":    {nil, nil, nil, []string{"train"}},
		"entrypoint": {[]any{"/bin/bash"}, nil, []string{"/bin/bash"}, nil},
		"arguments":  {nil, []any{"-c", "x y"}, nil, []string{"-c", "x y"}},
		"both":       {[]any{"/bin/bash"}, []any{"-c"}, []string{"/bin/bash"}, []string{"-c"}},
	} {
		text := edit(t, "training.json", "", "")
		if tc.entrypoint != nil {
			text = change(t, text, "AlgorithmSpecification.ContainerEntrypoint", tc.entrypoint)
		}
		if tc.arguments != nil {
			text = change(t, text, "AlgorithmSpecification.ContainerArguments", tc.arguments)
		}
		c := plan(t, Options{}, machine, text).Training.Instances[0].Containers[0]
		if diff := cmp.Diff([][]string{tc.wantEntry, tc.wantArgs}, [][]string{c.Entrypoint, c.Args}); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// The environment of a training container: ENV-1 (no SM_*), ENV-4, START-14.
func TestTrainingEnvironment(t *testing.T) {
	text := change(t, edit(t, "training.json", "", ""), "Environment", map[string]any{"AWS_REGION": "mars-1", "TRAINING_JOB_NAME": "mine", "A": "line\nbreak"})
	got := plan(t, Options{}, machine, text).Training.Instances[0].Containers[0].Env
	want := map[string]string{"A": "line\nbreak", "AWS_REGION": "mars-1", "NVIDIA_VISIBLE_DEVICES": "void", "TRAINING_JOB_NAME": "boost-2026-11-20",
		"TRAINING_JOB_ARN": "arn:aws:sagemaker:us-east-2:210987654321:training-job/boost-2026-11-20"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// BT-10 to BT-15: all given, none given, zeros.
func TestTransformEnvironment(t *testing.T) {
	full := edit(t, "transform.json", "", "")
	none := full
	for _, m := range []string{"MaxConcurrentTransforms", "MaxPayloadInMB", "BatchStrategy", "Environment", "ModelClientConfig"} {
		none = change(t, none, m, nil)
	}
	zero := change(t, change(t, full, "MaxConcurrentTransforms", 0), "MaxPayloadInMB", 0)
	base := map[string]string{"AWS_REGION": "us-east-2", "NVIDIA_VISIBLE_DEVICES": "void", "SAGEMAKER_BATCH": "true", "WORKERS": "2", "LOG": "job"}
	with := func(kv ...string) map[string]string {
		m := map[string]string{}
		maps.Copy(m, base)
		for i := 0; i < len(kv); i += 2 {
			m[kv[i]] = kv[i+1]
		}
		return m
	}
	for name, tc := range map[string]struct {
		text string
		want map[string]string
	}{
		"all given": {full, with("SAGEMAKER_BATCH_STRATEGY", "SINGLE_RECORD", "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS", "4", "SAGEMAKER_MAX_PAYLOAD_IN_MB", "10")},
		"none":      {none, with("LOG", "model")}, // INF-40: the model's own
		"zeros":     {zero, with("SAGEMAKER_BATCH_STRATEGY", "SINGLE_RECORD", "SAGEMAKER_MAX_PAYLOAD_IN_MB", "0")},
	} {
		tr := plan(t, Options{}, machine, tc.text).Transform
		if diff := cmp.Diff(tc.want, tr.Instances[0].Containers[0].Env); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if name == "zeros" && (tr.MaxConcurrent != nil || tr.MaxPayloadMB == nil || *tr.MaxPayloadMB != 0) {
			t.Errorf("zeros: %v, %v", tr.MaxConcurrent, tr.MaxPayloadMB)
		}
		if name == "none" && (tr.MaxConcurrent != nil || tr.MaxPayloadMB != nil || tr.BatchStrategy != nil || tr.InvocationTimeout.Std() != 600*time.Second || tr.MaxRetries != 3) {
			t.Errorf("none: %+v", tr)
		}
	}
}

// A transform without a CreateModel request: image and archive from the command line.
func TestTransformWithModelFile(t *testing.T) {
	d := fixture(t, "transform.json")
	p, err := Make([]*Document{d}, Options{ModelImage: "img:1", ModelURI: "m/model.tar.gz", Dir: "/d", Grace: time.Second, PingWindow: time.Minute}, machine)
	if err != nil {
		t.Fatal(err)
	}
	tr := p.Transform
	if tr.Models[0].URI != "/d/m/model.tar.gz" || tr.Instances[0].Containers[0].Image.Ref != "img:1" || tr.Grace.Std() != time.Second || tr.PingWindow.Std() != time.Minute || tr.Isolated {
		t.Errorf("got %+v", tr)
	}
	_, err = Make([]*Document{d}, Options{}, machine)
	if err == nil || !strings.Contains(err.Error(), `model "boost-model" is not known here`) {
		t.Errorf("got %v", err)
	}
}

// CH-5: a validation's jobs are isolated whatever the document; --network open says so in a warning.
func TestIsolation(t *testing.T) {
	p := plan(t, Options{}, machine, edit(t, "algorithm.json", "", ""))
	if v := p.Validation; !v.Training.Training.Isolated || !v.Transform.Transform.Isolated || len(p.Warnings) != 0 {
		t.Errorf("not isolated, or warned: %v", p.Warnings)
	}
	p = plan(t, Options{Network: "open"}, machine, edit(t, "algorithm.json", "", ""))
	if v := p.Validation; v.Training.Training.Isolated || v.Transform.Transform.Isolated || len(p.Warnings) != 1 || p.Warnings[0].Rule != "INF-44" {
		t.Errorf("warnings %v", p.Warnings)
	}
	open := change(t, edit(t, "training.json", "", ""), "EnableNetworkIsolation", nil)
	if plan(t, Options{}, machine, open).Training.Isolated || !plan(t, Options{Network: "isolated"}, machine, open).Training.Isolated {
		t.Error("EnableNetworkIsolation or --network isolated is not followed")
	}
}

// Ruling 14 and START-14: how many GPUs an instance gets.
func TestGPUs(t *testing.T) {
	four := machine
	four.GPUs, four.MemoryBytes, four.CPUs = 4, 1<<40, 256
	two := GPURequest{Count: 2}
	for _, tc := range []struct {
		instance string
		host     HostFacts
		asked    *GPURequest
		want     int
		warns    string
	}{
		{"ml.m5.large", four, nil, 0, ""},
		{"ml.g4dn.xlarge", four, nil, 1, ""},
		{"ml.p3.16xlarge", four, nil, 4, "has more GPUs than this host (4)"},
		{"ml.g4dn.xlarge", machine, nil, 0, "has more GPUs than this host (0)"},
		{"local_gpu", four, nil, 4, ""},
		{"local", four, nil, 0, ""},
		{"ml.z9.huge", four, nil, 4, ""},
		{"ml.m5.large", four, &two, 2, ""},
		{"ml.m5.large", four, &GPURequest{All: true}, 4, ""},
		{"ml.p3.16xlarge", four, &GPURequest{}, 0, ""},
		{"ml.m5.large", four, &GPURequest{Devices: []string{"0", "GPU-1", "3"}}, 3, ""},
		{"ml.trn1.2xlarge", four, nil, 0, "accelerators (Trainium) that optml does not offer"},
		{"ml.m5.24xlarge", machine, nil, 0, "384 GiB of memory"},
		{"ml.c5.4xlarge", HostFacts{CPUs: 4, MemoryBytes: 1 << 40}, nil, 0, "16 processors, this host 4"},
		{"ml.m6g.large", machine, nil, 0, "is arm64, this host is amd64"},
	} {
		p := plan(t, Options{GPUs: tc.asked}, tc.host, edit(t, "training.json", "ml.m5.xlarge", tc.instance))
		i := p.Training.Instances[0]
		if _, void := i.Containers[0].Env["NVIDIA_VISIBLE_DEVICES"]; i.GPUs != tc.want || void != (tc.want == 0) || p.Training.InstanceType != tc.instance {
			t.Errorf("%s: %d GPUs, void %v", tc.instance, i.GPUs, void)
		}
		var said []string
		for _, w := range p.Warnings {
			if w.Rule == "ruling 14" {
				said = append(said, w.Text)
			}
		}
		if got := strings.Join(said, "; "); !strings.Contains(got, tc.warns) || (tc.warns == "") != (got == "") {
			t.Errorf("%s: warnings %q, want %q", tc.instance, got, tc.warns)
		}
	}
}

// Ruling 13: the volume is VolumeSizeInGB, or the type's own disks.
func TestVolume(t *testing.T) {
	for instance, want := range map[string]int64{"ml.m5.xlarge": 30 << 30, "ml.m5d.large": 75e9} {
		if got := plan(t, Options{}, machine, edit(t, "training.json", "ml.m5.xlarge", instance)).Training.VolumeBytes; got != want {
			t.Errorf("%s: %d, want %d", instance, got, want)
		}
	}
	if got := plan(t, Options{}, machine, edit(t, "training.json", `"VolumeSizeInGB": 30, `, ``)).Training.VolumeBytes; got != 0 {
		t.Errorf("none: %d", got)
	}
}

// Ruling 21: the trained model goes to the first container without a ModelDataUrl of its own.
func TestWhereTheModelGoes(t *testing.T) {
	p := plan(t, Options{}, machine, edit(t, "algorithm.json", "", ""))
	if v := p.Validation; v.Transform.Transform.Models[0].URI != v.Training.Training.ModelURI || v.Transform.Transform.ModelName != "iris-forest-default-model" {
		t.Errorf("got %+v", v.Transform.Transform.Models)
	}
	p = plan(t, Options{}, machine, edit(t, "algorithm.json", `"Environment": {"WORKERS": "1"}`, `"ModelDataUrl": "s3://b/other.tar.gz"`))
	if got := p.Validation.Transform.Transform.Models[0].URI; got != "s3://b/other.tar.gz" || len(p.Warnings) != 1 || p.Warnings[0].Rule != "ruling 21" {
		t.Errorf("got %s, %v", got, p.Warnings)
	}
}

// Defaults: one day (STOP-8), FullyReplicated (IDC-2), File mode of the job, shm half of memory (START-12).
func TestDefaults(t *testing.T) {
	text := change(t, edit(t, "training.json", "", ""), "StoppingCondition", map[string]any{})
	text = change(t, text, "InputDataConfig[0].InputMode", nil)
	text = change(t, text, "InputDataConfig[0].DataSource.S3DataSource.S3DataDistributionType", nil)
	text = change(t, text, "HyperParameters", nil)
	tr := plan(t, Options{}, machine, text).Training
	c := tr.Channels[0]
	if tr.MaxRuntime.Std() != 24*time.Hour || tr.Grace.Std() != 2*time.Minute || tr.ShmBytes != machine.MemoryBytes/2 || c.Mode != "File" || c.Source.Distribution != "FullyReplicated" || tr.HyperParameters == nil || c.ShuffleSeed != nil {
		t.Errorf("got %+v", tr)
	}
	if tr = plan(t, Options{ShmBytes: 5, Grace: time.Second}, machine, text).Training; tr.ShmBytes != 5 || tr.Grace.Std() != time.Second {
		t.Errorf("options are not followed: %+v", tr)
	}
	// IDC-6: no channels at all.
	if tr = plan(t, Options{}, machine, change(t, text, "InputDataConfig", nil)).Training; len(tr.Channels) != 0 {
		t.Errorf("got %+v", tr.Channels)
	}
}

// Documents that do not go together are refused with a sentence, not a panic.
func TestArrange(t *testing.T) {
	for name, tc := range map[string]struct {
		docs []string
		want string
	}{
		"none":          {nil, "no document"},
		"twice":         {[]string{"training.json", "training.json"}, "are both CreateTrainingJob requests"},
		"two jobs":      {[]string{"training.json", "transform.json"}, "several jobs at once"},
		"model alone":   {[]string{"model.json"}, "a CreateModel request runs nothing"},
		"useless model": {[]string{"training.json", "model.json"}, "uses no CreateModel request"},
		"useless algo":  {[]string{"transform.json", "algorithm.json"}, "uses no CreateAlgorithm request"},
		"unasked algo":  {[]string{"training.json", "algorithm.json"}, "this job names an image, not an algorithm"},
	} {
		var docs []*Document
		for _, d := range tc.docs {
			docs = append(docs, fixture(t, d))
		}
		p, err := Make(docs, Options{}, machine)
		if err == nil || p != nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want %q", name, err, tc.want)
		}
	}
}

// Duration reads what it writes.
func TestDuration(t *testing.T) {
	var d Duration
	if err := d.UnmarshalText([]byte("2m0s")); err != nil || d.Std() != 2*time.Minute {
		t.Errorf("got %v, %v", d, err)
	}
	if err := d.UnmarshalText([]byte("2 minutes")); err == nil {
		t.Error("takes nonsense")
	}
}

// Ruling 14: a number of GPUs that the user names is had or refused, never fewer.
func TestMoreGPUsThanThereAre(t *testing.T) {
	four := machine
	four.GPUs = 4
	text := edit(t, "training.json", "ml.m5.xlarge", "ml.p3.16xlarge")
	_, err := Make(companionsOf(t, "doc", text), Options{GPUs: &GPURequest{Count: 5}}, four)
	if err == nil || !strings.Contains(err.Error(), "--gpus 5: this host has 4") {
		t.Error(err)
	}
}

// DIST-8: instances on one machine have different GPUs, as few each as that takes, or the same if they are to share.
func TestGPUsOfInstances(t *testing.T) {
	eight := machine
	eight.GPUs, eight.MemoryBytes, eight.CPUs = 8, 1<<40, 256
	for name, tc := range map[string]struct {
		instances int
		kind      string
		o         Options
		each      int
		devices   [][]string
		says      string
	}{
		"as many as the type has": {2, "ml.g4dn.12xlarge", Options{}, 4, nil, ""},
		"fewer each":              {3, "ml.g4dn.12xlarge", Options{}, 2, nil, "each of the 3 instances gets 2 GPUs, not 4: this host has 8"},
		"all, evenly":             {4, "local_gpu", Options{}, 2, nil, "each of the 4 instances gets 2 GPUs, not 8: this host has 8"},
		"shared":                  {3, "ml.g4dn.12xlarge", Options{ShareGPUs: true}, 4, nil, ""},
		"shared alone":            {1, "ml.g4dn.12xlarge", Options{ShareGPUs: true}, 4, nil, ""},
		"named":                   {2, "ml.m5.large", Options{GPUs: &GPURequest{Devices: []string{"0", "1", "GPU-a", "3"}}}, 2, [][]string{{"0", "1"}, {"GPU-a", "3"}}, ""},
		"named, and shared":       {2, "ml.m5.large", Options{GPUs: &GPURequest{Devices: []string{"0", "1"}}, ShareGPUs: true}, 2, [][]string{{"0", "1"}, {"0", "1"}}, ""},
		"none":                    {9, "ml.m5.large", Options{}, 0, nil, ""},
		"too few for each":        {9, "ml.g4dn.12xlarge", Options{}, 0, nil, "9 instances need a GPU each and there are 8: give fewer instances, --gpus 0, or --share-gpus"},
		"too few are named":       {2, "ml.m5.large", Options{GPUs: &GPURequest{Devices: []string{"0"}}}, 0, nil, "2 instances need a GPU each and there are 1"},
	} {
		t.Run(name, func(t *testing.T) {
			text := edit(t, "transform.json", `"InstanceCount": 1`, fmt.Sprintf(`"InstanceCount": %d`, tc.instances))
			text = change(t, text, "TransformResources.InstanceType", tc.kind)
			p, err := Make(companionsOf(t, "doc", text), tc.o, eight)
			if err != nil {
				if tc.each > 0 || tc.says == "" || !strings.Contains(err.Error(), tc.says) {
					t.Error(err)
				}
				return
			}
			total := map[bool]int{true: tc.each, false: tc.each * tc.instances}[tc.o.ShareGPUs]
			if n, which := GPUsOf(p.Transform.Instances); n != total || tc.devices != nil && len(which) != total {
				t.Errorf("%d GPUs in all, %v, want %d", n, which, total)
			}
			for i, in := range p.Transform.Instances {
				if in.GPUs != tc.each || in.SharedGPUs != (tc.o.ShareGPUs && tc.instances > 1) || tc.devices != nil && !slices.Equal(in.GPUDevices, tc.devices[i]) {
					t.Errorf("%+v", in)
				}
			}
			said := ""
			for _, w := range p.Warnings {
				if w.Rule == "DIST-8" {
					said = w.Text
				}
			}
			if said != tc.says {
				t.Errorf("%q, want %q", said, tc.says)
			}
		})
	}
}

// CompressionType NONE: artifacts go below prefixes, and a validation's transform takes the model from there (OUT-6).
func TestUnpackedArtifacts(t *testing.T) {
	none := map[string]any{"S3OutputPath": "s3://bucket/models/", "CompressionType": "NONE"}
	text := change(t, edit(t, "training.json", "", ""), "OutputDataConfig", none)
	p, err := Make([]*Document{decode(t, "job.json", text)}, Options{InterruptAfter: time.Minute}, machine)
	if err != nil {
		t.Fatal(err)
	}
	want := "s3://bucket/models/" + p.Name + "/output/"
	if tr := p.Training; !tr.Unpacked || tr.ModelURI != want+"model" || tr.OutputURI != want+"data" || tr.InterruptAfter.Std() != time.Minute {
		t.Errorf("%+v", tr)
	}
	text = change(t, edit(t, "algorithm.json", "", ""), "ValidationSpecification.ValidationProfiles[0].TrainingJobDefinition.OutputDataConfig", none)
	if p, err = Make([]*Document{decode(t, "algorithm.json", text)}, Options{}, machine); err != nil {
		t.Fatal(err)
	}
	if m, uri := p.Validation.Transform.Transform.Models[0], p.Validation.Training.Training.ModelURI; m.URI != uri+"/" || !m.Unpacked || m.Type != "S3Prefix" || !strings.HasSuffix(uri, "/output/model") {
		t.Errorf("the transform's model is %+v, the training's %s", m, uri)
	}
}
