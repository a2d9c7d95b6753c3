package artifact

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var day = time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC)

// tree makes files from a map: a trailing slash is a directory, "->" a link, anything else content.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		at := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		switch target, link := strings.CutPrefix(content, "->"); {
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(at, 0o755)
		case link:
			err = os.Symlink(target, at)
		default:
			if err = os.WriteFile(at, []byte(content), 0o640); err == nil {
				err = os.Chtimes(at, day, day)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// list reads an archive with the standard library: "name mode size uid:gid ->target content".
func list(t *testing.T, archive []byte) []string {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		line := fmt.Sprintf("%s %o %d:%d", h.Name, h.Mode, h.Uid, h.Gid)
		if h.Linkname != "" {
			line += " ->" + h.Linkname
		}
		if len(content) > 0 {
			line += " " + string(content)
		}
		out = append(out, line)
	}
}

func pack(t *testing.T, dir string, o PackOptions) ([]byte, PackStats) {
	t.Helper()
	var b bytes.Buffer
	stats, err := Pack(t.Context(), dir, &b, o)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(b.Bytes())
	if stats.SHA256 != hex.EncodeToString(sum[:]) || stats.Packed != int64(b.Len()) {
		t.Errorf("stats say %d bytes, %s", stats.Packed, stats.SHA256)
	}
	return b.Bytes(), stats
}

func TestPackPutsMembersAtTheRoot(t *testing.T) { // OUT-1, OUT-8, INF-21
	dir := tree(t, map[string]string{
		"model.bin": "weights", "sub/b": "B", "sub/a": "A", "empty/": "", "link": "->sub/a", "sub/up": "->../model.bin",
		"outside": "->/etc/hostname", "climbs": "->../../etc/hostname", "dangling": "->nowhere", "absolute": "->/opt/ml/model/sub/b",
		"data": "->/opt/ml/input/data/train/x.csv", "other": "->../output/note", "round": "->sub/../model.bin", "odd \xff": "not UTF-8",
	})
	work := tree(t, map[string]string{"input/data/train/x.csv": "1,2", "output/note": "n"})
	sock, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer sock.Close()
	if err := syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	archive, stats := pack(t, dir, PackOptions{At: "/opt/ml/model", Around: work, AroundAt: "/opt/ml"})
	want := []string{
		"absolute 777 0:0 ->sub/b",
		"dangling 777 0:0 ->nowhere",
		"data 640 0:0 1,2",
		"empty/ 755 0:0",
		"link 777 0:0 ->sub/a",
		"model.bin 640 0:0 weights",
		"odd \xff 640 0:0 not UTF-8",
		"other 640 0:0 n",
		"round 640 0:0 weights",
		"sub/ 755 0:0",
		"sub/a 640 0:0 A",
		"sub/b 640 0:0 B",
		"sub/up 777 0:0 ->../model.bin",
	}
	if got := list(t, archive); !slices.Equal(got, want) {
		t.Errorf("members:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if stats.Files != 7 || stats.Directories != 2 || stats.Links != 4 || stats.Skipped != 4 {
		t.Errorf("stats: %+v", stats)
	}
	for i, part := range []string{`"climbs": a link to`, `"fifo": a FIFO`, `"outside": a link to "/etc/hostname"`, `"s": a socket`} {
		if !strings.Contains(stats.Warnings[i], part) {
			t.Errorf("warning %d: %s, want %s", i, stats.Warnings[i], part)
		}
	}
	if again, _ := pack(t, dir, PackOptions{At: "/opt/ml/model", Around: work, AroundAt: "/opt/ml"}); !bytes.Equal(archive, again) {
		t.Error("a second run gives other bytes")
	}
}

func TestPackNeverReadsOutside(t *testing.T) { // OUT-8: a container made these links
	secret := tree(t, map[string]string{"key": "secret"})
	dir := tree(t, map[string]string{"abs": "->" + filepath.Join(secret, "key"), "dir": "->" + secret, "deep/er": "->../../../../../../../../../../" + filepath.Join(secret, "key"), "ok": "fine"})
	around := tree(t, map[string]string{"trap": "->" + filepath.Join(secret, "key")})
	if err := os.Symlink("/opt/ml/trap", filepath.Join(dir, "via")); err != nil {
		t.Fatal(err)
	}
	archive, stats := pack(t, dir, PackOptions{At: "/opt/ml/model", Around: around, AroundAt: "/opt/ml"})
	if got := list(t, archive); !slices.Equal(got, []string{"deep/ 755 0:0", "ok 640 0:0 fine"}) || stats.Skipped != 4 {
		t.Errorf("members %q, %+v", got, stats)
	}
}

func TestPackOfChangingFiles(t *testing.T) {
	dir := tree(t, map[string]string{"grows": "12345"})
	f, err := os.OpenFile(filepath.Join(dir, "grows"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p, out, b := packerFor(t, dir)
	root := p.root
	// The file grows between the look at it and the read, then another shrinks below what was promised.
	info, _ := root.Lstat("grows")
	if err := out.header("first", info, tar.TypeReg, "", 8); err != nil {
		t.Fatal(err)
	}
	if err := out.zeros(8); err != nil {
		t.Fatal(err)
	}
	if err := out.file(root, "grows", "grows"); err != nil {
		t.Fatal(err)
	}
	if err := out.tar.Close(); err != nil {
		t.Fatal(err)
	}
	if b.Len() == 0 || p.stats.Files != 1 {
		t.Errorf("stats %+v", p.stats)
	}
	if err := p.member("vanished"); err != nil || p.stats.Skipped != 1 {
		t.Errorf("a file that is gone: %v", err)
	}
}

func packerFor(t *testing.T, dir string) (*packer, *tarball, *bytes.Buffer) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	b := new(bytes.Buffer)
	p := &packer{op: "pack", ctx: t.Context(), root: root}
	out := &tarball{packer: p, tar: tar.NewWriter(b), buf: make([]byte, 1<<10)}
	p.out = out
	return p, out, b
}

func TestPackStopsWhenCancelled(t *testing.T) {
	dir := tree(t, map[string]string{"a": strings.Repeat("x", 1<<20), "b": "y"})
	stop := errors.New("stop requested")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stop)
	if _, err := Pack(ctx, dir, io.Discard, PackOptions{}); !errors.Is(err, stop) {
		t.Errorf("got %v", err)
	}
}

func TestPackReportsWriteErrors(t *testing.T) {
	dir := tree(t, map[string]string{"a": string(noise(4 << 20))})
	full := errors.New("full")
	_, err := Pack(t.Context(), dir, writerFunc(func([]byte) (int, error) { return 0, full }), PackOptions{})
	if !errors.Is(err, full) {
		t.Errorf("got %v", err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

func noise(n int) []byte {
	b := make([]byte, n)
	rand.New(rand.NewSource(1)).Read(b)
	return b
}

func TestRoundTrip(t *testing.T) {
	dir := tree(t, map[string]string{
		"a": "", "big": string(noise(3<<20 + 7)), "d/e/f": "deep", "d/link": "->e/f", "empty/": "", strings.Repeat("n", 200) + "/" + strings.Repeat("m", 200): "long names", "ünïcode": "u",
	})
	if err := os.Chmod(filepath.Join(dir, "d/e/f"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "d/e"), 0o555); err != nil { // children of a read-only directory
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(filepath.Join(dir, "d/e"), 0o755) })
	archive, packed := pack(t, dir, PackOptions{})
	out := t.TempDir()
	t.Cleanup(func() { os.Chmod(filepath.Join(out, "d/e"), 0o755) })
	stats, err := Unpack(t.Context(), bytes.NewReader(archive), out, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if stats.Files != packed.Files || stats.Bytes != packed.Bytes || stats.Links != packed.Links || stats.Directories != packed.Directories || stats.Packed != int64(len(archive)) {
		t.Errorf("packed %+v, unpacked %+v", packed, stats)
	}
	if got, want := describe(t, out), describe(t, dir); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func describe(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(at string, e fs.DirEntry, err error) error {
		if err != nil || at == dir {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		line := fmt.Sprintf("%s %v", at[len(dir)+1:], info.Mode())
		switch {
		case info.Mode().IsRegular():
			b, err := os.ReadFile(at)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %x %v", sha256.Sum256(b), info.ModTime().Unix())
		case info.Mode()&fs.ModeSymlink != 0:
			target, _ := os.Readlink(at)
			line += " ->" + target
		}
		out = append(out, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// archive makes a tar.gz of headers; regular files have their name as content unless Size is 0.
func archive(t *testing.T, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, h := range headers {
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := w.Write(bytes.Repeat([]byte("x"), int(h.Size))); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func reg(name string, size int64) tar.Header { return tar.Header{Name: name, Size: size} }
func link(name, target string) tar.Header {
	return tar.Header{Name: name, Linkname: target, Typeflag: tar.TypeSymlink}
}
func hard(name, target string) tar.Header {
	return tar.Header{Name: name, Linkname: target, Typeflag: tar.TypeLink}
}
func dirHeader(name string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o755}
}

func TestUnpackRefuses(t *testing.T) { // INF-26, INF-31, ruling 19
	for _, c := range []struct {
		name    string
		headers []tar.Header
		class   error
		member  string
	}{
		{"climbing name", []tar.Header{reg("ok", 1), reg("../x", 1)}, ErrUnsafeName, "../x"},
		{"climbing inside", []tar.Header{reg("a/../../x", 1)}, ErrUnsafeName, "a/../../x"},
		{"absolute name", []tar.Header{reg("/etc/x", 1)}, ErrUnsafeName, "/etc/x"},
		{"dot-dot at the end", []tar.Header{dirHeader("a/..")}, ErrUnsafeName, "a/.."},
		{"dot inside", []tar.Header{reg("a/./b", 1)}, ErrUnsafeName, "a/./b"},
		{"blank element", []tar.Header{reg("a/ /b", 1)}, ErrUnsafeName, "a/ /b"},
		{"empty element", []tar.Header{reg("a//b", 1)}, ErrUnsafeName, "a//b"},
		{"long element", []tar.Header{reg(strings.Repeat("n", 256), 1)}, ErrUnsafeName, strings.Repeat("n", 256)},
		{"file as the root", []tar.Header{reg(".", 1)}, ErrUnsafeName, "."},
		{"absolute link", []tar.Header{link("l", "/etc/passwd")}, ErrUnsafeLink, "l"},
		{"climbing link", []tar.Header{link("l", "../x")}, ErrUnsafeLink, "l"},
		{"climbing link in a directory", []tar.Header{link("d/l", "../../x")}, ErrUnsafeLink, "d/l"},
		{"link that climbs after a name", []tar.Header{link("here", "."), link("l", "here/../../x")}, ErrUnsafeLink, "l"},
		{"empty link", []tar.Header{link("l", "")}, ErrUnsafeLink, "l"},
		{"through a link to a directory", []tar.Header{dirHeader("d"), link("l", "d"), reg("l/x", 1)}, ErrClash, "l/x"},
		{"link made in a linked directory", []tar.Header{link("l", "."), link("l/p", "../x")}, ErrClash, "l/p"},
		{"hard link out", []tar.Header{hard("h", "../x")}, ErrUnsafeLink, "h"},
		{"hard link to an absolute name", []tar.Header{hard("h", "/etc/passwd")}, ErrUnsafeLink, "h"},
		{"hard link to a link", []tar.Header{link("l", "ok"), hard("h", "l")}, ErrUnsafeLink, "h"},
		{"hard link to nothing", []tar.Header{hard("h", "ok")}, ErrUnsafeLink, "h"},
		{"hard link through a link", []tar.Header{dirHeader("d"), reg("d/x", 1), link("l", "d"), hard("h", "l/x")}, ErrUnsafeLink, "h"},
		{"FIFO", []tar.Header{{Name: "p", Typeflag: tar.TypeFifo}}, ErrType, "p"},
		{"character device", []tar.Header{{Name: "c", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}}, ErrType, "c"},
		{"block device", []tar.Header{{Name: "b", Typeflag: tar.TypeBlock}}, ErrType, "b"},
		{"directory where a file is", []tar.Header{reg("a", 1), dirHeader("a")}, ErrClash, "a"},
		{"file where a directory is", []tar.Header{dirHeader("a"), reg("a", 1)}, ErrClash, "a"},
		{"file as a parent", []tar.Header{reg("a", 1), reg("a/b", 1)}, ErrClash, "a/b"},
		{"too large", []tar.Header{reg("a", 90), reg("b", 20)}, ErrTooLarge, "b"},
		{"too many", []tar.Header{reg("1", 1), reg("2", 1), reg("3", 1), reg("4", 1), reg("5", 1), reg("6", 1)}, ErrTooMany, "6"},
	} {
		t.Run(c.name, func(t *testing.T) {
			above := t.TempDir()
			dir := filepath.Join(above, "model")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			_, err := Unpack(t.Context(), bytes.NewReader(archive(t, c.headers...)), dir, Limits{Bytes: 100, Members: 5})
			var e *Error
			if !errors.As(err, &e) || e.Class != c.class || e.Member != c.member || e.Op != "unpack" {
				t.Errorf("error %v, want %v for %q", err, c.class, c.member)
			}
			if left := describe(t, above); !slices.Equal(left, []string{"model drwxr-xr-x"}) {
				t.Errorf("left behind: %q", left)
			}
		})
	}
	t.Run("any link under NoLinks", func(t *testing.T) {
		_, err := Unpack(t.Context(), bytes.NewReader(archive(t, reg("a", 1), link("l", "a"))), t.TempDir(), Limits{NoLinks: true})
		if !errors.Is(err, ErrLink) {
			t.Errorf("got %v", err)
		}
	})
}

func TestUnpackTakes(t *testing.T) { // INF-20, INF-21
	dir := t.TempDir()
	in := archive(t, dirHeader("./"), reg("./a", 3), reg("b", 2), reg("b", 4), hard("h", "a"), link("sub/l", "../a"), link("sub/deep/l", "../../sub/x"),
		tar.Header{Name: "setuid", Mode: 0o4755, Size: 1}, dirHeader("sub/"), link("b2", "a"), reg("b2", 5))
	stats, err := Unpack(t.Context(), bytes.NewReader(in), dir, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	got := describe(t, dir)
	for i := range got {
		got[i] = strings.Join(strings.Fields(got[i])[:2], " ")
	}
	want := []string{"a -rw-r--r--", "b -rw-r--r--", "b2 -rw-r--r--", "h -rw-r--r--", "setuid -rwxr-xr-x", "sub drwxr-xr-x", "sub/deep drwxr-xr-x", "sub/deep/l Lrwxrwxrwx", "sub/l Lrwxrwxrwx"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	if b, _ := os.ReadFile(filepath.Join(dir, "b")); len(b) != 4 {
		t.Errorf("the later member does not win: %d bytes", len(b))
	}
	if stats.Bytes != 3+2+4+1+5 {
		t.Errorf("%+v", stats)
	}
	if b, _ := os.ReadFile(filepath.Join(dir, "a")); len(b) != 3 {
		t.Errorf("writing b2 went through its link: a has %d bytes", len(b))
	}
}

func TestUnpackOfDamagedArchives(t *testing.T) {
	good := archive(t, reg("a", 100<<10), reg("b", 50))
	flipped := slices.Clone(good)
	flipped[len(flipped)-6] ^= 1 // the checksum
	plain := func() []byte {
		z, _ := gzip.NewReader(bytes.NewReader(good))
		b, _ := io.ReadAll(z)
		return b
	}()
	zipped := func(b []byte) []byte {
		var out bytes.Buffer
		z := gzip.NewWriter(&out)
		z.Write(b)
		z.Close()
		return out.Bytes()
	}
	broken := errors.New("connection reset")
	for _, c := range []struct {
		name  string
		in    io.Reader
		class error
	}{
		{"nothing", bytes.NewReader(nil), ErrNotGzip},
		{"text", strings.NewReader("<html>"), ErrNotGzip},
		{"tar without gzip", bytes.NewReader(plain), ErrNotGzip},
		{"cut in the middle", bytes.NewReader(good[:len(good)/2]), ErrTruncated},
		{"cut before the checksum", bytes.NewReader(good[:len(good)-8]), ErrTruncated},
		{"tar cut inside its gzip", bytes.NewReader(zipped(plain[:60<<10])), ErrTruncated},
		{"checksum", bytes.NewReader(flipped), ErrDamaged},
		{"gzip of something else", bytes.NewReader(zipped([]byte(strings.Repeat("not a tar ", 100)))), ErrDamaged},
		{"much after the end", bytes.NewReader(zipped(append(slices.Clone(plain), make([]byte, trailing+1)...))), ErrDamaged},
		{"broken reader", io.MultiReader(bytes.NewReader(good[:60]), readerFunc(func([]byte) (int, error) { return 0, broken })), broken},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			_, err := Unpack(t.Context(), c.in, dir, Limits{})
			var e *Error
			if !errors.As(err, &e) || !errors.Is(err, c.class) {
				t.Errorf("got %v, want %v", err, c.class)
			}
			if left := describe(t, dir); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
	t.Run("padding after the end is usual", func(t *testing.T) {
		if _, err := Unpack(t.Context(), bytes.NewReader(zipped(append(slices.Clone(plain), make([]byte, 1<<20)...))), t.TempDir(), Limits{}); err != nil {
			t.Error(err)
		}
	})
	t.Run("what was there before stays", func(t *testing.T) {
		dir := tree(t, map[string]string{"mine": "x"})
		if _, err := Unpack(t.Context(), strings.NewReader("<html>"), dir, Limits{}); err == nil {
			t.Error("no error")
		}
		if left := describe(t, dir); len(left) != 1 {
			t.Errorf("left: %q", left)
		}
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

func TestUnpackStopsABomb(t *testing.T) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	w.WriteHeader(&tar.Header{Name: "zeros", Size: 1 << 40, Mode: 0o644, Typeflag: tar.TypeReg})
	w.Write(make([]byte, 1<<20))
	z.Close()
	_, err := Unpack(t.Context(), &b, t.TempDir(), Limits{Bytes: 1 << 30})
	if !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v", err)
	}
}

func TestUnpackStopsWhenCancelled(t *testing.T) {
	stop := errors.New("stop requested")
	ctx, cancel := context.WithCancelCause(t.Context())
	in := bytes.NewReader(archive(t, reg("a", 10), reg("b", 1<<20)))
	dir := t.TempDir()
	_, err := Unpack(ctx, readerFunc(func(b []byte) (int, error) {
		defer cancel(stop)
		return in.Read(b[:min(len(b), 100)])
	}), dir, Limits{})
	if !errors.Is(err, stop) || len(describe(t, dir)) != 0 {
		t.Errorf("got %v, left %q", err, describe(t, dir))
	}
}

func FuzzUnpack(f *testing.F) {
	add := func(headers ...tar.Header) {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, h := range headers {
			h.Mode = 0o644
			if w.WriteHeader(&h) == nil && h.Size > 0 {
				w.Write(make([]byte, h.Size))
			}
		}
		w.Close()
		f.Add(b.Bytes())
	}
	add(tar.Header{Name: "a", Typeflag: tar.TypeReg, Size: 3}, link("l", "a"), hard("h", "a"))
	add(link("here", "."), link("here/x", "../y"), tar.Header{Name: "../x", Typeflag: tar.TypeReg})
	add(dirHeader("d/"), link("d/l", "../d/../../x"))
	f.Fuzz(func(t *testing.T, plain []byte) {
		var b bytes.Buffer
		z, _ := gzip.NewWriterLevel(&b, gzip.NoCompression)
		z.Write(plain)
		z.Close()
		above := t.TempDir()
		dir := filepath.Join(above, "m")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		_, err := Unpack(t.Context(), &b, dir, Limits{Bytes: 1 << 20, Members: 100})
		if entries, _ := os.ReadDir(above); len(entries) != 1 {
			t.Fatalf("outside: %v", entries)
		}
		if err != nil {
			if left, _ := os.ReadDir(dir); len(left) > 0 {
				t.Fatalf("left behind after %v: %v", err, left)
			}
			return
		}
		filepath.WalkDir(dir, func(at string, e fs.DirEntry, err error) error {
			if err != nil || e.Type()&fs.ModeSymlink == 0 {
				return nil
			}
			if real, err := filepath.EvalSymlinks(at); err == nil && real != dir && !strings.HasPrefix(real, dir+"/") {
				t.Fatalf("%s leads to %s", at, real)
			}
			return nil
		})
	})
}

func BenchmarkPack(b *testing.B) {
	dir := b.TempDir()
	text, err := os.ReadFile("pack.go")
	if err != nil {
		b.Fatal(err)
	}
	content := append(noise(32<<20), bytes.Repeat(text, (32<<20)/len(text))...)
	if err := os.WriteFile(filepath.Join(dir, "model"), content, 0o600); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(content)))
	for b.Loop() {
		if _, err := Pack(b.Context(), dir, io.Discard, PackOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}
