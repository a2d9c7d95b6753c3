package transform_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/optml/optml/transform"
	tt "github.com/optml/optml/transform/transformtest"
)

// recorder answers every request on a connection and keeps the bytes as they came.
type recorder struct {
	mu  sync.Mutex
	got []string
}

func (r *recorder) serve(c net.Conn) {
	raw := new(bytes.Buffer)
	in := bufio.NewReader(io.TeeReader(c, raw))
	for {
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return
		}
		n := raw.Len() - in.Buffered()
		r.mu.Lock()
		r.got = append(r.got, string(raw.Next(n)))
		r.mu.Unlock()
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
}

func (r *recorder) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.got
}

func TestWire(t *testing.T) { // BT-21, BT-97 to BT-100, ruling 22: what goes over the wire, to the byte
	const host = "Host: ADDR\r\nUser-Agent: Go-http-client/1.1\r\n"
	handshake := []string{"GET /ping HTTP/1.1\r\n" + host + "\r\n", "GET /execution-parameters HTTP/1.1\r\n" + host + "\r\n"}
	const both = "Accept: application/json\r\nContent-Type: text/csv\r\n\r\n"
	for _, c := range []struct {
		name            string
		content, accept string
		payload         int
		strategy        string
		want            []string
	}{
		{"with a length", "text/csv", "application/json", 6, "SingleRecord", []string{
			"POST /invocations HTTP/1.1\r\n" + host + "Content-Length: 4\r\n" + both + "1,2\n",
			"POST /invocations HTTP/1.1\r\n" + host + "Content-Length: 1\r\n" + both + "3",
		}},
		{"no fields", "", "", 6, "MultiRecord", []string{"POST /invocations HTTP/1.1\r\n" + host + "Content-Length: 5\r\n\r\n1,2\n3"}},
		{"in chunks", "text/csv", "application/json", 0, "SingleRecord", []string{
			"POST /invocations HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n" + both + "4\r\n1,2\n\r\n0\r\n\r\n",
			"POST /invocations HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n" + both + "1\r\n3\r\n0\r\n\r\n",
		}},
		{"streamed", "text/csv", "", 0, "MultiRecord", []string{
			"POST /invocations HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\nContent-Type: text/csv\r\n\r\n5\r\n1,2\n3\r\n0\r\n\r\n",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &recorder{}
			in := tt.Raw(t, r.serve)
			b := setup(in, tt.Object("in/x", "1,2\n3")).line(c.strategy)
			b.Job.Input.ContentType, b.Job.Output.Accept, b.Job.MaxPayloadMB = c.content, c.accept, &c.payload
			b.must(t)
			var want []string
			for _, w := range append(append([]string{}, handshake...), c.want...) {
				want = append(want, strings.ReplaceAll(w, "ADDR", in.Addr))
			}
			same(t, "on the wire", r.all(), want)
			outputs(t, b, map[string]string{"x.out": "1,2\n3"})
		})
	}
}

func TestWireIsWhatGoSends(t *testing.T) { // BT-21: the service's agent is a Go client
	r := &recorder{}
	in := tt.Raw(t, r.serve)
	b := setup(in, tt.Object("in/x", "1,2\n"))
	b.Job.Input.ContentType, b.Job.Output.Accept = "text/csv", "text/plain"
	b.must(t)
	req, err := http.NewRequest("POST", "http://"+in.Addr+"/invocations", strings.NewReader("1,2\n"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "text/csv")
	req.Header.Set("Accept", "text/plain")
	var want strings.Builder
	if err := req.Write(&want); err != nil {
		t.Fatal(err)
	}
	if got := r.all()[2]; got != want.String() {
		t.Errorf("sent\n%q\nGo's client sends\n%q", got, want.String())
	}
}

func TestOneConnectionPerWorker(t *testing.T) { // a container of one thread serves one connection at a time
	var mu sync.Mutex
	conns := 0
	one := make(chan struct{}, 1)
	r := &recorder{}
	in := tt.Raw(t, func(c net.Conn) {
		mu.Lock()
		conns++
		mu.Unlock()
		one <- struct{}{} // the next connection waits for this one's end
		r.serve(c)
		<-one
	})
	b := setup(in, tt.Object("in/x", strings.Repeat("1\n", 500))).line("SingleRecord")
	b.must(t)
	mu.Lock()
	if conns != 1 || len(r.all()) != 502 {
		t.Errorf("%d connections, %d requests", conns, len(r.all()))
	}
	mu.Unlock()
	// With two workers the second one starves until the first is idle, but the job ends.
	b = setup(in, tt.Object("in/x", strings.Repeat("1\n", 50))).line("SingleRecord")
	b.Job.MaxConcurrent = new(2)
	b.must(t)
	outputs(t, b, map[string]string{"x.out": strings.Repeat("1\n", 50)})
}

func TestKeepAlive(t *testing.T) {
	for _, c := range []struct {
		name, response string
		reuse          bool
	}{
		{"1.1", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", true},
		{"LF only", "HTTP/1.1 200 OK\nContent-Length: 1\n\nx", true},
		{"chunks", "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n1;ext=1\r\nx\r\n0\r\nTrailer: y\r\n\r\n", true},
		{"interim response", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", true},
		{"folded header", "HTTP/1.1 200 OK\r\nX-Long: a\r\n  b\r\nContent-Length: 1\r\n\r\nx", true},
		{"1.0 keep-alive", "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 1\r\n\r\nx", true},
		{"same length twice", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", true},
		{"close", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx", false},
		{"1.0", "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", false},
		{"no length", "HTTP/1.1 200 OK\r\n\r\nx", false},
		{"rubbish behind", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxyz", false},
		{"chunks and a length", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var mu sync.Mutex
			conns, requests := 0, 0
			in := answerRaw(t, func(n int, conn net.Conn) bool {
				mu.Lock()
				defer mu.Unlock()
				requests++
				if n == 0 {
					conns++
				}
				io.WriteString(conn, c.response)
				return c.reuse
			})
			b := setup(in, tt.Object("in/x", "1\n2\n3\n")).line("SingleRecord")
			res := b.must(t)
			outputs(t, b, map[string]string{"x.out": "xxx"})
			want := 1
			if !c.reuse {
				want = 3
			}
			mu.Lock()
			defer mu.Unlock()
			if conns != want || requests != 3 || res.Totals.Retries != 0 {
				t.Errorf("%d requests on %d connections, %d retries; want 3 on %d", requests, conns, res.Totals.Retries, want)
			}
		})
	}
}

// answerRaw answers the handshake, each time closing, and leaves the n-th invocation of a connection to f, which says
// whether the connection goes on.
func answerRaw(t *testing.T, f func(n int, c net.Conn) bool) transform.Instance {
	return tt.Raw(t, func(c net.Conn) {
		in := bufio.NewReader(c)
		for n := 0; ; n++ {
			req, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			if req.Method == http.MethodGet {
				status := map[string]string{"/ping": "200 OK", "/execution-parameters": "404 Not Found"}[req.URL.Path]
				io.WriteString(c, "HTTP/1.1 "+status+"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
				return
			}
			if _, err := io.Copy(io.Discard, req.Body); err != nil {
				return
			}
			if !f(n, c) {
				return
			}
		}
	})
}
