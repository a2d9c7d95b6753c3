package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/optml/optml/job"
)

// readDocument reads a file, or stdin as "-", never more than a document may have: job.Decode says so of a longer one.
func readDocument(path string, stdin io.Reader) ([]byte, error) {
	r := stdin
	if path != "-" {
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, usage("there is no document %s", path)
		}
		if err != nil {
			return nil, &usageError{Err: fmt.Errorf("read document: %w", err)}
		}
		defer f.Close()
		if fi, err := f.Stat(); err == nil && fi.IsDir() {
			return nil, &usageError{Err: fmt.Errorf("%s is a directory", path), Hint: "name the JSON document in it"}
		}
		r = f
	}
	b, err := io.ReadAll(io.LimitReader(r, job.MaxDocumentBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read document %s: %w", path, err)
	}
	return b, nil
}

// given is a document with the bytes that go on record.
type given struct {
	*job.Document
	raw []byte
}

// form is what a file may hold: a request, the reply of a Describe call (--from), or either.
type form uint8

const (
	request form = iota
	reply
	either
)

// decode reads a document and holds it against what the verb is for. A reply becomes the request that it answers for, and
// what that leaves out is said on stderr unless quiet.
func (a *app) decode(path string, f form, quiet bool, operations ...string) (given, error) {
	raw, err := readDocument(path, a.stdin)
	if err != nil {
		return given{}, err
	}
	name := path
	if path == "-" {
		name = "stdin"
	}
	described := job.ReplyOf(raw)
	if f == request && described != "" {
		return given{}, &usageError{Err: fmt.Errorf("%s is a reply of %s, not a request", name, described), Hint: replyHint(described, path)}
	}
	var g given
	if f == reply || described != "" {
		r, err := job.Replay(name, raw)
		var none *job.NoReplyError
		if errors.As(err, &none) {
			return given{}, &usageError{Err: err, Hint: none.Hint()}
		}
		if err != nil {
			return given{}, err
		}
		if !quiet && len(r.Dropped) > 0 {
			fmt.Fprintf(a.stderr, "optml: %s: a %s reply; what no %s request has is left out: %s\n", name, r.Reply, r.Operation, strings.Join(r.Dropped, ", "))
		}
		g = given{r.Document, r.Request}
	} else {
		d, err := job.Decode(name, raw)
		if err != nil {
			return given{}, err
		}
		g = given{d, raw}
	}
	if len(operations) == 0 || slices.Contains(operations, g.Operation) {
		return g, nil
	}
	e := &usageError{Err: fmt.Errorf("%s is a %s request; this command takes %s", name, g.Operation, orList(operations)), Hint: verbHint(g.Operation)}
	if described != "" {
		e.Err, e.Hint = fmt.Errorf("%s is a reply of %s; this command takes what answers for %s", name, described, orList(operations)), replyHint(described, path)
	}
	return given{}, e
}

// replyHint says how a reply is run again.
func replyHint(described, path string) string {
	var verb string
	switch described {
	case "DescribeTrainingJob":
		verb = "train"
	case "DescribeTransformJob":
		verb = "transform"
	case "DescribeAlgorithm", "DescribeModelPackage":
		verb = "validate"
	default:
		return fmt.Sprintf("`optml transform JOB --model-doc %s` drives it with a transform job", path)
	}
	return fmt.Sprintf("`optml %s --from %s` runs it again here", verb, path)
}

// verbHint names the verb for an operation.
func verbHint(operation string) string {
	switch operation {
	case job.CreateAlgorithm:
		return "`optml validate` validates an algorithm"
	case job.CreateModelPackage:
		return "`optml validate` validates a model package; where a model names it, `optml transform` and `optml bench serve MODEL` take it as --model-package"
	case job.CreateTrainingJob:
		return "`optml train` runs a training job"
	case job.CreateTransformJob:
		return "`optml transform` runs a transform job"
	case job.CreateModel:
		return "`optml transform JOB --model-doc MODEL` drives a model with a transform job, `optml bench serve MODEL` puts load on it"
	}
	return "`optml plan` shows what is in it"
}
