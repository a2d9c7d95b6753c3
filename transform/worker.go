package transform

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

const (
	maxErrorBody = 16 << 10
	bodyShown    = 1 << 10 // of an error's body in a Failure
	writeGrace   = 50 * time.Millisecond
	// idleClose frees a container that serves one connection at a time from one that nobody uses just now.
	idleClose = time.Second
)

// worker sends one request at a time over a connection of its own.
type worker struct {
	p *pool
	c *conn
}

func (p *pool) worker() {
	w := &worker{p: p}
	defer func() {
		if w.c != nil {
			p.close(w.c)
		}
	}()
	for {
		it, ok := p.q.take(w.idle)
		if !ok {
			return
		}
		w.serve(&it)
	}
}

// idle closes the connection if nothing comes for a while.
func (w *worker) idle() func() {
	c := w.c
	if c == nil {
		return func() {}
	}
	timer := time.AfterFunc(idleClose, func() { w.p.close(c) })
	return func() {
		if !timer.Stop() {
			w.c = nil
		}
	}
}

// serve carries one request through its attempts (BT-105).
func (w *worker) serve(it *item) {
	p := w.p
	for attempt := 1; ; attempt++ {
		if it.obj.failed.Load() || p.ctx.Err() != nil {
			p.failed(it, nil)
			return
		}
		var b body
		var err error
		switch {
		case p.exited():
			err = ErrExited
			attempt--
		case it.stream:
			err = w.stream(it)
		default:
			b, err = w.attempt(it)
		}
		if err == nil {
			if it.stream {
				p.failed(it, nil) // nothing to write any more; its end is the object's
			} else {
				p.answered(it, b)
			}
			return
		}
		if p.ctx.Err() != nil {
			p.failed(it, nil)
			return
		}
		if attempt > p.cfg.Job.MaxRetries || !retryable(err) || it.obj.failed.Load() || !p.pause(time.Second<<(attempt-1)) {
			f := &Failure{Class: class(err), Attempts: attempt, Err: err}
			if s, ok := errors.AsType[*StatusError](err); ok {
				f.Status, f.Body = s.Status, string(s.Body[:min(len(s.Body), bodyShown)])
			}
			p.failed(it, f)
			return
		}
		p.stats.Retries.Add(1)
	}
}

// retryable: transport errors, timeouts and 5xx, not 4xx (BT-105). What we read and write is retried where it is done.
func retryable(err error) bool {
	if s, ok := errors.AsType[*StatusError](err); ok {
		return s.Status >= 500
	}
	return !errors.Is(err, ErrResponse) && !errors.Is(err, ErrInput) && !errors.Is(err, ErrOutput) && !errors.Is(err, ErrExited)
}

// pause waits before the next attempt. false: there is none.
func (p *pool) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-p.in.Exited:
		return false
	case <-p.ctx.Done():
		return false
	}
}

// connect returns a connection, and whether it has been used before.
func (w *worker) connect(deadline time.Time) (*conn, error) {
	if w.c == nil {
		w.c = w.p.takeSpare()
	}
	if w.c == nil {
		c, err := w.p.dial(w.p.ctx, deadline)
		if err != nil {
			return nil, err
		}
		w.c = c
	}
	return w.c, nil
}

// keep decides what becomes of the connection after a request.
func (w *worker) keep(c *conn, err error) {
	if err == nil && c.reusable() {
		c.used = true
		return
	}
	w.p.close(c)
	w.c = nil
}

func (w *worker) attempt(it *item) (b body, err error) {
	p := w.p
	p.stats.Requests.Add(1)
	p.stats.InFlight.Add(1)
	defer p.stats.InFlight.Add(-1)
	deadline := time.Now().Add(p.cfg.Job.InvocationTimeout.Std())
	for {
		c, err := w.connect(deadline)
		if err != nil {
			return body{}, timeout(err)
		}
		reused := c.used
		b, err := w.exchange(c, it, deadline)
		_, answered := errors.AsType[*StatusError](err)
		if answered {
			w.keep(c, nil)
		} else {
			w.keep(c, err)
		}
		if _, silent := errors.AsType[*errNoAnswer](err); silent && reused && !timedOut(err) && p.ctx.Err() == nil && !p.exited() {
			// The container had closed it before the request came: that is no attempt. It is repeated on a new one.
			continue
		}
		return b, timeout(err)
	}
}

func timeout(err error) error {
	if err != nil && (timedOut(err) || errors.Is(err, context.DeadlineExceeded)) {
		return fmt.Errorf("%w: %w", ErrTimeout, err)
	}
	return err
}

// exchange sends one request and reads its response.
func (w *worker) exchange(c *conn, it *item, deadline time.Time) (b body, err error) {
	p := w.p
	c.nc.SetDeadline(deadline)
	sent, err := c.send(p.post, payload{bytes: it.body, chunked: p.limit == 0})
	if err != nil {
		if c.used {
			return b, &errNoAnswer{err}
		}
		// It may have answered without reading.
		c.nc.SetReadDeadline(time.Now().Add(writeGrace))
		c.finish = true
	}
	status, rerr := c.readHead()
	if rerr == nil {
		if p.good(status) {
			b, rerr = w.read(c, it.ord, deadline)
		} else {
			rerr = &StatusError{status, errorBody(c)}
		}
	}
	_, refused := rerr.(*StatusError)
	werr := c.join(sent, rerr != nil && !refused)
	if err != nil || werr != nil {
		c.finish = true
	}
	if rerr != nil && !refused && err != nil {
		rerr = err
	}
	if rerr != nil {
		p.q.giveChunks(b.chunks)
		return body{}, rerr
	}
	return b, nil
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
func (w *worker) read(c *conn, ord int64, deadline time.Time) (b body, err error) {
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
		began := time.Now()
		if !p.q.reserve(chunkSize, ord) {
			return b, context.Canceled
		}
		if waited := time.Since(began); waited > time.Millisecond {
			deadline = deadline.Add(waited) // that was ours, not the container's
			c.nc.SetDeadline(deadline)
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

// stream carries a whole object in one request and its response into the output, neither of them held (BT-97).
func (w *worker) stream(it *item) (err error) {
	p, o := w.p, it.obj
	ctx, cancel := context.WithCancel(p.ctx)
	defer cancel()
	r, err := p.source(ctx, o)
	if err != nil {
		return err
	}
	defer r.Close()
	var first [1]byte
	switch _, err := io.ReadFull(r, first[:]); err {
	case nil:
	case io.EOF:
		return nil // no byte, no invocation (BT-35)
	default:
		return fmt.Errorf("%w: %w", ErrInput, err)
	}
	p.stats.Requests.Add(1)
	p.stats.InFlight.Add(1)
	defer p.stats.InFlight.Add(-1)
	deadline := time.Now().Add(p.cfg.Job.InvocationTimeout.Std())
	if w.c != nil { // it could not be repeated if the connection turned out to be dead
		p.close(w.c)
		w.c = nil
	}
	if spare := p.takeSpare(); spare != nil {
		p.close(spare)
	}
	c, err := w.connect(deadline)
	if err != nil {
		return timeout(err)
	}
	c.nc.SetDeadline(deadline)
	in := &countReader{r: io.MultiReader(bytes.NewReader(first[:]), r)}
	sent, _ := c.send(p.post, payload{chunked: true, stream: in})
	var out Writer
	var n int64
	status, rerr := c.readHead()
	switch {
	case rerr != nil:
	case !p.good(status):
		rerr = &StatusError{status, errorBody(c)}
	default:
		out, n, rerr = p.streamOut(ctx, c, o)
	}
	_, refused := rerr.(*StatusError)
	if rerr != nil && !refused {
		cancel() // its reading ends too
		c.nc.Close()
	}
	werr := c.join(sent, rerr != nil)
	if source, ok := errors.AsType[*sourceError](werr); ok && !errors.Is(source.err, context.Canceled) {
		rerr = fmt.Errorf("%w: %w", ErrInput, source.err)
	}
	if werr != nil {
		c.finish = true
	}
	w.keep(c, rerr)
	if rerr != nil {
		if out != nil {
			out.Abort()
		}
		return timeout(rerr)
	}
	o.w = out
	p.stats.Records.Add(1)
	p.stats.BytesIn.Add(in.n)
	p.stats.BytesOut.Add(n)
	return nil
}

// streamOut writes a response into a new output as it comes.
func (p *pool) streamOut(ctx context.Context, c *conn, o *object) (out Writer, n int64, err error) {
	out, err = p.cfg.Create(ctx, o.name, p.contentType)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: create: %w", ErrOutput, err)
	}
	buf := make([]byte, outputBuffer)
	last := byte(0)
	for {
		m, err := io.ReadFull(c, buf)
		if m > 0 {
			if n += int64(m); p.maxResponse > 0 && n > p.maxResponse {
				return out, n, p.tooLarge(n)
			}
			last = buf[m-1]
			if _, err := out.Write(buf[:m]); err != nil {
				return out, n, fmt.Errorf("%w: write: %w", ErrOutput, err)
			}
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF && c.kind == bodyNone {
			break
		}
		if err != nil {
			return out, n, err
		}
	}
	if p.line && !(p.cfg.OneNewline && last == '\n') {
		if _, err := out.Write([]byte{'\n'}); err != nil {
			return out, n, fmt.Errorf("%w: write: %w", ErrOutput, err)
		}
	}
	return out, n, nil
}

type countReader struct {
	r io.Reader
	n int64
}

func (c *countReader) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}
