package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// invoker is who called optml by sudo (or doas, which sets the same variables by convention): what is written for the
// user is theirs. It is 0 and 0 without one, and for who is not root, whose files are theirs in any case.
func invoker(euid int, getenv func(string) string) (uid, gid int) {
	if euid != 0 {
		return 0, 0
	}
	u, uerr := strconv.ParseUint(getenv("SUDO_UID"), 10, 31)
	g, gerr := strconv.ParseUint(getenv("SUDO_GID"), 10, 31)
	if uerr != nil || gerr != nil {
		return 0, 0
	}
	return int(u), int(g)
}

// makeDir makes a directory that belongs to who called.
func makeDir(path string) error {
	if err := os.Mkdir(path, 0o755); err != nil {
		return err
	}
	if uid, gid := invoker(os.Geteuid(), os.Getenv); uid != 0 || gid != 0 {
		return os.Chown(path, uid, gid)
	}
	return nil
}

// writeFile writes a file that appears whole and belongs to who called. A place where there can be none is the user's
// mistake.
func writeFile(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".optml-*")
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return &usageError{Err: fmt.Errorf("write %s: %w", path, err)}
	} else if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if uid, gid := invoker(os.Geteuid(), os.Getenv); err == nil && (uid != 0 || gid != 0) {
		err = f.Chown(uid, gid)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
