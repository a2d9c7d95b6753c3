package ctrd

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// guestLink is the name of a container's link (RES-5).
const guestLink = "eth0"

// vethName is the host's end of a container's link, from its ID: a link name has 15 bytes.
func vethName(id string) string {
	h := fnv.New64a()
	h.Write([]byte(id))
	return fmt.Sprintf("ov%012x", h.Sum64()&(1<<48-1))
}

// newNetns makes a network namespace without IPv6. It lives as long as its file is open or a process is in it, so
// nothing of it is left by a crash.
func newNetns() (*os.File, error) {
	type result struct {
		f   *os.File
		err error
	}
	ch := make(chan result, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			ch <- result{nil, fmt.Errorf("make network namespace: %w", err)}
			return
		}
		for _, link := range []string{"all", "default"} { // before any link is in it
			if err := noIPv6(link); err != nil {
				ch <- result{nil, err}
				return
			}
		}
		f, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			err = fmt.Errorf("open network namespace: %w", err)
		}
		ch <- result{f, err}
	}()
	r := <-ch
	return r.f, r.err
}

// netnsPath is where others find a namespace that we hold open.
func netnsPath(ns *os.File) string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), ns.Fd()) }

// checkNetns holds the namespace that a process is in against the one that was made for it.
func checkNetns(ns *os.File, pid int) error {
	path := "/proc/" + strconv.Itoa(pid) + "/ns/net"
	in, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("find network namespace: %w", err)
	}
	if made, err := ns.Stat(); err != nil || !os.SameFile(in, made) {
		return fmt.Errorf("%s is not the network namespace that was made for the container (%w)", path, errors.Join(err, unix.EXDEV))
	}
	return nil
}

// attach connects the namespace ns to the job's network as host index, and sets its loopback up. With no network the
// loopback is all. What a lone network needs is returned: it lives as long as that is open.
func attach(ns *os.File, id string, nf netFile, index int) (far *os.File, err error) {
	h, err := netlink.NewHandleAt(netns.NsHandle(ns.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("enter network namespace: %w", err)
	}
	defer h.Close()
	lo, err := h.LinkByName("lo")
	if err != nil {
		return nil, fmt.Errorf("find loopback: %w", err)
	}
	if err := h.LinkSetUp(lo); err != nil {
		return nil, fmt.Errorf("set loopback up: %w", err)
	}
	switch {
	case !nf.Subnet.IsValid():
		return nil, nil
	case nf.Bridge != "":
		err = linkToBridge(ns, id, nf)
	default:
		far, err = linkToNowhere(h)
	}
	if err == nil {
		err = setUpGuest(h, nf, index)
	}
	if err != nil && far != nil {
		far.Close()
		far = nil
	}
	return far, err
}

// linkToBridge makes the link between a container's namespace and the bridge of its network.
func linkToBridge(ns *os.File, id string, nf netFile) error {
	br, err := netlink.LinkByName(nf.Bridge)
	if err != nil {
		return fmt.Errorf("find bridge %s: %w", nf.Bridge, err)
	}
	la := netlink.NewLinkAttrs()
	la.Name = vethName(id)
	la.MasterIndex = br.Attrs().Index
	veth := &netlink.Veth{LinkAttrs: la, PeerName: guestLink, PeerNamespace: netlink.NsFd(ns.Fd())}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("make link %s: %w", la.Name, err)
	}
	host, err := netlink.LinkByName(la.Name)
	if err != nil {
		return fmt.Errorf("find link %s: %w", la.Name, err)
	}
	if err := netlink.LinkSetAlias(host, alias(nf.Job)); err != nil {
		return fmt.Errorf("mark link %s: %w", la.Name, err)
	}
	if err := noIPv6(la.Name); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(host); err != nil {
		return fmt.Errorf("set link %s up: %w", la.Name, err)
	}
	return nil
}

// linkToNowhere makes the link of a lone network, whose other end is in a namespace in which there is nothing else: what
// is sent there reaches nobody. The host has no part in it, and the kernel removes all of it once nobody holds the
// namespaces any more; to remove a link or a bridge of the host takes it tens of milliseconds, for which a job would wait.
func linkToNowhere(h *netlink.Handle) (far *os.File, err error) {
	if far, err = newNetns(); err != nil {
		return nil, err
	}
	la := netlink.NewLinkAttrs()
	la.Name = guestLink
	err = h.LinkAdd(&netlink.Veth{LinkAttrs: la, PeerName: guestLink, PeerNamespace: netlink.NsFd(far.Fd())})
	if err == nil {
		err = setUpIn(far, guestLink)
	}
	if err != nil {
		far.Close()
		return nil, fmt.Errorf("make link %s: %w", guestLink, err)
	}
	return far, nil
}

// setUpIn sets a link of another namespace up.
func setUpIn(ns *os.File, name string) error {
	h, err := netlink.NewHandleAt(netns.NsHandle(ns.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	link, err := h.LinkByName(name)
	if err != nil {
		return err
	}
	return h.LinkSetUp(link)
}

// setUpGuest gives the container's end of its link its address.
func setUpGuest(h *netlink.Handle, nf netFile, index int) error {
	guest, err := h.LinkByName(guestLink)
	if err != nil {
		return fmt.Errorf("find %s: %w", guestLink, err)
	}
	addr := &netlink.Addr{IPNet: ipNet(hostAddr(nf.Subnet, index), 24)}
	if err := h.AddrAdd(guest, addr); err != nil {
		return fmt.Errorf("set address of %s: %w", guestLink, err)
	}
	if err := h.LinkSetUp(guest); err != nil {
		return fmt.Errorf("set %s up: %w", guestLink, err)
	}
	if !nf.Isolated {
		if err := h.RouteAdd(&netlink.Route{LinkIndex: guest.Attrs().Index, Gw: gatewayAddr(nf.Subnet).AsSlice()}); err != nil {
			return fmt.Errorf("set default route: %w", err)
		}
	}
	return nil
}

// detach removes the host's end of a container's link. The kernel does so too when the namespace goes, but later.
func detach(id string) error {
	link, err := netlink.LinkByName(vethName(id))
	if isNoLink(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find link %s: %w", vethName(id), err)
	}
	if err := netlink.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove link %s: %w", vethName(id), err)
	}
	return nil
}

// dialIn connects from inside the namespace ns. The socket keeps the namespace that it was made in, so only its making
// and its connecting happen there.
func dialIn(ctx context.Context, ns *os.File, network, addr string) (net.Conn, error) {
	return within(ns, func() (net.Conn, error) { return dialHere(ctx, network, addr) })
}

// within calls f on a thread that has entered the namespace ns and is never used for anything else.
func within[T any](ns *os.File, f func() (T, error)) (out T, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			err = fmt.Errorf("enter network namespace: %w", err)
			return
		}
		out, err = f()
	}()
	<-done
	return out, err
}

// listenIn listens inside the namespace ns, whose loopback is given the address if it has not got it.
func listenIn(ns *os.File, addr string) (net.Listener, error) {
	at, err := netip.ParseAddrPort(addr)
	if err != nil || !at.Addr().Is4() {
		return nil, fmt.Errorf("%q is no IPv4 address with a port (%w)", addr, errors.Join(err, unix.EAFNOSUPPORT))
	}
	h, err := netlink.NewHandleAt(netns.NsHandle(ns.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("enter network namespace: %w", err)
	}
	defer h.Close()
	lo, err := h.LinkByName("lo")
	if err != nil {
		return nil, fmt.Errorf("find loopback: %w", err)
	}
	if !at.Addr().IsLoopback() {
		if err := h.AddrAdd(lo, &netlink.Addr{IPNet: ipNet(at.Addr(), 32)}); err != nil && !errors.Is(err, unix.EEXIST) {
			return nil, fmt.Errorf("give the loopback %s: %w", at.Addr(), err)
		}
	}
	return within(ns, func() (net.Listener, error) {
		l, err := listenHere(at)
		if err != nil {
			err = &net.OpError{Op: "listen", Net: "tcp", Addr: net.TCPAddrFromAddrPort(at), Err: err}
		}
		return l, err
	})
}

// listenBacklog is more than a job's processes ask at once.
const listenBacklog = 64

// listenHere listens on this thread, as dialHere connects.
func listenHere(at netip.AddrPort) (net.Listener, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(fd), "listener")
	defer f.Close() // FileListener has a descriptor of its own
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return nil, os.NewSyscallError("setsockopt", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}); err != nil {
		return nil, os.NewSyscallError("bind", err)
	}
	if err := unix.Listen(fd, listenBacklog); err != nil {
		return nil, os.NewSyscallError("listen", err)
	}
	return net.FileListener(f)
}

// dialHere connects on this thread. net.Dialer is not used: with several addresses, or a name to look up, it works on
// other goroutines and so outside the namespace.
func dialHere(ctx context.Context, network, addr string) (net.Conn, error) {
	switch network {
	case "tcp", "tcp4":
	default:
		return nil, &net.OpError{Op: "dial", Net: network, Err: net.UnknownNetworkError(network)}
	}
	tcp, err := net.ResolveTCPAddr("tcp4", addr)
	if err != nil {
		return nil, err
	}
	fail := func(err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: network, Addr: tcp, Err: err}
	}
	ip := tcp.IP.To4()
	if ip == nil {
		ip = net.IPv4(127, 0, 0, 1).To4()
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fail(os.NewSyscallError("socket", err))
	}
	sa := &unix.SockaddrInet4{Port: tcp.Port, Addr: [4]byte(ip)}
	err = unix.Connect(fd, sa)
	if errors.Is(err, unix.EINPROGRESS) {
		err = waitConnected(ctx, fd)
	}
	if err != nil {
		unix.Close(fd)
		if ctx.Err() != nil {
			return fail(ctx.Err())
		}
		return fail(os.NewSyscallError("connect", err))
	}
	f := os.NewFile(uintptr(fd), "tcp")
	defer f.Close()
	conn, err := net.FileConn(f)
	if err != nil {
		return fail(err)
	}
	if t, ok := conn.(*net.TCPConn); ok {
		_ = t.SetNoDelay(true)
	}
	return conn, nil
}

// connectPoll is how often a connection in progress looks whether it is still wanted, in milliseconds.
const connectPoll = 50

func waitConnected(ctx context.Context, fd int) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
		n, err := unix.Poll(p, connectPoll)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		if n > 0 {
			code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
			if err == nil && code != 0 {
				err = unix.Errno(code)
			}
			return err
		}
	}
}
