//go:build e2e

package e2e

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// state is what many jobs must not add to, beside the host's state.
type state struct {
	descriptors int   // open ones of the embedded daemon
	netns       int   // network namespaces that a process of ours is in or holds
	memory      int64 // bytes that the embedded daemon has in memory
	disk        int64 // bytes below the root and the run directory, but for the jobs' records and containerd's own
	own         int64 // bytes of containerd's databases, whose pages are used again and not given back, and of its log
	content     int64 // of them, bytes of images
	snapshots   int64 // of them, bytes of snapshots
	files       map[string]int64
}

func (s state) String() string {
	return fmt.Sprintf("%d descriptors, %d network namespaces, %d bytes of memory, %d on disk, %d of containerd's own, %d of images, %d of snapshots",
		s.descriptors, s.netns, s.memory, s.disk, s.own, s.content, s.snapshots)
}

func takeState() (s state) {
	s.files = map[string]int64{}
	spaces := map[string]bool{}
	for _, p := range ourProcesses() {
		dir := fmt.Sprintf("/proc/%d/", p.pid)
		if ns, err := os.Readlink(dir + "ns/net"); err == nil {
			spaces[ns] = true
		}
		fds, _ := filepath.Glob(dir + "fd/*")
		for _, fd := range fds {
			if to, err := os.Readlink(fd); err == nil && strings.HasPrefix(to, "net:[") {
				spaces[to] = true
			}
		}
		if p.role == "containerd" {
			s.descriptors += len(fds)
			_, rest, _ := strings.Cut(string(read(dir+"status")), "VmRSS:")
			kb, _ := strconv.ParseInt(strings.TrimSpace(strings.SplitN(rest, "kB", 2)[0]), 10, 64)
			s.memory += kb << 10
		}
	}
	s.netns = len(spaces)
	for _, root := range []string{w.root, w.run} {
		_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return nil // it was on its way
			}
			if path == filepath.Join(w.root, "jobs") || d.IsDir() && d.Name() == "rootfs" {
				return fs.SkipDir
			}
			info, err := d.Info()
			if err != nil || !info.Mode().IsRegular() {
				return nil
			}
			n := info.Size()
			s.files[path] = n
			if strings.HasSuffix(path, ".db") || path == filepath.Join(w.run, "containerd.log") {
				s.own += info.Sys().(*syscall.Stat_t).Blocks * 512
				return nil
			}
			s.disk += n
			switch {
			case strings.Contains(path, "/io.containerd.content."):
				s.content += n
			case strings.Contains(path, "/io.containerd.snapshotter."):
				s.snapshots += n
			}
			return nil
		})
	}
	return s
}

// steadyState waits until nothing is on its way out any more: connections of commands that have ended live on for a moment.
func steadyState() state {
	s := takeState()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		time.Sleep(200 * time.Millisecond)
		now := takeState()
		same := now.descriptors == s.descriptors && now.netns == s.netns && now.disk == s.disk
		if s = now; same {
			break
		}
	}
	return s
}

// more says what there is more of than before. The daemon's memory is not the same to the byte, since Go takes it in
// pieces and gives it back late.
func (s state) more(before state) string {
	const slack = 8 << 20
	const own = 8 << 20 // the log is begun anew at 4 MiB; the databases have some 0.2 MiB
	var b strings.Builder
	for _, c := range []struct {
		what        string
		before, now int64
	}{
		{"descriptors of containerd", int64(before.descriptors), int64(s.descriptors)}, {"network namespaces", int64(before.netns), int64(s.netns)},
		{"bytes of containerd's memory", before.memory + slack, s.memory}, {"bytes on disk", before.disk, s.disk},
		{"bytes of containerd's own", own, s.own},
		{"bytes of images", before.content, s.content}, {"bytes of snapshots", before.snapshots, s.snapshots},
	} {
		if c.now > c.before {
			fmt.Fprintf(&b, "  %s: %d, before %d\n", c.what, c.now, c.before)
		}
	}
	if b.Len() > 0 {
		for _, path := range slices.Sorted(maps.Keys(s.files)) {
			if n := s.files[path] - before.files[path]; n > 0 {
				fmt.Fprintf(&b, "    %s: %d bytes more\n", path, n)
			}
		}
	}
	return b.String()
}

// TestSoak runs jobs one after another, isolated and open ones, good ones and such as fail. From the first third on, and
// in the full tier from job 20 to job 200, they add nothing: no memory, descriptor, network namespace, mount, link, rule,
// control group, process, snapshot or byte of content (ruling 28).
func TestSoak(t *testing.T) {
	sameHost(t)
	jobs, from := 12, 4
	if full {
		jobs, from = 200, 20
	}
	put(t, "soak", "in/object", "some data")
	settled := func(before host) {
		t.Helper()
		if d := settle(before, takeHost); d != "" {
			t.Fatalf("the host is not as it was:\n%s", d)
		}
	}
	start := takeHost()
	var at state
	for i := range jobs {
		name := jobName("soak")
		d := training(name, "channels", "sha256", "output", "result")
		want := 0
		if i%5 == 4 {
			d["HyperParameters"].(doc)["exit_code"] = "3"
			want = 1
		}
		d["InputDataConfig"] = []doc{channel("train", "s3://soak/in/")}
		d["EnableNetworkIsolation"] = i%2 == 0
		if r := optml(t, "train", "--quiet", d.file(t)); (r.code == 0) != (want == 0) {
			t.Fatalf("job %d\n%s", i+1, r)
		}
		ok(t, "rm", name)
		if i+1 == from {
			settled(start)
			at = steadyState()
			t.Logf("at job %d: %s", from, at)
		}
	}
	settled(start)
	var now state
	var more string
	for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		if now = takeState(); now.more(at) == "" || time.Now().After(deadline) {
			more = now.more(at)
			break
		}
	}
	t.Logf("at job %d: %s", jobs, now)
	if more != "" {
		t.Errorf("after job %d there is more than after job %d:\n%s", jobs, from, more)
	}
}

// TestTheSoakSees shows that the comparison sees what it is for.
func TestTheSoakSees(t *testing.T) {
	before := state{descriptors: 10, netns: 1, memory: 50 << 20, disk: 1 << 20, content: 1 << 19, snapshots: 1 << 18}
	now := state{descriptors: 11, netns: 2, memory: 59 << 20, disk: 2 << 20, own: 9 << 20, content: 1 << 20, snapshots: 1 << 20}
	if got := now.more(before); strings.Count(got, "\n") != 7 {
		t.Errorf("of seven kinds are seen:\n%s", got)
	}
	if got := before.more(before); got != "" {
		t.Errorf("the same is more:\n%s", got)
	}
	real := takeState() // of a containerd that is not ours there is only what lies in our directories
	if w.address == "" && (real.descriptors == 0 || real.netns == 0 || real.memory == 0 || real.content == 0) {
		t.Errorf("nothing is seen: %s", real)
	}
	left := filepath.Join(w.root, "left")
	if err := os.WriteFile(left, make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(left)
	if got := takeState().more(real); !strings.Contains(got, "bytes on disk") {
		t.Errorf("a file is not seen:\n%s", got)
	}
}

// TestEightAtOnce: eight jobs at once, on however few processors, all end well, each with its own data and model.
func TestEightAtOnce(t *testing.T) {
	sameHost(t)
	const n = 8
	var names []string
	var running []*proc
	for i := range n {
		put(t, "eight", fmt.Sprintf("in-%d/object", i), fmt.Sprintf("data of %d", i))
		name := jobName("eight")
		d := training(name, "model", fmt.Sprintf("model of %d", i), "model_mb", "2", "channels", "sha256", "sleep", "300ms")
		d["InputDataConfig"] = []doc{channel("train", fmt.Sprintf("s3://eight/in-%d/", i))}
		d["EnableNetworkIsolation"] = i%2 == 0
		names = append(names, name)
		running = append(running, begin(t, nil, "train", "--quiet", d.file(t)))
	}
	for _, p := range running {
		if r := p.wait(t); r.code != 0 {
			t.Errorf("%s", r)
		}
	}
	for i, name := range names {
		files := modelOf(t, name)
		if got, want := string(files["model.txt"]), fmt.Sprintf("model of %d", i); got != want {
			t.Errorf("%s: model %q, want %q", name, got, want)
		}
		if c := decode[map[string]readChannel](t, files["channels.json"])["train"]; len(c.Files) != 1 || c.Files[0].Size != int64(len(fmt.Sprintf("data of %d", i))) {
			t.Errorf("%s: read %+v", name, c.Files)
		}
	}
}
