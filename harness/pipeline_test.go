package harness

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/optml/optml/job"
	"github.com/optml/optml/runtime/container"
	"github.com/optml/optml/runtime/containertest"
)

// hop is a container of a pipeline: it puts its host name, what its model holds and the type it was sent around a request.
func hop(p *containertest.Process) int {
	l, err := p.Listen(p.Getenv("SAGEMAKER_BIND_TO_PORT"))
	if err != nil {
		return 9
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ping":
		case "/invocations":
			b, _ := io.ReadAll(r.Body)
			m, _ := os.ReadFile(p.Path("/opt/ml/model/w"))
			w.Header().Set("Content-Type", "application/x-"+p.Hostname)
			fmt.Fprintf(w, "%s %s %s<%s>", p.Hostname, m, r.Header.Get("Content-Type"), strings.TrimSpace(string(b)))
		default:
			http.NotFound(w, r)
		}
	})}
	go srv.Serve(l)
	defer srv.Close()
	select {
	case <-p.Signals:
		return 0
	case <-p.Context.Done():
		return 1
	}
}

// piped is a plan of n instances of a pipeline of two.
func piped(name string, n int) *job.Plan {
	p := transformPlan(name, "")
	p.Transform.Instances, p.Transform.Models = nil, nil
	for i := range n {
		in := job.Instance{Host: fmt.Sprintf("algo-%d", i+1)}
		for j, host := range []string{"first", "second"} {
			in.Containers = append(in.Containers, job.Container{Name: in.Host + "-" + host, Hostname: host, Image: job.Image{Ref: "algo"}, Args: []string{"serve"},
				Port: 21000 + j, Env: map[string]string{"SAGEMAKER_BIND_TO_PORT": fmt.Sprint(21000 + j)}})
		}
		p.Transform.Instances = append(p.Transform.Instances, in)
	}
	p.Transform.Models = []job.ModelSource{{Container: "algo-1-first", URI: "s3://in/one.tar.gz"}, {Container: "algo-1-second", URI: "s3://in/two.tar.gz"}}
	return p
}

func pipelineImages(p containertest.Program) map[string]containertest.Image {
	all := serving(p)
	algo := all["algo"]
	algo.Labels = map[string]string{"com.amazonaws.sagemaker.capabilities.accept-bind-to-port": "true"}
	all["algo"] = algo
	return all
}

func (b *bench) putModels() {
	b.putModel("in/one.tar.gz", map[string]string{"w": "one"})
	b.putModel("in/two.tar.gz", map[string]string{"w": "two"})
}

// INF-51, INF-54, INF-56: the containers of an instance are in one network, each with its model, log and name; the
// answer of one is the request of the next. Several instances have a pipeline each, and models are staged once.
func TestPipeline(t *testing.T) {
	for _, n := range []int{1, 2} {
		b := newBench(t, pipelineImages(hop))
		b.putModels()
		final, s := b.run(piped("pipe", n))
		if final.Status != "Completed" {
			t.Fatalf("%+v", final)
		}
		if got := b.output("a.csv.out"); got != "second two application/x-first<first one text/csv<1,2>>" {
			t.Errorf("%q", got)
		}
		specs := b.launcher.Launched()
		sources, bridges := map[string]bool{}, map[string]bool{}
		for _, x := range specs {
			first := slices.IndexFunc(specs, func(y container.Spec) bool { return y.ID == x.Network.Of })
			if own := x.Hostname == "first"; own != (x.Network.Of == "") || !own && (specs[first].Hostname != "first" || specs[first].Network.Bridge != x.Network.Bridge) {
				t.Errorf("%+v", x.Network)
			}
			sources[x.Mounts[0].Source], bridges[x.Network.Bridge] = true, true
		}
		if len(specs) != 2*n || len(sources) != 2 || len(bridges) != n || len(s.Containers) != 2*n || len(s.Running()) != 0 {
			t.Errorf("%d containers, models %v, bridges %v; %+v", len(specs), sources, bridges, s.Containers)
		}
		for _, c := range s.Containers {
			if _, err := os.Stat(filepath.Join(b.root, "transform", "pipe", "logs", c.Name+".log")); err != nil {
				t.Errorf("ST-18: %v", err)
			}
		}
	}
}

// INF-52: an image that does not say that it takes its port from the environment is refused, in the service's words.
func TestPipelineLabel(t *testing.T) {
	b := newBench(t, serving(hop))
	b.putModels()
	final, s := b.run(piped("unlabelled", 1))
	want := "ClientError: Your Ecr Image algo does not contain required com.amazonaws.sagemaker.capabilities.accept-bind-to-port=true Docker label(s)."
	if final.FailureReason != want || *final.ExitCode != ExitClient || final.Hint == "" || len(s.Containers) != 0 {
		t.Errorf("%+v", final)
	}
}

// ST-11, ST-12: the container of a pipeline that is at fault is named.
func TestPipelineFaults(t *testing.T) {
	t.Parallel() // it waits
	second := func(f containertest.Program) containertest.Program {
		return func(p *containertest.Process) int {
			if p.Hostname == "second" {
				return f(p)
			}
			return hop(p)
		}
	}
	t.Run("INF-50 on 8080", func(t *testing.T) {
		b := newBench(t, pipelineImages(second(server(200, upper))))
		b.putModels()
		final, _ := b.run(piped("port", 1))
		if !strings.HasPrefix(final.FailureReason, "AlgorithmError: Model container failed to respond to ping.") || !strings.Contains(final.Detail, "second: ") || !strings.Contains(final.Hint, "SAGEMAKER_BIND_TO_PORT") {
			t.Errorf("%+v", final)
		}
	})
	t.Run("INF-65 exits", func(t *testing.T) {
		b := newBench(t, pipelineImages(second(func(*containertest.Process) int { return 4 })))
		b.putModels()
		final, _ := b.run(piped("exits", 1))
		if !strings.HasPrefix(final.FailureReason, "AlgorithmError: ") || !strings.Contains(final.Detail, "container algo-1-second ended with exit code 4") {
			t.Errorf("%+v", final)
		}
	})
	t.Run("INF-20 no model", func(t *testing.T) {
		b := newBench(t, pipelineImages(hop))
		b.putModel("in/one.tar.gz", map[string]string{"w": "one"})
		final, _ := b.run(piped("half", 1))
		if final.FailureReason != "ClientError: Could not find model data at s3://in/two.tar.gz." {
			t.Errorf("%+v", final)
		}
	})
}
