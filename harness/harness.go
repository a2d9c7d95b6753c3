// Package harness carries a job out: it takes the Plan of a ledger entry that the caller owns, runs it step by step on
// a Launcher, and appends to the ledger what happens. Afterwards nothing of the job is left on the host but its entry
// and what it made.
//
// The steps of a training: layout, then image, channels and create while the data is filled in, start, wait, artifacts,
// upload. Of a transform: layout, image, model, create, start, serve, transform;
// of a container that only serves: load in transform's place. Each has its name in the events; the
// runner of steps alone knows failpoints, so that crash tests can loop over the names.
//
// Recover does the same for a job whose owner died: it tells the truth about it, delivers what is there and clears up.
package harness

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/optml/optml/job"
	"github.com/optml/optml/ledger"
	"github.com/optml/optml/metrics"
	"github.com/optml/optml/objstore"
	"github.com/optml/optml/runtime/container"
)

// Host is what carrying a job out needs of this machine. The fields up to Stores are required for Run.
type Host struct {
	Launcher container.Launcher
	Images   container.Images
	Stores   objstore.Opener
	// StoresOf finds the stores that a job of the ledger was given, which need not be those of whoever recovers it;
	// nil: Stores.
	StoresOf func(*ledger.Job) (objstore.Opener, error)
	Pull     container.Pull
	GPUs     container.GPUs     // nil: the host has none
	Log      *slog.Logger       // nil: discard
	Stops    <-chan ledger.Stop // beside those of the ledger: Ctrl-C; may be nil
	Fail     Failpoint          // for crash tests
	// MountDir is where FastFile channels are mounted on this machine, a directory a job (D12); "": they are refused.
	MountDir string
	// Spool is how many bytes FastFile channels may keep on disk for later epochs; nil: half of what is free.
	Spool *int64
	// NoPassthrough keeps the kernel from serving FastFile's files by itself.
	NoPassthrough bool
	// Pulling are the images that are being fetched, for the job's snapshots; may be nil.
	Pulling func() []ledger.ImageLive
	// Page shows the metrics of jobs to Prometheus; nil: nobody asks.
	Page *metrics.Page
	// Credentials are what containers with an open network may ask for; nil: none (ENV-6).
	Credentials Credentials
	// Drive is what a serving's container is there for: it is called when the container is ready, and the job ends with it.
	Drive  func(context.Context, Served) error
	CPUs   int // of the host, for percentages
	Memory int64
}

// Run carries out the job that o owns and returns its final transition. The error is only for what kept the end from
// being recorded; how the job ended is in the transition. When ctx is done the job is stopped as by a stop request.
func Run(ctx context.Context, o *ledger.Owner, p *job.Plan, h Host) (ledger.Transition, error) {
	if h.Log == nil {
		h.Log = slog.New(slog.DiscardHandler)
	}
	r := &run{owner: o, plan: p, host: h, kill: make(chan struct{})}
	r.warnings()
	// From here on ctx is cancelled with a cause, and the cause decides how the job ends.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := r.watchStops(cancel)

	var end Ending
	switch p.Kind {
	case job.KindTraining:
		end = r.train(ctx, cancel)
		for attempt := 2; attempt <= p.Training.Retries+1 && r.again(ctx, &end, attempt); attempt++ {
			end = r.train(ctx, cancel)
		}
	case job.KindTransform:
		end = r.inference(ctx, "transform", (*fleet).drive)
	case job.KindServing:
		end = r.inference(ctx, "load", (*fleet).load)
	default:
		end = Ending{Err: fmt.Errorf("a plan of kind %q is not for one harness", p.Kind)}
	}
	watch()
	end.Kind, end.Region = p.Kind, p.Region
	return r.finish(end)
}

// warnings records those of the plan.
func (r *run) warnings() {
	for _, w := range r.plan.Warnings {
		r.append(ledger.Warning{Rule: w.Rule, Text: w.Text})
	}
}

// run is one job being carried out.
type run struct {
	owner *ledger.Owner
	plan  *job.Plan
	host  Host

	mu     sync.Mutex
	undos  []undo
	lost   error // the first event that could not be written
	step   string
	kill   chan struct{} // closed when the job is to be killed without grace
	killed sync.Once
	since  time.Time // the start of the first attempt's download (STOP-6)

	grants  grants
	sources []func(*ledger.Snapshot)  // what the ticker asks
	meters  map[string]*instanceMeter // by host
	disks   map[string]func() (used, size int64)
	samples *recorder                  // nil: there were none yet
	images  map[string]container.Image // by the reference that is launched

	// Set before the first container of an attempt is made, read only afterwards.
	taken container.TakenGPUs
	gpus  map[string][]container.GPU // by host
}

// finish undoes what is left, removes the scratch tree and writes the final transition. That comes last: whoever sees
// it may rely on the host being clean.
func (r *run) finish(end Ending) (ledger.Transition, error) {
	end.Name = r.plan.Name
	final := end.Outcome()
	r.unmeasured()
	if err := r.undoAll(); err != nil {
		r.host.Log.Error("clear up", "job", r.plan.Name, "error", err)
		r.append(ledger.Warning{Rule: "optml", Text: "not everything could be cleared up: " + err.Error()})
	}
	if end.keepWork() {
		if err := r.owner.GiveWork(); err != nil {
			r.host.Log.Error("give the artifacts to the user", "job", r.plan.Name, "error", err)
		}
		r.append(ledger.Warning{Rule: "optml", Text: "the artifacts that could not be uploaded are kept in " + r.owner.WorkDir()})
		final.Hint = strings.TrimPrefix(final.Hint+"; `optml upload "+r.plan.Name+"` uploads what is kept", "; ")
	} else if err := os.RemoveAll(r.owner.WorkDir()); err != nil {
		r.append(ledger.Warning{Rule: "optml", Text: "scratch could not be removed: " + err.Error()})
	}
	r.recorded()
	r.append(final)
	return final, r.lost
}

// keepWork says whether the scratch tree holds the only copy of an artifact.
func (e Ending) keepWork() bool { return e.Upload != nil }

// append records an event of the current step. A ledger that cannot be written ends the run: what cannot be recorded
// must not happen.
func (r *run) append(b ledger.Body) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.owner.At("", r.step).Append(b); err != nil && r.lost == nil {
		r.lost = err
	}
}

func (r *run) appendAt(host, step string, b ledger.Body) error {
	err := r.owner.At(host, step).Append(b)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil && r.lost == nil {
		r.lost = err
	}
	return err
}

// transition records a change of status.
func (r *run) transition(status, secondary, message string) {
	r.append(ledger.Transition{Status: status, Secondary: secondary, Message: message})
}

// watchStops turns stop requests into a cancellation with the cause; a request to kill closes r.kill as well.
// The function returned ends the watch.
func (r *run) watchStops(cancel context.CancelCauseFunc) (end func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	on := func(s ledger.Stop, ok bool) bool {
		if !ok {
			return false
		}
		if s.Kill {
			r.killed.Do(func() { close(r.kill) })
		}
		cancel(StopRequested{s})
		return true
	}
	wg.Go(func() {
		stops, signals := r.owner.Stops(), r.host.Stops
		for stops != nil || signals != nil {
			select {
			case s, ok := <-stops:
				if !on(s, ok) {
					stops = nil
				}
			case s, ok := <-signals:
				if !on(s, ok) {
					signals = nil
				}
			case <-done:
				return
			}
		}
	})
	return func() { close(done); wg.Wait() }
}

// causeOf prefers the reason for which ctx was cancelled to the error that came of it.
func causeOf(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return StopRequested{ledger.Stop{Reason: "cancelled"}}
}

// tick publishes a snapshot four times a second until the function returned is called.
func (r *run) tick() (end func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		t := time.NewTicker(250 * time.Millisecond)
		defer t.Stop()
		for {
			r.snapshot(false)
			select {
			case <-t.C:
			case <-done:
				r.snapshot(true)
				return
			}
		}
	})
	return sync.OnceFunc(func() { close(done); wg.Wait() })
}

func (r *run) snapshot(last bool) {
	r.mu.Lock()
	s := ledger.Snapshot{At: time.Now().UTC(), Step: r.step, Last: last}
	sources := r.sources
	r.mu.Unlock()
	if r.host.Pulling != nil {
		s.Images = r.host.Pulling()
	}
	for _, f := range sources {
		f(&s)
	}
	r.owner.Live(s)
	r.mu.Lock()
	c := r.samples
	r.mu.Unlock()
	if c != nil {
		c.expose()
	}
}

// observe adds a source to the snapshots.
func (r *run) observe(f func(*ledger.Snapshot)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sources = append(r.sources[:len(r.sources):len(r.sources)], f)
}
