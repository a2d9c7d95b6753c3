package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Stop is a request to stop a job (D13).
type Stop struct {
	Reason string    `json:"reason"` // who or what asks: "optml stop", "StopTrainingJob"
	At     time.Time `json:"at"`     // zero: now
	Kill   bool      `json:"kill,omitempty"`
}

// RequestStop asks the owner to stop, with Kill at once and without grace. It returns when the request is on record;
// follow the events to see it carried out. Asking again changes nothing, but a Kill after a stop with grace is a
// request of its own. ErrFinished when the job is. Whether anybody is there to carry it out is for Owned to say.
func (j *Job) RequestStop(s Stop) error {
	st, err := j.State()
	if err != nil {
		return err
	}
	if st.Final {
		return fmt.Errorf("stop %s/%s: %w: %s", j.Kind(), j.Name(), ErrFinished, st.Status)
	}
	if s.At.IsZero() {
		s.At = time.Now()
	}
	s.At = s.At.UTC()
	name := stopFile
	if s.Kill {
		name = killFile
	}
	if err := createWhole(j.path(name), s); err != nil {
		return fmt.Errorf("stop %s/%s: %w", j.Kind(), j.Name(), err)
	}
	return nil
}

// createWhole makes a file that is whole as soon as it has its name, and leaves one that is there as it is.
func createWhole(path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(append(b, '\n'))
	err = errors.Join(err, f.Chmod(fileMode), f.Close())
	if err == nil {
		err = os.Link(f.Name(), path)
	}
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// stopWatch tells of stop.json and kill.json.
type stopWatch struct {
	ch     chan Stop
	once   sync.Once
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// stopPoll is how often an owner looks for requests. Beside a grace of two minutes that is soon enough, and it costs
// nothing when the process ends, which an inotify watch does.
const stopPoll = 50 * time.Millisecond

func (w *stopWatch) init() {
	w.ch = make(chan Stop, 2) // each of the two files is told of once, so a send never blocks
	w.ctx, w.cancel = context.WithCancel(context.Background())
}

// Stops tells of requests to stop, those made before the call included: at most one with grace and one without, each
// once. The channel is closed with the owner. The first call starts the watch.
func (o *Owner) Stops() <-chan Stop {
	w := &o.stops
	w.once.Do(func() {
		w.wg.Go(func() { w.run(o.layout) })
	})
	return w.ch
}

func (w *stopWatch) run(l layout) {
	defer close(w.ch)
	tick := time.NewTicker(stopPoll)
	defer tick.Stop()
	pending := []string{stopFile, killFile}
	for len(pending) > 0 {
		rest := pending[:0]
		for _, name := range pending {
			var s Stop
			switch err := readJSON(l.path(name), &s); {
			case errors.Is(err, fs.ErrNotExist):
				rest = append(rest, name)
				continue
			case err != nil: // whatever is in it, somebody made the file to stop the job
				s = Stop{Reason: "stop requested", At: time.Now().UTC()}
			}
			s.Kill = name == killFile
			w.ch <- s
		}
		pending = rest
		select {
		case <-w.ctx.Done():
			return
		case <-tick.C:
		}
	}
	<-w.ctx.Done()
}

func (w *stopWatch) close() {
	if w.cancel == nil {
		return
	}
	w.cancel()
	w.once.Do(func() { close(w.ch) })
	w.wg.Wait()
}
