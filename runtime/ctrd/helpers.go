package ctrd

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A helper is a small program of one role. The binary can do all roles itself, but a shim and a logger start before each
// container, and most of the time that a big program takes to start is its size. The helpers travel in the binary
// (Config.Helpers) and are written to <Root>/bin once; the run directory may forbid execution.

// program is what is executed in a role: its helper, written out if need be, else the binary itself. Files of helpers
// are named ROLE-HASH, so that one of another version is another file.
func (cfg Config) program(role string) (string, error) {
	if cfg.Helpers == nil {
		return cfg.Executable, nil
	}
	found, err := fs.Glob(cfg.Helpers, role+"-*")
	if err != nil || len(found) != 1 || noExec(cfg.Root) {
		return cfg.Executable, err
	}
	info, err := fs.Stat(cfg.Helpers, found[0])
	if err != nil {
		return "", err
	}
	path := filepath.Join(cfg.Root, "bin", found[0])
	if st, err := os.Lstat(path); err == nil && st.Mode().IsRegular() && st.Size() == info.Size() {
		return path, nil
	}
	if err := cfg.writeHelper(found[0], path); err != nil {
		return "", fmt.Errorf("write program of the %s: %w", role, err)
	}
	return path, nil
}

func (cfg Config) writeHelper(name, path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	r, err := cfg.Helpers.Open(name)
	if err != nil {
		return err
	}
	defer r.Close()
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	if err == nil {
		err = f.Chmod(0o755)
	}
	if err == nil {
		err = f.Sync() // its name promises its content, after a power failure too
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// noExec says whether programs on the file system of dir cannot be executed.
func noExec(dir string) bool {
	var s unix.Statfs_t
	return unix.Statfs(dir, &s) == nil && s.Flags&unix.ST_NOEXEC != 0
}
