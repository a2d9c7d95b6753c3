package logfile

import (
	"bytes"
	"iter"
	"time"
)

// Line is one line of one stream.
type Line struct {
	Offset int64 // of its first byte
	Stream Stream
	Time   time.Time
	Text   []byte // without the newline; valid until the next step
	Part   bool   // more of the same line follows, since it is longer than max
}

// Lines joins chunks to lines. A line of more than max bytes comes in parts. What follows the last newline comes as a
// line when the chunks end.
func Lines(chunks iter.Seq2[Chunk, error], max int) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		var open [3]Line // the unfinished line of each stream
		for c, err := range chunks {
			if err != nil {
				yield(Line{}, err)
				return
			}
			off := c.Offset
			l := &open[c.Stream]
			for b := c.Data; len(b) > 0; {
				if len(l.Text) == 0 {
					l.Offset, l.Stream, l.Time = off, c.Stream, c.Time
				}
				n, whole := bytes.IndexByte(b, '\n'), true
				if n < 0 {
					n, whole = len(b), false
				}
				if room := max - len(l.Text); n > room {
					n, whole = room, false
				}
				l.Text = append(l.Text, b[:n]...)
				b, off = b[n:], off+int64(n)
				if whole {
					b, off = b[1:], off+1
				} else if len(b) == 0 {
					break // unfinished, or just full: the next byte tells
				}
				l.Part = !whole
				if !yield(*l, nil) {
					return
				}
				l.Text = l.Text[:0]
			}
		}
		for _, l := range open {
			if len(l.Text) > 0 {
				l.Part = false
				if !yield(l, nil) {
					return
				}
			}
		}
	}
}
