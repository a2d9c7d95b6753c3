package load_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/optml/optml/load"
	"github.com/optml/optml/transform"
	tt "github.com/optml/optml/transform/transformtest"
)

// oracle is a server that knows the truth: each request has a number, takes as long as takes says, and all of them stand
// still while it is stalled. It runs on a clock of its own, on which nothing but its sleep takes time.
type oracle struct {
	takes        func(i int) time.Duration
	stallAt, end time.Duration // after start; an answer that would be ready within is ready at the end

	mu    sync.Mutex
	start time.Time
	ready map[int]time.Duration // when each answer went, after start
}

func (o *oracle) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	i, err := strconv.Atoi(string(b))
	if err != nil {
		w.WriteHeader(400)
		return
	}
	o.mu.Lock()
	if o.start.IsZero() {
		o.start = time.Now()
	}
	start := o.start
	o.mu.Unlock()
	time.Sleep(o.takes(i))
	if at := time.Since(start); at >= o.stallAt && at < o.end {
		time.Sleep(o.end - at)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ready == nil {
		o.ready = map[int]time.Duration{}
	}
	o.ready[i] = time.Since(start)
}

// numbers are payloads that name themselves.
func numbers(n int) (out [][]byte) {
	for i := range n {
		out = append(out, strconv.AppendInt(nil, int64(i), 10))
	}
	return out
}

// onPipes runs f with a server on pipes, on a clock of its own.
func onPipes(t *testing.T, h http.Handler, f func(t *testing.T, target load.Target)) {
	synctest.Test(t, func(t *testing.T) {
		in, stop := tt.Pipe(h)
		defer func() {
			stop()
			time.Sleep(2 * time.Hour) // handlers that sleep end
		}()
		f(t, load.Target{Container: in.Container})
	})
}

// rank is a percentile as it is defined: the least value that so many per cent do not exceed.
func rank(sorted []time.Duration, percent float64) time.Duration {
	return sorted[max(0, int(math.Ceil(percent/100*float64(len(sorted))-1e-9))-1)]
}

// holds says whether all percentiles of d are within 2 % of the truth.
func holds(t *testing.T, name string, d load.Distribution, truth []time.Duration) {
	t.Helper()
	slices.Sort(truth)
	if int(d.Count) != len(truth) {
		t.Errorf("%s: %d values, want %d", name, d.Count, len(truth))
	}
	if len(d.Percentiles) < 6 {
		t.Errorf("%s: percentiles %v", name, d.Percentiles)
	}
	for _, p := range append([]load.Percentile{{Percent: 100, Seconds: d.Max}}, d.Percentiles...) {
		want := rank(truth, p.Percent).Seconds()
		if math.Abs(p.Seconds-want) > 0.02*want {
			t.Errorf("%s: p%v is %v, the truth %v", name, p.Percent, p.Seconds, want)
		}
	}
}

// logNormal gives each of n requests one of n evenly spaced quantiles of a log-normal distribution, in an order by chance:
// what is measured of all of them is the distribution itself.
func logNormal(n int, median time.Duration, sigma float64) (takes func(int) time.Duration, quantile func(p float64) time.Duration) {
	order := rand.New(rand.NewPCG(1, 2)).Perm(n)
	quantile = func(p float64) time.Duration {
		return time.Duration(float64(median) * math.Exp(sigma*math.Sqrt2*math.Erfinv(2*p-1)))
	}
	return func(i int) time.Duration { return quantile((float64(order[i%n]) + 0.5) / float64(n)) }, quantile
}

func TestPercentilesOfAKnownDistribution(t *testing.T) {
	for _, c := range []struct {
		name string
		n    int
		o    load.Options
	}{
		{"open, constant", 10_000, load.Options{Arrivals: load.Constant(500), Duration: 20*time.Second + time.Millisecond}},
		{"open, poisson", 4000, load.Options{Arrivals: load.Poisson(500, 7), Requests: 4000}},
		{"closed", 4000, load.Options{Concurrency: 10, Requests: 4000}},
	} {
		n := c.n
		takes, quantile := logNormal(n, 20*time.Millisecond, 0.5)
		t.Run(c.name, func(t *testing.T) {
			onPipes(t, &oracle{takes: takes}, func(t *testing.T, target load.Target) {
				c.o.Payloads = numbers(n)
				r, err := load.Run(t.Context(), target, c.o)
				if err != nil {
					t.Fatal(err)
				}
				if r.Good != int64(n) || r.Failed+r.Missed+r.Unfinished != 0 || !r.Held {
					t.Fatalf("%d good, %d failed, %d missed, %d unfinished, %s, %v", r.Good, r.Failed, r.Missed, r.Unfinished, r.Why, r.Errors)
				}
				for _, p := range r.Latency.Percentiles {
					want := quantile(p.Percent / 100).Seconds()
					if p.Percent/100*float64(n) > float64(n)-10 { // a few values lie beyond: it is the next one
						want = quantile((math.Ceil(p.Percent/100*float64(n)-1e-9) - 0.5) / float64(n)).Seconds()
					}
					if math.Abs(p.Seconds-want) > 0.02*want {
						t.Errorf("p%v is %v, the truth %v", p.Percent, p.Seconds, want)
					}
				}
				want := 0.02 * math.Exp(0.5*0.5/2) // of a log-normal distribution
				if got := r.Latency.Mean; math.Abs(got-want) > 0.02*want {
					t.Errorf("mean %v, the truth %v", got, want)
				}
				if len(r.Stalls) > 0 {
					t.Errorf("stalls %v", r.Stalls)
				}
			})
		})
	}
}

// TestStall is a server that stands still for a second. Who comes meanwhile waits: the open loop says so, also where there
// are too few connections to send all that is due, and a closed one does not.
func TestStall(t *testing.T) {
	const (
		rate = 200
		n    = 30 * rate
		gap  = time.Second / rate
	)
	takes, _ := logNormal(n, 10*time.Millisecond, 0.4)
	for _, connections := range []int{0, 16} {
		t.Run(fmt.Sprintf("open, %d connections", connections), func(t *testing.T) {
			o := &oracle{takes: takes, stallAt: 10 * time.Second, end: 11 * time.Second}
			onPipes(t, o, func(t *testing.T, target load.Target) {
				r, err := load.Run(t.Context(), target, load.Options{Arrivals: load.Constant(rate), Requests: n, Connections: connections, Payloads: numbers(n)})
				if err != nil {
					t.Fatal(err)
				}
				var truth []time.Duration
				for i, at := range o.ready { // the first request, of which the server counts, is due at once
					truth = append(truth, at-time.Duration(i)*gap)
				}
				holds(t, "latency", r.Latency, truth)
				if s := r.Stalls; len(s) != 1 || math.Abs(s[0].At-10) > 0.1 || math.Abs(s[0].Seconds-1) > 0.1 {
					t.Errorf("stalls %+v, want one of a second after ten", s)
				}
				during, after := r.Timeline[10], r.Timeline[11]
				if during.Due != rate || during.Good > rate/10 || after.P99 < 0.9 || after.Good < rate*3/2 {
					t.Errorf("the stall is not to be seen: %+v, then %+v", during, after)
				}
				if p99, _ := r.Latency.At(99); p99 < 0.5 {
					t.Errorf("p99 %v: a second in thirty is more than one per cent", p99)
				}
				sent := during.Sent
				if connections == 0 && sent != rate {
					t.Errorf("%d sent in the stall", sent)
				}
				if late := r.Late.Max; connections > 0 && (sent > rate/2 || late < 0.5) || connections == 0 && late > 0.001 {
					t.Errorf("%d sent in the stall, the last %v s late", sent, late)
				}
				var b strings.Builder
				if err := errors.Join(r.WriteText(&b), r.WriteTimeline(&b)); err != nil {
					t.Fatal(err)
				}
				for _, want := range []string{"open loop, 200/s, 30 s", "6000 sent, 6000 good, 0 failed", "from second 10.0 on", "p99.9", "late  "} {
					if !strings.Contains(b.String(), want) {
						t.Errorf("the text does not say %q:\n%s", want, b.String())
					}
				}
				if service := r.Service.Max; service < 0.9 || service > 1.2 {
					t.Errorf("service %v", service)
				}
			})
		})
	}
	t.Run("closed", func(t *testing.T) {
		o := &oracle{takes: func(int) time.Duration { return 10 * time.Millisecond }, stallAt: 10 * time.Second, end: 11 * time.Second}
		onPipes(t, o, func(t *testing.T, target load.Target) {
			r, err := load.Run(t.Context(), target, load.Options{Concurrency: 2, Duration: 30 * time.Second, Payloads: numbers(n), Interval: 10 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			if p, _ := r.Latency.At(99.9); p > 0.011 || r.Latency.Max < 0.9 { // two of 5,800 saw it
				t.Errorf("p99.9 %v, max %v", p, r.Latency.Max)
			}
			if !slices.ContainsFunc(r.Notes, func(s string) bool { return strings.Contains(s, "coordinated omission") }) {
				t.Errorf("notes %q", r.Notes)
			}
			// Who would have come each 10 ms: a hundred for each that waited, evenly spread over the second.
			if p, _ := r.Corrected.At(99); p < 0.65 || p > 0.75 {
				t.Errorf("corrected p99 %v", p)
			}
			if len(r.Stalls) != 1 || r.Timeline[10].Good > 10 {
				t.Errorf("stalls %v, %+v", r.Stalls, r.Timeline[10])
			}
		})
	})
}

func TestWarmUpDoesNotCount(t *testing.T) {
	for name, o := range map[string]load.Options{"open": {Arrivals: load.Constant(100)}, "closed": {Concurrency: 1}} {
		t.Run(name, func(t *testing.T) {
			start := sync.OnceValue(time.Now)
			h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if time.Since(start()) < 2*time.Second {
					time.Sleep(time.Second)
					w.WriteHeader(503)
				}
				time.Sleep(10 * time.Millisecond)
			})
			onPipes(t, h, func(t *testing.T, target load.Target) {
				o.WarmUp, o.Duration, o.Payloads = 5*time.Second, 10*time.Second, [][]byte{nil}
				r, err := load.Run(t.Context(), target, o)
				if err != nil {
					t.Fatal(err)
				}
				if r.Failed != 0 || r.Good < 999 || r.Good > 1001 || r.Seconds != 10 || math.Abs(r.Throughput-100) > 1 || r.Latency.Max > 0.0101 {
					t.Errorf("%d good, %d failed, %v s, %v/s, max %v", r.Good, r.Failed, r.Seconds, r.Throughput, r.Latency.Max)
				}
				if len(r.Timeline) > 11 || r.Timeline[0].Sent < 99 {
					t.Errorf("%d rows, %+v", len(r.Timeline), r.Timeline[0])
				}
			})
		})
	}
}

// TestRateThatIsNotReached: a server of two requests at a time and 100 ms does 20 a second, whatever is asked of it.
func TestRateThatIsNotReached(t *testing.T) {
	slots := make(chan struct{}, 2)
	h := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		slots <- struct{}{}
		time.Sleep(100 * time.Millisecond)
		<-slots
	})
	for _, c := range []struct {
		rate        float64
		connections int
		held        bool
		why         string
	}{
		{15, 0, true, ""},
		{40, 8, false, "never sent"},
		{40, 1000, false, "pile up"},
		{100_000, 8, false, "never sent"},
	} {
		t.Run(fmt.Sprint(c.rate, c.connections), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				slots = make(chan struct{}, 2)
				in, stop := tt.Pipe(h)
				defer func() { stop(); time.Sleep(time.Hour) }()
				r, err := load.Run(t.Context(), load.Target{Container: in.Container},
					load.Options{Arrivals: load.Constant(c.rate), Connections: c.connections, Duration: 20 * time.Second, Payloads: [][]byte{nil}})
				if err != nil {
					t.Fatal(err)
				}
				due := int64(c.rate*20) - 1 // the last one would be due at the end
				if r.Held != c.held || !strings.Contains(r.Why, c.why) || math.Abs(float64(r.Due-due)) > 1 || r.Sent+r.Missed != r.Due || r.Good != r.Sent {
					t.Errorf("held %v, %q, %d due, want %d, %d sent, %d missed, %d good", r.Held, r.Why, r.Due, due, r.Sent, r.Missed, r.Good)
				}
				var rows int64
				for _, s := range r.Timeline {
					rows += s.Due
				}
				if rows != r.Due {
					t.Errorf("%d due in the table of seconds, %d in all", rows, r.Due)
				}
				if !c.held && (r.Throughput < 19 || r.Throughput > 20.1) {
					t.Errorf("%v a second", r.Throughput)
				}
			})
		})
	}
}

// TestMillionsMissed: what was not sent is a number, not memory, and it does not take as long as it would have to send it.
func TestMillionsMissed(t *testing.T) {
	onPipes(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { time.Sleep(time.Minute) }), func(t *testing.T, target load.Target) {
		r, err := load.Run(t.Context(), target, load.Options{Arrivals: load.Poisson(load.MaxRate, 1), Connections: 2, Duration: time.Hour, Timeout: time.Hour, Payloads: [][]byte{nil}})
		if err != nil {
			t.Fatal(err)
		}
		if want := load.MaxRate * 3600.0; math.Abs(float64(r.Due)-want) > 1e-3*want || r.Sent != 120 || r.Missed != r.Due-r.Sent {
			t.Errorf("%d due, %d sent, %d missed", r.Due, r.Sent, r.Missed)
		}
	})
}

func TestArrivals(t *testing.T) {
	moments := func(a *load.Arrivals, n int64) (out []time.Duration) {
		onPipes(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), func(t *testing.T, target load.Target) {
			start := time.Now()
			dial := target.Dial
			target.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
				c, err := dial(ctx, network, addr)
				return &noted{c, func() { out = append(out, time.Since(start)) }}, err
			}
			if _, err := load.Run(t.Context(), target, load.Options{Arrivals: a, Requests: n, Payloads: [][]byte{nil}}); err != nil {
				t.Fatal(err)
			}
		})
		return out
	}
	for rate, gap := range map[float64]time.Duration{100: 10 * time.Millisecond, 2.5: 400 * time.Millisecond, 0.1: 10 * time.Second, 8000: 125 * time.Microsecond} {
		got := moments(load.Constant(rate), 50)
		for i, at := range got {
			if want := time.Duration(i+1) * gap; at != want {
				t.Errorf("%v a second: number %d after %v, want %v", rate, i, at, want)
				break
			}
		}
	}
	a, b, c := moments(load.Poisson(100, 1), 5000), moments(load.Poisson(100, 1), 5000), moments(load.Poisson(100, 2), 5000)
	if !slices.Equal(a, b) || slices.Equal(a, c) {
		t.Error("the seed does not make the moments")
	}
	var gaps []float64
	for i := 1; i < len(a); i++ {
		gaps = append(gaps, (a[i] - a[i-1]).Seconds())
	}
	mean, square := 0.0, 0.0
	for _, g := range gaps {
		mean += g / float64(len(gaps))
		square += g * g / float64(len(gaps))
	}
	// Of an exponential distribution mean and standard deviation are the same.
	if sd := math.Sqrt(square - mean*mean); math.Abs(mean-0.01) > 0.0005 || math.Abs(sd-0.01) > 0.0005 {
		t.Errorf("gaps of %v on average, %v from it", mean, sd)
	}
	ramp := moments(load.Ramp(100, 10*time.Second), 550) // (10+100)/2 a second for 10 s
	if last := ramp[len(ramp)-1]; (last - 10*time.Second).Abs() > 100*time.Millisecond {
		t.Errorf("the ramp's last request after %v", last)
	}
	if first := slices.IndexFunc(ramp, func(d time.Duration) bool { return d > time.Second }); first < 13 || first > 17 {
		t.Errorf("%d requests in the ramp's first second", first)
	}
}

// noted is a connection that tells of each write.
type noted struct {
	net.Conn
	wrote func()
}

func (n *noted) Write(b []byte) (int, error) {
	n.wrote()
	return n.Conn.Write(b)
}

func TestErrorsByKind(t *testing.T) {
	kinds := func(r *load.Result) string {
		var out []string
		for _, e := range r.Errors {
			out = append(out, fmt.Sprintf("%s %d", e.Kind, e.Count))
		}
		return strings.Join(out, ", ")
	}
	answers := map[string]string{
		"short":  "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
		"bad":    "SSH-2.0-OpenSSH\r\n\r\n",
		"silent": "",
		"four":   "HTTP/1.1 413 No\r\nContent-Length: 9\r\n\r\ntoo large",
		"five":   "HTTP/1.1 503 No\r\nContent-Length: 5\r\n\r\nbusy\n",
		"three":  "HTTP/1.1 302 Go\r\nContent-Length: 0\r\n\r\n",
		"good":   "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
	}
	in := tt.Raw(t, func(c net.Conn) { // one request a connection
		b := make([]byte, 4096)
		n, _ := c.Read(b)
		body := string(b[:n])
		mood := body[strings.LastIndex(body, "\n")+1:]
		switch mood {
		case "reset":
			c.(*net.TCPConn).SetLinger(0)
		case "hang":
			time.Sleep(time.Second)
		default:
			io.WriteString(c, answers[mood])
		}
	})
	r, err := load.Run(t.Context(), load.Target{Container: in.Container}, load.Options{Concurrency: 1, Requests: 18, Timeout: 200 * time.Millisecond,
		Payloads: [][]byte{[]byte("short"), []byte("bad"), []byte("silent"), []byte("four"), []byte("five"), []byte("three"), []byte("good"), []byte("reset"), []byte("hang")}})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := kinds(r), "closed 2, malformed 2, reset 2, short body 2, status 3xx 2, status 4xx 2, status 5xx 2, timeout 2"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	for _, e := range r.Errors {
		want := map[string]string{"status 4xx": "413: too large", "status 5xx": "503: busy", "malformed": "SSH"}[e.Kind]
		if len(e.Texts) == 0 || !strings.Contains(e.Texts[0], want) {
			t.Errorf("%s: %q does not say %q", e.Kind, e.Texts, want)
		}
	}
	// Good answers and time-outs, of which there are two each; nothing that failed at once.
	if r.Good != 2 || r.Failed != 16 || r.Latency.Count != 4 || r.Latency.Max < 0.2 || r.Statuses[413] != 2 || r.Held {
		t.Errorf("%d good, %d failed, latency of %d up to %v, statuses %v, held %v", r.Good, r.Failed, r.Latency.Count, r.Latency.Max, r.Statuses, r.Held)
	}

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if r, err = load.Run(t.Context(), load.Target{Container: tt.At(l.Addr().String()).Container}, load.Options{Concurrency: 2, Requests: 6, Payloads: [][]byte{nil}}); err != nil {
		t.Fatal(err)
	}
	if got := kinds(r); got != "refused 6" || r.Held || r.Throughput != 0 {
		t.Errorf("%s, held %v, %v a second", got, r.Held, r.Throughput)
	}
}

// TestErrorsAreBounded: a server that answers each request with another error.
func TestErrorsAreBounded(t *testing.T) {
	var n int
	onPipes(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n++
		w.WriteHeader(500 + n%100)
		fmt.Fprintf(w, "%d %s", n, strings.Repeat("é", 400))
	}), func(t *testing.T, target load.Target) {
		r, err := load.Run(t.Context(), target, load.Options{Concurrency: 1, Requests: 2000, Payloads: [][]byte{nil}})
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Errors) != 1 || r.Errors[0].Count != 2000 || len(r.Errors[0].Texts) != 3 || len(r.Statuses) != 100 {
			t.Errorf("%d kinds, %d statuses", len(r.Errors), len(r.Statuses))
		}
		for _, s := range r.Errors[0].Texts {
			if len(s) > 300 || strings.ContainsRune(s, '\uFFFD') {
				t.Errorf("%d bytes: %q", len(s), s)
			}
		}
	})
}

func TestCutShort(t *testing.T) {
	why := errors.New("interrupted")
	for name, o := range map[string]load.Options{
		"closed":       {Concurrency: 4, Duration: time.Hour},
		"open":         {Arrivals: load.Constant(40), Duration: time.Hour},
		"open, behind": {Arrivals: load.Constant(400), Connections: 4, Duration: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			onPipes(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { time.Sleep(100 * time.Millisecond) }), func(t *testing.T, target load.Target) {
				ctx, cancel := context.WithCancelCause(t.Context())
				time.AfterFunc(10*time.Second+50*time.Millisecond, func() { cancel(why) })
				o.Payloads = [][]byte{nil}
				r, err := load.Run(ctx, target, o)
				if !errors.Is(err, why) || r.Cut != "interrupted" {
					t.Fatalf("%v, %q", err, r.Cut)
				}
				if math.Abs(r.Seconds-10.05) > 0.001 || r.Unfinished < 3 || r.Unfinished > 5 || math.Abs(r.Throughput-40) > 1 || r.Failed != 0 ||
					r.Good+r.Unfinished != r.Sent || r.Sent+r.Missed != r.Due {
					t.Errorf("%v s, %v a second, %+v", r.Seconds, r.Throughput, r)
				}
				if name == "open, behind" && math.Abs(float64(r.Due)-4020) > 1 {
					t.Errorf("%d due", r.Due)
				}
			})
		})
	}
}

// TestCurve is a server of ten workers and 100 ms on average: it does 100 a second.
func TestCurve(t *testing.T) {
	const n = 4000
	var takes []time.Duration
	random := rand.New(rand.NewPCG(3, 4))
	for range n {
		takes = append(takes, time.Duration(random.ExpFloat64()*1e8))
	}
	synctest.Test(t, func(t *testing.T) {
		slots := make(chan struct{}, 10)
		in, stop := tt.Pipe(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			i, _ := strconv.Atoi(string(b))
			slots <- struct{}{}
			time.Sleep(takes[i])
			<-slots
		}))
		defer func() { stop(); time.Sleep(time.Hour) }()
		var rungs []load.Options
		for _, rate := range append(load.Ladder(100)[3:], 150, 200, 300) {
			rungs = append(rungs, load.Options{Arrivals: load.Poisson(rate, 5), Duration: 30 * time.Second, WarmUp: time.Second, Payloads: numbers(n)})
		}
		told := 0
		c, err := load.Sweep(t.Context(), load.Target{Container: in.Container}, rungs, func(int, *load.Result) { told++ })
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		if err := c.WriteText(&b); err != nil {
			t.Fatal(err)
		}
		t.Log("\n" + b.String())
		// 110 and 150 a second are too much; of M/M/10 throughput by latency is greatest between 80 and 90 %.
		if c.Skipped != 2 || len(c.Points) != 9 || told != 9 || c.Knee == nil || c.Most == nil {
			t.Fatalf("%d points, %d skipped", len(c.Points), c.Skipped)
		}
		if knee := c.Points[*c.Knee].Rate; knee < 75 || knee > 95 {
			t.Errorf("the knee at %v a second", knee)
		}
		if most := c.Points[*c.Most].Rate; most < 90 || most > 100 {
			t.Errorf("the most at %v a second", most)
		}
		for _, want := range []string{"the knee", "the most that was held", "not held", "2 higher loads were not tried"} {
			if !strings.Contains(b.String(), want) {
				t.Errorf("the text does not say %q:\n%s", want, b.String())
			}
		}
	})
}

// TestOverSockets counts what the loop of small requests sends and gets, beside requests and answers that it leaves to
// goroutines.
func TestOverSockets(t *testing.T) {
	model := &tt.Container{}
	in := tt.Serve(t, model)
	payloads := [][]byte{[]byte("small"), []byte(strings.Repeat("large ", 10_000)), nil}
	var bytes int64
	for i := range 900 {
		bytes += int64(len(payloads[i%3]))
	}
	for name, o := range map[string]load.Options{"open": {Arrivals: load.Constant(20_000)}, "closed": {Concurrency: 16}} {
		o.Requests, o.Payloads = 900, payloads
		r, err := load.Run(t.Context(), load.Target{Container: in.Container, ContentType: "text/csv"}, o)
		if err != nil {
			t.Fatal(err)
		}
		if r.Good != 900 || r.Due != 900 || r.BytesOut != bytes || r.BytesIn != bytes || r.Statuses[200] != 900 || r.Latency.Count != 900 || r.Missed != 0 {
			t.Errorf("%s: %+v", name, r)
		}
		if _, err := json.Marshal(r); err != nil {
			t.Error(err)
		}
	}
	if got := model.Requests()[0]; got.Path != "/invocations" || got.Header.Get("Content-Type") != "text/csv" || got.Header.Get("Accept") != "" {
		t.Errorf("%+v", got)
	}
}

func TestBaseline(t *testing.T) {
	listen := func(ctx context.Context, addr string) (net.Listener, error) {
		return new(net.ListenConfig).Listen(ctx, "tcp", addr)
	}
	target := load.Target{Container: tt.At("127.0.0.1:1").Container}
	base, err := load.Baseline(t.Context(), target, load.Options{Concurrency: 2, Requests: 500, Payloads: [][]byte{[]byte(strings.Repeat("x", 100_000)), []byte("x")}}, listen)
	if err != nil {
		t.Fatal(err)
	}
	if base.Good != 500 || base.Failed != 0 {
		t.Errorf("%+v", base)
	}
	r := &load.Result{Loop: "closed", Throughput: base.Throughput}
	r.SetPath(base)
	if len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "more than the generator can send") {
		t.Errorf("notes %q", r.Notes)
	}
	var b strings.Builder
	if err := r.WriteText(&b); err != nil || r.Path.Median <= 0 || !strings.Contains(b.String(), "of the median are the way there and back") {
		t.Errorf("%v, %+v\n%s", err, r.Path, b.String())
	}
	refused := errors.New("no room")
	if _, err := load.Baseline(t.Context(), target, load.Options{}, func(context.Context, string) (net.Listener, error) { return nil, refused }); !errors.Is(err, refused) {
		t.Error(err)
	}
}

func TestRefused(t *testing.T) {
	one := [][]byte{nil}
	for want, o := range map[string]load.Options{
		"either a concurrency":        {Payloads: one, Requests: 1},
		"either a concurrency (":      {Payloads: one, Requests: 1, Concurrency: 1, Arrivals: load.Constant(1)},
		"concurrency -1":              {Payloads: one, Requests: 1, Concurrency: -1},
		"concurrency 5000":            {Payloads: one, Requests: 1, Concurrency: 5000},
		"rate 0:":                     {Payloads: one, Requests: 1, Arrivals: load.Constant(0)},
		"rate NaN":                    {Payloads: one, Requests: 1, Arrivals: load.Poisson(math.NaN(), 1)},
		"rate +Inf":                   {Payloads: one, Requests: 1, Arrivals: load.Constant(math.Inf(1))},
		"connections are an open":     {Payloads: one, Requests: 1, Concurrency: 1, Connections: 1},
		"connections 5000":            {Payloads: one, Requests: 1, Arrivals: load.Constant(1), Connections: 5000},
		"no payloads":                 {Requests: 1, Concurrency: 1},
		"neither a duration":          {Payloads: one, Concurrency: 1},
		"a negative":                  {Payloads: one, Requests: 1, Duration: -1, Concurrency: 1},
		"at most 24h0m0s":             {Payloads: one, Duration: 25 * time.Hour, Concurrency: 1},
		"timeout 2h0m0s":              {Payloads: one, Requests: 1, Concurrency: 1, Timeout: 2 * time.Hour},
		"an interval corrects":        {Payloads: one, Requests: 1, Arrivals: load.Constant(1), Interval: time.Second},
		"interval 1µs: at least 10µs": {Payloads: one, Requests: 1, Concurrency: 1, Interval: time.Microsecond},
	} {
		if r, err := load.Run(t.Context(), load.Target{}, o); err == nil || r != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		if _, err := load.Sweep(t.Context(), load.Target{}, []load.Options{o}, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("a sweep: %v, want %q", err, want)
		}
	}
}

// TestExited ends a run whose container is gone.
func TestExited(t *testing.T) {
	exited := make(chan struct{})
	in := tt.Serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	in.Exited = exited
	time.AfterFunc(50*time.Millisecond, func() { close(exited) })
	r, err := load.Run(t.Context(), load.Target{Container: in.Container}, load.Options{Concurrency: 2, Duration: time.Hour, Payloads: [][]byte{nil}})
	if !errors.Is(err, transform.ErrExited) || r == nil || r.Cut == "" {
		t.Errorf("%v, %+v", err, r)
	}
}
