package transform_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/optml/optml/job"
	"github.com/optml/optml/transform"
	tt "github.com/optml/optml/transform/transformtest"
)

// pipeline is an instance of containers named one, two, three.
func pipeline(t *testing.T, models ...http.Handler) transform.Instance {
	var in transform.Instance
	for i, m := range models {
		s := tt.Serve(t, m)
		s.Name = []string{"one", "two", "three"}[i]
		if i == 0 {
			in = s
		} else {
			in.Next = append(in.Next, s.Container)
		}
	}
	return in
}

// tagged answers with its tag around the request, as a type of its own.
func tagged(tag, contentType string) *tt.Container {
	return &tt.Container{Invoke: func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if contentType == "" {
			w.Header()["Content-Type"] = nil
		} else {
			w.Header().Set("Content-Type", contentType)
		}
		fmt.Fprintf(w, "%s(%s)", tag, b)
	}}
}

// INF-51, INF-54, INF-56, INF-58: every container is pinged, the first alone is asked for its parameters; each answer is the next
// request with its content type; Accept goes to the last one.
func TestPipeline(t *testing.T) {
	for _, payload := range []int{6, 0} {
		for _, strategy := range []string{"SingleRecord", "MultiRecord"} {
			t.Run(fmt.Sprintf("%s/%d", strategy, payload), func(t *testing.T) {
				one, two, three := tagged("1", "application/json"), tagged("2", ""), tagged("3", "text/x")
				b := setup(pipeline(t, one, two, three), tt.Object("in/x", "a\nb\n"), tt.Object("in/y", "c\n")).line(strategy)
				b.Job.Input.ContentType, b.Job.Output.Accept = "text/csv", "text/plain"
				b.Job.MaxPayloadMB = &payload
				res := b.must(t)
				want := map[string]string{"x.out": "3(2(1(a\nb\n)))", "y.out": "3(2(1(c\n)))"}
				if strategy == "SingleRecord" {
					want["x.out"] = "3(2(1(a\n)))3(2(1(b\n)))"
				}
				outputs(t, b, want)
				for i, c := range []*tt.Container{one, two, three} {
					pings, parameters := 0, 0
					for _, r := range c.Requests() {
						switch {
						case r.Path == "/ping":
							pings++
						case r.Path == "/execution-parameters":
							parameters++
						default:
							accept := []string{"", "", "text/plain"}[i]
							kind := []string{"text/csv", "application/json", ""}[i]
							if r.Header.Get("Accept") != accept || r.Header.Get("Content-Type") != kind || r.Header.Get("User-Agent") != "Go-http-client/1.1" {
								t.Errorf("container %d got %v", i+1, r.Header)
							}
							if r.Chunked != (payload == 0 && i == 0) {
								t.Errorf("container %d: chunked %v", i+1, r.Chunked)
							}
						}
					}
					if pings != 1 || parameters != map[bool]int{true: 1}[i == 0] {
						t.Errorf("container %d: %d pings, asked for parameters %d times", i+1, pings, parameters)
					}
				}
				if res.Totals.Requests != int64(len(one.Invocations())) || len(three.Invocations()) != len(one.Invocations()) {
					t.Errorf("%+v", res.Totals)
				}
			})
		}
	}
}

// INF-55, ST-10: what one container may say to the next is bounded; the last one's answer is not meant.
func TestPipelineHopLimit(t *testing.T) {
	const limit = 5 << 20
	for _, c := range []struct {
		name    string
		size    int
		chunked bool
		want    string
	}{
		{"the limit", limit, false, ""},
		{"one more", limit + 1, false, "the request payload from one to two is 5242881 bytes, which has exceeded the maximum limit of 5 MB."},
		{"chunked", limit + 1, true, "the request payload from one to two is at least 5242881 bytes, which has exceeded the maximum limit of 5 MB."},
	} {
		for _, payload := range []int{6, 0} {
			t.Run(fmt.Sprintf("%s/%d", c.name, payload), func(t *testing.T) {
				one := &tt.Container{Invoke: func(w http.ResponseWriter, _ *http.Request) {
					body := bytes.Repeat([]byte("x"), c.size)
					if c.chunked {
						w.(http.Flusher).Flush()
					} else {
						w.Header().Set("Content-Length", fmt.Sprint(c.size))
					}
					_, _ = w.Write(body)
				}}
				two := &tt.Container{}
				b := setup(pipeline(t, one, two), tt.Object("in/x", "a"))
				b.Job.MaxPayloadMB = &payload
				res, err := b.run(t)
				if c.want == "" {
					if err != nil || len(b.out.All()["x.out"]) != c.size {
						t.Errorf("%v, %d bytes", err, len(b.out.All()["x.out"]))
					}
					return
				}
				if res.FailureReason != "ClientError: See job logs for more information" || !errors.Is(err, transform.ErrHop) || len(two.Invocations()) != 0 || len(one.Invocations()) != 1 {
					t.Errorf("%v; %d and %d invocations", err, len(one.Invocations()), len(two.Invocations()))
				}
				if log := strings.Join(b.logged(), "\n"); !strings.Contains(log, "Received response from one with status code 200. However, "+c.want) {
					t.Errorf("data log %s", log)
				}
			})
		}
	}
}

// BT-105 to BT-108: a failure anywhere is that of the attempt, which goes the whole way again, and the container is named.
func TestPipelineFailures(t *testing.T) {
	t.Parallel() // it waits
	t.Run("500, 500, 200", func(t *testing.T) {
		one, n := tagged("1", ""), 0
		two := &tt.Container{Invoke: func(w http.ResponseWriter, r *http.Request) {
			if n++; n < 3 {
				http.Error(w, "not yet", 500)
				return
			}
			_, _ = io.Copy(w, r.Body)
		}}
		b := setup(pipeline(t, one, two), tt.Object("in/x", "a"))
		if res := b.must(t); res.Totals.Retries != 2 || len(one.Invocations()) != 3 {
			t.Errorf("%+v, %d", res.Totals, len(one.Invocations()))
		}
		outputs(t, b, map[string]string{"x.out": "1(a)"})
	})
	for _, payload := range []int{6, 0} {
		t.Run(fmt.Sprintf("400/%d", payload), func(t *testing.T) {
			two := &tt.Container{Invoke: func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no such column", 400) }}
			three := &tt.Container{}
			b := setup(pipeline(t, tagged("1", ""), two, three), tt.Object("in/x", "a"))
			b.Job.MaxPayloadMB = &payload
			res, err := b.run(t)
			if res.FailureReason != "ClientError: See job logs for more information" || !strings.Contains(err.Error(), "x: two: the container answered 400") || len(two.Invocations()) != 1 || len(three.Invocations()) != 0 {
				t.Errorf("%v, %v", err, two.Invocations())
			}
			same(t, "data log", b.logged()[1:], []string{"bucket/in/x: ClientError: 400", "bucket/in/x: Container: two", "bucket/in/x: ", "bucket/in/x: Message:", "bucket/in/x: no such column"})
			if len(res.Failures) != 1 || res.Failures[0].Status != 400 || res.Failures[0].Body != "no such column\n" {
				t.Errorf("%+v", res.Failures)
			}
		})
	}
	t.Run("BT-104 hangs", func(t *testing.T) {
		two := &tt.Container{Invoke: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }}
		b := setup(pipeline(t, tagged("1", ""), two), tt.Object("in/x", "a"))
		b.Job.MaxRetries, b.Job.InvocationTimeout = 0, job.Duration(200*time.Millisecond)
		_, err := b.run(t)
		if !errors.Is(err, transform.ErrTimeout) || !strings.Contains(err.Error(), "two: ") {
			t.Errorf("%v", err)
		}
		same(t, "data log", b.logged()[1:], []string{"bucket/in/x: Unable to get response from algorithm", "bucket/in/x: Container: two"})
	})
	t.Run("closes its connections", func(t *testing.T) { // that is no attempt
		two := &tt.Container{Invoke: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Connection", "close")
			_, _ = io.Copy(w, r.Body)
		}}
		b := setup(pipeline(t, tagged("1", ""), two), tt.Object("in/x", "a\nb\nc\n")).line("SingleRecord")
		b.Job.MaxRetries = 0
		b.must(t)
		outputs(t, b, map[string]string{"x.out": "1(a\n)1(b\n)1(c\n)"})
	})
	t.Run("dies", func(t *testing.T) { // INF-67
		died := make(chan struct{})
		in := pipeline(t, tagged("1", ""), &tt.Container{Invoke: func(http.ResponseWriter, *http.Request) {
			close(died)
			panic(http.ErrAbortHandler)
		}})
		in.Next[0].Exited = died
		b := setup(in, tt.Object("in/x", "a"), tt.Object("in/y", "b"))
		res, err := b.run(t)
		if res.FailureReason != "AlgorithmError: See job logs for more information" || res.Totals.Failed != 2 {
			t.Errorf("%v %+v", err, res.Totals)
		}
	})
}

// ST-12, INF-65: one container that is never ready is enough, and the error names it.
func TestPipelineNeverReady(t *testing.T) {
	t.Parallel() // it waits
	one := &tt.Container{}
	two := &tt.Container{Ping: func(int) int { return 503 }}
	b := setup(pipeline(t, one, two), tt.Object("in/x", "a"))
	b.Job.PingWindow = job.Duration(300 * time.Millisecond)
	res, err := b.run(t)
	if !errors.Is(err, transform.ErrPing) || !strings.Contains(err.Error(), "two: ") || !strings.HasPrefix(res.FailureReason, "AlgorithmError: Model container failed to respond to ping.") || len(one.Invocations()) != 0 {
		t.Errorf("%v", err)
	}
	gone := make(chan struct{})
	close(gone)
	in := pipeline(t, one, two)
	in.Next[0].Exited = gone
	b = setup(in, tt.Object("in/x", "a"))
	if _, err := b.run(t); !errors.Is(err, transform.ErrExited) {
		t.Errorf("%v", err)
	}
}

// INF-56: a type that could not stand in a header is no answer to pass on.
func TestPipelineContentType(t *testing.T) {
	one := &tt.Container{Invoke: func(w http.ResponseWriter, _ *http.Request) {
		c, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		defer c.Close()
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/csv\rX-Evil: 1\r\nContent-Length: 1\r\n\r\na")
	}}
	two := &tt.Container{}
	b := setup(pipeline(t, one, two), tt.Object("in/x", "a"))
	b.Job.MaxRetries = 0
	if _, err := b.run(t); !errors.Is(err, transform.ErrMalformed) || len(two.Invocations()) != 0 {
		t.Errorf("%v", err)
	}
}
