package harness

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/optml/optml/job"
	"github.com/optml/optml/ledger"
	"github.com/optml/optml/logfile"
	"github.com/optml/optml/runtime/container"
	"github.com/optml/optml/transform"
)

// fleet is the containers of a transform: of each instance one, or a pipeline that shares a network (INF-54). Instances
// have a network each (BT-37).
type fleet struct {
	run       *run
	transform *job.Transform
	host      string // of the steps that all instances share: that of the only one, else none
	hosts     [][]*modelContainer
	models    []*modelData
}

// modelContainer is one container that serves a model.
type modelContainer struct {
	run    *run
	host   string
	size   job.Instance // what it has of this machine
	spec   job.Container
	models []*modelData // its own, and what it has beside that
	bridge string
	of     string // ID of the container whose network it is in
	name   string // within a pipeline; "" of one that is alone

	task  container.Task
	step  string        // in which it serves
	began time.Time     // its process
	ended chan struct{} // closed when the main process has ended; nil before it was started
	last  container.Exit
}

// manyAtOnce bounds how many instances are made or started side by side: the host makes them one after the other anyway.
const manyAtOnce = 8

// fleet finds each container's part of the plan. Models are staged once and mounted into every instance; only what
// containers may write to is each instance's own (INF-22).
func (r *run) fleet(step string) (*fleet, error) {
	t := r.plan.Transform
	if len(t.Instances) == 0 {
		return nil, errors.New("the plan has no instance")
	}
	f := &fleet{run: r, transform: t}
	if len(t.Instances) == 1 {
		f.host = t.Instances[0].Host
	}
	for _, in := range t.Instances {
		var servers []*modelContainer
		for i, c := range in.Containers {
			s := &modelContainer{run: r, host: in.Host, size: in, spec: c, step: step}
			if i > 0 {
				s.of = containerID(r.owner.Dir(), in.Containers[0].Name)
			}
			if len(in.Containers) > 1 {
				s.name = c.Hostname
			}
			if len(t.Instances) > 1 {
				s.bridge = in.Host
			}
			if t.ModelWritable || len(f.hosts) == 0 {
				s.models = r.models(in.Host, i)
				f.models = append(f.models, s.models...)
			} else {
				s.models = f.hosts[0][i].models
			}
			servers = append(servers, s)
		}
		if len(servers) == 0 {
			return nil, errors.New("the plan has an instance without a container")
		}
		f.hosts = append(f.hosts, servers)
	}
	return f, nil
}

// models are the data of container i, to be staged for that host.
func (r *run) models(host string, i int) []*modelData {
	t := r.plan.Transform
	dir := filepath.Join(r.owner.WorkDir(), host, "model", strconv.Itoa(i))
	own := &modelData{run: r, dir: filepath.Join(dir, "own")}
	all := []*modelData{own}
	if i < len(t.Models) {
		own.source = t.Models[i]
	}
	for _, x := range t.More {
		if x.Container == own.source.Container {
			all = append(all, &modelData{run: r, source: x, dir: filepath.Join(dir, "more", x.Channel)})
		}
	}
	return all
}

// each does f for each instance side by side, as a step.
func (f *fleet) each(ctx context.Context, step string, do func(context.Context, []*modelContainer) error) error {
	slots := make(chan struct{}, manyAtOnce)
	var fs []func(context.Context) error
	for i, servers := range f.hosts {
		fs = append(fs, func(ctx context.Context) error {
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return ctx.Err()
			}
			defer func() { <-slots }()
			return f.run.do(ctx, f.transform.Instances[i].Host, step, func(ctx context.Context) error { return do(ctx, servers) })
		})
	}
	return par(ctx, fs...)
}

// prepare brings images and models side by side, then makes the containers.
func (f *fleet) prepare(ctx context.Context) error {
	r := f.run
	err := r.do(ctx, f.host, "layout", func(ctx context.Context) error {
		if err := r.takeGPUs(ctx, f.transform.Instances); err != nil {
			return err
		}
		for _, m := range f.models {
			if err := mkdir(m.dir); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = par(ctx,
		func(ctx context.Context) error { return r.do(ctx, f.host, "image", f.images) },
		func(ctx context.Context) error {
			return r.do(ctx, f.host, "model", func(ctx context.Context) error {
				for _, m := range f.models {
					if err := m.fetch(ctx); err != nil {
						return err
					}
				}
				return nil
			})
		},
	)
	if err != nil {
		return err
	}
	return f.each(ctx, "create", func(ctx context.Context, servers []*modelContainer) error {
		for _, s := range servers {
			if err := s.create(ctx, f.transform); err != nil {
				return err
			}
		}
		return nil
	})
}

// pipelineLabel is what an image says that listens on SAGEMAKER_BIND_TO_PORT (INF-52).
const pipelineLabel = "com.amazonaws.sagemaker.capabilities.accept-bind-to-port"

// images finds the image of each container. All instances have the first one's.
func (f *fleet) images(ctx context.Context) error {
	r := f.run
	for i, s := range f.hosts[0] {
		img, err := r.ensure(ctx, s.host, s.spec)
		if err != nil {
			return err
		}
		if len(f.hosts[0]) > 1 && img.Labels[pipelineLabel] != "true" {
			return &LabelError{Ref: s.spec.Image.Ref, Label: pipelineLabel + "=true"}
		}
		for _, servers := range f.hosts {
			servers[i].spec.Image.Ref = img.Ref
		}
		if w, ok := userWarning(img.User, false); ok {
			r.append(ledger.Warning{Rule: "INF-4", Text: w})
		}
		if w, ok := shellWarning(img.Entrypoint, "serve"); ok && len(s.spec.Entrypoint) == 0 {
			r.append(ledger.Warning{Rule: "INF-1", Text: w})
		}
		if w, ok := initWarning(img.Entrypoint); ok {
			r.append(ledger.Warning{Rule: "INF-5", Text: w})
		}
	}
	return nil
}

func (s *modelContainer) create(ctx context.Context, t *job.Transform) error {
	var mounts []container.Mount
	for _, m := range s.models {
		mounts = append(mounts, container.Mount{Source: m.dir, Target: m.target(), ReadOnly: !t.ModelWritable || m.source.Channel != ""}) // INF-22
	}
	task, err := s.run.launch(ctx, s.host, s.spec, container.Spec{
		Mounts:   mounts,
		Network:  container.Network{Isolated: t.Isolated, Hosts: []string{s.host}, Bridge: s.bridge, Of: s.of},
		ShmBytes: t.ShmBytes,
		Memory:   s.size.MemoryBytes,
		CPUs:     float64(s.size.CPUs),
	})
	s.task = task
	return err
}

// serve starts all containers.
func (f *fleet) serve(ctx context.Context) error {
	return f.each(ctx, "serve", func(ctx context.Context, servers []*modelContainer) error {
		for _, s := range servers {
			if err := s.start(ctx); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *modelContainer) start(ctx context.Context) error {
	if err := s.run.start(ctx, s.host, s.spec.Name, s.task); err != nil {
		return err
	}
	s.began, s.ended = time.Now(), make(chan struct{})
	go func() {
		defer close(s.ended)
		x, err := s.task.Wait(context.WithoutCancel(ctx))
		if err != nil {
			s.run.host.Log.Warn("wait for container", "container", s.spec.Name, "error", err)
			return
		}
		s.last = x
		s.run.unattended(s.host)
		_ = s.run.appendAt(s.host, s.step, ledger.Exited{Container: s.spec.Name, Code: x.Code, Signal: x.Signal, OOM: x.OOM, At: x.At})
	}()
	return nil
}

// exit is how a container ended: the first that failed, else any; nil while all run or when none ever did. The name is
// empty where there is one container.
func (f *fleet) exit() (exit *container.Exit, name string) {
	several := len(f.hosts)*len(f.hosts[0]) > 1
	for _, servers := range f.hosts {
		for _, s := range servers {
			if s.ended == nil {
				continue
			}
			select {
			case <-s.ended:
			default:
				continue
			}
			if exit != nil && (exit.Code != 0 && !s.last.At.Before(exit.At) || s.last.Code == 0) {
				continue
			}
			if exit = &s.last; several {
				name = s.spec.Name
			}
		}
	}
	return exit, name
}

// exitWait is how long the news of a container's end may be behind the end of its connections.
const exitWait = time.Second

// settle waits, after a failure, for the news that a container has ended if its connections say so: nothing listens there
// any more, or it hung up. It comes another way than the failure and may be later.
func (f *fleet) settle(err error) {
	for _, gone := range []error{syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EPIPE, io.EOF, io.ErrUnexpectedEOF} {
		if !errors.Is(err, gone) {
			continue
		}
		for end := time.Now().Add(exitWait); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			if exit, _ := f.exit(); exit != nil {
				return
			}
		}
		return
	}
}

// stop ends what runs: SIGTERM, and SIGKILL after the grace (INF-7, ruling 16).
func (f *fleet) stop(ctx context.Context) {
	gone, cancel := context.WithCancel(ctx)
	cancel()
	var fs []func(context.Context) error
	for _, servers := range f.hosts {
		for _, s := range servers {
			if s.ended == nil {
				continue
			}
			fs = append(fs, func(context.Context) error {
				if _, err := f.run.waitOrStop(gone, s.task, f.transform.Grace.Std(), stopHooks{}); err != nil {
					f.run.append(ledger.Warning{Rule: "INF-7", Text: err.Error()})
				}
				<-s.ended
				return nil
			})
		}
	}
	_ = par(ctx, fs...) // they return no error
}

// servingPort is where a container serves that the plan says nothing of (INF-50).
const servingPort = 8080

func (s *modelContainer) container() transform.Container {
	port := s.spec.Port
	if port == 0 {
		port = servingPort
	}
	return transform.Container{Name: s.name, Addr: net.JoinHostPort(s.task.Addr(), strconv.Itoa(port)), Dial: s.task.Dial, Exited: s.ended, Listening: s.task.Listening}
}

// instances are what transform drives, each with its own data log (ST-18).
func (f *fleet) instances() (all []transform.Instance, closeLogs func(), err error) {
	var logs []*logfile.Writer
	closeLogs = func() {
		for _, l := range logs {
			l.Close()
		}
	}
	for i, servers := range f.hosts {
		log, err := logfile.Create(f.run.owner.LogPath(f.dataLog(i)))
		if err != nil {
			closeLogs()
			return nil, nil, err
		}
		logs = append(logs, log)
		in := transform.Instance{Host: servers[0].host, Container: servers[0].container(), DataLog: streamWriter{log}}
		for _, s := range servers[1:] {
			in.Next = append(in.Next, s.container())
		}
		all = append(all, in)
	}
	return all, closeLogs, nil
}

// dataLog names an instance's data log. No container's name begins so.
func (f *fleet) dataLog(i int) string {
	if len(f.hosts) == 1 {
		return "data-log"
	}
	return "data-log-" + f.transform.Instances[i].Host
}
