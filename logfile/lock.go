package logfile

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// A writer holds a record lock on its index while it lives, so that a reader can tell a log that is slow to be complete
// from one that will never be. The lock is asked about without being taken; file systems without such locks only make
// readers wait for their timeout.

// hold takes the lock of a writer.
func hold(idx *os.File) {
	_ = unix.FcntlFlock(idx.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart})
}

// Written says whether the log's writer lives. It may say so where that cannot be known.
func (r *Reader) Written() bool {
	if r.idx == nil {
		return true // it may be just about to be made
	}
	l := unix.Flock_t{Type: unix.F_RDLCK, Whence: io.SeekStart}
	return unix.FcntlFlock(r.idx.Fd(), unix.F_OFD_GETLK, &l) != nil || l.Type != unix.F_UNLCK
}
