package job

import (
	"errors"
	"strings"
	"testing"
)

// A CreateModel request alone is a container that serves (INF-1, INF-40, INF-44): with what a transform would give it, but
// for the batch (BT-10), its input and its output.
func TestServingPlan(t *testing.T) {
	text := edit(t, "model.json", "", "")
	docs := func(text string) []*Document {
		d, err := DecodeAs(CreateModel, "model.json", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return []*Document{d}
	}
	if _, err := Make(docs(text), Options{}, machine); err == nil || !strings.Contains(err.Error(), "runs nothing") {
		t.Errorf("without Serve: %v", err)
	}
	p, err := Make(docs(text), Options{Serve: true, Name: "load-1"}, machine)
	if err != nil {
		t.Fatal(err)
	}
	transform := plan(t, Options{}, machine, edit(t, "transform.json", "", ""))
	tr := p.Transform
	if p.Kind != KindServing || p.Operation != CreateModel || p.Name != "load-1" || len(p.Members) == 0 {
		t.Errorf("%s %s %s, %d members", p.Kind, p.Operation, p.Name, len(p.Members))
	}
	if tr.Input.Source.URI != "" || tr.Input.SplitType != "" || tr.Output != (TransformOutput{}) || tr.Isolated != transform.Transform.Isolated || len(tr.Instances) != 1 {
		t.Errorf("%+v", tr)
	}
	c, of := tr.Instances[0].Containers[0], transform.Transform.Instances[0].Containers[0]
	if c.Image != of.Image || c.Port != of.Port || c.Args[0] != "serve" || tr.Models[0] != transform.Transform.Models[0] {
		t.Errorf("%+v, of a transform %+v", c, of)
	}
	for name := range c.Env {
		if strings.HasPrefix(name, "SAGEMAKER_BATCH") || strings.HasPrefix(name, "SAGEMAKER_MAX") {
			t.Errorf("%s is given to a container that has no batch", name)
		}
	}
	if in := tr.Instances[0]; in.CPUs != 0 || in.MemoryBytes != 0 {
		t.Errorf("no instance is named, and it is not the whole host: %+v", in)
	}
	p, err = Make(docs(text), Options{Serve: true, AsInstance: "ml.m5.large", ModelURI: "s3://b/other.tar.gz", Network: "open"}, machine)
	if err != nil {
		t.Fatal(err)
	}
	if in := p.Transform.Instances[0]; in.Type != "ml.m5.large" || in.CPUs != 2 || p.Transform.Models[0].URI != "s3://b/other.tar.gz" || p.Transform.Isolated {
		t.Errorf("%+v", p.Transform)
	}
	for _, w := range p.Warnings {
		if w.Rule == "RES-6" {
			t.Errorf("%s", w.Text)
		}
	}

	two := `{"ModelName": "m", "ExecutionRoleArn": "arn:aws:iam::123456789012:role/r", "Containers": [{"Image": "a:1"}, {"Image": "b:1"}]}`
	var refused *Unsupported
	if _, err := Make(docs(two), Options{Serve: true}, machine); !errors.As(err, &refused) || refused.Members[0].Path != "Containers" {
		t.Errorf("INF-54: a pipeline: %v", err)
	}
}
