package channels

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
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

	mu      sync.Mutex    // of what is open. A file is read either through us or past us, never both at once: the kernel refuses that
	reached bool          // it was opened once
	through int           // handles that we serve
	none    chan struct{} // closed when there are none of these any more
	past    int           // handles that the kernel serves
	backing *os.File      // from this one, while there are any
	kept    *kept         // what the spool has of it
}

// view is a read-only file system over a listing.
type view struct {
	mu     sync.RWMutex // of the tree, while it grows
	root   *node
	server *fuse.Server
	last   uint64
	stock  *stock
	spool  *spool
	plain  bool                   // the kernel is to serve nothing itself
	passes map[uint64]bool        // by device: whether the kernel can serve a file of it
	opened func(first, past bool) // first: of this file
	failed func(f dataset.File, err error)
}

func newView(s *stock) *view {
	v := &view{stock: s, passes: map[uint64]bool{}}
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
			ExtraCapabilities: fuse.CAP_DIRECT_IO_ALLOW_MMAP,
			MaxStackDepth:     2, // the files that the kernel serves may lie in an overlay
			Logger:            slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
		},
		Logger: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	})
	if err != nil {
		return err
	}
	v.mu.Lock()
	v.server = server
	v.mu.Unlock()
	readAhead(dir)
	return nil
}

// readAhead lets the kernel ask for as much at once as we allowed: by itself it does not go above 128 KiB, and each
// question costs a switch of processes. The mount is looked up in the table of mounts, since nothing of ours may ever
// wait for our own mount (D12). Where it cannot be set, reading is slower.
func readAhead(dir string) {
	dev, err := mountDevice(dir)
	if err != nil {
		return
	}
	_ = os.WriteFile("/sys/class/bdi/"+dev+"/read_ahead_kb", []byte("1024"), 0)
}

// mountDevice is the device, major:minor, of what is mounted at dir.
func mountDevice(dir string) (string, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	defer f.Close()
	dev := ""
	for s := bufio.NewScanner(f); s.Scan(); {
		if x := strings.Fields(s.Text()); len(x) > 4 && x[4] == dir {
			dev = x[2] // the last one lies on top
		}
	}
	if dev == "" {
		return "", os.ErrNotExist
	}
	return dev, nil
}

// pass says whether the kernel can serve f. One device's answer holds for all its files.
func (v *view) pass(f *os.File) bool {
	var st unix.Stat_t
	if v.plain || unix.Fstat(int(f.Fd()), &st) != nil {
		return false
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	can, known := v.passes[st.Dev]
	if !known {
		id, errno := v.server.RegisterBackingFd(&fuse.BackingMap{Fd: int32(f.Fd())})
		if can = errno == 0; can {
			_ = v.server.UnregisterBackingFd(id)
		}
		v.passes[st.Dev] = can
	}
	return can
}

// direct says whether what is read through us needs no place in the page cache: what is read is kept in f, and the kernel
// will serve it from there when it is whole. That saves a copy and half of the memory. f may be nil.
func (v *view) direct(f *os.File) bool {
	return f != nil && v.server.KernelSettings().Flags64()&fuse.CAP_DIRECT_IO_ALLOW_MMAP != 0 && v.pass(f)
}

// end waits until the kernel has let go of the view, after it was unmounted. Who still has it open (a process that
// cannot be killed) keeps it, so the wait is bounded.
func (v *view) end() error {
	gone := make(chan struct{})
	go func() {
		v.server.Wait()
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
	slices.SortFunc(list, func(a, b fuse.DirEntry) int { return strings.Compare(a.Name, b.Name) })
	return fs.NewListDirStream(list), 0
}

func (n *node) Open(_ context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	if flags&(syscall.O_WRONLY|syscall.O_RDWR|syscall.O_TRUNC) != 0 {
		return nil, 0, syscall.EROFS
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.through > 0 && n.kept.complete() {
		n.released()
	}
	if n.past == 0 && n.through == 0 {
		n.backing = n.behind()
	}
	n.view.opened(!n.reached, n.backing != nil)
	n.reached = true
	if n.backing != nil {
		n.past++
		return &pastHandle{n}, 0, 0
	}
	if n.through++; n.through == 1 {
		n.none = make(chan struct{})
	}
	if n.kept == nil && !n.file.Local() {
		n.kept = n.view.spool.object(n.ino, n.file.Object.Size, n.file.Splices())
	}
	n.kept.use()
	h := &handle{n: n, r: newReadahead(n.file.Object.Size, n.view.stock, n.kept, n.file.OpenRange)}
	if n.file.Splices() {
		h.r.splice, h.r.near = n.file.OpenSplice, n.file.Near
	}
	if n.kept.eager() && n.view.direct(n.kept.room()) {
		return h, fuse.FOPEN_DIRECT_IO, 0
	}
	return h, fuse.FOPEN_KEEP_CACHE, 0
}

// releaseWait is how long an open may wait for handles that were closed to be released.
const releaseWait = 5 * time.Millisecond

// released waits until no handle is served by us: the kernel tells of the end of one only after its close, and who closes
// a file and opens it again is faster than that. n.mu is held, but not while we wait.
func (n *node) released() {
	none := n.none
	n.mu.Unlock()
	defer n.mu.Lock()
	t := time.NewTimer(releaseWait)
	defer t.Stop()
	select {
	case <-none:
	case <-t.C:
	}
}

// behind opens the file from which the kernel can serve n by itself: the user's own, or the spool's where it is whole.
func (n *node) behind() *os.File {
	if n.view.plain {
		return nil
	}
	f := n.kept.whole()
	if n.file.Local() {
		var err error
		if f, err = n.file.LocalFile(context.Background()); err != nil {
			return nil // the first read says why
		}
	}
	if f != nil && !n.view.pass(f) {
		f.Close()
		return nil
	}
	return f
}

// pastHandle is a file that the kernel serves without us.
type pastHandle struct{ n *node }

var (
	_ fs.FilePassthroughFder = (*pastHandle)(nil)
	_ fs.FileReader          = (*pastHandle)(nil)
	_ fs.FileReleaser        = (*pastHandle)(nil)
)

func (h *pastHandle) PassthroughFd() (int, bool) { return int(h.n.backing.Fd()), true }

// Read is for a kernel that took the file and asks nevertheless.
func (h *pastHandle) Read(_ context.Context, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	n, err := h.n.backing.ReadAt(dest, off)
	if err != nil && err != io.EOF {
		h.n.view.failed(h.n.file, err)
		return nil, syscall.EIO
	}
	return fuse.ReadResultData(dest[:n]), 0
}

// Release is called once the kernel is done with the handle.
func (h *pastHandle) Release(context.Context) syscall.Errno {
	h.n.mu.Lock()
	defer h.n.mu.Unlock()
	if h.n.past--; h.n.past == 0 {
		h.n.backing.Close()
		h.n.backing = nil
	}
	return 0
}

// handle is a file that is read through us.
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
	g, err := h.r.read(ctx, dest, off)
	switch {
	case err == nil:
		return reply{g}, 0
	case errors.Is(err, context.Canceled):
		return nil, syscall.EINTR // the reader was killed, or has closed the file
	}
	h.n.view.failed(h.n.file, err)
	return nil, syscall.EIO
}

func (h *handle) Release(context.Context) syscall.Errno {
	h.n.mu.Lock()
	if h.n.through--; h.n.through == 0 {
		close(h.n.none)
	}
	h.n.mu.Unlock()
	h.r.close()
	h.n.kept.unuse()
	return 0
}

// reply hands what was fetched to the kernel from where it lies.
type reply struct{ *got }

func (r reply) Size() int                       { return r.n }
func (r reply) Done()                           { r.release() }
func (r reply) Slices() ([][]byte, fuse.Status) { return r.parts, fuse.OK }
func (r reply) Bytes(b []byte) ([]byte, fuse.Status) {
	b = b[:0]
	for _, p := range r.parts {
		b = append(b, p...)
	}
	return b, fuse.OK
}
