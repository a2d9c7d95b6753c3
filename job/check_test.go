package job

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// edit is a fixture with one text replaced.
func edit(t testing.TB, name, old, repl string) string {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if old == "" {
		return string(b)
	}
	if !strings.Contains(string(b), old) {
		t.Fatalf("%s does not contain %s", name, old)
	}
	return strings.Replace(string(b), old, repl, 1)
}

// refusal decodes and makes a plan of a text, with companions, and returns what the error says.
func refusal(t testing.TB, o Options, text string, companions ...string) string {
	t.Helper()
	d, err := Decode("doc.json", []byte(text))
	if err != nil {
		return err.Error()
	}
	docs := append([]*Document{d}, fixtures(t, companions...)...)
	_, err = Make(docs, o, machine)
	if err == nil {
		return ""
	}
	return err.Error()
}

// TestConstraintWording asserts the service's exact words for each kind of constraint (training 4.1).
func TestConstraintWording(t *testing.T) {
	long := strings.Repeat("a", 64)
	envs := make([]string, 17)
	for i := range envs {
		envs[i] = fmt.Sprintf(`"K%d":"v"`, i)
	}
	printed := strings.ReplaceAll(strings.ReplaceAll(strings.Join(envs, ", "), `":"`, "="), `"`, "")
	channels := strings.Repeat(`{"Name":"c","SupportedContentTypes":["a/b"],"SupportedInputModes":["File"]},`, 9)
	for name, tc := range map[string]struct {
		file, old, repl string
		strict          bool
		want            string
	}{
		"pattern": {"training.json", `"boost-2026-11-20"`, `"health_and_personal-470"`, false,
			`1 validation error detected: Value 'health_and_personal-470' at 'trainingJobName' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}`},
		"length before pattern": {"model.json", `"boost-model"`, `"_` + long + `"`, false,
			`2 validation errors detected: Value '_` + long + `' at 'modelName' failed to satisfy constraint: Member must have length less than or equal to 63; Value '_` + long + `' at 'modelName' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9]([\-a-zA-Z0-9]*[a-zA-Z0-9])?`},
		"enum in a list": {"training.json", `"InputMode": "File"`, `"InputMode": "fastfile"`, false,
			`1 validation error detected: Value 'fastfile' at 'inputDataConfig.1.member.inputMode' failed to satisfy constraint: Member must satisfy enum value set: [Pipe, File, FastFile]`},
		"missing": {"training.json", `"OutputDataConfig": {"S3OutputPath": "s3://bucket/models", "CompressionType": "GZIP"}`, `"OutputDataConfig": {}`, false,
			`1 validation error detected: Value null at 'outputDataConfig.s3OutputPath' failed to satisfy constraint: Member must not be null`},
		"null is missing": {"training.json", `"S3OutputPath": "s3://bucket/models"`, `"S3OutputPath": null`, false,
			`1 validation error detected: Value null at 'outputDataConfig.s3OutputPath' failed to satisfy constraint: Member must not be null`},
		"number too large": {"training.json", `"KeepAlivePeriodInSeconds": 600`, `"KeepAlivePeriodInSeconds": 21601`, false,
			`1 validation error detected: Value '21601' at 'resourceConfig.keepAlivePeriodInSeconds' failed to satisfy constraint: Member must have value less than or equal to 21600`},
		"number too small": {"training.json", `"MaxRuntimeInSeconds": 3600`, `"MaxRuntimeInSeconds": 0`, false,
			`1 validation error detected: Value '0' at 'stoppingCondition.maxRuntimeInSeconds' failed to satisfy constraint: Member must have value greater than or equal to 1`},
		"map value": {"training.json", `"eta": "0.001"`, `"eta": "` + strings.Repeat("1", 2501) + `"`, false,
			`1 validation error detected: Value '{num_round=128, eta=` + strings.Repeat("1", 2501) + `}' at 'hyperParameters' failed to satisfy constraint: Map value must satisfy constraint: [Member must have length less than or equal to 2500, Member must have length greater than or equal to 0, Member must satisfy regular expression pattern: .*]`},
		"map key": {"training.json", `"PYTHONUNBUFFERED"`, `"1BAD"`, false,
			`1 validation error detected: Value '{1BAD=1}' at 'environment' failed to satisfy constraint: Map keys must satisfy constraint: [Member must have length less than or equal to 512, Member must have length greater than or equal to 0, Member must satisfy regular expression pattern: [a-zA-Z_][a-zA-Z0-9_]*]`},
		"map with too many entries": {"transform.json", `"Environment": {"LOG": "job"}`, `"Environment": {` + strings.Join(envs, ",") + `}`, false,
			`1 validation error detected: Value '{` + printed + `}' at 'environment' failed to satisfy constraint: Member must have length less than or equal to 16`},
		"list too short": {"training.json", `"Tags": [{"Key": "team", "Value": "a"}]`, `"Tags": [], "ProfilerConfig": {}, "VpcConfig": {"SecurityGroupIds": [], "Subnets": ["subnet-1"]}`, false,
			`1 validation error detected: Value '[]' at 'vpcConfig.securityGroupIds' failed to satisfy constraint: Member must have length greater than or equal to 1`},
		"list of structures too long (VAL-12)": {"algorithm.json", `"TrainingChannels": [`, `"TrainingChannels": [` + channels, false,
			`at 'trainingSpecification.trainingChannels' failed to satisfy constraint: Member must have length less than or equal to 8`},
		"item of a list of strings": {"training.json", `"Tags": [`, `"VpcConfig": {"SecurityGroupIds": ["sg 1", "sg-2"], "Subnets": ["subnet-1"]}, "Tags": [`, false,
			`1 validation error detected: Value '[sg 1, sg-2]' at 'vpcConfig.securityGroupIds' failed to satisfy constraint: Member must satisfy constraint: [Member must have length less than or equal to 32, Member must have length greater than or equal to 0, Member must satisfy regular expression pattern: [-0-9a-zA-Z]+]`},
		"instance type, strict (ruling 3)": {"transform.json", `"InstanceType": "ml.m5.xlarge"`, `"InstanceType": "local"`, true,
			`1 validation error detected: Value 'local' at 'transformResources.instanceType' failed to satisfy constraint: Member must satisfy enum value set: [`},
	} {
		t.Run(name, func(t *testing.T) {
			text := edit(t, tc.file, tc.old, tc.repl)
			var got string
			switch tc.file {
			case "model.json": // runs nothing itself
				got = decode(t, "model.json", text).found.err(CreateModel).Error()
			case "transform.json":
				got = refusal(t, Options{Strict: tc.strict}, text, "model.json")
			default:
				got = refusal(t, Options{Strict: tc.strict}, text)
			}
			if strings.HasPrefix(tc.want, "at ") || strings.HasSuffix(tc.want, "[") {
				if !strings.Contains(got, tc.want) {
					t.Errorf("got  %s\nwant %s…", got, tc.want)
				}
			} else if got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

// Every problem has a path in both spellings, a line, a column, and a plain sentence.
func TestProblemsHavePlaces(t *testing.T) {
	text := edit(t, "training.json", `"InputMode": "File"`, `"InputMode": "fastfile"`)
	_, err := Make([]*Document{decode(t, "job.json", text)}, Options{}, machine)
	p := err.(*Invalid).Problems[0]
	want := Problem{Code: "ValidationException", File: "job.json", Path: "InputDataConfig[0].InputMode", AWSPath: "inputDataConfig.1.member.inputMode", Line: 12, Col: 209,
		Message: p.Message, Text: `"fastfile" is not one of the values that the service takes`, Hint: "did you mean FastFile?", constraint: true}
	if p != want {
		t.Errorf("got  %+v\nwant %+v", p, want)
	}
	if got := p.String(); got != `job.json:12:209: InputDataConfig[0].InputMode: "fastfile" is not one of the values that the service takes` {
		t.Errorf("got %s", got)
	}
}

// TestSerialization: wrong types and unknown members, in the service's or its client's words, all at once.
func TestSerialization(t *testing.T) {
	for _, tc := range []struct{ member, value, message, text, hint string }{
		{"VolumeSizeInGB", `"30"`, "STRING_VALUE can not be converted to an Integer", `must be a whole number, is the string "30"`, "write it without quotes"},
		{"VolumeSizeInGB", `true`, "TRUE_VALUE can not be converted to an Integer", "must be a whole number, is true", ""},
		{"VolumeSizeInGB", `1.5`, "NUMBER_VALUE can not be converted to an Integer", "1.5 is not a whole number", ""},
		{"VolumeSizeInGB", `4294967296`, "NUMBER_VALUE can not be converted to an Integer", "4294967296 is out of the range of an Integer", ""},
		{"VolumeSizeInGB", `1e999999999`, "NUMBER_VALUE can not be converted to an Integer", "1e999999999 is not a whole number", ""},
		{"VolumeSizeInGB", `{}`, "Start of structure or map found where not expected.", "must be a whole number, is an object", ""},
		{"VolumeSizeInGB", `[1]`, "Start of list found where not expected", "must be a whole number, is a list", ""},
		{"VolumeKmsKeyId", `7`, "NUMBER_VALUE can not be converted to a String", "must be a string, is 7", `write it in quotes: "7"`},
		{"VolumeKmsKeyId", `false`, "FALSE_VALUE can not be converted to a String", "must be a string, is false", `write it in quotes: "false"`},
		{"InstanceGroups", `"a"`, "Expected list or null", `must be a list, is the string "a"`, ""},
		{"InstanceGroups", `{}`, "Start of structure or map found where not expected.", `must be a list, is an object`, ""},
		{"InstancePlacementConfig", `[]`, "Start of list found where not expected", `must be an object, is a list`, ""},
		{"InstancePlacementConfig", `{"EnableMultipleJobs": "true"}`, "STRING_VALUE can not be converted to a Boolean", `must be true or false, is the string "true"`, "write it without quotes"},
	} {
		text := edit(t, "training.json", `"KeepAlivePeriodInSeconds": 600`, fmt.Sprintf("%q: %s", tc.member, tc.value))
		text = strings.Replace(text, `"VolumeSizeInGB": 30, "VolumeSizeInGB"`, `"VolumeSizeInGB"`, 1)
		ps := problemsOf(t, text)
		if p := ps[0]; len(ps) != 1 || p.Code != CodeSerialization || p.Message != tc.message || p.Text != tc.text || p.Hint != tc.hint || !strings.HasPrefix(p.Path, "ResourceConfig."+tc.member) {
			t.Errorf("%s %s: got %+v", tc.member, tc.value, ps)
		}
	}
	// A map, and a map's values.
	for value, want := range map[string]string{
		`[]`: "Start of list found where not expected", `"a"`: "Expected map or null", `7`: "Expected map or null",
	} {
		if p := problemsOf(t, edit(t, "training.json", `"HyperParameters": {"num_round": "128", "eta": "0.001"}`, `"HyperParameters": `+value))[0]; p.Path != "HyperParameters" || p.Message != want {
			t.Errorf("got %+v", p)
		}
	}
	if p := problemsOf(t, change(t, edit(t, "training.json", "", ""), "ResourceConfig", 7))[0]; p.Path != "ResourceConfig" || p.Message != "Expected structure or null" {
		t.Errorf("got %+v", p)
	}
	// A map has no null; a structure's is an absent member.
	if got := refusal(t, Options{}, edit(t, "training.json", `"num_round": "128"`, `"num_round": null`)); !strings.Contains(got, "Value '{num_round=null, eta=0.001}' at 'hyperParameters' failed to satisfy constraint: Map value must satisfy constraint: [") {
		t.Errorf("got %s", got)
	}
	if p := problemsOf(t, edit(t, "training.json", `"num_round": "128"`, `"num_round": 128`))[0]; p.Path != "HyperParameters.num_round" || p.Message != "NUMBER_VALUE can not be converted to a String" {
		t.Errorf("got %+v", p)
	}
}

// Whole numbers may be written with a point or an exponent, as the service's reader takes them.
func TestWholeNumbers(t *testing.T) {
	for text, want := range map[string]int64{"30": 30, "30.0": 30, "3e1": 30, "300e-1": 30} {
		d := decode(t, "d", edit(t, "training.json", `"VolumeSizeInGB": 30`, `"VolumeSizeInGB": `+text))
		if got := *d.body.(*createTrainingJobRequest).ResourceConfig.VolumeSizeInGB; got != want {
			t.Errorf("%s: got %d", text, got)
		}
	}
}

// TestUnknownMembers: exact names only, each with its path and what was probably meant (VAL-11).
func TestUnknownMembers(t *testing.T) {
	text := edit(t, "algorithm.json", `"ProfileName": "default",`, `"ProfileName": "default", "ValidationOutputS3Prefix": "s3://x/y",`)
	text = strings.Replace(text, `"CertifyForMarketplace"`, `"certifyForMarketplace"`, 1)
	text = strings.Replace(text, `"TrainingInputMode": "File",`, `"TrainingInputMode": "File", "Environment": {},`, 1)
	var got []string
	for _, p := range problemsOf(t, text) {
		got = append(got, p.String()+" | "+p.Hint)
	}
	want := []string{
		"doc.json:36:35: ValidationSpecification.ValidationProfiles[0].ValidationOutputS3Prefix: ValidationSpecification.ValidationProfiles[0] has no member of this name | known here: ProfileName, TrainingJobDefinition, TransformJobDefinition",
		"doc.json:38:40: ValidationSpecification.ValidationProfiles[0].TrainingJobDefinition.Environment: ValidationSpecification.ValidationProfiles[0].TrainingJobDefinition has no member of this name | known here: HyperParameters, InputDataConfig, OutputDataConfig, ResourceConfig, StoppingCondition, TrainingInputMode",
		"doc.json:60:3: certifyForMarketplace: the request has no member of this name | did you mean CertifyForMarketplace?",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestRecognise: each operation is told by its members, also when their case is wrong.
func TestRecognise(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{`{"AlgorithmName":"a"}`, CreateAlgorithm},
		{`{"TrainingJobName":"a","AlgorithmSpecification":{}}`, CreateTrainingJob},
		{`{"TransformJobName":"a","ModelName":"b"}`, CreateTransformJob},
		{`{"ModelName":"b"}`, CreateModel},
		{`{"ModelPackageName":"b","InferenceSpecification":{}}`, CreateModelPackage},
		{`{"ModelPackageGroupName":"b"}`, CreateModelPackage},
		{`{"trainingJobName":"a","roleArn":"b"}`, CreateTrainingJob},
		{`{"TrainingJobName":null,"ModelName":"b"}`, CreateModel},
	} {
		root, _ := parse([]byte(tc.text))
		if got, _ := recognise(root); got != tc.want {
			t.Errorf("%s: got %s, want %s", tc.text, got, tc.want)
		}
	}
	if _, err := DecodeAs("CreateEndpoint", "x", []byte("{}")); err == nil || !strings.Contains(err.Error(), `operation "CreateEndpoint" is not one that optml reads`) {
		t.Errorf("got %v", err)
	}
	if d, err := DecodeAs(CreateModel, "x", []byte(`{"ModelName":"m"}`)); err != nil || d.Operation != CreateModel {
		t.Errorf("got %v, %v", d, err)
	}
}

// D6: a path of this machine stands where the service wants an address; the service would refuse it, so it warns.
func TestLocalPaths(t *testing.T) {
	for _, uri := range []string{"file:///data/train", "/data/train", "data/train/", "./train"} {
		d := decode(t, "d", edit(t, "training.json", "s3://bucket/data/train", uri))
		p, err := Make([]*Document{d}, Options{Dir: "/home/u"}, machine)
		if err != nil {
			t.Fatalf("%s: %v", uri, err)
		}
		want := map[string]string{"data/train/": "/home/u/data/train/", "./train": "/home/u/train"}[uri]
		if want == "" {
			want = uri
		}
		if got := p.Training.Channels[0].Source.URI; got != want {
			t.Errorf("%s: got %s, want %s", uri, got, want)
		}
		if len(p.Warnings) != 1 || p.Warnings[0].Rule != "ruling 3" || !p.Warnings[0].Refuses {
			t.Errorf("%s: warnings %v", uri, p.Warnings)
		}
		if _, err := Make([]*Document{d}, Options{Strict: true}, machine); err == nil {
			t.Errorf("%s passes --strict", uri)
		}
	}
	for _, uri := range []string{"s3:/bucket/x", "S3://bucket/x", "s3:bucket", "gs://b/x", "file://"} {
		if got := refusal(t, Options{}, edit(t, "training.json", "s3://bucket/data/train", uri)); !strings.Contains(got, "(https|s3)://") {
			t.Errorf("%s: got %q", uri, got)
		}
	}
}

// Instance types and roles matter on AWS alone: outside --strict they warn (ruling 3).
func TestOnlyAWSMinds(t *testing.T) {
	for name, e := range map[string][2]string{
		"local":       {`"InstanceType": "ml.m5.xlarge"`, `"InstanceType": "local"`},
		"unknown":     {`"InstanceType": "ml.m5.xlarge"`, `"InstanceType": "ml.z9.nano"`},
		"role form":   {`"arn:aws:iam::210987654321:role/service-role/SageMaker"`, `"arn:aws:iam::12:role/nobody-at-all"`},
		"no role":     {`"RoleArn": "arn:aws:iam::210987654321:role/service-role/SageMaker",`, ``},
		"short role":  {`"arn:aws:iam::210987654321:role/service-role/SageMaker"`, `"me"`},
		"local https": {`"s3://bucket/models"`, `"/tmp/out"`},
	} {
		text := edit(t, "training.json", e[0], e[1])
		p, err := Make([]*Document{decode(t, "d", text)}, Options{}, machine)
		if err != nil || len(p.Warnings) == 0 || !p.Warnings[0].Refuses {
			t.Errorf("%s: %v, warnings %v", name, err, p)
		}
		if got := refusal(t, Options{Strict: true}, text); !strings.Contains(got, "failed to satisfy constraint") {
			t.Errorf("%s: --strict gives %q", name, got)
		}
	}
}

// Each pattern of the table compiles under RE2 or has a substitute; each shape is of a known type and each bound whole.
func TestConstraintTable(t *testing.T) {
	used := map[string]bool{}
	for name, s := range facts().Shapes {
		switch s.Type {
		case "structure", "list", "map", "string", "integer", "long", "boolean":
		default:
			t.Errorf("%s has type %s, which the checker does not know", name, s.Type)
		}
		if s.Type == "map" && facts().Shapes[s.Value].Type != "string" {
			t.Errorf("%s is a map of %s", name, s.Value)
		}
		if s.Pattern == "" {
			continue
		}
		used[s.Pattern] = true
		if _, err := compilePattern(s.Pattern); err != nil {
			t.Errorf("%s: pattern %s needs a substitute: %v", name, s.Pattern, err)
		}
	}
	for p := range forms {
		if !used[p] {
			t.Errorf("no shape has the pattern of the form %s any more", p)
		}
	}
	for p := range used {
		if forms[p].words == "" {
			t.Errorf("the pattern %s has no words for people", p)
		}
	}
	for p := range substitutes() {
		if !used[p] {
			t.Errorf("no shape has the pattern of the substitute %s any more", p)
		}
	}
}

// The substitutes for what RE2 refuses, and the places where Java and RE2 differ.
func TestPatterns(t *testing.T) {
	tried := map[string]bool{}
	for _, tc := range []struct {
		shape string
		yes   []string
		no    []string
	}{
		{"ArnOrName", []string{"a", "a-b", "arn:aws:sagemaker:us-east-1:123456789012:algorithm/a-1", strings.Repeat("a", 63)}, []string{"", "a-", "-a", "arn:aws:sagemaker:us-east-1:123456789012:algorithm/a-", strings.Repeat("a", 64), "a_b"}},
		{"VersionedArnOrName", []string{"a", "a/3", "arn:aws:sagemaker:us-east-1:123456789012:model-package/a/12"}, []string{"a-/3", "a/", "a/1234567890"}},
		{"ModelPackageArn", []string{"arn:aws:sagemaker:us-east-1:123456789012:model-package/x", "arn:aws:sagemaker:us-east-1:123456789012:model-package/" + strings.Repeat("x", 2048)}, []string{"arn:aws:sagemaker:us-east-1:123456789012:model-package/", "arn:aws:sagemaker:us-east-1:123456789012:model-package/" + strings.Repeat("x", 2049), "arn:aws:sagemaker:us-east-1:123456789012:model-package/a b"}},
		{"ModelPackageGroupArn", []string{"arn:aws:sagemaker:us-east-1:123456789012:model-package-group/x"}, []string{"arn:aws:sagemaker:us-east-1:123456789012:model-package/x"}},
		{"StageDescription", []string{"", "ä b", strings.Repeat("ä", 1024)}, []string{strings.Repeat("a", 1025), "a\nb"}},
		{"ModelPackageSourceUri", []string{"", "s3://x/ä"}, []string{"a+b", strings.Repeat("a", 1025)}},
		{"TransformEnvironmentKey", []string{"A", "_a1", strings.Repeat("a", 1024)}, []string{"", "1a", strings.Repeat("a", 1025)}},
		{"MetricsEndpointPath", []string{"/metrics", "/a/b.c"}, []string{"metrics", "/a/../b", "/..", "/"}},
		{"TrainingRepositoryCredentialsProviderArn", []string{"arn:aws:lambda:us-east-1:123456789012:function:f"}, []string{"arn:aws:lambda:us-east-1:1:function:f"}},
		// Java's dot stops at five line ends, RE2's at one.
		{"HyperParameterValue", []string{"", "a b\tä"}, []string{"a\nb", "a\rb", "a\u2028b", "a\u0085b"}},
		{"TrainingEnvironmentValue", []string{"", "a\nb\r\u2028"}, nil},
		{"MetricRegex", []string{".", "ä"}, []string{"", "a\nb"}},
		{"DataInputConfig", []string{"a\nb"}, []string{""}},
		{"ContainerImage", []string{"a/b:1"}, []string{"a b", "a\vb", ""}},
		// Full match, not a part of it.
		{"S3Uri", []string{"s3://b", "https://b/c", "s3://b/ä ö"}, []string{"xs3://b", "s3:/b", "s3://", "s3://b/\n"}},
		{"TagKey", []string{"a:b", "ä"}, []string{"a*b"}},
	} {
		tried[facts().Shapes[tc.shape].Pattern] = tc.yes != nil && (tc.no != nil || tc.shape == "TrainingEnvironmentValue") // which takes anything
		match := facts().Shapes[tc.shape].match()
		for _, v := range tc.yes {
			if !match(v) {
				t.Errorf("%s refuses %.60q", tc.shape, v)
			}
		}
		for _, v := range tc.no {
			if match(v) {
				t.Errorf("%s takes %.60q", tc.shape, v)
			}
		}
	}
	for p := range substitutes() {
		if !tried[p] {
			t.Errorf("the substitute of %s is not tried with what it takes and what it refuses", p)
		}
	}
}

// The embedded file is the one that hack/constraints writes: sorted, one shape a line.
func TestEmbeddedFilesAreOneLineAShape(t *testing.T) {
	for name, data := range map[string][]byte{"constraints.json": constraintsJSON, "instances.json": instancesJSON} {
		if !json.Valid(data) {
			t.Errorf("%s is not JSON", name)
		}
		for i, line := range strings.Split(string(data), "\n") {
			if strings.HasPrefix(line, `  "`) && !strings.HasSuffix(strings.TrimSuffix(line, ","), "}") && !strings.Contains(line, `"Create`) {
				t.Errorf("%s:%d does not hold one shape: %.60s", name, i+1, line)
			}
		}
	}
	for _, list := range []string{"TrainingInstanceType", "TransformInstanceType", "ProductionVariantInstanceType", "ProcessingInstanceType"} {
		for _, v := range facts().Shapes[list].Enum {
			if _, ok := instances()[v]; !ok {
				t.Errorf("%s has %s, which instances.json lacks", list, v)
			}
		}
	}
}

// Large values are cut in messages: an error stays readable whatever the document holds.
func TestMessagesAreBounded(t *testing.T) {
	var b strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&b, `,"k%d":"%s"`, i, strings.Repeat("x", 1000))
	}
	got := refusal(t, Options{}, edit(t, "training.json", `"eta": "0.001"`, `"eta": "0.001"`+b.String()))
	if !strings.Contains(got, "length less than or equal to 100") || len(got) > 10_000 {
		t.Errorf("%d bytes: %.200s", len(got), got)
	}
}

// Checking a document of every kind of member takes tens of milliseconds, the table's loading included.
func BenchmarkMake(b *testing.B) {
	data, err := os.ReadFile("testdata/algorithm.json")
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		d, err := Decode("algorithm.json", data)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := Make([]*Document{d}, Options{}, machine); err != nil {
			b.Fatal(err)
		}
	}
}

// A document that is full to its bounds passes: they are the service's, not ours.
func TestLargeDocument(t *testing.T) {
	more := list(98, func(i int) string { return fmt.Sprintf(`"k%d":"%s"`, i, strings.Repeat("x", 2500)) })
	if got := refusal(t, Options{}, edit(t, "training.json", `"eta": "0.001"`, `"eta": "0.001",`+more)); got != "" {
		t.Fatal(got)
	}
}

// A list of strings: nulls, wrong types and several broken items, each at its place.
func TestListsOfStrings(t *testing.T) {
	text := edit(t, "training.json", `"Tags": [`, `"VpcConfig": {"SecurityGroupIds": ["a b", 7, null, "c d"], "Subnets": [{}]}, "Tags": [`)
	var got []string
	for _, p := range problemsOf(t, text) {
		got = append(got, p.Path+": "+p.Text)
	}
	want := []string{
		`VpcConfig.SecurityGroupIds: item 1: "a b" is not an id (letters, digits and hyphens)`,
		`VpcConfig.SecurityGroupIds[1]: must be a string, is 7`,
		`VpcConfig.SecurityGroupIds[2]: must not be null`,
		`VpcConfig.SecurityGroupIds[3]: "c d" is not an id (letters, digits and hyphens)`,
		`VpcConfig.Subnets[0]: must be a string, is an object`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
	for _, tc := range []struct{ value, want string }{{`null`, "InputDataConfig[0]: must not be null"}, {`[]`, "InputDataConfig[0]: must be an object, is a list"}} {
		text := change(t, edit(t, "training.json", "", ""), "InputDataConfig", nil)
		text = strings.Replace(text, "{", `{"InputDataConfig": [`+tc.value+`],`, 1)
		if got := refusalText(t, text); !strings.Contains(got, tc.want) {
			t.Errorf("%s: got %s", tc.value, got)
		}
	}
}

// refusalText is what people read of a document's problems.
func refusalText(t testing.TB, text string) string {
	t.Helper()
	d, err := Decode("doc", []byte(text))
	if err == nil {
		_, err = Make([]*Document{d}, Options{}, machine)
	}
	var invalid *Invalid
	if !errors.As(err, &invalid) {
		t.Fatalf("got %v", err)
	}
	var lines []string
	for _, p := range invalid.Problems {
		lines = append(lines, p.String())
	}
	return strings.Join(lines, "\n")
}

// What is wrong and what is not carried out come together; both can be told apart.
func TestInvalidAndUnsupportedAtOnce(t *testing.T) {
	text := change(t, edit(t, "training.json", "", ""), "TensorBoardOutputConfig", map[string]any{"S3OutputPath": "s3://b/c"})
	text = change(t, text, "StoppingCondition.MaxRuntimeInSeconds", 0)
	_, err := Make([]*Document{decode(t, "doc", text)}, Options{}, machine)
	var invalid *Invalid
	var no *Unsupported
	if !errors.As(err, &invalid) || !errors.As(err, &no) || invalid.Code() != CodeValidation || len(no.Members) != 1 {
		t.Errorf("got %v", err)
	}
	_, err = Decode("doc", []byte(`{"ModelName": 7}`))
	if !errors.As(err, &invalid) || invalid.Code() != CodeSerialization {
		t.Errorf("got %v", err)
	}
}

// The answers that one would get in turn: the client's, the reader's, the service's, each with its own words and how many
// more there are whose words nobody has published.
func TestAnswers(t *testing.T) {
	text := edit(t, "training.json", `"VolumeSizeInGB": 30`, `"VolumeSizeInGB": "30"`)
	text = strings.Replace(text, "{", `{"trainingJobName": "a", "Foo": 1,`, 1)
	text = strings.Replace(text, `"boost-2026-11-20"`, `"a_b"`, 1)
	_, err := Decode("doc", []byte(text))
	var invalid *Invalid
	if !errors.As(err, &invalid) {
		t.Fatal(err)
	}
	known := strings.Join(slices.Sorted(mapKeys(facts().Shapes["CreateTrainingJobRequest"].Members)), ", ")
	want := []Answer{
		{CodeParameters, `Parameter validation failed: Unknown parameter in input: "trainingJobName", must be one of: ` + known + `; Unknown parameter in input: "Foo", must be one of: ` + known, 0},
		{CodeSerialization, "STRING_VALUE can not be converted to an Integer", 0},
		{CodeValidation, "1 validation error detected: Value 'a_b' at 'trainingJobName' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}", 0},
	}
	if diff := cmp.Diff(want, invalid.Answers()); diff != "" || invalid.Code() != CodeParameters {
		t.Error(diff)
	}
	text = edit(t, "training.json", `"MaxRuntimeInSeconds": 3600`, `"MaxRuntimeInSeconds": 2419201, "MaxWaitTimeInSeconds": 7200`)
	_, err = Make([]*Document{decode(t, "doc", text)}, Options{}, machine)
	if !errors.As(err, &invalid) {
		t.Fatal(err)
	}
	want = []Answer{{CodeValidation, "Invalid MaxWaitTimeInSeconds. It is only supported when EnableManagedSpotTraining is set to true", 1}}
	if diff := cmp.Diff(want, invalid.Answers()); diff != "" {
		t.Error(diff)
	}
	_, err = Decode("doc", []byte(`{`))
	if !errors.As(err, &invalid) {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Answer{{CodeSerialization, "", 1}}, invalid.Answers()); diff != "" {
		t.Error(diff)
	}
}

// Check tells how each member is treated whatever is wrong, of a model alone too.
func TestCheck(t *testing.T) {
	members, _, err := Check(fixtures(t, "model.json"), Options{})
	if err != nil || len(members) != 6 {
		t.Errorf("%v, %v", members, err)
	}
	text := change(t, edit(t, "training.json", "", ""), "TensorBoardOutputConfig", map[string]any{"S3OutputPath": "s3://b/c"})
	text = change(t, text, "StoppingCondition.MaxRuntimeInSeconds", 0)
	members, _, err = Check([]*Document{decode(t, "doc", text)}, Options{})
	var invalid *Invalid
	var no *Unsupported
	if !errors.As(err, &invalid) || !errors.As(err, &no) {
		t.Errorf("got %v", err)
	}
	count := map[Treatment]int{}
	for _, m := range members {
		count[m.Treatment]++
	}
	if count[Refused] != 1 || count[Honoured] < 15 || count[Emulated] < 3 || count[Inert] < 4 {
		t.Errorf("%v", count)
	}
	if _, _, err := Check(nil, Options{}); err == nil {
		t.Error("nothing passes")
	}
}
