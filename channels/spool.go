package channels

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/optml/optml/dataset"
)

const (
	// ownFile is from where on an object has a file of its own, which the kernel can serve. Smaller ones lie in one file
	// together: a dataset may have millions of them.
	ownFile = 1 << 20
	// underWay is how many bytes may be on their way to the disk. What comes beyond that is not kept: a spool must not hold
	// up the first epoch.
	underWay = 128 << 20
	// maxSpans bounds what is remembered of an object that is read in pieces.
	maxSpans = 4096
)

// spool keeps on disk what was fetched of a FastFile channel, so that it is fetched once: what a later epoch reads comes
// from there, and of an object that is there whole the kernel serves the reads itself, where it can. Keeping is done as
// far as there is room and the disk keeps up; nothing depends on it.
//
// What the kernel can move from the connection goes straight into the object's file, and reads are answered from there:
// that costs no copy more than a buffer. Everything else, small objects and all that is encrypted on its way, is fetched
// into a buffer and then written. Of that, if the channel fits into memory, only what had to be fetched again is kept: the
// page cache has it for the later epochs, and the first one is spared the writing.
type spool struct {
	dir  string
	lazy atomic.Bool  // keep what comes through buffers only when it is fetched again
	left atomic.Int64 // bytes that may yet be kept
	busy atomic.Int64 // bytes on their way
	full atomic.Bool  // the disk is, or it is broken

	mu     sync.Mutex
	pack   *os.File // of small objects
	end    int64    // of pack
	looked time.Time
	behind bool // when we looked, the disk was
	tubes  []*tube

	writing sync.Mutex // held by who writes: several at once into one file have the kernel spin
}

// newSpool makes a spool in a new directory below parent for up to limit bytes; 0: half of what is free there. Where
// files would lie in memory anyway there is none.
func newSpool(parent, name string, limit int64) (*spool, error) {
	if limit < 0 {
		return nil, nil
	}
	if parent == "" {
		parent = os.TempDir()
	}
	var fs syscall.Statfs_t
	if err := syscall.Statfs(parent, &fs); err != nil {
		return nil, fmt.Errorf("look at file system of %s: %w", parent, err)
	}
	if limit == 0 {
		switch fs.Type {
		case 0x01021994, 0x858458f6: // tmpfs, ramfs
			return nil, nil
		}
		limit = math.MaxInt64
	}
	dir, err := os.MkdirTemp(parent, "spool-"+name+"-")
	if err != nil {
		return nil, fmt.Errorf("make spool: %w", err)
	}
	s := &spool{dir: dir}
	s.left.Store(min(limit, int64(fs.Bavail)*fs.Bsize/2))
	return s, nil
}

// object is where an object of the spool is kept; nil without a spool. moved says that the kernel can move it there.
func (s *spool) object(id uint64, size int64, moved bool) *kept {
	if s == nil || size <= 0 {
		return nil
	}
	return &kept{spool: s, id: id, size: size, moved: moved && size >= ownFile}
}

// fits makes the spool lazy if a channel of so many bytes stays in the page cache, as far as one can tell.
func (s *spool) fits(total int64) {
	if s == nil {
		return
	}
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return
	}
	for line := range strings.Lines(string(b)) {
		var kib int64
		if n, _ := fmt.Sscanf(line, "MemAvailable: %d kB", &kib); n == 1 {
			s.lazy.Store(total < kib<<10/2)
		}
	}
}

func (s *spool) close() error {
	if s == nil {
		return nil
	}
	s.full.Store(true)
	for s.busy.Load() > 0 { // the last segments of files that were just closed, which are cancelled
		time.Sleep(time.Millisecond)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tubes {
		t.close()
	}
	s.tubes = nil
	var err error
	if s.pack != nil {
		err = s.pack.Close()
		s.pack = nil
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}

// kept is what is kept of one object. A nil one keeps nothing.
type kept struct {
	spool *spool
	id    uint64
	size  int64
	moved bool // the kernel moves it

	mu    sync.Mutex
	users int // who may read or write
	place place
	f     *os.File // while there are users, once something was written
	base  int64    // where the object begins in f
	have  spans
	seen  spans // fetched, whether kept or not; of a lazy spool
}

// place says where an object is to be kept.
type place int

const (
	undecided place = iota
	nowhere         // no room
	own             // in a file of its own
	shared          // in the pack
)

func (k *kept) path() string { return filepath.Join(k.spool.dir, strconv.FormatUint(k.id, 10)) }

// use is called before read and write, and unuse when that is over.
func (k *kept) use() {
	if k == nil {
		return
	}
	k.mu.Lock()
	k.users++
	k.mu.Unlock()
}

func (k *kept) unuse() {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.users--; k.users == 0 && k.place == own && k.f != nil {
		k.f.Close()
		k.f = nil
	}
}

// large says whether the object is to have a file of its own, which the kernel can serve once it is whole.
func (k *kept) large() bool { return k != nil && k.size >= ownFile }

// eager says whether all that is fetched is kept.
func (k *kept) eager() bool { return k != nil && (k.moved || !k.spool.lazy.Load()) }

// room opens the object's own file, if something may be kept there now; it stays good until unuse.
func (k *kept) room() *os.File {
	if !k.large() || k.spool.full.Load() || k.spool.late() {
		return nil
	}
	f, _ := k.open(true)
	return f
}

// lookAgain is how old the answer to whether the disk is behind may be.
const lookAgain = 5 * time.Millisecond

// margin is what may become dirty until we look again.
const margin = 32 << 20

// late says whether the disk is so far behind that the kernel may make a writer wait: from halfway between where it
// begins to write in the background and what may be dirty at most.
func (s *spool) late() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.looked) < lookAgain {
		return s.behind
	}
	s.looked, s.behind = time.Now(), false
	b, err := os.ReadFile("/proc/vmstat")
	if err != nil {
		return false
	}
	var dirty, limits int64 // pages
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		n, _ := strconv.ParseInt(value, 10, 64)
		switch name {
		case "nr_dirty", "nr_writeback":
			dirty += n
		case "nr_dirty_threshold", "nr_dirty_background_threshold":
			limits += n
		}
	}
	s.behind = limits > 0 && dirty*int64(os.Getpagesize())+margin > limits*int64(os.Getpagesize())/2
	return s.behind
}

// fill takes n bytes of the object, from off, out of a body. Errors of the disk are errSpool.
func (k *kept) fill(body dataset.Splicer, off, n int64, count *atomic.Int64) error {
	s := k.spool
	s.busy.Add(n) // close waits for us
	defer s.busy.Add(-n)
	if s.full.Load() {
		return errSpool
	}
	k.use()
	defer k.unuse()
	f, base := k.open(false)
	if f == nil {
		return errSpool
	}
	s.mu.Lock()
	var t *tube
	if last := len(s.tubes) - 1; last >= 0 {
		t, s.tubes = s.tubes[last], s.tubes[:last]
	}
	s.mu.Unlock()
	if t == nil {
		t = &tube{turn: &s.writing}
	}
	got, err := t.fill(f, base+off, body, count)
	s.mu.Lock()
	s.tubes = append(s.tubes, t)
	s.mu.Unlock()
	switch {
	case errors.As(err, new(sinkError)):
		s.full.Store(true)
		return errSpool
	case err != nil:
		return err
	case got != n:
		return fmt.Errorf("got %d of %d bytes at %d", got, n, off)
	}
	k.mu.Lock()
	k.have.add(off, off+n)
	k.mu.Unlock()
	return nil
}

// errSpool says that the disk did not take what was fetched. It takes nothing more then.
var errSpool = errors.New("spool failed")

// lose forgets what was kept, after the disk did not give it back.
func (k *kept) lose() {
	k.spool.full.Store(true)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.have = nil
}

// hold says whether a range is kept where look finds it.
func (k *kept) hold(off, n int64) bool {
	if k == nil {
		return false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.place == own && k.have.hold(off, off+n)
}

// ready has the kernel bring a range into memory that look will be asked for.
func (k *kept) ready(off, n int64) {
	if f, base := k.open(false); f != nil {
		_ = unix.Fadvise(int(f.Fd()), base+off, n, unix.FADV_WILLNEED)
	}
}

// look gives n bytes from off, which are kept, as they lie in the page cache. memory is to be unmapped.
//
// Only the kernel may look at them: if the disk cannot bring a page, it gets an error where we would be killed.
func (k *kept) look(off, n int64) (memory, p []byte, err error) {
	f, base := k.open(false)
	if f == nil {
		return nil, nil, errSpool
	}
	at := base + off
	page := at &^ int64(os.Getpagesize()-1)
	memory, err = unix.Mmap(int(f.Fd()), page, int(at-page+n), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, nil, os.NewSyscallError("mmap", err)
	}
	return memory, memory[at-page:], nil
}

// write keeps p, which is the object's from off.
func (k *kept) write(p []byte, off int64) {
	if k == nil {
		return
	}
	s, n := k.spool, int64(len(p))
	if s.busy.Add(n) <= underWay && !s.full.Load() && !s.late() && (k.eager() || !k.new(off, off+n)) {
		k.put(p, off)
	}
	s.busy.Add(-n)
}

// new says whether any of a range was not fetched before, and remembers that it was now.
func (k *kept) new(begin, end int64) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.seen.hold(begin, end) {
		return false
	}
	k.seen.add(begin, end)
	return true
}

func (k *kept) put(p []byte, off int64) {
	k.use()
	defer k.unuse()
	f, base := k.open(true)
	if f == nil {
		return
	}
	k.mu.Lock()
	had := k.have.hold(off, off+int64(len(p)))
	k.mu.Unlock()
	if had {
		return
	}
	k.spool.writing.Lock()
	_, err := f.WriteAt(p, base+off)
	k.spool.writing.Unlock()
	if err != nil {
		k.spool.full.Store(true)
		return
	}
	k.mu.Lock()
	k.have.add(off, off+int64(len(p)))
	k.mu.Unlock()
}

// read fills p from off if all of that is kept.
func (k *kept) read(p []byte, off int64) bool {
	if k == nil {
		return false
	}
	k.mu.Lock()
	had := k.have.hold(off, off+int64(len(p)))
	k.mu.Unlock()
	return had && k.readAt(p, off) == nil
}

// readAt fills p from off, all of which is kept.
func (k *kept) readAt(p []byte, off int64) error {
	k.use()
	defer k.unuse()
	f, base := k.open(false)
	if f == nil {
		return errSpool
	}
	_, err := f.ReadAt(p, base+off)
	return err
}

// open gives the file that the object lies in; nil if there is none.
func (k *kept) open(create bool) (*os.File, int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.place == undecided && create {
		k.decide()
	}
	switch {
	case k.place == undecided || k.place == nowhere:
		return nil, 0
	case k.f == nil:
		f, err := os.OpenFile(k.path(), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
		if err != nil {
			k.spool.full.Store(true)
			return nil, 0
		}
		k.f = f
	}
	return k.f, k.base
}

// decide reserves room for the whole object.
func (k *kept) decide() {
	s := k.spool
	if s.left.Add(-k.size) < 0 {
		s.left.Add(k.size)
		k.place = nowhere
		return
	}
	if k.place = own; k.size >= ownFile {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pack == nil {
		f, err := os.OpenFile(filepath.Join(s.dir, "small"), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			s.full.Store(true)
			k.place = nowhere
			return
		}
		s.pack = f
	}
	k.place, k.f, k.base = shared, s.pack, s.end
	s.end += k.size
}

// complete says whether all of the object is there, in a file of its own.
func (k *kept) complete() bool { return k != nil && k.hold(0, k.size) }

// whole opens the object's own file to be read, if all of it is there.
func (k *kept) whole() *os.File {
	if !k.complete() {
		return nil
	}
	f, err := os.OpenFile(k.path(), os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil
	}
	return f
}

// spans are ranges of an object, in order and apart.
type spans [][2]int64

// hold says whether all from begin to end is there.
func (s spans) hold(begin, end int64) bool {
	i, _ := slices.BinarySearchFunc(s, begin, func(x [2]int64, at int64) int {
		if x[1] <= at {
			return -1
		}
		return 1
	})
	return i < len(s) && s[i][0] <= begin && end <= s[i][1]
}

func (s *spans) add(begin, end int64) {
	// Those that touch what comes become one with it.
	i, _ := slices.BinarySearchFunc(*s, begin, func(x [2]int64, at int64) int {
		if x[1] < at {
			return -1
		}
		return 1
	})
	j := i
	for ; j < len(*s) && (*s)[j][0] <= end; j++ {
		begin, end = min(begin, (*s)[j][0]), max(end, (*s)[j][1])
	}
	if i == j && len(*s) >= maxSpans {
		return
	}
	*s = slices.Replace(*s, i, j, [2]int64{begin, end})
}
