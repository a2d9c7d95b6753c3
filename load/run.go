package load

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"syscall"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"

	"github.com/optml/optml/transform"
)

// Run puts load on t. A run that is cut short has a Result too, and an error that says why: the context's cause, or
// transform.ErrExited.
func Run(ctx context.Context, t Target, o Options) (*Result, error) {
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	client := transform.Client{Container: t.Container, Path: t.Path, ContentType: t.ContentType, Accept: t.Accept,
		Connections: o.Connections, Timeout: o.Timeout}
	if o.Arrivals == nil {
		client.Connections, client.Pause = o.Concurrency, refusedPause
	}
	s := newSource(o)
	cpu := spent()
	err := client.Run(ctx, s)
	r := s.result(time.Now(), err)
	r.OwnCPU = (spent() - cpu).Seconds()
	r.Connections = client.Connections
	r.judge()
	return r, err
}

// spent is the processor time of this process.
func spent() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// source has the requests of a run, and measures what becomes of them.
type source struct {
	o     Options
	start time.Time // of the warm-up
	from  time.Time // from when on it counts
	until time.Time // nothing is sent any more
	last  time.Time // the latest end of a request

	pacer   vegeta.Pacer // nil: closed
	paced   uint64
	next    time.Duration // after start: when the next request is due
	payload int
	over    bool // nothing more is sent
	all     bool // since the number of requests is reached
	lastDue time.Time
	r       Result

	latency, service, late, own *histogram
	first, latest               moment // of answers, while there was load

	failed failures
	inTime int64 // good answers while there was load

	open   int
	waits  time.Time // since then at least one request is open
	heard  time.Time // the last answer
	stalls []Stall   // candidates

	row  *histogram
	at   int // the row that it is of
	rows []Second
}

// moment is how long the Client had had nothing to do by then.
type moment struct {
	at   time.Time
	idle time.Duration
}

func newSource(o Options) *source {
	s := &source{o: o, latency: newHistogram(digits), service: newHistogram(digits), row: newHistogram(rowDigits), failed: failures{}, rows: []Second{}}
	s.r = Result{Loop: "closed", Concurrency: o.Concurrency, Statuses: map[int]int64{}}
	if a := o.Arrivals; a != nil {
		s.pacer, s.late, s.own = a.pacer(), newHistogram(digits), newHistogram(digits)
		s.r.Loop, s.r.Arrivals, s.r.Rate, s.r.Seed = "open", a.Name, a.Rate, a.Seed
	}
	return s
}

func (s *source) begin(now time.Time) {
	s.start = now
	s.from = now.Add(s.o.WarmUp)
	s.until = s.from.Add(s.o.Duration)
	s.pace()
}

// pace finds when the next request is due.
func (s *source) pace() {
	if s.pacer != nil {
		wait, _ := s.pacer.Pace(s.next, s.paced)
		s.paced++
		s.next += max(0, wait)
	}
}

// Next is transform.Source's.
func (s *source) Next(now time.Time) (transform.Request, time.Duration, bool) {
	if s.start.IsZero() {
		s.begin(now)
	}
	due := now
	if s.pacer != nil {
		due = s.start.Add(s.next)
	}
	switch {
	case s.over:
		return transform.Request{}, -1, false
	case s.o.Requests > 0 && s.r.Sent >= s.o.Requests, !due.Before(s.until), !now.Before(s.until):
		s.end(now)
		return transform.Request{}, -1, false
	case due.After(now):
		return transform.Request{}, due.Sub(now), false
	}
	if s.open++; s.open == 1 {
		s.waits = now
	}
	body := s.o.Payloads[s.payload]
	if s.payload++; s.payload == len(s.o.Payloads) {
		s.payload = 0
	}
	s.pace()
	if !due.Before(s.from) {
		s.r.Due++
		s.r.Sent++
		s.r.BytesOut += int64(len(body))
		s.second(due).Due++
		s.lastDue = due
	}
	if !now.Before(s.from) {
		s.second(now).Sent++
	}
	return transform.Request{Body: body, Due: due}, 0, true
}

// countMissed is how many requests are counted one by one that were due and not sent; more are reckoned.
const countMissed = 100_000

// end says that nothing more is sent.
func (s *source) end(now time.Time) {
	s.over = true
	if s.o.Requests > 0 && s.r.Sent >= s.o.Requests {
		s.all = true
	} else if !now.Before(s.until) {
		s.miss()
	}
}

// miss counts what was due and not sent.
func (s *source) miss() {
	for n := 0; s.pacer != nil; n++ {
		due := s.start.Add(s.next)
		if !due.Before(s.until) {
			return
		}
		if n == countMissed && !due.Before(s.from) {
			s.reckon(due)
			return
		}
		if !due.Before(s.from) {
			s.r.Due++
			s.r.Missed++
			s.second(due).Due++
		}
		s.pace()
	}
}

// reckon counts what is due from a moment on by the rate.
func (s *source) reckon(from time.Time) {
	part := 0.0
	for at := from; at.Before(s.until); {
		row := s.second(at)
		end := s.from.Add(time.Duration(row.At+1) * time.Second)
		if end.After(s.until) {
			end = s.until
		}
		whole, rest := math.Modf(part + s.pacer.Rate(at.Sub(s.start)+end.Sub(at)/2)*end.Sub(at).Seconds())
		part = rest
		row.Due += int64(whole)
		s.r.Due += int64(whole)
		s.r.Missed += int64(whole)
		at = end
	}
}

// leastBusy is a time from which on it means something how busy the generator was in it.
const leastBusy = 10 * time.Millisecond

// second is the row of a moment, which is not before from.
func (s *source) second(t time.Time) *Second {
	i := max(0, int(t.Sub(s.from)/time.Second))
	for len(s.rows) <= i {
		s.rows = append(s.rows, Second{At: len(s.rows)})
	}
	return &s.rows[i]
}

// Done is transform.Source's.
func (s *source) Done(c *transform.Call) {
	s.open--
	counts := !c.Due.Before(s.from)
	if errors.Is(c.Err, transform.ErrAborted) {
		if counts {
			s.r.Unfinished++
		}
		return
	}
	if counts && c.Ended.Before(s.until) {
		if s.latest = (moment{c.Ended, c.Idle}); s.first.at.IsZero() {
			s.first = s.latest
		}
	}
	latency := c.Ended.Sub(c.Due)
	good := c.Err == nil
	told := good || errors.Is(c.Err, transform.ErrTimeout)
	if !c.Ended.Before(s.from) {
		row := s.turn(c.Ended)
		if good {
			row.Good++
			if c.Ended.Before(s.until) {
				s.inTime++
			}
		} else {
			row.Failed++
		}
		if told {
			s.row.record(latency)
		}
	}
	if c.Status > 0 {
		s.hear(c)
	}
	if !counts {
		return
	}
	if c.Ended.After(s.last) {
		s.last = c.Ended
	}
	s.r.BytesIn += c.Received
	if c.Repeated {
		s.r.Repeated++
	}
	if c.Status > 0 {
		s.r.Statuses[c.Status]++
	}
	if good {
		s.r.Good++
	} else {
		s.r.Failed++
		s.failed.add(c.Err)
	}
	if told {
		s.latency.record(latency)
		s.service.record(c.Ended.Sub(c.Sent))
	}
	if s.late != nil {
		could := c.Due
		if c.Free.After(could) {
			could = c.Free
		}
		s.late.record(c.Sent.Sub(c.Due))
		s.own.record(c.Sent.Sub(could))
	}
}

// hear notes how long no answer had come while one was awaited, if that is among the longest times.
func (s *source) hear(c *transform.Call) {
	since := s.heard
	if s.waits.After(since) {
		since = s.waits
	}
	if c.Ended.After(s.heard) {
		s.heard = c.Ended
	}
	quiet := c.Ended.Sub(since)
	if quiet < leastStall || since.Before(s.from) {
		return
	}
	i, _ := slices.BinarySearchFunc(s.stalls, quiet.Seconds(), func(a Stall, q float64) int { return cmp.Compare(q, a.Seconds) })
	if i < maxStalls {
		s.stalls = slices.Insert(s.stalls, i, Stall{since.Sub(s.from).Seconds(), quiet.Seconds()})
		s.stalls = s.stalls[:min(len(s.stalls), maxStalls)]
	}
}

// turn is the row of an end. Ends come in order but for little: one that is late is of the row that is being filled.
func (s *source) turn(t time.Time) *Second {
	i := max(s.at, int(t.Sub(s.from)/time.Second))
	row := s.second(s.from.Add(time.Duration(i) * time.Second))
	if i > s.at {
		s.settle()
		s.at = i
	}
	return row
}

// settle reads what the row's histogram has, and empties it.
func (s *source) settle() {
	if s.row.TotalCount() == 0 {
		return
	}
	row := &s.rows[s.at]
	row.P50, row.P99, row.Max = s.row.at(50).Seconds(), s.row.at(99).Seconds(), s.row.most.Seconds()
	s.row.reset()
}

func (s *source) result(now time.Time, err error) *Result {
	r := &s.r
	if s.start.IsZero() { // nothing was asked for
		s.begin(now)
	}
	end := s.until
	if err != nil {
		r.Cut = err.Error()
		if !s.over && now.Before(end) {
			end, s.until = now, now
			s.miss()
		}
	}
	load := end.Sub(s.from) // while there was some
	if s.all {
		end, load = s.last, s.lastDue.Sub(s.from)
		s.inTime = r.Good
	}
	s.settle()
	r.Began = s.from
	if r.Seconds = end.Sub(s.from).Seconds(); r.Seconds > 0 {
		r.Throughput = float64(s.inTime) / r.Seconds
	} else {
		r.Seconds = 0
	}
	if load > 0 {
		r.dueRate = float64(r.Due) / load.Seconds()
		// Without a warm-up the first answers are not there at once; of a number of requests the last ones come behind.
		wait := s.service.least
		if !s.all {
			wait -= s.o.WarmUp
		}
		r.awaited = r.dueRate * (1 - max(0, wait.Seconds())/end.Sub(s.from).Seconds())
	}
	if took := s.latest.at.Sub(s.first.at); took >= leastBusy {
		r.Busy = max(0, 1-(s.latest.idle-s.first.idle).Seconds()/took.Seconds())
	}
	r.Latency, r.Service = s.latency.distribution(), s.service.distribution()
	for _, stall := range s.stalls {
		if stall.Seconds > stallTimes*max(r.Service.Median(), 1/r.Throughput) {
			r.Stalls = append(r.Stalls, stall)
		}
	}
	slices.SortFunc(r.Stalls, func(a, b Stall) int { return cmp.Compare(a.At, b.At) })
	r.Errors, r.Timeline = s.failed.list(), s.rows
	if s.late != nil {
		d, own := s.late.distribution(), s.own.distribution()
		r.Late, r.OwnLate = &d, &own
	} else {
		r.Notes = append(r.Notes, "a closed loop sends nothing while it waits for an answer: who would have come meanwhile is not in its percentiles (coordinated omission)")
	}
	if s.o.Interval > 0 {
		d := s.latency.corrected(s.o.Interval).distribution()
		r.Corrected = &d
	}
	return r
}
