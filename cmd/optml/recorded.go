package main

import (
	"fmt"
	"path/filepath"
	"slices"

	"github.com/optml/optml/job"
	"github.com/optml/optml/ledger"
)

// withAlgorithm adds the CreateAlgorithm request that the documents name and that was not given: that of the algorithm's
// last validation on this machine that it has passed, since the service uses no other (START-7, VAL-20). Without one the
// documents are returned as they are, and their own rules say what is missing.
func (a *app) withAlgorithm(docs []given, quiet bool) ([]given, error) {
	name := ""
	for _, d := range docs {
		if d.Operation == job.CreateAlgorithm {
			return docs, nil
		}
		if n := d.Algorithm(); n != "" {
			name = n
		}
	}
	if name == "" {
		return docs, nil
	}
	jobs, _ := ledger.List(a.jobs(), job.KindValidation) // what cannot be read is no validation that was passed
	failed := ""
	for _, j := range slices.Backward(jobs) {
		if v := j.Plan().Validation; v == nil || v.Algorithm != name {
			continue
		}
		if s, err := j.State(); err != nil || s.Status != ledger.StatusCompleted {
			failed = j.Name()
			continue
		}
		documents, err := j.Documents()
		if err != nil {
			return nil, fmt.Errorf("validation/%s: %w", j.Name(), err)
		}
		const file = job.CreateAlgorithm + ".json"
		raw, ok := documents[file]
		if !ok {
			continue
		}
		d, err := job.DecodeAs(job.CreateAlgorithm, filepath.Join(j.RequestDir(), file), raw)
		if err != nil {
			return nil, err
		}
		if !quiet {
			fmt.Fprintf(a.stderr, "optml: algorithm %s is that of validation/%s\n", name, j.Name())
		}
		return append(docs, given{d, raw}), nil
	}
	if failed != "" {
		return nil, &usageError{
			Err:  fmt.Errorf("algorithm %s has not passed a validation here: the last one is validation/%s", name, failed),
			Hint: "the service uses an algorithm only when it is Completed; give its CreateAlgorithm request with --algorithm to use it all the same",
		}
	}
	return docs, nil
}
