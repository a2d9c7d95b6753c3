//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// host is the host's state as far as a job can change it (ruling 28): by kind, a sorted list of lines. Lines carry no
// numbers that differ from one time to the next.
type host map[string][]string

// takeHost looks at the host.
func takeHost() host {
	h := host{}
	h["mounts"] = mounts()
	h["links"] = links()
	h["routes"] = lines("/proc/thread-self/net/route", "/proc/thread-self/net/ipv6_route") // the process may have lent its first thread to another namespace
	h["nftables"] = nft()
	h["control groups"] = cgroups()
	h["processes"] = processes()
	h["run directory"] = slices.DeleteFunc(tree(w.run, nil), func(p string) bool { return strings.HasPrefix(p, "users") }) // a cache, by the layers of images
	h["temporary files"] = append(tree(w.tmp, nil), tree(w.s3, isTemporary)...)
	h["jobs under way"] = tree(filepath.Join(w.root, "jobs"), isHalfMade)
	h["elsewhere"] = elsewhere()
	if w.client != nil {
		h["containerd"] = inContainerd()
	}
	for _, l := range h {
		slices.Sort(l)
	}
	return h
}

// diff prints what is in one and not in the other; "" is no difference. What another program on a shared host made is
// left out.
func (h host) diff(now host) string {
	var b strings.Builder
	for _, kind := range slices.Sorted(maps.Keys(now)) {
		before, after := count(h[kind]), count(now[kind])
		for _, l := range slices.Sorted(maps.Keys(after)) {
			if n := after[l] - before[l]; n > 0 && ours(kind, l) {
				fmt.Fprintf(&b, "  %s: + %s%s\n", kind, l, times(n))
			}
		}
		for _, l := range slices.Sorted(maps.Keys(before)) {
			if n := before[l] - after[l]; n > 0 && ours(kind, l) {
				fmt.Fprintf(&b, "  %s: - %s%s\n", kind, l, times(n))
			}
		}
	}
	return b.String()
}

func times(n int) string {
	if n == 1 {
		return ""
	}
	return fmt.Sprintf(" (%d times)", n)
}

func count(lines []string) map[string]int {
	m := map[string]int{}
	for _, l := range lines {
		m[l]++
	}
	return m
}

// patience is how long the kernel may take to remove the network namespace of a dead process, with the links in it.
const patience = 20 * time.Second

// settle compares the host with before until nothing differs, and returns what still differs in the end.
func settle(before host, take func() host) string {
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		d := before.diff(take())
		if d == "" || time.Now().After(deadline) {
			return d
		}
	}
}

// sameHost holds that the host is at the end of the test as it is now.
func sameHost(t *testing.T) {
	t.Helper()
	before := takeHost()
	t.Cleanup(func() {
		if d := settle(before, takeHost); d != "" {
			t.Errorf("the host is not as it was:\n%s", d)
		}
	})
}

// equalHost says at once what differs from before.
func equalHost(t *testing.T, before host, when string) {
	t.Helper()
	if d := settle(before, takeHost); d != "" {
		t.Errorf("%s the host is not as it was:\n%s", when, d)
	}
}

// shared is whether any other program may change this host while we look.
var shared = os.Getenv("OPTML_E2E_SHARED") != ""

// ours says whether a line counts. What bears the mark of another optml's job, which may well run on the same host, does
// not; on a shared host only what names something of ours does.
func ours(kind, line string) bool {
	own := marks()
	named := slices.ContainsFunc(own, func(m string) bool { return strings.Contains(line, m) })
	switch kind {
	case "run directory", "temporary files", "jobs under way", "containerd", "processes":
		return true
	}
	return named || !shared && !marked.MatchString(line)
}

// marked is what optml makes for jobs: groups, links, rules and routes by the bridge's name, mounts of containers; and the
// network that tests of isolation make, here and in runtime/ctrd.
var marked = regexp.MustCompile(`\boptmltest0\b|/optml/\S+-[0-9a-f]{8}|optml:/|optml-[0-9a-f]{8}|io\.containerd\.runtime\.v2\.task`)

// seen are the directories of all jobs that there ever were; the names of their bridges and groups come of them.
var seen = map[string]bool{}

func marks() []string {
	dirs, _ := filepath.Glob(filepath.Join(w.root, "jobs", "*", "*"))
	for _, d := range dirs {
		seen[d] = true
	}
	out := []string{filepath.Base(w.run), filepath.Base(w.dir)}
	for d := range seen {
		h := sha256.Sum256([]byte(d))
		out = append(out, hex.EncodeToString(h[:4]))
	}
	return slices.DeleteFunc(out, func(s string) bool { return s == "" || s == "." })
}

func mounts() []string {
	var out []string
	for line := range bytes.Lines(read("/proc/self/mountinfo")) {
		left, right, _ := strings.Cut(string(line), " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		if len(l) > 4 && len(r) > 1 {
			out = append(out, l[4]+" "+r[0]+" "+r[1])
		}
	}
	return out
}

// mountsBelow are the mount points at and below a directory, the innermost first.
func mountsBelow(dir string) []string {
	var out []string
	for _, m := range mounts() {
		at, _, _ := strings.Cut(m, " ")
		if dir != "" && (at == dir || strings.HasPrefix(at, dir+"/")) {
			out = append(out, at)
		}
	}
	slices.Sort(out)
	slices.Reverse(out)
	return out
}

func links() []string {
	all, err := net.Interfaces()
	if err != nil {
		return []string{err.Error()}
	}
	var out []string
	for _, i := range all {
		alias := strings.TrimSpace(string(read("/sys/class/net/" + i.Name + "/ifalias")))
		out = append(out, strings.TrimSpace(i.Name+" "+alias))
	}
	return out
}

func lines(paths ...string) []string {
	var out []string
	for _, p := range paths {
		for l := range strings.Lines(string(read(p))) {
			f := strings.Fields(l)
			// Columns that count references and uses say nothing of what is there.
			if strings.HasSuffix(p, "ipv6_route") && len(f) == 10 {
				f = append(f[:6], f[9])
			} else if len(f) > 6 {
				f = append(f[:4:4], f[6:8]...)
			}
			out = append(out, strings.Join(f, " "))
		}
	}
	return out
}

// nft lists tables, chains and rules, these by their comment. The table of optml is one for all on the host and goes with
// its last rule: while another's rule is in it, it is no news.
func nft() []string {
	conn, err := nftables.New()
	if err != nil {
		return nil
	}
	var out []string
	others := map[string]bool{}
	chains, _ := conn.ListChains()
	for _, c := range chains {
		rules, _ := conn.GetRules(c.Table, c)
		for _, r := range rules {
			line := fmt.Sprintf("rule %s/%s %q", c.Table.Name, c.Name, r.UserData)
			others[c.Table.Name] = others[c.Table.Name] || !ours("nftables", line)
			out = append(out, line)
		}
	}
	for _, c := range chains {
		if !others[c.Table.Name] {
			out = append(out, fmt.Sprintf("chain %s/%s", c.Table.Name, c.Name))
		}
	}
	tables, _ := conn.ListTables()
	for _, t := range tables {
		if !others[t.Name] {
			out = append(out, fmt.Sprintf("table %s (family %d)", t.Name, t.Family))
		}
	}
	return out
}

// cgroups are the groups below /optml in every hierarchy of version 1 and in that of version 2.
func cgroups() []string {
	var out []string
	seen := map[string]bool{}
	for _, m := range mounts() {
		f := strings.Fields(m)
		if f[1] != "cgroup" && f[1] != "cgroup2" || seen[f[0]] {
			continue
		}
		seen[f[0]] = true
		root := filepath.Join(f[0], "optml")
		_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				out = append(out, path)
			}
			return nil
		})
	}
	return out
}

// process is one of ours.
type process struct {
	pid  int
	role string // containerd, shim, logger, optml, container
	args string
}

// cgroup is the path of its control group, which names its job and container.
func (p process) cgroup() string { return string(read(fmt.Sprintf("/proc/%d/cgroup", p.pid))) }

// environment is what the process was started with.
func (p process) environment() string { return string(read(fmt.Sprintf("/proc/%d/environ", p.pid))) }

// ourProcesses are those of our binary, of our containerd's shims, and those in our containers.
func ourProcesses() []process {
	var out []process
	own := marks()
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(d))
		args := strings.ReplaceAll(strings.TrimRight(string(read(d+"/cmdline")), "\x00"), "\x00", " ")
		if pid == os.Getpid() || args == "" { // a zombie has no arguments
			continue
		}
		exe, _ := os.Readlink(d + "/exe")
		exe = strings.TrimSuffix(exe, " (deleted)")
		if filepath.Dir(exe) == filepath.Join(w.root, "bin") {
			exe = w.binary // a program of a small role, which the binary has written there
		}
		argv0, _, _ := strings.Cut(args, " ")
		program := filepath.Base(argv0)
		ours := w.binary != "" && (exe == w.binary || strings.HasPrefix(exe, w.root+"/")) // or one of the small programs that it carries
		var role string
		switch {
		case inOurs(string(read(d+"/cgroup")), own):
			role = "container"
		case strings.Contains(args, " -namespace ") && (ours || w.address != "" && strings.Contains(args+" ", "-address "+w.address+" ")):
			role = "shim"
		case !ours:
			continue
		case strings.Contains(program, "logger"):
			role = "logger"
		case strings.Contains(program, "containerd"):
			role = "containerd"
		default:
			role = "optml"
		}
		out = append(out, process{pid, role, args})
	}
	return out
}

// inOurs says whether a process's control groups are those of a container of ours: another optml may have some too.
func inOurs(groups string, own []string) bool {
	return strings.Contains(groups, ":/optml/") && slices.ContainsFunc(own, func(m string) bool { return strings.Contains(groups, m) })
}

func processes() []string {
	var out []string
	for _, p := range ourProcesses() {
		if p.role == "container" || p.role == "optml" {
			out = append(out, p.role+" "+p.args)
			continue
		}
		out = append(out, p.role)
	}
	return out
}

func isTemporary(name string) bool { return strings.HasPrefix(name, ".optml-tmp-") }

func isHalfMade(name string) bool {
	return strings.HasPrefix(name, ".new-") || strings.HasPrefix(name, ".old-")
}

// tree lists what is below dir, or those names that want is true for.
func tree(dir string, want func(string) bool) []string {
	if dir == "" {
		return nil
	}
	var out []string
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return nil
		}
		rel, _ := filepath.Rel(dir, path)
		if want == nil || want(d.Name()) {
			out = append(out, rel)
		}
		if d.IsDir() && d.Name() == "rootfs" { // a container's root file system
			return fs.SkipDir
		}
		return nil
	})
	return out
}

// elsewhere are the default places, which these tests must not use.
func elsewhere() []string {
	var out []string
	for _, p := range []string{"/var/lib/optml", "/run/optml", "/run/containerd", "/var/run/netns", "/run/runc"} {
		entries, _ := os.ReadDir(p)
		for _, e := range entries {
			if p == "/run/containerd" && e.Name() == "s" && w.address != "" {
				continue // where the shims of Debian's containerd have their sockets, wherever its own state is
			}
			out = append(out, filepath.Join(p, e.Name()))
		}
	}
	return out
}

// inContainerd is what our namespace holds beside images.
func inContainerd() []string {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	l, err := w.client.Leftovers(ctx)
	if err != nil {
		return []string{"cannot be asked: " + err.Error()}
	}
	var out []string
	for what, names := range map[string][]string{"container": l.Containers, "snapshot": l.Snapshots, "lease": l.Leases} {
		for _, n := range names {
			out = append(out, what+" "+n)
		}
	}
	images, err := w.client.List(ctx)
	if err != nil {
		return append(out, "images: "+err.Error())
	}
	for _, i := range images {
		out = append(out, "image "+i.Ref+" "+i.Digest)
	}
	return out
}

func read(path string) []byte {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	return b
}

// TestTheSnapshotSees shows that the comparison which the other tests rest on sees each kind of leftover.
func TestTheSnapshotSees(t *testing.T) {
	before := takeHost()
	undo := []func(){}
	defer func() {
		for _, f := range slices.Backward(undo) {
			f()
		}
		if d := settle(before, takeHost); d != "" {
			t.Errorf("cleared up, but:\n%s", d)
		}
	}()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	name := filepath.Join(w.run, "left")
	must(os.Mkdir(name, 0o755))
	undo = append(undo, func() { _ = os.Remove(name) })
	must(unix.Mount("none", name, "tmpfs", 0, ""))
	undo = append(undo, func() { _ = unix.Unmount(name, 0) })
	temp := filepath.Join(w.s3, ".optml-tmp-left")
	must(os.WriteFile(temp, nil, 0o644))
	undo = append(undo, func() { _ = os.Remove(temp) })
	half := filepath.Join(w.root, "jobs", "training", ".new-left")
	must(os.MkdirAll(half, 0o755))
	undo = append(undo, func() { _ = os.Remove(half) })
	cleanLink := addLink(t, "optmltest9", "optml:"+w.dir)
	undo = append(undo, cleanLink)
	sleeper := optmlIdle(t)
	undo = append(undo, sleeper)
	groups := cgroupMounts()
	if len(groups) == 0 {
		t.Fatal("no control groups are mounted")
	}
	group := filepath.Join(groups[0], "optml", filepath.Base(w.dir), "left")
	must(os.MkdirAll(group, 0o755))
	undo = append(undo, func() {
		for range 3 {
			_ = unix.Rmdir(group)
			group = filepath.Dir(group)
		}
	})
	d := before.diff(takeHost())
	for _, want := range []string{"mounts: + " + name, "run directory: + left", "temporary files: + .optml-tmp-left", "jobs under way: + training/.new-left",
		"links: + optmltest9", "processes: + optml", "control groups: + "} {
		if !strings.Contains(d, want) {
			t.Errorf("%q is not seen in\n%s", want, d)
		}
	}
}

func cgroupMounts() []string {
	var out []string
	for _, m := range mounts() {
		if f := strings.Fields(m); f[1] == "cgroup" || f[1] == "cgroup2" {
			out = append(out, f[0])
		}
	}
	return out
}

// addLink makes a bridge and returns what removes it.
func addLink(t *testing.T, name, alias string) func() {
	t.Helper()
	la := netlink.NewLinkAttrs()
	la.Name = name
	link := &netlink.Bridge{LinkAttrs: la}
	if err := netlink.LinkAdd(link); err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetAlias(link, alias); err != nil {
		t.Fatal(err)
	}
	return func() { _ = netlink.LinkDel(link) }
}
