package ledger

import (
	"context"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

// pollEvery is how often files are looked at beside inotify, which some file systems and an exhausted limit of
// watches silently do without.
const pollEvery = 250 * time.Millisecond

// wakeup tells those in the owner's process who follow its job that there is something new. inotify would do, but its
// end takes the kernel some fifteen milliseconds, which the process would have to wait for when it exits.
type wakeup struct {
	mu sync.Mutex
	ch chan struct{} // closed at the next event; nil: this process is the owner no longer
}

func newWakeup() *wakeup { return &wakeup{ch: make(chan struct{})} }

func (w *wakeup) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ch != nil {
		close(w.ch)
		w.ch = make(chan struct{})
	}
}

func (w *wakeup) retire() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ch != nil {
		close(w.ch)
		w.ch = nil
	}
}

func (w *wakeup) next() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ch
}

// watch wakes whoever waits for a job's next event.
type watch struct {
	here   *wakeup             // nil: the owner is another process
	woken  <-chan struct{}     // of here
	notify *fsnotify.Watcher   // nil: polling alone
	events chan fsnotify.Event // of notify
	tick   *time.Ticker
}

func newWatch(j *Job) *watch {
	w := &watch{here: j.appended, tick: time.NewTicker(pollEvery)}
	if w.here != nil {
		return w
	}
	n, err := fsnotify.NewWatcher()
	if err != nil {
		return w
	}
	if n.Add(j.EventsPath()) != nil {
		n.Close()
		return w
	}
	w.notify, w.events = n, n.Events
	return w
}

// arm comes before the reading after which wait is called.
func (w *watch) arm() {
	if w.here != nil {
		w.woken = w.here.next()
	}
}

// wait returns when something may have changed since arm, or with the cause of ctx's end.
func (w *watch) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-w.tick.C:
	case <-w.woken:
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
