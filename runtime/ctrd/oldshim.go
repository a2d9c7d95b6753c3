package ctrd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/defaults"
	"github.com/containerd/containerd/v2/pkg/shim"
)

// shimPatience is how long a shim may take to leave after its task was deleted; milliseconds are usual.
const shimPatience = time.Second

// shims are the processes of the shim that serves a container of ours. What containerd starts to clean up after one has
// the same arguments and the word delete; it ends by itself.
func (c *Client) shims(id string) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var out []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		b, err := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		if err != nil {
			continue
		}
		args := strings.Split(strings.TrimRight(string(b), "\x00"), "\x00")
		if hasPair(args, "-id", id) && hasPair(args, "-namespace", c.cfg.Namespace) && hasPair(args, "-address", c.cfg.address()) && args[len(args)-1] != "delete" {
			out = append(out, pid)
		}
	}
	return out
}

func hasPair(args []string, flag, value string) bool {
	for i := 0; i+1 < len(args); i++ {
		if args[i] == flag && args[i+1] == value {
			return true
		}
	}
	return false
}

// removeSocket removes the socket of a container's shim, which has gone; one that was killed has left it.
func (c *Client) removeSocket(ctx context.Context, id string) error {
	dir := c.cfg.shimSockets()
	if c.cfg.Address != "" {
		dir = filepath.Join(defaults.DefaultStateDir, "s") // where shims have it from 1.6 on, unless configured
	}
	address, err := shim.CreateSocketAddress(c.ctx(ctx), dir, c.cfg.address(), id, false)
	if err != nil {
		return fmt.Errorf("name the socket of %s: %w", id, err)
	}
	if err := os.Remove(strings.TrimPrefix(address, "unix://")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove shim's socket: %w", err)
	}
	return nil
}
