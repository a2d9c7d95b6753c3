package transform

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
)

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

func (e *errNoAnswer) Error() string {
	if e.err == io.EOF {
		return "the container closed the connection without an answer (EOF)"
	}
	return e.err.Error()
}
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
			c.said = append(c.said[:0], head...)
			c.status = status
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
		end, next := headEnd(b, seen)
		if end >= 0 {
			c.r += next
			return b[:end], nil
		}
		seen = next
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

// headEnd finds the empty line: the header lies before end, the body begins at next. Without one, end is -1 and next is
// from where to look when there is more.
func headEnd(b []byte, seen int) (end, next int) {
	for {
		i := bytes.IndexByte(b[seen:], '\n')
		if i < 0 {
			return -1, max(0, len(b)-2)
		}
		i += seen
		if rest := b[i+1:]; len(rest) > 0 && rest[0] == '\n' {
			return i + 1, i + 2
		} else if len(rest) > 1 && rest[0] == '\r' && rest[1] == '\n' {
			return i + 1, i + 3
		} else if len(rest) < 2 {
			return -1, i
		}
		seen = i + 1
	}
}

type answerState int

const (
	answerPartial answerState = iota // it goes on as it should
	answerWhole
	answerOther // for somebody with more patience, and more room
	answerEnded // nothing more comes
)

// complete says whether a response lies in the buffer. It takes nothing of it, so that who reads it then reads all.
// Bodies in chunks must be shorter than room.
func (c *conn) complete(room int) answerState {
	b := c.buf[c.r:c.w]
	end, next := headEnd(b, 0)
	state := answerPartial
	if end >= 0 {
		status, err := c.parse(b[:end])
		switch {
		case err != nil || status < 200:
			return answerOther
		case c.kind == bodyNone:
			state = answerWhole
		case c.kind == bodyLength && c.left <= int64(len(b)-next):
			state = answerWhole
		case c.kind == bodyLength && c.left > int64(len(c.buf)):
			return answerOther
		case c.kind == bodyChunked:
			state = chunks(b[next:], room)
		case c.kind == bodyToEnd:
			return answerOther
		}
		c.status = status
	}
	if state == answerPartial && c.w == len(c.buf) {
		return answerOther
	}
	return state
}

// chunks says whether a chunked body lies in b, without trailers.
func chunks(b []byte, room int) answerState {
	for total := uint64(0); ; {
		found := bytes.Contains(b, []byte{'\n'})
		if !found {
			return answerPartial
		}
		line, rest := cutLine(b)
		line, _, _ = bytes.Cut(line, []byte(";"))
		size, err := strconv.ParseUint(string(bytes.TrimSpace(line)), 16, 62)
		if total += size; err != nil || total >= uint64(room) {
			return answerOther
		}
		if uint64(len(rest)) < size {
			return answerPartial
		}
		rest = rest[size:]
		switch {
		case len(rest) == 0 || len(rest) == 1 && rest[0] == '\r':
			return answerPartial
		case rest[0] != '\n' && string(rest[:2]) != "\r\n":
			return answerOther
		case size == 0:
			return answerWhole
		}
		_, b = cutLine(rest)
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
	c.kind, c.left, c.finish, c.contentType = bodyToEnd, 0, false, ""
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
		case len("Content-Type"):
			if !c.keepType || !bytes.EqualFold(name, []byte("Content-Type")) {
				break
			}
			if bytes.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
				return 0, malformed("Content-Type %s", shown(value))
			}
			c.contentType = string(value)
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
