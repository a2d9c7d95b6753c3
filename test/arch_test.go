// Package test holds what is true of the whole repository: the import arrows, who may use which library, and what no
// file may contain.
package test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/optml/optml/"

// arrows is the house's plan: which rooms a room may use. docs/architecture.md draws the same. Rooms that are not named
// here (hack, test, examples) are outside the house and may use all of it.
var arrows = map[string][]string{
	"cmd/optml":               {"*"},
	"validate":                {"harness", "ledger", "logfile", "job", "human"},
	"harness":                 {"job", "ledger", "logfile", "dataset", "channels", "transform", "runtime/container", "runtime/volume", "metrics", "artifact", "objstore", "human"},
	"report":                  {"ledger", "logfile", "job", "human"},
	"bench":                   {"report", "load", "ledger", "logfile", "job", "human"},
	"ledger":                  {"job", "human"},
	"metrics":                 {"job", "metrics/expression"},
	"metrics/expression":      {},
	"metrics/metricstest":     {"job"},
	"channels":                {"dataset", "framing", "job"},
	"transform":               {"dataset", "framing", "job", "dataprocessing"},
	"dataset":                 {"objstore", "framing", "job"},
	"artifact":                {"objstore"},
	"runtime/container":       {"job", "logfile"},
	"runtime/containertest":   {"runtime/container", "logfile", "job"},
	"runtime/ctrd":            {"runtime/container", "runtime/cgroup", "runtime/logger", "runtime/shim", "logfile"},
	"runtime/cgroup":          {},
	"runtime/volume":          {},
	"runtime/logger":          {"runtime/cgroup", "logfile"},
	"runtime/shim":            {},
	"cmd/optml-shim":          {"runtime/shim"},
	"cmd/optml-logger":        {"runtime/logger"},
	"runtime/gpu":             {"runtime/container", "human"},
	"runtime/gpu/nvml":        {"runtime/gpu"},
	"cmd/optml-gpu":           {"runtime/gpu/nvml"},
	"objstore/storetest":      {"objstore"},
	"objstore/s3test":         {"objstore"},
	"transform/transformtest": {"transform", "framing", "job"},
	"load":                    {"transform"},
	"job":                     {"dataprocessing", "metrics/expression", "human"},
	"dataprocessing":          {},
	"objstore":                {},
	"framing":                 {},
	"logfile":                 {},
	"human":                   {},
}

// libraries says who alone may import what begins so, and why.
var libraries = []struct {
	prefix, why string
	rooms       []string
}{
	{"github.com/containerd/containerd", "harness, ledger, validate and report build and test without containerd", []string{"runtime/ctrd", "runtime/shim"}},
	{"github.com/vishvananda/netlink", "the network is the runtime's", []string{"runtime/ctrd"}},
	{"github.com/google/nftables", "the network is the runtime's", []string{"runtime/ctrd"}},
	{"github.com/aws/aws-sdk-go-v2", "only the store talks to AWS, and cmd for ECR's tokens and STS's sessions", []string{"objstore", "cmd/optml"}},
	{"github.com/NVIDIA/", "NVML may kill the process: helper program only (D7)", []string{"runtime/gpu/nvml"}},
	{"tags.cncf.io/container-device-interface", "CDI edits are the GPU room's; the runtime applies them", []string{"runtime/gpu", "runtime/gpu/nvml", "runtime/ctrd"}},
	{"github.com/spf13/cobra", "the command line is cmd's", []string{"cmd/optml"}},
	{"github.com/dlclark/regexp2", "an expression that backtracks has a limit of time and memory there", []string{"metrics/expression"}},
	{"github.com/tsenart/vegeta", "its pacers; its attacker leaves out who waits", []string{"load"}},
	{"github.com/HdrHistogram/", "latencies are the load's", []string{"load"}},
	{"github.com/hanwen/go-fuse", "one thin file of channels", []string{"channels"}},
}

type file struct {
	path, room string
	imports    []string
	test       bool
}

func goFiles(t *testing.T) []file {
	t.Helper()
	var out []file
	walk(t, func(p string) {
		if !strings.HasSuffix(p, ".go") {
			return
		}
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", p), nil, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			t.Errorf("%s: %v", p, err)
			return
		}
		x := file{path: p, room: path.Dir(p), test: strings.HasSuffix(p, "_test.go")}
		for _, i := range f.Imports {
			x.imports = append(x.imports, strings.Trim(i.Path.Value, `"`))
		}
		out = append(out, x)
	})
	if len(out) < 20 {
		t.Fatalf("only %d Go files found: the walk is broken", len(out))
	}
	return out
}

func walk(t *testing.T, visit func(path string)) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(".."), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if p != "." && (strings.HasPrefix(d.Name(), ".") && d.Name() != ".ci") || d.Name() == "testdata" || p == "build" {
				return fs.SkipDir
			}
			return nil
		}
		visit(p)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestImportArrows(t *testing.T) {
	for _, f := range goFiles(t) {
		allowed, known := arrows[f.room]
		outside := strings.HasPrefix(f.room, "test") || strings.HasPrefix(f.room, "hack") || strings.HasPrefix(f.room, "examples")
		if !known && !outside {
			t.Errorf("%s: room %q is not in the plan of the house; give it its arrows here and in docs/architecture.md", f.path, f.room)
			continue
		}
		if outside || f.test || slices.Contains(allowed, "*") {
			continue // tests may use fakes and suites of other rooms
		}
		for _, i := range f.imports {
			if r, ours := strings.CutPrefix(i, module); ours && r != f.room && !slices.Contains(allowed, r) {
				t.Errorf("%s imports %s: the arrows of %s allow %v", f.path, r, f.room, allowed)
			}
		}
	}
}

func TestArrowsHaveNoCycle(t *testing.T) {
	const open, done = 1, 2
	state := map[string]int{}
	var visit func(string, []string)
	visit = func(room string, walk []string) {
		if state[room] == open {
			t.Errorf("cycle: %s", strings.Join(append(walk, room), " -> "))
			return
		}
		if state[room] == done {
			return
		}
		state[room] = open
		for _, to := range arrows[room] {
			if to != "*" {
				visit(to, append(walk, room))
			}
		}
		state[room] = done
	}
	for _, room := range slices.Sorted(maps.Keys(arrows)) {
		visit(room, nil)
	}
}

func TestLibrariesStayInTheirRooms(t *testing.T) {
	for _, f := range goFiles(t) {
		if f.test || strings.HasPrefix(f.room, "test") || strings.HasPrefix(f.room, "hack") {
			continue
		}
		for _, i := range f.imports {
			for _, l := range libraries {
				if strings.HasPrefix(i, l.prefix) && !slices.Contains(l.rooms, f.room) {
					t.Errorf("%s imports %s, which is for %v alone: %s", f.path, i, l.rooms, l.why)
				}
			}
		}
	}
}

func TestNoFileInitsOrReplaces(t *testing.T) {
	mod, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if regexp.MustCompile(`(?m)^\s*replace\b`).Match(mod) {
		t.Error("go.mod: replace lines do not reach who imports or installs us")
	}
	for _, f := range goFiles(t) {
		b, err := os.ReadFile(filepath.Join("..", f.path))
		if err != nil {
			t.Fatal(err)
		}
		if !f.test && regexp.MustCompile(`(?m)^func init\(\)`).Match(b) {
			t.Errorf("%s: func init(); use an explicit table, so that a reader sees all members on one screen", f.path)
		}
	}
}

func TestEveryPackageHasADoc(t *testing.T) {
	docs := map[string]bool{}
	for _, f := range goFiles(t) {
		if f.test || strings.HasPrefix(f.room, "test") {
			continue
		}
		a, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", f.path), nil, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		docs[f.room] = docs[f.room] || a.Doc.Text() != ""
	}
	for room, ok := range docs {
		if !ok {
			t.Errorf("%s: no package comment", room)
		}
	}
}

// banned are things that no file of the repository may say.
var banned = []struct{ pattern, why string }{
	{`proxy\.gol` + `ang\.org|registry\.npm` + `js\.org|deb\.deb` + `ian\.org|pyp` + `i\.org`, "registry hosts are the machine's configuration"},
	{`/work/` + `(main|shared)`, "a path of somebody's machine"},
	{`\bT` + `ODO\b|\bFIX` + `ME\b|\bX` + `XX\b`, "do it, or refuse it by name"},
}

func TestNoFileSays(t *testing.T) {
	walk(t, func(p string) {
		b, err := os.ReadFile(filepath.Join("..", p))
		if err != nil {
			t.Fatal(err)
		}
		if len(b) > 1<<20 || slices.Contains(b[:min(len(b), 8000)], 0) || p == "go.sum" {
			return
		}
		for _, x := range banned {
			if m := regexp.MustCompile(x.pattern).Find(b); m != nil {
				t.Errorf("%s says %q: %s", p, m, x.why)
			}
		}
	})
}
