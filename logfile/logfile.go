// Package logfile is a container's log on disk: two files beside each other.
//
// NAME.log is what the container printed, byte for byte, stdout and stderr together in the order in which they were
// read; whole lines of the one are never cut by the other. So grep works on it, and a byte offset names a place in it.
//
// NAME.idx says when and from which stream. It is a header of 16 bytes and then records of 16 bytes, little-endian:
//
//	uint64  low 56 bits: offset in NAME.log; high 8 bits: kind
//	int64   time, nanoseconds since 1970
//
// A record of kind 1 (stdout) or 2 (stderr) says that the bytes from its offset up to the next record's came from that
// stream, the first of them at that time. Kind 3 is the last record: the log is complete. Kind 4 is the same, but bytes
// were lost on the way to the disk. A record is written before the bytes that it speaks of, so a reader that knows the
// log's size finds all records below it. A torn record at the end is no record.
//
// A Writer is used by one process; any number may read meanwhile.
package logfile

import (
	"encoding/binary"
	"time"
)

// Stream is where bytes came from.
type Stream uint8

const (
	Stdout Stream = 1
	Stderr Stream = 2
)

func (s Stream) String() string {
	switch s {
	case Stdout:
		return "stdout"
	case Stderr:
		return "stderr"
	}
	return "unknown"
}

// The kinds of records beyond the streams.
const (
	kindEnd     = 3
	kindEndLost = 4
)

const (
	header     = "optml-logidx-1\r\n"
	recordSize = 16
	offsetMask = 1<<56 - 1
)

type record struct {
	offset int64
	time   time.Time
	kind   uint8
}

func (r record) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(r.kind)<<56|uint64(r.offset)&offsetMask)
	return binary.LittleEndian.AppendUint64(b, uint64(r.time.UnixNano()))
}

func parseRecord(b []byte) record {
	v := binary.LittleEndian.Uint64(b)
	return record{
		offset: int64(v & offsetMask),
		kind:   uint8(v >> 56),
		time:   time.Unix(0, int64(binary.LittleEndian.Uint64(b[8:]))),
	}
}

// ok says whether a record can be one: its bytes may be those of a crashed machine's disk.
func (r record) ok(prev int64) bool {
	return r.kind >= uint8(Stdout) && r.kind <= kindEndLost && r.offset >= prev
}

func (r record) end() bool { return r.kind == kindEnd || r.kind == kindEndLost }

// LogName and IndexName are the two files of a log whose path without its ending is base.
func LogName(base string) string   { return base + ".log" }
func IndexName(base string) string { return base + ".idx" }
