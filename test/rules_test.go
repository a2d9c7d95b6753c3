package test

import (
	"bufio"
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// untested is the list of rules that no test names; unfounded is why a rule may stand there.
const untested = "untested.txt"

var unfounded = map[string]string{
	"endpoint":     "is about endpoints, or the service's API, which optml does not have",
	"unobservable": "cannot be observed from outside, or not on the machines that run the tests",
}

// ruleNamed finds a rule, or a range of them: "A-1 to A-3", in a test.
var ruleNamed = regexp.MustCompile(`\b(BT|INF|MET|ST)-(\d+)(?: to (?:BT|INF|MET|ST)-(\d+))?`)

// TestEveryRuleIsNamedByATest holds the rules of transforms, inference containers and metrics in job/rules.txt against the tests:
// each is named by one, in its name, its comment or its table, or stands in untested.txt with the reason. With -v it
// prints those that do.
func TestEveryRuleIsNamedByATest(t *testing.T) {
	named := map[string][]string{}
	walk(t, func(p string) {
		switch {
		case p == "job/docs_test.go": // which rules the documentation explains
			return
		case strings.HasSuffix(p, "_test.go"), strings.HasSuffix(p, ".txtar"):
		default:
			return
		}
		text, err := os.ReadFile(filepath.Join("..", p))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range ruleNamed.FindAllSubmatch(text, -1) {
			from, _ := strconv.Atoi(string(m[2]))
			to := from
			if len(m[3]) > 0 {
				to, _ = strconv.Atoi(string(m[3]))
			}
			for n := from; n <= to; n++ {
				id := fmt.Sprintf("%s-%d", m[1], n)
				named[id] = append(named[id], p)
			}
		}
	})
	excused := map[string]bool{}
	for i, line := range lines(t, untested) {
		f := strings.SplitN(line, "\t", 3)
		if len(f) != 3 || unfounded[f[1]] == "" || f[2] == "" {
			t.Errorf("%s:%d: %q is not: rule, one of %v, reason", untested, i+1, line, slices.Sorted(maps.Keys(unfounded)))
			continue
		}
		excused[f[0]] = true
		if by := named[f[0]]; len(by) > 0 {
			t.Errorf("%s: %s is named by %s: take it off the list", untested, f[0], by[0])
		}
		t.Logf("%s %s: %s", f[0], unfounded[f[1]], f[2])
	}
	rules := 0
	for _, line := range lines(t, "../job/rules.txt") {
		id, says, _ := strings.Cut(line, "\t")
		if !ruleNamed.MatchString(id) {
			continue
		}
		rules++
		if len(named[id]) == 0 && !excused[id] {
			t.Errorf("no test names %s: %s", id, says)
		}
		delete(excused, id)
	}
	for id := range excused {
		t.Errorf("%s: %s is no rule of job/rules.txt", untested, id)
	}
	if rules < 150 {
		t.Errorf("only %d rules found", rules)
	}
}

// lines are those of a file that say something.
func lines(t *testing.T, name string) (out []string) {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for s := bufio.NewScanner(bytes.NewReader(text)); s.Scan(); {
		if line := s.Text(); line != "" && !strings.HasPrefix(line, "#") {
			out = append(out, line)
		}
	}
	return out
}
