package job

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/optml/optml/human"
)

//go:embed instances.json
var instancesJSON []byte

// instance is the hardware of an instance type. Memory is GiB, localNvmeGB decimal gigabytes.
type instance struct {
	VCPUs            int     `json:"vcpus"`
	MemoryGiB        float64 `json:"memoryGiB"`
	Arch             string  `json:"arch"` // x86_64, arm64
	Accelerator      string  `json:"accelerator"`
	AcceleratorCount int     `json:"acceleratorCount"`
	AcceleratorModel string  `json:"acceleratorModel"`
	LocalNvmeGB      float64 `json:"localNvmeGB"`
}

var instances = sync.OnceValue(func() map[string]instance {
	var f struct {
		Instances map[string]instance `json:"instances"`
	}
	if err := json.Unmarshal(instancesJSON, &f); err != nil {
		panic("job: embedded instances.json: " + err.Error()) // our own file; a test loads it
	}
	return f.Instances
})

// gpusFor is how many of the host's GPUs an instance type stands for (ruling 14): the type's count, none for a CPU
// type, all for local_gpu and for types that are not in the table.
func gpusFor(instanceType string, asked *GPURequest, h HostFacts) (n int, short bool) {
	want := h.GPUs
	i, known := instances()[instanceType]
	switch {
	case asked != nil && asked.All:
	case asked != nil && len(asked.Devices) > 0:
		return len(asked.Devices), false // whether they are there is seen when they are taken
	case asked != nil:
		return asked.Count, asked.Count > h.GPUs
	case instanceType == "local":
		want = 0
	case known && i.Accelerator == "gpu":
		want = i.AcceleratorCount
	case known:
		want = 0
	}
	return min(want, h.GPUs), want > h.GPUs
}

// wholeHost is --as-instance for no instance type at all.
const wholeHost = "host"

// standIn checks the instance type that the user named. The document's own may be one that optml does not know.
func (o Options) standIn() error {
	if _, known := instances()[o.AsInstance]; known || o.AsInstance == "" || o.AsInstance == wholeHost {
		return nil
	}
	family, _, _ := strings.Cut(strings.TrimPrefix(o.AsInstance, "ml."), ".")
	var like []string
	for t := range instances() {
		if strings.HasPrefix(t, "ml."+family+".") {
			like = append(like, t)
		}
	}
	if slices.Sort(like); len(like) == 0 {
		return fmt.Errorf("--as-instance %q: no instance type that optml knows, such as ml.m5.large, nor %s", human.Clip(o.AsInstance, 64), wholeHost)
	}
	return fmt.Errorf("--as-instance %q: no instance type that optml knows; of that family there are %s", human.Clip(o.AsInstance, 64), strings.Join(like, ", "))
}

// told is the instance type that a container is told of: the document's, or the one that the user puts in its place
// (RES-6).
func (o Options) told(document string) string {
	if o.AsInstance == "" || o.AsInstance == wholeHost {
		return document
	}
	return o.AsInstance
}

// limits are what a container gets of this machine in the place of an instance type: its processors and its memory, where
// the host has more. 0 is the whole host: of a type that it cannot hold, of one without a known size, and when the user
// says so (ruling 14).
func (m *maker) limits(instanceType string) (cpus int, memory int64) {
	i, known := instances()[instanceType]
	if !known || m.o.AsInstance == wholeHost || m.short(instanceType) != "" {
		return 0, 0
	}
	if i.VCPUs < m.h.CPUs {
		cpus = i.VCPUs
	}
	if b := int64(i.MemoryGiB * (1 << 30)); b < m.h.MemoryBytes {
		memory = b
	}
	return cpus, memory
}

// short says what this machine has too little of for an instance type; "" when it can hold it, or the type has no known
// size.
func (m *maker) short(instanceType string) string {
	const tenth = 1.1 // what the kernel keeps of a machine's memory
	i, known := instances()[instanceType]
	_, few := gpusFor(instanceType, m.o.GPUs, m.h)
	switch {
	case few:
		return fmt.Sprintf("%s has more GPUs than this host (%d): runs with those it has", instanceType, m.h.GPUs)
	case !known:
		return ""
	case m.h.MemoryBytes > 0 && i.MemoryGiB*(1<<30) > float64(m.h.MemoryBytes)*tenth:
		return fmt.Sprintf("%s has %g GiB of memory, this host %d: runs with the whole host", instanceType, i.MemoryGiB, m.h.MemoryBytes>>30)
	case m.h.CPUs > 0 && i.VCPUs > m.h.CPUs:
		return fmt.Sprintf("%s has %d processors, this host %d: runs with the whole host", instanceType, i.VCPUs, m.h.CPUs)
	}
	return ""
}

// instance is what an instance gets of this machine, with the one warning that ruling 14 asks for when that is not what
// the document says.
func (m *maker) instance(host, document, path string) Instance {
	t := m.o.told(document)
	in := Instance{Host: host, GPUs: m.gpus(t, path)}
	if in.CPUs, in.MemoryBytes = m.limits(t); in.CPUs > 0 || in.MemoryBytes > 0 {
		in.Type = t
	}
	if t != document {
		m.warn("RES-6", path, "the container is told that it runs on %s (--as-instance), not on %s as the document says", t, document)
	}
	return in
}

// hostArch is an instance type's architecture in Go's spelling.
func hostArch(instanceType string) string {
	switch instances()[instanceType].Arch {
	case "x86_64":
		return "amd64"
	case "arm64":
		return "arm64"
	}
	return ""
}

// isServiceType says whether the service has an instance type.
func isServiceType(t string) bool {
	for name := range instanceTypeShapes {
		if s := facts().Shapes[name]; s != nil && slices.Contains(s.Enum, t) {
			return true
		}
	}
	return false
}

// isLocalType are the SDK's names for the user's own machine; the service itself does not know them.
func isLocalType(t string) bool { return t == "local" || strings.HasPrefix(t, "local_") }
