package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/optml/optml/job"
)

// What a document holds does not move the cursor, and a list of 151 instance types does not fill the screen.
func TestPrintInvalid(t *testing.T) {
	_, err := job.Decode("doc.json", []byte(`{"TrainingJobName": "a_b", "Foo\u001b[31m": 1, "InputDataConfig": [], "ResourceConfig": {"InstanceType": "ml.m5.larg\r"}}`))
	var b bytes.Buffer
	printError(&b, err)
	got := b.String()
	for _, want := range []string{
		`optml: doc.json:1:28: Foo\x1b[31m: the request has no member of this name` + "\n",
		`SageMaker's clients, such as the aws command, would answer CreateTrainingJob with ParamValidationError: Parameter validation failed: Unknown parameter in input: "Foo\x1b[31m", must be one of: AlgorithmSpecification, `,
		"With that mended, SageMaker would answer CreateTrainingJob with ValidationException: ",
		` validation errors detected: `,
		`Value 'ml.m5.larg\r' at 'resourceConfig.instanceType' failed to satisfy constraint: Member must satisfy enum value set: [ml.m4.xlarge, `,
		", … 143 more]",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("got %s\nwant %s", got, want)
		}
	}
	if strings.ContainsAny(got, "\x1b\r") {
		t.Error("a control character reaches the terminal")
	}
	if len(got) > 4000 {
		t.Errorf("%d bytes", len(got))
	}
}
