package main

import (
	"context"
	"io/fs"
	"os"
	"sync"

	"github.com/optml/optml/job"
	"github.com/optml/optml/runtime/container"
	"github.com/optml/optml/runtime/ctrd"
	"github.com/optml/optml/runtime/gpu"
)

// hostGPUs are those of this machine, asked once a process.
var hostGPUs = sync.OnceValue(func() *gpu.Host {
	h := &gpu.Host{Root: os.Getenv("OPTML_DRIVER_ROOT"), Lingers: ctrd.Lingers}
	if found, err := fs.Glob(helpers(), "gpu-*"); err == nil && len(found) == 1 {
		if f, err := helpers().Open(found[0]); err == nil {
			h.Helper = f
		}
	}
	return h
})

// checkGPUs says before a job is made that it could not have its GPUs now. When it takes them it may still find them
// taken.
func checkGPUs(ctx context.Context, p *job.Plan) error {
	var each [][]job.Instance
	switch {
	case p.Training != nil:
		each = append(each, p.Training.Instances)
	case p.Transform != nil:
		each = append(each, p.Transform.Instances)
	case p.Validation != nil:
		if t := p.Validation.Training; t != nil {
			each = append(each, t.Training.Instances)
		}
		if t := p.Validation.Transform; t != nil {
			each = append(each, t.Transform.Instances)
		}
	}
	for _, instances := range each {
		if n, which := job.GPUsOf(instances); n > 0 {
			if err := hostGPUs().Check(ctx, container.GPURequest{Count: n, Devices: which}); err != nil {
				return err
			}
		}
	}
	return nil
}
