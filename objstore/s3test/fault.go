package s3test

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"time"
)

// Fault is what goes wrong with some of the requests. The first fault that a request matches is the one it gets.
type Fault struct {
	// Which requests: all fields that are set must match.
	Method string
	Key    string                   // the key starts with it
	Match  func(*http.Request) bool // nil: any
	Every  int                      // each n-th of those that match; 0 and 1: all
	Skip   int                      // not the first of them
	Times  int                      // at most so often; 0: always

	// What happens; what is not set does not.
	Latency time.Duration // waits before anything else
	Hang    bool          // sends nothing until the client goes away
	Reset   bool          // breaks the connection before an answer
	Status  int           // answers so, with Code
	Code    string        // "SlowDown", …
	Answer  http.HandlerFunc
	Header  http.Header // beside, e.g. a wrong ETag, Retry-After
	Cut     int64       // breaks the connection after so many bytes of the body; -1: after its header
	HangAt  int64       // stops sending after so many bytes of the body, until the client goes away; -1: at once
	Rate    int64       // bytes a second
	Flip    int64       // changes the byte with this number, from 1, of the body: the length stays right
	Before  func()      // runs first
	Lose    bool        // carries the request out, but breaks the connection instead of answering

	seen, hit int
}

// Fault adds a fault.
func (s *Server) Fault(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &f)
}

// ClearFaults makes the server behave.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// fault counts the request and finds what is to go wrong with it.
func (s *Server) fault(r *http.Request, bucket, key string) *Fault {
	s.mu.RLock()
	idle := len(s.faults) == 0 && !s.keepLog
	s.mu.RUnlock()
	if idle {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var hit *Fault
	for _, f := range s.faults {
		if f.takes(r, key) {
			hit = f
			break
		}
	}
	if s.keepLog {
		s.requests = append(s.requests, Request{r.Method, bucket, key, r.URL.RawQuery, r.Header.Clone(), hit != nil})
	}
	return hit
}

func (f *Fault) takes(r *http.Request, key string) bool {
	if f.Method != "" && f.Method != r.Method || !strings.HasPrefix(key, f.Key) || f.Match != nil && !f.Match(r) {
		return false
	}
	f.seen++
	if n := f.seen - f.Skip; n <= 0 || f.Every > 1 && (n-1)%f.Every != 0 || f.Times > 0 && f.hit >= f.Times {
		return false
	}
	f.hit++
	return true
}

// spoil does what comes before the answer, and returns the writer that spoils the answer; nil if there is to be none.
func (f *Fault) spoil(s *Server, w http.ResponseWriter, r *http.Request) http.ResponseWriter {
	if f.Before != nil {
		f.Before()
	}
	if f.Latency > 0 && !s.pause(r, f.Latency) {
		return nil
	}
	if f.Hang {
		s.hang(r)
		return nil
	}
	maps.Copy(w.Header(), f.Header)
	if f.Answer != nil {
		f.Answer(w, r)
		return nil
	}
	if f.Status != 0 {
		fail(w, r, f.Status, f.Code, fmt.Sprintf("injected %d", f.Status))
		return nil
	}
	if f.Reset {
		panic(http.ErrAbortHandler)
	}
	if f.Lose {
		return lost{w}
	}
	if f.Cut != 0 || f.HangAt != 0 || f.Rate != 0 || f.Flip != 0 {
		return &spoiled{ResponseWriter: w, s: s, r: r, f: f}
	}
	return w
}

func (s *Server) hang(r *http.Request) {
	select {
	case <-r.Context().Done():
	case <-s.closed:
	}
}

// lost is an answer that nobody gets.
type lost struct{ http.ResponseWriter }

func (lost) Write(p []byte) (int, error) { return len(p), nil }
func (lost) WriteHeader(int)             {}

// spoiled is an answer whose body goes wrong.
type spoiled struct {
	http.ResponseWriter
	s    *Server
	r    *http.Request
	f    *Fault
	sent int64
}

func (w *spoiled) Write(p []byte) (int, error) {
	total := 0
	for len(p) > 0 {
		n := int64(len(p))
		if w.f.Rate > 0 {
			n = min(n, max(w.f.Rate/100, 1))
		}
		for _, at := range []int64{w.f.Cut, w.f.HangAt} {
			if at != 0 {
				n = min(n, max(at-w.sent, 0))
			}
		}
		if n == 0 {
			w.Flush()
			if w.f.HangAt != 0 {
				w.s.hang(w.r)
			}
			panic(http.ErrAbortHandler)
		}
		piece := p[:n]
		if at := w.f.Flip - 1 - w.sent; w.f.Flip > 0 && at >= 0 && at < n {
			piece = bytes.Clone(piece)
			piece[at] ^= 1
		}
		m, err := w.ResponseWriter.Write(piece)
		total += m
		w.sent += int64(m)
		if err != nil {
			return total, err
		}
		p = p[n:]
		if w.f.Rate > 0 {
			w.Flush()
			if !w.s.pause(w.r, time.Duration(n)*time.Second/time.Duration(w.f.Rate)) {
				return total, w.r.Context().Err()
			}
		}
	}
	return total, nil
}

func (w *spoiled) Flush() {
	if f, ok := w.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}
