package channels

import (
	"context"
	"fmt"
	"io"
	"sync"

	"golang.org/x/sync/semaphore"
)

const (
	minWindow  = 128 << 10 // what one random read brings at least: the kernel's own step
	maxWindow  = 32 << 20  // what is fetched ahead of a reader that goes straight on
	maxSegment = 4 << 20   // of one request
	keepBehind = 1 << 20   // the kernel's reads of one reader come in a slightly different order
	skipAhead  = 1 << 20
)

// readahead reads one open file of a store. While its reader goes straight on, ever more is fetched ahead in parallel;
// a reader that jumps gets what it asked for and no more. What all readers hold together is bounded by room.
type readahead struct {
	ctx    context.Context // ends with close
	cancel context.CancelFunc
	size   int64
	open   func(ctx context.Context, off, n int64) (io.ReadCloser, error)
	room   *semaphore.Weighted
	count  func(n int64)

	mu     sync.Mutex
	segs   []*segment // one behind the other, without gaps
	window int64
	next   int64 // where the last read ended
}

// segment is a part of the file that is fetched, or was.
type segment struct {
	off, end int64
	done     chan struct{}
	data     []byte
	err      error
}

func newReadahead(size int64, room *semaphore.Weighted, count func(int64), open func(ctx context.Context, off, n int64) (io.ReadCloser, error)) *readahead {
	r := &readahead{size: size, open: open, room: room, count: count}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r
}

// read fills p from off, less at the end of the file. An error means that the bytes could not be had, or ctx is done.
func (r *readahead) read(ctx context.Context, p []byte, off int64) (int, error) {
	p = p[:max(0, min(int64(len(p)), r.size-off))]
	n := 0
	for n < len(p) {
		at := off + int64(n)
		s := r.plan(at, int64(len(p)-n))
		if s == nil { // no room: only what was asked for
			err := r.fetch(ctx, p[n:], at)
			return len(p), err
		}
		select {
		case <-s.done:
		case <-ctx.Done():
			return n, context.Cause(ctx)
		}
		if s.err != nil {
			return n, s.err
		}
		n += copy(p[n:], s.data[at-s.off:])
	}
	return n, nil
}

// plan returns the segment that holds the byte at, and has what comes next fetched; nil if there is no room for it.
func (r *readahead) plan(at, want int64) *segment {
	r.mu.Lock()
	defer r.mu.Unlock()
	begin, end := at, at
	if len(r.segs) > 0 {
		begin, end = r.segs[0].off, r.segs[len(r.segs)-1].end
	}
	if inside := at >= begin && at <= end+skipAhead; inside && (len(r.segs) > 0 || at == r.next) {
		if at >= r.next {
			r.window = min(max(r.window*2, minWindow), maxWindow)
		}
		r.drop(at - keepBehind)
	} else {
		r.drop(r.size)
		r.window = minWindow
	}
	if len(r.segs) == 0 {
		end = at
	} else {
		end = r.segs[len(r.segs)-1].end
	}
	r.next = max(at+want, r.next)
	if len(r.segs) == 0 {
		r.next = at + want
	}
	for until := min(at+max(r.window, want), r.size); end < until; {
		n := min(max(r.window/4, minWindow, want), maxSegment, r.size-end)
		if !r.room.TryAcquire(n) {
			break
		}
		s := &segment{off: end, end: end + n, done: make(chan struct{})}
		r.segs = append(r.segs, s)
		end += n
		go func() {
			defer close(s.done)
			data := make([]byte, n)
			if s.err = r.fetch(r.ctx, data, s.off); s.err == nil {
				s.data = data
			}
		}()
	}
	for _, s := range r.segs {
		if at >= s.off && at < s.end {
			return s
		}
	}
	return nil
}

// drop lets go of the segments that end before at.
func (r *readahead) drop(at int64) {
	for len(r.segs) > 0 && r.segs[0].end <= at {
		s := r.segs[0]
		r.segs = r.segs[1:]
		r.free(s)
	}
}

// free gives a segment's room back once it is not being filled any more.
func (r *readahead) free(s *segment) {
	select {
	case <-s.done:
		r.room.Release(s.end - s.off)
	default:
		go func() {
			<-s.done
			r.room.Release(s.end - s.off)
		}()
	}
}

func (r *readahead) fetch(ctx context.Context, p []byte, off int64) error {
	body, err := r.open(ctx, off, int64(len(p)))
	if err != nil {
		return err
	}
	defer body.Close()
	n, err := io.ReadFull(body, p)
	r.count(int64(n))
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
	r.cancel()
	r.mu.Lock()
	defer r.mu.Unlock()
	segs := r.segs
	r.segs = nil
	for _, s := range segs {
		r.free(s)
	}
}
