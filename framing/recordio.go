package framing

import (
	"encoding/binary"
	"fmt"
)

// RecordIO as dmlc and MXNet write it (BT-60): magic, a word with three bits of flag and 29 of length, the data, and zero
// bytes up to a multiple of four, all little-endian. A writer that meets the magic at an aligned place of the payload
// cuts the record there and drops it; the reader puts it back between the parts (BT-61, BT-62).
const (
	recordIOMagic = 0xCED7230A
	// MaxRecordIO is the longest payload of one part, and so of what Append writes (BT-61, ruling 9).
	MaxRecordIO = 1<<29 - 1

	flagWhole, flagFirst, flagMiddle, flagLast = 0, 1, 2, 3
)

var recordIOScan = scan{name: "RecordIO", cut: cutRecordIO, size: recordIOSize, unwrap: unwrapRecordIO}

func cutRecordIO(b []byte, eof bool) (n, records int, next extent, err *Error) {
	for len(b)-n >= 8 {
		w := binary.LittleEndian.Uint64(b[n:])
		if uint32(w) != recordIOMagic {
			return n, records, extent{}, &Error{Offset: int64(n), Class: ErrMagic, Detail: fmt.Sprintf("found % x", b[n:n+4])}
		}
		if w>>61 != flagWhole {
			size, next, err := partsRecordIO(b[n:], eof)
			if err != nil {
				err.Offset += int64(n)
				return n, records, extent{}, err
			}
			if size == 0 {
				return n, records, next, nil
			}
			n += size
			records++
			continue
		}
		length := int(w >> 32 & MaxRecordIO)
		size := 8 + (length+3)&^3
		if size > len(b)-n {
			if eof {
				return n, records, extent{}, shortRecordIO(n, size, len(b)-n)
			}
			return n, records, extent{frame: size, payload: length}, nil
		}
		n += size
		records++
	}
	if n == len(b) {
		return n, records, extent{}, nil
	}
	if eof {
		return n, records, extent{}, &Error{Offset: int64(n), Class: ErrTruncated, Detail: fmt.Sprintf("header of 8 bytes, %d left", len(b)-n)}
	}
	return n, records, extent{frame: 8, open: true}, nil
}

func shortRecordIO(at, size, left int) *Error {
	return &Error{Offset: int64(at), Class: ErrTruncated, Detail: fmt.Sprintf("%d bytes with header and padding, %d left", size, left)}
}

// partsRecordIO measures a record of several parts at the start of b. size is 0 while it is not whole.
func partsRecordIO(b []byte, eof bool) (size int, next extent, err *Error) {
	payload := 0
	for n, first := 0, true; ; first = false {
		if len(b)-n < 8 {
			if eof {
				return 0, extent{}, &Error{Offset: int64(n), Class: ErrTruncated, Detail: "last part missing"}
			}
			return 0, extent{frame: n + 8, payload: payload, open: true}, nil
		}
		w := binary.LittleEndian.Uint64(b[n:])
		if uint32(w) != recordIOMagic {
			return 0, extent{}, &Error{Offset: int64(n), Class: ErrMagic, Detail: fmt.Sprintf("found % x", b[n:n+4])}
		}
		flag, length := w>>61, int(w>>32&MaxRecordIO)
		// A first part begins, middle and last parts continue (BT-64); flags above 3 do not exist.
		if (flag == flagFirst) != first || flag == flagWhole || flag > flagLast {
			return 0, extent{}, &Error{Offset: int64(n), Class: ErrSequence, Detail: fmt.Sprintf("flag %d", flag)}
		}
		if !first {
			payload += 4
		}
		payload += length
		part := 8 + (length+3)&^3
		if part > len(b)-n {
			if eof {
				return 0, extent{}, shortRecordIO(n, part, len(b)-n)
			}
			return 0, extent{frame: n + part, payload: payload, open: flag != flagLast}, nil
		}
		n += part
		if flag == flagLast {
			return n, extent{}, nil
		}
	}
}

func recordIOSize(b []byte) int {
	for n := 0; ; {
		w := binary.LittleEndian.Uint64(b[n:])
		n += 8 + (int(w>>32&MaxRecordIO)+3)&^3
		if flag := w >> 61; flag == flagWhole || flag == flagLast {
			return n
		}
	}
}

func unwrapRecordIO(frame []byte) []byte {
	w := binary.LittleEndian.Uint64(frame)
	length := int(w >> 32 & MaxRecordIO)
	if w>>61 == flagWhole {
		return frame[8 : 8+length : 8+length]
	}
	// The parts move together over their headers; the magic goes back between them (BT-62). The first part stays, so each
	// later byte moves towards the front and nothing unread is written over.
	end := 8 + length
	for at := 8 + (length+3)&^3; ; {
		w = binary.LittleEndian.Uint64(frame[at:])
		length = int(w >> 32 & MaxRecordIO)
		binary.LittleEndian.PutUint32(frame[end:], recordIOMagic)
		end += 4 + copy(frame[end+4:], frame[at+8:at+8+length])
		at += 8 + (length+3)&^3
		if w>>61 == flagLast {
			return frame[8:end:end]
		}
	}
}

// appendRecordIO writes one whole record and never splits at the magic (ruling 9). A record over MaxRecordIO cannot be
// written as one; RecordIOHeader tells a caller beforehand.
func appendRecordIO(dst, rec []byte) []byte {
	header, pad, err := RecordIOHeader(int64(len(rec)))
	if err != nil {
		panic(err)
	}
	dst = append(append(dst, header[:]...), rec...)
	return append(dst, make([]byte, pad)...)
}

// RecordIOHeader is the header of a record whose payload has size bytes, for who streams the payload itself, and the
// number of zero bytes that follow the payload. Over MaxRecordIO it is a *TooLong.
func RecordIOHeader(size int64) (header [8]byte, pad int, err error) {
	if size < 0 || size > MaxRecordIO {
		return header, 0, &TooLong{Format: "RecordIO", Record: 1, Size: size, Frame: size + 8, Max: MaxRecordIO}
	}
	binary.LittleEndian.PutUint32(header[:], recordIOMagic)
	binary.LittleEndian.PutUint32(header[4:], uint32(size))
	return header, int(-size & 3), nil
}
