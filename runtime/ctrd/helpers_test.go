package ctrd

import (
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"
)

func readLink(t *testing.T, cfg Config, name string) string {
	t.Helper()
	if err := cfg.makeDirs(); err != nil {
		t.Fatal(err)
	}
	to, err := os.Readlink(filepath.Join(cfg.bin(), name))
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// TestProgramsOfTheRoles: helpers that the binary carries are written out once and linked; a role without one, and a
// binary without any, is the binary itself.
func TestProgramsOfTheRoles(t *testing.T) {
	cfg := Config{Root: t.TempDir(), RunDir: t.TempDir(), Executable: "/usr/bin/optml"}
	cfg.RunDir = "/tmp/" + filepath.Base(t.TempDir()) + "-optml-programs" // sockets live below: short
	t.Cleanup(func() { os.RemoveAll(cfg.RunDir) })
	if to := readLink(t, cfg, loggerName); to != cfg.Executable {
		t.Errorf("without helpers the logger is %s", to)
	}

	cfg.Helpers = fstest.MapFS{"README.md": {Data: []byte("x")}, "logger-aa": {Data: []byte("logger a")}}
	want := filepath.Join(cfg.Root, "bin", "logger-aa")
	if to := readLink(t, cfg, loggerName); to != want {
		t.Errorf("the logger is %s, want %s", to, want)
	}
	if to := readLink(t, cfg, shimName); to != cfg.Executable {
		t.Errorf("the shim, which has no helper, is %s", to)
	}
	before, err := os.Stat(want)
	if err != nil || before.Mode() != 0o755 {
		t.Fatalf("%v, %v", before, err)
	}
	readLink(t, cfg, loggerName)
	if after, err := os.Stat(want); err != nil || !os.SameFile(before, after) {
		t.Error("it is written again although it is there")
	}

	if err := os.Truncate(want, 3); err != nil {
		t.Fatal(err)
	}
	readLink(t, cfg, loggerName)
	if b, err := os.ReadFile(want); err != nil || string(b) != "logger a" {
		t.Errorf("a damaged one is left as %q, %v", b, err)
	}

	cfg.Helpers = fstest.MapFS{"logger-bb": {Data: []byte("logger b")}}
	if to := readLink(t, cfg, loggerName); filepath.Base(to) != "logger-bb" {
		t.Errorf("of another version the logger is %s", to)
	}
}
