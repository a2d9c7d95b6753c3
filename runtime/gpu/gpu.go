// Package gpu knows the GPUs of this host: which there are, who holds them, and what a container must be given to use
// some. It loads no library of NVIDIA's itself, which might end the process: a helper program does (package nvml), and
// its death, or its absence, means that there are no GPUs.
package gpu

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/optml/optml/human"
	"github.com/optml/optml/runtime/container"
)

// Inventory is what the driver says of this host.
type Inventory struct {
	Driver string `json:"driver,omitempty"` // 550.54.15
	CUDA   string `json:"cuda,omitempty"`   // the newest that the driver offers: 12.4
	GPUs   []GPU  `json:"gpus"`             // each divided one followed by its parts
	Absent string `json:"absent,omitempty"` // why there are none
}

// GPU is a device, or a part of one (MIG). Only what Usable says can be given to jobs.
type GPU struct {
	Index string `json:"index"` // 0; of a part 0:1
	Reading
	Name              string  `json:"name,omitempty"`
	Brand             string  `json:"brand,omitempty"`             // as NVIDIA_REQUIRE_CUDA spells it
	ComputeCapability string  `json:"computeCapability,omitempty"` // 9.0
	PCI               string  `json:"pci,omitempty"`
	Minor             int     `json:"minor"`            // of /dev/nvidiaN; -1: not known
	MIG               bool    `json:"mig"`              // divided: its parts are given to jobs, it is not
	Parent            string  `json:"parent,omitempty"` // of a part: the UUID of what it is a part of
	Broken            string  `json:"broken,omitempty"` // why it cannot be used
	Holder            *Holder `json:"holder,omitempty"` // the job that has it
}

// Usable says whether a job can have it.
func (g GPU) Usable() bool { return !g.MIG && g.Broken == "" }

// Reading is a device at a moment.
type Reading struct {
	UUID        string   `json:"uuid"`
	MemoryTotal int64    `json:"memoryTotal,omitempty"`
	MemoryUsed  int64    `json:"memoryUsed,omitempty"`
	Busy        *float64 `json:"busyPercent,omitempty"` // of the last second; nil: not measured
}

// Usable are those that jobs can have.
func (v Inventory) Usable() []GPU {
	return slices.DeleteFunc(slices.Clone(v.GPUs), func(g GPU) bool { return !g.Usable() })
}

// LibraryDirs are where drivers put their libraries, below the root of the driver.
var LibraryDirs = []string{
	"usr/lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu", "usr/lib64", "usr/lib", "lib/x86_64-linux-gnu", "lib/aarch64-linux-gnu", "lib64",
	"usr/lib/x86_64-linux-gnu/nvidia/current", "usr/lib/aarch64-linux-gnu/nvidia/current", "usr/lib/wsl/lib", "run/opengl-driver/lib",
}

// Host is this machine as far as GPUs go.
type Host struct {
	Helper io.Reader // the program of package nvml; nil: this optml was built without it
	// Root is where the driver is installed; "": in /.
	Root string
	// Locks is the directory of what jobs hold, one for the whole host whatever --root and --run-dir are; "":
	// /run/optml-gpus.
	Locks string
	Specs []string     // directories of CDI specifications; nil: /etc/cdi, /var/run/cdi
	Log   *slog.Logger // nil: discard
	// Lingers says of a job's directory whether processes of its containers still run. Who takes what a dead job held
	// waits for their end. nil: they do not.
	Lingers func(job string) bool

	program program
	listed  sync.Mutex
	found   *Inventory
}

const (
	defaultLocks = "/run/optml-gpus"
	// listTime bounds the inventory: without nvidia-persistenced the driver wakes each GPU first, seconds each.
	listTime  = 60 * time.Second
	editsTime = 30 * time.Second
)

func (h *Host) root() string {
	if h.Root == "" {
		return "/"
	}
	return filepath.Clean(h.Root)
}

func (h *Host) locks() string {
	if h.Locks == "" {
		return defaultLocks
	}
	return h.Locks
}

func (h *Host) log() *slog.Logger {
	if h.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return h.Log
}

// Inventory lists the GPUs. There being none is no error: Absent says why. It is made once.
func (h *Host) Inventory(ctx context.Context) Inventory {
	h.listed.Lock()
	defer h.listed.Unlock()
	if h.found != nil {
		return *h.found
	}
	inv := h.list(ctx)
	if ctx.Err() == nil {
		h.found = &inv
	}
	return inv
}

// Held is the inventory of this moment with who holds what.
func (h *Host) Held(ctx context.Context) Inventory {
	inv := h.Inventory(ctx)
	inv.GPUs = slices.Clone(inv.GPUs)
	for i := range inv.GPUs {
		if g := &inv.GPUs[i]; g.Usable() {
			g.Holder = h.holder(g.UUID)
		}
	}
	return inv
}

func (h *Host) list(ctx context.Context) Inventory {
	none := func(format string, args ...any) Inventory {
		return Inventory{GPUs: []GPU{}, Absent: fmt.Sprintf(format, args...)}
	}
	if !h.possible() {
		return none("no NVIDIA device on this machine")
	}
	if h.Helper == nil {
		return none("%s", WithoutHelper)
	}
	ctx, cancel := context.WithTimeout(ctx, listTime)
	defer cancel()
	out, err := h.ask(ctx, "list")
	if err != nil {
		return none("the driver could not be asked: %v", err)
	}
	var inv Inventory
	if err := json.Unmarshal(out, &inv); err != nil {
		return none("the driver could not be asked: the helper answers %q", human.Clip(string(out), 80))
	}
	if inv.GPUs == nil {
		inv.GPUs = []GPU{}
	}
	return inv
}

// WithoutHelper is why a build without the helper sees no GPUs.
const WithoutHelper = "this optml was built without its GPU helper"

// possible says cheaply whether there may be a GPU: most hosts have none, and their jobs should not wait for a helper.
func (h *Host) possible() bool {
	if h.root() != "/" {
		return true // somebody said where the driver is
	}
	for _, path := range []string{"/dev/nvidiactl", "/proc/driver/nvidia", "/dev/dxg"} {
		if _, err := os.Stat(path); err == nil {
			return true
		}
	}
	// A driver that is installed but not loaded yet is loaded by the library.
	vendors, _ := filepath.Glob("/sys/bus/pci/devices/*/vendor")
	for _, v := range vendors {
		if b, err := os.ReadFile(v); err == nil && strings.TrimSpace(string(b)) == "0x10de" {
			class, _ := os.ReadFile(filepath.Join(filepath.Dir(v), "class"))
			if strings.HasPrefix(string(class), "0x03") { // a display controller, 3D ones included
				return true
			}
		}
	}
	return false
}

// Check says of a request, before anything is made, why it could not be had now.
func (h *Host) Check(ctx context.Context, r container.GPURequest) error {
	_, err := choose(h.Held(ctx), r)
	return err
}
