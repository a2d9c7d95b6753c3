package logfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"time"
)

// Reader reads a log, which may be growing. Its methods must not be called concurrently; open several for that.
type Reader struct {
	log, idx *os.File
	pos      int64    // of the next record in idx
	cur      record   // of the bytes at and after cur.offset, kind 0: none yet
	next     *record  // read ahead
	end      *record  // the last record, once seen
	buf      []byte   // of the index
	records  []record // in buf, not yet used
	data     [][]byte // what chunks lie in, in turn
}

// Open opens the log whose path without its ending is base. A log whose index is missing (its writer was killed
// between the two) reads as bytes of unknown stream and time. A missing log is fs.ErrNotExist.
func Open(base string) (*Reader, error) {
	log, err := os.Open(LogName(base))
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	idx, err := os.Open(IndexName(base))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		log.Close()
		return nil, fmt.Errorf("open log index: %w", err)
	}
	return &Reader{log: log, idx: idx, pos: int64(len(header)), data: make([][]byte, 1)}, nil
}

// Close closes the files.
func (r *Reader) Close() error {
	if r.idx != nil {
		r.idx.Close()
	}
	return r.log.Close()
}

// Size is how many bytes the log has now.
func (r *Reader) Size() (int64, error) {
	st, err := r.log.Stat()
	if err != nil {
		return 0, fmt.Errorf("stat log: %w", err)
	}
	return st.Size(), nil
}

// Complete says whether the writer has marked the log as complete, and whether bytes of it were lost.
func (r *Reader) Complete() (complete, lost bool) {
	if r.end != nil {
		return true, r.end.kind == kindEndLost
	}
	if r.idx == nil {
		return false, false
	}
	st, err := r.idx.Stat()
	if err != nil {
		return false, false
	}
	n := (st.Size() - int64(len(header))) / recordSize // a torn record is none
	if n < 1 {
		return false, false
	}
	var b [recordSize]byte
	if _, err := r.idx.ReadAt(b[:], int64(len(header))+(n-1)*recordSize); err != nil {
		return false, false
	}
	last := parseRecord(b[:])
	if !last.end() {
		return false, false
	}
	r.end = &last
	return true, last.kind == kindEndLost
}

// Tail returns the offset at which the last n lines begin, looking at no more than maxBytes of the log's end: with
// longer lines it is the beginning of the first whole line in there, or of a part if there is none.
func (r *Reader) Tail(n int, maxBytes int64) (int64, error) {
	size, err := r.Size()
	if err != nil || n <= 0 {
		return size, err
	}
	limit := max(0, size-maxBytes)
	buf := make([]byte, min(64<<10, size-limit))
	first := int64(-1) // start of the earliest line seen so far
	for end := size; end > limit; {
		from := max(limit, end-int64(len(buf)))
		b := buf[:end-from]
		if _, err := r.log.ReadAt(b, from); err != nil && !errors.Is(err, io.EOF) {
			return 0, fmt.Errorf("read log: %w", err)
		}
		for i := len(b) - 1; i >= 0; i-- {
			if b[i] != '\n' || from+int64(i) == size-1 { // the last line's own newline begins no line
				continue
			}
			first = from + int64(i) + 1
			if n--; n == 0 {
				return first, nil
			}
		}
		end = from
	}
	if limit == 0 {
		return 0, nil
	}
	if first < 0 {
		return limit, nil
	}
	return first, nil
}

// Chunk is consecutive bytes of one stream.
type Chunk struct {
	Offset int64
	Stream Stream    // 0: unknown
	Time   time.Time // of reading its first byte; zero: unknown
	Data   []byte    // valid until the next step, or as many more as Keep has said
}

const (
	followBuffer = 256 << 10
	pollMin      = 2 * time.Millisecond
	pollMax      = 100 * time.Millisecond
)

// Keep lets the data of a chunk stay valid for a number of steps more, each of which takes 256 KiB.
func (r *Reader) Keep(steps int) { r.data = make([][]byte, 1+steps) }

// Chunks yields what the log holds from offset from on, up to its present end.
func (r *Reader) Chunks(from int64) iter.Seq2[Chunk, error] {
	closed := make(chan struct{})
	close(closed)
	return r.Follow(context.Background(), from, closed)
}

// Follow yields what the log holds from offset from on and what is added to it, until it is complete. When done is
// closed no more is waited for, only what is there is yielded: that is for a log whose writer may have died before it
// could mark the end. With ctx done it ends with ctx's cause.
func (r *Reader) Follow(ctx context.Context, from int64, done <-chan struct{}) iter.Seq2[Chunk, error] {
	return func(yield func(Chunk, error) bool) {
		wait, turn := pollMin, 0
		timer := time.NewTimer(0)
		defer timer.Stop()
		for off := from; ; {
			// What ends the loop is asked before the bytes are: none that was there then is missed.
			last, _ := r.Complete()
			select {
			case <-done:
				last = true
			default:
			}
			buf := r.data[turn]
			if buf == nil {
				buf = make([]byte, followBuffer)
				r.data[turn] = buf
			}
			n, err := r.log.ReadAt(buf, off)
			if err != nil && !errors.Is(err, io.EOF) {
				yield(Chunk{}, fmt.Errorf("read log: %w", err))
				return
			}
			if n == 0 && last {
				return
			}
			for b := buf[:n]; len(b) > 0; {
				c, err := r.chunk(off, b)
				if !yield(c, err) || err != nil {
					return
				}
				off += int64(len(c.Data))
				b = b[len(c.Data):]
			}
			if n > 0 {
				wait, turn = pollMin, (turn+1)%len(r.data)
				if ctx.Err() == nil {
					continue
				}
			}
			timer.Reset(wait)
			wait = min(wait*2, pollMax)
			select {
			case <-ctx.Done():
				yield(Chunk{}, context.Cause(ctx))
				return
			case <-done:
			case <-timer.C:
			}
		}
	}
}

// chunk returns the part of b, which stands at off, that belongs to one record.
func (r *Reader) chunk(off int64, b []byte) (Chunk, error) {
	if off < r.cur.offset { // the caller went back
		r.pos, r.cur, r.next, r.records = int64(len(header)), record{}, nil, nil
	}
	for {
		if r.next == nil {
			next, err := r.read()
			if err != nil {
				return Chunk{}, err
			}
			if r.next = next; next == nil {
				break
			}
		}
		if r.next.offset > off {
			b = b[:min(int64(len(b)), r.next.offset-off)]
			break
		}
		r.cur, r.next = *r.next, nil
	}
	c := Chunk{Offset: off, Data: b}
	if r.cur.kind == uint8(Stdout) || r.cur.kind == uint8(Stderr) {
		c.Stream, c.Time = Stream(r.cur.kind), r.cur.time
	}
	return c, nil
}

// read returns the next record of the index, nil when there is none yet.
func (r *Reader) read() (*record, error) {
	if len(r.records) == 0 {
		if r.idx == nil {
			return nil, nil
		}
		if r.buf == nil {
			r.buf = make([]byte, 512*recordSize)
		}
		n, err := r.idx.ReadAt(r.buf, r.pos)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("read log index: %w", err)
		}
		prev := r.cur.offset
		for b := r.buf[:n-n%recordSize]; len(b) > 0; b = b[recordSize:] {
			rec := parseRecord(b)
			if !rec.ok(prev) {
				break // rubbish of a crashed machine: what follows is of unknown time
			}
			prev = rec.offset
			r.records = append(r.records, rec)
			r.pos += recordSize
		}
		if len(r.records) == 0 {
			return nil, nil
		}
	}
	rec := r.records[0]
	r.records = r.records[1:]
	return &rec, nil
}

// LastLines returns up to n last lines of the log at base, each at most maxLine bytes, oldest first; nil when there is
// no log.
func LastLines(base string, n, maxLine int) ([]string, error) {
	r, err := Open(base)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer r.Close()
	bound := int64(n) * int64(maxLine+1)
	from, err := r.Tail(n, bound)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.NewSectionReader(r.log, from, bound))
	if err != nil {
		return nil, fmt.Errorf("read log: %w", err)
	}
	var out []string
	for line := range bytes.Lines(b) {
		line = bytes.TrimRight(line, "\r\n")
		if len(line) > maxLine {
			line = line[:maxLine]
		}
		out = append(out, string(line))
	}
	if len(out) > n {
		out = out[len(out)-n:]
	}
	return out, nil
}
