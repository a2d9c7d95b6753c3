package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/optml/optml/job"
	"github.com/optml/optml/ledger"
	"github.com/optml/optml/logfile"
)

func TestEventsForPeople(t *testing.T) {
	for _, c := range []struct {
		body ledger.Body
		want string
	}{
		{ledger.Transition{Status: "InProgress", Secondary: "Downloading", Message: "Downloading input data"}, "Downloading: Downloading input data"},
		{ledger.Transition{Status: "Completed", Secondary: "Completed", Message: "Training job completed"}, "Completed: Training job completed"},
		{ledger.Transition{Status: "Failed", Secondary: "Failed", FailureReason: "AlgorithmError: a\nb, exit code: 3"}, "Failed: AlgorithmError: a b, exit code: 3"},
		{ledger.StepBegan{}, ""},
		{ledger.ImageResolved{Ref: "a:1", Digest: "sha256:0123456789abcdef"}, "image a:1 0123456789ab"},
		{ledger.ChannelTotals{Channel: "train", Bytes: 64 << 20, Objects: 3, Duration: time.Second}, "channel train: 64 MiB in 3 objects, 1s (64 MiB/s)"},
		{ledger.Exited{Container: "algo-1"}, ""},
		{ledger.Exited{Container: "algo-1", Code: 3}, "algo-1 ended with exit code 3"},
		{ledger.Exited{Container: "algo-1", Code: 137, Signal: 9, OOM: true}, "algo-1 was killed for want of memory (exit code 137)"},
		{ledger.Exited{Container: "algo-1", Code: 143, Signal: 15}, "algo-1 was ended by signal 15 (exit code 143)"},
		{ledger.UploadTotals{Artifact: "model", URI: "s3://b/k", Bytes: 10, Duration: time.Second}, "model: 10 B to s3://b/k, 1s"},
		{ledger.UploadTotals{Artifact: "output", Empty: true}, "output: nothing to upload"},
		{ledger.UploadTotals{Artifact: "model", Kept: "/x"}, "model could not be uploaded; kept in /x"},
		{ledger.TransformTotals{Objects: 2, Records: 5, Requests: 3, Failed: 1, Duration: time.Second}, "transformed 2 objects, 5 records, 3 requests in 1s; 1 object failed"},
		{ledger.FinalMetric{Name: "loss", Value: 0.25}, "metric loss = 0.25"},
		{ledger.Warning{Text: "mind\nthis"}, "warning: mind this"},
		{ledger.Verdict{Rule: "r", Outcome: "passed"}, ""},
		{ledger.Verdict{Rule: "r", Outcome: "failed", Evidence: "why"}, "rule r failed: why"},
		{ledger.Child{Kind: "training", Name: "x"}, "starts training/x"},
		{ledger.Child{Kind: "training", Name: "x", Probe: "trains in vain"}, "probes: trains in vain (training/x)"},
	} {
		if got := eventText(ledger.Event{Body: c.body}); got != c.want {
			t.Errorf("%+v is %q, want %q", c.body, got, c.want)
		}
	}
}

// makeJob puts a training into a ledger of the test.
func makeJob(t *testing.T, name string) *ledger.Owner {
	t.Helper()
	o, err := ledger.Create(t.TempDir(), ledger.Request{Plan: &job.Plan{
		Format: 1, Kind: job.KindTraining, Name: name, Operation: job.CreateTrainingJob,
		Training: &job.Training{Instances: []job.Instance{{Host: "algo-1", Containers: []job.Container{{Name: "algo-1"}}}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.Close() })
	return o
}

func appendAll(t *testing.T, o *ledger.Owner, bodies ...ledger.Body) {
	t.Helper()
	for _, b := range bodies {
		if err := o.Append(b); err != nil {
			t.Fatal(err)
		}
	}
}

// A job's progress is lines in the order of the events, with the containers' lines between, and ends with the job.
func TestPlainProgress(t *testing.T) {
	o := makeJob(t, "a")
	w, err := logfile.Create(o.LogPath("algo-1"))
	if err != nil {
		t.Fatal(err)
	}
	w.Write(logfile.Stdout, []byte("hello\nwithout an end"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	appendAll(t, o, ledger.Transition{Status: "InProgress", Secondary: "Training", Message: "go"},
		ledger.Transition{Status: "Completed", ExitCode: new(0)})
	var b bytes.Buffer
	progressOptions{mode: progressAuto, logs: true}.watch(t.Context(), o.Job(), newConsole(&b))
	for _, want := range []string{" training  Training: go\n", " training  Completed\n", "training algo-1 | hello\n", "training algo-1 | without an end\n"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no line %q in\n%s", want, b.String())
		}
	}
}

func TestJSONProgressIsTheEvents(t *testing.T) {
	o := makeJob(t, "a")
	appendAll(t, o, ledger.StepBegan{}, ledger.Transition{Status: "Completed"})
	var b bytes.Buffer
	progressOptions{mode: progressJSON}.watch(t.Context(), o.Job(), newConsole(&b))
	n := 0
	for line := range strings.Lines(b.String()) {
		var x struct {
			Job   string
			Event ledger.Event
		}
		if err := json.Unmarshal([]byte(line), &x); err != nil || x.Job != "training/a" {
			t.Errorf("line %q: %v", line, err)
		}
		n++
		if x.Event.Seq != int64(n) {
			t.Errorf("event %d is the %dth line", x.Event.Seq, n)
		}
	}
	if n != 2 {
		t.Errorf("%d lines, want 2", n)
	}
}

// The bars of a terminal do not swallow lines, and nothing is left running.
func TestBarsKeepTheLines(t *testing.T) {
	o := makeJob(t, "a")
	train := ledger.ChannelTotals{Channel: "train", Mode: "File", Bytes: 5 << 20, Objects: 3}
	pipe := ledger.ChannelTotals{Channel: "side", Mode: "Pipe", Bytes: 7 << 20, Objects: 9, Epochs: 2}
	o.Live(ledger.Snapshot{Channels: []ledger.ChannelLive{{ChannelTotals: train, TotalBytes: 10 << 20, TotalObjects: 6}, {ChannelTotals: pipe}},
		Transform: &ledger.TransformLive{Objects: 1, TotalObjects: 4, Records: 10, Bytes: 3 << 20, TotalBytes: 12 << 20, RecordsPerSecond: 250, Left: 90 * time.Second}})
	appendAll(t, o, ledger.Transition{Status: "InProgress", Secondary: "Training", Message: "go"})
	var b lockedBuffer
	done := make(chan struct{})
	go func() {
		defer close(done)
		con := newConsole(&b)
		con.wide = 100
		progressOptions{mode: progressBars}.watch(t.Context(), o.Job(), con)
	}()
	missing := func(want ...string) string {
		for _, w := range want {
			if !strings.Contains(b.String(), w) {
				return w
			}
		}
		return ""
	}
	drawn := []string{"Training: go\n", "train ", "5.0 MiB / 10.0 MiB", "3 of 6 objects", "7.0 MiB  9 objects, 2 epochs", "3.0 MiB / 12.0 MiB", "1 of 4 objects, 10 records"}
	for end := time.Now().Add(20 * time.Second); missing(drawn...) != "" && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
	}
	appendAll(t, o, ledger.Transition{Status: "Completed"})
	<-done
	if want := missing(append(drawn, "Completed\n")...); want != "" {
		t.Errorf("no %q in %q", want, b.String())
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// A reader that has left, or a terminal that is gone, is no error of the job (D11).
func TestConsoleOutlivesItsReader(t *testing.T) {
	c := newConsole(failingWriter{})
	for range 2 {
		if n, err := c.Write([]byte("x")); n != 1 || err != nil {
			t.Errorf("Write = %d, %v", n, err)
		}
	}
	var b bytes.Buffer
	c = newConsole(&b)
	c.detach()
	if _, err := c.Write([]byte("x")); err != nil || b.Len() > 0 {
		t.Errorf("a detached console wrote %q, %v", b.String(), err)
	}
}

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, errors.New("input/output error") }
