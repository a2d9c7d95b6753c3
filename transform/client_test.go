package transform_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/optml/optml/transform"
	tt "github.com/optml/optml/transform/transformtest"
)

// bodies is a Source that sends some bodies, at once or one each gap, and keeps what became of them.
type bodies struct {
	next  func(i int) string
	n     int
	gap   time.Duration
	start time.Time
	sent  int
	calls []transform.Call
	did   func()
}

func (b *bodies) Next(now time.Time) (transform.Request, time.Duration, bool) {
	if b.start.IsZero() {
		b.start = now
	}
	if b.sent == b.n {
		return transform.Request{}, -1, false
	}
	due := b.start.Add(time.Duration(b.sent) * b.gap)
	if wait := due.Sub(now); wait > 0 {
		return transform.Request{}, wait, false
	}
	b.sent++
	return transform.Request{Body: []byte(b.next(b.sent - 1)), Due: due}, 0, true
}

func (b *bodies) Done(c *transform.Call) {
	b.calls = append(b.calls, *c)
	if b.did != nil {
		b.did()
	}
}

func TestClientTakesWhateverAnswersLookLike(t *testing.T) {
	for _, concurrent := range []int{1, 7} {
		moods := []string{"plain", "parts", "chunks", "late-chunks", "trailers", "interim", "close", "end", "more", "drops", "fails"}
		in := tt.Raw(t, new(moody).serve)
		src := &bodies{n: 330, next: func(i int) string {
			if i%50 == 7 {
				return fmt.Sprintf("plain %d %s", i, strings.Repeat("x", 40<<10))
			}
			return fmt.Sprintf("%s %d", moods[i%len(moods)], i)
		}}
		cl := transform.Client{Container: in.Container, Connections: concurrent}
		if err := cl.Run(t.Context(), src); err != nil {
			t.Fatal(err)
		}
		if len(src.calls) != src.n {
			t.Fatalf("%d calls of %d", len(src.calls), src.n)
		}
		for _, c := range src.calls {
			body := string(c.Body)
			mood, _, _ := strings.Cut(body, " ")
			status, _ := errors.AsType[*transform.StatusError](c.Err)
			switch {
			case c.Ended.Before(c.Sent):
				t.Errorf("%.40s ended %v before it was sent", body, c.Sent.Sub(c.Ended))
			case mood == "fails":
				if c.Status != 500 || c.Received != 2 || status == nil || string(status.Body) != "no" {
					t.Errorf("%s: %d, %d bytes, %v", body, c.Status, c.Received, c.Err)
				}
			case mood == "drops" && c.Err != nil: // on a connection of its own: the server does answer nothing
				if c.Repeated || c.Status != 0 {
					t.Errorf("%s: %+v", body, c)
				}
			case c.Err != nil || c.Status != 200 || c.Received != int64(len(body)):
				t.Errorf("%.40s: %d, %d bytes, %v", body, c.Status, c.Received, c.Err)
			}
		}
	}
}

func TestClientRepeatsWhatAClosedConnectionLost(t *testing.T) {
	in := tt.Raw(t, new(moody).serve)
	src := &bodies{n: 4, next: func(i int) string { return []string{"plain 0", "drops 1", "drops 2", "plain 3"}[i] }}
	if err := (&transform.Client{Container: in.Container, Connections: 1}).Run(t.Context(), src); err != nil {
		t.Fatal(err)
	}
	for i, c := range src.calls {
		if want := i == 1 || i == 2; c.Err != nil || c.Repeated != want {
			t.Errorf("%d: repeated %v, %v", i, c.Repeated, c.Err)
		}
	}
}

func TestClientSendsOnTime(t *testing.T) { // over sockets: within what any machine can do
	in := tt.Serve(t, &tt.Container{})
	src := &bodies{n: 300, gap: time.Millisecond, next: func(i int) string { return "x" }}
	if err := (&transform.Client{Container: in.Container, Connections: 8}).Run(t.Context(), src); err != nil {
		t.Fatal(err)
	}
	for i, c := range src.calls {
		if c.Sent.Before(c.Due) || c.Err != nil {
			t.Errorf("%d: sent %v before it was due, %v", i, c.Due.Sub(c.Sent), c.Err)
		}
	}
}

// With one connection and answers that take 100 ms, a request that is due each 10 ms has had a connection since the answer
// before, and the client has nothing to do but wait.
func TestClientTellsWhatKeptIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, stop := tt.Pipe(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { time.Sleep(100 * time.Millisecond) }))
		defer stop()
		src := &bodies{n: 5, gap: 10 * time.Millisecond, next: func(int) string { return "" }}
		if err := (&transform.Client{Container: in.Container, Connections: 1}).Run(t.Context(), src); err != nil {
			t.Fatal(err)
		}
		for i, c := range src.calls {
			if i > 0 && (!c.Free.Equal(src.calls[i-1].Ended) || !c.Sent.Equal(c.Free)) || i == 0 && !c.Free.IsZero() {
				t.Errorf("%d: free at %v, sent at %v", i, c.Free, c.Sent)
			}
			if want := c.Ended.Sub(src.start); c.Idle != want {
				t.Errorf("%d: idle for %v of %v", i, c.Idle, want)
			}
		}
	})
}

func TestClientTimesOut(t *testing.T) {
	for _, over := range []string{"pipes", "sockets"} {
		t.Run(over, func(t *testing.T) {
			h := &tt.Container{Invoke: func(w http.ResponseWriter, r *http.Request) {
				if b := make([]byte, 1); r.ContentLength == 1 {
					r.Body.Read(b)
					<-r.Context().Done()
				}
				w.Write([]byte("ok"))
			}}
			run := func(t *testing.T, in transform.Instance) {
				src := &bodies{n: 3, next: func(i int) string { return []string{"long", "s", "long"}[i] }}
				cl := transform.Client{Container: in.Container, Connections: 1, Timeout: 500 * time.Millisecond}
				if over == "pipes" {
					cl.Timeout = time.Minute
				}
				if err := cl.Run(t.Context(), src); err != nil {
					t.Fatal(err)
				}
				c := src.calls[1]
				if !errors.Is(c.Err, transform.ErrTimeout) || c.Status != 0 || c.Ended.Sub(c.Sent) < cl.Timeout {
					t.Errorf("%+v", c)
				}
				if over == "pipes" && c.Ended.Sub(c.Sent) != cl.Timeout {
					t.Errorf("given up after %v", c.Ended.Sub(c.Sent))
				}
				if err := errors.Join(src.calls[0].Err, src.calls[2].Err); err != nil {
					t.Error(err)
				}
			}
			if over == "pipes" {
				bubble(t, h, run)
			} else {
				run(t, tt.Serve(t, h))
			}
		})
	}
}

func TestClientEndsWhenTold(t *testing.T) {
	why := errors.New("told")
	for name, c := range map[string]struct {
		end  func(cancel context.CancelCauseFunc, exited chan struct{})
		want error
	}{
		"context": {func(cancel context.CancelCauseFunc, _ chan struct{}) { cancel(why) }, why},
		"exit":    {func(_ context.CancelCauseFunc, exited chan struct{}) { close(exited) }, transform.ErrExited},
	} {
		for _, over := range []string{"pipes", "sockets"} {
			t.Run(name+" "+over, func(t *testing.T) {
				var n atomic.Int64
				hung := make(chan struct{})
				h := &tt.Container{Invoke: func(w http.ResponseWriter, r *http.Request) {
					if n.Add(1) > 20 {
						if n.Load() == 24 {
							close(hung)
						}
						<-r.Context().Done()
					}
				}}
				run := func(t *testing.T, in transform.Instance) {
					exited := make(chan struct{})
					in.Exited = exited
					ctx, cancel := context.WithCancelCause(t.Context())
					defer cancel(nil)
					go func() {
						<-hung
						c.end(cancel, exited)
					}()
					src := &bodies{n: 1 << 30, next: func(int) string { return "x" }}
					err := (&transform.Client{Container: in.Container, Connections: 4}).Run(ctx, src)
					if !errors.Is(err, c.want) {
						t.Errorf("%v, want %v", err, c.want)
					}
					aborted := 0
					for _, c := range src.calls {
						if errors.Is(c.Err, transform.ErrAborted) {
							aborted++
						} else if c.Err != nil {
							t.Error(c.Err)
						}
					}
					if len(src.calls) != 24 || aborted != 4 {
						t.Errorf("%d calls, %d of them aborted", len(src.calls), aborted)
					}
				}
				if over == "sockets" {
					run(t, tt.Serve(t, h))
					return
				}
				synctest.Test(t, func(t *testing.T) {
					hung = make(chan struct{})
					in, stop := tt.Pipe(h)
					defer stop()
					run(t, in)
				})
			})
		}
	}
}

func TestClientRestsWhereNobodyListens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := tt.At("container:8080")
		in.Dial = func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("connection refused") }
		src := &bodies{n: 100, next: func(int) string { return "x" }}
		start := time.Now()
		if err := (&transform.Client{Container: in.Container, Connections: 2, Pause: time.Second}).Run(t.Context(), src); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took != 50*time.Second {
			t.Errorf("%v", took)
		}
		for _, c := range src.calls {
			if !errors.Is(c.Err, transform.ErrConnect) || c.Ended != c.Sent {
				t.Errorf("%+v", c)
			}
		}
	})
}

func TestClientRefuses(t *testing.T) {
	for want, c := range map[string]transform.Client{
		"0 connections":    {},
		"5000 connections": {Connections: 5000},
		"content type":     {Connections: 1, ContentType: "a\r\nb"},
		"accept":           {Connections: 1, Accept: "a\nb"},
		"path":             {Connections: 1, Path: "/a b"},
	} {
		if err := c.Run(t.Context(), &bodies{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
