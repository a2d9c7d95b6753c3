package framing

import (
	"bytes"
	"errors"
	"io"
	"iter"
)

// Format is one way of putting records into a stream.
type Format struct {
	// Name as in a document's SplitType: Line, RecordIO, TFRecord.
	Name string
	// Split yields each record's payload. A slice is valid until the next step. A payload over max bytes is a *TooLong;
	// max <= 0 is no limit. After an error nothing more is yielded; errors of the stream itself are *Error, those of r
	// come as they are.
	Split func(r io.Reader, max int) iter.Seq2[[]byte, error]
	// Frames yields the original bytes of each whole logical record, framing included (BT-65, BT-70); max counts them.
	Frames func(r io.Reader, max int) iter.Seq2[[]byte, error]
	// Append appends rec to dst as one framed record. For lines it adds the line feed if rec has none.
	Append func(dst, rec []byte) []byte

	s *scan
}

// scan is what a format knows of a buffer.
type scan struct {
	name string
	// cut finds the longest prefix of whole, valid records in b and counts them. next describes the record that follows
	// and is not whole; it is zero when b ends with a record. With eof, b is the end of the stream. An error is of the
	// record at n; its Offset is relative to b.
	cut func(b []byte, eof bool) (n, records int, next extent, err *Error)
	// size is the length of the record at the start of b, which cut has found whole and valid.
	size func(b []byte) int
	// unwrap returns the payload of one such record. It may move bytes within frame, never beyond it.
	unwrap func(frame []byte) []byte
	// delimited: no header tells a record's length, its last byte does, and the end of the stream ends the last record.
	delimited bool
}

// extent is what is known of a record that is not whole yet.
type extent struct {
	frame, payload int
	open           bool // more may come: the sizes are the least that they can be
}

// The formats, in the order of the contract's table (BT-50 and following).
var (
	Line     = newFormat(&lineScan, appendLine)
	RecordIO = newFormat(&recordIOScan, appendRecordIO)
	TFRecord = newFormat(&tfRecordScan, appendTFRecord)
	// TFRecordUnchecked does not verify the checksum of the data (BT-69); that of the length is always verified, since
	// nothing after a wrong length can be found.
	TFRecordUnchecked = newFormat(&tfRecordUncheckedScan, appendTFRecord)
)

// ByName returns the format that a document's SplitType names.
func ByName(splitType string) (Format, bool) {
	for _, f := range []Format{Line, RecordIO, TFRecord} {
		if f.Name == splitType {
			return f, true
		}
	}
	return Format{}, false
}

func newFormat(s *scan, add func(dst, rec []byte) []byte) Format {
	f := Format{Name: s.name, Append: add, s: s}
	f.Split = func(r io.Reader, max int) iter.Seq2[[]byte, error] { return f.records(r, max, true) }
	f.Frames = func(r io.Reader, max int) iter.Seq2[[]byte, error] { return f.records(r, max, false) }
	return f
}

// Each yields the records of b, which Stream.Fill has filled, in order, each with the offset of its frame in b: payloads,
// or frames as they stand. Unwrapping may move bytes inside b, so b can be walked for payloads only once.
func (f Format) Each(b []byte, payloads bool) iter.Seq2[int, []byte] {
	s := f.s
	if s.delimited { // lines: their payloads are their frames, and a search for the end is all that there is to do
		return func(yield func(int, []byte) bool) {
			for at := 0; at < len(b); {
				end := len(b)
				if i := bytes.IndexByte(b[at:], '\n'); i >= 0 {
					end = at + i + 1
				}
				if !yield(at, b[at:end:end]) {
					return
				}
				at = end
			}
		}
	}
	return func(yield func(int, []byte) bool) {
		for at := 0; at < len(b); {
			n := s.size(b[at:])
			rec := b[at : at+n : at+n]
			if payloads {
				rec = s.unwrap(rec)
			}
			if !yield(at, rec) {
				return
			}
			at += n
		}
	}
}

// startBuffer is where Split and Frames begin: refills are rare, and it stays in a core's cache.
const startBuffer = 128 << 10

func (f Format) records(r io.Reader, max int, payloads bool) iter.Seq2[[]byte, error] {
	s := f.s
	return func(yield func([]byte, error) bool) {
		st := NewStream(f, r)
		buf := make([]byte, startBuffer)
		for {
			record, offset := st.record, st.offset
			n, _, err := st.Fill(buf)
			for b := buf[:n]; len(b) > 0; {
				size := s.size(b)
				rec := b[:size:size]
				b = b[size:]
				if payloads {
					rec = s.unwrap(rec)
				}
				record++
				if max > 0 && len(rec) > max {
					yield(nil, &TooLong{Format: s.name, Record: record, Offset: offset, Size: int64(len(rec)), Frame: int64(size), Max: int64(max)})
					return
				}
				offset += int64(size)
				if !yield(rec, nil) {
					return
				}
			}
			switch e, tooLong := errors.AsType[*TooLong](err); {
			case err == nil:
			case err == io.EOF:
				return
			case tooLong:
				// It does not fit the buffer. Whether it is too long is for max to say.
				size := e.Size
				if !payloads {
					size = e.Frame
				}
				if max > 0 && size > int64(max) {
					e = st.Measure(e)
					e.Max = int64(max)
					if !payloads {
						e.Size = e.Frame
					}
					yield(nil, e)
					return
				}
				// A header may lie: memory follows the bytes that came, not the length that it claims.
				buf = make([]byte, 2*len(buf))
			default:
				yield(nil, err)
				return
			}
		}
	}
}
