// constraints extracts the facts that package job checks documents against from the published service model of SageMaker.
package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// operations are the requests that optml reads; what they reach goes into the file.
var operations = []string{"CreateAlgorithm", "CreateModel", "CreateModelPackage", "CreateTrainingJob", "CreateTransformJob"}

// replies are the calls whose replies can be run again, by the request that they answer for.
var replies = map[string]string{"CreateAlgorithm": "DescribeAlgorithm", "CreateModel": "DescribeModel", "CreateModelPackage": "DescribeModelPackage",
	"CreateTrainingJob": "DescribeTrainingJob", "CreateTransformJob": "DescribeTransformJob"}

// maxInput bounds what is read; the whole service model has under 3 MB.
const maxInput = 64 << 20

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return
		}
		fmt.Fprintln(os.Stderr, "constraints:", err)
		os.Exit(1)
	}
}

func run(args []string, stdout, stderr io.Writer) error {
	fs := flag.NewFlagSet("constraints", flag.ContinueOnError)
	fs.SetOutput(stderr)
	model := fs.String("model", "", "service `file`: botocore's sagemaker/2017-07-24/service-2.json (or .gz), or a table in the format written here")
	instances := fs.String("instances", "", "instance type `file`: {\"instances\": {\"ml.x\": {\"vcpus\": …}}}")
	out := fs.String("out", "", "where to write; a directory gets constraints.json and instances.json (default: standard output)")
	fs.Usage = func() {
		fmt.Fprint(stderr, `usage: go run ./hack/constraints -model service-2.json -out job

Takes the facts (types, required members, lengths, ranges, patterns, enumerations; no prose) of the requests that
optml reads, and of everything they reach, out of the published service model, and writes them as one line a shape, so
that a refresh gives a readable diff. Of the Describe calls it takes which members a reply has that the request lacks. With -instances it writes the hardware of the instance types likewise.
After a refresh run "go test ./job/...": it names patterns without a substitute and members without a fidelity row.
`)
		fs.PrintDefaults()
	}
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *model == "" && *instances == "" {
		fs.Usage()
		return errors.New("give -model or -instances")
	}
	for _, job := range []struct {
		in, name string
		convert  func([]byte) ([]byte, error)
	}{{*model, "constraints.json", convertModel}, {*instances, "instances.json", convertInstances}} {
		if job.in == "" {
			continue
		}
		data, err := read(job.in)
		if err != nil {
			return err
		}
		b, err := job.convert(data)
		if err != nil {
			return fmt.Errorf("%s: %w", job.in, err)
		}
		if *out == "" {
			if _, err := stdout.Write(b); err != nil {
				return err
			}
			continue
		}
		if err := write(filepath.Join(*out, job.name), b); err != nil {
			return err
		}
	}
	return nil
}

func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	in := bufio.NewReader(f)
	var r io.Reader = in
	if magic, _ := in.Peek(2); string(magic) == "\x1f\x8b" { // as installed, botocore's models are compressed
		if r, err = gzip.NewReader(in); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	b, err := io.ReadAll(io.LimitReader(r, maxInput+1))
	if err == nil && len(b) > maxInput {
		err = fmt.Errorf("%s: more than %d bytes", path, maxInput)
	}
	return b, err
}

// write makes the file appear whole.
func write(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".constraints-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return os.Rename(f.Name(), path)
}

// Shape is one shape in the form that package job reads.
type Shape struct {
	Type     string            `json:"type"`
	Members  map[string]string `json:"members,omitempty"`
	Required []string          `json:"required,omitempty"`
	Member   string            `json:"member,omitempty"`
	Key      string            `json:"key,omitempty"`
	Value    string            `json:"value,omitempty"`
	Min      json.Number       `json:"min,omitempty"`
	Max      json.Number       `json:"max,omitempty"`
	Pattern  string            `json:"pattern,omitempty"`
	Enum     []string          `json:"enum,omitempty"`
}

// ref is a shape's name, given plainly or as botocore's {"shape": name, …}.
type ref string

func (r *ref) UnmarshalJSON(b []byte) error {
	var s struct{ Shape string }
	if b[0] == '"' {
		return json.Unmarshal(b, (*string)(r))
	}
	err := json.Unmarshal(b, &s)
	*r = ref(s.Shape)
	return err
}

// operation has the shapes of a request and of its reply; the former given plainly (as written here) or as
// {"input": {"shape": …}, "output": {"shape": …}}.
type operation struct{ Input, Output ref }

func (o *operation) UnmarshalJSON(b []byte) error {
	if b[0] == '"' {
		return json.Unmarshal(b, &o.Input)
	}
	type plain operation
	return json.Unmarshal(b, (*plain)(o))
}

// Reply is what a Describe call answers beside members of the request.
type Reply struct {
	Operation string   `json:"operation"` // DescribeTrainingJob
	Only      []string `json:"only"`      // sorted
}

type input struct {
	Operations map[string]operation
	Replies    map[string]Reply // as written here
	Shapes     map[string]struct {
		Type               string
		Members            map[string]ref
		Required           []string
		Member, Key, Value ref
		Min, Max           json.Number
		Pattern            string
		Enum               []string
	}
}

func convertModel(data []byte) ([]byte, error) {
	var in input
	if err := json.Unmarshal(data, &in); err != nil {
		return nil, err
	}
	ops := map[string]string{}
	only := map[string]Reply{}
	shapes := map[string]Shape{}
	var reach func(name string) error
	reach = func(name string) error {
		if name == "" {
			return nil
		}
		if _, done := shapes[name]; done {
			return nil
		}
		s, ok := in.Shapes[name]
		if !ok {
			return fmt.Errorf("no shape %q", name)
		}
		o := Shape{Type: s.Type, Required: s.Required, Member: string(s.Member), Key: string(s.Key), Value: string(s.Value),
			Min: s.Min, Max: s.Max, Pattern: s.Pattern, Enum: s.Enum}
		next := []string{o.Member, o.Key, o.Value}
		if len(s.Members) > 0 {
			o.Members = map[string]string{}
			for m, r := range s.Members {
				o.Members[m] = string(r)
				next = append(next, string(r))
			}
		}
		shapes[name] = o
		for _, n := range next {
			if err := reach(n); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		return nil
	}
	for _, op := range operations {
		o, ok := in.Operations[op]
		if !ok {
			return nil, fmt.Errorf("no operation %q", op)
		}
		ops[op] = string(o.Input)
		if err := reach(ops[op]); err != nil {
			return nil, err
		}
		if r, ok := in.Replies[op]; ok {
			only[op] = r
			continue
		}
		describe := in.Operations[replies[op]]
		reply, ok := in.Shapes[string(describe.Output)]
		if !ok {
			return nil, fmt.Errorf("no reply of %s", replies[op])
		}
		r := Reply{Operation: replies[op], Only: []string{}}
		for m := range reply.Members {
			if _, asked := shapes[ops[op]].Members[m]; !asked {
				r.Only = append(r.Only, m)
			}
		}
		slices.Sort(r.Only)
		only[op] = r
	}
	return lines(map[string]any{"format": 1, "apiVersion": "2017-07-24"}, []section{{"operations", anyMap(ops)}, {"replies", anyMap(only)}, {"shapes", anyMap(shapes)}})
}

// Instance is the hardware of an instance type.
type Instance struct {
	VCPUs            int     `json:"vcpus"`
	MemoryGiB        float64 `json:"memoryGiB"`
	Arch             string  `json:"arch"`
	Accelerator      string  `json:"accelerator,omitempty"`
	AcceleratorCount int     `json:"acceleratorCount,omitempty"`
	AcceleratorModel string  `json:"acceleratorModel,omitempty"`
	LocalNvmeGB      float64 `json:"localNvmeGB,omitempty"`
}

func convertInstances(data []byte) ([]byte, error) {
	var in struct{ Instances map[string]Instance }
	if err := json.Unmarshal(data, &in); err != nil {
		return nil, err
	}
	if len(in.Instances) == 0 {
		return nil, errors.New("no instances")
	}
	for n, i := range in.Instances {
		if i.Accelerator == "none" {
			i.Accelerator = ""
		}
		in.Instances[n] = i
	}
	return lines(map[string]any{"format": 1}, []section{{"instances", anyMap(in.Instances)}})
}

type section struct {
	name  string
	items map[string]any
}

func anyMap[V any](m map[string]V) map[string]any {
	out := make(map[string]any, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}

// lines writes a JSON object with one item a line, keys sorted.
func lines(head map[string]any, sections []section) ([]byte, error) {
	var b bytes.Buffer
	enc := func(v any) (string, error) {
		var s strings.Builder
		e := json.NewEncoder(&s)
		e.SetEscapeHTML(false)
		err := e.Encode(v)
		return strings.TrimSpace(s.String()), err
	}
	b.WriteString("{\n")
	for _, k := range sorted(head) {
		v, err := enc(head[k])
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, " %q: %s,\n", k, v)
	}
	for i, s := range sections {
		fmt.Fprintf(&b, " %q: {\n", s.name)
		for j, k := range sorted(s.items) {
			v, err := enc(s.items[k])
			if err != nil {
				return nil, err
			}
			fmt.Fprintf(&b, "  %q: %s", k, v)
			if j < len(s.items)-1 {
				b.WriteByte(',')
			}
			b.WriteByte('\n')
		}
		b.WriteString(" }")
		if i < len(sections)-1 {
			b.WriteByte(',')
		}
		b.WriteByte('\n')
	}
	b.WriteString("}\n")
	return b.Bytes(), nil
}

func sorted(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
