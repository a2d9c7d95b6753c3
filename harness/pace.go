package harness

import (
	"time"

	"github.com/optml/optml/ledger"
	"github.com/optml/optml/transform"
)

// pace makes rates of a transform's counters. It is asked by one ticker.
type pace struct {
	at      time.Time
	records int64
	bytes   int64

	perSecond struct{ records, bytes float64 } // smoothed; 0: nothing yet
}

// smooth is how much a second counts against those before it.
const smooth = 0.2

// live is the transform as it stands at a moment.
func (p *pace) live(n transform.Totals, now time.Time) *ledger.TransformLive {
	done := n.Done()
	if n.TotalBytes > 0 {
		done = min(done, n.ToDo())
	}
	past := now.Sub(p.at).Seconds()
	switch {
	case p.at.IsZero():
		p.at, p.records, p.bytes = now, n.Records, done
	case past >= 1:
		ease(&p.perSecond.records, float64(n.Records-p.records)/past)
		ease(&p.perSecond.bytes, max(0, float64(done-p.bytes)/past))
		p.at, p.records, p.bytes = now, n.Records, done
	}
	t := &ledger.TransformLive{
		Objects: n.Objects, TotalObjects: n.TotalObjects, Failed: n.Failed, Records: n.Records, Requests: n.Requests,
		InFlight: n.InFlight, Retries: n.Retries, BytesIn: n.BytesIn, BytesOut: n.BytesOut,
		Bytes: done, TotalBytes: n.ToDo(), RecordsPerSecond: p.perSecond.records,
	}
	if left := n.ToDo() - done; left > 0 && p.perSecond.bytes >= 1 {
		t.Left = time.Duration(min(float64(left)/p.perSecond.bytes, maxLeft.Seconds()) * float64(time.Second))
	}
	return t
}

func ease(v *float64, now float64) {
	if *v == 0 {
		*v = now
	}
	*v += (now - *v) * smooth
}

// maxLeft: beyond that an estimate says nothing.
const maxLeft = 1000 * time.Hour
