package transform_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/optml/optml/job"
	"github.com/optml/optml/transform"
	tt "github.com/optml/optml/transform/transformtest"
)

// moody answers as the word at the start of each record says; the word's number makes records differ.
type moody struct {
	mu   sync.Mutex
	seen map[string]int
}

func (m *moody) first(body string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.seen == nil {
		m.seen = map[string]int{}
	}
	m.seen[body]++
	return m.seen[body] == 1
}

func (m *moody) serve(c net.Conn) {
	in := bufio.NewReader(c)
	for {
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		b, err := io.ReadAll(req.Body)
		if err != nil {
			return
		}
		body, status := string(b), "200 OK"
		say := func(parts ...string) {
			for i, p := range parts {
				if i > 0 {
					time.Sleep(time.Millisecond)
				}
				io.WriteString(c, p)
			}
		}
		head := fmt.Sprintf("HTTP/1.1 %s\r\nContent-Length: %d\r\n", status, len(body))
		mood, _, _ := strings.Cut(body, " ")
		switch mood {
		case "parts":
			say(head[:7], head[7:], "\r", "\n"+body[:1], body[1:])
		case "chunks":
			say(fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(body), body))
		case "late-chunks":
			say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", fmt.Sprintf("1\r\n%s\r\n", body[:1]), fmt.Sprintf("%x;x=y\r\n%s\r", len(body)-1, body[1:]), "\n0\r\n", "\r\n")
		case "trailers":
			say(fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\nA: b\r\n\r\n", len(body), body))
		case "interim":
			say("HTTP/1.1 100 Continue\r\n\r\n", head+"\r\n"+body)
		case "close":
			say(head + "Connection: close\r\n\r\n" + body)
			return
		case "end":
			say("HTTP/1.0 200 OK\r\n\r\n", body)
			return
		case "fails": // once
			if m.first(body) {
				say("HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno")
			} else {
				say(head + "\r\n" + body)
			}
		case "hangs": // once
			if m.first(body) {
				time.Sleep(1200 * time.Millisecond)
				return
			}
			say(head + "\r\n" + body)
		case "drops": // once: before it answers, as a server that closes what was idle
			if m.first(body) {
				return
			}
			say(head + "\r\n" + body)
		case "more": // than was asked for
			say(head + "\r\n" + body + "HTTP/1.1 200 OK\r\n\r\n")
		default:
			say(head + "\r\n" + body)
		}
	}
}

func TestSmallRequestsOneByOne(t *testing.T) { // BT-101, BT-103 to BT-105: whatever the answers look like
	moods := []string{"plain", "parts", "chunks", "late-chunks", "trailers", "interim", "close", "end", "drops", "more"}
	run := func(t *testing.T, concurrent int, moods ...string) {
		var in strings.Builder
		for i := range 120 {
			fmt.Fprintf(&in, "%s %d\n", moods[i%len(moods)], i)
			if i%50 == 7 {
				fmt.Fprintf(&in, "plain %s\n", strings.Repeat("x", 40<<10)) // a body and an answer too large for one look
			}
		}
		b := setup(tt.Raw(t, new(moody).serve), tt.Object("in/x", in.String())).line("SingleRecord")
		b.Job.MaxConcurrent = &concurrent
		b.must(t)
		outputs(t, b, map[string]string{"x.out": in.String()})
	}
	for _, m := range moods {
		t.Run(m, func(t *testing.T) { t.Parallel(); run(t, 2, m) })
	}
	t.Run("all", func(t *testing.T) { t.Parallel(); run(t, 7, moods...) })
}

func TestSmallRequestsFail(t *testing.T) { // BT-104, BT-105
	t.Parallel() // it waits
	in := "plain 1\nfails 2\nplain 3\nhangs 4\nplain 5\n"
	b := setup(tt.Raw(t, new(moody).serve), tt.Object("in/x", in)).line("SingleRecord")
	b.Job.MaxConcurrent = new(2)
	b.Job.InvocationTimeout = job.Duration(time.Second)
	b.Job.MaxRetries = 1
	res := b.must(t)
	outputs(t, b, map[string]string{"x.out": in})
	if res.Totals.Retries != 2 || res.Totals.Requests != 7 {
		t.Errorf("%d requests, %d retries, want 7 and 2", res.Totals.Requests, res.Totals.Retries)
	}
}

// One request that gets no answer is given up in its time though others are answered all the while.
func TestSmallRequestsHangBesideOthers(t *testing.T) { // BT-104
	var mu sync.Mutex
	var hung time.Duration
	model := &tt.Container{Invoke: func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if string(body) == "hang\n" {
			start := time.Now()
			<-r.Context().Done()
			mu.Lock()
			hung = time.Since(start)
			mu.Unlock()
			return
		}
		time.Sleep(time.Millisecond)
		w.Write(body)
	}}
	in := tt.Serve(t, model)
	b := setup(in, tt.Object("in/a", "hang\n"), tt.Object("in/b", strings.Repeat("go on\n", 6000))).line("SingleRecord")
	b.Job.MaxConcurrent, b.Job.MaxRetries = new(4), 0
	b.Job.InvocationTimeout = job.Duration(time.Second)
	res, err := b.run(t)
	if err == nil || len(res.Failures) != 1 || !errors.Is(res.Failures[0].Err, transform.ErrTimeout) {
		t.Errorf("%v, failures %v", err, res.Failures)
	}
	mu.Lock()
	defer mu.Unlock()
	if whole := res.Duration; hung == 0 || hung > whole-50*time.Millisecond {
		t.Errorf("given up after %v of %v", hung, whole)
	}
}

func TestSmallRequestsAreStopped(t *testing.T) { // BT-143
	ctx, stop := context.WithCancelCause(t.Context())
	model := &tt.Container{Invoke: func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if string(body) == "100\n" {
			stop(errors.New("enough"))
			time.Sleep(100 * time.Millisecond)
		}
		w.Write(body)
	}}
	var in strings.Builder
	for i := range 10_000 {
		fmt.Fprintln(&in, i)
	}
	before := descriptors(t)
	instance := tt.Serve(t, model)
	b := setup(instance, tt.Object("in/x", in.String())).line("SingleRecord")
	b.Job.MaxConcurrent = new(3)
	start := time.Now()
	_, err := transform.Run(ctx, b.Config)
	if err == nil || err.Error() != "enough" || time.Since(start) > 30*time.Second {
		t.Errorf("%v after %v", err, time.Since(start))
	}
	outputs(t, b, map[string]string{})
	if n := model.MostOpen(); n > 3 {
		t.Errorf("%d requests open at once", n)
	}
	http.DefaultClient.CloseIdleConnections()
	for range 200 { // the server's ends go when it sees that ours are gone
		if descriptors(t) <= before+3 { // its listener, and what the runtime opens once
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d descriptors, %d before", descriptors(t), before)
}

func descriptors(t *testing.T) int {
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	return len(list)
}

// A connection that a container serves alone is not kept from it while nothing is to be sent.
func TestIdleConnectionIsClosed(t *testing.T) {
	gone := make(chan bool, 8)
	var once sync.Once
	release := make(chan struct{})
	raw := tt.Raw(t, func(c net.Conn) {
		new(moody).serve(c)
		once.Do(func() { close(release) })
		gone <- true
	})
	slow := transform.Object{Key: "in/x", Size: -1, Open: func(context.Context) (io.ReadCloser, error) {
		r, w := io.Pipe()
		go func() {
			io.WriteString(w, "plain 1\n")
			io.WriteString(w, strings.Repeat("plain "+strings.Repeat("x", 57)+"\n", 10<<10)) // more than one slab, so that the first is sent
			<-release
			io.WriteString(w, "plain 2\n")
			w.Close()
		}()
		return r, nil
	}}
	b := setup(raw, slow).line("SingleRecord")
	b.Job.MaxConcurrent = new(1)
	b.must(t)
	select {
	case <-gone:
	default:
		t.Error("the connection stayed")
	}
}
