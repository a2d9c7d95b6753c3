package ctrd

import (
	"context"
	"os"

	"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/manager"
	_ "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/task/plugin" // the shim's one service
	"github.com/containerd/containerd/v2/pkg/shim"
	"github.com/containerd/plugin"
	"github.com/containerd/plugin/registry"
)

// taskPlugin is the shim's service. The daemon must not load it, and the shim nothing else.
const taskPlugin = "io.containerd.ttrpc.v1.task"

// ShimMain is the shim role: containerd's own runc shim.
func ShimMain() int {
	os.Setenv(RoleEnv, RoleShim)
	// The registry is one for the whole process and holds the daemon's plugins too: leave the shim's only.
	all := registry.Graph(func(*plugin.Registration) bool { return false })
	registry.Reset()
	for _, r := range all {
		if r.URI() == taskPlugin {
			registry.Register(&r)
		}
	}
	shim.RunShim(context.Background(), manager.NewShimManager("io.containerd.runc.v2")) // exits with 1 on an error
	return 0
}
