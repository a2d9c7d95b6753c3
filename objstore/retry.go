package objstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"
)

const (
	// unreachableAttempts is enough for a server that restarts, and short enough for a wrong address.
	unreachableAttempts = 5
	// progressStep is how much of a body earns new attempts: a flaky connection gets through a large object, and the
	// requests for it stay bounded by Attempts for each of these.
	progressStep = 1 << 20
)

// retrier counts the attempts at one thing.
type retrier struct {
	Retry
	failed int   // since the last progress
	moved  int   // redirects and renewed credentials
	gained int64 // bytes since the last failure that counted
}

// progress tells of bytes that came.
func (r *retrier) progress(n int) {
	if r.gained += int64(n); r.gained >= progressStep {
		r.gained, r.failed = 0, 0
	}
}

// again waits before another attempt, or returns the error that is final: err, or the context's.
func (r *retrier) again(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if p, ok := errors.AsType[permanent](err); ok {
		return p.error
	}
	ok, unreachable := retryable(err)
	if !ok {
		return err
	}
	var after time.Duration
	if e, service := errors.AsType[*ServiceError](err); service {
		after = e.retryAfter
		if e.moved || e.expired {
			if r.moved++; r.moved > 3 {
				return err
			}
			return nil
		}
	}
	r.failed++
	if r.failed >= r.Attempts || unreachable && r.failed >= unreachableAttempts {
		return fmt.Errorf("%w (after %d attempts)", err, r.failed)
	}
	return sleep(ctx, max(after, r.pause()))
}

// pause doubles with each failure, and is drawn from its upper half, so that many transfers that failed together do not
// come back together.
func (r *retrier) pause() time.Duration {
	d := r.Max
	if shift := r.failed - 1; shift < 20 && r.Base<<shift < d {
		d = r.Base << shift
	}
	return d/2 + rand.N(d/2+1)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// watchdog cancels a request when nothing moved for a while. It starts awake.
type watchdog struct {
	cancel context.CancelCauseFunc
	ctx    context.Context
	timer  *time.Timer
	after  time.Duration
}

func watch(parent context.Context, after time.Duration) (context.Context, *watchdog) {
	ctx, cancel := context.WithCancelCause(parent)
	w := &watchdog{cancel: cancel, ctx: ctx, after: after}
	w.timer = time.AfterFunc(after, func() { cancel(fmt.Errorf("%w: no byte for %s", errStalled, after)) })
	return ctx, w
}

func (w *watchdog) kick() { w.timer.Reset(w.after) }
func (w *watchdog) rest() { w.timer.Stop() }
func (w *watchdog) end()  { w.timer.Stop(); w.cancel(nil) }

// why replaces the error of a request that the watchdog broke.
func (w *watchdog) why(err error) error {
	if cause := context.Cause(w.ctx); errors.Is(cause, errStalled) {
		return cause
	}
	return err
}

// watchedBody is a request's body: each piece that is sent shows that the connection moves.
type watchedBody struct {
	io.Reader
	dog *watchdog
}

func (b *watchedBody) Read(p []byte) (int, error) {
	b.dog.kick()
	return b.Reader.Read(p)
}
