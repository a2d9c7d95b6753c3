package ctrd

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func prefixes(s ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range s {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

func TestChooseSubnet(t *testing.T) {
	for _, c := range []struct {
		name string
		used []netip.Prefix
		want string
	}{
		{"an empty host", nil, "10.213.0.0/24"},
		{"a default route takes nothing", prefixes("0.0.0.0/0"), "10.213.0.0/24"},
		{"one in use", prefixes("10.213.0.0/24"), "10.213.1.0/24"},
		{"a part of one in use", prefixes("10.213.0.77/32", "10.213.1.128/25"), "10.213.2.0/24"},
		{"a whole pool in use", prefixes("10.213.0.0/16"), "10.214.0.0/24"},
		{"a VPN over all of 10/8", prefixes("10.0.0.0/8"), "172.29.0.0/24"},
		{"and over 172.16/12", prefixes("10.0.0.0/8", "172.16.0.0/12"), "192.168.192.0/24"},
	} {
		got, err := chooseSubnet(c.used)
		if err != nil || got.String() != c.want {
			t.Errorf("%s: %v, %v, want %s", c.name, got, err, c.want)
		}
	}
	if p, err := chooseSubnet(prefixes("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")); err == nil {
		t.Errorf("everything in use: %v", p)
	}
	var used []netip.Prefix
	for range 300 { // beyond one pool, without repeating
		p, err := chooseSubnet(used)
		if err != nil {
			t.Fatal(err)
		}
		if overlapsAny(p, used) {
			t.Fatalf("%v is chosen twice", p)
		}
		used = append(used, p)
	}
	if a := hostAddr(used[0], 0); a.String() != "10.213.0.2" || gatewayAddr(used[0]).String() != "10.213.0.1" {
		t.Errorf("first host is %v", a)
	}
	if a := hostAddr(used[0], maxHosts-1); a.String() != "10.213.0.254" {
		t.Errorf("last host is %v", a)
	}
}

func TestHostsFile(t *testing.T) {
	const loopback = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
	subnet := netip.MustParsePrefix("10.213.7.0/24")
	for _, c := range []struct {
		name     string
		subnet   netip.Prefix
		hosts    []string
		index    int
		hostname string
		want     string
	}{
		{"one host", subnet, []string{"algo-1"}, 0, "algo-1", "10.213.7.2\talgo-1\n"},
		{"two hosts and another host name", subnet, []string{"algo-1", "algo-2"}, 1, "ip-10-0-0-2", "10.213.7.2\talgo-1\n10.213.7.3\talgo-2 ip-10-0-0-2\n"},
		{"no network", netip.Prefix{}, nil, 0, "algo-1", "127.0.1.1\talgo-1\n"},
	} {
		if got := string(hostsFile(c.subnet, c.hosts, c.index, c.hostname)); got != loopback+c.want {
			t.Errorf("%s:\n%s", c.name, got)
		}
	}
}

func TestHostResolv(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return p
	}
	stub := write("stub", "nameserver 127.0.0.53\noptions edns0\n")
	real := write("real", "# by systemd\nsearch example.com\nnameserver 192.0.2.53\nnameserver fe80::1%eth0\nnameserver ::1\n")
	for name, c := range map[string]struct {
		paths []string
		want  string
	}{
		"a resolver on the loopback cannot be reached": {[]string{stub, real}, "# by systemd\nsearch example.com\nnameserver 192.0.2.53\n"},
		"none that can":     {[]string{stub}, ""},
		"no file":           {[]string{filepath.Join(dir, "none")}, ""},
		"an ordinary host":  {[]string{write("plain", "nameserver 8.8.8.8"), real}, "nameserver 8.8.8.8\n"},
		"rubbish is no one": {[]string{write("rubbish", "nameserver not-an-address\n")}, ""},
	} {
		if got := string(hostResolv(c.paths)); got != c.want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestNames(t *testing.T) {
	seen := map[string]bool{}
	for _, id := range []string{"a", "b", strings.Repeat("x", 76), "job-1.algo-1", "job-1.algo-2"} {
		n := vethName(id)
		if len(n) > 15 || seen[n] {
			t.Errorf("link name %q of %s", n, id)
		}
		seen[n] = true
	}
	if a := alias(strings.Repeat("/long", 100)); len(a) != maxAlias {
		t.Errorf("alias has %d bytes", len(a))
	}
}

func TestRole(t *testing.T) {
	for _, c := range [][3]string{
		{"/run/optml/bin/containerd-shim-runc-v2", "", RoleShim}, {"/usr/bin/optml", RoleShim, RoleShim},
		{"optml-containerd", "", RoleDaemon}, {"/run/optml/bin/optml-logger", "", RoleLogger},
		{"/usr/bin/optml", "", ""}, {"optml", "something", ""},
	} {
		if got := Role(c[0], c[1]); got != c[2] {
			t.Errorf("%s with %q is %q, want %q", c[0], c[1], got, c[2])
		}
	}
}

func TestDaemonEnv(t *testing.T) {
	got := daemonEnv([]string{"PATH=/bin", "AWS_SECRET_ACCESS_KEY=x", "HOME=/root", "HTTP_PROXY=http://user:pw@proxy", "OPTML_ROLE="})
	if strings.Join(got, " ") != "PATH=/bin HOME=/root" {
		t.Errorf("the daemon gets %q", got)
	}
}

func TestLink(t *testing.T) {
	p := filepath.Join(t.TempDir(), "l")
	for _, target := range []string{"/a", "/b", "/b"} {
		if err := link(target, p); err != nil {
			t.Fatal(err)
		}
		if got, _ := os.Readlink(p); got != target {
			t.Errorf("link is to %q, want %q", got, target)
		}
	}
	if l, _ := os.ReadDir(filepath.Dir(p)); len(l) != 1 {
		t.Errorf("left: %v", l)
	}
}

func TestMissingRunc(t *testing.T) {
	_, err := findRunc("no-such-runc")
	m, ok := err.(*MissingRuncError)
	if !ok || m.Hint != "apt-get install runc" || !strings.Contains(err.Error(), "no-such-runc") {
		t.Errorf("error is %#v", err)
	}
}
