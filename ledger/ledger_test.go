package ledger

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/optml/optml/job"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if role := os.Getenv("LEDGER_TEST_ROLE"); role != "" {
		os.Exit(runRole(role))
	}
	goleak.VerifyTestMain(m)
}

// t0 is when the jobs of these tests were made.
var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func trainingPlan(name string) *job.Plan {
	return &job.Plan{
		Format: 1, Kind: job.KindTraining, Operation: "CreateTrainingJob", Name: name,
		ARN:    "arn:aws:sagemaker:us-east-1:000000000000:training-job/" + name,
		Region: "us-east-1", Account: "000000000000",
		Training: &job.Training{
			InstanceType: "ml.m5.large", HyperParameters: map[string]string{"a": "1"},
			OutputPath: "s3://b/out", ModelURI: "s3://b/out/" + name + "/output/model.tar.gz",
			MaxRuntime: job.Duration(time.Hour), CreationTime: t0,
		},
	}
}

func create(t *testing.T, root, name string) *Owner {
	t.Helper()
	o, err := Create(root, Request{Plan: trainingPlan(name)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.Close() })
	return o
}

func mustAppend(t *testing.T, a interface{ Append(Body) error }, bodies ...Body) {
	t.Helper()
	for _, b := range bodies {
		if err := a.Append(b); err != nil {
			t.Fatal(err)
		}
	}
}

func finish(t *testing.T, o *Owner, status string) {
	t.Helper()
	mustAppend(t, o, Transition{Status: status, Secondary: status, ExitCode: new(0)})
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestCreateKeepsWhatWasGiven(t *testing.T) {
	root := t.TempDir()
	doc := []byte("{\"TrainingJobName\" : \"a\",\r\n \"x\":1e400}\n\n")
	o, err := Create(root, Request{
		Kind: job.KindTraining, Name: "a", Plan: trainingPlan("a"),
		Documents: map[string][]byte{"CreateTrainingJob.json": doc, "model.json": []byte("{}")},
		Options:   job.Options{Name: "a", Grace: 3 * time.Second},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	if want := filepath.Join(root, "training", "a"); o.Dir() != want {
		t.Errorf("directory %s, want %s", o.Dir(), want)
	}
	j, err := Open(o.Dir())
	if err != nil {
		t.Fatal(err)
	}
	docs, err := j.Documents()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string][]byte{"CreateTrainingJob.json": doc, "model.json": []byte("{}")}, docs); diff != "" {
		t.Error("documents are not byte for byte:", diff)
	}
	var opts job.Options
	if err := j.Options(&opts); err != nil || opts.Grace != 3*time.Second {
		t.Errorf("options %+v, %v", opts, err)
	}
	if diff := cmp.Diff(trainingPlan("a"), j.Plan()); diff != "" {
		t.Error("plan:", diff)
	}
	for _, d := range []string{j.WorkDir(), j.LogsDir()} {
		if fi, err := os.Stat(d); err != nil || !fi.IsDir() {
			t.Errorf("%s: %v", d, err)
		}
	}
	if got := j.LogPath("algo-1"); got != filepath.Join(o.Dir(), "logs", "algo-1") {
		t.Error(got)
	}
	s, err := j.State()
	if err != nil || s.Status != StatusInProgress || s.Final || !s.CreationTime.Equal(t0) {
		t.Errorf("a new job's state is %+v, %v", s, err)
	}
}

func TestCreateRefusesNamesThatAreNoNames(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"", ".", "..", "../x", "a/b", ".new-x", "a\x00b", "a b", "-a", strings.Repeat("a", 129)} {
		if o, err := Create(root, Request{Plan: trainingPlan(name)}); err == nil {
			o.Close()
			t.Errorf("name %q was taken", name)
		}
		p := trainingPlan("ok")
		if o, err := Create(root, Request{Plan: p, Documents: map[string][]byte{name + "/x": nil}}); err == nil {
			o.Close()
			t.Errorf("document name %q was taken", name+"/x")
		}
	}
	if o, err := Create(root, Request{Name: "b", Plan: trainingPlan("a")}); err == nil {
		o.Close()
		t.Error("a name that is not the plan's was taken")
	}
	left, _ := filepath.Glob(filepath.Join(root, "*", "*"))
	dots, _ := filepath.Glob(filepath.Join(root, "*", ".*"))
	if len(left)+len(dots) > 0 {
		t.Errorf("left behind: %v %v", left, dots)
	}
}

// ST-3, ruling 2.
func TestTakenNameIsResourceInUse(t *testing.T) {
	root := t.TempDir()
	o := create(t, root, "a")
	const want = "Training job names must be unique within an AWS account and region, and a training job with this name already exists (arn:aws:sagemaker:us-east-1:000000000000:training-job/a)"
	for _, replace := range []bool{false, true} { // a living job is not replaced (ruling 1)
		_, err := Create(root, Request{Plan: trainingPlan("a"), Replace: replace})
		if !errors.Is(err, ErrInUse) || err.Error() != want {
			t.Fatalf("replace %v: %v", replace, err)
		}
		if e, _ := errors.AsType[*InUseError](err); e == nil || e.Finished || strings.Contains(e.Hint(), "--replace") {
			t.Errorf("replace %v: %+v", replace, e)
		}
	}
	o.Close() // its owner is dead, but it is not finished: still not replaced
	if _, err := Create(root, Request{Plan: trainingPlan("a"), Replace: true}); !errors.Is(err, ErrInUse) {
		t.Fatal(err)
	}
	o, err := Adopt(o.Dir())
	if err != nil {
		t.Fatal(err)
	}
	finish(t, o, StatusFailed)
	_, err = Create(root, Request{Plan: trainingPlan("a")})
	if e, _ := errors.AsType[*InUseError](err); e == nil || !e.Finished || !strings.Contains(e.Hint(), "--replace") {
		t.Errorf("finished: %+v", err)
	}
	p := trainingPlan("a")
	p.Region = "eu-west-1"
	n, err := Create(root, Request{Plan: p, Replace: true})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	if j, err := Open(n.Dir()); err != nil || j.Plan().Region != "eu-west-1" {
		t.Error("the old job is still there", err)
	}
	if s := n.State(); len(s.Warnings) > 0 || s.Seq != 0 {
		t.Errorf("%+v", s)
	}
	if entries, _ := os.ReadDir(filepath.Dir(n.Dir())); len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestAppendIsReadBack(t *testing.T) {
	o := create(t, t.TempDir(), "a")
	mustAppend(t, o, Transition{Status: "InProgress", Secondary: "Starting", Message: "Starting the training job"})
	at := o.At("algo-1", "image")
	mustAppend(t, at, StepBegan{}, StepEnded{Bytes: 5}, Started{Container: "algo-1", ID: "x", PID: 3, BootID: "b"})
	mustAppend(t, at.Step("run"), Exited{Container: "algo-1", Code: 3})
	finish(t, o, StatusFailed)

	j, err := Open(o.Dir())
	if err != nil {
		t.Fatal(err)
	}
	var types []string
	for e, err := range j.Follow(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		types = append(types, fmt.Sprintf("%d %s/%s %T", e.Seq, e.Host, e.Step, e.Body))
	}
	want := []string{
		"1 / ledger.Transition", "2 algo-1/image ledger.StepBegan", "3 algo-1/image ledger.StepEnded",
		"4 algo-1/image ledger.Started", "5 algo-1/run ledger.Exited", "6 / ledger.Transition",
	}
	if diff := cmp.Diff(want, types); diff != "" {
		t.Error(diff)
	}
	s, err := j.State()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(o.State(), s); diff != "" {
		t.Error("the owner's state is not that of the file:", diff)
	}
	var cached State
	if err := readJSON(j.path(statusFile), &cached); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(s, cached); diff != "" {
		t.Error("status.json is not the fold:", diff)
	}
	if err := o.Append(StepBegan{}); !errors.Is(err, ErrClosed) {
		t.Error("append after Close:", err)
	}
	if err := o.Close(); err != nil {
		t.Error("second Close:", err)
	}
	for _, gone := range []string{liveFile, reserveFile} {
		if _, err := os.Stat(j.path(gone)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there", gone)
		}
	}
}
