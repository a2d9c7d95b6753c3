package logfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// copyBuffer is how much Copy reads at once; at 256 KiB system calls no longer show (0.7 to 1 GB/s).
	copyBuffer = 256 << 10
	// maxHeld bounds the unfinished line that is held back so that the other stream cannot cut it. A longer one is
	// written in pieces.
	maxHeld = 64 << 10
	// flushEvery is after how many bytes the kernel is asked to begin writing to the disk, so that the sync at the
	// end has little to wait for: containerd kills a logger that takes longer than 12 s.
	flushEvery = 32 << 20
	// tick is the resolution of times: within it, chunks of one stream share a record.
	tick = time.Millisecond
	// indexStep is by how much room for the index is taken from the disk.
	indexStep = 64 << 10
)

// Writer writes a log. Write and Copy may be called concurrently.
type Writer struct {
	mu      sync.Mutex
	log     *os.File
	idx     *os.File
	size    int64 // of the log
	flushed int64 // bytes below it have been handed to the disk
	last    record
	idxSize int64
	idxRoom int64     // bytes of the disk that the index has
	held    [3][]byte // unfinished lines, by Stream
	lost    int64     // bytes that could not be written
	err     error     // the first error of writing
	closed  bool
	now     func() time.Time
	scratch [recordSize]byte
}

// Create makes the files base.log and base.idx. They must not exist.
func Create(base string) (*Writer, error) {
	log, err := os.OpenFile(LogName(base), os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("create log: %w", err)
	}
	idx, err := os.OpenFile(IndexName(base), os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o644)
	if err == nil {
		hold(idx)
		if _, err = idx.WriteString(header); err != nil {
			idx.Close()
			os.Remove(IndexName(base))
		}
	}
	if err != nil {
		log.Close()
		os.Remove(LogName(base))
		return nil, fmt.Errorf("create log index: %w", err)
	}
	return &Writer{log: log, idx: idx, idxSize: int64(len(header)), now: time.Now}, nil
}

// Write adds p, which was printed to s. Complete lines reach the file before it returns; what follows the last newline
// is held until its line is complete, Close, or 64 KiB. Bytes that the disk does not take are lost, counted and
// reported by Close: a full disk must not stop the container.
func (w *Writer) Write(s Stream, p []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	held := w.held[s]
	cut := bytes.LastIndexByte(p, '\n') + 1
	if cut == 0 && len(held)+len(p) <= maxHeld {
		w.held[s] = append(held, p...)
		return
	}
	if cut == 0 || len(p)-cut > maxHeld {
		cut = len(p)
	}
	w.put(s, held, p[:cut])
	w.held[s] = append(held[:0], p[cut:]...)
}

// Copy adds what r gives, as printed to s, until its end. It returns only errors of r.
func (w *Writer) Copy(s Stream, r io.Reader) error {
	buf := make([]byte, copyBuffer)
	held := 0 // bytes of an unfinished line at the start of buf
	for {
		n, err := r.Read(buf[held:])
		if n > 0 {
			total, cut := held+n, 0
			if i := bytes.LastIndexByte(buf[held:total], '\n'); i >= 0 {
				cut = held + i + 1
			}
			if total-cut > maxHeld {
				cut = total
			}
			if cut > 0 {
				w.mu.Lock()
				w.put(s, w.held[s], buf[:cut])
				w.held[s] = w.held[s][:0]
				w.mu.Unlock()
			}
			held = copy(buf, buf[cut:total])
		}
		if err != nil {
			w.Write(s, buf[:held])
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

// put writes parts as printed to s. The caller holds mu.
func (w *Writer) put(s Stream, parts ...[]byte) {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	if n == 0 || w.closed {
		return
	}
	now := w.now()
	if w.last.kind != uint8(s) || now.Sub(w.last.time) >= tick {
		w.record(record{offset: w.size, time: now, kind: uint8(s)})
	}
	for _, p := range parts {
		m, err := w.log.Write(p)
		w.size += int64(m)
		if err != nil {
			w.lost += int64(len(p) - m)
			w.fail(fmt.Errorf("write log: %w", err))
		}
	}
	if w.size-w.flushed >= flushEvery {
		_ = unix.SyncFileRange(int(w.log.Fd()), w.flushed, w.size-w.flushed, unix.SYNC_FILE_RANGE_WRITE)
		w.flushed = w.size
	}
}

// record appends r to the index. Room for the last record is always kept, so that a full disk does not keep a log
// from being marked as complete: without the record of a chunk its bytes count as the previous chunk's.
func (w *Writer) record(r record) {
	if w.idxSize+2*recordSize > w.idxRoom && !r.end() {
		switch err := unix.Fallocate(int(w.idx.Fd()), unix.FALLOC_FL_KEEP_SIZE, w.idxRoom, indexStep); {
		case err == nil:
			w.idxRoom += indexStep
		case errors.Is(err, unix.EOPNOTSUPP):
			w.idxRoom = math.MaxInt64
		default:
			w.fail(fmt.Errorf("grow log index: %w", err))
			return
		}
	}
	if _, err := w.idx.Write(r.append(w.scratch[:0])); err != nil {
		_ = w.idx.Truncate(w.idxSize) // what follows must not stand behind half a record
		w.fail(fmt.Errorf("write log index: %w", err))
		return
	}
	w.idxSize += recordSize
	w.last = r
}

func (w *Writer) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}

// Close writes what is held, marks the log as complete and syncs it. Its error is the first that writing met, with
// the number of bytes lost. It is idempotent.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	for _, s := range []Stream{Stdout, Stderr} {
		w.put(s, w.held[s])
		w.held[s] = nil
	}
	w.closed = true
	kind := uint8(kindEnd)
	if w.lost > 0 {
		kind = kindEndLost
	}
	// The mark comes before the sync: it says that no more comes, which is true however long the disk takes.
	w.record(record{offset: w.size, time: w.now(), kind: kind})
	for _, f := range []*os.File{w.log, w.idx} {
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			w.fail(fmt.Errorf("sync %s: %w", f.Name(), err))
		}
		if err := f.Close(); err != nil {
			w.fail(err)
		}
	}
	if w.lost > 0 {
		return fmt.Errorf("%d bytes of the log are lost: %w", w.lost, w.err)
	}
	return w.err
}
