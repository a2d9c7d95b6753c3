package ctrd

import (
	"fmt"
	"net/netip"
)

// pools are where the /24 of a job's bridge is taken from, in this order: parts of the private ranges that neither
// home routers, Docker, Kubernetes nor clouds take by default.
var pools = []netip.Prefix{
	netip.MustParsePrefix("10.213.0.0/16"),
	netip.MustParsePrefix("10.214.0.0/16"),
	netip.MustParsePrefix("172.29.0.0/16"),
	netip.MustParsePrefix("192.168.192.0/18"),
}

// chooseSubnet returns the first /24 of the pools that overlaps none of used. With everything taken it is an error.
func chooseSubnet(used []netip.Prefix) (netip.Prefix, error) {
	for _, pool := range pools {
		a := pool.Masked().Addr().As4()
		for range 1 << (24 - pool.Bits()) {
			p := netip.PrefixFrom(netip.AddrFrom4(a), 24)
			if !overlapsAny(p, used) {
				return p, nil
			}
			if a[2]++; a[2] == 0 {
				a[1]++
			}
		}
	}
	return netip.Prefix{}, fmt.Errorf("choose a network: every /24 of %v is in use on this host", pools)
}

func overlapsAny(p netip.Prefix, used []netip.Prefix) bool {
	for _, u := range used {
		// A default route covers everything and takes nothing.
		if u.Bits() > 0 && u.Overlaps(p) {
			return true
		}
	}
	return false
}

// hostAddr is the address of host i of a job: .1 is the gateway's.
func hostAddr(subnet netip.Prefix, i int) netip.Addr {
	a := subnet.Addr().As4()
	a[3] = byte(i + 2)
	return netip.AddrFrom4(a)
}

func gatewayAddr(subnet netip.Prefix) netip.Addr {
	a := subnet.Addr().As4()
	a[3] = 1
	return netip.AddrFrom4(a)
}

// maxHosts is how many hosts a /24 has room for.
const maxHosts = 253
