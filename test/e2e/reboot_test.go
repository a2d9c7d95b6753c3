//go:build e2e

package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/optml/optml/ledger"
	"github.com/optml/optml/test/images"
)

// tinyArchive is a file with the tiny image.
func tinyArchive(t *testing.T) string {
	t.Helper()
	img, err := images.Build(images.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := images.WriteOCI(&b, images.Named{Ref: tiny, Image: img}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "tiny.tar")
	if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// find is a job of another root than the world's.
func find(root, name string) (*ledger.Job, error) {
	return ledger.Find(filepath.Join(root, "jobs"), name)
}

// processesOf are those of the optml with this root and run directory, its owners first, its containers last.
func processesOf(root, run string) []int {
	var owners, others, containers []int
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(d))
		if pid == os.Getpid() {
			continue
		}
		args, environ := string(read(d+"/cmdline")), string(read(d+"/environ"))
		mounts := string(read(d + "/mountinfo"))
		switch {
		case args == "":
		case strings.Contains(args+environ, run) && strings.Contains(args, "train"):
			owners = append(owners, pid)
		case strings.Contains(args+environ, run), strings.Contains(args+environ, root):
			others = append(others, pid)
		case strings.Contains(mounts, " /opt/ml/model ") && strings.Contains(mounts, root):
			containers = append(containers, pid)
		}
	}
	return append(append(owners, others...), containers...)
}

// goDown ends all that an optml has running, as the power does, and empties its run directory as a boot does.
func goDown(t *testing.T, root, run string) {
	t.Helper()
	eventually(t, "its processes to die", func() bool {
		left := processesOf(root, run)
		for _, pid := range left {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		return len(left) == 0
	})
	for _, below := range []string{run, root} {
		for line := range strings.SplitSeq(string(read("/proc/self/mountinfo")), "\n") {
			if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], below+"/") {
				_ = syscall.Unmount(f[4], syscall.MNT_DETACH)
			}
		}
	}
	if err := os.RemoveAll(run); err != nil {
		t.Fatal(err)
	}
}
