package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/optml/optml/human"
	"github.com/optml/optml/ledger"
	"github.com/optml/optml/runtime/container"
	"github.com/optml/optml/runtime/ctrd"
)

// pulls is the image store as jobs see it, which keeps count of what is being pulled.
type pulls struct {
	images container.Images

	mu    sync.Mutex
	now   map[string]*ctrd.PullProgress          // by reference
	ended func(ref string, p *ctrd.PullProgress) // of one that fetched something; may be nil
}

var _ container.Images = (*pulls)(nil)

func (p *pulls) Ensure(ctx context.Context, ref string, pull container.Pull) (container.Image, error) {
	count := new(ctrd.PullProgress)
	p.mu.Lock()
	if p.now == nil {
		p.now = map[string]*ctrd.PullProgress{}
	}
	p.now[ref] = count
	p.mu.Unlock()
	img, err := p.images.Ensure(ctrd.WithProgress(ctx, count), ref, pull)
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.now, ref)
	if err == nil && p.ended != nil && count.Total.Load() > 0 {
		p.ended(ref, count)
	}
	return img, err
}

// live are the pulls under way, for the job's snapshot.
func (p *pulls) live() []ledger.ImageLive {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []ledger.ImageLive
	for ref, c := range p.now {
		if total := c.Total.Load(); total > 0 {
			all = append(all, ledger.ImageLive{Ref: ref, Bytes: c.Done.Load(), TotalBytes: total})
		}
	}
	slices.SortFunc(all, func(a, b ledger.ImageLive) int { return cmp.Compare(a.Ref, b.Ref) })
	return all
}

// meters are the pulls under way of which something is known, in the order of their names.
func (p *pulls) meters() []meter {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []meter
	for ref, c := range p.now {
		total := c.Total.Load()
		if total == 0 {
			continue // here already, or the registry has not answered
		}
		m := meter{key: "pull " + ref, name: "pull " + ctrd.Familiar(ref), now: c.Done.Load(), total: total, keep: true}
		if c.Unpacking.Load() > 0 {
			m.extra = "unpacking"
		}
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b meter) int { return cmp.Compare(a.key, b.key) })
	return all
}

// pullLines is how often a pull is told of where there are no bars.
const pullLines = 10 * time.Second

// tell says now and then how far pulls are, until done.
func (p *pulls) tell(ctx context.Context, say func(string), done <-chan struct{}) {
	tick := time.NewTicker(pullLines)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-done:
			return
		case <-tick.C:
		}
		for _, m := range p.meters() {
			line := fmt.Sprintf("%s: %s of %s", m.name, human.Bytes(m.now), human.Bytes(m.total))
			if m.extra != "" {
				line += ", " + m.extra
			}
			say(line)
		}
	}
}

// pullLine is how far a pull is, as a line of JSON.
type pullLine struct {
	Pull        string `json:"pull"`
	Bytes       int64  `json:"bytes"`
	TotalBytes  int64  `json:"totalBytes"`
	Layers      int64  `json:"layers"`
	TotalLayers int64  `json:"totalLayers"`
	Unpacking   bool   `json:"unpacking,omitempty"`
	Done        bool   `json:"done,omitempty"`
}

func lineOf(ref string, c *ctrd.PullProgress) pullLine {
	return pullLine{Pull: ref, Bytes: c.Done.Load(), TotalBytes: c.Total.Load(), Layers: c.LayersDone.Load(), TotalLayers: c.Layers.Load(),
		Unpacking: c.Unpacking.Load() > 0}
}

// tellJSON writes a line for each pull now and then, until done.
func (p *pulls) tellJSON(w io.Writer, done <-chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		p.mu.Lock()
		for ref, c := range p.now {
			if c.Total.Load() > 0 {
				_ = json.NewEncoder(w).Encode(lineOf(ref, c))
			}
		}
		p.mu.Unlock()
	}
}

// showPulls tells of pulls on a console, in one of progressModes, until the function that it returns is called.
func showPulls(con *console, p *pulls, mode string) (end func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	var b *bars
	if mode == progressAuto {
		mode = progressPlain
		if con.term {
			mode = progressBars
		}
	}
	switch mode {
	case progressBars:
		b = newBars(con)
		wg.Go(func() { b.show(context.Background(), p.meters, done) })
	case progressPlain:
		p.ended = func(ref string, c *ctrd.PullProgress) {
			fmt.Fprintf(con, "pull %s: %s, done\n", ctrd.Familiar(ref), human.Bytes(c.Total.Load()))
		}
		wg.Go(func() { p.tell(context.Background(), func(s string) { fmt.Fprintln(con, s) }, done) })
	case progressJSON:
		p.ended = func(ref string, c *ctrd.PullProgress) {
			l := lineOf(ref, c)
			l.Unpacking, l.Done = false, true
			_ = json.NewEncoder(con).Encode(l)
		}
		wg.Go(func() { p.tellJSON(con, done) })
	}
	return func() {
		close(done)
		wg.Wait()
		if b != nil {
			b.close()
		}
	}
}
