// Package gpu makes an NVIDIA driver for hosts without one: a libnvidia-ml.so.1 that knows GPUs, device nodes that nothing
// is behind, and libraries that are empty, below a root of their own as OPTML_DRIVER_ROOT names it.
package gpu

import (
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"
)

//go:embed testdata/nvml.c
var source []byte

// Version is that of the driver.
const Version = "550.54.15"

// libraries are below the driver's root.
const libraries = "usr/lib/x86_64-linux-gnu"

// UUID is that of a GPU under FAKE_NVML_SALT.
func UUID(salt uint32, index int) string {
	return fmt.Sprintf("GPU-%08x-0000-0000-0000-%012d", salt, index)
}

// Env tells the library about its GPUs, and optml about the driver.
func Env(root string, salt uint32, gpus int) []string {
	return []string{"OPTML_DRIVER_ROOT=" + root, fmt.Sprintf("FAKE_NVML_SALT=%08x", salt), fmt.Sprintf("FAKE_NVML_GPUS=%d", gpus)}
}

// Driver makes the driver below root, with so many device nodes; none need no root. defines are of the C compiler, such as
// -DWITHOUT_UTILIZATION: what the library lacks.
func Driver(root string, nodes int, defines ...string) error {
	dir := filepath.Join(root, libraries)
	for _, d := range []string{dir, filepath.Join(root, "dev"), filepath.Join(root, "usr/bin")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	c := filepath.Join(root, "nvml.c")
	if err := os.WriteFile(c, source, 0o644); err != nil {
		return err
	}
	library := filepath.Join(dir, "libnvidia-ml.so."+Version)
	args := append([]string{"-shared", "-fPIC", "-O1", "-Wl,-soname,libnvidia-ml.so.1", "-o", library, c}, defines...)
	if out, err := exec.Command("gcc", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("gcc: %w\n%s", err, out)
	}
	if err := os.Symlink(filepath.Base(library), filepath.Join(dir, "libnvidia-ml.so.1")); err != nil {
		return err
	}
	for _, name := range []string{"libcuda", "libnvidia-ptxjitcompiler"} {
		if err := os.WriteFile(filepath.Join(dir, name+".so."+Version), nil, 0o644); err != nil {
			return err
		}
		if err := os.Symlink(name+".so."+Version, filepath.Join(dir, name+".so.1")); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(root, "usr/bin/nvidia-smi"), []byte("#!/bin/sh\n"), 0o755); err != nil {
		return err
	}
	if nodes == 0 {
		return nil
	}
	minors := map[string]int{"nvidiactl": 255, "nvidia-modeset": 254}
	for i := range nodes {
		minors[fmt.Sprintf("nvidia%d", i)] = i
	}
	const major = 195
	for name, minor := range minors {
		if err := unix.Mknod(filepath.Join(root, "dev", name), unix.S_IFCHR|0o666, int(unix.Mkdev(major, uint32(minor)))); err != nil {
			return fmt.Errorf("make device node %s: %w", name, err)
		}
	}
	for name, minor := range map[string]int{"nvidia-uvm": 0, "nvidia-uvm-tools": 1} {
		if err := unix.Mknod(filepath.Join(root, "dev", name), unix.S_IFCHR|0o666, int(unix.Mkdev(510, uint32(minor)))); err != nil {
			return fmt.Errorf("make device node %s: %w", name, err)
		}
	}
	return nil
}
