package dataset

import (
	"compress/flate"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"sync"

	"github.com/klauspost/compress/gzip"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sys/unix"
)

// StreamOptions bound what a Stream does at once. Zero values are the defaults.
type StreamOptions struct {
	Channel string // named in errors
	Window  int64  // bytes that are held or under way; 64 MiB
	Chunk   int    // bytes of one request and of one piece at most; 4 MiB
	Workers int    // requests at once; 32
	Splice  bool   // large entries come as what the kernel can deliver without a copy, where there is such a thing
	Gunzip  bool   // entries are gzip files, of one member or several, and come uncompressed (PIPE-10). Values stay as they are
}

func (o StreamOptions) withDefaults() StreamOptions {
	if o.Chunk <= 0 {
		o.Chunk = 4 << 20
	}
	if o.Window <= 0 {
		o.Window = 64 << 20
	}
	o.Window = max(o.Window, 2*int64(o.Chunk))
	if o.Workers <= 0 {
		o.Workers = 32
	}
	return o
}

// Piece is a part of an entry's bytes.
type Piece struct {
	Entry       Entry
	First, Last bool   // of its entry; an empty entry is one piece that is both
	Size        int64  // of the whole entry, where it is known on the first piece; else -1
	Data        []byte // valid until the next call of Next

	// File or Body, if not nil, has the piece's N bytes instead of Data; valid until the next call of Next. A file is the
	// whole entry, and who has read it asks Entry.Unchanged.
	File *os.File
	Body Splicer
	N    int64
}

// close lets go of what the kernel was to deliver.
func (p Piece) close() {
	if p.File != nil {
		p.File.Close()
	}
	if p.Body != nil {
		p.Body.Close()
	}
}

// Stream gives the bytes of a sequence of entries in order, while the ones that come next are fetched in parallel, and
// if asked for uncompressed in parallel. It is read by one goroutine.
type Stream struct {
	o       StreamOptions
	ctx     context.Context
	cancel  context.CancelFunc
	room    *semaphore.Weighted
	workers *semaphore.Weighted
	slots   chan *slot // in order
	running sync.WaitGroup
	pool    Buffers

	cur   *slot
	ahead *slot // the one after cur, if Ready has taken it already
	ended bool  // cur has given its last piece
	held  Piece // what Next gave, to be given back by the next
	err   error
}

// slot is a place in the order: what one worker fetches.
type slot struct {
	e           Entry
	off, n      int64 // n < 0: to the end, whose place is not known
	first, last bool  // whether it begins and ends its entry
	chunk, bufs int   // it fills bufs buffers of chunk bytes in turn
	cost        int64 // their room
	whole       bool  // it is opened only, for the kernel to deliver
	out         chan result
	free        chan []byte
}

type result struct {
	p   Piece
	err error
}

// NewStream begins to fetch. Close it, whatever Next said.
func NewStream(ctx context.Context, entries iter.Seq2[Entry, error], o StreamOptions) *Stream {
	o = o.withDefaults()
	s := &Stream{o: o, room: semaphore.NewWeighted(o.Window), workers: semaphore.NewWeighted(int64(o.Workers)), slots: make(chan *slot, 4*o.Workers)}
	s.ctx, s.cancel = context.WithCancel(ctx)
	s.running.Go(func() {
		defer close(s.slots)
		for e, err := range entries {
			if err != nil {
				s.put(failed(err))
				return
			}
			if !s.plan(e) {
				return
			}
		}
	})
	return s
}

// failed is a place in the order where there is an error instead of bytes.
func failed(err error) *slot {
	f := &slot{out: make(chan result, 1)}
	f.out <- result{err: err}
	return f
}

func (s *Stream) put(x *slot) bool {
	select {
	case s.slots <- x:
		return true
	case <-s.ctx.Done():
		return false
	}
}

// plan cuts an entry into slots. What is of unknown length is one slot that fills its buffers in turn, so that no slot
// ever needs room that a later one might hold.
func (s *Stream) plan(e Entry) bool {
	size := e.Object.Size
	if s.o.Gunzip && e.Store != nil {
		// Text shrinks to a third or a quarter; a small object shall not hold room for a large one.
		return s.start(&slot{e: e, n: -1, first: true, last: true, chunk: s.fit(4 * size), bufs: 2})
	}
	if size < 0 {
		return s.start(&slot{e: e, n: -1, first: true, last: true, chunk: s.fit(1 << 20), bufs: 2})
	}
	chunk := int64(s.o.Chunk)
	spliced := s.o.Splice && (size >= fileMin && e.Local() || size >= bodyMin && e.Splices())
	switch {
	case spliced && (e.Local() || e.Near()):
		chunk = size // nothing is won by several requests
	case spliced:
		chunk *= 2 // no memory of ours is taken, and each request costs
	}
	for off := int64(0); off == 0 || off < size; off += chunk {
		n := min(chunk, size-off)
		x := &slot{e: e, off: off, n: n, first: off == 0, last: off+n == size, bufs: 1}
		if spliced {
			x.whole, x.cost = true, min(n, s.o.Window/4)
		} else {
			x.chunk = int(n)
		}
		if !s.start(x) {
			return false
		}
	}
	return true
}

func (s *Stream) fit(n int64) int {
	if n < 0 {
		n = 1 << 20
	}
	return int(max(min(n, int64(s.o.Chunk)), 32<<10))
}

// start waits for room and a worker, in the order of the entries, and sets the worker to work.
func (s *Stream) start(x *slot) bool {
	x.out, x.free = make(chan result, x.bufs), make(chan []byte, x.bufs)
	if !x.whole {
		x.cost = min(int64(x.bufs)*int64(roundUp(x.chunk)), s.o.Window)
	}
	if s.room.Acquire(s.ctx, x.cost) != nil {
		return false
	}
	if s.workers.Acquire(s.ctx, 1) != nil {
		return false
	}
	s.running.Go(func() {
		defer s.workers.Release(1)
		fetch := s.fetch
		if x.whole {
			fetch = s.openWhole
		} else {
			for range x.bufs {
				x.free <- s.pool.Get(x.chunk)
			}
		}
		if err := fetch(x); err != nil {
			x.send(s.ctx, result{err: &Error{Channel: s.o.Channel, Object: x.e.URI(), Err: err}})
		}
	})
	return s.put(x)
}

func (x *slot) send(ctx context.Context, r result) bool {
	select {
	case x.out <- r:
		return true
	case <-ctx.Done():
		return false
	}
}

// fileMin and bodyMin are from where on a file or a body is handed on as such: for less, a copy costs less than what it
// saves.
const (
	fileMin = 64 << 10
	bodyMin = 1 << 20
)

// openWhole gives the slot as a file, which the kernel reads ahead of who takes it, or as a body that has begun to come.
func (s *Stream) openWhole(x *slot) error {
	p := Piece{Entry: x.e, First: x.first, Last: x.last, Size: x.e.Object.Size, N: x.n}
	var err error
	if x.e.Local() {
		if p.File, err = x.e.LocalFile(s.ctx); err == nil {
			_ = unix.Fadvise(int(p.File.Fd()), 0, 0, unix.FADV_SEQUENTIAL) // without it, only slower
		}
	} else {
		p.Body, err = x.e.OpenSplice(s.ctx, x.off, x.n)
	}
	if err != nil {
		return err
	}
	if !x.send(s.ctx, result{p: p}) {
		p.close()
	}
	return nil
}

func (s *Stream) fetch(x *slot) error {
	body, err := x.e.OpenRange(s.ctx, x.off, x.n)
	if err != nil {
		return err
	}
	defer body.Close()
	var r io.Reader = body
	size := x.e.Object.Size
	if s.o.Gunzip && x.e.Store != nil {
		z, err := gzip.NewReader(body)
		if err != nil {
			return gunzipError(err)
		}
		defer z.Close()
		r, size = gunzipReader{z}, -1
	}
	for first := x.first; ; first = false {
		var buf []byte
		select {
		case buf = <-x.free:
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		}
		n, err := io.ReadFull(r, buf[:x.chunk])
		end := err == io.EOF || err == io.ErrUnexpectedEOF
		if err != nil && !end {
			return err
		}
		if x.n >= 0 {
			// The store's last word comes with the end: an object may have changed while it was read.
			if more, err := io.ReadFull(r, make([]byte, 1)); err != io.EOF {
				if err == nil {
					err = fmt.Errorf("got %d bytes and more, asked for %d", n+more, x.n)
				}
				return err
			}
			if int64(n) != x.n {
				return fmt.Errorf("got %d of %d bytes", n, x.n)
			}
			end = true
		}
		if !x.send(s.ctx, result{p: Piece{Entry: x.e, First: first, Last: end && x.last, Size: size, Data: buf[:n]}}) || end {
			return nil
		}
	}
}

// gunzipReader gives the errors of damaged gzip data a meaning of their own, apart from the end that ReadFull reports.
type gunzipReader struct{ z *gzip.Reader }

func (g gunzipReader) Read(p []byte) (int, error) {
	n, err := g.z.Read(p)
	if err != nil && err != io.EOF {
		err = gunzipError(err)
	}
	return n, err
}

// ErrGzip is the class of objects that should be gzip files and are not, or not whole.
var ErrGzip = errors.New("not a whole gzip file")

func gunzipError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends early", ErrGzip)
	}
	if errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) {
		return fmt.Errorf("%w: %w", ErrGzip, err)
	}
	if corrupt, ok := errors.AsType[flate.CorruptInputError](err); ok {
		return fmt.Errorf("%w: %w", ErrGzip, corrupt)
	}
	return err
}

// Next is the next piece, io.EOF after the last, or an error, after which there is nothing more. The pieces before an
// error are good, but an entry is whole only when its Last piece has come.
func (s *Stream) Next() (Piece, error) {
	if s.err == nil {
		s.giveBack()
		var p Piece
		if p, s.err = s.next(); s.err == nil {
			return p, nil
		}
	}
	return Piece{}, s.err
}

// Ready says whether Next would return at once. Who gathers small pieces to hand them on together does that as long as it
// is true.
func (s *Stream) Ready() bool {
	if s.err != nil {
		return true
	}
	if s.cur != nil && !s.ended {
		return len(s.cur.out) > 0
	}
	if s.ahead == nil {
		select {
		case x, ok := <-s.slots:
			if !ok {
				return true
			}
			s.ahead = x
		default:
			return false
		}
	}
	return len(s.ahead.out) > 0
}

func (s *Stream) next() (Piece, error) {
	if s.cur == nil && s.ahead != nil {
		s.cur, s.ahead, s.ended = s.ahead, nil, false
	}
	if s.cur == nil {
		select {
		case x, ok := <-s.slots:
			if !ok {
				if s.ctx.Err() != nil { // the planner ended early
					return Piece{}, context.Cause(s.ctx)
				}
				return Piece{}, io.EOF
			}
			s.cur, s.ended = x, false
		case <-s.ctx.Done():
			return Piece{}, context.Cause(s.ctx)
		}
	}
	select {
	case r := <-s.cur.out:
		if r.err != nil {
			return Piece{}, r.err
		}
		s.held, s.ended = r.p, s.cur.bufs == 1 || r.p.Last
		return r.p, nil
	case <-s.ctx.Done():
		return Piece{}, context.Cause(s.ctx)
	}
}

// giveBack takes the buffer of the last piece back, and the room of its slot if that is done.
func (s *Stream) giveBack() {
	if s.cur == nil {
		return
	}
	if !s.ended {
		s.cur.free <- s.held.Data // its worker waits for it, or it was the first of two
		return
	}
	if s.cur.whole {
		s.held.close()
	} else {
		s.pool.Put(s.held.Data)
	}
	s.held = Piece{}
	for len(s.cur.free) > 0 {
		s.pool.Put(<-s.cur.free)
	}
	s.room.Release(s.cur.cost)
	s.cur = nil
}

// Close stops fetching and waits until everything that was begun has ended.
func (s *Stream) Close() error {
	s.cancel()
	if s.err == nil {
		s.err = errors.New("stream is closed")
	}
	s.running.Wait()
	s.held.close()
	s.held = Piece{}
	for _, x := range []*slot{s.cur, s.ahead} {
		x.discard()
	}
	for x := range s.slots {
		x.discard()
	}
	return nil
}

// discard closes what nobody will take.
func (x *slot) discard() {
	if x == nil {
		return
	}
	for {
		select {
		case r := <-x.out:
			r.p.close()
		default:
			return
		}
	}
}
