package cgroup

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Ruling 14: a container of an instance type with fewer processors is bound to so many, those that others leave free, on
// either version; the texts of the files are those of real hosts.
func TestChooseCPUs(t *testing.T) {
	v1 := func(files map[string]string) Hierarchy {
		return Hierarchy{V1: map[string]string{"memory": "/nowhere", "cpuset": filepath.Join(fixture(t, files), "cpuset")}}
	}
	v2 := func(files map[string]string) Hierarchy { return Hierarchy{Unified: fixture(t, files)} }
	const controllers = "cpuset cpu io memory hugetlb pids rdma misc\n"
	for _, c := range []struct {
		name string
		h    Hierarchy
		n    int
		want []string // any of them
	}{
		{"v1, the others' are taken", v1(map[string]string{
			"cpuset/cpuset.cpus": "0-3\n", "cpuset/optml/j/a/cpuset.cpus": "0-1\n", "cpuset/optml/j/b/cpuset.cpus": "2\n", "cpuset/docker/x/cpuset.cpus": "3\n",
		}), 1, []string{"3"}},
		{"v1, one without a bound weighs on all alike", v1(map[string]string{
			"cpuset/cpuset.cpus": "0-3\n", "cpuset/optml/j/a/cpuset.cpus": "0-3\n", "cpuset/optml/k/b/cpuset.cpus": "1,3\n",
		}), 2, []string{"0,2"}},
		{"v1, all of them", v1(map[string]string{"cpuset/cpuset.cpus": "0-1\n"}), 2, []string{""}},
		{"v1, more than there are", v1(map[string]string{"cpuset/cpuset.cpus": "0\n"}), 4, []string{""}},
		{"v1, without the controller", Hierarchy{V1: map[string]string{"memory": "/nowhere"}}, 1, []string{""}},
		{"v2, the others' are taken", v2(map[string]string{
			"cgroup.controllers": controllers, "cpuset.cpus.effective": "0-2,8\n",
			"optml/j/a/cpuset.cpus": "\n", "optml/j/b/cpuset.cpus": "0-2\n",
		}), 1, []string{"8"}},
		{"v2, nothing taken", v2(map[string]string{"cgroup.controllers": controllers, "cpuset.cpus.effective": "0-1\n"}), 1, []string{"0", "1"}},
		{"v2, without the controller", v2(map[string]string{"cgroup.controllers": "cpu memory pids\n", "cpuset.cpus.effective": "0-1\n"}), 1, []string{""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := c.h.ChooseCPUs(c.n, "job.algo-1.00000000")
			if err != nil || !slices.Contains(c.want, got) {
				t.Errorf("%q, %v, want one of %q", got, err, c.want)
			}
		})
	}
	// Two that do not see each other do not always get the same.
	h := v2(map[string]string{"cgroup.controllers": controllers, "cpuset.cpus.effective": "0-63\n"})
	different := map[string]bool{}
	for id := range strings.FieldsSeq("a b c d e f g h") {
		got, err := h.ChooseCPUs(2, id)
		if err != nil {
			t.Fatal(err)
		}
		different[got] = true
	}
	if len(different) < 4 {
		t.Errorf("eight containers got %v", different)
	}
}

func TestParseCPUs(t *testing.T) {
	for _, s := range []string{"x", "1-", "-1", "3-1", "0-99999999"} {
		if got, err := parseCPUs(s); err == nil {
			t.Errorf("%q: %v", s, got)
		}
	}
}
