package transform

import (
	"context"
	"errors"
	"fmt"
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
	seat
	p      *pool
	number int  // counted from 1
	hops   hops // of a pipeline: to the containers after the first
	saw    seen
	line   []byte // of the request log

	it item // for the loop: the request that is under way
}

func (p *pool) worker(number int) {
	w := &worker{p: p, number: number}
	defer w.hangUp()
	for {
		it, ok := p.q.take(w.idle)
		if !ok {
			return
		}
		w.serve(&it, nil)
	}
}

func (w *worker) hangUp() {
	if w.c != nil {
		w.p.close(w.c)
		w.c = nil
	}
	w.p.closeAll(w.hops.conns)
}

// idle closes the connection if nothing comes for a while.
func (w *worker) idle() func() {
	c, hops := w.c, w.hops.conns
	if c == nil {
		return func() {}
	}
	timer := time.AfterFunc(idleClose, func() {
		w.p.close(c)
		w.p.closeAll(hops)
	})
	return func() {
		if !timer.Stop() {
			w.c, w.hops.conns = nil, nil
		}
	}
}

// serve carries one request through its attempts (BT-105), the first of which the loop may have begun.
func (w *worker) serve(it *item, begun *begun) {
	p := w.p
	if begun == nil {
		w.saw = seen{}
	}
	first := w.saw.began
	if begun == nil && p.requests != nil {
		first = time.Now()
	}
	var err error
	for attempt := 1; ; attempt++ {
		if begun == nil && (it.obj.failed.Load() || p.ctx.Err() != nil) {
			w.note(it, first, attempt-1, err)
			p.failed(it, nil)
			return
		}
		var b body
		switch {
		case begun == nil && p.exited():
			err = ErrExited
			attempt--
		case it.stream:
			err = w.stream(it)
		default:
			b, err = w.attempt(it, begun)
			begun = nil
		}
		if err == nil {
			w.note(it, first, attempt, nil)
			if it.stream {
				p.failed(it, nil) // nothing to write any more; its end is the object's
			} else {
				w.answered(it, attempt, b)
			}
			return
		}
		if p.ctx.Err() != nil {
			w.note(it, first, attempt, context.Cause(p.ctx))
			p.failed(it, nil)
			return
		}
		if attempt > p.cfg.Job.MaxRetries || !retryable(err) || it.obj.failed.Load() || !p.pause(time.Second<<(attempt-1)) {
			f := &Failure{Class: class(err), Attempts: attempt, Err: err}
			if s, ok := errors.AsType[*StatusError](err); ok {
				f.Status, f.Body = s.Status, string(s.Body[:min(len(s.Body), bodyShown)])
			}
			w.note(it, first, attempt, err)
			w.keepBatch(it, attempt, err)
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
	return !errors.Is(err, ErrResponse) && !errors.Is(err, ErrHop) && !errors.Is(err, ErrInput) && !errors.Is(err, ErrOutput) && !errors.Is(err, ErrExited)
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
		c, err := w.p.dial(w.p.ctx, w.p.in.Container, deadline)
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

func (w *worker) attempt(it *item, begun *begun) (b body, err error) {
	p := w.p
	if begun == nil {
		p.stats.Requests.Add(1)
		p.stats.InFlight.Add(1)
		w.saw = seen{began: time.Now()}
	}
	defer p.stats.InFlight.Add(-1)
	if begun != nil && begun.err != nil {
		return body{}, timeout(begun.err)
	}
	deadline := w.saw.began.Add(p.cfg.Job.InvocationTimeout.Std())
	for {
		c, err := w.connect(deadline)
		if err != nil {
			return body{}, timeout(err)
		}
		reused := c.used
		b, err := w.exchange(c, it, deadline, begun)
		begun = nil
		_, answered := errors.AsType[*StatusError](err)
		if answered {
			w.keep(c, nil)
		} else {
			w.keep(c, err)
		}
		if reused && silent(err) && p.ctx.Err() == nil && !p.exited() {
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
