package harness

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"

	"github.com/optml/optml/job"
	"github.com/optml/optml/transform"
)

// lateFile is a file that is made when something is written to it. It is for one writer at a time.
type lateFile struct {
	path string
	f    *os.File
}

func (l *lateFile) Write(b []byte) (n int, err error) {
	if l.f == nil {
		if l.f, err = os.OpenFile(l.path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640); err != nil {
			return 0, err
		}
	}
	return l.f.Write(b)
}

// Close has what was written on the disk.
func (l *lateFile) Close() error {
	if l.f == nil {
		return nil
	}
	return errors.Join(l.f.Sync(), l.f.Close())
}

// only yields the objects that a rerun is of, and an error if one of them is not there any more: what failed and is
// neither sent nor missed would be lost without a word.
func only(objects iter.Seq2[transform.Object, error], again job.Rerun) iter.Seq2[transform.Object, error] {
	return func(yield func(transform.Object, error) bool) {
		wanted := make(map[string]bool, len(again.Objects)) // true: seen
		for _, key := range again.Objects {
			wanted[key] = false
		}
		for o, err := range objects {
			if err != nil {
				yield(o, err)
				return
			}
			if _, ok := wanted[o.Key]; !ok {
				continue
			}
			wanted[o.Key] = true
			if !yield(o, nil) {
				return
			}
		}
		missing := 0
		first := ""
		for _, key := range again.Objects {
			if !wanted[key] {
				if missing++; first == "" {
					first = key
				}
			}
		}
		if missing > 0 {
			yield(transform.Object{}, fmt.Errorf("%d of %d objects that failed in %s are not in the input any more, the first: %s", missing, len(again.Objects), again.Of, first))
		}
	}
}

// rerun is which objects of which job a transform is for; ok is false if it is for all that its input has.
func (r *run) rerun() (again job.Rerun, ok bool, err error) {
	if r.plan.Transform.RerunOf == "" {
		return again, false, nil
	}
	docs, err := r.owner.Job().Documents()
	if err != nil {
		return again, false, err
	}
	if err := json.Unmarshal(docs[job.RerunFile], &again); err != nil {
		return again, false, fmt.Errorf("%s: %w", job.RerunFile, err)
	}
	return again, true, nil
}
