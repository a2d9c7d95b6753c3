package job

import (
	"slices"
	"strings"
	"testing"
)

// pipelineModel is a CreateModel request of these containers.
func pipelineModel(t *testing.T, containers ...any) *Document {
	t.Helper()
	text := change(t, edit(t, "model.json", "", ""), "PrimaryContainer", nil)
	return decode(t, "model.json", change(t, text, "Containers", containers))
}

type object = map[string]any

// INF-43, INF-51, ST-18: the containers of a pipeline have a name, a port and a range of ports each.
func TestPipelinePlan(t *testing.T) {
	job := fixture(t, "transform.json")
	for _, tc := range []struct {
		hosts, want []string
	}{
		{[]string{"", "", ""}, []string{"container-1", "container-2", "container-3"}},
		{[]string{"clean", "score", "text"}, []string{"clean", "score", "text"}},
	} {
		var all []any
		for _, h := range tc.hosts {
			c := object{"Image": "img:1", "ModelDataUrl": "s3://b/" + h + ".tar.gz", "Environment": object{"SAGEMAKER_BIND_TO_PORT": "1"}}
			if h != "" {
				c["ContainerHostname"] = h
			}
			all = append(all, c)
		}
		p, err := Make([]*Document{job, pipelineModel(t, all...)}, Options{}, machine)
		if err != nil {
			t.Fatal(err)
		}
		for i, c := range p.Transform.Instances[0].Containers {
			port := []string{"21000", "21100", "21200"}[i]
			ports := []string{"21001-21099", "21101-21199", "21201-21299"}[i]
			if c.Hostname != tc.want[i] || c.Name != "algo-1-"+tc.want[i] || c.Env["SAGEMAKER_BIND_TO_PORT"] != port || c.Env["SAGEMAKER_SAFE_PORT_RANGE"] != ports || c.Port != 21000+100*i {
				t.Errorf("%+v", c)
			}
			if m := p.Transform.Models[i]; m.Container != c.Name || m.URI != "s3://b/"+tc.hosts[i]+".tar.gz" {
				t.Errorf("%+v", m)
			}
		}
		if n := len(p.Warnings); n < 3 || p.Warnings[n-1].Rule != "INF-51" {
			t.Errorf("the document's ports are overridden, and that is not said: %v", p.Warnings)
		}
	}
	// INF-50: one container needs none of it.
	p, err := Make([]*Document{job, pipelineModel(t, object{"Image": "img:1", "ContainerHostname": "alone"})}, Options{}, machine)
	if err != nil {
		t.Fatal(err)
	}
	c := p.Transform.Instances[0].Containers[0]
	if _, set := c.Env["SAGEMAKER_BIND_TO_PORT"]; set || c.Port != 8080 || c.Hostname != "alone" || c.Name != "algo-1" {
		t.Errorf("%+v", c)
	}
	// API: at most 15.
	var many []any
	for range 16 {
		many = append(many, object{"Image": "img:1"})
	}
	if _, err := Make([]*Document{job, pipelineModel(t, many...)}, Options{}, machine); err == nil || !strings.Contains(err.Error(), "15") {
		t.Errorf("got %v", err)
	}
}

// Ruling 21: a trained model goes to the first container without its own, in a validation and with --model.
func TestWhereTheModelGoesInAPipeline(t *testing.T) {
	text := change(t, edit(t, "algorithm.json", "", ""), "InferenceSpecification.Containers",
		[]any{object{"Image": "img:1", "ModelDataUrl": "s3://b/own.tar.gz"}, object{"Image": "img:2"}, object{"Image": "img:3"}})
	v := plan(t, Options{}, machine, text).Validation
	m := v.Transform.Transform.Models
	if len(m) != 3 || m[0].URI != "s3://b/own.tar.gz" || m[1].URI != v.Training.Training.ModelURI || m[2].URI != "" {
		t.Errorf("%+v", m)
	}
	docs := []*Document{fixture(t, "transform.json"), pipelineModel(t, object{"Image": "img:1", "ModelDataUrl": "s3://b/own.tar.gz"}, object{"Image": "img:2"})}
	p, err := Make(docs, Options{ModelURI: "s3://b/trained.tar.gz"}, machine)
	if err != nil {
		t.Fatal(err)
	}
	if m := p.Transform.Models; m[0].URI != "s3://b/own.tar.gz" || m[1].URI != "s3://b/trained.tar.gz" {
		t.Errorf("%+v", m)
	}
}

// INF-24, INF-28, ruling 21: a ModelDataSource and what is beside it stand in the plan, of each container its own.
func TestModelSources(t *testing.T) {
	source := func(uri, kind, compression string) object {
		return object{"S3Uri": uri, "S3DataType": kind, "CompressionType": compression, "ETag": "tag"}
	}
	p, err := Make([]*Document{fixture(t, "transform.json"), pipelineModel(t,
		object{"Image": "img:1", "ModelDataSource": object{"S3DataSource": source("m/", "S3Prefix", "None")}},
		object{"Image": "img:2", "ModelDataSource": object{"S3DataSource": source("s3://b/m.tar.gz", "S3Object", "Gzip")},
			"AdditionalModelDataSources": []any{object{"ChannelName": "draft", "S3DataSource": source("s3://b/d", "S3Object", "None")}}},
	)}, Options{Dir: "/d"}, machine)
	if err != nil {
		t.Fatal(err)
	}
	want := []ModelSource{
		{Container: "algo-1-container-1", URI: "/d/m/", Type: "S3Prefix", Unpacked: true, ETag: "tag"},
		{Container: "algo-1-container-2", URI: "s3://b/m.tar.gz", Type: "S3Object", ETag: "tag"},
		{Container: "algo-1-container-2", Channel: "draft", URI: "s3://b/d", Type: "S3Object", Unpacked: true, ETag: "tag"},
	}
	if got := append(p.Transform.Models, p.Transform.More...); !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
}
