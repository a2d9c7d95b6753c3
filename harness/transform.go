package harness

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/optml/optml/dataset"
	"github.com/optml/optml/ledger"
	"github.com/optml/optml/logfile"
	"github.com/optml/optml/objstore"
	"github.com/optml/optml/runtime/container"
	"github.com/optml/optml/transform"
)

// inference carries a batch transform out, or a container that only serves: the model's containers are started, and driven
// in a step of that name.
func (r *run) inference(ctx context.Context, step string, drive func(*fleet, context.Context) error) Ending {
	what := map[string]string{"transform": "the transform job", "load": "the model's container"}[step]
	f, err := r.fleet(step)
	if err != nil {
		return Ending{Err: err}
	}
	r.transition("InProgress", "InProgress", "Starting "+what)
	defer r.tick()()
	stopped := func(err error) Ending {
		err = causeOf(ctx, err)
		var stop StopRequested
		if errors.As(err, &stop) {
			r.transition("Stopping", "Stopping", "Stopping "+what)
		}
		end := Ending{Err: err}
		end.Exit, end.Container = f.exit()
		return end
	}
	if err := f.prepare(ctx); err != nil {
		return stopped(err)
	}
	if ctx.Err() != nil {
		return stopped(ctx.Err())
	}
	if err := f.serve(context.WithoutCancel(ctx)); err != nil {
		f.stop(ctx)
		return Ending{Err: err}
	}
	err = r.do(ctx, f.host, step, func(ctx context.Context) error { return drive(f, ctx) })
	var end Ending
	if err != nil {
		f.settle(err)
		end = stopped(err)
	}
	f.stop(ctx)
	if end.Exit == nil || end.Err == nil {
		end.Exit, end.Container = &container.Exit{}, "" // the work is done: how a container takes its SIGTERM is no matter (INF-7)
	}
	return end
}

// drive sends the input through the containers and records the totals.
func (f *fleet) drive(ctx context.Context) error {
	r, t := f.run, f.transform
	out, prefix, err := r.host.Stores.Open(ctx, t.Output.Path)
	if err != nil {
		return &transform.Error{Reason: "ClientError: " + err.Error(), Err: err}
	}
	instances, closeLogs, err := f.instances()
	if err != nil {
		return err
	}
	defer closeLogs()
	in, err := r.input(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = in.close() }()
	stats := &transform.Stats{}
	var pace pace
	r.observe(func(s *ledger.Snapshot) { s.Transform = pace.live(stats.Totals(), time.Now()) })
	requests, failures := &lateFile{path: r.owner.RequestLogPath()}, &lateFile{path: r.owner.FailuresPath()}
	var taps taps
	cfg := transform.Config{
		Failures: failures, FailingDir: r.owner.FailingDir(),
		Job: *t, Bucket: in.bucket, Prefix: in.prefix, Objects: taps.objects(in.objects), Stats: stats,
		Instances: instances,
		Create: taps.create(func(ctx context.Context, name, contentType string) (transform.Writer, error) {
			return out.Create(ctx, objstore.Join(prefix, name), objstore.CreateOptions{ContentType: contentType, KMSKeyID: t.Output.KMSKeyID})
		}),
		Remove: func(ctx context.Context, name string) error { return out.Delete(ctx, objstore.Join(prefix, name)) },
	}
	if t.Capture != nil {
		if cfg.Capture, err = f.capture(ctx, in, func(name string) string { return out.URI(objstore.Join(prefix, name)) }); err != nil {
			return err
		}
		cfg.Began = r.began()
	}
	if t.RecordRequests {
		cfg.Requests = requests
	}
	res, err := transform.Run(ctx, cfg)
	if ctx.Err() == nil { // the outputs of a stopped job are removed (BT-144)
		r.sampled(taps.samples())
	}
	for _, e := range []error{res.Unrecorded, requests.Close(), failures.Close()} {
		if e != nil {
			r.append(ledger.Warning{Rule: "optml", Text: e.Error()})
		}
	}
	for _, w := range res.Warnings {
		r.append(ledger.Warning{Rule: "BT-26", Text: w})
	}
	if len(res.Instances) > 0 {
		set, first := res.Settings(), res.Instances[0]
		var each []ledger.InstanceTotals
		for _, in := range res.Instances {
			first.PingAfter = max(first.PingAfter, in.PingAfter) // the job is ready when its last instance is
			each = append(each, ledger.InstanceTotals{Host: in.Host, Objects: int64(in.Objects), PingAfter: in.PingAfter})
		}
		if len(each) == 1 {
			each = nil
		}
		var large int64
		for _, f := range res.Failures {
			if f.TooLarge() {
				large++
			}
		}
		r.append(ledger.TransformTotals{Objects: res.Totals.Objects, Failed: res.Totals.Failed, TooLarge: large, Records: res.Totals.Records, Requests: res.Totals.Requests,
			Retries: res.Totals.Retries, BytesIn: res.Totals.BytesIn, BytesOut: res.Totals.BytesOut, Duration: res.Duration, PingAfter: first.PingAfter,
			MaxConcurrent: set.MaxConcurrent, MaxPayloadMB: set.MaxPayloadMB, BatchStrategy: set.BatchStrategy,
			Instances: each})
	}
	return err
}

// began is when the job began, for what bears its time.
func (r *run) began() time.Time {
	if t := r.owner.State().StartTime; !t.IsZero() {
		return t
	}
	return r.plan.Transform.CreationTime
}

// capture is where the manifests of a DataCaptureConfig go (BT-170).
func (f *fleet) capture(ctx context.Context, in input, outputURI func(string) string) (*transform.Capture, error) {
	c := f.transform.Capture
	to, prefix, err := f.run.host.Stores.Open(ctx, c.Path)
	if err != nil {
		return nil, &transform.Error{Reason: "ClientError: " + err.Error(), Err: err}
	}
	return &transform.Capture{
		Name: f.run.plan.Name, InputURI: in.uri, OutputURI: outputURI,
		Create: func(ctx context.Context, name, contentType string) (transform.Writer, error) {
			return to.Create(ctx, objstore.Join(prefix, name), objstore.CreateOptions{ContentType: contentType, KMSKeyID: c.KMSKeyID})
		},
		Remove: func(ctx context.Context, name string) error { return to.Delete(ctx, objstore.Join(prefix, name)) },
	}, nil
}

// outputName is where transform puts an object's output (BT-131, BT-136).
func outputName(prefix string, o transform.Object) string {
	if o.Name != "" {
		return o.Name + ".out"
	}
	return transform.OutputName(prefix, o.Key)
}

// streamWriter makes a log of a Writer's one stream.
type streamWriter struct{ w *logfile.Writer }

func (s streamWriter) Write(p []byte) (int, error) {
	s.w.Write(logfile.Stdout, p)
	return len(p), nil
}

// input is what a transform reads.
type input struct {
	bucket, prefix string
	objects        iter.Seq2[transform.Object, error]
	uri            func(key string) string // once objects has been read
	close          func() error
}

func (r *run) input(ctx context.Context) (input, error) {
	src := r.plan.Transform.Input.Source
	_, prefix, err := r.host.Stores.Open(ctx, src.URI)
	if err != nil {
		return input{}, &dataset.Error{Object: src.URI, Err: err}
	}
	set, err := dataset.New(ctx, dataset.Config{Source: src, Opener: r.host.Stores, Region: r.plan.Region, TempDir: r.owner.WorkDir()})
	if err != nil {
		return input{}, err
	}
	in := input{prefix: prefix, close: set.Close}
	if l, err := objstore.ParseURI(src.URI, ""); err == nil {
		in.bucket = l.Bucket
	}
	again, some, err := r.rerun()
	if err != nil {
		return input{}, errors.Join(err, set.Close())
	}
	var store objstore.Store // all objects of a source lie in one
	in.uri = func(key string) string { return store.URI(key) }
	in.objects = func(yield func(transform.Object, error) bool) {
		for e, err := range set.Entries(ctx) {
			if err != nil {
				yield(transform.Object{}, err)
				return
			}
			if e.Dir { // BT-35
				continue
			}
			store = e.Store
			if !yield(transform.Object{Key: e.Object.Key, Size: e.Object.Size, Name: e.Suffix, Open: e.Open}, nil) {
				return
			}
		}
	}
	if some {
		in.objects = only(in.objects, again)
	}
	return in, nil
}

// dropOutputs removes what a dead owner left half written: the outputs of this job's own objects and no other's, since
// jobs may share an output path and other owners may be writing there (BT-137, BT-142, ruling 1).
func (r *run) dropOutputs(ctx context.Context) {
	captured := func() error {
		c := r.plan.Transform.Capture
		if c == nil {
			return nil
		}
		to, prefix, err := r.host.Stores.Open(ctx, c.Path)
		if _, local := to.(*objstore.Dir); local {
			_, err := to.Sweep(ctx, prefix, 0)
			return err
		}
		for _, name := range transform.CaptureNames(r.plan.Name, r.began()) {
			if err == nil {
				_, err = to.Sweep(ctx, objstore.Join(prefix, name), 0)
			}
		}
		return err
	}
	err := func() error {
		out, prefix, err := r.host.Stores.Open(ctx, r.plan.Transform.Output.Path)
		if err != nil {
			return err
		}
		if _, local := out.(*objstore.Dir); local { // it knows by itself which writers are dead
			_, err := out.Sweep(ctx, prefix, 0)
			return err
		}
		in, err := r.input(ctx)
		if err != nil {
			return err
		}
		defer func() { _ = in.close() }()
		for o, err := range in.objects {
			if err != nil {
				return err
			}
			if _, err := out.Sweep(ctx, objstore.Join(prefix, outputName(in.prefix, o)), 0); err != nil {
				return err
			}
		}
		return nil
	}()
	if err = errors.Join(err, captured()); err != nil {
		r.append(ledger.Warning{Rule: "BT-142", Text: "unfinished outputs could not be looked for: " + err.Error()})
	}
}
