package harness

import (
	"sync"
	"time"

	"github.com/optml/optml/channels"
	"github.com/optml/optml/ledger"
)

// spool is how much each of n FastFile channels may keep on disk.
func (in *instance) spool(n int64) int64 {
	switch most := in.run.host.Spool; {
	case most == nil:
		return 0
	case *most == 0:
		return -1
	default:
		return max(1, *most/max(n, 1))
	}
}

// totals are a channel's figures so far, over the time in which it could deliver: before the start for File, while the
// container lives for the others.
func (in *instance) totals(s channels.Stats) ledger.ChannelTotals {
	took := in.serving.length()
	if s.Mode == "File" {
		took = in.filling.length()
	}
	return ledger.ChannelTotals{
		Channel: s.Channel, Mode: s.Mode, Bytes: s.Bytes, Objects: s.Objects, Epochs: s.Epochs, Duration: took,
		ReaderWaited: time.Duration(s.ReaderWaited), WeWaited: time.Duration(s.WeWaited), Note: s.Note,
	}
}

// stretch is a time that others look at while it goes on.
type stretch struct {
	mu         sync.Mutex
	from, till time.Time
}

// begin starts it; the function returned ends it.
func (s *stretch) begin() (end func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.from = time.Now()
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.till = time.Now()
	}
}

func (s *stretch) length() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.from.IsZero():
		return 0
	case s.till.IsZero():
		return time.Since(s.from)
	}
	return s.till.Sub(s.from)
}
