package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/optml/optml/artifact"
	"github.com/optml/optml/job"
	"github.com/optml/optml/ledger"
	"github.com/optml/optml/runtime/container"
	"github.com/optml/optml/runtime/containertest"
)

// An owner that dies while it removes the work directory has delivered all: what is gone here was not deleted by the
// container, and what is half gone is no new model.
func TestOwnerDiesWhileClearingUp(t *testing.T) {
	b := newBench(t, nil)
	b.put("out/ckpt/before", "1")
	b.put("out/dying/output/model.tar.gz", "whole")
	o := b.create(checkpointPlan("dying"))
	tree := container.Tree{Root: filepath.Join(o.WorkDir(), "algo-1")}
	if err := errors.Join(tree.Make(false), tree.MakeCheckpoints(false)); err != nil {
		t.Fatal(err)
	}
	store, prefix, err := b.host.Stores.Open(t.Context(), "s3://out/ckpt/")
	if err != nil {
		t.Fatal(err)
	}
	c := artifact.Checkpoints{Store: store, Prefix: prefix, Dir: tree.Checkpoints(), At: "/opt/ml/checkpoints", Record: filepath.Join(o.WorkDir(), "algo-1-"+checkpointsRecord)}
	if _, err := c.Restore(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{filepath.Join(tree.Checkpoints(), "made"): "2", filepath.Join(tree.Model(), "half"): "x"} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Sync(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	for _, x := range []ledger.Body{ledger.Started{Container: "algo-1"}, ledger.Exited{Container: "algo-1"},
		ledger.UploadTotals{Artifact: "checkpoints"}, ledger.UploadTotals{Artifact: "model"}, ledger.UploadTotals{Artifact: "output"}} {
		if err := o.At("algo-1", "upload").Append(x); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Remove(filepath.Join(tree.Checkpoints(), "before")), o.Close()); err != nil {
		t.Fatal(err)
	}
	done, err := Recover(t.Context(), b.root, b.host, &reaper{})
	if err != nil || len(done) != 1 || done[0].Final.Status != "Completed" {
		t.Errorf("%+v %v", done, err)
	}
	if got, want := b.objects(), []string{"out/ckpt/before", "out/ckpt/made", "out/dying/output/model.tar.gz"}; !slices.Equal(got, want) || b.object(want[2]) != "whole" {
		t.Errorf("%v", got)
	}
}

func checkpointPlan(name string) *job.Plan {
	p := trainingPlan(name)
	p.Training.Checkpoint = &job.Checkpoint{URI: "s3://out/ckpt", LocalPath: "/opt/ml/checkpoints/", Every: job.Duration(10 * time.Millisecond)}
	return p
}

func (b *bench) object(key string) string {
	body, _ := os.ReadFile(filepath.Join(b.s3, key))
	return string(body)
}

func statuses(s ledger.State) (all []string) {
	for _, x := range s.Transitions {
		all = append(all, x.Status)
	}
	return all
}

// CKP-1, CKP-2, CKP-4: restored before the start, synced while the container runs, deletions included, and once more
// after it has failed.
func TestCheckpoints(t *testing.T) {
	var b *bench
	b = newBench(t, algo(func(p *containertest.Process) int {
		if got, err := os.ReadFile(p.Path("/opt/ml/checkpoints/old")); err != nil || string(got) != "1" {
			fmt.Fprintln(p.Stderr, got, err)
			return 9
		}
		if got, err := os.ReadFile(p.Path("/opt/ml/input/config/checkpointconfig.json")); err != nil || string(got) != `{"LocalPath":"/opt/ml/checkpoints/"}` {
			fmt.Fprintln(p.Stderr, got, err)
			return 9
		}
		_ = os.Remove(p.Path("/opt/ml/checkpoints/old"))
		write(p, "/opt/ml/checkpoints/step-1", "x")
		for b.object("out/ckpt/step-1") != "x" || b.object("out/ckpt/old") != "" { // while it runs
			time.Sleep(time.Millisecond)
		}
		write(p, "/opt/ml/checkpoints/step-2", "y")
		return 3
	}))
	b.put("out/ckpt/old", "1")
	b.put("out/ckpt2/not", "1")
	final, s := b.run(checkpointPlan("c"))
	if *final.ExitCode != ExitAlgorithm || final.FailureReason != "AlgorithmError: , exit code: 3" {
		t.Fatalf("%+v", final)
	}
	if got, want := b.objects(), []string{"out/ckpt/step-1", "out/ckpt/step-2", "out/ckpt2/not"}; !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
	i := slices.IndexFunc(s.Uploads, func(u ledger.UploadTotals) bool { return u.Artifact == "checkpoints" })
	if i < 0 || s.Uploads[i].Files != 2 || s.Uploads[i].URI != "s3://out/ckpt/" {
		t.Errorf("%+v", s.Uploads)
	}
}

// A place that checkpoints cannot be had from fails the job before anything runs; one that they cannot be brought to
// keeps them.
func TestCheckpointsFail(t *testing.T) {
	b := newBench(t, algo(func(*containertest.Process) int { panic("started") }))
	p := checkpointPlan("norestore")
	p.Training.Checkpoint.URI = "s3://nowhere/ckpt"
	if final, _ := b.run(p); *final.ExitCode != ExitClient || !strings.HasPrefix(final.FailureReason, "ClientError: Data download failed:") || final.Hint == "" {
		t.Errorf("%+v", final)
	}
	b = newBench(t, algo(func(p *containertest.Process) int {
		write(p, "/opt/ml/checkpoints/no key\xff", "x")
		write(p, "/opt/ml/checkpoints/a", "x")
		write(p, "/opt/ml/model/m", "x")
		return 0
	}))
	p = checkpointPlan("nosync")
	p.Training.Checkpoint.Every = job.Duration(time.Hour)
	final, s := b.run(p)
	if !strings.HasPrefix(final.FailureReason, "ClientError: Artifact upload failed:") || !strings.Contains(final.Hint, "`optml upload nosync`") {
		t.Errorf("%+v", final)
	}
	kept := s.Kept()
	if len(kept) != 1 || kept[0].Artifact != "checkpoints" {
		t.Fatalf("%+v", kept)
	}
	if got := b.objects(); !slices.Equal(got, []string{"out/ckpt/a", "out/nosync/output/model.tar.gz"}) { // the others arrive
		t.Errorf("%v", b.objects())
	}
}

// broken ends so many waits with an error that is nobody's fault but the machine's.
type broken struct {
	*containertest.Launcher
	left *atomic.Int32
}

type brokenTask struct {
	container.Task
	left *atomic.Int32
}

func (l broken) Launch(ctx context.Context, s container.Spec) (container.Task, error) {
	t, err := l.Launcher.Launch(ctx, s)
	return brokenTask{t, l.left}, err
}

func (t brokenTask) Wait(ctx context.Context) (container.Exit, error) {
	x, err := t.Task.Wait(ctx)
	if t.left.Add(-1) >= 0 {
		return container.Exit{}, errors.New("the shim has died")
	}
	return x, err
}

// RETRY-1, CKP-2: after an InternalServerError the job begins again at Starting, with its checkpoints and an empty model
// directory, MaximumRetryAttempts times; a failure of the algorithm is not tried again.
func TestRetries(t *testing.T) {
	program := func(p *containertest.Process) int {
		files, _ := os.ReadDir(p.Path("/opt/ml/checkpoints"))
		if left, _ := os.ReadDir(p.Path("/opt/ml/model")); len(left) > 0 {
			return 9
		}
		fmt.Fprintf(p.Stdout, "begins with %d\n", len(files))
		write(p, fmt.Sprintf("/opt/ml/checkpoints/step-%d", len(files)), "x")
		write(p, fmt.Sprintf("/opt/ml/model/m-%d", len(files)), "x")
		return 0
	}
	for _, c := range []struct {
		faults   int32
		retries  int
		status   string
		attempts int
	}{{0, 2, "Completed", 1}, {1, 0, "Failed", 1}, {2, 2, "Completed", 3}, {3, 2, "Failed", 3}} {
		t.Run(fmt.Sprintf("%d faults, %d retries", c.faults, c.retries), func(t *testing.T) {
			b := newBench(t, algo(program))
			left := new(atomic.Int32)
			left.Store(c.faults)
			b.host.Launcher = broken{b.launcher, left}
			p := checkpointPlan("r")
			p.Training.Retries = c.retries
			final, s := b.run(p)
			if final.Status != c.status || s.Attempt() != c.attempts {
				t.Errorf("%+v, attempt %d", final, s.Attempt())
			}
			if n := strings.Count(strings.Join(statuses(s), " "), "Starting"); n != c.attempts {
				t.Errorf("%v", statuses(s))
			}
			if got := b.object(fmt.Sprintf("out/ckpt/step-%d", c.attempts-1)); got != "x" {
				t.Errorf("%v", b.objects())
			}
			for i := range c.attempts - 1 {
				log := filepath.Join(b.root, "training/r/attempts", fmt.Sprint(i+1), "logs/algo-1.log")
				if body, err := os.ReadFile(log); err != nil || string(body) != fmt.Sprintf("begins with %d\n", i) {
					t.Errorf("%q %v", body, err)
				}
			}
		})
	}
	b := newBench(t, algo(func(*containertest.Process) int { return 1 }))
	p := trainingPlan("algorithm")
	p.Training.Retries = 3
	if final, s := b.run(p); *final.ExitCode != ExitAlgorithm || s.Attempt() != 1 {
		t.Errorf("%+v, attempt %d", final, s.Attempt())
	}
}

// What an attempt has of this host is taken back with it, and the next has its own: GPUs, the endpoint of credentials.
func TestEachAttemptHasItsOwn(t *testing.T) {
	gpus := newFakeGPUs(2) // which are never free again
	b := newBench(t, algo(func(p *containertest.Process) int {
		if code, _ := asks(p, "GET", p.Getenv(envCredentialsURI), p.Getenv(envCredentialsToken)); code != 200 {
			return 9
		}
		return 0
	}))
	left := new(atomic.Int32)
	left.Store(1)
	b.host.Launcher, b.host.GPUs, b.host.Credentials = broken{b.launcher, left}, gpus, &fakeCredentials{}
	p := trainingPlan("anew")
	p.Training.Isolated, p.Training.Retries = false, 1
	p.Training.Instances[0].GPUs = 1
	final, s := b.run(p)
	if final.Status != "Completed" || s.Attempt() != 2 {
		t.Fatalf("%+v, attempt %d", final, s.Attempt())
	}
	if got := b.launcher.Launched(); len(got) != 2 || string(got[1].Edits) != `{"env":["OF=GPU-1"]}` || !slices.Equal(gpus.events, []string{"freed", "freed"}) {
		t.Errorf("%+v %v", got, gpus.events)
	}
	if n := len(s.GPUs); n != 1 || s.GPUs[0].GPUs[0].Index != "1" {
		t.Errorf("%+v", s.GPUs)
	}
	if !slices.ContainsFunc(s.Warnings, func(w ledger.Warning) bool { return w.Rule == "ENV-6" }) {
		t.Errorf("it is not said again whose the credentials are: %v", s.Warnings)
	}
}

// A job that was stopped is begun again under its name: its end was an interruption (training 6.4), what it had printed
// is kept, the checkpoints are there, and the model directory is empty.
func TestResume(t *testing.T) {
	var b *bench
	started := make(chan struct{}, 1)
	b = newBench(t, algo(func(p *containertest.Process) int {
		files, _ := os.ReadDir(p.Path("/opt/ml/checkpoints"))
		if len(files) > 0 {
			write(p, "/opt/ml/model/m", files[0].Name())
			return 0
		}
		write(p, "/opt/ml/checkpoints/step-1", "x")
		started <- struct{}{}
		<-p.Signals
		return 143
	}))
	p := checkpointPlan("again")
	o := b.create(p)
	go func() { <-started; _ = o.Job().RequestStop(ledger.Stop{Reason: "test"}) }()
	if final, err := Run(t.Context(), o, p, b.host); err != nil || final.Status != "Stopped" {
		t.Fatalf("%+v %v", final, err)
	}
	o.Close()
	o, err := ledger.Reopen(o.Dir())
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	if err := Resume(o); err != nil {
		t.Fatal(err)
	}
	if s, err := o.Job().State(); err != nil || s.Final || s.Secondary != "Interrupted" || s.Attempt() != 2 {
		t.Errorf("%+v %v", s, err)
	}
	final, err := Run(t.Context(), o, p, b.host)
	if err != nil || final.Status != "Completed" {
		t.Fatalf("%+v %v", final, err)
	}
	b.clean(o)
	want := []string{"Starting", "Downloading", "Training", "Stopping", "Uploading", "Interrupted", "Starting", "Downloading", "Training", "Uploading", "Completed"}
	if got := statuses(o.State()); !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
	seen := 0
	for e, err := range o.Job().Follow(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if t, ok := e.Body.(ledger.Transition); ok && ledger.IsFinal(t.Status) {
			seen++
		}
	}
	if seen != 1 {
		t.Errorf("who follows sees %d ends", seen)
	}
}

// What could not be uploaded is uploaded later, and removed when it has arrived (OUT-5); the status stays.
func TestDeliverLater(t *testing.T) {
	b := newBench(t, algo(func(p *containertest.Process) int {
		write(p, "/opt/ml/model/w", "x")
		write(p, "/opt/ml/output/data/d", "x")
		return 0
	}))
	b.put("out/kept", "a file where a directory is needed")
	o := b.create(trainingPlan("kept"))
	final, err := Run(t.Context(), o, o.Plan(), b.host)
	if err != nil || final.Status != "Failed" {
		t.Fatalf("%+v %v", final, err)
	}
	o.Close()
	o, err = ledger.Reopen(o.Dir())
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	if err := Deliver(t.Context(), o, b.host); err == nil {
		t.Error("delivered into a file")
	}
	if s := o.State(); len(s.Kept()) != 2 {
		t.Errorf("%+v", s.Uploads)
	}
	if err := os.Remove(filepath.Join(b.s3, "out/kept")); err != nil {
		t.Fatal(err)
	}
	if err := Deliver(t.Context(), o, b.host); err != nil {
		t.Fatal(err)
	}
	if got, want := b.objects(), []string{"out/kept/output/model.tar.gz", "out/kept/output/output.tar.gz"}; !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
	if s := o.State(); len(s.Kept()) != 0 || s.Status != "Failed" {
		t.Errorf("%+v", s)
	}
	if _, err := os.Stat(o.WorkDir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("kept copies are left: %v", err)
	}
}
