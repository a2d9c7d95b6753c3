package ctrd

import (
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/optml/optml/runtime/container"
)

func TestParseStatus(t *testing.T) {
	for _, c := range []struct {
		status string
		want   container.Process
		alive  bool
	}{
		{"Name:\tsh\nState:\tS (sleeping)\nNSpid:\t4711\t1\nSigPnd:\t0000000000000000\nShdPnd:\t0000000000000000\nSigIgn:\t0000000000000000\nSigCgt:\t0000000000010002\n",
			container.Process{PID: 1, Command: "sh", Term: container.HandlingDefault}, true},
		{"Name:\tpython\nState:\tR (running)\nNSpid:\t4712\t7\nShdPnd:\t0000000000004000\nSigIgn:\t0000000001001000\nSigCgt:\t0000000000004002\n",
			container.Process{PID: 7, Command: "python", Term: container.HandlingCaught, Pending: true}, true},
		{"Name:\tx\nNSpid:\t9\nSigIgn:\t0000000000004000\nSigCgt:\t0000000000000000\n", container.Process{PID: 9, Command: "x", Term: container.HandlingIgnored}, true},
		{"Name:\tx\nState:\tZ (zombie)\n", container.Process{Command: "x", Term: container.HandlingDefault}, false},
		{"SigCgt:\tzz\n\nnonsense", container.Process{Term: container.HandlingDefault}, true},
	} {
		p, alive := parseStatus([]byte(c.status))
		if p.PID != c.want.PID || p.Command != c.want.Command || p.Term != c.want.Term || p.Pending != c.want.Pending || alive != c.alive {
			t.Errorf("%q: %+v %v", c.status, p, alive)
		}
	}
	// Our own process, as the kernel tells it.
	signal.Ignore(unix.SIGTERM)
	defer signal.Reset(unix.SIGTERM)
	p, ok := readProcess("/proc/self")
	if !ok || p.Term != container.HandlingIgnored || p.Command == "" || len(p.Command) > container.MaxCommand {
		t.Errorf("%+v, %v", p, ok)
	}
	if _, ok := readProcess(filepath.Join(t.TempDir(), "gone")); ok {
		t.Error("a process that is not there is told")
	}
}

func TestWrites(t *testing.T) {
	for info, want := range map[string]bool{"pos:\t0\nflags:\t0100000\n": false, "pos:\t0\nflags:\t0100001\n": true, "flags:\t02100002\n": true, "": false, "flags:\tx\n": false} {
		if writes([]byte(info)) != want {
			t.Errorf("%q", info)
		}
	}
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := os.Open(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got := openForWriting("/proc/self"); !slices.Contains(got, f.Name()) || slices.Contains(got, r.Name()) ||
		slices.ContainsFunc(got, func(p string) bool { return strings.HasPrefix(p, "/dev/") }) {
		t.Errorf("open for writing: %v", got)
	}
}
