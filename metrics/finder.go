package metrics

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math"
	"slices"
)

// finder finds the lines of a block on which a definition may match.
type finder struct {
	always  []int // definitions without literals: every line
	needles []needle
}

// needle is a literal with the definitions that it speaks for.
type needle struct {
	literal
	text []byte
	defs []int
}

// hit is a line and a definition to match on it.
type hit struct {
	start, end int // of the line in the block, without its line feed
	def        int
}

func (f *finder) add(def int, lits []literal) {
	if lits == nil {
		f.always = append(f.always, def)
	}
	for _, l := range lits {
		i := slices.IndexFunc(f.needles, func(n needle) bool { return n.literal == l })
		if i < 0 {
			i = len(f.needles)
			f.needles = append(f.needles, needle{literal: l, text: []byte(l.text)})
		}
		f.needles[i].defs = append(f.needles[i].defs, def)
	}
}

// search is what a stream needs to find hits: scratch space, and how to look for which needle, by what its log is like.
type search struct {
	hits   []hit
	lower  []byte
	census census
	passes []pass // needles that are looked for one after the other
	grams  grams  // the others
	past   []int  // of each needle, where the line ends on which it was found last
}

// pass is a search for one needle by its rarest byte.
type pass struct{ needle, rare int }

// What looking at a log costs, in nanoseconds: a byte in a pass, each place where the rare byte is, a gram, and
// turning a byte to lower case.
const (
	passCost = 0.04
	rareCost = 5
	gramCost = 0.5
	foldCost = 0.2
)

// plan decides how to look for each needle: the shorter ones each in a pass of its own, so that all others can be found
// by few grams.
func (f *finder) plan(s *search) {
	order := make([]int, len(f.needles)) // the shortest first
	for k := range order {
		order[k] = k
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(len(f.needles[a].text), len(f.needles[b].text)) })
	all := make([]pass, len(order))
	best, least, passes, folds := 0, math.Inf(1), 0.0, false
	for i := 0; i <= len(order); i++ { // the first i in passes
		cost := passes
		if folds {
			cost += foldCost
		}
		if i < len(order) {
			if step := len(f.needles[order[i]].text) - gramSize + 1; step > 0 {
				cost += gramCost / float64(step)
			} else {
				cost = math.Inf(1)
			}
		}
		if cost < least {
			best, least = i, cost
		}
		if i < len(order) {
			n := f.needles[order[i]]
			all[i] = pass{order[i], s.census.rarest(n.text, n.fold)}
			passes += passCost + rareCost*s.census.share(n.text[all[i].rare], n.fold)
			folds = folds || n.fold
		}
	}
	s.passes, s.grams.step = all[:best], 0
	if rest := order[best:]; len(rest) > 0 {
		s.grams.build(f.needles, rest, len(f.needles[rest[0]].text)-gramSize+1, &s.census)
	}
}

// find returns the hits in block: in the order of lines, then of definitions, each once. A block is whole lines; the
// last may lack its line feed. The hits are good until the next call.
func (f *finder) find(s *search, block []byte) []hit {
	if s.census.due(len(block)) {
		s.census.take(block)
		f.plan(s)
	}
	s.hits = s.hits[:0]
	lowered := false
	for _, p := range s.passes {
		n, text := &f.needles[p.needle], block
		if n.fold {
			if !lowered {
				s.lower, lowered = lowerASCII(s.lower[:0], block), true
			}
			text = s.lower
		}
		for pos := 0; pos < len(text); {
			i := index(text[pos:], n.text, p.rare)
			if i < 0 {
				break
			}
			pos = s.hit(n, block, pos+i) + 1
		}
	}
	if s.grams.step > 0 {
		f.sweep(s, block)
	}
	for pos := 0; pos < len(block) && len(f.always) > 0; {
		end := lineEnd(block, pos)
		for _, d := range f.always {
			s.hits = append(s.hits, hit{pos, end, d})
		}
		pos = end + 1
	}
	slices.SortFunc(s.hits, func(a, b hit) int {
		if c := cmp.Compare(a.start, b.start); c != 0 {
			return c
		}
		return cmp.Compare(a.def, b.def)
	})
	s.hits = slices.Compact(s.hits) // a line may hold several literals of one definition
	return s.hits
}

// sweep finds the needles that are found by their grams.
func (f *finder) sweep(s *search, block []byte) {
	s.past = slices.Grow(s.past[:0], len(f.needles))[:len(f.needles)]
	clear(s.past)
	for at, kind := s.grams.next(block, 0); kind != 0; at, kind = s.grams.next(block, at+s.grams.step) {
		for _, p := range s.grams.places[kind] {
			if n, start := &f.needles[p.needle], at-p.at; start >= s.past[p.needle] && n.at(block, start) {
				s.past[p.needle] = s.hit(n, block, start)
			}
		}
	}
}

// hit notes that a needle stands in the line that at is in, and returns where the line ends.
func (s *search) hit(n *needle, block []byte, at int) int {
	start, end := bytes.LastIndexByte(block[:at], '\n')+1, lineEnd(block, at)
	for _, d := range n.defs {
		s.hits = append(s.hits, hit{start, end, d})
	}
	return end
}

// at says that the needle stands at i in b.
func (n *needle) at(b []byte, i int) bool {
	if i < 0 || i+len(n.text) > len(b) {
		return false
	}
	b = b[i : i+len(n.text)]
	return n.fold && equalFold(b, n.text) || bytes.Equal(b, n.text)
}

// lineEnd is the index of the next line feed from i on, or the end.
func lineEnd(b []byte, i int) int {
	if n := bytes.IndexByte(b[i:], '\n'); n >= 0 {
		return i + n
	}
	return len(b)
}

// lowerASCII appends src to dst with A to Z turned to a to z, eight bytes at a time.
func lowerASCII(dst, src []byte) []byte {
	const (
		ones = 0x0101010101010101
		high = 0x80 * ones
	)
	dst = slices.Grow(dst, len(src))[:len(src)]
	i := 0
	for ; i+8 <= len(src); i += 8 {
		w := binary.LittleEndian.Uint64(src[i:])
		low := w &^ high                                   // seven bits of each byte, so that no sum carries over
		fromA := low + (0x80-'A')*ones                     // high bit: byte >= 'A'
		overZ := low + (0x80-'Z'-1)*ones                   // high bit: byte > 'Z'
		upper := fromA &^ overZ &^ w & high                // and the byte is ASCII
		binary.LittleEndian.PutUint64(dst[i:], w|upper>>2) // 0x20 is the difference between the cases
	}
	for ; i < len(src); i++ {
		dst[i] = lower(src[i])
	}
	return dst
}

// containsFold says that b, lower-cased, contains text, which is lower-case. b is the rest of a line.
func containsFold(b, text []byte) bool {
	for i := 0; i+len(text) <= len(b); i++ {
		if equalFold(b[i:i+len(text)], text) {
			return true
		}
	}
	return false
}

// equalFold says that b, lower-cased, is text, which is lower-case and as long.
func equalFold(b, text []byte) bool {
	for i, c := range b {
		if lower(c) != text[i] {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}
