package transform

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"
)

const (
	pingTimeout  = 2 * time.Second // INF-61
	pingInterval = time.Second     // INF-64, BT-20
	maxAnswer    = 64 << 10        // of /ping and /execution-parameters
)

// get sends one GET within its own timeout and returns status and body. The connection stays for the next request where
// the container keeps it: a server of one thread would not look at a second one.
func (p *pool) get(ctx context.Context, path string, timeout time.Duration) (int, []byte, error) {
	deadline := time.Now().Add(timeout)
	c := p.takeSpare()
	reused := c != nil
	for {
		if c == nil {
			var err error
			if c, err = p.dial(ctx, p.in.Container, deadline); err != nil {
				return 0, nil, err
			}
		}
		c.start(deadline)
		status, body, err := getOn(c, newHeader("GET", path, p.in.Addr, "", ""))
		if err == nil && c.reusable() {
			p.putSpare(c)
		} else {
			p.close(c)
		}
		if reused && silent(err) {
			c, reused = nil, false // it was closed meanwhile
			continue
		}
		return status, body, err
	}
}

func getOn(c *conn, h header) (int, []byte, error) {
	if _, err := c.send(h, payload{method: true}); err != nil {
		return 0, nil, err
	}
	status, err := c.readHead()
	if err != nil {
		return 0, nil, err
	}
	body, err := io.ReadAll(io.LimitReader(c, maxAnswer+1))
	if err == nil && len(body) > maxAnswer {
		c.finish = true
		body = body[:maxAnswer]
	}
	return status, body, err
}

// ready pings the container until it answers 200; of a pipeline each container, side by side (INF-51).
func (p *pool) ready(ctx context.Context, window time.Duration, r *InstanceResult) error {
	if len(p.in.Next) > 0 {
		return p.allReady(ctx, window, r)
	}
	return p.await(ctx, window, r, p.in.Container, p.get)
}

// Ready waits until a container answers /ping with 200, which it is asked every so often, at most for window. Its error is
// the *Error of a transform whose container is not ready in time, or why ctx is done.
func Ready(ctx context.Context, c Container, window, every time.Duration) error {
	p := newPool(ctx, &Config{}, Instance{Container: c}, new(Stats), nil)
	p.pingEvery = every
	defer context.AfterFunc(ctx, func() { p.hangUp(true) })()
	defer p.hangUp(true)
	err := p.await(ctx, window, &InstanceResult{}, c, p.get)
	if errors.Is(err, ErrPing) {
		return &Error{Reason: reasonPing, Err: err}
	}
	return err
}

// await pings about once a second until the answer is 200 (INF-60 to INF-65, BT-20). Refusals, other statuses and timeouts
// are all the same: not yet.
func (p *pool) await(ctx context.Context, window time.Duration, r *InstanceResult, c Container, get func(context.Context, string, time.Duration) (int, []byte, error)) error {
	start := time.Now()
	end := start.Add(window)
	var (
		asked  time.Time
		status int
		body   []byte
		last   error
	)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-p.in.Exited:
			after := time.Since(start).Round(time.Millisecond)
			if asked.IsZero() || errors.Is(last, syscall.ECONNREFUSED) { // as any container before it listens
				return fmt.Errorf("%w: %w after %v", ErrPing, ErrExited, after)
			}
			return fmt.Errorf("%w: %w after %v; last answer: %s", ErrPing, ErrExited, after, unready(ctx, c, status, body, last).Says)
		case <-timer.C:
		}
		now := time.Now()
		if !now.Before(end) {
			if asked.IsZero() {
				return fmt.Errorf("%w within %v", ErrPing, window)
			}
			return fmt.Errorf("%w within %v; last answer: %w", ErrPing, window, unready(ctx, c, status, body, last))
		}
		asked = now
		r.Pings++
		status, body, last = get(ctx, "/ping", min(pingTimeout, end.Sub(asked)))
		if last == nil && status == 200 {
			r.PingAfter = time.Since(start)
			return nil
		}
		timer.Reset(max(0, p.pingEvery-time.Since(asked)))
	}
}

// parameters asks /execution-parameters once; everything but 200 means that the container has no opinion (BT-25).
func (p *pool) parameters(ctx context.Context) (suggestion, []string) {
	status, body, err := p.get(ctx, "/execution-parameters", pingTimeout)
	if err != nil || status != 200 {
		return suggestion{}, nil
	}
	return parseSuggestion(body)
}
