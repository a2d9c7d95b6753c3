package load

import (
	"strings"
	"testing"
	"time"

	"github.com/optml/optml/transform"
)

// A rate that is not held is the server's limit or the generator's. What a Client tells of each request says which.
func TestWhoseLimit(t *testing.T) {
	const rate = 1000
	gap := time.Second / rate
	for name, c := range map[string]struct {
		each  time.Duration // between two that are sent
		free  func(due, sent time.Time) time.Time
		idle  float64 // part of the time
		limit string
		says  string
	}{
		"held": {gap, func(due, sent time.Time) time.Time { return time.Time{} }, 0.9, "", ""},
		"a generator that does nothing but send": {2 * gap, func(due, sent time.Time) time.Time { return sent }, 0.02, LimitGenerator,
			"the generator, not the server, is at its limit: it was busy for 98 % of the time and sent 500 of the 1000 requests a second"},
		"a generator that gets no processor": {2 * gap, func(due, sent time.Time) time.Time { return time.Time{} }, 0.6, LimitGenerator,
			"the generator, not the server, was late"},
		"a server that keeps all connections": {2 * gap, func(due, sent time.Time) time.Time { return sent }, 0.6, LimitServer,
			"all 256 connections waited"},
	} {
		t.Run(name, func(t *testing.T) {
			o := Options{Arrivals: Constant(rate), Duration: 4 * time.Second, Payloads: [][]byte{nil}}
			if err := o.check(); err != nil {
				t.Fatal(err)
			}
			s := newSource(o)
			start := time.Now()
			s.Next(start)
			for at := c.each; ; at += c.each {
				now := start.Add(at)
				r, _, ok := s.Next(now)
				if !ok {
					break
				}
				s.Done(&transform.Call{Request: r, Sent: now, Free: c.free(r.Due, now), Ended: now.Add(gap / 10), Status: 200,
					Idle: time.Duration(c.idle * float64(at))})
			}
			r := s.result(start.Add(o.Duration), nil)
			r.Connections = o.Connections
			r.judge()
			if r.Held != (c.limit == "") || r.Limit != c.limit || !strings.Contains(r.Why, c.says) || r.Due < 3990 {
				t.Errorf("held %v, limit %q, why %q; busy %.3f, late %+v, own %+v", r.Held, r.Limit, r.Why, r.Busy, r.Late.Mean, r.OwnLate.Mean)
			}
		})
	}
}

// A held rate's percentiles have what the generator was late in them: it is told.
func TestOwnDelayIsTold(t *testing.T) {
	o := Options{Arrivals: Constant(100), Duration: 10 * time.Second, Payloads: [][]byte{nil}}
	if err := o.check(); err != nil {
		t.Fatal(err)
	}
	for _, delay := range []time.Duration{0, 30 * time.Millisecond} {
		s := newSource(o)
		start := time.Now()
		s.Next(start)
		for i := 1; i < 1000; i++ {
			now := start.Add(time.Duration(i) * 10 * time.Millisecond)
			if i%50 < 3 { // beyond the 99th percentile
				now = now.Add(delay)
			}
			for {
				r, _, ok := s.Next(now)
				if !ok {
					break
				}
				s.Done(&transform.Call{Request: r, Sent: now, Ended: now.Add(time.Millisecond), Status: 200})
			}
		}
		r := s.result(start.Add(o.Duration), nil)
		r.judge()
		if told := strings.Contains(strings.Join(r.Notes, "\n"), "the generator, not the server, was late"); !r.Held || told != (delay > 0) {
			t.Errorf("%v: held %v %s, %q", delay, r.Held, r.Why, r.Notes)
		}
	}
}
