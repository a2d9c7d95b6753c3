package transform

import (
	"net"
	"sync"
	"time"
)

// conn is one HTTP/1.1 connection to a container, for one request at a time. It sends what Go's own client sends, in its
// order (BT-21, ruling 22), with one write for small requests.
type conn struct {
	nc      net.Conn
	buf     []byte // read, not yet used: buf[r:w]
	r, w    int
	out     []byte // header, and body of a small request
	scratch []byte // for bodies that do not lie in buf
	used    bool   // has answered before, so that a dead peer is likelier than a broken one

	mu       sync.Mutex
	deadline time.Time // of the request (BT-104)
	busy     int       // who does something of ours now: reads the object, writes the output
	since    time.Time

	// of the response being read
	said   []byte // its status line and headers
	left   int64  // of the body with a length, or of the chunk
	kind   bodyKind
	finish bool // the connection ends with this response

	status int

	keepType    bool   // the content type matters: to the next container of a pipeline
	contentType string // of the response, then
}

type bodyKind int

const (
	bodyNone bodyKind = iota
	bodyLength
	bodyChunked
	bodyToEnd
)

const (
	readBuffer  = 16 << 10
	maxHead     = 64 << 10 // of a response's status line and headers
	maxInterim  = 8        // 1xx responses before the real one
	smallBody   = 32 << 10 // sent with its header in one write, before the response is looked for
	streamChunk = 64 << 10 // of a request that is sent as it is read
)

func newConn(nc net.Conn) *conn { return &conn{nc: nc, buf: make([]byte, readBuffer)} }

// start sets the time by which the response must be complete.
func (c *conn) start(deadline time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = deadline
	c.nc.SetDeadline(deadline)
}

// ours stops the clock of the request while it is not the container that is waited for, until the function that it
// returns is called.
func (c *conn) ours() (over func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.busy++; c.busy == 1 {
		c.since = time.Now()
		c.nc.SetDeadline(time.Time{})
	}
	return c.theirs
}

func (c *conn) theirs() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.busy--; c.busy == 0 {
		c.deadline = c.deadline.Add(time.Since(c.since))
		c.nc.SetDeadline(c.deadline)
	}
}
