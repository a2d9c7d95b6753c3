package load

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/optml/optml/transform"
)

// Result is what a run has measured. Durations are in seconds. What belongs to the warm-up is not in it: a request counts
// if it was due, in a closed loop sent, after it.
type Result struct {
	Loop        string  `json:"loop" jsonschema:"enum=open,enum=closed"`
	Concurrency int     `json:"concurrency,omitempty"` // closed: requests that are always open
	Arrivals    string  `json:"arrivals,omitempty"`    // open: constant, poisson, ramp
	Rate        float64 `json:"rate,omitempty"`        // open: asked for, requests a second
	Seed        uint64  `json:"seed,omitempty"`        // of poisson
	Connections int     `json:"connections"`           // at most

	Began   time.Time `json:"began"`   // when the warm-up was over
	Seconds float64   `json:"seconds"` // of load from then on; answers that came later count in all but Throughput

	Due        int64 `json:"due"`        // requests that were to be sent
	Sent       int64 `json:"sent"`       //
	Good       int64 `json:"good"`       // answered in the 200s
	Failed     int64 `json:"failed"`     //
	Missed     int64 `json:"missed"`     // due and never sent: no connection was free till the end
	Unfinished int64 `json:"unfinished"` // open when the run was cut short
	Repeated   int64 `json:"repeated"`   // sent twice: the server had closed the connection that it kept, or did so unanswered
	BytesOut   int64 `json:"bytesOut"`   // of bodies
	BytesIn    int64 `json:"bytesIn"`

	// Throughput is good answers a second, of all that came while there was load.
	Throughput float64 `json:"throughput"`
	// Held says whether the server bore it: at most 0.1 % missed, at least 95 % of what was due answered while there was
	// load, and at most 1 % failed. Why says why not.
	Held bool   `json:"held"`
	Why  string `json:"why,omitempty"`
	// Limit says whom an open loop's rate was too much for: the server, or the generator, which then says little of the
	// server. Absent: the rate was held.
	Limit string `json:"limit,omitempty" jsonschema:"enum=server,enum=generator"`

	// Latency is from when a request was due, in a closed loop sent, to the end of its answer. It is of good answers and of
	// time-outs, which would make a server look fast if they were left out, as other failures would if they were not.
	Latency Distribution `json:"latency"`
	// Service is the same from when it was given to a connection; in a closed loop it is Latency.
	Service Distribution `json:"service"`
	// Late is by how much requests of an open loop were sent after they were due, for want of a free connection or of
	// processors.
	Late *Distribution `json:"late,omitempty"`
	// OwnLate is the part of Late that is the generator's: a connection was free, and the request due.
	OwnLate *Distribution `json:"ownLate,omitempty"`
	// Corrected is a closed loop's Latency with HdrHistogram's correction for the interval that was given.
	Corrected *Distribution `json:"corrected,omitempty"`

	Errors   []ErrorKind   `json:"errors,omitempty"`   // the most frequent first
	Statuses map[int]int64 `json:"statuses,omitempty"` // of answers
	Timeline []Second      `json:"timeline"`
	Stalls   []Stall       `json:"stalls,omitempty"` // the longest ones, in their order

	// Path is what the way to the server costs by itself; absent: it was not measured.
	Path *Path `json:"path,omitempty"`
	// Busy is the part of the time of load in which the generator had something to do: at 1 it is at its end.
	Busy float64 `json:"busy,omitempty"`
	// OwnCPU is the processor time of the process that made the load, in seconds.
	OwnCPU float64 `json:"ownCPU"`

	// Cut is why it ended before its time.
	Cut   string   `json:"cut,omitempty"`
	Notes []string `json:"notes,omitempty"`

	dueRate, awaited float64 // requests a second while there was load, and the answers to await of them
}

// Path is the same load on a server in the same place that does nothing.
type Path struct {
	Median     float64 `json:"median"` // of its Service
	P99        float64 `json:"p99,omitempty"`
	Throughput float64 `json:"throughput"`
}

// ErrorKind is failures of one kind.
type ErrorKind struct {
	Kind  string   `json:"kind"`
	Count int64    `json:"count"`
	Texts []string `json:"texts,omitempty"` // of the first ones
}

// Second is a row of the table that shows what happened when. Requests of the warm-up are in it where they reach beyond.
type Second struct {
	At     int   `json:"at"`     // counted from Began
	Due    int64 `json:"due"`    // in this second
	Sent   int64 `json:"sent"`   //
	Good   int64 `json:"good"`   // answers that came in this second
	Failed int64 `json:"failed"` // known in this second
	// Of the answers that came, and of time-outs, from when they were due; within 1 %.
	P50 float64 `json:"p50,omitempty"`
	P99 float64 `json:"p99,omitempty"`
	Max float64 `json:"max,omitempty"`
}

// Stall is a time in which requests were open and no answer came: at least a tenth of a second, and ten times as long as
// an answer takes and as answers are apart.
type Stall struct {
	At      float64 `json:"at"` // seconds from Began
	Seconds float64 `json:"seconds"`
}

const (
	maxStalls  = 5
	leastStall = 100 * time.Millisecond
	stallTimes = 10
)

// Kinds of errors.
const (
	Refused        = "refused"         // nobody listens
	Unreachable    = "unreachable"     // no connection for another reason
	ConnectTimeout = "connect timeout" //
	Reset          = "reset"           // the connection was torn down
	Closed         = "closed"          // it was closed without an answer
	TimedOut       = "timeout"         //
	ShortBody      = "short body"      // it was closed within the answer's body
	Malformed      = "malformed"       // no HTTP
	Other          = "other"           // and "status 3xx", "status 4xx", "status 5xx"
)

const (
	maxTexts = 3   // of a kind
	maxText  = 300 // bytes of one
)

// kind of an error of a Call.
func kind(err error) string {
	var status *transform.StatusError
	switch {
	case errors.As(err, &status):
		return fmt.Sprintf("status %dxx", status.Status/100)
	case errors.Is(err, transform.ErrConnect):
		switch {
		case errors.Is(err, transform.ErrTimeout):
			return ConnectTimeout
		case errors.Is(err, syscall.ECONNREFUSED):
			return Refused
		}
		return Unreachable
	case errors.Is(err, transform.ErrTimeout):
		return TimedOut
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return Reset
	case errors.Is(err, io.ErrUnexpectedEOF):
		return ShortBody
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrClosedPipe), errors.Is(err, net.ErrClosed):
		return Closed
	case errors.Is(err, transform.ErrMalformed):
		return Malformed
	}
	return Other
}

// failures are counted by kind: there are few of them, and a few texts of each are kept.
type failures map[string]*ErrorKind

func (f failures) add(err error) {
	k := kind(err)
	e := f[k]
	if e == nil {
		e = &ErrorKind{Kind: k}
		f[k] = e
	}
	e.Count++
	if len(e.Texts) >= maxTexts {
		return
	}
	text := err.Error()
	var status *transform.StatusError
	if errors.As(err, &status) && len(status.Body) > 0 {
		text += ": " + string(status.Body)
	}
	text = strings.ToValidUTF8(text[:min(len(text), maxText)], "")
	if !slices.Contains(e.Texts, text) {
		e.Texts = append(e.Texts, text)
	}
}

func (f failures) list() (out []ErrorKind) {
	for _, e := range f {
		out = append(out, *e)
	}
	slices.SortFunc(out, func(a, b ErrorKind) int {
		if a.Count != b.Count {
			return int(b.Count - a.Count)
		}
		return strings.Compare(a.Kind, b.Kind)
	})
	return out
}

const (
	heldPart   = 0.95 // of what is due, to be answered in time
	heldFailed = 0.01 // of what is sent, to fail
	// heldMissed is the part of what is due that may never be sent: a request that is due as the time ends may find each
	// connection in use, and a queue that grows no faster is none.
	heldMissed = 0.001
)

// Who a rate was too much for.
const (
	LimitServer    = "server"
	LimitGenerator = "generator"
)

const (
	// fullyBusy is the part of its time from which on the generator is at its end: what is left are moments.
	fullyBusy = 0.9
	// ownPart is the part of the delays from which on they are the generator's.
	ownPart = 0.5
	// What the generator is late by itself is told if it is so much, and so much of the latency.
	ownLateTold, ownLatePart = 1e-3, 0.1
)

// judge says whether the server bore the load.
func (r *Result) judge() {
	switch {
	case r.Sent == 0 && r.Missed == 0:
		r.Why = "nothing was sent"
	case float64(r.Failed) > heldFailed*float64(r.Sent):
		r.Why = fmt.Sprintf("%d of %d requests failed", r.Failed, r.Sent)
	case float64(r.Missed) > heldMissed*float64(r.Due):
		r.Why = fmt.Sprintf("%d of %d requests were due and never sent: all %d connections waited for answers", r.Missed, r.Due, r.Connections)
	case r.Loop == "open" && r.Throughput < heldPart*r.awaited*(1-float64(r.Failed)/float64(r.Sent)):
		r.Why = fmt.Sprintf("%s good answers a second to %s requests that were due: they pile up", number(r.Throughput), number(r.dueRate))
	}
	if r.Held = r.Why == ""; r.Loop != "open" || r.Sent == 0 {
		return
	}
	late, own := r.OwnLate.Mean, 0.0
	if p, ok := r.OwnLate.At(99); ok {
		own = p
	}
	switch all, _ := r.Latency.At(99); {
	case r.Held && own >= ownLateTold && own >= ownLatePart*all:
		r.Notes = append(r.Notes, fmt.Sprintf("the generator, not the server, was late: a request in a hundred was sent %s or more after it was due, with a connection free. This is in the latencies; the machine was short of processors", span(own)))
	case r.Held:
	case float64(r.Failed) > heldFailed*float64(r.Sent):
		r.Limit = LimitServer
	case r.Busy >= fullyBusy:
		r.Limit = LimitGenerator
		r.Why = fmt.Sprintf("the generator, not the server, is at its limit: it was busy for %.0f %% of the time and sent %s of the %s requests a second that were due",
			100*r.Busy, number(float64(r.Sent)/r.Seconds), number(r.dueRate))
	case late >= ownPart*r.Late.Mean && late >= ownLateTold:
		r.Limit = LimitGenerator
		r.Why = fmt.Sprintf("the generator, not the server, was late: on average it sent %s after a request was due with a connection free; the machine was short of processors", span(late))
	default:
		r.Limit = LimitServer
	}
}

// pathIsMost is the part of what goes over the way to nothing from which on the way is what is measured.
const pathIsMost = 0.7

// SetPath notes what the way to the server costs, as Baseline has measured it.
func (r *Result) SetPath(base *Result) {
	r.Path = &Path{Median: base.Service.Median(), Throughput: base.Throughput}
	r.Path.P99, _ = base.Service.At(99)
	if r.Loop == "closed" && r.Throughput > pathIsMost*base.Throughput {
		r.Notes = append(r.Notes, fmt.Sprintf("a server that does nothing answers %s/s here: this one may bear more than the generator can send", number(base.Throughput)))
	}
}
