package metrics

import "time"

// Usage is a reading of a container's counters, as the runtime gives it.
type Usage struct {
	At          time.Time
	CPU         time.Duration // consumed since the start
	MemoryBytes int64         // working set
	MemoryLimit int64         // 0: none, the host's memory counts
	DiskUsed    int64         // of the volume that holds /opt/ml
	DiskSize    int64         // 0: not known
	GPUs        []GPU         // of the instance
}

// GPU is a reading of one GPU.
type GPU struct {
	Busy        float64 // percent of the time before the reading in which it worked
	MemoryUsed  int64   // bytes
	MemoryTotal int64
}

// Instance is what SageMaker publishes of an instance every minute (training 5.2), in percent.
type Instance struct {
	CPUUtilization    float64 // sum over the cores: 0 to n*100
	MemoryUtilization float64 // 0 to 100
	DiskUtilization   float64 // 0 to 100

	GPUUtilization       float64 // sum over the GPUs: 0 to g*100
	GPUMemoryUtilization float64 // likewise
}

// Between turns two readings, the earlier first, into percentages. hostMemory is the host's memory in bytes, against
// which a container without a limit is measured. Counters that went backwards, as those of a restarted container do,
// and readings of one moment give 0.
func Between(a, b Usage, hostMemory int64) Instance {
	var i Instance
	if wall := b.At.Sub(a.At); wall > 0 && b.CPU > a.CPU {
		i.CPUUtilization = 100 * float64(b.CPU-a.CPU) / float64(wall)
	}
	whole := hostMemory
	if b.MemoryLimit > 0 && (whole <= 0 || b.MemoryLimit < whole) {
		whole = b.MemoryLimit
	}
	i.MemoryUtilization = percent(b.MemoryBytes, whole)
	i.DiskUtilization = percent(b.DiskUsed, b.DiskSize)
	for _, g := range b.GPUs {
		i.GPUUtilization += min(max(g.Busy, 0), 100)
		i.GPUMemoryUtilization += percent(g.MemoryUsed, g.MemoryTotal)
	}
	return i
}

func percent(part, whole int64) float64 {
	if whole <= 0 || part <= 0 {
		return 0
	}
	return min(100, 100*float64(part)/float64(whole))
}
