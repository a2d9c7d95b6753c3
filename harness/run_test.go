package harness

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/optml/optml/job"
	"github.com/optml/optml/ledger"
	"github.com/optml/optml/objstore"
	"github.com/optml/optml/runtime/container"
	"github.com/optml/optml/runtime/containertest"
)

// bench is a host made of fakes: images are Go functions, S3 is a directory.
type bench struct {
	t        *testing.T
	root, s3 string
	launcher *containertest.Launcher
	host     Host
}

func newBench(t *testing.T, images map[string]containertest.Image) *bench {
	b := &bench{t: t, root: t.TempDir(), s3: t.TempDir(), launcher: containertest.New(images)}
	stores, err := objstore.NewOpener(objstore.Options{S3Dir: b.s3})
	if err != nil {
		t.Fatal(err)
	}
	b.host = Host{Launcher: b.launcher, Images: b.launcher, Stores: stores}
	b.put("in/train/a.csv", "1,2\n")
	b.put("in/train/sub/b.csv", "3,4\n")
	b.mkdir("out")
	return b
}

func (b *bench) mkdir(p string) {
	if err := os.MkdirAll(filepath.Join(b.s3, p), 0o755); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) put(key, body string) {
	b.t.Helper()
	p := filepath.Join(b.s3, key)
	if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, []byte(body), 0o644)); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) objects() []string {
	var keys []string
	for p, err := range walk(b.s3) {
		if err != nil {
			b.t.Fatal(err)
		}
		if strings.HasPrefix(p, "out/") {
			keys = append(keys, p)
		}
	}
	slices.Sort(keys)
	return keys
}

func walk(dir string) func(func(string, error) bool) {
	return func(yield func(string, error) bool) {
		err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			rel, err := filepath.Rel(dir, p)
			if !yield(rel, err) {
				return filepath.SkipAll
			}
			return nil
		})
		if err != nil {
			yield("", err)
		}
	}
}

func trainingPlan(name string) *job.Plan {
	return &job.Plan{Format: 1, Kind: job.KindTraining, Operation: job.CreateTrainingJob, Name: name, ARN: "arn:aws:sagemaker:us-east-1:000000000000:training-job/" + name, Region: "us-east-1",
		Training: &job.Training{
			Instances:       []job.Instance{{Host: "algo-1", Containers: []job.Container{{Name: "algo-1", Image: job.Image{Ref: "algo"}, Args: []string{"train"}, Hostname: "algo-1"}}}},
			Hosts:           []string{"algo-1"},
			InstanceType:    "ml.m5.large",
			HyperParameters: map[string]string{"k": "v"},
			Channels:        []job.Channel{{Name: "train", Mode: "File", Source: job.Source{Type: "S3Prefix", URI: "s3://in/train"}}},
			OutputPath:      "s3://out/", ModelURI: "s3://out/" + name + "/output/model.tar.gz", OutputURI: "s3://out/" + name + "/output/output.tar.gz",
			Isolated: true, MaxRuntime: job.Duration(time.Hour), Grace: job.Duration(2 * time.Second), CreationTime: time.Now(),
		}}
}

func transformPlan(name, modelURI string) *job.Plan {
	return &job.Plan{Format: 1, Kind: job.KindTransform, Operation: job.CreateTransformJob, Name: name, Region: "us-east-1",
		Transform: &job.Transform{
			ModelName:         "m",
			Instances:         []job.Instance{{Host: "algo-1", Containers: []job.Container{{Name: "algo-1", Image: job.Image{Ref: "algo"}, Args: []string{"serve"}, Hostname: "model", Port: 8080}}}},
			Models:            []job.ModelSource{{Container: "algo-1", URI: modelURI}},
			Input:             job.TransformInput{Source: job.Source{Type: "S3Prefix", URI: "s3://in/train"}, ContentType: "text/csv", SplitType: "Line"},
			Output:            job.TransformOutput{Path: "s3://out/pred", AssembleWith: "None"},
			InvocationTimeout: job.Duration(10 * time.Second), PingWindow: job.Duration(3 * time.Second), Grace: job.Duration(2 * time.Second), Isolated: true, CreationTime: time.Now(),
		}}
}

func (b *bench) create(p *job.Plan) *ledger.Owner {
	b.t.Helper()
	o, err := ledger.Create(b.root, ledger.Request{Plan: p})
	if err != nil {
		b.t.Fatal(err)
	}
	return o
}

func (b *bench) run(p *job.Plan) (ledger.Transition, ledger.State) {
	b.t.Helper()
	o := b.create(p)
	defer o.Close()
	final, err := Run(b.t.Context(), o, p, b.host)
	if err != nil {
		b.t.Fatal(err)
	}
	b.clean(o)
	return final, o.State()
}

// clean holds what is true after every run: no container, no scratch, no open intent, an end on record.
func (b *bench) clean(o *ledger.Owner) {
	b.t.Helper()
	s := o.State()
	if live := b.launcher.Live(); len(live) > 0 {
		b.t.Errorf("containers left: %v", live)
	}
	if len(s.Open) > 0 {
		b.t.Errorf("intents left open: %v", s.Open)
	}
	if !s.Final {
		b.t.Errorf("no end on record: %s", s.Status)
	}
	kept := slices.ContainsFunc(s.Uploads, func(u ledger.UploadTotals) bool { return u.Kept != "" })
	if _, err := os.Stat(o.WorkDir()); err == nil && !kept {
		b.t.Errorf("scratch left: %s", o.WorkDir())
	}
}

func algo(train containertest.Program) map[string]containertest.Image {
	return map[string]containertest.Image{"algo": {Commands: map[string]containertest.Program{"train": train}}}
}

func write(p *containertest.Process, path, body string) {
	if err := os.WriteFile(p.Path(path), []byte(body), 0o644); err != nil {
		panic(err)
	}
}

func TestTrainingCompletes(t *testing.T) {
	b := newBench(t, algo(func(p *containertest.Process) int {
		for path, want := range map[string]string{
			"/opt/ml/input/data/train/a.csv": "1,2\n", "/opt/ml/input/data/train/sub/b.csv": "3,4\n",
			"/opt/ml/input/config/hyperparameters.json": `{"k":"v"}`,
		} {
			if got, err := os.ReadFile(p.Path(path)); err != nil || string(got) != want {
				fmt.Fprintf(p.Stderr, "%s: %q %v\n", path, got, err)
				return 9
			}
		}
		fmt.Fprintln(p.Stdout, "epoch 1 loss=0.5")
		fmt.Fprintln(p.Stdout, "epoch 2 loss=0.25")
		write(p, "/opt/ml/model/w.bin", "weights")
		write(p, "/opt/ml/output/data/extra", "x")
		return 0
	}))
	p := trainingPlan("ok")
	p.Training.Metrics = []job.MetricDefinition{{Name: "loss", Regex: `loss=([0-9.]+)`}}
	final, s := b.run(p)
	if final.Status != "Completed" || *final.ExitCode != 0 {
		t.Fatalf("%+v", final)
	}
	if got, want := b.objects(), []string{"out/ok/output/model.tar.gz", "out/ok/output/output.tar.gz"}; !slices.Equal(got, want) {
		t.Errorf("OUT-1, OUT-2: %v", got)
	}
	if len(s.Metrics) != 1 || s.Metrics[0].Value != 0.25 || s.Metrics[0].Count != 2 {
		t.Errorf("MET-8: %+v", s.Metrics)
	}
	if len(s.Channels) != 1 || s.Channels[0].Bytes != 8 || s.Channels[0].Objects != 2 {
		t.Errorf("channels: %+v", s.Channels)
	}
	var seq []string
	for _, x := range s.Transitions {
		seq = append(seq, x.Status)
	}
	if want := []string{"Starting", "Downloading", "Training", "Uploading", "Completed"}; !slices.Equal(seq, want) {
		t.Errorf("training 6.1: %v", seq)
	}
	for _, step := range s.Steps {
		if step.End.IsZero() || step.Error != "" {
			t.Errorf("step %+v", step)
		}
	}
}

func TestTrainingFails(t *testing.T) {
	t.Parallel() // it waits
	t.Run("OUT-5 artifacts of a failed job are uploaded", func(t *testing.T) {
		b := newBench(t, algo(func(p *containertest.Process) int {
			write(p, "/opt/ml/model/half", "x")
			write(p, "/opt/ml/output/failure", "bad data")
			return 3
		}))
		final, _ := b.run(trainingPlan("three"))
		if final.FailureReason != "AlgorithmError: bad data, exit code: 3" || *final.ExitCode != ExitAlgorithm {
			t.Errorf("%+v", final)
		}
		if got := b.objects(); !slices.Equal(got, []string{"out/three/output/model.tar.gz"}) {
			t.Errorf("%v", got)
		}
	})
	t.Run("START-2 no train", func(t *testing.T) {
		b := newBench(t, map[string]containertest.Image{"algo": {}})
		final, s := b.run(trainingPlan("none"))
		if !strings.HasPrefix(final.FailureReason, "AlgorithmError: ") || !strings.HasSuffix(final.FailureReason, "exit code: 127") || final.Hint == "" {
			t.Errorf("%+v", final)
		}
		if len(s.Uploads) != 0 {
			t.Errorf("uploads of a container that never started: %+v", s.Uploads)
		}
	})
	t.Run("END-3 OOM", func(t *testing.T) {
		b := newBench(t, algo(func(p *containertest.Process) int { p.OOM(); return 0 }))
		if final, _ := b.run(trainingPlan("oom")); final.FailureReason != outOfMemory {
			t.Errorf("%+v", final)
		}
	})
	t.Run("no image", func(t *testing.T) {
		b := newBench(t, nil)
		if final, _ := b.run(trainingPlan("noimage")); final.FailureReason != cannotPull || *final.ExitCode != ExitImage {
			t.Errorf("%+v", final)
		}
	})
	t.Run("empty channel", func(t *testing.T) {
		b := newBench(t, algo(func(*containertest.Process) int { return 0 }))
		p := trainingPlan("empty")
		p.Training.Channels[0].Source.URI = "s3://in/nothing"
		final, _ := b.run(p)
		if !strings.Contains(final.FailureReason, `No S3 objects found under S3 URL "s3://in/nothing"`) || *final.ExitCode != ExitClient {
			t.Errorf("%+v", final)
		}
	})
	t.Run("the upload fails: the model is kept", func(t *testing.T) {
		b := newBench(t, algo(func(p *containertest.Process) int { write(p, "/opt/ml/model/w", "x"); return 0 }))
		b.put("out/kept", "a file where a directory is needed")
		final, s := b.run(trainingPlan("kept"))
		if !strings.HasPrefix(final.FailureReason, "ClientError: Artifact upload failed:") || *final.ExitCode != ExitClient {
			t.Errorf("%+v", final)
		}
		i := slices.IndexFunc(s.Uploads, func(u ledger.UploadTotals) bool { return u.Artifact == "model" })
		if i < 0 {
			t.Fatal("no record of the model")
		}
		if b, err := os.ReadFile(filepath.Join(s.Uploads[i].Kept, "w")); err != nil || string(b) != "x" {
			t.Errorf("%q %v", b, err)
		}
	})
	t.Run("a hole in the isolation starts nothing", func(t *testing.T) {
		b := newBench(t, algo(func(*containertest.Process) int { panic("started") }))
		b.host.Launcher = holey{b.launcher}
		if final, _ := b.run(trainingPlan("hole")); *final.ExitCode != ExitHost || !strings.Contains(final.Detail, "network isolation") {
			t.Errorf("%+v", final)
		}
	})
}

// holey launches open containers where isolated ones are asked for.
type holey struct{ *containertest.Launcher }

func (h holey) Launch(ctx context.Context, s container.Spec) (container.Task, error) {
	s.Network.Isolated = false
	return h.Launcher.Launch(ctx, s)
}

func TestStop(t *testing.T) {
	t.Parallel() // it waits
	started := make(chan struct{}, 1)
	obedient := func(p *containertest.Process) int {
		started <- struct{}{}
		select {
		case s := <-p.Signals:
			write(p, "/opt/ml/model/checkpoint", s.String())
			return 143
		case <-p.Context.Done():
			return 1
		}
	}
	deaf := func(p *containertest.Process) int {
		started <- struct{}{}
		<-p.Context.Done()
		return 1
	}
	stopWhenStarted := func(o *ledger.Owner, kill bool) {
		<-started
		_ = o.Job().RequestStop(ledger.Stop{Reason: "test", Kill: kill})
	}
	t.Run("STOP-1 SIGTERM, then artifacts", func(t *testing.T) {
		b := newBench(t, algo(obedient))
		p := trainingPlan("stop")
		o := b.create(p)
		defer o.Close()
		go stopWhenStarted(o, false)
		final, err := Run(t.Context(), o, p, b.host)
		if err != nil || final.Status != "Stopped" || *final.ExitCode != ExitStopped || final.FailureReason != "" {
			t.Errorf("%+v %v", final, err)
		}
		if got := b.objects(); !slices.Equal(got, []string{"out/stop/output/model.tar.gz"}) {
			t.Errorf("STOP-3: %v", got)
		}
		b.clean(o)
	})
	t.Run("STOP-1 SIGKILL after the grace", func(t *testing.T) {
		b := newBench(t, algo(deaf))
		p := trainingPlan("deaf")
		p.Training.Grace = job.Duration(50 * time.Millisecond)
		o := b.create(p)
		defer o.Close()
		go stopWhenStarted(o, false)
		final, _ := Run(t.Context(), o, p, b.host)
		s := o.State()
		if final.Status != "Stopped" || len(s.Containers) != 1 || s.Containers[0].Exited == nil || s.Containers[0].Exited.Code != 137 {
			t.Errorf("%+v %+v", final, s.Containers)
		}
		b.clean(o)
	})
	t.Run("a second request kills at once", func(t *testing.T) {
		b := newBench(t, algo(deaf))
		p := trainingPlan("twice")
		p.Training.Grace = job.Duration(time.Hour)
		o := b.create(p)
		defer o.Close()
		stops := make(chan ledger.Stop, 2)
		b.host.Stops = stops
		go func() {
			<-started
			stops <- ledger.Stop{Reason: "interrupted"}
			stops <- ledger.Stop{Reason: "interrupted again", Kill: true}
		}()
		if final, _ := Run(t.Context(), o, p, b.host); final.Status != "Stopped" {
			t.Errorf("%+v", final)
		}
		b.clean(o)
	})
	t.Run("STOP-2 MaxRuntimeInSeconds", func(t *testing.T) {
		b := newBench(t, algo(obedient))
		p := trainingPlan("long")
		p.Training.MaxRuntime = job.Duration(100 * time.Millisecond)
		final, s := b.run(p)
		<-started
		if final.Status != "Stopped" || s.Secondary != "MaxRuntimeExceeded" {
			t.Errorf("%+v", final)
		}
	})
	t.Run("STOP-3 a stop while the process is being started", func(t *testing.T) {
		b := newBench(t, algo(obedient))
		p := trainingPlan("starting")
		o := b.create(p)
		defer o.Close()
		stops := make(chan ledger.Stop, 1)
		b.host.Stops = stops
		b.launcher.OnStart = func(container.Spec) error {
			stops <- ledger.Stop{Reason: "test"}
			time.Sleep(100 * time.Millisecond) // until it is seen
			return nil
		}
		go func() { <-started }()
		final, _ := Run(t.Context(), o, p, b.host)
		if final.Status != "Stopped" || !slices.Equal(b.objects(), []string{"out/starting/output/model.tar.gz"}) {
			t.Errorf("%+v %v", final, b.objects())
		}
		b.clean(o)
	})
	t.Run("STOP-7 during Downloading nothing was started", func(t *testing.T) {
		b := newBench(t, algo(func(*containertest.Process) int { panic("started") }))
		p := trainingPlan("early")
		o := b.create(p)
		defer o.Close()
		b.launcher.OnEnsure = func(string, container.Pull) error {
			_ = o.Job().RequestStop(ledger.Stop{Reason: "test"})
			time.Sleep(time.Second) // until it is seen
			return nil
		}
		final, _ := Run(t.Context(), o, p, b.host)
		if s := o.State(); final.Status != "Stopped" || len(s.Containers) != 0 || len(s.Uploads) != 0 {
			t.Errorf("%+v %+v", final, s)
		}
		b.clean(o)
	})
}

// server is an inference container.
func server(ping int, invoke http.HandlerFunc) containertest.Program {
	return func(p *containertest.Process) int {
		l, err := p.Listen("8080")
		if err != nil {
			panic(err)
		}
		mux := http.NewServeMux()
		mux.HandleFunc("GET /ping", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(ping) })
		mux.HandleFunc("POST /invocations", invoke)
		srv := &http.Server{Handler: mux}
		go srv.Serve(l)
		defer srv.Close()
		select {
		case <-p.Signals:
			return 0
		case <-p.Context.Done():
			return 1
		}
	}
}

func serving(p containertest.Program) map[string]containertest.Image {
	return map[string]containertest.Image{"algo": {Commands: map[string]containertest.Program{"serve": p}}}
}

func upper(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	_, _ = w.Write(bytes.ToUpper(bytes.ReplaceAll(b, []byte(","), []byte("a"))))
}

func (b *bench) putModel(key string, members map[string]string) {
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	w := tar.NewWriter(z)
	for _, name := range slices.Sorted(maps.Keys(members)) {
		body := members[name]
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(body))}); err != nil {
			b.t.Fatal(err)
		}
		_, _ = w.Write([]byte(body))
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		b.t.Fatal(err)
	}
	b.put(key, buf.String())
}

func TestTransform(t *testing.T) {
	t.Parallel() // it waits
	t.Run("BT-131 completes", func(t *testing.T) {
		var model string
		b := newBench(t, serving(func(p *containertest.Process) int {
			m, _ := os.ReadFile(p.Path("/opt/ml/model/w"))
			model = string(m)
			return server(200, upper)(p)
		}))
		b.putModel("in/model.tar.gz", map[string]string{"w": "weights"})
		final, s := b.run(transformPlan("t", "s3://in/model.tar.gz"))
		if final.Status != "Completed" || model != "weights" {
			t.Fatalf("%+v model %q", final, model)
		}
		if got := b.objects(); !slices.Equal(got, []string{"out/pred/a.csv.out", "out/pred/sub/b.csv.out"}) {
			t.Errorf("%v", got)
		}
		if out, _ := os.ReadFile(filepath.Join(b.s3, "out/pred/a.csv.out")); string(out) != "1A2\n" {
			t.Errorf("%q", out)
		}
		if s.Transform == nil || s.Transform.Objects != 2 || s.Transform.Records != 2 || s.Transform.BatchStrategy != "MULTI_RECORD" {
			t.Errorf("%+v", s.Transform)
		}
		log, err := os.ReadFile(filepath.Join(b.root, "transform", "t", "logs", "data-log.log"))
		if err != nil || !strings.Contains(string(log), "MaxConcurrentTransforms=1, MaxPayloadInMB=6, BatchStrategy=MULTI_RECORD") {
			t.Errorf("ST-18, ST-20: %q %v", log, err)
		}
	})
	t.Run("ST-12 /ping never 200", func(t *testing.T) {
		b := newBench(t, serving(server(503, upper)))
		final, _ := b.run(transformPlan("noping", ""))
		if !strings.HasPrefix(final.FailureReason, "AlgorithmError: Model container failed to respond to ping.") || *final.ExitCode != ExitAlgorithm || final.Hint == "" {
			t.Errorf("%+v", final)
		}
	})
	t.Run("ST-11 /invocations 500", func(t *testing.T) {
		b := newBench(t, serving(server(200, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", 500) })))
		final, _ := b.run(transformPlan("bad", ""))
		if final.FailureReason != "AlgorithmError: See job logs for more information" || *final.ExitCode != ExitAlgorithm {
			t.Errorf("%+v", final)
		}
		if got := b.objects(); len(got) != 0 {
			t.Errorf("BT-140: %v", got)
		}
	})
	t.Run("INF-20 no model", func(t *testing.T) {
		b := newBench(t, serving(server(200, upper)))
		final, _ := b.run(transformPlan("nomodel", "s3://in/absent.tar.gz"))
		if final.FailureReason != "ClientError: Could not find model data at s3://in/absent.tar.gz." || *final.ExitCode != ExitClient {
			t.Errorf("%+v", final)
		}
	})
	t.Run("INF-31 a model that climbs", func(t *testing.T) {
		b := newBench(t, serving(server(200, upper)))
		b.putModel("in/evil.tar.gz", map[string]string{"../evil": "x"})
		final, _ := b.run(transformPlan("evil", "s3://in/evil.tar.gz"))
		if !strings.Contains(final.FailureReason, "../evil") || *final.ExitCode != ExitClient {
			t.Errorf("%+v", final)
		}
	})
	t.Run("BT-144 stopped: no .out is left", func(t *testing.T) {
		asked := make(chan struct{}, 10)
		b := newBench(t, serving(server(200, func(w http.ResponseWriter, r *http.Request) {
			asked <- struct{}{}
			<-r.Context().Done()
		})))
		p := transformPlan("stopped", "")
		o := b.create(p)
		defer o.Close()
		go func() {
			<-asked
			_ = o.Job().RequestStop(ledger.Stop{Reason: "test"})
		}()
		final, _ := Run(t.Context(), o, p, b.host)
		if final.Status != "Stopped" || len(b.objects()) != 0 {
			t.Errorf("%+v %v", final, b.objects())
		}
		b.clean(o)
	})
}

// reaper is what is left of a host whose owner died: the fake has no containers beyond its process.
type reaper struct{ killed, swept []string }

func (r *reaper) KillJob(_ context.Context, dir string) error {
	r.killed = append(r.killed, dir)
	return nil
}

func (r *reaper) Sweep(_ context.Context, alive func(string) bool) error {
	for _, dir := range r.killed {
		if !alive(dir) {
			r.swept = append(r.swept, dir)
		}
	}
	return nil
}

func TestRecover(t *testing.T) {
	// orphan makes a training whose owner died after the steps that f records.
	orphan := func(b *bench, name string, f func(*ledger.Owner, container.Tree)) *job.Plan {
		p := trainingPlan(name)
		o := b.create(p)
		tree := container.Tree{Root: filepath.Join(o.WorkDir(), "algo-1")}
		if err := tree.Make(false); err != nil {
			b.t.Fatal(err)
		}
		f(o, tree)
		if err := o.Close(); err != nil {
			b.t.Fatal(err)
		}
		return p
	}
	recoverAll := func(b *bench) (map[string]ledger.Transition, *reaper) {
		r := &reaper{}
		done, err := Recover(b.t.Context(), b.root, b.host, r)
		if err != nil {
			b.t.Fatal(err)
		}
		m := map[string]ledger.Transition{}
		for _, d := range done {
			m[d.Name] = d.Final
		}
		return m, r
	}
	app := func(o *ledger.Owner, bodies ...ledger.Body) {
		for _, x := range bodies {
			if err := o.At("algo-1", "wait").Append(x); err != nil {
				panic(err)
			}
		}
	}
	b := newBench(t, nil)
	orphan(b, "prepared", func(o *ledger.Owner, _ container.Tree) {
		app(o, ledger.StepBegan{}, ledger.Intent{Kind: "container", ID: "x"})
	})
	orphan(b, "running", func(o *ledger.Owner, tree container.Tree) {
		app(o, ledger.Started{Container: "algo-1"}, ledger.StepBegan{})
		_ = os.WriteFile(filepath.Join(tree.Model(), "w"), []byte("x"), 0o644)
	})
	orphan(b, "unrecorded", func(o *ledger.Owner, tree container.Tree) { // its owner died between the start and its record
		app(o, ledger.StepBegan{})
		_ = os.WriteFile(filepath.Join(tree.Model(), "w"), []byte("x"), 0o644)
	})
	orphan(b, "exited", func(o *ledger.Owner, tree container.Tree) {
		app(o, ledger.Started{Container: "algo-1"}, ledger.Exited{Container: "algo-1"})
		_ = os.WriteFile(filepath.Join(tree.Model(), "w"), []byte("x"), 0o644)
	})
	orphan(b, "exited3", func(o *ledger.Owner, tree container.Tree) {
		app(o, ledger.Started{Container: "algo-1"}, ledger.Exited{Container: "algo-1", Code: 3})
		_ = os.WriteFile(tree.Failure(), []byte("why"), 0o644)
	})
	orphan(b, "stopping", func(o *ledger.Owner, tree container.Tree) {
		app(o, ledger.Started{Container: "algo-1"}, ledger.Transition{Status: "Stopping", Secondary: "Stopping"}, ledger.Exited{Container: "algo-1", Code: 143})
	})
	orphan(b, "overdue", func(o *ledger.Owner, tree container.Tree) {
		app(o, ledger.Started{Container: "algo-1"}, ledger.Transition{Status: "Stopping", Secondary: "Stopping", Detail: MaxRuntimeExceeded{time.Minute}.Error()},
			ledger.Exited{Container: "algo-1", Code: 143})
	})
	live := b.create(trainingPlan("live"))
	defer live.Close()
	// Who recovers has other stores than the jobs were given.
	theirs := b.host.Stores
	b.host.Stores = nil
	b.host.StoresOf = func(*ledger.Job) (objstore.Opener, error) { return theirs, nil }

	got, r := recoverAll(b)
	for name, want := range map[string]struct{ status, reason string }{
		"prepared":   {"Failed", internalError},
		"running":    {"Failed", internalError}, // D11: an exit that no owner saw is never Completed
		"unrecorded": {"Failed", internalError},
		"exited":     {"Completed", ""},
		"exited3":    {"Failed", "AlgorithmError: why, exit code: 3"},
		"stopping":   {"Stopped", ""},
		"overdue":    {"Stopped", ""},
	} {
		if g, ok := got[name]; !ok || g.Status != want.status || g.FailureReason != want.reason {
			t.Errorf("%s: %+v", name, g)
		}
		j, err := ledger.Find(b.root, name)
		if err != nil {
			t.Fatal(err)
		}
		s, err := j.State()
		if err != nil || !s.Final || len(s.Open) != 0 {
			t.Errorf("%s: %v %+v", name, err, s)
		}
		if _, err := os.Stat(j.WorkDir()); err == nil {
			t.Errorf("%s: scratch left", name)
		}
	}
	if got["overdue"].Secondary != "MaxRuntimeExceeded" {
		t.Errorf("overdue: %+v", got["overdue"])
	}
	if _, ok := got["live"]; ok {
		t.Error("ruling 1: a live job was touched")
	}
	if want := []string{"out/exited/output/model.tar.gz", "out/running/output/model.tar.gz", "out/unrecorded/output/model.tar.gz"}; !slices.Equal(b.objects(), want) {
		t.Errorf("no artifact may be lost: %v", b.objects())
	}
	if len(r.killed) != 7 || len(r.swept) != 7 {
		t.Errorf("killed %v swept %v", r.killed, r.swept)
	}
	if again, _ := recoverAll(b); len(again) != 0 {
		t.Errorf("recovered twice: %v", again)
	}
}

func TestTransformInputs(t *testing.T) {
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write([]byte("1,2\n"))
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	echo := func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		_, _ = w.Write(b)
	}
	const single = "SingleRecord"
	for _, c := range []struct {
		name   string
		change func(*job.Transform)
		key    string
		body   string
		want   map[string]string
	}{
		{"BT-40 Gzip", func(x *job.Transform) { x.Input.Compression = "Gzip" }, "z/x.csv.gz", zipped.String(), map[string]string{"out/pred/x.csv.gz.out": "1,2\n"}},
		{"BT-70 RecordIO unwrapped", func(x *job.Transform) { x.Input.SplitType, x.BatchStrategy = "RecordIO", new(single) }, "z/x.rec",
			"\x0a\x23\xd7\xce\x05\x00\x00\x00hello\x00\x00\x00", map[string]string{"out/pred/x.rec.out": "hello"}},
		{"BT-70 TFRecord unwrapped", func(x *job.Transform) { x.Input.SplitType, x.BatchStrategy = "TFRecord", new(single) }, "z/x.tfrecord",
			"\x05\x00\x00\x00\x00\x00\x00\x00\xea\xb2\x04\x3ehello\xbb\x1f\x1c\x19", map[string]string{"out/pred/x.tfrecord.out": "hello"}},
		{"BT-31, BT-136 manifest", func(x *job.Transform) {
			x.Input.Source = job.Source{Type: "ManifestFile", URI: "s3://in/z/manifest.json"}
		}, "z/manifest.json",
			`[{"prefix":"s3://in/train/"},"sub/b.csv","a.csv"]`, map[string]string{"out/pred/a.csv.out": "1,2\n", "out/pred/sub/b.csv.out": "3,4\n"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, serving(server(200, echo)))
			b.put("in/"+c.key, c.body)
			p := transformPlan("t", "")
			p.Transform.Input.Source.URI = "s3://in/z/"
			c.change(p.Transform)
			if final, _ := b.run(p); final.Status != "Completed" {
				t.Fatalf("%+v", final)
			}
			if got, want := b.objects(), slices.Sorted(maps.Keys(c.want)); !slices.Equal(got, want) {
				t.Errorf("objects %v, want %v", got, want)
			}
			for key, want := range c.want {
				if got, err := os.ReadFile(filepath.Join(b.s3, key)); err != nil || string(got) != want {
					t.Errorf("%s: %q %v, want %q", key, got, err, want)
				}
			}
		})
	}
}

// FILE-9: a manifest's suffixes are the paths below the channel's directory.
func TestFILE9ManifestChannel(t *testing.T) {
	b := newBench(t, algo(func(p *containertest.Process) int {
		if got, err := os.ReadFile(p.Path("/opt/ml/input/data/train/sub/b.csv")); err != nil || string(got) != "3,4\n" {
			return 9
		}
		if _, err := os.Stat(p.Path("/opt/ml/input/data/train/a.csv")); err == nil {
			return 8
		}
		return 0
	}))
	b.put("in/m.json", `[{"prefix":"s3://in/train/"},"sub/b.csv"]`)
	p := trainingPlan("manifest")
	p.Training.Channels[0].Source = job.Source{Type: "ManifestFile", URI: "s3://in/m.json"}
	if final, _ := b.run(p); final.Status != "Completed" {
		t.Fatalf("%+v", final)
	}
}
