package harness

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/optml/optml/channels"
	"github.com/optml/optml/ledger"
	"github.com/optml/optml/runtime/container"
	"github.com/optml/optml/runtime/volume"
)

// VolumeFull is the cause when a job holds more than VolumeSizeInGB (ruling 13).
type VolumeFull struct{ Used, Size int64 }

func (e VolumeFull) Error() string {
	return fmt.Sprintf("the job's volume is full: /opt/ml and what the container wrote beside it are %d bytes, VolumeSizeInGB allows %d", e.Used, e.Size)
}

// The watch costs a walk over the tree: 0.18 s for 100,000 files. It rests fifty times as long as it worked, so that it
// never takes more than 2 % of a core.
const (
	volumeFirst = time.Second // doubled until it is volumePoll: a job may write much at once
	volumePoll  = 10 * time.Second
	volumeRest  = 50
)

// watchVolume calls full once when the trees hold more than size bytes together, and returns then or when ctx is done.
// The volume of an instance refuses the write that does not fit; a watch can only stop the job soon after, which the plan
// says. trees is asked each time; seen is told what they hold.
func watchVolume(ctx context.Context, trees func() []string, size int64, seen func(used int64), full func(VolumeFull)) {
	if size <= 0 {
		return
	}
	next := volumeFirst
	for wait := time.Duration(0); ; {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		began := time.Now()
		used := int64(0)
		for _, tree := range trees() {
			used += DiskUse(tree)
		}
		seen(used)
		if used > size {
			full(VolumeFull{Used: used, Size: size})
			return
		}
		wait = max(next, volumeRest*time.Since(began))
		next = min(2*next, volumePoll)
	}
}

// DiskUse is what a tree occupies on its disk, in bytes, on this file system alone; a file with several names counts once.
// What comes and goes while it is walked is counted or not. A tree that is not there occupies nothing.
func DiskUse(tree string) (n int64) {
	root, err := os.Stat(tree)
	if err != nil {
		return 0
	}
	dev := root.Sys().(*syscall.Stat_t).Dev
	seen := map[uint64]bool{} // of files with several names
	_ = filepath.WalkDir(tree, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		fi, err := d.Info()
		if err != nil {
			return nil
		}
		st := fi.Sys().(*syscall.Stat_t)
		if st.Dev != dev {
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		if st.Nlink > 1 && !d.IsDir() {
			if seen[st.Ino] {
				return nil
			}
			seen[st.Ino] = true
		}
		n += st.Blocks * 512
		return nil
	})
	return n
}

// volumeName is the mount point of a job's volume beside its channels' views. No channel has such a name.
const volumeName = "@volume"

// place says where the instance's /opt/ml is on this machine: in the work directory, or on a volume of its own.
func (in *instance) place() error {
	work := in.run.owner.WorkDir()
	in.tree = container.Tree{Root: filepath.Join(work, in.host)}
	if !in.training.EnforceVolume || in.training.VolumeBytes <= 0 {
		return nil
	}
	dir := in.mountDir()
	if dir == "" {
		return errors.New("this host has no directory for mounts, which --enforce-volume-size needs")
	}
	in.volumeFile = filepath.Join(work, in.host+".ext4")
	in.tree.Root = filepath.Join(dir, volumeName)
	return nil
}

// disk is how much of the instance's volume is used, and its size (training 5.2): of the volume of its own, of
// VolumeSizeInGB as the watch last saw it, else of the file system that /opt/ml lies on.
func (in *instance) disk() (used, size int64) {
	if in.volumeFile == "" && in.training.VolumeBytes > 0 {
		return in.used.Load(), in.training.VolumeBytes
	}
	var st syscall.Statfs_t
	if syscall.Statfs(in.tree.Root, &st) != nil {
		return 0, 0
	}
	used = int64(st.Blocks-st.Bfree) * st.Bsize
	return used, used + int64(st.Bavail)*st.Bsize // as df counts
}

// makeVolume makes and mounts the volume that --enforce-volume-size asks for (ruling 13). It is unmounted when the run
// ends, and by whoever recovers the job.
func (in *instance) makeVolume(ctx context.Context) error {
	if in.volumeFile == "" {
		return nil
	}
	if err := in.willMountVolume(); err != nil {
		return err
	}
	r, dir := in.run, in.tree.Root
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make volume: %w", err)
	}
	var st syscall.Statfs_t
	if syscall.Statfs(filepath.Dir(in.volumeFile), &st) == nil {
		if free := int64(st.Bavail) * st.Bsize; free < in.training.VolumeBytes {
			r.append(ledger.Warning{Rule: "ruling 13", Text: fmt.Sprintf("the disk has %d bytes free and the volume is of %d: what does not fit on the disk fails with an I/O error", free, in.training.VolumeBytes)})
		}
	}
	return in.volumeError(volume.Make(ctx, in.volumeFile, dir, in.training.VolumeBytes))
}

// willMountVolume records that the volume will be mounted, and has it unmounted in the end.
func (in *instance) willMountVolume() error {
	if err := in.run.appendAt(in.host, "layout", ledger.Intent{Kind: mountKind, ID: in.tree.Root}); err != nil {
		return err
	}
	in.run.later("volume", func(context.Context) error { return in.dropVolume() })
	return nil
}

// openVolume mounts the volume in which a finished job has kept its artifacts.
func (in *instance) openVolume(ctx context.Context) error {
	if in.volumeFile == "" {
		return nil
	}
	if err := in.willMountVolume(); err != nil {
		return err
	}
	return in.reopenVolume(ctx)
}

// reopenVolume finds the volume of a job whose owner has died: still mounted, or, after a reboot, its file.
func (in *instance) reopenVolume(ctx context.Context) error {
	if in.volumeFile == "" || volume.Mounted(in.tree.Root) {
		return nil
	}
	if _, err := os.Lstat(in.volumeFile); errors.Is(err, fs.ErrNotExist) {
		return nil // it never came so far
	}
	if err := os.MkdirAll(in.tree.Root, 0o755); err != nil {
		return fmt.Errorf("mount volume: %w", err)
	}
	return in.volumeError(volume.Mount(ctx, in.volumeFile, in.tree.Root))
}

func (in *instance) volumeError(err error) error {
	if missing, ok := errors.AsType[*volume.MissingError](err); ok {
		return &HostError{What: "--enforce-volume-size", Hint: missing.Hint, Err: err}
	}
	return err
}

// dropVolume unmounts the volume and removes its mount point. Its file lies in the work directory and goes, or is kept,
// with that.
func (in *instance) dropVolume() error {
	dir := in.tree.Root
	if err := channels.Unmount(dir); err != nil {
		return err
	}
	err := errors.Join(removeEmpty(dir), in.run.appendAt(in.host, "layout", ledger.Released{Kind: mountKind, ID: dir}), removeEmpty(filepath.Dir(dir)))
	_ = os.Remove(in.run.host.MountDir) // the last job's takes it along
	return err
}

// kept is where an artifact is that could not be uploaded.
func (in *instance) kept(dir string) string {
	if in.volumeFile == "" {
		return dir
	}
	rel, err := filepath.Rel(in.tree.Root, dir)
	if err != nil {
		return in.volumeFile
	}
	return fmt.Sprintf("%s, in %s (mount -o loop)", rel, in.volumeFile)
}
