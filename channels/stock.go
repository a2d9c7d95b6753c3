package channels

import (
	"sync"
	"sync/atomic"

	"github.com/optml/optml/dataset"
)

// stock is what all open files of one FastFile channel share: the room for what they hold, and who waits for whom.
type stock struct {
	room    int64
	bytes   *atomic.Int64 // fetched
	buffers dataset.Buffers
	near    chan struct{} // fetches through tubes from a near store

	readerWaits, weWait stopwatch // a read waits for bytes; files are open, all that may be fetched is, and nobody reads

	mu   sync.Mutex
	used int64
	open int // files
	busy int // fetches under way
	idle bool
}

func newStock(room int64, bytes *atomic.Int64) *stock {
	return &stock{room: room, bytes: bytes, near: make(chan struct{}, nearWorkers)}
}

// take gives a buffer of n bytes or more, or nil if there is no room for it.
func (s *stock) take(n int64) []byte {
	n = int64(dataset.BufferSize(int(n)))
	s.mu.Lock()
	fits := s.used+n <= s.room
	if fits {
		s.used += n
	}
	s.mu.Unlock()
	if !fits {
		return nil
	}
	return s.buffers.Get(int(n))
}

// give takes back what take gave.
func (s *stock) give(buf []byte) {
	n := int64(cap(buf))
	s.buffers.Put(buf)
	s.mu.Lock()
	s.used -= n
	s.mu.Unlock()
}

// share is what one open file may fetch ahead: with many of them, each has less.
func (s *stock) share() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(min(maxWindow, s.room*3/4/int64(max(s.open, 1))), 2*minWindow)
}

// change counts open files and fetches.
func (s *stock) change(open, busy int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open += open
	s.busy += busy
	idle := s.open > 0 && s.busy == 0
	if idle == s.idle {
		return
	}
	s.idle = idle
	if idle {
		s.weWait.begin()
	} else {
		s.weWait.end(true)
	}
}
