package framing

import (
	"bytes"
	"io"
)

// Stream fills buffers with whole records of one stream, as many as fit, in order: the greedy packing of BT-80. It keeps
// what did not fit for the next call. Not for concurrent use.
type Stream struct {
	s      *scan
	r      io.Reader
	rest   []byte // read, not yet given out
	spare  []byte // the memory that rest does not use
	probe  [512]byte
	eof    bool
	fail   error // of r, or of the record after those given out
	record int64
	offset int64
}

// NewStream reads r as f.
func NewStream(f Format, r io.Reader) *Stream { return &Stream{s: f.s, r: r} }

// Record is the number of records given out, Offset the bytes that they took in the stream.
func (st *Stream) Record() int64 { return st.record }
func (st *Stream) Offset() int64 { return st.offset }

// Fill puts the next whole records into buf and returns their total length and number. It reads until buf is full or the
// stream ends. When the next record alone does not fit into buf it returns a *TooLong and loses nothing: a later call
// with a larger buffer gets the record. At the end it returns io.EOF, and other errors only when the records before them
// have been given out.
func (st *Stream) Fill(buf []byte) (n, records int, err error) {
	if st.fail != nil && len(st.rest) == 0 {
		return 0, 0, st.fail
	}
	have := copy(buf, st.rest)
	more := st.rest[have:] // buf is smaller than what is left over
	most, ends := len(buf), 0
	if st.s.delimited { // what was just read is counted while the processor has it at hand
		most, ends = linesAtOnce, bytes.Count(buf[:have], lf)
	}
	for tries := 0; have < len(buf) && !st.eof && st.fail == nil; {
		m, err := st.r.Read(buf[have:min(have+most, len(buf))])
		if st.s.delimited {
			ends += bytes.Count(buf[have:have+m], lf)
		}
		have += m
		st.ended(err)
		if tries++; m > 0 {
			tries = 0
		} else if tries == 100 {
			st.fail = io.ErrNoProgress
		}
	}
	if have == 0 {
		switch {
		case st.fail != nil:
			return 0, 0, st.fail
		case st.eof && len(more) == 0:
			return 0, 0, io.EOF
		}
	}
	last := st.eof && len(more) == 0
	var next extent
	var bad *Error
	if st.s.delimited {
		n, records, next, bad = cutCounted(buf[:have], ends, last)
	} else {
		n, records, next, bad = st.s.cut(buf[:have], last)
	}
	if bad == nil && n < have && !last && st.fail == nil && len(more) == 0 && st.s.delimited {
		// A last line without its end may stand here and fit: only the stream can tell.
		m, err := 0, error(nil)
		for tries := 0; m == 0 && err == nil && tries < 100; tries++ {
			m, err = st.r.Read(st.probe[:])
		}
		st.ended(err)
		more = st.probe[:m]
		if m == 0 && st.eof {
			d, k, _, _ := st.s.cut(buf[n:have], true)
			n, records = n+d, records+k
		}
	}
	st.keep(buf[n:have], more)
	if bad != nil {
		bad.Format, bad.Record = st.s.name, st.record+int64(records)+1
		bad.Offset += st.offset
		st.fail, st.eof, st.rest = bad, true, st.rest[:0]
	}
	st.record += int64(records)
	st.offset += int64(n)
	if records > 0 {
		return n, records, nil
	}
	if st.fail != nil {
		st.rest = st.rest[:0]
		return 0, 0, st.fail
	}
	return 0, 0, &TooLong{Format: st.s.name, Record: st.record + 1, Offset: st.offset, Size: int64(next.payload), Frame: int64(next.frame), Max: int64(len(buf)), AtLeast: next.open}
}

func (st *Stream) ended(err error) {
	if err == io.EOF {
		st.eof = true
	} else if err != nil {
		st.fail = err
	}
}

// keep makes rest out of two pieces, either of which may lie in the old rest.
func (st *Stream) keep(a, b []byte) {
	next := append(append(st.spare[:0], a...), b...)
	st.spare, st.rest = st.rest[:0], next
}

// linesAtOnce is how much is read at once where all of it is looked at: it fits a core's second cache.
const linesAtOnce = 256 << 10

// measureLimit bounds how far Measure reads for a record's end.
const measureLimit = 1 << 30

// Measure completes e, the error of the last Fill, when the record's end was not seen and only reading on can tell:
// lines. It reads up to 1 GiB and keeps none of it; the stream is of no use afterwards.
func (st *Stream) Measure(e *TooLong) *TooLong {
	if !e.AtLeast || !st.s.delimited {
		return e
	}
	m := *e
	buf := make([]byte, 64<<10)
	have := st.rest
	size := int64(0)
	for size < measureLimit {
		if i := lineSize(have); lineEnds(have[:i]) {
			size += int64(i)
			m.AtLeast = false
			break
		}
		size += int64(len(have))
		if st.eof {
			m.AtLeast = false
			break
		}
		if st.fail != nil {
			break
		}
		n, err := st.r.Read(buf)
		have = buf[:n]
		st.ended(err)
	}
	st.rest, st.eof, st.fail = nil, true, &m
	m.Size, m.Frame = size, size
	return &m
}
