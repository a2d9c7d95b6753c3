package transform

import (
	"testing"
	"testing/synctest"
)

func TestQueueKeepsOrderAndBounds(t *testing.T) { // BT-102, the memory account
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(2, 100)
		q.maxRequests, q.maxResponses = 250, 100
		o := &object{}
		a, b := q.slab(100), q.slab(100)
		a.refs.Store(1)
		b.refs.Store(1)
		third := make(chan *slab)
		go func() { third <- q.slab(100) }()
		synctest.Wait()
		select {
		case <-third:
			t.Error("a third request of 100 bytes in 250")
		default:
		}
		q.release(a)
		c := <-third
		if c == nil || q.requests != 200 {
			t.Errorf("after a release: %v, %d bytes", c, q.requests)
		}

		for i := range 3 {
			if !q.put(item{obj: o, seq: int64(i)}) {
				t.Fatal("put")
			}
		}
		nop := func() func() { return func() {} }
		for i := range 2 {
			if it, ok := q.take(nop); !ok || it.ord != int64(i) {
				t.Errorf("took %d", it.ord)
			}
		}
		// The second request's response fills the room; the third is not handed out, and more of the second's waits,
		// but the oldest one's never does.
		if !q.reserve(100, 1) {
			t.Error("stopped")
		}
		more, taken := make(chan bool), make(chan item)
		go func() { more <- q.reserve(50, 1) }()
		go func() { it, _ := q.take(nop); taken <- it }()
		synctest.Wait()
		select {
		case <-more:
			t.Error("the second response got more room")
		case <-taken:
			t.Error("a third request was sent while responses fill the memory")
		default:
		}
		if !q.reserve(500, 0) {
			t.Error("stopped")
		}
		q.unreserve(500)
		q.finished(0)
		if !<-more { // it is the oldest now
			t.Error("stopped")
		}
		q.unreserve(150)
		if it := <-taken; it.ord != 2 {
			t.Errorf("took %d", it.ord)
		}

		// stop ends whoever waits.
		go func() { third <- q.slab(1000) }()
		go func() { it, ok := q.take(nop); _ = ok; taken <- it }()
		go func() { more <- q.reserve(1000, 2) }()
		synctest.Wait()
		q.stop()
		if s := <-third; s != nil {
			t.Error("a slab after stop")
		}
		if it := <-taken; it.obj != nil {
			t.Error("an item after stop")
		}
		if <-more {
			t.Error("room after stop")
		}
		if q.put(item{obj: o}) {
			t.Error("put after stop")
		}
	})
}

func TestQueueWindow(t *testing.T) { // however small the requests are, their number is bounded
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(1, 1<<20)
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range window + 10 {
				q.put(item{})
			}
			q.close()
		}()
		synctest.Wait()
		if q.tail != window {
			t.Errorf("%d items put", q.tail)
		}
		n := 0
		for it, ok := q.take(func() func() { return func() {} }); ok; it, ok = q.take(func() func() { return func() {} }) {
			n++
			q.finished(it.ord)
		}
		<-done
		if n != window+10 {
			t.Errorf("%d items taken", n)
		}
	})
}

func TestQueueForgetsSlabs(t *testing.T) { // what is kept for reuse counts too
	q := newQueue(1, 1<<20)
	q.maxRequests = 1 << 20
	for i := 1; i <= 8; i++ {
		s := q.slab(i << 17)
		s.refs.Store(1)
		q.release(s)
		if q.requests != 0 || q.free > q.maxRequests {
			t.Fatalf("%d in use, %d kept", q.requests, q.free)
		}
	}
	s := q.slab(1 << 20)
	if q.free+q.requests > q.maxRequests {
		t.Errorf("%d in use, %d kept", q.requests, q.free)
	}
	s.refs.Store(1)
	q.release(s)
	if again := q.slab(1 << 19); &again.b[0] != &s.b[0] {
		t.Error("a slab of fitting size was not used again")
	}
}
