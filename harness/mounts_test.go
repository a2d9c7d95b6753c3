package harness

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/optml/optml/ledger"
)

// TestDropMounts: D12. What a dead owner mounted is taken away below the directory of mounts, and nowhere else; a
// directory that holds something is never removed.
func TestDropMounts(t *testing.T) {
	root := t.TempDir()
	empty, full, outside := filepath.Join(root, "job-a", "train"), filepath.Join(root, "job-b", "train"), filepath.Join(t.TempDir(), "train")
	for _, d := range []string{empty, full, outside} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(full, "x"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	open := func(paths ...string) (s ledger.State) {
		for _, p := range paths {
			s.Open = append(s.Open, ledger.OpenIntent{Intent: ledger.Intent{Kind: mountKind, ID: p}})
		}
		return s
	}
	missing := filepath.Join(root, "job-c", "train")
	if err := dropMounts(root, open(empty, full, missing)); err != nil {
		if os.Geteuid() != 0 {
			t.Skip("unmounting needs root: ", err)
		}
		t.Error(err)
	}
	for dir, want := range map[string]bool{filepath.Dir(empty): false, full: true} {
		if _, err := os.Stat(dir); (err == nil) != want {
			t.Errorf("%s: %v", dir, err)
		}
	}
	for _, p := range []string{outside, filepath.Join(root, "..", "etc"), "/"} {
		if err := dropMounts(root, open(p)); err == nil {
			t.Errorf("%s was taken for a mount of ours", p)
		}
	}
	if err := dropMounts("", open(empty)); err == nil {
		t.Error("without a directory of mounts")
	}
	if _, err := os.Stat(outside); err != nil {
		t.Error(err)
	}
}
