//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestSession is what a user does with jobs afterwards: look at them, remake the report, remove them.
func TestSession(t *testing.T) {
	sameHost(t)
	name := jobName("session")
	file := training(name, "metrics", "3").file(t)
	r := ok(t, "train", "--logs", file)
	if !strings.Contains(r.stderr, "step=3;") || !strings.Contains(r.stdout, "COMPLETED") {
		t.Errorf("%s", r)
	}
	if r := ok(t, "ls"); !strings.Contains(r.stdout, name) || !strings.Contains(r.stdout, "Completed") {
		t.Errorf("%s", r)
	}
	if r := ok(t, "describe", name); !strings.Contains(r.stdout, "s3://out/training/"+name+"/output/model.tar.gz") {
		t.Errorf("%s", r)
	}
	if r := ok(t, "logs", name, "--tail", "1"); r.stdout != "step=3; train:loss=0.333333; validation:accuracy=0.750000;\n" {
		t.Errorf("%s", r)
	}
	if r := ok(t, "logs", name); r.stdout != log(t, name) {
		t.Errorf("logs are not what was printed:\n%s", r)
	}
	again := ok(t, "report", name)
	if again.stdout != r.stdout {
		t.Errorf("the report has changed from\n%sto\n%s", r.stdout, again.stdout)
	}
	// A used name is refused (ST-3, ruling 2) and nothing is started.
	if r := expect(t, 8, "train", file); !strings.Contains(r.stderr, "already exists") || !strings.Contains(r.stderr, "--replace") {
		t.Errorf("%s", r)
	}
	ok(t, "train", "--quiet", "--replace", file)
	expect(t, 2, "stop", name) // it has ended
	ok(t, "rm", name)
	expect(t, 8, "describe", name)
	modelOf(t, name) // what it made stays

	other := jobName("session")
	ok(t, "train", "--quiet", "--name", other, file)
	if r := ok(t, "prune"); strings.Contains(r.stderr, "removed") {
		t.Errorf("prune alone removes no finished job: %s", r)
	}
	record(t, other)
	ok(t, "prune", "--all-finished")
	if r := ok(t, "ls", "-q"); strings.Contains(r.stdout, other) { // those of other tests that hold an only copy stay
		t.Errorf("%s", r)
	}
}

// TestTwoAtOnce runs jobs beside each other, each from a process of its own (ruling 1).
func TestTwoAtOnce(t *testing.T) {
	sameHost(t)
	put(t, "data", "two/a.csv", "a\n")
	var procs []*proc
	var jobs []string
	networks := []string{"open", "isolated", "open"}
	for _, network := range networks {
		name := jobName("beside")
		jobs = append(jobs, name)
		procs = append(procs, begin(t, nil, "train", "--quiet", "--network", network, training(name, "layout", "check", "sleep", "1s").file(t)))
	}
	name := jobName("beside")
	procs = append(procs, begin(t, nil, "transform", "--quiet", "--image", tiny, transforming(name, "s3://data/two/").file(t)))
	for _, p := range procs {
		if r := p.wait(t); r.code != 0 {
			t.Errorf("%s", r)
		}
	}
	subnets := map[string]bool{}
	for i, name := range jobs {
		l := decode[layout](t, modelOf(t, name)["layout.json"])
		for _, a := range l.Interfaces["eth0"] {
			if strings.Contains(a, ".") && networks[i] == "open" { // an isolated one's address means nothing outside of it
				subnets[a] = true
			}
		}
		if env, _ := l.env("TRAINING_JOB_NAME"); env != name {
			t.Errorf("%s is %s", name, env)
		}
	}
	if len(subnets) != 2 {
		t.Errorf("addresses of the open ones: %v", subnets)
	}
	ok(t, "prune")
	for _, name := range jobs {
		if s := record(t, name); s.Status != "Completed" {
			t.Errorf("%s: %s", name, s.Status)
		}
	}
}

// TestDetached runs a job in the background, follows it from elsewhere, and stops another from there (D11, D13).
func TestDetached(t *testing.T) {
	sameHost(t)
	name := jobName("detached")
	r := ok(t, "train", "--detach", training(name, "metrics", "5", "metrics_interval", "100ms").file(t))
	if r.stdout != "training/"+name+"\n" {
		t.Fatalf("%s", r)
	}
	if r := ok(t, "logs", "-f", name); !strings.Contains(r.stdout, "step=5;") { // it ends with the job
		t.Errorf("%s", r)
	}
	if s := record(t, name); s.Status != "Completed" {
		t.Errorf("%+v", s)
	}
	modelOf(t, name)

	name = jobName("detached")
	ok(t, "train", "-d", training(name, "sleep", "5m", "sigterm", "save").file(t))
	spoke(t, name)
	if r := ok(t, "ls", "--status", "InProgress"); !strings.Contains(r.stdout, name) {
		t.Errorf("%s", r)
	}
	expect(t, 8, "rm", name) // it runs
	ok(t, "stop", name)
	if s := record(t, name); s.Status != "Stopped" {
		t.Errorf("%+v", s)
	}
	if f := modelOf(t, name); string(f["saved.txt"]) == "" {
		t.Error("the model saved on SIGTERM was not delivered")
	}
	eventually(t, "the owner to leave", func() bool {
		return !slices.ContainsFunc(ourProcesses(), func(p process) bool { return p.role == "optml" })
	})
}

// TestHangUp holds that a closed terminal detaches a job and does not end it (D11).
func TestHangUp(t *testing.T) {
	sameHost(t)
	name := jobName("hangup")
	p := begin(t, nil, "train", training(name, "sleep", "1s").file(t))
	running(t, name)
	if err := p.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if r := p.wait(t); r.code != 0 {
		t.Errorf("%s", r)
	}
	if s := record(t, name); s.Status != "Completed" {
		t.Errorf("%s", s.Status)
	}
}

// TestInterruptBeforeTheJob ends the command and leaves nothing, whatever it was doing.
func TestInterruptBeforeTheJob(t *testing.T) {
	sameHost(t)
	for _, after := range []time.Duration{0, 5 * time.Millisecond, 20 * time.Millisecond, 60 * time.Millisecond} {
		name := jobName("interrupt")
		p := begin(t, nil, "train", "--quiet", training(name, "sleep", "5m", "sigterm", "exit").file(t))
		time.Sleep(after) // there is nothing to wait for: the moment is the point
		if err := p.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		r := p.wait(t)
		s, err := recorded(name)
		switch {
		case r.code == 130 || r.code == 128+int(syscall.SIGINT): // before there was a job
			if err == nil {
				t.Errorf("after %v: interrupted, and yet there is a job: %+v", after, s)
			}
		case r.code == 6:
			if err != nil || s.Status != "Stopped" {
				t.Errorf("after %v: %v %+v", after, err, s)
			}
		default:
			t.Errorf("after %v: %s", after, r)
		}
	}
}

// TestAllInOneDirectory holds that a job's directory has all that there is to know, whoever reads it.
func TestAllInOneDirectory(t *testing.T) {
	sameHost(t)
	name := jobName("directory")
	file := training(name).file(t)
	ok(t, "train", "--quiet", file)
	dir := filepath.Join(w.root, "jobs", "training", name)
	for _, f := range []string{"plan.json", "events.jsonl", "status.json", "options.json", "request/CreateTrainingJob.json", "logs/algo-1.log", "logs/algo-1.idx"} {
		if _, err := os.Stat(filepath.Join(dir, f)); err != nil {
			t.Error(err)
		}
	}
	if got, want := string(read(filepath.Join(dir, "request/CreateTrainingJob.json"))), string(read(file)); got != want {
		t.Errorf("the request is not kept as given:\n%s", got)
	}
	if _, err := os.Stat(filepath.Join(dir, "work")); err == nil {
		t.Error("scratch is left")
	}
	seen := fmt.Sprint(tree(dir, nil))
	ok(t, "describe", dir)
	ok(t, "report", dir)
	if now := fmt.Sprint(tree(dir, nil)); now != seen {
		t.Errorf("looking at a job has changed it from %s to %s", seen, now)
	}
}
