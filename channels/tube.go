package channels

import (
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/optml/optml/dataset"
)

// tube is a pipe through which the kernel moves a body from its connection into a file: one copy instead of two, and none
// of the bytes pass through our caches. It belongs to one worker.
type tube struct {
	ends  [2]int // reading, writing
	open  bool
	spare []byte      // what comes with a body's header
	turn  *sync.Mutex // held by who writes, where several tubes fill one file; may be nil
}

// sinkError is an error of what a tube writes into.
type sinkError struct{ error }

func (e sinkError) Unwrap() error { return e.error }

// fill writes a body into out from off on, and looks for its end. It returns how many bytes it wrote.
func (t *tube) fill(out *os.File, off int64, b dataset.Splicer, count *atomic.Int64) (n int64, err error) {
	if !t.open {
		if err := unix.Pipe2(t.ends[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
			return 0, os.NewSyscallError("pipe2", err)
		}
		t.open = true
		// A smaller pipe is merely slower: a user's pipes may be limited.
		_, _ = unix.FcntlInt(uintptr(t.ends[1]), unix.F_SETPIPE_SZ, pipeBuffer)
		t.spare = make([]byte, pipeBuffer)
	}
	defer func() {
		if err != nil {
			t.close() // something may be left in it
		}
	}()
	raw, err := out.SyscallConn()
	if err != nil {
		return 0, err
	}
	at := off
	move := func(c syscall.RawConn, most int) (int, error) { return t.move(c, most, raw, at) }
	for {
		m, moved, err := b.Splice(t.spare, move)
		if err == io.EOF {
			return at - off, nil
		} else if err != nil {
			return at - off, err
		}
		if !moved {
			if _, err := out.WriteAt(t.spare[:m], at); err != nil {
				return at - off, sinkError{err}
			}
		}
		at += int64(m)
		count.Add(int64(m))
	}
}

// move takes what a connection has to the file's byte at.
func (t *tube) move(c syscall.RawConn, most int, out syscall.RawConn, at int64) (int, error) {
	var n int64
	var err error
	rerr := c.Read(func(sock uintptr) bool {
		for {
			if n, err = unix.Splice(int(sock), nil, t.ends[1], nil, most, unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE); err != unix.EINTR {
				return err != unix.EAGAIN // the pipe is empty, so it is the connection that has nothing
			}
		}
	})
	switch {
	case rerr != nil:
		return 0, rerr
	case err != nil:
		return 0, os.NewSyscallError("splice", err)
	case n == 0:
		return 0, io.EOF
	}
	left := n
	if t.turn != nil {
		t.turn.Lock()
		defer t.turn.Unlock()
	}
	cerr := out.Control(func(fd uintptr) {
		for left > 0 {
			var m int64
			if m, err = unix.Splice(t.ends[0], nil, int(fd), &at, int(left), unix.SPLICE_F_MOVE); err == unix.EINTR {
				err = nil
				continue
			}
			if err == nil && m == 0 {
				err = io.ErrShortWrite
			}
			if err != nil {
				return
			}
			left -= m
		}
	})
	if err == nil {
		err = cerr
	}
	if err != nil {
		return 0, dataset.Permanent(sinkError{os.NewSyscallError("splice", err)})
	}
	return int(n), nil
}

func (t *tube) close() {
	if t.open {
		unix.Close(t.ends[0])
		unix.Close(t.ends[1])
		t.open = false
	}
}
