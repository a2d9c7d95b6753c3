package harness

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"sync"
	"time"

	"github.com/optml/optml/ledger"
	"github.com/optml/optml/runtime/container"
)

// usage makes a source of snapshots from a container's counters. Reading them costs some system calls, so once a second
// is enough; between, the last figures stand.
func (r *run) usage(name string, task container.Task) func(*ledger.Snapshot) {
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
			live = ledger.ContainerLive{Container: name, MemoryBytes: u.MemoryBytes}
			if wall := u.At.Sub(last.At); !last.At.IsZero() && wall > 0 {
				live.CPUPercent = 100 * float64(u.CPU-last.CPU) / float64(wall) // sum over cores (training 5.2)
			}
			if total := or64(u.MemoryLimit, r.host.Memory); total > 0 {
				live.MemoryPercent = 100 * float64(u.MemoryBytes) / float64(total)
			}
			last = u
		}
		s.Containers = append(s.Containers, live)
	}
}

func or64(n, otherwise int64) int64 {
	if n == 0 {
		return otherwise
	}
	return n
}

// digest8 tells two paths apart in a name.
func digest8(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:4])
}
