//go:build e2e

package ctrd

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/optml/optml/runtime/container"
)

// outside is a network beyond the host: a namespace behind a link, with a service on TCP and UDP at 198.51.100.2 and
// at the address of the cloud's metadata service.
type outside struct {
	port int // of the services, there and on every address of the host
}

func newOutside(t *testing.T) outside {
	t.Helper()
	var ns netns.NsHandle
	in := func(f func() error) {
		t.Helper()
		ch := make(chan error)
		go func() {
			runtime.LockOSThread() // thrown away
			err := unix.Setns(int(ns), unix.CLONE_NEWNET)
			if err == nil {
				err = f()
			}
			ch <- err
		}()
		if err := <-ch; err != nil {
			t.Fatal(err)
		}
	}
	made := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			ns, err = netns.Get()
		}
		made <- err
	}()
	if err := <-made; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	la := netlink.NewLinkAttrs()
	la.Name = "optmltest0"
	veth := &netlink.Veth{LinkAttrs: la, PeerName: "up", PeerNamespace: netlink.NsFd(ns)}
	if old, err := netlink.LinkByName(la.Name); err == nil { // of a test that was killed
		_ = netlink.LinkDel(old)
	}
	if err := netlink.LinkAdd(veth); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { netlink.LinkDel(veth) })
	link, err := netlink.LinkByName(la.Name)
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(netlink.AddrAdd(link, &netlink.Addr{IPNet: ipNet(netip.MustParseAddr("198.51.100.1"), 24)}))
	must(netlink.LinkSetUp(link))
	_, meta, _ := net.ParseCIDR("169.254.169.254/32")
	must(netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: meta, Gw: net.IPv4(198, 51, 100, 2)}))
	in(func() error {
		up, err := netlink.LinkByName("up")
		if err != nil {
			return err
		}
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		for _, err := range []error{
			netlink.AddrAdd(up, &netlink.Addr{IPNet: ipNet(netip.MustParseAddr("198.51.100.2"), 24)}),
			netlink.AddrAdd(lo, &netlink.Addr{IPNet: ipNet(netip.MustParseAddr("169.254.169.254"), 32)}),
			netlink.LinkSetUp(up), netlink.LinkSetUp(lo),
		} {
			if err != nil {
				return err
			}
		}
		return nil
	})
	var o outside
	host := serve(t, 0)
	o.port = host
	in(func() error { serve(t, o.port); serve(t, 80); serveUDP(t, 53); return nil })
	return o
}

// serve answers connections on every address of this thread's namespace.
func serve(t *testing.T, port int) int {
	l, err := net.Listen("tcp4", fmt.Sprintf("0.0.0.0:%d", port))
	if err != nil {
		t.Error(err)
		return 0
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}

func serveUDP(t *testing.T, port int) {
	c, err := net.ListenPacket("udp4", fmt.Sprintf("0.0.0.0:%d", port))
	if err != nil {
		t.Error(err)
		return
	}
	t.Cleanup(func() { c.Close() })
	go func() {
		buf := make([]byte, 512)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			c.WriteTo(buf[:n], from)
		}
	}()
}

// hostAddress is an address of the host on a link that is not ours.
func hostAddress(t *testing.T) string {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() && n.IP.To4() != nil && !strings.HasPrefix(n.IP.String(), "198.51.") {
			return n.IP.String()
		}
	}
	return "198.51.100.1"
}

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
	o := newOutside(t)
	targets := []string{
		fmt.Sprintf("tcp:198.51.100.2:%d", o.port), "udp:198.51.100.2:53", "metadata",
		fmt.Sprintf("tcp:gateway:%d", o.port), fmt.Sprintf("tcp:%s:%d", hostAddress(t), o.port),
	}
	for target, why := range probes(t, false, targets) {
		if why != "" {
			t.Errorf("open: %s is not reached: %s", target, why)
		}
	}
	more := append(targets, "credentials", "dns:example.com", "dns:example.com@198.51.100.2:53", "tcp:[fe80::1%eth0]:80", "tcp:[2001:db8::1]:80")
	for target, why := range probes(t, true, more) {
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
