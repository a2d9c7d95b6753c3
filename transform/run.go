package transform

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/optml/optml/dataprocessing"
	"github.com/optml/optml/framing"
	"github.com/optml/optml/job"
)

// Run carries the job out. It returns when every object has ended and nothing of it runs any more.
//
// The error is nil when the job is Completed, and context.Cause(ctx) when ctx ended it: then no output of the job is left
// (BT-143, BT-144). Else it is an *Error with the FailureReason, which the Result has too. If objects failed, the others
// have been processed and their outputs are there (BT-141).
func Run(ctx context.Context, cfg Config) (res Result, err error) {
	start := time.Now()
	if cfg.Began.IsZero() {
		cfg.Began = start
	}
	if cfg.Stats == nil {
		cfg.Stats = new(Stats)
	}
	r := &run{cfg: &cfg, stats: cfg.Stats}
	defer func() {
		res.Totals, res.Duration = r.stats.Totals(), time.Since(start)
		if e, ok := errors.AsType[*Error](err); ok {
			res.FailureReason = e.Reason
		}
	}()
	if err := r.prepare(); err != nil {
		return res, err
	}
	r.requests, r.keeper = newRequestLog(cfg.Requests), newKeeper(cfg.FailingDir)
	defer func() { res.Unrecorded = r.unrecorded() }()
	inner, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	pools := r.pools(inner)
	defer context.AfterFunc(inner, func() {
		for _, p := range pools {
			p.stop()
		}
	})()
	defer func() {
		for _, p := range pools {
			p.hangUp(true)
		}
	}()
	res.Instances = make([]InstanceResult, len(pools))
	if err := r.handshake(inner, cancel, pools, &res); err != nil {
		return res, err
	}
	var wg sync.WaitGroup
	for i, p := range pools {
		share := r.share(i, len(pools))
		res.Instances[i].Objects = len(share)
		wg.Go(func() { p.run(share) })
	}
	wg.Wait()
	captured := r.capture(ctx)
	if ctx.Err() != nil {
		if err := errors.Join(r.remove(ctx), r.removeCaptured(ctx)); err != nil {
			return res, errors.Join(context.Cause(ctx), err)
		}
		return res, context.Cause(ctx)
	}
	return res, r.outcome(&res, captured)
}

type run struct {
	cfg     *Config
	stats   *Stats
	objects []*object

	requests *requestLog
	keeper   *keeper
	captured bool // a manifest may be there

	mu       sync.Mutex
	failures []*Failure
	listErr  error    // of Config.Failures
	first    *Failure // the first failed object in key order
}

// prepare checks the settings and lists the objects.
func (r *run) prepare() error {
	t := &r.cfg.Job
	refuse := func(err error) error {
		text := []rune(string(ClientError) + ": " + err.Error())
		return &Error{Reason: string(text[:min(len(text), maxReason)]), Err: err}
	}
	if t.InvocationTimeout <= 0 {
		t.InvocationTimeout = job.Duration(600 * time.Second) // BT-104
	}
	if t.PingWindow <= 0 {
		t.PingWindow = job.Duration(30 * time.Minute) // INF-64
	}
	if err := checkRequest(*t); err != nil {
		return refuse(err)
	}
	if _, ok := framing.ByName(t.Input.SplitType); !ok && t.Input.SplitType != "" && t.Input.SplitType != "None" {
		return refuse(fmt.Errorf("SplitType %q is not known", t.Input.SplitType))
	}
	if _, err := processor(r.cfg); err != nil {
		if _, later := errors.AsType[*dataprocessing.PathError](err); !later {
			return refuse(err)
		}
	}
	if len(r.cfg.Instances) == 0 {
		return &Error{Reason: reasonInternal, Err: errors.New("no instance")}
	}
	for o, err := range r.cfg.Objects {
		if err != nil {
			return refuse(err)
		}
		if o.Size == 0 && strings.HasSuffix(o.Key, "/") {
			continue // BT-35
		}
		name := o.Name + ".out" // BT-136
		if o.Name == "" {
			name = OutputName(r.cfg.Prefix, o.Key)
		}
		x := &object{Object: o, name: name}
		x.Open = x.counted(o.Open)
		r.objects = append(r.objects, x)
	}
	if len(r.objects) == 0 {
		return refuse(fmt.Errorf("%w: nothing matches %s", ErrNoObjects, t.Input.Source.URI)) // BT-34
	}
	slices.SortStableFunc(r.objects, func(a, b *object) int { return strings.Compare(a.Key, b.Key) })
	for i, o := range r.objects {
		o.index = i
		r.stats.TotalBytes.Add(max(0, o.Size))
	}
	r.stats.TotalObjects.Store(int64(len(r.objects)))
	if err := clash(r.objects); err != nil {
		return refuse(err)
	}
	return nil
}

// maxReason is the length of a FailureReason in characters (ST-2).
const maxReason = 1024

func (r *run) pools(ctx context.Context) []*pool {
	pools := make([]*pool, len(r.cfg.Instances))
	for i, in := range r.cfg.Instances {
		pools[i] = newPool(ctx, r.cfg, in, r.stats, r.failed)
		pools[i].requests, pools[i].keeper = r.requests, r.keeper
	}
	return pools
}

// handshake waits for every container, then asks each for its parameters (BT-20). No object is sent before all are ready.
func (r *run) handshake(ctx context.Context, cancel context.CancelCauseFunc, pools []*pool, res *Result) error {
	errs := make([]error, len(pools))
	warnings := make([][]string, len(pools))
	var wg sync.WaitGroup
	for i, p := range pools {
		in := &res.Instances[i]
		in.Host = p.in.Host
		wg.Go(func() {
			if errs[i] = p.ready(ctx, r.cfg.Job.PingWindow.Std(), in); errs[i] != nil {
				cancel(errs[i])
				return
			}
			said, w := p.parameters(ctx)
			s, more := resolve(r.cfg.Job, said)
			warnings[i] = append(w, more...)
			in.Settings = s
			p.resolve(s)
			if p.dp != nil && p.streams() {
				cancel(&Error{Reason: string(ClientError) + ": " + errStreamed.Error(), Err: errStreamed})
				return
			}
			p.log.settings(s)
		})
	}
	wg.Wait()
	for _, w := range warnings {
		for _, text := range w {
			if !slices.Contains(res.Warnings, text) {
				res.Warnings = append(res.Warnings, text)
			}
		}
	}
	for i, err := range errs {
		if errors.Is(err, ErrPing) {
			return &Error{Reason: reasonPing, Err: fmt.Errorf("%s: %w", pools[i].in.Host, err)}
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// share is what instance i of n processes (BT-37, BT-38).
func (r *run) share(i, n int) []*object {
	var share []*object
	for ; i < len(r.objects); i += n {
		share = append(share, r.objects[i])
	}
	return share
}

// failed takes one object's failure.
func (r *run) failed(f *Failure) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.first == nil || f.index < r.first.index {
		r.first = f
	}
	if len(r.failures) < MaxFailures {
		r.failures = append(r.failures, f)
	}
	if r.cfg.Failures != nil && r.listErr == nil {
		var line []byte
		if line, r.listErr = f.line(); r.listErr == nil {
			_, r.listErr = r.cfg.Failures.Write(line)
		}
	}
}

// unrecorded ends the records and says what is missing in them.
func (r *run) unrecorded() error {
	var errs []error
	for _, x := range []struct {
		what string
		err  error
	}{{"requests", r.requests.close()}, {"failed objects", r.listErr}, {"failing batches", r.keeper.failure()}} {
		if x.err != nil {
			errs = append(errs, fmt.Errorf("not all %s are on record: %w", x.what, x.err))
		}
	}
	return errors.Join(errs...)
}

// outcome turns the failures into the job's error: the first failed object in key order decides (the ruling below ST-14).
func (r *run) outcome(res *Result, captured error) error {
	if r.first == nil && captured != nil {
		return &Error{Reason: reasonInternal, Err: captured}
	}
	if r.first == nil {
		return nil
	}
	slices.SortFunc(r.failures, func(a, b *Failure) int { return a.index - b.index })
	if r.failures[0] != r.first {
		r.failures[len(r.failures)-1] = r.first
		slices.SortFunc(r.failures, func(a, b *Failure) int { return a.index - b.index })
	}
	for _, f := range r.failures {
		res.Failures = append(res.Failures, *f)
	}
	e := &Error{Reason: reason(r.first.Class)}
	e.Kept, e.Replay = r.keeper.first()
	e.Err = fmt.Errorf("%w: %d of %d, the first: %w", ErrObjects, r.stats.Failed.Load(), len(r.objects), r.first)
	if captured != nil {
		e.Err = fmt.Errorf("%w; %w", e.Err, captured)
	}
	return e
}

const (
	removeTime = 2 * time.Minute
	removers   = 8
)

// remove deletes the outputs of a job that was stopped (BT-144), detached from its end.
func (r *run) remove(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTime)
	defer cancel()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	slots := make(chan struct{}, removers)
	for _, o := range r.objects {
		if !o.touched {
			continue
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := r.cfg.Remove(ctx, o.name); err != nil {
				mu.Lock()
				if errs = append(errs, fmt.Errorf("remove %s: %w", o.name, err)); len(errs) > 10 {
					errs = errs[:10]
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
