package objstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func newDir(t *testing.T) *Dir {
	t.Helper()
	d, err := NewDir(t.TempDir(), "s3://b/")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func put(t *testing.T, d *Dir, key, data string) {
	t.Helper()
	p := filepath.Join(d.root, key)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(data), 0o644); err != nil {
		t.Fatal(err)
	}
}

func list(d *Dir, prefix string) (keys []string, err error) {
	for o, err := range d.List(context.Background(), prefix) {
		if err != nil {
			return keys, err
		}
		keys = append(keys, o.Key)
	}
	return keys, nil
}

// TestDirLinks: links below the directory are followed; all others are errors that name them, in a listing too, since
// leaving data out in silence is worse than stopping.
func TestDirLinks(t *testing.T) {
	d := newDir(t)
	put(t, d, "real/f", "data")
	outside := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(outside, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	link := func(target, key string) {
		t.Helper()
		p := filepath.Join(d.root, key)
		os.MkdirAll(filepath.Dir(p), 0o755)
		if err := os.Symlink(target, p); err != nil {
			t.Fatal(err)
		}
	}
	link("../real/f", "in/file")
	link("../real", "in/dir")
	if keys, err := list(d, "in/"); err != nil || !slices.Equal(keys, []string{"in/dir/f", "in/file"}) {
		t.Errorf("links below the directory: %q, %v", keys, err)
	}
	if o, err := d.Stat(t.Context(), "in/dir/f"); err != nil || o.Size != 4 {
		t.Errorf("Stat through a link: %+v, %v", o, err)
	}
	for key, target := range map[string]string{
		"abs/l": outside, "up/l": "../../../../../../etc/passwd", "updir/l": "../..", "dangling/l": "nothing", "self/l": "l",
	} {
		link(target, key)
		if keys, err := list(d, filepath.Dir(key)+"/"); !errors.Is(err, ErrEscapes) || !strings.Contains(err.Error(), "s3://b/"+key) {
			t.Errorf("%s: listed %q, %v", key, keys, err)
		}
		if _, err := d.Stat(t.Context(), key); !errors.Is(err, ErrEscapes) {
			t.Errorf("Stat of %s: %v", key, err)
		}
		if r, err := d.Open(t.Context(), key, 0, -1); !errors.Is(err, ErrEscapes) {
			t.Errorf("Open of %s: %v, %v", key, r, err)
		}
	}
	link("../circle", "circle/again")
	if keys, err := list(d, "circle/"); !errors.Is(err, ErrEscapes) || !strings.Contains(err.Error(), "circle/again") {
		t.Errorf("circle: listed %q, %v", keys, err)
	}
	if _, err := d.Create(t.Context(), "updir/l/x", CreateOptions{}); !errors.Is(err, ErrEscapes) {
		t.Errorf("Create through a link that leaves: %v", err)
	}
	// What is not asked for does no harm.
	if keys, err := list(d, "real"); err != nil || len(keys) != 1 {
		t.Errorf("beside: %q, %v", keys, err)
	}
}

// TestDirSpecialFiles: a FIFO must not make anybody wait, and is not data.
func TestDirSpecialFiles(t *testing.T) {
	d := newDir(t)
	put(t, d, "a", "")
	if err := syscall.Mkfifo(filepath.Join(d.root, "fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := list(d, ""); !errors.Is(err, ErrBadKey) || !strings.Contains(err.Error(), "s3://b/fifo: not a regular file") {
		t.Errorf("List: %v", err)
	}
	if _, err := d.Open(t.Context(), "fifo", 0, -1); !errors.Is(err, ErrBadKey) {
		t.Errorf("Open: %v", err)
	}
}

func TestDirCannotHold(t *testing.T) {
	d := newDir(t)
	put(t, d, "file", "")
	put(t, d, "dir/x", "")
	for _, key := range []string{
		"", "/a", "a/", "a//b", "../a", "a/../b", "./a", "a/.", "..", "a\x00b", "file/below", "file/be/low", "dir", strings.Repeat("x", 256), ".optml-tmp-x",
	} {
		if w, err := d.Create(t.Context(), key, CreateOptions{}); !errors.Is(err, ErrBadKey) {
			t.Errorf("Create(%q): %v", key, err)
			if err == nil {
				w.Abort()
			}
		}
	}
	for _, key := range []string{"", "/file", "file/", "dir/", "dir//x", "../" + filepath.Base(d.root) + "/file", "./file", "dir"} {
		if _, err := d.Stat(t.Context(), key); !errors.Is(err, ErrNotFound) {
			t.Errorf("Stat(%q): %v", key, err)
		}
		if keys, err := list(d, key); err != nil || strings.HasPrefix(key, ".") && len(keys) > 0 || strings.HasPrefix(key, "/") && len(keys) > 0 {
			t.Errorf("List(%q) = %q, %v", key, keys, err)
		}
	}
	if got, err := list(d, ""); err != nil || !slices.Equal(got, []string{"dir/x", "file"}) {
		t.Errorf("afterwards: %q, %v", got, err)
	}
}

// TestDirAbortRemovesParents: a job that is given up leaves no empty directories, but takes nobody else's.
func TestDirAbortRemovesParents(t *testing.T) {
	d := newDir(t)
	if err := os.Mkdir(filepath.Join(d.root, "mine"), 0o755); err != nil {
		t.Fatal(err)
	}
	w, err := d.Create(t.Context(), "mine/a/b/c", CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	put(t, d, "mine/a/other", "")
	if err := w.Abort(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(d.root, "mine/a/b")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("directory left: %v", err)
	}
	if keys, err := list(d, ""); err != nil || !slices.Equal(keys, []string{"mine/a/other"}) {
		t.Errorf("keys: %q, %v", keys, err)
	}
}

// TestSweepTemp: what a dead writer left is never listed, and is removed; a living one's stays; so does what is young.
func TestSweepTemp(t *testing.T) {
	d := newDir(t)
	w, err := d.Create(t.Context(), "dir/alive", CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	if _, err := io.WriteString(w, "x"); err != nil {
		t.Fatal(err)
	}
	dead := "dir/" + tempPrefix + "DEAD"
	put(t, d, dead, "half")
	put(t, d, "dir/"+"x"+tempPrefix, "a user's")
	if err := os.Symlink("x", filepath.Join(d.root, "dir", tempPrefix+"LINK")); err != nil {
		t.Fatal(err)
	}
	want := []string{"dir/x" + tempPrefix}
	if keys, err := list(d, ""); err != nil || !slices.Equal(keys, want) {
		t.Errorf("keys: %q, %v", keys, err)
	}
	if n, err := sweepTemp(t.Context(), d.root, time.Hour); n != 0 || err != nil {
		t.Errorf("young: swept %d, %v", n, err)
	}
	if n, err := sweepTemp(t.Context(), d.root, 0); n != 1 || err != nil {
		t.Errorf("swept %d, %v", n, err)
	}
	if _, err := os.Stat(filepath.Join(d.root, dead)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("still there: %v", err)
	}
	if err := w.Commit(t.Context()); err != nil {
		t.Errorf("the living writer: %v", err)
	}
	if n, err := sweepTemp(t.Context(), filepath.Join(d.root, "missing"), 0); n != 0 || err != nil {
		t.Errorf("missing directory: %d, %v", n, err)
	}
}

// TestDirTruncated: a file that shrinks while it is read is not whole.
func TestDirTruncated(t *testing.T) {
	d := newDir(t)
	put(t, d, "f", strings.Repeat("x", 100_000))
	r, err := d.Open(t.Context(), "f", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.ReadFull(r, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(d.root, "f"), 50_000); err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, r); !errors.Is(err, ErrTruncated) {
		t.Errorf("after %d bytes: %v", n, err)
	}
}

// TestDirChangesWhileRead: the listed version is compared again at the end.
func TestDirChangesWhileRead(t *testing.T) {
	d := newDir(t)
	put(t, d, "f", strings.Repeat("x", 100_000))
	o, err := d.Stat(t.Context(), "f")
	if err != nil {
		t.Fatal(err)
	}
	r, err := d.OpenVersion(t.Context(), o, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	time.Sleep(20 * time.Millisecond)
	f, err := os.OpenFile(filepath.Join(d.root, "f"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString("y")
	f.Close()
	if n, err := io.Copy(io.Discard, r); !errors.Is(err, ErrChanged) {
		t.Errorf("after %d bytes: %v", n, err)
	}
}

// fullDisk is what a write gets on a full disk.
type fullDisk struct{ after int64 }

func (f *fullDisk) Write(p []byte) (int, error) {
	if f.after -= int64(len(p)); f.after < 0 {
		return 0, &fs.PathError{Op: "write", Path: "/vol/x", Err: syscall.ENOSPC}
	}
	return len(p), nil
}

func TestClasses(t *testing.T) {
	d := newDir(t)
	put(t, d, "f", strings.Repeat("x", 100_000))
	r, err := d.Open(t.Context(), "f", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	_, err = io.Copy(&fullDisk{after: 1000}, r)
	if !NoSpace(err) || !errors.Is(wrap("write", "u", err), ErrNoSpace) {
		t.Errorf("%v", err)
	}
	for _, c := range []struct{ err, class error }{
		{syscall.ENOSPC, ErrNoSpace}, {syscall.EDQUOT, ErrNoSpace}, {fs.ErrNotExist, ErrNotFound}, {fs.ErrPermission, ErrAccessDenied},
		{syscall.EROFS, ErrAccessDenied}, {syscall.ENAMETOOLONG, ErrBadKey}, {fmt.Errorf("x: %w", ErrChanged), ErrChanged}, {io.ErrUnexpectedEOF, nil},
		{&ServiceError{Status: 403, Code: "InvalidAccessKeyId"}, ErrAccessDenied}, {&ServiceError{Status: 404, Code: "NoSuchBucket"}, ErrNoBucket},
	} {
		e := wrap("op", "s3://b/k", c.err).(*Error)
		if e.Class != c.class || c.class != nil && !errors.Is(e, c.class) || e.Error() != "op s3://b/k: "+c.err.Error() {
			t.Errorf("%v: class %v, text %q", c.err, e.Class, e)
		}
		if again := wrap("other", "uri", e); again != error(e) {
			t.Errorf("%v: wrapped twice", again)
		}
	}
}
