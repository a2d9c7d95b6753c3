//go:build e2e

package e2e

import (
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// kill9 kills the one process of ours in a role, whose arguments and environment contain all the words.
func kill9(t *testing.T, role string, words ...string) {
	t.Helper()
	var found []process
	for _, p := range ourProcesses() {
		if p.role == role && !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(p.args+p.environment(), w) }) {
			found = append(found, p)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d processes are the %s of %v: %+v", len(found), role, words, ourProcesses())
	}
	if err := syscall.Kill(found[0].pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// wrote waits for a training's first words and for the file that it writes then.
func wrote(t *testing.T, name string) {
	t.Helper()
	spoke(t, name)
	eventually(t, "its first file", func() bool { return artifacts(t, "training", name)["model/started.json"] > 0 })
}

// TestKilledContainerd holds that jobs survive the death of containerd: it is started again, and each ends as it would
// have (D1).
func TestKilledContainerd(t *testing.T) {
	sameHost(t)
	put(t, "data", "train/a.csv", "1\n", "slow/a.csv", "x\n", "slow/b.csv", "y\n")
	train, fails, transform := jobName("outlives"), jobName("outlives"), jobName("outlives")
	d := transforming(transform, "s3://data/slow/")
	d["MaxConcurrentTransforms"] = 1
	procs := []*proc{
		begin(t, nil, "train", "--quiet", training(train, "sleep", "2s").file(t)),
		begin(t, nil, "train", "--quiet", training(fails, "sleep", "2s", "exit_code", "7", "failure", "as it would").file(t)),
		begin(t, nil, "transform", "--quiet", "--model-doc", modelDoc("", "TINY_INVOKE_DELAY", "1s").file(t), d.file(t)),
	}
	for _, name := range []string{train, fails, transform} {
		running(t, name)
	}
	w.killContainerd(t)
	for i, want := range []int{0, 3, 0} {
		if r := procs[i].wait(t); r.code != want {
			t.Errorf("exit code %d, want %d: %s", r.code, want, r)
		}
	}
	if s := record(t, fails); s.FailureReason != "AlgorithmError: as it would, exit code: 7" {
		t.Errorf("%s (%s)", s.FailureReason, s.Detail)
	}
	if got := keys(t, "out", "transform/"+transform); len(got) != 2 {
		t.Errorf("outputs %v", got)
	}
	modelOf(t, train)
}

// TestKilledShim holds that a job whose container ends unseen, with its shim, has failed (D11), and leaves nothing.
func TestKilledShim(t *testing.T) {
	sameHost(t)
	name := jobName("shimless")
	p := begin(t, nil, "train", "--quiet", training(name, "sleep", "5m").file(t))
	wrote(t, name)
	kill9(t, "shim", name)
	if r := p.wait(t); r.code == 0 || r.code == 6 {
		t.Errorf("%s", r)
	}
	s := record(t, name)
	if s.Status != "Failed" || s.FailureReason == "" || s.Detail == "" {
		t.Errorf("%s: %q, %q", s.Status, s.FailureReason, s.Detail)
	}
	t.Logf("%s (%s)", s.FailureReason, s.Detail)
	if f := modelOf(t, name); f["started.json"] == nil {
		t.Error("what it had made was not delivered")
	}
}

// TestKilledLogger holds that a job whose log can no longer be written ends with the truth and leaves nothing.
func TestKilledLogger(t *testing.T) {
	sameHost(t)
	name := jobName("logless")
	p := begin(t, nil, "train", "--quiet", training(name, "metrics", "100000", "metrics_interval", "20ms", "sigterm", "exit").file(t))
	running(t, name)
	eventually(t, "its first words", func() bool { return strings.Contains(log(t, name), "step=3;") })
	kill9(t, "logger", name)
	killed := time.Now()
	r := p.wait(t) // printing into a pipe without a reader ends the process
	t.Logf("ends %.1f s after its logger: %s", time.Since(killed).Seconds(), r.stderr)
	s := record(t, name)
	if r.code == 0 || s.Status != "Failed" || s.FailureReason == "" {
		t.Errorf("%s: %q, %q", s.Status, s.FailureReason, s.Detail)
	}
	if l := log(t, name); !strings.Contains(l, "step=3;") {
		t.Errorf("what had been printed is lost: %s", l)
	}
	if f := modelOf(t, name); f["started.json"] == nil {
		t.Error("what it had made was not delivered")
	}
}

// TestKilledLoggerThenOwner takes the guard away first: who sweeps next kills the container (D11).
func TestKilledLoggerThenOwner(t *testing.T) {
	sameHost(t)
	name := jobName("guardless")
	p := begin(t, nil, "train", "--quiet", training(name, "sleep", "5m").file(t))
	wrote(t, name)
	kill9(t, "logger", name)
	if err := p.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	p.wait(t)
	ok(t, "prune")
	if s := record(t, name); s.Status != "Failed" || !strings.Contains(s.Detail, "died in step") {
		t.Errorf("%s: %q, %q", s.Status, s.FailureReason, s.Detail)
	}
	if f := modelOf(t, name); f["started.json"] == nil {
		t.Error("what it had made was not delivered")
	}
}

// TestStopOfADeadOwnersJob: who stops a job whose owner has died recovers it (D13).
func TestStopOfADeadOwnersJob(t *testing.T) {
	sameHost(t)
	name := jobName("orphan")
	p := begin(t, nil, "train", "--quiet", training(name, "sleep", "5m").file(t))
	running(t, name)
	if err := p.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	p.wait(t)
	// Looking does not sweep (ruling 1), and removing is refused until somebody has.
	if r := ok(t, "describe", name); strings.Contains(r.stdout, "Failed") {
		t.Errorf("%s", r)
	}
	expect(t, 1, "rm", name)
	ok(t, "stop", name)
	if s := record(t, name); s.Status != "Failed" {
		t.Errorf("%s: %q, %q", s.Status, s.FailureReason, s.Detail)
	}
	ok(t, "rm", name)
}

// TestThreeInterrupts: the third Ctrl-C leaves at once, the artifacts are kept, and the next command delivers them
// (D13).
func TestThreeInterrupts(t *testing.T) {
	sameHost(t)
	name := jobName("leaving")
	p := begin(t, nil, "train", training(name, "model_mb", "300", "sleep", "5m", "sigterm", "ignore").file(t))
	running(t, name)
	eventually(t, "the model", func() bool { return artifacts(t, "training", name)["model/weights.bin"] == 300e6 })
	for _, step := range []string{"wait", "upload"} { // the first stops, the second kills: then it uploads
		if err := p.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the next step", func() bool {
			s := record(t, name)
			if step == "wait" {
				return s.Status == "Stopping"
			}
			return s.Steps[len(s.Steps)-1].Name == "upload"
		})
	}
	if err := p.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	r := p.wait(t)
	if r.code != 130 || !strings.Contains(r.stderr, "kept in "+w.root) {
		t.Errorf("%s", r)
	}
	if got := keys(t, "out", "training/"+name); slices.Contains(got, "output/model.tar.gz") {
		t.Errorf("half an upload is there: %v", got)
	}
	ok(t, "prune")
	if s := record(t, name); s.Status != "Stopped" {
		t.Errorf("%s: %q, %q", s.Status, s.FailureReason, s.Detail)
	}
	if f := modelOf(t, name); len(f["weights.bin"]) != 300e6 {
		t.Errorf("weights.bin has %d bytes", len(f["weights.bin"]))
	}
}
