package ctrd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/optml/optml/runtime/container"
)

// alias marks our links, so that a sweep knows them even without their file.
const aliasPrefix = "optml:"

// netFile is what is kept of a bridge while it exists. Isolated bridges have no address on the host, so this is also
// where their subnets are written down.
type netFile struct {
	Bridge   string       `json:"bridge"`
	Job      string       `json:"job"`
	Subnet   netip.Prefix `json:"subnet"`
	Isolated bool         `json:"isolated"`
}

// lone says whether a network has a single host and no way out. Such a one needs no bridge, no subnet of its own and
// nothing to be removed: linkToNowhere.
func lone(n container.Network) bool { return n.Bridge != "" && n.Isolated && len(n.Hosts) == 1 }

// loneNet is every lone network: since none is connected to anything, all have the same addresses.
func loneNet(job string) netFile {
	return netFile{Job: job, Subnet: netip.PrefixFrom(pools[0].Addr(), 24), Isolated: true}
}

// netMu and the lock beside the files make one of: choosing a subnet, making or removing a bridge, attaching to one.
var netMu sync.Mutex

func (c *Client) lockNet(ctx context.Context) (func(), error) {
	netMu.Lock()
	f, err := lockFile(ctx, filepath.Join(c.cfg.nets(), "lock"), unix.LOCK_EX)
	if err != nil {
		netMu.Unlock()
		return nil, err
	}
	return func() { f.Close(); netMu.Unlock() }, nil
}

func (c *Client) netPath(bridge string) string {
	return filepath.Join(c.cfg.nets(), bridge+".json")
}

// ensureNet returns the job's network, making its bridge when missing.
func (c *Client) ensureNet(ctx context.Context, job string, n container.Network) (netFile, error) {
	unlock, err := c.lockNet(ctx)
	if err != nil {
		return netFile{}, err
	}
	defer unlock()
	nf, err := readNet(c.netPath(n.Bridge))
	switch {
	case err == nil && nf.Job != job:
		return netFile{}, fmt.Errorf("bridge %s belongs to %s", n.Bridge, nf.Job)
	case err == nil && nf.Isolated != n.Isolated:
		return netFile{}, fmt.Errorf("bridge %s: one job cannot be isolated and open", n.Bridge)
	case err == nil:
		if _, err := netlink.LinkByName(n.Bridge); err == nil {
			return nf, nil
		}
		// A reboot took the bridge and left the file, where the run directory survives one.
	case !errors.Is(err, fs.ErrNotExist):
		return netFile{}, err
	default:
		used, err := c.usedSubnets()
		if err != nil {
			return netFile{}, err
		}
		subnet, err := chooseSubnet(used)
		if err != nil {
			return netFile{}, err
		}
		nf = netFile{Bridge: n.Bridge, Job: job, Subnet: subnet, Isolated: n.Isolated}
		b, err := json.Marshal(nf)
		if err != nil {
			return netFile{}, err
		}
		// The file comes first: a crash after it leaves a file for the sweep, not an unknown bridge.
		if err := writeFile(c.netPath(n.Bridge), b, 0o600); err != nil {
			return netFile{}, fmt.Errorf("write network file: %w", err)
		}
	}
	if err := makeBridge(nf); err != nil {
		_ = c.removeNet(nf) // what it leaves is the sweep's
		return netFile{}, err
	}
	return nf, nil
}

func readNet(path string) (netFile, error) {
	var nf netFile
	b, err := os.ReadFile(path)
	if err != nil {
		return nf, fmt.Errorf("read network file: %w", err)
	}
	if err := json.Unmarshal(b, &nf); err != nil {
		return nf, fmt.Errorf("read network file %s: %w", path, err)
	}
	return nf, nil
}

// nets lists the networks of this run directory.
func (c *Client) networks() ([]netFile, error) {
	paths, err := filepath.Glob(filepath.Join(c.cfg.nets(), "*.json"))
	if err != nil {
		return nil, err
	}
	var out []netFile
	for _, p := range paths {
		nf, err := readNet(p)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, nf)
	}
	return out, nil
}

// usedSubnets are the host's routes and addresses, and the subnets of our own networks.
func (c *Client) usedSubnets() ([]netip.Prefix, error) {
	var used []netip.Prefix
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	for _, r := range routes {
		if p, ok := prefix(r.Dst); ok {
			used = append(used, p)
		}
	}
	addrs, err := netlink.AddrList(nil, netlink.FAMILY_V4)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addrs {
		if p, ok := prefix(a.IPNet); ok {
			used = append(used, p)
		}
	}
	nets, err := c.networks()
	if err != nil {
		return nil, err
	}
	for _, n := range nets {
		used = append(used, n.Subnet)
	}
	return used, nil
}

func prefix(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(a.Unmap(), bits).Masked(), ok
}

// makeBridge makes the bridge of a network. An isolated one is a switch that the host has no part in: no address, no
// IPv6, nothing routed, and packets from it are taken as spoofed.
func makeBridge(nf netFile) error {
	la := netlink.NewLinkAttrs()
	la.Name = nf.Bridge
	br := &netlink.Bridge{LinkAttrs: la}
	if err := netlink.LinkAdd(br); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("make bridge %s: %w", nf.Bridge, err)
	}
	link, err := netlink.LinkByName(nf.Bridge)
	if err != nil {
		return fmt.Errorf("find bridge %s: %w", nf.Bridge, err)
	}
	if err := netlink.LinkSetAlias(link, alias(nf.Job)); err != nil {
		return fmt.Errorf("mark bridge %s: %w", nf.Bridge, err)
	}
	if err := noIPv6(nf.Bridge); err != nil {
		return err
	}
	if nf.Isolated {
		for _, kv := range [][2]string{{"rp_filter", "1"}, {"forwarding", "0"}, {"arp_ignore", "8"}} {
			if err := sysctl("net/ipv4/conf/"+nf.Bridge+"/"+kv[0], kv[1]); err != nil {
				return err
			}
		}
	} else if err := openBridge(nf, link); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("set bridge %s up: %w", nf.Bridge, err)
	}
	return nil
}

// openBridge gives an open network its gateway and its way out. Forwarding is set for the whole host and never unset:
// others may have come to rely on it.
func openBridge(nf netFile, link netlink.Link) error {
	addr := &netlink.Addr{IPNet: ipNet(gatewayAddr(nf.Subnet), 24)}
	if err := netlink.AddrAdd(link, addr); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("set address of bridge %s: %w", nf.Bridge, err)
	}
	if err := sysctl("net/ipv4/ip_forward", "1"); err != nil {
		return err
	}
	return addMasquerade(nf.Bridge, nf.Subnet)
}

// removeNet removes a network. What is not there is no error. The caller holds the lock.
func (c *Client) removeNet(nf netFile) error {
	var errs []error
	link, err := netlink.LinkByName(nf.Bridge)
	if err == nil {
		if err := netlink.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
			errs = append(errs, fmt.Errorf("remove bridge %s: %w", nf.Bridge, err))
		}
	} else if !isNoLink(err) {
		errs = append(errs, fmt.Errorf("find bridge %s: %w", nf.Bridge, err))
	}
	if !nf.Isolated {
		errs = append(errs, removeMasquerade(nf.Bridge))
	}
	if err := errors.Join(errs...); err != nil {
		return err // the file stays, for the next sweep
	}
	if err := os.Remove(c.netPath(nf.Bridge)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove network file: %w", err)
	}
	return nil
}

// releaseNet removes the network if no container of the job but the one named uses it any more.
func (c *Client) releaseNet(ctx context.Context, bridge, but string) error {
	unlock, err := c.lockNet(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	nf, err := readNet(c.netPath(bridge))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	inUse, err := c.netInUse(bridge, but)
	if err != nil || inUse {
		return err
	}
	return c.removeNet(nf)
}

// netInUse says whether a container that exists, or is being made, names the bridge; the one named does not count.
func (c *Client) netInUse(bridge, but string) (bool, error) {
	list, err := c.runFiles()
	if err != nil {
		return false, err
	}
	for _, r := range list {
		if r.Bridge == bridge && r.ID != but {
			return true, nil
		}
	}
	return false, nil
}

// maxAlias is the kernel's IFALIASZ less the end.
const maxAlias = 255

func alias(job string) string {
	a := aliasPrefix + job
	return a[:min(len(a), maxAlias)]
}

func isNoLink(err error) bool {
	_, ok := errors.AsType[netlink.LinkNotFoundError](err)
	return ok || errors.Is(err, unix.ENODEV)
}

func ipNet(a netip.Addr, bits int) *net.IPNet {
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(bits, 32)}
}

func sysctl(name, value string) error {
	path := "/proc/sys/" + name
	if b, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(b)) == value {
		return nil
	}
	if err := os.WriteFile(path, []byte(value), 0); err != nil {
		return fmt.Errorf("set %s: %w", strings.ReplaceAll(name, "/", "."), err)
	}
	return nil
}

// noIPv6 switches IPv6 off for a link of the host; a host without IPv6 has nothing to switch.
func noIPv6(link string) error {
	if _, err := os.Stat("/proc/sys/net/ipv6/conf/" + link); err != nil {
		return nil
	}
	return sysctl("net/ipv6/conf/"+link+"/disable_ipv6", "1")
}
