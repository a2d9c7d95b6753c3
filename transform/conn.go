package transform

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
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

	// of the response being read
	left   int64 // of the body with a length, or of the chunk
	kind   bodyKind
	finish bool // the connection ends with this response
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

// header is a request's header around its length.
type header struct{ before, after string }

// newHeader renders what does not change. Fields stand in the order of Go's client: Host, User-Agent, the body's length,
// then the others by name. An empty value is no field (BT-100).
func newHeader(method, path, host, accept, contentType string) header {
	h := header{before: method + " " + path + " HTTP/1.1\r\nHost: " + host + "\r\nUser-Agent: Go-http-client/1.1\r\n"}
	if accept != "" {
		h.after += "Accept: " + accept + "\r\n"
	}
	if contentType != "" {
		h.after += "Content-Type: " + contentType + "\r\n"
	}
	h.after += "\r\n"
	return h
}

// payload is a request's body.
type payload struct {
	method  bool      // a GET: no body, no length
	bytes   []byte    // with its length (BT-99)
	chunked bool      // bytes, or stream if set, in chunks without a length (BT-97)
	stream  io.Reader // read while it is sent
}

// sourceError is an error of payload.stream, told apart from those of the connection.
type sourceError struct{ err error }

func (e *sourceError) Error() string { return e.err.Error() }
func (e *sourceError) Unwrap() error { return e.err }

// send writes the request. A small one is written when it returns; of others the rest is written by a goroutine that
// reports to the channel: the container may answer, or hang up, before it has read all.
func (c *conn) send(h header, p payload) (<-chan error, error) {
	c.out = append(c.out[:0], h.before...)
	switch {
	case p.method:
	case p.chunked:
		c.out = append(c.out, "Transfer-Encoding: chunked\r\n"...)
	default:
		c.out = append(c.out, "Content-Length: "...)
		c.out = strconv.AppendInt(c.out, int64(len(p.bytes)), 10)
		c.out = append(c.out, "\r\n"...)
	}
	c.out = append(c.out, h.after...)
	var tail string
	if p.chunked && p.stream == nil {
		if len(p.bytes) > 0 {
			c.out = strconv.AppendInt(c.out, int64(len(p.bytes)), 16)
			c.out = append(c.out, "\r\n"...)
			tail = "\r\n"
		}
		tail += "0\r\n\r\n"
	}
	if p.stream == nil && len(p.bytes) <= smallBody {
		c.out = append(c.out, p.bytes...)
		c.out = append(c.out, tail...)
		_, err := c.nc.Write(c.out)
		return nil, err
	}
	sent := make(chan error, 1)
	go func() {
		var err error
		if p.stream != nil {
			err = c.sendStream(p.stream)
		} else {
			bufs := net.Buffers{c.out, p.bytes}
			if tail != "" {
				bufs = append(bufs, []byte(tail))
			}
			_, err = bufs.WriteTo(c.nc)
		}
		if err != nil {
			// A response may still lie there, but it does not take long to come.
			c.nc.SetReadDeadline(time.Now().Add(5 * time.Second))
		}
		sent <- err
	}()
	return sent, nil
}

func (c *conn) sendStream(r io.Reader) error {
	if _, err := c.nc.Write(c.out); err != nil {
		return err
	}
	const room = 10 // the size of a chunk in hex, CR, LF
	buf := make([]byte, room+streamChunk+2)
	for {
		n, err := io.ReadFull(r, buf[room:room+streamChunk])
		if n > 0 {
			size := strconv.FormatInt(int64(n), 16) + "\r\n"
			from := room - copy(buf[room-len(size):], size)
			copy(buf[room+n:], "\r\n")
			if _, err := c.nc.Write(buf[from : room+n+2]); err != nil {
				return err
			}
		}
		switch err {
		case nil:
		case io.EOF, io.ErrUnexpectedEOF:
			_, err = c.nc.Write([]byte("0\r\n\r\n"))
			return err
		default:
			c.nc.Close() // the container must not take this for the end
			return &sourceError{err}
		}
	}
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

// fill reads more into buf.
func (c *conn) fill() error {
	if c.r == c.w {
		c.r, c.w = 0, 0
	}
	if c.w == len(c.buf) {
		if c.r > 0 {
			c.w = copy(c.buf, c.buf[c.r:c.w])
			c.r = 0
		} else if len(c.buf) < maxHead {
			c.buf = append(c.buf, make([]byte, len(c.buf))...)
		} else {
			return malformed("header over %d bytes", maxHead)
		}
	}
	n, err := c.nc.Read(c.buf[c.w:])
	c.w += n
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// errNoAnswer is an error before the first byte of a response.
type errNoAnswer struct{ err error }

func (e *errNoAnswer) Error() string { return e.err.Error() }
func (e *errNoAnswer) Unwrap() error { return e.err }

// readHead reads the status and the headers of the response, over interim ones.
func (c *conn) readHead() (status int, err error) {
	for range maxInterim {
		head, err := c.head()
		if err != nil {
			return 0, err
		}
		if status, err = c.parse(head); err != nil {
			return 0, err
		}
		if status >= 200 {
			return status, nil
		}
		if status == 101 {
			return 0, malformed("status 101")
		}
	}
	return 0, malformed("more than %d interim responses", maxInterim)
}

func (c *conn) head() ([]byte, error) {
	for seen := 0; ; {
		b := c.buf[c.r:c.w]
		for {
			i := bytes.IndexByte(b[seen:], '\n')
			if i < 0 {
				seen = max(0, len(b)-2)
				break
			}
			i += seen
			if rest := b[i+1:]; len(rest) > 0 && rest[0] == '\n' {
				c.r += i + 2
				return b[:i+1], nil
			} else if len(rest) > 1 && rest[0] == '\r' && rest[1] == '\n' {
				c.r += i + 3
				return b[:i+1], nil
			} else if len(rest) < 2 {
				seen = i
				break
			}
			seen = i + 1
		}
		if err := c.fill(); err != nil {
			if len(b) == 0 {
				return nil, &errNoAnswer{err}
			}
			if err == io.EOF {
				err = malformed("it ends inside the header")
			}
			return nil, err
		}
	}
}

func (c *conn) parse(head []byte) (int, error) {
	line, rest := cutLine(head)
	// HTTP/1.1 200 OK
	if len(line) < 12 || string(line[:7]) != "HTTP/1." || line[8] != ' ' || len(line) > 12 && line[12] != ' ' {
		return 0, malformed("%s", shown(line))
	}
	status, err := strconv.Atoi(string(line[9:12]))
	if err != nil || status < 100 {
		return 0, malformed("%s", shown(line))
	}
	old := line[7] == '0' // HTTP/1.0 closes unless it says otherwise
	c.kind, c.left, c.finish = bodyToEnd, 0, false
	keep := !old
	length := int64(-1)
	chunked := false
	for len(rest) > 0 {
		line, rest = cutLine(rest)
		colon := bytes.IndexByte(line, ':')
		if colon <= 0 {
			if len(line) > 0 && (line[0] == ' ' || line[0] == '\t') {
				continue // the rest of a field that is folded: of none that matters here
			}
			return 0, malformed("header line %s", shown(line))
		}
		name, value := line[:colon], bytes.TrimSpace(line[colon+1:])
		switch len(name) {
		case len("Content-Length"):
			if !bytes.EqualFold(name, []byte("Content-Length")) {
				break
			}
			n, err := strconv.ParseUint(string(value), 10, 63)
			if err != nil || length >= 0 && length != int64(n) {
				return 0, malformed("Content-Length %s", shown(value))
			}
			length = int64(n)
		case len("Transfer-Encoding"):
			if !bytes.EqualFold(name, []byte("Transfer-Encoding")) || bytes.EqualFold(value, []byte("identity")) || old {
				break // HTTP/1.0 knows none
			}
			if !bytes.EqualFold(value, []byte("chunked")) {
				return 0, malformed("Transfer-Encoding %s", shown(value))
			}
			chunked = true
		case len("Connection"):
			if !bytes.EqualFold(name, []byte("Connection")) {
				break
			}
			for token := range bytes.SplitSeq(value, []byte(",")) {
				switch token = bytes.TrimSpace(token); {
				case bytes.EqualFold(token, []byte("close")):
					c.finish = true
				case bytes.EqualFold(token, []byte("keep-alive")):
					keep = true
				}
			}
		}
	}
	c.finish = c.finish || !keep
	switch {
	case status < 200 || status == 204 || status == 304:
		c.kind = bodyNone
	case chunked:
		c.kind = bodyChunked
		c.finish = c.finish || length >= 0
	case length >= 0:
		c.kind, c.left = bodyLength, length
	default:
		c.finish = true
	}
	return status, nil
}

func cutLine(b []byte) (line, rest []byte) {
	i := bytes.IndexByte(b, '\n')
	line, rest = b[:i], b[i+1:]
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	return line, rest
}

// Read gives the body of the response; io.EOF is its end, and a body that ends early is io.ErrUnexpectedEOF.
func (c *conn) Read(p []byte) (int, error) {
	switch c.kind {
	case bodyLength:
		if c.left == 0 {
			c.kind = bodyNone
			return 0, io.EOF
		}
		n, err := c.raw(p[:min(int64(len(p)), c.left)])
		c.left -= int64(n)
		return n, early(err)
	case bodyChunked:
		if c.left == 0 {
			if err := c.nextChunk(); err != nil {
				return 0, early(err)
			}
			if c.left == 0 {
				c.kind = bodyNone
				return 0, io.EOF
			}
		}
		n, err := c.raw(p[:min(int64(len(p)), c.left)])
		c.left -= int64(n)
		if c.left == 0 && err == nil {
			var line []byte
			if line, err = c.line(); err == nil && len(line) > 0 {
				err = malformed("chunk is longer than its size")
			}
		}
		return n, early(err)
	case bodyToEnd:
		n, err := c.raw(p)
		if err == io.EOF {
			c.kind = bodyNone
		}
		return n, err
	}
	return 0, io.EOF
}

func early(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// raw reads from the buffer, else from the connection.
func (c *conn) raw(p []byte) (int, error) {
	if c.r < c.w {
		n := copy(p, c.buf[c.r:c.w])
		c.r += n
		return n, nil
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := c.nc.Read(p)
	if n > 0 {
		return n, nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return 0, err
}

// nextChunk reads a chunk's size into left; after the last one also the trailers.
func (c *conn) nextChunk() error {
	line, err := c.line()
	if err != nil {
		return err
	}
	line, _, _ = bytes.Cut(line, []byte(";")) // extensions say nothing here
	size, err := strconv.ParseUint(string(bytes.TrimSpace(line)), 16, 62)
	if err != nil {
		return malformed("chunk size %s", shown(line))
	}
	c.left = int64(size)
	for total := 0; size == 0; {
		if line, err = c.line(); err != nil {
			return err
		}
		if len(line) == 0 {
			return nil
		}
		if total += len(line); total > maxHead {
			return malformed("trailers over %d bytes", maxHead)
		}
	}
	return nil
}

func (c *conn) line() ([]byte, error) {
	for {
		if i := bytes.IndexByte(c.buf[c.r:c.w], '\n'); i >= 0 {
			line, _ := cutLine(c.buf[c.r : c.r+i+1])
			c.r += i + 1
			return line, nil
		}
		if c.w-c.r > 4<<10 {
			return nil, malformed("line without end in a chunked body")
		}
		if err := c.fill(); err != nil {
			return nil, err
		}
	}
}

// whole returns the body if it has a length and lies, or fits, in the buffer. It is valid until the connection is used
// again.
func (c *conn) whole() ([]byte, bool, error) {
	if c.kind == bodyNone {
		return nil, true, nil
	}
	if c.kind != bodyLength || c.left > int64(len(c.buf)-c.r) {
		return nil, false, nil
	}
	for n := int(c.left); ; {
		if c.w-c.r >= n {
			b := c.buf[c.r : c.r+n : c.r+n]
			c.r += n
			c.kind, c.left = bodyNone, 0
			return b, true, nil
		}
		m, err := c.nc.Read(c.buf[c.w:])
		c.w += m
		if m == 0 {
			if err == nil {
				err = io.ErrNoProgress
			}
			return nil, false, early(err)
		}
	}
}

// reusable reports whether another request can follow: the body was read to its end, the peer keeps the connection, and
// nothing lies behind the response that nobody asked for.
func (c *conn) reusable() bool { return c.kind == bodyNone && !c.finish && c.r == c.w }

// timedOut tells an exceeded deadline from other errors.
func timedOut(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}
