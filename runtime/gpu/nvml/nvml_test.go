//go:build cgo

package nvml

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/dgxa100"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/dgxh200"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/server"
	"github.com/google/go-cmp/cmp"

	"github.com/optml/optml/runtime/container"
	"github.com/optml/optml/runtime/gpu"
	fake "github.com/optml/optml/test/gpu"
)

// The test's own binary is the helper of a Host: it is executed as one.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "optml-gpu" {
		os.Exit(Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// all but what the mocks lack.
func known(missing ...string) func(string) bool {
	return func(s string) bool { return !slices.Contains(append(missing, "nvmlSystemGetCudaDriverVersion_v2"), s) }
}

func mocked(s *server.Server, missing ...string) library { return library{s, known(missing...)} }

// The mocks of two machines: 8 GPUs each, with all that optml asks of them.
func TestListOfTheMocks(t *testing.T) {
	for name, tc := range map[string]struct {
		server                 *server.Server
		name, capability, cuda string
		memory                 int64
	}{
		"dgxa100": {dgxa100.New(), "Mock NVIDIA A100-SXM4-40GB", "8.0", "12.4", 40 << 30},
		"dgxh200": {dgxh200.New(), "NVIDIA H200 141GB HBM3e", "9.0", "12.4", 141 << 30},
	} {
		t.Run(name, func(t *testing.T) {
			for _, d := range tc.server.Devices {
				d.(*server.Device).GetUtilizationRatesFunc = func() (nvml.Utilization, nvml.Return) { return nvml.Utilization{Gpu: 7, Memory: 90}, nvml.SUCCESS }
			}
			inv := mocked(tc.server).list()
			if inv.Absent != "" || len(inv.GPUs) != 8 || inv.CUDA != tc.cuda || inv.Driver == "" || len(inv.Usable()) != 8 {
				t.Fatalf("%+v", inv)
			}
			uuids := map[string]bool{}
			for i, g := range inv.GPUs {
				uuids[g.UUID] = true
				if g.Index != fmt.Sprint(i) || g.Minor != i || g.Name != tc.name || g.ComputeCapability != tc.capability || g.MIG || g.Busy == nil || *g.Busy != 7 || !strings.HasPrefix(g.UUID, "GPU-") {
					t.Errorf("%+v", g)
				}
				if g.MemoryTotal != tc.memory {
					t.Errorf("%d bytes, want %d", g.MemoryTotal, tc.memory)
				}
			}
			if len(uuids) != 8 {
				t.Errorf("UUIDs %v", uuids)
			}
		})
	}
}

// A GPU that is divided is not given to jobs, its parts are; their utilization is not asked for.
func TestListOfParts(t *testing.T) {
	s := dgxh200.New()
	for i, d := range s.Devices {
		d := d.(*server.Device)
		d.GetUtilizationRatesFunc = func() (nvml.Utilization, nvml.Return) { return nvml.Utilization{Gpu: 1}, nvml.SUCCESS }
		if i != 1 {
			continue
		}
		d.MigMode = nvml.DEVICE_MIG_ENABLE
		d.GetMaxMigDeviceCountFunc = func() (int, nvml.Return) { return 7, nvml.SUCCESS }
		d.GetMigDeviceHandleByIndexFunc = func(n int) (nvml.Device, nvml.Return) {
			if n != 0 && n != 2 {
				return nil, nvml.ERROR_NOT_FOUND
			}
			return &mock.Device{
				GetUUIDFunc:             func() (string, nvml.Return) { return fmt.Sprintf("MIG-%d", n), nvml.SUCCESS },
				GetNameFunc:             func() (string, nvml.Return) { return "NVIDIA H200 MIG 1g.18gb", nvml.SUCCESS },
				GetMemoryInfoFunc:       func() (nvml.Memory, nvml.Return) { return nvml.Memory{Total: 18 << 30, Used: 1 << 30}, nvml.SUCCESS },
				GetUtilizationRatesFunc: func() (nvml.Utilization, nvml.Return) { return nvml.Utilization{}, nvml.ERROR_NOT_SUPPORTED },
			}, nvml.SUCCESS
		}
	}
	inv := mocked(s).list()
	var usable []string
	for _, g := range inv.Usable() {
		usable = append(usable, g.Index)
		if g.Parent != "" && (g.Parent != inv.GPUs[1].UUID || g.MemoryTotal != 18<<30 || g.Busy != nil || g.Name == "" || g.Minor != 1) {
			t.Errorf("%+v", g)
		}
	}
	if diff := cmp.Diff([]string{"0", "1:0", "1:2", "2", "3", "4", "5", "6", "7"}, usable); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !inv.GPUs[1].MIG || inv.GPUs[1].Usable() {
		t.Errorf("%+v", inv.GPUs[1])
	}
}

// Calling a function that the library lacks would end the process, so none is called.
func TestListAsksFirst(t *testing.T) {
	s := dgxa100.New()
	never := func(name string) { t.Errorf("%s was called", name) }
	for _, d := range s.Devices {
		d := d.(*server.Device)
		d.GetBrandFunc = func() (nvml.BrandType, nvml.Return) { never("GetBrand"); return 0, nvml.SUCCESS }
		d.GetNameFunc = func() (string, nvml.Return) { never("GetName"); return "", nvml.SUCCESS }
		d.GetMigModeFunc = func() (int, int, nvml.Return) { never("GetMigMode"); return 0, 0, nvml.SUCCESS }
		d.GetMemoryInfoFunc = func() (nvml.Memory, nvml.Return) { never("GetMemoryInfo"); return nvml.Memory{}, nvml.SUCCESS }
	}
	s.SystemGetCudaDriverVersionFunc = func() (int, nvml.Return) { never("SystemGetCudaDriverVersion"); return 0, nvml.SUCCESS }
	inv := mocked(s, "nvmlDeviceGetBrand", "nvmlDeviceGetName", "nvmlDeviceGetMigMode", "nvmlDeviceGetMemoryInfo", "nvmlDeviceGetUtilizationRates", "nvmlSystemGetCudaDriverVersion").list()
	if len(inv.Usable()) != 8 || inv.CUDA != "" || inv.GPUs[0].Name != "" || inv.GPUs[0].UUID == "" {
		t.Errorf("%+v", inv)
	}
	if inv := mocked(s, "nvmlDeviceGetUUID").list(); inv.Absent == "" || len(inv.GPUs) != 0 {
		t.Errorf("%+v", inv)
	}
}

// A device that does not answer takes no other with it.
func TestListWithALostDevice(t *testing.T) {
	s := dgxa100.New()
	byIndex := s.DeviceGetHandleByIndexFunc
	s.DeviceGetHandleByIndexFunc = func(i int) (nvml.Device, nvml.Return) {
		if i == 3 {
			return nil, nvml.ERROR_GPU_IS_LOST
		}
		return byIndex(i)
	}
	inv := mocked(s, "nvmlErrorString", "nvmlDeviceGetUtilizationRates").list()
	if len(inv.GPUs) != 8 || len(inv.Usable()) != 7 || inv.GPUs[3].Broken != "it does not answer: NVML error 15" {
		t.Errorf("%+v", inv.GPUs)
	}
}

// host is a Host whose helper is this test and whose driver is a fake one.
func host(t *testing.T, nodes, gpus int, defines ...string) *gpu.Host {
	t.Helper()
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("there is no gcc to make NVIDIA's library with")
	}
	if nodes > 0 && os.Geteuid() != 0 {
		t.Skip("device nodes can be made by root alone")
	}
	root := t.TempDir()
	if err := fake.Driver(root, nodes, defines...); err != nil {
		t.Fatal(err)
	}
	for _, kv := range fake.Env(root, 1, gpus) {
		k, v, _ := strings.Cut(kv, "=")
		t.Setenv(k, v)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	return &gpu.Host{Helper: strings.NewReader(string(program)), Root: root, Locks: t.TempDir(), Specs: []string{}}
}

// Through a library that is really loaded: the inventory, the readings, and what containers are given.
func TestHelper(t *testing.T) {
	h := host(t, 4, 4)
	inv := h.Inventory(t.Context())
	if inv.Driver != fake.Version || inv.CUDA != "12.4" || len(inv.GPUs) != 4 || inv.GPUs[3].UUID != fake.UUID(1, 3) || inv.GPUs[0].Brand != "tesla" {
		t.Fatalf("%+v", inv)
	}
	taken, err := h.Take(t.Context(), container.GPURequest{Job: "/root/jobs/training/x", Count: 2, Devices: []string{"3", fake.UUID(1, 1)}})
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	some := taken.List()
	o, err := taken.Offer(t.Context(), some, container.Image{Env: []string{"LD_LIBRARY_PATH=/usr/local/nvidia/lib:/usr/local/nvidia/lib64"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var e struct {
		DeviceNodes []struct{ Path, HostPath string }
		Mounts      []struct{ HostPath, ContainerPath string }
		Hooks       []any
	}
	if err := json.Unmarshal(o.Edits, &e); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, n := range e.DeviceNodes {
		got = append(got, n.Path)
		if n.HostPath != filepath.Join(h.Root, n.Path) {
			t.Errorf("%s is %s", n.Path, n.HostPath)
		}
	}
	slices.Sort(got)
	if diff := cmp.Diff([]string{"/dev/nvidia-modeset", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia1", "/dev/nvidia3", "/dev/nvidiactl"}, got); diff != "" {
		t.Errorf("nodes (-want +got):\n%s", diff)
	}
	under := map[string]bool{}
	for _, m := range e.Mounts {
		under[m.ContainerPath] = true
	}
	if !under["/usr/local/nvidia/lib64/libcuda.so.1"] || !under["/usr/local/nvidia/lib64/libnvidia-ml.so.1"] || !under["/usr/bin/nvidia-smi"] || len(e.Hooks) > 0 {
		t.Errorf("mounts %v, hooks %v", under, e.Hooks)
	}
	if want := []string{"NVIDIA_VISIBLE_DEVICES=" + fake.UUID(1, 3) + "," + fake.UUID(1, 1), "LD_LIBRARY_PATH=/usr/local/nvidia/lib:/usr/local/nvidia/lib64"}; !slices.Equal(o.Env, want) {
		t.Errorf("environment %v, want %v", o.Env, want)
	}
	if len(o.Warnings) > 0 || !strings.Contains(o.From, "toolkit") {
		t.Errorf("from %s, warnings %v", o.From, o.Warnings)
	}
	for end := time.Now().Add(10 * time.Second); len(taken.Readings(some)) < 2; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no readings")
		}
	}
	if diff := cmp.Diff([]container.GPUReading{{Busy: 40, MemoryUsed: 25e7, MemoryTotal: 1e9}, {Busy: 20, MemoryUsed: 25e7, MemoryTotal: 1e9}}, taken.Readings(some)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// D7: where the library lacks what the toolkit calls, its helper dies, and optml gives what it knows by itself.
func TestHelperThatDies(t *testing.T) {
	h := host(t, 2, 2, "-DWITHOUT_PCI")
	taken, err := h.Take(t.Context(), container.GPURequest{Job: "/root/jobs/training/x", Count: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	o, err := taken.Offer(t.Context(), taken.List(), container.Image{}, nil)
	if err != nil || len(o.Warnings) != 1 || !strings.Contains(o.Warnings[0], "undefined symbol: nvmlDeviceGetPciInfo") {
		t.Fatalf("%v, %v", err, o.Warnings)
	}
	if s := string(o.Edits); !strings.Contains(s, `"path":"/dev/nvidia0"`) || strings.Contains(s, `"path":"/dev/nvidia1"`) || !strings.Contains(s, "/usr/local/nvidia/lib64/libcuda.so.1") {
		t.Errorf("%s", s)
	}
}

func TestWithoutADriver(t *testing.T) {
	for name, tc := range map[string]struct{ init, want string }{
		"not loaded":    {"9", "the nvidia kernel module is not loaded"},
		"of two ages":   {"18", "the driver's library and kernel module are of different versions: reboot, or load the module again"},
		"another error": {"999", "initialize the driver's library: a fake error"},
		"no devices":    {"0", "the driver knows no device"},
	} {
		t.Run(name, func(t *testing.T) {
			h := host(t, 0, 0)
			t.Setenv("FAKE_NVML_INIT", tc.init)
			if inv := h.Inventory(t.Context()); inv.Absent != tc.want || inv.GPUs == nil {
				t.Errorf("%+v, want %q", inv, tc.want)
			}
		})
	}
	h := host(t, 0, 1)
	h.Root = t.TempDir() // the library is neither here nor, on a host without a driver, elsewhere
	if inv := h.Inventory(t.Context()); inv.Absent != "the driver's library libnvidia-ml.so.1 is not there" {
		if len(inv.GPUs) > 0 {
			t.Skip("this host has a driver")
		}
		t.Errorf("%+v", inv)
	}
	h = host(t, 0, 1, "-DWITHOUT_UUID")
	if inv := h.Inventory(t.Context()); inv.Absent != "the driver's library lacks nvmlDeviceGetUUID" {
		t.Errorf("%+v", inv)
	}
}

func TestMistakes(t *testing.T) {
	for _, args := range [][]string{nil, {"--nonsense"}, {"lsit"}} {
		var out, words strings.Builder
		if code := Main(args, strings.NewReader(""), &out, &words); code != 1 || out.Len() > 0 || words.Len() == 0 {
			t.Errorf("%v: exit code %d, %q, %q", args, code, out.String(), words.String())
		}
	}
}
