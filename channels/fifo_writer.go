package channels

import (
	"context"
	"errors"
	"io"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/optml/optml/dataset"
)

const (
	// gather is how much is gathered of small pieces before it is written: a write of a few bytes wakes the reader up
	// for nothing.
	gather = 256 << 10
	// direct is what is large enough to be written from where it lies.
	direct = 64 << 10
)

// errReaderGone says that the reader has closed its end before the epoch's (PIPE-4).
var errReaderGone = errors.New("the reader has closed the pipe")

// fifoWriter writes one epoch. A write can be interrupted by its context; what it has not written then is lost.
type fifoWriter struct {
	ctx    context.Context
	raw    syscall.RawConn
	out    *os.File
	buf    []byte
	n      int64         // bytes that went into the pipe
	total  *atomic.Int64 // of the channel
	blocks *stopwatch    // we wait for the reader
	waits  *stopwatch    // the reader waits for us
	spare  []byte        // what comes with a body's header
	stop   func() bool
}

func newFifoWriter(ctx context.Context, out *os.File, total *atomic.Int64, blocks, waits *stopwatch) (*fifoWriter, error) {
	raw, err := out.SyscallConn()
	if err != nil {
		return nil, err
	}
	w := &fifoWriter{ctx: ctx, raw: raw, out: out, buf: make([]byte, 0, gather), total: total, blocks: blocks, waits: waits}
	w.stop = context.AfterFunc(ctx, func() { _ = out.SetWriteDeadline(time.Unix(1, 0)) })
	return w, nil
}

// Write takes p, now or with the next Flush.
func (w *fifoWriter) Write(p []byte) (int, error) {
	if len(p) < direct && len(w.buf)+len(p) <= cap(w.buf) {
		w.buf = append(w.buf, p...)
		return len(p), nil
	}
	if err := w.Flush(); err != nil {
		return 0, err
	}
	if len(p) < direct {
		w.buf = append(w.buf, p...)
		return len(p), nil
	}
	return len(p), w.put(p)
}

// Flush writes what was gathered.
func (w *fifoWriter) Flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	err := w.put(w.buf)
	w.buf = w.buf[:0]
	return err
}

func (w *fifoWriter) put(p []byte) error {
	return w.push(int64(len(p)), func(fd int) (int, error) {
		n, err := unix.Write(fd, p)
		p = p[max(n, 0):]
		return n, err
	})
}

// errShort says that a file has ended before it should have.
var errShort = errors.New("the file ends early")

// splice writes the next n bytes of f without copying them: the pipe holds the page cache's own pages.
func (w *fifoWriter) splice(f *os.File, n int64) error {
	if err := w.Flush(); err != nil {
		return err
	}
	src, left := int(f.Fd()), n
	err := w.push(n, func(fd int) (int, error) {
		m, err := unix.Splice(src, nil, fd, nil, int(min(left, 1<<30)), unix.SPLICE_F_NONBLOCK)
		if err == nil && m == 0 {
			err = errShort
		}
		left -= max(m, 0)
		return int(max(m, 0)), err
	})
	if errors.Is(err, unix.EINVAL) && left == n { // a file system that cannot
		return w.copy(f, n)
	}
	return err
}

func (w *fifoWriter) copy(f *os.File, n int64) error {
	buf := make([]byte, gather)
	for n > 0 {
		m, err := f.Read(buf[:min(n, gather)])
		if err == io.EOF {
			return errShort
		} else if err != nil {
			return err
		}
		if err := w.put(buf[:m]); err != nil {
			return err
		}
		n -= int64(m)
	}
	return nil
}

// push repeats step until left bytes are in the pipe.
func (w *fifoWriter) push(left int64, step func(fd int) (int, error)) error {
	return w.attempt(func(fd int) error {
		for left > 0 {
			n, err := step(fd)
			if n > 0 {
				left -= int64(n)
				w.n += int64(n)
				w.total.Add(int64(n))
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// attempt repeats try, which works on the pipe's descriptor, as long as it says that there is no room (EAGAIN), and waits
// for the reader in between. EPIPE means that the reader is gone.
func (w *fifoWriter) attempt(try func(fd int) error) error {
	var failed error
	blocked := false
	err := w.raw.Write(func(fd uintptr) bool {
		if blocked {
			w.blocks.end(true)
			blocked = false
		}
		failed = unix.EINTR
		for failed == unix.EINTR {
			failed = try(int(fd))
		}
		switch failed {
		case unix.EAGAIN:
			w.blocks.begin()
			blocked = true
			return false
		case unix.EPIPE:
			failed = w.gone(fd)
		default:
			if errno, ok := failed.(unix.Errno); ok {
				failed = os.NewSyscallError("write", errno)
			}
		}
		return true
	})
	if blocked {
		w.blocks.end(true)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return context.Cause(w.ctx)
	} else if err != nil {
		return err
	}
	return failed
}

// gone says that the reader has closed the pipe. What it did not read was not delivered.
func (w *fifoWriter) gone(fd uintptr) error {
	left := int64(unread(fd))
	w.n -= left
	w.total.Add(-left)
	return errReaderGone
}

// drain writes the n bytes of a body, and looks for its end. What still lies in its connection goes into the pipe without
// a copy.
func (w *fifoWriter) drain(b dataset.Splicer, n int64) error {
	if err := w.Flush(); err != nil {
		return err
	}
	if w.spare == nil {
		w.spare = make([]byte, pipeBuffer)
	}
	for {
		if n > 0 {
			if err := w.room(); err != nil {
				return err
			}
		}
		m, moved, err := b.Splice(w.spare, w.move)
		switch {
		case errors.Is(err, errReaderGone):
			return w.closed()
		case err == io.EOF && n > 0:
			return errShort
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
		if n -= int64(m); moved {
			w.n += int64(m)
			w.total.Add(int64(m))
		} else if err := w.put(w.spare[:m]); err != nil {
			return err
		}
	}
}

// move takes what a connection has into the pipe, and waits for the connection alone.
func (w *fifoWriter) move(c syscall.RawConn, most int) (n int, err error) {
	waited := false
	rerr := c.Read(func(sock uintptr) bool {
		cerr := w.raw.Control(func(fd uintptr) {
			for {
				var m int64
				if m, err = unix.Splice(int(sock), nil, int(fd), nil, most, unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE); err != unix.EINTR {
					n = int(max(m, 0))
					return
				}
			}
		})
		if cerr != nil {
			n, err = 0, dataset.Permanent(cerr)
		}
		if err == unix.EAGAIN {
			if !waited {
				waited = true
				w.waits.begin()
			}
			return false
		}
		return true
	})
	if waited {
		w.waits.end(w.empty())
	}
	switch {
	case rerr != nil:
		return 0, rerr
	case err == unix.EPIPE:
		return 0, dataset.Permanent(errReaderGone)
	case err != nil:
		return 0, os.NewSyscallError("splice", err)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// room waits until something fits into the pipe.
func (w *fifoWriter) room() error {
	return w.attempt(func(fd int) error {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
		_, err := unix.Poll(p, 0)
		switch {
		case err != nil:
			return err
		case p[0].Revents&unix.POLLERR != 0:
			return unix.EPIPE
		case p[0].Revents&unix.POLLOUT != 0:
			return nil
		}
		return unix.EAGAIN
	})
}

// closed is gone where the descriptor is not at hand.
func (w *fifoWriter) closed() error {
	err := errReaderGone
	_ = w.raw.Control(func(fd uintptr) { err = w.gone(fd) })
	return err
}

// empty says whether the reader has read all that was written.
func (w *fifoWriter) empty() bool {
	left := 0
	if err := w.raw.Control(func(fd uintptr) { left = unread(fd) }); err != nil {
		return false
	}
	return left == 0
}

// release ends the tie to the context. The pipe stays open.
func (w *fifoWriter) release() { w.stop() }
