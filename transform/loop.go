package transform

import (
	"net"
	"sync"
	"time"
)

// loop sends the small requests of a pool and takes their answers, over all of its connections, from one goroutine with
// an epoll of its own. A goroutine for each connection costs twice as much: a request whose answer takes microseconds is
// then mostly switches and wake-ups. What is out of the ordinary, a new connection, a large body, an answer that is not
// small and good, is carried on by the connection's worker in a goroutine meanwhile.
type loop struct {
	*poller // rung when the queue has something, or a worker is back

	p     *pool
	seats map[int32]*worker
	free  []*worker
	back  chan *worker
	away  int       // workers that carry something on
	open  int       // requests of ours without an answer
	due   time.Time // no request must be answered before

	carriers sync.WaitGroup
}

// newLoop returns nil where there is none: the workers do without. A connection that the handshake has left tells that
// the container keeps them; without that each would be of no use here.
func (p *pool) newLoop() *loop {
	if !p.single || p.limit == 0 || len(p.in.Next) > 0 || !p.keeps() {
		return nil
	}
	poll, err := newPoller(false)
	if err != nil {
		return nil
	}
	l := &loop{poller: poll, p: p, seats: map[int32]*worker{}, back: make(chan *worker, p.settings.MaxConcurrent)}
	for n := p.settings.MaxConcurrent; n > 0; n-- {
		l.free = append(l.free, &worker{p: p, number: n})
	}
	p.q.ring = l.ring
	return l
}

func (p *pool) keeps() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.spare == nil {
		return false
	}
	_, ok := p.spare.nc.(*net.TCPConn)
	return ok
}

func (l *loop) run() {
	for l.fill() || l.open+l.away > 0 {
		l.listen()
	}
	for _, w := range l.free {
		w.hangUp()
	}
	l.carriers.Wait()
	l.p.q.deaf() // nobody rings any more: the bell's number may soon be another file's
	l.close()
}

// fill gives what is queued to free connections. false: nothing more comes.
func (l *loop) fill() bool {
	for len(l.free) > 0 {
		it, state := l.p.q.poll()
		if state != queueItem {
			return state == queueEmpty
		}
		last := len(l.free) - 1
		w := l.free[last]
		l.free = l.free[:last]
		w.it = it
		l.begin(w)
	}
	return true
}

// begin sends a request.
func (l *loop) begin(w *worker) {
	p, c, it := l.p, w.c, &w.it
	if c == nil || c.fd < 0 || len(it.body) > smallBody || it.obj.failed.Load() || p.exited() || p.ctx.Err() != nil {
		l.lend(w, nil)
		return
	}
	n, err := c.post(p.post, it.body)
	if n <= 0 && err != nil {
		l.lend(w, nil) // the worker will find out
		return
	}
	now := time.Now()
	l.now = now
	w.saw = seen{began: now, sent: int64(len(it.body))}
	c.deadline = now.Add(p.cfg.Job.InvocationTimeout.Std())
	p.stats.Requests.Add(1)
	p.stats.InFlight.Add(1)
	if n < len(c.out) {
		l.lend(w, &begun{unsent: c.out[n:]})
		return
	}
	if l.open++; l.open == 1 {
		l.due = c.deadline
	}
	w.open = true
}

// lend has a request carried on, or carried out, by its worker.
func (l *loop) lend(w *worker, b *begun) {
	if w.open {
		w.open = false
		l.open--
	}
	l.away++
	if c := w.c; c != nil && c.fd >= 0 {
		delete(l.seats, int32(c.fd))
		w.leave(&l.p.conns, b)
	}
	l.carriers.Go(func() {
		w.serve(&w.it, b)
		w.it = item{}
		l.back <- w
		l.ring()
	})
}

// returned takes the workers back that are done.
func (l *loop) returned() {
	for {
		select {
		case w := <-l.back:
			l.away--
			if w.slow--; w.c != nil && w.slow < 0 {
				if fd, ok := w.c.detach(); ok {
					if l.watch(fd) == nil {
						l.seats[int32(fd)] = w
					} else {
						w.hangUp()
					}
				}
			}
			l.release(w)
		default:
			return
		}
	}
}

func (l *loop) release(w *worker) {
	w.since = l.now
	l.free = append(l.free, w)
}

// listen waits for answers, and takes them.
func (l *loop) listen() {
	events := l.wait(l.open > 0, l.patience)
	for _, e := range events {
		if int(e.Fd) == l.bell {
			l.rung()
			l.returned()
		} else if w := l.seats[e.Fd]; w != nil {
			l.heard(w)
		}
	}
	if len(events) == 0 || !l.now.Before(l.due) {
		l.late()
	}
}

// patience is how long to wait: till a request is due, or a connection has been idle long enough.
func (l *loop) patience(now time.Time) time.Duration {
	left := time.Hour
	if l.open > 0 {
		left = l.due.Sub(now)
	}
	for _, w := range l.free {
		if w.c != nil {
			left = min(left, idleClose)
			break
		}
	}
	return left
}

// late gives requests up that are over their time (BT-104), and connections that nobody needs.
func (l *loop) late() {
	l.due = l.now.Add(time.Hour)
	for _, w := range l.seats {
		if w.overdue(l.now, &l.due) {
			l.lend(w, &begun{})
		}
	}
	for _, w := range l.free {
		if w.c != nil && l.now.Sub(w.since) >= idleClose {
			l.drop(w)
		}
	}
}

// drop ends a connection.
func (l *loop) drop(w *worker) {
	if w.c.fd >= 0 {
		delete(l.seats, int32(w.c.fd))
	}
	w.hangUp()
}

// heard takes what has come over a connection.
func (l *loop) heard(w *worker) {
	p, c := l.p, w.c
	if !w.open { // closed by the container, or an answer that nobody asked for
		l.drop(w)
		return
	}
	switch c.arrive(p.scratch) {
	case answerPartial:
		return
	case answerEnded:
		l.lend(w, &begun{}) // the worker reads the same
		return
	case answerOther:
		w.slow = slowRequests
		l.lend(w, &begun{})
		return
	}
	if !p.good(c.status) || int64(c.w-c.r) > p.maxResponse {
		l.lend(w, &begun{})
		return
	}
	w.open = false
	l.open--
	fd := c.fd
	b, err := w.exchange(c, &w.it, c.deadline, &begun{})
	if w.keep(c, err); w.c == nil {
		delete(l.seats, int32(fd))
	}
	if err != nil {
		l.lend(w, &begun{err: err})
		return
	}
	p.stats.InFlight.Add(-1)
	w.note(&w.it, w.saw.began, 1, nil)
	p.answered(&w.it, b)
	w.it = item{}
	l.release(w)
}
