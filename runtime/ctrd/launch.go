package ctrd

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/optml/optml/logfile"
	"github.com/optml/optml/runtime/cgroup"
	"github.com/optml/optml/runtime/container"
	"github.com/optml/optml/runtime/logger"
)

// The labels of our containers.
const (
	labelJob  = "optml.job"  // the job's directory
	labelBoot = "optml.boot" // of the boot in which it was made
)

const (
	runtimeName = "io.containerd.runc.v2"
	// leaseLife is how long what a crash left between its making and its container's record is kept from collection.
	leaseLife   = time.Hour
	undoTimeout = 30 * time.Second
)

// Launch implements container.Launcher.
func (c *Client) Launch(ctx context.Context, s container.Spec) (_ container.Task, err error) {
	if err := checkSpec(s); err != nil {
		return nil, err
	}
	for _, name := range []string{logfile.LogName(s.Log), logfile.IndexName(s.Log)} {
		if _, err := os.Lstat(name); err == nil {
			return nil, fmt.Errorf("container %s: its log %s exists", s.ID, name)
		}
	}
	t := &task{c: c, spec: s, done: make(chan struct{})}
	ctx = c.ctx(ctx)
	if t.group.H, err = cgroup.Host(); err != nil {
		return nil, err
	}
	t.group.Path = cgroupPath(s.Job, s.ID)
	if err := c.cfg.makeDirs(); err != nil {
		return nil, err
	}
	if err := c.revive(ctx); err != nil {
		return nil, err
	}
	rc, err := inspectRunc(ctx, c.runc, c.cfg.RunDir)
	if err != nil {
		return nil, err
	}
	img, facts, err := c.image(ctx, s.Image)
	if err != nil {
		return nil, err
	}
	run := runFile{ID: s.ID, Job: s.Job, Bridge: s.Network.Bridge, Cgroup: t.group.Path, Log: s.Log, Boot: c.cfg.BootID, Made: time.Now()}
	if err := c.writeRunFile(run); err != nil {
		return nil, fmt.Errorf("container %s: %w", s.ID, err)
	}
	defer func() {
		if err != nil {
			uctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
			defer cancel()
			err = errors.Join(err, t.remove(uctx))
			os.Remove(logfile.LogName(s.Log))
			os.Remove(logfile.IndexName(s.Log))
		}
	}()
	// The namespace is made first and connected beside all that follows: containerd and its shim take their time.
	if s.Network.Of != "" {
		t.ns, err = c.netnsOf(s)
	} else {
		t.ns, err = newNetns()
	}
	if err != nil {
		return nil, fmt.Errorf("container %s: %w", s.ID, err)
	}
	connected, subnet := make(chan error, 1), make(chan netip.Prefix, 1)
	go c.connect(ctx, t, connected, subnet)
	defer func() { <-connected }() // before the undo, which is deferred above
	opts, err := c.specOpts(s, facts, c.runDirOf(s.ID), rc)
	if err != nil {
		return nil, err
	}
	opts = append(opts, oci.WithLinuxNamespace(specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: netnsPath(t.ns)}))
	// Until the container's record refers to them, what is made is kept from collection by a lease. Nobody waits for
	// its removal: it goes with the container, or expires.
	lctx, _, err := c.conn.WithLease(ctx, leases.WithID(leaseID(s.ID)), leases.WithExpiration(leaseLife))
	if err != nil {
		return nil, fmt.Errorf("container %s: make lease: %w", s.ID, err)
	}
	cont, err := c.conn.NewContainer(lctx, s.ID,
		client.WithImageName(img.Name),
		c.withSnapshot(facts),
		client.WithContainerLabels(map[string]string{labelJob: s.Job, labelBoot: c.cfg.BootID}),
		client.WithRuntime(runtimeName, &options.Options{BinaryName: c.runc, Root: c.cfg.runcRoot()}),
		client.WithNewSpec(append(opts, t.remember)...),
	)
	if err != nil {
		return nil, fmt.Errorf("create container %s: %w", s.ID, err)
	}
	net, ok := <-subnet
	if !ok {
		return nil, fmt.Errorf("container %s: %w", s.ID, <-connected)
	}
	if t.addr = "127.0.0.1"; net.IsValid() {
		t.addr = hostAddr(net, s.Network.Index).String()
	}
	if err := c.writeGuestFiles(s, net); err != nil {
		return nil, fmt.Errorf("container %s: %w", s.ID, err)
	}
	release, err := t.group.H.Hold()
	if err != nil {
		return nil, fmt.Errorf("container %s: %w", s.ID, err)
	}
	cool := t.group.H.Warm()
	ct, err := cont.NewTask(lctx, cio.BinaryIO(c.cfg.loggerPath(), t.loggerArgs()))
	cool()
	release()
	if err != nil {
		if se := startError(err); se != nil {
			return nil, se
		}
		return nil, fmt.Errorf("create task of container %s: %w", s.ID, err)
	}
	// A logger that could not begin looks to containerd like one that is ready; the container would print into nothing.
	if _, err := os.Stat(logfile.IndexName(s.Log)); err != nil {
		return nil, fmt.Errorf("container %s: its logger did not begin: %w", s.ID, err)
	}
	if err := t.adopt(ct); err != nil {
		return nil, fmt.Errorf("container %s: %w", s.ID, err)
	}
	if err := <-connected; err != nil {
		return nil, fmt.Errorf("connect container %s: %w", s.ID, err)
	}
	t.watched, t.ct = true, ct
	c.tasks.Store(s.ID, t)
	go t.watch(ct)
	return t, nil
}

// connect connects a container's namespace and closes both channels at the end. The subnet comes before, or an error in
// its place.
func (c *Client) connect(ctx context.Context, t *task, connected chan<- error, subnet chan<- netip.Prefix) {
	defer close(connected)
	defer close(subnet)
	var nf netFile
	var err error
	switch n := t.spec.Network; {
	case lone(n):
		nf = loneNet(t.spec.Job)
	case n.Bridge != "":
		if nf, err = c.ensureNet(ctx, t.spec.Job, n); err != nil {
			connected <- err
			return
		}
	}
	subnet <- nf.Subnet
	if t.spec.Network.Of == "" { // else it is connected already
		t.far, err = attach(t.ns, t.spec.ID, nf, t.spec.Network.Index)
		connected <- err
	}
}

// netnsOf opens the network namespace of another container of the same job.
func (c *Client) netnsOf(s container.Spec) (*os.File, error) {
	other, ok := c.tasks.Load(s.Network.Of)
	if !ok || other.(*task).spec.Job != s.Job {
		return nil, fmt.Errorf("its network is that of %s, which is no container of the job", s.Network.Of)
	}
	return other.(*task).netns()
}

// remember takes from the finished specification what the image and the Spec have come to.
func (t *task) remember(_ context.Context, _ oci.Client, _ *containers.Container, s *oci.Spec) error {
	t.args, t.env, t.cwd = s.Process.Args, s.Process.Env, s.Process.Cwd
	return nil
}

func leaseID(id string) string { return "optml-" + id }

// image returns the record of an image that is here, and what it is.
func (c *Client) image(ctx context.Context, ref string) (images.Image, imageFacts, error) {
	img, err := c.conn.ImageService().Get(ctx, ref)
	if errdefs.IsNotFound(err) {
		return images.Image{}, imageFacts{}, &container.ImageError{Ref: ref, Kind: container.ImageNotFound, Err: err}
	}
	if err != nil {
		return images.Image{}, imageFacts{}, fmt.Errorf("look image %s up: %w", ref, err)
	}
	f, err := c.facts(ctx, img)
	if err != nil {
		return images.Image{}, imageFacts{}, &container.ImageError{Ref: ref, Kind: container.ImageBroken, Err: err}
	}
	return img, f, nil
}

func (c *Client) writeGuestFiles(s container.Spec, subnet netip.Prefix) error {
	var resolv []byte
	if !s.Network.Isolated {
		if resolv = hostResolv(resolvFiles); resolv == nil {
			c.log().Warn("the host has no name server that a container can reach", "container", s.ID)
		}
	}
	return guestFiles(c.runDirOf(s.ID), map[string][]byte{
		"hosts":       hostsFile(subnet, s.Network.Hosts, s.Network.Index, s.Hostname),
		"resolv.conf": resolv,
		"hostname":    []byte(s.Hostname + "\n"),
	})
}

func (t *task) loggerArgs() map[string]string {
	args := map[string]string{logger.ArgLog: t.spec.Log, logger.ArgCgroup: t.group.Path}
	if t.spec.Guard != "" {
		args[logger.ArgGuard] = t.spec.Guard
	}
	return args
}

var (
	execError = regexp.MustCompile(`exec: "?.*`)
	// runc's words for a command that is not there, and for one that cannot be executed (END-4).
	notFoundWords = []string{"executable file not found", "no such file or directory"}
	notExecWords  = []string{"permission denied", "exec format error", "is a directory"}
)

// startError finds in an error of runc that the image's process cannot be executed; nil if it is another one.
func startError(err error) *container.StartError {
	msg := execError.FindString(err.Error())
	if msg == "" {
		return nil
	}
	msg = strings.TrimSuffix(strings.TrimSpace(msg), ": unknown")
	for _, w := range notFoundWords {
		if strings.Contains(msg, w) {
			return &container.StartError{Code: 127, Msg: msg}
		}
	}
	for _, w := range notExecWords {
		if strings.Contains(msg, w) {
			return &container.StartError{Code: 126, Msg: msg}
		}
	}
	return &container.StartError{Code: 128, Msg: msg}
}
