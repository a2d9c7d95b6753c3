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

	"github.com/optml/optml/objstore/storetest"
)

// ranged is an object whose requests are counted.
type ranged struct {
	data     []byte
	delay    time.Duration
	fail     atomic.Bool
	requests atomic.Int64
	bytes    atomic.Int64
	now, top atomic.Int64 // requests at once
}

var errBroken = errors.New("broken")

func (o *ranged) open(ctx context.Context, off, n int64) (io.ReadCloser, error) {
	o.requests.Add(1)
	o.bytes.Add(n)
	now := o.now.Add(1)
	defer o.now.Add(-1)
	for top := o.top.Load(); now > top && !o.top.CompareAndSwap(top, now); top = o.top.Load() {
	}
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

// reading is a reader as a file handle uses it.
type reading struct {
	*readahead
	stock *stock
}

// read copies what was got, and lets go of it.
func (r reading) read(ctx context.Context, p []byte, off int64) (int, error) {
	g, err := r.readahead.read(ctx, p, off)
	if err != nil {
		return 0, err
	}
	b, _ := reply{g}.Bytes(make([]byte, 0, len(p)))
	copy(p, b)
	g.release()
	return len(b), nil
}

func (o *ranged) reader(t *testing.T, room int64, k *kept) reading {
	st := newStock(room, new(atomic.Int64))
	k.use()
	r := reading{newReadahead(int64(len(o.data)), st, k, o.open), st}
	t.Cleanup(func() {
		r.close()
		k.unuse()
		for end := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
			st.mu.Lock()
			used, open, busy := st.used, st.open, st.busy
			st.mu.Unlock()
			if used == 0 && open == 0 && busy == 0 {
				return
			}
			if time.Now().After(end) {
				t.Errorf("not given back: %d bytes of room, %d files, %d fetches", used, open, busy)
				return
			}
		}
	})
	return r
}

// TestReadaheadSequential: a reader that goes straight on gets every byte once, in few requests, that run ahead of it.
func TestReadaheadSequential(t *testing.T) {
	o := &ranged{data: storetest.Bytes(40<<20 + 12345)}
	r := o.reader(t, 64<<20, nil)
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
	if n := o.requests.Load(); n > 60 || o.bytes.Load() != int64(len(o.data)) {
		t.Errorf("%d requests for %d bytes of %d", n, o.bytes.Load(), len(o.data))
	}
}

// TestReadaheadRandom: a reader that jumps gets what it asks for, and little more is fetched; several threads may read
// one handle at once.
func TestReadaheadRandom(t *testing.T) {
	for _, room := range []int64{64 << 20, 200 << 10} { // the second has room for next to nothing
		o := &ranged{data: storetest.Bytes(64 << 20)} // jumps that land beside the last read are few
		r := o.reader(t, room, nil)
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
		if o.bytes.Load() > 200*12*minWindow { // it is 200 times the whole file, if each jump were taken for a reader that goes on
			t.Errorf("%d bytes were fetched for 200 reads of 100,000", o.bytes.Load())
		}
	}
}

// TestReadaheadHidesLatency: with 20 ms to the store, what comes next is fetched while this is read.
func TestReadaheadHidesLatency(t *testing.T) {
	o := &ranged{data: make([]byte, 32<<20), delay: 20 * time.Millisecond}
	r := o.reader(t, 64<<20, nil)
	buf := make([]byte, 128<<10)
	for off := int64(0); off < int64(len(o.data)); off += int64(len(buf)) {
		if _, err := r.read(t.Context(), buf, off); err != nil {
			t.Fatal(err)
		}
	}
	if o.top.Load() < 4 {
		t.Errorf("%d requests at once", o.top.Load())
	}
	if r.stock.readerWaits.read() == 0 {
		t.Error("the reader never waited")
	}
}

// TestReadaheadErrors: what cannot be had is an error and no short read; closing a file is felt by what is under way.
func TestReadaheadErrors(t *testing.T) {
	o := &ranged{data: storetest.Bytes(10 << 20)}
	r := o.reader(t, 64<<20, nil)
	o.fail.Store(true)
	if n, err := r.read(t.Context(), make([]byte, 1000), 0); !errors.Is(err, errBroken) || n != 0 {
		t.Errorf("%d, %v", n, err)
	}
	slow := &ranged{data: storetest.Bytes(10 << 20), delay: time.Hour}
	r = slow.reader(t, 64<<20, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := r.read(ctx, make([]byte, 1000), 0); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("killed reader: %v", err)
	}
	short := &ranged{data: storetest.Bytes(1000)}
	r = short.reader(t, 1<<20, nil)
	for _, c := range []struct{ off, want int64 }{{990, 10}, {1000, 0}, {5000, 0}} {
		if n, err := r.read(t.Context(), make([]byte, 100), c.off); n != int(c.want) || err != nil {
			t.Errorf("at %d: %d, %v", c.off, n, err)
		}
	}
	lying := newReadahead(2000, newStock(1<<20, new(atomic.Int64)), nil, func(context.Context, int64, int64) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(make([]byte, 10))), nil
	})
	defer lying.close()
	if _, err := lying.read(t.Context(), make([]byte, 100), 0); err == nil {
		t.Error(fmt.Sprint("a body that ends early was taken: ", err))
	}
}
