package objstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

func (s *S3) Stat(ctx context.Context, key string) (Object, error) {
	r, err := s.do(ctx, call{method: http.MethodHead, key: key})
	if err != nil {
		return Object{}, wrap("stat", s.URI(key), err)
	}
	defer r.Close()
	o := Object{Key: key, Size: r.ContentLength, ETag: strings.Trim(r.Header.Get("ETag"), `"`)}
	if t, err := http.ParseTime(r.Header.Get("Last-Modified")); err == nil {
		o.ModTime = t
	}
	if o.Size < 0 {
		return Object{}, wrap("stat", s.URI(key), errors.New("answer has no length"))
	}
	return o, nil
}

func (s *S3) Open(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	return s.OpenVersion(ctx, Object{Key: key, Size: -1}, off, n)
}

func (s *S3) OpenVersion(ctx context.Context, o Object, off, n int64) (io.ReadCloser, error) {
	r, err := s.open(ctx, o, off, n, false)
	if err != nil {
		return nil, err
	}
	return r, nil
}

func (s *S3) open(ctx context.Context, o Object, off, n int64, wire bool) (*s3Reader, error) {
	r := &s3Reader{s: s, wire: wire, ctx: ctx, key: o.Key, size: o.Size, etag: o.ETag, off: off, end: -1, retry: retrier{Retry: s.c.retry}}
	switch {
	case off < 0:
		return nil, r.fail("open", fmt.Errorf("offset %d is below zero", off))
	case o.Size >= 0:
		n, err := span(o.Size, off, n)
		if err != nil {
			return nil, r.fail("open", err)
		}
		r.end = off + n
	case n == 0: // a range cannot ask for nothing
		o, err := s.Stat(ctx, o.Key)
		if err == nil {
			_, err = span(o.Size, off, 0)
		}
		if err != nil {
			return nil, r.fail("open", err)
		}
		r.end = off
	case n > 0:
		r.end = off + n
		r.short = true
	}
	if r.end == off {
		return r, nil
	}
	for {
		err := r.connect()
		if err == nil {
			return r, nil
		}
		if err := r.retry.again(ctx, err); err != nil {
			return nil, r.fail("open", err)
		}
	}
}

// s3Reader reads one version of an object and resumes at the byte when the connection breaks.
type s3Reader struct {
	s     *S3
	ctx   context.Context
	key   string
	size  int64  // of the whole object; -1: not known yet
	etag  string // "": not known yet, or the store has none
	off   int64  // of the next byte
	end   int64  // -1: not known, the body's own end counts
	short bool   // the object may end before end, which the first answer tells
	body  *reply
	wire  bool      // it may be spliced
	move  *mover    // while it is
	sum   *checksum // of the bytes from 0 to off; nil: the store says none, or not all bytes are read
	retry retrier
	err   error
}

func (r *s3Reader) fail(op string, err error) error {
	if _, ok := errors.AsType[*Error](err); ok {
		return err
	}
	return wrap(op, r.s.URI(r.key), err)
}

// connect asks for what is left, and checks that the answer is that: the same version, the right place, the right length.
func (r *s3Reader) connect() error {
	c := call{method: http.MethodGet, key: r.key, header: http.Header{}, wire: r.wire}
	// The whole of an object of known size needs no range.
	whole := r.off == 0 && (r.end < 0 || r.end == r.size)
	if whole {
		c.header.Set(checksumMode, "ENABLED")
	} else {
		spec := "bytes=" + strconv.FormatInt(r.off, 10) + "-"
		if r.end >= 0 {
			spec += strconv.FormatInt(r.end-1, 10)
		}
		c.header.Set("Range", spec)
	}
	if r.etag != "" {
		c.header.Set("If-Match", `"`+r.etag+`"`)
	}
	body, err := r.s.once(r.ctx, c)
	if e, ok := errors.AsType[*ServiceError](err); ok && e.Status == http.StatusRequestedRangeNotSatisfiable {
		return r.outside(err)
	} else if err != nil {
		return err
	}
	if err := r.check(body); err != nil {
		body.Close()
		return err
	}
	if whole && body.StatusCode == http.StatusOK {
		r.sum = checksumOf(body.Header)
	}
	r.body = body
	return nil
}

// outside: the range begins at or after the object's end. At the end it is an empty read, as elsewhere.
func (r *s3Reader) outside(cause error) error {
	o, err := r.s.Stat(r.ctx, r.key)
	if err != nil {
		return permanent{err}
	}
	if o.Size != r.off {
		return permanent{cause}
	}
	r.end = r.off
	return nil
}

func (r *s3Reader) check(body *reply) error {
	if etag := strings.Trim(body.Header.Get("ETag"), `"`); etag != "" {
		if r.etag != "" && etag != r.etag {
			return permanent{fmt.Errorf("%w: had ETag %q, has %q", ErrChanged, r.etag, etag)}
		}
		r.etag = etag
	}
	from, size := int64(0), body.ContentLength
	end := size
	if body.StatusCode == http.StatusPartialContent {
		var err error
		if from, end, size, err = contentRange(body.Header.Get("Content-Range")); err != nil {
			return permanent{err}
		}
		if body.ContentLength >= 0 && body.ContentLength != end-from {
			return fmt.Errorf("%w: answer of %d bytes for a range of %d", ErrTruncated, body.ContentLength, end-from)
		}
	}
	if from != r.off {
		return permanent{fmt.Errorf("asked for bytes from %d, answer begins at %d", r.off, from)}
	}
	if size < 0 {
		if !slices.Contains(body.TransferEncoding, "chunked") {
			return permanent{errors.New("answer has no length: its end could not be told from a broken connection")}
		}
		return nil
	}
	if r.size >= 0 && size != r.size {
		return permanent{fmt.Errorf("%w: had %d bytes, has %d", ErrChanged, r.size, size)}
	}
	r.size = size
	switch {
	case r.end < 0 || r.short && size < r.end:
		r.end = size
	case end < r.end:
		return fmt.Errorf("%w: answer ends at %d of %d", ErrTruncated, end, r.end)
	}
	return nil
}

// contentRange reads "bytes 0-9/100" as 0, 10, 100.
func contentRange(h string) (from, end, size int64, err error) {
	var last int64
	if _, err := fmt.Sscanf(h, "bytes %d-%d/%d", &from, &last, &size); err != nil || from < 0 || last < from || last >= size {
		return 0, 0, 0, fmt.Errorf("answer has the Content-Range %q", h)
	}
	return from, last + 1, size, nil
}

func (r *s3Reader) Read(p []byte) (int, error) {
	for r.err == nil {
		if r.end >= 0 && r.off >= r.end {
			r.err = r.last()
			break
		}
		if len(p) == 0 {
			return 0, nil
		}
		n, err := r.read(p)
		if r.sum != nil { // then nothing is spliced
			r.sum.Write(p[:n])
		}
		r.off += int64(n)
		r.retry.progress(n)
		if err == io.EOF && r.end < 0 {
			r.end = r.off // chunked: the body says itself that this is its end
			err = nil
		}
		if err != nil && !(err == io.EOF && r.off == r.end) {
			r.disconnect()
			if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
				err = fmt.Errorf("%w: %d bytes are missing", ErrTruncated, r.end-r.off)
			}
			if err = r.retry.again(r.ctx, err); err != nil {
				r.err = r.fail("read", err)
			}
		}
		if n > 0 {
			return n, nil
		}
	}
	r.disconnect()
	return 0, r.err
}

// last is the error at the end.
func (r *s3Reader) last() error {
	if r.sum != nil {
		if err := r.sum.verify(); err != nil {
			return r.fail("read", err)
		}
	}
	return io.EOF
}

func (r *s3Reader) read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	if r.body == nil {
		return 0, r.connect()
	}
	if r.end >= 0 && int64(len(p)) > r.end-r.off {
		p = p[:r.end-r.off]
	}
	defer r.splice()()
	return r.body.Read(p)
}

func (r *s3Reader) disconnect() {
	if r.body != nil {
		r.body.Close()
		r.body = nil
	}
}

func (r *s3Reader) Close() error {
	r.disconnect()
	if r.err == nil {
		r.err = errors.New("read after close")
	}
	return nil
}
