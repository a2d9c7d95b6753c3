package ctrd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/optml/optml/runtime/container"
)

// Commands looks an image up that is here, never in a registry, and says which of some commands it has: each that its
// PATH leads to, with the file's path in the image. Nothing is run or mounted. Errors are as those of Ensure.
func (c *Client) Commands(ctx context.Context, ref string, names ...string) (container.Image, map[string]string, error) {
	img, err := c.Ensure(ctx, ref, container.PullNever)
	if err != nil {
		return img, nil, err
	}
	ctx = c.ctx(ctx)
	_, f, err := c.image(ctx, img.Ref)
	if err != nil {
		return img, nil, err
	}
	var layers []string
	err = c.leased(ctx, func(ctx context.Context) error {
		service := c.containerd().SnapshotService(c.snapshotter())
		key := fmt.Sprintf("optml-look-%d-%s", os.Getpid(), f.chain())
		mounts, err := service.View(ctx, key, f.chain())
		if err != nil {
			return fmt.Errorf("look into image %s: %w", ref, err)
		}
		defer func() { _ = service.Remove(context.WithoutCancel(ctx), key) }() // else it goes with the lease
		for _, m := range mounts {
			if m.Type == "bind" {
				layers = append(layers, m.Source)
			}
			for _, o := range m.Options {
				if dirs, ok := strings.CutPrefix(o, "lowerdir="); ok {
					layers = append(layers, strings.Split(dirs, ":")...)
				}
			}
		}
		if len(layers) == 0 {
			return fmt.Errorf("look into image %s: its snapshots cannot be read in place", ref)
		}
		return nil
	})
	if err != nil {
		return img, nil, err
	}
	found := map[string]string{}
	for _, n := range names {
		for _, p := range commandPaths(n, img.Env, img.WorkingDir) {
			if fi, err := lookLayers(layers, p); err == nil && fi.Mode().IsRegular() && fi.Mode()&0o111 != 0 {
				found[n] = p
				break
			}
		}
	}
	return img, found, nil
}

// commandPaths are where execvp looks for a command, in its order.
func commandPaths(cmd string, env []string, cwd string) []string {
	cwd = path.Join("/", cwd)
	if strings.Contains(cmd, "/") {
		if path.IsAbs(cmd) {
			return []string{cmd}
		}
		return []string{path.Join(cwd, cmd)}
	}
	dirs := defaultPath
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, "PATH="); ok {
			dirs = v
		}
	}
	var all []string
	for dir := range strings.SplitSeq(dirs, ":") {
		if !path.IsAbs(dir) {
			dir = path.Join(cwd, dir)
		}
		all = append(all, path.Join(dir, cmd))
	}
	return all
}

// lookLayers is what a path leads to in an overlay of directories, the uppermost first, as overlayfs would show it. It
// follows symbolic links within the overlay.
func lookLayers(layers []string, name string) (fs.FileInfo, error) {
	rest := strings.Split(path.Clean("/" + name)[1:], "/")
	at, in := "/", layers // the directory that was reached, and the layers that make it
	for links := 0; len(rest) > 0; {
		p := path.Join(at, rest[0])
		rest = rest[1:]
		fi, below, err := lookOne(in, p)
		if err != nil {
			return nil, err
		}
		switch {
		case fi.Mode()&fs.ModeSymlink != 0:
			if links++; links > 40 {
				return nil, fmt.Errorf("%s: %w", name, syscall.ELOOP)
			}
			target, err := os.Readlink(filepath.Join(below[0], p))
			if err != nil {
				return nil, err
			}
			if !path.IsAbs(target) {
				target = path.Join(at, target)
			}
			rest = append(strings.Split(path.Clean(target)[1:], "/"), rest...)
			at, in = "/", layers
			if rest[0] == "" { // the root itself
				rest = rest[1:]
			}
		case len(rest) == 0:
			return fi, nil
		case !fi.IsDir():
			return nil, fmt.Errorf("%s: %w", p, syscall.ENOTDIR)
		default:
			at, in = p, below
		}
	}
	return os.Lstat(filepath.Join(layers[0], "/"))
}

// lookOne finds one entry of a directory that several layers make, and the layers that make the entry.
func lookOne(layers []string, p string) (fi fs.FileInfo, in []string, err error) {
	for _, l := range layers {
		e, err := os.Lstat(filepath.Join(l, p))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		st, ok := e.Sys().(*syscall.Stat_t)
		whiteout := e.Mode()&fs.ModeCharDevice != 0 && ok && st.Rdev == 0
		if whiteout || fi != nil && !e.IsDir() {
			break
		}
		if fi == nil {
			fi = e
		}
		in = append(in, l)
		if !e.IsDir() || opaque(filepath.Join(l, p)) {
			break
		}
	}
	if fi == nil {
		return nil, nil, fmt.Errorf("%s: %w", p, fs.ErrNotExist)
	}
	return fi, in, nil
}

// opaque says whether a directory hides those of the layers below.
func opaque(dir string) bool {
	b := make([]byte, 4)
	for _, x := range []string{"trusted.overlay.opaque", "user.overlay.opaque"} {
		if n, err := unix.Lgetxattr(dir, x, b); err == nil && n == 1 && b[0] == 'y' {
			return true
		}
	}
	return false
}
