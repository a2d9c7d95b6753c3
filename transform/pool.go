package transform

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/optml/optml/dataprocessing"
	"github.com/optml/optml/framing"
)

// pool is one instance at work: its queue, its workers and its connections.
type pool struct {
	cfg      *Config
	in       Instance
	ctx      context.Context // done: nothing more is sent or kept
	stats    *Stats
	log      *dataLog
	settings Settings
	record   func(*Failure)
	requests *requestLog
	keeper   *keeper

	limit       int64 // bytes of a request's body; 0: none (BT-97)
	maxResponse int64 // bytes of a response; 0: none
	post        header
	contentType string // of the outputs (BT-125)
	line        bool   // AssembleWith
	format      framing.Format
	split       bool // a SplitType is given
	single      bool // SINGLE_RECORD
	scratch     int  // bytes of a connection's memory for responses
	oneNewline  bool

	dp      *dataprocessing.Processor // nil: records and responses stay as they are
	refused error                     // a filter that is not taken: each object fails with it (BT-160)
	maxRow  int                       // bytes of a row of the output that dp makes

	documents struct{ in, line []byte } // the feed's, for objects that are filtered whole
	scratches struct {                  // for documents that are put together
		sync.Mutex
		one dataprocessing.Scratch
	}

	q         *queue
	workers   sync.WaitGroup
	started   int
	pingEvery time.Duration

	commits chan struct{} // bounds how many outputs are ended at once
	tail    sync.WaitGroup

	conns       // closed: the job is cancelled
	spare *conn // left by the handshake for the first worker
}

// maxCommits bounds round trips to the store at once.
const maxCommits = 8

func newPool(ctx context.Context, cfg *Config, in Instance, stats *Stats, record func(*Failure)) *pool {
	t := &cfg.Job
	accept := t.Output.Accept
	if len(in.Next) > 0 {
		in.Exited = anyExited(ctx, in)
		accept = "" // only the last container of a pipeline gets it (INF-56)
	}
	p := &pool{
		cfg: cfg, in: in, ctx: ctx, stats: stats, record: record,
		log:         &dataLog{w: in.DataLog, bucket: cfg.Bucket},
		post:        newHeader("POST", "/invocations", in.Addr, accept, t.Input.ContentType),
		contentType: t.Output.Accept,
		line:        t.Output.AssembleWith == "Line",
		commits:     make(chan struct{}, maxCommits),
		pingEvery:   pingInterval,
	}
	if p.contentType == "" {
		p.contentType = "application/octet-stream"
	}
	p.dp, p.refused = processor(cfg)
	p.line = p.line || p.dp.Lines()
	p.oneNewline = cfg.OneNewline || p.dp != nil // one record a line, whatever ends a response (BT-166)
	p.format, p.split = framing.ByName(t.Input.SplitType)
	if cfg.SkipChecksums && p.format.Name == framing.TFRecord.Name {
		p.format = framing.TFRecordUnchecked
	}
	return p
}

// settle the limits once the container has been asked.
func (p *pool) resolve(s Settings) {
	t := &p.cfg.Job
	p.settings = s
	p.limit = int64(s.MaxPayloadMB) << 20 // BT-93
	if p.cfg.payloadBytes > 0 {
		p.limit = p.cfg.payloadBytes
	}
	p.single = s.BatchStrategy == singleRecord
	p.maxResponse = t.MaxResponseBytes
	if p.maxResponse == 0 && !p.streams() {
		p.maxResponse = max(p.limit, 6<<20) // ruling 23
	}
	p.scratch = min(64<<10, max(8<<10, (4<<20)/s.MaxConcurrent))
	q := newQueue(s.MaxConcurrent, p.limit)
	if p.dp.Joins() && p.dp.Filters() {
		q.keepOriginals(s.MaxConcurrent, p.limit)
	}
	p.maxRow = int(p.maxResponse + q.maxRequests)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.q = q; p.closed {
		q.stop()
	}
}

// streams reports whether each object is one request without a length (BT-97, BT-98).
func (p *pool) streams() bool { return p.limit == 0 && (!p.split || !p.single) }

// run processes the objects, in order, and returns when the last of them has ended.
func (p *pool) run(objects []*object) {
	if p.in.Exited != nil {
		over := make(chan struct{})
		defer close(over)
		go p.watch(over)
	}
	if l := p.newLoop(); l != nil {
		p.started = p.settings.MaxConcurrent
		p.workers.Go(l.run)
	}
	p.feed(objects)
	p.q.close()
	p.workers.Wait()
	p.tail.Wait()
}

// watch ends what is open some time after the container has exited: its sockets are gone, but what it sent before may
// still be read.
func (p *pool) watch(over <-chan struct{}) {
	select {
	case <-over:
		return
	case <-p.in.Exited:
	}
	grace := time.NewTimer(2 * time.Second)
	defer grace.Stop()
	select {
	case <-over:
	case <-grace.C:
		p.hangUp(false)
	}
}

func (p *pool) exited() bool {
	select {
	case <-p.in.Exited:
		return true
	default:
		return false
	}
}

// stop ends everything: called when the job is cancelled.
func (p *pool) stop() {
	p.hangUp(true)
	p.mu.Lock()
	q := p.q
	p.mu.Unlock()
	if q != nil {
		q.stop()
	}
}

// put queues a request of o.
func (p *pool) put(o *object, it item) bool {
	it.obj = o
	p.stats.Cut.Add(int64(len(it.body)))
	o.mu.Lock()
	o.outstanding++
	o.mu.Unlock()
	if p.q.put(it) {
		if p.started < p.settings.MaxConcurrent && p.q.wantsWorker() {
			p.started++
			n := p.started
			p.workers.Go(func() { p.worker(n) })
		}
		return true
	}
	p.q.release(it.slab)
	o.mu.Lock()
	o.outstanding--
	o.mu.Unlock()
	return false
}

func (p *pool) dial(ctx context.Context, to Container, deadline time.Time) (*conn, error) {
	c, err := p.conns.dial(ctx, to, deadline)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	c.keepType = len(p.in.Next) > 0
	return c, nil
}

func (p *pool) takeSpare() *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.spare
	p.spare = nil
	return c
}

func (p *pool) putSpare(c *conn) {
	c.used = true
	p.mu.Lock()
	p.spare = c
	p.mu.Unlock()
}
