package metrics

import (
	"bytes"
	"math"
	"strconv"
	"strings"
	"time"
)

// blockSize is how much is searched at a time: it stays in the second-level cache while each literal passes over it.
const blockSize = 256 << 10

// Stream is the log of one host on its way through a Set. Its methods must not be called concurrently; several Streams
// of a Set may be.
type Stream struct {
	set  *Set
	host string
	emit func([]Sample)

	line  []byte // the beginning of the line that is not over yet, at most maxMatched bytes and one
	begun int64  // where that line begins in the log
	off   int64  // where the next piece begins
	lanes [1 + Ahead]lane
	next  int           // the lane of the next piece
	last  chan struct{} // closed when the last piece is over; nil: it is
	alone int           // bytes of whole lines that are worth a goroutine
}

// Ahead is how many pieces may be under way when Sweep returns, beside the one that it was given.
const Ahead = 1

// aloneFrom is how much of whole lines is worth a goroutine. A program that prints in its own time gives less at once.
const aloneFrom = 32 << 10

// lane is what the search of one piece needs, and what it has found.
type lane struct {
	busy   chan struct{} // closed when its piece is over; nil: it is
	line   []byte        // that ends where the piece begins, or a little behind
	search search
	escape []byte
	found  []Sample
	defs   []int        // of each of them, the definition
	stats  []Definition // added to the set's at the piece's end
	long   int64        // lines of which only the beginning was matched
}

// Stream begins a host's log. emit gets its samples in the order of lines, definitions and matches (MET-6, MET-7),
// several at a time, which are good until it returns. It is called by one goroutine at a time, not always by that which
// calls Sweep, and must not use the Stream. It may be nil.
func (s *Set) Stream(host string, emit func([]Sample)) *Stream {
	st := &Stream{set: s, host: host, emit: emit, alone: aloneFrom}
	for i := range st.lanes {
		st.lanes[i].stats = make([]Definition, len(s.defs))
	}
	return st
}

// Sweep takes the next piece of the log, of any size, read at a time. A line ends with a line feed; a carriage return does
// not end one (MET-4). The samples of a large piece may come after Sweep has returned, while it takes the next one: piece
// must stay as it is until Sweep has returned Ahead+1 times more, or Close has.
func (st *Stream) Sweep(piece []byte, at time.Time) {
	if len(st.set.defs) == 0 {
		return
	}
	l := &st.lanes[st.next]
	st.next = (st.next + 1) % len(st.lanes)
	wait(l.busy)
	l.busy, l.line = nil, l.line[:0]
	lineOff := st.begun
	if len(st.line) > 0 {
		end := bytes.IndexByte(piece, '\n')
		if end < 0 {
			st.hold(piece)
			return
		}
		st.hold(piece[:end])
		st.off++ // the line feed
		piece = piece[end+1:]
		l.line, st.line = st.line, l.line
	}
	whole, off := bytes.LastIndexByte(piece, '\n')+1, st.off
	st.off += int64(whole)
	st.begun = st.off
	st.hold(piece[whole:])
	before := st.last
	search := func() {
		if len(l.line) > 0 {
			st.block(l, l.line, lineOff, at)
		}
		st.blocks(l, piece[:whole], off, at)
		wait(before)
		st.publish(l)
	}
	if whole < st.alone {
		st.last = nil
		search()
		return
	}
	done := make(chan struct{})
	l.busy, st.last = done, done
	go func() {
		defer close(done)
		search()
	}()
}

func wait(done chan struct{}) {
	if done != nil {
		<-done
	}
}

// Close takes the last line, if no line feed ends it. All samples have been emitted when it returns.
func (st *Stream) Close(at time.Time) {
	wait(st.last)
	l := &st.lanes[st.next]
	if len(st.line) > 0 {
		st.block(l, st.line, st.begun, at)
		st.line, st.begun = st.line[:0], st.off
	}
	st.publish(l)
}

// blocks matches whole lines that begin at off in the log.
func (st *Stream) blocks(l *lane, lines []byte, off int64, at time.Time) {
	for len(lines) > 0 {
		n := len(lines)
		if n > blockSize {
			n = bytes.LastIndexByte(lines[:blockSize], '\n') + 1
			if n == 0 { // a line longer than a block
				n = lineEnd(lines, blockSize) + 1
			}
		}
		st.block(l, lines[:n], off, at)
		off += int64(n)
		lines = lines[n:]
	}
}

// hold keeps the part of a line that is matched once it is over.
func (st *Stream) hold(part []byte) {
	st.off += int64(len(part))
	// One byte over the limit says that the line is too long.
	room := maxMatched + 1 - len(st.line)
	st.line = append(st.line, part[:min(room, len(part))]...)
}

// block matches whole lines that begin at off in the log. It holds more than maxMatched bytes only if it is one line.
func (st *Stream) block(l *lane, b []byte, off int64, at time.Time) {
	if len(b) > maxMatched && lineEnd(b, maxMatched) > maxMatched {
		b = b[:maxMatched]
		l.long++
	}
	var escaped []byte
	hits := st.set.finder.find(&l.search, b)
	for i, h := range hits {
		line := b[h.start:h.end]
		if i == 0 || hits[i-1].start != h.start {
			var changed bool
			if escaped, changed = escape(l.escape, line); changed {
				l.escape = escaped
			}
		}
		st.match(l, h.def, line, escaped, off+int64(h.start), at)
	}
}

// match applies a definition to a line: escaped first, if escaping changed it, then as it is (MET-3).
func (st *Stream) match(l *lane, def int, raw, escaped []byte, off int64, at time.Time) {
	d, n := st.set.defs[def], &l.stats[def]
	line := raw
	if escaped != nil {
		line = escaped
	}
	all := d.matches(line, n)
	if all == nil && escaped != nil {
		line = raw
		if all = d.matches(line, n); all != nil {
			n.RawLines++
		}
	}
	for _, m := range all {
		n.Matches++
		var text []byte
		switch {
		case len(m) == 2: // no group: the whole match (MET-1)
			text = line[m[0]:m[1]]
		case m[2] >= 0:
			text = line[m[2]:m[3]]
		}
		v, err := strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
		switch {
		case math.IsNaN(v) || math.IsInf(v, 0): // beyond the range of a float64 too
			n.NotFinite++
		case err != nil:
			if n.NotNumbers++; n.Example == "" {
				n.Example = shorten(text)
			}
		default:
			n.Samples++
			l.found = append(l.found, Sample{At: at, Host: st.host, Name: d.name, Value: v, Offset: off})
			l.defs = append(l.defs, def)
		}
	}
}

// matches are all matches on a line that do not overlap, in order (MET-6). Most lines have one, so it is asked first
// whether there can be another: behind a match there must be a literal for the next.
func (d *definition) matches(line []byte, n *Definition) [][]int {
	if d.re == nil {
		return d.backtrack(line, n)
	}
	if d.greedy != nil {
		if m, ok := d.greedy.match(line); ok {
			if m == nil {
				return nil
			}
			return [][]int{m}
		}
	}
	if d.literals == nil {
		return d.re.FindAllSubmatchIndex(line, -1)
	}
	m, ok := []int(nil), false
	if d.lead != nil {
		m, ok = d.lead.match(line)
	}
	if !ok {
		m = d.re.FindSubmatchIndex(line)
	}
	if m == nil {
		return nil
	}
	rest := line[m[1]:]
	for _, l := range d.literals {
		if text := []byte(l.text); l.fold && containsFold(rest, text) || !l.fold && bytes.Contains(rest, text) {
			return d.re.FindAllSubmatchIndex(line, -1)
		}
	}
	return [][]int{m}
}

// publish adds what a piece gave to the set, and emits it.
func (st *Stream) publish(l *lane) {
	st.set.add(l)
	if st.emit != nil && len(l.found) > 0 {
		st.emit(l.found)
	}
	l.found, l.defs = l.found[:0], l.defs[:0]
}

func (s *Set) add(l *lane) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, n := range l.stats {
		d := &s.stats[i]
		d.Matches += n.Matches
		d.Samples += n.Samples
		d.NotFinite += n.NotFinite
		d.NotNumbers += n.NotNumbers
		d.RawLines += n.RawLines
		d.GaveUp += n.GaveUp
		d.Dropped += n.Dropped
		if d.Example == "" {
			d.Example = n.Example
		}
		l.stats[i] = Definition{}
	}
	for i, f := range l.found {
		final := &s.finals[s.series[l.defs[i]]]
		final.Value, final.At = f.Value, f.At
		final.Count++
	}
	s.long += l.long
	l.long = 0
}
