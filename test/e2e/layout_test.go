//go:build e2e

package e2e

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// layout is what a container sees of how it was started, as the tiny image dumps it.
type layout struct {
	Args     []string
	Env      []string
	Dir      string
	Hostname string
	PID      int
	UID      int
	CPUs     int
	Config   map[string]struct{ Text, Perm string }
	Tree     []struct {
		Path, Mode string
		UID        int
	}
	Mounts []struct {
		Target, Type, Source string
		ReadOnly             bool `json:"read_only"`
	}
	Hosts      string
	Resolv     string
	Status     map[string]string
	NoFile     [2]uint64
	MemLock    [2]uint64
	Devices    []string
	Shm        uint64 `json:"shm_bytes"`
	Interfaces map[string][]string
	Routes     []string
	Writable   map[string]bool
}

func (l *layout) mode(path string) string {
	for _, e := range l.Tree {
		if e.Path == path {
			return e.Mode
		}
	}
	return ""
}

func (l *layout) env(name string) (string, bool) {
	for _, kv := range l.Env {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			return v, true
		}
	}
	return "", false
}

// mounted says of each mount at or below /opt/ml whether it is read-only.
func (l *layout) mounted() map[string]bool {
	m := map[string]bool{}
	for _, x := range l.Mounts {
		if x.Target == "/opt/ml" || strings.HasPrefix(x.Target, "/opt/ml/") {
			m[x.Target] = x.ReadOnly
		}
	}
	return m
}

// checkEnv holds what is set, and that nothing is set that the service does not set (1.3, ENV-1, ENV-2, ENV-6).
func (l *layout) checkEnv(t *testing.T, want map[string]string) {
	t.Helper()
	for k, v := range want {
		if got, ok := l.env(k); !ok || got != v {
			t.Errorf("%s is %q (set: %v), want %q", k, got, ok, v)
		}
	}
	for _, kv := range l.Env {
		name, _, _ := strings.Cut(kv, "=")
		if _, expected := want[name]; expected {
			continue
		}
		if !slices.Contains([]string{"PATH", "HOME", "HOSTNAME"}, name) {
			t.Errorf("environment has %s", kv)
		}
	}
}

// said finds the last JSON line of a log that has the member, and decodes the member.
func said[T any](t *testing.T, log, member string) T {
	t.Helper()
	var found json.RawMessage
	for line := range strings.Lines(log) {
		var m map[string]json.RawMessage
		if json.Unmarshal([]byte(line), &m) == nil && m[member] != nil {
			found = m[member]
		}
	}
	if found == nil {
		t.Fatalf("no line with %q in the log:\n%.2000s", member, log)
	}
	return decode[T](t, found)
}
