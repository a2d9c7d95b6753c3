package channels

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/optml/optml/dataset"
)

const (
	// defaultWorkers is how many transfers run at once. A store a few milliseconds away needs dozens to be busy with
	// small objects; more than that adds nothing on one machine.
	defaultWorkers = 32
	// defaultPartSize is what one transfer of a large object covers.
	defaultPartSize = 16 << 20
	// bufferSize is one worker's buffer.
	bufferSize = 256 << 10
)

// download brings a set's files below root.
type download struct {
	f       *file
	root    *os.Root
	room    int64 // bytes that the file system had free; -1: not to be compared
	chmod   bool  // the umask takes bits that we want
	buffers sync.Pool
	near    *semaphore.Weighted // transfers through tubes
	dirs    map[string]bool     // made already; the lister's own
}

func newDownload(f *file, root *os.Root) (*download, error) {
	d := &download{f: f, root: root, near: semaphore.NewWeighted(nearWorkers), dirs: map[string]bool{".": true}, chmod: umask()&0o755 != 0}
	d.buffers.New = func() any { return new([bufferSize]byte) }
	var err error
	d.room, err = room(f.dir)
	return d, err
}

// room is freeBytes, unless a test says otherwise.
var room = freeBytes

// freeBytes is how much fits into the file system of dir, or -1 where that is no limit: on file systems that share
// blocks between files a copy may need no room at all.
func freeBytes(dir string) (int64, error) {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return 0, fmt.Errorf("look at file system of %s: %w", dir, err)
	}
	switch uint32(fs.Type) {
	case 0x9123683E, 0x58465342, 0xca451a4e, 0x2fc12fc1: // btrfs, xfs, bcachefs, zfs
		return -1, nil
	}
	return int64(fs.Bfree) * fs.Bsize, nil
}

// task is one transfer: a whole object, or n bytes from off of a large one.
type task struct {
	o      *object
	off, n int64 // n -1: the whole
}

// object is a file in the making, shared by the transfers of its parts.
type object struct {
	dataset.File
	open sync.Once
	out  *os.File
	err  error
	left atomic.Int64      // parts that are not written yet
	sums *dataset.PartSums // of an object in several parts, if the store has its checksum
	got  int64             // bytes, if the size was not known
}

// run lists and transfers at once: the listing of many objects takes long where each page is a round trip.
func (d *download) run(ctx context.Context, set *dataset.Set) error {
	g, gctx := errgroup.WithContext(ctx)
	tasks := make(chan task, 4*d.f.c.Workers)
	g.Go(func() error {
		defer close(tasks)
		return d.list(gctx, set, tasks)
	})
	for range d.f.c.Workers {
		g.Go(func() error {
			var w tube
			defer w.close()
			for t := range tasks {
				if err := d.transfer(gctx, set, t, &w); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err := g.Wait()
	for t := range tasks { // what no worker took: parts of objects that are open
		t.o.abandon(d.root)
	}
	if err != nil && ctx.Err() != nil {
		return d.f.fail(context.Cause(ctx)) // not the transfer that noticed it first
	}
	return err
}

func (d *download) list(ctx context.Context, set *dataset.Set, tasks chan<- task) error {
	send := func(t task) error {
		select {
		case tasks <- t:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	for f, err := range set.Files(ctx) {
		if err != nil {
			return err
		}
		if f.Dir {
			if err := d.mkdir(ctx, set, f, f.Path); err != nil {
				return err
			}
			continue
		}
		if err := d.mkdir(ctx, set, f, path.Dir(f.Path)); err != nil {
			return err
		}
		size := f.Object.Size
		d.f.totalObjects.Add(1)
		if total := d.f.totalBytes.Add(max(size, 0)); d.room >= 0 && total > d.room {
			return d.fail(f, fmt.Errorf("%d bytes and more do not fit into %d free bytes of %s: %w", total, d.room, d.f.dir, syscall.ENOSPC))
		}
		o := &object{File: f}
		part := d.f.c.PartSize
		if size <= part || f.Local() {
			o.left.Store(1)
			if err := send(task{o, 0, -1}); err != nil {
				return err
			}
			continue
		}
		o.left.Store((size + part - 1) / part)
		for off := int64(0); off < size; off += part {
			if err := send(task{o, off, min(part, size-off)}); err != nil {
				o.abandon(d.root)
				return err
			}
		}
	}
	return nil
}

// mkdir makes dir and what is above it, once.
func (d *download) mkdir(ctx context.Context, set *dataset.Set, f dataset.File, dir string) error {
	if d.dirs[dir] {
		return nil
	}
	if len(d.dirs) > 10_000 {
		d.dirs = map[string]bool{".": true}
	}
	if err := d.mkdir(ctx, set, f, path.Dir(dir)); err != nil {
		return err
	}
	switch err := d.root.Mkdir(dir, 0o755); {
	case err == nil && d.chmod:
		if err := d.root.Chmod(dir, 0o755); err != nil {
			return d.fail(f, err)
		}
	case errors.Is(err, fs.ErrExist), errors.Is(err, syscall.ENOTDIR):
		if fi, serr := d.root.Lstat(dir); serr != nil || !fi.IsDir() {
			return set.Clash(ctx, f)
		}
	case err != nil:
		return d.fail(f, err)
	}
	d.dirs[dir] = true
	return nil
}

func (d *download) fail(f dataset.File, err error) error {
	if de, ok := errors.AsType[*dataset.Error](err); ok {
		return de
	}
	return &dataset.Error{Channel: d.f.ch.Name, Object: f.URI(), Err: err}
}

// transfer writes one part; the last of an object's parts closes its file, the first that fails removes it.
func (d *download) transfer(ctx context.Context, set *dataset.Set, t task, w *tube) error {
	o := t.o
	o.open.Do(func() {
		if o.err = d.create(ctx, set, o); o.err != nil || t.n < 0 {
			return // what is read whole has its checksum with it
		}
		o.sums, o.err = o.Checksum(ctx)
	})
	err := o.err
	if err == nil {
		err = d.write(ctx, t, w)
	}
	if err != nil {
		o.abandon(d.root)
		return d.fail(o.File, err)
	}
	if o.left.Add(-1) > 0 {
		return nil
	}
	err = o.out.Close()
	if err == nil && o.sums != nil {
		err = o.sums.Verify()
	}
	if err != nil {
		o.abandon(d.root)
		return d.fail(o.File, err)
	}
	if o.Object.Size < 0 { // of a manifest: known only now
		d.f.totalBytes.Add(o.got)
	}
	d.f.objects.Add(1)
	return nil
}

// create makes the file, which must not be there: two keys may not be one path (FILE-6).
func (d *download) create(ctx context.Context, set *dataset.Set, o *object) error {
	out, err := d.root.OpenFile(o.Path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.EISDIR) {
		return set.Clash(ctx, o.File)
	} else if err != nil {
		return err
	}
	o.out = out
	if d.chmod {
		return out.Chmod(0o644)
	}
	return nil
}

// abandon removes what was written of an object. It may be called more than once and beside transfers of other parts.
func (o *object) abandon(root *os.Root) {
	o.open.Do(func() { o.err = context.Canceled })
	if o.out != nil {
		o.out.Close()
		_ = root.Remove(o.Path) // the part that failed first has removed it
	}
}

func (d *download) write(ctx context.Context, t task, through *tube) error {
	o := t.o
	if o.Object.Size == 0 {
		return nil // the listing says all there is to know
	}
	want := t.n
	if want < 0 {
		want = o.Object.Size
	}
	copy := d.copy
	if want >= spliceMin && o.sums == nil && o.Splices() {
		if copy = through.copy; o.Near() {
			if err := d.near.Acquire(ctx, 1); err != nil {
				return context.Cause(ctx)
			}
			defer d.near.Release(1)
		}
	}
	got, err := copy(ctx, t, &d.f.bytes)
	if err != nil {
		return err
	}
	if want >= 0 && got != want {
		return fmt.Errorf("got %d of %d bytes", got, want)
	}
	if want < 0 {
		o.got = got
	}
	return nil
}

// nearWorkers is how many transfers through tubes run at once: what is near needs few to be busy, and more only push each
// other out of the caches.
const nearWorkers = 4

// spliceMin is from where on a transfer goes through a tube: for less, a copy costs less than what it saves.
const spliceMin = 256 << 10

// copy writes a transfer through tube.
func (w *tube) copy(ctx context.Context, t task, count *atomic.Int64) (int64, error) {
	body, err := t.o.OpenSplice(ctx, t.off, t.n)
	if err != nil {
		return 0, err
	}
	defer body.Close()
	return w.fill(t.o.out, t.off, body, count)
}

// copy writes a transfer through a buffer.
func (d *download) copy(ctx context.Context, t task, count *atomic.Int64) (int64, error) {
	o := t.o
	body, err := o.OpenRange(ctx, t.off, t.n)
	if err != nil {
		return 0, err
	}
	defer body.Close()
	w := &partWriter{out: o.out, off: t.off, count: count}
	if o.sums != nil {
		w.sum = o.sums.Hash()
	}
	if from, ok := body.(io.WriterTo); ok && t.n < 0 {
		_, err = from.WriteTo(w)
	} else {
		buf := d.buffers.Get().(*[bufferSize]byte)
		_, err = io.CopyBuffer(onlyWriter{w}, onlyReader{body}, buf[:])
		d.buffers.Put(buf)
	}
	if err != nil {
		return 0, err
	}
	if o.sums != nil {
		o.sums.Add(t.off, w.off-t.off, w.sum)
	}
	return w.off - t.off, nil
}

// partWriter writes at an offset and counts. From a file it lets the kernel copy, when it writes a whole file.
type partWriter struct {
	out   *os.File
	off   int64
	count *atomic.Int64
	sum   hash.Hash // nil: none is wanted
}

func (w *partWriter) Write(p []byte) (int, error) {
	n, err := w.out.WriteAt(p, w.off)
	if w.sum != nil {
		w.sum.Write(p[:n])
	}
	w.off += int64(n)
	w.count.Add(int64(n))
	return n, err
}

func (w *partWriter) ReadFrom(r io.Reader) (int64, error) {
	n, err := w.out.ReadFrom(r)
	w.off += n
	w.count.Add(n)
	return n, err
}

// onlyReader and onlyWriter hide what else there is, so that io.CopyBuffer uses the buffer that it is given.
type (
	onlyReader struct{ io.Reader }
	onlyWriter struct{ io.Writer }
)
