package metrics

import "encoding/binary"

// escape appends line to dst as the service's log path does: each control character becomes # and three octal digits,
// a tab #011 (MET-3). changed is false, and dst nil, when there is none.
func escape(dst, line []byte) (escaped []byte, changed bool) {
	if plain(line) {
		return nil, false
	}
	from := 0
	for i, c := range line {
		if !isControl(c) {
			continue
		}
		if !changed {
			dst, changed = dst[:0], true
		}
		dst = append(dst, line[from:i]...)
		dst = append(dst, '#', '0'+c>>6, '0'+c>>3&7, '0'+c&7)
		from = i + 1
	}
	if !changed {
		return nil, false
	}
	return append(dst, line[from:]...), true
}

// isControl: 0x01 to 0x1F and 0x7F. A NUL stays as it is.
func isControl(c byte) bool { return c != 0 && c < 0x20 || c == 0x7f }

// plain says that a line surely has no control character: a NUL and what is to be escaped are looked for eight bytes at a
// time.
func plain(line []byte) bool {
	const (
		ones = 0x0101010101010101
		high = 0x80 * ones
	)
	for ; len(line) >= 8; line = line[8:] {
		w := binary.LittleEndian.Uint64(line)
		del := w ^ 0x7f*ones // a zero byte where w has a DEL
		if (w-0x20*ones)&^w&high|(del-ones)&^del&high != 0 {
			return false
		}
	}
	for _, c := range line {
		if c < 0x20 || c == 0x7f {
			return false
		}
	}
	return true
}
