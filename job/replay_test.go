package job

import (
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// replies are replies as the service's clients print them: the AWS CLI in versions 1 (times as numbers) and 2 (times in
// ISO 8601), and a program with boto3.
var replies = []struct {
	file, reply, operation string
	dropped                []string
	companions             []string
}{
	{"describe-training-job.json", "DescribeTrainingJob", CreateTrainingJob, []string{"TrainingJobArn", "ModelArtifacts", "TrainingJobStatus", "SecondaryStatus",
		"CreationTime", "TrainingStartTime", "TrainingEndTime", "LastModifiedTime", "SecondaryStatusTransitions", "FinalMetricDataList",
		"TrainingTimeInSeconds", "BillableTimeInSeconds", "ProfilingStatus"}, nil},
	{"describe-transform-job.json", "DescribeTransformJob", CreateTransformJob, []string{"TransformJobArn", "TransformJobStatus", "CreationTime",
		"TransformStartTime", "TransformEndTime"}, []string{"model.json"}},
	{"describe-algorithm.json", "DescribeAlgorithm", CreateAlgorithm, []string{"AlgorithmArn", "CreationTime", "AlgorithmStatus", "AlgorithmStatusDetails",
		"ProductId", "ResponseMetadata"}, nil},
	{"describe-model-package.json", "DescribeModelPackage", CreateModelPackage, []string{"ModelPackageName", "ModelPackageVersion", "ModelPackageArn", "CreationTime",
		"InferenceSpecification.Containers[0].ModelDataETag", "ModelPackageStatus", "ModelPackageStatusDetails", "CreatedBy"}, nil},
	{"describe-model.json", "DescribeModel", CreateModel, []string{"CreationTime", "ModelArn"}, nil},
}

func replay(t testing.TB, file string) *Replayed {
	t.Helper()
	b, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Replay(file, b)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return r
}

// A reply becomes the request that it answers for: what only replies have is left out and named, all else stays, and the
// request reads as a document of its own.
func TestReplay(t *testing.T) {
	for _, c := range replies {
		r := replay(t, c.file)
		if r.Reply != c.reply || r.Operation != c.operation {
			t.Errorf("%s: %s for %s", c.file, r.Reply, r.Operation)
		}
		if d := cmp.Diff(c.dropped, r.Dropped); d != "" {
			t.Errorf("%s: dropped\n%s", c.file, d)
		}
		again, err := DecodeAs(c.operation, "request.json", r.Request)
		if err != nil {
			t.Errorf("%s: its request: %v\n%s", c.file, err, r.Request)
			continue
		}
		if len(r.found.list) > 0 || len(again.found.list) > 0 {
			t.Errorf("%s: %v, %v", c.file, r.found.list, again.found.list)
		}
		if !reflect.DeepEqual(again.body, r.body) {
			t.Errorf("%s: the request differs from the reply:\n%s", c.file, r.Request)
		}
		// What is in the request is in the reply, and what is not was dropped, as encoding/json sees both.
		var reply, request map[string]any
		b, _ := os.ReadFile("testdata/" + c.file)
		if err := errors.Join(json.Unmarshal(b, &reply), json.Unmarshal(r.Request, &request)); err != nil {
			t.Fatal(err)
		}
		for name, v := range reply {
			if w, kept := request[name]; kept == slices.Contains(c.dropped, name) {
				t.Errorf("%s: %s kept: %v", c.file, name, kept)
			} else if kept && name != "InferenceSpecification" && !reflect.DeepEqual(v, w) {
				t.Errorf("%s: %s is %v, was %v", c.file, name, w, v)
			}
		}
	}
}

// The replies' requests are planned like any other.
func TestReplayIsPlanned(t *testing.T) {
	for _, c := range replies {
		if c.operation == CreateModel || c.operation == CreateModelPackage {
			continue
		}
		r := replay(t, c.file)
		if _, err := Make(append([]*Document{r.Document}, fixtures(t, c.companions...)...), Options{RunSuffix: "000001"}, machine); err != nil {
			t.Errorf("%s: %v", c.file, err)
		}
	}
	// A transform with the reply that describes its model.
	if _, err := Make([]*Document{replay(t, "describe-transform-job.json").Document, replay(t, "describe-model.json").Document}, Options{}, machine); err != nil {
		t.Error(err)
	}
}

// Errors of the request stand where the reply has them.
func TestReplayPlaces(t *testing.T) {
	b, err := os.ReadFile("testdata/describe-training-job.json")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(b), `"MaxRuntimeInSeconds": 3600`, `"MaxRuntimeInSeconds": 0`, 1)
	line := strings.Count(text[:strings.Index(text, `"MaxRuntimeInSeconds": 0`)], "\n") + 1
	r, err := Replay("job.json", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	_, err = Make([]*Document{r.Document}, Options{}, machine)
	var invalid *Invalid
	if !errors.As(err, &invalid) || len(invalid.Problems) != 1 || invalid.Problems[0].Line != line || invalid.Problems[0].Path != "StoppingCondition.MaxRuntimeInSeconds" {
		t.Errorf("line %d: %v", line, err)
	}
}

func TestReplayRefuses(t *testing.T) {
	b, err := os.ReadFile("testdata/describe-transform-job.json")
	if err != nil {
		t.Fatal(err)
	}
	reply := string(b)
	for name, c := range map[string]struct{ text, want, hint string }{
		"a member of neither": {strings.Replace(reply, `"ModelName"`, `"Weather": "fine", "ModelName"`, 1),
			`job.json:6:5: Weather: neither a reply of DescribeTransformJob nor a CreateTransformJob request has a member of this name`, "remove it"},
		"a misspelt one": {strings.Replace(reply, `"TransformStartTime"`, `"TransformStarttime"`, 1),
			`TransformStarttime: neither a reply`, "did you mean TransformStartTime?"},
		"several at once": {strings.NewReplacer(`"ModelName"`, `"Weather": 1, "Wind": 2, "ModelName"`, `"TransformResources": {`, `"TransformResources": {"Doors": 5, `).Replace(reply),
			"Wind: neither a reply", ""},
		"deeper":         {strings.Replace(reply, `"TransformResources": {`, `"TransformResources": {"Doors": 5, `, 1), "TransformResources has no member of this name", ""},
		"a wrong type":   {strings.Replace(reply, `"InstanceCount": 1`, `"InstanceCount": "1"`, 1), "TransformResources.InstanceCount: must be a whole number", "without quotes"},
		"a doubled name": {strings.Replace(reply, `"ModelName"`, `"ModelName": "a", "ModelName"`, 1), "stands here a second time", ""},
		"not JSON":       {reply[:len(reply)/2], "is not closed", ""},
		"a list":         {"[" + reply + "]", "a request is a JSON object, this is a list", ""},
		"deep":           {strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 100), "nested more than 64 levels deep", ""},
		"too long":       {`{"TransformJobArn": "` + strings.Repeat("a", MaxDocumentBytes) + `"}`, "more than the 8388608 bytes that a request may have", ""},
	} {
		_, err := Replay("job.json", []byte(c.text))
		var invalid *Invalid
		if !errors.As(err, &invalid) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var all, hints string
		for _, p := range invalid.Problems {
			all += p.String() + "\n"
			hints += p.Hint + "\n"
		}
		if !strings.Contains(all, c.want) || !strings.Contains(hints, c.hint) {
			t.Errorf("%s:\n%s%s", name, all, hints)
		}
	}
	for text, want := range map[string]string{
		`{}`:                          "doc.json is not a reply that describes a job, a model, an algorithm or a model package",
		edit(t, "model.json", "", ""): "doc.json is a CreateModel request, not a reply that describes one",
		`{"EndpointArn": "a", "EndpointName": "b"}`: "doc.json is not a reply that describes a job, a model, an algorithm or a model package",
	} {
		_, err := Replay("doc.json", []byte(text))
		var none *NoReplyError
		if !errors.As(err, &none) || err.Error() != want || none.Hint() == "" {
			t.Errorf("%.40s: %v", text, err)
		}
		if ReplyOf([]byte(text)) != "" {
			t.Errorf("%.40s is a reply", text)
		}
	}
}

// A reply that was cut by a query is known by what is left of it.
func TestReplyOf(t *testing.T) {
	for text, want := range map[string]string{
		`{"TrainingJobArn": "arn"}`:                                  "DescribeTrainingJob",
		`{"TrainingJobName": "a", "TrainingJobStatus": "Completed"}`: "DescribeTrainingJob",
		`{"ModelPackageArn": "arn", "ModelPackageName": "a"}`:        "DescribeModelPackage",
		`{"ModelName": "a", "CreationTime": 1}`:                      "DescribeModel",
		`{"AlgorithmName": "a", "ProductId": "p"}`:                   "DescribeAlgorithm",
		`{"TransformJobName": "a"}`:                                  "",
		`not JSON`:                                                   "", `[]`: "",
	} {
		if have := ReplyOf([]byte(text)); have != want {
			t.Errorf("%s: %q", text, have)
		}
	}
}

// What the service has filled in from other members does not contradict them.
func TestReplayDerived(t *testing.T) {
	_, err := Replay("pkg.json", []byte(`{
		"ModelPackageName": "boost", "ModelPackageArn": "arn:aws:sagemaker:us-east-2:210987654321:model-package/boost",
		"InferenceSpecification": {"Containers": [{"Image": "img:1", "Environment": {"ModelDataETag": "mine"}}]},
		"SourceAlgorithmSpecification": {"SourceAlgorithms": [{"AlgorithmName": "forest", "ModelDataUrl": "s3://b/m.tar.gz", "ModelDataETag": "e"}]},
		"ModelPackageStatus": "Completed", "FutureTime": null}`))
	if err == nil || !strings.Contains(err.Error(), "FutureTime") {
		t.Errorf("a null of an unknown name: %v", err)
	}
	r, err := Replay("pkg.json", []byte(`{
		"ModelPackageName": "boost", "ModelPackageArn": "arn:aws:sagemaker:us-east-2:210987654321:model-package/boost",
		"InferenceSpecification": {"Containers": [{"Image": "img:1"}]}, "ModelApprovalStatus": null, "LastModifiedTime": null,
		"SourceAlgorithmSpecification": {"SourceAlgorithms": [{"AlgorithmName": "forest", "ModelDataUrl": "s3://b/m.tar.gz", "ModelDataETag": "e"}]}}`))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"ModelPackageArn", "InferenceSpecification", "SourceAlgorithmSpecification.SourceAlgorithms[0].ModelDataETag"}, r.Dropped); d != "" {
		t.Error(d)
	}
	if r.Algorithm() != "forest" {
		t.Errorf("%q", r.Algorithm())
	}
	r, err = Replay("pkg.json", []byte(`{
		"ModelPackageName": "boost", "ModelPackageArn": "arn",
		"InferenceSpecification": {"Containers": [{"Image": "img:1", "ModelDataETag": "e", "Environment": {"ModelDataETag": "mine"}}]}}`))
	if err != nil || !strings.Contains(string(r.Request), `"ModelDataETag": "mine"`) || strings.Contains(string(r.Request), `"e"`) {
		t.Errorf("an environment variable of the name stays: %v\n%s", err, r.Request)
	}
	r, err = Replay("job.json", []byte(`{"TrainingJobArn": "arn", "TrainingJobName": "j", "RoleArn": "arn:aws:iam::123456789012:role/r",
		"AlgorithmSpecification": {"AlgorithmName": "forest", "TrainingImage": "img:1", "TrainingInputMode": "File"}, "OutputDataConfig": {"S3OutputPath": "s3://b/o"}}`))
	if err != nil || !slices.Equal(r.Dropped, []string{"TrainingJobArn", "AlgorithmSpecification.TrainingImage"}) {
		t.Errorf("START-7: %v %v", r, err)
	}
}

// The table of replies: one for each request, none of whose members is the request's, and all that say how it went are in it.
func TestReplyFacts(t *testing.T) {
	for _, op := range operationNames() {
		r, input := facts().Replies[op], facts().Shapes[facts().Operations[op]]
		if r == nil || r.Operation != strings.Replace(op, "Create", "Describe", 1) || !slices.Contains(r.Only, "CreationTime") {
			t.Fatalf("%s: %+v", op, r)
		}
		for _, m := range r.Only {
			if input.Members[m] != "" {
				t.Errorf("%s: %s is in the request too", op, m)
			}
		}
	}
}
