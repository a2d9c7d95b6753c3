package job

import (
	"cmp"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var ruleID = regexp.MustCompile(`\b(?:(?:START|ENV|TREE|IDC|RES|FAIL|OUT|CKP|FILE|FF|PIPE|AUG|SHARD|HP|CH|MET|LIFE|END|STOP|DIST|INF|BT|ST|VAL|RT|TRAP|DOC|RETRY)-[0-9]+|ruling [0-9]+)\b`)

// mayCite spares most lines the expression, which is slow.
func mayCite(line string) bool {
	for i := 1; i < len(line)-1; i++ {
		if line[i] == '-' && 'A' <= line[i-1] && line[i-1] <= 'Z' && '0' <= line[i+1] && line[i+1] <= '9' {
			return true
		}
	}
	return strings.Contains(line, "ruling ")
}

// cited collects the rule ids that the repository's Go files cite, each with the packages that do.
func cited(t testing.TB) map[string][]string {
	t.Helper()
	out := map[string]map[string]bool{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && d.Name() != ".." {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel("..", filepath.Dir(path))
		for line := range strings.Lines(string(b)) {
			if !mayCite(line) {
				continue
			}
			for _, id := range ruleID.FindAllString(line, -1) {
				if out[id] == nil {
					out[id] = map[string]bool{}
				}
				out[id][filepath.ToSlash(rel)] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	list := map[string][]string{}
	for id, dirs := range out {
		list[id] = slices.Sorted(maps.Keys(dirs))
	}
	return list
}

// Each rule id that the code, the table, a warning or a rule cites is explained in rules.txt.
func TestCitedRulesAreExplained(t *testing.T) {
	for id, dirs := range cited(t) {
		if RuleText(id) == "" {
			t.Errorf("%s is cited in %s and has no line in rules.txt", id, strings.Join(dirs, ", "))
		}
	}
	for _, r := range fidelity {
		for id := range strings.SplitSeq(r.rules, ", ") {
			if RuleText(id) == "" {
				t.Errorf("row %s.%s cites %q", r.shape, r.member, id)
			}
		}
		for _, c := range r.cases {
			for id := range strings.SplitSeq(cmp.Or(c.rules, r.rules), ", ") {
				if RuleText(id) == "" {
					t.Errorf("row %s.%s, case %s cites %q", r.shape, r.member, c.is, id)
				}
			}
		}
	}
	for _, r := range rules {
		if RuleText(r.id) == "" {
			t.Errorf("rule %q has no line in rules.txt", r.id)
		}
	}
	ids := map[string]bool{}
	for line := range strings.Lines(rulesTXT) {
		id, _, ok := strings.Cut(line, "\t")
		if strings.HasPrefix(line, "#") {
			continue
		}
		if !ok || ids[id] || !ruleID.MatchString(id) {
			t.Errorf("rules.txt: %q is no new rule", strings.TrimSpace(line))
		}
		ids[id] = true
	}
}

// notShown is what the project could not show (ruling 30). Move a line out when it has been.
var notShown = []string{
	"a real GPU: a driver that is made for the tests stands in for NVIDIA's, up to the device nodes that a container sees; `make gpu-test` is for a machine that has one",
	"arm64: it is built, not run",
	"AWS itself: the service's words and behaviour are taken from its published model, its documentation, its open code and what users have published",
	"cgroup v2 in part: real files are fixtures, and the end-to-end test is skipped where the host has version 1 only",
	"kernels before 6.9: a switch forces the plain FUSE path",
	"a reboot: the boot id is injected in tests",
	"slow networks as the kernel makes them: latency comes from the test server or a proxy",
}

// ours are decisions that a user meets, where the service says nothing, by rule.
var ours = []string{
	"ruling 3", "ruling 4", "ruling 2", "ruling 6", "ruling 11", "ruling 14", "ruling 15", "ruling 16", "ruling 13", "ruling 5", "ruling 8", "ruling 10", "ruling 17", "ruling 18", "ruling 19", "ruling 20", "ruling 21", "ruling 23",
	"START-5", "START-7", "START-8", "START-9", "START-12", "START-13", "START-14", "START-16", "DIST-8", "ENV-4", "ENV-6", "TREE-1", "IDC-2", "IDC-4", "RES-6", "FAIL-2", "OUT-3", "OUT-4", "OUT-6", "OUT-8", "CKP-4", "CKP-5",
	"PIPE-1", "FILE-5", "FILE-6", "FILE-7", "FILE-8", "FILE-10", "FILE-12", "FILE-13", "SHARD-2", "HP-1", "CH-2", "CH-3", "CH-4", "MET-1", "MET-2", "MET-3", "MET-5", "MET-6", "MET-10",
	"END-3", "END-4", "STOP-5", "STOP-6", "STOP-9", "INF-4", "INF-7", "INF-22", "INF-31", "INF-40", "INF-45", "INF-51", "INF-54", "INF-56", "INF-67", "INF-70",
	"BT-25", "BT-26", "BT-27", "BT-35", "BT-38", "BT-55", "BT-81", "BT-83", "BT-105", "BT-123", "BT-134", "BT-138", "BT-144", "BT-155", "BT-162", "BT-163", "BT-165", "BT-166", "VAL-6", "VAL-12", "VAL-22", "VAL-32",
}

// FidelityPage is docs/fidelity.md, with the section of ends that harness knows. It and Golden are for the tests outside
// of this package, which may import that one.
func FidelityPage(ends string) string {
	var b strings.Builder
	p := func(format string, a ...any) { fmt.Fprintf(&b, format+"\n", a...) }
	p("<!-- Made by `go test ./job -update` from the table in job/fidelity*.go and from job/rules.txt. Do not edit. -->")
	p("# What optml does with each member of a document\n")
	p("optml reads the request bodies of %s. Each member that they can hold is treated in one of four ways, and `optml plan FILE` says which, for each member that a document has, before anything runs.\n", strings.Join(operationNames(), ", "))
	p("| treatment | meaning |\n| --- | --- |")
	p("| honoured | carried out as SageMaker does, or checked as SageMaker does |")
	p("| emulated | carried out in another way, which the note tells |")
	p("| inert | has no effect inside a container: accepted, and listed |")
	p("| refused | would change what the container sees or what comes out, and is not carried out: an error that names it |\n")
	counts := map[Treatment]int{}
	total := 0
	for _, s := range closure() {
		for m := range s.Members {
			counts[rowIndex()[s.Name+"."+m].treatment]++
			total++
		}
	}
	p("%d members: %d honoured, %d emulated, %d inert, %d refused.\n", total, counts[Honoured], counts[Emulated], counts[Inert], counts[Refused])
	p("By default a document is held to SageMaker's rules exactly, but for what only the cloud has to know: instance types, roles, local paths in place of `s3://` addresses, and images in several registries only warn. `--strict` refuses these too. `--lenient` takes several validation profiles and up to 20 channels of an algorithm.\n")

	p("## Members\n")
	p("Below an inert or refused member everything is treated as the member itself is.\n")
	for _, op := range []string{CreateAlgorithm, CreateTrainingJob, CreateModel, CreateTransformJob, CreateModelPackage} {
		p("### %s\n", op)
		p("| member | treatment | note | rules |\n| --- | --- | --- | --- |")
		done := map[string]bool{}
		var walk func(name, path string)
		walk = func(name, path string) {
			s := facts().Shapes[name]
			for _, m := range rowOrder(s) {
				r, next, at := rowIndex()[name+"."+m], s.Members[m], join(path, m)
				p("| `%s` | %s | %s | %s |", at, r.treatment, Cell(r.note), r.rules)
				for _, c := range r.cases {
					text := caseText(c.is)
					if c.hosts {
						text += " with `--hosts`"
					}
					p("| `%s` = %s | %s | %s | %s |", at, text, c.treatment, Cell(c.note), cmp.Or(c.rules, r.rules))
					if c.strict != "" {
						p("| `%s` = %s and `--strict` | %s | %s | %s |", at, text, Refused, Cell(c.strict), cmp.Or(c.rules, r.rules))
					}
				}
				if r.strict != "" {
					p("| `%s` with `--strict` | %s | %s | %s |", at, Refused, Cell(r.strict), r.rules)
				}
				if r.treatment == Inert || r.treatment == Refused {
					continue
				}
				sh := facts().Shapes[next]
				if sh.Type == "list" {
					next, at = sh.Member, at+"[]"
					sh = facts().Shapes[next]
				}
				if sh.Type == "structure" && !done[next+at] {
					done[next+at] = true
					walk(next, at)
				}
			}
		}
		walk(facts().Operations[op], "")
		p("")
	}

	b.WriteString(ends)
	p("## Where SageMaker says nothing, or contradicts itself\n")
	p("These are choices. Each shows in the record of a job that it touched.\n")
	for _, id := range ours {
		p("* %s: %s", id, Cell(RuleText(id)))
	}
	p("\n## Not shown\n")
	for _, s := range notShown {
		p("* %s", s)
	}
	p("\n## Rules by id\n")
	p("What the ids mean that comments, tests, warnings and verdicts use. Those of parts that are not carried out yet (see the table above) are here too.")
	for line := range strings.Lines(rulesTXT) {
		if head, ok := strings.CutPrefix(strings.TrimSpace(line), "# "); ok {
			if !strings.HasPrefix(head, "One line") && !strings.HasPrefix(head, "are cited") {
				p("\n### %s\n\n| rule | what it says |\n| --- | --- |", head)
			}
			continue
		}
		if id, text, ok := strings.Cut(strings.TrimSpace(line), "\t"); ok {
			p("| %s | %s |", id, Cell(text))
		}
	}
	return b.String()
}

// rowOrder is a shape's members in the table's order; those of a "*" row by name.
func rowOrder(s *shape) []string {
	var out []string
	for _, r := range fidelity {
		if r.shape != s.Name {
			continue
		}
		if r.member == "*" {
			return slices.Sorted(maps.Keys(s.Members))
		}
		out = append(out, r.member)
	}
	return out
}

// Cell is a text as a cell of a table.
func Cell(s string) string {
	return strings.NewReplacer("|", `\|`, "<", "&lt;", ">", "&gt;", "*", `\*`, "\n", "↵").Replace(s)
}

func caseText(is string) string {
	if n, more := strings.CutPrefix(is, ">"); more {
		return "more than " + n
	}
	return "`" + is + "`"
}

var Golden = golden

func TestOursAreExplained(t *testing.T) {
	for _, id := range ours {
		if RuleText(id) == "" {
			t.Errorf("%s has no line in rules.txt", id)
		}
	}
}
