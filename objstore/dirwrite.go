package objstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// tempPrefix begins the names of files that are being written. They are never listed and no key may use them.
const tempPrefix = ".optml-tmp-"

func isTemp(name string) bool { return strings.HasPrefix(name, tempPrefix) }

// Create writes to a temporary file beside the target, which Commit syncs and renames. The file is locked while it is
// written, so a sweep in another process knows that its writer lives.
func (d *Dir) Create(ctx context.Context, key string, _ CreateOptions) (Writer, error) {
	uri := d.URI(key)
	if err := ctx.Err(); err != nil {
		return nil, wrap("create", uri, err)
	}
	if !validKey(key) || isTemp(path.Base(key)) {
		return nil, classed("create", uri, ErrBadKey, errors.New("no file can have this name"))
	}
	if err := d.makeRoot(d.root); err != nil {
		return nil, wrap("create", uri, err)
	}
	root, err := d.open("create", key)
	if err != nil {
		return nil, err
	}
	w := &dirWriter{ctx: ctx, d: d, root: root, key: key, uri: uri}
	// An Abort beside us may remove the parent that both need, between our making it and using it.
	for range 3 {
		if err = w.create(); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	if err != nil {
		w.removeParents()
		root.Close()
		return nil, wrap("create", uri, bare(err))
	}
	return w, nil
}

// makeRoot makes the directory and those above it. Who was there before stays whose it is.
func (d *Dir) makeRoot(dir string) error {
	err := os.Mkdir(dir, 0o755)
	if errors.Is(err, fs.ErrNotExist) {
		if err = d.makeRoot(filepath.Dir(dir)); err == nil {
			err = os.Mkdir(dir, 0o755)
		}
	}
	switch {
	case err == nil && d.given():
		return os.Lchown(dir, d.uid, d.gid)
	case errors.Is(err, fs.ErrExist):
		if fi, serr := os.Stat(dir); serr == nil && fi.IsDir() {
			return nil
		}
	}
	return err
}

// given says whether what is made goes to somebody else.
func (d *Dir) given() bool { return d.uid != 0 || d.gid != 0 }

type dirWriter struct {
	ctx     context.Context
	d       *Dir
	root    *os.Root
	key     string
	uri     string
	temp    string
	f       *os.File
	parents []string // directories that we made, outermost first
	done    bool
}

func (w *dirWriter) create() error {
	dir := path.Dir(w.key)
	if err := w.makeParents(dir); err != nil {
		return err
	}
	switch fi, err := w.root.Stat(w.key); {
	case err == nil && fi.IsDir():
		return classed("create", w.uri, ErrBadKey, errors.New("a directory is in the way"))
	case err != nil && !errors.Is(err, fs.ErrNotExist): // a name too long, a link that leaves
		return w.d.fileError(w.root, "create", w.key, err)
	}
	w.temp = path.Join(dir, tempPrefix+rand.Text())
	f, err := w.root.OpenFile(w.temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return errors.Join(err, w.root.Remove(w.temp))
	}
	if w.d.given() {
		if err := f.Chown(w.d.uid, w.d.gid); err != nil {
			f.Close()
			return errors.Join(err, w.root.Remove(w.temp))
		}
	}
	w.f = f
	return nil
}

// makeParents makes dir and remembers which directories are new, so that Abort leaves nothing.
func (w *dirWriter) makeParents(dir string) error {
	if dir == "." {
		return nil
	}
	fi, err := w.root.Stat(dir)
	if err == nil {
		if !fi.IsDir() {
			return classed("create", w.uri, ErrBadKey, fmt.Errorf("%s is a file", w.d.URI(dir)))
		}
		return nil
	}
	if errors.Is(err, syscall.ENOTDIR) {
		return classed("create", w.uri, ErrBadKey, fmt.Errorf("%s lies below a file", w.d.URI(dir)))
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return w.d.fileError(w.root, "create", dir, err)
	}
	if err := w.makeParents(path.Dir(dir)); err != nil {
		return err
	}
	switch err := w.root.Mkdir(dir, 0o755); {
	case err == nil:
		w.parents = append(w.parents, dir)
		if w.d.given() {
			return w.root.Lchown(dir, w.d.uid, w.d.gid)
		}
	case !errors.Is(err, fs.ErrExist):
		return err
	}
	return nil
}

func (w *dirWriter) removeParents() {
	for i := len(w.parents) - 1; i >= 0; i-- {
		_ = w.root.Remove(w.parents[i]) // fails, rightly, if somebody else uses it
	}
}

func (w *dirWriter) Write(p []byte) (int, error) {
	if w.done {
		return 0, classed("write", w.uri, nil, fs.ErrClosed)
	}
	if err := w.ctx.Err(); err != nil {
		return 0, wrap("write", w.uri, err)
	}
	n, err := w.f.Write(p)
	return n, wrap("write", w.uri, bare(err))
}

// Commit makes the object visible, and durable: the file is synced before the rename, the directory after it.
func (w *dirWriter) Commit(ctx context.Context) error {
	if w.done {
		return classed("commit", w.uri, nil, fs.ErrClosed)
	}
	err := ctx.Err()
	if err == nil {
		err = w.f.Sync()
	}
	if err == nil {
		err = w.root.Rename(w.temp, w.key)
	}
	if err != nil {
		return errors.Join(wrap("commit", w.uri, bare(err)), w.Abort())
	}
	w.done = true
	err = w.f.Close()
	if dir, derr := w.root.Open(path.Dir(w.key)); derr == nil {
		err = errors.Join(err, dir.Sync(), dir.Close())
	}
	w.root.Close()
	return wrap("commit", w.uri, bare(err))
}

func (w *dirWriter) Abort() error {
	if w.done {
		return nil
	}
	w.done = true
	err := w.root.Remove(w.temp)
	w.f.Close() // only now: while we hold the lock no sweep takes it
	w.removeParents()
	w.root.Close()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return wrap("abort", w.uri, bare(err))
	}
	return nil
}

func (d *Dir) Sweep(ctx context.Context, prefix string, olderThan time.Duration) (int, error) {
	dir := d.root
	if i := strings.LastIndexByte(prefix, '/'); i >= 0 && validKey(prefix[:i]) {
		dir = filepath.Join(d.root, prefix[:i])
	}
	return sweepTemp(ctx, dir, olderThan)
}

// sweepTemp removes the temporary files below dir whose writers are dead and that were last written longer than
// olderThan ago. A missing directory holds none.
func sweepTemp(ctx context.Context, dir string, olderThan time.Duration) (int, error) {
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return 0, nil
	} else if err != nil {
		return 0, fmt.Errorf("sweep temporary files: %w", err)
	}
	defer root.Close()
	removed := 0
	err = fs.WalkDir(root.FS(), ".", func(p string, e fs.DirEntry, err error) error {
		if cerr := ctx.Err(); cerr != nil {
			return cerr
		}
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) {
				return nil // gone meanwhile, or a name that is not UTF-8: none of ours
			}
			return err
		}
		if !e.Type().IsRegular() || !isTemp(e.Name()) {
			return nil
		}
		ok, err := removeDead(root, p, olderThan)
		if ok {
			removed++
		}
		return err
	})
	if err != nil {
		return removed, fmt.Errorf("sweep temporary files in %s: %w", dir, err)
	}
	return removed, nil
}

// removeDead removes one temporary file if nobody holds its lock.
func removeDead(root *os.Root, name string, olderThan time.Duration) (bool, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil || time.Since(fi.ModTime()) < olderThan {
		return false, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return false, nil // its writer lives
	}
	// A writer that committed between our open and our lock has renamed it: the name is gone, which is fine.
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	return true, nil
}
