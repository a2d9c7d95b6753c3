package job

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// INF-1, INF-3, INF-7, INF-45, INF-50, INF-64, INF-74, BT-90, BT-104, BT-105: what a transform gets whose request says
// nothing of it.
func TestInferenceDefaults(t *testing.T) {
	text := edit(t, "transform.json", "", "")
	for _, m := range []string{"MaxConcurrentTransforms", "MaxPayloadInMB", "BatchStrategy", "ModelClientConfig"} {
		text = change(t, text, m, nil)
	}
	tr := plan(t, Options{}, machine, text).Transform
	if tr.Grace.Std() != 30*time.Second || tr.PingWindow.Std() != 30*time.Minute || tr.InvocationTimeout.Std() != 600*time.Second || tr.MaxRetries != 3 {
		t.Errorf("grace %v, /ping within %v, invocations within %v, %d retries", tr.Grace, tr.PingWindow, tr.InvocationTimeout, tr.MaxRetries)
	}
	c := tr.Instances[0].Containers[0]
	if c.Port != 8080 || len(c.Entrypoint) > 0 || fmt.Sprint(c.Args) != "[serve]" {
		t.Errorf("port %d, command %q %q", c.Port, c.Entrypoint, c.Args)
	}
	for name := range c.Env {
		if strings.HasPrefix(name, "AWS_") && name != "AWS_REGION" {
			t.Errorf("%s is given to the container", name)
		}
	}
}

// INF-3, BT-109, BT-145: what the service has no member for is refused by its name.
func TestMembersThatTransformsLack(t *testing.T) {
	for _, tc := range []struct{ file, companion, path string }{
		{"model.json", "transform.json", "PrimaryContainer.ContainerEntrypoint"},
		{"model.json", "transform.json", "PrimaryContainer.ContainerArguments"},
		{"transform.json", "model.json", "CustomAttributes"},
		{"transform.json", "model.json", "InferenceId"},
		{"transform.json", "model.json", "StoppingCondition"},
	} {
		name := tc.path[strings.LastIndex(tc.path, ".")+1:]
		if got := refusal(t, Options{}, change(t, edit(t, tc.file, "", ""), tc.path, "x"), tc.companion); !strings.Contains(got, name) {
			t.Errorf("%s with %s: %q", tc.file, tc.path, got)
		}
	}
}

// INF-42, INF-74, BT-90: both sides of each limit.
func TestTransformLimits(t *testing.T) {
	full := change(t, edit(t, "transform.json", "", ""), "MaxConcurrentTransforms", 1)
	variables := func(n int) map[string]any {
		m := map[string]any{}
		for i := range n {
			m[fmt.Sprintf("K%d", i)] = "v"
		}
		return m
	}
	for _, tc := range []struct {
		path  string
		value any
		want  string // in the refusal; "": taken
	}{
		{"Environment", variables(16), ""},
		{"Environment", variables(17), "'environment'"},
		{"Environment", map[string]any{"K": strings.Repeat("v", 10240)}, ""},
		{"Environment", map[string]any{"K": strings.Repeat("v", 10241)}, "'environment'"},
		{"MaxPayloadInMB", 0, ""},
		{"MaxPayloadInMB", 100, ""},
		{"MaxPayloadInMB", -1, "'maxPayloadInMB'"},
		{"MaxPayloadInMB", 101, "101 MB is more than 100"},
		{"ModelClientConfig.InvocationsTimeoutInSeconds", 1, ""},
		{"ModelClientConfig.InvocationsTimeoutInSeconds", 3600, ""},
		{"ModelClientConfig.InvocationsTimeoutInSeconds", 0, "invocationsTimeoutInSeconds'"},
		{"ModelClientConfig.InvocationsTimeoutInSeconds", 3601, "invocationsTimeoutInSeconds'"},
		{"ModelClientConfig.InvocationsMaxRetries", 0, ""},
		{"ModelClientConfig.InvocationsMaxRetries", 3, ""},
		{"ModelClientConfig.InvocationsMaxRetries", -1, "invocationsMaxRetries'"},
		{"ModelClientConfig.InvocationsMaxRetries", 4, "invocationsMaxRetries'"},
	} {
		got := refusal(t, Options{}, change(t, full, tc.path, tc.value), "model.json")
		if (tc.want == "") != (got == "") || !strings.Contains(got, tc.want) {
			t.Errorf("%s = %.40s: %q, want %q", tc.path, fmt.Sprint(tc.value), got, tc.want)
		}
	}
}

// INF-53, INF-57: several models in one container, and calls of one container of several, are for endpoints.
func TestEndpointsOnly(t *testing.T) {
	for path, value := range map[string]string{"PrimaryContainer.Mode": "MultiModel", "InferenceExecutionConfig.Mode": "Direct"} {
		if got := refusal(t, Options{}, change(t, edit(t, "model.json", "", ""), path, value), "transform.json"); !strings.Contains(got, path+": "+value+" is refused") {
			t.Errorf("%s: %q", path, got)
		}
	}
}

// INF-24: one archive.
func TestModelDataSourceOfOneArchive(t *testing.T) {
	text := change(t, edit(t, "model.json", "", ""), "PrimaryContainer.ModelDataUrl", nil)
	text = change(t, text, "PrimaryContainer.ModelDataSource", map[string]any{"S3DataSource": map[string]any{"S3Uri": "s3://b/m.tar.gz", "S3DataType": "S3Object", "CompressionType": "Gzip"}})
	p, err := Make([]*Document{fixture(t, "transform.json"), decode(t, "model.json", text)}, Options{}, machine)
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Transform.Models[0].URI; got != "s3://b/m.tar.gz" {
		t.Errorf("the model is %s", got)
	}
}
