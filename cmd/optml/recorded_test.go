package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/optml/optml/job"
	"github.com/optml/optml/ledger"
)

// validated puts a validation of an algorithm into a ledger, as it ended.
func validated(t *testing.T, root, name, algorithm, status, document string, at int) {
	t.Helper()
	created := time.Date(2026, 1, 1, 0, 0, at, 0, time.UTC)
	o, err := ledger.Create(filepath.Join(root, "jobs"), ledger.Request{
		Plan: &job.Plan{Format: 1, Kind: job.KindValidation, Name: name, Operation: job.CreateAlgorithm, Validation: &job.Validation{
			Algorithm: algorithm, Training: &job.Plan{Training: &job.Training{CreationTime: created}},
		}},
		Documents: map[string][]byte{"CreateAlgorithm.json": []byte(document)},
	})
	if err != nil {
		t.Fatal(err)
	}
	appendAll(t, o, ledger.Transition{Status: status, ExitCode: new(0)})
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	plan := filepath.Join(root, "jobs", "validation", name, "plan.json")
	if err := os.Chtimes(plan, created, created); err != nil {
		t.Fatal(err)
	}
}

// START-7, TRAP-25, VAL-20: an algorithm that a job names, by name or ARN, is that of its last validation that it has
// passed; one that has passed none is not used.
func TestRecordedAlgorithm(t *testing.T) {
	root := t.TempDir()
	document := func(image string) string {
		return `{"AlgorithmName": "a", "TrainingSpecification": {"TrainingImage": "` + image + `", "SupportedTrainingInstanceTypes": ["ml.m5.large"], "TrainingChannels": [{"Name": "train", "SupportedContentTypes": ["text/csv"], "SupportedInputModes": ["File"]}]}}`
	}
	validated(t, root, "a-1", "a", ledger.StatusCompleted, document("old:1"), 1)
	validated(t, root, "a-2", "a", ledger.StatusCompleted, document("new:1"), 2)
	validated(t, root, "a-3", "a", ledger.StatusFailed, document("broken:1"), 3)
	validated(t, root, "b-1", "b", ledger.StatusFailed, document("broken:1"), 4)
	for _, tc := range []struct{ name, uses, want string }{
		{"a", "a-2", ""},
		{"arn:aws:sagemaker:us-east-1:123456789012:algorithm/a", "a-2", ""},
		{"b", "", "algorithm b has not passed a validation here: the last one is validation/b-1"},
		{"unknown", "", ""},
	} {
		raw := []byte(`{"TrainingJobName": "j", "RoleArn": "arn:aws:iam::123456789012:role/r", "AlgorithmSpecification": {"AlgorithmName": "` + tc.name + `", "TrainingInputMode": "File"},
			"OutputDataConfig": {"S3OutputPath": "s3://b/o"}, "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1}, "StoppingCondition": {}}`)
		d, err := job.Decode("job.json", raw)
		if err != nil {
			t.Fatal(err)
		}
		var said bytes.Buffer
		a := &app{root: root, stderr: &said}
		docs, err := a.withAlgorithm([]given{{d, raw}}, false)
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
			continue
		}
		switch {
		case tc.uses == "" && len(docs) > 1:
			t.Errorf("%s: uses %s", tc.name, docs[1].Name)
		case tc.uses != "" && (len(docs) != 2 || docs[1].Operation != job.CreateAlgorithm || !strings.Contains(string(docs[1].raw), "new:1") || !strings.Contains(said.String(), "validation/"+tc.uses)):
			t.Errorf("%s: %v, said %q", tc.name, docs, said.String())
		}
		// One that was given is used.
		if tc.uses != "" {
			if again, err := a.withAlgorithm(docs, true); err != nil || len(again) != 2 {
				t.Errorf("%s: %v %v", tc.name, again, err)
			}
		}
	}
}
