//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/optml/optml/ledger"
	hostgpu "github.com/optml/optml/runtime/gpu"
	"github.com/optml/optml/test/gpu"
	"github.com/optml/optml/test/images"
)

// driver is a driver with 8 GPUs that nothing is behind, as the environment of command lines. Its UUIDs are this test's
// alone: locks are the host's.
type driver struct {
	env  []string
	salt uint32
}

var salts = uint32(os.Getpid()) << 8

func fakeDriver(t *testing.T, defines ...string) driver {
	t.Helper()
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("there is no gcc to make NVIDIA's library with")
	}
	root := t.TempDir()
	if err := gpu.Driver(root, 8, defines...); err != nil {
		t.Fatal(err)
	}
	salts++
	d := driver{gpu.Env(root, salts, 8), salts}
	if inv := d.inventory(t); inv.Absent == hostgpu.WithoutHelper {
		t.Skip(inv.Absent)
	}
	t.Cleanup(func() {
		if left, _ := filepath.Glob(fmt.Sprintf("/run/optml-gpus/GPU-%08x-*", d.salt)); len(left) > 0 {
			t.Errorf("locks are left: %v", left)
		}
	})
	return d
}

func (d driver) inventory(t *testing.T) hostgpu.Inventory {
	t.Helper()
	return decode[hostgpu.Inventory](t, []byte(d.run(t, 0, "gpus", "--output", "json").stdout))
}

func (d driver) run(t *testing.T, code int, args ...string) result {
	t.Helper()
	r := begin(t, d.env, args...).wait(t)
	if r.code != code {
		t.Fatalf("exit code %d, want %d\n%s", r.code, code, r)
	}
	return r
}

// holds are the indices of the GPUs that a job has.
func (d driver) holds(t *testing.T, job string) []string {
	t.Helper()
	var held []string
	for _, g := range d.inventory(t).GPUs {
		if g.Holder != nil && g.Holder.Job == "training/"+job {
			held = append(held, g.Index)
		}
	}
	return held
}

// nvidia are the device nodes that a container saw.
func nvidia(l layout) []string {
	return slices.DeleteFunc(slices.Clone(l.Devices), func(n string) bool { return !strings.HasPrefix(n, "nvidia") })
}

// nodes are the device nodes that a container with these GPUs has.
func nodes(minors ...int) []string {
	all := []string{"nvidia-modeset", "nvidia-uvm", "nvidia-uvm-tools", "nvidiactl"}
	for _, m := range minors {
		all = append(all, fmt.Sprintf("nvidia%d", m))
	}
	slices.Sort(all)
	return all
}

// saw holds what a container was given: these GPUs and no others.
func (d driver) saw(t *testing.T, job string, minors ...int) layout {
	t.Helper()
	l := decode[layout](t, modelOf(t, job)["layout.json"])
	if diff := cmp.Diff(nodes(minors...), nvidia(l)); diff != "" {
		t.Errorf("%s saw other device nodes (-want +got):\n%s", job, diff)
	}
	var uuids []string
	for _, m := range minors {
		uuids = append(uuids, gpu.UUID(d.salt, m))
	}
	if got, _ := l.env("NVIDIA_VISIBLE_DEVICES"); got != strings.Join(uuids, ",") {
		t.Errorf("%s: NVIDIA_VISIBLE_DEVICES is %q, want %v", job, got, uuids)
	}
	if got, _ := l.env("LD_LIBRARY_PATH"); got != "/usr/local/nvidia/lib64" {
		t.Errorf("%s: LD_LIBRARY_PATH is %q", job, got)
	}
	for _, lib := range []string{"/usr/local/nvidia/lib64/libcuda.so.1", "/usr/local/nvidia/lib64/libnvidia-ml.so.1", "/usr/lib/x86_64-linux-gnu/libcuda.so." + gpu.Version} {
		if !slices.ContainsFunc(l.Mounts, func(m struct {
			Target, Type, Source string
			ReadOnly             bool `json:"read_only"`
		}) bool {
			return m.Target == lib && m.ReadOnly
		}) {
			t.Errorf("%s: %s is not mounted read-only", job, lib)
		}
	}
	if l.MemLock[0] < 1<<40 { // START-13: no limit, where the host allows it
		var r syscall.Rlimit
		const memlock = 8
		if syscall.Getrlimit(memlock, &r) != nil || l.MemLock[0] < r.Max {
			t.Errorf("%s: memlock is %v", job, l.MemLock)
		}
	}
	return l
}

// TestGPUsAreShared holds that jobs of 3 and 5 of 8 GPUs share none, that a third is refused with the names of who holds
// them, that kill -9 of an owner frees what it held, that a container sees those of its job alone (START-14), and that
// the instance metrics have them (training 5.2).
func TestGPUsAreShared(t *testing.T) {
	sameHost(t)
	d := fakeDriver(t)
	if inv := d.inventory(t); len(inv.GPUs) != 8 || inv.Driver != gpu.Version || inv.CUDA != "12.4" || inv.GPUs[7].UUID != gpu.UUID(d.salt, 7) ||
		inv.GPUs[7].ComputeCapability != "9.0" || inv.GPUs[0].MemoryTotal != 1e9 || *inv.GPUs[1].Busy != 20 {
		t.Fatalf("inventory %+v", inv)
	}
	three, five, third, one := jobName("three"), jobName("five"), jobName("third"), jobName("one")
	a := begin(t, d.env, "train", "--quiet", "--gpus", "3", training(three, "sleep", "1h", "sigterm", "ignore").file(t))
	running(t, three)
	b := begin(t, d.env, "train", "--quiet", "--gpus", "5", training(five, "layout", "dump", "sleep", "1h", "sigterm", "exit").file(t))
	running(t, five)
	if a, b := d.holds(t, three), d.holds(t, five); !slices.Equal(a, []string{"0", "1", "2"}) || !slices.Equal(b, []string{"3", "4", "5", "6", "7"}) {
		t.Errorf("%s has %v, %s has %v", three, a, five, b)
	}
	text := d.run(t, 0, "gpus").stdout
	if n := strings.Count(text, "training/"+five); n != 5 {
		t.Errorf("%s is named %d times in\n%s", five, n, text)
	}

	wanted := training(third).file(t)
	r := d.run(t, 7, "train", "--quiet", "--gpus", "1", wanted)
	for _, want := range []string{"1 GPU is wanted, and 0 of 8 are free", "training/" + three + " holds 0, 1, 2", "training/" + five + " holds 3, 4, 5, 6, 7", "hint: wait for their end"} {
		if !strings.Contains(r.stderr, want) {
			t.Errorf("%q is not in\n%s", want, r.stderr)
		}
	}
	if _, err := recorded(third); err == nil {
		t.Error("a job that could not have its GPUs was made")
	}
	if r := d.run(t, 7, "train", "--quiet", "--device", "nvidia.com/gpu=4", wanted); !strings.Contains(r.stderr, "not all of the named GPUs are free: training/"+five+" holds 4") {
		t.Error(r)
	}
	// The metrics of 5.2: sums over the GPUs. 40+50+60+70+80 percent, and five times a quarter of the memory.
	var live ledger.ContainerLive
	eventually(t, "the GPUs of "+five+" to be measured", func() bool {
		j, err := ledger.Find(filepath.Join(w.root, "jobs"), five)
		if err != nil {
			return false
		}
		s, ok, err := j.Live()
		if err == nil && ok && len(s.Containers) == 1 {
			live = s.Containers[0]
		}
		return live.GPUPercent != nil
	})
	if *live.GPUPercent != 300 || live.GPUMemoryPercent == nil || *live.GPUMemoryPercent != 125 {
		t.Errorf("GPUUtilization %v, GPUMemoryUtilization %v", *live.GPUPercent, live.GPUMemoryPercent)
	}

	if err := a.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	a.wait(t)
	d.run(t, 0, "train", "--quiet", "--gpus", `"device=2,0"`, training(one, "layout", "dump").file(t))
	d.saw(t, one, 2, 0)
	if s := record(t, one); len(s.GPUs) != 1 || s.GPUs[0].GPUs[0] != (ledger.GPU{Index: "2", UUID: gpu.UUID(d.salt, 2), Name: "Fake H200"}) {
		t.Errorf("on record: %+v", s.GPUs)
	}
	if text := d.run(t, 0, "describe", one).stdout; !strings.Contains(text, "algo-1: 2 Fake H200 ("+gpu.UUID(d.salt, 2)+")") {
		t.Errorf("describe does not name the GPU:\n%s", text)
	}
	d.run(t, 0, "stop", five)
	if r := b.wait(t); r.code != 6 {
		t.Error(r)
	}
	d.saw(t, five, 3, 4, 5, 6, 7)
	d.run(t, 0, "prune")
	for _, g := range d.inventory(t).GPUs {
		if g.Holder != nil {
			t.Errorf("GPU %s is held by %s", g.Index, g.Holder.Job)
		}
	}
	// Without GPUs nothing of them is in the container.
	none := jobName("none")
	d.run(t, 0, "train", "--quiet", training(none, "layout", "dump").file(t))
	l := decode[layout](t, modelOf(t, none)["layout.json"])
	if v, _ := l.env("NVIDIA_VISIBLE_DEVICES"); v != "void" || len(nvidia(l)) != 0 {
		t.Errorf("NVIDIA_VISIBLE_DEVICES is %q, nodes %v", v, nvidia(l))
	}
}

// TestGPUsOfTheType: the instance type says how many (ruling 14), the instances of a transform have different ones or, on
// request, the same (DIST-8), and a detached owner holds them.
func TestGPUsOfTheType(t *testing.T) {
	sameHost(t)
	d := fakeDriver(t)
	put(t, "data", "gpus/a.csv", "a\n", "gpus/b.csv", "b\n")
	of := func(name string) (got [][]string) {
		for _, h := range record(t, name).GPUs {
			var all []string
			for _, g := range h.GPUs {
				all = append(all, g.Index)
			}
			got = append(got, all)
		}
		return got
	}
	typed := jobName("typed")
	doc4 := training(typed, "sleep", "1h", "sigterm", "exit")
	doc4["ResourceConfig"] = doc{"InstanceType": "ml.g4dn.12xlarge", "InstanceCount": 1, "VolumeSizeInGB": 1}
	d.run(t, 0, "train", "--detach", doc4.file(t))
	running(t, typed)
	if got := d.holds(t, typed); !slices.Equal(got, []string{"0", "1", "2", "3"}) {
		t.Errorf("%s has %v", typed, got)
	}
	several := func(name string) string {
		x := transforming(name, "s3://data/gpus/")
		x["TransformResources"] = doc{"InstanceType": "ml.m5.large", "InstanceCount": 2}
		return x.file(t)
	}
	apart, shared := jobName("apart"), jobName("shared")
	d.run(t, 0, "transform", "--quiet", "--image", tiny, "--gpus", "2", several(apart))
	if got := of(apart); len(got) != 2 || slices.ContainsFunc(got[0], func(i string) bool { return slices.Contains(got[1], i) }) {
		t.Errorf("the instances of %s have %v", apart, got)
	}
	d.run(t, 0, "transform", "--quiet", "--image", tiny, "--gpus", "4", "--share-gpus", several(shared))
	if got := of(shared); len(got) != 2 || !slices.Equal(got[0], got[1]) || !slices.Equal(got[0], []string{"4", "5", "6", "7"}) {
		t.Errorf("the instances of %s have %v", shared, got)
	}
	d.run(t, 0, "stop", typed)
	eventually(t, "the owner of "+typed+" to end", func() bool { return d.holds(t, typed) == nil })
}

// TestGPULibraryThatLacks: a function that the driver's library lacks ends nothing (D7). What it would have said is missing,
// and where the toolkit needed it, what optml knows by itself stands in.
func TestGPULibraryThatLacks(t *testing.T) {
	sameHost(t)
	d := fakeDriver(t, "-DWITHOUT_UTILIZATION", "-DWITHOUT_COMPUTE", "-DWITHOUT_MIG", "-DWITHOUT_PCI")
	if inv := d.inventory(t); len(inv.GPUs) != 8 || inv.GPUs[0].Busy != nil || inv.GPUs[0].ComputeCapability != "" || inv.GPUs[0].MemoryTotal != 1e9 {
		t.Errorf("inventory %+v", inv)
	}
	name := jobName("lacks")
	d.run(t, 0, "train", "--quiet", "--gpus", "device=1,6", training(name, "layout", "dump").file(t))
	d.saw(t, name, 1, 6)
	if s := record(t, name); !slices.ContainsFunc(s.Warnings, func(w ledger.Warning) bool {
		return strings.Contains(w.Text, "NVIDIA's toolkit could not say") && strings.Contains(w.Text, "nvmlDeviceGetPciInfo")
	}) {
		t.Errorf("warnings %+v", s.Warnings)
	}

	d = fakeDriver(t, "-DWITHOUT_UUID")
	if inv := d.inventory(t); inv.Absent != "the driver's library lacks nvmlDeviceGetUUID" {
		t.Errorf("inventory %+v", inv)
	}
	if r := d.run(t, 0, "gpus"); !strings.Contains(r.stderr, "optml: no GPUs: the driver's library lacks nvmlDeviceGetUUID") {
		t.Error(r)
	}
	without := jobName("without") // a type with GPUs runs with those that there are (ruling 14)
	x := training(without, "layout", "dump")
	x["ResourceConfig"] = doc{"InstanceType": "ml.g4dn.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 1}
	d.run(t, 0, "train", "--quiet", x.file(t))
	if s := record(t, without); !slices.ContainsFunc(s.Warnings, func(w ledger.Warning) bool { return strings.Contains(w.Text, "has more GPUs than this host (0)") }) {
		t.Errorf("warnings %+v", s.Warnings)
	}
}

// TestGPUImage: an image that the driver is too old for is not started (INF-8), and says so by itself.
func TestGPUImage(t *testing.T) {
	sameHost(t)
	d := fakeDriver(t)
	ref := image(t, "optml.test/cuda:1", images.Options{Env: []string{"NVIDIA_REQUIRE_CUDA=cuda>=12.6 brand=geforce,driver>=400", "LD_LIBRARY_PATH=/opt/lib"}})
	name := jobName("cuda")
	x := training(name, "layout", "dump")
	x["AlgorithmSpecification"] = doc{"TrainingImage": ref, "TrainingInputMode": "File"}
	r := d.run(t, 7, "train", "--quiet", "--gpus", "1", x.file(t))
	if want := "the image needs CUDA 12.6 (NVIDIA_REQUIRE_CUDA), the driver 550.54.15 offers 12.4"; !strings.Contains(r.stderr, want) || !strings.Contains(r.stderr, "hint: install a newer driver") {
		t.Error(r)
	}
	if s := record(t, name); s.Status != "Failed" || len(s.Containers) != 0 || !strings.HasPrefix(s.FailureReason, "ClientError: the image needs CUDA 12.6") {
		t.Errorf("%s: %s", s.Status, s.FailureReason)
	}
	x["Environment"] = doc{"NVIDIA_DISABLE_REQUIRE": "1"}
	d.run(t, 0, "train", "--quiet", "--replace", "--gpus", "1", x.file(t))
	l := decode[layout](t, modelOf(t, name)["layout.json"])
	if v, _ := l.env("LD_LIBRARY_PATH"); v != "/usr/local/nvidia/lib64:/opt/lib" {
		t.Errorf("LD_LIBRARY_PATH is %q", v)
	}
}

// TestGPUSpecOfTheHost: the host's own CDI specification comes first, unless it is of another driver.
func TestGPUSpecOfTheHost(t *testing.T) {
	sameHost(t)
	d := fakeDriver(t)
	root := strings.TrimPrefix(d.env[0], "OPTML_DRIVER_ROOT=")
	spec := func(node string) {
		b, err := json.Marshal(doc{"cdiVersion": "0.6.0", "kind": "nvidia.com/gpu", "devices": []doc{{
			"name":           gpu.UUID(d.salt, 5),
			"containerEdits": doc{"deviceNodes": []doc{{"path": "/dev/nvidia5", "hostPath": filepath.Join(root, "dev", node)}}},
		}}, "containerEdits": doc{"env": []string{"FROM_THE_SPEC=yes", "NVIDIA_VISIBLE_DEVICES=void"}}})
		if err == nil {
			err = os.MkdirAll("/var/run/cdi", 0o755)
		}
		path := fmt.Sprintf("/var/run/cdi/optml-test-%08x.json", d.salt)
		if err == nil {
			err = os.WriteFile(path, b, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.Remove(path); os.Remove("/var/run/cdi") })
	}
	spec("nvidia5")
	name := jobName("spec")
	d.run(t, 0, "train", "--quiet", "--device", "nvidia.com/gpu="+gpu.UUID(d.salt, 5), training(name, "layout", "dump").file(t))
	l := decode[layout](t, modelOf(t, name)["layout.json"])
	if v, _ := l.env("FROM_THE_SPEC"); v != "yes" || !slices.Equal(nvidia(l), []string{"nvidia5"}) {
		t.Errorf("FROM_THE_SPEC=%s, device nodes %v", v, nvidia(l))
	}
	if v, _ := l.env("NVIDIA_VISIBLE_DEVICES"); v != gpu.UUID(d.salt, 5) {
		t.Errorf("NVIDIA_VISIBLE_DEVICES is %q", v)
	}
	spec("nvidia99")
	stale := jobName("stale")
	d.run(t, 0, "train", "--quiet", "--device", "nvidia.com/gpu=5", training(stale, "layout", "dump").file(t))
	d.saw(t, stale, 5)
	if s := record(t, stale); !slices.ContainsFunc(s.Warnings, func(w ledger.Warning) bool { return strings.Contains(w.Text, "nvidia-ctk cdi generate") }) {
		t.Errorf("warnings %+v", s.Warnings)
	}
}

// TestRealGPU is what the others cannot show: a container that uses a GPU of this machine, by the driver's own program.
func TestRealGPU(t *testing.T) {
	if os.Getenv("OPTML_GPU_TEST") == "" {
		t.Skip("`make gpu-test` runs it")
	}
	inv := decode[hostgpu.Inventory](t, []byte(ok(t, "gpus", "--output", "json").stdout))
	t.Logf("driver %q, CUDA up to %q, GPUs %+v", inv.Driver, inv.CUDA, inv.GPUs)
	if inv.Absent != "" {
		t.Skip(inv.Absent)
	}
	usable := inv.Usable()
	if len(usable) == 0 {
		t.Skip("no GPU of this machine can be used")
	}
	for _, g := range usable {
		if g.UUID == "" || g.Name == "" || g.MemoryTotal == 0 || g.ComputeCapability == "" {
			t.Errorf("%+v", g)
		}
	}
	smi, err := exec.LookPath("nvidia-smi")
	if err != nil {
		t.Skip("nvidia-smi is not in PATH")
	}
	out, err := exec.Command(smi, "-L").CombinedOutput()
	if err != nil {
		t.Fatalf("nvidia-smi -L: %v\n%s", err, out)
	}
	for _, g := range usable {
		if !strings.Contains(string(out), g.UUID) {
			t.Errorf("nvidia-smi does not know %s:\n%s", g.UUID, out)
		}
	}
	sameHost(t)
	ref := image(t, "optml.test/smi:1", images.Options{Files: hostPrograms(t, "/bin/bash", "/bin/sleep", smi)})
	last, name, wide := usable[len(usable)-1], jobName("smi"), jobName("wide")
	x := training(name)
	spec := x["AlgorithmSpecification"].(doc)
	spec["TrainingImage"] = ref
	spec["ContainerEntrypoint"] = []string{"/bin/bash"}
	spec["ContainerArguments"] = []string{"-c", "set -e; " + smi + " -L > /opt/ml/model/list.txt; " + smi + " > /opt/ml/model/smi.txt; sleep 5"}
	p := begin(t, nil, "train", "--quiet", "--gpus", "device="+last.UUID, x.file(t))
	running(t, name)
	// Whoever wants more than there are left is refused.
	r := optml(t, "train", "--quiet", "--gpus", "all", training(wide).file(t))
	if r.code != 7 || !strings.Contains(r.stderr, "training/"+name+" holds "+last.Index) {
		t.Error(r)
	}
	eventually(t, "the GPU to be measured", func() bool {
		j, err := ledger.Find(filepath.Join(w.root, "jobs"), name)
		if err != nil {
			return false
		}
		s, ok, err := j.Live()
		return err == nil && ok && len(s.Containers) == 1 && s.Containers[0].GPUMemoryPercent != nil
	})
	if r := p.wait(t); r.code != 0 {
		t.Fatalf("%s\n%s", r, log(t, name))
	}
	files := modelOf(t, name)
	t.Logf("in the container:\n%s%s", files["list.txt"], files["smi.txt"])
	if list := string(files["list.txt"]); !strings.Contains(list, last.UUID) || strings.Count(list, "UUID: GPU-") > 1 {
		t.Errorf("the container sees\n%s", list)
	}
	for _, w := range record(t, name).Warnings {
		t.Logf("warning: %s", w.Text)
	}
}
