package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/optml/optml/job"
	"github.com/optml/optml/ledger"
	"github.com/optml/optml/logfile"
	"github.com/optml/optml/runtime/container"
)

// makeIn puts a job into a ledger; a validation's children are given as kind/name.
func makeIn(t *testing.T, root string, kind job.Kind, name string, children ...string) *ledger.Owner {
	t.Helper()
	p := &job.Plan{Format: 1, Kind: kind, Name: name, ARN: "arn:" + name}
	switch kind {
	case job.KindTraining:
		p.Training = &job.Training{Instances: []job.Instance{{Host: "algo-1", Containers: []job.Container{{Name: "algo-1"}}}}}
	case job.KindTransform:
		p.Transform = &job.Transform{Instances: []job.Instance{
			{Host: "algo-1", Containers: []job.Container{{Name: "algo-1"}}}, {Host: "algo-2", Containers: []job.Container{{Name: "algo-2"}}},
		}}
	default:
		p.Validation = &job.Validation{Algorithm: name}
	}
	o, err := ledger.Create(root, ledger.Request{Plan: p})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.Close() })
	for _, c := range children {
		k, n, _ := strings.Cut(c, "/")
		appendAll(t, o, ledger.Child{Kind: k, Name: n})
	}
	return o
}

func finish(t *testing.T, o *ledger.Owner) {
	t.Helper()
	appendAll(t, o, ledger.Transition{Status: ledger.StatusCompleted, ExitCode: new(0)})
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
}

func names(t *testing.T, root string) []string {
	t.Helper()
	jobs, err := ledger.List(root)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, j := range jobs {
		all = append(all, string(j.Kind())+"/"+j.Name())
	}
	slices.Sort(all)
	return all
}

// A validation goes with its jobs; one of them that runs keeps all.
func TestRemovingAValidation(t *testing.T) {
	root := t.TempDir()
	running := makeIn(t, root, job.KindTransform, "b")
	finish(t, makeIn(t, root, job.KindTraining, "a"))
	finish(t, makeIn(t, root, job.KindTraining, "other"))
	finish(t, makeIn(t, root, job.KindValidation, "v", "training/a", "transform/b", "transform/gone"))

	var said bytes.Buffer
	err := runRm(rmOptions{root, []string{"v"}, false}, &said)
	if !errors.Is(err, ledger.ErrOwned) {
		t.Errorf("with a job that runs: %v, want ErrOwned", err)
	}
	finish(t, running)
	if err := runRm(rmOptions{root, []string{"v", "nobody"}, false}, &said); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("a name that nobody has: %v, want ErrNotFound", err)
	}
	if got, want := names(t, root), []string{"training/other"}; !slices.Equal(got, want) {
		t.Errorf("left are %v, want %v", got, want)
	}
	if !strings.Contains(said.String(), "removed validation/v\n") {
		t.Errorf("it said %q", said.String())
	}
}

func TestPruneByAge(t *testing.T) {
	root := t.TempDir()
	finish(t, makeIn(t, root, job.KindTraining, "old"))
	makeIn(t, root, job.KindTraining, "running")
	dead := makeIn(t, root, job.KindTraining, "dead")
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	all := []string{"training/dead", "training/old", "training/running"}
	for _, c := range []struct {
		o    pruneOptions
		left []string
	}{
		{pruneOptions{}, all},
		{pruneOptions{olderThan: time.Hour, now: time.Now()}, all},
		{pruneOptions{olderThan: time.Hour, now: time.Now().Add(2 * time.Hour)}, []string{"training/dead", "training/running"}},
		{pruneOptions{all: true, now: time.Now()}, []string{"training/dead", "training/running"}},
	} {
		c.o.jobs = root
		if err := runPrune(c.o, &bytes.Buffer{}); err != nil {
			t.Errorf("%+v: %v", c.o, err)
		}
		if got := names(t, root); !slices.Equal(got, c.left) {
			t.Errorf("%+v leaves %v, want %v", c.o, got, c.left)
		}
	}
}

// Of several containers each line has its container's name, whole, also where chunks cut it.
func TestLogsOfSeveralContainers(t *testing.T) {
	root := t.TempDir()
	o := makeIn(t, root, job.KindTransform, "b")
	for i, c := range []string{"algo-1", "algo-2"} {
		w, err := logfile.Create(o.LogPath(c))
		if err != nil {
			t.Fatal(err)
		}
		w.Write(logfile.Stdout, []byte("first of "+c+"\nsec"))
		w.Write(logfile.Stdout, []byte("ond"))
		if i == 0 {
			w.Write(logfile.Stdout, []byte("\n"))
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	finish(t, o)
	want := "transform algo-1 | first of algo-1\ntransform algo-1 | second\ntransform algo-2 | first of algo-2\ntransform algo-2 | second\n"
	var b bytes.Buffer
	if err := runLogs(t.Context(), logsOptions{jobs: root, job: "b", tail: -1}, &b); err != nil || b.String() != want {
		t.Errorf("%v\n%s, want\n%s", err, b.String(), want)
	}
	b.Reset()
	if err := runLogs(t.Context(), logsOptions{jobs: root, job: "b", tail: 1, container: "algo-2"}, &b); err != nil || b.String() != "second" {
		t.Errorf("the last line of one container: %v, %q", err, b.String())
	}
}

// Following a validation prints the logs of its jobs as they appear, and ends with it.
func TestFollowingAValidation(t *testing.T) {
	root := t.TempDir()
	child := makeIn(t, root, job.KindTraining, "a")
	v := makeIn(t, root, job.KindValidation, "v")
	var b bytes.Buffer
	done := make(chan error)
	go func() { done <- runLogs(t.Context(), logsOptions{jobs: root, job: "v", tail: -1, follow: true}, &b) }()
	appendAll(t, v, ledger.Child{Kind: "training", Name: "a"})
	w, err := logfile.Create(child.LogPath("algo-1"))
	if err != nil {
		t.Fatal(err)
	}
	w.Write(logfile.Stderr, []byte("hello\n"))
	time.Sleep(150 * time.Millisecond) // a look of the follower between
	w.Write(logfile.Stderr, []byte("bye\n"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	finish(t, child)
	finish(t, v)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if want := "training algo-1 | hello\ntraining algo-1 | bye\n"; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}

// A job can be owned by a process that knows its directory alone: options.json brings everything back.
func TestOptionsAreKept(t *testing.T) {
	want := kept{
		Job: job.Options{Name: "n", Strict: true, Grace: time.Minute, GPUs: &job.GPURequest{Devices: []string{"0", "GPU-1"}}, Network: "open", Dir: "/d"},
		Host: hostOptions{Root: "/r", RunDir: "/u", Containerd: "/c.sock", S3Dir: "/s3", Region: "eu-west-1",
			Endpoint: "http://x", AWSProfile: "p", Anonymous: true, PathStyle: true, Pull: container.PullNever},
	}
	o, err := ledger.Create(t.TempDir(), ledger.Request{Options: want, Plan: &job.Plan{Format: 1, Kind: job.KindTraining, Name: "a", Training: &job.Training{}}})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	var got kept
	if err := o.Job().Options(&got); err != nil {
		t.Fatal(err)
	}
	a, _ := json.Marshal(want)
	b, _ := json.Marshal(got)
	if !bytes.Equal(a, b) {
		t.Errorf("kept %s, want %s", b, a)
	}
}

func TestNamesThatAreTaken(t *testing.T) {
	root := t.TempDir()
	finish(t, makeIn(t, root, job.KindTraining, "finished"))
	makeIn(t, root, job.KindTraining, "running")
	dead := makeIn(t, root, job.KindTraining, "dead")
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		replace bool
		taken   bool
		hint    string
	}{
		{"free", false, false, ""},
		{"finished", false, true, "--replace"},
		{"finished", true, false, ""},
		{"running", true, true, "is not finished"},
		{"dead", false, true, "is not finished"},
		{"dead", true, false, ""}, // it is recovered first, and then finished
	} {
		err := taken(root, &job.Plan{Kind: job.KindTraining, Name: c.name}, c.replace)
		if errors.Is(err, ledger.ErrInUse) != c.taken || (err == nil) == c.taken {
			t.Errorf("%s, replace %v: %v", c.name, c.replace, err)
		}
		if err != nil && !strings.Contains(hintOf(err), c.hint) {
			t.Errorf("%s: hint %q, want %q in it", c.name, hintOf(err), c.hint)
		}
	}
}

func TestImagesAreListed(t *testing.T) {
	all := []container.Image{
		{Ref: "docker.io/library/a:1", Digest: "sha256:0123456789abcdef", Size: 3 << 20, OS: "linux", Arch: "amd64"},
		{Ref: "r.example/b:2", Digest: "sha256:ff", OS: "linux", Arch: "arm64", User: "app", Created: time.Unix(0, 0)},
	}
	var b bytes.Buffer
	if err := printImages(all, formatText, &b); err != nil {
		t.Fatal(err)
	}
	if want := "IMAGE          DIGEST        SIZE     PLATFORM     USER\n" +
		"a:1            0123456789ab  3.0 MiB  linux/amd64  root\n" +
		"r.example/b:2  sha256:ff     0 B      linux/arm64  app\n"; b.String() != want {
		t.Errorf("\n%s, want\n%s", b.String(), want)
	}
	b.Reset()
	if err := printImages(all, formatJSON, &b); err != nil {
		t.Fatal(err)
	}
	var back []imageEntry
	if err := json.Unmarshal(b.Bytes(), &back); err != nil || len(back) != 2 || back[1].Created != "1970-01-01T00:00:00Z" {
		t.Errorf("%v: %+v", err, back)
	}
}

func TestReportGoesToAFileWhole(t *testing.T) {
	root := t.TempDir()
	finish(t, makeIn(t, root, job.KindTraining, "a"))
	path := filepath.Join(t.TempDir(), "report.json")
	if err := runReport(reportOptions{jobs: root, job: "a", file: path, form: "json"}, &bytes.Buffer{}); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil || !json.Valid(b) {
		t.Errorf("%v, %d bytes", err, len(b))
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
		t.Errorf("files left beside it: %v", left)
	}
	if err := runReport(reportOptions{jobs: root, job: "a", file: filepath.Join(path, "below"), form: "json"}, &bytes.Buffer{}); err == nil {
		t.Error("a path that cannot be written is no error")
	}
}

func TestRunSuffixes(t *testing.T) {
	seen := map[string]bool{}
	for range 200 {
		s := runSuffix()
		if len(s) != 6 || strings.Trim(s, "0123456789abcdefghijklmnopqrstuvwxyz") != "" {
			t.Fatalf("suffix %q: six letters or digits", s)
		}
		seen[s] = true
	}
	if len(seen) < 199 {
		t.Errorf("%d of 200 are different", len(seen))
	}
}

// TestDescribeChannels: whoever looks at a job sees who waits for whom, while it runs and afterwards.
func TestDescribeChannels(t *testing.T) {
	root := t.TempDir()
	o := makeIn(t, root, job.KindTraining, "a")
	now := ledger.ChannelTotals{Channel: "train", Mode: "Pipe", Bytes: 3 << 20, Objects: 2, Duration: 10 * time.Second, ReaderWaited: 8 * time.Second}
	o.Live(ledger.Snapshot{Channels: []ledger.ChannelLive{{Host: "algo-1", ChannelTotals: now}}})
	told := func(want string) {
		t.Helper()
		var out bytes.Buffer
		if err := runDescribe(describeOptions{root, "a", formatText}, &out); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
	told("train: Pipe, 3.0 MiB, 2 objects, 307 KiB/s, the script waited 8.0 s (80 %) for data")
	now.ReaderWaited, now.WeWaited, now.Note = 0, 9*time.Second, "closed early at byte 7"
	appendAll(t, o, now)
	finish(t, o)
	told("optml waited 9.0 s (90 %) for the script, closed early at byte 7")
}
