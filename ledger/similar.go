package ledger

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/optml/optml/human"
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
	most := max(2, len(base)/3) // letters that differ in what may be meant
	for _, k := range kinds {
		entries, _ := os.ReadDir(filepath.Join(root, string(k)))
		for _, en := range entries {
			if !validName(en.Name()) {
				continue
			}
			d := human.Distance(base, en.Name(), most+1)
			if strings.HasPrefix(en.Name(), base) && base != "" {
				d = 1
			}
			if d <= most {
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
