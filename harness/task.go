package harness

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/optml/optml/job"
	"github.com/optml/optml/ledger"
	"github.com/optml/optml/runtime/container"
)

// ensure finds the image of a container and records what it is.
func (r *run) ensure(ctx context.Context, host string, c job.Container) (container.Image, error) {
	img, err := r.host.Images.Ensure(ctx, c.Image.Ref, r.host.Pull)
	if err != nil {
		return img, err
	}
	if err := r.checkDigest(ctx, c, &img); err != nil {
		return img, err
	}
	r.mu.Lock()
	if r.images == nil {
		r.images = map[string]container.Image{}
	}
	r.images[img.Ref] = img
	r.mu.Unlock()
	body := ledger.ImageResolved{Container: c.Name, Ref: c.Image.Ref, Digest: img.Digest, Config: img.Config, User: img.User, Platform: img.OS + "/" + img.Arch,
		Pulled: img.Pulled, Unpacked: img.Unpacked}
	if img.Manifest != img.Digest {
		body.Manifest = img.Manifest
	}
	return img, r.appendAt(host, "image", body)
}

// checkDigest holds an image against the digest of the document, which may be that of an index or of the manifest in it
// for this platform. A tag may have moved since: the digest decides, and is asked for by itself.
func (r *run) checkDigest(ctx context.Context, c job.Container, img *container.Image) error {
	want := c.Image.Digest
	if want == "" || want == img.Digest || want == img.Manifest {
		return nil
	}
	err := fmt.Errorf("it has %s, the document wants %s", img.Digest, want)
	if repo, tagged := withoutTag(c.Image.Ref); tagged {
		exact, perr := r.host.Images.Ensure(ctx, repo+"@"+want, r.host.Pull)
		if perr == nil {
			*img = exact
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if no, ok := errors.AsType[*container.ImageError](perr); !ok || no.Kind != container.ImageNotFound {
			err = fmt.Errorf("%w, which cannot be had: %w", err, perr)
		}
	}
	return &container.ImageError{Ref: c.Image.Ref, Kind: container.ImageDigest, Err: err}
}

// withoutTag is the repository of a reference; tagged is false for one by digest.
func withoutTag(ref string) (repo string, tagged bool) {
	if strings.Contains(ref, "@") {
		return ref, false
	}
	if i := strings.LastIndexByte(ref, ':'); i > strings.LastIndexByte(ref, '/') {
		ref = ref[:i]
	}
	return ref, true
}

// launch creates a container of this job. What the Intent names is undone when the run ends, however it ends. s has what
// is not every container's; its Bridge is the name of a network within the job, "" for the job's only one.
func (r *run) launch(ctx context.Context, host string, c job.Container, s container.Spec) (container.Task, error) {
	s.ID = containerID(r.owner.Dir(), c.Name)
	s.Job = r.owner.Dir()
	s.Image = c.Image.Ref
	s.Entrypoint, s.Args = c.Entrypoint, c.Args
	s.Hostname = c.Hostname
	s.Log = r.owner.LogPath(c.Name)
	s.Guard = r.owner.LockPath()
	s.Network.Bridge = bridge(s.Job, s.Network.Bridge)
	for i, h := range s.Network.Hosts {
		if h == host {
			s.Network.Index = i
		}
	}
	env := maps.Clone(c.Env)
	grant, fresh := r.endpointFor(s)
	if grant != nil {
		env = grant.over(env)
	}
	for _, k := range slices.Sorted(maps.Keys(env)) {
		s.Env = append(s.Env, k+"="+env[k])
	}
	if err := r.giveGPUs(ctx, host, c, &s); err != nil {
		return nil, err
	}
	if err := r.appendAt(host, "create", ledger.Intent{Kind: "container", ID: s.ID}); err != nil {
		return nil, err
	}
	released := func() { _ = r.appendAt(host, "create", ledger.Released{Kind: "container", ID: s.ID}) }
	task, err := r.host.Launcher.Launch(ctx, s)
	if err != nil {
		released() // after an error nothing of it is left
		return nil, err
	}
	r.later("container "+c.Name, func(ctx context.Context) error {
		if err := task.Close(ctx); err != nil {
			return err
		}
		released()
		return nil
	})
	r.observe(r.usage(c.Name, host, s.Network.Of == "", task))
	if fresh {
		if err := grant.serve(ctx, task, c.Name); err != nil {
			return task, err
		}
	}
	if s.Network.Isolated {
		return task, probeIsolation(ctx, task)
	}
	return task, nil
}

// outside are addresses that no isolated container may have a route to (training 6.5): the internet, by a documentation
// address that answers nobody, and the two that hand out credentials.
var outside = []string{"198.51.100.2:80", "169.254.169.254:80", "169.254.170.2:80"}

// probeIsolation dials out of the container's network before anything runs in it. Without a route the kernel refuses at
// once; anything else is a hole, and then nothing is started.
func probeIsolation(ctx context.Context, task container.Task) error {
	for _, addr := range outside {
		dctx, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
		conn, err := task.Dial(dctx, "tcp", addr)
		cancel()
		if err == nil {
			conn.Close()
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !errors.Is(err, syscall.ENETUNREACH) && !errors.Is(err, syscall.EHOSTUNREACH) {
			return &HostError{What: "network isolation", Err: fmt.Errorf("the container has a route to %s (%v)", addr, err), //nolint:errorlint // nil when it was reached
				Hint: "this is a fault of optml or of this host's network; please report it with the output of `optml doctor`"}
		}
	}
	return nil
}

// containerID is unique on the host: two roots may hold jobs of one name, and two long names may begin alike.
func containerID(dir, name string) string {
	const most = 20
	short := strings.ToLower(name)
	if len(name) > most || short != name {
		short = strings.TrimRight(clip(short, most-9), "-") + "-" + digest8(name)
	}
	base := strings.ReplaceAll(strings.ToLower(clip(filepath.Base(dir), 40)), "_", "-")
	return fmt.Sprintf("%s.%s.%s", base, short, digest8(dir))
}

// bridge names a network: the job's, or one of several that do not reach each other.
func bridge(dir, which string) string {
	if which != "" {
		dir += "\x00" + which
	}
	return "optml-" + digest8(dir)
}

// start starts a container's process.
func (r *run) start(ctx context.Context, host, name string, task container.Task) error {
	if err := task.Start(ctx); err != nil {
		return err
	}
	r.measure(host)
	return r.appendAt(host, "start", ledger.Started{Container: name, ID: name, PID: task.PID(), BootID: ledger.BootID()})
}

// waitOrStop waits for the end of a main process. When ctx is cancelled it is asked to end with SIGTERM, to the main
// process alone (STOP-4), and killed after the grace, or at once when a request to kill comes.
func (r *run) waitOrStop(ctx context.Context, task container.Task, grace time.Duration, on stopHooks) (container.Exit, error) {
	type ended struct {
		exit container.Exit
		err  error
	}
	bg := context.WithoutCancel(ctx)
	end := make(chan ended, 1)
	go func() {
		x, err := task.Wait(bg)
		end <- ended{x, err}
	}()
	select {
	case e := <-end:
		return e.exit, e.err
	case <-ctx.Done():
	}
	on.call(on.stopping)
	signal(bg, task, syscall.SIGTERM)
	patience := time.NewTimer(grace)
	defer patience.Stop()
	select {
	case e := <-end:
		return e.exit, e.err
	case <-patience.C:
	case <-r.kill:
	}
	on.call(on.killing)
	signal(bg, task, syscall.SIGKILL)
	// A process in uninterruptible sleep does not die; Close, which comes next, says so with its own deadline.
	select {
	case e := <-end:
		return e.exit, e.err
	case <-time.After(undoTimeout):
		return container.Exit{}, fmt.Errorf("the container does not die: SIGKILL was sent %s ago", undoTimeout)
	}
}

// stopHooks are called just before SIGTERM and SIGKILL are sent; they may be nil, and are quick.
type stopHooks struct{ stopping, killing func() }

func (stopHooks) call(f func()) {
	if f != nil {
		f()
	}
}

// signal has no error worth acting on: a process that has gone is what was wanted, and one that cannot be signalled is
// killed by Close.
func signal(ctx context.Context, task container.Task, s os.Signal) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_ = task.Signal(ctx, s)
}

// par runs fs side by side and returns the error of the one that failed first; that failure cancels the others.
func par(ctx context.Context, fs ...func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, len(fs))
	var first sync.Once
	failedAt := -1
	var wg sync.WaitGroup
	for i, f := range fs {
		wg.Go(func() {
			if errs[i] = f(ctx); errs[i] != nil {
				first.Do(func() { failedAt = i })
				cancel()
			}
		})
	}
	wg.Wait()
	if failedAt < 0 {
		return nil
	}
	return errs[failedAt] // the others were cancelled because of it
}
