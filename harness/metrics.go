package harness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/optml/optml/job"
	"github.com/optml/optml/ledger"
	"github.com/optml/optml/logfile"
	"github.com/optml/optml/metrics"
)

// follower reads a container's log as it grows and looks for the job's metrics in it (training 5.1).
type follower struct {
	run  *run
	log  string // without its ending
	set  *metrics.Set
	done chan struct{} // closed when the log has no writer any more
	end  sync.Once
	wg   sync.WaitGroup
	err  error
}

// followMetrics begins to follow the log of the container called name.
func (r *run) followMetrics(name string, defs []job.MetricDefinition) (*follower, error) {
	f := &follower{run: r, log: r.owner.LogPath(name), done: make(chan struct{})}
	if len(defs) == 0 {
		return f, nil
	}
	var err error
	if f.set, err = metrics.Compile(defs); err != nil {
		return nil, err
	}
	r.observe(func(s *ledger.Snapshot) { s.Metrics = append(s.Metrics, f.finals()...) })
	f.wg.Go(func() { f.err = f.read(name) })
	return f, nil
}

// read goes over the log once. Samples have the time at which their line was read.
func (f *follower) read(host string) error {
	log, err := f.open(f.log)
	if log == nil || err != nil {
		return err
	}
	defer log.Close()
	log.Keep(metrics.Ahead + 1)
	out := f.run.recorder()
	stream := f.set.Stream(host, func(found []metrics.Sample) { out.add(found...) })
	last := time.Now()
	defer func() { stream.Close(last) }()
	for c, err := range log.Follow(context.Background(), 0, f.done) {
		if err != nil {
			return fmt.Errorf("metrics: %w", err)
		}
		last = c.Time
		stream.Sweep(c.Data, c.Time)
	}
	return nil
}

// How much of a log is looked through for the lines nearest to what matched none: its beginning and its end.
const (
	nearestBytes    = 32 << 20 // of each
	nearestPatience = time.Second
)

// nearest does that. It is for a sentence in a warning: what goes wrong leaves the sentence out.
func (f *follower) nearest() {
	if len(f.set.Unmatched()) == 0 {
		return
	}
	log, err := os.Open(logfile.LogName(f.log))
	if err != nil {
		return
	}
	defer log.Close()
	fi, err := log.Stat()
	if err != nil {
		return
	}
	head := min(fi.Size(), nearestBytes)
	tail := max(head, fi.Size()-nearestBytes) // it may begin in the middle of a line
	_ = f.set.Nearest(io.NewSectionReader(log, 0, head), 0, nearestPatience)
	if tail < fi.Size() {
		_ = f.set.Nearest(io.NewSectionReader(log, tail, fi.Size()-tail), tail, nearestPatience)
	}
}

// open waits for the logger to make the log. nil when the container has gone without one.
func (f *follower) open(base string) (*logfile.Reader, error) {
	for {
		log, err := logfile.Open(base)
		if !errors.Is(err, fs.ErrNotExist) {
			return log, err
		}
		select {
		case <-f.done:
			if log, err = logfile.Open(base); errors.Is(err, fs.ErrNotExist) {
				return nil, nil
			}
			return log, err
		case <-time.After(2 * time.Millisecond):
		}
	}
}

func (f *follower) finals() []ledger.FinalMetric {
	var out []ledger.FinalMetric
	for _, m := range f.set.Finals() {
		out = append(out, ledger.FinalMetric{Name: m.Name, Value: m.Value, At: m.At, Count: m.Count})
	}
	return out
}

// finish waits until the log is read to its end and records the final values (MET-8). The log must be complete, or
// without a writer.
func (f *follower) finish() error {
	f.end.Do(func() { close(f.done) })
	f.wg.Wait()
	if f.set == nil {
		return nil
	}
	for _, m := range f.finals() {
		f.run.append(m)
	}
	f.nearest()
	for _, w := range f.set.Warnings() {
		f.run.append(ledger.Warning{Rule: w.Rule, Text: w.Text})
	}
	return f.err
}

// walkFiles visits the regular files of a tree without leaving it.
func walkFiles(root *os.Root, visit func(path string, fi os.FileInfo)) error {
	return fs.WalkDir(root.FS(), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		visit(p, fi)
		return nil
	})
}
