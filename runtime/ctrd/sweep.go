package ctrd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/vishvananda/netlink"

	"github.com/optml/optml/runtime/cgroup"
)

// Swept is what a Sweep has removed, by name.
type Swept struct {
	Containers []string
	Networks   []string
}

// Empty says whether there was nothing to remove.
func (s Swept) Empty() bool { return len(s.Containers)+len(s.Networks) == 0 }

// Sweep removes what jobs without an owner have left: containers with their tasks, snapshots, groups, links and run
// files, and networks with their rules. alive says of a job's directory whether an owner holds it; what belongs to a
// live job is never touched (ruling 1). It goes on after an error and returns all.
func (c *Client) Sweep(ctx context.Context, alive func(jobDir string) bool) (Swept, error) {
	return c.sweep(ctx, memo(alive))
}

// KillJob kills and removes all that belongs to one job. Who adopts a job without an owner calls it first: the guard
// may have lost the race for the lock.
func (c *Client) KillJob(ctx context.Context, jobDir string) error {
	_, err := c.sweep(ctx, func(job string) bool { return job != jobDir })
	return err
}

func memo(f func(string) bool) func(string) bool {
	known := map[string]bool{}
	return func(s string) bool {
		v, ok := known[s]
		if !ok {
			v = f(s)
			known[s] = v
		}
		return v
	}
}

func (c *Client) sweep(ctx context.Context, alive func(string) bool) (Swept, error) {
	var done Swept
	var errs []error
	if err := c.revive(ctx); err != nil {
		return done, err
	}
	dead, err := c.deadContainers(ctx, alive)
	errs = append(errs, err)
	for _, r := range dead {
		if err := c.removeContainer(ctx, r); err != nil {
			errs = append(errs, fmt.Errorf("sweep container %s: %w", r.ID, err))
			continue
		}
		done.Containers = append(done.Containers, r.ID)
	}
	// A create whose caller was killed may only now reach its shim: once more, for what it has left.
	if len(dead) > 0 {
		time.Sleep(lateCreate)
	}
	for _, r := range dead {
		if slices.Contains(done.Containers, r.ID) {
			errs = append(errs, c.removeContainer(ctx, r))
		}
	}
	nets, err := c.sweepNetworks(ctx, alive)
	done.Networks = nets
	errs = append(errs, err, c.sweepRunDirs())
	return done, errors.Join(errs...)
}

// lateCreate is how long containerd may take from its caller's death to giving a create up.
const lateCreate = 100 * time.Millisecond

// deadContainers are those with a run file, and those that only containerd still knows: a reboot empties /run.
func (c *Client) deadContainers(ctx context.Context, alive func(string) bool) ([]runFile, error) {
	files, err := c.runFiles()
	if err != nil {
		return nil, err
	}
	var dead []runFile
	known := map[string]bool{}
	for _, r := range files {
		known[r.ID] = true
		if !alive(r.Job) {
			dead = append(dead, r)
		}
	}
	list, err := c.conn.ContainerService().List(c.ctx(ctx))
	if err != nil {
		return dead, fmt.Errorf("list containers: %w", err)
	}
	for _, cont := range list {
		if job := cont.Labels[labelJob]; job != "" && !known[cont.ID] && !alive(job) {
			dead = append(dead, runFile{ID: cont.ID, Job: job, Cgroup: cgroupPath(job, cont.ID)})
		}
	}
	return dead, nil
}

func (c *Client) sweepNetworks(ctx context.Context, alive func(string) bool) ([]string, error) {
	unlock, err := c.lockNet(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	nets, err := c.networks()
	if err != nil {
		return nil, err
	}
	var done []string
	var errs []error
	for _, nf := range nets {
		inUse, err := c.netInUse(nf.Bridge, "")
		if err == nil && !inUse && !alive(nf.Job) {
			if err = c.removeNet(nf); err == nil {
				done = append(done, nf.Bridge)
			}
		}
		errs = append(errs, err)
	}
	// Links without a file. A name that was cut short cannot be judged.
	links, err := ourLinks()
	errs = append(errs, err)
	for _, l := range links {
		job := strings.TrimPrefix(l.Attrs().Alias, aliasPrefix)
		if len(l.Attrs().Alias) >= maxAlias || alive(job) {
			continue
		}
		if err := netlink.LinkDel(l); err != nil && !isNoLink(err) {
			errs = append(errs, fmt.Errorf("remove link %s: %w", l.Attrs().Name, err))
			continue
		}
		if l.Type() == "bridge" {
			errs = append(errs, removeMasquerade(l.Attrs().Name))
			done = append(done, l.Attrs().Name)
		}
	}
	return done, errors.Join(errs...)
}

// ourLinks are the host's links with our mark.
func ourLinks() ([]netlink.Link, error) {
	all, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	return slices.DeleteFunc(all, func(l netlink.Link) bool {
		return !strings.HasPrefix(l.Attrs().Alias, aliasPrefix)
	}), nil
}

// staleAfter is when a run directory that is still being made counts as left by a crash.
const staleAfter = time.Minute

func (c *Client) sweepRunDirs() error {
	entries, err := os.ReadDir(c.cfg.containers())
	if err != nil {
		return fmt.Errorf("list run directories: %w", err)
	}
	var errs []error
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), newDir) {
			continue
		}
		if st, err := e.Info(); err == nil && time.Since(st.ModTime()) > staleAfter {
			errs = append(errs, os.RemoveAll(filepath.Join(c.cfg.containers(), e.Name())))
		}
	}
	return errors.Join(errs...)
}

// Leftovers is all that exists of ours on the host now, live or not; with no job running, all of it is left over.
// Entries are sorted.
type Leftovers struct {
	Containers []string // of our namespace
	Snapshots  []string // active ones: a container's
	Leases     []string
	Links      []string
	Rules      []string // bridges with a masquerade rule
	Cgroups    []string
	RunFiles   []string
	Mounts     []string // below the run directory
}

// Empty says whether there is nothing.
func (l Leftovers) Empty() bool {
	return len(l.Containers)+len(l.Snapshots)+len(l.Leases)+len(l.Links)+len(l.Rules)+len(l.Cgroups)+len(l.RunFiles)+len(l.Mounts) == 0
}

// Leftovers lists them, for doctor and for tests.
func (c *Client) Leftovers(ctx context.Context) (Leftovers, error) {
	var l Leftovers
	ctx = c.ctx(ctx)
	list, err := c.conn.ContainerService().List(ctx)
	if err != nil {
		return l, fmt.Errorf("list containers: %w", err)
	}
	for _, cont := range list {
		l.Containers = append(l.Containers, cont.ID)
	}
	err = c.conn.SnapshotService(c.cfg.Snapshotter).Walk(ctx, func(_ context.Context, i snapshots.Info) error {
		if i.Kind == snapshots.KindActive {
			l.Snapshots = append(l.Snapshots, i.Name)
		}
		return nil
	})
	if err != nil && !errdefs.IsNotFound(err) {
		return l, fmt.Errorf("list snapshots: %w", err)
	}
	ls, err := c.conn.LeasesService().List(ctx)
	if err != nil {
		return l, fmt.Errorf("list leases: %w", err)
	}
	for _, lease := range ls {
		l.Leases = append(l.Leases, lease.ID)
	}
	links, err := ourLinks()
	if err != nil {
		return l, err
	}
	for _, link := range links {
		l.Links = append(l.Links, link.Attrs().Name)
	}
	l.Rules = masquerades()
	if l.Cgroups, err = ourCgroups(); err != nil {
		return l, err
	}
	if l.RunFiles, err = filepath.Glob(filepath.Join(c.cfg.containers(), "*")); err != nil {
		return l, err
	}
	nets, err := filepath.Glob(filepath.Join(c.cfg.nets(), "*.json"))
	if err != nil {
		return l, err
	}
	l.RunFiles = append(l.RunFiles, nets...)
	if l.Mounts, err = mountsBelow(c.cfg.RunDir); err != nil {
		return l, err
	}
	for _, s := range []*[]string{&l.Containers, &l.Snapshots, &l.Leases, &l.Links, &l.Rules, &l.Cgroups, &l.RunFiles, &l.Mounts} {
		slices.Sort(*s)
	}
	return l, nil
}

// ourCgroups are the groups of containers on the host: directories two below /optml.
func ourCgroups() ([]string, error) {
	h, err := cgroup.Host()
	if err != nil {
		return nil, err
	}
	var out []string
	for _, dir := range h.Dirs(cgroup.Parent) {
		found, err := filepath.Glob(filepath.Join(dir, "*", "*", "cgroup.procs"))
		if err != nil {
			return nil, err
		}
		for _, f := range found {
			out = append(out, filepath.Dir(f))
		}
	}
	return out, nil
}

// mountsBelow are the mount points under dir.
func mountsBelow(dir string) ([]string, error) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	var out []string
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], dir+"/") {
			out = append(out, f[4])
		}
	}
	return out, nil
}
