// benchcheck measures how long it takes to check a document, from the command line to the exit: `optml plan` against what
// a client of the service does before it sends one (Debian's botocore, which looks for missing members, wrong types and
// minima alone).
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/optml/optml/hack/measure"
)

// bench is what all rows share.
type bench struct{ optml, dir string }

func main() {
	b := &bench{}
	flag.StringVar(&b.optml, "optml", "build/optml", "the `binary` to measure")
	measure.Program[*bench]{
		Usage: "benchcheck [-optml FILE] [-n RUNS] [-rows REGEXP]: checking documents, process start included",
		Rows:  rows, Runs: 20,
		Prepare: (*bench).prepare, End: func(b *bench) { os.RemoveAll(b.dir) },
	}.Main(b)
}

func (b *bench) prepare() (err error) {
	if b.optml, err = filepath.Abs(b.optml); err != nil {
		return err
	}
	b.dir, err = os.MkdirTemp("", "optml-bench-")
	return err
}

var rows = []measure.Row[*bench]{
	everyMember("algorithm", "CreateAlgorithm"), everyMember("package", "CreateModelPackage"), everyMember("training", "CreateTrainingJob"),
	{Name: "full", Says: "a CreateTrainingJob request with as much of everything as there may be, 310 KB, which passes", Instants: []string{"exit"},
		Ready: func(b *bench) (*measure.Contest, error) { return b.contest("CreateTrainingJob", full(), 0) }},
	{Name: "hostile", Says: "8 MB on one line, with 45 000 members that nobody knows", Instants: []string{"exit"},
		Ready: func(b *bench) (*measure.Contest, error) { return b.contest("CreateTrainingJob", hostile(), 2) }},
}

// everyMember is a row about the request of testdata that has every member. Some exclude others, so that there is no plan.
func everyMember(name, op string) measure.Row[*bench] {
	return measure.Row[*bench]{Name: name, Says: "a " + op + " request with every member", Instants: []string{"exit"},
		Ready: func(b *bench) (*measure.Contest, error) {
			text, err := os.ReadFile(filepath.Join("job/testdata/every", op+".json"))
			if err != nil {
				return nil, err
			}
			return b.contest(op, text, 2)
		}}
}

// contest checks a document with ours, which exits with code, and with botocore.
func (b *bench) contest(op string, text []byte, code int) (*measure.Contest, error) {
	file := filepath.Join(b.dir, op+".json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return nil, err
	}
	var line bytes.Buffer
	line.WriteString(`{"operation":"` + op + `","document":`)
	if err := json.Compact(&line, text); err != nil {
		return nil, err
	}
	line.WriteString("}\n")
	return &measure.Contest{Close: func() { os.Remove(file) }, Sides: []measure.Side{
		{Name: "optml plan", Run: func(bool) (measure.Sample, error) {
			return timed(exec.Command(b.optml, "plan", file), nil, code)
		}},
		{Name: "botocore", Target: 4, Run: func(bool) (measure.Sample, error) {
			return timed(exec.Command("/usr/bin/python3", "job/testdata/client/validate.py"), line.Bytes(), 0)
		}},
	}}, nil
}

// timed runs a command to its end.
func timed(c *exec.Cmd, stdin []byte, code int) (measure.Sample, error) {
	var out bytes.Buffer
	c.Stdin, c.Stdout, c.Stderr = bytes.NewReader(stdin), &out, &out
	start := time.Now()
	err := c.Run()
	took := time.Since(start)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return measure.Sample{}, err
	}
	if got := c.ProcessState.ExitCode(); got != code {
		return measure.Sample{}, fmt.Errorf("%s exits with %d, not %d: %.300s", c, got, code, &out)
	}
	usage, _ := c.ProcessState.SysUsage().(*syscall.Rusage)
	return measure.Sample{Took: []time.Duration{took}, CPU: measure.CPU(c), Peak: usage.Maxrss << 10}, nil
}

// full is a training job's request with each list and map as long as it may be.
func full() []byte {
	list := func(n int, item string) string {
		var b strings.Builder
		for i := range n {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(strings.ReplaceAll(item, "#", fmt.Sprint(i)))
		}
		return b.String()
	}
	return []byte(`{"TrainingJobName": "full", "RoleArn": "arn:aws:iam::123456789012:role/seller",
"AlgorithmSpecification": {"TrainingImage": "example/algorithm:1", "TrainingInputMode": "File", "MetricDefinitions": [` + list(40, `{"Name": "m#", "Regex": "m#=([0-9.]+)"}`) + `]},
"HyperParameters": {` + list(100, `"h#": "`+strings.Repeat("v", 2500)+`"`) + `},
"Environment": {` + list(100, `"E#": "`+strings.Repeat("v", 500)+`"`) + `},
"InputDataConfig": [` + list(20, `{"ChannelName": "c#", "ContentType": "text/csv", "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/#/"}}}`) + `],
"Tags": [` + list(50, `{"Key": "k#", "Value": "v"}`) + `],
"OutputDataConfig": {"S3OutputPath": "s3://bucket/out"},
"ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 10},
"StoppingCondition": {"MaxRuntimeInSeconds": 60}}`)
}

// hostile is a request of many members.
func hostile() []byte {
	var b bytes.Buffer
	b.WriteString(`{"TrainingJobName":"a"`)
	for i := range 45_000 {
		fmt.Fprintf(&b, `,"%0160d":0`, i)
	}
	b.WriteByte('}')
	return b.Bytes()
}
