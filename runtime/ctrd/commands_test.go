package ctrd

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// A path leads through layers as overlayfs shows them: the upper one wins, links stay within, whiteouts hide.
func TestLookLayers(t *testing.T) {
	top := t.TempDir()
	var layers []string
	for _, l := range []string{"upper", "middle", "lower"} {
		layers = append(layers, filepath.Join(top, l))
	}
	file := func(layer int, name, text string, mode fs.FileMode) {
		p := filepath.Join(layers[layer], name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, []byte(text), mode)); err != nil {
			t.Fatal(err)
		}
	}
	link := func(layer int, name, target string) {
		p := filepath.Join(layers[layer], name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.Symlink(target, p)); err != nil {
			t.Fatal(err)
		}
	}
	file(2, "usr/bin/train", "lower", 0o755)
	file(2, "usr/bin/plain", "p", 0o644)
	link(2, "bin", "usr/bin")
	file(1, "opt/ml/serve", "12345", 0o755)
	link(1, "usr/bin/serve", "../../opt/ml/serve")
	link(0, "absolute", "/bin/serve")
	link(0, "out", "../../../../../../etc/passwd")
	link(0, "loop", "loop")
	file(0, "usr/bin/train", "the upper one", 0o755)
	file(2, "etc/a", "a", 0o644)
	file(0, "etc", "a file hides the directory", 0o644)
	for name, want := range map[string]int64{
		"/usr/bin/train": 13, "bin/train": 13, "/bin/serve": 5, "/absolute": 5, "/bin/../bin/plain": 1, "/usr/bin/./plain": 1,
		"/none": -1, "/etc/a": -1, "/out": -1, "/loop": -1, "/usr/bin/plain/x": -1,
	} {
		fi, err := lookLayers(layers, name)
		switch {
		case want < 0 && err == nil:
			t.Errorf("%s is there: %v", name, fi.Name())
		case want >= 0 && (err != nil || fi.Size() != want):
			t.Errorf("%s: %v, %v", name, fi, err)
		}
	}
	if _, err := lookLayers(layers, "/loop"); !errors.Is(err, syscall.ELOOP) {
		t.Error(err)
	}
	if os.Geteuid() != 0 {
		return
	}
	if err := unix.Mknod(filepath.Join(layers[0], "opt"), unix.S_IFCHR, 0); err != nil {
		t.Skip("no whiteouts can be made here:", err)
	}
	if _, err := lookLayers(layers, "/bin/serve"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what a layer removed is there: %v", err)
	}
	file(0, "var/lib/new", "n", 0o644)
	file(2, "var/lib/old", "o", 0o644)
	if err := unix.Lsetxattr(filepath.Join(layers[0], "var/lib"), "trusted.overlay.opaque", []byte("y"), 0); err != nil {
		t.Skip("no opaque directories can be made here:", err)
	}
	if _, err := lookLayers(layers, "/var/lib/old"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what an opaque directory hides is there: %v", err)
	}
}

func TestCommandPaths(t *testing.T) {
	for _, c := range []struct {
		cmd, env, cwd, want string
	}{
		{"train", "PATH=/a:b::/c", "/work", "/a/train /work/b/train /work/train /c/train"},
		{"bin/train", "", "", "/bin/train"},
		{"/x/train", "", "/work", "/x/train"},
	} {
		if d := cmp.Diff(c.want, strings.Join(commandPaths(c.cmd, []string{c.env}, c.cwd), " ")); d != "" {
			t.Error(d)
		}
	}
	if got := commandPaths("serve", nil, ""); len(got) != 6 || got[0] != "/usr/local/sbin/serve" {
		t.Error(got)
	}
}
