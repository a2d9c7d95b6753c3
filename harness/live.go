package harness

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"sync"
	"time"

	"github.com/optml/optml/ledger"
	"github.com/optml/optml/metrics"
	"github.com/optml/optml/runtime/container"
)

// usage makes a source of snapshots from a container's counters. Reading them costs some system calls, so once a second
// is enough; between, the last figures stand. gpus is the host whose GPUs are shown with it, "" for none.
func (r *run) usage(name string, task container.Task, gpus string) func(*ledger.Snapshot) {
	var mu sync.Mutex
	var last container.Usage
	var live ledger.ContainerLive
	return func(s *ledger.Snapshot) {
		mu.Lock()
		defer mu.Unlock()
		if now := time.Now(); now.Sub(last.At) >= time.Second {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			u, err := task.Usage(ctx)
			cancel()
			if err != nil {
				return // not started, or gone
			}
			with := reading(u)
			with.GPUs = r.gpuReadings(gpus)
			now := metrics.Between(reading(last), with, r.host.Memory)
			if last.At.IsZero() {
				now.CPUUtilization = 0
			}
			live = ledger.ContainerLive{Container: name, MemoryBytes: u.MemoryBytes, CPUPercent: now.CPUUtilization, MemoryPercent: now.MemoryUtilization}
			if len(with.GPUs) > 0 {
				live.GPUPercent, live.GPUMemoryPercent = &now.GPUUtilization, &now.GPUMemoryUtilization
			}
			last = u
		}
		s.Containers = append(s.Containers, live)
	}
}

func reading(u container.Usage) metrics.Usage {
	return metrics.Usage{At: u.At, CPU: u.CPU, MemoryBytes: u.MemoryBytes, MemoryLimit: u.MemoryLimit}
}

// digest8 tells two paths apart in a name.
func digest8(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:4])
}
