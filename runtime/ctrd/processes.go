package ctrd

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/optml/optml/runtime/container"
)

// Processes implements container.Task.
func (t *task) Processes(context.Context) ([]container.Process, error) {
	t.mu.Lock()
	closed := t.closed
	t.mu.Unlock()
	if closed {
		return nil, nil
	}
	pids, err := t.group.PIDs()
	if err != nil {
		return nil, err
	}
	slices.SortFunc(pids, func(a, b int) int { // the main one first, whatever follows
		if a == t.pid || b == t.pid {
			return btoi(b == t.pid) - btoi(a == t.pid)
		}
		return a - b
	})
	var out []container.Process
	for _, pid := range pids {
		if len(out) == container.MaxProcesses {
			break
		}
		p, ok := readProcess(filepath.Join("/proc", strconv.Itoa(pid)))
		if !ok { // it has ended meanwhile
			continue
		}
		p.Main = pid == t.pid
		out = append(out, p)
	}
	return out, nil
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// readProcess reads a process's directory below /proc. false: it is not there any more, or is dead.
func readProcess(dir string) (container.Process, bool) {
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return container.Process{}, false
	}
	p, alive := parseStatus(status)
	if !alive {
		return p, false
	}
	args, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
	if c := strings.ToValidUTF8(string(bytes.ReplaceAll(bytes.TrimRight(args, "\x00"), []byte{0}, []byte{' '})), "?"); c != "" {
		p.Command = c
	}
	if len(p.Command) > container.MaxCommand {
		p.Command = strings.ToValidUTF8(p.Command[:container.MaxCommand], "")
	}
	p.Writing = openForWriting(dir)
	return p, true
}

// parseStatus reads /proc/<pid>/status: the name, the PID in the innermost namespace, and what becomes of SIGTERM.
func parseStatus(b []byte) (p container.Process, alive bool) {
	alive, p.Term = true, container.HandlingDefault
	has := func(mask string) bool {
		n, err := strconv.ParseUint(strings.TrimSpace(mask), 16, 64)
		return err == nil && n&(1<<(uint(unix.SIGTERM)-1)) != 0
	}
	for line := range strings.Lines(string(b)) {
		key, v, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch v = strings.TrimSpace(v); key {
		case "Name":
			p.Command = v
		case "State":
			alive = !strings.HasPrefix(v, "Z") && !strings.HasPrefix(v, "X")
		case "NSpid":
			if f := strings.Fields(v); len(f) > 0 {
				p.PID, _ = strconv.Atoi(f[len(f)-1])
			}
		case "SigPnd", "ShdPnd":
			p.Pending = p.Pending || has(v)
		case "SigIgn":
			if has(v) {
				p.Term = container.HandlingIgnored
			}
		case "SigCgt":
			if has(v) {
				p.Term = container.HandlingCaught
			}
		}
	}
	return p, alive
}

// openForWriting are the files that a process may write to by a descriptor, as the container names them.
func openForWriting(dir string) (paths []string) {
	fds, err := os.ReadDir(filepath.Join(dir, "fd"))
	if err != nil {
		return nil
	}
	for _, fd := range fds {
		path, err := os.Readlink(filepath.Join(dir, "fd", fd.Name()))
		if err != nil || !strings.HasPrefix(path, "/") || slices.ContainsFunc(kernels, func(dir string) bool { return strings.HasPrefix(path, dir) }) {
			continue
		}
		info, err := os.ReadFile(filepath.Join(dir, "fdinfo", fd.Name()))
		if err != nil || !writes(info) || slices.Contains(paths, path) {
			continue
		}
		if paths = append(paths, path); len(paths) == container.MaxWriting {
			break
		}
	}
	return paths
}

// kernels are directories without files that anybody would want to keep.
var kernels = []string{"/dev/", "/proc/", "/sys/"}

// writes says of /proc/<pid>/fdinfo/<fd> whether the descriptor was opened for writing.
func writes(info []byte) bool {
	for line := range strings.Lines(string(info)) {
		if v, ok := strings.CutPrefix(line, "flags:"); ok {
			var flags int
			_, err := fmt.Sscanf(strings.TrimSpace(v), "%o", &flags)
			return err == nil && flags&unix.O_ACCMODE != unix.O_RDONLY
		}
	}
	return false
}
