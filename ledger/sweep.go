package ledger

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/optml/optml/job"
	"golang.org/x/sys/unix"
)

// Whoever makes a job holds a shared flock on the directory of its kind, from before the temporary directory exists
// until it has its name. So when a sweep gets that lock for itself, every .new-* and .old-* was left by a dead process.

func holdMaking(parent string) (*os.File, error) {
	f, err := os.Open(parent)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_SH)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", parent, err)
	}
	return f, nil
}

// Sweep removes what processes that were killed while they made, replaced or removed a job left under root. It returns
// the paths removed. It touches no job: one whose owner died is for Adopt. Where a job is being made just now, it
// leaves that kind for another time.
func Sweep(root string) ([]string, error) {
	var removed []string
	var errs []error
	for _, kind := range kinds {
		r, err := sweepKind(filepath.Join(root, string(kind)))
		removed = append(removed, r...)
		errs = append(errs, err)
	}
	return removed, errors.Join(errs...)
}

func sweepKind(parent string) (removed []string, err error) {
	f, err := os.Open(parent)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		return nil, nil
	}
	entries, err := f.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), newPrefix) && !strings.HasPrefix(e.Name(), oldPrefix) {
			continue
		}
		p := filepath.Join(parent, e.Name())
		if err := removeTree(p); err != nil {
			errs = append(errs, err)
			continue
		}
		removed = append(removed, p)
	}
	return removed, errors.Join(errs...)
}

// Remove deletes a job: record, logs and all. ErrOwned while its owner lives. What the job made outside its directory
// is not undone: adopt and sweep first, if State says that intents are open.
func Remove(j *Job) error {
	parent := filepath.Dir(j.Dir())
	making, err := holdMaking(parent)
	if err != nil {
		return fmt.Errorf("remove %s: %w", j.Dir(), err)
	}
	defer making.Close()
	lock, _, err := takeLock(j.LockPath())
	if err != nil {
		return fmt.Errorf("remove %s: %w", j.Dir(), err)
	}
	defer lock.Close()
	if !sameFile(lock, j.LockPath()) {
		return fmt.Errorf("remove %s: another process has just replaced it", j.Dir())
	}
	if m, err := mountBelow(j.Dir()); err != nil || m != "" {
		return mountError(j.Dir(), m, err)
	}
	// It disappears at once; what a crash leaves of it is swept.
	old, err := os.MkdirTemp(parent, oldPrefix+"*")
	if err != nil {
		return fmt.Errorf("remove %s: %w", j.Dir(), err)
	}
	if err := os.Rename(j.Dir(), filepath.Join(old, filepath.Base(j.Dir()))); err != nil {
		os.Remove(old)
		return fmt.Errorf("remove: %w", err)
	}
	return removeTree(old)
}

// removeTree removes a directory without leaving it: not by links, and not while anything is mounted in it (D12).
func removeTree(dir string) error {
	if m, err := mountBelow(dir); err != nil || m != "" {
		return mountError(dir, m, err)
	}
	root, err := os.OpenRoot(filepath.Dir(dir))
	if err != nil {
		return err
	}
	defer root.Close()
	return root.RemoveAll(filepath.Base(dir))
}

func mountError(dir, mount string, err error) error {
	if err != nil {
		return fmt.Errorf("remove %s: %w", dir, err)
	}
	return fmt.Errorf("remove %s: %s is mounted in it", dir, mount)
}

// mountBelow is a mount point at or below dir, "" when there is none.
func mountBelow(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	return findMount(b, dir), nil
}

func findMount(mountinfo []byte, dir string) string {
	for sc := bufio.NewScanner(bytes.NewReader(mountinfo)); sc.Scan(); {
		fields := strings.Fields(sc.Text())
		if len(fields) < 5 {
			continue
		}
		if m := unescapeMount(fields[4]); m == dir || strings.HasPrefix(m, dir+"/") {
			return m
		}
	}
	return ""
}

// unescapeMount undoes the kernel's octal escapes of space, tab, line feed and backslash.
func unescapeMount(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// kinds of entries, in the order in which they are listed and searched.
var kinds = []job.Kind{job.KindTraining, job.KindTransform, job.KindServing, job.KindValidation, job.KindBench}

func knownKind(k job.Kind) bool {
	return slices.Contains(kinds, k)
}
