package ledger

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Reasons of Adopted.
const (
	ReasonOwnerDied    = "owner died"
	ReasonHostRebooted = "host rebooted"
)

// Adopt takes over a job whose owner has died: it cuts a torn last line off, appends Adopted and returns holding the
// lock. ErrOwned when the owner lives. It waits, for 15 s at most, until the guards of the dead owner have let go of
// the lock. A finished job can be adopted too, to sweep what it left.
func Adopt(dir string) (*Owner, error) {
	j, err := Open(dir)
	if err != nil {
		return nil, err
	}
	lock, before, err := takeLock(j.LockPath())
	if err != nil {
		return nil, fmt.Errorf("adopt %s: %w", dir, err)
	}
	if !sameFile(lock, j.LockPath()) {
		lock.Close()
		return nil, fmt.Errorf("adopt %s: another process has just replaced it: %w", dir, ErrOwned)
	}
	o, err := own(j, lock)
	if err != nil {
		return nil, fmt.Errorf("adopt %s: %w", dir, err)
	}
	reason := ReasonOwnerDied
	if boot := BootID(); boot != "" && before.BootID != "" && boot != before.BootID {
		reason = ReasonHostRebooted
	}
	if err := o.Append(Adopted{PID: os.Getpid(), Reason: reason}); err != nil {
		return nil, errors.Join(err, o.Close())
	}
	return o, nil
}

// Inherit makes this process the owner by a lock that another process handed over. dir is the job's directory, lock
// the inherited file.
func Inherit(dir string, lock *os.File) (*Owner, error) {
	j, err := Open(dir)
	if err != nil {
		return nil, err
	}
	unix.CloseOnExec(int(lock.Fd()))
	var want, got unix.Stat_t
	if err := errors.Join(unix.Fstat(int(lock.Fd()), &got), unix.Stat(j.LockPath(), &want)); err != nil {
		return nil, fmt.Errorf("inherit %s: %w", dir, err)
	}
	if want.Dev != got.Dev || want.Ino != got.Ino {
		return nil, fmt.Errorf("inherit %s: the inherited file is not its lock", dir)
	}
	// Locking again what this open file has locked succeeds; if it is not locked, it is now.
	if err := unix.FcntlFlock(lock.Fd(), unix.F_OFD_SETLK, recordLock(unix.F_WRLCK)); err != nil {
		return nil, fmt.Errorf("inherit %s: %w", dir, ErrOwned)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, fmt.Errorf("inherit %s: %w", dir, ErrOwned)
	}
	if err := signLock(lock); err != nil {
		return nil, err
	}
	return own(j, lock)
}

// own makes the Owner of a job whose lock is held. On an error the lock is given back.
func own(j *Job, lock *os.File) (*Owner, error) {
	jn, err := openJournal(j.layout)
	if err != nil {
		lock.Close()
		return nil, err
	}
	o := &Owner{layout: j.layout, plan: j.plan, lock: lock, journal: jn, appended: newWakeup()}
	if o.state, err = j.fold(); err != nil {
		return nil, errors.Join(err, o.Close())
	}
	o.seq = o.state.Seq
	_ = makeReserve(o.path(reserveFile)) // a job that exists must have its end, with room or without
	o.stops.init()
	return o, nil
}

// fold reads all events.
func (j *Job) fold() (*State, error) {
	s := newState(j.plan)
	r, err := openReader(j.EventsPath())
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	defer r.Close()
	for {
		e, damaged, err := r.next()
		switch {
		case errors.Is(err, io.EOF):
			return s, nil
		case err != nil:
			return nil, fmt.Errorf("read %s: %w", j.EventsPath(), err)
		case damaged:
			s.Damaged++
		default:
			s.apply(e)
		}
	}
}
