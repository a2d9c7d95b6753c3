//go:build e2e

package e2e

import (
	"bytes"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/optml/optml/objstore/s3test"
)

// store is an S3 on loopback, with what a command line needs to use it.
func store(t *testing.T) (*s3test.Server, []string) {
	t.Helper()
	return storeLike(t, s3test.Options{})
}

func storeLike(t *testing.T, o s3test.Options) (*s3test.Server, []string) {
	t.Helper()
	o.Latency = 2 * time.Millisecond
	srv := s3test.New(o)
	ts := httptest.NewServer(srv)
	t.Cleanup(func() { srv.Close(); ts.Close() })
	return srv, []string{"OPTML_S3_DIR=", "AWS_ENDPOINT_URL_S3=" + ts.URL, "AWS_ACCESS_KEY_ID=id", "AWS_SECRET_ACCESS_KEY=secret", "AWS_REGION=us-east-1"}
}

// killWhileUploading starts a job and kills its owner when an upload of many parts is open.
func killWhileUploading(t *testing.T, srv *s3test.Server, env []string, args ...string) {
	t.Helper()
	p := begin(t, env, args...)
	eventually(t, "an open upload", func() bool {
		select {
		case <-p.done:
			t.Fatalf("it ended before: %s", p.wait(t))
		default:
		}
		return srv.Uploads() > 0
	})
	_ = p.Process.Kill()
	if r := p.wait(t); r.code != 137 {
		t.Fatalf("%s", r)
	}
	if srv.Uploads() == 0 {
		t.Fatal("no upload is open: nothing is shown")
	}
}

// TestCrashWhileUploadingToS3 holds that no multipart upload of a dead owner stays open, that a training's model is
// uploaded after all, and that a transform's half-written output never appears (ruling 28).
func TestCrashWhileUploadingToS3(t *testing.T) {
	sameHost(t)
	srv, env := store(t)
	srv.MakeBucket("out")
	srv.Put("data", "train/a.csv", []byte("1\n"))

	name := jobName("s3")
	d := training(name, "model_mb", "200", "model_files", "4")
	d["InputDataConfig"] = []doc{channel("train", "s3://data/train/")}
	killWhileUploading(t, srv, env, "train", "--quiet", d.file(t))
	if r := begin(t, env, "prune").wait(t); r.code != 0 {
		t.Errorf("%s", r)
	}
	if n := srv.Uploads(); n != 0 {
		t.Errorf("%d uploads are open", n)
	}
	b, _, _ := srv.Get("out", "training/"+name+"/output/model.tar.gz")
	if f := unpack(t, b); len(f) != 6 || len(f["weights-0003.bin"]) != 50e6 {
		t.Errorf("model.tar.gz holds %d files", len(f))
	}
	if s := record(t, name); s.Status != "Completed" { // its owner had seen it end
		t.Errorf("%s: %s, %s", s.Status, s.FailureReason, s.Detail)
	}

	row := strings.Repeat("x", 999) + "\n"
	srv.Put("data", "batch/big.csv", bytes.Repeat([]byte(row), 40_000))
	name = jobName("s3")
	m := modelDoc("", "TINY_INVOKE_DELAY", "20ms")
	killWhileUploading(t, srv, env, "transform", "--quiet", "--model-doc", m.file(t), transforming(name, "s3://data/batch/").file(t))
	if r := begin(t, env, "prune").wait(t); r.code != 0 {
		t.Errorf("%s", r)
	}
	if n := srv.Uploads(); n != 0 {
		t.Errorf("%d uploads are open", n)
	}
	for _, k := range srv.Keys("out") {
		if strings.HasPrefix(k, "transform/") {
			t.Errorf("there is %s", k)
		}
	}
	if s := record(t, name); s.Status != "Failed" {
		t.Errorf("%s: %s, %s", s.Status, s.FailureReason, s.Detail)
	}
}

// TestS3 carries a training and a transform of its model through S3, by the standard environment of AWS (D6).
func TestS3(t *testing.T) {
	sameHost(t)
	srv, env := store(t)
	srv.MakeBucket("out")
	for i := range 30 {
		srv.Put("data", fmt.Sprintf("batch/%02d.csv", i), fmt.Appendf(nil, "row %d\n", i))
	}
	name := jobName("s3")
	d := training(name, "channels", "sha256")
	d["InputDataConfig"] = []doc{channel("train", "s3://data/batch/")}
	if r := begin(t, env, "train", "--quiet", d.file(t)).wait(t); r.code != 0 {
		t.Fatal(r)
	}
	b, _, _ := srv.Get("out", "training/"+name+"/output/model.tar.gz")
	got := decode[map[string]struct{ Files []struct{ Path string } }](t, unpack(t, b)["channels.json"])
	if len(got["train"].Files) != 30 {
		t.Errorf("the channel had %+v", got)
	}
	other := jobName("s3")
	m := modelDoc("s3://out/training/"+name+"/output/model.tar.gz", "TINY_INVOKE", "upper", "TINY_REQUIRE_MODEL", "model.txt")
	if r := begin(t, env, "transform", "--quiet", "--model-doc", m.file(t), transforming(other, "s3://data/batch/").file(t)).wait(t); r.code != 0 {
		t.Fatal(r)
	}
	for i := range 30 {
		b, _, _ := srv.Get("out", fmt.Sprintf("transform/%s/%02d.csv.out", other, i))
		if want := fmt.Sprintf("ROW %d\n\n", i); string(b) != want {
			t.Errorf("output %d is %q, want %q", i, b, want)
		}
	}
	if n := srv.Uploads(); n != 0 {
		t.Errorf("%d uploads are open", n)
	}
}
