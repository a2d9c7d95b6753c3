package channels

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/optml/optml/dataset"
	"github.com/optml/optml/job"
)

func fsChannel(root, dir string) job.Channel {
	return job.Channel{Name: "train", Mode: "File", Source: job.Source{Type: "FileSystem", URI: root, Directory: dir}}
}

// share is a directory that stands for a file system, with what may lie in it.
func share(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for _, d := range []string{"data/train", "with space"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{"link": "data/train", "out": "../..", "abs": "/etc", "chain": "data/../out", "dangling": "nowhere"} {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "file"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(root, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	return root
}

// TestFileSystem: FILE-13. The user's directory is what is mounted, with the access asked for; it is not changed, and
// nothing of it is ours to take away (D12).
func TestFileSystem(t *testing.T) {
	root := share(t)
	real, err := filepath.EvalSymlinks(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		dir, want string
		ro        bool
	}{
		{"/data/train", "data/train", true},
		{"/data/train/", "data/train", false},
		{"/", "", true},
		{"data//train", "data/train", false},
		{"/link", "data/train", true},
		{"/with space", "with space", false},
		{"/../../data", "data", false}, // as an NFS server takes it: above the root is the root
	} {
		ch := fsChannel(root, c.dir)
		ch.Source.ReadOnly = c.ro
		dir := t.TempDir()
		d, err := New(ch, Config{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range d.(Mounter).Mounts() {
			if m.Made {
				t.Errorf("%s: before Prepare: %+v would be recorded as ours", c.dir, m)
			}
		}
		if err := d.Prepare(t.Context()); err != nil {
			t.Errorf("%s: %v", c.dir, err)
			continue
		}
		want := Mount{Source: filepath.Join(real, c.want), Target: "train", ReadOnly: c.ro}
		if got := d.(Mounter).Mounts(); len(got) != 1 || got[0] != want {
			t.Errorf("%s: %+v, want %+v", c.dir, got, want)
		}
		if es, err := os.ReadDir(filepath.Join(dir, "train")); err != nil || len(es) != 0 {
			t.Errorf("%s: what the directory is mounted over: %v, %v", c.dir, es, err)
		}
		if err := errors.Join(d.Fill(t.Context()), d.Serve(t.Context()), d.Close(), d.Close()); err != nil {
			t.Errorf("%s: %v", c.dir, err)
		}
		s := d.Stats()
		if access := map[bool]string{true: "mounted ro", false: "mounted rw"}[c.ro]; s.Mode != "File" || s.Bytes != 0 || s.TotalObjects != 0 || !strings.Contains(s.Note, access) {
			t.Errorf("%s: %+v", c.dir, s)
		}
	}
	if fi, err := os.Stat(filepath.Join(root, "data/train")); err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("the user's directory was changed: %v, %v", fi, err)
	}
}

// What cannot be mounted is said with the channel and the path, and links do not lead out of the directory.
func TestFileSystemRefusals(t *testing.T) {
	root := share(t)
	for _, c := range []struct{ root, dir, want string }{
		{root, "/none", "no such file"},
		{root, "/dangling", "no such file"},
		{root, "/file", "is not a directory"},
		{root, "/file/x", "not a directory"},
		{root, "/fifo", "is not a directory"},
		{root, "/out", "escapes"},
		{root, "/abs", "escapes"},
		{root, "/chain", "escapes"},
		{root, "/out/etc", "escapes"},
		{filepath.Join(root, "none"), "/", "no such file"},
		{filepath.Join(root, "file"), "/", "not a directory"},
		{"relative", "/", "is not absolute"},
		{"", "/", "is not absolute"},
	} {
		dir := t.TempDir()
		d, err := New(fsChannel(c.root, c.dir), Config{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		err = d.Prepare(t.Context())
		de, ok := errors.AsType[*dataset.Error](err)
		if !ok || de.Channel != "train" || de.Object != filepath.Join(c.root, c.dir) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: got %v, want %q", c.root, c.dir, err, c.want)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
	// PIPE-13, FF-2: the other modes refuse it by name.
	for mode, want := range map[string]string{"Pipe": "a file system cannot be piped", "FastFile": "not FileSystem"} {
		ch := fsChannel(root, "/data")
		ch.Mode = mode
		if _, err := New(ch, Config{Dir: t.TempDir(), MountDir: t.TempDir()}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", mode, err)
		}
	}
}
