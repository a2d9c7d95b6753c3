package harness

import (
	"testing"
	"time"

	"github.com/optml/optml/transform"
)

// What is not read any more of an object that failed is neither to be done nor waited for.
func TestTimeLeft(t *testing.T) {
	start := time.Now()
	for _, c := range []struct {
		skipped int64
		total   int64
		left    time.Duration
	}{{0, 10_000, 80 * time.Second}, {6000, 4000, 20 * time.Second}, {9000, 1000, 0}} {
		var p pace
		p.live(transform.Totals{TotalBytes: 10_000, Read: 1900}, start)
		live := p.live(transform.Totals{TotalBytes: 10_000, Read: 2000, Skipped: c.skipped}, start.Add(time.Second))
		if live.TotalBytes != c.total || live.Bytes > live.TotalBytes || live.Left.Round(time.Second) != c.left {
			t.Errorf("skipped %d: %d of %d bytes, %s left", c.skipped, live.Bytes, live.TotalBytes, live.Left)
		}
	}
}
