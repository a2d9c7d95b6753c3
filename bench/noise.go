package bench

import (
	"fmt"
	"io/fs"
	"math"
	"path"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// Machine reads what the host does. The zero value reads nothing.
type Machine struct {
	Root fs.FS // of the host's file system, with proc and sys in it; nil: nothing can be read
	// Containers counts those of others that run; GPUs those in use by others. nil: not known.
	Containers func() int
	GPUs       func() int
	GPUNames   []string // of all GPUs of the host
}

// reading is what the host has counted at a moment.
type reading struct {
	at               time.Time
	busy, steal      float64 // seconds of processors
	cpuWait, ioWait  float64 // seconds, of pressure
	thermal          int64
	load             float64
	containers, gpus int
}

func (m Machine) read() reading {
	x := reading{at: time.Now()}
	if m.Containers != nil {
		x.containers = m.Containers()
	}
	if m.GPUs != nil {
		x.gpus = m.GPUs()
	}
	if m.Root == nil {
		return x
	}
	_, _ = fmt.Sscan(m.file("proc/loadavg"), &x.load) // else 0, as the rest of what cannot be read
	for line := range strings.Lines(m.file("proc/stat")) {
		f := strings.Fields(line)
		if len(f) < 9 || f[0] != "cpu" {
			continue
		}
		// user nice system idle iowait irq softirq steal; guest time is in user's. The unit is 1/100 s everywhere that
		// Linux runs on.
		for i, t := range f[1:9] {
			n, _ := strconv.ParseFloat(t, 64)
			switch i {
			case 3, 4:
			case 7:
				x.steal += n / 100
			default:
				x.busy += n / 100
			}
		}
	}
	x.cpuWait, x.ioWait = m.pressure("cpu"), m.pressure("io")
	for _, p := range m.glob("sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/core_throttle_count") {
		x.thermal += int64(m.number(p))
	}
	return x
}

// pressure is how long some waited, in seconds since the boot.
func (m Machine) pressure(what string) float64 {
	for line := range strings.Lines(m.file("proc/pressure/" + what)) {
		if !strings.HasPrefix(line, "some ") {
			continue
		}
		if _, total, ok := strings.Cut(line, "total="); ok {
			n, _ := strconv.ParseFloat(strings.TrimSpace(total), 64)
			return n / 1e6
		}
	}
	return 0
}

// between is what else the machine did from a to b, in which the run itself used busy of the processors.
func (m Machine) between(a, b reading, busy time.Duration) Noise {
	n := Noise{Load: a.load, Containers: a.containers, GPUsInUse: a.gpus, ThermalEvents: max(0, b.thermal-a.thermal)}
	n.MHz, n.MaxMHz = m.frequency()
	if d := b.at.Sub(a.at).Seconds(); d > 0 {
		n.OtherCPUs = round(max(0, (b.busy-a.busy-busy.Seconds())/d))
		n.Steal = round(max(0, (b.steal-a.steal)/d))
		n.CPUPressure = round(max(0, 100*(b.cpuWait-a.cpuWait)/d))
		n.IOPressure = round(max(0, 100*(b.ioWait-a.ioWait)/d))
	}
	return n
}

func round(v float64) float64 { return math.Round(v*1000) / 1000 }

// frequency is that of the processors now, on average, and what they are made for; 0 where it cannot be seen.
func (m Machine) frequency() (now, most float64) {
	if m.Root == nil {
		return 0, 0
	}
	n := 0.0
	for _, p := range m.glob("sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq") {
		if v := m.number(p); v > 0 {
			now, n = now+v/1000, n+1
		}
		most = max(most, m.number(path.Dir(p)+"/cpuinfo_max_freq")/1000)
	}
	if n == 0 {
		return 0, most
	}
	return math.Round(now / n), most
}

// Host describes the machine.
func (m Machine) Host() Host {
	h := Host{CPUs: runtime.NumCPU(), GPUs: m.GPUNames}
	if m.Root == nil {
		return h
	}
	for line := range strings.Lines(m.file("proc/cpuinfo")) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
			h.CPU = strings.TrimSpace(v)
			break
		}
	}
	for line := range strings.Lines(m.file("proc/meminfo")) {
		var kb int64
		if n, _ := fmt.Sscanf(line, "MemTotal: %d kB", &kb); n == 1 {
			h.MemoryBytes = kb << 10
			break
		}
	}
	h.Name = strings.TrimSpace(m.file("proc/sys/kernel/hostname"))
	h.Kernel = strings.TrimSpace(m.file("proc/sys/kernel/osrelease"))
	h.Governor = strings.TrimSpace(m.file("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"))
	return h
}

func (m Machine) file(name string) string {
	b, err := fs.ReadFile(m.Root, name)
	if err != nil {
		return "" // a kernel without it
	}
	return string(b)
}

func (m Machine) number(name string) float64 {
	v, _ := strconv.ParseFloat(strings.TrimSpace(m.file(name)), 64)
	return v
}

func (m Machine) glob(pattern string) []string {
	found, _ := fs.Glob(m.Root, pattern)
	return found
}
