package transform

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// tape is a connection that plays back what a peer said.
type tape struct {
	io.Reader
	sent bytes.Buffer
}

func (t *tape) Write(b []byte) (int, error)      { return t.sent.Write(b) }
func (t *tape) Close() error                     { return nil }
func (t *tape) LocalAddr() net.Addr              { return nil }
func (t *tape) RemoteAddr() net.Addr             { return nil }
func (t *tape) SetDeadline(time.Time) error      { return nil }
func (t *tape) SetReadDeadline(time.Time) error  { return nil }
func (t *tape) SetWriteDeadline(time.Time) error { return nil }

// answer reads one response as the worker does.
func answer(r io.Reader) (status int, body []byte, c *conn, err error) {
	c = newConn(&tape{Reader: r})
	if status, err = c.readHead(); err != nil {
		return 0, nil, c, err
	}
	small, ok, err := c.whole()
	if ok || err != nil {
		return status, small, c, err
	}
	body, err = io.ReadAll(c)
	return status, body, c, err
}

// FuzzResponse: what we take is what Go's own client takes, however the bytes come in.
func FuzzResponse(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nA: b\r\n\r\n",
		"HTTP/1.0 200 OK\r\n\r\nto the end",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\nContent-Length: 0\n\n",
		"HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n",
		"HTTP/1.1 500 \r\nConnection: close, keep-alive\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nxy",
		"HTTP/1.1 200 OK\r\nX: y\r\n z\r\nContent-Length: 1\r\n\r\nx",
		"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nx",
		"HTTP/1.0 200 \nTrAnsfer-EnCoding:Chunked\n\n00\n\n000000", // HTTP/1.0 knows no chunks: this is the body
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		status, body, _, err := answer(bytes.NewReader(in))
		status2, body2, _, err2 := answer(iotest.OneByteReader(bytes.NewReader(in)))
		if status != status2 || !bytes.Equal(body, body2) || (err == nil) != (err2 == nil) {
			t.Fatalf("at once: %d %q %v; byte by byte: %d %q %v", status, body, err, status2, body2, err2)
		}
		if err != nil {
			return
		}
		r := bufio.NewReader(bytes.NewReader(in))
		var res *http.Response
		for {
			if res, err = http.ReadResponse(r, &http.Request{Method: "POST"}); err != nil {
				return // it is stricter in places that do not matter here
			}
			if res.StatusCode >= 200 || res.StatusCode == 101 {
				break
			}
		}
		want, err := io.ReadAll(res.Body)
		if err == nil && (res.StatusCode != status || !bytes.Equal(want, body)) {
			t.Fatalf("%d %q, Go's client reads %d %q", status, body, res.StatusCode, want)
		}
	})
}

func TestResponsesOfAllSizes(t *testing.T) {
	for _, n := range []int{0, 1, readBuffer - 50, readBuffer, readBuffer + 1, maxHead, 1 << 20} {
		body := strings.Repeat("x", n)
		var chunks strings.Builder
		for rest := body; rest != ""; {
			k := min(len(rest), 1000)
			chunks.WriteString(strconv.FormatInt(int64(k), 16) + "\r\n" + rest[:k] + "\r\n")
			rest = rest[k:]
		}
		for name, in := range map[string]string{
			"length": "HTTP/1.1 200 OK\r\nContent-Length: " + strconv.Itoa(n) + "\r\n\r\n" + body,
			"chunks": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks.String() + "0\r\n\r\n",
			"end":    "HTTP/1.1 200 OK\r\n\r\n" + body,
		} {
			for _, r := range []io.Reader{strings.NewReader(in), iotest.HalfReader(strings.NewReader(in))} {
				status, got, c, err := answer(r)
				if status != 200 || string(got) != body || err != nil {
					t.Errorf("%s of %d: %d, %d bytes, %v", name, n, status, len(got), err)
				}
				if c.reusable() != (name != "end") {
					t.Errorf("%s of %d: reusable is %v", name, n, c.reusable())
				}
			}
		}
	}
}

func TestSendAllocatesNothing(t *testing.T) {
	c := newConn(&tape{})
	h := newHeader("POST", "/invocations", "h:8080", "text/csv", "text/csv")
	body := bytes.Repeat([]byte("x"), 1024)
	c.send(h, payload{bytes: body})
	if n := testing.AllocsPerRun(100, func() {
		c.nc.(*tape).sent.Reset()
		if _, err := c.send(h, payload{bytes: body}); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations a request", n)
	}
}
