package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/optml/optml/human"
	"github.com/optml/optml/job"
	"github.com/optml/optml/ledger"
	"github.com/optml/optml/transform"
)

// rerunFailed runs a new job for the objects that failed in another.
func (a *app) rerunFailed(f *jobFlags, name string) error {
	j, err := ledger.Find(a.jobs(), name)
	if err != nil {
		return err
	}
	again, err := failedIn(j)
	if err != nil {
		return err
	}
	docs, err := j.Documents()
	if err != nil {
		return fmt.Errorf("read documents of %s: %w", again.Of, err)
	}
	if docs[job.RerunFile], err = json.Marshal(again); err != nil {
		return err
	}
	if len(docs[job.RerunFile]) > ledger.MaxDocument {
		return tooMany(again.Of, int64(len(again.Objects)))
	}
	var k kept
	if err := j.Options(&k); err != nil {
		return fmt.Errorf("read options of %s: %w", again.Of, err)
	}
	plan, err := job.PlanRerun(j.Plan(), f.name, runSuffix(), time.Now().UTC())
	if err != nil {
		return err
	}
	plan.Transform.RecordRequests = f.recordRequests || plan.Transform.RecordRequests
	// Where objects are is the first job's matter, how this machine is used that of whoever runs this one.
	here := a.hostOptions(f)
	k.Host.Root, k.Host.RunDir, k.Host.Containerd, k.Host.Pull, k.Host.Spool = here.Root, here.RunDir, here.Containerd, here.Pull, here.Spool
	k.Host.Platform, k.Host.Registries, k.Host.Grant, k.Host.Metrics = here.Platform, here.Registries, here.Grant, here.Metrics
	k.Job.Name = plan.Name
	r := runOptions{
		jobs: a.jobs(), kept: k, replace: f.replace, detach: f.detach, progress: f.progressOptions(), output: a.output, app: a,
	}
	return r.carry(plan, docs, a.stdout, a.stderr)
}

func tooMany(of string, failed int64) error {
	return &usageError{Err: fmt.Errorf("%s: %s failed: their names are more than the %d MiB that a rerun can take", of, human.Count(failed, "object"), ledger.MaxDocument>>20), Hint: "run the whole job again"}
}

// failedIn is what failed in a job, if that is known for certain.
func failedIn(j *ledger.Job) (job.Rerun, error) {
	again := job.Rerun{Of: string(j.Kind()) + "/" + j.Name()}
	refuse := func(hint, format string, args ...any) (job.Rerun, error) {
		return again, &usageError{Err: fmt.Errorf("%s: %w", again.Of, fmt.Errorf(format, args...)), Hint: hint}
	}
	if j.Kind() != job.KindTransform {
		return refuse("a validation's transform is a job of its own: `optml describe` names it", "--rerun-failed takes a transform")
	}
	owned, err := j.Owned()
	if err != nil {
		return again, err
	}
	s, err := j.State()
	if err != nil {
		return again, err
	}
	switch {
	case owned && !s.Final:
		return refuse("wait for its end, or `optml stop` it", "it still runs")
	case !s.Final:
		return refuse("`optml prune` recovers it; then run the whole job again", "its owner has died: which objects failed is not known")
	case s.Status != ledger.StatusFailed:
		return refuse("", "it is %s: no object of it has failed", s.Status)
	case s.Transform == nil || s.Transform.Failed == 0:
		return refuse("run the whole job again", "it failed, but not on its objects: %s", s.FailureReason)
	}
	file, err := os.Open(j.FailuresPath())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return again, err
	}
	if err == nil {
		defer file.Close()
		size := 0
		lines := bufio.NewScanner(file)
		lines.Buffer(nil, 256<<10) // a line is a key of at most 1 KiB, twice, and an error of at most 1 KiB
		for lines.Scan() {
			var f transform.FailedObject
			if json.Unmarshal(lines.Bytes(), &f) != nil || f.Object == "" {
				break // the count tells
			}
			again.Objects = append(again.Objects, f.Object)
			if size += len(f.Object); size > ledger.MaxDocument {
				return again, tooMany(again.Of, s.Transform.Failed)
			}
		}
	}
	if n := int64(len(again.Objects)); n != s.Transform.Failed {
		return refuse("run the whole job again", "%s failed, and %s lists %d of them", human.Count(s.Transform.Failed, "object"), j.FailuresPath(), n)
	}
	return again, nil
}
