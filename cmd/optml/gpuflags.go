package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/optml/optml/job"
)

// gpusFlag is --gpus in Docker's spelling: a number, all, device=0,2 or device=GPU-UUID, with or without the quotes that
// Docker needs around the latter.
type gpusFlag struct{ value **job.GPURequest }

func (f gpusFlag) Set(s string) error {
	r, err := parseGPUs(s)
	if err == nil {
		*f.value = r
	}
	return err
}
func (f gpusFlag) Type() string { return "which" }
func (f gpusFlag) String() string {
	if f.value == nil || *f.value == nil {
		return ""
	}
	switch r := **f.value; {
	case r.All:
		return "all"
	case len(r.Devices) > 0:
		return "device=" + strings.Join(r.Devices, ",")
	default:
		return strconv.Itoa(r.Count)
	}
}

func parseGPUs(s string) (*job.GPURequest, error) {
	bad := errors.New(`it is a number, all, or device= with indices or UUIDs, comma between: --gpus 2, --gpus all, --gpus device=0,2`)
	s = strings.Trim(strings.TrimSpace(s), `"'`)
	if s == "all" || s == "-1" || s == "count=all" || s == "count=-1" {
		return &job.GPURequest{All: true}, nil
	}
	if n, err := strconv.Atoi(strings.TrimPrefix(s, "count=")); err == nil {
		if n < 0 {
			return nil, bad
		}
		return &job.GPURequest{Count: n}, nil
	}
	list, ok := strings.CutPrefix(s, "device=")
	if !ok {
		if key, _, isKey := strings.Cut(s, "="); isKey && slices.Contains([]string{"capabilities", "driver", "options"}, key) {
			return nil, fmt.Errorf("%s= is not for optml: what of the driver an image is given is all of it", key)
		}
		return nil, bad
	}
	var r job.GPURequest
	for _, d := range strings.Split(list, ",") {
		d = strings.TrimSpace(d)
		if d == "" || strings.ContainsAny(d, "= /\"") {
			return nil, bad
		}
		r.Devices = append(r.Devices, d)
	}
	return &r, nil
}

// cdiGPU is how the Container Device Interface names GPUs.
const cdiGPU = "nvidia.com/gpu="

// devices reads --device in CDI's spelling: nvidia.com/gpu=0, or =all.
func devices(names []string) (*job.GPURequest, error) {
	var r job.GPURequest
	for _, n := range names {
		d, ok := strings.CutPrefix(n, cdiGPU)
		if !ok || d == "" || strings.ContainsAny(d, "= /,") {
			return nil, &usageError{Err: fmt.Errorf("--device %s: GPUs alone can be given to a container, as %s0, %sGPU-UUID or %sall", n, cdiGPU, cdiGPU, cdiGPU)}
		}
		if d == "all" {
			r.All = true
			continue
		}
		r.Devices = append(r.Devices, d)
	}
	if r.All && len(r.Devices) > 0 {
		return nil, usage("--device %sall has all of them already", cdiGPU)
	}
	return &r, nil
}

// gpuRequest is what both flags say.
func (f *jobFlags) gpuRequest() (*job.GPURequest, error) {
	if len(f.devices) == 0 {
		return f.gpus, nil
	}
	if f.gpus != nil {
		return nil, usage("--gpus and --device say the same: give one of them")
	}
	return devices(f.devices)
}
