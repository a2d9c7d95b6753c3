package validate

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/optml/optml/harness"
	"github.com/optml/optml/job"
	"github.com/optml/optml/ledger"
	"github.com/optml/optml/objstore"
	"github.com/optml/optml/runtime/container"
	"github.com/optml/optml/runtime/containertest"
)

// algorithm is a plan of a validation whose training writes s3://out/… and whose transform reads s3://in/….
func algorithm() *job.Plan {
	training := job.Plan{Format: 1, Kind: job.KindTraining, Name: "alg-p-training-1", Region: "us-east-1", Training: &job.Training{
		Instances: []job.Instance{{Host: "algo-1", Containers: []job.Container{{Name: "algo-1", Image: job.Image{Ref: "algo"}, Args: []string{"train"}}}}},
		Hosts:     []string{"algo-1"},
		Channels:  []job.Channel{{Name: "train", Mode: "File", Source: job.Source{Type: "S3Prefix", URI: "s3://in/"}}},
		Metrics:   []job.MetricDefinition{{Name: "validation:accuracy", Regex: "accuracy=([0-9.]+)"}},
		ModelURI:  "s3://out/alg/output/model.tar.gz", OutputURI: "s3://out/alg/output/output.tar.gz",
		Isolated: true, MaxRuntime: job.Duration(time.Hour), Grace: job.Duration(time.Second),
	}}
	transform := job.Plan{Format: 1, Kind: job.KindTransform, Name: "alg-p-transform-1", Region: "us-east-1", Transform: &job.Transform{
		Instances:  []job.Instance{{Host: "algo-1", Containers: []job.Container{{Name: "algo-1", Image: job.Image{Ref: "algo"}, Args: []string{"serve"}, Port: 8080}}}},
		Models:     []job.ModelSource{{Container: "algo-1", URI: training.Training.ModelURI}},
		Input:      job.TransformInput{Source: job.Source{Type: "S3Prefix", URI: "s3://in/"}, SplitType: "Line"},
		Output:     job.TransformOutput{Path: "s3://out/pred", AssembleWith: "None"},
		PingWindow: job.Duration(2 * time.Second), InvocationTimeout: job.Duration(5 * time.Second), Grace: job.Duration(time.Second), Isolated: true,
	}}
	return &job.Plan{Format: 1, Kind: job.KindValidation, Operation: job.CreateAlgorithm, Name: "alg-1",
		Validation: &job.Validation{Algorithm: "alg", Profile: "p", Training: &training, Transform: &transform,
			Images: []job.NamedImage{{Name: "training-image", Image: job.Image{Ref: "algo"}}, {Name: "inference-image", Image: job.Image{Ref: "algo"}}},
			Scans:  []job.Scan{{File: "clean.json", Scanner: "trivy", Image: "algo", Packages: true, Other: 7}}}}
}

func train(p *containertest.Process) int {
	fmt.Fprintln(p.Stdout, "accuracy=0.5")
	_ = os.WriteFile(p.Path("/opt/ml/model/w"), []byte("w"), 0o644)
	return 0
}

func serve(p *containertest.Process) int {
	l, err := p.Listen("8080")
	if err != nil {
		panic(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "ok") })}
	go srv.Serve(l)
	defer srv.Close()
	select {
	case <-p.Signals:
	case <-p.Context.Done():
	}
	return 0
}

// run validates with an image of these commands and returns the end, the record and the names of the rules that failed.
func run(t *testing.T, p *job.Plan, commands map[string]containertest.Program, user string, processes func(container.Spec) []container.Process) (ledger.Transition, ledger.State, []string) {
	t.Helper()
	root, s3 := t.TempDir(), t.TempDir()
	if err := os.MkdirAll(filepath.Join(s3, "out"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(s3, "in"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s3, "in", "a.csv"), []byte("1\n2\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	stores, err := objstore.NewOpener(objstore.Options{S3Dir: s3})
	if err != nil {
		t.Fatal(err)
	}
	l := containertest.New(map[string]containertest.Image{"algo": {User: user, Commands: commands}})
	l.OnProcesses = processes
	o, err := ledger.Create(root, ledger.Request{Plan: p, Options: map[string]string{"said": "for the validation"}})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	final, err := Run(t.Context(), root, o, p, harness.Host{Launcher: l, Images: l, Stores: stores})
	if err != nil {
		t.Fatal(err)
	}
	if live := l.Live(); len(live) > 0 {
		t.Errorf("containers left: %v", live)
	}
	s := o.State()
	for _, c := range s.Children {
		j, err := ledger.Find(root, c.Kind+"/"+c.Name)
		if err != nil {
			t.Fatal(err)
		}
		var said map[string]string
		if err := j.Options(&said); err != nil || said["said"] == "" {
			t.Errorf("%s does not know what was said for the validation: %v %v", c.Name, said, err)
		}
	}
	var broken []string
	for _, v := range s.Verdicts {
		if v.Outcome == failed {
			broken = append(broken, v.Rule)
			if v.Evidence == "" || v.Remedy == "" {
				t.Errorf("%s: a failed rule needs evidence and remedy: %+v", v.Rule, v)
			}
		}
	}
	if len(s.Verdicts) != len(rules) {
		t.Errorf("%d verdicts of %d rules", len(s.Verdicts), len(rules))
	}
	return final, s, broken
}

func TestVAL1Passes(t *testing.T) {
	t.Parallel() // it waits
	final, s, broken := run(t, algorithm(), map[string]containertest.Program{"train": train, "serve": serve}, "", nil)
	if final.Status != "Completed" || *final.ExitCode != 0 || len(broken) > 0 {
		t.Errorf("%+v %v", final, broken)
	}
	if len(s.Children) != 2 {
		t.Errorf("children: %v", s.Children)
	}
	for _, v := range s.Verdicts {
		if shown := !slices.Contains(unshown, v.Rule); shown != (v.Outcome == passed) {
			t.Errorf("%+v", v)
		}
	}
}

// unshown are the rules that a profile which passes does not show.
var unshown = []string{"a failure is told", "train ends on SIGTERM", "a bad hyperparameter is refused", "an empty channel is refused",
	"a malformed request is refused", "the supported instance types work"}

// Each rule is broken once, and only what follows from it fails with it.
func TestRulesBrokenOneByOne(t *testing.T) {
	t.Parallel() // it waits
	quiet := func(p *containertest.Process) int { _ = os.WriteFile(p.Path("/opt/ml/model/w"), nil, 0o644); return 0 }
	for _, c := range []struct {
		name         string
		train, serve containertest.Program
		user         string
		change       func(*job.Plan)
		broken       []string
		code         int
		reason       string
	}{
		{name: "VAL-1 a failed training stops the rest", train: func(*containertest.Process) int { return 3 }, serve: serve,
			broken: []string{"training completes", "a failure is told"}, code: harness.ExitAlgorithm, reason: "AlgorithmError: , exit code: 3"},
		{name: "no metric", train: quiet, serve: serve, broken: []string{"every defined metric is seen"}, code: harness.ExitVerdict, reason: "ClientError: 1 of"},
		{name: "ruling 19 empty model", train: func(p *containertest.Process) int { fmt.Fprintln(p.Stdout, "accuracy=1"); return 0 }, serve: serve,
			broken: []string{"a model is made"}, code: harness.ExitClient, reason: "ClientError: " + emptyModel},
		{name: "ST-12 no ping", train: train, serve: func(p *containertest.Process) int { <-p.Signals; return 0 },
			broken: []string{"/ping answers 200"}, code: harness.ExitAlgorithm, reason: "AlgorithmError: Model container failed to respond to ping"},
		{name: "ruling 19 a link that leaves", serve: serve, train: func(p *containertest.Process) int {
			_ = os.Symlink("/etc/passwd", p.Path("/opt/ml/model/link"))
			return train(p)
		}, broken: []string{"the model loads from model.tar.gz alone"}, code: harness.ExitVerdict},
		{name: "START-8 user", train: train, serve: serve, user: "1000", broken: []string{"the image runs as root"}, code: harness.ExitVerdict},
		{name: "CH-3", train: train, serve: serve, broken: []string{"document is what the service accepts"}, code: harness.ExitVerdict,
			change: func(p *job.Plan) {
				p.Warnings = []job.Warning{{Rule: "CH-3", Text: "FastFile is refused", Refuses: true}, {Rule: "CH-4", Text: "instance type", Refuses: true}}
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := algorithm()
			if c.change != nil {
				c.change(p)
			}
			final, _, broken := run(t, p, map[string]containertest.Program{"train": c.train, "serve": c.serve}, c.user, nil)
			if !slices.Equal(broken, c.broken) {
				t.Errorf("failed rules: %q, want %q", broken, c.broken)
			}
			if final.Status != "Failed" || *final.ExitCode != c.code || !strings.HasPrefix(final.FailureReason, c.reason) {
				t.Errorf("%+v", final)
			}
		})
	}
}

func TestVAL4WithoutTransform(t *testing.T) {
	p := algorithm()
	p.Validation.Transform = nil
	final, s, broken := run(t, p, map[string]containertest.Program{"train": train}, "", nil)
	if final.Status != "Completed" || len(broken) > 0 || len(s.Children) != 1 {
		t.Errorf("%+v %v", final, broken)
	}
}
