package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/optml/optml/objstore"
)

// copiers is how many objects are brought at once.
const copiers = 8

// CopyObject brings one object into dir as a file with the last part of its key as its name (INF-24).
func CopyObject(ctx context.Context, store objstore.Store, o objstore.Object, dir string, l Limits) (UnpackStats, error) {
	c, err := newCopier(store, dir, l)
	if err != nil {
		return UnpackStats{}, err
	}
	defer c.root.Close()
	f, err := c.create(o, o.Key[strings.LastIndexByte(o.Key, '/')+1:])
	if err == nil {
		err = c.fill(ctx, f, o)
	}
	return c.done(), err
}

// CopyPrefix brings every object whose key begins with prefix, which is empty or ends in a slash, into dir: the rest of
// the key is its path (INF-24, INF-25). A key that cannot be a path, one that is a folder's, and two that would have to
// be file and directory of one name are errors that name it (INF-26); so is it if there is none.
func CopyPrefix(ctx context.Context, store objstore.Store, prefix, dir string, l Limits) (UnpackStats, error) {
	c, err := newCopier(store, dir, l)
	if err != nil {
		return UnpackStats{}, err
	}
	defer c.root.Close()
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(copiers)
	err = func() error {
		for o, err := range store.List(gctx, prefix) {
			if err != nil {
				return &Error{Op: "download", Err: err}
			}
			f, err := c.create(o, strings.TrimPrefix(o.Key, prefix))
			if err != nil {
				return err
			}
			g.Go(func() error { return c.fill(gctx, f, o) })
		}
		return nil
	}()
	// The listing ends when a transfer has failed, and that is the error to tell.
	if werr := g.Wait(); werr != nil {
		err = werr
	}
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case err == nil && c.files == 0:
		err = &Error{Op: "download", Err: fmt.Errorf("%w: no object below %s", objstore.ErrNotFound, store.URI(prefix))}
	}
	return c.done(), err
}

// copier makes files of objects. create is called by one goroutine, fill by many.
type copier struct {
	store  objstore.Store
	root   *os.Root
	limits Limits
	files  int64
	made   map[string]bool // directories
	bytes  atomic.Int64
}

func newCopier(store objstore.Store, dir string, l Limits) (*copier, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, &Error{Op: "download", Err: err}
	}
	return &copier{store: store, root: root, limits: l.orDefault(), made: map[string]bool{".": true}}, nil
}

func (c *copier) done() UnpackStats {
	n := c.bytes.Load()
	return UnpackStats{Files: c.files, Directories: int64(len(c.made) - 1), Bytes: n, Packed: n}
}

// create makes the file of an object, which must be new.
func (c *copier) create(o objstore.Object, name string) (*os.File, error) {
	fail := func(class, err error) error {
		return &Error{Op: "download", Member: printable(o.Key), Class: class, Err: err}
	}
	if strings.HasSuffix(name, "/") || name == "" {
		return nil, fail(ErrUnsafeName, errors.New("an object whose key ends in a slash is no file"))
	}
	if plain, ok := memberName(name); !ok || plain != name {
		return nil, fail(ErrUnsafeName, nil)
	}
	if c.files >= c.limits.Members {
		return nil, fail(ErrTooMany, fmt.Errorf("more than %d", c.limits.Members))
	}
	if err := c.mkdir(path.Dir(name)); err != nil {
		return nil, fail(clashOr(err))
	}
	f, err := c.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, fail(clashOr(err))
	}
	c.files++
	if err := f.Chmod(0o644); err != nil {
		f.Close()
		return nil, fail(nil, err)
	}
	return f, nil
}

// clashOr tells that a name is taken (INF-26) from other errors.
func clashOr(err error) (class, detail error) {
	if errors.Is(err, fs.ErrExist) || errors.Is(err, ErrClash) {
		return ErrClash, nil
	}
	return nil, err
}

func (c *copier) mkdir(dir string) error {
	if c.made[dir] {
		return nil
	}
	if err := c.mkdir(path.Dir(dir)); err != nil {
		return err
	}
	err := c.root.Mkdir(dir, 0o755)
	if err == nil {
		err = c.root.Chmod(dir, 0o755)
	}
	if err == nil {
		c.made[dir] = true
	}
	return err
}

// fill brings the object's bytes and closes the file.
func (c *copier) fill(ctx context.Context, f *os.File, o objstore.Object) (err error) {
	fail := func(class, err error) error {
		return &Error{Op: "download", Member: printable(o.Key), Class: class, Err: err}
	}
	defer func() {
		if cerr := f.Close(); cerr != nil && err == nil {
			err = fail(nil, cerr)
		}
	}()
	left := c.limits.Bytes - c.bytes.Load()
	if o.Size > left {
		return fail(ErrTooLarge, fmt.Errorf("%d bytes, %d allowed in all", o.Size, c.limits.Bytes))
	}
	r, err := c.store.OpenVersion(ctx, o, 0, -1)
	if err != nil {
		return fail(nil, err)
	}
	defer r.Close()
	n, err := io.Copy(f, io.LimitReader(r, left+1))
	switch c.bytes.Add(n); {
	case err != nil:
		return fail(nil, err)
	case n > left:
		return fail(ErrTooLarge, fmt.Errorf("%d bytes allowed in all", c.limits.Bytes))
	}
	return nil
}
