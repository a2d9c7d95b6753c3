package transform

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// exchange sends one request, if the loop has not begun it, and reads its response, of a pipeline the last container's.
func (w *worker) exchange(c *conn, it *item, deadline time.Time, begun *begun) (b body, err error) {
	request := payload{bytes: it.body, chunked: w.p.limit == 0}
	w.saw.sent = int64(len(it.body))
	read := func(c *conn) (err error) {
		b, err = w.read(c, it.ord)
		return err
	}
	switch {
	case begun != nil:
		c.start(deadline)
		if len(begun.unsent) > 0 {
			_, err = c.nc.Write(begun.unsent)
		}
		err = w.hear(c, nil, err, read)
	case len(w.p.in.Next) > 0:
		err = w.pipeline(c, request, deadline, read)
	default:
		err = w.converse(c, w.p.post, request, deadline, read)
	}
	w.saw.received = b.size()
	if w.p.requests != nil {
		w.saw.took = time.Since(w.saw.began)
	}
	if err != nil {
		w.saw.useless(b, err)
		w.p.q.giveChunks(b.chunks)
		return body{}, err
	}
	return b, nil
}

// converse sends one request and reads its response, the body of one that succeeds with read.
func (w *worker) converse(c *conn, h header, request payload, deadline time.Time, read func(*conn) error) error {
	c.start(deadline)
	sent, err := c.send(h, request)
	return w.hear(c, sent, err, read)
}

// hear reads the response to a request of which the rest is being sent, or which could not be sent.
func (w *worker) hear(c *conn, sent <-chan error, err error, read func(*conn) error) error {
	return c.hear(sent, err, func(status int) error {
		w.saw.status, w.saw.head = status, c.said
		if w.p.good(status) {
			return read(c)
		}
		return &StatusError{status, errorBody(c)}
	})
}

// hear reads the status and headers of the response, and has its body read.
func (c *conn) hear(sent <-chan error, err error, read func(status int) error) error {
	if err != nil {
		if c.used {
			return &errNoAnswer{err}
		}
		// It may have answered without reading.
		c.nc.SetReadDeadline(time.Now().Add(writeGrace))
		c.finish = true
	}
	status, rerr := c.readHead()
	if rerr == nil {
		rerr = read(status)
	}
	_, refused := errors.AsType[*StatusError](rerr)
	werr := c.join(sent, rerr != nil && !refused)
	if err != nil || werr != nil {
		c.finish = true
	}
	if rerr != nil && !refused && err != nil {
		rerr = err
	}
	return rerr
}

// useless remembers how a response began that is no use.
func (s *seen) useless(b body, err error) {
	if e, ok := errors.AsType[*StatusError](err); ok {
		s.body, s.received = e.Body, int64(len(e.Body))
		return
	}
	for _, part := range append([][]byte{b.small}, b.chunks...) {
		s.body = append(s.body, part[:min(len(part), maxErrorBody-len(s.body))]...)
	}
}

// good is INF-70.
func (p *pool) good(status int) bool {
	return status == 200 || !p.cfg.Job.StrictStatus && status > 200 && status < 300
}

// join waits for the rest of the request to be sent. The container has answered: it may not want the rest.
func (c *conn) join(sent <-chan error, now bool) error {
	if sent == nil {
		return nil
	}
	if !now {
		select {
		case err := <-sent:
			return err
		default:
		}
		t := time.NewTimer(writeGrace)
		defer t.Stop()
		select {
		case err := <-sent:
			return err
		case <-t.C:
		}
	}
	c.finish = true
	c.nc.Close()
	return <-sent
}

// errorBody reads the first bytes of a response that is no success.
func errorBody(c *conn) []byte {
	b, err := io.ReadAll(io.LimitReader(c, maxErrorBody))
	if err != nil || len(b) == maxErrorBody {
		c.finish = true
	}
	return b
}

func (p *pool) tooLarge(size int64) error {
	return fmt.Errorf("%w: at least %d bytes, the limit is %d", ErrResponse, size, p.maxResponse)
}

// read takes a response into memory: where it lies, in the connection's own, or in chunks for which there must be room.
func (w *worker) read(c *conn, ord int64) (b body, err error) {
	p := w.p
	if c.kind == bodyLength && c.left > p.maxResponse {
		return b, p.tooLarge(c.left)
	}
	if small, ok, err := c.whole(); ok || err != nil {
		return body{small: small}, err
	}
	if c.kind != bodyLength || c.left <= int64(p.scratch) {
		if c.scratch == nil {
			c.scratch = make([]byte, p.scratch)
		}
		n, err := io.ReadFull(c, c.scratch)
		b.small = c.scratch[:n]
		if int64(n) > p.maxResponse {
			return b, p.tooLarge(int64(n))
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF && c.kind == bodyNone {
			return b, nil
		}
		if err != nil {
			return b, err
		}
	}
	for total := int64(len(b.small)); ; {
		over := c.ours()
		room := p.q.reserve(chunkSize, ord)
		if over(); !room {
			return b, context.Canceled
		}
		chunk := p.q.chunk()
		n, err := io.ReadFull(c, chunk)
		if n == 0 {
			p.q.giveChunks([][]byte{chunk})
		} else {
			b.chunks = append(b.chunks, chunk[:n])
		}
		if total += int64(n); total > p.maxResponse {
			return b, p.tooLarge(total)
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF && c.kind == bodyNone {
			return b, nil
		}
		if err != nil {
			return b, err
		}
	}
}
