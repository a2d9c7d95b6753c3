// Package volume makes file systems of a fixed size in a file: what a job writes to one ends with ENOSPC where the disk
// of its instance would (ruling 13). It needs root, loop devices and e2fsprogs.
package volume

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// MissingError says what the host lacks for volumes.
type MissingError struct {
	Name string
	Hint string // the command that mends it
	Err  error
}

func (e *MissingError) Error() string { return fmt.Sprintf("%s: %v", e.Name, e.Err) }
func (e *MissingError) Unwrap() error { return e.Err }

// Make makes a file system of size bytes in the file image, which must not exist, and mounts it at dir, an empty
// directory. The file takes up what is written to it, beside some MiB. A size for which the disk has no room now is no
// error: writes fail then when the disk is full. After an error neither the file nor the mount is there.
func Make(ctx context.Context, image, dir string, size int64) (err error) {
	mkfs, err := find("mkfs.ext4")
	if err != nil {
		return err
	}
	f, err := os.OpenFile(image, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("make volume: %w", err)
	}
	defer f.Close()
	defer func() {
		if err != nil {
			os.Remove(image)
		}
	}()
	if err := f.Truncate(size); err != nil {
		return fmt.Errorf("make volume of %d bytes: %w", size, err)
	}
	// Without a journal, which would take part of a small volume and write everything twice: a volume lives as long as
	// its job. Nothing is kept back for root, which the job runs as.
	args := []string{"-q", "-F", "-m", "0", "-O", "^has_journal", "-E", "lazy_itable_init=1,nodiscard,root_owner=0:0", image}
	if err := run(ctx, mkfs, args...); err != nil {
		return fmt.Errorf("make volume: %w", err)
	}
	return mount(f, dir)
}

// Mount mounts a file system that Make has made and that was not unmounted, as after a crash of the host: it is checked
// and mended first.
func Mount(ctx context.Context, image, dir string) error {
	fsck, err := find("e2fsck")
	if err != nil {
		return err
	}
	f, err := os.OpenFile(image, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return fmt.Errorf("mount volume: %w", err)
	}
	defer f.Close()
	const mended = 1 // the exit code of a file system that was mended
	err = run(ctx, fsck, "-f", "-y", image)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == mended {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("mend volume: %w", err)
	}
	return mount(f, dir)
}

// mountTries: another program may take the loop device that we were told is free.
const mountTries = 20

// mount mounts the file system in f. The kernel frees the loop device with the mount, or, if we die before, with us.
func mount(f *os.File, dir string) error {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return &MissingError{Name: "loop devices", Hint: "modprobe loop", Err: err}
	}
	defer control.Close()
	for try := 0; ; try++ {
		err := mountOnce(control, f, dir)
		if !errors.Is(err, unix.EBUSY) || try == mountTries {
			return err
		}
		time.Sleep(time.Duration(try) * time.Millisecond)
	}
}

func mountOnce(control, f *os.File, dir string) error {
	n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return fmt.Errorf("find a free loop device: %w", err)
	}
	dev := fmt.Sprintf("/dev/loop%d", n)
	loop, err := os.OpenFile(dev, os.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return &MissingError{Name: "loop devices", Hint: "modprobe loop; a container needs " + dev + " too", Err: err}
	}
	defer loop.Close()
	config := unix.LoopConfig{Fd: uint32(f.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR}}
	copy(config.Info.File_name[:len(config.Info.File_name)-1], filepath.Base(f.Name()))
	if err := unix.IoctlLoopConfigure(int(loop.Fd()), &config); err != nil {
		return fmt.Errorf("set loop device %s up: %w", dev, err)
	}
	if err := unix.Mount(dev, dir, "ext4", unix.MS_NODEV, ""); err != nil {
		_ = unix.IoctlSetInt(int(loop.Fd()), unix.LOOP_CLR_FD, 0)
		return fmt.Errorf("mount volume at %s: %w", dir, err)
	}
	return nil
}

// Mounted says whether dir is the root of a mount of its own.
func Mounted(dir string) bool {
	var at, above unix.Stat_t
	return unix.Lstat(dir, &at) == nil && unix.Lstat(filepath.Dir(dir), &above) == nil && at.Dev != above.Dev
}

func find(name string) (string, error) {
	path, err := exec.LookPath(name)
	for _, dir := range []string{"/usr/sbin", "/sbin"} { // not on every root's PATH
		if err == nil {
			break
		}
		path, err = exec.LookPath(filepath.Join(dir, name))
	}
	if err != nil {
		return "", &MissingError{Name: name, Hint: "apt-get install e2fsprogs", Err: exec.ErrNotFound}
	}
	return path, nil
}

// run runs a program; its error has the last that the program said.
func run(ctx context.Context, name string, args ...string) error {
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = &said, &said
	err := cmd.Run()
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	lines := strings.Split(strings.TrimSpace(said.String()), "\n")
	return fmt.Errorf("%s: %w: %s", filepath.Base(name), err, lines[len(lines)-1])
}
