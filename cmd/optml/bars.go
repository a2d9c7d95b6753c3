package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/optml/optml/human"
	"github.com/optml/optml/ledger"
)

// bars shows what moves just now at the bottom of a terminal; lines that are written to it appear above.
type bars struct {
	p *mpb.Progress
}

func newBars(con *console) *bars {
	return &bars{mpb.New(mpb.WithOutput(con), mpb.WithAutoRefresh(), mpb.WithWidth(min(con.wide, 100)), mpb.WithRefreshRate(120*time.Millisecond))}
}

func (b *bars) Write(p []byte) (int, error) {
	n, err := b.p.Write(p)
	if err != nil { // the bars have ended
		return len(p), nil
	}
	return n, nil
}

// close ends the bars, all of which have been aborted by then; what they drew is wiped.
func (b *bars) close() { b.p.Wait() }

// meter is one bar: what it counts, so far and in all (0: not known).
type meter struct {
	key, name  string
	now, total int64
	unit       string // "": bytes
	extra      string // behind it; "": the rate
	beside     string // behind that
	keep       bool   // until it is no longer told of, even if it has reached its total
}

// meters are the bars of a snapshot.
func meters(s ledger.Snapshot) []meter {
	var m []meter
	for _, x := range s.Channels {
		m = append(m, meter{key: "channel " + x.Host + x.Channel, name: x.Channel, now: x.Bytes, total: x.TotalBytes, beside: objectsText(x)})
	}
	for _, x := range s.Uploads {
		m = append(m, meter{key: "upload " + x.Artifact, name: "upload " + x.Artifact, now: x.Bytes, total: x.TotalBytes})
	}
	if t := s.Transform; t != nil {
		x := meter{key: "transform", name: "transform", now: t.Bytes, total: t.TotalBytes, extra: transformedText(t)}
		if t.TotalBytes == 0 { // sizes are not known
			x.now, x.total, x.unit = t.Objects, t.TotalObjects, "objects"
		}
		m = append(m, x)
	}
	return m
}

// transformedText is how far a transform is, but for its bytes.
func transformedText(t *ledger.TransformLive) string {
	parts := []string{human.Count(t.Objects, "object")}
	if t.TotalObjects > 0 {
		parts[0] = fmt.Sprintf("%d of %s", t.Objects, human.Count(t.TotalObjects, "object"))
	}
	if t.Failed > 0 {
		parts = append(parts, fmt.Sprintf("%d failed", t.Failed))
	}
	parts = append(parts, human.Count(t.Records, "record"))
	if t.RecordsPerSecond >= 0.05 {
		parts = append(parts, fmt.Sprintf("%.3g records/s", t.RecordsPerSecond))
	}
	if t.Left >= time.Second {
		parts = append(parts, timeText(t.Left.Round(time.Second))+" left")
	}
	return strings.Join(parts, ", ")
}

// objectsText is how far a channel is, in objects and epochs.
func objectsText(x ledger.ChannelLive) string {
	text := human.Count(x.Objects, "object")
	if x.TotalObjects > 0 {
		text = fmt.Sprintf("%d of %s", x.Objects, human.Count(x.TotalObjects, "object"))
	}
	if x.Mode == "Pipe" && x.Epochs > 0 {
		text += ", " + human.Count(x.Epochs, "epoch")
	}
	return text
}

// poll draws a job's snapshots, and what extra tells beside them, until its end.
func (b *bars) poll(ctx context.Context, j *ledger.Job, extra func() []meter, done <-chan struct{}) {
	b.show(ctx, func() []meter {
		now := extra()
		if s, ok, err := j.Live(); err == nil && ok {
			now = append(now, meters(s)...)
		}
		return now
	}, done)
}

// show draws what now tells until done, as often as owners write snapshots.
func (b *bars) show(ctx context.Context, now func() []meter, done <-chan struct{}) {
	shown := map[string]*drawn{}
	defer func() {
		for _, d := range shown {
			d.bar.Abort(true)
		}
	}()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		b.draw(shown, now())
		select {
		case <-ctx.Done():
			return
		case <-done:
			return
		case <-tick.C:
		}
	}
}

// drawn is a bar and what stands behind it.
type drawn struct {
	bar   *mpb.Bar
	extra atomic.Pointer[string] // its decorator reads it from mpb's goroutine
	at    time.Time
	last  int64
	speed float64 // bytes per second, smoothed
	ended bool
}

func (b *bars) draw(shown map[string]*drawn, now []meter) {
	for _, m := range now {
		d := shown[m.key]
		if d == nil {
			if m.total > 0 && m.now >= m.total && !m.keep {
				continue // it ended before we saw it: its line of totals says more
			}
			d = &drawn{}
			d.bar = b.add(m, d)
			shown[m.key] = d
		}
		if d.ended {
			continue
		}
		d.measure(m)
		if m.total > 0 {
			d.bar.SetTotal(m.total, false)
		}
		d.bar.SetCurrent(m.now)
		if m.total > 0 && m.now >= m.total && !m.keep {
			d.ended = true
			d.bar.Abort(true)
		}
	}
	for key, d := range shown {
		if !d.ended && !slices.ContainsFunc(now, func(m meter) bool { return m.key == key }) {
			d.ended = true
			d.bar.Abort(true)
		}
	}
}

// measure keeps what stands behind the bar: a rate, unless the meter says something else.
func (d *drawn) measure(m meter) {
	now := time.Now()
	if past := now.Sub(d.at).Seconds(); !d.at.IsZero() && past > 0 {
		rate := float64(m.now-d.last) / past
		if d.speed == 0 {
			d.speed = rate
		}
		d.speed += (rate - d.speed) * 0.3 // a second's worth of snapshots
	}
	d.at, d.last = now, m.now
	text := m.extra
	if text == "" && d.speed >= 1 {
		text = human.Bytes(int64(d.speed)) + "/s"
	}
	if m.beside != "" {
		text = strings.TrimPrefix(text+"  "+m.beside, "  ")
	}
	d.extra.Store(&text)
}

func (b *bars) add(m meter, d *drawn) *mpb.Bar {
	name := decor.Name(m.name, decor.WC{W: 20, C: decor.DindentRight})
	count := decor.CountersKibiByte("% .1f / % .1f")
	switch {
	case m.unit == "" && m.total == 0:
		count = decor.CurrentKibiByte("% .1f")
	case m.unit != "":
		count = decor.CountersNoUnit("%d / %d " + m.unit)
	}
	extra := decor.Any(func(decor.Statistics) string {
		if s := d.extra.Load(); s != nil {
			return "  " + *s
		}
		return ""
	})
	// Made without a total, a bar does not end by itself.
	return b.p.New(0, mpb.BarStyle().Lbound("").Rbound("").Filler("━").Tip("━").Padding("─"),
		mpb.BarRemoveOnComplete(), mpb.PrependDecorators(name), mpb.AppendDecorators(count, extra))
}
