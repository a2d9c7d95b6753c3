package job

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/optml/optml/human"
)

// Operations of the service whose request bodies are documents here.
const (
	CreateAlgorithm    = "CreateAlgorithm"
	CreateModelPackage = "CreateModelPackage"
	CreateTrainingJob  = "CreateTrainingJob"
	CreateModel        = "CreateModel"
	CreateTransformJob = "CreateTransformJob"
)

// Document is one request body: plain JSON as `aws sagemaker create-… --cli-input-json` takes it.
type Document struct {
	Name      string // where it came from, for messages
	Operation string
	Root      *Node

	src   *source
	body  any // one of the request structs
	found problems
}

// Decode reads a document and recognises its operation by its members. What cannot be read (not JSON, unknown or
// doubled members, wrong types) is an *Invalid error that lists everything found. Broken constraints and rules are
// kept for Check and Make, since how much they matter depends on the Options.
func Decode(name string, data []byte) (*Document, error) { return DecodeAs("", name, data) }

// DecodeAs is Decode for a known operation; "" recognises it.
func DecodeAs(operation, name string, data []byte) (*Document, error) {
	d, sound, err := read(operation, name, data)
	if err != nil {
		return nil, err
	}
	if d.Operation == "" {
		op, hint := recognise(d.Root)
		if op == "" {
			d.checker().add(d.Root.Offset, place{}, Problem{Code: CodeValidation, Message: "cannot tell which operation this request is for",
				unknown: true, Text: "cannot tell which operation this request is for", Hint: hint})
			return nil, d.found.err("")
		}
		d.Operation = op
	}
	return d.decode(sound)
}

// read parses a document, which must be a JSON object. It is sound when no name stands in it twice.
func read(operation, name string, data []byte) (d *Document, sound bool, err error) {
	d = &Document{Name: name, Operation: operation, src: &source{data: data}}
	c := d.checker()
	text := &parser{data: data}
	root, bad := text.document()
	for _, dup := range text.dups {
		line := d.src.line(dup.first)
		c.add(dup.offset, place{dup.path, awsPath(dup.path)}, Problem{
			Code: CodeSerialization, Message: "Duplicate field '" + human.Clip(dup.name, maxPathName) + "'",
			Text: fmt.Sprintf("stands here a second time; first in line %d", line), Hint: "remove one of the two",
		})
	}
	d.found.more[hard] += text.more
	if bad != nil {
		c.add(bad.offset, place{}, Problem{Code: CodeSerialization, Message: bad.msg, unknown: true, Text: bad.msg, Hint: bad.hint})
		return nil, false, d.found.err(operation)
	}
	d.Root = root
	if root.Kind != Object {
		c.add(root.Offset, place{}, Problem{Code: CodeSerialization, Message: "Expected structure or null",
			Text: "a request is a JSON object, this is " + describe(root)})
		return nil, false, d.found.err(operation)
	}
	return d, len(text.dups) == 0, nil
}

func (d *Document) checker() *checker { return &checker{doc: d, out: &d.found} }

// decode holds a document's tree against the shape of its operation and fills its body.
func (d *Document) decode(sound bool) (*Document, error) {
	input, ok := facts().Operations[d.Operation]
	if !ok {
		return nil, fmt.Errorf("%s: operation %q is not one that optml reads: %s", d.Name, d.Operation, strings.Join(operationNames(), ", "))
	}
	if !d.checker().check(d.Root, input, place{}) || !sound {
		return nil, d.found.err(d.Operation)
	}
	d.body = newBody(d.Operation)
	fill(d.body, d.Root)
	return d, nil
}

// Algorithm is the name of the algorithm that the document asks for by name or ARN (TRAP-25); "" if it asks for none.
func (d *Document) Algorithm() string {
	switch r := d.body.(type) {
	case *createTrainingJobRequest:
		if r.AlgorithmSpecification != nil {
			return lastSegment(r.AlgorithmSpecification.AlgorithmName)
		}
	case *createModelPackageInput:
		if s := r.SourceAlgorithmSpecification; s != nil && len(s.SourceAlgorithms) > 0 {
			return lastSegment(s.SourceAlgorithms[0].AlgorithmName)
		}
	}
	return ""
}

func operationNames() []string {
	names := make([]string, 0, 5)
	for op := range facts().Operations {
		names = append(names, op)
	}
	slices.Sort(names)
	return names
}

// telling are members that one operation alone has.
var telling = []struct{ member, operation string }{
	{"TrainingJobName", CreateTrainingJob}, {"TransformJobName", CreateTransformJob},
	{"AlgorithmName", CreateAlgorithm}, {"TrainingSpecification", CreateAlgorithm},
	{"ModelPackageName", CreateModelPackage}, {"ModelPackageGroupName", CreateModelPackage}, {"SourceAlgorithmSpecification", CreateModelPackage},
	{"PrimaryContainer", CreateModel}, {"ExecutionRoleArn", CreateModel}, {"AlgorithmSpecification", CreateTrainingJob},
	{"TransformInput", CreateTransformJob}, {"Containers", CreateModel}, {"ModelName", CreateModel},
}

// recognise tells the operation from a request's members.
func recognise(root *Node) (op, hint string) {
	for _, t := range telling {
		if root.Get(t.member) != nil {
			return t.operation, ""
		}
	}
	// Not one telling member: maybe their case is wrong. Take the operation with the most members of similar names.
	best := 0
	for _, name := range operationNames() {
		s := facts().Shapes[facts().Operations[name]]
		n := 0
		for _, m := range root.Members {
			for known := range s.Members {
				if strings.EqualFold(m.Name, known) {
					n++
				}
			}
		}
		if n > best {
			best, op = n, name
		}
	}
	return op, cmp.Or(hint, "a request has AlgorithmName, TrainingJobName, TransformJobName, ModelName or ModelPackageName")
}

// problem makes a Problem at a path of the document, or at what of the path is there.
func (d *Document) problem(path string, p Problem) Problem {
	n, _ := d.Root.At(path)
	path = human.Clip(path, maxPath)
	p.File = d.Name
	p.Path, p.AWSPath = path, awsPath(path)
	p.Line, p.Col = d.src.position(n.Offset)
	p.Code = cmp.Or(p.Code, CodeValidation)
	return p
}
