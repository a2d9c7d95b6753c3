package transform

import (
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// conn is one HTTP/1.1 connection to a container, for one request at a time. It sends what Go's own client sends, in its
// order (BT-21, ruling 22), with one write for small requests.
type conn struct {
	nc      net.Conn
	fd      int    // instead of nc while it is the loop's, else -1
	buf     []byte // read, not yet used: buf[r:w]
	r, w    int
	out     []byte // header, and body of a small request
	scratch []byte // for bodies that do not lie in buf
	used    bool   // has answered before, so that a dead peer is likelier than a broken one

	mu       sync.Mutex
	gone     bool      // hung up by another than its user
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

func newConn(nc net.Conn) *conn { return &conn{nc: nc, fd: -1, buf: make([]byte, readBuffer)} }

// start sets the time by which the response must be complete.
func (c *conn) start(deadline time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = deadline
	if c.nc != nil { // the loop looks at the deadline itself
		c.nc.SetDeadline(deadline)
	}
}

// detach takes the connection from the runtime's poller, which would be woken by everything that comes, and returns its
// descriptor. Only TCP has one.
func (c *conn) detach() (fd int, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	tcp, ok := c.nc.(*net.TCPConn)
	if !ok || c.gone {
		return -1, false
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return -1, false
	}
	var derr error
	err = raw.Control(func(f uintptr) { fd, derr = unix.FcntlInt(f, unix.F_DUPFD_CLOEXEC, 0) })
	if err != nil || derr != nil {
		return -1, false
	}
	tcp.Close()
	c.nc, c.fd = nil, fd
	return fd, true
}

// attach is the way back.
func (c *conn) attach() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := os.NewFile(uintptr(c.fd), "connection")
	nc, err := net.FileConn(f)
	f.Close()
	c.fd = -1
	if err != nil {
		return err
	}
	c.nc = nc
	if c.gone {
		nc.Close()
	}
	return nil
}

// hangUp ends the connection under its user.
func (c *conn) hangUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = true
	switch {
	case c.fd >= 0:
		_ = unix.Shutdown(c.fd, unix.SHUT_RDWR) // closed by its user: the number may be another's by then
	case c.nc != nil:
		c.nc.Close()
	}
}

func (c *conn) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.fd >= 0:
		unix.Close(c.fd)
		c.fd = -1
	case c.nc != nil:
		c.nc.Close()
	}
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
