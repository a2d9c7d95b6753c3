package metrics

import "bytes"

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

// census counts the bytes of a piece of log, so as to choose the rare ones.
type census struct {
	counts  [256]uint32
	counted int64 // bytes that went by since the last count
}

const (
	censusEvery = 1 << 20 // bytes; a log changes its character seldom
	censusSize  = 8 << 10
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
	c.counts = [256]uint32{}
	for _, x := range b[:min(len(b), censusSize)] {
		c.counts[x]++
	}
}

// rarest is the index of the byte of text that is least common; folded text is sought in lower-cased log, where
// upper-case letters count as lower-case ones.
func (c *census) rarest(text []byte, fold bool) int {
	best, least := 0, ^uint32(0)
	for i, x := range text {
		n := c.counts[x]
		if fold && x >= 'a' && x <= 'z' {
			n += c.counts[x-'a'+'A']
		}
		if n < least {
			best, least = i, n
		}
	}
	return best
}
