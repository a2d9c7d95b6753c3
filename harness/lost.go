package harness

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/optml/optml/ledger"
)

// layer is where the container's writes beside its mounts lie on this machine; "" where that is not known. It is asked
// for once.
func (in *instance) layer(ctx context.Context) string {
	in.layerOnce.Do(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lostTime) // the first to ask may be about to end
		defer cancel()
		dir, err := in.task.Layer(ctx)
		if err != nil {
			in.run.host.Log.Debug("what the container writes to its own file system is not looked at", "error", err)
		}
		in.layerDir = dir
	})
	return in.layerDir
}

// What a look at a container's writes may cost. Most containers write a few files; one that unpacked a data set to /tmp
// does not keep its job from ending.
const (
	lostEntries = 200_000
	lostTime    = 2 * time.Second
	lostNamed   = 5 // files
)

// warnLost says what the container wrote to where nothing is kept, which users notice when the instance has gone. It
// must be called before the container is removed.
func (in *instance) warnLost(ctx context.Context) {
	var l lost
	end := time.Now().Add(lostTime)
	l.look(in.layer(ctx), "/", scratch, end)
	l.look(filepath.Join(in.tree.Root, "output"), "/opt/ml/output", kept, end)
	if w := l.warning(); w != "" {
		in.run.append(ledger.Warning{Rule: "OUT-1", Text: w})
	}
}

// scratch are paths below which nobody expects a container's writes to be kept.
func scratch(p string) bool {
	switch path.Base(p) {
	case "__pycache__", ".cache":
		return true
	}
	if home := path.Dir(p); path.Base(p)[0] == '.' && (home == "/root" || path.Dir(home) == "/home") { // settings of programs
		return true
	}
	switch p {
	case "/tmp", "/var/tmp", "/var/log", "/run", "/var/run", "/var/cache", "/var/lock", "/dev", "/proc", "/sys":
		return true
	}
	return false
}

// kept are the parts of /opt/ml/output that the service takes, or knows (training 2).
func kept(p string) bool {
	switch p {
	case "/opt/ml/output/data", "/opt/ml/output/failure", "/opt/ml/output/success", "/opt/ml/output/intermediate",
		"/opt/ml/output/metrics", "/opt/ml/output/profiler", "/opt/ml/output/tensors":
		return true
	}
	return false
}

// lost counts files that nobody will see again.
type lost struct {
	files, bytes, looked int64
	largest              []lostFile
	more                 bool // not all was looked at
}

type lostFile struct {
	path string // in the container
	size int64
}

var errEnough = errors.New("enough")

// look adds the files with content below dir, which is at in the container, but for those that skip names.
func (l *lost) look(dir, at string, skip func(string) bool, end time.Time) {
	if dir == "" {
		return
	}
	_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error { // its errors are ours
		if err != nil {
			return nil
		}
		if l.looked++; l.looked > lostEntries || l.looked%256 == 0 && time.Now().After(end) {
			l.more = true
			return errEnough
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return nil
		}
		name := path.Join(at, rel)
		if skip(name) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		fi, err := d.Info()
		if err != nil || fi.Size() == 0 { // an empty one may be a mount point's
			return nil
		}
		l.files++
		l.bytes += fi.Size()
		l.largest = append(l.largest, lostFile{name, fi.Size()})
		slices.SortStableFunc(l.largest, func(a, b lostFile) int { return cmp.Compare(b.size, a.size) })
		l.largest = l.largest[:min(len(l.largest), lostNamed)]
		return nil
	})
}

func (l *lost) warning() string {
	if l.files == 0 {
		return ""
	}
	var named []string
	for _, f := range l.largest {
		named = append(named, fmt.Sprintf("%s (%d bytes)", printable(f.path), f.size))
	}
	files, least := "1 file", ""
	if l.files != 1 {
		files = fmt.Sprintf("%d files", l.files)
	}
	if l.more {
		least = "at least "
	}
	return fmt.Sprintf("what the container wrote or changed in %s%s (%d bytes) is lost, as on SageMaker, which keeps /opt/ml/model, /opt/ml/output/data and checkpoints alone; the largest: %s",
		least, files, l.bytes, strings.Join(named, ", "))
}

// printable is a container's path for people: it may hold anything, and be long.
func printable(p string) string {
	const most = 200
	if !utf8.ValidString(p) || strings.ContainsFunc(p, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		p = fmt.Sprintf("%q", p)
	}
	return clip(p, most)
}

// warnFailure says that a failure file has no effect when the exit code is 0 (FAIL-4).
func (in *instance) warnFailure() {
	text, err := in.tree.ReadFailure()
	if err == nil && text == "" {
		return
	}
	w := "the container wrote /opt/ml/output/failure and ended with exit code 0: the exit code decides, so the job is not Failed and nobody is told of the text"
	if text = strings.TrimSpace(strings.ToValidUTF8(text, "\uFFFD")); text != "" {
		w += ": " + clip(text, 200)
	}
	in.run.append(ledger.Warning{Rule: "FAIL-4", Text: w})
}
