package harness

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/optml/optml/ledger"
	"github.com/optml/optml/runtime/container"
	"github.com/optml/optml/runtime/containertest"
)

// fakeGPUs is a host with so many GPUs, which remembers who has them.
type fakeGPUs struct {
	mu     sync.Mutex
	free   []container.GPU
	asked  []container.GPURequest
	images []container.Image
	envs   [][]string
	offer  error
	events []string
}

func newFakeGPUs(n int) *fakeGPUs {
	f := &fakeGPUs{}
	for i := range n {
		f.free = append(f.free, container.GPU{Index: fmt.Sprint(i), UUID: fmt.Sprintf("GPU-%d", i), Name: "fake"})
	}
	return f
}

func (f *fakeGPUs) Take(_ context.Context, r container.GPURequest) (container.TakenGPUs, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, r)
	if len(f.free) < r.Count {
		return nil, &container.GPUError{Text: "training/other holds them", Help: "wait", Capacity: true}
	}
	t := &takenGPUs{f: f, mine: f.free[:r.Count:r.Count]}
	f.free = f.free[r.Count:]
	return t, nil
}

func (f *fakeGPUs) say(what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events = append(f.events, what)
}

type takenGPUs struct {
	f    *fakeGPUs
	mine []container.GPU
}

func (t *takenGPUs) List() []container.GPU { return t.mine }
func (t *takenGPUs) Offer(_ context.Context, some []container.GPU, img container.Image, env []string) (container.GPUOffer, error) {
	t.f.mu.Lock()
	defer t.f.mu.Unlock()
	t.f.images, t.f.envs = append(t.f.images, img), append(t.f.envs, env)
	var names []string
	for _, g := range some {
		names = append(names, g.UUID)
	}
	return container.GPUOffer{
		Edits: json.RawMessage(`{"env":["OF=` + strings.Join(names, ",") + `"]}`), Env: []string{"NVIDIA_VISIBLE_DEVICES=" + strings.Join(names, ",")}, Warnings: []string{"a word"},
	}, t.f.offer
}
func (t *takenGPUs) Readings(some []container.GPU) (all []container.GPUReading) {
	for range some {
		all = append(all, container.GPUReading{Busy: 50, MemoryUsed: 1, MemoryTotal: 4})
	}
	return all
}
func (t *takenGPUs) Close() error { t.f.say("freed"); return nil }

// START-14, training 5.2: a training has its GPUs until its container is gone, and the record says which.
func TestTrainingWithGPUs(t *testing.T) {
	t.Parallel() // it waits
	gpus := newFakeGPUs(4)
	var live ledger.ContainerLive
	b := newBench(t, nil)
	b.launcher.Images = map[string]containertest.Image{"algo": {Env: []string{"NVIDIA_REQUIRE_CUDA=cuda>=12"}, Commands: map[string]containertest.Program{"train": func(p *containertest.Process) int {
		for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			j, err := ledger.Find(b.root, "gpus")
			if err != nil {
				continue
			}
			if s, ok, err := j.Live(); err == nil && ok && len(s.Containers) == 1 && s.Containers[0].GPUPercent != nil {
				live = s.Containers[0]
				return 0
			}
		}
		return 1
	}}}}
	b.launcher.OnClose = func(container.Spec) error { gpus.say("closed"); return nil }
	b.host.GPUs = gpus
	p := trainingPlan("gpus")
	p.Training.Instances[0].GPUs = 2
	p.Training.Instances[0].GPUDevices = []string{"0", "GPU-1"}
	p.Training.Instances[0].Containers[0].Env = map[string]string{"MINE": "yes", "NVIDIA_VISIBLE_DEVICES": "all"}
	final, s := b.run(p)
	if final.Status != "Completed" {
		t.Fatalf("%+v", final)
	}
	if len(gpus.asked) != 1 || gpus.asked[0].Count != 2 || !slices.Equal(gpus.asked[0].Devices, []string{"0", "GPU-1"}) || !strings.HasSuffix(gpus.asked[0].Job, "/training/gpus") {
		t.Errorf("asked for %+v", gpus.asked)
	}
	if !slices.Equal(gpus.images[0].Env, []string{"NVIDIA_REQUIRE_CUDA=cuda>=12"}) || !slices.Contains(gpus.envs[0], "MINE=yes") {
		t.Errorf("image %+v, environment %v", gpus.images[0], gpus.envs)
	}
	spec := b.launcher.Launched()[0]
	if string(spec.Edits) != `{"env":["OF=GPU-0,GPU-1"]}` || spec.Env[len(spec.Env)-1] != "NVIDIA_VISIBLE_DEVICES=GPU-0,GPU-1" { // ENV-4: the service's own holds
		t.Errorf("edits %s, environment %v", spec.Edits, spec.Env)
	}
	if *live.GPUPercent != 100 || *live.GPUMemoryPercent != 50 {
		t.Errorf("live %v, %v", *live.GPUPercent, *live.GPUMemoryPercent)
	}
	if diff := cmp.Diff([]ledger.GPUsOfHost{{Host: "algo-1", GPUs: []ledger.GPU{{Index: "0", UUID: "GPU-0", Name: "fake"}, {Index: "1", UUID: "GPU-1", Name: "fake"}}}}, s.GPUs); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !slices.Contains(s.Warnings, ledger.Warning{Rule: "START-14", Text: "a word"}) {
		t.Errorf("warnings %v", s.Warnings)
	}
	if !slices.Equal(gpus.events, []string{"closed", "freed"}) {
		t.Errorf("%v: a GPU is freed when nothing runs on it any more", gpus.events)
	}
}

// A job that cannot have its GPUs launches nothing and ends in the service's words (END-2).
func TestGPUsThatCannotBeHad(t *testing.T) {
	for name, tc := range map[string]struct {
		gpus   container.GPUs
		offer  error
		reason string
		detail string
	}{
		"others have them":        {newFakeGPUs(1), nil, noCapacity, "training/other holds them"},
		"there are none":          {nil, nil, internalError, "GPUs: this host has none"},
		"the driver is too old":   {newFakeGPUs(2), &container.GPUError{Text: "the image needs CUDA 13"}, "ClientError: the image needs CUDA 13", "the image needs CUDA 13"},
		"the driver's files lack": {newFakeGPUs(2), fmt.Errorf("no nodes"), internalError, "no nodes"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, map[string]containertest.Image{"algo": {Commands: map[string]containertest.Program{"train": func(*containertest.Process) int { return 0 }}}})
			b.host.GPUs = tc.gpus
			if f, ok := tc.gpus.(*fakeGPUs); ok {
				f.offer = tc.offer
			}
			p := trainingPlan("none")
			p.Training.Instances[0].GPUs = 2
			final, _ := b.run(p)
			if final.Status != "Failed" || final.FailureReason != tc.reason || final.Detail != tc.detail || len(b.launcher.Launched()) > 0 {
				t.Errorf("%+v, launched %d", final, len(b.launcher.Launched()))
			}
		})
	}
}

// DIST-8: instances have different GPUs, or the same if they share.
func TestGPUsOfInstances(t *testing.T) {
	for _, shared := range []bool{false, true} {
		gpus := newFakeGPUs(4)
		b := newBench(t, serving(whoami))
		b.host.GPUs = gpus
		p := instances(transformPlan("several", ""), 2)
		for i := range p.Transform.Instances {
			p.Transform.Instances[i].GPUs, p.Transform.Instances[i].SharedGPUs = 2, shared
		}
		final, s := b.run(p)
		if final.Status != "Completed" {
			t.Fatalf("%+v", final)
		}
		want := map[string]string{"algo-1": "GPU-0,GPU-1", "algo-2": "GPU-2,GPU-3"}
		if shared {
			want["algo-2"] = "GPU-0,GPU-1"
		}
		for _, spec := range b.launcher.Launched() {
			host := spec.Network.Hosts[0]
			if string(spec.Edits) != `{"env":["OF=`+want[host]+`"]}` {
				t.Errorf("%s has %s", host, spec.Edits)
			}
		}
		if len(s.GPUs) != 2 || gpus.asked[0].Count != map[bool]int{false: 4, true: 2}[shared] {
			t.Errorf("asked for %+v, on record %+v", gpus.asked, s.GPUs)
		}
	}
}
