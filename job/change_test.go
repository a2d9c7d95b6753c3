package job

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"
)

// change returns a JSON text with the value at a path replaced, or removed when v is nil. Members on the way that are
// missing are made.
func change(t testing.TB, text, path string, v any) string {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var root any
	if err := dec.Decode(&root); err != nil {
		t.Fatal(err)
	}
	steps := strings.Split(strings.ReplaceAll(path, "[", ".["), ".")
	out, err := json.MarshalIndent(changed(root, steps, v), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func changed(n any, steps []string, v any) any {
	if len(steps) == 0 {
		return v
	}
	step, rest := steps[0], steps[1:]
	if strings.HasPrefix(step, "[") {
		i, _ := strconv.Atoi(strings.Trim(step, "[]"))
		list, _ := n.([]any)
		for len(list) <= i {
			list = append(list, nil)
		}
		list[i] = changed(list[i], rest, v)
		return list
	}
	m, _ := n.(map[string]any)
	if m == nil {
		m = map[string]any{}
	}
	if len(rest) == 0 && v == nil {
		delete(m, step)
		return m
	}
	m[step] = changed(m[step], rest, v)
	return m
}
