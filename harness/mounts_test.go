package harness

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/optml/optml/job"
	"github.com/optml/optml/ledger"
	"github.com/optml/optml/runtime/containertest"
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

// TestFileSystemIsNotOurs: FILE-13, D12. A user's directory reaches the container as a mount, and no record says that it
// is ours: neither the end of the job nor a sweep may take it away.
func TestFileSystemIsNotOurs(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "data", "empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	b := newBench(t, algo(func(p *containertest.Process) int {
		write(p, "/opt/ml/input/data/rw/made", "x")
		for _, m := range p.Spec.Mounts {
			if strings.HasSuffix(m.Target, "/ro") != m.ReadOnly {
				t.Errorf("%+v", m)
			}
		}
		return 0
	}))
	p := trainingPlan("fs")
	p.Training.Channels = nil
	for _, name := range []string{"ro", "rw"} {
		p.Training.Channels = append(p.Training.Channels, job.Channel{Name: name, Mode: "File", Source: job.Source{Type: "FileSystem", URI: root, Directory: "/data/empty", ReadOnly: name == "ro"}})
	}
	o := b.create(p)
	defer o.Close()
	final, err := Run(t.Context(), o, p, b.host)
	if err != nil || final.Status != "Completed" {
		t.Fatalf("%+v %v", final, err)
	}
	b.clean(o)
	if got, err := os.ReadFile(filepath.Join(root, "data", "empty", "made")); err != nil || string(got) != "x" {
		t.Errorf("written through: %q, %v", got, err)
	}
	events, err := os.ReadFile(filepath.Join(o.Dir(), "events.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(events)) {
		if strings.Contains(line, "Intent") && strings.Contains(line, `"mount"`) {
			t.Errorf("recorded as ours: %s", line)
		}
	}
	if !strings.Contains(string(events), "Intent") {
		t.Errorf("no intent at all in %s", events)
	}

	p = trainingPlan("fs-none")
	p.Training.Channels = []job.Channel{{Name: "train", Mode: "File", Source: job.Source{Type: "FileSystem", URI: root, Directory: "/none"}}}
	final, _ = b.run(p)
	if want := filepath.Join(root, "none"); !strings.HasPrefix(final.FailureReason, "ClientError: Data download failed:") || !strings.Contains(final.FailureReason+final.Detail, want) ||
		!strings.Contains(final.FailureReason+final.Detail, "train") || *final.ExitCode != ExitClient {
		t.Errorf("%+v", final)
	}
}
