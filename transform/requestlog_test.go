package transform_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/optml/optml/transform"
	tt "github.com/optml/optml/transform/transformtest"
)

// request is a line of the request log (docs/transform.md).
type request struct {
	Time           time.Time
	Host, Object   string
	Worker         int
	Record         int64
	Records        int64
	Offset         int64
	Sent, Received int64
	Status         int
	Attempts       int64
	LatencySeconds float64
	Seconds        float64
	Error          string
}

func lines(t *testing.T, b []byte) []request {
	t.Helper()
	var all []request
	for line := range bytes.Lines(b) {
		var r request
		d := json.NewDecoder(bytes.NewReader(line))
		d.DisallowUnknownFields()
		if err := d.Decode(&r); err != nil || line[len(line)-1] != '\n' {
			t.Errorf("line %q: %v", line, err)
		}
		all = append(all, r)
	}
	return all
}

// Each request is one line, however many attempts it took, and the lines add up to the totals.
func TestRequestLog(t *testing.T) {
	failed := false
	model := &tt.Container{Invoke: func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(30 * time.Millisecond)
		if !failed {
			failed = true
			w.WriteHeader(503)
			return
		}
		w.Write([]byte("12345"))
	}}
	bubble(t, model, func(t *testing.T, in transform.Instance) {
		b := setup(in, tt.Object(`in/a"ü`, "a\nbb\nccc\n"), tt.Object("in/y", "d\n")).line("SingleRecord")
		var log bytes.Buffer
		b.Requests = &log
		res := b.must(t)
		got := lines(t, log.Bytes())
		if len(got) != 4 || res.Unrecorded != nil {
			t.Fatalf("%d lines, %v:\n%s", len(got), res.Unrecorded, log.String())
		}
		var attempts, sent int64
		for _, r := range got {
			attempts, sent = attempts+r.Attempts, sent+r.Sent
			if r.Host != "algo-1" || r.Worker != 1 || r.Received != 5 || r.Status != 200 || r.Records != 1 || r.LatencySeconds != 0.03 || r.Error != "" {
				t.Errorf("%+v", r)
			}
		}
		if attempts != res.Totals.Requests || sent != res.Totals.BytesIn {
			t.Errorf("%d attempts and %d bytes in %+v", attempts, sent, res.Totals)
		}
		if r := got[0]; r.Object != `in/a"ü` || r.Attempts != 2 || r.Seconds != 1.06 || r.Record != 1 || r.Offset != 0 {
			t.Errorf("first: %+v", r)
		}
		if r := got[2]; r.Record != 3 || r.Offset != 5 || r.Sent != 4 || r.Seconds != 0.03 || !r.Time.Equal(got[1].Time.Add(30*time.Millisecond)) {
			t.Errorf("third: %+v", r)
		}
	})
}

// What failed says how, in few words; what was never sent is no request.
func TestRequestLogOfFailures(t *testing.T) {
	bubble(t, &tt.Container{Invoke: tt.Status(500, "no")}, func(t *testing.T, in transform.Instance) {
		b := setup(in, tt.Object("in/x", "a\nb\nc\n")).line("SingleRecord")
		var log bytes.Buffer
		b.Requests = &log
		res, _ := b.run(t)
		got := lines(t, log.Bytes())
		if len(got) != 1 || got[0].Status != 500 || got[0].Attempts != 4 || got[0].Received != 2 || got[0].Error != "the container answered 500" || res.Totals.Requests != 4 {
			t.Errorf("%+v, %+v", got, res.Totals)
		}
	})
	long := strings.Repeat("é", 2000)
	bubble(t, &tt.Container{}, func(t *testing.T, in transform.Instance) {
		b := setup(in, tt.Object("in/x", "a\n"))
		b.Job.MaxPayloadMB = new(0)
		b.out.Fail = func(step, _ string) error {
			if step == "write" {
				return errors.New(long)
			}
			return nil
		}
		var log bytes.Buffer
		b.Requests = &log
		_, _ = b.run(t)
		got := lines(t, log.Bytes())
		if len(got) != 1 || got[0].Status != 200 || got[0].Sent != 2 || got[0].Record != 0 || len(got[0].Error) > 1100 || !strings.HasSuffix(got[0].Error, "…") {
			t.Errorf("%+v", got)
		}
	})
}

// A job that is stopped has its last request on record too.
func TestRequestLogOfAStoppedJob(t *testing.T) {
	bubble(t, &tt.Container{Invoke: tt.Late(time.Minute, tt.Status(200, "x"))}, func(t *testing.T, in transform.Instance) {
		b := setup(in, tt.Object("in/x", "a\nb\n")).line("SingleRecord")
		var log bytes.Buffer
		b.Requests = &log
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(90*time.Second, func() { cancel(errors.New("stop requested")) })
		if _, err := transform.Run(ctx, b.Config); err == nil {
			t.Fatal("it was not stopped")
		}
		got := lines(t, log.Bytes())
		if len(got) != 2 || got[0].Status != 200 || got[1].Status != 0 || got[1].Error != "stop requested" || got[1].LatencySeconds != 30 {
			t.Errorf("%+v", got)
		}
	})
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

// A record that cannot be written is no reason to fail.
func TestRequestLogOnAFullDisk(t *testing.T) {
	b := setup(tt.Serve(t, &tt.Container{}), tt.Object("in/x", strings.Repeat("a\n", 5000))).line("SingleRecord")
	b.Requests = fullDisk{}
	if res := b.must(t); res.Unrecorded == nil || res.Totals.Records != 5000 {
		t.Errorf("%v, %+v", res.Unrecorded, res.Totals)
	}
}
