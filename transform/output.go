package transform

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/optml/optml/dataprocessing"
)

// object is one input object on its way to one output object.
type object struct {
	Object
	index int
	name  string

	failed atomic.Bool  // what is left of it is not sent any more
	read   atomic.Int64 // bytes of it as stored

	mu          sync.Mutex
	next        int64          // seq of the response to write next
	waiting     map[int64]body // answered before their turn
	writing     bool           // somebody writes, with mu free; who answers meanwhile leaves the response in waiting
	outstanding int            // put into the queue, not yet written or given up
	fed         bool           // all of it has been put
	settled     bool           // its end is being, or has been, taken care of
	w           Writer
	buf         *bufio.Writer
	scratch     *dataprocessing.Scratch
	failure     *Failure // of the lowest seq
	committed   bool
	touched     bool // a commit was tried: it may be there even if the store said no
}

// counted is open with what is read of the object counted.
func (o *object) counted(open func(context.Context) (io.ReadCloser, error)) func(context.Context) (io.ReadCloser, error) {
	return func(ctx context.Context) (io.ReadCloser, error) {
		rc, err := open(ctx)
		if err != nil {
			return nil, err
		}
		o.read.Store(0)
		return &source{&statReader{rc, &o.read}, rc}, nil
	}
}

// body is a response. small may lie in a connection's memory; own makes it ours.
type body struct {
	small  []byte
	chunks [][]byte
	held   int // bytes reserved for small
	ord    int64
	it     item // without its body

	// What a join needs besides, until it is written: the unfiltered records, where they lie, and their place.
	originals []byte
	slab      *slab
	offset    int64

	sent *sent // where what is written may not please; nil: not kept
}

func (b *body) size() int64 {
	n := int64(len(b.small))
	for _, c := range b.chunks {
		n += int64(len(c))
	}
	return n
}

const outputBuffer = 64 << 10

var outputBuffers = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, outputBuffer) }}

// answered takes the response to it: written at once if it is next, else kept until it is (BT-103). b's memory may be
// used again afterwards.
func (p *pool) answered(it *item, b body) {
	o := it.obj
	if p.dp.Joins() {
		b.slab, b.originals = it.slab, it.originals
		if !p.dp.Filters() {
			b.originals = it.body
		}
	} else if b.sent != nil {
		b.slab = it.slab
	} else {
		p.q.release(it.slab)
	}
	b.ord, b.it, b.offset = it.ord, item{record: it.record, records: it.records}, it.offset
	b.it.offset = int64(len(it.body))
	o.mu.Lock()
	if o.failed.Load() {
		o.mu.Unlock()
		p.drop(o, &b)
		return
	}
	if it.seq != o.next || o.writing {
		if len(b.small) > 0 {
			// Reserved without waiting: it is there already, and take lets no more in while too much is.
			b.held = len(b.small) + overhead
			p.q.hold(b.held)
			b.small = append([]byte(nil), b.small...)
		}
		if o.waiting == nil {
			o.waiting = map[int64]body{}
		}
		o.waiting[it.seq] = b
		o.mu.Unlock()
		return
	}
	o.writing = true
	for {
		o.mu.Unlock()
		f := p.write(o, &b)
		o.mu.Lock()
		o.outstanding--
		if f != nil && !o.failed.Load() {
			f.seq = o.next
			p.failLocked(o, f)
		}
		o.next++
		var ok bool
		if b, ok = o.waiting[o.next]; !ok || o.failed.Load() {
			break
		}
		delete(o.waiting, o.next)
	}
	o.writing = false
	p.settle(o)
}

// write appends one response to the output and gives its memory and its place back.
func (p *pool) write(o *object, b *body) (f *Failure) {
	err := p.open(o)
	n := b.size()
	if err == nil && p.dp.Writes() {
		if f = p.output(o, b); f != nil && f.Class == ClientError {
			p.keepRefused(o, b, f)
		}
	} else if err == nil {
		_, err = o.buf.Write(b.small)
		last := b.small
		for _, c := range b.chunks {
			if err == nil {
				_, err = o.buf.Write(c)
			}
			last = c
		}
		if p.line && err == nil && !(p.oneNewline && len(last) > 0 && last[len(last)-1] == '\n') {
			err = o.buf.WriteByte('\n') // BT-122, BT-123
		}
		if err != nil {
			err = fmt.Errorf("%w: write: %w", ErrOutput, err)
		}
	}
	if err != nil {
		f = &Failure{Class: class(err), Err: err}
	}
	if f == nil {
		p.stats.Records.Add(b.it.records)
		p.stats.BytesIn.Add(b.it.offset)
		p.stats.BytesOut.Add(n)
	}
	p.free(b)
	return f
}

// open begins the output when the first of it is there.
func (p *pool) open(o *object) error {
	if o.w != nil {
		return nil
	}
	w, err := p.cfg.Create(p.ctx, o.name, p.contentType)
	if err != nil {
		return fmt.Errorf("%w: create: %w", ErrOutput, err)
	}
	o.w = w
	o.buf = outputBuffers.Get().(*bufio.Writer)
	o.buf.Reset(w)
	return nil
}

func (p *pool) free(b *body) {
	p.q.giveChunks(b.chunks)
	p.q.release(b.slab)
	if b.held > 0 {
		p.q.unreserve(b.held)
	}
	p.q.finished(b.ord)
}

// drop gives up a response of an object that has failed.
func (p *pool) drop(o *object, b *body) {
	p.free(b)
	p.stats.Cut.Add(-b.it.offset)
	o.mu.Lock()
	o.outstanding--
	p.settle(o)
}

// failed takes the end of an item that got no response to use.
func (p *pool) failed(it *item, f *Failure) {
	p.q.release(it.slab)
	p.q.finished(it.ord)
	p.stats.Cut.Add(-int64(len(it.body)))
	o := it.obj
	o.mu.Lock()
	o.outstanding--
	if f != nil {
		f.Record, f.Records, f.Offset, f.seq = it.record, it.records, it.offset, it.seq
		p.failLocked(o, f)
	}
	p.settle(o)
}

// fail marks an object as failed for a reason found before a request was made of it.
func (p *pool) fail(o *object, f *Failure) {
	o.mu.Lock()
	p.failLocked(o, f)
	o.mu.Unlock()
}

func (p *pool) failLocked(o *object, f *Failure) {
	f.Key, f.Output, f.index = o.Key, o.name, o.index
	if o.failure == nil || f.seq < o.failure.seq {
		o.failure = f
	}
	o.failed.Store(true)
	for seq, b := range o.waiting {
		delete(o.waiting, seq)
		o.outstanding--
		p.free(&b)
		p.stats.Cut.Add(-b.it.offset)
	}
}

// allFed says that nothing more of the object will be put into the queue.
func (p *pool) allFed(o *object) {
	o.mu.Lock()
	o.fed = true
	p.settle(o)
}

// settle ends the object if nothing of it is under way any more: its output is committed or removed (BT-140). It is
// called with o.mu held and frees it.
func (p *pool) settle(o *object) {
	if !o.fed || o.outstanding > 0 || o.writing || o.settled {
		o.mu.Unlock()
		return
	}
	o.settled = true
	o.mu.Unlock()
	// Committing an object takes a round trip to the store; the worker goes on with the next request meanwhile.
	p.commits <- struct{}{}
	p.tail.Go(func() {
		defer func() { <-p.commits }()
		p.end(o)
	})
}

func (p *pool) end(o *object) {
	if o.failure == nil && p.ctx.Err() == nil {
		if err := p.commit(o); err == nil {
			o.committed = true
			p.stats.Objects.Add(1)
		} else {
			o.mu.Lock()
			p.failLocked(o, &Failure{Class: class(err), Err: err, seq: o.next})
			o.mu.Unlock()
		}
	}
	if o.buf != nil {
		o.buf.Reset(nil)
		outputBuffers.Put(o.buf)
		o.buf = nil
	}
	o.scratch = nil
	if o.w != nil && !o.committed {
		if err := o.w.Abort(); err != nil && o.failure != nil {
			o.failure.Err = fmt.Errorf("%w; and its output could not be aborted: %w", o.failure.Err, err)
		}
	}
	o.w = nil
	if o.failure != nil && p.ctx.Err() == nil {
		p.stats.Failed.Add(1)
		p.stats.Skipped.Add(max(0, o.Size-o.read.Load()))
		if !o.failure.quiet {
			p.log.failure(o.failure, p.settings)
		}
		p.record(o.failure)
	}
}

func (p *pool) commit(o *object) error {
	err := p.open(o)                // an object without a record has an empty output (BT-35)
	if err == nil && o.buf != nil { // a streamed output has no buffer
		if err = o.buf.Flush(); err != nil {
			err = fmt.Errorf("%w: write: %w", ErrOutput, err)
		}
	}
	if err == nil {
		o.touched = true
		if err = o.w.Commit(p.ctx); err != nil {
			err = fmt.Errorf("%w: commit: %w", ErrOutput, err)
		}
	}
	return err
}
