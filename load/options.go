package load

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"

	"github.com/optml/optml/transform"
)

// Target is the server: the container, and what stands in the requests.
type Target struct {
	transform.Container
	Path                string // "": /invocations
	ContentType, Accept string // "": no such header
}

// Options say what load is put on it. Either Concurrency or Arrivals is given.
type Options struct {
	// Concurrency is that of a closed loop: so many requests are always open.
	Concurrency int
	// Arrivals are those of an open loop.
	Arrivals *Arrivals
	// Connections bounds how many requests of an open loop are open; those that are due then wait. 0: DefaultConnections.
	Connections int

	// Payloads are the requests' bodies, sent in turn, again and again. At least one; it may be empty.
	Payloads [][]byte

	// Duration ends the load, and Requests does, whichever comes first, both counted from the end of WarmUp. 0: the other
	// one does. What has been sent by then is waited for.
	Duration time.Duration
	Requests int64
	// WarmUp is load of the same kind before, which is not counted.
	WarmUp time.Duration

	// Timeout of a request. 0: a minute, which is the service's for an invocation.
	Timeout time.Duration

	// Interval is how often a closed loop's client would send, were it not for the server: with it the Result has the
	// latencies as HdrHistogram corrects them. 0: not known.
	Interval time.Duration
}

const (
	// DefaultConnections of an open loop.
	DefaultConnections = 256
	// MaxDuration bounds a run, and so its table of seconds.
	MaxDuration = 24 * time.Hour
	// MinRate and MaxRate of an open loop: the latter is more than one process can send.
	MinRate = 0.01
	MaxRate = 10_000_000

	defaultTimeout = time.Minute
	maxTimeout     = time.Hour
	// minInterval bounds what the correction has to add for a long answer.
	minInterval = 10 * time.Microsecond
	// refusedPause is how long each of a closed loop's clients waits after it could not connect.
	refusedPause = 10 * time.Millisecond
)

// Arrivals say when the requests of an open loop are due.
type Arrivals struct {
	Name string  // constant, poisson, ramp
	Rate float64 // requests a second, of a ramp at its end
	Seed uint64  // of poisson
	// pacer makes a new sequence. vegeta's pacers say how long to wait from a moment on; asked with the moment at which the
	// last request was due, they give the moments at which requests are due, whatever happens to them.
	//
	// vegeta's attacker is not used: it counts a request from when a worker has taken it, so that what waits while all
	// workers do is left out; each request is an http.Client's, which reaches half of what the container can do where
	// answers take microseconds; and its results are objects, one a request.
	pacer func() vegeta.Pacer
}

func (a *Arrivals) String() string {
	switch a.Name {
	case "poisson":
		return fmt.Sprintf("%s/s, poisson, seed %d", number(a.Rate), a.Seed)
	case "ramp":
		return fmt.Sprintf("up to %s/s", number(a.Rate))
	}
	return fmt.Sprintf("%s/s", number(a.Rate))
}

// Constant is one request each 1/rate seconds.
func Constant(rate float64) *Arrivals {
	return &Arrivals{Name: "constant", Rate: rate, pacer: func() vegeta.Pacer {
		// Whole requests in a time that is long enough for their fraction not to matter.
		per, freq := time.Second, rate
		for freq < 1e6 && per < 1e6*time.Second && freq != math.Trunc(freq) {
			per, freq = 10*per, 10*freq
		}
		return vegeta.ConstantPacer{Freq: int(math.Round(freq)), Per: per}
	}}
}

// Poisson is requests that come independently of each other, as those of many users do: the times between them are
// exponential. The same seed gives the same moments.
func Poisson(rate float64, seed uint64) *Arrivals {
	return &Arrivals{Name: "poisson", Rate: rate, Seed: seed, pacer: func() vegeta.Pacer {
		return &poisson{mean: 1e9 / rate, random: rand.New(rand.NewPCG(seed, 0))}
	}}
}

// Ramp is a rate that rises evenly over a time, from 1/10 of it.
func Ramp(rate float64, over time.Duration) *Arrivals {
	return &Arrivals{Name: "ramp", Rate: rate, pacer: func() vegeta.Pacer {
		c := Constant(rate / 10).pacer().(vegeta.ConstantPacer)
		return vegeta.LinearPacer{StartAt: c, Slope: rate * 0.9 / over.Seconds()}
	}}
}

// poisson is a vegeta.Pacer.
type poisson struct {
	mean   float64 // nanoseconds
	random *rand.Rand
}

func (p *poisson) Pace(time.Duration, uint64) (time.Duration, bool) {
	return time.Duration(p.random.ExpFloat64() * p.mean), false
}

func (p *poisson) Rate(time.Duration) float64 { return 1e9 / p.mean }

// check refuses what cannot be, and fills in what is not said.
func (o *Options) check() error {
	switch {
	case (o.Concurrency != 0) == (o.Arrivals != nil):
		return fmt.Errorf("either a concurrency (closed loop) or arrivals (open loop)")
	case o.Concurrency < 0 || o.Concurrency > transform.MaxConnections:
		return fmt.Errorf("concurrency %d: 1 to %d", o.Concurrency, transform.MaxConnections)
	case o.Arrivals != nil && !(o.Arrivals.Rate >= MinRate && o.Arrivals.Rate <= MaxRate):
		return fmt.Errorf("rate %v: %v to %d a second", o.Arrivals.Rate, MinRate, MaxRate)
	case o.Arrivals == nil && o.Connections != 0:
		return fmt.Errorf("connections are an open loop's: those of a closed one are its concurrency")
	case o.Connections < 0 || o.Connections > transform.MaxConnections:
		return fmt.Errorf("connections %d: 1 to %d", o.Connections, transform.MaxConnections)
	case len(o.Payloads) == 0:
		return fmt.Errorf("no payloads")
	case o.Duration <= 0 && o.Requests <= 0:
		return fmt.Errorf("neither a duration nor a number of requests")
	case o.Duration < 0 || o.Requests < 0 || o.WarmUp < 0 || o.Timeout < 0 || o.Interval < 0:
		return fmt.Errorf("a negative duration, number of requests, warm-up, timeout or interval")
	case o.Duration > MaxDuration || o.WarmUp > MaxDuration:
		return fmt.Errorf("duration %v, warm-up %v: at most %v each", o.Duration, o.WarmUp, MaxDuration)
	case o.Timeout > maxTimeout:
		return fmt.Errorf("timeout %v: at most %v", o.Timeout, maxTimeout)
	case o.Interval > 0 && o.Arrivals != nil:
		return fmt.Errorf("an interval corrects a closed loop: an open one needs no correction")
	case o.Interval > 0 && o.Interval < minInterval:
		return fmt.Errorf("interval %v: at least %v", o.Interval, minInterval)
	}
	if o.Duration == 0 {
		o.Duration = MaxDuration
	}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	if o.Arrivals != nil && o.Connections == 0 {
		o.Connections = DefaultConnections
	}
	return nil
}
