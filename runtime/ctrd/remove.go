package ctrd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/optml/optml/logfile"
	"github.com/optml/optml/runtime/cgroup"
)

// revive starts the embedded daemon if it does not run. A given one is somebody else's: its absence is an error of
// the next call.
func (c *Client) revive(ctx context.Context) error {
	if c.closed.Load() {
		return fmt.Errorf("containerd connection: %w", os.ErrClosed)
	}
	if c.cfg.Address != "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := c.cfg.makeDirs(); err != nil {
		return err
	}
	return ensureDaemon(ctx, c.cfg)
}

// removeContainer kills a container and removes everything that belongs to it: task, log pipe, container, snapshot,
// link, network if it was the last, groups, run file. It is idempotent.
func (c *Client) removeContainer(ctx context.Context, r runFile) error {
	ctx = c.ctx(ctx)
	if err := c.revive(ctx); err != nil {
		return err
	}
	h, err := cgroup.Host()
	if err != nil {
		return err
	}
	group := cgroup.Group{H: h, Path: r.Cgroup}
	if err := group.Kill(ctx); err != nil {
		return err
	}
	// The kernel takes tens of milliseconds over a link, as long as runc and the shim take over the task.
	links := make(chan error, 1)
	go func() { links <- c.removeLinks(ctx, r) }()
	err = c.removeTask(ctx, r.ID)
	if err == nil {
		waitLog(ctx, r.Log)
		err = c.settle(ctx, r.ID, group)
	}
	if err != nil {
		<-links
		return err
	}
	if err := errors.Join(c.removeSocket(ctx, r.ID), c.removeRecord(ctx, r.ID), <-links, group.Remove()); err != nil {
		return err
	}
	return c.removeRunFile(r.ID)
}

// removeLinks removes the container's link, and the network if no other container uses it.
func (c *Client) removeLinks(ctx context.Context, r runFile) error {
	if err := detach(r.ID); err != nil || r.Bridge == "" {
		return err
	}
	return c.releaseNet(ctx, r.Bridge, r.ID)
}

// removeTask deletes the task, whose processes are dead. The shim takes a moment to see that.
func (c *Client) removeTask(ctx context.Context, id string) error {
	// As a rule it has seen it. containerd's client would ask four questions before it deletes, and to kill what is dead
	// costs an execution of runc; what fails here is done their way.
	if _, err := c.conn.TaskService().Delete(ctx, &tasks.DeleteTaskRequest{ContainerID: id}); err == nil {
		return nil
	}
	cont, err := c.conn.LoadContainer(ctx, id)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("load container %s: %w", id, err)
	}
	for wait := cgroup.Poll; ; wait = min(2*wait, retryMax) {
		ct, err := cont.Task(ctx, nil)
		if err == nil {
			// WithProcessKill kills and waits, which covers a task whose group we do not know.
			_, err = ct.Delete(ctx, client.WithProcessKill)
		}
		if err == nil || errdefs.IsNotFound(err) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("delete task of container %s: %w", id, err)
		case <-time.After(wait):
		}
	}
}

// settle returns when nothing of the task is left: no shim and, of the embedded daemon, no directory. After a shim's
// death containerd cleans up by itself, some time after it has forgotten the task; a create whose caller was killed may
// still be under way and end with a task that nobody knows; and a deletion whose caller was killed may have stopped half
// way, with a shim that containerd has forgotten. That shim is killed, and then containerd cleans up after it.
func (c *Client) settle(ctx context.Context, id string, group cgroup.Group) error {
	began := time.Now()
	for {
		if err := group.Kill(ctx); err != nil {
			return err
		}
		if !c.hasBundle(id) && len(c.shims(id)) == 0 {
			return nil
		}
		if err := c.removeTask(ctx, id); err != nil {
			return err
		}
		if time.Since(began) > shimPatience {
			for _, pid := range c.shims(id) {
				c.log().Warn("kill a shim that containerd has forgotten", "container", id, "pid", pid)
				unix.Kill(pid, unix.SIGKILL)
			}
		}
		if time.Since(began) > settleTimeout {
			return fmt.Errorf("containerd still holds the task of container %s", id)
		}
		time.Sleep(cgroup.Poll)
	}
}

const settleTimeout = 10 * time.Second

// hasBundle says whether the embedded daemon has a directory for the task. It goes before the shim does: containerd
// moves it away first.
func (c *Client) hasBundle(id string) bool {
	if c.cfg.Address != "" {
		return false
	}
	_, err := os.Lstat(c.cfg.bundle(id))
	return err == nil
}

// removeRecord removes the container's record and its snapshot.
func (c *Client) removeRecord(ctx context.Context, id string) error {
	err := c.conn.ContainerService().Delete(ctx, id)
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("delete container %s: %w", id, err)
	}
	_ = c.conn.LeasesService().Delete(ctx, leases.Lease{ID: leaseID(id)}) // gone already as a rule; and it expires
	err = c.conn.SnapshotService(c.cfg.Snapshotter).Remove(ctx, id)
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("delete snapshot %s: %w", id, err)
	}
	return nil
}

// waitLog waits until the logger has marked the log as complete. One that was never begun, or whose logger was killed,
// never will be.
func waitLog(ctx context.Context, base string) {
	if base == "" {
		return
	}
	r, err := logfile.Open(base)
	if err != nil { // the container never came so far
		return
	}
	defer r.Close()
	for deadline := time.Now().Add(logTimeout); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(cgroup.Poll) {
		written := r.Written() // asked first: the mark comes before the logger's end
		if complete, _ := r.Complete(); complete || !written {
			return
		}
	}
}

// Lingers says of a job's directory whether processes of its containers run.
func Lingers(jobDir string) bool {
	h, err := cgroup.Host()
	if err != nil {
		return false
	}
	groups, err := os.ReadDir(filepath.Dir(filepath.Dir(cgroup.Group{H: h, Path: cgroupPath(jobDir, "x")}.File("memory", "cgroup.procs"))))
	if err != nil {
		return false // there are none
	}
	for _, g := range groups {
		if !g.IsDir() {
			continue
		}
		if pids, err := (cgroup.Group{H: h, Path: cgroupPath(jobDir, g.Name())}).PIDs(); err == nil && len(pids) > 0 {
			return true
		}
	}
	return false
}
