package transform

import (
	"context"
	"fmt"
	"io"
	"iter"

	"github.com/optml/optml/framing"
)

const (
	wholeObject = "object" // the "format" of an object that is not split, in a framing.TooLong
	singleSlab  = 256 << 10
	// maxRecord bounds a record of SINGLE_RECORD when MaxPayloadInMB 0 sets no limit: it is held in memory.
	maxRecord = 256 << 20
	// maxDeflate is how much deflate can expand at most: what a buffer for a compressed object need not exceed.
	maxDeflate = 1032
	// Small objects are opened ahead, so that the time that a store takes to open them is hidden: each holds a connection
	// to the store, so a few, and a few bytes.
	openAhead  = 8
	aheadBytes = 8 << 20
)

// feed cuts the objects into requests, in order. What is wrong with an object fails this object only (BT-141).
func (p *pool) feed(objects []*object) {
	if p.refused != nil {
		for _, o := range objects {
			if !p.over(o) {
				p.fail(o, &Failure{Class: ClientError, Err: p.refused})
				p.allFed(o)
			}
		}
		return
	}
	if p.streams() {
		for _, o := range objects {
			if p.over(o) {
				continue
			}
			if o.Size != 0 {
				p.put(o, item{stream: true})
			}
			p.allFed(o)
		}
		return
	}
	for o, r := range p.opened(objects) {
		if !p.over(o) && o.Size != 0 {
			if err := r.err; err != nil {
				p.fail(o, &Failure{Class: class(err), Err: err})
			} else if f := p.cut(o, r.r); f != nil {
				p.fail(o, f)
			}
		}
		p.allFed(o)
	}
}

// over ends an object without a request when there is nobody to send it to.
func (p *pool) over(o *object) bool {
	if p.ctx.Err() == nil && p.exited() {
		p.fail(o, &Failure{Class: AlgorithmError, Err: ErrExited, quiet: true})
		p.allFed(o)
		return true
	}
	return false
}

// source opens an object for reading as it is to be cut: decompressed where the request says so (BT-40, BT-41).
func (p *pool) source(ctx context.Context, o *object) (io.ReadCloser, error) {
	rc, err := o.Open(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: open: %w", ErrInput, err)
	}
	s := &source{Reader: &statReader{rc, &p.stats.Read}, Closer: rc}
	if p.cfg.Job.Input.Compression == "Gzip" {
		s.Reader = framing.Gunzip(s.Reader)
	}
	return s, nil
}

type source struct {
	io.Reader
	io.Closer
}

type statReader struct {
	r io.Reader
	n interface{ Add(int64) int64 }
}

func (s *statReader) Read(b []byte) (int, error) {
	n, err := s.r.Read(b)
	s.n.Add(int64(n))
	return n, err
}

// opening is an object that is being opened ahead of its turn.
type opening struct {
	size int64
	done chan struct{}
	r    io.ReadCloser
	err  error
}

// opened yields the objects in order, a few of them being opened meanwhile. Readers are closed after their turn.
func (p *pool) opened(objects []*object) iter.Seq2[*object, *opening] {
	return func(yield func(*object, *opening) bool) {
		ctx, cancel := context.WithCancel(p.ctx)
		var ahead []*opening
		defer func() {
			cancel()
			for _, a := range ahead {
				<-a.done
				a.close()
			}
		}()
		next, bytes := 0, int64(0)
		for _, o := range objects {
			for next < len(objects) && (len(ahead) == 0 || len(ahead) < openAhead && bytes < aheadBytes) {
				o := objects[next]
				a := &opening{size: o.Size, done: make(chan struct{})}
				if a.size < 0 {
					a.size = aheadBytes
				}
				ahead, next, bytes = append(ahead, a), next+1, bytes+a.size
				if o.Size == 0 || p.ctx.Err() != nil {
					a.err = p.ctx.Err()
					close(a.done)
					continue
				}
				go func() {
					defer close(a.done)
					a.r, a.err = p.source(ctx, o)
				}()
			}
			a := ahead[0]
			ahead, bytes = ahead[1:], bytes-a.size
			<-a.done
			more := yield(o, a)
			a.close()
			if !more {
				return
			}
		}
	}
}

func (a *opening) close() {
	if a.r != nil {
		a.r.Close()
	}
}
