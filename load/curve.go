package load

import (
	"context"
	"fmt"
)

// Curve is what a server does under one load after the other.
type Curve struct {
	Points []*Result `json:"points"`
	// Knee is the index of the point at which throughput divided by mean latency is greatest, of those that were held: up to
	// there more load brings more answers, beyond it mostly more waiting (Kleinrock's power). Absent: none was held.
	Knee *int `json:"knee,omitempty"`
	// Most is the index of the point with the highest throughput of those that were held: what the server can do.
	Most *int `json:"most,omitempty"`
	// Skipped is how many of the last loads were left out, since two before them were not held.
	Skipped int `json:"skipped,omitempty"`
}

// giveUp is after how many points in a row that were not held no higher one is tried.
const giveUp = 2

// Sweep puts one load after the other on t, in order of their size. Each rung waits for its last answer, so that the next
// one finds no queue. each is told of a rung that is done; nil: nobody wants to know. A Sweep that is cut short has the
// points so far.
func Sweep(ctx context.Context, t Target, rungs []Options, each func(rung int, r *Result)) (*Curve, error) {
	c := &Curve{}
	for i := range rungs {
		if err := rungs[i].check(); err != nil {
			return nil, fmt.Errorf("load: rung %d: %w", i+1, err)
		}
	}
	failing := 0
	for i, o := range rungs {
		r, err := Run(ctx, t, o)
		if r != nil {
			c.Points = append(c.Points, r)
			if each != nil {
				each(i, r)
			}
		}
		if err != nil {
			c.conclude()
			return c, err
		}
		if failing++; r.Held {
			failing = 0
		}
		if failing == giveUp {
			c.Skipped = len(rungs) - i - 1
			break
		}
	}
	c.conclude()
	return c, nil
}

func (c *Curve) conclude() {
	for i, p := range c.Points {
		if !p.Held || p.Cut != "" || p.Latency.Mean <= 0 {
			continue
		}
		if c.Knee == nil || p.power() > c.Points[*c.Knee].power() {
			c.Knee = new(i)
		}
		if c.Most == nil || p.Throughput > c.Points[*c.Most].Throughput {
			c.Most = new(i)
		}
	}
}

func (r *Result) power() float64 { return r.Throughput / r.Latency.Mean }

// Ladder is rates to try on a server that answers so many requests a second in a closed loop: from a tenth of that to a
// little over it, closer together where the knee is likely.
func Ladder(throughput float64) (rates []float64) {
	for _, part := range []float64{0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.1} {
		rates = append(rates, max(MinRate, min(throughput*part, MaxRate)))
	}
	return rates
}
