package transform

import (
	"io"
	"net"
	"strconv"
	"time"
)

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

// render puts the request's header into out.
func (c *conn) render(h header, p payload) {
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
}

// send writes the request. A small one is written when it returns; of others the rest is written by a goroutine that
// reports to the channel: the container may answer, or hang up, before it has read all.
func (c *conn) send(h header, p payload) (<-chan error, error) {
	c.render(h, p)
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
		over := c.ours()
		n, err := io.ReadFull(r, buf[room:room+streamChunk])
		over()
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
