package channels

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/optml/optml/dataset"
)

const (
	minWindow  = 128 << 10 // what one random read brings at least: the kernel's own step
	maxWindow  = 64 << 20  // what is fetched ahead of a reader that goes straight on
	maxSegment = 4 << 20   // of one request
	growth     = 4         // how many times what was read straight is fetched ahead
	// firstWindow is what is fetched of a file that is read from its beginning: most likely it is read to its end.
	firstWindow = 1 << 20
	keepBehind  = 4 << 20 // the kernel asks for several pieces at once, and they arrive in any order
	skipAhead   = 1 << 20
)

// ranges reads n bytes of an object from off.
type ranges func(ctx context.Context, off, n int64) (io.ReadCloser, error)

// splices is ranges for what the kernel is to move.
type splices func(ctx context.Context, off, n int64) (dataset.Splicer, error)

// readahead reads one open file of a store. While its reader goes straight on, ever more is fetched ahead in parallel;
// a reader that jumps gets what it asked for and no more. What all readers hold together is bounded by their stock.
type readahead struct {
	ctx    context.Context // ends with close
	cancel context.CancelFunc
	size   int64
	open   ranges
	stock  *stock
	kept   *kept       // what is on disk already, and where what is fetched goes; may be nil
	splice splices     // open for who has a tube; may be nil
	near   func() bool // whether the store is, if there is splice

	mu    sync.Mutex
	segs  []*segment // one behind the other, without gaps
	begin int64      // where the reader began to go straight on
	next  int64      // where the last read ended
}

// segment is a part of the file that is fetched, or was. It lives until nobody holds it: the list of its reader, reads
// that are being answered from it, its way to the disk.
type segment struct {
	off, end int64
	stock    *stock
	cancel   context.CancelFunc
	done     chan struct{}
	data     []byte // nil: it lies on disk
	err      error
	holders  atomic.Int32
}

func (s *segment) release() {
	if s.holders.Add(-1) > 0 {
		return
	}
	s.cancel()
	if s.data != nil {
		s.stock.give(s.data)
	}
}

// got is the answer to a read: slices of what was fetched, good until release.
type got struct {
	parts [][]byte
	segs  []*segment
	maps  [][]byte // memory that parts lie in
	n     int
}

func (g *got) release() {
	for _, s := range g.segs {
		s.release()
	}
	for _, m := range g.maps {
		_ = unix.Munmap(m)
	}
	*g = got{n: g.n}
}

func newReadahead(size int64, st *stock, kept *kept, open ranges) *readahead {
	r := &readahead{size: size, open: open, stock: st, kept: kept, next: -1}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	st.change(1, 0)
	return r
}

// read gives len(p) bytes from off, less at the end of the file. p is used where there is no room to fetch into. An
// error means that the bytes could not be had, or ctx is done.
func (r *readahead) read(ctx context.Context, p []byte, off int64) (*got, error) {
	want := int(max(0, min(int64(len(p)), r.size-off)))
	g := &got{}
	for g.n < want {
		at := off + int64(g.n)
		s := r.plan(at, int64(want-g.n))
		if s == nil { // no room: only what was asked for
			part := p[g.n:want]
			if err := r.direct(ctx, part, at); err != nil {
				g.release()
				return nil, err
			}
			g.parts, g.n = append(g.parts, part), want
			break
		}
		g.segs = append(g.segs, s)
		if err := r.await(ctx, s); errors.Is(err, errSpool) {
			r.forget(s)
			continue
		} else if err != nil {
			g.release()
			return nil, err
		}
		part, err := r.part(g, s, at, p[g.n:min(want, g.n+int(s.end-at))])
		if err != nil { // the disk has lost what it had
			r.kept.lose()
			r.forget(s)
			continue
		}
		g.parts, g.n = append(g.parts, part), g.n+len(part)
	}
	return g, nil
}

// lookFrom is from how many bytes on it costs less to look at what is kept than to read it.
const lookFrom = 64 << 10

// part is what a segment has of len(p) bytes from at, in p or where it lies.
func (r *readahead) part(g *got, s *segment, at int64, p []byte) ([]byte, error) {
	if s.data != nil {
		return s.data[at-s.off:][:len(p)], nil
	}
	if len(p) >= lookFrom {
		if memory, part, err := r.kept.look(at, int64(len(p))); err == nil {
			g.maps = append(g.maps, memory)
			return part, nil
		}
	}
	return p, r.kept.readAt(p, at)
}

// await waits until a segment is there.
func (r *readahead) await(ctx context.Context, s *segment) error {
	select {
	case <-s.done:
		return s.err
	default:
	}
	r.stock.readerWaits.begin()
	defer r.stock.readerWaits.end(true)
	select {
	case <-s.done:
		return s.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (r *readahead) direct(ctx context.Context, p []byte, off int64) error {
	r.stock.change(0, 1)
	defer r.stock.change(0, -1)
	r.stock.readerWaits.begin()
	defer r.stock.readerWaits.end(true)
	return r.fetch(ctx, p, off)
}

// plan returns the segment that holds the byte at, to be released, and has what comes next fetched; nil if there is no
// room for it.
func (r *readahead) plan(at, want int64) *segment {
	r.mu.Lock()
	defer r.mu.Unlock()
	first, end := r.next, r.next
	if len(r.segs) > 0 {
		first, end = r.segs[0].off, r.segs[len(r.segs)-1].end
	}
	if at >= first && at <= end+skipAhead && first >= 0 {
		r.drop(at - keepBehind)
		r.next = max(r.next, at+want)
	} else {
		r.drop(r.size)
		r.begin, r.next = at, at+want
	}
	end = at
	if len(r.segs) > 0 {
		end = r.segs[len(r.segs)-1].end
	}
	window := max(growth*(at-r.begin), minWindow)
	if at == 0 {
		window = firstWindow
	}
	window = min(window, r.stock.share())
	for until := min(at+max(window, want), r.size); end < until; {
		part := int64(1) << (bits.Len64(uint64(window)) - 4) // an eighth of it or less, which fills its buffer
		n := min(max(part, minWindow, want), maxSegment, r.size-end)
		s := r.start(end, n)
		if s == nil {
			break
		}
		r.segs = append(r.segs, s)
		end += n
	}
	for _, s := range r.segs {
		if at >= s.off && at < s.end {
			s.holders.Add(1)
			return s
		}
	}
	return nil
}

// start has a segment fetched, if there is room for it.
func (r *readahead) start(off, n int64) *segment {
	s := &segment{off: off, end: off + n, stock: r.stock, done: make(chan struct{})}
	ctx, cancel := context.WithCancel(r.ctx)
	s.cancel = cancel
	s.holders.Store(1) // the list's
	if r.kept.hold(off, n) {
		r.kept.ready(off, n)
		close(s.done)
		return s
	}
	straight := n >= spliceMin && r.splice != nil && r.kept.room() != nil
	if !straight {
		if s.data = r.stock.take(n); s.data == nil {
			cancel()
			return nil
		}
	}
	s.holders.Add(1) // the fetch's
	r.stock.change(0, 1)
	go func() {
		defer s.release()
		if straight {
			s.err = r.move(ctx, off, n)
		} else {
			s.err = r.fetch(ctx, s.data[:n], off)
		}
		keep := !straight && s.err == nil
		if keep && n >= spliceMin { // before anyone reads it: then it is fetched no faster than the disk takes it
			r.kept.write(s.data[:n], off)
			keep = false
		}
		close(s.done)
		r.stock.change(0, -1)
		if keep {
			r.kept.write(s.data[:n], off)
		}
	}()
	return s
}

// move fetches a range to where it is kept.
func (r *readahead) move(ctx context.Context, off, n int64) error {
	if r.near() {
		select {
		case r.stock.near <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		defer func() { <-r.stock.near }()
	}
	body, err := r.splice(ctx, off, n)
	if err != nil {
		return err
	}
	defer body.Close()
	return r.kept.fill(body, off, n, r.stock.bytes)
}

// forget takes a segment off the list, and what comes after it, since the list has no gaps.
func (r *readahead) forget(s *segment) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := slices.Index(r.segs, s); i >= 0 {
		for _, s := range r.segs[i:] {
			s.drop()
		}
		r.segs = r.segs[:i]
	}
}

// drop lets go of the segments that end before at.
func (r *readahead) drop(at int64) {
	for len(r.segs) > 0 && r.segs[0].end <= at {
		s := r.segs[0]
		r.segs = r.segs[1:]
		s.drop()
	}
}

// drop takes a segment off the list. What nobody waits for need not be fetched any further.
func (s *segment) drop() {
	if s.holders.Load() == 2 { // no read holds it, and none can find it any more
		select {
		case <-s.done: // it may be on its way to the disk
		default:
			s.cancel()
		}
	}
	s.release()
}

func (r *readahead) fetch(ctx context.Context, p []byte, off int64) error {
	if r.kept.read(p, off) {
		return nil
	}
	body, err := r.open(ctx, off, int64(len(p)))
	if err != nil {
		return err
	}
	defer body.Close()
	n, err := io.ReadFull(body, p)
	r.stock.bytes.Add(int64(n))
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fmt.Errorf("got %d of %d bytes at %d", n, len(p), off)
	}
	if err != nil {
		return err
	}
	// The store's last word comes with the end: the object may have changed while it was read.
	if m, err := body.Read(make([]byte, 1)); m > 0 {
		return fmt.Errorf("got more than the %d bytes at %d that were asked for", len(p), off)
	} else if err != nil && err != io.EOF {
		return err
	}
	return nil
}

// close cancels what is being fetched.
func (r *readahead) close() {
	r.mu.Lock()
	segs := r.segs
	r.segs = nil
	r.mu.Unlock()
	for _, s := range segs {
		s.drop()
	}
	r.cancel()
	r.stock.change(-1, 0)
}
