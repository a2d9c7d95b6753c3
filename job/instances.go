package job

import (
	_ "embed"
	"encoding/json"
	"strings"
	"sync"
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

// isLocalType are the SDK's names for the user's own machine; the service itself does not know them.
func isLocalType(t string) bool { return t == "local" || strings.HasPrefix(t, "local_") }
