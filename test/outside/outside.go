// Package outside is a network beyond the host, for tests that hold what a container may reach and what not: the same
// probes must reach it from an open network, and nothing of it from an isolated one.
package outside

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Name is what the DNS servers know.
const Name = "reached.optml.test"

// Network is the network, with services on it and on the host itself: TCP on Port, and DNS servers, on port 53 there and
// on Port+1 (at Address) and Port+2 here. At 198.51.100.2 and 2001:db8:1::2 it stands for the internet, at 169.254.169.254
// and 169.254.170.2 for what hands out the cloud's credentials (training 6.5).
type Network struct {
	Port    int
	Address string // of the host, on a link that is not ours
}

// link is the host's end. One test at a time has it.
const link = "optmltest0"

// New makes one that lasts as long as the test. It waits for that of another test to be gone. Root is needed.
func New(t *testing.T) Network {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var ns netns.NsHandle
	must(inThread(func() (err error) {
		if err = unix.Unshare(unix.CLONE_NEWNET); err == nil {
			ns, err = netns.Get()
		}
		return err
	}))
	t.Cleanup(func() { ns.Close() })
	in := func(f func() error) error {
		return inThread(func() error {
			if err := unix.Setns(int(ns), unix.CLONE_NEWNET); err != nil {
				return err
			}
			return f()
		})
	}
	la := netlink.NewLinkAttrs()
	la.Name = link
	veth := &netlink.Veth{LinkAttrs: la, PeerName: "up", PeerNamespace: netlink.NsFd(ns)}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		err := netlink.LinkAdd(veth)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EEXIST) || time.Now().After(deadline) {
			t.Fatalf("network %s: %v", link, err)
		}
	}
	t.Cleanup(func() { _ = netlink.LinkDel(veth) })
	near, err := netlink.LinkByName(link)
	must(err)
	must(setUp(near, "198.51.100.1/24", "2001:db8:1::1/64"))
	far := net.IPv4(198, 51, 100, 2)
	for _, to := range []string{"169.254.169.254/32", "169.254.170.2/32"} {
		_, dst, _ := net.ParseCIDR(to)
		must(netlink.RouteAdd(&netlink.Route{LinkIndex: near.Attrs().Index, Dst: dst, Gw: far}))
	}
	must(in(func() error {
		for name, addrs := range map[string][]string{
			"up": {"198.51.100.2/24", "2001:db8:1::2/64"},
			"lo": {"169.254.169.254/32", "169.254.170.2/32"},
		} {
			l, err := netlink.LinkByName(name)
			if err == nil {
				err = setUp(l, addrs...)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}))
	var n Network
	n.Port, err = listen(t, 0)
	must(err)
	n.Address = hostAddress(t)
	must(serveDNS(t, n.Address, n.Port+1)) // an answer must come from where the question went
	must(serveDNS(t, "", n.Port+2))
	must(in(func() error {
		for _, p := range []int{n.Port, 80} {
			if _, err := listen(t, p); err != nil {
				return err
			}
		}
		return serveDNS(t, "", 53)
	}))
	c, err := net.Dial("tcp", net.JoinHostPort("2001:db8:1::2", strconv.Itoa(n.Port)))
	must(err)
	c.Close()
	return n
}

// Targets are all that isolation must close (training 6.5): names, the internet in both versions of IP, what hands out
// credentials, and the host by each way that a container could try. They are in the words of the tests' image (test/images/tiny).
func (n Network) Targets() []string {
	return []string{
		"dns:" + Name + "@198.51.100.2:53", fmt.Sprintf("dns:%s@gateway:%d", Name, n.Port+2), fmt.Sprintf("dns:%s@%s:%d", Name, n.Address, n.Port+1),
		fmt.Sprintf("tcp:198.51.100.2:%d", n.Port), "metadata", "credentials", "http://169.254.170.2/v2/credentials/",
		fmt.Sprintf("tcp:gateway:%d", n.Port), fmt.Sprintf("tcp:%s:%d", n.Address, n.Port), fmt.Sprintf("tcp:198.51.100.1:%d", n.Port),
	}
}

// Never are targets that an open container has no way to either, since its network has no IPv6; isolated ones must not
// have one all the same. The host itself reaches them, so there is something to reach.
func (n Network) Never() []string {
	return []string{fmt.Sprintf("tcp:[2001:db8:1::2]:%d", n.Port), fmt.Sprintf("tcp:[2001:db8:1::1]:%d", n.Port), "tcp:[fe80::1%eth0]:80", "dns:" + Name}
}

// inThread runs f on a thread of its own, which is thrown away: its namespaces may have changed.
func inThread(f func() error) error {
	ch := make(chan error)
	go func() {
		runtime.LockOSThread()
		ch <- f()
	}()
	return <-ch
}

func setUp(l netlink.Link, addrs ...string) error {
	for _, a := range addrs {
		ip, n, err := net.ParseCIDR(a)
		if err != nil {
			return err
		}
		n.IP = ip
		addr := &netlink.Addr{IPNet: n}
		if ip.To4() == nil {
			addr.Flags = unix.IFA_F_NODAD // usable at once
		}
		if err := netlink.AddrAdd(l, addr); err != nil {
			return fmt.Errorf("address %s: %w", a, err)
		}
	}
	return netlink.LinkSetUp(l)
}

// listen answers TCP, and HTTP on it, on every address of this thread's namespace.
func listen(t *testing.T, port int) (int, error) {
	l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		return 0, err
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "reached") })}
	t.Cleanup(func() { s.Close() })
	go func() { _ = s.Serve(l) }()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// serveDNS answers every question with 192.0.2.1: the header of the question with the bits of an answer, the question,
// and a record that points to its name.
func serveDNS(t *testing.T, host string, port int) error {
	c, err := net.ListenPacket("udp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return err
	}
	t.Cleanup(func() { c.Close() })
	go func() {
		buf := make([]byte, 512)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			if a := answerDNS(buf[:n]); a != nil {
				_, _ = c.WriteTo(a, from)
			}
		}
	}()
	return nil
}

func answerDNS(q []byte) []byte {
	end := 12
	for end < len(q) && q[end] != 0 {
		end += int(q[end]) + 1
	}
	if end += 5; end > len(q) {
		return nil
	}
	kind := q[end-3]
	a := append([]byte{q[0], q[1], 0x84, 0, 0, 1, 0, 0, 0, 0, 0, 0}, q[12:end]...)
	if kind == 1 { // an A record; of every other kind there is none
		a[7] = 1
		a = append(a, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1)
	}
	return a
}

// hostAddress is an address of the host on a link that is not ours; the far network's near end where it has none.
func hostAddress(t *testing.T) string {
	t.Helper()
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
