package channels

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/optml/optml/objstore/storetest"
)

// ranged is an object whose requests are counted.
type ranged struct {
	data     []byte
	delay    time.Duration
	fail     atomic.Bool
	requests atomic.Int64
	bytes    atomic.Int64
}

var errBroken = errors.New("broken")

func (o *ranged) open(ctx context.Context, off, n int64) (io.ReadCloser, error) {
	o.requests.Add(1)
	o.bytes.Add(n)
	select {
	case <-time.After(o.delay):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if o.fail.Load() {
		return nil, errBroken
	}
	return io.NopCloser(bytes.NewReader(o.data[off : off+n])), nil
}

func (o *ranged) reader(t *testing.T, room int64) (*readahead, *semaphore.Weighted) {
	sem := semaphore.NewWeighted(room)
	r := newReadahead(int64(len(o.data)), sem, func(int64) {}, o.open)
	t.Cleanup(func() {
		r.close()
		if err := sem.Acquire(t.Context(), room); err != nil && t.Context().Err() == nil {
			t.Errorf("room is not given back: %v", err)
		}
	})
	return r, sem
}

// TestReadaheadSequential: a reader that goes straight on gets every byte once, in few requests, that run ahead of it.
func TestReadaheadSequential(t *testing.T) {
	o := &ranged{data: storetest.Bytes(40<<20 + 12345)}
	r, _ := o.reader(t, 64<<20)
	var got []byte
	buf := make([]byte, 128<<10)
	for off := int64(0); ; off += int64(len(buf)) {
		n, err := r.read(t.Context(), buf, off)
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, buf[:n]...); n < len(buf) {
			break
		}
	}
	same(t, "file", got, o.data)
	if n := o.requests.Load(); n > 40 || o.bytes.Load() != int64(len(o.data)) {
		t.Errorf("%d requests for %d bytes of %d", n, o.bytes.Load(), len(o.data))
	}
}

// TestReadaheadRandom: a reader that jumps gets what it asks for, and little more is fetched; several threads may read
// one handle at once.
func TestReadaheadRandom(t *testing.T) {
	for _, room := range []int64{64 << 20, 200 << 10} { // the second has room for next to nothing
		o := &ranged{data: storetest.Bytes(20 << 20)}
		r, _ := o.reader(t, room)
		var wg sync.WaitGroup
		for g := range 4 {
			wg.Go(func() {
				rnd := rand.New(rand.NewPCG(1, uint64(g)))
				buf := make([]byte, 100_000)
				for range 50 {
					off := rnd.Int64N(int64(len(o.data)))
					n, err := r.read(t.Context(), buf, off)
					if err != nil || !bytes.Equal(buf[:n], o.data[off:min(off+100_000, int64(len(o.data)))]) {
						t.Errorf("at %d: %d bytes, %v", off, n, err)
						return
					}
				}
			})
		}
		wg.Wait()
		if o.bytes.Load() > 200*4*minWindow {
			t.Errorf("%d bytes were fetched for 200 reads of 100,000", o.bytes.Load())
		}
	}
}

// TestReadaheadHidesLatency: with 20 ms to the store, what comes next is fetched while this is read.
func TestReadaheadHidesLatency(t *testing.T) {
	o := &ranged{data: make([]byte, 32<<20), delay: 20 * time.Millisecond}
	r, _ := o.reader(t, 64<<20)
	began := time.Now()
	buf := make([]byte, 128<<10)
	for off := int64(0); off < int64(len(o.data)); off += int64(len(buf)) {
		if _, err := r.read(t.Context(), buf, off); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(began); took > 1500*time.Millisecond { // 256 reads, each waiting, would be five seconds
		t.Errorf("took %s", took)
	}
}

// TestReadaheadErrors: what cannot be had is an error and no short read; closing a file is felt by what is under way.
func TestReadaheadErrors(t *testing.T) {
	o := &ranged{data: storetest.Bytes(10 << 20)}
	r, _ := o.reader(t, 64<<20)
	o.fail.Store(true)
	if n, err := r.read(t.Context(), make([]byte, 1000), 0); !errors.Is(err, errBroken) || n != 0 {
		t.Errorf("%d, %v", n, err)
	}
	slow := &ranged{data: storetest.Bytes(10 << 20), delay: time.Hour}
	r, _ = slow.reader(t, 64<<20)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := r.read(ctx, make([]byte, 1000), 0); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("killed reader: %v", err)
	}
	short := &ranged{data: storetest.Bytes(1000)}
	r, _ = short.reader(t, 1<<20)
	for _, c := range []struct{ off, want int64 }{{990, 10}, {1000, 0}, {5000, 0}} {
		if n, err := r.read(t.Context(), make([]byte, 100), c.off); n != int(c.want) || err != nil {
			t.Errorf("at %d: %d, %v", c.off, n, err)
		}
	}
	lying := newReadahead(2000, semaphore.NewWeighted(1<<20), func(int64) {}, func(context.Context, int64, int64) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(make([]byte, 10))), nil
	})
	defer lying.close()
	if _, err := lying.read(t.Context(), make([]byte, 100), 0); err == nil {
		t.Error(fmt.Sprint("a body that ends early was taken: ", err))
	}
}
