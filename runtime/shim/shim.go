// Package shim is containerd's own runc shim, as a role of a program: one process for each container.
package shim

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/manager"
	"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/runc"
	_ "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/task/plugin" // the shim's one service
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/shim"
	"github.com/containerd/plugin"
	"github.com/containerd/plugin/registry"
)

// TaskPlugin is the shim's service. The daemon must not load it, and the shim nothing else.
const TaskPlugin = "io.containerd.ttrpc.v1.task"

// Main is the shim role.
func Main() int {
	// The registry is one for the whole process and may hold the daemon's plugins too: leave the shim's only.
	all := registry.Graph(func(*plugin.Registration) bool { return false })
	registry.Reset()
	for _, r := range all {
		if r.URI() == TaskPlugin {
			registry.Register(&r)
		}
	}
	shim.RunShim(context.Background(), stopper{manager.NewShimManager("io.containerd.runc.v2")}) // exits with 1 on an error
	return 0
}

// stopper sees to it that the removal of a container which was given up before runc heard of it leaves nothing: without
// the options that name our root of runc, the shim asks runc to look in its default one, and that makes it. And it does
// not ask runc to remove what runc has removed: containerd wants it asked after every end of a container.
type stopper struct{ shim.Shim }

func (s stopper) Stop(ctx context.Context, id string) (shim.StopStatus, error) {
	if cwd, err := os.Getwd(); err == nil {
		bundle := filepath.Join(filepath.Dir(cwd), id)
		if status, ok := removed(ctx, bundle, id); ok {
			return status, nil
		}
		if o, err := runc.ReadOptions(bundle); err == nil && o == nil {
			// Nothing is there to be found, so any place will do that goes with the bundle. Without a bundle it fails.
			_ = runc.WriteOptions(bundle, &options.Options{Root: filepath.Join(bundle, "runc")})
		}
	}
	return s.Shim.Stop(ctx, id)
}

// removed says how a container ended that runc has forgotten after its end: nothing of it is left then but its mount. One
// that runc has not heard of yet has no end on record.
func removed(ctx context.Context, bundle, id string) (shim.StopStatus, bool) {
	namespace, err := namespaces.NamespaceRequired(ctx)
	if err != nil {
		return shim.StopStatus{}, false
	}
	o, err := runc.ReadOptions(bundle)
	if err != nil || o == nil || o.Root == "" {
		return shim.StopStatus{}, false
	}
	end, err := runc.ReadExitStatus(bundle)
	if err != nil {
		return shim.StopStatus{}, false
	}
	if _, err := os.Lstat(filepath.Join(o.Root, namespace, id)); !errors.Is(err, fs.ErrNotExist) {
		return shim.StopStatus{}, false
	}
	if mount.UnmountRecursive(filepath.Join(bundle, "rootfs"), 0) != nil {
		return shim.StopStatus{}, false
	}
	return shim.StopStatus{Pid: end.Pid, ExitStatus: end.Status, ExitedAt: end.Timestamp}, true
}
