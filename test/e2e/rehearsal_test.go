//go:build e2e

package e2e

import (
	"bytes"
	"io"
	"maps"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/optml/optml/test/images"
)

// careful is an algorithm that keeps every rule, probes included. Its options are hyperparameters and, in serving, the
// environment.
func careful(name string, hp, env map[string]string) doc {
	all := map[string]string{"refuse_empty": "1", "sigterm": "save", "sleep": "300ms", "metrics": "3"}
	maps.Copy(all, hp)
	serving := map[string]string{"TINY_INVOKE": "upper", "TINY_REQUIRE_MODEL": "model.txt", "TINY_FAIL_IF": "no number", "TINY_STATUS": "400"}
	maps.Copy(serving, env)
	flat := func(m map[string]string) (kv []string) {
		for k, v := range m {
			if v != "" {
				kv = append(kv, k, v)
			}
		}
		return kv
	}
	a := algorithm(name, "s3://data/batch/", flat(all), flat(serving))
	train := a["TrainingSpecification"].(doc)
	for _, s := range train["SupportedHyperParameters"].([]doc) {
		if s["Name"] == "metrics" {
			s["Type"] = "Integer"
			s["Range"] = doc{"IntegerParameterRangeSpecification": doc{"MinValue": "1", "MaxValue": "100"}}
		}
	}
	train["MetricDefinitions"] = []doc{{"Name": "validation:auc", "Regex": `validation:accuracy=([0-9.]+)`}}
	train["SupportedTrainingInstanceTypes"] = []string{"ml.m5.large", "ml.t3.medium", "ml.p3.2xlarge"}
	return a
}

// broken is a fault of an image, a document or a command line, and the one rule that it breaks.
type broken struct {
	rule    string
	says    string // in the evidence
	todo    string // in the remedy
	hp, env map[string]string
	image   images.Options
	change  func(doc)
	scan    string // severity of what a scanner found
	flags   []string
	code    int
	quick   bool // in the default tier
}

var brokenRules = []broken{
	{rule: "document is what the service accepts", says: "FastFile", todo: "change the document", code: 9,
		change: func(a doc) {
			a["TrainingSpecification"].(doc)["TrainingChannels"].([]doc)[0]["SupportedInputModes"] = []string{"File", "FastFile"}
		}},
	{rule: "network isolation", says: "open network", todo: "--network open", flags: []string{"--network", "open"}, code: 9},
	{rule: "the image runs as root", says: "USER 1000", todo: "remove USER", image: images.Options{User: "1000"}, flags: []string{"--user-writable"}, code: 9},
	{rule: "train starts", says: `"train": executable file not found`, todo: "ENTRYPOINT", image: images.Options{Without: []string{"train"}}, code: 3},
	{rule: "training completes", says: "AlgorithmError: bad luck, exit code: 3", todo: "log", hp: map[string]string{"exit_code": "3", "failure": "bad luck"}, code: 3, quick: true},
	{rule: "a failure is told", says: "ended with exit code 0", todo: "exit with another code", hp: map[string]string{"failure": "no such column"}, code: 9},
	{rule: "every defined metric is seen", says: "validation:auc", todo: "print the metric", hp: map[string]string{"metrics_format": "accuracy {accuracy}"}, code: 9},
	{rule: "a model is made", says: "/opt/ml/model empty", todo: "write the model to /opt/ml/model", hp: map[string]string{"model": "none"}, code: 4},
	{rule: "nothing written is lost", says: "/opt/results/scores.csv", todo: "/opt/ml/output/data", hp: map[string]string{"scratch": "/opt/results/scores.csv:4096"}, code: 9},
	{rule: "serve starts", says: `"serve": executable file not found`, todo: "ENTRYPOINT", image: images.Options{Without: []string{"serve"}}, code: 3},
	{rule: "the model loads from model.tar.gz alone", says: "ended with exit code 3 before it answered /ping", todo: "must be in /opt/ml/model",
		env: map[string]string{"TINY_REQUIRE_MODEL": "vocabulary.txt"}, code: 3, quick: true},
	{rule: "/ping answers 200", says: "/ping", todo: "200", env: map[string]string{"TINY_PING_STATUS": "500"}, flags: []string{"--ping-timeout", "3s"}, code: 3},
	{rule: "every input object gets an output", says: "answered 415", todo: "", env: map[string]string{"TINY_FAIL_NTH": "1", "TINY_FAIL_IF": "", "TINY_STATUS": "415"}, code: 4},
	{rule: "sizes are within the limits", says: "response too large", todo: "MaxPayloadInMB", env: map[string]string{"TINY_INVOKE": "fixed", "TINY_BODY": strings.Repeat("x", 900)},
		flags: []string{"--max-response", "800"}, code: 3},
	{rule: "serve ends on SIGTERM", says: "algo-1 still ran 1s after SIGTERM", todo: "handle SIGTERM", env: map[string]string{"TINY_SIGTERM": "ignore"}, flags: []string{"--grace", "1s"}, code: 9, quick: true},

	{rule: "image scan", says: "CVE-2024-3094 (High) in xz-libs", todo: "update xz-libs to 5.6.1", scan: "HIGH", code: 9},

	{rule: "train ends on SIGTERM", says: "ignores SIGTERM", todo: "handle SIGTERM", hp: map[string]string{"sigterm": "ignore", "sleep": "3s"}, flags: []string{"--probe", "--grace", "1s"}, code: 9},
	{rule: "a bad hyperparameter is refused", says: `metrics: the training completed all the same`, todo: "check hyperparameters",
		hp: map[string]string{"lenient": "1", "metrics_format": "validation:accuracy=0.5"}, flags: []string{"--probe"}, code: 9},
	{rule: "an empty channel is refused", says: "channel train: the training completed", todo: "check that there is data", hp: map[string]string{"refuse_empty": ""}, flags: []string{"--probe"}, code: 9},
	{rule: "a malformed request is refused", says: "not of content type text/csv", todo: "answer 400", env: map[string]string{"TINY_FAIL_IF": "", "TINY_STATUS": ""}, flags: []string{"--probe"}, code: 9},
	{rule: "a malformed request is refused", says: "with 500", todo: "answer 400", env: map[string]string{"TINY_STATUS": "500"}, flags: []string{"--probe"}, code: 9},
	{rule: "a malformed request is refused", says: "ended with exit code 1", todo: "go on serving", env: map[string]string{"TINY_FAIL_HOW": "exit"}, flags: []string{"--probe"}, code: 9},
	{rule: "serve ends on SIGTERM", says: "while it started", todo: "handle SIGTERM", env: map[string]string{"TINY_START_DELAY": "4s", "TINY_SIGTERM_LATE": "1", "TINY_SIGTERM": "exit"},
		flags: []string{"--probe", "--grace", "2s"}, code: 9},
	{rule: "a failure is told", says: "wrote nothing to /opt/ml/output/failure", todo: "before exiting", hp: map[string]string{"silent": "1"}, flags: []string{"--probe"}, code: 9},
	{rule: "the supported instance types work", says: "ml.t3.medium: AlgorithmError: ml.t3.medium is too small for us", todo: "need less",
		hp: map[string]string{"fail_on": "ml.t3.medium"}, flags: []string{"--probe"}, code: 9},
}

// scanned says with which flags a validation takes a scanner's report on the images of a request, which finds one thing.
func scanned(t *testing.T, a doc, severity string) []string {
	report := doc{"SchemaVersion": 2, "ArtifactName": a["TrainingSpecification"].(doc)["TrainingImage"], "Results": []doc{{"Target": "os", "Vulnerabilities": []doc{
		{"VulnerabilityID": "CVE-2024-3094", "PkgName": "xz-libs", "InstalledVersion": "5.6.0", "FixedVersion": "5.6.1", "Severity": severity}}}}}
	return []string{"--scan-report", report.file(t)}
}

// TestEachRuleBroken: an image that breaks a rule fails on that rule and on no other, with a sentence that says what to
// change.
func TestEachRuleBroken(t *testing.T) {
	sameHost(t)
	put(t, "data", "train/a.csv", "1,2\n", "batch/x.csv", "p\nq\n")
	for _, c := range brokenRules {
		if !c.quick && !full {
			continue
		}
		t.Run(strings.NewReplacer(" ", "-", "/", "").Replace(c.rule), func(t *testing.T) {
			a := careful(jobName("broken"), c.hp, c.env)
			if c.image.User != "" || len(c.image.Without) > 0 {
				ref := image(t, "optml.test/broken:1", c.image)
				a["TrainingSpecification"].(doc)["TrainingImage"] = ref
				a["InferenceSpecification"].(doc)["Containers"].([]doc)[0]["Image"] = ref
			}
			if c.change != nil {
				c.change(a)
			}
			if c.scan != "" {
				c.flags = scanned(t, a, c.scan)
			}
			v := validated(t, expect(t, c.code, slices.Concat([]string{"validate", "--quiet", "--output", "json"}, c.flags, []string{a.file(t)})...))
			seen := false
			for _, r := range v.Rules {
				switch {
				case r.Rule == c.rule:
					seen = true
					if r.Outcome != "failed" || !strings.Contains(r.Evidence, c.says) || r.Remedy == "" || !strings.Contains(r.Remedy, c.todo) {
						t.Errorf("%+v", r)
					}
				case r.Outcome == "failed":
					t.Errorf("fails too: %+v", r)
				}
			}
			if !seen {
				t.Errorf("no such rule: %+v", v.Rules)
			}
		})
	}
}

// TestProbe: an algorithm that takes everything well passes every rule, its probes included; they are jobs of the
// validation, and leave nothing.
func TestProbe(t *testing.T) {
	sameHost(t)
	put(t, "data", "train/a.csv", "1,2\n", "batch/x.csv", "p\nq\n")
	before := keys(t, "out", ".")
	a := careful(jobName("careful"), map[string]string{"sleep": "1500ms"}, nil)
	file := a.file(t)
	if r := ok(t, "plan", "--probe", file); !strings.Contains(r.stdout, "PROBES") || !strings.Contains(r.stdout, `trains with metrics="not-a-number"`) {
		t.Errorf("%s", r)
	}
	v := validated(t, ok(t, slices.Concat([]string{"validate", "--probe", "--quiet", "--output", "json", file}, scanned(t, a, "LOW"))...))
	if v.Verdict != "passed" {
		t.Errorf("%+v", v)
	}
	for _, r := range v.Rules {
		if r.Outcome != "passed" {
			t.Errorf("%+v", r)
		}
	}
	var tried []string
	for _, j := range v.Jobs[2:] {
		if j.Probe == "" {
			t.Errorf("%+v", j)
		}
		tried = append(tried, j.Status)
	}
	// A bad hyperparameter, an empty channel, SIGTERM in training, malformed requests, SIGTERM in serving, another type.
	want := []string{"Failed", "Failed", "Stopped", "Failed", "Completed", "Completed"}
	if len(tried) == len(want) && tried[4] == "Stopped" { // its work takes about as long as the probe lets it
		want[4] = "Stopped"
	}
	if !slices.Equal(tried, want) {
		t.Errorf("%v, want %v", tried, want)
	}
	if left := keys(t, "out", "."); len(left) != len(before)+2 { // the profile's model and outputs
		t.Errorf("%v", left)
	}
	// What a probe was to fail on is no failure of the validation.
	if r := ok(t, "report", v.Name, "--format", "junit"); !strings.Contains(r.stdout, `failures="0" errors="0"`) || strings.Contains(r.stdout, "<failure") {
		t.Errorf("%s", r)
	}
	if r := ok(t, "report", v.Name); !strings.Contains(r.stdout, "it trains with an empty file as all that channel train has") {
		t.Errorf("%s", r)
	}
	if r := ok(t, "ls", "-q"); strings.Count(r.stdout, "-probe-") < 6 {
		t.Errorf("%s", r)
	}
	ok(t, "rm", v.Name)
	if r := ok(t, "ls", "-q"); strings.Contains(r.stdout, v.Jobs[2].Name) {
		t.Errorf("%s", r)
	}
}

// TestKilledWhileProbing: what a probe has made goes as that of any job whose owner dies, and the validation has an end.
func TestKilledWhileProbing(t *testing.T) {
	if !full {
		t.Skip("in the full tier")
	}
	sameHost(t)
	put(t, "data", "train/a.csv", "1,2\n", "batch/x.csv", "p\nq\n")
	name := jobName("killed")
	p := begin(t, nil, "validate", "--probe", "--quiet", careful(name, map[string]string{"sleep": "2s", "lenient": "1"}, nil).file(t))
	probe := ""
	eventually(t, "a probe to run", func() bool {
		for j := range strings.FieldsSeq(ok(t, "ls", "-q", "--kind", "training").stdout) {
			if strings.Contains(j, name+"-p1-probe-") {
				probe = j
			}
		}
		return probe != ""
	})
	spoke(t, probe)
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-p.done
	ok(t, "prune")
	if s := record(t, probe); s.Status != "Failed" || len(s.Open) > 0 {
		t.Errorf("%+v", s)
	}
	v := ofValidation(t, probe)
	if s := record(t, v); !s.Final || s.Status != "Failed" {
		t.Errorf("%+v", s)
	}
	for _, j := range []string{v, probe} {
		if left := tree(filepath.Join(w.root, "jobs", j, "work"), nil); len(left) > 0 {
			t.Errorf("%s: %v", j, left)
		}
	}
}

// TestMetricsOfAValidation: the page is there while a validation's jobs run, its text is what Prometheus' own parser reads,
// and a name with a colon is a label's value (MET-5).
func TestMetricsOfAValidation(t *testing.T) {
	sameHost(t)
	put(t, "data", "train/a.csv", "1,2\n", "batch/x.csv", "p\nq\n")
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := free.Addr().String()
	free.Close()
	p := begin(t, nil, "validate", "--quiet", "--output", "json", "--metrics-listen", addr, careful(jobName("scraped"), map[string]string{"sleep": "5m"}, nil).file(t))
	var name string
	eventually(t, "the metric on the page", func() bool {
		resp, err := http.Get("http://" + addr + "/metrics")
		if err != nil {
			return false // it does not listen yet
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		parser := expfmt.NewTextParser(model.LegacyValidation)
		families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
		if err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		f := families["optml_metric"]
		if f == nil {
			return false
		}
		for _, m := range f.Metric {
			labels := map[string]string{}
			for _, l := range m.Label {
				labels[l.GetName()] = l.GetValue()
			}
			if labels["name"] == "validation:auc" && m.GetGauge().GetValue() == 0.75 {
				name = labels["job_name"]
				return true
			}
		}
		return false
	})
	if !strings.Contains(name, "-p1-training-") {
		t.Errorf("the metric is of %q", name)
	}
	ok(t, "stop", ofValidation(t, name))
	if r := p.wait(t); r.code != 6 {
		t.Errorf("%s", r)
	}
}

// ofValidation finds the validation that a job is of.
func ofValidation(t *testing.T, job string) string {
	t.Helper()
	for v := range strings.FieldsSeq(ok(t, "ls", "-q", "--kind", "validation").stdout) {
		for _, c := range record(t, v).Children {
			if strings.HasSuffix(job, c.Name) {
				return v
			}
		}
	}
	t.Fatalf("no validation has %s", job)
	return ""
}
