package channels

import (
	"sync"
	"time"
)

// stopwatch adds up the time in which at least one was waiting, and can be read while they wait.
type stopwatch struct {
	mu      sync.Mutex
	waiting int
	since   time.Time
	total   time.Duration
}

func (w *stopwatch) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waiting++; w.waiting == 1 {
		w.since = time.Now()
	}
}

// end ends one wait; it does not count if it turned out that nobody had to wait.
func (w *stopwatch) end(counts bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if counts {
		w.total += now.Sub(w.since)
	}
	w.waiting--
	w.since = now
}

func (w *stopwatch) read() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waiting > 0 {
		return w.total + time.Since(w.since)
	}
	return w.total
}
