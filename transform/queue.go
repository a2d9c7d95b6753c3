package transform

import (
	"slices"
	"sync"
	"sync/atomic"
)

// item is one request to send.
type item struct {
	obj     *object
	seq     int64 // in the object
	ord     int64 // in the queue
	body    []byte
	slab    *slab
	record  int64 // first record, counted from 1; 0: not about records
	records int64
	offset  int64 // of the first record in the object
	// originals are the unfiltered records for the join, if they differ from the body; they lie in the slab.
	originals []byte
	stream    bool // the whole object, opened anew for each attempt (BT-97)
}

// slab is memory that holds the bodies of some items, free when all of them have been answered.
type slab struct {
	b    []byte
	refs atomic.Int64
}

const (
	window = 4096 // requests outstanding: queued, open, or answered and waiting to be written
	refill = 256  // places that must be free before a feed that waits for one goes on: waking it costs as much as a request
	// One payload is read ahead of those that are open; of small ones some more, of very large ones none.
	minAhead, maxAhead = 4 << 20, 24 << 20

	chunkSize = 256 << 10 // of a response that is held
	keepSlab  = 64 << 10  // smaller ones are not worth keeping
	overhead  = 128       // of a small response that is held, beside its bytes
)

// queue hands items from the feed to the workers in order, and holds the account of memory.
//
// Requests may take C x P and a prefetch allowance, responses that are held (C-1) x P: with the response of the oldest
// outstanding request, which is never made to wait, that is 2 x C x P. The oldest one can always be written, so a worker
// that waits for room always gets it.
type queue struct {
	mu   sync.Mutex
	work sync.Cond // for workers: an item, or the end
	feed sync.Cond // for the feed: memory, or places
	room sync.Cond // for workers that hold a response: memory, or the oldest place

	items      [window]item
	head, tail int64 // ord of the next item to take, and to put
	base       int64 // ord of the oldest item outstanding
	done       [window]bool
	full       bool // the feed waits for places
	closed     bool // nothing more comes
	stopped    bool // and what is there is not wanted
	idle       int  // workers waiting
	asleep     bool // the loop waits: ring when there is something to take
	ring       func()

	requests, maxRequests   int64 // bytes
	responses, maxResponses int64

	slabs  []*slab // to use again
	free   int64   // bytes of them
	chunks [][]byte
}

func newQueue(concurrency int, payload int64) *queue {
	ahead := min(max(payload, minAhead), maxAhead)
	q := &queue{maxRequests: int64(concurrency)*payload + ahead, maxResponses: int64(concurrency-1) * payload}
	q.work.L, q.feed.L, q.room.L = &q.mu, &q.mu, &q.mu
	// Small payloads leave room for what is held only a little while.
	q.maxResponses = max(q.maxResponses, 4<<20)
	return q
}

// keepOriginals gives requests the room of responses: with their unfiltered records they are about twice as large, while
// responses that are joined with them are small, and wait for their turn if they are not.
func (q *queue) keepOriginals(concurrency int, payload int64) {
	q.maxRequests += int64(concurrency-1) * payload
	q.maxResponses = 4 << 20
}

// slab returns memory of n bytes. It waits while the requests that are under way leave no room for it, unless there are
// none. nil: stopped.
func (q *queue) slab(n int) *slab {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.requests > 0 && q.requests+int64(n) > q.maxRequests && !q.stopped {
		q.feed.Wait()
	}
	if q.stopped {
		return nil
	}
	for i := len(q.slabs) - 1; i >= 0; i-- {
		if s := q.slabs[i]; cap(s.b) >= n && cap(s.b) <= 4*n {
			q.slabs = slices.Delete(q.slabs, i, i+1)
			q.free -= int64(cap(s.b))
			q.requests += int64(cap(s.b))
			s.b = s.b[:n]
			return s
		}
	}
	q.requests += int64(n)
	q.trim()
	return &slab{b: make([]byte, n)}
}

// release gives a slab back when nobody refers to it.
func (q *queue) release(s *slab) {
	if s == nil || s.refs.Add(-1) > 0 {
		return
	}
	q.mu.Lock()
	q.requests -= int64(cap(s.b))
	if cap(s.b) >= keepSlab {
		q.slabs = append(q.slabs, s)
		q.free += int64(cap(s.b))
		q.trim()
	}
	q.feed.Broadcast()
	q.mu.Unlock()
}

// trim forgets slabs, the oldest first, that would be more memory than the account allows.
func (q *queue) trim() {
	for len(q.slabs) > 0 && q.requests+q.free > q.maxRequests {
		q.free -= int64(cap(q.slabs[0].b))
		q.slabs = slices.Delete(q.slabs, 0, 1)
	}
}

// put appends an item; it waits while the window is full. false: stopped.
func (q *queue) put(it item) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.tail-q.base >= window {
		for q.full = true; q.tail-q.base > window-refill && !q.stopped; {
			q.feed.Wait()
		}
		q.full = false
	}
	if q.stopped {
		return false
	}
	it.ord = q.tail
	q.items[q.tail%window] = it
	q.done[q.tail%window] = false
	q.tail++
	if q.idle > 0 {
		q.work.Signal()
	}
	q.rouse()
	return true
}

type queueState int

const (
	queueEmpty queueState = iota // for now; ring tells of more
	queueItem
	queueEnded
)

// poll is take without waiting.
func (q *queue) poll() (item, queueState) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.stopped, q.head == q.tail && q.closed:
		return item{}, queueEnded
	case q.ready():
		return q.pop(), queueItem
	}
	q.asleep = true
	return item{}, queueEmpty
}

// rouse wakes the loop if there is something for it.
func (q *queue) rouse() {
	if q.asleep && (q.stopped || q.ready() || q.head == q.tail && q.closed) {
		q.asleep = false
		q.ring()
	}
}

// deaf says that there is no loop any more.
func (q *queue) deaf() {
	q.mu.Lock()
	q.asleep = false
	q.mu.Unlock()
}

// ready: there is an item, and there is room for its response, unless it is the oldest.
func (q *queue) ready() bool {
	return q.head < q.tail && (q.responses < q.maxResponses || q.head == q.base)
}

func (q *queue) pop() item {
	it := q.items[q.head%window]
	q.items[q.head%window] = item{}
	q.head++
	return it
}

// take returns the next item. It waits while there is none, and while the responses that are held leave no room, unless
// the next item is the oldest. wait is called when it has to, and its result before it returns.
func (q *queue) take(wait func() func()) (item, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		switch {
		case q.stopped:
			return item{}, false
		case q.ready():
			return q.pop(), true
		case q.head == q.tail && q.closed:
			return item{}, false
		}
		q.idle++
		woken := wait()
		q.work.Wait()
		woken()
		q.idle--
	}
}

// finished marks an item as written or given up.
func (q *queue) finished(ord int64) {
	q.mu.Lock()
	q.done[ord%window] = true
	if ord == q.base {
		for q.base < q.tail && q.done[q.base%window] {
			q.base++
		}
		if q.full && q.tail-q.base <= window-refill {
			q.feed.Broadcast()
		}
		q.room.Broadcast()
		if q.idle > 0 {
			q.work.Broadcast()
		}
		q.rouse()
	}
	q.mu.Unlock()
}

// reserve makes room for n bytes of a response that is held; the oldest request's never waits. false: stopped.
func (q *queue) reserve(n int, ord int64) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.responses+int64(n) > q.maxResponses && ord != q.base && !q.stopped {
		q.room.Wait()
	}
	q.responses += int64(n)
	return !q.stopped
}

func (q *queue) unreserve(n int) {
	q.mu.Lock()
	q.responses -= int64(n)
	q.room.Broadcast()
	if q.idle > 0 {
		q.work.Broadcast()
	}
	q.rouse()
	q.mu.Unlock()
}

// chunk returns memory for a part of a response; reserve comes before, giveChunks after.
func (q *queue) chunk() []byte {
	q.mu.Lock()
	defer q.mu.Unlock()
	if k := len(q.chunks); k > 0 {
		c := q.chunks[k-1]
		q.chunks = q.chunks[:k-1]
		return c
	}
	return make([]byte, chunkSize)
}

func (q *queue) giveChunks(chunks [][]byte) {
	if len(chunks) == 0 {
		return
	}
	q.mu.Lock()
	for _, c := range chunks {
		q.chunks = append(q.chunks, c[:chunkSize])
	}
	q.mu.Unlock()
	q.unreserve(len(chunks) * chunkSize)
}

// close says that nothing more is put.
func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.work.Broadcast()
	q.rouse()
	q.mu.Unlock()
}

// stop ends everything that waits; items that nobody has taken are dropped.
func (q *queue) stop() {
	q.mu.Lock()
	q.stopped = true
	q.work.Broadcast()
	q.feed.Broadcast()
	q.room.Broadcast()
	q.rouse()
	q.mu.Unlock()
}

// hold reserves without waiting.
func (q *queue) hold(n int) {
	q.mu.Lock()
	q.responses += int64(n)
	q.mu.Unlock()
}

// wantsWorker reports whether items wait for which no worker is idle.
func (q *queue) wantsWorker() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.tail-q.head > int64(q.idle)
}
