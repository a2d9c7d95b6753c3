package framing

import (
	"errors"
	"fmt"
)

// Classes of what can be wrong with a stream; errors.Is tells them apart.
var (
	ErrTruncated = errors.New("stream ends inside a record")
	ErrMagic     = errors.New("wrong magic number")
	ErrSequence  = errors.New("parts of a record out of order")
	ErrChecksum  = errors.New("checksum mismatch")
	ErrLength    = errors.New("impossible length")
	ErrTooLong   = errors.New("record too long")
	ErrNotGzip   = errors.New("not gzip")
	ErrGzip      = errors.New("damaged gzip")
)

// Error says where a stream is damaged.
type Error struct {
	Format string
	Record int64 // counted from 1
	Offset int64 // of the damaged bytes in the (decompressed) stream
	Class  error // one of the classes above
	Detail string
}

func (e *Error) Error() string {
	msg := fmt.Sprintf("%s record %d at byte %d: %v", e.Format, e.Record, e.Offset, e.Class)
	if e.Detail != "" {
		msg += ": " + e.Detail
	}
	return msg
}

func (e *Error) Unwrap() error { return e.Class }

// TooLong says that a record is larger than a limit, or than the buffer that Stream.Fill was given.
type TooLong struct {
	Format  string
	Record  int64 // counted from 1
	Offset  int64 // of the record's first byte, framing included
	Size    int64 // of the payload
	Frame   int64 // of the record with its framing
	Max     int64
	AtLeast bool // the end was not seen: Size and Frame are lower bounds
}

func (e *TooLong) Error() string {
	least := ""
	if e.AtLeast {
		least = "at least "
	}
	return fmt.Sprintf("%s record %d at byte %d is %s%d bytes, larger than the limit of %d bytes", e.Format, e.Record, e.Offset, least, e.Size, e.Max)
}

func (e *TooLong) Unwrap() error { return ErrTooLong }
