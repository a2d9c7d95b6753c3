//go:build e2e

package ctrd

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/optml/optml/runtime/container"
	"github.com/optml/optml/test/outside"
)

func probes(t *testing.T, isolated bool, targets []string) map[string]string {
	t.Helper()
	s := newSpec(t, "TINY_PROBE="+strings.Join(targets, " "), "TINY_PROBE_RETRY=1s")
	s.Network.Isolated = isolated
	task := launch(t, s)
	if err := task.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	wait(t, task)
	if err := task.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return readProbes(t, s)
}

// readProbes returns what came of each target: "" for one that was reached.
func readProbes(t *testing.T, s container.Spec) map[string]string {
	t.Helper()
	for line := range strings.Lines(readLog(t, s)) {
		var said struct {
			Probes []struct {
				Target, Detail string
				OK             bool
			}
		}
		if json.Unmarshal([]byte(line), &said) == nil && said.Probes != nil {
			out := map[string]string{}
			for _, p := range said.Probes {
				if out[p.Target] = p.Detail; p.OK {
					out[p.Target] = ""
				}
			}
			return out
		}
	}
	t.Fatalf("no probes in the log: %s", readLog(t, s))
	return nil
}

// TestIsolation follows ruling 24: each probe succeeds with isolation off, and none with it on (training 6.5, INF-44).
func TestIsolation(t *testing.T) {
	o := outside.New(t)
	for target, why := range probes(t, false, o.Targets()) {
		if why != "" {
			t.Errorf("open: %s is not reached: %s", target, why)
		}
	}
	for target, why := range probes(t, true, append(o.Targets(), o.Never()...)) {
		if why == "" {
			t.Errorf("isolated: %s is reached", target)
		}
	}
}

// TestPeers lets the containers of one job reach each other by name, isolated as they are.
func TestPeers(t *testing.T) {
	a, b := newSpec(t, "TINY_LISTEN=0.0.0.0:9000", "TINY_SLEEP=5m"), newSpec(t, "TINY_PROBE=tcp:algo-1:9000 tcp:algo-2:9001 tcp:localhost:9001", "TINY_LISTEN=0.0.0.0:9001", "TINY_PROBE_RETRY=5s")
	b.Job = a.Job
	for i, s := range []*container.Spec{&a, &b} {
		s.Network = container.Network{Isolated: true, Bridge: a.Network.Bridge, Hosts: []string{"algo-1", "algo-2"}, Index: i}
		s.Hostname = s.Network.Hosts[i]
	}
	ta, tb := launch(t, a), launch(t, b)
	for _, task := range []container.Task{ta, tb} {
		if err := task.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	wait(t, tb)
	if err := tb.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for target, why := range readProbes(t, b) {
		if why != "" {
			t.Errorf("%s is not reached: %s", target, why)
		}
	}
	if err := ta.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t)
}

func TestOneBridgeIsOneJobs(t *testing.T) {
	a, b := newSpec(t), newSpec(t)
	a.Network.Isolated, b.Network.Isolated = false, false
	b.Network.Bridge = a.Network.Bridge
	launch(t, a)
	if _, err := client_.Launch(t.Context(), b); err == nil || !strings.Contains(err.Error(), a.Job) {
		t.Errorf("error is %v, want one that names the job %s", err, a.Job)
	}
}

// TestLoneNetwork has an isolated container that is alone with its network, of which the host has no part: its own
// address answers, its neighbour's does not, and the host gets neither link, nor bridge, nor address.
func TestLoneNetwork(t *testing.T) {
	before, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	own, neighbour := hostAddr(loneNet("").Subnet, 0), hostAddr(loneNet("").Subnet, 1)
	s := newSpec(t, "TINY_LISTEN=0.0.0.0:9000", fmt.Sprintf("TINY_PROBE=tcp:%s:9000 tcp:algo-1:9000 tcp:%s:9000", own, neighbour), "TINY_PROBE_RETRY=1s")
	task := launch(t, s)
	if task.Addr() != own.String() {
		t.Errorf("its address is %s, want %s", task.Addr(), own)
	}
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/dev", task.PID())); err != nil || !strings.Contains(string(b), guestLink+":") {
		t.Errorf("links are %q, %v", b, err)
	}
	if after, err := netlink.LinkList(); err != nil || len(after) != len(before) {
		t.Errorf("the host has %d links, before %d (%v)", len(after), len(before), err)
	}
	if err := task.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	wait(t, task)
	if err := task.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for target, why := range readProbes(t, s) {
		if reached := why == ""; reached == strings.Contains(target, neighbour.String()) {
			t.Errorf("%s: reached %v (%s)", target, reached, why)
		}
	}
	nothingLeft(t)
}
