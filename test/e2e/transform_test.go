//go:build e2e

package e2e

import (
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// train is a training job that completes; it returns the URI of its model.
func train(t *testing.T, hp ...string) string {
	t.Helper()
	name := jobName("model")
	ok(t, "train", "--quiet", training(name, hp...).file(t))
	return "s3://out/training/" + name + "/output/model.tar.gz"
}

// TestTransform drives a model over a prefix: what goes in, what comes out, under which names (BT-30, BT-120 to BT-123, BT-137), and
// the handshake in its order (INF-60, BT-20).
func TestTransform(t *testing.T) {
	sameHost(t)
	put(t, "data", "words/a.csv", "one\ntwo\nthree\n", "words/sub/b.csv", "four\nfive", "words/empty.csv", "")
	model := train(t)
	name := jobName("transform")
	m := modelDoc(model, "TINY_INVOKE", "upper", "TINY_REQUIRE_MODEL", "model.txt", "TINY_PARAMETERS", `{"MaxConcurrentTransforms":3,"BatchStrategy":"MULTI_RECORD","MaxPayloadInMB":6}`)
	ok(t, "transform", "--quiet", "--model-doc", m.file(t), transforming(name, "s3://data/words/").file(t))
	got := map[string]string{}
	for _, k := range keys(t, "out", "transform/"+name) {
		got[k] = string(object(t, "out", "transform/"+name+"/"+k))
	}
	want := map[string]string{"a.csv.out": "ONE\nTWO\nTHREE\n\n", "sub/b.csv.out": "FOUR\nFIVE\n", "empty.csv.out": ""}
	if !maps.Equal(got, want) {
		t.Errorf("outputs %q, want %q", got, want)
	}
	var walk []string
	for line := range strings.Lines(log(t, name)) {
		if strings.HasPrefix(line, `{"request"`) {
			r := decode[struct {
				Request struct{ Method, Path string }
			}](t, []byte(line)).Request
			walk = append(walk, r.Method+" "+r.Path)
		}
	}
	if len(walk) != 4 || walk[0] != "GET /ping" || walk[1] != "GET /execution-parameters" || walk[2] != "POST /invocations" || walk[3] != "POST /invocations" {
		t.Errorf("requests %v", walk)
	}
	s := record(t, name)
	if s.Status != "Completed" || s.Transform == nil || s.Transform.Objects != 3 || s.Transform.Records != 5 || s.Transform.MaxConcurrent != 3 || s.Transform.MaxPayloadMB != 1 {
		t.Errorf("%s, %+v", s.Status, s.Transform)
	}
	d := decode[struct {
		TransformJobStatus, TransformJobName string
	}](t, []byte(ok(t, "describe", name, "--output", "json").stdout))
	if d.TransformJobStatus != "Completed" || d.TransformJobName != name {
		t.Errorf("%+v", d)
	}
}

// TestInferenceLayout holds what a serving container can see: the model read-only at its place, nothing else below
// /opt/ml, the service's environment over the request's over the model's and no credentials (INF-20, INF-22, INF-40,
// INF-45, BT-10 to BT-13), and as many processors as the host has (INF-9).
func TestInferenceLayout(t *testing.T) {
	sameHost(t)
	put(t, "data", "one/x.csv", "x\n")
	model := train(t)
	name := jobName("inference")
	d := transforming(name, "s3://data/one/")
	d["Environment"] = doc{"B": "of the transform"}
	d["MaxConcurrentTransforms"] = 2
	m := modelDoc(model, "TINY_LAYOUT", "dump", "TINY_WRITE_MODEL", "1", "A", "of the model", "B", "of the model")
	ok(t, "transform", "--quiet", "--region", "us-east-2", "--model-doc", m.file(t), d.file(t))
	lines := log(t, name)
	l := said[layout](t, lines, "layout")
	if want := map[string]bool{"/opt/ml/model": true}; !maps.Equal(l.mounted(), want) {
		t.Errorf("mounts below /opt/ml, read-only: %v, want %v", l.mounted(), want)
	}
	if said[bool](t, lines, "model_writable") {
		t.Error("INF-22: the model can be written")
	}
	if l.mode("model/model.txt") != "-rw-r--r--" || l.mode("input") != "" || l.mode("code/shipped.txt") == "" {
		t.Errorf("tree %+v", l.Tree)
	}
	if l.CPUs != runtime.GOMAXPROCS(0) {
		t.Errorf("INF-9: %d processors, the host has %d", l.CPUs, runtime.GOMAXPROCS(0))
	}
	if !slices.Equal(l.Args, []string{"serve"}) || l.UID != 0 {
		t.Errorf("arguments %q, uid %d", l.Args, l.UID)
	}
	l.checkEnv(t, map[string]string{
		"TINY_LAYOUT": "dump", "TINY_WRITE_MODEL": "1", "A": "of the model", "B": "of the transform", "AWS_REGION": "us-east-2",
		"NVIDIA_VISIBLE_DEVICES": "void", "SAGEMAKER_BATCH": "true", "SAGEMAKER_MAX_PAYLOAD_IN_MB": "1",
		"SAGEMAKER_BATCH_STRATEGY": "MULTI_RECORD", "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS": "2",
	})
}

// TestModelOnTheCommandLine drives a model.tar.gz of this disk with an image, and no CreateModel document.
func TestModelOnTheCommandLine(t *testing.T) {
	sameHost(t)
	put(t, "data", "one/x.csv", "x\n")
	key, _ := strings.CutPrefix(train(t), "s3://out/")
	name := jobName("given")
	ok(t, "transform", "--quiet", "--image", tiny, "--model", w.s3+"/out/"+key, transforming(name, "s3://data/one/").file(t))
	if got := string(object(t, "out", "transform/"+name+"/x.csv.out")); got != "x\n\n" {
		t.Errorf("output %q", got)
	}
}
