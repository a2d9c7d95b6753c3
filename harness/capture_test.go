package harness

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"

	"github.com/optml/optml/job"
	"github.com/optml/optml/objstore"
)

// keyedOpener remembers with which key each object was written.
type keyedOpener struct {
	objstore.Opener
	mu   sync.Mutex
	keys map[string]string
}

type keyed struct {
	objstore.Store
	o *keyedOpener
}

func (k *keyedOpener) Open(ctx context.Context, uri string) (objstore.Store, string, error) {
	s, key, err := k.Opener.Open(ctx, uri)
	return keyed{s, k}, key, err
}

func (k keyed) Create(ctx context.Context, key string, o objstore.CreateOptions) (objstore.Writer, error) {
	k.o.mu.Lock()
	k.o.keys[k.URI(key)] = o.KMSKeyID
	k.o.mu.Unlock()
	return k.Store.Create(ctx, key, o)
}

// BT-170, BT-171: a DataCaptureConfig's manifests lie below its destination by the hour in which the job started, with
// its key; the outputs have that of TransformOutput.
func TestDataCaptureConfig(t *testing.T) {
	b := newBench(t, serving(server(200, upper)))
	stores := &keyedOpener{Opener: b.host.Stores, keys: map[string]string{}}
	b.host.Stores = stores
	b.put("in/rows/a.csv", "1,2")
	b.put("in/rows/b.csv", "3,4")
	p := transformPlan("scores", "")
	p.Transform.Input.Source.URI = "s3://in/rows/"
	p.Transform.Output.KMSKeyID = "out-key"
	p.Transform.Capture = &job.Capture{Path: "s3://captured/here", KMSKeyID: "capture-key"}
	final, s := b.run(p)
	if final.Status != "Completed" {
		t.Fatalf("%+v", final)
	}
	hour := s.StartTime.UTC().Format("2006/01/02/15")
	in, out := "s3://captured/here/input/"+hour+"/scores.json", "s3://captured/here/output/"+hour+"/scores.json"
	want := map[string]string{in: "capture-key", out: "capture-key", "s3://out/pred/a.csv.out": "out-key", "s3://out/pred/b.csv.out": "out-key"}
	if !maps.Equal(stores.keys, want) {
		t.Errorf("written are %v, want %v", stores.keys, want)
	}
	for uri, want := range map[string]string{
		in: `[{"prefix":"s3://in/rows/"},"a.csv","b.csv"]`, out: `[{"prefix":"s3://out/pred/"},"a.csv.out","b.csv.out"]`,
	} {
		store, key, err := stores.Open(t.Context(), uri)
		if err != nil {
			t.Fatal(err)
		}
		if got := readAll(t, store, key); strings.ReplaceAll(got, "\n", "") != want {
			t.Errorf("%s: %s, want %s", uri, got, want)
		}
	}

	// A destination that is no place for them fails the job before anything is sent.
	p = transformPlan("nowhere", "")
	p.Transform.Capture = &job.Capture{Path: "s3://../x"}
	if final, _ := b.run(p); final.Status != "Failed" || !strings.HasPrefix(final.FailureReason, "ClientError: ") || !strings.Contains(fmt.Sprint(final.Detail, final.FailureReason), "not a bucket name") {
		t.Errorf("%+v", final)
	}
}

func readAll(t *testing.T, s objstore.Store, key string) string {
	t.Helper()
	r, err := s.Open(t.Context(), key, 0, -1)
	if err != nil {
		t.Error(err)
		return ""
	}
	defer r.Close()
	var text strings.Builder
	buf := make([]byte, 512)
	for {
		n, err := r.Read(buf)
		text.Write(buf[:n])
		if err != nil {
			return text.String()
		}
	}
}
