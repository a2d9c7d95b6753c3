package ctrd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

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
	return writeFrom(path, r, 0o755, true) // its name promises its content, after a power failure too
}

// noExec says whether programs on the file system of dir cannot be executed.
func noExec(dir string) bool {
	var s unix.Statfs_t
	return unix.Statfs(dir, &s) == nil && s.Flags&unix.ST_NOEXEC != 0
}

// PruneHelpers removes the programs that earlier versions of the binary have left in <Root>/bin, and what a crash left of
// one that was being written, and returns how many. While another process uses this Root, which may be of such a version,
// it removes nothing and busy is true.
func PruneHelpers(cfg Config) (removed int, busy bool, err error) {
	if cfg, err = cfg.complete(); err != nil {
		return 0, false, err
	}
	dir := filepath.Join(cfg.Root, "bin")
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	} else if err != nil {
		return 0, false, fmt.Errorf("remove old programs: %w", err)
	}
	use, err := os.OpenFile(cfg.useLock(), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return 0, false, fmt.Errorf("open lock: %w", err)
	}
	defer use.Close()
	// The embedded daemon, looking whether it has users, holds this lock for a moment too.
	free := false
	for range 20 {
		if free, err = tryLock(use, unix.LOCK_EX); free || err != nil {
			break
		}
		time.Sleep(lockPoll)
	}
	if err != nil || !free {
		return 0, !free, err
	}
	var errs []error
	for _, e := range entries {
		role, _, _ := strings.Cut(e.Name(), "-")
		if !e.Type().IsRegular() || role != RoleShim && role != RoleLogger && !strings.HasPrefix(e.Name(), ".new-") {
			continue
		}
		if cfg.Helpers != nil {
			if _, err := fs.Stat(cfg.Helpers, e.Name()); err == nil {
				continue
			}
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			errs = append(errs, fmt.Errorf("remove old program: %w", err))
			continue
		}
		removed++
	}
	return removed, false, errors.Join(errs...)
}
