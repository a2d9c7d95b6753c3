package channels

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/optml/optml/dataset"
	"github.com/optml/optml/job"
	"github.com/optml/optml/objstore"
	"github.com/optml/optml/objstore/s3test"
	"github.com/optml/optml/objstore/storetest"
)

func fastChannel(uri string) job.Channel {
	ch := prefixChannel(uri)
	ch.Mode = "FastFile"
	return ch
}

// fast mounts a FastFile channel; where that cannot be, the test is skipped.
func fast(t *testing.T, ch job.Channel, c Config) (dir string, d Delivery, err error) {
	t.Helper()
	if fi, serr := os.Stat("/dev/fuse"); os.Geteuid() != 0 || serr != nil || fi.Mode()&fs.ModeDevice == 0 {
		t.Skip("mounting needs root and /dev/fuse")
	}
	c.Dir, c.MountDir = t.TempDir(), t.TempDir()
	if d, err = New(ch, c); err != nil {
		return "", nil, err
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		if left, _ := os.ReadDir(c.MountDir); len(left) != 0 {
			t.Errorf("left: %v", left)
		}
	})
	if err := d.Prepare(t.Context()); err != nil {
		if errors.Is(err, syscall.EPERM) {
			t.Skip(err)
		}
		t.Fatal(err)
	}
	if s := d.(*fastFile).view.spool; s != nil {
		s.keepsUp()
	}
	mounts := d.(Mounter).Mounts()
	if len(mounts) != 1 || mounts[0].Target != ch.Name || !mounts[0].ReadOnly {
		t.Fatalf("mounts %+v", mounts)
	}
	return mounts[0].Source, d, d.Fill(t.Context())
}

// TestFastFileTree: FF-1. The view has the paths, bytes, sizes and modes of File mode (ruling 26's data), for whole reads,
// reads in the middle and mmap.
func TestFastFileTree(t *testing.T) {
	srv := s3test.New(s3test.Options{PageSize: 9})
	want := matrix(srv)
	dir, d, err := fast(t, fastChannel("s3://bucket/in/"), Config{Opener: s3(t, srv)})
	if err != nil {
		t.Fatal(err)
	}
	if s := d.Stats(); s.Note != "never opened" || s.Mode != "FastFile" || s.TotalObjects == 0 || s.Bytes != 0 {
		t.Errorf("%+v", s)
	}
	for range 2 {
		differ(t, read(t, dir), want)
	}
	big := want[fmt.Sprintf("size/%d", 2*partSize+7)]
	f, err := os.Open(filepath.Join(dir, fmt.Sprintf("size/%d", 2*partSize+7)))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil || fi.Size() != int64(len(big)) || fi.Mode() != 0o644 || fi.ModTime().IsZero() {
		t.Errorf("%v, %v", fi, err)
	}
	for _, off := range []int64{partSize, 10, int64(len(big)) - 5} {
		b := make([]byte, 100)
		n, _ := f.ReadAt(b, off)
		same(t, fmt.Sprint("at ", off), b[:n], []byte(big[off:min(off+100, int64(len(big)))]))
	}
	m, err := unix.Mmap(int(f.Fd()), 0, len(big), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "mmap", m, []byte(big))
	if err := unix.Munmap(m); err != nil {
		t.Error(err)
	}
	if s := d.Stats(); s.Bytes == 0 || s.Objects != s.TotalObjects || s.ReaderWaited == 0 {
		t.Errorf("%+v", s)
	}
}

// TestFastFileInACopiedNamespace: whoever on the host copies the mount namespace while a view is mounted does
// not keep it.
func TestFastFileInACopiedNamespace(t *testing.T) {
	dir, d, err := fast(t, fastChannel("s3://b/in/"), Config{Opener: opener(t, objstore.Options{S3Dir: tree(t, map[string]string{"b/in/x": "1"})})})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "60")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	there := func() bool {
		mounts, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", cmd.Process.Pid))
		return err == nil && strings.Contains(string(mounts), dir)
	}
	if !there() {
		t.Fatal("the view is not in the copy")
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if there() {
		t.Error("the view is still in the copy")
	}
}

// TestFastFileReadOnly: FF-6. Whatever would change it is EROFS.
func TestFastFileReadOnly(t *testing.T) {
	dir, _, err := fast(t, fastChannel("s3://b/in/"), Config{Opener: opener(t, objstore.Options{S3Dir: tree(t, map[string]string{"b/in/x": "1"})})})
	if err != nil {
		t.Fatal(err)
	}
	x := filepath.Join(dir, "x")
	for what, err := range map[string]error{
		"create": os.WriteFile(filepath.Join(dir, "new"), nil, 0o644), "write": os.WriteFile(x, nil, 0o644), "chmod": os.Chmod(x, 0o600),
		"remove": os.Remove(x), "mkdir": os.Mkdir(filepath.Join(dir, "d"), 0o755), "rename": os.Rename(x, x+"2"), "truncate": os.Truncate(x, 0),
	} {
		if !errors.Is(err, syscall.EROFS) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := os.Open(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// TestFastFilePartialPrefix: FF-3, in the service's words; a prefix that is one object, a folder with and without slash.
func TestFastFilePartialPrefix(t *testing.T) {
	op := opener(t, objstore.Options{S3Dir: tree(t, map[string]string{"b/data/train/a": "1", "b/data/train-01/b": "2", "b/one/x.csv": "3"})})
	_, _, err := fast(t, fastChannel("s3://b/data/train"), Config{Opener: op})
	e, ok := errors.AsType[*dataset.Error](err)
	want := "Failed to download data. For FastFile mode, partial S3 prefix is not supported. S3 prefix has to end with a full file or folder. " +
		"Add a trailing '/' to the S3 prefix if it ends with a folder name that is also a prefix for other folders. Current S3 prefix: [data/train], found S3 object: [data/train-01/b]."
	if !ok || e.Detail() != want {
		t.Errorf("%v", err)
	}
	for uri, want := range map[string][]string{"s3://b/data/train/": {"a"}, "s3://b/one/x.csv": {"x.csv"}, "s3://b/one": {"x.csv"}} {
		dir, _, err := fast(t, fastChannel(uri), Config{Opener: op})
		if err != nil {
			t.Errorf("%s: %v", uri, err)
			continue
		}
		if got := slices.Sorted(maps.Keys(read(t, dir))); !slices.Equal(got, want) {
			t.Errorf("%s: %v", uri, got)
		}
	}
}

// TestFastFileBroken: ruling 8. A read that cannot be answered is EIO, and Serve ends with the object's name, also when it
// comes to it only after the container has ended.
func TestFastFileBroken(t *testing.T) {
	for name, fault := range map[string]s3test.Fault{
		"503 for good": {Method: "GET", Key: "in/x", Status: 503, Code: "SlowDown"},
		"cut for good": {Method: "GET", Key: "in/x", Cut: 1000},
		"gone":         {Method: "GET", Key: "in/x", Status: 404, Code: "NoSuchKey"},
	} {
		srv := s3test.New(s3test.Options{})
		srv.Put("bucket", "in/x", storetest.Bytes(300_000))
		dir, d, err := fast(t, fastChannel("s3://bucket/in/"), Config{Opener: s3(t, srv)})
		if err != nil {
			t.Fatal(err)
		}
		srv.Fault(fault)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		done := make(chan error, 1)
		late := name == "gone"
		if !late {
			go func() { done <- d.Serve(ctx) }()
		}
		if b, err := os.ReadFile(filepath.Join(dir, "x")); !errors.Is(err, syscall.EIO) {
			t.Errorf("%s: %d bytes, %v", name, len(b), err)
		}
		if late {
			cancel()
			done <- d.Serve(ctx)
		}
		e, ok := errors.AsType[*dataset.Error](<-done)
		if !ok || e.Object != "s3://bucket/in/x" || !strings.Contains(e.Detail(), "in/x") {
			t.Errorf("%s: %v", name, e)
		}
		cancel()
	}
}

// TestFastFileRefusals: FF-2, FILE-8.
func TestFastFileRefusals(t *testing.T) {
	for text, change := range map[string]func(*job.Channel){
		"ManifestFile":      func(c *job.Channel) { c.Source.Type = "ManifestFile" },
		"CompressionType":   func(c *job.Channel) { c.Compression = "Gzip" },
		"RecordWrapperType": func(c *job.Channel) { c.RecordWrapper = "RecordIO" },
	} {
		ch := fastChannel("s3://b/in/")
		change(&ch)
		if _, err := New(ch, Config{MountDir: "/nonexistent"}); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestFastFileLarge: a file larger than the window, read straight through.
func TestFastFileLarge(t *testing.T) {
	data := bytes.Repeat(storetest.Bytes(1<<20), 48)
	srv := s3test.New(s3test.Options{})
	srv.Put("bucket", "in/x", data)
	dir, _, err := fast(t, fastChannel("s3://bucket/in/"), Config{Opener: s3(t, srv)})
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(dir, "x"))
	if err != nil {
		t.Fatal(err)
	}
	same(t, "file", got, data)
}
