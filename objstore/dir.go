package objstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// Dir is a directory tree as a store: a file's slash-separated path below the directory is its key.
//
// Symbolic links are followed while they stay below the directory; one that leaves it, dangles or runs in a circle is
// an error that names it, so that data is never left out in silence. Sockets, FIFOs and devices are errors too. Empty
// directories do not exist for a store. Keys that no file can have (empty or dot elements, a trailing slash) are
// ErrBadKey when written and are not found when read.
//
// Versions are told apart by size and modification time; there is no ETag.
type Dir struct {
	root    string // absolute
	base    string // what URI puts before a key
	exact   bool   // List takes whole path elements only: "train" is the file or the directory, never "train-01"
	missing error  // class when root itself is missing
	uid     int    // who owns what is made; 0 and 0: whoever runs this
	gid     int
}

var _ Store = (*Dir)(nil)

// NewDir makes a store of the tree below root, which need not exist before the first Create. base is what URIs begin
// with ("s3://bucket/"); if it is empty, URIs are plain paths.
func NewDir(root, base string) (*Dir, error) {
	abs, err := filepath.Abs(root)
	if err != nil {
		return nil, wrap("open", root, err)
	}
	d := &Dir{root: abs, base: base, missing: ErrNoBucket}
	if base == "" {
		d.base, d.missing = strings.TrimSuffix(abs, "/")+"/", ErrNotFound
	}
	return d, nil
}

// Root is the directory.
func (d *Dir) Root() string { return d.root }

func (d *Dir) URI(key string) string { return d.base + key }

// open opens the tree. Each call opens it anew: a store then needs no closing, and two more system calls per object
// are nothing beside the object's own.
func (d *Dir) open(op, key string) (*os.Root, error) {
	r, err := os.OpenRoot(d.root)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return nil, classed(op, d.URI(key), d.missing, fmt.Errorf("no directory %s", d.root))
	case err != nil:
		return nil, wrap(op, d.URI(key), bare(err))
	}
	return r, nil
}

func (d *Dir) Stat(ctx context.Context, key string) (Object, error) {
	if err := ctx.Err(); err != nil {
		return Object{}, wrap("stat", d.URI(key), err)
	}
	root, err := d.open("stat", key)
	if err != nil {
		return Object{}, err
	}
	defer root.Close()
	fi, err := d.stat(root, "stat", key)
	if err != nil {
		return Object{}, err
	}
	return object(key, fi), nil
}

func object(key string, fi fs.FileInfo) Object {
	return Object{Key: key, Size: fi.Size(), ModTime: fi.ModTime()}
}

// stat follows links and accepts regular files only.
func (d *Dir) stat(root *os.Root, op, key string) (fs.FileInfo, error) {
	if !validKey(key) {
		return nil, classed(op, d.URI(key), ErrNotFound, errors.New("no file can have this name"))
	}
	fi, err := root.Stat(key)
	if err != nil {
		return nil, d.fileError(root, op, key, err)
	}
	return fi, d.regular(op, key, fi)
}

func (d *Dir) regular(op, key string, fi fs.FileInfo) error {
	switch {
	case fi.Mode().IsRegular():
		return nil
	case fi.IsDir():
		return classed(op, d.URI(key), ErrNotFound, errors.New("is a directory"))
	}
	return classed(op, d.URI(key), ErrBadKey, fmt.Errorf("not a regular file (%s)", fi.Mode().Type()))
}

// fileError gives a failed look-up its class. os.Root has no exported error for a link that escapes, but what is there
// and is a link and still cannot be looked up has left the tree, dangles, or runs in a circle.
func (d *Dir) fileError(root *os.Root, op, key string, err error) error {
	if fi, lerr := root.Lstat(key); lerr == nil && fi.Mode()&fs.ModeSymlink != 0 {
		target, _ := root.Readlink(key)
		return classed(op, d.URI(key), ErrEscapes, fmt.Errorf("symbolic link to %s: %w", target, bare(err)))
	}
	if errors.Is(err, syscall.ENOTDIR) {
		return classed(op, d.URI(key), ErrNotFound, bare(err))
	}
	return wrap(op, d.URI(key), bare(err))
}

// List walks directories in key order. It holds the names of the directories on the way to the current file, so its
// memory follows the largest directory, not the tree.
func (d *Dir) List(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		root, err := d.open("list", prefix)
		if err != nil {
			yield(Object{}, err)
			return
		}
		defer root.Close()
		dir, rest := ".", prefix
		if i := strings.LastIndexByte(prefix, '/'); i >= 0 {
			dir, rest = prefix[:i], prefix[i+1:]
			if !validKey(dir) {
				return // no file has such a key
			}
		}
		match := func(name string) bool { return strings.HasPrefix(name, rest) }
		if d.exact && rest != "" {
			match = func(name string) bool { return strings.TrimSuffix(name, "/") == rest }
		}
		w := walker{ctx: ctx, d: d, root: root, yield: yield}
		w.walk(dir, match)
	}
}

type walker struct {
	ctx   context.Context
	d     *Dir
	root  *os.Root
	yield func(Object, error) bool
	above []fs.FileInfo // the directories that we are in, to see a circle of links
}

func (w *walker) fail(err error) bool { w.yield(Object{}, err); return false }

// walk yields the files of dir whose names match, and everything below its matching directories. False ends the walk.
func (w *walker) walk(dir string, match func(string) bool) bool {
	names, err := w.names(dir, match)
	if err != nil {
		return w.fail(err)
	}
	for _, name := range names {
		if err := w.ctx.Err(); err != nil {
			return w.fail(wrap("list", w.d.URI(dir), err))
		}
		key := strings.TrimSuffix(name, "/")
		if dir != "." {
			key = dir + "/" + key
		}
		if strings.HasSuffix(name, "/") {
			if !w.walk(key, func(string) bool { return true }) {
				return false
			}
			continue
		}
		fi, err := w.root.Stat(key)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed since the directory was read
		} else if err != nil {
			return w.fail(w.d.fileError(w.root, "list", key, err))
		}
		if err := w.d.regular("list", key, fi); err != nil {
			return w.fail(err)
		}
		if !w.yield(object(key, fi), nil) {
			return false
		}
	}
	if len(w.above) > 0 {
		w.above = w.above[:len(w.above)-1]
	}
	return true
}

// names reads one directory, sorted as keys sort: a directory counts as its name with a slash, since that is how the
// keys below it go on ("a-b" < "a.b" < "a/b" < "a0").
func (w *walker) names(dir string, match func(string) bool) ([]string, error) {
	uri := w.d.URI(strings.TrimPrefix(dir, "."))
	f, err := w.root.Open(dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		w.above = append(w.above, nil)
		return nil, nil
	} else if err != nil {
		return nil, w.d.fileError(w.root, "list", dir, err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, wrap("list", uri, bare(err))
	}
	if !fi.IsDir() { // the prefix "file/" of a file
		w.above = append(w.above, nil)
		return nil, nil
	}
	for _, up := range w.above {
		if up != nil && os.SameFile(up, fi) {
			return nil, classed("list", uri, ErrEscapes, errors.New("symbolic links run in a circle"))
		}
	}
	w.above = append(w.above, fi)
	var names []string
	for {
		// A thousand at a time: a DirEntry is several times its name.
		entries, err := f.ReadDir(1000)
		for _, e := range entries {
			name := e.Name()
			if isTemp(name) {
				continue
			}
			key := path.Join(dir, name)
			switch {
			case e.IsDir():
				name += "/"
			case e.Type()&fs.ModeSymlink != 0 && match(name+"/"):
				fi, err := w.root.Stat(key)
				if err != nil {
					return nil, w.d.fileError(w.root, "list", key, err)
				}
				if fi.IsDir() {
					name += "/"
				}
			}
			if match(name) {
				names = append(names, name)
			}
		}
		if len(entries) == 0 {
			if err != nil && err != io.EOF {
				return nil, wrap("list", uri, bare(err))
			}
			break
		}
	}
	slices.Sort(names)
	return names, nil
}

func (d *Dir) Delete(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return wrap("delete", d.URI(key), err)
	}
	if !validKey(key) {
		return nil
	}
	root, err := d.open("delete", key)
	if err != nil {
		return err
	}
	defer root.Close()
	fi, err := root.Lstat(key)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || err == nil && fi.IsDir() {
		return nil
	}
	if err == nil {
		err = root.Remove(key)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return wrap("delete", d.URI(key), bare(err))
	}
	return nil
}

// validKey says whether a file can have this key: no empty, "." or ".." element, no NUL, no slash at either end.
func validKey(key string) bool {
	if key == "" || strings.IndexByte(key, 0) >= 0 {
		return false
	}
	for e := range strings.SplitSeq(key, "/") {
		if e == "" || e == "." || e == ".." {
			return false
		}
	}
	return true
}
