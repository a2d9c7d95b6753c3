package transform_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/optml/optml/transform"
	tt "github.com/optml/optml/transform/transformtest"
)

func readBatch(t *testing.T, dir string) transform.Batch {
	t.Helper()
	var b transform.Batch
	text, err := os.ReadFile(filepath.Join(dir, "batch.json"))
	if err == nil {
		err = json.Unmarshal(text, &b)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func content(t *testing.T, elem ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(elem...))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A failing batch is kept with what the container said of it, and the command line that is told sends the same request.
func TestFailingBatchCanBeSentAgain(t *testing.T) {
	for _, chunked := range []bool{false, true} {
		refuse := func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Set-Cookie", "session=abc")
			w.Header().Set("X-Model", "v7")
			tt.Status(400, "bad row: it's 'x'")(w, r)
		}
		model := &tt.Container{Invoke: refuse}
		b := setup(tt.Serve(t, model), tt.Object("in/x", "a\n\x00\xffb'\n"))
		b.Job.Input.ContentType, b.Job.Output.Accept = "text/csv; q='1'", ""
		if chunked {
			b.line("SingleRecord")
			b.Job.MaxPayloadMB = new(0)
		}
		b.FailingDir = filepath.Join(t.TempDir(), "it's failing")
		res, err := b.run(t)
		failed := new(transform.Error)
		if e, ok := err.(*transform.Error); ok {
			failed = e
		}
		if failed.Kept != b.FailingDir || res.Unrecorded != nil {
			t.Fatalf("%v, kept in %q, %v", err, failed.Kept, res.Unrecorded)
		}
		dir := filepath.Join(b.FailingDir, "1")
		got := readBatch(t, dir)
		sent := model.Requests()[len(model.Requests())-1]
		if body := content(t, dir, "request"); body != string(sent.Body) || got.Bytes != int64(len(body)) {
			t.Errorf("request %q, sent was %q; %+v", body, sent.Body, got)
		}
		if got.Object != "in/x" || got.Status != 400 || got.Attempts != 1 || got.Host != "algo-1" || got.Error != "the container answered 400" || got.Note != "" {
			t.Errorf("%+v", got)
		}
		if body := content(t, dir, "response.body"); body != "bad row: it's 'x'" {
			t.Errorf("response %q", body)
		}
		head := content(t, dir, "response.head")
		if !strings.HasPrefix(head, "HTTP/1.1 400 Bad Request\r\n") || !strings.Contains(head, "X-Model: v7\r\n") {
			t.Errorf("head %q", head)
		}
		if strings.Contains(head, "abc") || !strings.Contains(head, "Set-Cookie: (not kept)\r\n") {
			t.Errorf("credentials are kept: %q", head)
		}
		if got.Replay != failed.Replay {
			t.Errorf("%q and %q", got.Replay, failed.Replay)
		}
		if _, err := exec.LookPath("curl"); err != nil {
			t.Skip("there is no curl here to send it with")
		}
		again := &tt.Container{}
		s := httptest.NewServer(again)
		out, err := exec.Command("sh", "-c", strings.Replace(got.Replay, "localhost:8080", s.Listener.Addr().String(), 1)).CombinedOutput()
		s.Close()
		if err != nil {
			t.Fatalf("%s: %v\n%s", got.Replay, err, out)
		}
		if now := again.Requests()[0]; !reflect.DeepEqual(now, sent) {
			t.Errorf("curl sends\n%+v\noptml had sent\n%+v", now, sent)
		}
	}
}

// The first ten in the order of the objects are kept, in whatever order they fail.
func TestFirstFailingBatchesAreKept(t *testing.T) {
	var objects []transform.Object
	for i := range 30 {
		objects = append(objects, tt.Object(fmt.Sprintf("in/%02d", i), fmt.Sprintf("row %02d", i)))
	}
	// Three instances: each third object, so that they fail in another order than theirs.
	model := &tt.Container{Invoke: tt.Status(400, "no")}
	b := setup(tt.Serve(t, model), objects...)
	b.Instances = append(b.Instances, tt.Serve(t, model), tt.Serve(t, model))
	b.FailingDir = filepath.Join(t.TempDir(), "failing")
	var list bytes.Buffer
	b.Failures = &list
	_, err := b.run(t)
	if err == nil {
		t.Fatal("it did not fail")
	}
	entries, err := os.ReadDir(b.FailingDir)
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, e := range entries {
		got := readBatch(t, filepath.Join(b.FailingDir, e.Name()))
		keys = append(keys, got.Object)
		if body := content(t, b.FailingDir, e.Name(), "request"); "in/"+strings.TrimPrefix(body, "row ") != got.Object {
			t.Errorf("%s has the request %q", got.Object, body)
		}
	}
	slices.Sort(keys)
	var want []string
	for i := range transform.MaxKept {
		want = append(want, objects[i].Key)
	}
	same(t, "kept", keys, want)

	// All of them are in the list.
	var failed []string
	for line := range bytes.Lines(list.Bytes()) {
		var f transform.FailedObject
		if err := json.Unmarshal(line, &f); err != nil || f.Class != transform.ClientError || f.Status != 400 || f.Error != "the container answered 400" || f.Output != strings.TrimPrefix(f.Object, "in/")+".out" {
			t.Errorf("%s: %v", line, err)
		}
		failed = append(failed, f.Object)
	}
	slices.Sort(failed)
	if len(failed) != 30 || failed[0] != "in/00" || failed[29] != "in/29" {
		t.Errorf("failed are %q", failed)
	}
}

// What there is of an answer that is cut off, too large or malformed is kept; without one only the request is.
func TestFailingBatchOfABrokenAnswer(t *testing.T) {
	for _, c := range []struct {
		name   string
		invoke http.HandlerFunc
		status int
		body   string
	}{
		{"truncated", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "40000")
			w.Write([]byte("begin" + strings.Repeat("x", 30000)))
		}, 200, "begin"},
		{"no answer", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := setup(tt.Serve(t, &tt.Container{Invoke: c.invoke}), tt.Object("in/x", "abc"))
			b.Job.MaxRetries = 0
			b.FailingDir = t.TempDir()
			if _, err := b.run(t); err == nil {
				t.Fatal("it did not fail")
			}
			dir := filepath.Join(b.FailingDir, "1")
			if got := readBatch(t, dir); got.Status != c.status || content(t, dir, "request") != "abc" || got.Replay == "" {
				t.Errorf("%+v", got)
			}
			_, err := os.Stat(filepath.Join(dir, "response.head"))
			if (err == nil) != (c.status != 0) {
				t.Errorf("response.head: %v", err)
			}
			if c.status != 0 {
				if body := content(t, dir, "response.body"); !strings.HasPrefix(body, c.body) || len(body) > 16<<10 {
					t.Errorf("%d bytes of the response: %.20q", len(body), body)
				}
			}
		})
	}
}

// A request that was streamed is not there any more, and says so; no request, nothing kept.
func TestFailingBatchesThatCannotBeKept(t *testing.T) {
	b := setup(tt.Serve(t, &tt.Container{Invoke: tt.Status(400, "no")}), tt.Object("in/x", "abc"))
	b.Job.MaxPayloadMB = new(0)
	b.FailingDir = t.TempDir()
	_, err := b.run(t)
	if e, ok := err.(*transform.Error); !ok || e.Kept == "" || e.Replay != "" {
		t.Errorf("%+v", err)
	}
	dir := filepath.Join(b.FailingDir, "1")
	if got := readBatch(t, dir); got.Bytes != 3 || got.Note == "" || got.Replay != "" || content(t, dir, "response.body") != "no" {
		t.Errorf("%+v", got)
	}

	b = setup(tt.Serve(t, &tt.Container{}), tt.Object("in/x", "not RecordIO"))
	b.Job.Input.SplitType, b.FailingDir = "RecordIO", filepath.Join(t.TempDir(), "none")
	if _, err = b.run(t); err == nil {
		t.Error("it did not fail")
	}
	if _, err := os.Stat(b.FailingDir); err == nil {
		t.Error("a batch is kept and none was sent")
	}

	// An output that cannot be written is not the batch's fault.
	b = setup(tt.Serve(t, &tt.Container{}), tt.Object("in/x", "abc"))
	b.Job.MaxPayloadMB, b.FailingDir = new(0), filepath.Join(t.TempDir(), "none")
	b.out.Fail = func(step, _ string) error {
		if step == "write" {
			return os.ErrPermission
		}
		return nil
	}
	if _, err = b.run(t); err == nil {
		t.Error("it did not fail")
	}
	if _, err := os.Stat(b.FailingDir); err == nil {
		t.Error("a batch is kept that did not fail")
	}

	// A place that cannot be written to does not change how the job ends.
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	b = setup(tt.Serve(t, &tt.Container{Invoke: tt.Status(400, "no")}), tt.Object("in/x", "abc"))
	b.FailingDir, b.Failures = filepath.Join(file, "failing"), fullDisk{}
	res, _ := b.run(t)
	if res.FailureReason != "ClientError: See job logs for more information" || res.Unrecorded == nil || !strings.Contains(res.Unrecorded.Error(), "failing batches") || !strings.Contains(res.Unrecorded.Error(), "failed objects") {
		t.Errorf("%q, %v", res.FailureReason, res.Unrecorded)
	}
}

// Done is what was read less what waits for its answer.
func TestDoneIsWhatWasAnswered(t *testing.T) {
	for _, c := range []struct {
		t    transform.Totals
		want int64
	}{
		{transform.Totals{Read: 1000, Cut: 500, BytesIn: 250}, 500},
		{transform.Totals{Read: 1000, Cut: 500, BytesIn: 500}, 1000},
		{transform.Totals{Read: 1000}, 1000},
	} {
		if got := c.t.Done(); got != c.want {
			t.Errorf("%+v: %d, want %d", c.t, got, c.want)
		}
	}
	b := setup(tt.Serve(t, &tt.Container{Invoke: func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength == 4 {
			w.WriteHeader(400)
		}
	}}), tt.Object("in/x", "a\nb\nccc\nd\n"), tt.Object("in/y", "e\n")).line("SingleRecord")
	b.Job.MaxConcurrent = new(4)
	res, _ := b.run(t)
	if n := res.Totals; n.Cut != n.BytesIn {
		t.Errorf("at the end nothing waits: %+v", n)
	}
}

// A response that the join or the OutputFilter refuses is kept with its request, filtered as it was sent (BT-163 to BT-165).
func TestRefusedResponseIsKept(t *testing.T) {
	for name, c := range map[string]struct {
		in, out string
		join    bool
		request string
		error   string
	}{
		"a join":                 {"", "", true, "b,2\n", "The algorithm returned 2 results for 1 records"},
		"a join behind a filter": {"$[1]", "", true, "2\n", "The algorithm returned 2 results for 1 records"},
		"an OutputFilter":        {"", "$[1]", false, "b,2\n", "OutputFilter $[1]"},
	} {
		t.Run(name, func(t *testing.T) {
			late := make(chan struct{})
			model := &tt.Container{Invoke: func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				w.Header().Set("X-Model", "v7")
				switch {
				case strings.HasSuffix(string(body), "2\n"): // answered before its turn
					defer close(late)
					io.WriteString(w, "x\ny\n")
				case strings.HasSuffix(string(body), "1\n"):
					<-late
					io.WriteString(w, "1,1\n")
				}
			}}
			b := setup(tt.Serve(t, model), tt.Object("in/x", "a,1\nb,2\n")).line("SingleRecord").processing("text/csv", c.in, c.out, c.join)
			b.Job.MaxConcurrent = new(2)
			b.FailingDir = t.TempDir()
			_, err := b.run(t)
			if e, ok := err.(*transform.Error); !ok || e.Kept != b.FailingDir || e.Replay == "" {
				t.Fatalf("%+v", err)
			}
			dir := filepath.Join(b.FailingDir, "1")
			got := readBatch(t, dir)
			if got.Record != 2 || got.Records != 1 || got.Offset != 4 || got.Status != 200 || got.Attempts != 1 || got.Bytes != int64(len(c.request)) || !strings.Contains(got.Error, c.error) || got.Time.IsZero() {
				t.Errorf("%+v", got)
			}
			if body := content(t, dir, "request"); body != c.request {
				t.Errorf("request %q", body)
			}
			if body := content(t, dir, "response.body"); body != "x\ny\n" {
				t.Errorf("response %q", body)
			}
			if head := content(t, dir, "response.head"); !strings.Contains(head, "X-Model: v7\r\n") {
				t.Errorf("head %q", head)
			}
		})
	}
}

// Of a pipeline also the request to the container that failed is kept, and the command line sends that one; an answer of
// the container before is not taken for its own.
func TestFailingHopIsKept(t *testing.T) {
	for _, payload := range []int{6, 0} {
		for name, c := range map[string]struct {
			two    http.HandlerFunc
			status int
		}{
			"400":       {tt.Status(400, "no such column"), 400},
			"no answer": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 0},
		} {
			t.Run(fmt.Sprintf("%s/%d", name, payload), func(t *testing.T) {
				b := setup(pipeline(t, tagged("1", "text/x"), &tt.Container{Invoke: c.two}, &tt.Container{}), tt.Object("in/x", "a"))
				b.Job.MaxPayloadMB, b.Job.MaxRetries, b.Job.Output.Accept, b.Job.Input.ContentType = &payload, 0, "text/y", "text/csv"
				b.FailingDir = t.TempDir()
				if _, err := b.run(t); err == nil {
					t.Fatal("it did not fail")
				}
				dir := filepath.Join(b.FailingDir, "1")
				got := readBatch(t, dir)
				if got.Container != "two" || got.Status != c.status || !strings.Contains(got.Replay, "request.two") || !strings.Contains(got.Replay, "'Content-Type: text/x'") || strings.Contains(got.Replay, "text/y") {
					t.Errorf("%+v", got)
				}
				if body := content(t, dir, "request.two"); body != "1(a)" {
					t.Errorf("the request to two: %q", body)
				}
				if _, err := os.Stat(filepath.Join(dir, "response.head")); (err == nil) != (c.status != 0) {
					t.Errorf("response.head: %v", err)
				}
				if payload > 0 && content(t, dir, "request") != "a" {
					t.Error("the request to the first is not kept")
				}
			})
		}
	}
	b := setup(pipeline(t, &tt.Container{Invoke: tt.Status(400, "no")}, &tt.Container{}), tt.Object("in/x", "a"))
	b.Job.Output.Accept, b.FailingDir = "text/y", t.TempDir()
	_, _ = b.run(t)
	if got := readBatch(t, filepath.Join(b.FailingDir, "1")); got.Container != "one" || strings.Contains(got.Replay, "text/y") || !strings.HasSuffix(strings.TrimSuffix(got.Replay, " http://localhost:8080/invocations"), "/request") {
		t.Errorf("%+v", got)
	}
}

// What is not read of an object that has failed is not waited for.
func TestRestOfAFailedObjectIsSkipped(t *testing.T) {
	long := strings.Repeat("0123456\n", 1<<20)
	b := setup(tt.Serve(t, &tt.Container{Invoke: func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength > 1 {
			w.WriteHeader(400)
		}
	}}), tt.Object("in/x", long), tt.Object("in/y", "a")).line("SingleRecord")
	res, _ := b.run(t)
	n := res.Totals
	if n.TotalBytes != int64(len(long)+1) || n.Skipped < int64(len(long))/2 || n.Skipped+n.Read != n.TotalBytes || n.ToDo() != n.Read || n.Done() != n.Read {
		t.Errorf("%+v: to do %d, done %d", n, n.ToDo(), n.Done())
	}
}
