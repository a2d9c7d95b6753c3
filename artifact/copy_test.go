package artifact

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/optml/optml/objstore"
)

// bucket is a store with these objects: key, content, key, content …
func bucket(t *testing.T, kv ...string) objstore.Store {
	t.Helper()
	s := objstore.NewMem("s3://b/")
	for i := 0; i < len(kv); i += 2 {
		w, err := s.Create(t.Context(), kv[i], objstore.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(kv[i+1])); err != nil {
			t.Fatal(err)
		}
		if err := w.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	got := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		rel, _ := filepath.Rel(dir, p)
		if fi, serr := d.Info(); serr != nil || fi.Mode().Perm() != 0o644 {
			t.Errorf("%s: %v %v", rel, fi, serr)
		}
		got[rel] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// INF-24, INF-25: what lies below a prefix keeps its path; nothing else comes.
func TestCopyPrefix(t *testing.T) {
	s := bucket(t, "m/config.json", "{}", "m/weights/a.bin", "aa", "m/weights/b/c.bin", "", "m/ü é", "x", "m", "no", "mm/x", "no")
	dir := t.TempDir()
	stats, err := CopyPrefix(t.Context(), s, "m/", dir, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"config.json": "{}", "weights/a.bin": "aa", "weights/b/c.bin": "", "ü é": "x"}
	if got := files(t, dir); !maps.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if stats.Files != 4 || stats.Directories != 2 || stats.Bytes != 5 {
		t.Errorf("%+v", stats)
	}
}

// INF-24: one object is one file, named by the last part of its key.
func TestCopyObject(t *testing.T) {
	s := bucket(t, "a/b/model.bin", "xyz")
	o, err := s.Stat(t.Context(), "a/b/model.bin")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if stats, err := CopyObject(t.Context(), s, o, dir, Limits{}); err != nil || stats.Bytes != 3 || stats.Files != 1 {
		t.Errorf("%+v %v", stats, err)
	}
	if got := files(t, dir); !maps.Equal(got, map[string]string{"model.bin": "xyz"}) {
		t.Errorf("%q", got)
	}
	if _, err := CopyObject(t.Context(), s, o, t.TempDir(), Limits{Bytes: 2}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("%v", err)
	}
}

// INF-26: names that cannot be files, and names that clash, are said with the key.
func TestCopyPrefixRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		keys  []string
		limit Limits
		class error
		says  string
	}{
		"folder":          {[]string{"m/a", "1", "m/b/", ""}, Limits{}, ErrUnsafeName, "m/b/"},
		"the prefix":      {[]string{"m/", "", "m/a", "1"}, Limits{}, ErrUnsafeName, "m/"},
		"dots":            {[]string{"m/../a", "1"}, Limits{}, ErrUnsafeName, "m/../a"},
		"dot":             {[]string{"m/./a", "1"}, Limits{}, ErrUnsafeName, "m/./a"},
		"empty":           {[]string{"m/a//b", "1"}, Limits{}, ErrUnsafeName, "m/a//b"},
		"blank":           {[]string{"m/ /b", "1"}, Limits{}, ErrUnsafeName, "m/ /b"},
		"NUL":             {[]string{"m/a\x00b", "1"}, Limits{}, ErrUnsafeName, `a\x00b`},
		"255":             {[]string{"m/" + strings.Repeat("n", 256), "1"}, Limits{}, ErrUnsafeName, "nnn"},
		"file, directory": {[]string{"m/weights", "1", "m/weights/part1", "2"}, Limits{}, ErrClash, "m/weights/part1"},
		"too many":        {[]string{"m/a", "1", "m/b", "2"}, Limits{Members: 1}, ErrTooMany, "more than 1"},
		"too large":       {[]string{"m/a", "123"}, Limits{Bytes: 2}, ErrTooLarge, "m/a"},
		"nothing":         {[]string{"x/a", "1"}, Limits{}, objstore.ErrNotFound, "m/"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := CopyPrefix(t.Context(), bucket(t, tc.keys...), "m/", t.TempDir(), tc.limit)
			if !errors.Is(err, tc.class) || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("got %v", err)
			}
		})
	}
	dir := t.TempDir()
	if _, err := CopyPrefix(t.Context(), bucket(t, "m/a.txt", "1", "m/a", "2"), "m/", dir, Limits{}); err != nil {
		t.Error(err)
	}
	if got := slices.Sorted(maps.Keys(files(t, dir))); !slices.Equal(got, []string{"a", "a.txt"}) {
		t.Errorf("%q", got)
	}
}
