package channels

import "sync/atomic"

// counters are a delivery's totals so far.
type counters struct {
	bytes, objects           atomic.Int64
	totalBytes, totalObjects atomic.Int64
	epochs                   atomic.Int64
}

func (c *counters) stats(channel, mode string) Stats {
	return Stats{
		Channel: channel, Mode: mode,
		Bytes: c.bytes.Load(), Objects: c.objects.Load(),
		TotalBytes: c.totalBytes.Load(), TotalObjects: c.totalObjects.Load(),
		Epochs: c.epochs.Load(),
	}
}
