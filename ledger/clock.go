package ledger

import (
	"os"
	"strings"
	"time"
)

// wall is the time of day. OPTML_CLOCK stands in for a clock that jumps, as OPTML_BOOT_ID does for a reboot: it names a
// file that holds how far the clock is off from now on.
func wall() time.Time {
	now := time.Now().UTC()
	if name := os.Getenv("OPTML_CLOCK"); name != "" {
		if b, err := os.ReadFile(name); err == nil {
			if d, err := time.ParseDuration(strings.TrimSpace(string(b))); err == nil {
				return now.Add(d)
			}
		}
	}
	return now
}

// notBefore is the time of day, or the last event's where a clock was set back: a record's times never run backwards.
func notBefore(last time.Time) time.Time {
	if now := wall(); now.After(last) {
		return now
	}
	return last
}
