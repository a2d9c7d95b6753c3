package ctrd

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/google/go-cmp/cmp"
	digest "github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// noMounts is a containerd that is asked for a file system and has none.
type noMounts struct{ snapshots.Snapshotter }

var errAsked = errors.New("asked for the image's file system")

func (noMounts) SnapshotService(string) snapshots.Snapshotter { return noMounts{} }
func (noMounts) Mounts(context.Context, string) ([]mount.Mount, error) {
	return nil, errAsked
}

// TestWithImage: what of an image's configuration becomes the process', and that its user is looked up in its file
// system once.
func TestWithImage(t *testing.T) {
	c := &Client{cfg: Config{RunDir: t.TempDir(), Log: slog.New(slog.DiscardHandler)}}
	apply := func(conf ocispec.ImageConfig, layer string) (*specs.Process, error) {
		f := imageFacts{config: ocispec.Image{Config: conf, RootFS: ocispec.RootFS{DiffIDs: []digest.Digest{digest.FromString(layer)}}}}
		s := &oci.Spec{Process: &specs.Process{}, Linux: &specs.Linux{}, Root: &specs.Root{}}
		err := c.withImage(f)(t.Context(), noMounts{}, &containers.Container{Snapshotter: "overlayfs", SnapshotKey: "x"}, s)
		return s.Process, err
	}
	p, err := apply(ocispec.ImageConfig{Env: []string{"A=b"}, WorkingDir: "/w", User: "12:34"}, "l")
	if !errors.Is(err, errAsked) {
		t.Fatalf("the groups of a user that was never looked up: %v", err)
	}
	if diff := cmp.Diff(&specs.Process{Env: []string{"A=b"}, Cwd: "/w", User: p.User}, p); diff != "" {
		t.Error(diff)
	}
	if found, _ := filepath.Glob(filepath.Join(c.cfg.RunDir, "users", "*")); len(found) > 0 {
		t.Errorf("a failed look-up is kept: %v", found)
	}

	known := imageFacts{config: ocispec.Image{RootFS: ocispec.RootFS{DiffIDs: []digest.Digest{digest.FromString("l")}}}}
	if err := os.MkdirAll(filepath.Dir(c.userFile(known)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(c.userFile(known), []byte(`{"uid":0,"gid":0,"additionalGids":[0,10]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err = apply(ocispec.ImageConfig{}, "l")
	want := &specs.Process{Env: []string{"PATH=" + defaultPath}, Cwd: "/", User: specs.User{AdditionalGids: []uint32{0, 10}}}
	if diff := cmp.Diff(want, p); err != nil || diff != "" {
		t.Error(err, diff)
	}
	if _, err := apply(ocispec.ImageConfig{}, "another layer"); !errors.Is(err, errAsked) {
		t.Errorf("another image takes this one's user: %v", err)
	}
	if _, err := apply(ocispec.ImageConfig{User: "7"}, "l"); !errors.Is(err, errAsked) {
		t.Errorf("another user takes this one's groups: %v", err)
	}
}
