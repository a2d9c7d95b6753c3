package ctrd

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// MissingRuncError says that the host has no runc. Hint is the command that mends it.
type MissingRuncError struct {
	Name string // what was looked for
	Hint string
	Err  error
}

func (e *MissingRuncError) Error() string { return fmt.Sprintf("find %s: %v", e.Name, e.Err) }
func (e *MissingRuncError) Unwrap() error { return e.Err }

// findRunc returns the absolute path of the runc binary.
func findRunc(name string) (string, error) {
	if name == "" {
		name = "runc"
	}
	path, err := exec.LookPath(name)
	if err != nil {
		// A user's PATH often lacks the directories of the administrator.
		for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin"} {
			if p := filepath.Join(dir, name); !strings.Contains(name, "/") && executable(p) {
				return p, nil
			}
		}
		return "", &MissingRuncError{Name: name, Hint: "apt-get install runc", Err: exec.ErrNotFound}
	}
	return filepath.Abs(path)
}

func executable(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0
}

// Runc is what is known of the runc binary.
type Runc struct {
	Path    string
	Version string
	Seccomp bool // it can filter system calls; without, the default profile is left out, with a warning
}

var runcInfo sync.Map // path + modification time + size -> Runc

// inspectRunc asks runc what it can. The answer costs two executions and is kept in dir between processes.
func inspectRunc(ctx context.Context, path, dir string) (Runc, error) {
	st, err := os.Stat(path)
	if err != nil {
		return Runc{}, fmt.Errorf("stat runc: %w", err)
	}
	key := fmt.Sprintf("runc-%x-%x.json", st.ModTime().UnixNano(), st.Size())
	if v, ok := runcInfo.Load(path + key); ok {
		return v.(Runc), nil
	}
	cache := filepath.Join(dir, key)
	var info Runc
	if b, err := os.ReadFile(cache); err == nil && json.Unmarshal(b, &info) == nil && info.Path == path {
		runcInfo.Store(path+key, info)
		return info, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return Runc{}, fmt.Errorf("ask %s for its version: %w", path, err)
	}
	first, _, _ := bytes.Cut(out, []byte("\n"))
	info = Runc{Path: path, Version: strings.TrimPrefix(string(first), "runc version ")}
	// Before 1.1 there is no "features": such a runc is taken to have seccomp, as distributions build it.
	out, err = exec.CommandContext(ctx, path, "features").Output()
	info.Seccomp = err != nil || seccompOf(out)
	if b, err := json.Marshal(info); err == nil {
		_ = writeFile(cache, b, 0o600) // a cache: without it the next process asks again
	}
	runcInfo.Store(path+key, info)
	return info, nil
}

// seccompOf reads the answer of "runc features". A build without seccomp has no such key.
func seccompOf(features []byte) bool {
	var f struct {
		Linux struct {
			Seccomp *struct {
				Enabled *bool `json:"enabled"`
			} `json:"seccomp"`
		} `json:"linux"`
	}
	if json.Unmarshal(features, &f) != nil || f.Linux.Seccomp == nil {
		return false
	}
	return f.Linux.Seccomp.Enabled == nil || *f.Linux.Seccomp.Enabled
}

// writeFile writes a file that appears whole.
func writeFile(path string, b []byte, mode os.FileMode) error {
	return writeFrom(path, bytes.NewReader(b), mode, false)
}

// writeFrom writes what r holds as a file that appears whole, and with sync does so after a power failure too.
func writeFrom(path string, r io.Reader, mode os.FileMode, sync bool) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil && sync {
		err = f.Sync()
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
