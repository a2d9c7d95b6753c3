package framing

import "bytes"

// A line ends with LF and keeps it (BT-51, BT-52). CR is data (BT-53), an empty line is a record of one byte (BT-55), and
// the last line needs no LF (BT-54). Nothing is decoded (BT-58).
var lineScan = scan{name: "Line", cut: cutLines, size: lineSize, unwrap: lineUnwrap, delimited: true}

func cutLines(b []byte, eof bool) (n, records int, next extent, err *Error) {
	return cutCounted(b, bytes.Count(b, lf), eof)
}

// cutCounted is cutLines of what has so many line feeds.
func cutCounted(b []byte, records int, eof bool) (n, _ int, next extent, err *Error) {
	n = bytes.LastIndexByte(b, '\n') + 1
	if n == len(b) {
		return n, records, extent{}, nil
	}
	if eof {
		return len(b), records + 1, extent{}, nil
	}
	return n, records, extent{frame: len(b) - n, payload: len(b) - n, open: true}, nil
}

var lf = []byte{'\n'}

func lineSize(b []byte) int {
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		return i + 1
	}
	return len(b)
}

func lineUnwrap(frame []byte) []byte { return frame }

func appendLine(dst, rec []byte) []byte {
	dst = append(dst, rec...)
	if len(rec) == 0 || rec[len(rec)-1] != '\n' {
		dst = append(dst, '\n')
	}
	return dst
}

// lineEnds reports whether a whole line lies in b.
func lineEnds(b []byte) bool { return len(b) > 0 && b[len(b)-1] == '\n' }
