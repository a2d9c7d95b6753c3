package job

import (
	"fmt"
	"strings"
	"testing"
)

// Ruling 14: a container has the processors and the memory of the document's instance type, or of the one that
// --as-instance puts in its place, where the host has more; a type that it cannot hold has the whole host, with one
// warning, and --strict refuses it. START-12: /dev/shm is half of that memory.
func TestInstanceLimits(t *testing.T) {
	big := HostFacts{CPUs: 64, MemoryBytes: 256 << 30, Arch: "amd64", Now: machine.Now}
	for _, tc := range []struct {
		document, as string
		host         HostFacts
		gpus         *GPURequest
		told         string // current_instance_type
		cpus         int
		memory       int64
		warns        string // of ruling 14; RES-6 warns of a type in another's place
	}{
		{"ml.m5.xlarge", "", big, nil, "ml.m5.xlarge", 4, 16 << 30, ""},
		{"ml.m5.xlarge", "", machine, nil, "ml.m5.xlarge", 0, 0, ""}, // exactly this host
		{"ml.m5.large", "", machine, nil, "ml.m5.large", 2, 8 << 30, ""},
		{"ml.c5n.xlarge", "", machine, nil, "ml.c5n.xlarge", 0, 10752 << 20, ""}, // as many processors, less memory
		{"ml.m5.xlarge", "ml.m5.large", big, nil, "ml.m5.large", 2, 8 << 30, ""},
		{"ml.m5.24xlarge", "ml.m5.large", machine, nil, "ml.m5.large", 2, 8 << 30, ""},
		{"ml.m5.xlarge", "host", big, nil, "ml.m5.xlarge", 0, 0, "runs with the whole host (--as-instance host), not as ml.m5.xlarge"},
		{"ml.m5.24xlarge", "", machine, nil, "ml.m5.24xlarge", 0, 0, "384 GiB of memory, this host 16: runs with the whole host"},
		{"ml.m5.xlarge", "ml.m5.24xlarge", machine, nil, "ml.m5.24xlarge", 0, 0, "384 GiB of memory, this host 16: runs with the whole host"},
		{"ml.g4dn.xlarge", "", big, nil, "ml.g4dn.xlarge", 0, 0, "has more GPUs than this host (0)"},
		{"ml.g4dn.xlarge", "", big, &GPURequest{}, "ml.g4dn.xlarge", 4, 16 << 30, ""}, // --gpus 0: not missed
		{"ml.c6g.large", "", big, nil, "ml.c6g.large", 2, 4 << 30, "is arm64, this host is amd64"},
		{"local", "", big, nil, "local", 0, 0, ""},
		{"local_gpu", "", big, nil, "local_gpu", 0, 0, ""},
		{"local", "ml.m5.large", big, nil, "ml.m5.large", 2, 8 << 30, ""},
		{"ml.z9.huge", "", big, nil, "ml.z9.huge", 0, 0, ""}, // the service does not know it, which is warned of
	} {
		o := Options{AsInstance: tc.as, GPUs: tc.gpus}
		text := edit(t, "training.json", "ml.m5.xlarge", tc.document)
		p := plan(t, o, tc.host, text)
		in := p.Training.Instances[0]
		if in.CPUs != tc.cpus || in.MemoryBytes != tc.memory || p.Training.InstanceType != tc.told {
			t.Errorf("%s as %q: %d processors, %d bytes, told %s", tc.document, tc.as, in.CPUs, in.MemoryBytes, p.Training.InstanceType)
		}
		if want := map[bool]string{true: tc.told}[tc.cpus > 0 || tc.memory > 0]; in.Type != want {
			t.Errorf("%s as %q: stands in for %q, want %q", tc.document, tc.as, in.Type, want)
		}
		shm := tc.host.MemoryBytes / 2
		if tc.memory > 0 {
			shm = tc.memory / 2
		}
		if p.Training.ShmBytes != shm {
			t.Errorf("%s as %q: /dev/shm %d, want %d", tc.document, tc.as, p.Training.ShmBytes, shm)
		}
		said := map[string][]string{}
		for _, w := range p.Warnings {
			said[w.Rule] = append(said[w.Rule], w.Text)
		}
		if got := said["ruling 14"]; len(got) > 1 || !strings.Contains(strings.Join(got, ""), tc.warns) || (tc.warns == "") != (len(got) == 0) {
			t.Errorf("%s as %q: warnings %q, want %q", tc.document, tc.as, got, tc.warns)
		}
		if got := said["RES-6"]; (len(got) == 1) != (tc.told != tc.document) {
			t.Errorf("%s as %q: %q", tc.document, tc.as, got)
		}
		if isLocalType(tc.document) || tc.document == "ml.z9.huge" { // accepted with the one warning, that the service would not
			refuses := 0
			for _, w := range p.Warnings {
				if w.Refuses && w.Path == "ResourceConfig.InstanceType" {
					refuses++
				}
			}
			if refuses != 1 {
				t.Errorf("%s: warnings %+v", tc.document, p.Warnings)
			}
		}
		o.Strict = true
		_, err := Make([]*Document{decode(t, "training.json", text)}, o, tc.host)
		if unknown := isLocalType(tc.document) || tc.document == "ml.z9.huge"; (err != nil) != (tc.warns != "" || unknown) {
			t.Errorf("%s as %q, --strict: %v", tc.document, tc.as, err)
		}
	}
}

// Ruling 13: --as-instance brings the disk of a type with NVMe; --enforce-volume-size is passed on.
func TestAsInstanceBringsItsDisk(t *testing.T) {
	text := edit(t, "training.json", "", "")
	if tr := plan(t, Options{AsInstance: "ml.m5d.large", EnforceVolume: true}, machine, text).Training; tr.VolumeBytes != 75e9 || !tr.EnforceVolume {
		t.Errorf("%d bytes, enforced %v", tr.VolumeBytes, tr.EnforceVolume)
	}
}

// All instances of a transform have the type's size.
func TestTransformInstanceLimits(t *testing.T) {
	text := edit(t, "transform.json", `"InstanceCount": 1`, `"InstanceCount": 2`)
	tr := plan(t, Options{AsInstance: "ml.m5.large", Region: "eu-west-1"}, machine, text).Transform
	for _, in := range tr.Instances {
		if in.CPUs != 2 || in.MemoryBytes != 8<<30 || in.Type != "ml.m5.large" {
			t.Errorf("%+v", in)
		}
	}
	if tr.ShmBytes != 4<<30 {
		t.Errorf("/dev/shm %d", tr.ShmBytes)
	}
}

func TestAsInstanceThatNobodyKnows(t *testing.T) {
	for as, want := range map[string]string{
		"ml.m5.tiny": "of that family there are ml.m5.12xlarge, ml.m5.24xlarge, ml.m5.2xlarge, ml.m5.4xlarge, ml.m5.large, ml.m5.xlarge",
		"m5.large":   "of that family there are ml.m5.12xlarge",
		"enormous":   "no instance type that optml knows, such as ml.m5.large, nor host",
	} {
		p, err := Make([]*Document{fixture(t, "training.json")}, Options{AsInstance: as}, machine)
		if err == nil || p != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", as, err, want)
		}
	}
}

// BT-37: a transform has as many instances as it says, each with a container, a host name and a log of its own; the model
// is every instance's.
func TestTransformInstances(t *testing.T) {
	text := edit(t, "transform.json", `"InstanceCount": 1`, `"InstanceCount": 11`)
	tr := plan(t, Options{Region: "eu-west-1"}, machine, text).Transform
	names, hosts := map[string]bool{}, map[string]bool{}
	for i, in := range tr.Instances {
		if want := fmt.Sprintf("algo-%d", i+1); in.Host != want || len(in.Containers) != 1 || in.Containers[0].Name != want || in.Containers[0].Port != 8080 {
			t.Errorf("%d: %+v", i, in)
		}
		names[in.Containers[0].Name], hosts[in.Containers[0].Hostname] = true, true
	}
	if len(tr.Instances) != 11 || len(names) != 11 || len(hosts) != 11 || len(tr.Models) != 1 {
		t.Errorf("%d instances, names %v, host names %v, models %v", len(tr.Instances), names, hosts, tr.Models)
	}
}
