// Package transformtest has what a transform needs around it, in memory: a model container that answers as told, a
// network without sockets (so that testing/synctest's clock works), input objects and an output store that shows what was
// committed, aborted and removed.
package transformtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/optml/optml/transform"
)

// Container is a model container: a handler of /ping, /execution-parameters and /invocations. Zero fields answer 200, 404
// and the request's body.
type Container struct {
	Ping       func(n int) int // status of the n-th ping, counted from 1
	Parameters http.HandlerFunc
	Invoke     http.HandlerFunc

	mu       sync.Mutex
	requests []Request
	pings    int
	open     int
	most     int
}

// Request is what the container saw of one request.
type Request struct {
	Method, Path string
	Header       http.Header
	Body         []byte
	Chunked      bool
	Length       int64
}

func (c *Container) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.Method + " " + r.URL.Path {
	case "GET /ping":
		c.mu.Lock()
		c.pings++
		n := c.pings
		c.requests = append(c.requests, Request{Method: r.Method, Path: r.URL.Path, Header: r.Header})
		c.mu.Unlock()
		status := 200
		if c.Ping != nil {
			status = c.Ping(n)
		}
		w.WriteHeader(status)
	case "GET /execution-parameters":
		c.mu.Lock()
		c.requests = append(c.requests, Request{Method: r.Method, Path: r.URL.Path, Header: r.Header})
		c.mu.Unlock()
		if c.Parameters == nil {
			http.NotFound(w, r)
			return
		}
		c.Parameters(w, r)
	case "POST /invocations":
		c.mu.Lock()
		c.open++
		c.most = max(c.most, c.open)
		c.mu.Unlock()
		defer func() {
			c.mu.Lock()
			c.open--
			c.mu.Unlock()
		}()
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		c.mu.Lock()
		c.requests = append(c.requests, Request{Method: r.Method, Path: r.URL.Path, Header: r.Header, Body: body, Chunked: len(r.TransferEncoding) > 0, Length: r.ContentLength})
		c.mu.Unlock()
		if c.Invoke == nil {
			w.Write(body)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		c.Invoke(w, r)
	default:
		http.NotFound(w, r)
	}
}

// Requests are those seen so far, invocations with their bodies.
func (c *Container) Requests() []Request {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Request(nil), c.requests...)
}

// Invocations are the bodies posted so far, in the order of their arrival.
func (c *Container) Invocations() []string {
	var out []string
	for _, r := range c.Requests() {
		if r.Method == http.MethodPost {
			out = append(out, string(r.Body))
		}
	}
	return out
}

// MostOpen is the largest number of invocations that were open at once.
func (c *Container) MostOpen() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.most
}

// Serve runs a handler on a TCP port of this machine until the test ends.
func Serve(t testing.TB, h http.Handler) transform.Instance {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return At(s.Listener.Addr().String())
}

// Raw runs f on each connection to a TCP port of this machine: for what no HTTP server does.
func Raw(t testing.TB, f func(net.Conn)) transform.Instance {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[c] = true
			mu.Unlock()
			wg.Go(func() {
				defer c.Close()
				f(c)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for c := range open {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return At(l.Addr().String())
}

// At is an instance at an address of this machine.
func At(addr string) transform.Instance {
	return transform.Instance{Host: "algo-1", Container: transform.Container{Addr: addr, Dial: new(net.Dialer).DialContext}}
}

// Pipe runs a handler on a network of pipes until stop is called. Inside a synctest bubble call stop before it ends.
func Pipe(h http.Handler) (in transform.Instance, stop func()) {
	l := &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
	s := &http.Server{Handler: h}
	served := make(chan struct{})
	go func() {
		defer close(served)
		s.Serve(l)
	}()
	return transform.Instance{Host: "algo-1", Container: transform.Container{Addr: "container:8080", Dial: l.dial}}, func() {
		s.Close()
		<-served
	}
}

type pipeListener struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func (l *pipeListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case l.conns <- far:
		return near, nil
	case <-l.done:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "container:8080" }

// Late waits d before it answers with h.
func Late(d time.Duration, h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(d)
		h(w, r)
	}
}

// Status answers with a status and a text.
func Status(code int, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		fmt.Fprint(w, text)
	}
}
