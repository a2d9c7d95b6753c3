package ctrd

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/optml/optml/runtime/container"
)

// Listening implements container.Task.
func (t *task) Listening(context.Context) ([]netip.AddrPort, error) {
	ns, err := t.netns()
	if err != nil {
		return nil, fmt.Errorf("look for listeners in container %s: %w", t.spec.ID, err)
	}
	defer ns.Close()
	return within(ns, func() (all []netip.AddrPort, err error) {
		for _, name := range []string{"tcp", "tcp6"} {
			f, err := os.Open("/proc/thread-self/net/" + name)
			if os.IsNotExist(err) { // a kernel without IPv6
				continue
			}
			if err != nil {
				return nil, err
			}
			b, err := io.ReadAll(io.LimitReader(f, listenersBytes))
			f.Close()
			if err != nil {
				return nil, err
			}
			for _, at := range parseListeners(b) {
				if !slices.Contains(all, at) {
					all = append(all, at)
				}
			}
		}
		return all[:min(len(all), container.MaxListening)], nil
	})
}

// listenersBytes bounds what is read of the kernel's list of sockets, on which those that listen come first.
const listenersBytes = 256 << 10

// parseListeners reads /proc/net/tcp or tcp6: the local addresses of sockets in state LISTEN.
func parseListeners(b []byte) (all []netip.AddrPort) {
	const listen = "0A"
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 4 || f[3] != listen {
			continue
		}
		host, port, _ := strings.Cut(f[1], ":")
		words, err := hex.DecodeString(host)
		p, perr := strconv.ParseUint(port, 16, 16)
		if err != nil || perr != nil || len(words)%4 != 0 {
			continue
		}
		for i := 0; i < len(words); i += 4 { // each word is printed as a number of this machine
			binary.NativeEndian.PutUint32(words[i:], binary.BigEndian.Uint32(words[i:]))
		}
		if a, ok := netip.AddrFromSlice(words); ok {
			all = append(all, netip.AddrPortFrom(a.Unmap(), uint16(p)))
		}
	}
	return all
}
