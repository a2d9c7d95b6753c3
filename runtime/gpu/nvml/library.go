//go:build cgo

package nvml

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"github.com/optml/optml/runtime/gpu"
)

// library is NVIDIA's, as far as it is known which functions it has.
type library struct {
	nvml.Interface
	has func(symbol string) bool
}

// open finds the library of the driver in root. Nothing is loaded yet.
func open(root string) library {
	var o []nvml.LibraryOption
	if root != "/" {
		for _, dir := range gpu.LibraryDirs {
			path := filepath.Join(root, dir, "libnvidia-ml.so.1")
			if _, err := os.Stat(path); err == nil {
				o = append(o, nvml.WithLibraryPath(path))
				break
			}
		}
	}
	l := nvml.New(o...)
	return library{l, func(symbol string) bool { return l.Extensions().LookupSymbol(symbol) == nil }}
}

// needed are the functions without which nothing can be said; each is enough in one of its versions.
var needed = [][]string{
	{"nvmlDeviceGetCount_v2", "nvmlDeviceGetCount"}, {"nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetHandleByIndex"}, {"nvmlDeviceGetUUID"},
}

// begin loads and initializes the library. Its error is why there are no GPUs.
func (l library) begin() error {
	if r := l.Init(); r != nvml.SUCCESS {
		switch r {
		case nvml.ERROR_LIBRARY_NOT_FOUND:
			return errors.New("the driver's library libnvidia-ml.so.1 is not there")
		case nvml.ERROR_DRIVER_NOT_LOADED:
			return errors.New("the nvidia kernel module is not loaded")
		case nvml.ERROR_NO_PERMISSION:
			return errors.New("this user may not talk to the driver")
		case nvml.ERROR_LIB_RM_VERSION_MISMATCH:
			return errors.New("the driver's library and kernel module are of different versions: reboot, or load the module again")
		}
		return l.error("initialize the driver's library", r)
	}
	for _, names := range needed {
		if !l.any(names...) {
			return fmt.Errorf("the driver's library lacks %s", names[0])
		}
	}
	return nil
}

func (l library) any(symbols ...string) bool {
	return slices.ContainsFunc(symbols, l.has)
}

// error puts a return code into words. The library's own words are in a function that it may lack.
func (l library) error(what string, r nvml.Return) error {
	if l.has("nvmlErrorString") {
		return fmt.Errorf("%s: %s", what, l.ErrorString(r))
	}
	return fmt.Errorf("%s: NVML error %d", what, int32(r))
}

// list is the inventory. What the library does not say is left empty; a device that does not answer is listed as broken.
func (l library) list() gpu.Inventory {
	if err := l.begin(); err != nil {
		return gpu.Inventory{Absent: err.Error()}
	}
	defer l.end()
	inv := gpu.Inventory{GPUs: []gpu.GPU{}}
	if l.has("nvmlSystemGetDriverVersion") {
		inv.Driver, _ = l.SystemGetDriverVersion()
	}
	inv.CUDA = l.cuda()
	n, r := l.DeviceGetCount()
	if r != nvml.SUCCESS {
		inv.Absent = l.error("count the devices", r).Error()
		return inv
	}
	for i := range n {
		d, r := l.DeviceGetHandleByIndex(i)
		if r != nvml.SUCCESS {
			inv.GPUs = append(inv.GPUs, gpu.GPU{Index: fmt.Sprint(i), Minor: -1, Broken: l.error("it does not answer", r).Error()})
			continue
		}
		inv.GPUs = append(inv.GPUs, l.device(i, d)...)
	}
	if n == 0 {
		inv.Absent = "the driver knows no device"
	}
	return inv
}

// cuda is the newest version that the driver offers.
func (l library) cuda() string {
	var v int
	r := nvml.ERROR_NOT_SUPPORTED
	switch { // unlike most, the binding does not choose between the versions of this one
	case l.has("nvmlSystemGetCudaDriverVersion_v2"):
		v, r = l.SystemGetCudaDriverVersion_v2()
	case l.has("nvmlSystemGetCudaDriverVersion"):
		v, r = l.SystemGetCudaDriverVersion()
	}
	if r != nvml.SUCCESS || v <= 0 {
		return ""
	}
	return fmt.Sprintf("%d.%d", v/1000, v%1000/10)
}

func (l library) end() {
	if l.has("nvmlShutdown") {
		_ = l.Shutdown()
	}
}

// device describes a GPU, and after it its MIG devices.
func (l library) device(index int, d nvml.Device) []gpu.GPU {
	g := gpu.GPU{Index: fmt.Sprint(index), Minor: -1}
	var r nvml.Return
	if g.UUID, r = d.GetUUID(); r != nvml.SUCCESS {
		g.Broken = l.error("it does not answer", r).Error()
		return []gpu.GPU{g}
	}
	if l.has("nvmlDeviceGetName") {
		g.Name, _ = d.GetName()
	}
	if l.has("nvmlDeviceGetMinorNumber") {
		if m, r := d.GetMinorNumber(); r == nvml.SUCCESS {
			g.Minor = m
		}
	}
	if l.any("nvmlDeviceGetPciInfo_v3", "nvmlDeviceGetPciInfo_v2", "nvmlDeviceGetPciInfo") {
		if p, r := d.GetPciInfo(); r == nvml.SUCCESS {
			g.PCI = text(p.BusId[:])
		}
	}
	if l.has("nvmlDeviceGetBrand") {
		if b, r := d.GetBrand(); r == nvml.SUCCESS {
			g.Brand = brands[b]
		}
	}
	if l.has("nvmlDeviceGetCudaComputeCapability") {
		if major, minor, r := d.GetCudaComputeCapability(); r == nvml.SUCCESS {
			g.ComputeCapability = fmt.Sprintf("%d.%d", major, minor)
		}
	}
	l.read(d, &g.Reading)
	if l.has("nvmlDeviceGetMigMode") {
		if current, _, r := d.GetMigMode(); r == nvml.SUCCESS {
			g.MIG = current == nvml.DEVICE_MIG_ENABLE
		}
	}
	all := []gpu.GPU{g}
	if g.MIG {
		all[0].Busy = nil // not measured in this mode
		all = append(all, l.parts(d, g)...)
	}
	return all
}

// parts are the MIG devices of a GPU.
func (l library) parts(d nvml.Device, of gpu.GPU) []gpu.GPU {
	if !l.has("nvmlDeviceGetMaxMigDeviceCount") || !l.has("nvmlDeviceGetMigDeviceHandleByIndex") {
		return nil
	}
	n, r := d.GetMaxMigDeviceCount()
	if r != nvml.SUCCESS {
		return nil
	}
	var all []gpu.GPU
	for i := range n {
		m, r := d.GetMigDeviceHandleByIndex(i)
		if r != nvml.SUCCESS {
			continue // indices have holes
		}
		p := gpu.GPU{Index: fmt.Sprintf("%s:%d", of.Index, i), Parent: of.UUID, Minor: of.Minor, Brand: of.Brand, ComputeCapability: of.ComputeCapability, PCI: of.PCI}
		if p.UUID, r = m.GetUUID(); r != nvml.SUCCESS {
			continue
		}
		if l.has("nvmlDeviceGetName") {
			p.Name, _ = m.GetName()
		}
		l.read(m, &p.Reading)
		p.Busy = nil
		all = append(all, p)
	}
	return all
}

// read takes a reading of a device. Utilization is not supported by MIG devices.
func (l library) read(d nvml.Device, r *gpu.Reading) {
	if l.has("nvmlDeviceGetMemoryInfo") {
		if m, ret := d.GetMemoryInfo(); ret == nvml.SUCCESS {
			r.MemoryUsed, r.MemoryTotal = bytes(m.Used), bytes(m.Total)
		}
	}
	if l.has("nvmlDeviceGetUtilizationRates") {
		if u, ret := d.GetUtilizationRates(); ret == nvml.SUCCESS && u.Gpu <= 100 {
			r.Busy = new(float64(u.Gpu))
		}
	}
}

func bytes(n uint64) int64 { return int64(min(n, math.MaxInt64)) }

// watch takes readings of these devices every so often until gone is closed or say has an error.
func (l library) watch(uuids []string, every time.Duration, gone <-chan struct{}, say func([]gpu.Reading) error) error {
	if err := l.begin(); err != nil {
		return err
	}
	defer l.end()
	if !l.has("nvmlDeviceGetHandleByUUID") {
		return errors.New("the driver's library lacks nvmlDeviceGetHandleByUUID")
	}
	var devices []nvml.Device
	for _, u := range uuids {
		d, r := l.DeviceGetHandleByUUID(u)
		if r != nvml.SUCCESS {
			return l.error("find device "+u, r)
		}
		devices = append(devices, d)
	}
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		all := make([]gpu.Reading, len(devices))
		for i, d := range devices {
			all[i].UUID = uuids[i]
			l.read(d, &all[i])
		}
		if err := say(all); err != nil {
			return err
		}
		select {
		case <-t.C:
		case <-gone:
			return nil
		}
	}
}

// brands are as NVIDIA_REQUIRE_CUDA spells them.
var brands = map[nvml.BrandType]string{
	nvml.BRAND_QUADRO: "quadro", nvml.BRAND_TESLA: "tesla", nvml.BRAND_NVS: "nvs", nvml.BRAND_GRID: "grid", nvml.BRAND_GEFORCE: "geforce",
	nvml.BRAND_TITAN: "titan", nvml.BRAND_NVIDIA_VAPPS: "vapps", nvml.BRAND_NVIDIA_VPC: "vpc", nvml.BRAND_NVIDIA_VCS: "vcs", nvml.BRAND_NVIDIA_VWS: "vws",
	nvml.BRAND_NVIDIA_CLOUD_GAMING: "cloudgaming", nvml.BRAND_QUADRO_RTX: "quadrortx", nvml.BRAND_NVIDIA_RTX: "nvidiartx", nvml.BRAND_NVIDIA: "nvidia",
	nvml.BRAND_GEFORCE_RTX: "geforcertx", nvml.BRAND_TITAN_RTX: "titanrtx",
}

func text[C ~int8 | ~uint8](b []C) string {
	var s strings.Builder
	for _, c := range b {
		if c == 0 {
			break
		}
		s.WriteByte(byte(c))
	}
	return s.String()
}
