package ledger

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/optml/optml/job"
)

// Job is a job as a reader sees it. Its methods may be called concurrently and while the owner writes.
type Job struct {
	layout
	plan     *job.Plan
	appended *wakeup // nil: the owner is another process, or none
}

// Open opens the job in dir. fs.ErrNotExist when there is none.
func Open(dir string) (*Job, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	l := layout(dir)
	p := new(job.Plan)
	if err := readJSON(l.path(planFile), p); err != nil {
		return nil, fmt.Errorf("open job %s: %w", dir, err)
	}
	if p.Format != 1 {
		return nil, fmt.Errorf("open job %s: its plan has format %d; this optml knows 1", dir, p.Format)
	}
	return &Job{layout: l, plan: p}, nil
}

// Find returns the job that name names: a name, kind/name, or the job's directory. *NotFoundError, *AmbiguousError.
func Find(root, name string) (*Job, error) {
	if filepath.IsAbs(name) {
		if j, err := Open(name); !errors.Is(err, fs.ErrNotExist) {
			return j, err
		}
		return nil, notFound(root, name)
	}
	in, base := kinds, name
	if k, b, ok := strings.Cut(name, "/"); ok {
		in, base = []job.Kind{job.Kind(k)}, b
		if !knownKind(in[0]) {
			return nil, notFound(root, name)
		}
	}
	if !validName(base) {
		return nil, notFound(root, name)
	}
	var found []*Job
	var among []string
	for _, k := range in {
		j, err := Open(filepath.Join(root, string(k), base))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		found = append(found, j)
		among = append(among, string(k)+"/"+base)
	}
	switch len(found) {
	case 0:
		return nil, notFound(root, name)
	case 1:
		return found[0], nil
	}
	return nil, &AmbiguousError{Name: name, Among: among}
}

// List returns the jobs of the given kinds, of all without any, oldest first. Entries that cannot be read are left out
// and joined into the error; the list is good all the same.
func List(root string, of ...job.Kind) ([]*Job, error) {
	if len(of) == 0 {
		of = kinds
	}
	var jobs []*Job
	var errs []error
	for _, k := range of {
		parent := filepath.Join(root, string(k))
		entries, err := os.ReadDir(parent)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		for _, e := range entries {
			if !e.IsDir() || !validName(e.Name()) {
				continue
			}
			j, err := Open(filepath.Join(parent, e.Name()))
			if errors.Is(err, fs.ErrNotExist) { // removed meanwhile
				if _, serr := os.Stat(filepath.Join(parent, e.Name())); serr != nil {
					continue
				}
			}
			if err != nil {
				errs = append(errs, err)
				continue
			}
			jobs = append(jobs, j)
		}
	}
	created := make(map[*Job]time.Time, len(jobs))
	for _, j := range jobs {
		created[j] = j.Created()
	}
	slices.SortStableFunc(jobs, func(a, b *Job) int { return created[a].Compare(created[b]) })
	return jobs, errors.Join(errs...)
}

// Plan is the job's plan. It must not be changed.
func (j *Job) Plan() *job.Plan { return j.plan }

// Kind and Name are what the job is listed under.
func (j *Job) Kind() job.Kind { return j.plan.Kind }
func (j *Job) Name() string   { return j.plan.Name }

// Root is the directory that the job's kinds lie in.
func (j *Job) Root() string { return filepath.Dir(filepath.Dir(j.Dir())) }

// Created is when the job was made: the plan's time, else that of its file.
func (j *Job) Created() time.Time {
	if t := planCreated(j.plan); !t.IsZero() {
		return t
	}
	if fi, err := os.Stat(j.path(planFile)); err == nil {
		return fi.ModTime().UTC()
	}
	return time.Time{}
}

// State folds the job's events. A line that cannot be read is passed over and counted in Damaged.
func (j *Job) State() (State, error) {
	s, err := j.fold()
	if err != nil {
		return State{}, err
	}
	if s.CreationTime.IsZero() {
		s.CreationTime = j.Created()
	}
	return *s, nil
}

// Owned says whether the job's owner lives. Asking disturbs nobody.
func (j *Job) Owned() (bool, error) { return lockHeld(j.LockPath()) }

// Documents are the documents as given, by name.
func (j *Job) Documents() (map[string][]byte, error) {
	entries, err := os.ReadDir(j.RequestDir())
	if err != nil {
		return nil, err
	}
	docs := make(map[string][]byte, len(entries))
	for _, e := range entries {
		if docs[e.Name()], err = readBounded(j.path(requestDir, e.Name())); err != nil {
			return nil, err
		}
	}
	return docs, nil
}

// Options decodes what Request.Options held into v.
func (j *Job) Options(v any) error { return readJSON(j.path(optionsFile), v) }
