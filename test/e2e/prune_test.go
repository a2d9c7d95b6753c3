//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/optml/optml/runtime/ctrd"
	"github.com/optml/optml/test/images"
)

// TestPruneUnusedImages: images that no job on record names go when asked, with what they take up; the others stay. It has
// a root of its own, whose daemon leaves with it.
func TestPruneUnusedImages(t *testing.T) {
	if w.address != "" {
		t.Skip("the images of a given containerd are not ours to prune")
	}
	root, run := filepath.Join(t.TempDir(), "root"), fmt.Sprintf("/run/optml-p%d", os.Getpid())
	t.Cleanup(func() {
		if err := ctrd.StopDaemon(context.Background(), ctrd.Config{Root: root, RunDir: run, Executable: w.binary}); err != nil {
			t.Error(err)
		}
		os.RemoveAll(run)
	})
	here := []string{"OPTML_ROOT=" + root, "OPTML_RUN_DIR=" + run}
	img, err := images.Build(images.Options{})
	if err != nil {
		t.Fatal(err)
	}
	other, err := images.Build(images.Options{Env: []string{"OTHER=1"}})
	if err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	if err := images.WriteOCI(&archive, images.Named{Ref: tiny, Image: img}, images.Named{Ref: "optml.test/unused:1", Image: other}); err != nil {
		t.Fatal(err)
	}
	p := command(t.Context(), here, "images", "import", "-")
	p.Stdin = &archive
	if out, err := p.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if r := begin(t, here, "train", training("uses").file(t), "--quiet").wait(t); r.code != 0 {
		t.Fatal(r)
	}
	r := begin(t, here, "prune", "--unused-images").wait(t)
	if r.code != 0 || !strings.Contains(r.stderr, "removed 1 image that no job on record names") {
		t.Error(r)
	}
	ls := begin(t, here, "images", "ls").wait(t)
	if !strings.Contains(ls.stdout, tiny) || strings.Contains(ls.stdout, "unused") {
		t.Error(ls)
	}
	r = begin(t, here, "prune", "--all-finished", "--unused-images").wait(t)
	if r.code != 0 || !strings.Contains(r.stderr, "removed 1 finished job") || !strings.Contains(r.stderr, "removed 1 image ") {
		t.Error(r)
	}
	if blobs, err := filepath.Glob(filepath.Join(root, "containerd/io.containerd.content.v1.content/blobs/sha256/*")); err != nil || len(blobs) > 0 {
		t.Errorf("content is left: %v, %v", blobs, err)
	}
}
