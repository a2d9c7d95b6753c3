package framing

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
)

// TFRecord (BT-67): length as uint64, masked CRC32C of those eight bytes, data, masked CRC32C of the data, little-endian.
const tfOverhead = 16

var (
	tfRecordScan = scan{name: "TFRecord", size: tfRecordSize, unwrap: unwrapTFRecord,
		cut: func(b []byte, eof bool) (int, int, extent, *Error) { return cutTFRecord(b, eof, true) }}
	tfRecordUncheckedScan = scan{name: "TFRecord", size: tfRecordSize, unwrap: unwrapTFRecord,
		cut: func(b []byte, eof bool) (int, int, extent, *Error) { return cutTFRecord(b, eof, false) }}

	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// maskedCRC is BT-68: rotated, so that a checksum of data that holds checksums stays a good one.
func maskedCRC(b []byte) uint32 {
	c := crc32.Checksum(b, castagnoli)
	return (c>>15 | c<<17) + 0xa282ead8
}

func cutTFRecord(b []byte, eof, check bool) (n, records int, next extent, err *Error) {
	for len(b)-n >= 12 {
		h := b[n : n+12 : n+12]
		if want, got := binary.LittleEndian.Uint32(h[8:]), maskedCRC(h[:8]); want != got {
			return n, records, extent{}, &Error{Offset: int64(n), Class: ErrChecksum, Detail: fmt.Sprintf("of the length: stored %08x, computed %08x", want, got)}
		}
		length := binary.LittleEndian.Uint64(h)
		if length > math.MaxInt64-tfOverhead {
			return n, records, extent{}, &Error{Offset: int64(n), Class: ErrLength, Detail: fmt.Sprint(length)}
		}
		size := int(length) + tfOverhead
		if size > len(b)-n {
			if eof {
				return n, records, extent{}, &Error{Offset: int64(n), Class: ErrTruncated, Detail: fmt.Sprintf("%d bytes with length and checksums, %d left", size, len(b)-n)}
			}
			return n, records, extent{frame: size, payload: int(length)}, nil
		}
		if check {
			data := b[n+12 : n+size-4]
			if want, got := binary.LittleEndian.Uint32(b[n+size-4:]), maskedCRC(data); want != got {
				return n, records, extent{}, &Error{Offset: int64(n), Class: ErrChecksum, Detail: fmt.Sprintf("of the data: stored %08x, computed %08x", want, got)}
			}
		}
		n += size
		records++
	}
	if n == len(b) {
		return n, records, extent{}, nil
	}
	if eof {
		return n, records, extent{}, &Error{Offset: int64(n), Class: ErrTruncated, Detail: fmt.Sprintf("length of 12 bytes, %d left", len(b)-n)}
	}
	return n, records, extent{frame: tfOverhead, open: true}, nil
}

func tfRecordSize(b []byte) int { return int(binary.LittleEndian.Uint64(b)) + tfOverhead }

func unwrapTFRecord(frame []byte) []byte {
	end := len(frame) - 4
	return frame[12:end:end]
}

func appendTFRecord(dst, rec []byte) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, uint64(len(rec)))
	dst = binary.LittleEndian.AppendUint32(dst, maskedCRC(dst[len(dst)-8:]))
	dst = append(dst, rec...)
	return binary.LittleEndian.AppendUint32(dst, maskedCRC(rec))
}
