//go:build e2e

package job

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// python runs a script with Debian's Python.
func python(t *testing.T, script string, in *bytes.Buffer) []byte {
	t.Helper()
	c := exec.Command("/usr/bin/python3", "-B", script)
	c.Stdin = in
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%s: %v: %s (make setup installs what it needs)", script, err, &stderr)
	}
	return out
}

// botocore runs Debian's (python3-botocore, which hack/setup installs) over requests, in one process.
func botocore(t *testing.T, requests []request) (version string, found [][][2]string) {
	t.Helper()
	var in bytes.Buffer
	for _, r := range requests {
		line, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		in.Write(append(line, '\n'))
	}
	dec := json.NewDecoder(bytes.NewReader(python(t, "testdata/client/validate.py", &in)))
	if err := dec.Decode(&version); err != nil {
		t.Fatal(err)
	}
	for range requests {
		var f [][2]string
		if err := dec.Decode(&f); err != nil {
			t.Fatal(err)
		}
		for i := range f {
			f[i][1] = mapKey.ReplaceAllString(f[i][1], ".$1")
		}
		found = append(found, f)
	}
	return version, found
}

// mapKey is how botocore writes the place of a map's key.
var mapKey = regexp.MustCompile(` \(key: (.*)\)$`)

// TestPatternsAgree matches the patterns of the table, the hand-made substitutes among them, and Python's re against the same
// texts: valid ones of each shape with up to three characters changed. The patterns with \p are left out, which Python lacks,
// and in the texts the characters that end a line in Java and not in Python.
func TestPatternsAgree(t *testing.T) {
	type question struct {
		Pattern string   `json:"pattern"`
		Texts   []string `json:"texts"`
	}
	r := rand.New(rand.NewPCG(7, 12))
	var questions []question
	var shapes []*shape
	var in bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(facts().Shapes)) {
		s := facts().Shapes[name]
		if s.Pattern == "" || strings.Contains(s.Pattern, `\p{`) {
			continue
		}
		q := question{s.Pattern, []string{"", "a", "-", "a-", "/..", "a\nb", " ", strings.Repeat("a", 63), strings.Repeat("a", 64), strings.Repeat("a", 1024), strings.Repeat("a", 1025)}}
		base := slices.Concat([]string{"arn:aws:sagemaker:us-east-1:123456789012:model-package/a-b", "a/3", "/a/b.c", "a1"}, samples[name], samples[name], s.Enum)
		for range 400 {
			v := []rune(base[r.IntN(len(base))])
			for range r.IntN(4) {
				i, c := r.IntN(len(v)+1), []rune("aZ0-/:._*é \n")[r.IntN(12)]
				if i < len(v) && r.IntN(2) == 0 {
					v[i] = c
				} else {
					v = slices.Insert(v, i, c)
				}
			}
			q.Texts = append(q.Texts, string(v))
		}
		line, err := json.Marshal(q)
		if err != nil {
			t.Fatal(err)
		}
		in.Write(append(line, '\n'))
		questions, shapes = append(questions, q), append(shapes, s)
	}
	dec := json.NewDecoder(bytes.NewReader(python(t, "testdata/client/match.py", &in)))
	taken, refused := 0, 0
	for i, q := range questions {
		var theirs []bool
		if err := dec.Decode(&theirs); err != nil {
			t.Fatal(err)
		}
		match := shapes[i].match()
		for j, text := range q.Texts {
			if theirs[j] {
				taken++
			} else {
				refused++
			}
			if got := match(text); got != theirs[j] {
				t.Errorf("%s, %s: %.80q: ours %v, Python's %v", shapes[i].Name, q.Pattern, text, got, theirs[j])
			}
		}
	}
	t.Logf("%d patterns, %d texts taken, %d refused", len(questions), taken, refused)
	if len(questions) < 50 || taken < 5000 || refused < 5000 {
		t.Error("too few were compared")
	}
}

type request struct {
	Operation string `json:"operation"`
	Document  any    `json:"document"`
}

// byTable is what the table of constraints says against a request, by kind and path: what botocore looks for, and the rest
// as "other".
func byTable(t *testing.T, r request) (found [][2]string) {
	t.Helper()
	text, err := json.Marshal(r.Document)
	if err != nil {
		t.Fatal(err)
	}
	d, err := DecodeAs(r.Operation, "doc", text)
	if err == nil {
		err = d.found.err(r.Operation)
	}
	var invalid *Invalid
	if err != nil && !errors.As(err, &invalid) {
		t.Fatal(err)
	}
	if invalid == nil {
		return nil
	}
	if invalid.More > 0 {
		t.Fatal("too many problems to compare")
	}
	for _, p := range invalid.Problems {
		kind, path := "other", p.Path
		switch {
		case p.Code == CodeParameters:
			kind = "unknown"
		case p.Code == CodeSerialization:
			kind = "type"
		case strings.HasSuffix(p.Text, "is required and missing"):
			kind = "required"
		case strings.Contains(p.Text, "entries, fewer than "): // a client does not count a map
		case strings.Contains(p.Text, ", fewer than ") || strings.Contains(p.Text, " is less than "):
			kind = "minimum"
		}
		// The service names the list of an item that is a string.
		if rest, item := strings.CutPrefix(p.Text, "item "); item {
			n, _, _ := strings.Cut(rest, ":")
			i := 0
			fmt.Sscan(n, &i)
			path = index(path, i-1)
		}
		found = append(found, [2]string{kind, path})
	}
	return found
}

// site is a member of a request that can be changed.
type site struct {
	parent map[string]any
	name   string
	shape  *shape
}

// sites are a request's, in order. Those below a member are not taken once it has been changed: the tree is walked anew.
func sites(n any, s *shape) (out []site) {
	switch v := n.(type) {
	case map[string]any:
		if s.Type != "structure" {
			return nil
		}
		for _, name := range slices.Sorted(maps.Keys(v)) {
			next := facts().Shapes[s.Members[name]]
			if next == nil {
				continue
			}
			out = append(out, site{v, name, next})
			out = append(out, sites(v[name], next)...)
		}
	case []any:
		for _, it := range v {
			out = append(out, sites(it, facts().Shapes[s.Member])...)
		}
	}
	return out
}

// mutate changes one member in one of the ways that a client looks for. What differs by language and not by model is left
// out: null (to the service it is no value, to Python one of the wrong type), true for a number (in Python it is one), and
// numbers with a point.
func mutate(r *rand.Rand, doc any, s *shape) {
	all := sites(doc, s)
	if len(all) == 0 {
		return
	}
	x := all[r.IntN(len(all))]
	set := func(v any) { x.parent[x.name] = v }
	switch r.IntN(9) {
	case 0, 1:
		delete(x.parent, x.name)
	case 2:
		x.parent[x.name+"x"] = x.parent[x.name]
		delete(x.parent, x.name)
	case 3: // a wrong type
		wrong := map[string][]any{
			"structure": {"a", 1, []any{}, true}, "list": {"a", 1, map[string]any{}, true}, "map": {"a", 1, []any{}, true},
			"string": {1, []any{}, map[string]any{}, true}, "boolean": {"true", 1, []any{}, map[string]any{}}, "integer": {"1", []any{}, map[string]any{}}, "long": {"1", []any{}, map[string]any{}},
		}[x.shape.Type]
		set(wrong[r.IntN(len(wrong))])
	default: // the least and below
		switch x.shape.Type {
		case "string":
			set("")
		case "list":
			set([]any{})
			if item := facts().Shapes[x.shape.Member]; item.Type == "string" && r.IntN(2) == 0 {
				set([]any{"", ""})
			}
		case "map":
			set(map[string]any{})
			if r.IntN(2) == 0 {
				set(map[string]any{"": ""})
			}
		case "structure":
			set(map[string]any{})
		case "integer", "long":
			set([]int64{-1, 0, 1, -1000}[r.IntN(4)])
		}
	}
}

// age is a difference between the model that ours is made of and the older one of Debian's botocore: what one of the two
// finds at a member, and what has changed since.
type age struct {
	kind, member string // Shape.Member
	ours         bool   // ours finds it, botocore does not
	why          string
}

// agesOf is the version of botocore that the table is about. A newer one has fewer differences.
const agesOf = "1.29.27"

var ages = []age{
	{"required", "CreateTrainingJobRequest.AlgorithmSpecification", false, "optional since jobs may be serverless; of the others the service still wants it (DOC-1)"},
	{"required", "CreateTrainingJobRequest.ResourceConfig", false, "as AlgorithmSpecification"},
	{"required", "CreateTrainingJobRequest.StoppingCondition", false, "as AlgorithmSpecification"},
	{"required", "ResourceConfig.VolumeSizeInGB", false, "optional in the newer model"},
	{"minimum", "ResourceConfig.VolumeSizeInGB", false, "was 1, is 0 now"},
	{"required", "CreateModelInput.ExecutionRoleArn", false, "optional in the newer model"},
	{"required", "ModelPackageContainerDefinition.Image", false, "optional in the newer model; the service still wants it of what is validated (DOC-1)"},
	{"required", "InferenceSpecification.SupportedContentTypes", false, "optional in the newer model"},
	{"required", "InferenceSpecification.SupportedResponseMIMETypes", false, "optional in the newer model"},
	{"minimum", "ModelPackageValidationSpecification.ValidationProfiles", false, "was one at least, may be none now (VAL-4)"},
}

// memberOf is the member of the model at a path of a request: Shape.Member.
func memberOf(op, path string) string {
	s, member := facts().Shapes[facts().Operations[op]], ""
	for name := range strings.SplitSeq(indexes.ReplaceAllString(path, ""), ".") {
		for s.Type == "list" {
			s = facts().Shapes[s.Member]
		}
		next := facts().Shapes[s.Members[name]]
		if next == nil {
			return op + " " + path
		}
		member, s = s.Name+"."+name, next
	}
	return member
}

var indexes = regexp.MustCompile(`\[[0-9]+\]`)

// TestBotocoreAgrees holds 500 requests, each a valid one with up to six changes, against Debian's botocore: on the members
// that both know, both find the same missing members, wrong types, unknown names and values below the least, in the same
// places. Where its age makes a difference, the table says which and why, and has nothing that no request needs.
func TestBotocoreAgrees(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 500))
	files := map[string]string{CreateAlgorithm: "algorithm.json", CreateTrainingJob: "training.json", CreateModel: "model.json", CreateTransformJob: "transform.json", CreateModelPackage: "package.json"}
	var requests []request
	for i := range 500 {
		op := operationNames()[i%5]
		file := everyFile(op)
		if i/5%4 == 0 {
			file = "testdata/" + files[op]
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var doc any
		if err := json.Unmarshal(text, &doc); err != nil {
			t.Fatal(err)
		}
		if i >= 20 && i < 220 { // each member of the request left out once, at least
			m := doc.(map[string]any)
			delete(m, slices.Sorted(maps.Keys(m))[i/5%len(m)])
		}
		if i >= 20 { // the first ones as they are
			for range 1 + r.IntN(6) {
				mutate(r, doc, facts().Shapes[facts().Operations[op]])
			}
		}
		requests = append(requests, request{op, doc})
	}
	version, theirs := botocore(t, requests)
	used := make([]bool, len(ages))
	agreed := map[string]int{}
	for i, q := range requests {
		mine := byTable(t, q)
		// Members that one side alone knows, and what lies below, are not compared.
		var strange []string
		for _, f := range slices.Concat(mine, theirs[i]) {
			if f[0] == "unknown" && (!slices.Contains(mine, f) || !slices.Contains(theirs[i], f)) {
				strange = append(strange, f[1])
			}
		}
		differ := func(f [2]string, byOurs bool) {
			if f[0] == "other" || slices.ContainsFunc(strange, func(s string) bool { return isWithin(f[1], s) }) {
				return
			}
			a := age{kind: f[0], member: memberOf(q.Operation, f[1]), ours: byOurs}
			for j, row := range ages {
				if row.kind == a.kind && row.member == a.member && row.ours == a.ours {
					used[j] = true
					return
				}
			}
			text, _ := json.Marshal(q.Document)
			t.Errorf("request %d, %s at %s: one finds what the other does not: %+v: %s", i, q.Operation, f[1], a, text[:min(len(text), 200)])
		}
		for _, f := range mine {
			if slices.Contains(theirs[i], f) {
				agreed[f[0]]++
			} else {
				differ(f, true)
			}
		}
		for _, f := range theirs[i] {
			if !slices.Contains(mine, f) {
				differ(f, false)
			}
		}
	}
	t.Logf("botocore %s: agreed on %v", version, agreed)
	for kind, least := range map[string]int{"required": 100, "type": 100, "minimum": 100, "unknown": 100} {
		if agreed[kind] < least {
			t.Errorf("only %d of kind %s were compared", agreed[kind], kind)
		}
	}
	for j, row := range ages {
		if row.why == "" {
			t.Errorf("%+v has no reason", row)
		}
		if !used[j] && version == agesOf {
			t.Errorf("no request needs the row %+v", row)
		}
	}
}

// TestClientsCannotTell: what botocore does not look for, and the service answers. Ours has its words: those of replies that
// people have published (training 4.1, api 2.3).
func TestClientsCannotTell(t *testing.T) {
	many := map[string]any{}
	for i := range 101 {
		many[fmt.Sprintf("k%03d", i)] = "v"
	}
	long := strings.Repeat("m", 64)
	cases := []struct {
		name, file, path string
		value            any
		want             string // in the service's sentence; a trailing … is more of the same
	}{
		{"a maximum and a pattern", "model.json", "ModelName", "_" + long, `2 validation errors detected: Value '_` + long + `' at 'modelName' failed to satisfy constraint: Member must have length less than or equal to 63; Value '_` + long + `' at 'modelName' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9]([\-a-zA-Z0-9]*[a-zA-Z0-9])?`},
		{"a pattern", "training.json", "TrainingJobName", "health_and_personal_care-470", `1 validation error detected: Value 'health_and_personal_care-470' at 'trainingJobName' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}`},
		{"an enumeration", "training.json", "ResourceConfig.InstanceType", "local", `1 validation error detected: Value 'local' at 'resourceConfig.instanceType' failed to satisfy constraint: Member must satisfy enum value set: [ml.m4.xlarge, …`},
		{"an enumeration in a list", "training.json", "InputDataConfig[0].InputMode", "fastfile", `1 validation error detected: Value 'fastfile' at 'inputDataConfig.1.member.inputMode' failed to satisfy constraint: Member must satisfy enum value set: [Pipe, File, FastFile]`},
		{"a map's value", "training.json", "HyperParameters", map[string]any{"sagemaker_requirements": `""`, "x": strings.Repeat("v", 2501)}, `1 validation error detected: Value '{sagemaker_requirements="", x=` + strings.Repeat("v", 2501) + `}' at 'hyperParameters' failed to satisfy constraint: Map value must satisfy constraint: [Member must have length less than or equal to 2500, Member must have length greater than or equal to 0, Member must satisfy regular expression pattern: .*]`},
		{"a map's entries", "training.json", "HyperParameters", many, `1 validation error detected: Value '{k000=v, …' at 'hyperParameters' failed to satisfy constraint: Member must have length less than or equal to 100`},
		{"a largest number", "training.json", "ResourceConfig.KeepAlivePeriodInSeconds", 21601, `1 validation error detected: Value '21601' at 'resourceConfig.keepAlivePeriodInSeconds' failed to satisfy constraint: Member must have value less than or equal to 21600`},
		{"a list's items", "algorithm.json", "TrainingSpecification.SupportedTrainingInstanceTypes", []any{"ml.none"}, `1 validation error detected: Value '[ml.none]' at 'trainingSpecification.supportedTrainingInstanceTypes' failed to satisfy constraint: Member must satisfy constraint: [Member must satisfy enum value set: [ml.m4.xlarge, …`},
		{"a package's name", "package.json", "ModelPackageName", "a_b", `1 validation error detected: Value 'a_b' at 'modelPackageName' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}`},
		{"a transform's filter", "transform.json", "DataProcessing.InputFilter", "$" + long, `1 validation error detected: Value '$` + long + `' at 'dataProcessing.inputFilter' failed to satisfy constraint: Member must have length less than or equal to 63`},
	}
	var requests []request
	for _, tc := range cases {
		var doc any
		if err := json.Unmarshal([]byte(change(t, edit(t, tc.file, "", ""), tc.path, tc.value)), &doc); err != nil {
			t.Fatal(err)
		}
		requests = append(requests, request{decode(t, tc.file, edit(t, tc.file, "", "")).Operation, doc})
	}
	_, theirs := botocore(t, requests)
	for i, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			d := decode(t, tc.file, change(t, edit(t, tc.file, "", ""), tc.path, tc.value))
			err := d.found.err(d.Operation)
			if err == nil {
				t.Fatal("it passes")
			}
			rest := err.Error()
			for part := range strings.SplitSeq(tc.want, "…") {
				i := strings.Index(rest, part)
				if i < 0 || i > 0 && rest == err.Error() {
					t.Fatalf("got %s\nwant %s", err, tc.want)
				}
				rest = rest[i+len(part):]
			}
			if rest != "" && !strings.HasSuffix(tc.want, "…") {
				t.Errorf("got more: %s", rest)
			}
			for _, f := range theirs[i] {
				if isWithin(f[1], tc.path) {
					t.Errorf("the client finds it: %v", f)
				}
			}
		})
	}
}
