package harness

import (
	"context"
	"errors"
	"fmt"

	"github.com/optml/optml/job"
	"github.com/optml/optml/ledger"
	"github.com/optml/optml/metrics"
	"github.com/optml/optml/runtime/container"
)

// takeGPUs takes what the instances of this job are to have, all at once, before anything is made. They are freed when
// the run ends, after its containers have.
func (r *run) takeGPUs(ctx context.Context, instances []job.Instance) error {
	want := container.GPURequest{Job: r.owner.Dir()}
	if want.Count, want.Devices = job.GPUsOf(instances); want.Count == 0 {
		return nil
	}
	if r.host.GPUs == nil {
		return &HostError{What: "GPUs", Err: errors.New("this host has none"), Hint: "--gpus 0 runs without"}
	}
	taken, err := r.host.GPUs.Take(ctx, want)
	if err != nil {
		return err
	}
	r.later("GPUs", func(context.Context) error { return taken.Close() })
	left := taken.List()
	r.taken, r.gpus = taken, map[string][]container.GPU{}
	for _, in := range instances {
		if in.GPUs == 0 {
			continue
		}
		if len(left) < in.GPUs {
			return fmt.Errorf("%d GPUs taken for %s, which has %d", len(left), in.Host, in.GPUs)
		}
		mine := left[:in.GPUs:in.GPUs]
		if !in.SharedGPUs {
			left = left[in.GPUs:]
		}
		r.gpus[in.Host] = mine
		var e ledger.GPUsTaken
		for _, g := range mine {
			e.GPUs = append(e.GPUs, ledger.GPU(g))
		}
		if err := r.appendAt(in.Host, "layout", e); err != nil {
			return err
		}
	}
	return nil
}

// giveGPUs changes a container, whose environment is set, so that it can use those of its instance. The image must be
// there.
func (r *run) giveGPUs(ctx context.Context, host string, c job.Container, s *container.Spec) error {
	mine := r.gpus[host]
	if len(mine) == 0 {
		return nil
	}
	r.mu.Lock()
	img := r.images[c.Image.Ref]
	r.mu.Unlock()
	o, err := r.taken.Offer(ctx, mine, img, s.Env)
	if err != nil {
		return err
	}
	for _, w := range o.Warnings {
		_ = r.appendAt(host, "create", ledger.Warning{Rule: "START-14", Text: w})
	}
	s.Edits = o.Edits
	s.Env = append(s.Env, o.Env...) // the last of a name holds
	r.host.Log.Debug("GPU edits", "container", c.Name, "from", o.From)
	return nil
}

// gpuReadings are the last readings of a host's GPUs; nil where it has none.
func (r *run) gpuReadings(host string) []metrics.GPU {
	if len(r.gpus[host]) == 0 {
		return nil
	}
	var all []metrics.GPU
	for _, x := range r.taken.Readings(r.gpus[host]) {
		all = append(all, metrics.GPU{Busy: x.Busy, MemoryUsed: x.MemoryUsed, MemoryTotal: x.MemoryTotal})
	}
	return all
}
