package dataset

import (
	"math/bits"
	"sync"
)

// Buffers keeps buffers for another use, by the power of two that holds them. The zero value is ready; it may be used
// concurrently.
type Buffers struct{ classes [40]sync.Pool }

func class(n int) int { return max(bits.Len(uint(max(n, 1)-1)), 12) } // 4 KiB and up

func roundUp(n int) int { return 1 << class(n) }

// BufferSize is the room that a buffer of n bytes takes.
func BufferSize(n int) int { return roundUp(n) }

// Get gives a buffer of n bytes or more, of any content.
func (p *Buffers) Get(n int) []byte {
	if b, ok := p.classes[class(n)].Get().(*[]byte); ok {
		return *b
	}
	return make([]byte, 1<<class(n))
}

// Put takes back what Get gave. Nothing may use it any more.
func (p *Buffers) Put(b []byte) {
	b = b[:cap(b)]
	if len(b) == 1<<class(len(b)) {
		p.classes[class(len(b))].Put(&b)
	}
}
