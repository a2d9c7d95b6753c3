package ctrd

import (
	"encoding/json"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/contrib/seccomp"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/opencontainers/runtime-spec/specs-go"
)

func editedSpec(t *testing.T, edits string) (*oci.Spec, error) {
	t.Helper()
	s := &oci.Spec{Process: &specs.Process{Env: []string{"A=image"}}, Linux: &specs.Linux{Resources: &specs.LinuxResources{}}}
	var raw json.RawMessage
	if edits != "" {
		raw = json.RawMessage(edits)
	}
	for _, o := range []oci.SpecOpts{withEdits(raw), oci.WithEnv([]string{"B=ours"}), withRlimits(raw != nil)} {
		if err := o(t.Context(), nil, &containers.Container{}, s); err != nil {
			return s, err
		}
	}
	return s, nil
}

// Edits give a container its devices, with leave to use them; what the job itself sets holds over theirs.
func TestEdits(t *testing.T) {
	s, err := editedSpec(t, `{"env": ["A=edits", "B=edits"], "deviceNodes": [{"path": "/dev/nvidia0", "hostPath": "/dev/null"}],
		"mounts": [{"hostPath": "/lib", "containerPath": "/usr/lib/x", "options": ["ro", "bind"]}],
		"hooks": [{"hookName": "createContainer", "path": "/bin/true", "args": ["true"]}]}`)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(s.Process.Env, " "); got != "A=edits B=ours" {
		t.Errorf("environment %s", got)
	}
	if len(s.Linux.Devices) != 1 || s.Linux.Devices[0].Path != "/dev/nvidia0" || s.Linux.Devices[0].Major != 1 || s.Linux.Devices[0].Minor != 3 {
		t.Errorf("devices %+v", s.Linux.Devices)
	}
	if d := s.Linux.Resources.Devices; len(d) != 1 || !d[0].Allow || *d[0].Major != 1 || *d[0].Minor != 3 || d[0].Access != "rwm" {
		t.Errorf("leave %+v", d)
	}
	if len(s.Mounts) != 1 || s.Mounts[0].Destination != "/usr/lib/x" || len(s.Hooks.CreateContainer) != 1 {
		t.Errorf("mounts %+v, hooks %+v", s.Mounts, s.Hooks)
	}
	memlock := func(s *oci.Spec) bool { // START-13
		for _, r := range s.Process.Rlimits {
			if r.Type == "RLIMIT_MEMLOCK" {
				return r.Soft == memlockMax() && r.Hard == memlockMax()
			}
		}
		return false
	}
	if !memlock(s) {
		t.Errorf("limits %+v", s.Process.Rlimits)
	}
	if s, err := editedSpec(t, ""); err != nil || memlock(s) != pinsMemory() || len(s.Linux.Devices) > 0 {
		t.Errorf("%v, %+v", err, s.Process.Rlimits)
	}
}

func TestEditsAreChecked(t *testing.T) {
	for edits, want := range map[string]string{
		`{"devices": []}`:       "unknown field",
		`{"env": ["nonsense"]`:  "device edits: ",
		`{"env": ["nonsense"]}`: "invalid environment variable",
		`{"deviceNodes": [{"path": "/dev/x", "hostPath": "/nonexistent"}]}`: "/nonexistent",
		`{"hooks": [{"hookName": "never", "path": "/bin/true"}]}`:           "never",
	} {
		if _, err := editedSpec(t, edits); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", edits, err, want)
		}
	}
}

func TestFilterWithoutX32(t *testing.T) {
	s := &oci.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{}}, Linux: &specs.Linux{}}
	for _, o := range []oci.SpecOpts{seccomp.WithDefaultProfile(), withoutX32} {
		if err := o(t.Context(), nil, &containers.Container{}, s); err != nil {
			t.Fatal(err)
		}
	}
	f := s.Linux.Seccomp
	if slices.Contains(f.Architectures, specs.ArchX32) || len(f.Syscalls) == 0 {
		t.Errorf("architectures %v, %d rules", f.Architectures, len(f.Syscalls))
	}
	if runtime.GOARCH == "amd64" && !slices.Equal(f.Architectures, []specs.Arch{specs.ArchX86_64, specs.ArchX86}) {
		t.Errorf("architectures %v: 32-bit programs run as in Docker", f.Architectures)
	}
}
