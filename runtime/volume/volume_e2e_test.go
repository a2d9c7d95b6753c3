//go:build e2e

package volume

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// make8 makes a small volume, or skips where the host cannot.
func make8(t *testing.T) (image, dir string) {
	t.Helper()
	image, dir = filepath.Join(t.TempDir(), "v.ext4"), filepath.Join(t.TempDir(), "at")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	err := Make(t.Context(), image, dir, 8<<20)
	if missing, ok := errors.AsType[*MissingError](err); ok {
		t.Skipf("%v; %s", missing, missing.Hint)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return image, dir
}

// Ruling 13: the write that does not fit fails; what fits is there after a crash of the host, too.
func TestVolume(t *testing.T) {
	image, dir := make8(t)
	if !Mounted(dir) {
		t.Error("it is not mounted")
	}
	model := bytes.Repeat([]byte("model"), 1000)
	if err := os.WriteFile(filepath.Join(dir, "model"), model, 0o644); err != nil {
		t.Fatal(err)
	}
	err := os.WriteFile(filepath.Join(dir, "big"), make([]byte, 9<<20), 0o644)
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("9 MiB on 8: %v", err)
	}
	unix.Sync()
	// A copy of the mounted file system is what a crash would leave.
	crashed := filepath.Join(t.TempDir(), "crashed.ext4")
	b, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(crashed, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Unmount(dir, 0); err != nil {
		t.Fatal(err)
	}
	if Mounted(dir) {
		t.Error("it is still mounted")
	}
	waitFree(t, image)
	if err := Mount(t.Context(), crashed, dir); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(dir, "model"))
	if err != nil || !bytes.Equal(got, model) {
		t.Errorf("after a crash: %d bytes, %v", len(got), err)
	}
	if err := unix.Unmount(dir, 0); err != nil {
		t.Fatal(err)
	}
	waitFree(t, crashed)
}

// waitFree waits until no loop device holds the file.
func waitFree(t *testing.T, image string) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		held := false
		files, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
		for _, f := range files {
			b, _ := os.ReadFile(f)
			held = held || strings.TrimSpace(string(b)) == image
		}
		if !held {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("a loop device holds %s", image)
		}
	}
}

// What is no file system is an error, and nothing is left of a volume that could not be made.
func TestVolumeErrors(t *testing.T) {
	image, dir := make8(t)
	if err := Make(t.Context(), image, dir, 8<<20); !errors.Is(err, os.ErrExist) {
		t.Errorf("over a file that is there: %v", err)
	}
	if _, err := os.Stat(image); err != nil {
		t.Errorf("the file of another was removed: %v", err)
	}
	junk := filepath.Join(t.TempDir(), "junk")
	if err := os.WriteFile(junk, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Mount(t.Context(), junk, dir); err == nil {
		t.Error("zeros were mounted")
	}
	small := filepath.Join(t.TempDir(), "small")
	if err := Make(t.Context(), small, filepath.Join(dir, "nowhere"), 8<<20); err == nil {
		t.Error("mounted on nothing")
	}
	if _, err := os.Stat(small); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its file is left: %v", err)
	}
	waitFree(t, small)
}
