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

	line   []byte // the beginning of the line that is not over yet, at most maxMatched bytes
	begun  int64  // where that line begins in the log
	off    int64  // where the next piece begins
	search search
	escape []byte
	found  []Sample     // of the piece under way
	defs   []int        // of each of them, the definition
	stats  []Definition // of the piece under way; added to the set's at its end
	long   int64
}

// Stream begins a host's log.
func (s *Set) Stream(host string) *Stream {
	return &Stream{set: s, host: host, stats: make([]Definition, len(s.defs))}
}

// Sweep takes the next piece of the log, of any size, read at a time, and calls emit for each sample of the lines that
// end in it, in the order of lines, definitions and matches (MET-6, MET-7). A line ends with a line feed; a carriage
// return does not end one (MET-4). emit may be nil, and must not use the Stream.
func (st *Stream) Sweep(piece []byte, at time.Time, emit func(Sample)) {
	if len(st.set.defs) == 0 {
		return
	}
	if len(st.line) > 0 {
		end := bytes.IndexByte(piece, '\n')
		if end < 0 {
			st.hold(piece)
			return
		}
		st.hold(piece[:end])
		st.off++ // the line feed
		st.block(st.line, st.begun, at)
		piece = piece[end+1:]
		st.line, st.begun = st.line[:0], st.off
	}
	whole := bytes.LastIndexByte(piece, '\n') + 1
	for rest := piece[:whole]; len(rest) > 0; {
		n := len(rest)
		if n > blockSize {
			n = bytes.LastIndexByte(rest[:blockSize], '\n') + 1
			if n == 0 { // a line longer than a block
				n = lineEnd(rest, blockSize) + 1
			}
		}
		st.block(rest[:n], st.off, at)
		st.off += int64(n)
		rest = rest[n:]
	}
	st.begun = st.off
	st.hold(piece[whole:])
	st.publish(emit)
}

// Close takes the last line, if no line feed ends it.
func (st *Stream) Close(at time.Time, emit func(Sample)) {
	if len(st.line) > 0 {
		st.block(st.line, st.begun, at)
		st.line, st.begun = st.line[:0], st.off
	}
	st.publish(emit)
}

// hold keeps the part of a line that is matched once it is over.
func (st *Stream) hold(part []byte) {
	st.off += int64(len(part))
	// One byte over the limit says that the line is too long.
	room := maxMatched + 1 - len(st.line)
	st.line = append(st.line, part[:min(room, len(part))]...)
}

// block matches whole lines that begin at off in the log. It holds more than maxMatched bytes only if it is one line.
func (st *Stream) block(b []byte, off int64, at time.Time) {
	if len(b) > maxMatched && lineEnd(b, maxMatched) > maxMatched {
		b = b[:maxMatched]
		st.long++
	}
	var escaped []byte
	hits := st.set.finder.find(&st.search, b)
	for i, h := range hits {
		line := b[h.start:h.end]
		if i == 0 || hits[i-1].start != h.start {
			var changed bool
			if escaped, changed = escape(st.escape, line); changed {
				st.escape = escaped
			}
		}
		st.match(h.def, line, escaped, off+int64(h.start), at)
	}
}

// match applies a definition to a line: escaped first, if escaping changed it, then as it is (MET-3).
func (st *Stream) match(def int, raw, escaped []byte, off int64, at time.Time) {
	d, n := st.set.defs[def], &st.stats[def]
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
			st.found = append(st.found, Sample{At: at, Host: st.host, Name: d.name, Value: v, Offset: off})
			st.defs = append(st.defs, def)
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
	m := d.re.FindSubmatchIndex(line)
	if m == nil {
		return nil
	}
	rest := line[m[1]:]
	for _, l := range d.literals {
		if l.fold && containsFold(rest, l.text) || !l.fold && bytes.Contains(rest, []byte(l.text)) {
			return d.re.FindAllSubmatchIndex(line, -1)
		}
	}
	return [][]int{m}
}

// publish adds what the piece gave to the set, and emits it.
func (st *Stream) publish(emit func(Sample)) {
	st.set.add(st)
	if emit != nil {
		for _, f := range st.found {
			emit(f)
		}
	}
	st.found, st.defs = st.found[:0], st.defs[:0]
}

func (s *Set) add(st *Stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, n := range st.stats {
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
		st.stats[i] = Definition{}
	}
	for i, f := range st.found {
		final := &s.finals[s.series[st.defs[i]]]
		final.Value, final.At = f.Value, f.At
		final.Count++
	}
	s.long += st.long
	st.long = 0
}
