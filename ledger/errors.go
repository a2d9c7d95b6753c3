package ledger

import (
	"errors"
	"fmt"
	"strings"

	"github.com/optml/optml/job"
)

// Classes of errors, for errors.Is.
var (
	ErrInUse     = errors.New("name in use")
	ErrNotFound  = errors.New("job not found")
	ErrOwned     = errors.New("job has a living owner")
	ErrOwnerDead = errors.New("the job's owner died before the job's end")
	ErrFinished  = errors.New("job is finished")

	ErrUnfinished = errors.New("job is not finished")
	ErrClosed     = errors.New("job is no longer owned by this process")
)

// InUseError says that a name is taken (ST-3, ruling 2). Its text is the service's own.
type InUseError struct {
	Kind     job.Kind
	Name     string
	ARN      string // of the job that has the name
	Finished bool   // only a finished job may be replaced
}

func (e *InUseError) Error() string {
	if e.Kind == job.KindBench { // the service has none
		return fmt.Sprintf("there is a benchmark %s already", e.Name)
	}
	if e.Kind == job.KindServing { // nor these: it has endpoints
		return fmt.Sprintf("there is a serving %s already", e.Name)
	}
	what := map[job.Kind]string{job.KindTransform: "transform job", job.KindValidation: "validation"}[e.Kind]
	if what == "" {
		what = "training job"
	}
	return fmt.Sprintf("%s names must be unique within an AWS account and region, and a %s with this name already exists (%s)",
		strings.ToUpper(what[:1])+what[1:], what, e.ARN)
}

// Hint says what the user can do.
func (e *InUseError) Hint() string {
	if e.Finished && e.Kind == job.KindBench {
		return fmt.Sprintf("give another name with --name, or remove it with its runs: optml rm %s/%s", e.Kind, e.Name)
	}
	if e.Finished {
		return "give another name with --name, or take the finished job's place with --replace"
	}
	return "give another name with --name; the job that has this one is not finished"
}

func (e *InUseError) Is(target error) bool { return target == ErrInUse }

// NotFoundError says that no job has a name. Its text is the service's own.
type NotFoundError struct {
	Name    string
	Root    string
	Similar []string // kind/name, nearest first
}

func (e *NotFoundError) Error() string { return "Requested resource not found." }

// Hint names what was looked for, and what is there that looks like it.
func (e *NotFoundError) Hint() string {
	if len(e.Similar) == 0 {
		return fmt.Sprintf("there is no job %q under %s", e.Name, e.Root)
	}
	return fmt.Sprintf("there is no job %q under %s; there is %s", e.Name, e.Root, strings.Join(e.Similar, ", "))
}

func (e *NotFoundError) Is(target error) bool { return target == ErrNotFound }

// AmbiguousError says that jobs of several kinds have a name.
type AmbiguousError struct {
	Name  string
	Among []string // kind/name
}

func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("job %q is ambiguous: it is one of %s", e.Name, strings.Join(e.Among, ", "))
}

// KeptError says that a job holds the only copy of an artifact, so that it cannot be removed or begun again.
type KeptError struct {
	Kind  job.Kind
	Name  string
	First UploadTotals
}

func (e *KeptError) Error() string {
	return fmt.Sprintf("%s/%s holds the only copy of its %s, which could not be uploaded: %s", e.Kind, e.Name, e.First.Artifact, e.First.Kept)
}

// Hint says what the user can do.
func (e *KeptError) Hint() string {
	return "`optml upload " + e.Name + "` uploads what is kept; `optml rm --discard " + e.Name + "` gives it up"
}

// OnlyCopy is a *KeptError if the job holds the only copy of something.
func (s *State) OnlyCopy() error {
	if k := s.Kept(); len(k) > 0 {
		return &KeptError{s.Kind, s.Name, k[0]}
	}
	return nil
}
