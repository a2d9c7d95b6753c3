package ledger

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/optml/optml/job"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares v, as JSON, with a file of testdata.
func golden(t *testing.T, name string, v any) {
	t.Helper()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		t.Fatal(err)
	}
	got := b.Bytes()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, got) {
		t.Errorf("%s: %s", name, cmp.Diff(string(want), string(got)))
	}
}

func members(t *testing.T, doc string) request {
	t.Helper()
	var r request
	if err := json.Unmarshal([]byte(doc), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// LIFE-1, LIFE-5, LIFE-6, MET-8, OUT-4.
func TestDescribeTraining(t *testing.T) {
	p := trainingPlan("a")
	p.Training.Instances = []job.Instance{{Host: "algo-1", Containers: []job.Container{{Name: "algo-1", Image: job.Image{Ref: "repo/i:1"}}}}}
	p.Training.Hosts = []string{"algo-1"}
	p.Training.Channels = []job.Channel{
		{Name: "train", Mode: "File", Source: job.Source{Type: "S3Prefix", URI: "s3://b/t/", Distribution: "FullyReplicated"}, ContentType: "text/csv"},
		{Name: "local", Mode: "File", Source: job.Source{Type: "FileSystem", URI: "/fsx", Directory: "/x", ReadOnly: true}},
	}
	p.Training.Metrics = []job.MetricDefinition{{Name: "acc", Regex: "acc=(.*)"}}
	s := foldAll(p, completed()...)
	r := members(t, `{"TrainingJobName":"other","RoleArn":"arn:aws:iam::1:role/r","HyperParameters":{"b":"2","a":"1"},
		"AlgorithmSpecification":{"TrainingImage":"i:1","TrainingInputMode":"File","New":1e30},"Tags":[{"Key":"k","Value":"v"}],
		"OutputDataConfig":{"S3OutputPath":"s3://b/out"},"ResourceConfig":{"InstanceType":"ml.m5.large","InstanceCount":1,"VolumeSizeInGB":1},
		"StoppingCondition":{"MaxRuntimeInSeconds":3600},"EnableNetworkIsolation":true,"Environment":{"X":"<&>"}}`)
	golden(t, "describe-training.json", describeTraining(&s, p, r))
	golden(t, "describe-training-nodocument.json", describeTraining(&s, p, nil))
	fresh := newState(p)
	golden(t, "describe-training-fresh.json", describeTraining(fresh, p, r))
	failed := foldAll(p, ev(2, "", "", Transition{Status: "InProgress", Secondary: "Training"}),
		ev(2, "", "", Exited{Container: "algo-1", Code: 1, At: at(2).Add(300e6)}),
		ev(3, "", "", Transition{Status: "Failed", Secondary: "Failed", FailureReason: "AlgorithmError: , exit code: 1"}))
	d := describeTraining(&failed, p, r)
	if d.Get("BillableTimeInSeconds") != int64(1) || d.Get("FailureReason") != "AlgorithmError: , exit code: 1" { // LIFE-6: at least 1
		t.Errorf("%v", d)
	}
}

func TestDescribeTransform(t *testing.T) {
	p := &job.Plan{
		Kind: job.KindTransform, Name: "x", ARN: "arn:aws:sagemaker:us-east-1:000000000000:transform-job/x",
		Transform: &job.Transform{
			ModelName: "m", CreationTime: t0, MaxConcurrent: new(0), MaxPayloadMB: new(6), BatchStrategy: new("MultiRecord"),
			Instances: make([]job.Instance, 1),
			Input:     job.TransformInput{Source: job.Source{Type: "S3Prefix", URI: "s3://b/in"}, SplitType: "Line", ContentType: "text/csv"},
			Output:    job.TransformOutput{Path: "s3://b/out", AssembleWith: "Line"},
		},
	}
	s := foldAll(p, ev(1, "", "", Transition{Status: "InProgress", Secondary: "Downloading"}), ev(2, "", "", Started{Container: "c"}),
		ev(9, "", "", Transition{Status: "Failed", FailureReason: "ClientError: See job logs for more information"}))
	golden(t, "describe-transform.json", describeTransform(&s, p, nil))
	// BT-28: the request's values, not the resolved ones.
	d := describeTransform(&s, p, members(t, `{"ModelName":"m","TransformInput":{"DataSource":{}},"TransformResources":{"InstanceType":"ml.m5.large","InstanceCount":1}}`))
	want := []string{"TransformJobName", "TransformJobArn", "TransformJobStatus", "FailureReason", "ModelName", "TransformInput",
		"TransformResources", "CreationTime", "TransformStartTime", "TransformEndTime"}
	if diff := cmp.Diff(want, d.Names()); diff != "" {
		t.Error(diff)
	}
}

// VAL-20, VAL-21, VAL-22, VAL-32; the children's records are read from beside.
func TestDescribeValidation(t *testing.T) {
	root := t.TempDir()
	p := &job.Plan{
		Format: 1, Kind: job.KindValidation, Operation: "CreateAlgorithm", Name: "alg-r1", ARN: "arn:aws:sagemaker:us-east-1:000000000000:algorithm/alg",
		Validation: &job.Validation{Algorithm: "alg", Profile: "p1", Training: trainingPlan("t"), Transform: &job.Plan{},
			Images: []job.NamedImage{{Name: "training-image", Image: job.Image{Ref: "i"}}, {Name: "inference-image", Image: job.Image{Ref: "j"}}}},
	}
	o, err := Create(root, Request{Plan: p, Documents: map[string][]byte{
		"CreateAlgorithm.json": []byte(`{"AlgorithmName":"alg","TrainingSpecification":{"TrainingImage":"i"},"InferenceSpecification":{},"CertifyForMarketplace":false,"Tags":[]}`),
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	describe := func() (Document, string) {
		d, err := o.Job().Describe()
		if err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(d.Get("AlgorithmStatusDetails").(*StatusDetails).ValidationStatuses)
		if err != nil {
			t.Fatal(err)
		}
		return d, string(b)
	}
	if _, got := describe(); got != `[{"Name":"p1-training","Status":"NotStarted"},{"Name":"p1-transform","Status":"NotStarted"}]` {
		t.Error(got)
	}
	child := create(t, root, "t")
	mustAppend(t, o, Transition{Status: StatusInProgress}, Child{Kind: "training", Name: "t"})
	if _, got := describe(); got != `[{"Name":"p1-training","Status":"InProgress"},{"Name":"p1-transform","Status":"NotStarted"}]` {
		t.Error(got)
	}
	mustAppend(t, child, Transition{Status: StatusFailed, FailureReason: "AlgorithmError: , exit code: 3"})
	child.Close()
	mustAppend(t, o, Transition{Status: StatusFailed, FailureReason: "the training failed"})
	d, got := describe()
	if got != `[{"Name":"p1-training","Status":"Failed","FailureReason":"AlgorithmError: , exit code: 3"},{"Name":"p1-transform","Status":"NotStarted"}]` {
		t.Error(got)
	}
	want := []string{"AlgorithmName", "AlgorithmArn", "CreationTime", "TrainingSpecification", "InferenceSpecification",
		"AlgorithmStatus", "AlgorithmStatusDetails", "CertifyForMarketplace"}
	if diff := cmp.Diff(want, d.Names()); diff != "" {
		t.Error(diff)
	}
	scans, _ := json.Marshal(d.Get("AlgorithmStatusDetails").(*StatusDetails).ImageScanStatuses)
	if n := bytes.Count(scans, []byte(`"Status":"NotStarted"`)); n != 2 {
		t.Errorf("image scans: %s", scans)
	}
	if err := Remove(child.Job()); err != nil { // a child's record may go; its parent still says how it ended
		t.Fatal(err)
	}
	if _, got := describe(); got != `[{"Name":"p1-training","Status":"Failed","FailureReason":"the training failed"},{"Name":"p1-transform","Status":"NotStarted"}]` {
		t.Error(got)
	}
	if s := ValidationStatus(StatusStopped); s != StatusFailed {
		t.Error(s)
	}
}
