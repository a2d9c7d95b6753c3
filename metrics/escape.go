package metrics

// escape appends line to dst as the service's log path does: each control character becomes # and three octal digits,
// a tab #011 (MET-3). changed is false, and dst nil, when there is none.
func escape(dst, line []byte) (escaped []byte, changed bool) {
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
