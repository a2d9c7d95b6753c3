package main

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/optml/optml/job"
	"github.com/optml/optml/runtime/gpu"
)

// --gpus takes what Docker takes.
func TestParseGPUs(t *testing.T) {
	for text, want := range map[string]*job.GPURequest{
		"2": {Count: 2}, "0": {}, "count=3": {Count: 3}, "all": {All: true}, "-1": {All: true},
		"device=0,2": {Devices: []string{"0", "2"}}, `"device=0,2"`: {Devices: []string{"0", "2"}}, "device=GPU-1a": {Devices: []string{"GPU-1a"}},
		"device=0:1": {Devices: []string{"0:1"}}, `'"device=MIG-1"'`: {Devices: []string{"MIG-1"}},
		"": nil, "-2": nil, "some": nil, "device=": nil, "device=0,": nil, "device=0 1": nil, "0,2": nil, "capabilities=utility": nil, "device=0,driver=nvidia": nil,
	} {
		got, err := parseGPUs(text)
		if diff := cmp.Diff(want, got); diff != "" || (err == nil) != (want != nil) {
			t.Errorf("%q: %v (-want +got):\n%s", text, err, diff)
		}
		if want == nil {
			continue
		}
		again, err := parseGPUs(gpusFlag{&got}.String())
		if diff := cmp.Diff(got, again); diff != "" || err != nil {
			t.Errorf("%q is not read as it is printed: %v\n%s", text, err, diff)
		}
	}
}

// --device takes what CDI takes.
func TestDeviceFlag(t *testing.T) {
	for text, want := range map[string]*job.GPURequest{
		"nvidia.com/gpu=0 nvidia.com/gpu=GPU-1": {Devices: []string{"0", "GPU-1"}}, "nvidia.com/gpu=all": {All: true}, "nvidia.com/gpu=1:0": {Devices: []string{"1:0"}},
		"nvidia.com/gpu=": nil, "nvidia.com/gpu": nil, "amd.com/gpu=0": nil, "/dev/nvidia0": nil, "nvidia.com/gpu=all nvidia.com/gpu=0": nil, "nvidia.com/gpu=0,1": nil,
	} {
		f := jobFlags{devices: strings.Fields(text)}
		got, err := f.gpuRequest()
		if diff := cmp.Diff(want, got); diff != "" || (err == nil) != (want != nil) {
			t.Errorf("%q: %v (-want +got):\n%s", text, err, diff)
		}
	}
	f := jobFlags{devices: []string{"nvidia.com/gpu=0"}, gpus: &job.GPURequest{Count: 1}}
	if _, err := f.gpuRequest(); err == nil || exitCode(err) != 2 {
		t.Error(err)
	}
}

// A host whose driver cannot be asked is a host without GPUs: said, and no error.
func TestGpusOnAHostWithout(t *testing.T) {
	for name, tc := range map[string]struct {
		helper io.Reader
		says   string
	}{
		"no helper": {nil, "optml: no GPUs: this optml was built without its GPU helper\nhint: build optml with `make build` where gcc is (apt-get install gcc libc6-dev)\n"},
		"crash":     {strings.NewReader("#!/bin/sh\nkill -11 $$\n"), "optml: no GPUs: the driver could not be asked: the helper did not end well: signal: segmentation fault\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var out, words bytes.Buffer
			h := &gpu.Host{Helper: tc.helper, Root: t.TempDir(), Locks: t.TempDir()}
			if err := runGpus(t.Context(), h, formatText, &out, &words); err != nil || out.Len() > 0 || words.String() != tc.says {
				t.Errorf("%v, %q, %q", err, out.String(), words.String())
			}
			out.Reset()
			if err := runGpus(t.Context(), h, formatJSON, &out, &words); err != nil || !strings.Contains(out.String(), `"gpus": []`) {
				t.Errorf("%v, %s", err, out.String())
			}
		})
	}
}
