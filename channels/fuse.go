package channels

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"path"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sys/unix"

	"github.com/optml/optml/dataset"
)

// node is a file or a directory of the view. The tree grows while the source is listed and does not change afterwards.
type node struct {
	fs.Inode
	view     *view
	file     dataset.File
	children map[string]*node // of a directory
	ino      uint64
}

// view is a read-only file system over a listing.
type view struct {
	mu     sync.RWMutex // of the tree, while it grows
	root   *node
	server *fuse.Server
	last   uint64
	room   *semaphore.Weighted
	count  func(n int64)
	opened func()
	failed func(f dataset.File, err error)
}

func newView(room int64) *view {
	v := &view{room: semaphore.NewWeighted(room)}
	v.root = v.node()
	v.root.children = map[string]*node{}
	return v
}

func (v *view) node() *node {
	v.last++
	return &node{view: v, ino: v.last}
}

// mount shows the view at dir, whose user must be root.
func (v *view) mount(dir string) error {
	forever := 24 * time.Hour
	server, err := fs.Mount(dir, v.root, &fs.Options{
		AttrTimeout: &forever, EntryTimeout: &forever,
		RootStableAttr: &fs.StableAttr{Ino: 1},
		MountOptions: fuse.MountOptions{
			AllowOther: true, FsName: "optml", Name: "optml", DirectMountStrict: true,
			DirectMountFlags: unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV,
			MaxReadAhead:     1 << 20, MaxWrite: 1 << 20, MaxBackground: 64,
			DisableXAttrs: true, DisableSplice: true, // a reply of 1 MiB and its header does not fit into a pipe
			Logger: log.New(io.Discard, "", 0),
		},
		Logger: log.New(io.Discard, "", 0),
	})
	if err != nil {
		return err
	}
	v.server = server
	return nil
}

// end waits until the kernel has let go of the view, after it was unmounted. Who still has it open (a process that
// cannot be killed) keeps it, so the wait is bounded.
func (v *view) end() error {
	server := v.server
	v.server = nil
	gone := make(chan struct{})
	go func() {
		server.Wait()
		close(gone)
	}()
	t := time.NewTimer(endTimeout)
	defer t.Stop()
	select {
	case <-gone:
		return nil
	case <-t.C:
		return fmt.Errorf("the view is still in use %s after it was unmounted", endTimeout)
	}
}

const endTimeout = 5 * time.Second

// add puts an entry of the listing into the tree; false if its path is taken (FILE-6).
func (v *view) add(f dataset.File) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	dir, ok := v.dir(path.Dir(f.Path))
	if f.Dir {
		_, ok = v.dir(f.Path)
		return ok
	}
	name := path.Base(f.Path)
	if !ok || dir.children[name] != nil {
		return false
	}
	n := v.node()
	n.file = f
	dir.children[name] = n
	return true
}

func (v *view) dir(p string) (*node, bool) {
	if p == "." {
		return v.root, true
	}
	up, ok := v.dir(path.Dir(p))
	if !ok {
		return nil, false
	}
	n := up.children[path.Base(p)]
	if n == nil {
		n = v.node()
		n.children = map[string]*node{}
		up.children[path.Base(p)] = n
	}
	return n, n.children != nil
}

var (
	_ fs.NodeLookuper  = (*node)(nil)
	_ fs.NodeReaddirer = (*node)(nil)
	_ fs.NodeGetattrer = (*node)(nil)
	_ fs.NodeOpener    = (*node)(nil)
)

func (n *node) mode() uint32 {
	if n.children != nil {
		return syscall.S_IFDIR
	}
	return syscall.S_IFREG
}

func (n *node) fill(a *fuse.Attr) {
	a.Ino, a.Nlink, a.Blksize = n.ino, 1, 4096
	if n.children != nil {
		a.Mode, a.Nlink = syscall.S_IFDIR|0o755, 2
		return
	}
	a.Mode, a.Size = syscall.S_IFREG|0o644, uint64(n.file.Object.Size)
	a.Blocks = (a.Size + 511) / 512
	if t := n.file.Object.ModTime; !t.IsZero() {
		a.SetTimes(&t, &t, &t)
	}
}

func (n *node) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	n.fill(&out.Attr)
	return 0
}

func (n *node) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	n.view.mu.RLock()
	child := n.children[name]
	n.view.mu.RUnlock()
	if child == nil {
		return nil, syscall.ENOENT
	}
	child.fill(&out.Attr)
	return n.NewInode(ctx, child, fs.StableAttr{Mode: child.mode(), Ino: child.ino}), 0
}

func (n *node) Readdir(context.Context) (fs.DirStream, syscall.Errno) {
	n.view.mu.RLock()
	defer n.view.mu.RUnlock()
	list := make([]fuse.DirEntry, 0, len(n.children))
	for name, c := range n.children {
		list = append(list, fuse.DirEntry{Name: name, Mode: c.mode(), Ino: c.ino})
	}
	return fs.NewListDirStream(list), 0
}

func (n *node) Open(_ context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	if flags&(syscall.O_WRONLY|syscall.O_RDWR|syscall.O_TRUNC) != 0 {
		return nil, 0, syscall.EROFS
	}
	n.view.opened()
	h := &handle{n: n, r: newReadahead(n.file.Object.Size, n.view.room, n.view.count, n.file.OpenRange)}
	return h, fuse.FOPEN_KEEP_CACHE, 0
}

// handle is a file that was opened.
type handle struct {
	n *node
	r *readahead
}

var (
	_ fs.FileReader   = (*handle)(nil)
	_ fs.FileReleaser = (*handle)(nil)
)

// Read answers EIO for bytes that cannot be had, and the job fails even if the script does not care (ruling 8).
func (h *handle) Read(ctx context.Context, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	n, err := h.r.read(ctx, dest, off)
	switch {
	case err == nil:
		return fuse.ReadResultData(dest[:n]), 0
	case errors.Is(err, context.Canceled):
		return nil, syscall.EINTR // the reader was killed, or has closed the file
	}
	h.n.view.failed(h.n.file, err)
	return nil, syscall.EIO
}

func (h *handle) Release(context.Context) syscall.Errno {
	h.r.close()
	return 0
}
