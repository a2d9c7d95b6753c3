package objstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/optml/optml/objstore"
	"github.com/optml/optml/objstore/s3test"
	"github.com/optml/optml/objstore/storetest"
)

func readAll(ctx context.Context, s objstore.Store, key string, off, n int64) ([]byte, error) {
	r, err := s.Open(ctx, key, off, n)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// TestReadFaults: whatever happens on the way, the bytes are right, and the number of requests is bounded.
func TestReadFaults(t *testing.T) {
	t.Parallel() // it waits
	data := storetest.Bytes(5<<20 + 3)
	for _, c := range []struct {
		name string
		f    s3test.Fault
		most int // requests
	}{
		{"a third is 503", s3test.Fault{Every: 3, Status: 503, Code: "SlowDown"}, 4},
		{"500 three times", s3test.Fault{Times: 3, Status: 500, Code: "InternalError"}, 4},
		{"reset twice", s3test.Fault{Times: 2, Reset: true}, 3},
		{"cut once in the middle", s3test.Fault{Times: 1, Cut: 1 << 20}, 2},
		{"cut after the header", s3test.Fault{Times: 2, Cut: -1}, 3},
		{"cut each time after 300 KiB", s3test.Fault{Cut: 300 << 10}, 19},
		{"stalls in the middle", s3test.Fault{Times: 1, HangAt: 100_000}, 2},
		{"hangs before it answers", s3test.Fault{Times: 1, Hang: true}, 2},
		{"429", s3test.Fault{Times: 2, Status: 429, Code: "TooManyRequests"}, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := s3test.New(s3test.Options{})
			srv.Put("bucket", "k", data)
			srv.Record()
			c.f.Method = "GET"
			srv.Fault(c.f)
			s := open(t, serve(t, srv, stall(time.Second)), "s3://bucket")
			got, err := readAll(t.Context(), s, "k", 0, -1)
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("read %d of %d bytes, %v", len(got), len(data), err)
			}
			if n := len(srv.Requests()); n > c.most {
				t.Errorf("%d requests, want at most %d", n, c.most)
			}
		})
	}
}

// TestReadGivesUp: what does not get better is an error of the right class after a bounded number of requests, never an
// early EOF.
func TestReadGivesUp(t *testing.T) {
	t.Parallel() // it waits
	for _, c := range []struct {
		name  string
		f     s3test.Fault
		class error
		text  string
		most  int
	}{
		{"503 for ever", s3test.Fault{Status: 503, Code: "SlowDown"}, nil, "SlowDown: injected 503", 16},
		{"cut for ever", s3test.Fault{Cut: 1000}, objstore.ErrTruncated, "body ended early", 17},
		{"hangs for ever", s3test.Fault{Hang: true}, nil, "no byte for", 16},
		{"403", s3test.Fault{Status: 403, Code: "AccessDenied"}, objstore.ErrAccessDenied, "AccessDenied: injected 403 (request TESTREQUEST)", 1},
		{"404", s3test.Fault{Status: 404, Code: "NoSuchKey"}, objstore.ErrNotFound, "NoSuchKey", 1},
		{"501", s3test.Fault{Status: 501, Code: "NotImplemented"}, nil, "NotImplemented", 1},
		{"a 412 for another reason", s3test.Fault{Status: 412, Code: "PreconditionFailed"}, objstore.ErrChanged, "PreconditionFailed", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := s3test.New(s3test.Options{})
			srv.Put("bucket", "dir/k", storetest.Bytes(1<<20))
			srv.Record()
			srv.Fault(c.f)
			var change func(*objstore.S3Options)
			if c.f.Hang { // only here: on a busy machine a short stall may hit an honest answer
				change = stall(50 * time.Millisecond)
			}
			s := open(t, serve(t, srv, change), "s3://bucket")
			got, err := readAll(t.Context(), s, "dir/k", 0, -1)
			e, ok := errors.AsType[*objstore.Error](err)
			if !ok || e.URI != "s3://bucket/dir/k" || !strings.Contains(err.Error(), c.text) || c.class != nil && !errors.Is(err, c.class) || e.Class != c.class {
				t.Errorf("read %d bytes, %v", len(got), err)
			}
			if n := len(srv.Requests()); n > c.most {
				t.Errorf("%d requests, want at most %d", n, c.most)
			}
		})
	}
}

// TestReadChangedMidway: the connection breaks, and when the reader comes back the object is another one.
func TestReadChangedMidway(t *testing.T) {
	for _, weak := range []bool{false, true} {
		srv := s3test.New(s3test.Options{NoIfMatch: weak})
		srv.Put("bucket", "k", storetest.Bytes(1<<20))
		other := storetest.Bytes(1 << 20)
		other[1<<20-1]++
		srv.Fault(s3test.Fault{Method: "GET", Times: 1, Cut: 1000})
		srv.Fault(s3test.Fault{Method: "GET", Times: 1, Before: func() { srv.Put("bucket", "k", other) }})
		s := open(t, serve(t, srv, nil), "s3://bucket")
		got, err := readAll(t.Context(), s, "k", 0, -1)
		if !errors.Is(err, objstore.ErrChanged) || len(got) > 1000 {
			t.Errorf("weak server %v: read %d bytes, %v", weak, len(got), err)
		}
	}
}

// TestReadVanishes: as before, but the object is gone.
func TestReadVanishes(t *testing.T) {
	srv := s3test.New(s3test.Options{})
	srv.Put("bucket", "k", storetest.Bytes(1<<20))
	srv.Fault(s3test.Fault{Method: "GET", Times: 1, Cut: 1000})
	srv.Fault(s3test.Fault{Method: "GET", Times: 1, Before: func() { srv.Remove("bucket", "k") }})
	s := open(t, serve(t, srv, nil), "s3://bucket")
	if got, err := readAll(t.Context(), s, "k", 0, -1); !errors.Is(err, objstore.ErrNotFound) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
}

// TestReadWrongAnswers: a server that answers something else than was asked for.
func TestReadWrongAnswers(t *testing.T) {
	for _, c := range []struct {
		name   string
		off, n int64
		header map[string]string
		status int
		body   string
		text   string
	}{
		{"another ETag", 0, -1, map[string]string{"ETag": `"0123"`}, 200, "0123456789", "object changed"},
		{"another length", 0, -1, nil, 200, "01234", "object changed"},
		{"ignores the range", 5, 2, nil, 200, "0123456789", "asked for bytes from 5, answer begins at 0"},
		{"another range", 5, 2, map[string]string{"Content-Range": "bytes 4-5/10"}, 206, "45", "asked for bytes from 5, answer begins at 4"},
		{"a shorter range", 5, 4, map[string]string{"Content-Range": "bytes 5-6/10"}, 206, "56", "answer ends at 7 of 9"},
		{"a range of another object", 5, 2, map[string]string{"Content-Range": "bytes 5-6/11"}, 206, "56", "object changed"},
		{"range and length differ", 5, 2, map[string]string{"Content-Range": "bytes 5-6/10"}, 206, "567", "answer of 3 bytes for a range of 2"},
		{"nonsense for a range", 5, 2, map[string]string{"Content-Range": "bytes */10"}, 206, "56", `Content-Range "bytes */10"`},
	} {
		srv := s3test.New(s3test.Options{})
		srv.Put("bucket", "k", []byte("0123456789"))
		s := open(t, serve(t, srv, nil), "s3://bucket")
		o, err := s.Stat(t.Context(), "k")
		if err != nil {
			t.Fatal(err)
		}
		srv.Record()
		srv.Fault(s3test.Fault{Method: "GET", Answer: func(w http.ResponseWriter, _ *http.Request) {
			for k, v := range c.header {
				w.Header().Set(k, v)
			}
			w.WriteHeader(c.status)
			io.WriteString(w, c.body)
		}})
		_, err = s.OpenVersion(t.Context(), o, c.off, c.n)
		if err == nil || !strings.Contains(err.Error(), c.text) || len(srv.Requests()) > 16 {
			t.Errorf("%s: after %d requests: %v", c.name, len(srv.Requests()), err)
		}
	}
}

// TestReadOfUnknownLength: a body in chunks says itself where it ends; one that ends with the connection does not.
func TestReadOfUnknownLength(t *testing.T) {
	srv := s3test.New(s3test.Options{})
	srv.MakeBucket("bucket")
	s := open(t, serve(t, srv, nil), "s3://bucket")
	srv.Fault(s3test.Fault{Key: "chunked", Answer: func(w http.ResponseWriter, _ *http.Request) {
		for range 3 {
			io.WriteString(w, "piece")
			w.(http.Flusher).Flush()
		}
	}})
	srv.Fault(s3test.Fault{Key: "close", Answer: func(w http.ResponseWriter, _ *http.Request) {
		c, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf of the bo")
			c.Close()
		}
	}})
	if got, err := readAll(t.Context(), s, "chunked", 0, -1); err != nil || string(got) != "piecepiecepiece" {
		t.Errorf("chunked: %q, %v", got, err)
	}
	if got, err := readAll(t.Context(), s, "close", 0, -1); err == nil || !strings.Contains(err.Error(), "no length") {
		t.Errorf("close: %q, %v", got, err)
	}
}

// TestListWrongAnswers: what rests on key order would be wrong in silence.
func TestListWrongAnswers(t *testing.T) {
	page := func(inner string) string { return "<ListBucketResult>" + inner + "</ListBucketResult>" }
	key := func(k string) string { return "<Contents><Key>" + k + "</Key><Size>1</Size></Contents>" }
	for name, c := range map[string]struct{ body, text string }{
		"order":             {page(key("b") + key("a")), "not list in key order"},
		"twice":             {page(key("a") + key("a")), "not list in key order"},
		"prefix":            {page(key("x")), `does not begin with "p"`},
		"no token":          {page("<IsTruncated>true</IsTruncated>"), "does not say how it goes on"},
		"not XML":           {"<html><body>Sign in to the hotel's network", "read listing"},
		"bad escape":        {page("<EncodingType>url</EncodingType>" + key("%zz")), "%zz"},
		"an error with 200": {"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code><Message>no</Message></Error>", "AccessDenied: no"},
	} {
		srv := s3test.New(s3test.Options{})
		srv.MakeBucket("bucket")
		srv.Fault(s3test.Fault{Answer: func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, c.body) }})
		s := open(t, serve(t, srv, nil), "s3://bucket")
		prefix := ""
		if name == "prefix" {
			prefix = "p"
		}
		var last error
		for _, err := range s.List(t.Context(), prefix) {
			last = err
		}
		if last == nil || !strings.Contains(last.Error(), c.text) {
			t.Errorf("%s: %v", name, last)
		}
	}
}

// TestCancelWhileHanging: a stop is felt at once although the server says nothing.
func TestCancelWhileHanging(t *testing.T) {
	cause := errors.New("stopped by the user")
	for _, f := range []s3test.Fault{{Hang: true}, {HangAt: 1000}, {Status: 503, Code: "SlowDown", Header: http.Header{"Retry-After": {"20"}}}} {
		srv := s3test.New(s3test.Options{})
		srv.Put("bucket", "k", storetest.Bytes(1<<20))
		srv.Fault(f)
		s := open(t, serve(t, srv, stall(time.Minute)), "s3://bucket")
		ctx, cancel := context.WithCancelCause(t.Context())
		begin := time.Now()
		time.AfterFunc(100*time.Millisecond, func() { cancel(cause) })
		_, err := readAll(ctx, s, "k", 0, -1)
		if !errors.Is(err, cause) && !errors.Is(err, context.Canceled) || time.Since(begin) > 30*time.Second {
			t.Errorf("%+v: after %s: %v", f, time.Since(begin), err)
		}
	}
}

func TestListFaults(t *testing.T) {
	t.Parallel() // it waits
	srv := s3test.New(s3test.Options{PageSize: 10})
	var want []string
	for i := range 95 {
		k := fmt.Sprintf("%03d", i)
		want = append(want, k)
		srv.Put("bucket", k, nil)
	}
	s := open(t, serve(t, srv, stall(time.Second)), "s3://bucket")
	for name, f := range map[string]s3test.Fault{
		"503":         {Every: 2, Status: 503, Code: "SlowDown"},
		"broken page": {Every: 3, Cut: 500},
		"stall":       {Times: 1, HangAt: 100},
	} {
		srv.ClearFaults()
		srv.Fault(f)
		if got := storetest.Keys(t, s, ""); !slices.Equal(got, want) {
			t.Errorf("%s: %d of %d keys", name, len(got), len(want))
		}
	}
	srv.ClearFaults()
	srv.Fault(s3test.Fault{Skip: 3, Status: 403, Code: "AccessDenied"})
	n := 0
	for _, err := range s.List(t.Context(), "") {
		if err != nil {
			if !errors.Is(err, objstore.ErrAccessDenied) || n > 30 {
				t.Errorf("after %d keys: %v", n, err)
			}
			return
		}
		n++
	}
	t.Errorf("%d keys and no error", n)
}

func TestNoBucketAndDenied(t *testing.T) {
	srv := s3test.New(s3test.Options{})
	srv.Deny("secret")
	op := serve(t, srv, nil)
	for bucket, class := range map[string]error{"none": objstore.ErrNoBucket, "secret": objstore.ErrAccessDenied} {
		s := open(t, op, "s3://"+bucket)
		for _, err := range s.List(t.Context(), "x") {
			if !errors.Is(err, class) {
				t.Errorf("List of %s: %v", bucket, err)
			}
		}
		if _, err := readAll(t.Context(), s, "x", 0, -1); !errors.Is(err, class) {
			t.Errorf("Open in %s: %v", bucket, err)
		}
		w, err := s.Create(t.Context(), "x", objstore.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		w.Write([]byte("x"))
		if err := w.Commit(t.Context()); !errors.Is(err, class) {
			t.Errorf("Commit in %s: %v", bucket, err)
		}
		if api, ok := errors.AsType[*objstore.ServiceError](err); ok {
			t.Errorf("unexpected %v", api)
		}
	}
}

// write makes an object of n bytes through a Writer, in pieces.
func write(s objstore.Store, key string, data []byte, o objstore.CreateOptions) error {
	w, err := s.Create(context.Background(), key, o)
	if err != nil {
		return err
	}
	defer w.Abort()
	for len(data) > 0 {
		n := min(len(data), 1<<20+1)
		if _, err := w.Write(data[:n]); err != nil {
			return err
		}
		data = data[n:]
	}
	return w.Commit(context.Background())
}

// part is the smallest that S3 allows.
const part = 5 << 20

func smallParts(o *objstore.S3Options) { o.PartSize, o.Retry.Stall = part, 3*time.Second }

// TestMultipart: sizes around the parts' size; what reaches the server is what was written, in one request or in parts,
// with the encryption that was asked for.
func TestMultipart(t *testing.T) {
	for _, n := range []int{0, 1, part - 1, part, part + 1, 2*part + 5} {
		srv := s3test.New(s3test.Options{})
		srv.MakeBucket("bucket")
		srv.Record()
		s := open(t, serve(t, srv, smallParts), "s3://bucket")
		data := storetest.Bytes(n)
		if err := write(s, "out/model.tar.gz", data, objstore.CreateOptions{ContentType: "application/gzip", KMSKeyID: "alias/k"}); err != nil {
			t.Fatalf("%d: %v", n, err)
		}
		got, h, _ := srv.Get("bucket", "out/model.tar.gz")
		if !bytes.Equal(got, data) {
			t.Errorf("%d: server has %d bytes", n, len(got))
		}
		want := http.Header{"Content-Type": {"application/gzip"}, "X-Amz-Server-Side-Encryption": {"aws:kms"}, "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id": {"alias/k"}}
		if d := cmp.Diff(want, h); d != "" {
			t.Errorf("%d: header %s", n, d)
		}
		requests, wantRequests := len(srv.Requests()), 1
		if n > part {
			wantRequests = 2 + (n+part-1)/part
		}
		if requests != wantRequests || srv.Uploads() != 0 {
			t.Errorf("%d: %d requests, want %d; %d uploads are open", n, requests, wantRequests, srv.Uploads())
		}
	}
}

func TestMultipartFaults(t *testing.T) {
	t.Parallel() // it waits
	data := storetest.Bytes(2*part + 100)
	query := func(s string) func(*http.Request) bool {
		return func(r *http.Request) bool { return strings.Contains(r.URL.RawQuery, s) }
	}
	for _, c := range []struct {
		name string
		f    s3test.Fault
		ok   bool
	}{
		{"a third is 503", s3test.Fault{Every: 3, Status: 503, Code: "SlowDown"}, true},
		{"parts are reset", s3test.Fault{Method: "PUT", Times: 2, Reset: true}, true},
		{"a part hangs", s3test.Fault{Method: "PUT", Times: 1, Hang: true}, true},
		{"the answer to the completion is lost", s3test.Fault{Method: "POST", Match: query("uploadId"), Times: 1, Lose: true}, true},
		{"a part is denied", s3test.Fault{Method: "PUT", Match: query("partNumber=2"), Status: 403, Code: "AccessDenied"}, false},
		{"completion is denied", s3test.Fault{Method: "POST", Match: query("uploadId"), Status: 403, Code: "AccessDenied"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := s3test.New(s3test.Options{})
			srv.MakeBucket("bucket")
			srv.Fault(c.f)
			s := open(t, serve(t, srv, smallParts), "s3://bucket")
			err := write(s, "k", data, objstore.CreateOptions{})
			got, _, there := srv.Get("bucket", "k")
			if c.ok && (err != nil || !bytes.Equal(got, data)) {
				t.Errorf("%v, server has %d bytes", err, len(got))
			}
			if !c.ok && (!errors.Is(err, objstore.ErrAccessDenied) || there) {
				t.Errorf("%v, object there: %v", err, there)
			}
			if n := srv.Uploads(); n != 0 {
				t.Errorf("%d uploads are left open", n)
			}
		})
	}
}

// TestAbortAndSweepUploads: an aborted writer leaves no upload; what a dead one left is swept by its key and age.
func TestAbortAndSweepUploads(t *testing.T) {
	srv := s3test.New(s3test.Options{PageSize: 2})
	srv.MakeBucket("bucket")
	s := open(t, serve(t, srv, smallParts), "s3://bucket")
	for i := range 5 {
		w, err := s.Create(t.Context(), fmt.Sprintf("job/%d", i), objstore.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(storetest.Bytes(part + 1)); err != nil {
			t.Fatal(err)
		}
		if i == 0 { // the others' writers die
			if err := w.Abort(); err != nil {
				t.Error(err)
			}
		} else {
			defer w.Abort()
		}
	}
	if n := srv.Uploads(); n != 4 {
		t.Fatalf("%d uploads are open, want 4", n)
	}
	for _, c := range []struct {
		prefix string
		age    time.Duration
		want   int
	}{{"job/", time.Hour, 0}, {"other/", 0, 0}, {"job/3", 0, 1}, {"job/", 0, 3}} {
		if n, err := s.Sweep(t.Context(), c.prefix, c.age); n != c.want || err != nil {
			t.Errorf("Sweep(%q, %s) = %d, %v, want %d", c.prefix, c.age, n, err, c.want)
		}
	}
}

// TestUploadMemory: the parts in flight are bounded although the server is slow and the writer is not.
func TestUploadMemory(t *testing.T) {
	srv := s3test.New(s3test.Options{})
	srv.MakeBucket("bucket")
	// The server would keep what it gets: it must not count here.
	srv.Fault(s3test.Fault{Method: "PUT", Latency: 50 * time.Millisecond, Answer: func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("ETag", `"x"`)
	}})
	s := open(t, serve(t, srv, nil), "s3://bucket")
	w, err := s.Create(t.Context(), "k", objstore.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var most uint64
	piece := make([]byte, 1<<20)
	for i := range 400 {
		if _, err := w.Write(piece); err != nil {
			t.Fatal(err)
		}
		if i%50 == 49 {
			runtime.GC()
			runtime.ReadMemStats(&now)
			most = max(most, now.HeapAlloc)
		}
	}
	if grown := int64(most) - int64(before.HeapAlloc); grown > 130<<20 {
		t.Errorf("400 MiB written held %d MiB", grown>>20)
	}
}

// TestRegion: a bucket elsewhere is found by the answer's header, and asked there from then on.
func TestRegion(t *testing.T) {
	srv := s3test.New(s3test.Options{Region: "eu-central-1"})
	srv.Put("bucket", "k", []byte("x"))
	srv.Record()
	s := open(t, serve(t, srv, nil), "s3://bucket")
	for range 3 {
		if got := storetest.Get(t, s, "k"); string(got) != "x" {
			t.Errorf("got %q", got)
		}
	}
	if n := len(srv.Requests()); n != 4 {
		t.Errorf("%d requests, want 4", n)
	}
}

func TestSigning(t *testing.T) {
	for _, anonymous := range []bool{false, true} {
		srv := s3test.New(s3test.Options{})
		srv.Put("bucket", "a b/ü+", []byte("x"))
		srv.Record()
		s := open(t, serve(t, srv, func(o *objstore.S3Options) { o.Anonymous, o.Region = anonymous, "eu-west-3" }), "s3://bucket")
		storetest.Get(t, s, "a b/ü+")
		r := srv.Requests()[0]
		auth := r.Header.Get("Authorization")
		if anonymous != (auth == "") || !anonymous && !strings.Contains(auth, "/eu-west-3/s3/aws4_request") {
			t.Errorf("anonymous %v: Authorization %q", anonymous, auth)
		}
		if e := r.Header.Get("Accept-Encoding"); e != "identity" {
			t.Errorf("Accept-Encoding %q: what is stored compressed would be recoded", e)
		}
	}
}

// TestNoSecretsInErrors: neither keys nor a signed URL's query reach an error's text.
func TestNoSecretsInErrors(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	op, err := objstore.NewOpener(objstore.Options{S3: objstore.S3Options{Endpoint: "http://" + addr, Retry: fast}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = readAll(t.Context(), open(t, op, "s3://bucket"), "k", 0, -1)
	if err == nil || !strings.Contains(err.Error(), "connection refused (after 5 attempts)") || strings.Contains(err.Error(), "secretsecret") || strings.Contains(err.Error(), "AKIA") {
		t.Errorf("%v", err)
	}
	_, _, err = op.Open(t.Context(), "https://user:hunter2@bucket.s3.amazonaws.com/k?X-Amz-Signature=abcdef")
	if err == nil || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "abcdef") {
		t.Errorf("%v", err)
	}
	bad, err := objstore.NewOpener(objstore.Options{S3: objstore.S3Options{Endpoint: "http://user:hunter2@host"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := bad.Open(t.Context(), "s3://bucket/k"); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("%v", err)
	}
}

func TestNoCredentials(t *testing.T) {
	srv := s3test.New(s3test.Options{})
	srv.Put("bucket", "k", []byte("x"))
	srv.Record()
	op := serve(t, srv, nil)
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	_, err := readAll(t.Context(), open(t, op, "s3://bucket"), "k", 0, -1)
	if !errors.Is(err, objstore.ErrAccessDenied) || !strings.Contains(err.Error(), "no AWS credentials") || len(srv.Requests()) != 0 {
		t.Errorf("%v", err)
	}
}

// TestSlowCompletion: a server that puts the parts together only when the upload is completed is not a stalled one.
func TestSlowCompletion(t *testing.T) {
	t.Parallel() // it waits
	srv := s3test.New(s3test.Options{})
	srv.MakeBucket("bucket")
	srv.Record()
	srv.Fault(s3test.Fault{Method: "POST", Match: func(r *http.Request) bool { return r.URL.Query().Has("uploadId") }, Latency: 3 * time.Second})
	s := open(t, serve(t, srv, func(o *objstore.S3Options) { o.PartSize, o.Retry.Stall = part, time.Second }), "s3://bucket")
	if err := write(s, "k", storetest.Bytes(part+1), objstore.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	posts := 0
	for _, r := range srv.Requests() {
		if r.Method == "POST" {
			posts++
		}
	}
	if posts != 2 {
		t.Errorf("%d POST requests, want one to begin and one to complete", posts)
	}
}

// TestPathStyle: where the bucket stands in the URL, for Amazon's own endpoint.
func TestPathStyle(t *testing.T) {
	for path, want := range map[bool]string{false: "https://bucket.s3.eu-west-3.amazonaws.com/a/k", true: "https://s3.eu-west-3.amazonaws.com/bucket/a/k"} {
		var asked []string
		answer := func(r *http.Request) (*http.Response, error) {
			asked = append(asked, r.URL.String())
			return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, ContentLength: 1, Body: http.NoBody, Request: r}, nil
		}
		op, err := objstore.NewOpener(objstore.Options{S3: objstore.S3Options{Region: "eu-west-3", PathStyle: path, Transport: roundTrip(answer), Retry: fast}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := open(t, op, "s3://bucket").Stat(t.Context(), "a/k"); err != nil {
			t.Error(err)
		}
		if !slices.Equal(asked, []string{want}) {
			t.Errorf("path style %v: %v, want %s", path, asked, want)
		}
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
