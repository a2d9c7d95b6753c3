package metrics

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
)

// finder finds the lines of a block on which a definition may match.
type finder struct {
	always  []int // definitions without literals: every line
	needles []needle
	folds   bool // some needle is folded
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
			f.folds = f.folds || l.fold
		}
		f.needles[i].defs = append(f.needles[i].defs, def)
	}
}

// search is what a stream needs to find hits: scratch space, and of each needle which byte to look for.
type search struct {
	hits   []hit
	lower  []byte
	rare   []int
	census census
}

// find returns the hits in block: in the order of lines, then of definitions, each once. A block is whole lines; the
// last may lack its line feed. The hits are good until the next call.
func (f *finder) find(s *search, block []byte) []hit {
	if s.census.due(len(block)) {
		s.census.take(block)
		s.rare = s.rare[:0]
		for _, n := range f.needles {
			s.rare = append(s.rare, s.census.rarest(n.text, n.fold))
		}
	}
	if f.folds {
		s.lower = lowerASCII(s.lower[:0], block)
	}
	hits := s.hits[:0]
	for k, n := range f.needles {
		text := block
		if n.fold {
			text = s.lower
		}
		for pos := 0; pos < len(text); {
			i := index(text[pos:], n.text, s.rare[k])
			if i < 0 {
				break
			}
			start := pos + bytes.LastIndexByte(text[pos:pos+i], '\n') + 1
			end := lineEnd(block, pos+i)
			for _, d := range n.defs {
				hits = append(hits, hit{start, end, d})
			}
			pos = end + 1
		}
	}
	for pos := 0; pos < len(block) && len(f.always) > 0; {
		end := lineEnd(block, pos)
		for _, d := range f.always {
			hits = append(hits, hit{pos, end, d})
		}
		pos = end + 1
	}
	slices.SortFunc(hits, func(a, b hit) int {
		if c := cmp.Compare(a.start, b.start); c != 0 {
			return c
		}
		return cmp.Compare(a.def, b.def)
	})
	s.hits = slices.Compact(hits) // a line may hold several literals of one definition
	return s.hits
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
func containsFold(b []byte, text string) bool {
	for i := 0; i+len(text) <= len(b); i++ {
		k := 0
		for k < len(text) && lower(b[i+k]) == text[k] {
			k++
		}
		if k == len(text) {
			return true
		}
	}
	return false
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}
