//go:build e2e

package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/optml/optml/harness"
	"github.com/optml/optml/ledger"
)

// outlive is how long a container may live on after its owner (D11).
const outlive = 10 * time.Second

// slowSweep is what no sweep of one dead job needs, on a loaded machine either: it means that something waited for its
// timeout.
const slowSweep = 20 * time.Second

// trainingToCrash has something to do in each of its steps: data to bring, work, a model to upload.
func trainingToCrash(t *testing.T, name string) []string {
	t.Helper()
	d := training(name, "model_mb", "6", "model_files", "3", "output", "result", "stdout_mb", "1", "sleep", "100ms")
	d["InputDataConfig"] = []doc{channel("train", "s3://crash/in/")}
	d["HyperParameters"].(doc)["checkpoints"] = "2"
	d["CheckpointConfig"] = doc{"S3Uri": "s3://out/checkpoints/" + name}
	put(t, "out", "checkpoints/"+name+"/before", "from before")
	return []string{"train", "--quiet", d.file(t)}
}

// transformToCrash likewise: a model to unpack, objects to send, answers that take a while.
func transformToCrash(t *testing.T, name string) []string {
	t.Helper()
	d := transforming(name, "s3://crash/batch/")
	m := modelDoc("s3://crash/model.tar.gz", "TINY_INVOKE_DELAY", "20ms", "TINY_REQUIRE_MODEL", "weights.bin")
	return []string{"transform", "--quiet", "--model-doc", m.file(t), d.file(t)}
}

// putCrashData makes the data of both.
func putCrashData(t *testing.T) {
	t.Helper()
	noise := make([]byte, 1<<20)
	src := rand.NewChaCha8([32]byte{7})
	for i := range 6 {
		_, _ = src.Read(noise)
		put(t, "crash", fmt.Sprintf("in/part-%d.bin", i), string(noise))
		put(t, "crash", fmt.Sprintf("batch/part-%d.csv", i), strings.Repeat(fmt.Sprintf("row of %d\n", i), 100))
	}
	var model bytes.Buffer
	z := gzip.NewWriter(&model)
	a := tar.NewWriter(z)
	header := a.WriteHeader(&tar.Header{Name: "weights.bin", Mode: 0o644, Size: int64(len(noise))})
	_, body := a.Write(noise)
	if err := errors.Join(header, body, a.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	put(t, "crash", "model.tar.gz", model.String())
}

// moment is when the owner dies: a step's name, with +duration or ! as OPTML_FAIL takes it.
type moment struct{ step, at string }

func (m moment) String() string { return m.step + m.at }

// moments are begin and end of each step and, in the full tier, three random moments inside. The fast tier takes one of
// these for each step, a different one each time round.
func moments(t *testing.T, took map[string]time.Duration) []moment {
	t.Helper()
	var all []moment
	for i, step := range slices.Sorted(maps.Keys(took)) {
		inside := func() string {
			return "+" + time.Duration(rand.Int64N(max(1, int64(took[step])))).Round(time.Microsecond).String()
		}
		of := []string{"", "!", inside()}
		if full {
			of = append(of, inside(), inside())
		} else {
			of = []string{of[i%len(of)]}
		}
		for _, at := range of {
			all = append(all, moment{step, at})
		}
	}
	return all
}

// stepsOf are the steps of a job that was carried out to its end, with the time that they took.
func stepsOf(t *testing.T, name string) map[string]time.Duration {
	t.Helper()
	took := map[string]time.Duration{}
	for _, s := range record(t, name).Steps {
		took[s.Name] = s.Duration()
	}
	return took
}

// TestCrashes kills the owner of a job with SIGKILL at every step of training and transform (ruling 28). Afterwards the
// container has not outlived its owner, `optml prune` or the next job leaves the host as it was, the record tells the
// truth, and no artifact that existed is lost. Every other time a second job runs beside it and is not touched.
func TestCrashes(t *testing.T) {
	sameHost(t)
	putCrashData(t)
	covered := map[string]bool{}
	for _, kind := range []struct {
		name string
		args func(*testing.T, string) []string
	}{{"training", trainingToCrash}, {"transform", transformToCrash}} {
		whole := jobName("whole-" + kind.name)
		ok(t, kind.args(t, whole)...)
		took := stepsOf(t, whole)
		for i, m := range moments(t, took) {
			covered[m.step] = true
			t.Run(kind.name+" "+m.String(), func(t *testing.T) {
				crash(t, m, kind.name, kind.args, i%2 == 1)
			})
		}
	}
	for _, s := range harness.Steps {
		if !covered[s] && s != "load" { // of bench serve, whose script has the crash
			t.Errorf("no crash in step %s: give a job of this test something to do in it", s)
		}
	}
}

func crash(t *testing.T, m moment, kind string, args func(*testing.T, string) []string, beside bool) {
	before := takeHost()
	name := jobName("crash")
	var other *proc
	otherName := ""
	if beside {
		otherName = jobName("beside")
		other = begin(t, nil, "train", "--quiet", training(otherName, "sleep", "1m", "sigterm", "save").file(t))
		running(t, otherName)
	}
	mine := func(p process) bool {
		return p.role == "container" && (otherName == "" || !strings.Contains(p.cgroup(), otherName))
	}
	p := begin(t, []string{"OPTML_FAIL=" + m.String()}, args(t, name)...)
	r := p.wait(t)
	died := p.ended
	if r.code == 0 && strings.HasPrefix(m.at, "+") {
		t.Logf("the step was over before %s", m)
	} else if r.code != 137 {
		t.Fatalf("the owner did not die: %s", r)
	}
	for slices.ContainsFunc(ourProcesses(), mine) {
		if time.Since(died) > outlive {
			t.Errorf("a container has outlived its owner: %v", ourProcesses())
			break
		}
		time.Sleep(2 * time.Millisecond)
	}
	s, err := recorded(name)
	if err != nil {
		t.Fatal(err)
	}
	if r.code != 0 && s.Final {
		t.Errorf("the record has an end that nobody saw: %s", s.Status)
	}
	made := artifacts(t, kind, name)
	if expect := ok(t, "ls"); !strings.Contains(expect.stdout, name) {
		t.Errorf("%s", expect)
	}

	// Either prune or the next job sees to it; with a job beside, that one must not notice.
	var sweep result
	if m.at == "!" {
		sweep = ok(t, "train", "--quiet", training(jobName("next")).file(t))
	} else {
		sweep = ok(t, "prune")
	}
	if sweep.took > slowSweep {
		t.Errorf("the sweep took long: %s", sweep)
	}
	if other != nil {
		if o := record(t, otherName); o.Final || o.Status != "InProgress" {
			t.Errorf("the job beside was touched: %s %s", o.Status, o.FailureReason)
		}
		ok(t, "stop", otherName)
		if x := other.wait(t); x.code != 6 {
			t.Errorf("the job beside: %s", x)
		}
		if f := modelOf(t, otherName); f["saved.txt"] == nil {
			t.Errorf("the job beside was not stopped with grace: %v", slices.Collect(maps.Keys(f)))
		}
	}
	equalHost(t, before, "after the crash and the sweep")
	truth(t, m, kind, name, r.code == 0, s)
	delivered(t, kind, name, made)
	ok(t, "rm", name)
}

// truth holds that the record says what happened: the job has failed, and why; or its owner had seen the container end,
// and it ended as it would have.
func truth(t *testing.T, m moment, kind, name string, survived bool, atDeath ledger.State) {
	t.Helper()
	s := record(t, name)
	if !s.Final || len(s.Open) != 0 {
		t.Errorf("the record has no end: %+v", s)
	}
	seen := slices.ContainsFunc(atDeath.Containers, func(c ledger.Container) bool { return c.Exited != nil })
	switch {
	case survived, kind == "training" && seen:
		if s.Status != "Completed" {
			t.Errorf("%s: %s, %s (%s); its container was seen to exit with 0", m, s.Status, s.FailureReason, s.Detail)
		}
	case s.Status != "Failed":
		t.Errorf("%s: %s, and nobody saw it end", m, s.Status)
	default:
		if !strings.HasPrefix(s.FailureReason, "InternalServerError") || !strings.Contains(s.Detail, "died in step") {
			t.Errorf("%s: %q, %q", m, s.FailureReason, s.Detail)
		}
		// A timer may also fire when its step is just over.
		if !strings.Contains(s.Detail, fmt.Sprintf("in step %q", m.step)) && !besides(m.step) && !strings.HasPrefix(m.at, "+") {
			t.Errorf("%s: the record names another step: %s", m, s.Detail)
		}
	}
}

// besides are steps that run beside others: which of them is cut off is not one answer.
func besides(step string) bool {
	return slices.Contains([]string{"image", "create", "restore", "fill", "model"}, step)
}

// artifacts are what the job had made when its owner died: files of a training's model and output directories with their
// sizes, objects of a transform.
func artifacts(t *testing.T, kind, name string) map[string]int64 {
	t.Helper()
	made := map[string]int64{}
	root := filepath.Join(w.s3, "out", "transform", name)
	if kind == "training" {
		root = filepath.Join(w.root, "jobs", kind, name, "work", "algo-1")
	}
	_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || isTemporary(d.Name()) {
			return nil
		}
		rel, _ := filepath.Rel(root, path)
		if fi, err := d.Info(); err == nil && (kind != "training" || strings.HasPrefix(rel, "model/") || strings.HasPrefix(rel, "output/data/") || strings.HasPrefix(rel, "checkpoints/")) {
			made[rel] = fi.Size()
		}
		return nil
	})
	return made
}

// delivered holds that what had been made is there.
func delivered(t *testing.T, kind, name string, made map[string]int64) {
	t.Helper()
	if kind == "transform" {
		for k, size := range made {
			if b := object(t, "out", "transform/"+name+"/"+k); int64(len(b)) != size {
				t.Errorf("%s had %d bytes and has %d", k, size, len(b))
			}
		}
		return
	}
	got := map[string]int64{}
	for archive, dir := range map[string]string{"model": "model/", "output": "output/data/"} {
		if b := object(t, "out", "training/"+name+"/output/"+archive+".tar.gz"); b != nil {
			for f, content := range unpack(t, b) {
				got[dir+f] = int64(len(content))
			}
		}
	}
	for _, k := range keys(t, "out", "checkpoints/"+name) {
		got["checkpoints/"+k] = int64(len(object(t, "out", "checkpoints/"+name+"/"+k)))
	}
	// What was half restored is not what was made: the store's stays.
	if n := got["checkpoints/before"]; n != int64(len("from before")) {
		t.Errorf("a checkpoint from before the job has %d bytes", n)
	}
	delete(made, "checkpoints/before")
	for f, size := range made {
		if have, there := got[f]; !there || have != size {
			t.Errorf("%s had %d bytes; delivered %d (%v)", f, size, have, there)
		}
	}
	if s := record(t, name); s.Status == "Completed" && len(got) < 6 {
		t.Errorf("completed with %v", got)
	}
}

// TestCrashAtAnyTime kills owners from outside, at moments that no step names: while a job is being made, between steps,
// while it is cleared up.
func TestCrashAtAnyTime(t *testing.T) {
	sameHost(t)
	putCrashData(t)
	rounds := 4
	if full {
		rounds = 30
	}
	for _, kind := range []struct {
		name string
		args func(*testing.T, string) []string
	}{{"training", trainingToCrash}, {"transform", transformToCrash}} {
		whole := ok(t, kind.args(t, jobName("whole-"+kind.name))...)
		for range rounds {
			before := takeHost()
			name := jobName("anytime")
			p := begin(t, nil, kind.args(t, name)...)
			after := time.Duration(rand.Int64N(int64(whole.took)))
			time.Sleep(after) // the moment is the point
			_ = p.Process.Kill()
			r := p.wait(t)
			for slices.ContainsFunc(ourProcesses(), func(p process) bool { return p.role == "container" }) {
				if time.Since(p.ended) > outlive {
					t.Errorf("killed after %v: a container has outlived its owner", after)
					break
				}
				time.Sleep(2 * time.Millisecond)
			}
			s, err := recorded(name)
			made := artifacts(t, kind.name, name)
			ok(t, "prune")
			equalHost(t, before, fmt.Sprintf("killed after %v, and swept:", after))
			if err != nil { // there was no job yet
				if n := len(made); n != 0 || r.code == 0 {
					t.Errorf("killed after %v: no job, and yet %d artifacts: %s", after, n, r)
				}
				continue
			}
			now := record(t, name)
			seen := slices.ContainsFunc(s.Containers, func(c ledger.Container) bool { return c.Exited != nil })
			switch {
			case s.Final && now.Status != s.Status, !s.Final && now.Status == "Completed" && !seen, !now.Final, len(now.Open) > 0:
				t.Errorf("killed after %v: %s, was %s (end seen: %v)", after, now.Status, s.Status, seen)
			}
			if !s.Final {
				delivered(t, kind.name, name, made)
			}
		}
	}
}

// TestCrashOfTheSweep kills who sweeps, in the steps of the delivery: the next one finishes the work.
func TestCrashOfTheSweep(t *testing.T) {
	sameHost(t)
	putCrashData(t)
	for _, at := range []string{"artifacts", "upload", "upload+5ms", "upload!"} {
		before := takeHost()
		name := jobName("swept")
		if r := begin(t, []string{"OPTML_FAIL=wait+40ms"}, trainingToCrash(t, name)...).wait(t); r.code != 137 {
			t.Fatalf("%s", r)
		}
		eventually(t, "the container to die", func() bool {
			return !slices.ContainsFunc(ourProcesses(), func(p process) bool { return p.role == "container" })
		})
		made := artifacts(t, "training", name)
		if r := begin(t, []string{"OPTML_FAIL=" + at}, "prune").wait(t); r.code != 137 && !strings.Contains(at, "+") {
			t.Errorf("%s: prune did not die: %s", at, r)
		}
		ok(t, "prune")
		equalHost(t, before, at+":")
		if s := record(t, name); s.Status != "Failed" || !strings.Contains(s.Detail, `died in step "wait"`) {
			t.Errorf("%s: %s, %s", at, s.Status, s.Detail)
		}
		delivered(t, "training", name, made)
	}
}

// TestCrashOfAValidation kills the owner of a validation in each of its jobs: parent and child are ended with the truth.
func TestCrashOfAValidation(t *testing.T) {
	sameHost(t)
	put(t, "data", "train/a.csv", "1,2\n", "crash/x.csv", "x\n")
	for i, at := range []string{"wait+50ms", "upload", "serve!", "transform"} {
		name := fmt.Sprintf("crashing-%d", i)
		file := algorithm(name, "s3://data/crash/", []string{"sleep", "200ms"}, []string{"TINY_INVOKE_DELAY", "200ms"}).file(t)
		before := takeHost()
		r := begin(t, []string{"OPTML_FAIL=" + at}, "validate", "--quiet", file).wait(t)
		if r.code != 137 {
			t.Fatalf("%s", r)
		}
		eventually(t, "the container to die", func() bool {
			return !slices.ContainsFunc(ourProcesses(), func(p process) bool { return p.role == "container" })
		})
		ok(t, "prune")
		equalHost(t, before, at+":")
		var statuses []string
		for _, e := range decode[[]struct{ Kind, Name, Status, FailureReason string }](t, []byte(ok(t, "ls", "--output", "json").stdout)) {
			if strings.HasPrefix(e.Name, name) {
				statuses = append(statuses, e.Kind+" "+e.Status)
			}
		}
		slices.Sort(statuses)
		want := map[string][]string{
			"wait+50ms": {"training Failed", "validation Failed"},
			"upload":    {"training Completed", "validation Failed"},
			"serve!":    {"training Completed", "transform Failed", "validation Failed"},
			"transform": {"training Completed", "transform Failed", "validation Failed"},
		}[at]
		if !slices.Equal(statuses, want) {
			t.Errorf("%s: %v, want %v", at, statuses, want)
		}
	}
}
