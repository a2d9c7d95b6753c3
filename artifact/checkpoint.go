package artifact

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"unicode/utf8"

	"golang.org/x/sync/errgroup"

	"github.com/optml/optml/objstore"
)

// Checkpoints keeps a prefix of a store as a container's directory is (CKP-2): Restore fills the empty directory before
// the container starts, each Sync takes what changed since then to the store, deletions included. What others put into
// the store meanwhile is left alone. Its methods are for one goroutine.
//
// What is known to be in the store is also in the file Record: whoever finishes another process' work continues from
// there. Without that file nothing was restored whole, so there is nothing to take back either.
type Checkpoints struct {
	Store  objstore.Store
	Prefix string // "" or ending in a slash
	Dir    string
	At     string // where Dir is in the container: absolute links below it stay inside
	Record string
	Files  int64 // most files; 0: maxCheckpointFiles

	known   map[string]version // in the store, as the file was then
	pending map[string]version // seen once and not uploaded yet, or gone (the zero version)
	warned  map[string]bool
	loaded  bool
}

const (
	maxCheckpointFiles = 100_000 // each costs some 200 bytes of memory while the job runs
	maxCheckpointBytes = 1 << 40
	// uploaders files go up at once, but only one that is larger than smallUpload: an upload of many parts holds up to
	// 64 MiB of them.
	uploaders   = 4
	smallUpload = 4 << 20
	// A file of at most hashed bytes is compared by content before it is uploaded again.
	hashed = 1 << 20
	// A Sync gives up behind so many failed uploads: one file that may not be written must not keep the others back, and a
	// store that is gone must not be asked for each.
	maxFailures = 3
	// maxKey is the longest key of S3, in bytes.
	maxKey = 1024
)

// version tells two states of a file apart. The change time tells of writes that keep size and modification time.
type version struct {
	Size   int64  `json:"s"`
	MTime  int64  `json:"m"` // nanoseconds
	CTime  int64  `json:"c"`
	Inode  uint64 `json:"i"`
	SHA256 string `json:"h,omitempty"` // of small files that were uploaded
}

func (v version) same(w version) bool {
	return v.Size == w.Size && v.MTime == w.MTime && v.CTime == w.CTime && v.Inode == w.Inode
}

func versionOf(fi fs.FileInfo) version {
	st := fi.Sys().(*syscall.Stat_t)
	return version{Size: fi.Size(), MTime: st.Mtim.Nano(), CTime: st.Ctim.Nano(), Inode: st.Ino}
}

// SyncStats are what one Sync did.
type SyncStats struct {
	Uploaded int64 // files
	Bytes    int64 // of them
	Deleted  int64 // objects
	Waiting  int64 // files that may still be written
	Files    int64 // in the directory
	Warnings []string
}

// Restore brings every object below the prefix into the directory, with the object's time as the file's. A key that ends
// in a slash is a directory. What cannot be a file is an error that names the key.
func (c *Checkpoints) Restore(ctx context.Context, writable bool) (UnpackStats, error) {
	cp, err := newCopier(c.Store, c.Dir, Limits{Bytes: maxCheckpointBytes, Members: c.most()})
	if err != nil {
		return UnpackStats{}, err
	}
	defer cp.root.Close()
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(copiers)
	err = func() error {
		for o, err := range c.Store.List(gctx, c.Prefix) {
			if err != nil {
				return &Error{Op: "download", Err: err}
			}
			name := strings.TrimPrefix(o.Key, c.Prefix)
			if name == "" {
				continue // the folder itself, as the console makes it
			}
			if dir, folder := strings.CutSuffix(name, "/"); folder {
				if plain, ok := memberName(dir); !ok || plain != dir {
					return &Error{Op: "download", Member: printable(o.Key), Class: ErrUnsafeName}
				}
				if err := cp.mkdir(dir); err != nil {
					class, detail := clashOr(err)
					return &Error{Op: "download", Member: printable(o.Key), Class: class, Err: detail}
				}
				continue
			}
			f, err := cp.create(o, name)
			if err != nil {
				return err
			}
			g.Go(func() error {
				if err := cp.fill(gctx, f, o); err != nil {
					return err
				}
				return cp.root.Chtimes(name, o.ModTime, o.ModTime)
			})
		}
		return nil
	}()
	if werr := g.Wait(); werr != nil {
		err = werr
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return cp.done(), err
	}
	if writable {
		if err := makeWritable(cp.root); err != nil {
			return cp.done(), &Error{Op: "download", Err: err}
		}
	}
	found, err := c.scan(cp.root, &SyncStats{})
	if err != nil {
		return cp.done(), &Error{Op: "download", Err: err}
	}
	c.known, c.loaded = make(map[string]version, len(found)), true
	for name, f := range found {
		c.known[name] = f.version
	}
	return cp.done(), c.save()
}

func makeWritable(root *os.Root) error {
	return fs.WalkDir(root.FS(), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return root.Chmod(p, 0o777)
		}
		return root.Chmod(p, 0o666)
	})
}

func (c *Checkpoints) most() int64 {
	if c.Files > 0 {
		return c.Files
	}
	return maxCheckpointFiles
}

// ErrNotRestored is the error of a Sync in a directory that no Restore has filled.
var ErrNotRestored = errors.New("the checkpoints were never restored")

// Sync takes what changed to the store: files that are new or changed and have been quiet since the Sync before are
// uploaded, objects whose file was missing then too are deleted. last is for a directory that nobody writes to any more:
// nothing waits. A file that changes while it is uploaded is not committed. After an error what was not done is left to
// the next Sync.
func (c *Checkpoints) Sync(ctx context.Context, last bool) (SyncStats, error) {
	var s SyncStats
	if err := c.load(); err != nil {
		return s, err
	}
	root, err := os.OpenRoot(c.Dir)
	if err != nil {
		return s, &Error{Op: "upload", Err: err}
	}
	defer root.Close()
	found, err := c.scan(root, &s)
	if err != nil { // half a walk must not look like deletions
		return s, &Error{Op: "upload", Err: err}
	}
	s.Files = int64(len(found))
	changed, unkept, err := c.upload(ctx, root, found, &s, last)
	if err == nil {
		var gone bool
		gone, err = c.remove(ctx, found, &s, last)
		changed = changed || gone
	}
	if changed {
		err = errors.Join(err, c.save())
	}
	if err == nil && last && unkept != nil {
		err = unkept
	}
	return s, err
}

// upload brings up what is to be. unkept is of files that no object can be made of.
func (c *Checkpoints) upload(ctx context.Context, root *os.Root, found map[string]found, s *SyncStats, last bool) (changed bool, unkept, err error) {
	pending := map[string]version{}
	var mu sync.Mutex // known, pending, s, changed, unkept
	var big sync.Mutex
	var failures []error
	var g errgroup.Group
	g.SetLimit(uploaders)
	for _, name := range slices.Sorted(maps.Keys(found)) {
		f := found[name]
		mu.Lock()
		known, have := c.known[name]
		enough := len(failures) >= maxFailures || ctx.Err() != nil
		mu.Unlock()
		if enough {
			break
		}
		if have && known.same(f.version) {
			continue
		}
		if before, seen := c.pending[name]; !last && !(seen && before.same(f.version)) {
			mu.Lock()
			pending[name] = f.version
			s.Waiting++
			mu.Unlock()
			continue
		}
		g.Go(func() error {
			if f.Size > smallUpload {
				big.Lock()
				defer big.Unlock()
				defer runtime.GC() // the next one's parts take the place of this one's
			}
			up, err := c.file(ctx, root, name, f, known, have)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case errors.Is(err, errBusy):
				pending[name] = version{Size: -1} // not what the next Sync finds: it waits again
				s.Waiting++
				return nil
			case errors.Is(err, objstore.ErrBadKey):
				if unkept == nil {
					unkept = err
				}
				c.warn(s, name, "it cannot be kept: "+err.Error())
				return nil
			case err != nil:
				failures = append(failures, err)
				pending[name] = f.version
				return nil
			}
			c.known[name], changed = up.version, true
			if up.sent {
				s.Uploaded++
				s.Bytes += up.Size
			}
			return nil
		})
	}
	_ = g.Wait() // its functions have no errors
	err = errors.Join(failures...)
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	for name, v := range c.pending { // what had been missing once stays so until remove has looked
		if _, here := found[name]; !here && v == (version{}) {
			pending[name] = v
		}
	}
	c.pending = pending
	if err == nil && last && s.Waiting > 0 {
		err = &Error{Op: "upload", Err: fmt.Errorf("%d files kept changing", s.Waiting)}
	}
	return changed, unkept, err
}

// remove deletes the objects whose files are gone.
func (c *Checkpoints) remove(ctx context.Context, found map[string]found, s *SyncStats, last bool) (changed bool, err error) {
	for name := range c.known {
		if _, here := found[name]; here {
			continue
		}
		if v, missed := c.pending[name]; !last && !(missed && v == (version{})) {
			// A directory that is being renamed is under neither name for a moment.
			c.pending[name] = version{}
			continue
		}
		if err := c.Store.Delete(ctx, c.Prefix+name); err != nil {
			if last && ctx.Err() == nil { // nothing is lost by what stays
				c.warn(s, name, "its object could not be deleted: "+err.Error())
				continue
			}
			return changed, &Error{Op: "delete", Member: printable(name), Err: err}
		}
		delete(c.known, name)
		delete(c.pending, name)
		changed = true
		s.Deleted++
	}
	return changed, nil
}

// SweepUploads removes what a dead process left half uploaded. Others may use the same prefix (CKP-3): in a store that
// cannot tell whose writer lives, only uploads of this directory's files are touched.
func (c *Checkpoints) SweepUploads(ctx context.Context) error {
	if _, ok := c.Store.(*objstore.Dir); ok {
		_, err := c.Store.Sweep(ctx, c.Prefix, 0)
		return err
	}
	root, err := os.OpenRoot(c.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer root.Close()
	all, err := c.scan(root, &SyncStats{})
	errs := []error{err}
	for name, f := range all {
		if f.Size > smallUpload { // smaller ones are a single request
			_, err := c.Store.Sweep(ctx, c.Prefix+name, 0)
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// errBusy says that a file was written while it was read.
var errBusy = errors.New("the file changed while it was uploaded")

type uploaded struct {
	version
	sent bool
}

// file uploads one file, unless it is small and its content is in the store already.
func (c *Checkpoints) file(ctx context.Context, root *os.Root, name string, f found, known version, have bool) (uploaded, error) {
	fail := func(err error) (uploaded, error) {
		return uploaded{}, &Error{Op: "upload", Member: printable(name), Err: err}
	}
	key := c.Prefix + name
	if !utf8.ValidString(name) || len(key) > maxKey {
		return fail(fmt.Errorf("%w: keys are UTF-8 of at most %d bytes", objstore.ErrBadKey, maxKey))
	}
	in, err := root.OpenFile(f.open, os.O_RDONLY|nonBlock, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return uploaded{}, errBusy
	}
	if err != nil {
		return fail(err)
	}
	defer in.Close()
	quiet := func() bool {
		fi, err := in.Stat()
		if err != nil || !fi.Mode().IsRegular() || !versionOf(fi).same(f.version) {
			return false
		}
		fi, err = root.Stat(f.open) // another file may have taken the name
		return err == nil && versionOf(fi).same(f.version)
	}
	if !quiet() {
		return uploaded{}, errBusy
	}
	up := uploaded{version: f.version}
	if f.Size <= hashed {
		h := sha256.New()
		n, err := io.Copy(h, io.LimitReader(in, f.Size))
		if err != nil {
			return fail(err)
		}
		if n != f.Size || !quiet() {
			return uploaded{}, errBusy
		}
		up.SHA256 = hex.EncodeToString(h.Sum(nil))
		if have && known.Size == f.Size && known.SHA256 == up.SHA256 {
			return up, nil
		}
		if _, err := in.Seek(0, io.SeekStart); err != nil {
			return fail(err)
		}
	}
	w, err := c.Store.Create(ctx, key, objstore.CreateOptions{Size: f.Size})
	if err != nil {
		return fail(err)
	}
	n, err := io.CopyBuffer(onlyWriter{w}, io.LimitReader(in, f.Size), make([]byte, 256<<10))
	if err == nil && (n != f.Size || !quiet()) {
		return uploaded{}, errors.Join(errBusy, w.Abort())
	}
	if err == nil {
		err = w.Commit(ctx)
	}
	if err != nil {
		return fail(errors.Join(err, w.Abort()))
	}
	up.sent = true
	return up, nil
}

// onlyWriter hides what else a writer can, so that io.CopyBuffer uses its buffer.
type onlyWriter struct{ io.Writer }

// found is a file of the directory: open is its own name, or where its link ends.
type found struct {
	version
	open string
}

// scan walks the directory. Links to files that stay inside are those files; other links and what is no file are warned
// about. What comes and goes meanwhile is found or not.
func (c *Checkpoints) scan(root *os.Root, s *SyncStats) (map[string]found, error) {
	all := map[string]found{}
	var walk func(dir string) error
	walk = func(dir string) error {
		list, err := names(root, dir)
		if errors.Is(err, fs.ErrNotExist) && dir != "." {
			return nil
		}
		if err != nil {
			return err
		}
		for _, name := range list {
			name = path.Join(dir, name)
			fi, err := root.Lstat(name)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return err
			}
			open := name
			switch {
			case fi.IsDir():
				if err := walk(name); err != nil {
					return err
				}
				continue
			case fi.Mode()&fs.ModeSymlink != 0:
				if open, fi = c.follow(root, name); fi == nil {
					c.warn(s, name, "a link that is to no file in the directory; it is not kept")
					continue
				}
			case !fi.Mode().IsRegular():
				c.warn(s, name, "not a file, directory or link; it is not kept")
				continue
			}
			if int64(len(all)) >= c.most() {
				return fmt.Errorf("%w: more than %d files", ErrTooMany, c.most())
			}
			all[name] = found{versionOf(fi), open}
		}
		return nil
	}
	return all, walk(".")
}

// follow is the regular file at which a link ends, inside the directory; nil if there is none.
func (c *Checkpoints) follow(root *os.Root, name string) (string, fs.FileInfo) {
	if fi, err := root.Stat(name); err == nil {
		if fi.Mode().IsRegular() {
			return name, fi
		}
		return "", nil
	}
	target, err := root.Readlink(name)
	if err != nil || !path.IsAbs(target) || c.At == "" {
		return "", nil
	}
	rel, err := filepath.Rel(c.At, path.Clean(target))
	if err != nil || !filepath.IsLocal(rel) {
		return "", nil
	}
	if fi, err := root.Stat(rel); err == nil && fi.Mode().IsRegular() {
		return rel, fi
	}
	return "", nil
}

// warn tells of a name once.
func (c *Checkpoints) warn(s *SyncStats, name, why string) {
	if c.warned[name] || len(c.warned) >= maxWarnings {
		return
	}
	if c.warned == nil {
		c.warned = map[string]bool{}
	}
	c.warned[name] = true
	s.Warnings = append(s.Warnings, fmt.Sprintf("%q: %s", printable(name), why))
}

// load reads what another process has left.
func (c *Checkpoints) load() error {
	if c.loaded {
		return nil
	}
	b, err := os.ReadFile(c.Record)
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNotRestored
	}
	if err == nil {
		err = json.Unmarshal(b, &c.known)
	}
	if err != nil {
		return fmt.Errorf("read what was uploaded of the checkpoints: %w", err)
	}
	if c.known == nil {
		c.known = map[string]version{}
	}
	c.loaded = true
	return nil
}

// save writes the record whole or not at all.
func (c *Checkpoints) save() error {
	b, err := json.Marshal(c.known)
	if err == nil {
		err = os.WriteFile(c.Record+".new", b, 0o640)
	}
	if err == nil {
		err = os.Rename(c.Record+".new", c.Record)
	}
	if err != nil {
		return fmt.Errorf("record what was uploaded of the checkpoints: %w", err)
	}
	return nil
}
