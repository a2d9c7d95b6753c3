package job

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

const varied = `{
  "TrainingJobName": "v", "HyperParameters": {"epochs": "3", "a.b": "x"},
  "AlgorithmSpecification": {"TrainingImage": "img:1", "TrainingInputMode": "File"},
  "RoleArn": "arn:aws:iam::123456789012:role/r",
  "InputDataConfig": [
    {"ChannelName": "train", "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://b/t"}}, "InputMode": "File"},
    {"ChannelName": "test", "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://b/u"}}}],
  "OutputDataConfig": {"S3OutputPath": "s3://b/out"},
  "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 5},
  "StoppingCondition": {"MaxRuntimeInSeconds": 600}
}`

const variedModel = `{"ModelName": "m", "ExecutionRoleArn": "arn:aws:iam::123456789012:role/r", "PrimaryContainer": {"Image": "i:1", "ModelDataUrl": "s3://b/m", "Environment": {"WORKERS": "1"}}}`

func decodeVaried(t *testing.T, text string) *Document {
	t.Helper()
	d, err := Decode("job.json", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// findOne finds a member of which there is one.
func findOne(docs []*Document, name string) (Choice, error) {
	found, err := FindMembers(docs, name)
	if err != nil {
		return Choice{}, err
	}
	if len(found) != 1 {
		return Choice{}, fmt.Errorf("%d members", len(found))
	}
	return found[0], nil
}

// [*] means the member of each item of a list, where it is there and where it could be.
func TestFindEachMember(t *testing.T) {
	docs := []*Document{decodeVaried(t, varied), decodeVaried(t, variedModel)}
	for name, want := range map[string]string{
		"InputDataConfig[*].InputMode":          "InputDataConfig[0].InputMode InputDataConfig[1].InputMode",
		"[*].InputMode":                         "InputDataConfig[0].InputMode InputDataConfig[1].InputMode",
		"[*].ContentType":                       "InputDataConfig[0].ContentType InputDataConfig[1].ContentType",
		"[*].DataSource.S3DataSource.S3Uri":     "InputDataConfig[0].DataSource.S3DataSource.S3Uri InputDataConfig[1].DataSource.S3DataSource.S3Uri",
		"Containers[*].Environment.X":           "!no member",
		"InputDataConfig[*].DataSource":         "!not a single value",
		"S3Uri":                                 "!CreateTrainingJob.InputDataConfig[*].DataSource.S3DataSource.S3Uri for all of them",
		"CreateTrainingJob.[*].InputMode":       "InputDataConfig[0].InputMode InputDataConfig[1].InputMode",
		"HyperParameters[*].epochs":             "!no member",
		"InputDataConfig[*].ShuffleConfig.Seed": "InputDataConfig[0].ShuffleConfig.Seed InputDataConfig[1].ShuffleConfig.Seed",
	} {
		found, err := FindMembers(docs, name)
		var paths []string
		for _, m := range found {
			paths = append(paths, m.Path)
		}
		bad, refused := strings.CutPrefix(want, "!")
		var e *MemberError
		switch {
		case refused && (!errors.As(err, &e) || !strings.Contains(e.Text+" "+e.Help, bad)):
			t.Errorf("%s: %+v, %v", name, paths, err)
		case !refused && (err != nil || strings.Join(paths, " ") != want):
			t.Errorf("%s: %+v, %v", name, paths, err)
		}
	}
}

func TestFindMember(t *testing.T) {
	docs := []*Document{decodeVaried(t, varied), decodeVaried(t, variedModel)}
	for name, want := range map[string]string{
		"InputMode":                    "InputDataConfig[0].InputMode", // what is there goes before what could be
		"InputDataConfig[1].InputMode": "InputDataConfig[1].InputMode",
		"[1].InputMode":                "InputDataConfig[1].InputMode",
		"epochs":                       "HyperParameters.epochs",
		"a.b":                          "HyperParameters.a.b",
		"HyperParameters.new":          "HyperParameters.new",
		"VolumeSizeInGB":               "ResourceConfig.VolumeSizeInGB",
		"EnableNetworkIsolation":       "!may be CreateModel.EnableNetworkIsolation or CreateTrainingJob.EnableNetworkIsolation",
		"CreateTrainingJob.EnableNetworkIsolation": "EnableNetworkIsolation",
		"PrimaryContainer.Environment.X":           "PrimaryContainer.Environment.X",
		"WORKERS":                                  "PrimaryContainer.Environment.WORKERS",
		"S3Uri":                                    "!may be CreateTrainingJob.InputDataConfig[0].DataSource.S3DataSource.S3Uri or CreateTrainingJob.InputDataConfig[1].DataSource.S3DataSource.S3Uri",
		"InputMod":                                 "!did you mean InputMode?",
		"putMode":                                  "!no member",
		"ResourceConfig":                           "!not a single value",
		"":                                         "!no member",
	} {
		m, err := findOne(docs, name)
		bad, refused := strings.CutPrefix(want, "!")
		var e *MemberError
		switch {
		case refused && (!errors.As(err, &e) || !strings.Contains(e.Text+" "+e.Help, bad)):
			t.Errorf("%s: %+v, %v", name, m, err)
		case !refused && (err != nil || m.Path != want):
			t.Errorf("%s: %+v, %v", name, m, err)
		}
	}
}

// Another value changes nothing else, and what comes out is read as what was meant.
func TestSetMember(t *testing.T) {
	d := decodeVaried(t, varied)
	for _, x := range []struct{ member, value, old, want string }{
		{"InputMode", "Pipe", `"InputMode": "File"`, `"InputMode": "Pipe"`},
		{"epochs", `a"b<`, `"epochs": "3"`, `"epochs": "a\"b<"`},
		{"VolumeSizeInGB", "30", `"VolumeSizeInGB": 5`, `"VolumeSizeInGB": 30`},
		{"EnableNetworkIsolation", "true", "{\n  \"Tr", "{\"EnableNetworkIsolation\": true, \n  \"Tr"},
		{"InputDataConfig[1].InputMode", "Pipe", `{"ChannelName": "test"`, `{"InputMode": "Pipe", "ChannelName": "test"`},
		{"CheckpointConfig.S3Uri", "s3://b/c", "{\n  \"Tr", "{\"CheckpointConfig\": {\"S3Uri\": \"s3://b/c\"}, \n  \"Tr"},
		{"HyperParameters.new", "1", `{"epochs"`, `{"new": "1", "epochs"`},
	} {
		m, err := findOne([]*Document{d}, x.member)
		if err != nil {
			t.Errorf("%s: %v", x.member, err)
			continue
		}
		got, err := m.Set(d, x.value)
		if want := strings.Replace(varied, x.old, x.want, 1); err != nil || string(got) != want {
			t.Errorf("%s: %v\n%s", x.member, err, got)
		}
		again := decodeVaried(t, string(got))
		if v := m.Value(again); v != x.value {
			t.Errorf("%s is read as %q", x.member, v)
		}
	}
	for member, value := range map[string]string{"VolumeSizeInGB": "much", "EnableNetworkIsolation": "yes"} {
		m, err := findOne([]*Document{d}, member)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Set(d, value); err == nil {
			t.Errorf("%s takes %q", member, value)
		}
	}
	// A null counts as absent, and is replaced.
	d = decodeVaried(t, strings.Replace(varied, `"InputMode": "File"`, `"InputMode": null`, 1))
	m, err := findOne([]*Document{d}, "InputDataConfig[0].InputMode")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := m.Set(d, "Pipe"); err != nil || !strings.Contains(string(got), `"InputMode": "Pipe"`) || strings.Contains(string(got), "null") {
		t.Errorf("%v %s", err, got)
	}
}
