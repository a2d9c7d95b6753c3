package transform

import (
	"testing"
	"time"
)

// A timer that is over ends one wait, not each that follows: those took a processor for nothing.
func TestTimerEndsOneWait(t *testing.T) {
	p, err := newPoller(true)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	p.wait(false, func(time.Time) time.Duration {
		p.ring() // before the timer is over, which stays set
		return time.Millisecond
	})
	p.rung()
	time.Sleep(3 * time.Millisecond)
	const waits = 10
	asked := 0
	for range waits {
		p.wait(false, func(time.Time) time.Duration { asked++; return time.Millisecond })
	}
	if asked < waits-1 {
		t.Errorf("%d of %d waits had anything to wait for", asked, waits)
	}
}
