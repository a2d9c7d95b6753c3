//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/optml/optml/objstore"
	"github.com/optml/optml/objstore/storetest"
)

const (
	gatewayKey    = "AKIAIOSFODNN7EXAMPLE"
	gatewaySecret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
)

// gatewayProgram builds the S3 server that hack/versitygw pins, a module of its own.
var gatewayProgram = sync.OnceValues(func() (string, error) {
	path, err := filepath.Abs("../../build/versitygw")
	if err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-C", "../../hack/versitygw", "-o", path, "github.com/versity/versitygw/cmd/versitygw")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build versitygw: %w\n%s", err, out)
	}
	return path, nil
})

// gateway is a real S3 server, which checks signatures. Its buckets are directories below dir.
func gateway(t *testing.T) (dir string, env []string) {
	t.Helper()
	program, err := gatewayProgram()
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	cmd := exec.Command(program, "--port", addr, "--quiet", "--keep-alive", "posix", dir)
	cmd.Env = []string{"ROOT_ACCESS_KEY=" + gatewayKey, "ROOT_SECRET_KEY=" + gatewaySecret, "PATH=" + w.path, "HOME=" + w.tmp}
	cmd.Dir = t.TempDir()
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("versitygw said:\n%.4000s", said.String())
		}
	})
	eventually(t, "versitygw to listen", func() bool {
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return dir, []string{"OPTML_S3_DIR=", "AWS_ENDPOINT_URL_S3=http://" + addr, "AWS_ACCESS_KEY_ID=" + gatewayKey,
		"AWS_SECRET_ACCESS_KEY=" + gatewaySecret, "AWS_REGION=us-east-1"}
}

// versitygwSite holds the same objects as the others: there is no odd key that its files could not have.
func versitygwSite(t *testing.T) *site {
	dir, env := gateway(t)
	for _, k := range env {
		name, value, _ := strings.Cut(k, "=")
		t.Setenv(name, value)
	}
	for _, b := range []string{"matrix", "out"} {
		if err := os.Mkdir(filepath.Join(dir, b), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	opener, err := objstore.NewOpener(objstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return &site{name: "versitygw", env: env,
		put: func(t *testing.T, bucket, key string, data []byte) {
			t.Helper()
			s, _, err := opener.Open(context.Background(), "s3://"+bucket+"/")
			if err != nil {
				t.Fatal(err)
			}
			storetest.Put(t, s, key, data)
			if kept := read(filepath.Join(dir, bucket, filepath.FromSlash(key))); !bytes.Equal(kept, data) {
				t.Fatalf("%q: the server keeps %d bytes of %d", key, len(kept), len(data))
			}
		},
		get: func(_ *testing.T, bucket, key string) []byte {
			return read(filepath.Join(dir, bucket, filepath.FromSlash(key)))
		},
	}
}

// TestSignaturesAreChecked shows that the server of the matrix is not one that takes everything: with a wrong secret key
// the job fails, in the service's words (END-2), and no container starts.
func TestSignaturesAreChecked(t *testing.T) {
	if !full {
		t.Skip("builds an S3 server: OPTML_FULL=1 runs it")
	}
	sameHost(t)
	dir, env := gateway(t)
	for _, k := range []string{"matrix/a", "out/x"} {
		path := filepath.Join(dir, k)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("a"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, mode := range []string{"File", "Pipe", "FastFile"} {
		c := channel("train", "s3://matrix/")
		c["InputMode"] = mode
		name := jobName("signed")
		d := training(name, "channels", "sha256")
		d["InputDataConfig"] = []doc{c}
		if r := begin(t, env, "train", "--quiet", d.file(t)).wait(t); r.code != 0 {
			t.Errorf("with the right key: %s", r)
		}
		r := begin(t, append(env, "AWS_SECRET_ACCESS_KEY=wrong"), "train", "--quiet", "--name", name+"-wrong", d.file(t)).wait(t)
		if r.code != 4 || !strings.Contains(r.stderr, `No S3 objects found under S3 URL "s3://matrix/" given in input data source.`) || !strings.Contains(r.stderr, " Error message from S3: ") ||
			!strings.Contains(r.stderr, "signature") {
			t.Errorf("%s", r)
		}
		if s := record(t, name+"-wrong"); s.Status != "Failed" || len(s.Containers) > 0 {
			t.Errorf("%s, %d containers", s.Status, len(s.Containers))
		}
	}
}
