package ctrd

import (
	"context"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/optml/optml/runtime/cgroup"
)

// Facts is what of the host matters to containers, for doctor. An error stands where its fact is not known.
type Facts struct {
	Kernel    string
	Cgroups   string // "v1" or "v2"
	CgroupErr error
	Runc      Runc
	RuncErr   error // *MissingRuncError when there is none
	NofileMax uint64
	Memlock   *uint64 // of containers, on a host with GPUs; nil: as the daemon was started
	Overlay   bool    // overlayfs is in the kernel or can be loaded
	Forward   bool    // net.ipv4.ip_forward is on; open networks switch it on
	Init      string  // the program for --init; "" is none
}

// Inspect looks at the host. It starts nothing but runc, to ask what it can.
func Inspect(ctx context.Context, cfg Config) Facts {
	var f Facts
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		f.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	if h, err := cgroup.Host(); err != nil {
		f.CgroupErr = err
	} else {
		f.Cgroups = h.String()
	}
	path, err := findRunc(cfg.Runc)
	if err == nil {
		f.Runc, err = inspectRunc(ctx, path, cfg.RunDir)
	}
	f.RuncErr = err
	f.NofileMax = nofileMax()
	if pinsMemory() {
		f.Memlock = new(memlockMax())
	}
	f.Overlay = knowsFilesystem("overlay")
	if b, err := os.ReadFile("/proc/sys/net/ipv4/ip_forward"); err == nil {
		f.Forward = strings.TrimSpace(string(b)) == "1"
	}
	f.Init, _ = findInit()
	return f
}

// knowsFilesystem asks the kernel, which loads a module for it if there is one.
func knowsFilesystem(name string) bool {
	fd, err := unix.Fsopen(name, unix.FSOPEN_CLOEXEC)
	if err == nil {
		unix.Close(fd)
		return true
	}
	b, err := os.ReadFile("/proc/filesystems")
	return err == nil && strings.Contains(string(b), "\t"+name+"\n")
}

// Version is the version of the containerd that the client is connected to.
func (c *Client) Version(ctx context.Context) (string, error) {
	v, err := c.conn.Version(c.ctx(ctx))
	if err != nil {
		return "", fmt.Errorf("ask containerd for its version: %w", err)
	}
	return v.Version, nil
}

// Address is the socket of the containerd that the client is connected to, and whether it is the embedded one.
func (c *Client) Address() (socket string, embedded bool) {
	return c.cfg.address(), c.cfg.Address == ""
}
