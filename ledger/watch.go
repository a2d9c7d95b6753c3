package ledger

import (
	"context"
	"time"

	"github.com/fsnotify/fsnotify"
)

// pollEvery is how often files are looked at beside inotify, which some file systems and an exhausted limit of
// watches silently do without.
const pollEvery = 250 * time.Millisecond

// watch wakes whoever waits for a file or directory to change.
type watch struct {
	notify *fsnotify.Watcher // nil: polling alone
	events chan fsnotify.Event
	tick   *time.Ticker
}

func newWatch(path string, pollOnly bool) *watch {
	w := &watch{tick: time.NewTicker(pollEvery)}
	if pollOnly {
		return w
	}
	n, err := fsnotify.NewWatcher()
	if err != nil {
		return w
	}
	if n.Add(path) != nil {
		n.Close()
		return w
	}
	w.notify, w.events = n, n.Events
	return w
}

// wait returns when something may have changed, or with the cause of ctx's end.
func (w *watch) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-w.tick.C:
	case _, ok := <-w.events:
		if !ok {
			w.events = nil
		}
	}
	return nil
}

// close does not wait for the kernel, which takes ten milliseconds over the end of a watch.
func (w *watch) close() {
	w.tick.Stop()
	if w.notify != nil {
		go w.notify.Close()
	}
}
