package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/version"

	"github.com/optml/optml/ledger"
	"github.com/optml/optml/logfile"
)

const (
	logLines   = 20  // of each log that a failure shows
	logLineMax = 500 // bytes of a line
	logsMost   = 4   // logs that a failure shows

	filesMost    = 64
	batchesMost  = 10      // that a transform keeps
	responseMost = 2 << 10 // bytes of a failing batch's response
)

// Make makes the report of a job from its directory, with those of the jobs that it ran.
func Make(j *ledger.Job) (*Report, error) { return makeAt(j, time.Now()) }

func makeAt(j *ledger.Job, now time.Time) (*Report, error) {
	// Asked in this order: an owner that is dead now has written all that it will.
	owned, err := j.Owned()
	if err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	s, err := j.State()
	if err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	var live ledger.Snapshot
	if owned && !s.Final {
		live, _, _ = j.Live() // without it, only the figures so far are missing
	}
	src := source{state: s, live: live, owned: owned, dir: j.Dir(), now: now, logs: func() []Log { return tails(j, &s) }}
	for _, c := range s.Children {
		child, err := ledger.Open(filepath.Join(j.Root(), c.Kind, c.Name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // its record was removed
		}
		if err != nil {
			return nil, fmt.Errorf("report: %w", err)
		}
		if child.Plan().Validation != nil || child.Plan().Bench != nil {
			continue // a validation has jobs, not validations; a record that says otherwise must not go round in circles
		}
		r, err := makeAt(child, now)
		if err != nil {
			return nil, err
		}
		r.Probe = c.Probe
		src.jobs = append(src.jobs, r)
	}
	r := from(src)
	r.Failing, r.Files, r.Optml = failing(j), files(j), maker()
	d, err := j.StatusDetails()
	if err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	r.status(j.Plan(), &s, d)
	return r, nil
}

// maker is this optml.
func maker() string {
	v := version.Version
	if v == "" {
		v = "(built without a version)"
	}
	return v + ", commit " + version.GetRevision() + ", " + runtime.GOOS + "/" + runtime.GOARCH
}

// files are the files of the record that a reader may want whole.
func files(j *ledger.Job) []File {
	var out []File
	add := func(what, path string) {
		if fi, err := os.Stat(path); err == nil && fi.Mode().IsRegular() {
			out = append(out, File{what, path, fi.Size()})
		}
	}
	all := func(what, dir, ending string) {
		entries, _ := os.ReadDir(dir) // in the order of names; what is not there is not told
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), ending) && len(out) < filesMost {
				add(what, filepath.Join(dir, e.Name()))
			}
		}
	}
	all("document", j.RequestDir(), ".json")
	all("log", j.LogsDir(), ".log")
	add("metrics", j.MetricsPath())
	add("requests", j.RequestLogPath())
	add("failures", j.FailuresPath())
	add("samples", j.SamplesPath())
	return out
}

// failing are the kept batches of a transform in the order of their directories.
func failing(j *ledger.Job) []Batch {
	var out []Batch
	for n := 1; n <= batchesMost; n++ {
		dir := filepath.Join(j.FailingDir(), strconv.Itoa(n))
		text, err := head(filepath.Join(dir, "batch.json"), 1<<20)
		b := Batch{}
		if err != nil || json.Unmarshal(text, &b) != nil {
			continue
		}
		text, _ = head(filepath.Join(dir, "response.body"), responseMost)
		b.Directory, b.Response = dir, strings.ToValidUTF8(string(text), "\uFFFD")
		out = append(out, b)
	}
	return out
}

// head is the beginning of a file.
func head(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, most))
}

// tails are the ends of the logs: of the containers that ended badly first, then of the others.
func tails(j *ledger.Job, s *ledger.State) []Log {
	names := logNames(j, func(name string) bool {
		return slices.ContainsFunc(s.Containers, func(c ledger.Container) bool {
			return c.Name == name && c.Exited != nil && c.Exited.Code != 0
		})
	})
	var logs []Log
	for _, name := range names[:min(len(names), logsMost)] {
		base := j.LogPath(name)
		lines, err := logfile.LastLines(base, logLines, logLineMax)
		if err != nil || len(lines) == 0 {
			continue
		}
		logs = append(logs, Log{Name: name, Path: logfile.LogName(base), Lines: lines})
	}
	return logs
}

// logNames are the job's logs, bad ones first.
func logNames(j *ledger.Job, bad func(string) bool) []string {
	entries, _ := os.ReadDir(j.LogsDir())
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".log"); ok {
			names = append(names, name)
		}
	}
	slices.SortStableFunc(names, func(a, b string) int {
		switch x, y := bad(a), bad(b); {
		case x && !y:
			return -1
		case y && !x:
			return 1
		}
		return 0
	})
	return names
}
