package test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// life is the table of the cases of a job's life and of their end-to-end tests.
const life = "life.txt"

var testFunc = regexp.MustCompile(`(?m)^func (Test\w+)\(`)

// TestLife holds that each case of life.txt has an end-to-end test of the name that stands there. With -v it prints the
// table; `go test -v -run Life ./test`.
func TestLife(t *testing.T) {
	there := map[string]bool{}
	walk(t, func(p string) {
		if filepath.Dir(p) == filepath.Join("test", "script", "e2e") && filepath.Ext(p) == ".txtar" {
			there[filepath.Base(p)] = true
			return
		}
		if !strings.HasSuffix(p, "_test.go") {
			return
		}
		text, err := os.ReadFile(filepath.Join("..", p))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(string(text), "//go:build e2e\n") {
			return
		}
		for _, m := range testFunc.FindAllStringSubmatch(string(text), -1) {
			there[m[1]] = true
		}
	})
	cases, missing := map[string]bool{}, 0
	for i, line := range lines(t, life) {
		f := strings.Split(line, "\t")
		if len(f) != 3 || f[0] == "" || f[1] == "" || cases[f[0]+f[1]] {
			t.Errorf("%s: entry %d: %q is no new case: part, case, tests", life, i+1, line)
			continue
		}
		cases[f[0]+f[1]] = true
		tests := strings.Fields(f[2])
		if len(tests) == 0 {
			missing++
			t.Errorf("%s: %s has no end-to-end test", f[0], f[1])
		}
		for _, name := range tests {
			if !there[name] {
				missing++
				t.Errorf("%s: %s: there is no end-to-end test %s", f[0], f[1], name)
			}
		}
		t.Logf("%s: %s: %s", f[0], f[1], strings.Join(tests, ", "))
	}
	if len(cases) < 40 {
		t.Errorf("only %d cases", len(cases))
	}
	t.Logf("%d cases, %d tests missing", len(cases), missing)
}
