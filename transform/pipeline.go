package transform

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// An inference pipeline is several containers, of which a request goes through one after the other (INF-54). To all but
// the worker's side of a request it looks like one container: it is ready when all are, gone when one is, and one attempt
// is the whole way through.

// hopLimit is how large the answer of one container may be that is the next one's request (INF-55, BT-93).
const hopLimit = 5 << 20

// ContainerError says which container of a pipeline an error is of.
type ContainerError struct {
	Container string
	Err       error
}

func (e *ContainerError) Error() string { return e.Container + ": " + e.Err.Error() }
func (e *ContainerError) Unwrap() error { return e.Err }

// hopError is INF-55 in the service's words.
type hopError struct {
	from, to string
	status   int
	size     int64
	atLeast  string
}

func (e *hopError) Error() string {
	return fmt.Sprintf("Received response from %s with status code %d. However, the request payload from %s to %s is %s%d bytes, which has exceeded the maximum limit of %d MB.",
		e.from, e.status, e.from, e.to, e.atLeast, e.size, hopLimit>>20)
}
func (e *hopError) Unwrap() error { return ErrHop }

// anyExited is closed when the first container of a pipeline has exited, unless ctx is done before.
func anyExited(ctx context.Context, in Instance) <-chan struct{} {
	gone := make(chan struct{})
	var once sync.Once
	for _, c := range append([]Container{in.Container}, in.Next...) {
		go func() {
			select {
			case <-c.Exited:
				once.Do(func() { close(gone) })
			case <-ctx.Done():
			}
		}()
	}
	return gone
}

// allReady waits for every container of a pipeline.
func (p *pool) allReady(ctx context.Context, window time.Duration, r *InstanceResult) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	results := make([]InstanceResult, 1+len(p.in.Next))
	errs := make([]error, len(results))
	var wg sync.WaitGroup
	for i := range results {
		c, get := p.in.Container, p.get
		if i > 0 {
			c = p.in.Next[i-1]
			get = func(ctx context.Context, path string, timeout time.Duration) (int, []byte, error) {
				return p.getOnce(ctx, c, path, timeout)
			}
		}
		wg.Go(func() {
			if err := p.await(ctx, window, &results[i], c, get); err != nil {
				errs[i] = &ContainerError{c.Name, err}
				cancel(errs[i])
			}
		})
	}
	wg.Wait()
	r.Pings = results[0].Pings
	for _, x := range results {
		r.PingAfter = max(r.PingAfter, x.PingAfter)
	}
	for _, err := range errs {
		if err != nil {
			return context.Cause(ctx) // the first, for which the others were given up
		}
	}
	return nil
}

// getOnce is get on a connection of its own, which does not stay: a server of one thread is free for the first request.
func (p *pool) getOnce(ctx context.Context, from Container, path string, timeout time.Duration) (int, []byte, error) {
	deadline := time.Now().Add(timeout)
	c, err := p.dial(ctx, from, deadline)
	if err != nil {
		return 0, nil, err
	}
	defer p.close(c)
	c.start(deadline)
	return getOn(c, newHeader("GET", path, from.Addr, "", ""))
}

// failedHop is a request that failed at a container after the first.
type failedHop struct {
	to                  string
	accept, contentType string
	body                []byte // lies in hops, until the next request
}

// hops are a worker's connections to the containers of a pipeline after the first, and the memory of what goes to them.
type hops struct {
	conns []*conn
	mem   [2][]byte // one is sent while the answer comes into the other
}

func (p *pool) closeAll(conns []*conn) {
	for _, c := range conns {
		if c != nil {
			p.close(c)
		}
	}
}

// pipeline sends a request through all containers, the first over c. read takes the last one's answer.
func (w *worker) pipeline(c *conn, request payload, deadline time.Time, read func(*conn) error) error {
	var hop []byte
	err := w.converse(c, w.p.post, request, deadline, func(c *conn) (err error) {
		hop, err = w.readHop(c, 0)
		return err
	})
	if err != nil {
		return &ContainerError{w.p.in.Name, err}
	}
	return w.through(hop, c.contentType, deadline, read)
}

// passOn is what follows when the first container has begun to answer over c: its answer is read, by read if there is no
// other, else for the others.
func (w *worker) passOn(c *conn, deadline time.Time, read func(*conn) error) error {
	if len(w.p.in.Next) == 0 {
		return read(c)
	}
	hop, err := w.readHop(c, 0)
	if err != nil {
		return &ContainerError{w.p.in.Name, err}
	}
	return w.through(hop, c.contentType, deadline, read)
}

// through sends what the first container has answered through the others. Each answer's content type is that of the next
// request; Accept is for the last one (INF-56).
func (w *worker) through(hop []byte, contentType string, deadline time.Time, read func(*conn) error) error {
	p := w.p
	if w.hops.conns == nil {
		w.hops.conns = make([]*conn, len(p.in.Next))
	}
	for i, to := range p.in.Next {
		request := hop
		accept, take := "", func(c *conn) (err error) {
			hop, err = w.readHop(c, i+1)
			return err
		}
		if i == len(p.in.Next)-1 {
			accept, take = p.cfg.Job.Output.Accept, read
		}
		h := newHeader("POST", "/invocations", to.Addr, accept, contentType)
		w.saw.status, w.saw.head = 0, nil // what is told of a failure is of the container that failed
		c, err := w.hopConverse(i, h, payload{bytes: request}, deadline, take)
		if err != nil {
			w.saw.hop = &failedHop{to.Name, accept, contentType, request}
			return &ContainerError{to.Name, err}
		}
		contentType = c.contentType
	}
	return nil
}

// hopConverse is converse with a container after the first, over a connection that may have been closed meanwhile.
func (w *worker) hopConverse(i int, h header, request payload, deadline time.Time, take func(*conn) error) (*conn, error) {
	p := w.p
	for {
		c := w.hops.conns[i]
		if c == nil {
			var err error
			if c, err = p.dial(p.ctx, p.in.Next[i], deadline); err != nil {
				return nil, err
			}
		}
		reused := c.used
		err := w.converse(c, h, request, deadline, take)
		_, refused := errors.AsType[*StatusError](err)
		if w.hops.conns[i] = nil; (err == nil || refused) && c.reusable() {
			c.used = true
			w.hops.conns[i] = c
		} else {
			p.close(c)
		}
		if silent, ok := errors.AsType[*errNoAnswer](err); ok {
			if reused && !timedOut(err) && p.ctx.Err() == nil && !p.exited() {
				continue // no attempt, as with the first container
			}
			err = silent.err // to the one who asked the first container this is an answer that came to nothing
		}
		return c, err
	}
}

// readHop reads the answer of container i of the pipeline, counted from 0, as the next one's request.
func (w *worker) readHop(c *conn, i int) ([]byte, error) {
	in := &w.p.in
	tooLarge := func(size int64, atLeast string) error {
		from := in.Name
		if i > 0 {
			from = in.Next[i-1].Name
		}
		return &hopError{from, in.Next[i].Name, c.status, size, atLeast}
	}
	if c.kind == bodyLength && c.left > hopLimit {
		return nil, tooLarge(c.left, "")
	}
	b := w.hops.mem[i%2][:0]
	defer func() { w.hops.mem[i%2] = b }()
	if c.kind == bodyLength && int64(cap(b)) < c.left {
		b = make([]byte, 0, c.left)
	}
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := c.Read(b[len(b):cap(b)])
		if b = b[:len(b)+n]; len(b) > hopLimit {
			return nil, tooLarge(int64(len(b)), "at least ")
		}
		if err == io.EOF {
			return b, nil
		}
		if err != nil {
			return nil, err
		}
	}
}
