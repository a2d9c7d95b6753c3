package gpu

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"tags.cncf.io/container-device-interface/specs-go"

	"github.com/optml/optml/runtime/container"
)

// TestMain is also a job that holds GPUs until it is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("GPU_TEST_HOLD"); dir != "" {
		h := &Host{Locks: dir}
		for _, uuid := range os.Args[1:] {
			if _, err := h.take(uuid, holderOf("/root/jobs/training/other")); err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
		}
		fmt.Println("held")
		time.Sleep(time.Hour)
	}
	os.Exit(m.Run())
}

// eight are the GPUs of most tests; the third is divided, the last does not answer.
func eight() Inventory {
	inv := Inventory{Driver: "550.54.15", CUDA: "12.4"}
	for i := range 8 {
		g := GPU{Index: fmt.Sprint(i), Minor: i, ComputeCapability: "9.0", Brand: "tesla"}
		g.UUID = fmt.Sprintf("GPU-%d", i)
		inv.GPUs = append(inv.GPUs, g)
		if i == 2 {
			inv.GPUs[2].MIG = true
			part := GPU{Index: "2:0", Parent: "GPU-2", Minor: 2}
			part.UUID = "MIG-0"
			inv.GPUs = append(inv.GPUs, part)
		}
	}
	inv.GPUs[8].Broken = "it is lost"
	return inv
}

func indices(all []GPU) (got []string) {
	for _, g := range all {
		got = append(got, g.Index)
	}
	return got
}

// Ruling 14: any that are free, or these.
func TestChoose(t *testing.T) {
	held := func(by string, which ...int) func(*Inventory) {
		return func(v *Inventory) {
			for _, i := range which {
				v.GPUs[i].Holder = &Holder{Job: by}
			}
		}
	}
	all := func(fs ...func(*Inventory)) func(*Inventory) {
		return func(v *Inventory) {
			for _, f := range fs {
				f(v)
			}
		}
	}
	for name, tc := range map[string]struct {
		change   func(*Inventory)
		count    int
		devices  []string
		want     []string
		says     string
		capacity bool
	}{
		"the first":              {nil, 3, nil, []string{"0", "1", "2:0"}, "", false},
		"the free":               {held("training/a", 0, 1), 2, nil, []string{"2:0", "3"}, "", false},
		"what works last":        {func(v *Inventory) { v.GPUs[0].MemoryUsed = 10 << 30 }, 2, nil, []string{"1", "2:0"}, "", false},
		"named":                  {nil, 3, []string{"6", "MIG-0", "GPU-1"}, []string{"6", "2:0", "1"}, "", false},
		"too many":               {nil, 8, nil, nil, "8 GPUs are wanted, and this host has 7", true},
		"too few are free":       {all(held("training/a", 0, 1, 3), held("transform/b", 4, 5)), 3, nil, nil, "3 GPUs are wanted, and 2 of 7 are free: training/a holds 0, 1, 2:0; transform/b holds 3, 4", true},
		"named, and held":        {held("training/a", 0), 2, []string{"0", "1"}, nil, "not all of the named GPUs are free: training/a holds 0", true},
		"named, and not there":   {nil, 1, []string{"9"}, nil, `this host has no GPU "9"`, false},
		"named, and divided":     {nil, 1, []string{"2"}, nil, "GPU 2 is divided (MIG)", false},
		"named, and broken":      {nil, 1, []string{"GPU-7"}, nil, "GPU 7 cannot be used: it is lost", false},
		"named twice":            {nil, 2, []string{"0", "GPU-0"}, nil, "GPU 0 is named twice", false},
		"none, and the reason":   {func(v *Inventory) { *v = Inventory{Absent: "no driver"} }, 1, nil, nil, "1 GPU is wanted, and this host has 0: no driver", true},
		"named, and none at all": {func(v *Inventory) { *v = Inventory{Absent: "no driver"} }, 1, []string{""}, nil, `this host has no GPU "": no driver`, false},
	} {
		t.Run(name, func(t *testing.T) {
			inv := eight()
			if name == "too few are free" {
				inv.GPUs[2].MIG = true
			}
			if tc.change != nil {
				tc.change(&inv)
			}
			got, err := choose(inv, container.GPURequest{Count: tc.count, Devices: tc.devices})
			if tc.says == "" {
				if err != nil || !slices.Equal(indices(got), tc.want) {
					t.Errorf("%v, %v, want %v", indices(got), err, tc.want)
				}
				return
			}
			var e *container.GPUError
			if !errors.As(err, &e) || e.Text != tc.says || e.Capacity != tc.capacity || e.Hint() == "" {
				t.Errorf("%+v, want %q", err, tc.says)
			}
		})
	}
}

// fixed is a Host that knows its GPUs and has no helper that measures them.
func fixed(t *testing.T, locks string) *Host {
	inv := eight()
	return &Host{Locks: locks, Specs: []string{}, Root: t.TempDir(), found: &inv}
}

// Two hosts are two optml processes of one machine.
func TestTakeIsExclusive(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "locks")
	a, b := fixed(t, dir), fixed(t, dir)
	first, err := a.Take(t.Context(), container.GPURequest{Job: "/r/jobs/training/first", Count: 3})
	if err != nil {
		t.Fatal(err)
	}
	second, err := b.Take(t.Context(), container.GPURequest{Job: "/r/jobs/transform/second", Count: 4})
	if err != nil {
		t.Fatal(err)
	}
	_, err = a.Take(t.Context(), container.GPURequest{Job: "/r/jobs/training/third", Count: 1})
	if want := "1 GPU is wanted, and 0 of 7 are free: training/first holds 0, 1, 2:0; transform/second holds 3, 4, 5, 6"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if w := a.Held(t.Context()).GPUs[4].Holder; w == nil || w.Job != "transform/second" || w.Directory != "/r/jobs/transform/second" || w.PID != os.Getpid() || time.Since(w.Since) > time.Minute {
		t.Errorf("holder %+v", w)
	}
	if err := errors.Join(first.Close(), first.Close()); err != nil {
		t.Error(err)
	}
	third, err := b.Take(t.Context(), container.GPURequest{Job: "/r/jobs/training/third", Count: 1, Devices: []string{"2:0"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(second.Close(), third.Close()); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.lock")); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}

// Jobs that choose at the same moment share none, and as many as can be have all that they want.
func TestTakeAtOnce(t *testing.T) {
	dir := t.TempDir()
	var mu sync.Mutex
	had := map[string]bool{}
	got := 0
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			s, err := fixed(t, dir).Take(t.Context(), container.GPURequest{Job: fmt.Sprintf("/r/jobs/training/%d", i), Count: 3})
			if err != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			got++
			for _, g := range s.List() {
				if had[g.UUID] {
					t.Errorf("%s is had twice", g.UUID)
				}
				had[g.UUID] = true
			}
		})
	}
	wg.Wait()
	if got != 2 || len(had) != 6 {
		t.Errorf("%d jobs of 3 have %d of 7 GPUs", got, len(had))
	}
}

// kill -9 frees what a job held. Whoever takes it waits until nothing of the dead job runs on it.
func TestTakeFromTheDead(t *testing.T) {
	h := fixed(t, t.TempDir())
	cmd := exec.Command(os.Args[0], "GPU-0", "GPU-3")
	cmd.Env = append(os.Environ(), "GPU_TEST_HOLD="+h.locks())
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	word := make([]byte, 64)
	if n, _ := out.Read(word); string(word[:n]) != "held\n" {
		t.Fatalf("%q", word[:n])
	}
	if w := h.holder("GPU-3"); w == nil || w.Job != "training/other" || w.PID != cmd.Process.Pid {
		t.Errorf("holder %+v", w)
	}
	if _, err := h.Take(t.Context(), container.GPURequest{Job: "/r/jobs/training/x", Count: 1, Devices: []string{"0"}}); err == nil {
		t.Error("what another process holds was taken")
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if w := h.holder("GPU-0"); w != nil {
		t.Errorf("the dead hold: %+v", w)
	}
	asked := 0
	h.Lingers = func(job string) bool {
		if job != "/root/jobs/training/other" {
			t.Errorf("asked for %s", job)
		}
		asked++
		return asked < 3
	}
	s, err := h.Take(t.Context(), container.GPURequest{Job: "/r/jobs/training/x", Count: 1, Devices: []string{"0"}})
	if err != nil || asked != 3 {
		t.Fatalf("%v, asked %d times", err, asked)
	}
	defer s.Close()
	// What nobody takes is swept, but what is held, and what something still runs on, is not.
	h.Lingers = func(string) bool { return true }
	if err := h.Sweep(); err != nil || len(locks(t, h)) != 2 {
		t.Errorf("%v, %v", err, locks(t, h))
	}
	h.Lingers = nil
	if err := h.Sweep(); err != nil || !slices.Equal(locks(t, h), []string{"GPU-0.lock"}) {
		t.Errorf("%v, %v", err, locks(t, h))
	}
}

func locks(t *testing.T, h *Host) (names []string) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(h.locks(), "*.lock"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		names = append(names, filepath.Base(f))
	}
	return names
}

// INF-8: what NVIDIA's own runtime refuses.
func TestRequired(t *testing.T) {
	cuda122 := "cuda>=12.2 brand=tesla,driver>=450,driver<451 brand=tesla,driver>=535,driver<536"
	for name, tc := range map[string]struct {
		env    map[string]string
		labels map[string]string
		driver string
		cuda   string
		says   string
		warns  int
	}{
		"nothing":                      {nil, nil, "550.54.15", "12.4", "", 0},
		"an older CUDA":                {map[string]string{"NVIDIA_REQUIRE_CUDA": cuda122}, nil, "550.54.15", "12.4", "", 0},
		"a newer CUDA":                 {map[string]string{"NVIDIA_REQUIRE_CUDA": cuda122}, nil, "525.60.13", "12.0", "the image needs CUDA 12.2 (NVIDIA_REQUIRE_CUDA), the driver 525.60.13 offers 12.0", 0},
		"an alternative for the brand": {map[string]string{"NVIDIA_REQUIRE_CUDA": cuda122}, nil, "450.80.02", "11.0", "", 0},
		"a number, not a text":         {map[string]string{"NVIDIA_REQUIRE_CUDA": "cuda>=9.10"}, nil, "1", "9.2", "the image needs CUDA 9.10 (NVIDIA_REQUIRE_CUDA), the driver 1 offers 9.2", 0},
		"exactly":                      {map[string]string{"NVIDIA_REQUIRE_CUDA": "cuda=12.1"}, nil, "550", "12.4", "the image needs CUDA =12.1 (NVIDIA_REQUIRE_CUDA), the driver 550 offers 12.4", 0},
		"another brand":                {map[string]string{"NVIDIA_REQUIRE_X": "brand=geforce"}, nil, "550", "12.4", "the image needs brand=geforce (NVIDIA_REQUIRE_X), the driver 550 offers 12.4", 0},
		"an old device":                {map[string]string{"NVIDIA_REQUIRE_ARCH": "arch>=10.0"}, nil, "550", "12.4", "the image needs arch>=10.0 (NVIDIA_REQUIRE_ARCH), the driver 550 offers 12.4", 0},
		"all variables":                {map[string]string{"NVIDIA_REQUIRE_A": "cuda>=11.0", "NVIDIA_REQUIRE_B": "driver>=600"}, nil, "550", "12.4", "the image needs driver>=600 (NVIDIA_REQUIRE_B), the driver 550 offers 12.4", 0},
		"switched off":                 {map[string]string{"NVIDIA_REQUIRE_CUDA": "cuda>=99.0", "NVIDIA_DISABLE_REQUIRE": "true"}, nil, "550", "12.4", "", 0},
		"a label":                      {nil, map[string]string{"com.nvidia.cuda.version": "13.0.48"}, "550", "12.4", "the image needs CUDA 13.0 (label com.nvidia.cuda.version), the driver 550 offers 12.4", 0},
		"a label beside a variable":    {map[string]string{"NVIDIA_REQUIRE_CUDA": "cuda>=12.0"}, map[string]string{"com.nvidia.cuda.version": "13.0.48"}, "550", "12.4", "", 0},
		"a driver that says nothing":   {map[string]string{"NVIDIA_REQUIRE_CUDA": "cuda>=12.0"}, nil, "", "", "", 0},
		"what cannot be judged":        {map[string]string{"NVIDIA_REQUIRE_CUDA": "moon>=full,cuda>=12.0"}, nil, "550", "12.4", "", 1},
		"what is no requirement":       {map[string]string{"NVIDIA_REQUIRE_CUDA": "nonsense"}, nil, "550", "12.4", "", 1},
	} {
		t.Run(name, func(t *testing.T) {
			inv := eight()
			inv.Driver, inv.CUDA = tc.driver, tc.cuda
			warnings, err := required(tc.env, tc.labels, inv, inv.GPUs[:1])
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != tc.says || len(warnings) != tc.warns {
				t.Errorf("%q, want %q; warnings %v", got, tc.says, warnings)
			}
		})
	}
}

// driver makes what a driver has, without device nodes: /dev/null stands for them where that is possible.
func driverFiles(t *testing.T, root string) {
	t.Helper()
	dir := filepath.Join(root, "usr/lib64")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"libcuda.so.550.54.15", "libnvidia-ml.so.550.54.15", "libcuda.so.999"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// A helper that dies, or answers nonsense, ends nothing.
func TestHelperIsNotTrusted(t *testing.T) {
	for name, tc := range map[string]struct{ script, says string }{
		"dies":     {"kill -9 $$", "the driver could not be asked: the helper did not end well: signal: killed"},
		"fails":    {"echo undefined symbol: x >&2; exit 127", "the driver could not be asked: undefined symbol: x (exit status 127)"},
		"rambles":  {"echo hello", `the driver could not be asked: the helper answers "hello\n"`},
		"is empty": {"echo '{}'", ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := &Host{Helper: strings.NewReader("#!/bin/sh\n" + tc.script + "\n"), Root: t.TempDir(), Locks: t.TempDir()}
			if inv := h.Inventory(t.Context()); inv.Absent != tc.says || inv.GPUs == nil {
				t.Errorf("%+v, want %q", inv, tc.says)
			}
		})
	}
	h := &Host{Root: t.TempDir()}
	if inv := h.Inventory(t.Context()); inv.Absent != WithoutHelper {
		t.Errorf("%+v", inv)
	}
}

// Readings that end are no readings.
func TestReadingsEndWithTheHelper(t *testing.T) {
	h := fixed(t, t.TempDir())
	h.Helper = strings.NewReader(`#!/bin/sh
echo nonsense
echo '[{"uuid":"GPU-0","memoryUsed":1,"memoryTotal":4,"busyPercent":12.5}]'
read line # until stdin ends
exit 3
`)
	s, err := h.Take(t.Context(), container.GPURequest{Job: "/r/jobs/training/x", Count: 2})
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); len(s.Readings(s.List())) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no readings")
		}
	}
	if diff := cmp.Diff([]container.GPUReading{{Busy: 12.5, MemoryUsed: 1, MemoryTotal: 4}}, s.Readings(s.List())); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := s.Close(); err != nil || len(s.Readings(s.List())) > 0 {
		t.Errorf("%v, %v", err, s.Readings(s.List()))
	}
}

// The host's specification is used whole or not at all.
func TestFromSpecs(t *testing.T) {
	dir := t.TempDir()
	there := filepath.Join(dir, "there")
	if err := os.WriteFile(there, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	write := func(devices, common string) {
		text := `{"cdiVersion": "0.6.0", "kind": "nvidia.com/gpu", "devices": [` + devices + `], "containerEdits": {` + common + `}}`
		if err := os.WriteFile(filepath.Join(dir, "nvidia.json"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	device := func(name, node, host string) string {
		return fmt.Sprintf(`{"name": %q, "containerEdits": {"deviceNodes": [{"path": %q, "hostPath": %q}]}}`, name, node, host)
	}
	h := &Host{Specs: []string{dir}}
	some := []GPU{eight().GPUs[0], eight().GPUs[1]}
	for name, tc := range map[string]struct {
		devices, common string
		nodes           int
		why             string
	}{
		"by index":              {device("0", "/dev/nvidia0", there) + "," + device("1", "/dev/nvidia1", there), `"env": ["A=b"]`, 2, ""},
		"by UUID":               {device("GPU-0", "/dev/nvidia0", there) + "," + device("GPU-1", "/dev/nvidia1", there), `"env": ["A=b"]`, 2, ""},
		"not all of them":       {device("0", "/dev/nvidia0", there), `"env": ["A=b"]`, 0, ""},
		"of another order":      {device("0", "/dev/nvidia1", there) + "," + device("1", "/dev/nvidia0", there), `"env": ["A=b"]`, 0, "has no /dev/nvidia0; `nvidia-ctk cdi generate` makes it anew"},
		"of another driver":     {device("0", "/dev/nvidia0", there) + "," + device("1", "/dev/nvidia1", there), `"mounts": [{"hostPath": "/nonexistent/libcuda.so.1", "containerPath": "/x"}]`, 0, "/nonexistent/libcuda.so.1 is not there"},
		"with a hook not there": {device("0", "/dev/nvidia0", there) + "," + device("1", "/dev/nvidia1", there), `"hooks": [{"hookName": "createContainer", "path": "/nonexistent/hook"}]`, 0, "/nonexistent/hook is not there"},
	} {
		t.Run(name, func(t *testing.T) {
			write(tc.devices, tc.common)
			e, from, why := h.fromSpecs(some)
			if tc.nodes == 0 {
				if e != nil || !strings.Contains(why, tc.why) || (tc.why == "") != (why == "") {
					t.Errorf("%+v, %q", e, why)
				}
				return
			}
			if e == nil || len(e.DeviceNodes) != tc.nodes || !slices.Equal(e.Env, []string{"A=b"}) || from != filepath.Join(dir, "nvidia.json") || why != "" {
				t.Errorf("%+v, from %q, %q", e, from, why)
			}
		})
	}
}

// Without hooks the libraries are also under the names by which programs load them.
func TestSonames(t *testing.T) {
	root := t.TempDir()
	driverFiles(t, root)
	mount := func(name string) *specs.Mount {
		return &specs.Mount{HostPath: filepath.Join(root, "usr/lib64", name), ContainerPath: "/usr/lib64/" + name, Options: []string{"ro"}}
	}
	e := &specs.ContainerEdits{Mounts: []*specs.Mount{mount("libcuda.so.550.54.15"), mount("libnvidia-ml.so.550.54.15"), mount("libcuda.so.999"), {HostPath: "/x", ContainerPath: "/usr/bin/nvidia-smi"}}}
	var got []string
	for _, m := range sonames(e, "550.54.15") {
		got = append(got, m.ContainerPath+" "+strings.Join(m.Options, ","))
	}
	if diff := cmp.Diff([]string{"/usr/local/nvidia/lib64/libcuda.so.1 ro", "/usr/local/nvidia/lib64/libnvidia-ml.so.1 ro"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if cached(e) || !cached(&specs.ContainerEdits{Hooks: []*specs.Hook{{Args: []string{"nvidia-cdi-hook", "update-ldcache"}}}}) {
		t.Error("a hook that makes the linker's cache is not seen")
	}
	for list, want := range map[string]string{"": "/d", "/d": "/d", "/a:/d": "/a:/d", "/a": "/d:/a"} {
		if got := withDir(list, "/d"); got != want {
			t.Errorf("%q with /d is %q", list, got)
		}
	}
}

// Edits of our own need the device node, and cannot give a part.
func TestOwnEdits(t *testing.T) {
	inv := eight()
	h := &Host{Root: t.TempDir()}
	if _, err := h.own(inv.GPUs[:1], inv.Driver); err == nil || !strings.Contains(err.Error(), "GPU 0 has no device node "+filepath.Join(h.Root, "dev/nvidia0")) {
		t.Error(err)
	}
	if _, err := h.own(inv.GPUs[3:4], inv.Driver); err == nil || !strings.Contains(err.Error(), "GPU 2:0 is a part of one (MIG)") {
		t.Error(err)
	}
}

// What `optml gpus --output json` prints is what the helper says, and back.
func TestInventoryIsJSON(t *testing.T) {
	in := eight()
	busy := 12.0
	in.GPUs[0].Busy, in.GPUs[0].Holder = &busy, &Holder{Job: "training/x", PID: 7}
	b, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	var out Inventory
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(in, out); diff != "" {
		t.Errorf("(-in +out):\n%s", diff)
	}
}
