package ledger

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// notFound looks for names that the user may have meant: at most three, nearest first.
func notFound(root, name string) error {
	e := &NotFoundError{Name: name, Root: root}
	_, base, ok := strings.Cut(name, "/")
	if !ok {
		base = name
	}
	type near struct {
		name string
		d    int
	}
	var all []near
	for _, k := range kinds {
		entries, _ := os.ReadDir(filepath.Join(root, string(k)))
		for _, en := range entries {
			if !validName(en.Name()) {
				continue
			}
			d := distance(base, en.Name())
			if strings.HasPrefix(en.Name(), base) && base != "" {
				d = 1
			}
			if d <= max(2, len(base)/3) {
				all = append(all, near{string(k) + "/" + en.Name(), d})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b near) int { return cmp.Compare(a.d, b.d) })
	for _, n := range all[:min(3, len(all))] {
		e.Similar = append(e.Similar, n.name)
	}
	return e
}

// distance is the number of bytes to insert, delete or replace (Levenshtein). Names have at most 128.
func distance(a, b string) int {
	a, b = a[:min(len(a), 128)], b[:min(len(b), 128)]
	row := make([]int, len(b)+1)
	for i := range row {
		row[i] = i
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for k := range len(b) {
			cost := 1
			if a[i] == b[k] {
				cost = 0
			}
			diag, row[k+1] = row[k+1], min(diag+cost, row[k]+1, row[k+1]+1)
		}
	}
	return row[len(b)]
}
