package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

func TestSourcesFor(t *testing.T) {
	for _, c := range []struct {
		what  string
		files map[string]string
		want  string
	}{
		{"none", nil, ""},
		{"one-line", map[string]string{"sources.list": "# comment\ndeb http://mirror.test/debian bookworm main contrib # mine\ndeb-src http://mirror.test/debian bookworm main\n" +
			"deb [signed-by=/k arch=amd64] http://mirror.test/security bookworm-security main\ndeb http://other.test bookworm stable\ndeb http://mirror.test/debian trixie main\n"},
			"deb http://mirror.test/debian bookworm main contrib # mine\ndeb [signed-by=/k arch=amd64] http://mirror.test/security bookworm-security main\n"},
		{"deb822", map[string]string{
			"sources.list.d/debian.sources": "Types: deb deb-src\nURIs: http://mirror.test/debian\nSuites: bookworm bookworm-updates\nComponents: main\n\nTypes: deb\nURIs: http://mirror.test/security\nSuites: bookworm-security\nComponents:\n main\n",
			"sources.list.d/vendor.sources": "Types: deb\nURIs: http://vendor.test\nSuites: bookworm\nComponents: stable\n",
			"sources.list.d/off.sources":    "Enabled: no\nTypes: deb\nURIs: http://off.test\nSuites: bookworm\nComponents: main\n",
			"sources.list.d/old.list.save":  "deb http://save.test bookworm main\n",
			"sources.list":                  "deb http://oneline.test bookworm main\n",
		}, "Types: deb deb-src\nURIs: http://mirror.test/debian\nSuites: bookworm bookworm-updates\nComponents: main\n\nTypes: deb\nURIs: http://mirror.test/security\nSuites: bookworm-security\nComponents:\n main\n"},
	} {
		dir := t.TempDir()
		for name, text := range c.files {
			path := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := sourcesFor("bookworm", dir)
		if err != nil || got != c.want {
			t.Errorf("%s: %v\n%s\nwanted\n%s", c.what, err, got, c.want)
		}
	}
}

func TestKeep(t *testing.T) {
	for name, want := range map[string]bool{
		"dev":                                     true,
		"dev/null":                                false,
		"usr/lib/gcc":                             false,
		"usr/lib/gcc/x/12/cc1":                    false,
		"usr/lib/gcc-tools":                       true,
		"usr/bin/python3":                         true,
		"usr/bin/x86_64-linux-gnu-gcc-12":         false,
		"usr/bin/aarch64-linux-gnu-ld":            false,
		"usr/lib/x86_64-linux-gnu/libtsan.so.2":   false,
		"usr/lib/x86_64-linux-gnu/libstdc++.so.6": true,
		"usr/lib/x86_64-linux-gnu/openblas-pthread/libblas.so.3":   true,
		"usr/lib/x86_64-linux-gnu/lapack/liblapack.so.3":           false,
		"usr/lib/python3/dist-packages/sklearn/tests/test_base.py": false,
		"usr/lib/python3/dist-packages/sklearn/utils/_testing.py":  true,
		"usr/lib/python3/dist-packages/joblib/test/common.py":      false,
		"usr/lib/python3/dist-packages/pkg_resources/__init__.py":  true,
		"usr/lib/python3.11/unittest/case.py":                      true,
		"usr/lib/python3.11/lib2to3/pgen2/grammar.py":              false,
		"etc/resolv.conf":                 false,
		"etc/apt/sources.list":            false,
		"var/lib/dpkg/status":             true,
		"var/lib/dpkg/status-old":         false,
		"usr/share/doc/python3/copyright": true,
	} {
		if got := keep(name); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func root(t *testing.T, headers ...tar.Header) *bytes.Reader {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(h.Name))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := io.WriteString(w, h.Name); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return bytes.NewReader(b.Bytes())
}

func TestPack(t *testing.T) {
	old, future := time.Unix(1_000_000_000, 0), time.Unix(4_000_000_000, 0)
	tree := func() io.Reader {
		return root(t,
			tar.Header{Typeflag: tar.TypeDir, Name: "./", Mode: 0o755},
			tar.Header{Typeflag: tar.TypeDir, Name: "./dev/", Mode: 0o755},
			tar.Header{Typeflag: tar.TypeChar, Name: "./dev/null", Mode: 0o666, Devmajor: 1, Devminor: 3},
			tar.Header{Typeflag: tar.TypeReg, Name: "./usr/bin/a", Mode: 0o4755, ModTime: old, Uname: "root"},
			tar.Header{Typeflag: tar.TypeLink, Name: "./usr/bin/b", Linkname: "./usr/bin/a"},
			tar.Header{Typeflag: tar.TypeSymlink, Name: "./bin", Linkname: "usr/bin"},
			tar.Header{Typeflag: tar.TypeReg, Name: "./usr/share/man/man1/a.1", Mode: 0o644},
			tar.Header{Typeflag: tar.TypeReg, Name: "./etc/new", Mode: 0o600, ModTime: future, Uid: 7, Gid: 8},
		)
	}
	dir := t.TempDir()
	made, path, err := pack(tree(), dir)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Size() != made.Size {
		t.Errorf("size %d, file %v", made.Size, info)
	}
	z, err := zstd.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	var names []string
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
		switch h.Name {
		case "usr/bin/a":
			if h.Mode != 0o4755 || !h.ModTime.Equal(old) || h.Uname != "" {
				t.Errorf("%+v", h)
			}
		case "usr/bin/b":
			if h.Linkname != "usr/bin/a" {
				t.Errorf("%+v", h)
			}
		case "etc/new":
			if h.ModTime.Unix() != sourceDate() || h.Uid != 7 || h.Gid != 8 {
				t.Errorf("%+v", h)
			}
		}
	}
	if got := strings.Join(names, " "); got != "dev/ usr/bin/a usr/bin/b bin etc/new" {
		t.Errorf("packed %s", got)
	}
	again, _, err := pack(tree(), dir)
	if err != nil || again != made {
		t.Errorf("a second time: %v, %v", again, err)
	}
}

func TestPackFailsWhole(t *testing.T) {
	for what, r := range map[string]io.Reader{
		"empty":     root(t),
		"no tar":    strings.NewReader(strings.Repeat("x", 2000)),
		"lost link": root(t, tar.Header{Typeflag: tar.TypeLink, Name: "./usr/bin/b", Linkname: "./usr/lib/gcc/a"}),
	} {
		dir := t.TempDir()
		if _, _, err := pack(r, dir); err == nil {
			t.Errorf("%s: no error", what)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("%s: left %v, %v", what, left, err)
		}
	}
}

func TestKeyFollowsTheContent(t *testing.T) {
	a := debian{suite: "bookworm", sources: "x"}
	b := debian{suite: "bookworm", sources: "another mirror"}
	if a.key() != b.key() {
		t.Error("the mirror is part of the key")
	}
	c := debian{suite: "trixie"}
	t.Setenv("SOURCE_DATE_EPOCH", "1")
	if a.key() == c.key() {
		t.Error("release is not part of the key")
	}
	late := a.key()
	t.Setenv("SOURCE_DATE_EPOCH", "2")
	if a.key() == late {
		t.Error("SOURCE_DATE_EPOCH is not part of the key")
	}
}

func TestCachedLayerMustBeWhole(t *testing.T) {
	name := filepath.Join(t.TempDir(), "base")
	if err := os.WriteFile(name+".json", []byte(`{"Digest":"sha256:`+strings.Repeat("a", 64)+`","DiffID":"sha256:`+strings.Repeat("b", 64)+`","Size":3}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := readCached(name); err == nil {
		t.Error("a description without its layer counts")
	}
	if err := os.WriteFile(name+".tar.zst", []byte("abcd"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := readCached(name); err == nil {
		t.Error("a layer of another size counts")
	}
	if err := os.WriteFile(name+".tar.zst", []byte("abc"), 0o644); err != nil {
		t.Fatal(err)
	}
	if l, err := readCached(name); err != nil || l.cached.Digest.Hex[0] != 'a' {
		t.Errorf("%v, %v", l, err)
	}
}
