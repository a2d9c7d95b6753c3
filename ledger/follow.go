package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
)

// Follow yields the events of the last attempt from its first on, and then each as it is appended. It ends after the final transition. If
// the owner dies before that it yields ErrOwnerDead and ends; if ctx ends, the cause. Damaged lines and events that
// this optml does not know are passed over.
func (j *Job) Follow(ctx context.Context) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		if err := j.followTo(ctx, func(e Event) bool { return yield(e, nil) }); err != nil {
			yield(Event{}, fmt.Errorf("follow %s/%s: %w", j.Kind(), j.Name(), err))
		}
	}
}

func (j *Job) followTo(ctx context.Context, yield func(Event) bool) error {
	r, err := openReader(j.EventsPath())
	if err != nil {
		return err
	}
	defer r.Close()
	if err := r.skipAttempts(); err != nil {
		return err
	}
	w := newWatch(j)
	defer w.close()
	for {
		w.arm()
		// Asked before reading: an owner that is dead now has written all that it will.
		owned, err := j.Owned()
		if err != nil {
			return err
		}
		for {
			e, damaged, err := r.next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return err
			}
			if _, unknown := e.Body.(Unknown); damaged || unknown {
				continue
			}
			if !yield(e) {
				return nil
			}
			if t, ok := e.Body.(Transition); ok && IsFinal(t.Status) {
				return nil
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
		}
		if !owned {
			return ErrOwnerDead
		}
		if err := w.wait(ctx); err != nil {
			return err
		}
	}
}

// skipAttempts goes to where the last attempt begins.
func (r *reader) skipAttempts() error {
	from := int64(0)
	for {
		before := r.off
		e, _, err := r.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if _, ok := e.Body.(Restarted); ok {
			from = before
		}
	}
	if _, err := r.f.Seek(from, io.SeekStart); err != nil {
		return err
	}
	r.buf.Reset(r.f)
	r.off = from
	return nil
}
