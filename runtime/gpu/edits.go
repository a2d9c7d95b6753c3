package gpu

import (
	"context"
	"debug/elf"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"tags.cncf.io/container-device-interface/pkg/cdi"
	"tags.cncf.io/container-device-interface/specs-go"

	"github.com/optml/optml/human"
	"github.com/optml/optml/runtime/container"
)

// cdiKind is the name under which NVIDIA's specifications list GPUs.
const cdiKind = "nvidia.com/gpu"

// guestLibraries is where CUDA's images look for the driver's libraries by LD_LIBRARY_PATH.
const guestLibraries = "/usr/local/nvidia/lib64"

// Offer implements container.TakenGPUs. The edits are those of the host's own CDI specification, else those that NVIDIA's
// toolkit would write without its hooks, else our own: device nodes and libraries.
func (t *share) Offer(ctx context.Context, these []container.GPU, img container.Image, env []string) (container.GPUOffer, error) {
	some := t.some(these)
	vars := variables(append(slices.Clone(img.Env), env...))
	warnings, err := required(vars, img.Labels, t.inv, some)
	if err != nil {
		return container.GPUOffer{}, err
	}
	o := container.GPUOffer{Warnings: warnings}
	h := t.host
	edits, from, why := h.fromSpecs(some)
	if why != "" {
		o.Warnings = append(o.Warnings, why)
	}
	if edits == nil {
		from = "NVIDIA's toolkit, without its hooks"
		if edits, err = h.fromHelper(ctx, some); err != nil {
			o.Warnings = append(o.Warnings, fmt.Sprintf("the GPUs' device nodes and libraries are what optml knows of them, since NVIDIA's toolkit could not say: %v", err))
			from = "optml's own knowledge of the driver"
			if edits, err = h.own(some, t.inv.Driver); err != nil {
				return o, err
			}
		}
	}
	var uuids []string
	for _, g := range some {
		uuids = append(uuids, g.UUID)
	}
	o.Env = []string{"NVIDIA_VISIBLE_DEVICES=" + strings.Join(uuids, ",")} // START-14
	if !cached(edits) {
		if mounts := sonames(edits, t.inv.Driver); len(mounts) > 0 {
			edits.Mounts = append(edits.Mounts, mounts...)
			o.Env = append(o.Env, "LD_LIBRARY_PATH="+withDir(vars["LD_LIBRARY_PATH"], guestLibraries))
		}
	}
	if err := (&cdi.ContainerEdits{ContainerEdits: edits}).Validate(); err != nil {
		return o, fmt.Errorf("GPU edits from %s: %w", from, err)
	}
	o.From = from
	o.Edits, err = json.Marshal(edits)
	return o, err
}

func variables(env []string) map[string]string {
	all := map[string]string{}
	for _, kv := range env {
		if k, v, ok := strings.Cut(kv, "="); ok {
			all[k] = v
		}
	}
	return all
}

func withDir(list, dir string) string {
	if list == "" {
		return dir
	}
	if slices.Contains(strings.Split(list, ":"), dir) {
		return list
	}
	return dir + ":" + list
}

// fromSpecs are the edits of the host's own specification; nil when there is none for all of the GPUs, or when it is of
// another driver than the one that runs. why says so.
func (h *Host) fromSpecs(some []GPU) (_ *specs.ContainerEdits, from, why string) {
	dirs := h.Specs
	if dirs == nil {
		dirs = cdi.DefaultSpecDirs
	}
	cache, err := cdi.NewCache(cdi.WithSpecDirs(dirs...), cdi.WithAutoRefresh(false))
	if err != nil {
		return nil, "", ""
	}
	all := &cdi.ContainerEdits{}
	var used []*cdi.Spec
	for _, g := range some {
		d := cache.GetDevice(cdiKind + "=" + g.UUID)
		if d == nil {
			d = cache.GetDevice(cdiKind + "=" + g.Index)
		}
		if d == nil {
			return nil, "", ""
		}
		from := d.GetSpec().GetPath()
		if node := fmt.Sprintf("/dev/nvidia%d", g.Minor); g.Minor >= 0 && !slices.ContainsFunc(d.ContainerEdits.DeviceNodes, func(n *specs.DeviceNode) bool { return n.Path == node }) {
			return nil, "", fmt.Sprintf("%s is not of this host as it is: its %s=%s has no %s; `nvidia-ctk cdi generate` makes it anew", from, cdiKind, d.Name, node)
		}
		all.Append(&cdi.ContainerEdits{ContainerEdits: &d.ContainerEdits})
		if !slices.Contains(used, d.GetSpec()) {
			used = append(used, d.GetSpec())
		}
	}
	var paths []string
	for _, s := range used {
		all.Append(&cdi.ContainerEdits{ContainerEdits: &s.ContainerEdits})
		paths = append(paths, s.GetPath())
	}
	from = strings.Join(paths, ", ")
	if missing := missing(all.ContainerEdits); missing != "" {
		return nil, "", fmt.Sprintf("%s is not of this host as it is: %s is not there; `nvidia-ctk cdi generate` makes it anew", from, missing)
	}
	return all.ContainerEdits, from, ""
}

// missing is something that edits name and the host lacks. A container with such edits cannot be made.
func missing(e *specs.ContainerEdits) string {
	var paths []string
	for _, d := range e.DeviceNodes {
		if d.HostPath != "" {
			paths = append(paths, d.HostPath)
		} else {
			paths = append(paths, d.Path)
		}
	}
	for _, m := range e.Mounts {
		paths = append(paths, m.HostPath)
	}
	for _, k := range e.Hooks {
		paths = append(paths, k.Path)
	}
	for _, p := range paths {
		if _, err := os.Stat(p); err != nil {
			return p
		}
	}
	return ""
}

// fromHelper are the edits that NVIDIA's toolkit makes.
func (h *Host) fromHelper(ctx context.Context, some []GPU) (*specs.ContainerEdits, error) {
	args := []string{"edits"}
	for _, g := range some {
		args = append(args, g.UUID)
	}
	ctx, cancel := context.WithTimeout(ctx, editsTime)
	defer cancel()
	out, err := h.ask(ctx, args...)
	if err != nil {
		return nil, err
	}
	var e specs.ContainerEdits
	if err := json.Unmarshal(out, &e); err != nil {
		return nil, fmt.Errorf("the helper answers %q", human.Clip(string(out), 80))
	}
	if len(e.DeviceNodes) == 0 {
		return nil, fmt.Errorf("it names no device node below %s", filepath.Join(h.root(), "dev"))
	}
	return &e, nil
}

// Names of what a driver has beside a GPU's own node; those that are there are given.
var controls = []string{"nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset"}

// Names of the libraries that CUDA programs load from the driver, without their version, and of its programs.
var (
	driverLibraries = []string{
		"libcuda", "libcudadebugger", "libnvidia-ml", "libnvidia-cfg", "libnvidia-ptxjitcompiler", "libnvidia-nvvm", "libnvidia-nvvm70", "libnvidia-gpucomp",
		"libnvidia-allocator", "libnvidia-opencl", "libnvidia-pkcs11", "libnvidia-pkcs11-openssl3", "libnvcuvid", "libnvidia-encode", "libnvidia-opticalflow",
		"libnvidia-fatbinaryloader", "libnvidia-compiler",
	}
	driverPrograms = []string{"nvidia-smi", "nvidia-debugdump", "nvidia-cuda-mps-control", "nvidia-cuda-mps-server"}
)

// own are edits that need nothing but the driver's version.
func (h *Host) own(some []GPU, driver string) (*specs.ContainerEdits, error) {
	e := &specs.ContainerEdits{}
	node := func(name string) bool {
		host, guest := filepath.Join(h.root(), "dev", name), "/dev/"+name
		if fi, err := os.Stat(host); err != nil || fi.Mode()&os.ModeCharDevice == 0 {
			return false
		}
		n := &specs.DeviceNode{Path: guest}
		if host != guest {
			n.HostPath = host
		}
		e.DeviceNodes = append(e.DeviceNodes, n)
		return true
	}
	for _, g := range some {
		if g.Parent != "" {
			return nil, &container.GPUError{Text: fmt.Sprintf("GPU %s is a part of one (MIG), which optml cannot give to a container by itself", g.Index),
				Help: "make a CDI specification with `nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml`"}
		}
		if g.Minor < 0 || !node(fmt.Sprintf("nvidia%d", g.Minor)) {
			return nil, &container.GPUError{Text: fmt.Sprintf("GPU %s has no device node %s", g.Index, filepath.Join(h.root(), fmt.Sprintf("dev/nvidia%d", g.Minor))),
				Help: "nvidia-modprobe -u -c 0 makes the nodes, and so does starting nvidia-smi"}
		}
	}
	for _, name := range controls {
		node(name)
	}
	readOnly := []string{"ro", "nosuid", "nodev", "rbind", "rprivate"}
	for _, lib := range driverLibraries {
		for _, dir := range LibraryDirs {
			name := lib + ".so." + driver
			host := filepath.Join(h.root(), dir, name)
			if fi, err := os.Stat(host); driver != "" && err == nil && fi.Mode().IsRegular() {
				e.Mounts = append(e.Mounts, &specs.Mount{HostPath: host, ContainerPath: "/" + dir + "/" + name, Options: readOnly})
				break
			}
		}
	}
	for _, name := range driverPrograms {
		host := filepath.Join(h.root(), "usr/bin", name)
		if fi, err := os.Stat(host); err == nil && fi.Mode().IsRegular() {
			e.Mounts = append(e.Mounts, &specs.Mount{HostPath: host, ContainerPath: "/usr/bin/" + name, Options: readOnly})
		}
	}
	return e, nil
}

// cached says whether a hook makes the container's dynamic linker know the libraries.
func cached(e *specs.ContainerEdits) bool {
	return slices.ContainsFunc(e.Hooks, func(k *specs.Hook) bool { return slices.Contains(k.Args, "update-ldcache") })
}

// sonames are mounts of the driver's libraries under the names by which programs load them (libcuda.so.1). Without hooks
// nobody makes the links in the container.
func sonames(e *specs.ContainerEdits, driver string) []*specs.Mount {
	var all []*specs.Mount
	done := map[string]bool{}
	for _, m := range e.Mounts {
		name := path.Base(m.ContainerPath)
		base, version, ok := strings.Cut(name, ".so.")
		if !ok || driver == "" || version != driver {
			continue
		}
		so := soname(m.HostPath)
		if so == "" {
			so = base + ".so.1"
		}
		if to := guestLibraries + "/" + so; !done[to] && to != m.ContainerPath {
			done[to] = true
			all = append(all, &specs.Mount{HostPath: m.HostPath, ContainerPath: to, Options: m.Options})
		}
	}
	return all
}

// soname is what a library calls itself; "" when it does not say.
func soname(file string) string {
	f, err := elf.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	names, err := f.DynString(elf.DT_SONAME)
	if err != nil || len(names) == 0 || strings.Contains(names[0], "/") {
		return ""
	}
	return names[0]
}
