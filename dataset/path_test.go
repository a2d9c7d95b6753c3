package dataset

import (
	"errors"
	"path"
	"strings"
	"testing"
)

// FILE-2's three rules and its mixed case, acceptance check 4 (the prefixes data/train, data/train/, data/train.csv,
// data, none), FILE-5 and FILE-7.
func TestRelPath(t *testing.T) {
	for _, c := range []struct{ prefix, key, want string }{
		{"data/train", "data/train/a.csv", "a.csv"},
		{"data/train", "data/train/en-ja/train.en", "en-ja/train.en"},
		{"data/train", "data/train-data.csv", "train-data.csv"},
		{"data/train", "data/train-ground-truth.csv", "train-ground-truth.csv"},
		{"data/train", "data/train-01/b.csv", "train-01/b.csv"},
		{"data/train", "data/train", "train"},
		{"data/train/", "data/train/a.csv", "a.csv"},
		{"data/train/", "data/train/sub/a.csv", "sub/a.csv"},
		{"data/train.csv", "data/train.csv", "train.csv"},
		{"data/train.csv", "data/train.csv.bak", "train.csv.bak"},
		{"data", "data/train/a.csv", "train/a.csv"},
		{"data", "database/x", "database/x"},
		{"", "data/train/a.csv", "data/train/a.csv"},
		{"", "a.csv", "a.csv"},
		{"train.csv", "train.csv", "train.csv"},
		{"a/b/c", "a/b/cd/e/f", "cd/e/f"},
		// Odd, but a file can have it.
		{"d/", "d/ä ö/日本語 .csv", "ä ö/日本語 .csv"},
		{"d/", "d/..a/b..", "..a/b.."},
		{"d/", "d/...", "..."},
		{"d/", "d/a\\b:c*?\n", "a\\b:c*?\n"},
		{"d/", "d/" + strings.Repeat("x", 255), strings.Repeat("x", 255)},
		// FILE-5: folder markers are directories.
		{"d/", "d/", "."},
		{"d", "d/", "."},
		{"d", "d/sub/", "sub"},
		{"d", "d-2/", "d-2"},
	} {
		got, err := relPath(c.prefix, c.key)
		if got != c.want || err != nil {
			t.Errorf("relPath(%q, %q) = %q, %v, want %q", c.prefix, c.key, got, err, c.want)
		}
	}
	for _, c := range []struct{ prefix, key string }{
		{"d", "d/../x"}, {"d", "d/a/../b"}, {"d", "d/./a"}, {"d", "d//a"}, {"d/", "d//a"}, {"d", "d/a//b"}, {"", "/a"},
		{"", ".."}, {"", "../a"}, {"d", "d/a\x00b"}, {"d", "d//"}, {"d", "d/a//"}, {"", "/"}, {"d/", "d/" + strings.Repeat("x", 256)},
	} {
		if got, err := relPath(c.prefix, c.key); !errors.Is(err, ErrBadPath) {
			t.Errorf("relPath(%q, %q) = %q, %v, want ErrBadPath", c.prefix, c.key, got, err)
		}
	}
}

// Whatever the prefix and the key: the path stays below the directory, is its own cleaned form, and ends as the key does.
func FuzzRelPath(f *testing.F) {
	for _, s := range [][2]string{{"data/train", "data/train/a"}, {"d", "d/../x"}, {"", "/"}, {"d/", "d//"}, {"a//", "a//b"}, {"é", "é/\x00"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, prefix, key string) {
		if !strings.HasPrefix(key, prefix) {
			key = prefix + key
		}
		p, err := relPath(prefix, key)
		if err != nil || p == "." {
			return
		}
		if p == "" || p[0] == '/' || path.Clean(p) != p || p == ".." || strings.HasPrefix(p, "../") || strings.Contains(p, "\x00") {
			t.Fatalf("relPath(%q, %q) = %q", prefix, key, p)
		}
		if !strings.HasSuffix(strings.TrimSuffix(key, "/"), p) {
			t.Fatalf("relPath(%q, %q) = %q, which is not the key's end", prefix, key, p)
		}
	})
}
