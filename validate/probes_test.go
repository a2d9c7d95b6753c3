package validate

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
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

// probing is algorithm with a probe of each kind.
func probing() *job.Plan {
	p := algorithm()
	v := p.Validation
	v.Types = []job.SupportedTypes{{Job: job.KindTraining, Class: "cpu", Types: []string{"ml.m5.large", "ml.t3.medium"}, Ran: "ml.m5.large", Probe: "ml.t3.medium"}}
	training := func(name string) job.Plan {
		c := *v.Training
		c.Name = "alg-p-probe-" + name
		t := *c.Training
		t.Channels, t.HyperParameters = slices.Clone(t.Channels), map[string]string{}
		c.Training = &t
		return c
	}
	transform := func(name string) job.Plan {
		c := *v.Transform
		c.Name = "alg-p-probe-" + name
		t := *c.Transform
		c.Transform = &t
		return c
	}
	limit := job.Duration(3 * time.Second)
	bad := training("hyperparameter")
	bad.Training.HyperParameters["depth"] = "not-a-number"
	empty := training("channel")
	empty.Training.Channels[0].Source.URI = ""
	request := transform("request")
	request.Transform.Input = job.TransformInput{Source: job.Source{Type: "S3Prefix"}, ContentType: "text/csv", SplitType: "None", Compression: "None"}
	small := training("small")
	small.Training.InstanceType = "ml.t3.medium"
	v.Probes = []job.Probe{
		{Kind: job.ProbeHyperparameter, About: "depth", Does: "trains with depth=not-a-number", Must: true, Plan: bad, Limit: limit},
		{Kind: job.ProbeChannel, About: "train", Does: "trains with an empty file", Must: true, Plan: empty, Limit: limit, Files: []job.ProbeFile{{Name: "empty.csv"}}},
		{Kind: job.ProbeStop, Does: "interrupts", Plan: training("stop"), Limit: limit},
		{Kind: job.ProbeRequest, About: "text/csv", Does: "sends garbage", Must: true, Plan: request, Limit: limit,
			Files: []job.ProbeFile{{Name: "1-malformed", Content: []byte("garbage")}, {Name: "2-malformed", Content: []byte("garbage")}, {Name: "3-too-large", TooLarge: true}}},
		{Kind: job.ProbeServeStop, Does: "stops serve", Plan: transform("serve-stop"), Limit: job.Duration(50 * time.Millisecond)},
		{Kind: job.ProbeInstance, About: "ml.t3.medium", Does: "trains small", Must: true, Plan: small, Limit: limit},
	}
	return p
}

// carefully trains as an image does that takes everything well.
func carefully(p *containertest.Process) int {
	refuse := func(text string) int {
		_ = os.WriteFile(p.Path("/opt/ml/output/failure"), []byte(text), 0o644)
		return 1
	}
	config, _ := os.ReadFile(p.Path("/opt/ml/input/config/hyperparameters.json"))
	if strings.Contains(string(config), "not-a-number") {
		return refuse("depth is no number")
	}
	if fi, err := os.Stat(p.Path("/opt/ml/input/data/train/empty.csv")); err == nil && fi.Size() == 0 {
		return refuse("train is empty")
	}
	if strings.Contains(p.Spec.Job, "probe-stop") {
		select {
		case <-p.Signals:
		case <-p.Context.Done():
		}
	}
	return train(p)
}

// wary serves as one that refuses garbage.
func wary(p *containertest.Process) int {
	l, err := p.Listen("8080")
	if err != nil {
		panic(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if b, _ := io.ReadAll(r.Body); strings.Contains(string(b), "garbage") {
			w.WriteHeader(http.StatusBadRequest)
		}
	})}
	go srv.Serve(l)
	defer srv.Close()
	select {
	case <-p.Signals:
	case <-p.Context.Done():
	}
	return 0
}

func TestProbesPass(t *testing.T) {
	final, s, broken := run(t, probing(), map[string]containertest.Program{"train": carefully, "serve": wary}, "", caught)
	if final.Status != "Completed" || len(broken) > 0 || len(s.Children) != 8 {
		t.Errorf("%+v %v %v", final, broken, s.Children)
	}
	for _, v := range s.Verdicts {
		if v.Outcome != passed {
			t.Errorf("%+v", v)
		}
	}
	for i, c := range s.Children {
		if (i >= 2) != (c.Probe != "") {
			t.Errorf("%+v", c)
		}
	}
}

// caught tells of processes that have a handler for SIGTERM.
func caught(container.Spec) []container.Process {
	return []container.Process{{PID: 1, Main: true, Command: "train", Term: container.HandlingCaught}}
}

// An image that takes what it should refuse, and does not end, has its probes ended; each has its own rule.
func TestProbesFail(t *testing.T) {
	t.Parallel() // it waits
	stubborn := func(p *containertest.Process) int {
		if config, _ := os.ReadFile(p.Path("/opt/ml/input/config/hyperparameters.json")); strings.Contains(string(config), "not-a-number") {
			<-p.Context.Done() // trains on and on, SIGTERM or not
		}
		if strings.Contains(p.Spec.Job, "probe-stop") {
			<-p.Context.Done()
		}
		return train(p)
	}
	p := probing()
	p.Validation.Probes[0].Limit = job.Duration(100 * time.Millisecond)
	for i := range p.Validation.Probes {
		if x := p.Validation.Probes[i].Plan.Training; x != nil {
			x.Grace = job.Duration(50 * time.Millisecond)
		}
	}
	_, s, broken := run(t, p, map[string]containertest.Program{"train": stubborn, "serve": serve}, "", nil)
	want := []string{"train ends on SIGTERM", "a bad hyperparameter is refused", "an empty channel is refused", "a malformed request is refused"}
	if !slices.Equal(broken, want) {
		t.Errorf("%q, want %q", broken, want)
	}
	for _, v := range s.Verdicts {
		if v.Rule == want[1] && !strings.Contains(v.Evidence, "the training still ran after 100ms") {
			t.Errorf("%+v", v)
		}
	}
}

// Where the profile's jobs do not get far enough, a probe shows nothing and does not run.
func TestProbesThatShowNothing(t *testing.T) {
	_, s, broken := run(t, probing(), map[string]containertest.Program{"serve": serve}, "", nil)
	if want := []string{"train starts"}; !slices.Equal(broken, want) || len(s.Children) != 1 {
		t.Errorf("%q %v", broken, s.Children)
	}
	for _, v := range s.Verdicts {
		if v.Rule == "a bad hyperparameter is refused" && (v.Outcome != notChecked || v.Evidence != "the profile's training did not start") {
			t.Errorf("%+v", v)
		}
	}
}

// A stop ends the probe that runs, and no other begins.
func TestStopWhileProbing(t *testing.T) {
	p := probing()
	root, s3 := t.TempDir(), t.TempDir()
	for _, d := range []string{"/out", "/in"} {
		if err := os.Mkdir(s3+d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(s3+"/in/a.csv", []byte("1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	stores, err := objstore.NewOpener(objstore.Options{S3Dir: s3})
	if err != nil {
		t.Fatal(err)
	}
	o, err := ledger.Create(root, ledger.Request{Plan: p})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	hang := func(x *containertest.Process) int {
		if config, _ := os.ReadFile(x.Path("/opt/ml/input/config/hyperparameters.json")); strings.Contains(string(config), "not-a-number") {
			if err := o.Job().RequestStop(ledger.Stop{Reason: "test"}); err != nil {
				t.Error(err)
			}
			<-x.Signals
			return 0
		}
		return train(x)
	}
	l := containertest.New(map[string]containertest.Image{"algo": {Commands: map[string]containertest.Program{"train": hang, "serve": serve}}})
	final, err := Run(t.Context(), root, o, p, harness.Host{Launcher: l, Images: l, Stores: stores})
	if err != nil {
		t.Fatal(err)
	}
	s := o.State()
	if final.Status != "Failed" || *final.ExitCode != harness.ExitStopped || !strings.Contains(final.FailureReason, "stopped during its probes") || len(s.Children) != 3 {
		t.Errorf("%+v %v", final, s.Children)
	}
	for _, v := range s.Verdicts {
		if v.Outcome == failed {
			t.Errorf("%+v", v)
		}
	}
}

// Each rule is broken by an end-to-end test of its own, and has its line in docs/validation.md.
func TestEachRuleIsBrokenAndTold(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "../test/e2e/rehearsal_test.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	broken := map[string]bool{}
	ast.Inspect(f, func(n ast.Node) bool {
		if kv, ok := n.(*ast.KeyValueExpr); ok {
			if key, ok := kv.Key.(*ast.Ident); ok && key.Name == "rule" {
				if lit, ok := kv.Value.(*ast.BasicLit); ok {
					s, err := strconv.Unquote(lit.Value)
					if err != nil {
						t.Fatal(err)
					}
					broken[s] = true
				}
			}
		}
		return true
	})
	page, err := os.ReadFile("../docs/validation.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rules {
		if !broken[r.id] {
			t.Errorf("test/e2e/rehearsal_test.go has no image that breaks %q", r.id)
		}
		delete(broken, r.id)
		if !strings.Contains(string(page), "| "+r.id+" |") {
			t.Errorf("docs/validation.md has no line for %q", r.id)
		}
	}
	for id := range broken {
		t.Errorf("test/e2e/rehearsal_test.go breaks %q, which is no rule", id)
	}
}
