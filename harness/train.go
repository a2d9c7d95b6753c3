package harness

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/optml/optml/channels"
	"github.com/optml/optml/job"
	"github.com/optml/optml/ledger"
	"github.com/optml/optml/runtime/container"
)

// train carries a training job out: prepare, run, deliver.
func (r *run) train(ctx context.Context, cancel context.CancelCauseFunc) Ending {
	t := r.plan.Training
	if len(t.Instances) != 1 {
		return Ending{Err: fmt.Errorf("ResourceConfig.InstanceCount: %d training hosts are not carried out together yet (ruling 5)", len(t.Instances))}
	}
	in := &instance{run: r, training: t, host: t.Instances[0].Host, spec: t.Instances[0].Containers[0]}
	if err := in.place(); err != nil {
		return Ending{Err: err}
	}

	r.transition("InProgress", "Starting", "Starting the training job")
	defer r.tick()()
	// MaxRuntime counts from the start of the first attempt's download (STOP-6).
	in.began = time.Now()
	if r.since.IsZero() {
		r.since = in.began
	}
	limit := time.AfterFunc(time.Until(r.since.Add(t.MaxRuntime.Std())), func() { cancel(MaxRuntimeExceeded{t.MaxRuntime.Std()}) })
	defer limit.Stop()
	if err := in.prepare(ctx); err != nil {
		return Ending{Err: in.stopped(ctx, err)}
	}
	r.transition("InProgress", "Training", "Training image download completed. Training in progress.")
	if ctx.Err() != nil {
		return Ending{Err: in.stopped(ctx, ctx.Err())}
	}
	// A stop that comes while the process is being started finds it running: it is for wait to end it, and what it made
	// is delivered.
	if err := r.do(context.WithoutCancel(ctx), in.host, "start", in.start); err != nil {
		return Ending{Err: err}
	}
	if after := in.interruptAfter(); after > 0 {
		defer time.AfterFunc(after, func() { cancel(Interrupted{after}) }).Stop()
	}

	var end Ending
	_ = r.do(context.WithoutCancel(ctx), in.host, "wait", func(context.Context) error {
		end.Exit, end.Err = in.wait(ctx, cancel)
		return end.Err
	})
	end.Failure = in.failure(end)
	end.Upload = in.deliver(ctx)
	in.rehearsed(end)
	return end
}

// stopped is the error of a run whose container never started. A stop then goes through Stopping (STOP-7).
func (in *instance) stopped(ctx context.Context, err error) error {
	err = causeOf(ctx, err)
	if isStop(err) {
		in.run.transition("Stopping", "Stopping", "Stopping the training job")
	}
	return err
}

// instance is one training host: its tree, its channels, its container.
type instance struct {
	run        *run
	training   *job.Training
	host       string
	spec       job.Container
	tree       container.Tree
	volumeFile string       // of its volume (ruling 13); "": the tree lies in the work directory
	used       atomic.Int64 // of VolumeBytes, as last seen
	began      time.Time
	filling    stretch // while File's bytes are brought
	serving    stretch // while the container may read the others'

	deliveries  []channels.Delivery
	checkpoints *checkpoints // nil: the job has none
	task        container.Task
	metrics     *follower
	rehearsal   *rehearsal // once the job has been interrupted

	layerOnce sync.Once
	layerDir  string
}

// prepare makes all that must be there before the first instruction of the image: the tree, the channels, the
// container. The data is filled in while the image is fetched and the container made (D4).
func (in *instance) prepare(ctx context.Context) error {
	r := in.run
	if err := r.do(ctx, in.host, "layout", in.layout); err != nil {
		return err
	}
	r.transition("InProgress", "Starting", "Preparing the instances for training")
	if err := r.do(ctx, in.host, "channels", in.channels); err != nil {
		return err
	}
	r.transition("InProgress", "Downloading", "Downloading input data")
	return par(ctx,
		func(ctx context.Context) error {
			if err := r.do(ctx, in.host, "image", in.image); err != nil {
				return err
			}
			return r.do(ctx, in.host, "create", in.create)
		},
		func(ctx context.Context) error { return in.fill(ctx) },
		func(ctx context.Context) error {
			if in.checkpoints == nil {
				return nil
			}
			return r.do(ctx, in.host, "restore", in.restore)
		},
	)
}

// layout comes first, and so does what may be had by others.
func (in *instance) layout(ctx context.Context) error {
	if err := in.run.takeGPUs(ctx, in.training.Instances); err != nil {
		return err
	}
	if err := in.makeVolume(ctx); err != nil {
		return err
	}
	if err := in.tree.Make(in.training.UserWritable); err != nil || in.training.Checkpoint == nil {
		return err
	}
	if err := in.tree.MakeCheckpoints(in.training.UserWritable); err != nil {
		return err
	}
	return in.openCheckpoints(ctx)
}

// channels prepares the deliveries: what must exist before the container is created (ruling 12).
func (in *instance) channels(ctx context.Context) error {
	r := in.run
	streams := int64(0)
	for _, c := range in.training.Channels {
		if c.Mode != "File" {
			streams++
		}
	}
	for _, c := range in.training.Channels {
		d, err := channels.New(c, channels.Config{
			Dir:    in.tree.Data(),
			Opener: r.host.Stores,
			Rank:   slices.Index(in.training.Hosts, in.host), // SHARD-2
			Hosts:  len(in.training.Hosts),
			Region: r.plan.Region,
			// What Pipe and FastFile channels hold in memory is one budget for all of them (ruling 23).
			Window:        channels.DefaultWindow / max(streams, 1),
			TempDir:       r.owner.WorkDir(),
			MountDir:      in.mountDir(),
			Spool:         in.spool(streams),
			NoPassthrough: r.host.NoPassthrough,
		})
		if err != nil {
			return err
		}
		in.deliveries = append(in.deliveries, d)
		r.later("channel "+c.Name, func(context.Context) error {
			if err := d.Close(); err != nil {
				return err
			}
			return r.unmounted(in.host, d)
		})
		r.observe(func(s *ledger.Snapshot) {
			x := d.Stats()
			s.Channels = append(s.Channels, ledger.ChannelLive{Host: in.host, ChannelTotals: in.totals(x), TotalBytes: x.TotalBytes, TotalObjects: x.TotalObjects})
		})
		if m, ok := d.(channels.Mounter); ok {
			if err := r.willMount(in.host, m.Mounts()); err != nil {
				return err
			}
		}
		if err := d.Prepare(ctx); err != nil {
			return err
		}
	}
	return nil
}

// fill brings the bytes of all channels.
func (in *instance) fill(ctx context.Context) error {
	return in.run.do(ctx, in.host, "fill", func(ctx context.Context) error {
		var fs []func(context.Context) error
		for _, d := range in.deliveries {
			fs = append(fs, d.Fill)
		}
		defer in.filling.begin()()
		if err := par(ctx, fs...); err != nil {
			return err
		}
		for _, c := range in.training.Channels {
			if c.Mode == "File" { // the bytes of others are not there yet
				in.run.sampled(sampleDir("input", c.Name, filepath.Join(in.tree.Data(), c.Name)))
			}
		}
		return nil
	})
}

func (in *instance) image(ctx context.Context) error {
	r := in.run
	img, err := r.ensure(ctx, in.host, in.spec)
	if err != nil {
		return err
	}
	in.spec.Image.Ref = img.Ref
	if w, ok := userWarning(img.User, in.training.UserWritable); ok {
		r.append(ledger.Warning{Rule: "START-8", Text: w})
	}
	if w, ok := shellWarning(img.Entrypoint, "train"); ok && len(in.spec.Entrypoint) == 0 {
		r.append(ledger.Warning{Rule: "START-3", Text: w})
	}
	return nil
}

func (in *instance) create(ctx context.Context) error {
	r, t := in.run, in.training
	task, err := r.launch(ctx, in.host, in.spec, container.Spec{
		Mounts:   slices.Concat(in.tree.Mounts(), in.checkpointMounts(), in.channelMounts()),
		Network:  container.Network{Isolated: t.Isolated, Hosts: t.Hosts},
		ShmBytes: t.ShmBytes,
		Memory:   t.Instances[0].MemoryBytes,
		CPUs:     float64(t.Instances[0].CPUs),
		Init:     t.Init,
	})
	in.task = task
	if err != nil {
		return err
	}
	// Only now the name of the network interface is known (RES-5).
	return in.tree.WriteConfig(t, container.Hosts{Current: in.host, All: t.Hosts, InstanceType: t.InstanceType, Interface: task.Interface()})
}

// start runs the image's process. Then the log has lines, so the metrics follow it.
func (in *instance) start(ctx context.Context) error {
	r := in.run
	var err error
	if in.metrics, err = r.followMetrics(in.spec.Name, in.training.Metrics); err != nil {
		return err
	}
	r.mu.Lock()
	r.disks = map[string]func() (int64, int64){in.host: in.disk}
	r.mu.Unlock()
	return r.start(ctx, in.host, in.spec.Name, in.task)
}

// wait returns when the main process has ended, by itself or because ctx was cancelled: then it is stopped as SageMaker
// does (STOP-1). The error is the cause, if there is one, whatever the exit code says (STOP-2, ruling 8).
func (in *instance) wait(ctx context.Context, cancel context.CancelCauseFunc) (*container.Exit, error) {
	r := in.run
	serving, stopServing := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	for _, d := range in.deliveries {
		wg.Go(func() {
			if err := d.Serve(serving); err != nil {
				cancel(err)
			}
		})
	}
	wg.Go(func() {
		watchVolume(serving, func() []string { return []string{in.tree.Root, in.layer(serving)} }, in.training.VolumeBytes, in.used.Store, func(f VolumeFull) { cancel(f) })
	})
	if in.checkpoints != nil {
		wg.Go(func() { in.syncing(serving) })
	}
	defer wg.Wait()
	defer stopServing()

	defer in.serving.begin()()
	ended := true // by itself, before anybody asked it to
	exit, err := r.waitOrStop(ctx, in.task, in.training.Grace.Std(), stopHooks{
		stopping: func() {
			ended = false
			switch cause := causeOf(ctx, ctx.Err()); {
			case isStop(cause):
				r.append(ledger.Transition{Status: "Stopping", Secondary: "Stopping", Message: "Stopping the training job", Detail: cause.Error()})
			case errors.As(cause, new(Interrupted)):
				r.append(ledger.Transition{Status: "InProgress", Secondary: "Interrupted", Message: interrupted, Detail: cause.Error()})
				in.rehearsal = in.interrupt(ctx)
			}
		},
		killing: func() { in.rehearsal.kill(ctx) },
	})
	if err != nil {
		return nil, errors.Join(causeIf(ctx), err)
	}
	in.exited(exit)
	stopServing()
	wg.Wait() // a container that has met a broken channel may end before the channel's error is here (ruling 8)
	cause := causeIf(ctx)
	if ended && (isStop(cause) || errors.As(cause, new(Interrupted))) {
		cause = nil // the request came when there was nothing left to stop
	}
	return &exit, cause
}

// isStop tells a stop (STOP-2) from a fault that ends the job: only the former goes through Stopping.
func isStop(cause error) bool {
	var stop StopRequested
	var limit MaxRuntimeExceeded
	return errors.As(cause, &stop) || errors.As(cause, &limit)
}

func (in *instance) exited(exit container.Exit) {
	in.run.unattended(in.host)
	_ = in.run.appendAt(in.host, "wait", ledger.Exited{Container: in.spec.Name, Code: exit.Code, Signal: exit.Signal, OOM: exit.OOM, At: exit.At})
}

// causeIf is the cause of ctx when it was cancelled.
func causeIf(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return causeOf(ctx, ctx.Err())
}

// failure reads /opt/ml/output/failure, which counts only when the job failed (FAIL-1, FAIL-4).
func (in *instance) failure(end Ending) string {
	if end.Exit == nil {
		return ""
	}
	if end.Exit.Code == 0 {
		in.warnFailure()
		return ""
	}
	text, err := in.tree.ReadFailure()
	if err != nil {
		in.run.append(ledger.Warning{Rule: "FAIL-1", Text: err.Error()})
	}
	return text
}

// userWarning says what an image's USER means on SageMaker (START-8, ruling 15).
func userWarning(user string, writable bool) (string, bool) {
	switch user {
	case "", "0", "root", "0:0", "root:root", "0:root", "root:0":
		return "", false
	}
	w := fmt.Sprintf("the image runs as user %q; on SageMaker /opt/ml belongs to root, so such an image fails there", user)
	if writable {
		w += " (here --user-writable makes the tree writable for it)"
	}
	return w, true
}
