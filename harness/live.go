package harness

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/optml/optml/ledger"
	"github.com/optml/optml/metrics"
	"github.com/optml/optml/runtime/container"
)

// usage makes a source of snapshots from a container's counters. Reading them costs some system calls, so once a second
// is enough; between, the last figures stand. The first container of an instance shows what the instance has: its GPUs
// and its disk.
func (r *run) usage(name, host string, first bool, task container.Task) func(*ledger.Snapshot) {
	read := func() (container.Usage, error) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		return task.Usage(ctx)
	}
	var mu sync.Mutex
	last, _ := read() // so that the first second is measured too
	live := ledger.ContainerLive{Container: name, MemoryBytes: last.MemoryBytes}
	return func(s *ledger.Snapshot) {
		mu.Lock()
		defer mu.Unlock()
		if now := time.Now(); now.Sub(last.At) >= time.Second || s.Last {
			u, err := read()
			if err != nil {
				return // not started, or gone
			}
			with := reading(u)
			if first {
				with.GPUs = r.gpuReadings(host)
				with.DiskUsed, with.DiskSize = r.diskOf(host)
			}
			now := metrics.Between(reading(last), with, r.host.Memory)
			if last.At.IsZero() {
				now.CPUUtilization = 0
			}
			live = ledger.ContainerLive{Container: name, MemoryBytes: u.MemoryBytes, CPUPercent: now.CPUUtilization, MemoryPercent: now.MemoryUtilization, DiskPercent: now.DiskUtilization}
			if len(with.GPUs) > 0 {
				live.GPUPercent, live.GPUMemoryPercent = &now.GPUUtilization, &now.GPUMemoryUtilization
			}
			if !last.At.IsZero() {
				r.measured(host, first, u.At, live, with.DiskSize > 0)
			}
			last = u
			r.counted(host, name, u)
		}
		s.Containers = append(s.Containers, live)
	}
}

// instanceMeter is what is measured of an instance once its first container has started.
type instanceMeter struct {
	meter  *metrics.Meter
	others map[string]ledger.ContainerLive // of a pipeline, the last reading of each but the first
	counts map[string]container.Usage      // the last counters of each
	began  time.Duration                   // what of the processor this process had used then
	ended  time.Duration                   // and when the containers had ended; 0: they have not
}

// counted keeps the counters of a container. Of one that has gone not all can be read any more; none goes back.
func (r *run) counted(host, name string, u container.Usage) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.meters[host]
	if m == nil {
		return
	}
	was := m.counts[name]
	u.CPU, u.Throttled, u.MemoryPeak = max(u.CPU, was.CPU), max(u.Throttled, was.Throttled), max(u.MemoryPeak, was.MemoryPeak)
	u.ReadBytes, u.WrittenBytes = max(u.ReadBytes, was.ReadBytes), max(u.WrittenBytes, was.WrittenBytes)
	u.RxBytes, u.TxBytes = max(u.RxBytes, was.RxBytes), max(u.TxBytes, was.TxBytes)
	m.counts[name] = u
}

// ownCPU is what this process has used of the processors.
func ownCPU() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// unattended says that a container of the instance has ended: what this process does from now on is not for its run.
func (r *run) unattended(host string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := r.meters[host]; m != nil {
		m.ended = ownCPU()
	}
}

func (m *instanceMeter) counters() (c ledger.UsageCounters) {
	for _, u := range m.counts {
		c.CPU += u.CPU
		c.Throttled += u.Throttled
		c.MemoryPeak += u.MemoryPeak
		c.Read += u.ReadBytes
		c.Written += u.WrittenBytes
		c.Received = max(c.Received, u.RxBytes) // the containers of a pipeline have one network
		c.Sent = max(c.Sent, u.TxBytes)
	}
	return c
}

// measure begins to measure an instance.
func (r *run) measure(host string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.meters == nil {
		r.meters = map[string]*instanceMeter{}
	}
	if r.meters[host] == nil {
		r.meters[host] = &instanceMeter{meter: metrics.NewMeter(host, time.Now()), others: map[string]ledger.ContainerLive{}, counts: map[string]container.Usage{}, began: ownCPU()}
	}
}

// measured takes a reading of a container (training 5.2): an instance uses what its containers use together.
func (r *run) measured(host string, first bool, at time.Time, x ledger.ContainerLive, disk bool) {
	r.mu.Lock()
	m := r.meters[host]
	r.mu.Unlock()
	switch {
	case m == nil: // nothing has started
		return
	case !first:
		m.others[x.Container] = x
		return
	}
	in := metrics.Reading{At: at, CPU: x.CPUPercent, Mem: x.MemoryPercent, GPU: x.GPUPercent, GMem: x.GPUMemoryPercent}
	for _, o := range m.others {
		in.CPU += o.CPUPercent
		in.Mem = min(100, in.Mem+o.MemoryPercent)
	}
	if disk {
		in.Disk = &x.DiskPercent
	}
	if samples := m.meter.Read(in); samples != nil {
		r.recorder().add(samples...)
	}
}

// unmeasured ends the measuring: the last samples, and the totals for the record.
func (r *run) unmeasured() {
	r.mu.Lock()
	meters := r.meters
	r.meters = nil
	r.mu.Unlock()
	for _, host := range slices.Sorted(maps.Keys(meters)) {
		m := meters[host].meter
		if rest := m.Rest(); rest != nil {
			r.recorder().add(rest...)
		}
		x := meters[host]
		u := ledger.InstanceUsage{Counters: x.counters(), OwnerCPU: max(0, cmp.Or(x.ended, ownCPU())-x.began)}
		for _, t := range m.Totals() {
			u.Metrics = append(u.Metrics, ledger.UsageMetric(t))
		}
		if len(u.Metrics) > 0 {
			_ = r.appendAt(host, "", u)
		}
	}
}

// diskOf is how full the disk of an instance is, and its size; 0 where that is not measured: the service publishes none
// of a transform.
func (r *run) diskOf(host string) (used, size int64) {
	r.mu.Lock()
	f := r.disks[host]
	r.mu.Unlock()
	if f == nil {
		return 0, 0
	}
	return f()
}

func reading(u container.Usage) metrics.Usage {
	return metrics.Usage{At: u.At, CPU: u.CPU, MemoryBytes: u.MemoryBytes, MemoryLimit: u.MemoryLimit}
}

// digest8 tells two paths apart in a name.
func digest8(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:4])
}
