package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Two locks on one file say that a job has an owner.
//
// The record lock (fcntl F_OFD_SETLK) decides between owners, because it is the one that can be asked about without
// being taken: F_OFD_GETLK. A probe that took the lock for a moment would make a concurrent Adopt fail.
//
// The flock is what guards wait for (container.Spec.Guard): a guard blocks in flock(2), and when it gets the lock the
// owner is dead, so it kills the container. Adopt waits for as long as a guard holds on to the lock; one that lets go
// at once may still be killing, so whoever adopts kills what State says is running, too.
//
// Both belong to the open file, not to the process: they end when its last descriptor is closed, by exit, by kill -9
// or by Close, and they can be handed to a child process (Handover).

// guardWait bounds how long Adopt waits for guards to let go; a guard needs milliseconds.
const guardWait = 15 * time.Second

// holder is the content of the lock file, for people and for Adopt's reason.
type holder struct {
	PID    int       `json:"pid"`
	BootID string    `json:"bootId"`
	Since  time.Time `json:"since"`
}

func recordLock(typ int16) *unix.Flock_t { return &unix.Flock_t{Type: typ} } // whence 0, start 0, len 0: the whole file

// takeLock opens path and takes both locks. ErrOwned when another owner has it.
func takeLock(path string) (*os.File, holder, error) {
	var before holder
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, fileMode)
	if err != nil {
		return nil, before, err
	}
	fail := func(err error) (*os.File, holder, error) {
		f.Close()
		return nil, before, fmt.Errorf("lock %s: %w", path, err)
	}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, recordLock(unix.F_WRLCK)); err != nil {
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
			err = ErrOwned
		}
		return fail(err)
	}
	for deadline := time.Now().Add(guardWait); ; time.Sleep(5 * time.Millisecond) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			break
		}
		if errors.Is(err, unix.EWOULDBLOCK) {
			if time.Now().Before(deadline) {
				continue
			}
			err = fmt.Errorf("%w: a guard has held it for %v", ErrOwned, guardWait)
		} else if errors.Is(err, unix.EINTR) {
			continue
		}
		return fail(err)
	}
	b := make([]byte, 4096)
	n, _ := f.ReadAt(b, 0)
	_ = json.Unmarshal(b[:n], &before) // empty in a new job; only a help for people
	return f, before, signLock(f)
}

// signLock writes who holds the lock into it. Failing to (a full disk) does not matter to anybody but the reader.
func signLock(f *os.File) error {
	b, err := json.Marshal(holder{PID: os.Getpid(), BootID: BootID(), Since: time.Now().UTC()})
	if err != nil {
		return err
	}
	if f.Truncate(0) == nil {
		_, _ = f.WriteAt(append(b, '\n'), 0)
	}
	return nil
}

// lockHeld asks whether an owner lives, without touching the lock.
func lockHeld(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	l := recordLock(unix.F_WRLCK)
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, l); err != nil {
		return false, fmt.Errorf("probe lock %s: %w", path, err)
	}
	return l.Type != unix.F_UNLCK, nil
}
