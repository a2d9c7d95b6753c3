package ctrd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	digest "github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/optml/optml/test/images"
)

// blobStore is content in memory.
type blobStore map[digest.Digest][]byte

type blob struct{ *bytes.Reader }

func (blob) Close() error { return nil }

func (s blobStore) ReaderAt(_ context.Context, d ocispec.Descriptor) (content.ReaderAt, error) {
	b, ok := s[d.Digest]
	if !ok {
		return nil, fmt.Errorf("%s: %w", d.Digest, errdefs.ErrNotFound)
	}
	return blob{bytes.NewReader(b)}, nil
}

func (s blobStore) add(t *testing.T, kind string, v any) ocispec.Descriptor {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	d := digest.FromBytes(raw)
	s[d] = raw
	return ocispec.Descriptor{MediaType: kind, Digest: d, Size: int64(len(raw))}
}

// image adds a manifest without layers whose config is for the architecture.
func (s blobStore) image(t *testing.T, arch string) ocispec.Descriptor {
	t.Helper()
	config := s.add(t, ocispec.MediaTypeImageConfig, ocispec.Image{Platform: ocispec.Platform{OS: "linux", Architecture: arch}})
	return s.add(t, ocispec.MediaTypeImageManifest, ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Config: config})
}

func on(d ocispec.Descriptor, arch string) ocispec.Descriptor {
	d.Platform = &ocispec.Platform{OS: "linux", Architecture: arch}
	if arch == "unknown" {
		d.Platform.OS = "unknown"
	}
	return d
}

func named(d ocispec.Descriptor, name string) ocispec.Descriptor {
	d.Annotations = map[string]string{ocispec.AnnotationRefName: name}
	return d
}

func (s blobStore) index(t *testing.T, all ...ocispec.Descriptor) ocispec.Descriptor {
	t.Helper()
	return s.add(t, ocispec.MediaTypeImageIndex, ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: all})
}

func TestManifestForThisMachine(t *testing.T) {
	s := blobStore{}
	here, foreign := s.image(t, runtime.GOARCH), s.image(t, "s390x")
	attestation := s.image(t, "unknown")
	nested := s.index(t, on(here, runtime.GOARCH), on(foreign, "s390x"))
	deep := here
	for range 6 {
		deep = s.index(t, deep)
	}
	for _, c := range []struct {
		what   string
		target ocispec.Descriptor
		want   digest.Digest
		err    string
	}{
		{"a manifest", here, here.Digest, ""},
		{"an index", s.index(t, on(foreign, "s390x"), on(here, runtime.GOARCH), on(attestation, "unknown")), here.Digest, ""},
		{"an index of indexes", s.index(t, nested), here.Digest, ""},
		{"a manifest without a platform in the index", s.index(t, on(foreign, "s390x"), here), here.Digest, ""},
		{"nothing for us", s.index(t, on(foreign, "s390x"), on(attestation, "unknown")), "", "the image is for linux/s390x, this machine is linux/" + runtime.GOARCH},
		{"attestations only", s.index(t, on(attestation, "unknown")), "", "no platform at all"},
		{"too deep", deep, "", "nested too deep"},
		{"missing", ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("x"), Size: 1}, "", "is missing"},
		{"too large", ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: here.Digest, Size: 1 << 40}, "", "the limit is"},
		{"not an image", s.add(t, "application/vnd.cncf.helm.config.v1+json", 1), "", "not an image"},
	} {
		_, got, err := manifestFor(t.Context(), s, ownPlatform(t), c.target)
		if c.err == "" && (err != nil || got.Digest != c.want) {
			t.Errorf("%s: %s, %v", c.what, got.Digest, err)
		}
		if c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s: %v, wanted %q", c.what, err, c.err)
		}
	}
	if _, err := configFor(t.Context(), s, ownPlatform(t), s.add(t, ocispec.MediaTypeImageConfig, ocispec.Image{Platform: ocispec.Platform{OS: "windows", Architecture: runtime.GOARCH}})); err == nil {
		t.Error("a Windows image passes")
	}
}

func TestChooseImages(t *testing.T) {
	s := blobStore{}
	here, other, foreign := s.image(t, runtime.GOARCH), s.index(t, on(s.image(t, runtime.GOARCH), runtime.GOARCH)), s.image(t, "s390x")
	referrer := s.image(t, "unknown")
	referrer.Annotations = map[string]string{"io.containerd.manifest.subject": here.Digest.String()}
	full := here
	full.Annotations = map[string]string{"io.containerd.image.name": "docker.io/team/a:9", ocispec.AnnotationRefName: "9"}
	for _, c := range []struct {
		what string
		all  []ocispec.Descriptor
		name string
		want string
		err  string
	}{
		{"one", []ocispec.Descriptor{named(here, "a:1")}, "", "docker.io/library/a:1", ""},
		{"full name before tag", []ocispec.Descriptor{full}, "", "docker.io/team/a:9", ""},
		{"a referrer is not an image", []ocispec.Descriptor{named(here, "a:1"), referrer}, "", "docker.io/library/a:1", ""},
		{"one image for several platforms", []ocispec.Descriptor{on(foreign, "s390x"), on(here, runtime.GOARCH)}, "g:1", "g:1", ""},
		{"two names, one image, a name given", []ocispec.Descriptor{named(here, "a:1"), named(here, "a:2")}, "g:1", "g:1", ""},
		{"two images, a name given", []ocispec.Descriptor{named(here, "a:1"), named(other, "b:1")}, "g:1", "", "one only"},
		{"one name twice over", []ocispec.Descriptor{named(here, "team/a:1"), named(here, "docker.io/team/a:1")}, "", "docker.io/team/a:1", ""},
		{"no name", []ocispec.Descriptor{here}, "", "", "no name: give one (--name)"},
		{"a bare tag", []ocispec.Descriptor{named(here, "v1")}, "", "", `"v1" only`},
		{"a bad name", []ocispec.Descriptor{named(here, "team/UPPER:1")}, "", "", "give another (--name)"},
		{"foreign", []ocispec.Descriptor{on(named(foreign, "a:1"), "s390x")}, "", "", "linux/s390x"},
		{"nothing", nil, "", "", "holds no image"},
		{"no image", []ocispec.Descriptor{s.add(t, "text/plain", "x")}, "", "", "holds no image"},
	} {
		got, err := chooseImages(t.Context(), s, ownPlatform(t), s.index(t, c.all...), c.name)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v, wanted %q", c.what, err, c.err)
			}
			continue
		}
		if err != nil || len(got) != 1 || got[0].Name != c.want || got[0].Target.Digest != here.Digest {
			t.Errorf("%s: %+v, %v", c.what, got, err)
		}
	}
}

func TestBlobDigest(t *testing.T) {
	hex := strings.Repeat("a", 64)
	for ref, want := range map[string]digest.Digest{
		"tar-blobs/sha256/" + hex: digest.Digest("sha256:" + hex), "tar-blobs/sha256/short": "", "tar-index.json": "", "tar-blobs/sha256": "", "tar-blobs/none/" + hex: "",
	} {
		if got := blobDigest(ref); got != want {
			t.Errorf("%s: %q", ref, got)
		}
	}
}

// A layout's directory is read as an archive: whole, in itself, and without what is not a file.
func TestTarOfLayout(t *testing.T) {
	img, err := images.Build(images.Options{})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := images.WriteLayout(dir, images.Named{Ref: "a:1", Image: img}); err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(secret, filepath.Join(dir, "blobs/sha256", strings.Repeat("0", 64))); err != nil {
		t.Fatal(err)
	}
	r, err := tarOf(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	raw, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(raw, []byte("hunter2")) {
		t.Error("a link out of the layout was followed")
	}
	var names []string
	for _, want := range []string{"oci-layout", "index.json"} {
		if bytes.Contains(raw, []byte(want)) {
			names = append(names, want)
		}
	}
	if !slices.Equal(names, []string{"oci-layout", "index.json"}) {
		t.Errorf("only %v", names)
	}
}

func TestDecompressedPassesErrorsOn(t *testing.T) {
	broken := errors.New("pipe broke")
	if _, err := decompressed(io.MultiReader(readFails{broken})); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
	if _, err := decompressed(strings.NewReader("")); err == nil || !strings.Contains(err.Error(), "empty") {
		t.Errorf("%v", err)
	}
	r, err := decompressed(strings.NewReader("ab")) // shorter than any magic
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(r); err != nil || string(b) != "ab" {
		t.Errorf("%q, %v", b, err)
	}
}

type readFails struct{ err error }

func (r readFails) Read([]byte) (int, error) { return 0, r.err }

func ownPlatform(t *testing.T) choice {
	t.Helper()
	c, err := choosePlatform("")
	if err != nil {
		t.Fatal(err)
	}
	return c
}
