//go:build e2e

package ctrd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"github.com/optml/optml/runtime/container"
	"github.com/optml/optml/test/images"
)

func buildImage(t *testing.T, o images.Options) v1.Image {
	t.Helper()
	img, err := images.Build(o)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// distinct makes an image that no other test has, so that its layers are not in the store.
func distinct(t *testing.T, o images.Options) v1.Image {
	t.Helper()
	o.Files = append(o.Files, images.File{Name: "/etc/test", Data: []byte(t.Name())})
	return buildImage(t, o)
}

// store lists all that images leave in containerd: records, blobs, snapshots, leases, unfinished ingests.
func store(t *testing.T) []string {
	t.Helper()
	ctx := client_.ctx(context.WithoutCancel(t.Context()))
	var all []string
	list, err := client_.containerd().ImageService().List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range list {
		all = append(all, "image "+i.Name+" "+i.Target.Digest.String())
	}
	if err := client_.containerd().ContentStore().Walk(ctx, func(i content.Info) error {
		all = append(all, "blob "+i.Digest.String())
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := client_.containerd().SnapshotService(client_.snapshotter()).Walk(ctx, func(_ context.Context, i snapshots.Info) error {
		all = append(all, "snapshot "+i.Name)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	leases, err := client_.containerd().LeasesService().List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range leases {
		all = append(all, "lease "+l.ID)
	}
	ingests, err := client_.containerd().ContentStore().ListStatuses(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range ingests {
		all = append(all, "ingest "+i.Ref)
	}
	slices.Sort(all)
	return all
}

// unchanged checks at the end of a test that the store is what it was.
func unchanged(t *testing.T) {
	t.Helper()
	before := store(t)
	t.Cleanup(func() {
		if d := cmp.Diff(before, store(t)); d != "" {
			t.Errorf("the store has changed:\n%s", d)
		}
	})
}

// remove takes an image away when the test ends, before unchanged looks (cleanups run in reverse).
func remove(t *testing.T, ref string) {
	t.Cleanup(func() {
		if err := client_.Remove(context.WithoutCancel(t.Context()), ref); err != nil {
			t.Error(err)
		}
	})
}

func wantKind(t *testing.T, err error, kind container.ImageErrorKind, texts ...string) {
	t.Helper()
	e, ok := errors.AsType[*container.ImageError](err)
	if !ok {
		t.Fatalf("error is %T %v, wanted an ImageError", err, err)
	}
	if e.Kind != kind {
		t.Errorf("kind is %q, wanted %q: %v", e.Kind, kind, err)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("not in the error: %q\n%v", text, err)
		}
	}
}

// runsTrain runs the image and checks that it is tiny that ran.
func runsTrain(t *testing.T, ref string) {
	t.Helper()
	s := newSpec(t, "TINY_PRINT=it runs\n")
	s.Image = ref
	task := launch(t, s)
	if err := task.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e := wait(t, task); e.Code != 0 {
		t.Errorf("exit %d", e.Code)
	}
	if err := task.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if log := readLog(t, s); !strings.Contains(log, "it runs") {
		t.Errorf("log: %s", log)
	}
}

func TestImportEachFormat(t *testing.T) {
	type named = images.Named
	dir := t.TempDir()
	file := func(name string, write func(io.Writer) error) string {
		t.Helper()
		var b bytes.Buffer
		if err := write(&b); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	img := func(o images.Options) v1.Image { return distinct(t, o) }
	oci := func(w io.Writer) error {
		return images.WriteOCI(w, named{Ref: "team/oci:1", Image: img(images.Options{})})
	}
	layout := filepath.Join(dir, "layout")
	if err := images.WriteLayout(layout, named{Ref: "team/layout:1", Image: img(images.Options{})}); err != nil {
		t.Fatal(err)
	}
	ecr := "123456789012.dkr.ecr.us-east-1.amazonaws.com/decision-trees:latest"
	for _, c := range []struct{ what, path, name, ask, ref string }{
		{"OCI archive", file("oci.tar", oci), "", "team/oci:1", "docker.io/team/oci:1"},
		{"OCI archive, gzip", file("oci.tar.gz", func(w io.Writer) error {
			z := gzip.NewWriter(w)
			return errors.Join(oci(z), z.Close())
		}), "", "team/oci:1", "docker.io/team/oci:1"},
		{"OCI archive, zstd", file("oci.tar.zst", func(w io.Writer) error {
			z, err := zstd.NewWriter(w)
			return errors.Join(err, oci(z), z.Close())
		}), "", "team/oci:1", "docker.io/team/oci:1"},
		{"OCI archive with zstd layers", file("z.tar", func(w io.Writer) error {
			return images.WriteOCI(w, named{Ref: "z:1", Image: img(images.Options{Zstd: true})})
		}), "", "z:1", "docker.io/library/z:1"},
		{"OCI archive without a name", file("nameless.tar", func(w io.Writer) error {
			return images.WriteOCI(w, named{Image: img(images.Options{})})
		}), "local/given", "local/given:latest", "docker.io/local/given:latest"},
		{"OCI archive with a bare tag", file("tag.tar", func(w io.Writer) error {
			return images.WriteOCI(w, named{Ref: "latest", Image: img(images.Options{})})
		}), "local/given:2", "local/given:2", "docker.io/local/given:2"},
		{"a name in place of the archive's", file("oci2.tar", oci), "other:3", "other:3", "docker.io/library/other:3"},
		{"ECR name", file("ecr.tar", func(w io.Writer) error {
			return images.WriteOCI(w, named{Ref: ecr, Image: img(images.Options{})})
		}), "", ecr, ecr},
		{"Docker archive", file("docker.tar", func(w io.Writer) error {
			return images.WriteDocker(w, named{Ref: "team/docker:1", Image: img(images.Options{Docker: true})})
		}), "", "team/docker:1", "docker.io/team/docker:1"},
		{"OCI layout directory", layout, "", "team/layout:1", "docker.io/team/layout:1"},
	} {
		t.Run(c.what, func(t *testing.T) {
			unchanged(t)
			got, err := client_.ImportPath(t.Context(), c.path, c.name)
			if err != nil {
				t.Fatal(err)
			}
			remove(t, c.ask)
			if len(got) != 1 || got[0].Ref != c.ref {
				t.Fatalf("imported %+v, wanted %s", got, c.ref)
			}
			found, err := client_.Ensure(t.Context(), c.ask, container.PullNever)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(got[0], found); d != "" {
				t.Errorf("import and ensure differ:\n%s", d)
			}
			byDigest := strings.TrimSuffix(c.ask, c.ask[strings.LastIndex(c.ask, ":"):]) + "@" + found.Digest
			if i, err := client_.Ensure(t.Context(), byDigest, container.PullNever); err != nil || i.Ref != c.ref {
				t.Errorf("START-6 %s: %v, %v", byDigest, i.Ref, err)
			}
			runsTrain(t, found.Ref)
		})
	}
}

func TestImportDescribes(t *testing.T) {
	unchanged(t)
	o := images.Options{
		Entrypoint: []string{"/tiny"}, Cmd: []string{"train"}, User: "1000:1000", Env: []string{"A=b"}, WorkingDir: "/tmp",
		Labels: map[string]string{"com.amazonaws.sagemaker.capabilities.accept-bind-to-port": "true"}, StopSignal: "SIGINT",
	}
	var b bytes.Buffer
	img := distinct(t, o)
	if err := images.WriteOCI(&b, images.Named{Ref: "d:1", Image: img}); err != nil {
		t.Fatal(err)
	}
	got, err := client_.Import(t.Context(), &b, "")
	if err != nil {
		t.Fatal(err)
	}
	remove(t, "d:1")
	h, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	g := got[0]
	if g.Digest != h.String() || g.User != o.User || g.WorkingDir != o.WorkingDir || g.StopSignal != o.StopSignal || g.OS != "linux" ||
		!slices.Equal(g.Entrypoint, o.Entrypoint) || !slices.Equal(g.Cmd, o.Cmd) || !slices.Contains(g.Env, "A=b") || !maps.Equal(g.Labels, o.Labels) {
		t.Errorf("%+v", g)
	}
	if g.Size < 1_000_000 {
		t.Errorf("size %d", g.Size)
	}
}

func TestImportSeveral(t *testing.T) {
	unchanged(t)
	a, b := distinct(t, images.Options{}), distinct(t, images.Options{Cmd: []string{"x"}})
	archive := func() io.Reader {
		var buf bytes.Buffer
		if err := images.WriteOCI(&buf, images.Named{Ref: "b:1", Image: b}, images.Named{Ref: "a:1", Image: a}, images.Named{Ref: "a:2", Image: a}); err != nil {
			t.Fatal(err)
		}
		return &buf
	}
	_, err := client_.Import(t.Context(), archive(), "one:1")
	wantKind(t, err, container.ImageBroken, "3 images", "a name can be given to one only")
	got, err := client_.Import(t.Context(), archive(), "")
	if err != nil {
		t.Fatal(err)
	}
	var refs []string
	for _, i := range got {
		refs = append(refs, Familiar(i.Ref))
		remove(t, i.Ref)
	}
	if fmt.Sprint(refs) != "[a:1 a:2 b:1]" || got[0].Digest != got[1].Digest || got[1].Digest == got[2].Digest {
		t.Errorf("imported %v", refs)
	}
	listed, err := client_.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range got {
		if !slices.ContainsFunc(listed, func(i container.Image) bool {
			return i.Ref == want.Ref && i.Digest == want.Digest && i.Size == want.Size
		}) {
			t.Errorf("%s is not in the list", want.Ref)
		}
	}
}

func TestImportRefuses(t *testing.T) {
	archive := func(n ...images.Named) []byte {
		var b bytes.Buffer
		if err := images.WriteOCI(&b, n...); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	good := distinct(t, images.Options{})
	whole := archive(images.Named{Ref: "g:1", Image: good})
	var docker bytes.Buffer
	if err := images.WriteDocker(&docker, images.Named{Ref: "c:1", Image: distinct(t, images.Options{Docker: true, Corrupt: true})}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what, name string
		data       []byte
		kind       container.ImageErrorKind
		text       string
	}{
		{"corrupted layer", "", archive(images.Named{Ref: "c:1", Image: distinct(t, images.Options{Corrupt: true})}), container.ImageBroken, "holds bytes of digest"},
		{"corrupted layer, Docker", "", docker.Bytes(), container.ImageBroken, ""},
		{"no name", "", archive(images.Named{Image: good}), container.ImageBroken, "--name"},
		{"bare tag", "", archive(images.Named{Ref: "latest", Image: good}), container.ImageBroken, `"latest" only`},
		{"bad name", "Upper:1", whole, container.ImageNotFound, "lowercase"},
		{"name by digest", "a@sha256:" + strings.Repeat("a", 64), whole, container.ImageDigest, "by tag"},
		{"other architecture", "", archive(images.Named{Ref: "p:1", Image: distinct(t, images.Options{ConfigArch: "s390x"})}), container.ImagePlatform, "linux/s390x"},
		{"truncated", "", whole[:len(whole)/2], container.ImageBroken, "unexpected EOF"},
		{"empty", "", nil, container.ImageBroken, "empty"},
		{"no archive", "", []byte("this is not an archive of any kind, but longer than a header" + strings.Repeat(" ", 600)), container.ImageBroken, ""},
		{"xz", "", []byte("\xfd7zXZ\x00rest"), container.ImageBroken, "xz"},
		{"truncated gzip", "", []byte{0x1f, 0x8b, 8, 0, 0}, container.ImageBroken, ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			unchanged(t)
			_, err := client_.Import(t.Context(), bytes.NewReader(c.data), c.name)
			wantKind(t, err, c.kind, c.text)
		})
	}
	t.Run("not a layout", func(t *testing.T) {
		_, err := client_.ImportPath(t.Context(), t.TempDir(), "")
		wantKind(t, err, container.ImageBroken, "oci-layout")
	})
	t.Run("no file", func(t *testing.T) {
		_, err := client_.ImportPath(t.Context(), filepath.Join(t.TempDir(), "x.tar"), "")
		wantKind(t, err, container.ImageNotFound, "x.tar")
	})
}

func TestImportCancelledLeavesNothing(t *testing.T) {
	unchanged(t)
	var b bytes.Buffer
	if err := images.WriteOCI(&b, images.Named{Ref: "x:1", Image: distinct(t, images.Options{PadMB: 20})}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err := client_.Import(ctx, io.MultiReader(io.LimitReader(&b, 10_000_000), readerFunc(func([]byte) (int, error) {
		cancel()
		return 0, context.Canceled
	})), "")
	if err == nil {
		t.Fatal("imported half an archive")
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestImportsAtTheSameTime(t *testing.T) {
	unchanged(t)
	const n = 4
	errs := make(chan error, n)
	for i := range n {
		img := distinct(t, images.Options{Cmd: []string{fmt.Sprint(i / 2)}}) // two and two alike
		go func() {
			var b bytes.Buffer
			if err := images.WriteOCI(&b, images.Named{Image: img}); err != nil {
				errs <- err
				return
			}
			_, err := client_.Import(t.Context(), &b, fmt.Sprintf("same:%d", i))
			errs <- err
		}()
	}
	for i := range n {
		if err := <-errs; err != nil {
			t.Error(err)
		}
		remove(t, fmt.Sprintf("same:%d", i))
	}
}

func TestRemove(t *testing.T) {
	unchanged(t)
	var b bytes.Buffer
	if err := images.WriteOCI(&b, images.Named{Ref: "r:1", Image: distinct(t, images.Options{})}); err != nil {
		t.Fatal(err)
	}
	if _, err := client_.Import(t.Context(), &b, ""); err != nil {
		t.Fatal(err)
	}
	s := newSpec(t)
	s.Image = "docker.io/library/r:1"
	task := launch(t, s)
	if err := client_.Remove(t.Context(), "r:1"); err == nil || !strings.Contains(err.Error(), s.ID) {
		t.Errorf("removed an image in use: %v", err)
	}
	if err := task.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := client_.Remove(t.Context(), "r:1"); err != nil {
		t.Fatal(err)
	}
	wantKind(t, client_.Remove(t.Context(), "r:1"), container.ImageNotFound, "not on this machine")
	_, err := client_.Ensure(t.Context(), "r:1", container.PullNever)
	wantKind(t, err, container.ImageNotFound, "pulling is off")
}

func TestImportFromAnotherNamespace(t *testing.T) {
	unchanged(t)
	other, err := Dial(t.Context(), func() Config { c := testCfg; c.Namespace = "optml-e2e-other"; return c }())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	img := distinct(t, images.Options{})
	var b bytes.Buffer
	if err := images.WriteOCI(&b, images.Named{Ref: "o:1", Image: img}); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Import(t.Context(), &b, ""); err != nil {
		t.Fatal(err)
	}
	defer other.Remove(context.WithoutCancel(t.Context()), "o:1")
	address := testCfg.Address
	if address == "" {
		address = client_.cfg.socket()
	}
	got, err := client_.ImportFrom(t.Context(), address, "optml-e2e-other", "o:1", "")
	if err != nil {
		t.Fatal(err)
	}
	remove(t, "o:1")
	h, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0].Ref != "docker.io/library/o:1" || got[0].Digest != h.String() {
		t.Errorf("%+v", got)
	}
	_, err = client_.ImportFrom(t.Context(), address, "moby", "o:2", "")
	wantKind(t, err, container.ImageNotFound, "docker save")
	_, err = client_.ImportFrom(t.Context(), filepath.Join(t.TempDir(), "no.sock"), "moby", "o:2", "")
	wantKind(t, err, container.ImageNotFound, "no.sock")
}

// A second Ensure of an image that is here must cost next to nothing: it is on the way of every job.
func TestEnsureIsQuick(t *testing.T) {
	if _, err := client_.Ensure(t.Context(), tinyRef, container.PullMissing); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	const n = 20
	for range n {
		if _, err := client_.Ensure(t.Context(), tinyRef, container.PullMissing); err != nil {
			t.Fatal(err)
		}
	}
	each := time.Since(begun) / n
	t.Logf("%s each", each)
	if each > 200*time.Millisecond { // 5 ms on an idle machine; the limit is for a crowded one
		t.Errorf("%s each", each)
	}
}

// A full disk is said to be one, and nothing is left on it.
func TestImportOntoFullDisk(t *testing.T) {
	dir, err := os.MkdirTemp("/tmp", "of") // short: sockets live under it
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	root := filepath.Join(dir, "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", root, "tmpfs", 0, "size=48m"); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(root, unix.MNT_DETACH)
	cfg := Config{Root: root, RunDir: filepath.Join(dir, "run"), Idle: time.Second} // the embedded daemon: a given one's disk is not ours to fill
	c, err := Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer StopDaemon(context.WithoutCancel(t.Context()), cfg)
	defer c.Close()
	free := func() int64 {
		var s unix.Statfs_t
		if err := unix.Statfs(root, &s); err != nil {
			t.Fatal(err)
		}
		return int64(s.Bfree) * s.Bsize
	}
	before := free()
	for what, mb := range map[string]int{"while copying": 60, "while unpacking": 25} {
		var b bytes.Buffer
		if err := images.WriteOCI(&b, images.Named{Ref: "big:1", Image: buildImage(t, images.Options{PadMB: mb})}); err != nil {
			t.Fatal(err)
		}
		_, err := c.Import(t.Context(), &b, "")
		wantKind(t, err, container.ImageNoSpace, "no space left on device")
		if after := free(); before-after > 1<<20 { // the database has grown a little
			t.Errorf("%s: %d bytes are left behind", what, before-after)
		}
	}
}

// An image is looked into without running or mounting anything, and nothing is left of it.
func TestCommands(t *testing.T) {
	path := filepath.Join(t.TempDir(), "image.tar")
	if err := images.WriteOCIArchive(path, images.Named{Ref: "optml.test/look:1", Image: distinct(t, images.Options{Without: []string{"serve"}})}); err != nil {
		t.Fatal(err)
	}
	if _, err := client_.ImportPath(t.Context(), path, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { remove(t, "optml.test/look:1") })
	if _, err := client_.Ensure(t.Context(), "optml.test/look:1", container.PullNever); err != nil {
		t.Fatal(err)
	}
	before := store(t)
	img, found, err := client_.Commands(t.Context(), "optml.test/look:1", "train", "serve", "/none")
	if err != nil || len(found) != 1 || found["train"] == "" || img.Arch == "" {
		t.Errorf("%v %v %v", img, found, err)
	}
	if d := cmp.Diff(before, store(t)); d != "" {
		t.Error(d)
	}
	_, _, err = client_.Commands(t.Context(), "optml.test/not-here:1", "train")
	wantKind(t, err, container.ImageNotFound)
}
