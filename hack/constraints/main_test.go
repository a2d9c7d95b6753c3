package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// botocore is a service model in botocore's form, small, with what must be left out.
const botocore = `{
 "metadata": {"apiVersion": "2017-07-24"},
 "operations": {
  "CreateAlgorithm": {"name": "CreateAlgorithm", "input": {"shape": "In"}, "output": {"shape": "Out"}, "documentation": "prose"},
  "CreateModel": {"input": {"shape": "In"}}, "CreateModelPackage": {"input": {"shape": "In"}},
  "CreateTrainingJob": {"input": {"shape": "In"}}, "CreateTransformJob": {"input": {"shape": "In"}},
  "DescribeAlgorithm": {"input": {"shape": "Out"}, "output": {"shape": "Reply"}}, "DescribeModel": {"output": {"shape": "Reply"}},
  "DescribeModelPackage": {"output": {"shape": "Reply"}}, "DescribeTrainingJob": {"output": {"shape": "Reply"}},
  "DescribeTransformJob": {"output": {"shape": "In"}}
 },
 "shapes": {
  "In": {"type": "structure", "required": ["Name"], "members": {"Name": {"shape": "Name", "documentation": "prose"}, "List": {"shape": "List"}, "Map": {"shape": "Map"}}},
  "Name": {"type": "string", "min": 1, "max": 63, "pattern": "[a-z]<b>&+"},
  "List": {"type": "list", "member": {"shape": "Kind"}, "max": 5},
  "Kind": {"type": "string", "enum": ["A", "B"]},
  "Map": {"type": "map", "key": {"shape": "Name"}, "value": {"shape": "Name"}},
  "Out": {"type": "structure", "members": {}},
  "Reply": {"type": "structure", "members": {"Status": {"shape": "Kind"}, "Name": {"shape": "Name"}, "Arn": {"shape": "Name"}}},
  "Unreached": {"type": "string"}
 }
}`

const extracted = `{
 "apiVersion": "2017-07-24",
 "format": 1,
 "operations": {
  "CreateAlgorithm": "In",
  "CreateModel": "In",
  "CreateModelPackage": "In",
  "CreateTrainingJob": "In",
  "CreateTransformJob": "In"
 },
 "replies": {
  "CreateAlgorithm": {"operation":"DescribeAlgorithm","only":["Arn","Status"]},
  "CreateModel": {"operation":"DescribeModel","only":["Arn","Status"]},
  "CreateModelPackage": {"operation":"DescribeModelPackage","only":["Arn","Status"]},
  "CreateTrainingJob": {"operation":"DescribeTrainingJob","only":["Arn","Status"]},
  "CreateTransformJob": {"operation":"DescribeTransformJob","only":[]}
 },
 "shapes": {
  "In": {"type":"structure","members":{"List":"List","Map":"Map","Name":"Name"},"required":["Name"]},
  "Kind": {"type":"string","enum":["A","B"]},
  "List": {"type":"list","member":"Kind","max":5},
  "Map": {"type":"map","key":"Name","value":"Name"},
  "Name": {"type":"string","min":1,"max":63,"pattern":"[a-z]<b>&+"}
 }
}
`

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "in.json")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Facts of what the operations reach, what replies have more than requests, no prose, one shape a line; and its own output is an input that gives the same.
func TestModel(t *testing.T) {
	for _, in := range []string{botocore, extracted} {
		var out bytes.Buffer
		if err := run([]string{"-model", file(t, in)}, &out, io.Discard); err != nil {
			t.Fatal(err)
		}
		if out.String() != extracted {
			t.Errorf("got\n%s", out.String())
		}
	}
}

// The embedded files come out of the program as they are: nobody edited them by hand.
func TestEmbeddedFilesAreStable(t *testing.T) {
	dir := t.TempDir()
	job := filepath.Join("..", "..", "job")
	if err := run([]string{"-model", filepath.Join(job, "constraints.json"), "-instances", filepath.Join(job, "instances.json"), "-out", dir}, io.Discard, io.Discard); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"constraints.json", "instances.json"} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(filepath.Join(job, name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what the program writes", name)
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, ".constraints-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestBadInput(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"nothing":           {nil, "give -model or -instances"},
		"no file":           {[]string{"-model", filepath.Join(t.TempDir(), "none")}, "no such file"},
		"not JSON":          {[]string{"-model", file(t, "x")}, "invalid character"},
		"missing operation": {[]string{"-model", file(t, `{"operations":{},"shapes":{}}`)}, `no operation "CreateAlgorithm"`},
		"missing shape":     {[]string{"-model", file(t, `{"operations":{"CreateAlgorithm":{"input":{"shape":"X"}}},"shapes":{}}`)}, `no shape "X"`},
		"no reply": {[]string{"-model", file(t, strings.Replace(botocore, `"DescribeModel":`, `"DescribeOther":`, 1))},
			"no reply of DescribeModel"},
		"no instances": {[]string{"-instances", file(t, `{}`)}, "no instances"},
	} {
		if err := run(tc.args, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want %q", name, err, tc.want)
		}
	}
	var usage bytes.Buffer
	if err := run([]string{"-h"}, io.Discard, &usage); err == nil || !strings.Contains(usage.String(), "usage: go run ./hack/constraints") {
		t.Errorf("-h: %v, %s", err, usage.String())
	}
}
