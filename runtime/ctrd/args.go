package ctrd

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/optml/optml/runtime/cgroup"
	"github.com/optml/optml/runtime/container"
)

// processArgs is the command line of a container: the table of training 1.1 and INF-1 as exec-style words. Without
// any word of its own the Spec means the image as it is.
func processArgs(s container.Spec, image ocispec.ImageConfig) ([]string, error) {
	var args []string
	switch {
	case s.Entrypoint != nil:
		args = append(append(args, s.Entrypoint...), s.Args...)
	case s.Args != nil:
		args = append(append(args, image.Entrypoint...), s.Args...)
	default:
		args = append(append(args, image.Entrypoint...), image.Cmd...)
	}
	if len(args) == 0 {
		return nil, errors.New("nothing to run: neither the image nor the job names a command")
	}
	return args, nil
}

var idForm = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]*$`)

const maxID = 76

// checkSpec refuses what would fail later in words that name no field.
func checkSpec(s container.Spec) error {
	switch {
	case len(s.ID) > maxID || !idForm.MatchString(s.ID):
		return fmt.Errorf("container ID %q is not [a-z0-9.-], at most %d characters", s.ID, maxID)
	case !filepath.IsAbs(s.Job):
		return fmt.Errorf("container %s: job directory %q is not absolute", s.ID, s.Job)
	case !filepath.IsAbs(s.Log):
		return fmt.Errorf("container %s: log %q is not absolute", s.ID, s.Log)
	case s.Guard != "" && !filepath.IsAbs(s.Guard):
		return fmt.Errorf("container %s: guard %q is not absolute", s.ID, s.Guard)
	case len(s.Network.Bridge) > 15 || strings.ContainsAny(s.Network.Bridge, "/ \t\n"):
		return fmt.Errorf("container %s: bridge name %q is longer than 15 bytes or holds a slash or space", s.ID, s.Network.Bridge)
	case s.Network.Bridge == "" && !s.Network.Isolated:
		return fmt.Errorf("container %s: an open network needs a bridge", s.ID)
	case s.Network.Bridge != "" && (s.Network.Index < 0 || s.Network.Index >= len(s.Network.Hosts)):
		return fmt.Errorf("container %s: host %d of %d", s.ID, s.Network.Index, len(s.Network.Hosts))
	case len(s.Network.Hosts) > maxHosts:
		return fmt.Errorf("container %s: %d hosts, a job has room for %d", s.ID, len(s.Network.Hosts), maxHosts)
	case s.Memory < 0 || s.CPUs < 0 || s.ShmBytes < 0:
		return fmt.Errorf("container %s: negative limit", s.ID)
	}
	for _, m := range s.Mounts {
		if !filepath.IsAbs(m.Source) || !filepath.IsAbs(m.Target) {
			return fmt.Errorf("container %s: mount %s on %s is not absolute", s.ID, m.Source, m.Target)
		}
	}
	return nil
}

var notPath = regexp.MustCompile(`[^a-zA-Z0-9.-]+`)

// cgroupPath is /optml/JOB/CONTAINER. Two roots may have a job of the same name, so the directory's hash is in it.
func cgroupPath(job, id string) string {
	sum := sha256.Sum256([]byte(job))
	name := notPath.ReplaceAllString(filepath.Base(job), "-")
	name = strings.Trim(name[:min(len(name), 63)], ".-")
	return cgroup.Parent + "/" + name + "-" + hex.EncodeToString(sum[:4]) + "/" + id
}
