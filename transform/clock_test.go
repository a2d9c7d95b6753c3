package transform_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/optml/optml/job"
	"github.com/optml/optml/transform"
	tt "github.com/optml/optml/transform/transformtest"
)

const pingReason = "AlgorithmError: Model container failed to respond to ping. Please ensure /ping endpoint is implemented and responds with an HTTP 200 status code"

// bubble runs f on a clock of its own with a container on pipes.
func bubble(t *testing.T, h http.Handler, f func(t *testing.T, in transform.Instance)) {
	synctest.Test(t, func(t *testing.T) {
		in, stop := tt.Pipe(h)
		defer func() {
			stop()
			time.Sleep(2 * time.Hour) // handlers that sleep end
		}()
		f(t, in)
	})
}

func TestPingWindow(t *testing.T) { // INF-60, INF-61, INF-64, BT-20, ST-12
	for _, c := range []struct {
		name   string
		window time.Duration
		ping   func(n int) int
		ready  time.Duration // 0: never
		pings  int
	}{
		{"at once", 0, nil, time.Nanosecond, 1},
		{"after 20 minutes of 502", 0, func(n int) int { return map[bool]int{true: 200, false: 502}[n > 20*60] }, 20 * time.Minute, 20*60 + 1},
		{"never", 0, func(int) int { return 404 }, 0, 30 * 60}, // 30 minutes by default
		{"never, window of a minute", time.Minute, func(int) int { return 204 }, 0, 60},
		{"hangs", time.Minute, func(int) int { time.Sleep(time.Hour); return 200 }, 0, 30}, // 2 s each
		{"slow is fine within 2 s", 0, func(int) int { time.Sleep(1900 * time.Millisecond); return 200 }, 1900 * time.Millisecond, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, &tt.Container{Ping: c.ping}, func(t *testing.T, in transform.Instance) {
				b := setup(in, tt.Object("in/x", "1"))
				b.Job.PingWindow = job.Duration(c.window)
				start := time.Now()
				res, err := b.run(t)
				took := time.Since(start)
				if got := res.Instances[0].Pings; got != c.pings {
					t.Errorf("%d pings, want %d", got, c.pings)
				}
				if c.ready > 0 {
					if err != nil || res.Instances[0].PingAfter > c.ready || res.Instances[0].PingAfter < c.ready-time.Nanosecond {
						t.Errorf("%v after %v, want %v", err, res.Instances[0].PingAfter, c.ready)
					}
					return
				}
				window := c.window
				if window == 0 {
					window = 30 * time.Minute
				}
				if !errors.Is(err, transform.ErrPing) || res.FailureReason != pingReason || took < window || took > window+2*time.Second {
					t.Errorf("%v, %q after %v", err, res.FailureReason, took)
				}
				outputs(t, b, nil)
			})
		})
	}
}

func TestRefusedPingsAreRetried(t *testing.T) { // INF-64
	bubble(t, &tt.Container{}, func(t *testing.T, in transform.Instance) {
		dial, start := in.Dial, time.Now()
		in.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if time.Since(start) < 5*time.Second {
				return nil, errors.New("connection refused")
			}
			return dial(ctx, network, addr)
		}
		res := setup(in, tt.Object("in/x", "1")).must(t)
		if in := res.Instances[0]; in.Pings != 6 || in.PingAfter != 5*time.Second {
			t.Errorf("%+v", in)
		}
	})
}

func TestExitEndsTheWait(t *testing.T) { // INF-65
	bubble(t, &tt.Container{Ping: func(int) int { return 503 }}, func(t *testing.T, in transform.Instance) {
		exited := make(chan struct{})
		in.Exited = exited
		time.AfterFunc(90*time.Second, func() { close(exited) })
		start := time.Now()
		b := setup(in, tt.Object("in/x", "1"))
		res, err := b.run(t)
		if !errors.Is(err, transform.ErrExited) || res.FailureReason != pingReason || time.Since(start) != 90*time.Second {
			t.Errorf("%v, %q after %v", err, res.FailureReason, time.Since(start))
		}
		if !strings.Contains(err.Error(), "status 503") {
			t.Errorf("%v does not tell the last answer", err)
		}
	})
}

func TestOneContainerOfTwoIsNotReady(t *testing.T) {
	bubble(t, &tt.Container{Ping: func(int) int { return 503 }}, func(t *testing.T, bad transform.Instance) {
		model := &tt.Container{}
		good, stop := tt.Pipe(model)
		defer stop()
		b := setup(good, tt.Object("in/x", "1"))
		bad.Host = "algo-2"
		b.Instances = append(b.Instances, bad)
		res, err := b.run(t)
		if !errors.Is(err, transform.ErrPing) || !strings.Contains(err.Error(), "algo-2") || res.FailureReason != pingReason {
			t.Errorf("%v, %q", err, res.FailureReason)
		}
		same(t, "invocations", model.Invocations(), nil)
	})
}

func TestParametersTimeOut(t *testing.T) { // BT-25, Appendix C 2
	bubble(t, &tt.Container{Parameters: tt.Late(time.Minute, tt.Status(200, `{"MaxConcurrentTransforms":7}`))}, func(t *testing.T, in transform.Instance) {
		start := time.Now()
		res := setup(in, tt.Object("in/x", "1")).must(t)
		if took := time.Since(start); took != 2*time.Second || res.Settings().MaxConcurrent != 1 {
			t.Errorf("%v, %+v", took, res.Settings())
		}
		synctest.Wait()
		time.Sleep(2 * time.Minute) // the handler ends
	})
}

func TestRetries(t *testing.T) { // BT-104, BT-105, BT-106, Appendix C 8
	for _, c := range []struct {
		name     string
		statuses []int // of the attempts; -1 hangs
		retries  int
		ok       bool
		attempts int
		took     time.Duration
		log      []string
	}{
		{"500 500 200", []int{500, 500, 200}, 3, true, 3, 3 * time.Second, nil},
		{"500 always", []int{500, 500, 500, 500}, 3, false, 4, 7 * time.Second, []string{"Bad HTTP status received from algorithm: 500", "", "Message:", "no"}},
		{"500, no retries", []int{500}, 0, false, 1, 0, []string{"Bad HTTP status received from algorithm: 500", "", "Message:", "no"}},
		{"500, one retry", []int{500, 500}, 1, false, 2, time.Second, []string{"Bad HTTP status received from algorithm: 500", "", "Message:", "no"}},
		{"400", []int{400}, 3, false, 1, 0, []string{"ClientError: 400", "", "Message:", "no"}},
		{"503 then 400", []int{503, 400}, 3, false, 2, time.Second, []string{"ClientError: 400", "", "Message:", "no"}},
		{"hangs", []int{-1, -1, -1, -1}, 3, false, 4, 4*600*time.Second + 7*time.Second, []string{"Unable to get response from algorithm"}},
		{"hangs once", []int{-1, 200}, 3, true, 2, 601 * time.Second, nil},
	} {
		for _, payload := range []int{6, 0} {
			t.Run(fmt.Sprintf("%s/%d", c.name, payload), func(t *testing.T) {
				n := 0
				model := &tt.Container{Invoke: func(w http.ResponseWriter, r *http.Request) {
					n++
					switch s := c.statuses[n-1]; s {
					case -1:
						<-r.Context().Done()
					case 200:
						io.Copy(w, r.Body)
					default:
						tt.Status(s, "no")(w, r)
					}
				}}
				bubble(t, model, func(t *testing.T, in transform.Instance) {
					b := setup(in, tt.Object("in/x", "1"))
					b.Job.MaxRetries, b.Job.MaxPayloadMB = c.retries, &payload
					start := time.Now()
					res, err := b.run(t)
					took := time.Since(start)
					if took < c.took || took > c.took+time.Second || res.Totals.Requests != int64(c.attempts) || res.Totals.Retries != int64(c.attempts-1) {
						t.Errorf("took %v, want %v; %+v", took, c.took, res.Totals)
					}
					if c.ok {
						if err != nil {
							t.Error(err)
						}
						outputs(t, b, map[string]string{"x.out": "1"})
						return
					}
					if f := res.Failures[0]; f.Attempts != c.attempts || (c.statuses[0] == -1) != errors.Is(f.Err, transform.ErrTimeout) {
						t.Errorf("%+v", f)
					}
					var want []string
					for _, line := range c.log {
						want = append(want, "bucket/in/x: "+line)
					}
					same(t, "data log", b.logged()[1:], want)
					outputs(t, b, nil)
				})
			})
		}
	}
}

func TestTimeoutOfARequest(t *testing.T) { // BT-104: the whole of it, however it drips
	model := &tt.Container{Invoke: func(w http.ResponseWriter, r *http.Request) {
		for range 100 {
			if _, err := io.WriteString(w, "."); err != nil {
				return
			}
			w.(http.Flusher).Flush()
			time.Sleep(time.Second)
		}
	}}
	bubble(t, model, func(t *testing.T, in transform.Instance) {
		b := setup(in, tt.Object("in/x", "1"))
		b.Job.MaxRetries, b.Job.InvocationTimeout = 0, job.Duration(30*time.Second)
		start := time.Now()
		_, err := b.run(t)
		if !errors.Is(err, transform.ErrTimeout) || time.Since(start) != 30*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		b.Job.InvocationTimeout = job.Duration(2 * time.Minute)
		b.must(t)
	})
}

func TestExitDuringTheWork(t *testing.T) { // INF-67, ST-11
	bubble(t, &tt.Container{Invoke: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }}, func(t *testing.T, in transform.Instance) {
		exited := make(chan struct{})
		in.Exited = exited
		var mu sync.Mutex
		var conns []net.Conn
		dial := in.Dial
		in.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := dial(ctx, network, addr)
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			return c, err
		}
		time.AfterFunc(10*time.Second, func() { close(exited) }) // its sockets stay, as those of a child would
		b := setup(in, tt.Object("in/1", "1"), tt.Object("in/2", "2"), tt.Object("in/3", "3"))
		start := time.Now()
		res, err := b.run(t)
		if took := time.Since(start); took > 15*time.Second {
			t.Errorf("took %v", took)
		}
		if res.FailureReason != algorithmReason || res.Totals.Failed != 3 || res.Totals.Requests != 1 {
			t.Errorf("%v, %q, %+v", err, res.FailureReason, res.Totals)
		}
		if !errors.Is(res.Failures[2].Err, transform.ErrExited) {
			t.Errorf("%v", res.Failures[2].Err)
		}
		for _, c := range conns {
			c.Close()
		}
	})
}

func TestStop(t *testing.T) { // BT-143, BT-144, Appendix C 12
	requested := errors.New("stop requested")
	for _, payload := range []int{1, 0} {
		t.Run(fmt.Sprint(payload), func(t *testing.T) {
			model := &tt.Container{Invoke: func(w http.ResponseWriter, r *http.Request) {
				if b, _ := io.ReadAll(r.Body); string(b) == "hang" {
					<-r.Context().Done()
				}
			}}
			bubble(t, model, func(t *testing.T, in transform.Instance) {
				ctx, cancel := context.WithCancelCause(t.Context())
				b := setup(in, tt.Object("in/1", "x"), tt.Object("in/2", "x"), tt.Object("in/3", "hang"), tt.Object("in/4", "x"), tt.Object("in/5", "hang"))
				b.Job.MaxConcurrent, b.Job.MaxPayloadMB = new(2), &payload
				time.AfterFunc(time.Minute, func() { cancel(requested) })
				start := time.Now()
				res, err := transform.Run(ctx, b.Config)
				if err != requested || res.FailureReason != "" || time.Since(start) != time.Minute {
					t.Errorf("%v, %q after %v", err, res.FailureReason, time.Since(start))
				}
				if res.Totals.Objects != 3 || b.out.Open() != 0 {
					t.Errorf("%+v, %d outputs open", res.Totals, b.out.Open())
				}
				outputs(t, b, nil)
				removed := b.out.Removed()
				slices.Sort(removed)
				same(t, "removed", removed, []string{"1.out", "2.out", "4.out"})
				if log := b.logged(); len(log) != 1 {
					t.Errorf("data log %q", log)
				}
			})
		})
	}
	t.Run("while waiting for ping", func(t *testing.T) {
		bubble(t, &tt.Container{Ping: func(int) int { return 503 }}, func(t *testing.T, in transform.Instance) {
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(1500*time.Millisecond, func() { cancel(requested) })
			_, err := transform.Run(ctx, setup(in, tt.Object("in/1", "x")).Config)
			if err != requested {
				t.Errorf("got %v", err)
			}
		})
	})
	t.Run("during back-off", func(t *testing.T) {
		bubble(t, &tt.Container{Invoke: tt.Status(500, "")}, func(t *testing.T, in transform.Instance) {
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(4*time.Second, func() { cancel(requested) })
			start := time.Now()
			_, err := transform.Run(ctx, setup(in, tt.Object("in/1", "x")).Config)
			if err != requested || time.Since(start) != 4*time.Second {
				t.Errorf("%v after %v", err, time.Since(start))
			}
		})
	})
	t.Run("outputs that cannot be removed are told", func(t *testing.T) {
		bubble(t, &tt.Container{Invoke: func(w http.ResponseWriter, r *http.Request) {
			if b, _ := io.ReadAll(r.Body); string(b) == "hang" {
				<-r.Context().Done()
			}
		}}, func(t *testing.T, in transform.Instance) {
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(4*time.Second, func() { cancel(requested) })
			b := setup(in, tt.Object("in/1", "x"), tt.Object("in/2", "hang"))
			b.out.Fail = func(step, name string) error {
				if step == "remove" {
					return errors.New("denied")
				}
				return nil
			}
			_, err := transform.Run(ctx, b.Config)
			if !errors.Is(err, requested) || !strings.Contains(err.Error(), "remove 1.out: denied") {
				t.Errorf("got %v", err)
			}
		})
	})
}

func TestDataLogLine(t *testing.T) { // ST-19, ST-20, ST-23
	bubble(t, &tt.Container{}, func(t *testing.T, in transform.Instance) {
		b := setup(in, tt.Object("in/x", "1"))
		b.must(t)
		if want := "2000-01-01T00:00:00.000:[sagemaker logs]: " + firstLine + "\n"; b.log.String() != want {
			t.Errorf("%q, want %q", b.log, want)
		}
		if !regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}:\[sagemaker logs\]: `).MatchString(b.log.String()) {
			t.Errorf("%q", b.log)
		}
	})
}

// slow delays reads or writes.
type slowReader struct {
	r io.Reader
	d time.Duration
}

func (s slowReader) Read(b []byte) (int, error) {
	time.Sleep(s.d)
	return s.r.Read(b)
}

func TestOurOwnSlownessIsNotTheContainers(t *testing.T) { // BT-104: the time of a request is the container's
	bubble(t, &tt.Container{}, func(t *testing.T, in transform.Instance) {
		body := strings.Repeat("x", 200<<10)
		o := tt.Object("in/x", body)
		o.Open = func(context.Context) (io.ReadCloser, error) {
			return io.NopCloser(slowReader{strings.NewReader(body), 20 * time.Second}), nil
		}
		b := setup(in, o)
		b.Job.MaxRetries, b.Job.MaxPayloadMB, b.Job.InvocationTimeout = 0, new(0), job.Duration(30*time.Second)
		b.out.Fail = func(step, _ string) error {
			if step == "write" {
				time.Sleep(time.Minute)
			}
			return nil
		}
		b.must(t)
		outputs(t, b, map[string]string{"x.out": body})
	})
}

func TestFailureReasonIsBounded(t *testing.T) { // ST-2
	b := setup(transform.Instance{})
	b.Objects = func(yield func(transform.Object, error) bool) {
		yield(transform.Object{}, errors.New(strings.Repeat("ü", 5000)))
	}
	if res, _ := b.run(t); len([]rune(res.FailureReason)) != 1024 {
		t.Errorf("%d characters", len([]rune(res.FailureReason)))
	}
}
