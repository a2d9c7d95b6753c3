package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/optml/optml/ledger"
)

// errInterrupted ends a command that a signal ended before its job began.
var errInterrupted = errors.New("interrupted")

// interrupts turns signals into what they mean (D13). Before the job begins, SIGINT and SIGTERM end the command. Once
// it runs, the first stops it with grace, the second kills the container (delivery still runs), and the third leaves at
// once. SIGHUP detaches: the terminal is gone, the job goes on.
type interrupts struct {
	Stops chan ledger.Stop

	say    func(format string, args ...any)
	hangup func()
	exit   func(code int) // os.Exit; another in tests

	ch     chan os.Signal
	done   chan struct{}
	cancel context.CancelCauseFunc

	mu      sync.Mutex
	running bool
	n       int
	kept    string // what the third signal says of the artifacts
}

// watchSignals starts the watch. The context ends with errInterrupted if a signal comes before begin.
func watchSignals(say func(string, ...any), hangup func()) (context.Context, *interrupts) {
	ctx, cancel := context.WithCancelCause(context.Background())
	i := &interrupts{
		Stops: make(chan ledger.Stop, 2), say: say, hangup: hangup, exit: os.Exit,
		ch: make(chan os.Signal, 8), done: make(chan struct{}), cancel: cancel,
	}
	signal.Notify(i.ch, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	// A reader of our output that has left (| head) is no reason to end a job.
	signal.Ignore(syscall.SIGPIPE)
	go i.loop()
	return ctx, i
}

func (i *interrupts) loop() {
	for {
		select {
		case s := <-i.ch:
			i.on(s)
		case <-i.done:
			return
		}
	}
}

// begin says that the job runs from now on. A signal that came just before stops it.
func (i *interrupts) begin(kept string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.running, i.kept = true, kept
	if i.n > 0 {
		i.stop()
	}
}

func (i *interrupts) on(s os.Signal) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if s == syscall.SIGHUP {
		i.hangup()
		return
	}
	i.n++
	if i.running {
		i.stop()
		return
	}
	if i.n > 1 {
		i.exit(exitInterrupted)
	}
	i.cancel(errInterrupted)
}

// stop acts on the nth signal. The channel has room for all that are ever sent.
func (i *interrupts) stop() {
	switch i.n {
	case 1:
		i.say("stopping the job; once more kills the container")
		i.Stops <- ledger.Stop{Reason: "interrupted"}
	case 2:
		i.say("killing the container; what it made is still delivered; once more leaves at once")
		i.Stops <- ledger.Stop{Reason: "interrupted", Kill: true}
	default:
		i.say("leaving. %s", i.kept)
		i.exit(exitInterrupted)
	}
}

// end stops the watch.
func (i *interrupts) end() {
	signal.Stop(i.ch)
	close(i.done)
	i.cancel(nil)
}

// keptText says where a job's artifacts are when its owner leaves at once.
func keptText(j *ledger.Job) string {
	return fmt.Sprintf("The container is killed; the artifacts are kept in %s, and `optml prune` or the next job delivers them", j.WorkDir())
}
