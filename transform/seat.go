package transform

import (
	"context"
	"net"
	"sync"
	"time"
)

// seat is a connection, and what an event loop knows of it: that of a job (loop) and that of a Client (sending).
type seat struct {
	c     *conn
	open  bool      // a request is sent, and the loop waits for its answer
	slow  int       // requests until the loop is tried again
	since time.Time // when it was free
}

// slowRequests is how long a connection whose answers are not for the loop stays with a goroutine.
const slowRequests = 32

// begun is a request that the loop has sent, or some of it, when a goroutine carries it on.
type begun struct {
	unsent []byte
	err    error // how it ended
}

// leave takes the connection from the loop, for a goroutine. What was begun over it ends if that is not possible.
func (s *seat) leave(all *conns, b *begun) {
	if err := s.c.attach(); err != nil {
		all.close(s.c)
		s.c = nil
		if b != nil {
			b.err = err
		}
	}
}

// overdue says that the answer is not there in time. If it has time yet, next is not later than its end afterwards.
func (s *seat) overdue(now time.Time, next *time.Time) bool {
	if !s.open || !s.c.deadline.After(now) {
		return s.open
	}
	if s.c.deadline.Before(*next) {
		*next = s.c.deadline
	}
	return false
}

// post sends a small request: as much of it as the socket takes at once. With n <= 0 and an error it took nothing.
func (c *conn) post(h header, body []byte) (n int, err error) {
	c.render(h, payload{bytes: body})
	c.out = append(c.out, body...)
	return write(c.fd, c.out)
}

// arrive reads what has come, and says whether the answer is there. See complete for room.
func (c *conn) arrive(room int) answerState {
	if c.r == c.w {
		c.r, c.w = 0, 0
	}
	n, err := read(c.fd, c.buf[c.w:])
	if wouldBlock(err) {
		return answerPartial
	}
	if n <= 0 {
		return answerEnded
	}
	c.w += n
	return c.complete(room)
}

// conns are open connections that may be ended together, under whoever uses them.
type conns struct {
	mu     sync.Mutex
	all    map[*conn]struct{}
	closed bool // no more are made
}

// dial makes one before the deadline.
func (s *conns) dial(ctx context.Context, to Container, deadline time.Time) (*conn, error) {
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	nc, err := to.Dial(ctx, "tcp", to.Addr)
	if err != nil {
		return nil, err
	}
	c := newConn(nc)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		nc.Close()
		return nil, net.ErrClosed
	}
	if s.all == nil {
		s.all = map[*conn]struct{}{}
	}
	s.all[c] = struct{}{}
	return c, nil
}

func (s *conns) close(c *conn) {
	s.mu.Lock()
	delete(s.all, c)
	s.mu.Unlock()
	c.close()
}

// hangUp ends all that are open, and with forever those that would be made.
func (s *conns) hangUp(forever bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = s.closed || forever
	for c := range s.all {
		c.hangUp()
	}
}
