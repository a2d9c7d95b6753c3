package channels

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/optml/optml/dataset"
	"github.com/optml/optml/job"
)

// Mount is what must be bind-mounted into the container for a channel.
type Mount struct {
	Source   string // on this machine
	Target   string // below /opt/ml/input/data
	ReadOnly bool
	// Made says that Prepare mounts something at Source and Close takes it away; so does whoever finds a dead owner's.
	// Otherwise Source is the user's directory, which exists in the container's mounts alone and is never touched (D12).
	Made bool
}

// Mounter is a Delivery whose data reaches the container through mounts. They exist after Prepare; those that it makes
// are known before, so that they can be recorded first.
type Mounter interface {
	Mounts() []Mount
}

// fastFile is FastFile mode: a read-only view of the source at /opt/ml/input/data/<channel>, listed at the start, its
// content fetched when it is read (FF-1).
type fastFile struct {
	ch   job.Channel
	c    Config
	dir  string // <Config.Dir>/<channel>: empty, what the view is mounted over
	mnt  string // <Config.MountDir>/<channel>
	view *view
	set  *dataset.Set
	counters
	past    atomic.Int64 // opens that the kernel served by itself
	mounted bool

	failed chan error // the first read that could not be answered
	once   sync.Once
}

func newFastFile(ch job.Channel, c Config) (Delivery, error) {
	fail := func(format string, args ...any) (Delivery, error) {
		return nil, &dataset.Error{Channel: ch.Name, Object: ch.Source.URI, Err: fmt.Errorf(format, args...)}
	}
	switch {
	case ch.Source.Type != "S3Prefix": // FF-2
		return fail("FastFile mode reads an S3Prefix only, not %s", ch.Source.Type)
	case ch.Compression != "" && ch.Compression != "None": // FILE-8
		return fail("CompressionType %s is for Pipe mode only", ch.Compression)
	case ch.RecordWrapper != "" && ch.RecordWrapper != "None":
		return fail("RecordWrapperType %s is for Pipe mode only", ch.RecordWrapper)
	case c.MountDir == "":
		return fail("no directory for mounts was given: %w", ErrUnsupported)
	}
	if c.Window <= 0 {
		c.Window = DefaultWindow
	}
	f := &fastFile{ch: ch, c: c, dir: filepath.Join(c.Dir, ch.Name), mnt: filepath.Join(c.MountDir, ch.Name), failed: make(chan error, 1)}
	f.view = newView(newStock(c.Window, &f.bytes))
	f.view.plain = c.NoPassthrough
	f.view.opened = func(first, past bool) {
		if first {
			f.objects.Add(1)
		}
		if past {
			f.past.Add(1)
		}
	}
	f.view.failed = func(file dataset.File, err error) {
		f.once.Do(func() { f.failed <- f.fail(&dataset.Error{Channel: ch.Name, Object: file.URI(), Err: err}) })
	}
	return f, nil
}

func (f *fastFile) fail(err error) error {
	if _, ok := errors.AsType[*dataset.Error](err); ok {
		return err
	}
	return &dataset.Error{Channel: f.ch.Name, Err: err}
}

// Prepare mounts the view, which is empty until Fill.
func (f *fastFile) Prepare(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return f.fail(err)
	}
	for _, dir := range []string{f.dir, f.mnt} {
		err := os.MkdirAll(dir, 0o755)
		for range 10 {
			if !errors.Is(err, os.ErrNotExist) {
				break
			}
			err = os.MkdirAll(dir, 0o755) // a job that ended has just removed the empty directory above
		}
		if err != nil {
			return f.fail(fmt.Errorf("make channel directory: %w", err))
		}
	}
	if err := os.Chmod(f.dir, 0o755); err != nil {
		return f.fail(fmt.Errorf("make channel directory: %w", err))
	}
	spool, err := newSpool(f.c.TempDir, f.ch.Name, f.c.Spool)
	if err != nil {
		return f.fail(err)
	}
	f.view.spool = spool
	if err := f.view.mount(f.mnt); err != nil {
		return f.fail(fmt.Errorf("mount %s: %w", f.mnt, err))
	}
	f.mounted = true
	return nil
}

// Fill lists the source.
func (f *fastFile) Fill(ctx context.Context) error {
	set, err := dataset.New(ctx, dataset.Config{
		Channel: f.ch.Name, Source: f.ch.Source, Opener: f.c.Opener,
		Rank: f.c.Rank, Hosts: f.c.Hosts, Region: f.c.Region, RoleARN: f.c.RoleARN,
	})
	if err != nil {
		return err
	}
	f.set = set
	for file, err := range set.Files(ctx) {
		if err != nil {
			return err
		}
		if err := file.Whole(); err != nil { // FF-3
			return &dataset.Error{Channel: f.ch.Name, Object: file.URI(), Err: err}
		}
		if !f.view.add(file) {
			return set.Clash(ctx, file)
		}
		if !file.Dir {
			f.totalObjects.Add(1)
			f.totalBytes.Add(file.Object.Size)
		}
	}
	if f.c.Spool == 0 { // whoever says how much wants it
		f.view.spool.fits(f.totalBytes.Load())
	}
	return nil
}

// Serve returns when the container has ended, or with the first read that could not be answered (ruling 8).
func (f *fastFile) Serve(ctx context.Context) error {
	select {
	case err := <-f.failed:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-f.failed: // a read had it before the container ended
		return err
	default:
		return nil
	}
}

func (f *fastFile) Mounts() []Mount {
	return []Mount{{Source: f.mnt, Target: f.ch.Name, ReadOnly: true, Made: true}}
}

// Close takes the mount away, also from under whoever still uses it.
func (f *fastFile) Close() error {
	var errs []error
	if f.mounted {
		errs = append(errs, Unmount(f.mnt))
	}
	// This unmounts it from the namespaces, too, that somebody on the host has copied meanwhile.
	if err := os.Remove(f.mnt); err != nil && !errors.Is(err, os.ErrNotExist) {
		errs = append(errs, err)
	}
	if f.mounted {
		errs = append(errs, f.view.end())
		f.mounted = false
	}
	errs = append(errs, f.view.spool.close())
	f.view.spool = nil
	if f.set != nil {
		errs = append(errs, f.set.Close())
		f.set = nil
	}
	if err := errors.Join(errs...); err != nil {
		return f.fail(err)
	}
	return nil
}

// Unmount detaches what is mounted at dir, which may be what a dead owner left. Nothing there is no error.
func Unmount(dir string) error {
	err := unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if err != nil && err != unix.EINVAL && err != unix.ENOENT {
		return fmt.Errorf("unmount %s: %w", dir, err)
	}
	return nil
}

// Stats counts bytes as they are fetched from the store, and objects that were opened. What the kernel's page cache, the
// spool or a local file gave is not seen.
func (f *fastFile) Stats() Stats {
	s := f.stats(f.ch.Name, "FastFile")
	s.ReaderWaited, s.WeWaited = int64(f.view.stock.readerWaits.read()), int64(f.view.stock.weWait.read())
	if s.Objects == 0 {
		s.Note = "never opened"
	} else if n := f.past.Load(); n > 0 {
		s.Note = fmt.Sprintf("opened %d times from local files, past the store", n)
	}
	return s
}
