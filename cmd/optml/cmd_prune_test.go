package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/optml/optml/job"
	"github.com/optml/optml/ledger"
	"github.com/optml/optml/runtime/container"
	"github.com/optml/optml/runtime/ctrd"
)

type fakeImages struct {
	images  []container.Image
	removed []string
}

func (f *fakeImages) List(context.Context) ([]container.Image, error) { return f.images, nil }
func (f *fakeImages) Remove(_ context.Context, ref string) error {
	f.removed = append(f.removed, ref)
	return nil
}

// Images that a job on record names, by whatever name, stay; the others go.
func TestPruneImages(t *testing.T) {
	jobs := t.TempDir()
	in := func(refs ...string) []job.Instance {
		var c []job.Container
		for i, r := range refs {
			c = append(c, job.Container{Name: string(rune('a' + i)), Image: job.Image{Ref: r}})
		}
		return []job.Instance{{Host: "algo-1", Containers: c}}
	}
	plans := []*job.Plan{
		{Format: 1, Kind: job.KindTraining, Name: "t", Training: &job.Training{Instances: in("short")}},
		{Format: 1, Kind: job.KindTransform, Name: "b", Transform: &job.Transform{Instances: in("first.test/a:1", "second.test/b:1")}},
		{Format: 1, Kind: job.KindValidation, Name: "v", Validation: &job.Validation{
			Training:  &job.Plan{Kind: job.KindTraining, Training: &job.Training{Instances: in("trained.test/a:1")}},
			Transform: &job.Plan{Kind: job.KindTransform, Transform: &job.Transform{Instances: in("served.test/a:1")}},
		}},
	}
	for _, p := range plans {
		o, err := ledger.Create(jobs, ledger.Request{Plan: p})
		if err != nil {
			t.Fatal(err)
		}
		if p.Training != nil {
			if err := o.Append(ledger.ImageResolved{Container: "a", Ref: "short", Digest: "sha256:resolved"}); err != nil {
				t.Fatal(err)
			}
		}
		o.Close()
	}
	store := &fakeImages{images: []container.Image{
		{Ref: "short:latest"}, {Ref: "first.test/a:1"}, {Ref: "second.test/b:1"}, {Ref: "trained.test/a:1"}, {Ref: "served.test/a:1"},
		{Ref: "other.test/name:1", Digest: "sha256:resolved"}, // the same image by another name
		{Ref: "second.test/b:2", Size: 1 << 20}, {Ref: "long:latest", Size: 1 << 20},
	}}
	var said bytes.Buffer
	if err := pruneImages(t.Context(), jobs, store, &said); err != nil {
		t.Fatal(err)
	}
	if want := []string{"second.test/b:2", "long:latest"}; !slices.Equal(store.removed, want) {
		t.Errorf("removed %v, want %v", store.removed, want)
	}
	if !strings.Contains(said.String(), "removed 2 images that no job on record names (2.0 MiB)") {
		t.Error(said.String())
	}
	// A record that cannot be read may name any of them.
	store.removed = nil
	events := filepath.Join(jobs, "training", "t", "plan.json")
	if err := os.WriteFile(events, []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := pruneImages(t.Context(), jobs, store, &said); err == nil || len(store.removed) > 0 {
		t.Errorf("removed %v, %v", store.removed, err)
	}
}

// Only programs of ours that this binary does not carry go.
func TestPruneHelpers(t *testing.T) {
	root := t.TempDir()
	bin := filepath.Join(root, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"shim-new", "shim-old", "logger-old", ".new-123", "notes", "shimmy"} {
		if err := os.WriteFile(filepath.Join(bin, name), nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cfg := ctrd.Config{Root: root, RunDir: t.TempDir(), Helpers: fstest.MapFS{"shim-new": {}, "logger-new": {}}}
	n, busy, err := ctrd.PruneHelpers(cfg)
	if err != nil || busy || n != 3 {
		t.Errorf("%d removed, busy %v, %v", n, busy, err)
	}
	left, err := os.ReadDir(bin)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range left {
		names = append(names, e.Name())
	}
	if want := []string{"notes", "shim-new", "shimmy"}; !slices.Equal(names, want) {
		t.Errorf("left %v, want %v", names, want)
	}
}

func TestInvoker(t *testing.T) {
	for _, c := range []struct {
		euid     int
		uid, gid string
		want     [2]int
	}{
		{0, "1000", "1001", [2]int{1000, 1001}},
		{0, "", "", [2]int{0, 0}},
		{0, "1000", "", [2]int{0, 0}},
		{0, "-1", "5", [2]int{0, 0}},
		{0, "x", "5", [2]int{0, 0}},
		{0, "99999999999", "5", [2]int{0, 0}},
		{1000, "1", "1", [2]int{0, 0}},
	} {
		uid, gid := invoker(c.euid, func(k string) string { return map[string]string{"SUDO_UID": c.uid, "SUDO_GID": c.gid}[k] })
		if got := [2]int{uid, gid}; got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}
