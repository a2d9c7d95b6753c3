// Package shim is containerd's own runc shim, as a role of a program: one process for each container.
package shim

import (
	"context"

	"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/manager"
	_ "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/task/plugin" // the shim's one service
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
	shim.RunShim(context.Background(), manager.NewShimManager("io.containerd.runc.v2")) // exits with 1 on an error
	return 0
}
