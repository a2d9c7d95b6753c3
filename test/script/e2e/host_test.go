//go:build e2e

package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/optml/optml/ledger"
)

// state is what could be left on a host, by kind.
type state []string

// hostState lists the host's links, mounts, control groups of ours and network namespaces.
func hostState() (state, error) {
	var s state
	links, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	for _, l := range links {
		s = append(s, "link "+l.Name)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(mounts)) {
		s = append(s, "mount "+strings.Fields(line)[4])
	}
	for _, g := range groups("") {
		s = append(s, "control group "+g)
	}
	return s, nil
}

func (s state) without(before state) state {
	return slices.DeleteFunc(slices.Clone(s), func(x string) bool { return slices.Contains(before, x) })
}

// jobDirs are the directories of all jobs of all scripts: their digests are in the names of what they have on the host,
// which may be running something else beside these tests.
var jobDirs sync.Map

func (s state) ours() state {
	return slices.DeleteFunc(slices.Clone(s), func(x string) bool {
		ours := strings.Contains(x, work) || strings.Contains(x, runDir)
		jobDirs.Range(func(dir, _ any) bool {
			ours = ours || strings.Contains(x, digest(dir.(string)))
			return !ours
		})
		return !ours
	})
}

// remember notes the jobs of a script.
func remember(root string) {
	dirs, _ := filepath.Glob(filepath.Join(root, "jobs", "*", "*"))
	for _, d := range dirs {
		jobDirs.Store(d, true)
	}
}

// groups are the control groups of a job's containers in every hierarchy, of all jobs for "".
func groups(dir string) []string {
	var all []string
	for _, pattern := range []string{"/sys/fs/cgroup/optml/*/*", "/sys/fs/cgroup/*/optml/*/*"} {
		found, _ := filepath.Glob(pattern)
		for _, g := range found {
			fi, err := os.Stat(g)
			// A container's id is JOB.CONTAINER.DIGEST, the digest being of the job's directory.
			if err == nil && fi.IsDir() && (dir == "" || strings.HasSuffix(g, "."+digest(dir))) {
				all = append(all, g)
			}
		}
	}
	return all
}

// digest tells jobs of one name apart in the names of what they have on the host.
func digest(dir string) string {
	h := sha256.Sum256([]byte(dir))
	return hex.EncodeToString(h[:4])
}

// cleanCommand holds the host against every job of the script: containers, networks, groups, mounts, scratch, open
// intents, temporary files in the stores.
func cleanCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: clean")
	}
	root := filepath.Join(ts.Getenv("OPTML_ROOT"), "jobs")
	left := containersBelow(root)
	jobs, err := ledger.List(root)
	ts.Check(err)
	for _, j := range jobs {
		name := string(j.Kind()) + "/" + j.Name()
		s, err := j.State()
		ts.Check(err)
		if !s.Final {
			left = append(left, name+": not at its end: "+s.Status)
		}
		for _, o := range s.Open {
			left = append(left, fmt.Sprintf("%s: intent %s %s", name, o.Kind, o.ID))
		}
		kept := slices.ContainsFunc(s.Uploads, func(u ledger.UploadTotals) bool { return u.Kept != "" })
		if in, err := os.ReadDir(j.WorkDir()); err == nil && len(in) > 0 && !kept {
			left = append(left, name+": scratch "+j.WorkDir())
		}
		for _, link := range linksOf(j.Dir()) {
			left = append(left, name+": link "+link)
		}
		for _, g := range groups(j.Dir()) {
			left = append(left, name+": control group "+g)
		}
	}
	left = append(left, mountsBelow(ts, root)...)
	left = append(left, tempFiles(ts.Getenv("OPTML_S3_DIR"))...)
	left = append(left, tempFiles(root)...)
	if len(left) > 0 {
		ts.Fatalf("left behind:\n  %s", strings.Join(left, "\n  "))
	}
}

// linksOf are the bridges and veths that are marked as a job's.
func linksOf(dir string) []string {
	var left []string
	files, _ := filepath.Glob("/sys/class/net/*/ifalias")
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil && strings.TrimSpace(string(b)) == "optml:"+dir {
			left = append(left, filepath.Base(filepath.Dir(f)))
		}
	}
	return left
}

// containersBelow are the containers of jobs below root that the runtime still knows.
func containersBelow(root string) []string {
	var left []string
	files, _ := filepath.Glob(filepath.Join(runDir, "*", "*", "container.json"))
	for _, f := range files {
		var c struct{ ID, Job string }
		if b, err := os.ReadFile(f); err == nil && json.Unmarshal(b, &c) == nil && strings.HasPrefix(c.Job, root+"/") {
			left = append(left, "container "+c.ID)
		}
	}
	return left
}

func mountsBelow(ts *testscript.TestScript, dir string) []string {
	b, err := os.ReadFile("/proc/self/mountinfo")
	ts.Check(err)
	var left []string
	for line := range strings.Lines(string(b)) {
		if m := strings.Fields(line)[4]; strings.HasPrefix(m, dir+"/") && !slices.Contains(of(ts).mounts, m) {
			left = append(left, "mount "+m)
		}
	}
	return left
}

// tempFiles are files that were never finished.
func tempFiles(dir string) []string {
	var left []string
	_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if n := filepath.Base(p); strings.HasPrefix(n, ".optml-tmp-") || strings.HasPrefix(n, ".new-") || strings.HasPrefix(n, ".old-") || strings.HasPrefix(n, ".tmp-") {
			left = append(left, "temporary file "+p)
		}
		return nil
	})
	return left
}
