package load

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"
)

const (
	baselineTime = 2 * time.Second
	baselineWarm = 200 * time.Millisecond
)

// Baseline measures what the way to the server costs by itself: the same load, for two seconds at most, on a server that
// answers at once with an empty body. listen opens it where the Target's Dial reaches it: in the container's network for a
// container. What it costs the empty server to read the request and to answer is in the figures.
func Baseline(ctx context.Context, t Target, o Options, listen func(ctx context.Context, addr string) (net.Listener, error)) (*Result, error) {
	l, err := listen(ctx, "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("load: baseline: %w", err)
	}
	s := &emptyServer{open: map[net.Conn]bool{}}
	var served sync.WaitGroup
	served.Go(func() { s.serve(l) })
	defer func() {
		l.Close()
		s.close()
		served.Wait()
	}()
	if o.Duration == 0 || o.Duration > baselineTime {
		o.Duration = baselineTime
	}
	o.WarmUp, o.Interval = baselineWarm, 0
	t.Addr, t.Exited = l.Addr().String(), nil
	return Run(ctx, t, o)
}

// emptyServer answers all requests alike.
type emptyServer struct {
	mu     sync.Mutex
	open   map[net.Conn]bool
	closed bool
	each   sync.WaitGroup
}

func (s *emptyServer) serve(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			s.each.Wait()
			return
		}
		s.mu.Lock()
		if s.closed {
			c.Close()
		} else {
			s.open[c] = true
			s.each.Go(func() {
				answer(c)
				s.mu.Lock()
				delete(s.open, c)
				s.mu.Unlock()
				c.Close()
			})
		}
		s.mu.Unlock()
	}
}

func (s *emptyServer) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for c := range s.open {
		c.Close()
	}
}

// answer reads requests, which are ours: with a length, and without what one would have to be careful about.
func answer(c net.Conn) {
	in := bufio.NewReaderSize(c, 64<<10)
	for {
		length := 0
		for {
			line, err := in.ReadSlice('\n')
			if err != nil {
				return
			}
			if len(line) <= 2 {
				break
			}
			if text, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
				if length, err = strconv.Atoi(string(bytes.TrimSpace(text))); err != nil {
					return
				}
			}
		}
		if _, err := in.Discard(length); err != nil {
			return
		}
		if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"); err != nil {
			return
		}
	}
}
