package ctrd

import (
	"slices"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/optml/optml/runtime/cgroup"
	"github.com/optml/optml/runtime/container"
)

func TestProcessArgs(t *testing.T) { // the table of training 1.1, START-3, INF-1
	image := ocispec.ImageConfig{Entrypoint: []string{"python", "-u"}, Cmd: []string{"app.py"}}
	for _, c := range []struct {
		name       string
		entrypoint []string
		args       []string
		image      ocispec.ImageConfig
		want       string // joined by |; "" is an error
	}{
		{"neither field: train", nil, []string{"train"}, image, "python|-u|train"},
		{"no entrypoint in the image: train from PATH", nil, []string{"train"}, ocispec.ImageConfig{Cmd: []string{"x"}}, "train"},
		{"entrypoint only: no arguments", []string{"/run.sh"}, nil, image, "/run.sh"},
		{"arguments only", nil, []string{"a", "b c"}, image, "python|-u|a|b c"},
		{"both", []string{"/bin/sh", "-c"}, []string{"echo $HOME"}, image, "/bin/sh|-c|echo $HOME"},
		{"no arguments, given as such", nil, []string{}, image, "python|-u"},
		{"the image as it is", nil, nil, image, "python|-u|app.py"},
		{"nothing to run", nil, nil, ocispec.ImageConfig{}, ""},
		{"nothing to run, given as such", []string{}, nil, image, ""},
	} {
		got, err := processArgs(container.Spec{Entrypoint: c.entrypoint, Args: c.args}, c.image)
		if c.want == "" {
			if err == nil {
				t.Errorf("%s: %q, want an error", c.name, got)
			}
			continue
		}
		if err != nil || !slices.Equal(got, strings.Split(c.want, "|")) {
			t.Errorf("%s: %q, %v, want %s", c.name, got, err, c.want)
		}
	}
	if image.Entrypoint = slices.Grow(image.Entrypoint, 10); true { // the image's own slice is not written to
		processArgs(container.Spec{Args: []string{"train"}}, image)
		if image.Entrypoint[:3][2] == "train" {
			t.Error("the image's entrypoint was extended in place")
		}
	}
}

func TestCheckSpec(t *testing.T) {
	good := container.Spec{
		ID: "job-1.algo-1", Job: "/j", Log: "/j/algo-1", Guard: "/j/lock", Mounts: []container.Mount{{Source: "/a", Target: "/b"}},
		Network: container.Network{Isolated: true, Bridge: "optml0123456789", Hosts: []string{"algo-1"}},
	}
	if err := checkSpec(good); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*container.Spec){
		"container ID":       func(s *container.Spec) { s.ID = "Job" },
		"at most 76":         func(s *container.Spec) { s.ID = strings.Repeat("a", 77) },
		"job directory":      func(s *container.Spec) { s.Job = "j" },
		"log":                func(s *container.Spec) { s.Log = "" },
		"guard":              func(s *container.Spec) { s.Guard = "lock" },
		"bridge name":        func(s *container.Spec) { s.Network.Bridge += "x" },
		"holds a slash":      func(s *container.Spec) { s.Network.Bridge = "a/b" },
		"needs a bridge":     func(s *container.Spec) { s.Network = container.Network{} },
		"host 1 of 1":        func(s *container.Spec) { s.Network.Index = 1 },
		"has room for":       func(s *container.Spec) { s.Network.Hosts = make([]string, 254) },
		"negative":           func(s *container.Spec) { s.Memory = -1 },
		"mount a on":         func(s *container.Spec) { s.Mounts = []container.Mount{{Source: "a", Target: "/b"}} },
		"on b is not":        func(s *container.Spec) { s.Mounts = []container.Mount{{Source: "/a", Target: "b"}} },
		"[a-z0-9.-]":         func(s *container.Spec) { s.ID = "../../etc" },
		"job directory \"\"": func(s *container.Spec) { s.Job = "" },
	} {
		s := good
		change(&s)
		if err := checkSpec(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want one with %q", err, want)
		}
	}
}

func TestCgroupPath(t *testing.T) {
	a, b := cgroupPath("/root1/training/iris", "iris-algo-1"), cgroupPath("/root2/training/iris", "iris-algo-1")
	if a == b {
		t.Errorf("jobs of two roots share %s", a)
	}
	for _, p := range []string{a, b, cgroupPath("/", "x"), cgroupPath("/x/..hidden job/", "x"), cgroupPath("/x/"+strings.Repeat("n", 300), "x")} {
		if err := (cgroup.Group{Path: p}).Ours(); err != nil {
			t.Error(err)
		}
		if len(p) > 100 {
			t.Errorf("%s has %d bytes", p, len(p))
		}
	}
}

func TestStartError(t *testing.T) { // END-4
	const create = "failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: "
	for _, c := range []struct {
		err  string
		code int
		msg  string
	}{
		{create + `exec: "train": executable file not found in $PATH: unknown`, 127, `exec: "train": executable file not found in $PATH`},
		{create + `exec: "/opt/train": permission denied: unknown`, 126, `exec: "/opt/train": permission denied`},
		{create + `exec: "/opt": is a directory: unknown`, 126, `exec: "/opt": is a directory`},
		{create + `exec: "/opt/train": stat /opt/train: no such file or directory: unknown`, 127, `exec: "/opt/train": stat /opt/train: no such file or directory`},
		{create + `error mounting "/x" to rootfs: no such file or directory: unknown`, 0, ""},
		{"connection refused", 0, ""},
	} {
		got := startError(errString(c.err))
		if (got == nil) != (c.code == 0) {
			t.Errorf("%s: %v", c.err, got)
		} else if got != nil && (got.Code != c.code || got.Msg != c.msg) {
			t.Errorf("%s: %d %q, want %d %q", c.err, got.Code, got.Msg, c.code, c.msg)
		}
	}
}

type errString string

func (e errString) Error() string { return string(e) }
