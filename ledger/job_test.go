package ledger

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/optml/optml/job"
)

func TestFind(t *testing.T) {
	root := t.TempDir()
	create(t, root, "iris-1")
	create(t, root, "iris-2")
	o := create(t, root, "both")
	tp := &job.Plan{Format: 1, Kind: job.KindTransform, Name: "both", Transform: &job.Transform{CreationTime: t0}}
	tr, err := Create(root, Request{Plan: tp})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	for name, want := range map[string]string{"iris-1": "training/iris-1", "training/iris-2": "training/iris-2", "transform/both": "transform/both", o.Dir(): "training/both"} {
		j, err := Find(root, name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := fmt.Sprintf("%s/%s", j.Kind(), j.Name()); got != want || j.Root() != root {
			t.Errorf("%s: found %s in %s", name, got, j.Root())
		}
	}
	_, err = Find(root, "both")
	if e, _ := errors.AsType[*AmbiguousError](err); e == nil || !slices.Equal(e.Among, []string{"training/both", "transform/both"}) {
		t.Errorf("%v", err)
	}
	for name, similar := range map[string][]string{
		"iris-3":           {"training/iris-1", "training/iris-2"},
		"transform/iris-1": {"training/iris-1", "training/iris-2"},
		"ir":               {"training/iris-1", "training/iris-2"},
		"quite-another":    nil,
		"../both":          nil,
		"pods/both":        {"training/both", "transform/both"},
		"/nowhere":         nil,
		"":                 nil,
	} {
		_, err := Find(root, name)
		e, _ := errors.AsType[*NotFoundError](err)
		if e == nil || !errors.Is(err, ErrNotFound) || err.Error() != "Requested resource not found." {
			t.Errorf("%q: %v", name, err)
			continue
		}
		if name != "../both" && !slices.Equal(e.Similar, similar) {
			t.Errorf("%q: similar %v, want %v", name, e.Similar, similar)
		}
		if !strings.Contains(e.Hint(), fmt.Sprintf("%q", name)) || len(similar) > 0 && !strings.Contains(e.Hint(), similar[0]) {
			t.Errorf("%q: hint %s", name, e.Hint())
		}
	}
}

func TestListIsByCreation(t *testing.T) {
	root := t.TempDir()
	if jobs, err := List(root); err != nil || len(jobs) != 0 {
		t.Error(jobs, err)
	}
	for i, name := range []string{"c", "a", "b"} {
		p := trainingPlan(name)
		p.Training.CreationTime = t0.Add(time.Duration(i) * time.Second)
		o, err := Create(root, Request{Plan: p})
		if err != nil {
			t.Fatal(err)
		}
		defer o.Close()
	}
	v := &job.Plan{Format: 1, Kind: job.KindValidation, Name: "v", Validation: &job.Validation{}} // no time in its plan: its file's
	o, err := Create(root, Request{Plan: v})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	os.MkdirAll(filepath.Join(root, "training", ".new-1"), 0o700)
	os.WriteFile(filepath.Join(root, "training", "file"), nil, 0o600)
	names := func(jobs []*Job) (n []string) {
		for _, j := range jobs {
			n = append(n, j.Name())
		}
		return n
	}
	jobs, err := List(root)
	if diff := cmp.Diff([]string{"c", "a", "b", "v"}, names(jobs)); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if jobs, err := List(root, job.KindValidation); err != nil || !slices.Equal(names(jobs), []string{"v"}) {
		t.Error(names(jobs), err)
	}
	// One broken entry does not hide the others.
	os.WriteFile(filepath.Join(root, "training", "a", "plan.json"), []byte(`{"format":2}`), 0o600)
	jobs, err = List(root)
	if err == nil || !strings.Contains(err.Error(), "format 2") || len(jobs) != 3 {
		t.Error(names(jobs), err)
	}
}

func TestRemove(t *testing.T) {
	root := t.TempDir()
	o := create(t, root, "a")
	outside := filepath.Join(root, "outside")
	os.Mkdir(outside, 0o700)
	os.WriteFile(filepath.Join(outside, "keep"), nil, 0o600)
	os.Symlink(outside, filepath.Join(o.WorkDir(), "link"))
	if err := Remove(o.Job()); !errors.Is(err, ErrOwned) {
		t.Fatal(err)
	}
	o.Close()
	if err := Remove(o.Job()); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(o.Dir()); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(outside, "keep")); err != nil {
		t.Error("removal followed a link:", err)
	}
	if e, _ := os.ReadDir(filepath.Join(root, "training")); len(e) != 0 {
		t.Errorf("left behind: %v", e)
	}
	if err := Remove(o.Job()); err == nil {
		t.Error("removed twice")
	}
	if _, err := Adopt(o.Dir()); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestFindMount(t *testing.T) {
	info := []byte(`22 1 254:1 / / rw,relatime - ext4 /dev/vda1 rw
30 22 0:25 / /run/optml/mnt/a rw - fuse optml rw
31 22 0:26 / /var/lib/optml/jobs/training/my\040job/work/x rw - tmpfs tmpfs rw
short line
`)
	for dir, want := range map[string]string{
		"/var/lib/optml/jobs/training/my job":      "/var/lib/optml/jobs/training/my job/work/x",
		"/var/lib/optml/jobs/training/my":          "",
		"/run/optml/mnt/a":                         "/run/optml/mnt/a",
		"/run/optml/mnt/a/b":                       "",
		"/run/optml/mnt/ab":                        "",
		"/var/lib/optml/jobs/training/my job/work": "/var/lib/optml/jobs/training/my job/work/x",
	} {
		if got := findMount(info, dir); got != want {
			t.Errorf("%s: %q, want %q", dir, got, want)
		}
	}
}
