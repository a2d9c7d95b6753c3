package job

import (
	"encoding/json"
	"errors"
	"go/ast"
	goparser "go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// closure goes over each structure that the operations reach, in the order of the first place that it has.
func closure() []*shape {
	var out []*shape
	seen := map[string]bool{}
	var walk func(name string)
	walk = func(name string) {
		s := facts().Shapes[name]
		if s == nil || seen[name] {
			return
		}
		seen[name] = true
		if s.Type == "structure" {
			out = append(out, s)
			for _, m := range slices.Sorted(mapKeys(s.Members)) {
				walk(s.Members[m])
			}
		}
		walk(s.Member)
	}
	for _, op := range operationNames() {
		walk(facts().Operations[op])
	}
	return out
}

func mapKeys(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// Test (a): each member that a supported operation can hold has exactly one row; no row stands for nothing; honoured
// and emulated rows cite rules, the others say why.
func TestFidelityCoversEveryMember(t *testing.T) {
	rows := map[string]int{}
	for _, r := range fidelity {
		s := facts().Shapes[r.shape]
		if s == nil || s.Type != "structure" {
			t.Errorf("row %s.%s: no such structure", r.shape, r.member)
			continue
		}
		if r.member == "*" {
			if r.treatment != Inert && r.treatment != Refused {
				t.Errorf("row %s.*: only shapes below inert or refused members have one row for all", r.shape)
			}
			for m := range s.Members {
				rows[r.shape+"."+m]++
			}
		} else if s.Members[r.member] == "" {
			t.Errorf("row %s.%s: the model has no such member", r.shape, r.member)
		} else {
			rows[r.shape+"."+r.member]++
		}
		if r.rules == "" {
			t.Errorf("row %s.%s cites no rule", r.shape, r.member)
		}
		if r.treatment != Honoured && r.note == "" {
			t.Errorf("row %s.%s is %s and does not say why or how", r.shape, r.member, r.treatment)
		}
		for _, c := range r.cases {
			if c.treatment != Honoured && c.note == "" {
				t.Errorf("row %s.%s: the case %s does not say why", r.shape, r.member, c.is)
			}
		}
	}
	n := 0
	for _, s := range closure() {
		for m := range s.Members {
			n++
			if rows[s.Name+"."+m] != 1 {
				t.Errorf("%s.%s has %d rows in the fidelity table, want 1", s.Name, m, rows[s.Name+"."+m])
			}
			delete(rows, s.Name+"."+m)
		}
	}
	for m := range rows {
		t.Errorf("%s has a row and no supported operation reaches it", m)
	}
	if n < 380 {
		t.Errorf("only %d members in the closure", n)
	}
}

// Below an honoured or emulated member each member has its own row: a "*" row would hide it.
func TestNoStarBelowHonoured(t *testing.T) {
	star := map[string]bool{}
	for _, r := range fidelity {
		if r.member == "*" {
			star[r.shape] = true
		}
	}
	for _, r := range fidelity {
		if r.member == "*" || r.treatment == Inert || r.treatment == Refused {
			continue
		}
		next := facts().Shapes[facts().Shapes[r.shape].Members[r.member]]
		if next.Type == "list" {
			next = facts().Shapes[next.Member]
		}
		if star[next.Name] {
			t.Errorf("%s.%s is %s, and all of %s is one row", r.shape, r.member, r.treatment, next.Name)
		}
	}
}

// Test (a), second half: each field of the request structs is a member of the shape of the same name, of its type.
func TestStructsMatchTheModel(t *testing.T) {
	var check func(typ reflect.Type, name, path string)
	check = func(typ reflect.Type, name, path string) {
		s := facts().Shapes[name]
		for typ.Kind() == reflect.Pointer {
			typ = typ.Elem()
		}
		ok := map[string][]reflect.Kind{"structure": {reflect.Struct}, "list": {reflect.Slice}, "map": {reflect.Map}, "string": {reflect.String},
			"integer": {reflect.Int64}, "long": {reflect.Int64}, "boolean": {reflect.Bool}}[s.Type]
		if !slices.Contains(ok, typ.Kind()) {
			t.Errorf("%s: a %s of the model is a %s", path, s.Type, typ)
			return
		}
		switch s.Type {
		case "structure":
			if typ.Name() != lowerFirst(s.Name) {
				t.Errorf("%s: shape %s is the struct %s", path, s.Name, typ.Name())
			}
			for f := range typ.Fields() {
				if s.Members[f.Name] == "" {
					t.Errorf("%s: %s has no member %s", path, s.Name, f.Name)
					continue
				}
				check(f.Type, s.Members[f.Name], path+"."+f.Name)
			}
		case "list":
			check(typ.Elem(), s.Member, path+"[]")
		}
	}
	for op, shape := range facts().Operations {
		check(reflect.TypeOf(newBody(op)), shape, op)
	}
}

// samples are valid values of string shapes, two where a change must be seen.
var samples = map[string][]string{
	"AlgorithmImage": {"img:1", "img:2"}, "ContainerImage": {"img:1", "img:2"}, "ArnOrName": {"iris-forest", "other"}, "RoleArn": {"arn:aws:iam::111111111111:role/r", "arn:aws:iam::222222222222:role/r"},
	"ImageDigest": {"sha256:" + strings.Repeat("a", 64), "sha256:" + strings.Repeat("b", 64)}, "S3Uri": {"s3://b/one", "s3://b/two"}, "Url": {"s3://b/one.tar.gz", "s3://b/two.tar.gz"}, "S3ModelUri": {"s3://b/one.tar.gz", "s3://b/two.tar.gz"},
	"ContentType": {"text/csv", "image/png"}, "Accept": {"text/csv", "image/png"}, "ResponseMIMEType": {"text/csv", "image/png"}, "ParameterName": {"n_estimators", "x"}, "ParameterValue": {"1", "30", "gini"},
	"HyperParameterValue": {"0.5", "40", "gini"}, "MetricName": {"validation:accuracy", "m"}, "MetricRegex": {"a=(.*)", "b=(.*)"}, "TrainingInstanceType": {"ml.m5.large", "ml.g4dn.xlarge"}, "TransformInstanceType": {"ml.m5.large", "ml.g4dn.xlarge"},
	"FileSystemId": {"fs-0123456789", "fs-9876543210"}, "SecurityGroupId": {"sg-1"}, "SubnetId": {"subnet-1"}, "TrainingPlanArn": {"arn:aws:sagemaker:us-east-1:123456789012:training-plan/p"},
	"HubDataSetArn":                            {"arn:aws:sagemaker:us-east-1:123456789012:hub-content/h/DataSet/d"},
	"ServerlessJobBaseModelArn":                {"arn:aws:sagemaker:us-east-1:123456789012:hub-content/h/Model/d"},
	"MlFlowResourceArn":                        {"arn:aws:sagemaker:us-east-1:123456789012:mlflow-app/a"},
	"ModelPackageGroupArn":                     {"arn:aws:sagemaker:us-east-1:123456789012:model-package-group/g"},
	"TrainingRepositoryCredentialsProviderArn": {"arn:aws:lambda:us-east-1:123456789012:function:f"},
	"MetricsEndpointPath":                      {"/metrics"}, "ModelPackageFrameworkVersion": {"1.0"}, "HubContentVersion": {"1.0.0"}, "SequenceLength": {"1K"}, "JsonPath": {"$", "$[1:]", "$[0]"},
	"ChannelName":     {"train", "other"},
	"ContentDigest":   {"sha256:" + strings.Repeat("a", 64)},
	"ModelPackageArn": {"arn:aws:sagemaker:us-east-1:123456789012:model-package/p"},
}

// valid makes a smallest valid value of a shape; which chooses among samples.
func valid(t testing.TB, name string, which int) any {
	s := facts().Shapes[name]
	switch s.Type {
	case "structure":
		m := map[string]any{}
		for _, r := range s.Required {
			m[r] = valid(t, s.Members[r], which)
		}
		return m
	case "list":
		return []any{valid(t, s.Member, which)}
	case "map":
		return map[string]any{"k": valid(t, s.Value, which)}
	case "boolean":
		return which%2 == 0
	case "integer", "long":
		n := int64(which + 1)
		if s.min != nil {
			n = max(n, *s.min+int64(which))
		}
		return n
	}
	list := samples[name]
	if len(list) == 0 {
		list = s.Enum
	}
	if len(list) == 0 {
		list = []string{"aaaa-" + string(rune('a'+which))}
	}
	v := list[which%len(list)]
	if broken := s.violated(v); len(broken) > 0 {
		t.Fatalf("the sample %q of %s: %v", v, name, broken)
	}
	return v
}

// spot is one place in a request where a row applies.
type spot struct {
	op, path string
	row      *row
	shape    string // of the member
}

// spots walks an operation's request through the members that are carried out, each list at its first item.
func spots(op string) []spot {
	var out []spot
	var walk func(name, path string)
	walk = func(name, path string) {
		s := facts().Shapes[name]
		for _, m := range slices.Sorted(mapKeys(s.Members)) {
			r, next := rowIndex()[name+"."+m], s.Members[m]
			p := join(path, m)
			out = append(out, spot{op, p, r, next})
			if r.treatment == Inert || r.treatment == Refused {
				continue
			}
			sh := facts().Shapes[next]
			if sh.Type == "list" {
				next, p = sh.Member, p+"[0]"
				sh = facts().Shapes[next]
			}
			if sh.Type == "structure" {
				walk(next, p)
			}
		}
	}
	walk(facts().Operations[op], "")
	return out
}

// The training fixture's source, and a file system in its place.
const (
	fixtureS3Source   = `"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/data/train", "S3DataDistributionType": "ShardedByS3Key"}`
	fixtureFileSystem = `"FileSystemDataSource": {"FileSystemId": "fs-0123456789", "FileSystemAccessMode": "ro", "FileSystemType": "EFS", "DirectoryPath": "/d"}`
)

// fileSystems are directories for the samples of FileSystemId.
var fileSystems = map[string]string{"fs-0123456789": "/fs/one", "fs-9876543210": "/fs/two"}

// mutationBases change the fixture so that a member has an effect that can be seen, by the beginning of its path.
var mutationBases = map[string][][2]string{
	"CreateTrainingJob AlgorithmSpecification.AlgorithmName":                          {{"-", "AlgorithmSpecification.TrainingImage"}, {"-", "HyperParameters"}},
	"CreateTrainingJob InputDataConfig[0].ShuffleConfig":                              {{`"InputMode": "File"`, `"InputMode": "Pipe"`}},
	"CreateTrainingJob InputDataConfig[0].DataSource.FileSystemDataSource":            {{fixtureS3Source, fixtureFileSystem}},
	"CreateModel Containers":                                                          {{`"PrimaryContainer": {`, `"Containers": [{`}, {"\"LOG\": \"model\"}\n  }", "\"LOG\": \"model\"}\n  }]"}},
	"CreateModel PrimaryContainer.ModelDataSource":                                    {{`"ModelDataUrl": "s3://bucket/models/boost-2026-11-20/output/model.tar.gz"`, `"ModelDataSource": {"S3DataSource": {"S3Uri": "s3://b/m.tar.gz", "S3DataType": "S3Object", "CompressionType": "Gzip"}}`}},
	"CreateModel PrimaryContainer.ModelPackageName":                                   {{"-", "PrimaryContainer.Image"}, {"-", "PrimaryContainer.ModelDataUrl"}},
	"CreateTransformJob DataCaptureConfig":                                            {{`"DataProcessing": {`, `"DataCaptureConfig": {"DestinationS3Uri": "s3://b/c"}, "DataProcessing": {`}},
	"CreateModelPackage CertifyForMarketplace":                                        {{"-", "ValidationSpecification"}},
	"CreateModelPackage SourceAlgorithmSpecification":                                 {{"-", "InferenceSpecification"}, {`"CertifyForMarketplace": true`, `"CertifyForMarketplace": true, "SourceAlgorithmSpecification": {"SourceAlgorithms": [{"AlgorithmName": "iris-forest", "ModelDataUrl": "s3://b/m.tar.gz"}]}`}},
	"CreateAlgorithm CertifyForMarketplace":                                           {{"-", "InferenceSpecification"}},
	"CreateAlgorithm TrainingSpecification.SupportsDistributedTraining":               {{`"InstanceCount": 1, "VolumeSizeInGB"`, `"InstanceCount": 2, "VolumeSizeInGB"`}},
	"CreateAlgorithm TrainingSpecification.SupportedHyperParameters[0].IsRequired":    {{"-", "ValidationSpecification.ValidationProfiles[0].TrainingJobDefinition.HyperParameters"}},
	"CreateAlgorithm TrainingSpecification.SupportedHyperParameters[0].DefaultValue":  {{"-", "ValidationSpecification.ValidationProfiles[0].TrainingJobDefinition.HyperParameters"}},
	"CreateAlgorithm TrainingSpecification.TrainingChannels[0].IsRequired":            {{`{"ChannelName": "train"`, `{"ChannelName": "validation"`}, {"-", "ValidationSpecification.ValidationProfiles[0].TrainingJobDefinition.InputDataConfig[1]"}},
	"CreateAlgorithm TrainingSpecification.SupportedHyperParameters[0].Range.C":       {{"-", "TrainingSpecification.SupportedHyperParameters[0].Range.IntegerParameterRangeSpecification"}},
	"CreateAlgorithm TrainingSpecification.SupportedHyperParameters[0].Range.Cont":    {{`"Type": "Integer"`, `"Type": "Continuous"`}, {"-", "TrainingSpecification.SupportedHyperParameters[0].Range.IntegerParameterRangeSpecification"}},
	"CreateAlgorithm TrainingSpecification.SupportedHyperParameters[0].Range.Categor": {{`"Type": "Integer"`, `"Type": "Categorical"`}, {"-", "TrainingSpecification.SupportedHyperParameters[0].Range.IntegerParameterRangeSpecification"}},
}

// packaged is a transform job and its model, which names the package of package.json.
func packaged(t testing.TB) []*Document {
	t.Helper()
	text := change(t, edit(t, "model.json", "", ""), "PrimaryContainer", map[string]any{"ModelPackageName": "boost-package"})
	return []*Document{fixture(t, "transform.json"), decode(t, "model.json", text)}
}

// base is the text of an operation's fixture in which a member's effect can be seen, and its companions.
func base(t testing.TB, s spot) (text string, companions []*Document) {
	file := map[string]string{CreateAlgorithm: "algorithm.json", CreateTrainingJob: "training.json", CreateModel: "model.json", CreateTransformJob: "transform.json", CreateModelPackage: "package.json"}[s.op]
	var edits [][2]string
	best := ""
	for prefix, e := range mutationBases {
		if strings.HasPrefix(s.op+" "+s.path, prefix) && len(prefix) > len(best) {
			best, edits = prefix, e
		}
	}
	switch s.op {
	case CreateModel:
		companions = fixtures(t, "transform.json")
	case CreateTransformJob:
		companions = fixtures(t, "model.json")
	}
	if s.op == CreateModelPackage && strings.HasPrefix(s.path, "SourceAlgorithmSpecification") {
		companions = fixtures(t, "algorithm.json")
		return edited(t, file, edits), companions
	}
	if s.op == CreateModel && strings.HasSuffix(best, "ModelPackageName") {
		companions = append(companions, fixture(t, "package.json"))
	}
	if strings.HasSuffix(best, "AlgorithmName") {
		companions = fixtures(t, "algorithm.json")
	}
	return edited(t, file, edits), companions
}

// result is what a document leads to: its plan without the list of members, and what is said against it.
func result(t testing.TB, op, text string, companions []*Document) (plan, said string, err error) {
	t.Helper()
	d, err := DecodeAs(op, "doc", []byte(text))
	if err != nil {
		return "", err.Error(), err
	}
	host := machine
	host.GPUs, host.MemoryBytes, host.CPUs = 4, 1<<40, 256
	p, err := Make(append([]*Document{d}, companions...), Options{FileSystems: fileSystems}, host)
	if err != nil {
		return "", err.Error(), err
	}
	warnings, _ := json.Marshal(p.Warnings)
	p.Members, p.Warnings = nil, nil
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return string(b), string(warnings), nil
}

// Test (b): changing an honoured or emulated member changes the plan or what is said against the document; an inert
// one changes nothing; a refused one is an error that names it.
func TestFidelityByMutation(t *testing.T) {
	seen := map[*row]bool{} // rows whose change was seen
	checked := map[*row]spot{}
	for _, op := range operationNames() {
		for _, s := range spots(op) {
			leaf := facts().Shapes[s.shape].Type != "structure" && !(facts().Shapes[s.shape].Type == "list" && facts().Shapes[facts().Shapes[s.shape].Member].Type == "structure")
			text, companions := base(t, s)
			values := []any{valid(t, s.shape, 0), valid(t, s.shape, 1), valid(t, s.shape, 2)}
			for _, v := range facts().Shapes[s.shape].Enum {
				if len(facts().Shapes[s.shape].Enum) < 10 {
					values = append(values, v)
				}
			}
			switch {
			case s.row.treatment == Refused:
				_, _, err := result(t, op, change(t, text, s.path, values[0]), companions)
				var no *Unsupported
				if !errors.As(err, &no) && len(s.row.cases) == 0 {
					t.Errorf("%s %s is refused by the table and taken: %v", op, s.path, err)
				} else if no != nil && !slices.ContainsFunc(no.Members, func(m RefusedMember) bool { return m.Path == s.path && m.Line > 0 && m.Text != "" }) {
					t.Errorf("%s %s is refused without being named: %v", op, s.path, no)
				}
			case s.row.treatment == Inert:
				plans := map[string]bool{}
				for _, v := range values {
					d, err := DecodeAs(op, "d", []byte(change(t, text, s.path, v)))
					if err != nil {
						t.Fatalf("%s %s = %v: %v", op, s.path, v, err)
					}
					if uses, _ := treat(d, Options{}); !slices.ContainsFunc(uses, func(u MemberUse) bool { return u.Path == s.path && u.Treatment == Inert && u.Note != "" }) {
						continue // another case of the row
					}
					plan, said, err := result(t, op, change(t, text, s.path, v), companions)
					if err != nil && !onlyRules(err) {
						t.Errorf("%s %s = %v is inert by the table: %s", op, s.path, v, said)
					}
					if err == nil {
						plans[plan] = true
					}
				}
				if len(plans) > 1 {
					t.Errorf("%s %s is inert by the table and changes the plan", op, s.path)
				}
			case leaf:
				checked[s.row] = s
				outcomes := map[string]bool{}
				for _, v := range append(values, nil) {
					plan, said, _ := result(t, op, change(t, text, s.path, v), companions)
					outcomes[plan+said] = true
				}
				if len(outcomes) > 1 {
					seen[s.row] = true
				}
			}
		}
	}
	for r, s := range checked {
		if !seen[r] {
			t.Errorf("%s.%s is %s by the table, and no change of it is seen (%s %s)", r.shape, r.member, r.treatment, s.op, s.path)
		}
	}
	if len(checked) < 80 {
		t.Errorf("only %d honoured members were changed", len(checked))
	}
}

// onlyRules tells a document that breaks a rule between members (such as a waiting time without spot training) from
// one whose member is refused.
func onlyRules(err error) bool {
	var no *Unsupported
	var invalid *Invalid
	return !errors.As(err, &no) && errors.As(err, &invalid)
}

// Each case of a row is met: a value that is refused is named with its value and place.
func TestRefusedValues(t *testing.T) {
	for _, tc := range []struct{ file, path, value, want string }{
		{"training.json", "ResourceConfig.InstanceCount", `2`, "ResourceConfig.InstanceCount: 2 is refused: several hosts are not carried out together yet: say 1, or name as many with --hosts and run each with its --current-host"},
		{"training.json", "TensorBoardOutputConfig", `{"S3OutputPath": "s3://b/c"}`, "TensorBoardOutputConfig: refused"},
		{"model.json", "PrimaryContainer.Mode", `"MultiModel"`, "MultiModel is refused"},
		{"model.json", "InferenceExecutionConfig.Mode", `"Direct"`, "Direct is refused"},
	} {
		var v any
		if err := json.Unmarshal([]byte(tc.value), &v); err != nil {
			t.Fatal(err)
		}
		text := change(t, edit(t, tc.file, "", ""), tc.path, v)
		docs := companionsOf(t, "doc", text)
		_, err := Make(docs, Options{}, machine)
		var no *Unsupported
		if !errors.As(err, &no) || !strings.Contains(no.Error(), tc.want) {
			t.Errorf("%s = %s: got %v, want %q", tc.path, tc.value, err, tc.want)
		}
	}
}

// Ruling 3: each supported operation has a fixture that passes --strict, inert members and all.
func TestFixturesPassStrict(t *testing.T) {
	host := machine
	host.CPUs = 8
	for name, docs := range flows {
		if _, err := Make(fixtures(t, docs...), Options{Strict: true}, host); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Make(append(packaged(t), fixture(t, "package.json")), Options{Strict: true}, host); err != nil {
		t.Errorf("a model of a package: %v", err)
	}
	text := change(t, edit(t, "training.json", "", ""), "CheckpointConfig", map[string]any{"S3Uri": "s3://b/c"})
	text = change(t, text, "RetryStrategy", map[string]any{"MaximumRetryAttempts": 2})
	if p, err := Make([]*Document{decode(t, "doc", text)}, Options{Strict: true}, host); err != nil || p.Training.Checkpoint.LocalPath != "/opt/ml/checkpoints/" || p.Training.Retries != 2 {
		t.Errorf("%v", err)
	}
	// An emulation that leaves data out does not pass.
	text = edit(t, "algorithm.json", `"SupportsDistributedTraining": false`, `"AdditionalS3DataSource": {"S3DataType": "S3Object", "S3Uri": "s3://b/k"}`)
	if got := refusal(t, Options{Strict: true}, text); !strings.Contains(got, "AdditionalS3DataSource: refused: it is not mounted") {
		t.Errorf("got %q", got)
	}
	// What a data capture writes does; its files' name is ours, and nothing else of it (BT-171).
	capture := map[string]any{"DestinationS3Uri": "s3://bucket/captured", "KmsKeyId": "k", "GenerateInferenceId": true}
	if got := refusal(t, Options{Strict: true}, change(t, edit(t, "transform.json", "", ""), "DataCaptureConfig", capture), "model.json"); got != "" {
		t.Errorf("data capture: got %q", got)
	}
	// A manifest of model data is left out (INF-27).
	source := map[string]any{"S3DataSource": map[string]any{"S3Uri": "s3://b/m/", "S3DataType": "S3Prefix", "CompressionType": "None", "ManifestS3Uri": "s3://b/m.csv"}}
	text = change(t, change(t, edit(t, "model.json", "", ""), "PrimaryContainer.ModelDataUrl", nil), "PrimaryContainer.ModelDataSource", source)
	if got := refusal(t, Options{Strict: true}, text, "transform.json"); !strings.Contains(got, "artifact manifests are not read") {
		t.Errorf("got %q", got)
	}
	// Nor does an instance type that the host cannot stand in for (ruling 14).
	if got := refusal(t, Options{Strict: true}, edit(t, "training.json", "ml.m5.xlarge", "ml.p3.2xlarge")); !strings.Contains(got, "ml.p3.2xlarge is refused: this host cannot stand in for it: ml.p3.2xlarge has more GPUs than this host (0)") {
		t.Errorf("got %q", got)
	}
}

// notReadYet are fields of the Plan that no package reads yet. The list only shrinks.
var notReadYet = []string{}

// Test (c): each field of the Plan is read outside this package: what nothing reads is not carried out.
func TestPlanIsRead(t *testing.T) {
	read := map[string]bool{}
	root := ".."
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (path == filepath.Join(root, "job") || d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && len(d.Name()) > 2) {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		f, err := goparser.ParseFile(token.NewFileSet(), path, nil, goparser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				read[s.Sel.Name] = true
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	done := map[reflect.Type]bool{}
	var fields func(typ reflect.Type)
	fields = func(typ reflect.Type) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice || typ.Kind() == reflect.Map {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || done[typ] || typ.PkgPath() != reflect.TypeFor[Plan]().PkgPath() {
			return
		}
		done[typ] = true
		for f := range typ.Fields() {
			name := typ.Name() + "." + f.Name
			if !read[f.Name] && !slices.Contains(notReadYet, name) {
				t.Errorf("nothing outside package job reads Plan field %s", name)
			}
			fields(f.Type)
		}
	}
	fields(reflect.TypeFor[Plan]())
	for _, n := range notReadYet {
		typ, f, _ := strings.Cut(n, ".")
		if read[f] {
			t.Logf("%s.%s is read now: take it from notReadYet", typ, f)
		}
	}
}
