package harness

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/optml/optml/artifact"
	"github.com/optml/optml/dataset"
	"github.com/optml/optml/job"
	"github.com/optml/optml/ledger"
	"github.com/optml/optml/logfile"
	"github.com/optml/optml/objstore"
	"github.com/optml/optml/runtime/container"
	"github.com/optml/optml/transform"
)

// transform carries a batch transform out: the model's container is started and driven over all input objects.
func (r *run) transform(ctx context.Context, cancel context.CancelCauseFunc) Ending {
	t := r.plan.Transform
	if len(t.Instances) != 1 || len(t.Instances[0].Containers) != 1 {
		return Ending{Err: errors.New("TransformResources.InstanceCount, Containers: several instances or containers of a transform are not carried out yet")}
	}
	m := &model{run: r, transform: t, host: t.Instances[0].Host, spec: t.Instances[0].Containers[0]}
	if len(t.Models) > 0 {
		m.source = t.Models[0]
	}
	m.dir = filepath.Join(r.owner.WorkDir(), m.host, "model")

	r.transition("InProgress", "InProgress", "Starting the transform job")
	defer r.tick()()
	stopped := func(err error) Ending {
		err = causeOf(ctx, err)
		var stop StopRequested
		if errors.As(err, &stop) {
			r.transition("Stopping", "Stopping", "Stopping the transform job")
		}
		return Ending{Err: err, Exit: m.exit()}
	}
	if err := m.prepare(ctx); err != nil {
		return stopped(err)
	}
	if ctx.Err() != nil {
		return stopped(ctx.Err())
	}
	if err := r.do(context.WithoutCancel(ctx), m.host, "serve", m.serve); err != nil {
		return Ending{Err: err}
	}
	err := r.do(ctx, m.host, "transform", m.drive)
	var end Ending
	if err != nil {
		end = stopped(err)
	}
	m.stop(ctx)
	if end.Exit == nil || end.Err == nil {
		end.Exit = &container.Exit{} // the work is done: how the container takes its SIGTERM is no matter (INF-7)
	}
	return end
}

// model is one container that serves a model.
type model struct {
	run       *run
	transform *job.Transform
	host      string
	spec      job.Container
	source    job.ModelSource
	dir       string

	task  container.Task
	ended chan struct{} // closed when the main process has ended
	last  container.Exit
}

// prepare brings image and model side by side, then makes the container.
func (m *model) prepare(ctx context.Context) error {
	r := m.run
	if err := r.do(ctx, m.host, "layout", func(context.Context) error { return mkdir(m.dir) }); err != nil {
		return err
	}
	err := par(ctx,
		func(ctx context.Context) error {
			return r.do(ctx, m.host, "image", func(ctx context.Context) error {
				img, err := r.ensure(ctx, m.host, m.spec)
				if err != nil {
					return err
				}
				m.spec.Image.Ref = img.Ref
				if w, ok := userWarning(img.User, false); ok {
					r.append(ledger.Warning{Rule: "INF-4", Text: w})
				}
				if w, ok := initWarning(img.Entrypoint); ok {
					r.append(ledger.Warning{Rule: "INF-5", Text: w})
				}
				return nil
			})
		},
		func(ctx context.Context) error { return r.do(ctx, m.host, "model", m.fetch) },
	)
	if err != nil {
		return err
	}
	return r.do(ctx, m.host, "create", func(ctx context.Context) error {
		t := m.transform
		task, err := r.launch(ctx, m.host, m.spec, container.Spec{
			Mounts:   []container.Mount{{Source: m.dir, Target: "/opt/ml/model", ReadOnly: !t.ModelWritable}}, // INF-22
			Network:  container.Network{Isolated: t.Isolated, Hosts: []string{m.host}},
			ShmBytes: t.ShmBytes,
		})
		m.task = task
		return err
	})
}

// mkdir makes a directory that the container sees as root's, 0755, whatever the umask.
func mkdir(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.Chmod(dir, 0o755)
}

// modelBytes is the fixed volume of a transform instance (INF-32): more than fits is warned of, not refused.
const modelBytes = 30 << 30

// fetch unpacks the model's archive into /opt/ml/model (INF-20). Without one the directory stays empty (INF-30).
func (m *model) fetch(ctx context.Context) error {
	if m.source.URI == "" {
		return nil
	}
	fail := func(err error) error { return &ModelError{URI: m.source.URI, Err: err} }
	store, key, err := m.run.host.Stores.Open(ctx, m.source.URI)
	if err != nil {
		return fail(err)
	}
	s, err := artifact.Download(ctx, store, key, m.dir, artifact.Limits{})
	if err != nil {
		return fail(err)
	}
	if s.Links > 0 {
		m.run.append(ledger.Warning{Rule: "INF-31", Text: fmt.Sprintf("%s holds %d symbolic links; SageMaker refuses to make a model of such an archive", m.source.URI, s.Links)})
	}
	if s.Bytes > modelBytes {
		m.run.append(ledger.Warning{Rule: "INF-32", Text: fmt.Sprintf("the model has %d bytes unpacked; a transform instance has 30 GB for it", s.Bytes)})
	}
	return nil
}

// serve starts the container.
func (m *model) serve(ctx context.Context) error {
	if err := m.run.start(ctx, m.host, m.spec.Name, m.task); err != nil {
		return err
	}
	m.ended = make(chan struct{})
	go func() {
		defer close(m.ended)
		x, err := m.task.Wait(context.WithoutCancel(ctx))
		if err != nil {
			m.run.host.Log.Warn("wait for container", "container", m.spec.Name, "error", err)
			return
		}
		m.last = x
		_ = m.run.appendAt(m.host, "transform", ledger.Exited{Container: m.spec.Name, Code: x.Code, Signal: x.Signal, OOM: x.OOM, At: x.At})
	}()
	return nil
}

// exit is how the container ended; nil while it runs or when it never did.
func (m *model) exit() *container.Exit {
	if m.ended == nil {
		return nil
	}
	select {
	case <-m.ended:
		return &m.last
	default:
		return nil
	}
}

// stop ends the container: SIGTERM, and SIGKILL after the grace (INF-7, ruling 16).
func (m *model) stop(ctx context.Context) {
	gone, cancel := context.WithCancel(ctx)
	cancel()
	_, err := m.run.waitOrStop(gone, m.task, m.transform.Grace.Std(), func() {})
	if err != nil {
		m.run.append(ledger.Warning{Rule: "INF-7", Text: err.Error()})
	}
	<-m.ended
}

// drive sends the input through the container and records the totals.
func (m *model) drive(ctx context.Context) error {
	r, t := m.run, m.transform
	out, prefix, err := r.host.Stores.Open(ctx, t.Output.Path)
	if err != nil {
		return &transform.Error{Reason: "ClientError: " + err.Error(), Err: err}
	}
	datalog, err := logfile.Create(r.owner.LogPath("data-log")) // ST-18
	if err != nil {
		return err
	}
	defer datalog.Close()
	in, err := r.input(ctx)
	if err != nil {
		return err
	}
	defer in.close()
	stats := &transform.Stats{}
	r.observe(func(s *ledger.Snapshot) {
		n := stats.Totals()
		s.Transform = &ledger.TransformLive{Objects: n.Objects, TotalObjects: n.TotalObjects, Failed: n.Failed, Records: n.Records, Requests: n.Requests,
			InFlight: n.InFlight, BytesIn: n.BytesIn, BytesOut: n.BytesOut}
	})
	port := m.spec.Port
	if port == 0 {
		port = 8080
	}
	res, err := transform.Run(ctx, transform.Config{
		Job: *t, Bucket: in.bucket, Prefix: in.prefix, Objects: in.objects, Stats: stats,
		Instances: []transform.Instance{{
			Host: m.host, Addr: net.JoinHostPort(m.task.Addr(), strconv.Itoa(port)), Dial: m.task.Dial, Exited: m.ended,
			DataLog: streamWriter{datalog},
		}},
		Create: func(ctx context.Context, name, contentType string) (transform.Writer, error) {
			return out.Create(ctx, objstore.Join(prefix, name), objstore.CreateOptions{ContentType: contentType, KMSKeyID: t.Output.KMSKeyID})
		},
		Remove: func(ctx context.Context, name string) error { return out.Delete(ctx, objstore.Join(prefix, name)) },
	})
	for _, w := range res.Warnings {
		r.append(ledger.Warning{Rule: "BT-26", Text: w})
	}
	if len(res.Instances) > 0 {
		set, first := res.Settings(), res.Instances[0]
		r.append(ledger.TransformTotals{Objects: res.Totals.Objects, Failed: res.Totals.Failed, Records: res.Totals.Records, Requests: res.Totals.Requests,
			Retries: res.Totals.Retries, BytesIn: res.Totals.BytesIn, BytesOut: res.Totals.BytesOut, Duration: res.Duration, PingAfter: first.PingAfter,
			MaxConcurrent: set.MaxConcurrent, MaxPayloadMB: set.MaxPayloadMB, BatchStrategy: set.BatchStrategy})
	}
	return err
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
	in.objects = func(yield func(transform.Object, error) bool) {
		for e, err := range set.Entries(ctx) {
			if err != nil {
				yield(transform.Object{}, err)
				return
			}
			if e.Dir { // BT-35
				continue
			}
			if !yield(transform.Object{Key: e.Object.Key, Size: e.Object.Size, Name: e.Suffix, Open: e.Open}, nil) {
				return
			}
		}
	}
	return in, nil
}

// dropOutputs removes what a dead owner left half written: the outputs of this job's own objects and no other's, since
// jobs may share an output path and other owners may be writing there (BT-137, BT-142, ruling 1).
func (r *run) dropOutputs(ctx context.Context) {
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
		defer in.close()
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
	if err != nil {
		r.append(ledger.Warning{Rule: "BT-142", Text: "unfinished outputs could not be looked for: " + err.Error()})
	}
}
