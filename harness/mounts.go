package harness

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"

	"github.com/optml/optml/channels"
	"github.com/optml/optml/ledger"
	"github.com/optml/optml/runtime/container"
)

// mountKind is what intents call a mount that a channel makes on this machine.
const mountKind = "mount"

// mountDir is the directory of this job's mounts: outside of the work directory, which is removed with all that is below
// it (D12). "" where the host has none.
func (in *instance) mountDir() string {
	r := in.run
	if r.host.MountDir == "" {
		return ""
	}
	return filepath.Join(r.host.MountDir, containerID(r.owner.Dir(), in.host))
}

// willMount records mounts before they are made, so that whoever finds the job without an owner takes them away, and
// has them released at the end.
func (r *run) willMount(host string, mounts []channels.Mount) error {
	for _, m := range mounts {
		if !m.Made { // the user's directory: nobody may unmount or remove it (D12)
			continue
		}
		if err := r.appendAt(host, "channels", ledger.Intent{Kind: mountKind, ID: m.Source}); err != nil {
			return err
		}
	}
	return nil
}

// unmounted says that the mounts of a channel that was closed are gone.
func (r *run) unmounted(host string, d channels.Delivery) error {
	m, ok := d.(channels.Mounter)
	if !ok {
		return nil
	}
	var errs []error
	for _, x := range m.Mounts() {
		if !x.Made {
			continue
		}
		errs = append(errs, r.appendAt(host, "channels", ledger.Released{Kind: mountKind, ID: x.Source}), removeEmpty(filepath.Dir(x.Source)))
	}
	_ = os.Remove(r.host.MountDir) // the last job's takes it along
	return errors.Join(errs...)
}

// channelMounts are the mounts of all channels in the container.
func (in *instance) channelMounts() []container.Mount {
	var out []container.Mount
	for _, d := range in.deliveries {
		if m, ok := d.(channels.Mounter); ok {
			for _, x := range m.Mounts() {
				out = append(out, container.Mount{Source: x.Source, Target: path.Join("/opt/ml/input/data", x.Target), ReadOnly: x.ReadOnly})
			}
		}
	}
	return out
}

// dropMounts takes away what a dead owner had mounted. Only an empty directory is removed: what is still mounted there
// is somebody's data. Nothing outside of root is touched, whatever the record says.
func dropMounts(root string, s ledger.State) error {
	var errs []error
	for _, i := range s.Open {
		if i.Kind != mountKind {
			continue
		}
		if rel, err := filepath.Rel(root, i.ID); root == "" || err != nil || !filepath.IsLocal(rel) {
			errs = append(errs, fmt.Errorf("the mount %s is not below %q", i.ID, root))
			continue
		}
		err := channels.Unmount(i.ID)
		if err == nil {
			err = errors.Join(removeEmpty(i.ID), removeEmpty(filepath.Dir(i.ID)))
		}
		errs = append(errs, err)
		_ = os.Remove(root)
	}
	return errors.Join(errs...)
}

// removeEmpty removes a directory that may be gone already, or hold others' mounts.
func removeEmpty(dir string) error {
	err := os.Remove(dir)
	if err == nil || errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if left, rerr := os.ReadDir(dir); rerr == nil && len(left) > 0 {
		return nil
	}
	return fmt.Errorf("remove mount point: %w", err)
}
