//go:build e2e

package ctrd

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/optml/optml/runtime/container"
	"github.com/optml/optml/test/images"
)

// noDocker hides the credentials of whoever runs the tests.
func noDocker(t *testing.T) { t.Setenv("DOCKER_CONFIG", t.TempDir()) }

func TestPull(t *testing.T) {
	noDocker(t)
	for _, o := range []images.Options{{}, {Zstd: true}, {Docker: true}} {
		unchanged(t)
		s := images.Registry(t, images.RegistryOptions{})
		img := distinct(t, o)
		tag, byDigest := s.Push(t, img, "team/tiny:1")
		for _, ref := range []string{tag, byDigest} {
			p := new(PullProgress)
			got, err := client_.Ensure(WithProgress(t.Context(), p), ref, container.PullMissing)
			if err != nil {
				t.Fatal(err)
			}
			if h, err := img.Digest(); err != nil || got.Digest != h.String() {
				t.Errorf("START-6 %s: digest %s", ref, got.Digest)
			}
			if ref == tag {
				if p.Total.Load() < 1_000_000 || p.Done.Load() != p.Total.Load() || p.Layers.Load() != 1 || p.LayersDone.Load() != 1 {
					t.Errorf("progress %d of %d bytes, %d of %d layers", p.Done.Load(), p.Total.Load(), p.LayersDone.Load(), p.Layers.Load())
				}
				runsTrain(t, got.Ref)
			} else if p.Total.Load() != 0 {
				t.Error("a digest that is here was pulled again")
			}
		}
		before := len(s.Requests())
		if _, err := client_.Ensure(t.Context(), tag, container.PullMissing); err != nil {
			t.Error(err)
		}
		if n := len(s.Requests()); n != before {
			t.Errorf("%d requests for an image that is here", n-before)
		}
		if err := client_.Remove(t.Context(), tag); err != nil {
			t.Fatal(err)
		}
		got, err := client_.Ensure(t.Context(), byDigest, container.PullMissing)
		if err != nil {
			t.Fatal(err)
		}
		if got.Ref != byDigest {
			t.Errorf("by digest it is called %s", got.Ref)
		}
		if err := client_.Remove(t.Context(), byDigest); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPullAlwaysSeesANewTag(t *testing.T) {
	noDocker(t)
	unchanged(t)
	s := images.Registry(t, images.RegistryOptions{})
	first, second := distinct(t, images.Options{}), distinct(t, images.Options{Cmd: []string{"second"}})
	tag, _ := s.Push(t, first, "t:1")
	// How long the pull and the unpacking took is told; of what is here there is nothing to tell.
	if pulled, err := client_.Ensure(t.Context(), tag, container.PullAlways); err != nil || pulled.Pulled <= 0 || pulled.Unpacked <= 0 {
		t.Fatalf("%v, %v, %v", pulled.Pulled, pulled.Unpacked, err)
	}
	remove(t, tag)
	s.Push(t, second, "t:1")
	old, err := client_.Ensure(t.Context(), tag, container.PullMissing)
	if err != nil || len(old.Cmd) != 0 || old.Pulled != 0 || old.Unpacked != 0 {
		t.Errorf("missing: %v, %v, %v, %v", old.Cmd, old.Pulled, old.Unpacked, err)
	}
	fresh, err := client_.Ensure(t.Context(), tag, container.PullAlways)
	if err != nil || len(fresh.Cmd) != 1 {
		t.Errorf("always: %v, %v", fresh.Cmd, err)
	}
}

func TestPullWithCredentials(t *testing.T) {
	for _, o := range []images.RegistryOptions{{User: "AWS", Password: "a-token"}, {User: "u", Password: "p", Token: true}} {
		unchanged(t)
		s := images.Registry(t, o)
		tag, _ := s.Push(t, distinct(t, images.Options{}), "private/tiny:1")
		noDocker(t)
		_, err := client_.Ensure(t.Context(), tag, container.PullMissing)
		wantKind(t, err, container.ImageDenied)
		auth := base64.StdEncoding.EncodeToString([]byte(o.User + ":wrong-secret"))
		dockerHome(t, fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, s.Host, auth))
		_, err = client_.Ensure(t.Context(), tag, container.PullMissing)
		wantKind(t, err, container.ImageDenied)
		if strings.Contains(err.Error(), "wrong-secret") || strings.Contains(err.Error(), auth) {
			t.Errorf("the error holds the secret: %v", err)
		}
		dockerHome(t, fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, s.Host, base64.StdEncoding.EncodeToString([]byte(o.User+":"+o.Password))))
		if _, err := client_.Ensure(t.Context(), tag, container.PullMissing); err != nil {
			t.Fatal(err)
		}
		if err := client_.Remove(t.Context(), tag); err != nil {
			t.Fatal(err)
		}
		dockerHome(t, fmt.Sprintf(`{"credHelpers":{%q:"test"}}`, s.Host))
		helperProgram(t, "test", fmt.Sprintf(`echo '{"Username":%q,"Secret":%q}'`, o.User, o.Password))
		if _, err := client_.Ensure(t.Context(), tag, container.PullMissing); err != nil {
			t.Fatal(err)
		}
		if err := client_.Remove(t.Context(), tag); err != nil {
			t.Fatal(err)
		}
		dockerHome(t, fmt.Sprintf(`{"credHelpers":{%q:"broken"}}`, s.Host))
		helperProgram(t, "broken", `exit 4`)
		_, err = client_.Ensure(t.Context(), tag, container.PullMissing)
		wantKind(t, err, container.ImageDenied, "docker-credential-broken", "exit status 4")
	}
}

// An ECR name is pulled from a mirror that hosts.toml names, as on a host without internet.
func TestPullFromMirror(t *testing.T) {
	unchanged(t)
	s := images.Registry(t, images.RegistryOptions{User: "AWS", Password: "tok"})
	s.Push(t, distinct(t, images.Options{}), "decision-trees:latest")
	const registry = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, registry), 0o755); err != nil {
		t.Fatal(err)
	}
	hosts := fmt.Sprintf("server = \"https://%s\"\n[host.\"http://%s\"]\n  capabilities = [\"pull\", \"resolve\"]\n", registry, s.Host)
	if err := os.WriteFile(filepath.Join(dir, registry, "hosts.toml"), []byte(hosts), 0o644); err != nil {
		t.Fatal(err)
	}
	store := client_.Images(Registries{HostsDir: dir, Credentials: func(_ context.Context, of, host string) (string, string, error) {
		if host != s.Host || of != registry {
			return "", "", fmt.Errorf("asked for %s of %s", host, of)
		}
		return "AWS", "tok", nil
	}})
	ref := registry + "/decision-trees:latest"
	got, err := store.Ensure(t.Context(), ref, container.PullMissing)
	if err != nil {
		t.Fatal(err)
	}
	remove(t, ref)
	if got.Ref != ref {
		t.Errorf("it is called %s", got.Ref)
	}
	for _, r := range s.Requests() {
		if r.Authorized && !strings.Contains(r.Query, "ns="+registry) {
			t.Errorf("request without its registry: %+v", r)
		}
	}
}

func TestPullFails(t *testing.T) {
	noDocker(t)
	s := images.Registry(t, images.RegistryOptions{})
	tag, byDigest := s.Push(t, distinct(t, images.Options{}), "t:1")
	other, _ := s.Push(t, distinct(t, images.Options{ConfigArch: "s390x", PadMB: 3}), "s390x:1")
	corrupt, _ := s.Push(t, distinct(t, images.Options{Cmd: []string{"x"}}), "c:1")
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for _, c := range []struct {
		what, ref string
		pull      container.Pull
		fault     images.Fault
		kind      container.ImageErrorKind
		text      string
	}{
		{"no such tag", s.Host + "/t:2", "", nil, container.ImageNotFound, ""},
		{"no such repository", s.Host + "/nothing:1", "", nil, container.ImageNotFound, ""},
		{"no such digest", byDigest[:len(byDigest)-4] + "0000", "", nil, container.ImageNotFound, ""},
		{"never", tag, container.PullNever, nil, container.ImageNotFound, "pulling is off"},
		{"denied", tag, "", images.Deny, container.ImageDenied, "403"},
		{"nobody listens", closed.Addr().String() + "/t:1", "", nil, container.ImageUnreachable, "connection refused"},
		{"altered layer", corrupt, "", images.FlipBlobs, container.ImageDigest, "digest"},
		{"other architecture", other, "", nil, container.ImagePlatform, "linux/s390x"},
		{"registry is broken", tag, "", images.FailFirst(1000, http.StatusBadGateway), container.ImageBroken, "502"},
		{"wrong word", tag, "sometimes", nil, container.ImageNotFound, "always, missing or never"},
	} {
		t.Run(c.what, func(t *testing.T) {
			unchanged(t)
			s.SetFault(c.fault)
			before := len(s.Requests())
			_, err := client_.Ensure(t.Context(), c.ref, c.pull)
			wantKind(t, err, c.kind, c.text)
			if n := len(s.Requests()) - before; n > 40 {
				t.Errorf("%d requests", n)
			}
		})
	}
	// An image for another machine costs its manifest and config, not its layers.
	for _, r := range s.Requests() {
		if strings.HasPrefix(r.Path, "/v2/s390x/blobs/") && r.Method == http.MethodGet {
			if n := countBlobs(s, "s390x"); n != 1 {
				t.Errorf("%d blobs of a foreign image were fetched", n)
			}
			break
		}
	}
}

func countBlobs(s *images.Server, repository string) int {
	n := 0
	for _, r := range s.Requests() {
		if r.Method == http.MethodGet && strings.HasPrefix(r.Path, "/v2/"+repository+"/blobs/") {
			n++
		}
	}
	return n
}

// Faults that pass do not fail a pull.
func TestPullOutlivesFaults(t *testing.T) {
	noDocker(t)
	for what, fault := range map[string]images.Fault{
		"503 at first": images.FailFirst(3, http.StatusServiceUnavailable),
		"429 at first": images.FailFirst(3, http.StatusTooManyRequests),
		"cut layers":   images.TruncateFirst(2),
	} {
		t.Run(what, func(t *testing.T) {
			unchanged(t)
			s := images.Registry(t, images.RegistryOptions{})
			tag, _ := s.Push(t, distinct(t, images.Options{PadMB: 2}), "t:1")
			s.SetFault(fault)
			p := new(PullProgress)
			if _, err := client_.Ensure(WithProgress(t.Context(), p), tag, container.PullMissing); err != nil {
				t.Fatal(err)
			}
			remove(t, tag)
			if p.Done.Load() != p.Total.Load() {
				t.Errorf("progress %d of %d", p.Done.Load(), p.Total.Load())
			}
		})
	}
}

// A pull that is given up ends soon, with the cause, and leaves nothing.
func TestPullCancelled(t *testing.T) {
	noDocker(t)
	unchanged(t)
	s := images.Registry(t, images.RegistryOptions{})
	tag, _ := s.Push(t, distinct(t, images.Options{PadMB: 2}), "t:1")
	s.SetFault(images.Slow(time.Minute))
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	begun := time.Now()
	_, err := client_.Ensure(ctx, tag, container.PullMissing)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	if d := time.Since(begun); d > 10*time.Second {
		t.Errorf("it took %s", d)
	}
}

func TestPullsAtTheSameTime(t *testing.T) {
	noDocker(t)
	unchanged(t)
	s := images.Registry(t, images.RegistryOptions{})
	tag, _ := s.Push(t, distinct(t, images.Options{PadMB: 3}), "t:1")
	errs := make(chan error, 3)
	for range cap(errs) {
		go func() {
			_, err := client_.Ensure(t.Context(), tag, container.PullMissing)
			errs <- err
		}()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	remove(t, tag)
}
