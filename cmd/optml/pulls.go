package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/optml/optml/runtime/container"
	"github.com/optml/optml/runtime/ctrd"
)

// pulls is the image store as jobs see it, which keeps count of what is being pulled.
type pulls struct {
	images container.Images

	mu  sync.Mutex
	now map[string]*ctrd.PullProgress // by reference
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
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.now, ref)
	}()
	return p.images.Ensure(ctrd.WithProgress(ctx, count), ref, pull)
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
			line := fmt.Sprintf("%s: %s of %s", m.name, bytesText(m.now), bytesText(m.total))
			if m.extra != "" {
				line += ", " + m.extra
			}
			say(line)
		}
	}
}

// showPulls tells of pulls on a console until the function that it returns is called.
func showPulls(con *console, p *pulls) (end func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	var b *bars
	if con.term {
		b = newBars(con)
		wg.Go(func() { b.show(context.Background(), p.meters, done) })
	} else {
		wg.Go(func() { p.tell(context.Background(), func(s string) { fmt.Fprintln(con, s) }, done) })
	}
	return func() {
		close(done)
		wg.Wait()
		if b != nil {
			b.close()
		}
	}
}
