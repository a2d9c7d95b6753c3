package objstore

import (
	"context"
	"net"
	"net/http/httptrace"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Splicer is a body whose bytes need not pass through this process: who has a pipe to fill can have the kernel move them
// from the connection. It resumes at the byte and holds what comes against what was asked for, as every body here does.
type Splicer interface {
	// Splice is Read. But of what still lies in the connection nothing is put into p: move is called, takes at most max
	// bytes from c and says how many, io.EOF if the connection has ended; moved tells that this has happened. An error of
	// move's is one of the connection, after which the body is resumed, unless it is made Permanent. p must have 64 KiB or
	// more, and move may not wait for anything but c: a body that does not move is taken for broken.
	Splice(p []byte, move func(c syscall.RawConn, max int) (int, error)) (n int, moved bool, err error)
	Close() error
}

// Permanent marks an error that no other attempt will mend.
func Permanent(err error) error { return permanent{err} }

// near is how soon a store answers from which one body after the other comes as fast as several at once.
const near = 2 * time.Millisecond

// Splices says whether OpenSplice saves work: nothing is encrypted on the way.
func (s *S3) Splices() bool {
	if s.c.wireless {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at != nil && s.at.url.Scheme == "http"
}

// Near says whether the store answers so soon that little is won by asking for several things at once.
func (s *S3) Near() bool {
	soon := time.Duration(s.soonest.Load())
	return soon > 0 && soon < s.c.near
}

// answered notes how soon a request was answered.
func (s *S3) answered(took time.Duration) {
	for {
		was := s.soonest.Load()
		if was > 0 && was <= int64(took) || s.soonest.CompareAndSwap(was, max(1, int64(took))) {
			return
		}
	}
}

// OpenSplice is OpenVersion for a Splicer.
func (s *S3) OpenSplice(ctx context.Context, o Object, off, n int64) (Splicer, error) {
	body, err := s.open(ctx, o, off, n, true)
	if err != nil {
		return nil, err
	}
	return body, nil
}

func (r *s3Reader) Splice(p []byte, move func(c syscall.RawConn, max int) (int, error)) (int, bool, error) {
	r.move = &mover{at: &p[0], move: move}
	n, err := r.Read(p)
	moved := r.move.moved
	r.move = nil
	return n, moved, err
}

// mover stands in for one Read of a connection. The layers above hand their caller's buffer down to the connection when
// they have nothing left of their own: that is how it knows its Read from theirs.
type mover struct {
	at    *byte
	move  func(c syscall.RawConn, max int) (int, error)
	moved bool
}

// wire is a connection that is not encrypted.
type wire struct {
	*net.TCPConn
	mover atomic.Pointer[mover]
}

func (w *wire) Read(p []byte) (int, error) {
	m := w.mover.Load()
	if m == nil || len(p) == 0 || &p[0] != m.at {
		return w.TCPConn.Read(p)
	}
	raw, err := w.SyscallConn()
	if err != nil {
		return 0, err
	}
	n, err := m.move(raw, len(p))
	m.moved = n > 0
	return n, err
}

// splice lets a Read of the body go through move, if the body comes over a wire and no checksum wants to see the bytes.
func (r *s3Reader) splice() (end func()) {
	if r.move == nil || r.sum != nil || r.body == nil || r.body.wire == nil {
		return func() {}
	}
	w := r.body.wire
	w.mover.Store(r.move)
	return func() { w.mover.Store(nil) }
}

// traced notes the wire that a request went over.
func traced(ctx context.Context, w **wire) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
		*w, _ = i.Conn.(*wire)
	}})
}

// receive is what the kernel may take of a body that nobody reads yet: so bodies that are spliced one after the other
// have come already when it is their turn, however far the store is.
const receive = 4 << 20

// dialWire is a dialer of wires; over TLS they carry what they are given. If all of them are plain, they have room for
// receive.
func dialWire(d *net.Dialer, plain bool) func(ctx context.Context, network, addr string) (net.Conn, error) {
	if plain {
		d.Control = func(_, _ string, c syscall.RawConn) error {
			return c.Control(func(fd uintptr) {
				if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receive) != nil {
					_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, receive) // as much as a user may have
				}
			})
		}
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := d.DialContext(ctx, network, addr)
		if t, ok := c.(*net.TCPConn); ok && err == nil {
			return &wire{TCPConn: t}, nil
		}
		return c, err
	}
}
