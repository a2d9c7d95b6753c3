package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/optml/optml/job"
	"github.com/optml/optml/ledger"
	"github.com/optml/optml/logfile"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func at(seconds float64) time.Time { return t0.Add(time.Duration(seconds * float64(time.Second))) }

func ev(second float64, host, step string, b ledger.Body) ledger.Event {
	return ledger.Event{Seq: 1, Time: at(second), Host: host, Step: step, Body: b}
}

// step is a step's two events.
func step(host, name string, from, to float64, end ledger.StepEnded) []ledger.Event {
	return []ledger.Event{ev(from, host, name, ledger.StepBegan{}), ev(to, host, name, end)}
}

func plan(kind job.Kind, name string) *job.Plan {
	p := &job.Plan{Format: 1, Kind: kind, Name: name, ARN: "arn:aws:sagemaker:us-east-1:000000000000:" + string(kind) + "/" + name}
	switch kind {
	case job.KindTraining:
		p.Training = &job.Training{CreationTime: t0}
	case job.KindTransform:
		p.Transform = &job.Transform{CreationTime: t0}
	case job.KindValidation:
		p.Validation = &job.Validation{Training: &job.Plan{Training: &job.Training{CreationTime: t0}}}
	}
	return p
}

func made(p *job.Plan, owned bool, logs []Log, jobs []*Report, events ...[]ledger.Event) *Report {
	return from(source{
		state: ledger.Fold(p, slices.Values(slices.Concat(events...))), owned: owned, now: at(100),
		dir: "/var/lib/optml/jobs/" + string(p.Kind) + "/" + p.Name, logs: func() []Log { return logs }, jobs: jobs,
	})
}

func status(second float64, secondary, message string) []ledger.Event {
	return []ledger.Event{ev(second, "", "", ledger.Transition{Status: "InProgress", Secondary: secondary, Message: message})}
}

func training() *Report {
	return made(plan(job.KindTraining, "iris-r1-training"), false, nil, nil,
		status(0, "Starting", "Starting the training job"),
		step("algo-1", "layout", 0.1, 0.104, ledger.StepEnded{}),
		status(0.2, "Downloading", "Downloading input data"),
		step("algo-1", "image", 0.2, 0.35, ledger.StepEnded{}),
		step("algo-1", "fill", 0.2, 1.6, ledger.StepEnded{Bytes: 3 << 20}),
		[]ledger.Event{
			ev(0.3, "algo-1", "image", ledger.ImageResolved{Container: "algo-1", Ref: "optml.test/iris:1", Digest: "sha256:" + strings.Repeat("ab", 32), Platform: "linux/amd64"}),
			ev(1.7, "algo-1", "wait", ledger.StepBegan{}),
			ev(1.7, "algo-1", "wait", ledger.Started{Container: "algo-1", ID: "x"}),
		},
		status(1.7, "Training", "Training image download completed. Training in progress."),
		[]ledger.Event{
			ev(75, "algo-1", "wait", ledger.Exited{Container: "algo-1", At: at(75)}),
			ev(75, "algo-1", "wait", ledger.StepEnded{}),
			ev(75, "algo-1", "", ledger.ChannelTotals{Channel: "train", Mode: "File", Bytes: 3 << 20, Objects: 12, Duration: 1400 * time.Millisecond}),
			ev(75, "algo-1", "", ledger.ChannelTotals{Channel: "validation", Mode: "Pipe", Bytes: 812, Objects: 1, Epochs: 3, Duration: 70 * time.Second, WeWaited: 69 * time.Second, Note: "closed early at byte 812"}),
		},
		status(75.1, "Uploading", "Uploading generated training model"),
		step("", "upload", 75.2, 75.9, ledger.StepEnded{Bytes: 1234567}),
		[]ledger.Event{
			ev(76, "", "", ledger.UploadTotals{Artifact: "model", URI: "s3://demo/out/iris-r1-training/output/model.tar.gz", Bytes: 1234567, Files: 3}),
			ev(76, "", "", ledger.UploadTotals{Artifact: "output", URI: "s3://demo/out/iris-r1-training/output/output.tar.gz", Empty: true}),
			ev(76, "", "", ledger.FinalMetric{Name: "validation:accuracy", Value: 0.9666666666666667, At: at(70), Count: 12}),
			ev(75, "algo-1", "", ledger.InstanceUsage{Metrics: []ledger.UsageMetric{{Name: "CPUUtilization", Mean: 148.25, Max: 199.5}, {Name: "MemoryUtilization", Mean: 12.04, Max: 30}}}),
			ev(76, "", "", ledger.FinalMetric{Name: "loss", Value: 1.25e-7, At: at(70), Count: 1200}),
			ev(76, "", "", ledger.Warning{Rule: "START-8", Text: "the image's user is 1000, which would fail on SageMaker"}),
			ev(76.2, "", "", ledger.Transition{Status: "Completed", Secondary: "Completed", Message: "Training job completed", ExitCode: new(0)}),
		})
}

func transform() *Report {
	return made(plan(job.KindTransform, "iris-r1-transform"), false, nil, nil,
		step("algo-1", "serve", 0, 2.5, ledger.StepEnded{}),
		step("algo-1", "transform", 2.5, 4, ledger.StepEnded{}),
		[]ledger.Event{
			ev(4, "", "", ledger.TransformTotals{Objects: 3, Failed: 1, Records: 1500, Requests: 1502, Retries: 2, BytesIn: 51200, BytesOut: 9000,
				Duration: 1500 * time.Millisecond, PingAfter: 2400 * time.Millisecond, MaxConcurrent: 4, MaxPayloadMB: 6, BatchStrategy: "SINGLE_RECORD"}),
			ev(4.2, "", "", ledger.Transition{Status: "Completed", ExitCode: new(0)}),
		})
}

func validation(failed bool) *Report {
	p := plan(job.KindValidation, "iris-r1")
	verdicts := []ledger.Event{
		ev(80, "", "", ledger.Verdict{Rule: "training completes", Outcome: "passed", Evidence: "training job iris-r1-training completed"}),
		ev(80, "", "", ledger.Verdict{Rule: "every defined metric is seen", Outcome: "passed", Evidence: "2 of 2"}),
		ev(80, "", "", ledger.Verdict{Rule: "/ping answers 200", Outcome: "passed", Evidence: "after 2.4 s", Remedy: "not shown"}),
		ev(80, "", "", ledger.Verdict{Rule: "network isolation", Outcome: "not checked", Evidence: "run with --probe"}),
	}
	end := ledger.Transition{Status: "Completed", ExitCode: new(0)}
	if failed {
		verdicts[1].Body = ledger.Verdict{Rule: "every defined metric is seen", Outcome: "failed", Evidence: "never matched: auc (auc=(\\S+))", Remedy: "print the metric as its Regex expects"}
		end = ledger.Transition{Status: "Failed", FailureReason: "ClientError: rule failed: every defined metric is seen", Hint: "print the metric as its Regex expects", ExitCode: new(1)}
	}
	return made(p, false, nil, []*Report{training(), transform()}, verdicts, []ledger.Event{ev(80.5, "", "", end)})
}

// cases are the reports whose text and JSON are kept.
var cases = map[string]func() *Report{
	"training-completed": training,
	"training-failed": func() *Report {
		return made(plan(job.KindTraining, "broken"), false,
			[]Log{{Name: "algo-1", Path: "/var/lib/optml/jobs/training/broken/logs/algo-1.log", Lines: []string{
				"Traceback (most recent call last):", "\tFile \"train.py\", line 3", "", "ValueError: \x1b[31mno \"label\" column\x1b[0m"}}}, nil,
			status(0, "Downloading", "Downloading input data"),
			step("algo-1", "fill", 0, 0.2, ledger.StepEnded{Bytes: 17}),
			status(0.4, "Training", "Training in progress."),
			[]ledger.Event{
				ev(0.4, "algo-1", "wait", ledger.StepBegan{}),
				ev(0.4, "algo-1", "wait", ledger.Started{Container: "algo-1"}),
				ev(3, "algo-1", "wait", ledger.Exited{Container: "algo-1", Code: 3, At: at(3)}),
				ev(3, "algo-1", "wait", ledger.StepEnded{Error: "exit code 3"}),
				ev(3.5, "", "", ledger.UploadTotals{Artifact: "model", URI: "s3://gone/broken/output/model.tar.gz", Kept: "/var/lib/optml/jobs/training/broken/work/model"}),
				ev(4, "", "", ledger.Transition{Status: "Failed", Secondary: "Failed", Message: "Training job failed", ExitCode: new(1),
					FailureReason: "AlgorithmError: no \"label\" column\nin train.csv, exit code: 3", Detail: "the container algo-1 exited with code 3",
					Hint: "the last lines of its log say why"}),
			})
	},
	"training-oom": func() *Report {
		return made(plan(job.KindTraining, "big"), false, nil, nil, status(1, "Training", ""), []ledger.Event{
			ev(2, "algo-1", "", ledger.Exited{Container: "algo-1", Code: 137, Signal: 9, OOM: true}),
			ev(3, "", "", ledger.Transition{Status: "Failed", FailureReason: "ClientError: Please use an instance type with more memory, or reduce the size of job data processed on an instance.", ExitCode: new(1)}),
		})
	},
	"training-running": func() *Report {
		return made(plan(job.KindTraining, "now"), true, nil, nil, status(1, "Training", ""), []ledger.Event{
			ev(1, "algo-1", "wait", ledger.StepBegan{}), ev(1, "algo-1", "wait", ledger.Started{Container: "algo-1"}),
		})
	},
	"training-abandoned": func() *Report {
		return made(plan(job.KindTraining, "orphan"), false, []Log{{Name: "algo-1", Path: "/x/algo-1.log", Lines: []string{"epoch 7"}}}, nil,
			status(1, "Training", ""), []ledger.Event{ev(1, "algo-1", "wait", ledger.StepBegan{}), ev(9, "", "", ledger.Warning{Text: "w"})})
	},
	"training-stopped": func() *Report {
		return made(plan(job.KindTraining, "long"), false, nil, nil, status(1, "Training", ""), step("algo-1", "wait", 1, 7200, ledger.StepEnded{}), step("algo-2", "wait", 1, 90000, ledger.StepEnded{}), []ledger.Event{
			ev(90001, "", "", ledger.Transition{Status: "Stopped", Secondary: "MaxRuntimeExceeded", ExitCode: new(4)}),
		})
	},
	"validation-passed": func() *Report { return validation(false) },
	"validation-failed": func() *Report { return validation(true) },
}

func TestGolden(t *testing.T) {
	for name, f := range cases {
		for _, form := range []string{"text", "json", "junit"} { // of the page, what matters has tests of its own
			t.Run(name+"."+form, func(t *testing.T) {
				var b bytes.Buffer
				if err := f().Print(form, &b); err != nil {
					t.Fatal(err)
				}
				path := filepath.Join("testdata", name+"."+form)
				if *update {
					if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(string(want), b.String()); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

// The text is harmless and tidy whatever is in it.
func TestTextIsPlain(t *testing.T) {
	for name, f := range cases {
		r := f()
		r.Name, r.Directory = "evil\x1b]0;x\a\r\n\u202e", "/a\u009b31m"
		var b bytes.Buffer
		if err := r.Text(&b); err != nil {
			t.Fatal(err)
		}
		for i, c := range b.String() {
			if c != '\n' && (c < ' ' || c >= 0x7f && c < 0xa0 || c == 0x202e) {
				t.Errorf("%s: control character %q at %d", name, c, i)
			}
		}
		for line := range strings.Lines(b.String()) {
			if strings.HasSuffix(line, " \n") {
				t.Errorf("%s: a line ends with blanks: %q", name, line)
			}
		}
		if strings.Contains(b.String(), "\n\n\n") || !strings.HasSuffix(b.String(), "\n") {
			t.Errorf("%s: blank lines: %q", name, b.String())
		}
	}
}

// What JSON says can be read back whole.
func TestJSONRoundTrip(t *testing.T) {
	for name, f := range cases {
		r := f()
		var b bytes.Buffer
		if err := r.JSON(&b); err != nil {
			t.Fatal(err)
		}
		var back Report
		dec := json.NewDecoder(&b)
		dec.DisallowUnknownFields()
		if err := dec.Decode(&back); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(r, &back); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestPrintRefusesUnknownForm(t *testing.T) {
	err := training().Print("pdf", io.Discard)
	if err == nil || !strings.Contains(err.Error(), `"pdf"`) || !strings.Contains(err.Error(), "json") {
		t.Error(err)
	}
	broken := errors.New("broken pipe")
	for _, form := range Forms() {
		if err := training().Print(form, writerFunc(func([]byte) (int, error) { return 0, broken })); !errors.Is(err, broken) {
			t.Errorf("%s: %v", form, err)
		}
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// Make reads a job's directory: state, logs, children.
func TestMake(t *testing.T) {
	root := t.TempDir()
	parent, err := ledger.Create(root, ledger.Request{Plan: plan(job.KindValidation, "v")})
	if err != nil {
		t.Fatal(err)
	}
	defer parent.Close()
	o, err := ledger.Create(root, ledger.Request{Plan: plan(job.KindTraining, "t")})
	if err != nil {
		t.Fatal(err)
	}
	add := func(o *ledger.Owner, b ledger.Body) {
		t.Helper()
		if err := o.Append(b); err != nil {
			t.Fatal(err)
		}
	}
	add(parent, ledger.Child{Kind: "training", Name: "t"})
	add(parent, ledger.Child{Kind: "training", Name: "removed"})
	add(parent, ledger.Child{Kind: "validation", Name: "v"}) // a circle
	r, err := Make(parent.Job())
	if err != nil {
		t.Fatal(err)
	}
	if r.Verdict != Running || len(r.Jobs) != 1 || r.Jobs[0].Verdict != Running || r.Jobs[0].Failure != nil {
		t.Fatalf("%+v", r)
	}
	for name, lines := range map[string]string{"algo-1": "fine\n", "algo-2": "one\ntwo\nthe end", "empty": ""} {
		w, err := logfile.Create(o.LogPath(name))
		if err != nil {
			t.Fatal(err)
		}
		w.Write(logfile.Stdout, []byte(lines))
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	add(o, ledger.Started{Container: "algo-2"})
	add(o, ledger.Exited{Container: "algo-2", Code: 1})
	add(o, ledger.Transition{Status: "Failed", FailureReason: "AlgorithmError: , exit code: 1"})
	o.Close()
	parent.Close() // abandoned
	if r, err = Make(parent.Job()); err != nil {
		t.Fatal(err)
	}
	if r.Verdict != Abandoned || r.Failure == nil || !strings.Contains(r.Failure.Hint, "prune") {
		t.Errorf("%+v", r.Failure)
	}
	child := r.Jobs[0]
	if child.Verdict != Failed || child.Directory != o.Dir() {
		t.Errorf("%+v", child)
	}
	want := []Log{
		{"algo-2", o.LogPath("algo-2") + ".log", []string{"one", "two", "the end"}}, // the one that ended badly is first
		{"algo-1", o.LogPath("algo-1") + ".log", []string{"fine"}},
	}
	if diff := cmp.Diff(want, child.Failure.Logs); diff != "" {
		t.Error(diff)
	}
	os.RemoveAll(o.LogsDir()) // logs are not the record: a report is made without them
	if r, err := Make(o.Job()); err != nil || r.Failure == nil || r.Failure.Logs != nil {
		t.Error(r, err)
	}
	os.Remove(o.LockPath())
	if _, err := Make(o.Job()); err == nil {
		t.Error("made of a job that is no longer there")
	}
}

func TestUnits(t *testing.T) {
	for s, want := range map[float64]string{0: "0 s", 0.0004: "0 s", 0.012: "12 ms", 0.9994: "999 ms", 0.9996: "1.0 s", 59.94: "59.9 s",
		59.96: "1 m 00 s", 125: "2 m 05 s", 3599.6: "1 h 00 m", 3725: "1 h 02 m", 86400: "24 h 00 m", 200000: "2 d 07 h"} {
		if got := secondsText(s); got != want {
			t.Errorf("%v: %s, want %s", s, got, want)
		}
	}
	for s, want := range map[float64]string{0: "0 s", 8.2e-7: "0.82 µs", 0.00012345: "123 µs", 0.0009996: "1 ms", 0.0012345: "1.23 ms", 0.9996: "1 s", 3.0517: "3.05 s", 125: "2 m 05 s"} {
		if got := latencyText(s); got != want {
			t.Errorf("%v: %s, want %s", s, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0 objects", 1: "1 object", 999: "999 objects", 1000: "1,000 objects", 1234567: "1,234,567 objects", -1000: "-1,000 objects"} {
		if got := countText(n, "object"); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
	if got := rateText(10<<20, 2); got != "5.0 MiB/s" {
		t.Error(got)
	}
}

// A rehearsed interruption is told in sentences, and as members for programs.
func TestInterruptionIsTold(t *testing.T) {
	r := &Report{Verdict: Stopped, Kind: job.KindTraining, Name: "x", Interruption: &Interruption{
		Signal: "swallowed", Says: "PID 1 (sh) has no handler", Remedy: "start the script with exec", Killed: true, ExitCode: 137,
		Saved: []Saved{{What: "model", State: "unfinished", Says: "unfinished: open for writing was a\x1b[31m.bin"}},
	}}
	var b strings.Builder
	if err := r.Text(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Rehearsed interruption\n", "  signal  swallowed\n", "          PID 1 (sh) has no handler\n", "          to do: start the script with exec\n", "  model   unfinished: open for writing was a"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, b.String())
		}
	}
	if strings.Contains(b.String(), "\x1b") {
		t.Error("control characters of a container's file reach the terminal")
	}
}

// A probe's end is no verdict: a rule says what comes of it. Its job is told in a few words, and fails nothing.
func TestProbeOfAValidation(t *testing.T) {
	root := t.TempDir()
	record := func(kind job.Kind, name string, bodies ...ledger.Body) *ledger.Job {
		t.Helper()
		o, err := ledger.Create(root, ledger.Request{Plan: plan(kind, name)})
		if err != nil {
			t.Fatal(err)
		}
		defer o.Close()
		for _, b := range bodies {
			if err := o.Append(b); err != nil {
				t.Fatal(err)
			}
		}
		return o.Job()
	}
	record(job.KindTraining, "p", ledger.Started{Container: "algo-1"}, ledger.Exited{Container: "algo-1", Code: 1},
		ledger.Transition{Status: "Failed", FailureReason: "AlgorithmError: no <such> value, exit code: 1"})
	parent := record(job.KindValidation, "v", ledger.Child{Kind: "training", Name: "p", Probe: "trains with <nothing>"},
		ledger.Verdict{Rule: "r", Outcome: "passed"}, ledger.Transition{Status: "Completed"})
	r, err := Make(parent)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Jobs) != 1 || r.Jobs[0].Probe != "trains with <nothing>" {
		t.Fatalf("%+v", r.Jobs)
	}
	var text, junit, page strings.Builder
	if err := errors.Join(r.Text(&text), r.JUnit(&junit), r.HTML(&page)); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text.String(), "PROBE  training p\n    probe  it trains with <nothing>\n    ended  Failed: AlgorithmError: no <such> value, exit code: 1") || strings.Contains(text.String(), "FAILED") {
		t.Errorf("%s", text.String())
	}
	if !strings.Contains(junit.String(), `failures="0" errors="0"`) || strings.Contains(junit.String(), "<failure") || !strings.Contains(junit.String(), "trains with &lt;nothing&gt;") {
		t.Errorf("%s", junit.String())
	}
	if !strings.Contains(page.String(), `<span class="pill probe">PROBE</span> training <code>p</code>`) || !strings.Contains(page.String(), "It trains with &lt;nothing&gt;.") || strings.Contains(page.String(), `class="card failure"`) {
		t.Errorf("%s", page.String())
	}
}
