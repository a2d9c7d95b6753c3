package ctrd

import (
	"bufio"
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// guestFiles writes the container's /etc/hosts, /etc/hostname and /etc/resolv.conf and returns their paths by target.
func guestFiles(dir string, files map[string][]byte) error {
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			return fmt.Errorf("write container's %s: %w", name, err)
		}
	}
	return nil
}

// hostsFile is a container's /etc/hosts: the loopback names and every host of the job. A host name of the container
// that is not its name in the job stands beside that.
func hostsFile(subnet netip.Prefix, hosts []string, index int, hostname string) []byte {
	var b bytes.Buffer
	b.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
	if !subnet.IsValid() {
		if hostname != "" {
			fmt.Fprintf(&b, "127.0.1.1\t%s\n", hostname)
		}
		return b.Bytes()
	}
	for i, h := range hosts {
		fmt.Fprintf(&b, "%s\t%s", hostAddr(subnet, i), h)
		if i == index && hostname != "" && hostname != h {
			fmt.Fprintf(&b, " %s", hostname)
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// resolvFiles are where the host's resolvers stand: the second is what systemd-resolved serves when the first names
// only itself on the loopback, which a container cannot reach.
var resolvFiles = []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"}

// hostResolv is the /etc/resolv.conf of a container with a way out; empty when the host has no resolver that one can
// reach.
func hostResolv(paths []string) []byte {
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if err != nil {
			continue
		}
		if out, ok := reachableResolv(b); ok {
			return out
		}
	}
	return nil
}

// reachableResolv drops resolvers on the loopback and, since containers have no IPv6, those with such an address.
func reachableResolv(b []byte) ([]byte, bool) {
	var out bytes.Buffer
	found := false
	for sc := bufio.NewScanner(bytes.NewReader(b)); sc.Scan(); {
		line := sc.Text()
		if f := strings.Fields(line); len(f) >= 2 && f[0] == "nameserver" {
			a, err := netip.ParseAddr(f[1])
			if err != nil || a.IsLoopback() || !a.Is4() {
				continue
			}
			found = true
		}
		out.WriteString(line + "\n")
	}
	return out.Bytes(), found
}
