package cgroup

import (
	"os"
	"testing"
)

func TestGroupOf(t *testing.T) {
	const text = "12:memory:/user/7\n11:cpu,cpuacct:/a:b\n1:name=systemd:/s\n0::/unified\n"
	for controller, want := range map[string]string{"memory": "/user/7", "cpuacct": "/a:b", "name=systemd": "/s", "pids": ""} {
		if got := groupOf(text, controller); got != want {
			t.Errorf("%s: %q, want %q", controller, got, want)
		}
	}
}

// Warm moves nothing, wherever it is run and whether it may write there or not.
func TestWarm(t *testing.T) {
	h, err := Host()
	if err != nil {
		t.Skip(err)
	}
	before, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		h.Warm()()
	}
	if after, err := os.ReadFile("/proc/self/cgroup"); err != nil || string(after) != string(before) {
		t.Errorf("this process is in %s, %v; it was in %s", after, err, before)
	}
}
