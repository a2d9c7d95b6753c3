package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/optml/optml/human"
	"github.com/optml/optml/job"
	"github.com/optml/optml/ledger"
)

// Ways of showing progress.
const (
	progressAuto  = "auto" // bars on a terminal, plain lines otherwise
	progressBars  = "bars"
	progressPlain = "plain"
	progressJSON  = "json" // each event as a line of events.jsonl, with the job's name
	progressNone  = "none"
)

var progressModes = []string{progressAuto, progressBars, progressPlain, progressJSON, progressNone}

type progressOptions struct {
	mode  string
	logs  bool
	pulls *pulls // nil: none to be told of
}

func (f *jobFlags) progressOptions() progressOptions {
	if f.quiet {
		return progressOptions{mode: progressNone}
	}
	return progressOptions{mode: f.progress, logs: f.logs}
}

// watch shows a job, and those that it starts, until its end or ctx's. It reads the ledger like anybody else.
func (o progressOptions) watch(ctx context.Context, j *ledger.Job, con *console) {
	if o.mode == progressAuto {
		o.mode = progressPlain
		if con.term {
			o.mode = progressBars
		}
	}
	w := &watcher{mode: o.mode, con: con, out: con}
	done := make(chan struct{})
	if o.mode == progressBars {
		w.bars = newBars(con)
		w.out = w.bars
		defer w.bars.close()
	}
	if o.logs {
		p := &logPrinter{w: w.out, prefix: func(label string) string { return con.dim(label + " | ") }}
		f := newLogFollower(ctx, p, logsOptions{tail: -1})
		f.label = true
		f.job(j)
		defer func() { _ = f.wait() }() // what cannot be read of a log is not the job's failure
	}
	if o.mode == progressPlain && o.pulls != nil {
		w.wg.Go(func() { o.pulls.tell(ctx, func(text string) { w.line(time.Now(), j, text) }, done) })
	}
	w.follow(ctx, j, o.pulls.meters)
	close(done)
	w.wg.Wait()
}

// watcher turns events into lines.
type watcher struct {
	mode string
	con  *console
	out  io.Writer
	bars *bars
	wg   sync.WaitGroup
	mu   sync.Mutex
}

func (w *watcher) follow(ctx context.Context, j *ledger.Job, extra func() []meter) {
	done := make(chan struct{})
	defer close(done)
	if w.bars != nil {
		w.wg.Go(func() { w.bars.poll(ctx, j, extra, done) })
	}
	for e, err := range j.Follow(ctx) {
		if err != nil {
			return // whoever called tells what became of the job
		}
		if c, ok := e.Body.(ledger.Child); ok {
			if child, err := ledger.Find(j.Root(), c.Kind+"/"+c.Name); err == nil {
				w.wg.Go(func() { w.follow(ctx, child, func() []meter { return nil }) })
			}
		}
		w.show(j, e)
	}
}

func (w *watcher) show(j *ledger.Job, e ledger.Event) {
	switch w.mode {
	case progressNone:
	case progressJSON:
		b, err := json.Marshal(struct {
			Job   string       `json:"job"`
			Event ledger.Event `json:"event"`
		}{string(j.Kind()) + "/" + j.Name(), e})
		if err == nil {
			w.print(string(b))
		}
	default:
		if _, exited := e.Body.(ledger.Exited); exited && j.Kind() != job.KindTraining {
			return // we ended it ourselves; if it ended too early, the status says so
		}
		if text := eventText(e); text != "" {
			w.line(e.Time, j, text)
		}
	}
}

func (w *watcher) line(at time.Time, j *ledger.Job, text string) {
	w.print(w.con.dim(at.Local().Format(time.TimeOnly)) + " " + string(j.Kind()) + "  " + text)
}

func (w *watcher) print(line string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fmt.Fprintln(w.out, line)
}

// gpusText names the GPUs of an instance: gpus 0, 2 (NVIDIA H200).
func gpusText(all []ledger.GPU) string {
	var which []string
	for _, g := range all {
		which = append(which, g.Index)
	}
	s := "gpus " + strings.Join(which, ", ")
	if len(all) > 0 && all[0].Name != "" {
		s += " (" + all[0].Name + ")"
	}
	return s
}

// eventText is an event for people, "" for one that they need not see.
func eventText(e ledger.Event) string {
	on := ""
	if e.Host != "" && e.Host != "algo-1" {
		on = e.Host + " "
	}
	switch b := e.Body.(type) {
	case ledger.Transition:
		status := b.Secondary
		if status == "" || ledger.IsFinal(b.Status) {
			status = b.Status
		}
		if ledger.IsFinal(b.Status) && b.FailureReason != "" {
			return status + ": " + oneLine(b.FailureReason)
		}
		if b.Message == "" || b.Message == status {
			return status
		}
		return status + ": " + b.Message
	case ledger.ImageResolved:
		return fmt.Sprintf("image %s %s", b.Ref, shortDigest(b.Digest))
	case ledger.GPUsTaken:
		return on + gpusText(b.GPUs)
	case ledger.ChannelTotals:
		s := fmt.Sprintf("%schannel %s: %s in %s, %s", on, b.Channel, human.Bytes(b.Bytes), human.Count(b.Objects, "object"), timeText(b.Duration))
		return s + rate(b.Bytes, b.Duration)
	case ledger.Exited:
		switch {
		case b.OOM:
			return fmt.Sprintf("%s was killed for want of memory (exit code %d)", b.Container, b.Code)
		case b.Signal != 0:
			return fmt.Sprintf("%s was ended by signal %d (exit code %d)", b.Container, b.Signal, b.Code)
		case b.Code != 0:
			return fmt.Sprintf("%s ended with exit code %d", b.Container, b.Code)
		}
		return ""
	case ledger.UploadTotals:
		switch {
		case b.Kept != "":
			return fmt.Sprintf("%s could not be uploaded; kept in %s", b.Artifact, b.Kept)
		case b.Empty:
			return b.Artifact + ": nothing to upload"
		}
		return fmt.Sprintf("%s: %s to %s, %s%s", b.Artifact, human.Bytes(b.Bytes), b.URI, timeText(b.Duration), rate(b.Bytes, b.Duration))
	case ledger.Interruption:
		return "interruption: SIGTERM " + b.Signal
	case ledger.TransformTotals:
		s := fmt.Sprintf("transformed %s, %s, %s in %s", human.Count(b.Objects, "object"), human.Count(b.Records, "record"), human.Count(b.Requests, "request"), timeText(b.Duration))
		if b.Failed > 0 {
			s += fmt.Sprintf("; %s failed", human.Count(b.Failed, "object"))
		}
		return s
	case ledger.FinalMetric:
		return fmt.Sprintf("metric %s = %g", b.Name, b.Value)
	case ledger.Warning:
		return "warning: " + oneLine(b.Text)
	case ledger.Child:
		if b.Probe != "" {
			return "probes: " + b.Probe + " (" + b.Kind + "/" + b.Name + ")"
		}
		return "starts " + b.Kind + "/" + b.Name
	case ledger.Verdict:
		if b.Outcome == "failed" {
			return "rule " + b.Rule + " failed: " + oneLine(b.Evidence)
		}
		return ""
	case ledger.Adopted:
		return "recovered: " + b.Reason
	}
	return ""
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

func shortDigest(d string) string {
	if h, ok := strings.CutPrefix(d, "sha256:"); ok && len(h) > 12 {
		return h[:12]
	}
	return d
}

// rate is left out where it would say nothing.
func rate(n int64, d time.Duration) string {
	if n < 1<<20 || d < 10*time.Millisecond {
		return ""
	}
	return fmt.Sprintf(" (%s/s)", human.Bytes(int64(float64(n)/d.Seconds())))
}
