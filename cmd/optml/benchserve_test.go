package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/optml/optml/harness"
	"github.com/optml/optml/objstore"
	"github.com/optml/optml/transform"
)

// serveArgs parses the flags of bench serve, as far as their check.
func serveArgs(t *testing.T, args ...string) (*serveFlags, *benchFlags, error) {
	t.Helper()
	c := newApp(strings.NewReader(""), os.Stderr, os.Stderr).cmdBenchServe()
	if err := c.ParseFlags(args); err != nil {
		return nil, nil, err
	}
	s, b := new(serveFlags), new(benchFlags)
	other := *c
	other.ResetFlags()
	s.add(&other)
	b.figure, b.runs = "throughput", 1
	if err := other.ParseFlags(args); err != nil {
		return nil, nil, err
	}
	return s, b, s.check(&other, b)
}

func TestServeFlags(t *testing.T) {
	s, b, err := serveArgs(t, "--payload", "x")
	if err != nil || !cmp.Equal(s.concurrency, []int{1, 4, 16}) || b.figure != "throughput" {
		t.Errorf("%+v %v", s, err)
	}
	if want := "closed loops of 1, 4, 16 at a time; 10s each after 1s"; s.said() != want {
		t.Errorf("%q", s.said())
	}
	s, b, err = serveArgs(t, "--payload", "x", "--rate", "200,100.5", "--arrivals", "poisson")
	if err != nil || !cmp.Equal(s.open, []float64{100.5, 200}) || b.figure != "p50" || s.concurrency != nil {
		t.Errorf("%+v %v", s, err)
	}
	for want, args := range map[string][]string{
		"what is to be sent":                 {"--concurrency", "1"},
		"--payload and --data":               {"--payload", "x", "--data", "y"},
		"--split says how":                   {"--payload", "x", "--split", "Line"},
		"--rate 0:":                          {"--payload", "x", "--rate", "0"},
		"--rate x:":                          {"--payload", "x", "--rate", "10,x"},
		"--rate NaN:":                        {"--payload", "x", "--rate", "NaN"},
		"--concurrency 0":                    {"--payload", "x", "--concurrency", "0"},
		"--sweep and --rate":                 {"--payload", "x", "--sweep", "--rate", "5"},
		"are an open loop's":                 {"--payload", "x", "--connections", "5"},
		"--connections: from":                {"--payload", "x", "--rate", "5", "--connections", "1000000"},
		"--duration is from":                 {"--payload", "x", "--duration", "1ms"},
		"--timeout: at most":                 {"--payload", "x", "--timeout", "2h"},
		"room for":                           {"--payload", "x", "--duration", "24h", "--sweep"},
		"--content-type \"a\\r\\nb\" cannot": {"--payload", "x", "--content-type", "a\r\nb"},
	} {
		var u *usageError
		if _, _, err := serveArgs(t, args...); !errors.As(err, &u) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", args, err, want)
		}
	}
}

func TestServePayloads(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"rows/a.csv": "1,2\n3,4\n", "rows/b.csv": "5,6", "one.json": "{}"} {
		p := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	stores, err := objstore.NewOpener(objstore.Options{S3Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	read := func(s serveFlags) ([]string, error) {
		all, err := s.read(t.Context(), stores, t.Logf)
		var text []string
		for _, b := range all {
			text = append(text, string(b))
		}
		return text, err
	}
	for name, c := range map[string]struct {
		flags serveFlags
		want  []string
	}{
		"files":   {serveFlags{payloads: []string{filepath.Join(dir, "one.json"), filepath.Join(dir, "rows/b.csv")}}, []string{"{}", "5,6"}},
		"records": {serveFlags{data: "s3://rows/", split: "Line"}, []string{"1,2\n", "3,4\n", "5,6"}},
		"objects": {serveFlags{data: "s3://rows/", split: "None"}, []string{"1,2\n3,4\n", "5,6"}},
	} {
		got, err := read(c.flags)
		if err != nil || !cmp.Equal(got, c.want) {
			t.Errorf("%s: %q %v, want %q", name, got, err, c.want)
		}
	}
	for _, s := range []serveFlags{{payloads: []string{dir + "/nope"}}, {data: "s3://nope/", split: "Line"}, {data: "s3://rows/", split: "RecordIO"}} {
		if got, err := read(s); err == nil {
			t.Errorf("%+v: %q", s, got)
		}
	}
}

func TestServeLoads(t *testing.T) {
	var asked atomic.Pointer[func()]
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f := asked.Load(); f != nil {
			(*f)()
		}
		if r.Header.Get("Content-Type") != "text/csv" || r.URL.Path != "/invocations" {
			http.Error(w, "no", http.StatusBadRequest)
		}
	}))
	defer srv.Close()
	var d net.Dialer
	var l net.ListenConfig
	to := harness.Served{Container: transform.Container{Addr: srv.Listener.Addr().String(), Dial: d.DialContext}, Ready: time.Second,
		Listen: func(ctx context.Context, addr string) (net.Listener, error) { return l.Listen(ctx, "tcp", addr) }}
	flags := &serveFlags{concurrency: []int{1, 2}, open: []float64{50}, duration: span(200 * time.Millisecond), contentType: "text/csv", arrivals: "constant"}
	x := loading{flags: flags, payloads: [][]byte{[]byte("1")}, say: t.Logf}
	if err := x.drive(t.Context(), to); err != nil {
		t.Fatal(err)
	}
	r := x.result
	if r.Ready != 1 || r.First <= 0 || r.FirstError != "" || len(r.Closed.Points) != 2 || len(r.Open.Points) != 1 || r.Cut != "" {
		t.Fatalf("%+v", r)
	}
	for _, p := range append(r.Closed.Points, r.Open.Points...) {
		if p.Due == 0 || p.Failed > 0 || p.Path == nil {
			t.Errorf("%+v", p)
		}
	}
	// A stop in the middle keeps what there is.
	ctx, cancel := context.WithCancelCause(t.Context())
	x = loading{flags: &serveFlags{concurrency: []int{1}, duration: span(time.Hour), arrivals: "constant"}, payloads: [][]byte{nil}, say: t.Logf}
	var n atomic.Int32
	stopping := func() {
		if n.Add(1) == 3 { // two after the first invocation
			cancel(errors.New("stopped"))
		}
	}
	asked.Store(&stopping)
	if err := x.drive(ctx, to); err == nil || x.result.Cut == "" || len(x.result.Closed.Points) != 1 || x.result.FirstError == "" {
		t.Errorf("%+v %v", x.result, err)
	}
}
