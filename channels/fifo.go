package channels

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// pipeBuffer is the most that an unprivileged process may make of a pipe; 64 KiB, the default, takes 1.6 times as long.
const pipeBuffer = 1 << 20

// fifo is the named pipe of one epoch, seen from its writing end. The container may write the directory that it lies in
// (TREE-1), so after it was made it is never looked up by its name again: the name could be a link to something else.
type fifo struct {
	dir  *os.File
	name string
	node *os.File // O_PATH: the pipe itself, whatever its name leads to

	// held is a writing end from before the pipe had its name: so there is no moment at which a reader with O_NONBLOCK
	// that reads at once would find no writer and take that for the end (PIPE-7). It goes when the real one is open.
	held    *os.File
	release sync.Once

	waiting sync.Once
	opened  chan struct{} // closed when the reader has opened it, or waiting ended otherwise
	out     *os.File      // the writing end; nil before opened is closed, and if err is set
	err     error
	gone    atomic.Bool
}

// newFifo makes the pipe. Nothing may have its name yet.
func newFifo(dir *os.File, name string) (_ *fifo, err error) {
	fail := func(err error) (*fifo, error) { return nil, fmt.Errorf("make FIFO %s: %w", name, err) }
	d, temp := int(dir.Fd()), fmt.Sprintf(".%s.%d", name, made.Add(1))
	if err := unix.Mkfifoat(d, temp, 0o644); err != nil {
		return fail(err)
	}
	defer func() {
		if err != nil {
			_ = unix.Unlinkat(d, temp, 0)
		}
	}()
	fd, err := unix.Openat(d, temp, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fail(err)
	}
	f := &fifo{dir: dir, name: name, node: os.NewFile(uintptr(fd), name), opened: make(chan struct{})}
	if err := f.publish(d, temp, fd); err != nil {
		f.letGo()
		f.node.Close()
		return fail(err)
	}
	return f, nil
}

// made numbers the pipes of this process, for names that no one else uses.
var made atomic.Int64

// publish gives the pipe its name, with a writing end open.
func (f *fifo) publish(dir int, temp string, fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFIFO {
		return errors.New("something else has taken its name")
	}
	if umask()&0o644 != 0 {
		if err := unix.Chmod(f.self(), 0o644); err != nil { // the image may run as another user
			return err
		}
	}
	// A writing end can only be had at once while there is a reader.
	reader, err := unix.Open(f.self(), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(reader)
	held, err := unix.Open(f.self(), unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	f.held = os.NewFile(uintptr(held), f.name)
	return unix.Renameat2(dir, temp, dir, f.name, unix.RENAME_NOREPLACE)
}

// letGo closes the held writing end.
func (f *fifo) letGo() {
	f.release.Do(func() {
		if f.held != nil {
			f.held.Close()
		}
	})
}

// self is a path to the pipe that needs no look at its directory.
func (f *fifo) self() string { return fmt.Sprintf("/proc/self/fd/%d", f.node.Fd()) }

// await begins to wait for the reader; the second call does nothing. The open blocks in a thread of its own: so it
// returns the moment that the reader opens.
func (f *fifo) await() {
	f.waiting.Do(func() {
		go func() {
			defer close(f.opened)
			f.out, f.err = f.open()
			f.letGo()
		}()
	})
}

func (f *fifo) open() (*os.File, error) {
	for {
		fd, err := unix.Open(f.self(), unix.O_WRONLY|unix.O_CLOEXEC, 0)
		if err == unix.EINTR {
			continue
		} else if err != nil {
			return nil, fmt.Errorf("open FIFO %s: %w", f.name, err)
		}
		// A smaller pipe is merely slower: a user's pipes may be limited.
		_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETPIPE_SZ, pipeBuffer)
		if err := unix.SetNonblock(fd, true); err != nil { // so that a write can be interrupted
			unix.Close(fd)
			return nil, fmt.Errorf("open FIFO %s: %w", f.name, err)
		}
		return os.NewFile(uintptr(fd), f.name), nil
	}
}

// end closes the writing end: the reader sees the end of its data once it has read what is in the pipe. The name is
// taken away before, as a reader that opened it again would wait for ever (PIPE-6). It is idempotent, and ends await.
func (f *fifo) end() error {
	if f.gone.Swap(true) {
		return nil
	}
	err := f.unlink()
	f.waiting.Do(func() { close(f.opened) })
	select {
	case <-f.opened:
	default:
		// A reader of our own lets the waiting open return.
		fd, oerr := unix.Open(f.self(), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if oerr != nil {
			return errors.Join(err, fmt.Errorf("open FIFO %s: %w", f.name, oerr))
		}
		<-f.opened
		unix.Close(fd)
	}
	f.letGo()
	if f.out != nil {
		err = errors.Join(err, f.out.Close())
	}
	return errors.Join(err, f.node.Close())
}

// unlink removes the name if it is still the pipe's.
func (f *fifo) unlink() error {
	var own, now unix.Stat_t
	if err := unix.Fstat(int(f.node.Fd()), &own); err != nil {
		return fmt.Errorf("look at FIFO %s: %w", f.name, err)
	}
	err := unix.Fstatat(int(f.dir.Fd()), f.name, &now, unix.AT_SYMLINK_NOFOLLOW)
	if err == nil && now.Ino == own.Ino && now.Dev == own.Dev {
		err = unix.Unlinkat(int(f.dir.Fd()), f.name, 0)
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove FIFO %s: %w", f.name, err)
	}
	return nil
}

// unread is how many bytes lie in the pipe (TIOCINQ is FIONREAD).
func unread(fd uintptr) int {
	n, err := unix.IoctlGetInt(int(fd), unix.TIOCINQ)
	if err != nil {
		return 0
	}
	return n
}
