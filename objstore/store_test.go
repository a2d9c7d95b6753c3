package objstore_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/optml/optml/objstore"
	"github.com/optml/optml/objstore/s3test"
	"github.com/optml/optml/objstore/storetest"
)

// TestMain keeps the machine's own AWS configuration out, but where the tests are to use it.
func TestMain(m *testing.M) {
	if os.Getenv("OPTML_TEST_S3") == "" {
		noAWS()
	}
	goleak.VerifyTestMain(m)
}

func noAWS() {
	for _, k := range []string{"AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_SESSION_TOKEN"} {
		os.Unsetenv(k)
	}
	for k, v := range map[string]string{
		"AWS_CONFIG_FILE": "/nonexistent", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_ACCESS_KEY_ID": "AKIATESTTESTTESTTEST", "AWS_SECRET_ACCESS_KEY": "secretsecretsecret",
	} {
		os.Setenv(k, v)
	}
}

// fast retries at once: tests are not to wait. Where a stall is part of the test, it sets a shorter one.
var fast = objstore.Retry{Base: time.Millisecond, Max: 2 * time.Millisecond, Stall: 20 * time.Second}

func stall(d time.Duration) func(*objstore.S3Options) {
	return func(o *objstore.S3Options) { o.Retry.Stall = d }
}

// serve starts srv and returns an opener for it.
func serve(t testing.TB, srv *s3test.Server, change func(*objstore.S3Options)) objstore.Opener {
	t.Helper()
	ts := httptest.NewServer(srv)
	tr := http.DefaultTransport.(*http.Transport).Clone()
	tr.DisableCompression = true
	t.Cleanup(func() { tr.CloseIdleConnections(); srv.Close(); ts.Close() })
	o := objstore.S3Options{Endpoint: ts.URL, Transport: tr, Retry: fast}
	if change != nil {
		change(&o)
	}
	op, err := objstore.NewOpener(objstore.Options{S3: o})
	if err != nil {
		t.Fatal(err)
	}
	return op
}

func open(t testing.TB, op objstore.Opener, uri string) objstore.Store {
	t.Helper()
	s, _, err := op.Open(t.Context(), uri)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestMem(t *testing.T) {
	storetest.Run(t, func(*testing.T) objstore.Store { return objstore.NewMem("mem://b/") })
}

func TestDir(t *testing.T) {
	storetest.Run(t, func(t *testing.T) objstore.Store {
		d, err := objstore.NewDir(t.TempDir(), "s3://b/")
		if err != nil {
			t.Fatal(err)
		}
		return d
	})
}

func TestS3(t *testing.T) {
	storetest.Run(t, func(t *testing.T) objstore.Store {
		srv := s3test.New(s3test.Options{PageSize: 7})
		srv.MakeBucket("bucket")
		return open(t, serve(t, srv, nil), "s3://bucket")
	})
}

// TestS3Weak is a server that ignores If-Match, as several do: the answer's own ETag must tell.
func TestS3Weak(t *testing.T) {
	storetest.Run(t, func(t *testing.T) objstore.Store {
		srv := s3test.New(s3test.Options{NoIfMatch: true})
		srv.MakeBucket("bucket")
		return open(t, serve(t, srv, nil), "s3://bucket")
	})
}

// TestS3Flaky: the whole suite with a third of the requests answered 503, and some connections reset.
func TestS3Flaky(t *testing.T) {
	t.Parallel() // it waits
	storetest.Run(t, func(t *testing.T) objstore.Store {
		srv := s3test.New(s3test.Options{})
		srv.MakeBucket("bucket")
		srv.Fault(s3test.Fault{Every: 3, Status: http.StatusServiceUnavailable, Code: "SlowDown"})
		srv.Fault(s3test.Fault{Every: 7, Reset: true})
		return open(t, serve(t, srv, nil), "s3://bucket")
	})
}
