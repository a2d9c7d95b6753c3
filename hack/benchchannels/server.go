package main

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"encoding/xml"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/optml/optml/hack/measure"
)

// bucket is the only one that has objects.
const bucket = "bench"

// serverOptions are the argument of the process that serves.
type serverOptions struct {
	Dir     string           // <Dir>/bench holds the objects
	Latency time.Duration    // before the first byte of each answer: an emulated round trip
	TLS     string           // file with certificate and key; "": none
	Made    map[string]int64 // objects of so many bytes that no file holds: the numbers 0, 1, 2 … of 8 bytes each
}

// server is a process that serves. It answers without asking who asks, and does as little as it can for each request: a
// small object goes out in one write with its header, a large one by sendfile.
type server struct {
	*measure.Server
	opts serverOptions
	ca   string // certificate that clients must trust; "": none needed
}

func startServer(o serverOptions) (*server, error) {
	arg, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	s, err := measure.Serve(string(arg))
	if err != nil {
		return nil, err
	}
	return &server{s, o, o.TLS}, nil
}

// selfSigned writes a certificate for 127.0.0.1 with its key into one file.
func selfSigned(path string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return err
	}
	priv, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	b := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: priv})...)
	return os.WriteFile(path, b, 0o600)
}

// stub is the serving side: an index made at the start, read-only from then on.
type stub struct {
	serverOptions
	keys    []string // sorted
	objects map[string]*object
}

type object struct {
	key  string
	path string // "": made
	size int64
	etag string
	head string // the header lines that are always the same
}

// serve is the server's process.
func serve(arg string) error {
	var s stub
	if err := json.Unmarshal([]byte(arg), &s.serverOptions); err != nil {
		return err
	}
	if err := s.index(); err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	scheme := "http"
	var conf *tls.Config
	if s.TLS != "" {
		pair, err := tls.LoadX509KeyPair(s.TLS, s.TLS)
		if err != nil {
			return err
		}
		scheme, conf = "https", &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"http/1.1"}}
	}
	fmt.Printf("%s://%s\n", scheme, l.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			if conf != nil {
				c = tls.Server(c, conf)
			}
			(&session{stub: &s, conn: c, in: bufio.NewReaderSize(c, 16<<10)}).run()
		}()
	}
}

func (s *stub) index() error {
	s.objects = map[string]*object{}
	add := func(key, path string, size int64, at time.Time) {
		h := fnv.New128a()
		fmt.Fprint(h, key, size, at.UnixNano())
		// As that of an upload in parts: no client takes it for the content's MD5.
		o := &object{key: key, path: path, size: size, etag: `"` + hex.EncodeToString(h.Sum(nil)) + `-1"`}
		o.head = "ETag: " + o.etag + "\r\nLast-Modified: " + at.UTC().Format(http.TimeFormat) + "\r\nAccept-Ranges: bytes\r\nContent-Type: application/octet-stream\r\n"
		s.objects[key] = o
		s.keys = append(s.keys, key)
	}
	root := filepath.Join(s.Dir, bucket)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		key, err := filepath.Rel(root, path)
		add(key, path, fi.Size(), fi.ModTime())
		return err
	})
	for key, size := range s.Made {
		add(key, "", size, time.Unix(1e9, 0))
	}
	slices.Sort(s.keys)
	return err
}

// session is one connection.
type session struct {
	*stub
	conn net.Conn
	in   *bufio.Reader
	out  []byte // of one answer, used again
}

const small = 256 << 10 // what goes out with its header

func (c *session) run() {
	for {
		req, err := http.ReadRequest(c.in)
		if err != nil {
			return
		}
		if req.Header.Get("Expect") == "100-continue" {
			if _, err := io.WriteString(c.conn, "HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
				return
			}
		}
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return
		}
		time.Sleep(c.Latency)
		if err := c.answer(req); err != nil || req.Close {
			return
		}
	}
}

func (c *session) answer(req *http.Request) error {
	b, key, _ := strings.Cut(strings.TrimPrefix(req.URL.Path, "/"), "/")
	get := req.Method == http.MethodGet || req.Method == http.MethodHead
	if get && b == bucket && key != "" {
		if o := c.objects[key]; o != nil {
			return c.object(req, o)
		}
		return c.fail(req, http.StatusNotFound, "NoSuchKey")
	}
	if !get {
		return c.xml(req, http.StatusOK, "") // what is put is thrown away
	}
	q := req.URL.Query()
	switch {
	case q.Has("location"):
		return c.xml(req, http.StatusOK, "<LocationConstraint></LocationConstraint>")
	case q.Has("uploads"):
		return c.xml(req, http.StatusOK, "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated></ListMultipartUploadsResult>")
	case b == "":
		return c.xml(req, http.StatusOK, "<ListAllMyBucketsResult><Buckets><Bucket><Name>"+bucket+"</Name></Bucket></Buckets></ListAllMyBucketsResult>")
	}
	return c.xml(req, http.StatusOK, c.list(b, q))
}

func (c *session) fail(req *http.Request, status int, code string) error {
	return c.xml(req, status, "<Error><Code>"+code+"</Code><Message>"+code+"</Message></Error>")
}

func (c *session) xml(req *http.Request, status int, body string) error {
	c.out = fmt.Appendf(c.out[:0], "HTTP/1.1 %d %s\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n\r\n", status, http.StatusText(status), len(body))
	if req.Method != http.MethodHead {
		c.out = append(c.out, body...)
	}
	_, err := c.conn.Write(c.out)
	return err
}

// span reads a Range header of one range.
func span(h string, size int64) (from, to int64, ok bool) {
	spec, found := strings.CutPrefix(h, "bytes=")
	first, last, dash := strings.Cut(spec, "-")
	if !found || !dash {
		return 0, size, false
	}
	to = size
	var err error
	if first == "" { // the last so many
		n, err := strconv.ParseInt(last, 10, 64)
		return max(0, size-n), size, err == nil
	}
	if from, err = strconv.ParseInt(first, 10, 64); err != nil {
		return 0, size, false
	}
	if last != "" {
		if to, err = strconv.ParseInt(last, 10, 64); err != nil {
			return 0, size, false
		}
		to = min(to+1, size)
	}
	return from, to, true
}

func (c *session) object(req *http.Request, o *object) error {
	if m := req.Header.Get("If-Match"); m != "" && m != o.etag {
		return c.fail(req, http.StatusPreconditionFailed, "PreconditionFailed")
	}
	from, to := int64(0), o.size
	c.out = c.out[:0]
	if f, t, ok := span(req.Header.Get("Range"), o.size); ok {
		if f >= t {
			return c.fail(req, http.StatusRequestedRangeNotSatisfiable, "InvalidRange")
		}
		from, to = f, t
		c.out = fmt.Appendf(c.out, "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes %d-%d/%d\r\n", from, to-1, o.size)
	} else {
		c.out = append(c.out, "HTTP/1.1 200 OK\r\n"...)
	}
	c.out = append(append(c.out, o.head...), "Content-Length: "...)
	c.out = append(strconv.AppendInt(c.out, to-from, 10), "\r\n\r\n"...)
	if req.Method == http.MethodHead {
		_, err := c.conn.Write(c.out)
		return err
	}
	if o.path == "" {
		if _, err := c.conn.Write(c.out); err != nil {
			return err
		}
		return writeCounter(c.conn, from, to)
	}
	f, err := os.Open(o.path)
	if err != nil {
		return err
	}
	defer f.Close()
	if n := int(to - from); n <= small {
		head := len(c.out)
		c.out = slices.Grow(c.out, n)[:head+n]
		if _, err := f.ReadAt(c.out[head:], from); err != nil {
			return err
		}
		_, err := c.conn.Write(c.out)
		return err
	}
	if _, err := c.conn.Write(c.out); err != nil {
		return err
	}
	if _, err := f.Seek(from, io.SeekStart); err != nil {
		return err
	}
	body := &io.LimitedReader{R: f, N: to - from}
	if t, ok := c.conn.(*net.TCPConn); ok {
		_, err = t.ReadFrom(body)
	} else {
		c.out = slices.Grow(c.out[:0], small)[:small]
		_, err = io.CopyBuffer(struct{ io.Writer }{c.conn}, struct{ io.Reader }{body}, c.out)
	}
	return err
}

// writeCounter writes the bytes from..to of the numbers 0, 1, 2 ….
func writeCounter(w io.Writer, from, to int64) error {
	buf := make([]byte, small)
	for from < to {
		skip := from % 8
		for i := 0; i < len(buf); i += 8 {
			binary.LittleEndian.PutUint64(buf[i:], uint64(from-skip+int64(i))/8)
		}
		n := min(to-from, int64(len(buf))-skip)
		if _, err := w.Write(buf[skip : skip+n]); err != nil {
			return err
		}
		from += n
	}
	return nil
}

// list is ListObjects of both versions.
func (c *session) list(b string, q url.Values) string {
	prefix, delimiter := q.Get("prefix"), q.Get("delimiter")
	after := cmp.Or(q.Get("continuation-token"), q.Get("start-after"), q.Get("marker"))
	most, err := strconv.Atoi(q.Get("max-keys"))
	if err != nil || most <= 0 || most > 1000 {
		most = 1000
	}
	name := func(s string) string {
		if q.Get("encoding-type") == "url" {
			return strings.ReplaceAll(url.QueryEscape(s), "%2F", "/")
		}
		var e bytes.Buffer
		_ = xml.EscapeText(&e, []byte(s)) // a Buffer takes everything
		return e.String()
	}
	var out strings.Builder
	var keys []string
	if b == bucket {
		i, _ := slices.BinarySearch(c.keys, max(prefix, after))
		keys = c.keys[i:]
	}
	n, last, group, more := 0, "", "", false
	for _, key := range keys {
		if !strings.HasPrefix(key, prefix) {
			break
		}
		if key == after || group != "" && strings.HasPrefix(key, group) || delimiter != "" && strings.HasSuffix(after, delimiter) && strings.HasPrefix(key, after) {
			continue
		}
		if n == most {
			more = true
			break
		}
		n++
		if dir, _, ok := strings.Cut(key[len(prefix):], delimiter); ok && delimiter != "" {
			group = prefix + dir + delimiter
			last = group
			fmt.Fprintf(&out, "<CommonPrefixes><Prefix>%s</Prefix></CommonPrefixes>", name(group))
			continue
		}
		last = key
		o := c.objects[key]
		fmt.Fprintf(&out, "<Contents><Key>%s</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>&quot;%s&quot;</ETag><Size>%d</Size><StorageClass>STANDARD</StorageClass></Contents>",
			name(key), strings.Trim(o.etag, `"`), o.size)
	}
	tail := fmt.Sprintf("<IsTruncated>%t</IsTruncated>", more)
	if more {
		tail += fmt.Sprintf("<NextContinuationToken>%s</NextContinuationToken><NextMarker>%s</NextMarker>", escape(last), name(last))
	}
	if q.Get("encoding-type") == "url" {
		tail += "<EncodingType>url</EncodingType>"
	}
	return fmt.Sprintf(`<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>%s</Name><Prefix>%s</Prefix><KeyCount>%d</KeyCount><MaxKeys>%d</MaxKeys>%s%s</ListBucketResult>`,
		b, name(prefix), n, most, tail, out.String())
}

func escape(s string) string {
	var e bytes.Buffer
	_ = xml.EscapeText(&e, []byte(s))
	return e.String()
}

// get is one request of the client that throws away what it gets.
type get struct {
	key    string
	off, n int64
	ranged bool
}

// discard sends the requests over so many connections and throws the bodies away: what the server can do at most.
func discard(s *server, conns int, gets []get) error {
	var conf *tls.Config
	u, err := url.Parse(s.URL)
	if err != nil {
		return err
	}
	if s.ca != "" {
		pem, err := os.ReadFile(s.ca)
		if err != nil {
			return err
		}
		conf = &tls.Config{RootCAs: x509.NewCertPool()}
		conf.RootCAs.AppendCertsFromPEM(pem)
	}
	next := make(chan get, len(gets))
	for _, g := range gets {
		next <- g
	}
	close(next)
	errs := make(chan error, conns)
	for range conns {
		go func() {
			errs <- func() error {
				var c net.Conn
				var err error
				if conf != nil {
					c, err = tls.Dial("tcp", u.Host, conf)
				} else {
					c, err = net.Dial("tcp", u.Host)
				}
				if err != nil {
					return err
				}
				defer c.Close()
				in, buf := bufio.NewReaderSize(c, 32<<10), make([]byte, small)
				for g := range next {
					var ranged string
					if g.ranged {
						ranged = fmt.Sprintf("Range: bytes=%d-%d\r\n", g.off, g.off+g.n-1)
					}
					if _, err := fmt.Fprintf(c, "GET /%s/%s HTTP/1.1\r\nHost: %s\r\n%s\r\n", bucket, g.key, u.Host, ranged); err != nil {
						return err
					}
					resp, err := http.ReadResponse(in, nil)
					if err != nil {
						return err
					}
					if resp.StatusCode/100 != 2 {
						return fmt.Errorf("%s: %s", g.key, resp.Status)
					}
					if n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, resp.Body, buf); err != nil || n != g.n {
						return fmt.Errorf("%s: %d of %d bytes: %w", g.key, n, g.n, cmp.Or(err, io.ErrUnexpectedEOF))
					}
				}
				return nil
			}()
		}()
	}
	var all []error
	for range conns {
		all = append(all, <-errs)
	}
	return errors.Join(all...)
}
