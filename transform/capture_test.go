package transform_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/optml/optml/job"
	"github.com/optml/optml/transform"
	tt "github.com/optml/optml/transform/transformtest"
)

// captured lets a job write manifests into a place of their own.
func (b *bench) captured(ids bool) *tt.Outputs {
	to := &tt.Outputs{}
	b.Job.Capture = &job.Capture{InferenceIDs: ids}
	b.Began = time.Date(2026, 1, 2, 23, 4, 5, 6e8, time.FixedZone("", -3600))
	b.Capture = &transform.Capture{
		Name:     "scores",
		InputURI: func(key string) string { return "s3://bucket/" + key }, OutputURI: func(name string) string { return "s3://bucket/out/" + name },
		Create: to.Create, Remove: to.Remove,
	}
	return to
}

const (
	capturedIn  = "input/2026/01/03/00/scores.json"
	capturedOut = "output/2026/01/03/00/scores.json"
)

// manifests are the elements of both.
func manifests(t *testing.T, to *tt.Outputs) (in, out []any) {
	t.Helper()
	same(t, "manifests", to.Names(), []string{capturedIn, capturedOut})
	for name, m := range map[string]*[]any{capturedIn: &in, capturedOut: &out} {
		if err := json.Unmarshal([]byte(to.All()[name]), m); err != nil || to.ContentType(name) != "application/json" {
			t.Fatalf("%s: %v, %s\n%s", name, err, to.ContentType(name), to.All()[name])
		}
	}
	return in, out
}

func elements(prefix string, names ...any) []any {
	return append([]any{map[string]any{"prefix": prefix}}, names...)
}

func equal(t *testing.T, what string, got, want []any) {
	t.Helper()
	a, _ := json.Marshal(got)
	b, _ := json.Marshal(want)
	if string(a) != string(b) {
		t.Errorf("%s %s, want %s", what, a, b)
	}
}

// BT-171: the manifests say where each input and its output lie, by the hour (UTC) in which the job began.
func TestDataCapture(t *testing.T) {
	for name, c := range map[string]struct {
		prefix  string
		objects []transform.Object
		in, out []any
	}{
		"below the prefix":     {"in/", []transform.Object{tt.Object("in/b", "2"), tt.Object("in/a/\"é\n", ""), tt.Object("in/dir/", "")}, elements("s3://bucket/in/", "a/\"é\n", "b"), elements("s3://bucket/out/", "a/\"é\n.out", "b.out")},
		"the whole key":        {"in/b.csv", []transform.Object{tt.Object("in/b.csv", "2")}, elements("s3://bucket/in/", "b.csv"), elements("s3://bucket/out/", "b.csv.out")},
		"within a name":        {"in/p", []transform.Object{tt.Object("in/p/1", "1"), tt.Object("in/p-2", "2")}, elements("s3://bucket/in/", "p-2", "p/1"), elements("s3://bucket/out/", "p-2.out", "1.out")},
		"in the bucket itself": {"", []transform.Object{tt.Object("b", "2")}, elements("s3://bucket/", "b"), elements("s3://bucket/out/", "b.out")},
	} {
		b := setup(tt.Serve(t, &tt.Container{}), c.objects...)
		b.Prefix = c.prefix
		to := b.captured(false)
		b.must(t)
		in, out := manifests(t, to)
		equal(t, name+": input", in, c.in)
		equal(t, name+": output", out, c.out)
	}
}

// BT-171: of a job that failed the manifests have what has an output; without any, and of one that was stopped, there are
// none; and a manifest that cannot be written fails the job and takes the other with it.
func TestDataCaptureOfAJobThatFailed(t *testing.T) {
	objects := []transform.Object{tt.Object("in/bad", "bad"), tt.Object("in/good", "good")}
	refuse := func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength == 3 {
			w.WriteHeader(400)
		}
	}
	b := setup(tt.Serve(t, &tt.Container{Invoke: refuse}), objects...)
	to := b.captured(false)
	if _, err := b.run(t); err == nil {
		t.Error("it did not fail")
	}
	in, out := manifests(t, to)
	equal(t, "input", in, elements("s3://bucket/in/", "good"))
	equal(t, "output", out, elements("s3://bucket/out/", "good.out"))

	b = setup(tt.Serve(t, &tt.Container{Invoke: refuse}), objects[0])
	if to = b.captured(false); true {
		_, _ = b.run(t)
	}
	same(t, "manifests", to.Names(), nil)

	b = setup(tt.Serve(t, &tt.Container{}), objects...)
	to = b.captured(false)
	to.Fail = func(step, name string) error {
		if step == "commit" && name == capturedOut {
			return errors.New("no room")
		}
		return nil
	}
	res, err := b.run(t)
	if err == nil || res.FailureReason != "InternalServerError: We encountered an internal error.  Please try again." || !regexp.MustCompile(`data capture: commit output/.*: no room`).MatchString(err.Error()) {
		t.Errorf("%v, %q", err, res.FailureReason)
	}
	same(t, "manifests", to.Names(), nil)
	outputs(t, b, map[string]string{"bad.out": "bad", "good.out": "good"})

	b = setup(tt.Serve(t, &tt.Container{Invoke: refuse}), objects...)
	to = b.captured(false)
	to.Fail = func(step, _ string) error {
		return map[string]error{"write": errors.New("no room"), "remove": errors.New("no right")}[step]
	}
	if res, err := b.run(t); res.FailureReason != "ClientError: See job logs for more information" || !strings.Contains(err.Error(), "1 of 2, the first: in/bad") || !strings.Contains(err.Error(), "data capture: write input/2026/01/03/00/scores.json: no room; and what is there of it stays: remove input/") {
		t.Errorf("%v, %q", err, res.FailureReason)
	}

	stop := errors.New("stopped")
	ctx, cancel := context.WithCancelCause(t.Context())
	b = setup(tt.Serve(t, &tt.Container{}), objects...)
	to = b.captured(false)
	to.Fail = func(step, name string) error {
		if step == "create" && name == capturedOut {
			cancel(stop)
			return ctx.Err()
		}
		return nil
	}
	if _, err := transform.Run(ctx, b.Config); err != stop {
		t.Errorf("got %v", err)
	}
	same(t, "manifests", to.Names(), nil)
	same(t, "removed", slices.Sorted(slices.Values(to.Removed())), []string{capturedIn, capturedOut})
	outputs(t, b, map[string]string{}) // BT-144
}

// BT-172: each result gets an id and the job's time, in whatever pieces it comes; what is no CSV or JSON fails.
func TestInferenceIDs(t *testing.T) {
	ids := regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)
	for _, strategy := range []string{"SingleRecord", "MultiRecord"} {
		b := setup(tt.Serve(t, &tt.Container{}), tt.Object("in/x", "a,1\nb,2\n")).line(strategy)
		b.Job.Output.Accept, b.Job.Output.AssembleWith = "text/csv", "Line"
		b.captured(true)
		b.must(t)
		got := b.out.All()["x.out"]
		if all := ids.FindAllString(got, -1); len(all) != 2 || all[0] == all[1] {
			t.Errorf("ids %q", all)
		}
		if got = ids.ReplaceAllString(got, "ID"); got != "a,1,ID,2026-01-03T00:04:05Z\nb,2,ID,2026-01-03T00:04:05Z\n" {
			t.Errorf("%s: %q", strategy, got)
		}
	}
	b := setup(tt.Serve(t, &tt.Container{}), tt.Object("in/x", "{]"))
	b.Job.Output.Accept = "application/json"
	b.captured(true)
	b.FailingDir = t.TempDir()
	if res, err := b.run(t); err == nil || res.FailureReason != "ClientError: See job logs for more information" {
		t.Errorf("%v, %q", err, res.FailureReason)
	}
	if got := readBatch(t, b.FailingDir+"/1"); got.Error != `Failed to parse output from the algorithm as JSON: unexpected character ']' at byte 1` {
		t.Errorf("%+v", got)
	}
	b = setup(tt.Serve(t, &tt.Container{}), tt.Object("in/x", "{}"))
	b.captured(true)
	if _, err := b.run(t); err == nil {
		t.Error("an output of no type got ids")
	}
}
