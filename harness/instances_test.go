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
	"github.com/optml/optml/ledger"
	"github.com/optml/optml/runtime/container"
	"github.com/optml/optml/runtime/containertest"
)

// instances gives a transform's plan several instances.
func instances(p *job.Plan, n int) *job.Plan {
	first := p.Transform.Instances[0]
	p.Transform.Instances = nil
	for i := range n {
		c := first.Containers[0]
		c.Name = fmt.Sprintf("algo-%d", i+1)
		c.Hostname = fmt.Sprintf("model-%d", i+1)
		p.Transform.Instances = append(p.Transform.Instances, job.Instance{Host: c.Name, Containers: []job.Container{c}})
	}
	return p
}

// whoami answers with the container's name before the request.
func whoami(p *containertest.Process) int {
	return server(200, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s", p.Spec.Network.Hosts[0], b)
	})(p)
}

func (b *bench) output(key string) string {
	b.t.Helper()
	out, err := os.ReadFile(filepath.Join(b.s3, "out/pred", key))
	if err != nil {
		b.t.Error(err)
	}
	return string(out)
}

// BT-37, BT-38: whole objects are shared out among containers that have a network, a log and a data log each, and one
// model in common.
func TestInstances(t *testing.T) {
	b := newBench(t, serving(whoami))
	b.put("in/train/c.csv", "5,6\n")
	b.put("in/train/d.csv", "7,8\n")
	b.putModel("in/model.tar.gz", map[string]string{"w": "weights"})
	final, s := b.run(instances(transformPlan("three", "s3://in/model.tar.gz"), 3))
	if final.Status != "Completed" {
		t.Fatalf("%+v", final)
	}
	want := map[string]string{"a.csv.out": "algo-1 1,2\n", "c.csv.out": "algo-2 5,6\n", "d.csv.out": "algo-3 7,8\n", "sub/b.csv.out": "algo-1 3,4\n"}
	for key, w := range want {
		if got := b.output(key); got != w {
			t.Errorf("%s: %q, want %q", key, got, w)
		}
	}
	specs := b.launcher.Launched()
	bridges, hosts, models := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, x := range specs {
		bridges[x.Network.Bridge], hosts[x.Hostname] = true, true
		models[x.Mounts[0].Source] = true
		if !x.Mounts[0].ReadOnly || len(x.Network.Hosts) != 1 || !x.Network.Isolated || len(x.Network.Bridge) > 15 {
			t.Errorf("INF-22, INF-44: %+v", x)
		}
	}
	if len(specs) != 3 || len(bridges) != 3 || len(hosts) != 3 || len(models) != 1 {
		t.Errorf("%d containers, bridges %v, host names %v, models %v", len(specs), bridges, hosts, models)
	}
	for _, host := range []string{"algo-1", "algo-2", "algo-3"} {
		log, err := os.ReadFile(filepath.Join(b.root, "transform", "three", "logs", "data-log-"+host+".log"))
		if err != nil || strings.Count(string(log), "MaxConcurrentTransforms=1, ") != 1 {
			t.Errorf("ST-18, ST-20: %s: %q %v", host, log, err)
		}
	}
	x := s.Transform
	if x == nil || x.Objects != 4 || x.Records != 4 || x.Requests != 4 || len(x.Instances) != 3 || x.Instances[0].Objects != 2 || x.Instances[2].Host != "algo-3" {
		t.Errorf("%+v", x)
	}
	if len(s.Containers) != 3 || len(s.Running()) != 0 || len(s.Images) != 1 {
		t.Errorf("%+v %+v", s.Containers, s.Images)
	}
}

// BT-37: instances without a share of the objects idle and are no fault.
func TestInstancesIdle(t *testing.T) {
	b := newBench(t, serving(whoami))
	final, s := b.run(instances(transformPlan("idle", ""), 12))
	if final.Status != "Completed" || s.Transform.Objects != 2 || len(s.Transform.Instances) != 12 || s.Transform.Instances[11].Objects != 0 {
		t.Fatalf("%+v %+v", final, s.Transform)
	}
}

// BT-141: an instance that dies takes its own objects with it, and the others' are there. ST-11, and the sentence says
// which container it was.
func TestInstanceDies(t *testing.T) {
	t.Parallel() // it waits
	b := newBench(t, serving(func(p *containertest.Process) int {
		if p.Spec.Network.Hosts[0] != "algo-2" {
			return whoami(p)
		}
		l, err := p.Listen("8080")
		if err != nil {
			return 9
		}
		died := make(chan struct{})
		go func() {
			_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPost {
					close(died)
					<-r.Context().Done()
				}
			}))
		}()
		select {
		case <-died:
			return 3
		case <-p.Context.Done():
			return 0
		}
	}))
	b.put("in/train/c.csv", "5,6\n")
	p := instances(transformPlan("dies", ""), 2)
	p.Transform.MaxRetries = 0
	final, s := b.run(p)
	if final.FailureReason != "AlgorithmError: See job logs for more information" || *final.ExitCode != ExitAlgorithm || !strings.Contains(final.Detail, "container algo-2 ended with exit code 3") {
		t.Errorf("%+v", final)
	}
	if got := b.objects(); !slices.Equal(got, []string{"out/pred/a.csv.out", "out/pred/sub/b.csv.out"}) {
		t.Errorf("%v", got)
	}
	if len(s.Running()) != 0 || s.Transform.Failed != 1 {
		t.Errorf("%+v %+v", s.Containers, s.Transform)
	}
}

// ST-12: an instance that never answers /ping fails the job, whatever the others do, and nothing is sent.
func TestInstanceNeverReady(t *testing.T) {
	t.Parallel() // it waits
	b := newBench(t, serving(func(p *containertest.Process) int {
		if p.Spec.Network.Hosts[0] == "algo-2" {
			return server(503, upper)(p)
		}
		return whoami(p)
	}))
	final, s := b.run(instances(transformPlan("deaf", ""), 2))
	if !strings.HasPrefix(final.FailureReason, "AlgorithmError: Model container failed to respond to ping.") || !strings.Contains(final.Detail, "algo-2") {
		t.Errorf("%+v", final)
	}
	if len(b.objects()) != 0 || s.Transform.Requests != 0 {
		t.Errorf("%v %+v", b.objects(), s.Transform)
	}
}

// An instance that cannot be made or started ends the others too, and nothing of any is left.
func TestInstanceNotMade(t *testing.T) {
	for _, where := range []string{"create", "start"} {
		b := newBench(t, serving(whoami))
		fail := func(hostname string) error {
			if hostname == "model-2" {
				return fmt.Errorf("no room for %s", hostname)
			}
			return nil
		}
		if where == "create" {
			b.launcher.OnLaunch = func(x container.Spec) error { return fail(x.Hostname) }
		} else {
			b.launcher.OnStart = func(x container.Spec) error { return fail(x.Hostname) }
		}
		final, s := b.run(instances(transformPlan(where, ""), 3))
		if final.Status != "Failed" || !strings.Contains(final.Detail, "no room for model-2") {
			t.Errorf("%s: %+v", where, final)
		}
		if len(s.Running()) != 0 {
			t.Errorf("%s: %+v", where, s.Containers)
		}
	}
}

// INF-22: where the model may be written to, each instance has its own.
func TestInstancesWriteModels(t *testing.T) {
	b := newBench(t, serving(func(p *containertest.Process) int {
		if _, err := os.Stat(p.Path("/opt/ml/model/mine")); err == nil {
			return 9
		}
		write(p, "/opt/ml/model/mine", p.Hostname)
		return whoami(p)
	}))
	p := instances(transformPlan("own", ""), 3)
	p.Transform.ModelWritable = true
	if final, _ := b.run(p); final.Status != "Completed" {
		t.Errorf("%+v", final)
	}
}

// BT-144: a stop ends all instances, and nothing that any has done is left.
func TestInstancesStopped(t *testing.T) {
	asked := make(chan struct{}, 10)
	b := newBench(t, serving(func(p *containertest.Process) int {
		return server(200, func(w http.ResponseWriter, r *http.Request) {
			asked <- struct{}{}
			if p.Spec.Network.Hosts[0] == "algo-2" {
				<-r.Context().Done()
			}
		})(p)
	}))
	p := instances(transformPlan("stopped", ""), 2)
	o := b.create(p)
	defer o.Close()
	go func() {
		<-asked
		<-asked
		_ = o.Job().RequestStop(ledger.Stop{Reason: "test"})
	}()
	final, _ := Run(t.Context(), o, p, b.host)
	if final.Status != "Stopped" || len(b.objects()) != 0 {
		t.Errorf("%+v %v", final, b.objects())
	}
	b.clean(o)
}

// Jobs of any name that the ledger takes make container IDs that the runtime takes, each its own.
func TestContainerID(t *testing.T) {
	seen := map[string]bool{}
	for _, dir := range []string{"/r/transform/My_Job.1", "/r/transform/my-job.1", "/r/transform/" + strings.Repeat("X", 128)} {
		for _, name := range []string{"algo-1", "algo-1-" + strings.Repeat("H", 62) + "a", "algo-1-" + strings.Repeat("H", 62) + "b"} {
			id := containerID(dir, name)
			if len(id) > 76 || strings.Trim(id, "abcdefghijklmnopqrstuvwxyz0123456789.-") != "" || seen[id] {
				t.Errorf("%s of %s: %q", name, dir, id)
			}
			seen[id] = true
		}
	}
}
