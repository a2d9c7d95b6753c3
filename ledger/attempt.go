package ledger

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// attemptsDir holds what earlier attempts printed: attempts/1/logs, attempts/1/metrics.jsonl.
const attemptsDir = "attempts"

// Reopen takes over a finished job, to deliver what it kept or to begin it again. ErrOwned while somebody else has it;
// ErrUnfinished for one without an end, which must be recovered first.
func Reopen(dir string) (*Owner, error) {
	j, err := Open(dir)
	if err != nil {
		return nil, err
	}
	lock, _, err := takeLock(j.LockPath())
	if err != nil {
		return nil, fmt.Errorf("reopen %s: %w", dir, err)
	}
	if !sameFile(lock, j.LockPath()) {
		lock.Close()
		return nil, fmt.Errorf("reopen %s: another process has just replaced it: %w", dir, ErrOwned)
	}
	o, err := own(j, lock)
	if err != nil {
		return nil, fmt.Errorf("reopen %s: %w", dir, err)
	}
	if s := o.State(); !s.Final {
		return nil, errors.Join(fmt.Errorf("reopen %s: %w", dir, ErrUnfinished), o.Close())
	}
	return o, nil
}

// Restart begins the job's next attempt: what the one before printed and measured is put aside, requests to stop it are
// forgotten, and the state is that of a job to which nothing has happened yet, but for its history.
func (o *Owner) Restart(reason string) error {
	s := o.State()
	past := strconv.Itoa(s.Attempt())
	r := &Request{}
	r.UID, r.GID = o.User()
	err := errors.Join(o.makeDir(r.give, attemptsDir), o.makeDir(r.give, attemptsDir, past))
	for _, name := range []string{logsDir, metricsFile} {
		if err == nil {
			err = os.Rename(o.path(name), o.path(attemptsDir, past, name))
		}
		// One who was to do this and died has moved it already; what lies there now is empty.
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, fs.ErrExist) {
			err = nil
		}
	}
	if err == nil {
		err = errors.Join(o.makeDir(r.give, logsDir), o.makeDir(r.keep, workDir))
	}
	for _, name := range []string{stopFile, killFile} {
		if rerr := os.Remove(o.path(name)); err == nil && !errors.Is(rerr, fs.ErrNotExist) {
			err = rerr
		}
	}
	if err != nil {
		return fmt.Errorf("begin another attempt of %s: %w", o.Dir(), err)
	}
	return o.Append(Restarted{Reason: reason})
}

// makeDir makes a directory that may be there, and says whose it is.
func (l layout) makeDir(own func(dir string) error, elem ...string) error {
	dir := l.path(elem...)
	if err := os.Mkdir(dir, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return own(dir)
}

// AttemptDir is where the logs and metrics of an earlier attempt are.
func (l layout) AttemptDir(n int) string { return l.path(attemptsDir, strconv.Itoa(n)) }

// Past is an attempt that another followed.
type Past struct {
	Number        int       `json:"number"` // from 1
	Status        string    `json:"status"` // its end, or InProgress of one that was tried again at once
	Secondary     string    `json:"secondaryStatus,omitempty"`
	FailureReason string    `json:"failureReason,omitempty"`
	Detail        string    `json:"detail,omitempty"`
	Reason        string    `json:"reason,omitempty"` // why another followed
	At            time.Time `json:"at"`               // when the next one began
}

// Attempt is the number of the attempt that runs, or that was the last.
func (s *State) Attempt() int { return len(s.Attempts) + 1 }

// interrupted is the SecondaryStatus between two attempts (training 6.4).
const interrupted = "Interrupted"

// restart: identity and history stay, everything else is the new attempt's. An end that was on record has turned out to
// be an interruption.
func (s *State) restart(at time.Time, r Restarted) {
	was := *s
	s.Attempts = append(s.Attempts, Past{was.Attempt(), was.Status, was.Secondary, was.FailureReason, was.Detail, r.Reason, at})
	*s = State{
		Kind: was.Kind, Name: was.Name, ARN: was.ARN, Status: StatusInProgress, Attempts: s.Attempts,
		Transitions: was.Transitions, CreationTime: was.CreationTime, StartTime: was.StartTime, ModifiedTime: was.ModifiedTime,
		Interruption: was.Interruption, Open: was.Open, Seq: was.Seq, Damaged: was.Damaged,
	}
	n := len(s.Transitions)
	if n == 0 || !was.Final {
		return
	}
	last := &s.Transitions[n-1]
	last.Status, last.EndTime = interrupted, at
	if m := was.FailureReason; m != "" {
		last.StatusMessage = m
	}
	s.Secondary, s.Message = interrupted, last.StatusMessage
}
