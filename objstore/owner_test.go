package objstore

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// What is made for the user is theirs; what was there stays whose it was.
func TestDirGivesWhatItMakes(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	s3 := t.TempDir()
	if err := os.Mkdir(filepath.Join(s3, "old"), 0o755); err != nil {
		t.Fatal(err)
	}
	o, err := NewOpener(Options{S3Dir: s3, UID: 1234, GID: 2345})
	if err != nil {
		t.Fatal(err)
	}
	for _, uri := range []string{"s3://old/a/b/c", "s3://new/d", filepath.Join(s3, "plain/e")} {
		store, key, err := o.Open(t.Context(), uri)
		if err != nil {
			t.Fatal(err)
		}
		w, err := store.Create(t.Context(), key, CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string][2]uint32{
		".": {}, "old": {}, "old/a": {1234, 2345}, "old/a/b": {1234, 2345}, "old/a/b/c": {1234, 2345},
		"new": {1234, 2345}, "new/d": {1234, 2345}, "plain": {1234, 2345}, "plain/e": {1234, 2345},
	} {
		var st syscall.Stat_t
		if err := syscall.Lstat(filepath.Join(s3, name), &st); err != nil {
			t.Error(err)
		} else if got := [2]uint32{st.Uid, st.Gid}; got != want {
			t.Errorf("%s belongs to %v, want %v", name, got, want)
		}
	}
}
