package transform

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Client sends requests to one container as a transform does: the same bytes, over connections that are kept, small
// requests from one goroutine with an epoll of its own. It neither retries nor keeps answers; it says what became of each.
type Client struct {
	Container
	Path                string        // "": /invocations
	ContentType, Accept string        // "": no such header
	Connections         int           // at most, each for one request at a time; 1 to MaxConnections
	Timeout             time.Duration // of a request, from when it is sent to the end of its answer; 0: a minute
	// Pause is how long a connection rests that could not be made: without it, a caller who sends as fast as it can does
	// nothing but dial while the container is away.
	Pause time.Duration
}

// MaxConnections bounds what a Client needs: two descriptors and some 20 KiB each.
const MaxConnections = 4096

// Source says what a Client sends, and takes what became of it. Its methods are called by one goroutine at a time, and
// must not wait.
type Source interface {
	// Next is asked while a connection is free. It returns a request; or false and how long to wait before it is asked
	// again, which it may be before; or false and a negative time when nothing more comes.
	Next(now time.Time) (r Request, wait time.Duration, ok bool)
	// Done takes what became of a request. The Call is valid until it returns.
	Done(c *Call)
}

// Request is one request. Its body must stay as it is until it is done.
type Request struct {
	Body []byte
	Due  time.Time // the Source's own
}

// Call is a request that is over.
type Call struct {
	Request
	Sent     time.Time // when it was given to a connection; making one counts
	Free     time.Time // since when there had been a connection for it; zero: from the beginning
	Ended    time.Time
	Idle     time.Duration // how long the Client has had nothing to do since it began, when this was over
	Status   int           // 0: no answer
	Received int64         // bytes of the answer's body
	// Repeated: it was sent over a kept connection that the container had closed, and once more over a new one.
	Repeated bool
	// Err is a *StatusError for a status over 299, with the beginning of its body; else why there is no whole answer.
	// ErrTimeout, ErrMalformed, ErrConnect and ErrAborted tell some of them apart.
	Err error
}

const (
	clientTimeout = time.Minute
	statusShown   = 512 // bytes of the body of an answer that is no success
	// spinOpen is how many requests may be open for an answer to be waited for without sleep. With more the server makes
	// better use of the processor, and several answers lie there when the loop wakes.
	spinOpen = 3
)

// Run sends what the source has until nothing more comes and all is answered, or until ctx is done or the container has
// exited; then it returns why, and requests without an answer end with ErrAborted.
func (cl *Client) Run(ctx context.Context, src Source) error {
	if cl.Connections < 1 || cl.Connections > MaxConnections {
		return fmt.Errorf("%d connections: 1 to %d", cl.Connections, MaxConnections)
	}
	for name, value := range map[string]string{"content type": cl.ContentType, "accept": cl.Accept, "path": cl.Path} {
		for _, c := range []byte(value) {
			if c < ' ' || c == 0x7f || name == "path" && c == ' ' {
				return fmt.Errorf("%s %q cannot stand in a request", name, value)
			}
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r := &sending{cl: cl, ctx: ctx, src: src, seats: map[int32]*caller{},
		back: make(chan *caller, cl.Connections), timeout: cl.Timeout}
	path := cl.Path
	if path == "" {
		path = "/invocations"
	}
	r.post = newHeader("POST", path, cl.Addr, cl.Accept, cl.ContentType)
	if r.timeout == 0 {
		r.timeout = clientTimeout
	}
	for range cl.Connections {
		r.free = append(r.free, &caller{r: r})
	}
	over := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-cl.Exited:
			cancel(ErrExited)
		case <-ctx.Done():
		case <-over:
			return
		}
		r.hangUp(true)
		if p := r.poll.Load(); p != nil {
			p.ring()
		}
	})
	hurried(r.run)
	close(over)
	watch.Wait()
	if p := r.poll.Load(); p != nil {
		p.close()
	}
	if r.stopped {
		return context.Cause(ctx)
	}
	return nil
}

// haste is what the thread of a Client is nicer by, less than nothing: a request that is due is not to wait until the
// server's threads, which may keep all processors busy, have had their turn.
const haste = -5

// hurried runs f, which takes long, on a thread that the kernel prefers, where we may.
func hurried(f func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	self := unix.Gettid()
	if was, err := unix.Getpriority(unix.PRIO_PROCESS, self); err == nil {
		was = 20 - was // as the kernel tells it
		if unix.Setpriority(unix.PRIO_PROCESS, self, max(-20, was+haste)) == nil {
			defer func() { _ = unix.Setpriority(unix.PRIO_PROCESS, self, was) }()
		}
	}
	f()
}

// sending is a Client at work.
type sending struct {
	cl      *Client
	ctx     context.Context
	src     Source
	post    header
	timeout time.Duration

	poll  atomic.Pointer[poller] // nil: no connection is the loop's yet
	seats map[int32]*caller
	free  []*caller
	back  chan *caller // from goroutines that carry a request out
	away  int
	open  int       // sent by the loop, without an answer
	due   time.Time // none of them must be answered before
	next  time.Time // when the source is asked again
	sweep time.Time // when idle connections are looked for
	freed time.Time // since then there is a free connection
	idle  time.Duration

	ended   bool // nothing more is sent
	stopped bool // before its time

	carriers sync.WaitGroup
	conns
}

// caller is a connection and its request.
type caller struct {
	seat
	r    *sending
	call Call
	rest bool // it could not connect
}

func (r *sending) run() {
	defer func() {
		for _, w := range r.free {
			w.hangUp()
		}
		r.carriers.Wait()
	}()
	now := time.Now()
	for {
		r.fill(now)
		if r.ended && r.open+r.away == 0 {
			return
		}
		now = r.wait()
	}
}

// fill has free connections send what is due.
func (r *sending) fill(now time.Time) {
	if r.ctx.Err() != nil {
		r.stopped = r.stopped || !r.ended
		r.ended = true
	}
	for len(r.free) > 0 && !r.ended {
		req, wait, ok := r.src.Next(now)
		if !ok {
			r.ended = wait < 0
			r.next = now.Add(wait)
			break
		}
		last := len(r.free) - 1
		w := r.free[last]
		r.free = r.free[:last]
		now = time.Now()
		w.call = Call{Request: req, Sent: now, Free: r.freed}
		r.begin(w)
	}
}

func (r *sending) begin(w *caller) {
	c := w.c
	if c == nil || c.fd < 0 || len(w.call.Body) > smallBody {
		r.lend(w, nil)
		return
	}
	n, err := c.post(r.post, w.call.Body)
	if n <= 0 && err != nil {
		r.lend(w, nil) // who carries it out will find out
		return
	}
	c.deadline = w.call.Sent.Add(r.timeout)
	if n < len(c.out) {
		r.lend(w, &begun{unsent: c.out[n:]})
		return
	}
	if r.open++; r.open == 1 {
		r.due = c.deadline
	}
	w.open = true
}

// lend has a request carried out, or on, by a goroutine.
func (r *sending) lend(w *caller, b *begun) {
	if w.open {
		w.open = false
		r.open--
	}
	r.away++
	if c := w.c; c != nil && c.fd >= 0 {
		delete(r.seats, int32(c.fd))
		w.leave(&r.conns, b)
	}
	r.carriers.Go(func() {
		w.carry(b)
		r.back <- w
		// Who makes a poller looks at back once more when it is there.
		if p := r.poll.Load(); p != nil {
			p.ring()
		}
	})
}

// returned takes back who has carried something out.
func (r *sending) returned(now time.Time) {
	for {
		select {
		case w := <-r.back:
			r.home(w, now)
		default:
			return
		}
	}
}

func (r *sending) home(w *caller, now time.Time) {
	r.away--
	if w.slow--; w.c != nil && w.slow < 0 {
		r.seat(w)
	}
	r.over(w, now)
}

// seat makes a connection the loop's.
func (r *sending) seat(w *caller) {
	if _, ok := w.c.nc.(*net.TCPConn); !ok {
		return
	}
	p := r.poll.Load()
	if p == nil {
		var err error
		if p, err = newPoller(true); err != nil {
			w.slow = slowRequests
			return
		}
		r.poll.Store(p)
	}
	if fd, ok := w.c.detach(); ok {
		if p.watch(fd) == nil {
			r.seats[int32(fd)] = w
		} else {
			w.hangUp()
		}
	}
}

// over hands a request to the source.
func (r *sending) over(w *caller, now time.Time) {
	if w.call.Err != nil && r.ctx.Err() != nil {
		w.call.Err = fmt.Errorf("%w: %w", ErrAborted, w.call.Err)
		r.stopped = true
	}
	w.call.Idle = r.idle
	r.src.Done(&w.call)
	w.call = Call{}
	w.since = now
	if len(r.free) == 0 {
		r.freed = now
	}
	r.free = append(r.free, w)
}

// wait waits for answers, and takes them.
func (r *sending) wait() time.Time {
	p := r.poll.Load()
	if p == nil {
		return r.waitBack()
	}
	events := p.wait(r.open > 0 && r.open <= spinOpen, r.patience)
	r.idle += p.slept
	for _, e := range events {
		if int(e.Fd) == p.bell {
			p.rung()
			r.returned(p.now)
		} else if w := r.seats[e.Fd]; w != nil {
			r.heard(w, p.now)
		}
	}
	if len(events) == 0 || !p.now.Before(r.due) || !p.now.Before(r.sweep) {
		r.late(p.now)
	}
	return p.now
}

// waitBack is wait while all connections are with goroutines.
func (r *sending) waitBack() (now time.Time) {
	began := time.Now()
	t := time.NewTimer(r.patience(began))
	defer t.Stop()
	select {
	case w := <-r.back:
		now = time.Now()
		r.idle += now.Sub(began)
		r.home(w, now)
		r.returned(now)
	case <-t.C:
		now = time.Now()
		r.idle += now.Sub(began)
		r.late(now)
	case <-r.done():
		now = time.Now()
	}
	return now
}

// done ends a wait when it is over; afterwards what is under way is waited for, which ends soon.
func (r *sending) done() <-chan struct{} {
	if r.ended {
		return nil
	}
	return r.ctx.Done()
}

// patience is how long to wait: till a request is due, to be sent or to be answered, or connections are looked after.
func (r *sending) patience(now time.Time) time.Duration {
	left := time.Hour
	if r.open > 0 {
		left = r.due.Sub(now)
	}
	if len(r.free) > 0 && !r.ended {
		left = min(left, r.next.Sub(now))
	}
	return max(0, min(left, r.sweep.Sub(now)))
}

// late gives requests up that are over their time, and connections that nobody needs.
func (r *sending) late(now time.Time) {
	if r.open > 0 && !now.Before(r.due) {
		r.due = now.Add(time.Hour)
		for _, w := range r.seats {
			if w.overdue(now, &r.due) {
				r.lend(w, &begun{})
			}
		}
	}
	if now.Before(r.sweep) {
		return
	}
	r.sweep = now.Add(idleClose / 2) // not each time: there may be thousands
	for _, w := range r.free {
		if w.c != nil && now.Sub(w.since) >= idleClose {
			r.drop(w)
		}
	}
}

func (r *sending) drop(w *caller) {
	if w.c.fd >= 0 {
		delete(r.seats, int32(w.c.fd))
	}
	w.hangUp()
}

// heard takes what has come over a connection.
func (r *sending) heard(w *caller, now time.Time) {
	c := w.c
	if !w.open { // closed by the container, or an answer that nobody asked for
		r.drop(w)
		return
	}
	switch c.arrive(len(c.buf)) {
	case answerPartial:
		return
	case answerEnded:
		r.lend(w, &begun{}) // it reads the same
		return
	case answerOther:
		w.slow = slowRequests
		r.lend(w, &begun{})
		return
	}
	w.open = false
	r.open--
	fd := c.fd
	w.ended(c, c.hear(nil, nil, w.take))
	w.call.Ended = now
	if w.c == nil {
		delete(r.seats, int32(fd))
	}
	r.over(w, now)
}

// carry carries a request out that the loop may have begun.
func (w *caller) carry(b *begun) {
	r := w.r
	defer func() { w.call.Ended = time.Now(); w.pause() }()
	deadline := w.call.Sent.Add(r.timeout)
	if b != nil && b.err != nil {
		w.call.Err = b.err
		return
	}
	for {
		if w.c == nil {
			c, err := r.dial(r.ctx, r.cl.Container, deadline)
			if err != nil {
				w.rest = true
				w.call.Err = timeout(fmt.Errorf("%w: %w", ErrConnect, err))
				return
			}
			w.c = c
		}
		c, reused := w.c, w.c.used
		c.start(deadline)
		var sent <-chan error
		var err error
		if b == nil {
			sent, err = c.send(r.post, payload{bytes: w.call.Body})
		} else if len(b.unsent) > 0 {
			_, err = c.nc.Write(b.unsent)
		}
		b = nil
		err = c.hear(sent, err, w.take)
		w.ended(c, err)
		if reused && !w.call.Repeated && silent(err) && r.ctx.Err() == nil {
			w.call.Repeated, w.call.Err = true, nil
			continue
		}
		return
	}
}

// pause rests a caller that could not connect.
func (w *caller) pause() {
	if !w.rest || w.r.cl.Pause <= 0 {
		return
	}
	w.rest = false
	t := time.NewTimer(w.r.cl.Pause)
	defer t.Stop()
	select {
	case <-t.C:
	case <-w.r.ctx.Done():
	}
}

// take reads the answer's body; of one that is no success it keeps the beginning.
func (w *caller) take(status int) error {
	w.call.Status = status
	var begin []byte
	if status >= 300 {
		begin = make([]byte, statusShown)
		n, err := io.ReadFull(w.c, begin)
		w.call.Received = int64(n)
		begin = begin[:n]
		if err != nil && err != io.EOF && (err != io.ErrUnexpectedEOF || w.c.kind != bodyNone) {
			return err
		}
	}
	n, err := w.c.discard()
	w.call.Received += n
	if err == nil && status >= 300 {
		err = &StatusError{status, begin}
	}
	return err
}

// discard reads the body to its end.
func (c *conn) discard() (total int64, err error) {
	if b, ok, err := c.whole(); ok || err != nil {
		return int64(len(b)), err
	}
	if c.scratch == nil {
		c.scratch = make([]byte, readBuffer)
	}
	for {
		n, err := c.Read(c.scratch)
		if total += int64(n); err == io.EOF {
			return total, nil
		} else if err != nil {
			return total, err
		}
	}
}

// ended decides what becomes of the connection.
func (w *caller) ended(c *conn, err error) {
	w.call.Err = timeout(err)
	if _, answered := errors.AsType[*StatusError](err); (err == nil || answered) && c.reusable() {
		c.used = true
		return
	}
	w.hangUp()
}

func (w *caller) hangUp() {
	if w.c != nil {
		w.r.close(w.c)
		w.c = nil
	}
}
