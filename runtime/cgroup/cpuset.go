package cgroup

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// ChooseCPUs chooses n of the host's processors for a container, as a list such as "0,2" for cpuset.cpus: those that the
// fewest containers of ours, of any optml on the host, are bound to. "" is no choice: there are no more than n, or no
// controller for it. Of processors that are as free as each other the container's id decides where to begin, so that two
// containers made at the same moment, which do not see each other yet, seldom get the same.
func (h Hierarchy) ChooseCPUs(n int, id string) (string, error) {
	root, all := h.cpuset()
	if root == "" {
		return "", nil
	}
	b, err := os.ReadFile(filepath.Join(root, all))
	if err != nil {
		return "", nil // no controller in this tree
	}
	free, err := parseCPUs(string(b))
	if err != nil {
		return "", fmt.Errorf("read %s of the host: %w", all, err)
	}
	if n <= 0 || n >= len(free) {
		return "", nil
	}
	users := map[int]int{}
	bound, _ := filepath.Glob(filepath.Join(root, Parent, "*", "*", "cpuset.cpus"))
	for _, file := range bound {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // it has just gone
		}
		theirs, _ := parseCPUs(string(b))
		for _, c := range theirs {
			users[c]++
		}
	}
	hash := fnv.New32a()
	hash.Write([]byte(id))
	begin := int(hash.Sum32() % uint32(len(free)))
	order := slices.Concat(free[begin:], free[:begin])
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(users[a], users[b]) })
	chosen := slices.Sorted(slices.Values(order[:n]))
	var list []string
	for _, c := range chosen {
		list = append(list, strconv.Itoa(c))
	}
	return strings.Join(list, ","), nil
}

// cpuset is where the controller of processors is mounted and the file there that lists those of the host; "" is nowhere.
func (h Hierarchy) cpuset() (root, all string) {
	if h.Unified == "" {
		return h.V1["cpuset"], "cpuset.cpus"
	}
	b, err := os.ReadFile(filepath.Join(h.Unified, "cgroup.controllers"))
	if err != nil || !slices.Contains(strings.Fields(string(b)), "cpuset") {
		return "", ""
	}
	return h.Unified, "cpuset.cpus.effective"
}

// parseCPUs reads a list such as "0-3,8".
func parseCPUs(s string) ([]int, error) {
	var out []int
	for part := range strings.SplitSeq(strings.TrimSpace(s), ",") {
		if part == "" {
			continue
		}
		lo, hi, two := strings.Cut(part, "-")
		a, err := strconv.Atoi(lo)
		b := a
		if err == nil && two {
			b, err = strconv.Atoi(hi)
		}
		if err != nil || a < 0 || b < a || b > math.MaxUint16 { // Linux counts to 8192
			return nil, fmt.Errorf("%q is no list of processors", s)
		}
		for ; a <= b; a++ {
			out = append(out, a)
		}
	}
	return out, nil
}
