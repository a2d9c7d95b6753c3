package report

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/optml/optml/ledger"
	"github.com/optml/optml/logfile"
)

const (
	logLines   = 20  // of each log that a failure shows
	logLineMax = 500 // bytes of a line
	logsMost   = 4   // logs that a failure shows
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
		if child.Plan().Validation != nil {
			continue // a validation has jobs, not validations; a record that says otherwise must not go round in circles
		}
		r, err := makeAt(child, now)
		if err != nil {
			return nil, err
		}
		src.jobs = append(src.jobs, r)
	}
	return from(src), nil
}

// tails are the ends of the logs: of the containers that ended badly first, then of the others.
func tails(j *ledger.Job, s *ledger.State) []Log {
	entries, _ := os.ReadDir(j.LogsDir())
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".log"); ok {
			names = append(names, name)
		}
	}
	bad := func(name string) bool {
		return slices.ContainsFunc(s.Containers, func(c ledger.Container) bool {
			return c.Name == name && c.Exited != nil && c.Exited.Code != 0
		})
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
