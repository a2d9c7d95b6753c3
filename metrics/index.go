package metrics

import (
	"bytes"
	"math"
)

// index is where text is in b, -1 where it is not. It looks for the byte of text at rare, which should be the one that
// b has least of: the standard library looks for the first one, and a log is full of e and t.
func index(b, text []byte, rare int) int {
	c := text[rare]
	last := len(b) - len(text) // where text may begin at most
	for i := rare; i <= last+rare; {
		n := bytes.IndexByte(b[i:last+rare+1], c)
		if n < 0 {
			return -1
		}
		i += n
		if start := i - rare; b[start] == text[0] && bytes.Equal(b[start:start+len(text)], text) {
			return start
		}
		i++
	}
	return -1
}

// census counts the bytes and the grams of a piece of log, so as to choose the rare ones.
type census struct {
	counts  [256]uint32
	grams   [1 << gramBits]uint16
	counted int64 // bytes that went by since the last count
}

const (
	censusEvery = 1 << 20 // bytes; a log changes its character seldom
	censusSize  = 16 << 10
)

// due says that it is time for another count.
func (c *census) due(n int) bool {
	c.counted += int64(n)
	if c.counted < censusEvery && c.counted > int64(n) {
		return false
	}
	c.counted = 1 // not 0, which is the first time
	return true
}

func (c *census) take(b []byte) {
	clear(c.counts[:])
	clear(c.grams[:])
	b = b[:min(len(b), censusSize)]
	for i, x := range b {
		c.counts[x]++
		if i+gramSize <= len(b) {
			c.grams[gramKind((*gram)(b[i:]))]++
		}
	}
}

// share is how much of the log is this byte, as far as counted, and never nothing. A folded letter counts in both cases.
func (c *census) share(x byte, fold bool) float64 {
	n := c.counts[x]
	if fold && x >= 'a' && x <= 'z' {
		n += c.counts[x-'a'+'A']
	}
	return float64(n+1) / (censusSize + 1)
}

// rarest is the index of the byte of text that is least common.
func (c *census) rarest(text []byte, fold bool) int {
	best, least := 0, 2.0
	for i, x := range text {
		if n := c.share(x, fold); n < least {
			best, least = i, n
		}
	}
	return best
}

// window is where in text the step grams begin that the log has least of.
func (c *census) window(text []byte, step int) int {
	best, least := 0, math.MaxInt
	for from := 0; from+step+gramSize-1 <= len(text); from++ {
		sum := 0
		for at := from; at < from+step; at++ {
			sum += int(c.grams[gramKind((*gram)(text[at:]))])
		}
		if sum < least {
			best, least = from, sum
		}
	}
	return best
}
