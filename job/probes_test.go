package job

import (
	"strings"
	"testing"
	"time"
)

// probed is the fixture algorithm's validation with its probes, changed at paths.
func probed(t *testing.T, o Options, h HostFacts, changes ...any) *Validation {
	t.Helper()
	o.Probe = true
	text := edit(t, "algorithm.json", "", "")
	for i := 0; i+1 < len(changes); i += 2 {
		text = change(t, text, changes[i].(string), changes[i+1])
	}
	return plan(t, o, h, text).Validation
}

func probesOf(v *Validation, kind string) (all []Probe) {
	for _, p := range v.Probes {
		if p.Kind == kind {
			all = append(all, p)
		}
	}
	return all
}

// The probes are the profile's jobs but for one thing, under names of their own, and bounded in time.
func TestProbes(t *testing.T) {
	v := probed(t, Options{RunSuffix: "abc123", Grace: 7 * time.Second}, machine)
	names := map[string]bool{v.Training.Name: true, v.Transform.Name: true}
	for _, p := range v.Probes {
		if names[p.Plan.Name] || !strings.HasSuffix(p.Plan.Name, "-abc123") || !strings.Contains(p.Plan.Name, "-probe-") || len(p.Plan.Name) > maxName {
			t.Errorf("name %s", p.Plan.Name)
		}
		names[p.Plan.Name] = true
		if !strings.HasSuffix(p.Plan.ARN, "/"+p.Plan.Name) || p.Does == "" || p.Limit <= 0 {
			t.Errorf("%s: %+v", p.Kind, p)
		}
		switch x := p.Plan; x.Kind {
		case KindTraining:
			if env := x.Training.Instances[0].Containers[0].Env; env["TRAINING_JOB_NAME"] != x.Name || x.Training.Grace.Std() != 7*time.Second || !x.Training.Isolated {
				t.Errorf("%s: %v", p.Kind, env)
			}
			if x.Training.ModelURI != "" || x.Training.KMSKeyID != "" {
				t.Errorf("%s: the outputs of a probe would be kept in %s", p.Kind, x.Training.ModelURI)
			}
		case KindTransform:
			if x.Transform.Models[0].URI != v.Training.Training.ModelURI || x.Transform.Output.Path != "" || !x.Transform.Isolated {
				t.Errorf("%s: %+v", p.Kind, x.Transform)
			}
		}
	}
	if env := v.Training.Training.Instances[0].Containers[0].Env; env["TRAINING_JOB_NAME"] != v.Training.Name {
		t.Errorf("the profile's training changed: %v", env)
	}
	for kind, n := range map[string]int{ProbeHyperparameter: 1, ProbeStop: 1, ProbeRequest: 1, ProbeServeStop: 1} {
		if got := probesOf(v, kind); len(got) != n {
			t.Errorf("%d probes of %s", len(got), kind)
		}
	}
	if v := plan(t, Options{}, machine, edit(t, "algorithm.json", "", "")).Validation; len(v.Probes) > 0 || len(v.Types) == 0 {
		t.Errorf("probes that nobody asked for: %+v", v.Probes)
	}
}

// HP-1: a value that cannot be meant, of the kind of which it is clearest.
func TestProbeOfHyperparameters(t *testing.T) {
	number := object{"Name": "depth", "Type": "Integer"}
	list := object{"Name": "kind", "Type": "Categorical", "Range": object{"CategoricalParameterRangeSpecification": object{"Values": []any{"a", "b"}}}}
	text := object{"Name": "note", "Type": "FreeText"}
	const specs, given = "TrainingSpecification.SupportedHyperParameters", "ValidationSpecification.ValidationProfiles[0].TrainingJobDefinition.HyperParameters"
	for _, c := range []struct {
		specs       any
		about, with string
		must        bool
	}{
		{[]any{text, list, number}, "depth", "not-a-number", true},
		{[]any{text, list}, "kind", "no-such-value", true},
		{[]any{text}, "note", "\x01no such value\x01", false},
		{nil, "no-such-hyperparameter", "1", false},
	} {
		v := probed(t, Options{}, machine, specs, c.specs, given, object{})
		p := probesOf(v, ProbeHyperparameter)[0]
		if p.About != c.about || p.Plan.Training.HyperParameters[p.About] != c.with || p.Must != c.must {
			t.Errorf("%+v", p)
		}
		if _, changed := v.Training.Training.HyperParameters[p.About]; changed {
			t.Error("the profile's training has it too")
		}
	}
}

// VAL-13: of each class the smallest type that the host can stand in for, where the profile's is larger.
func TestSupportedTypes(t *testing.T) {
	const types, own = "TrainingSpecification.SupportedTrainingInstanceTypes", "ValidationSpecification.ValidationProfiles[0].TrainingJobDefinition.ResourceConfig.InstanceType"
	small, gpu := machine, machine
	small.CPUs, small.MemoryBytes, small.Arch = 2, 8<<30, "amd64"
	gpu.CPUs, gpu.MemoryBytes, gpu.Arch, gpu.GPUs = 16, 128<<30, "amd64", 1
	for _, c := range []struct {
		name  string
		host  HostFacts
		o     Options
		types []any
		own   string
		want  SupportedTypes // of the training's first class
		n     int            // instance probes of the training
	}{
		{name: "the only one", host: small, types: []any{"ml.m5.large"}, own: "ml.m5.large", want: SupportedTypes{Class: "cpu", Ran: "ml.m5.large"}},
		{name: "a smaller one", host: small, types: []any{"ml.m5.large", "ml.t3.medium"}, own: "ml.m5.large", want: SupportedTypes{Class: "cpu", Ran: "ml.m5.large", Probe: "ml.t3.medium"}, n: 1},
		{name: "a larger one shows nothing more", host: gpu, types: []any{"ml.m5.large", "ml.m5.xlarge"}, own: "ml.m5.large", want: SupportedTypes{Class: "cpu", Ran: "ml.m5.large"}},
		{name: "too large for the host", host: small, types: []any{"ml.m5.24xlarge"}, own: "ml.m5.24xlarge", want: SupportedTypes{Class: "cpu", Lacks: "ml.m5.24xlarge has 384 GiB of memory, this host 8"}},
		{name: "GPUs that the host lacks", host: small, types: []any{"ml.p3.2xlarge"}, own: "ml.p3.2xlarge", want: SupportedTypes{Class: "gpu", Lacks: "ml.p3.2xlarge has 1 GPU(s), this host 0"}},
		{name: "GPUs that it has, and the profile does without", host: gpu, types: []any{"ml.p3.2xlarge", "ml.m5.large"}, own: "ml.m5.large", want: SupportedTypes{Class: "gpu", Probe: "ml.p3.2xlarge"}, n: 1},
		{name: "another machine", host: small, types: []any{"ml.c6g.large"}, own: "ml.c6g.large", want: SupportedTypes{Class: "cpu", Lacks: "ml.c6g.large is arm64, this host is amd64"}},
		{name: "the whole host", host: small, o: Options{AsInstance: "host"}, types: []any{"ml.m5.large"}, own: "ml.m5.large",
			want: SupportedTypes{Class: "cpu", Lacks: "--as-instance host: no job is of an instance type's size"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := probed(t, c.o, c.host, types, c.types, own, c.own)
			got := v.Types[0]
			got.Job, got.Types = "", nil
			if got.Class != c.want.Class || got.Ran != c.want.Ran || got.Probe != c.want.Probe || got.Lacks != c.want.Lacks {
				t.Errorf("%+v, want %+v", got, c.want)
			}
			n := 0
			for _, p := range probesOf(v, ProbeInstance) {
				if p.Plan.Kind != KindTraining {
					continue
				}
				n++
				x := p.Plan.Training
				if p.About != c.want.Probe || x.InstanceType != p.About || x.Instances[0].GPUs != instances()[p.About].AcceleratorCount {
					t.Errorf("%+v", x.Instances[0])
				}
			}
			if n != c.n {
				t.Errorf("%d probes", n)
			}
		})
	}
}

// ST-10: what is no body of a content type, and of which types that can be said.
func TestMalformed(t *testing.T) {
	for kind, must := range map[string]bool{"text/csv": true, "application/json": true, "application/jsonlines": true, "image/png": true, "application/x-recordio-protobuf": true,
		"text/csv; charset=utf-8": true, "text/plain": false, "application/octet-stream": false, "": false} {
		if body, got := malformed(kind); got != must || len(body) < 2 {
			t.Errorf("%s: %q %v", kind, body, got)
		}
	}
}
