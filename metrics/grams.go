package metrics

import (
	"encoding/binary"
	"unsafe"
)

// grams finds many literals in one pass. A literal of n bytes holds a gram, four bytes, that begins at a multiple of
// n-3 in the log, wherever it stands. So only every (n-3)th gram of the log is looked at, n being the length of the
// shortest literal, and a table says which literals hold a gram of that kind, and where. Of a longer literal the n
// bytes are taken that the log has least of.
type grams struct {
	step   int // bytes from one gram that is looked at to the next; 0: no literals
	table  [1 << gramBits]uint16
	places [][]place // by what table holds; the first is of no gram
}

// place says that a gram of a kind stands at an offset in a needle.
type place struct{ needle, at int }

const (
	gramSize = 4
	gramBits = 13
)

type gram [gramSize]byte

// gramKind is the same for letters of either case, as literals may be folded.
func gramKind(g *gram) uint32 {
	const lower = 0x20202020
	return (binary.LittleEndian.Uint32(g[:]) | lower) * 0x9e3779b1 >> (32 - gramBits)
}

// build makes the table anew for some of the needles, of which each has step+gramSize-1 bytes or more.
func (g *grams) build(needles []needle, some []int, step int, c *census) {
	clear(g.table[:])
	g.step, g.places = step, append(g.places[:0], nil)
	for _, k := range some {
		from := c.window(needles[k].text, step)
		for at := from; at < from+step; at++ {
			entry := &g.table[gramKind((*gram)(needles[k].text[at:]))]
			if *entry == 0 {
				*entry = uint16(len(g.places)) // the table has fewer entries than the type has values
				g.places = append(g.places, nil)
			}
			g.places[*entry] = append(g.places[*entry], place{k, at})
		}
	}
}

// next is where the next gram of a kind that the table knows is looked at, from on.
func (g *grams) next(b []byte, from int) (at int, kind uint16) {
	table, step := &g.table, g.step
	// Four are looked at at a time, which the processor does side by side. The loop's condition holds the last of them
	// within b; with slices it would be checked for each, which takes twice as long as all the rest.
	begin := unsafe.Pointer(unsafe.SliceData(b))
	for last := len(b) - 3*step - gramSize; from <= last; from += 4 * step {
		one, two := gramKind((*gram)(unsafe.Add(begin, from))), gramKind((*gram)(unsafe.Add(begin, from+step)))
		three, four := gramKind((*gram)(unsafe.Add(begin, from+2*step))), gramKind((*gram)(unsafe.Add(begin, from+3*step)))
		if table[one]|table[two]|table[three]|table[four] != 0 {
			break
		}
	}
	for ; from+gramSize <= len(b); from += step {
		if t := table[gramKind((*gram)(b[from:]))]; t != 0 {
			return from, t
		}
	}
	return len(b), 0
}
