package ctrd

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
)

// Where things are. The run directory is short because Unix socket paths are at most 107 bytes: containerd allows 42
// for the directory of the shims' sockets, whose names are 64 hexadecimal digits.
const maxSocketDir = 42

func (cfg Config) daemonRoot() string  { return filepath.Join(cfg.Root, "containerd") }
func (cfg Config) daemonState() string { return filepath.Join(cfg.RunDir, "containerd") }
func (cfg Config) socket() string      { return filepath.Join(cfg.RunDir, "containerd.sock") }
func (cfg Config) shimSockets() string { return filepath.Join(cfg.RunDir, "s") }
func (cfg Config) runcRoot() string    { return filepath.Join(cfg.RunDir, "runc") }
func (cfg Config) bin() string         { return filepath.Join(cfg.RunDir, "bin") }
func (cfg Config) loggerPath() string  { return filepath.Join(cfg.bin(), loggerName) }
func (cfg Config) daemonLog() string   { return filepath.Join(cfg.RunDir, "containerd.log") }

// bundle is where the embedded daemon keeps a task.
func (cfg Config) bundle(id string) string {
	return filepath.Join(cfg.daemonState(), "io.containerd.runtime.v2.task", cfg.Namespace, id)
}

// containers holds one directory for each container: its generated files, and what a sweep must know of it.
func (cfg Config) containers() string { return filepath.Join(cfg.RunDir, "c") }

// nets holds one file for each bridge, and the lock that bridges are made and removed under.
func (cfg Config) nets() string { return filepath.Join(cfg.RunDir, "net") }

// The locks lie in the state that persists, since the database that they guard lies there too.
func (cfg Config) useLock() string    { return filepath.Join(cfg.Root, "containerd.use") }
func (cfg Config) startLock() string  { return filepath.Join(cfg.Root, "containerd.start") }
func (cfg Config) daemonLock() string { return filepath.Join(cfg.Root, "containerd.lock") }

// makeDirs makes what must exist before a daemon or a container does, and the links by which the roles are
// executed.
func (cfg Config) makeDirs() error {
	if n := len(cfg.shimSockets()); n > maxSocketDir {
		return fmt.Errorf("run directory %s is %d bytes too long: sockets live under it", cfg.RunDir, n-maxSocketDir)
	}
	for _, dir := range []string{cfg.Root, cfg.RunDir, cfg.bin(), cfg.containers(), cfg.nets()} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return fmt.Errorf("make state directory: %w", err)
		}
	}
	for _, x := range []struct{ role, name string }{{RoleShim, shimName}, {RoleLogger, loggerName}} {
		path, err := cfg.program(x.role)
		if err == nil {
			err = link(path, filepath.Join(cfg.bin(), x.name))
		}
		if err != nil {
			return fmt.Errorf("link %s: %w", x.name, err)
		}
	}
	return nil
}

// link makes path a symbolic link to target, replacing one to elsewhere in one step: another process may be about to
// execute it.
func link(target, path string) error {
	if old, err := os.Readlink(path); err == nil && old == target {
		return nil
	}
	tmp := fmt.Sprintf("%s.%016x", path, rand.Uint64())
	if err := os.Symlink(target, tmp); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		os.Remove(tmp)
		return err
	}
	return nil
}

// bootID identifies this boot of the kernel: what lives only in memory is gone when it changes.
func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read boot id: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}
