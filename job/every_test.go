package job

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"testing"
)

// every is a value of a shape with each member that there is, however deep, each list with one item. It breaks rules
// between members, since some exclude others, and no constraint.
func every(t testing.TB, name string) any {
	s := facts().Shapes[name]
	switch s.Type {
	case "structure":
		m := map[string]any{}
		for member, next := range s.Members {
			m[member] = every(t, next)
		}
		return m
	case "list":
		var items []any
		for range max(1, value(s.min, 1)) {
			items = append(items, every(t, s.Member))
		}
		return items
	case "map":
		return map[string]any{"k": valid(t, s.Value, 0)}
	}
	return valid(t, name, 0)
}

// everyFile is where the request of an operation with every member lies.
func everyFile(op string) string { return filepath.Join("testdata", "every", op+".json") }

// TestEveryMember keeps a request of each operation that has every member, for the tests and measurements of what reads
// one: it breaks no constraint, and each of its members is treated.
func TestEveryMember(t *testing.T) {
	for _, op := range operationNames() {
		text, err := json.MarshalIndent(every(t, facts().Operations[op]), "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		golden(t, everyFile(op), string(text)+"\n")
		d, err := DecodeAs(op, op+".json", text)
		if err != nil {
			t.Errorf("%s: %v", op, err)
			continue
		}
		if err := d.found.err(op); err != nil {
			t.Errorf("%s: %v", op, err)
		}
		// Each member is told itself, or its own members are, or it stands below one that is inert or refused.
		uses, _ := treat(d, Options{})
		var told []string
		for _, u := range uses {
			told = append(told, u.Path)
			if u.Treatment != Honoured && u.Note == "" {
				t.Errorf("%s: %s is %s and nobody says why or how", op, u.Path, u.Treatment)
			}
		}
		for _, s := range spots(op) {
			if !slices.ContainsFunc(told, func(path string) bool { return isWithin(s.path, path) || isWithin(path, s.path) }) {
				t.Errorf("%s: %s is not told", op, s.path)
			}
		}
	}
}

// isWithin says that a path is another, or below it.
func isWithin(path, top string) bool {
	return path == top || len(path) > len(top) && path[:len(top)] == top && (path[len(top)] == '.' || path[len(top)] == '[')
}
