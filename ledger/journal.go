package ledger

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// journal appends to events.jsonl.
type journal struct {
	f        *os.File
	end      int64                 // where the last whole line ends
	torn     bool                  // bytes of a failed write lie behind end
	unsynced atomic.Pointer[error] // of syncSoon

	reserve string // file whose space is given up when the disk is full
}

// reserveBytes is room for the events that end a job on a full disk: steps, totals, the final transition.
const reserveBytes = 128 << 10

// openJournal opens the file for appending and cuts off a torn last line: what a writer that was killed, or a host that
// lost power, left behind its last line feed.
func openJournal(l layout) (*journal, error) {
	f, err := os.OpenFile(l.path(eventsFile), os.O_RDWR|os.O_CREATE|os.O_APPEND, fileMode)
	if err != nil {
		return nil, err
	}
	j := &journal{f: f, reserve: l.path(reserveFile)}
	fi, err := f.Stat()
	if err == nil {
		j.end, err = lastLineEnd(f, fi.Size())
	}
	if err == nil && j.end < fi.Size() {
		err = f.Truncate(j.end)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return j, nil
}

// lastLineEnd is the offset behind the last line feed before size.
func lastLineEnd(r io.ReaderAt, size int64) (int64, error) {
	buf := make([]byte, 64<<10)
	for size > 0 {
		n := min(size, int64(len(buf)))
		if _, err := r.ReadAt(buf[:n], size-n); err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		if i := bytes.LastIndexByte(buf[:n], '\n'); i >= 0 {
			return size - n + int64(i) + 1, nil
		}
		size -= n
	}
	return 0, nil
}

// append writes one event as one line, in one write. After an error the file holds whole lines only, or, where even
// that fails, the next line starts on a line of its own.
func (j *journal) append(e Event, sync bool) error {
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	b = append(b, '\n')
	if len(b) > maxLine {
		return errors.New("event is longer than 1 MiB")
	}
	n, err := j.write(b)
	if errors.Is(err, unix.ENOSPC) && os.Remove(j.reserve) == nil {
		n, err = j.write(b)
	}
	if err != nil {
		return err
	}
	j.end += int64(n)
	j.torn = false
	if sync {
		if err := unix.Fdatasync(int(j.f.Fd())); err != nil {
			return err
		}
		if err := j.unsynced.Load(); err != nil {
			return *err
		}
	}
	return nil
}

// syncSoon begins to bring what was appended to the disk. An error of the disk shows at the next append that syncs: the
// kernel tells it once only, so it is kept.
func (j *journal) syncSoon() {
	raw, err := j.f.SyscallConn()
	if err != nil {
		return
	}
	go func() {
		_ = raw.Control(func(fd uintptr) { // keeps the file open for so long; fails if it is closed already
			if err := unix.Fdatasync(int(fd)); err != nil {
				j.unsynced.CompareAndSwap(nil, &err)
			}
		})
	}()
}

// write writes a line whole, or takes back what it wrote of it.
func (j *journal) write(b []byte) (int, error) {
	if j.torn {
		b = append([]byte{'\n'}, b...)
	}
	n, err := j.f.Write(b)
	if err != nil && n > 0 && j.f.Truncate(j.end) != nil {
		j.end += int64(n)
		j.torn = true
	}
	return n, err
}

// makeReserve sets room aside for the job's last events. Where the file system cannot, there is none; where there is no
// room it is an error.
func makeReserve(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, fileMode)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Fallocate(int(f.Fd()), 0, 0, reserveBytes); errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return &os.PathError{Op: "set room aside in", Path: path, Err: err}
	}
	return nil
}

// reader reads whole lines of events and stays at the first that is not whole yet.
type reader struct {
	f   *os.File
	buf *bufio.Reader
	off int64 // behind the last whole line
}

func openReader(path string) (*reader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return &reader{f: f, buf: bufio.NewReaderSize(f, 32<<10)}, nil
}

func (r *reader) Close() error { return r.f.Close() }

// next returns the next event. io.EOF means that there is no further whole line now; next may be called again later.
// A line that is not an event is passed over, with damaged true and a zero Event.
func (r *reader) next() (e Event, damaged bool, err error) {
	var long []byte
	n := 0
	for {
		part, err := r.buf.ReadSlice('\n')
		n += len(part)
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			if len(long) <= maxLine {
				long = append(long, part...)
			}
			continue
		case err != nil: // io.EOF: the line is not whole
			if _, serr := r.f.Seek(r.off, io.SeekStart); serr != nil {
				return Event{}, false, serr
			}
			r.buf.Reset(r.f)
			return Event{}, false, err
		}
		r.off += int64(n)
		if len(long) > 0 {
			part = append(long, part...)
		}
		part = bytes.TrimSpace(part)
		if len(part) == 0 { // left by a write that failed
			long, n = nil, 0
			continue
		}
		if len(part) > maxLine || json.Unmarshal(part, &e) != nil {
			return Event{}, true, nil
		}
		return e, false, nil
	}
}
