package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

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

// given is a document with the bytes that it was read from.
type given struct {
	*job.Document
	raw []byte
}

// decode reads a document and holds it against what the verb is for.
func decode(path string, stdin io.Reader, operations ...string) (given, error) {
	raw, err := readDocument(path, stdin)
	if err != nil {
		return given{}, err
	}
	name := path
	if path == "-" {
		name = "stdin"
	}
	d, err := job.Decode(name, raw)
	if err != nil {
		return given{}, err
	}
	for _, op := range operations {
		if d.Operation == op {
			return given{d, raw}, nil
		}
	}
	if len(operations) == 0 {
		return given{d, raw}, nil
	}
	return given{}, &usageError{
		Err:  fmt.Errorf("%s is a %s request; this command takes %s", path, d.Operation, orList(operations)),
		Hint: verbHint(d.Operation),
	}
}

// verbHint names the verb for an operation.
func verbHint(operation string) string {
	switch operation {
	case job.CreateAlgorithm:
		return "`optml validate` validates an algorithm"
	case job.CreateModelPackage:
		return "`optml validate` validates a model package; --model-package gives one to a transform whose model names it"
	case job.CreateTrainingJob:
		return "`optml train` runs a training job"
	case job.CreateTransformJob:
		return "`optml transform` runs a transform job"
	case job.CreateModel:
		return "`optml transform JOB --model-doc MODEL` drives a model with a transform job"
	}
	return "`optml plan` shows what is in it"
}
