package harness

import (
	"cmp"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/optml/optml/ledger"
	"github.com/optml/optml/metrics"
)

// recorder takes the samples of a job, those of its log and those of its instances, to where they go: metrics.jsonl,
// metrics.prom and the page of --metrics-listen.
type recorder struct {
	owner *ledger.Owner
	mu    sync.Mutex
	out   *metrics.JSONL
	last  *metrics.Exposition
	dirty bool
	wrote time.Time // metrics.prom
	err   error     // the first
}

// exposeEvery is how often metrics.prom is written at most.
const exposeEvery = time.Second

// recorder is made when there is something to record. What a dead owner found in the log is found again: the log is read
// from its beginning.
func (r *run) recorder() *recorder {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.samples == nil {
		r.samples = r.newRecorder()
	}
	return r.samples
}

func (r *run) newRecorder() *recorder {
	c := &recorder{owner: r.owner, last: metrics.NewExposition(string(r.plan.Kind), r.plan.Name)}
	err := metrics.KeepInstance(r.owner.MetricsPath())
	c.err = err
	if c.out, err = metrics.OpenJSONL(r.owner.MetricsPath()); err != nil {
		c.err = errors.Join(c.err, err)
	}
	if r.host.Page != nil {
		r.host.Page.Show(c.last)
	}
	return c
}

// add takes samples. Nothing that goes wrong disturbs the job; close tells.
func (c *recorder) add(samples ...metrics.Sample) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.out != nil {
		for _, s := range samples {
			_ = c.out.Add(s) // Close tells
		}
	}
	c.last.Add(samples...)
	c.dirty = c.dirty || len(samples) > 0
}

// expose lets others read what was added. metrics.prom is written anew if there is news and time for it.
func (c *recorder) expose() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.out != nil {
		_ = c.out.Flush()
	}
	if c.dirty && time.Since(c.wrote) >= exposeEvery {
		c.write()
	}
}

func (c *recorder) write() {
	c.dirty, c.wrote = false, time.Now()
	c.err = cmp.Or(c.err, c.last.WriteFile(c.owner.ExpositionPath()))
}

// recorded ends the files. What went wrong with them is on record, and no more.
func (r *run) recorded() {
	r.mu.Lock()
	c := r.samples
	r.samples = nil
	r.mu.Unlock()
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dirty {
		c.write()
	}
	if c.out != nil {
		c.err = cmp.Or(c.err, c.out.Close())
		if n := c.out.Skipped(); n > 0 {
			r.append(ledger.Warning{Rule: "optml", Text: fmt.Sprintf("the series of metrics are thinned out towards their end: %d samples are not in %s, which has a limit; final values are exact", n, r.owner.MetricsPath())})
		}
	}
	if c.err != nil {
		r.append(ledger.Warning{Rule: "optml", Text: "not all samples were written: " + c.err.Error()})
	}
}
