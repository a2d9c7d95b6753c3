package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/optml/optml/job"
	"github.com/optml/optml/ledger"
	"github.com/optml/optml/logfile"
)

type logsOptions struct {
	jobs      string
	job       string
	container string
	follow    bool
	tail      int // lines of each container; < 0: all
	times     bool
}

func (a *app) cmdLogs() *cobra.Command {
	o := logsOptions{}
	c := &cobra.Command{
		Use:   "logs JOB",
		Short: "Print what a job's containers printed",
		Long: `Print what a job's containers printed, byte for byte. Of several containers
each line begins with the container's name. Of a validation, the logs of its
training and its transform.`,
		Example: `  optml logs my-job
  optml logs my-job -f --tail 20`,
		Args: nargs(1, 1, "the job's name"),
		RunE: func(c *cobra.Command, args []string) error {
			o.jobs, o.job = a.jobs(), args[0]
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
			defer stop()
			return runLogs(ctx, o, a.stdout)
		},
	}
	f := c.Flags()
	f.BoolVarP(&o.follow, "follow", "f", false, "go on until the job's end")
	f.IntVar(&o.tail, "tail", -1, "only the last `n` lines of each container")
	f.StringVar(&o.container, "container", "", "only this `container`, algo-1, or all whose names begin so: data-log")
	f.BoolVarP(&o.times, "timestamps", "t", false, "begin each line with the time when it was read")
	return c
}

// runLogs ends without an error when ctx does: that is how a follower leaves.
func runLogs(ctx context.Context, o logsOptions, stdout io.Writer) error {
	j, err := ledger.Find(o.jobs, o.job)
	if err != nil {
		return err
	}
	out := &logPrinter{w: stdout, times: o.times}
	if o.follow {
		err = followLogs(ctx, j, o, out)
	} else {
		err = printLogs(j, o, out)
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// family is a job, and after it the jobs that it has started.
func family(j *ledger.Job) ([]*ledger.Job, error) {
	s, err := j.State()
	if err != nil {
		return nil, err
	}
	all := []*ledger.Job{j}
	for _, c := range s.Children {
		child, err := ledger.Find(j.Root(), c.Kind+"/"+c.Name)
		if errors.Is(err, ledger.ErrNotFound) {
			continue // removed by the user
		}
		if err != nil {
			return nil, err
		}
		all = append(all, child)
	}
	return all, nil
}

// wants says of a log whether it was asked for: algo-1 is also algo-1-container-2, and data-log is also data-log-algo-2.
func (o logsOptions) wants(name string) bool {
	return o.container == "" || name == o.container || strings.HasPrefix(name, o.container+"-")
}

// logNames are the containers that a job has logs of, in order.
func logNames(j *ledger.Job) ([]string, error) {
	entries, err := os.ReadDir(j.LogsDir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".log"); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// tailBytes bounds how far --tail looks back.
const tailBytes = 1 << 30

func printLogs(j *ledger.Job, o logsOptions, out *logPrinter) error {
	jobs, err := family(j)
	if err != nil {
		return err
	}
	var logs []logOf
	for _, j := range jobs {
		names, err := logNames(j)
		if err != nil {
			return err
		}
		for _, n := range names {
			if o.wants(n) {
				logs = append(logs, logOf{j, n})
			}
		}
	}
	if len(logs) == 0 && o.container != "" {
		return &usageError{Err: fmt.Errorf("job %s has no log of a container %q", j.Name(), o.container)}
	}
	for _, l := range logs {
		if err := out.print(context.Background(), l, len(logs) > 1, o.tail, nil); err != nil {
			return err
		}
	}
	return nil
}

// logOf is the log of one container of one job.
type logOf struct {
	job       *ledger.Job
	container string
}

// label tells the logs of several containers apart.
func (l logOf) label() string { return string(l.job.Kind()) + " " + l.container }

// logPrinter prints chunks of several logs to one stream without cutting a line of the one by the other.
type logPrinter struct {
	mu     sync.Mutex
	w      io.Writer
	times  bool
	prefix func(label string) string // nil: "label | "
}

// print prints one log, and follows it until it is complete or done is closed.
func (p *logPrinter) print(ctx context.Context, l logOf, labelled bool, tail int, done <-chan struct{}) error {
	r, err := logfile.Open(l.job.LogPath(l.container))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer r.Close()
	var from int64
	if tail >= 0 {
		if from, err = r.Tail(tail, tailBytes); err != nil {
			return err
		}
	}
	chunks := r.Chunks(from)
	if done != nil {
		chunks = r.Follow(ctx, from, done)
	}
	if !labelled && !p.times {
		for c, err := range chunks {
			if err != nil {
				return err
			}
			if _, err := p.w.Write(c.Data); err != nil {
				return fmt.Errorf("print log: %w", err)
			}
		}
		return nil
	}
	lines := map[logfile.Stream]*lineBuffer{}
	for c, err := range chunks {
		if err != nil {
			return err
		}
		b := lines[c.Stream]
		if b == nil {
			b = &lineBuffer{}
			lines[c.Stream] = b
		}
		if err := b.add(c, func(at time.Time, line []byte) error { return p.line(l, labelled, at, line) }); err != nil {
			return err
		}
	}
	for _, b := range lines {
		if len(b.rest) > 0 {
			if err := p.line(l, labelled, b.at, b.rest); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *logPrinter) line(l logOf, labelled bool, at time.Time, line []byte) error {
	var b []byte
	if p.times {
		text := "-"
		if !at.IsZero() {
			text = at.UTC().Format("2006-01-02T15:04:05.000Z")
		}
		b = append(append(b, text...), ' ')
	}
	if labelled {
		if p.prefix != nil {
			b = append(b, p.prefix(l.label())...)
		} else {
			b = append(append(b, l.label()...), " | "...)
		}
	}
	b = append(b, line...)
	b = append(b, '\n')
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, err := p.w.Write(b); err != nil {
		return fmt.Errorf("print log: %w", err)
	}
	return nil
}

// maxRest bounds a line that is printed with something before it; a longer one is printed in parts.
const maxRest = 1 << 20

// lineBuffer makes lines of one stream's chunks.
type lineBuffer struct {
	rest []byte
	at   time.Time
}

func (b *lineBuffer) add(c logfile.Chunk, emit func(time.Time, []byte) error) error {
	for data := c.Data; len(data) > 0; {
		if len(b.rest) == 0 {
			b.at = c.Time
		}
		i := slices.Index(data, '\n')
		if i < 0 {
			b.rest = append(b.rest, data...)
			if len(b.rest) < maxRest {
				return nil
			}
			data = nil
		} else {
			b.rest = append(b.rest, data[:i]...)
			data = data[i+1:]
		}
		if err := emit(b.at, b.rest); err != nil {
			return err
		}
		b.rest = b.rest[:0]
	}
	return nil
}

// followLogs prints each log of the job and its children from the time it appears, until the job's end.
func followLogs(ctx context.Context, j *ledger.Job, o logsOptions, out *logPrinter) error {
	f := newLogFollower(ctx, out, o)
	f.label = j.Kind() == job.KindValidation || j.Kind() == job.KindBench // its jobs have a container each, and all of one name
	<-f.job(j)
	return f.wait()
}

// logFollower finds the logs of jobs as they appear.
type logFollower struct {
	ctx context.Context
	out *logPrinter
	o   logsOptions
	// label: begin each line with the container's name even if it is the only one, since other lines stand between.
	label bool
	wg    sync.WaitGroup
	mu    sync.Mutex
	errs  []error
}

func newLogFollower(ctx context.Context, out *logPrinter, o logsOptions) *logFollower {
	return &logFollower{ctx: ctx, out: out, o: o}
}

// job follows one job; the channel is closed at its end.
func (f *logFollower) job(j *ledger.Job) <-chan struct{} {
	done := make(chan struct{})
	labelled := f.label || containers(j) > 1
	f.wg.Go(func() {
		defer close(done)
		for e, err := range j.Follow(f.ctx) {
			if err != nil {
				if !errors.Is(err, ledger.ErrOwnerDead) {
					f.fail(err)
				}
				return
			}
			if c, ok := e.Body.(ledger.Child); ok {
				if child, err := ledger.Find(j.Root(), c.Kind+"/"+c.Name); err == nil {
					f.job(child)
				}
			}
		}
	})
	f.wg.Go(func() { f.logs(j, labelled, done) })
	return done
}

// fileID tells a container's log from that of an earlier attempt, which has the same name. false: it was put aside just
// now.
func fileID(j *ledger.Job, name string) (uint64, bool) {
	fi, err := os.Stat(logfile.LogName(j.LogPath(name)))
	if err != nil {
		return 0, false
	}
	return fi.Sys().(*syscall.Stat_t).Ino, true
}

// logs looks for new logs of a job until its end. Four times a second is what a person does not notice.
func (f *logFollower) logs(j *ledger.Job, labelled bool, done <-chan struct{}) {
	seen := map[uint64]bool{}
	var wg sync.WaitGroup
	defer wg.Wait()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for last := false; ; {
		names, err := logNames(j)
		if err != nil {
			f.fail(err)
			return
		}
		for _, n := range names {
			id, ok := fileID(j, n)
			if !ok || seen[id] || !f.o.wants(n) {
				continue
			}
			seen[id] = true
			wg.Go(func() {
				if err := f.out.print(f.ctx, logOf{j, n}, labelled, f.o.tail, done); err != nil {
					f.fail(err)
				}
			})
		}
		if last {
			return
		}
		select {
		case <-f.ctx.Done():
			return
		case <-done:
			last = true // one more look: a log that appeared just before the end
		case <-tick.C:
		}
	}
}

func (f *logFollower) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.errs = append(f.errs, err)
}

func (f *logFollower) wait() error {
	f.wg.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	return errors.Join(f.errs...)
}

// containers is how many logs a job may have.
func containers(j *ledger.Job) int {
	p, n := j.Plan(), 0
	if p.Training != nil {
		for _, i := range p.Training.Instances {
			n += len(i.Containers)
		}
	}
	if p.Transform != nil {
		for _, i := range p.Transform.Instances {
			n += len(i.Containers)
		}
	}
	return n
}
