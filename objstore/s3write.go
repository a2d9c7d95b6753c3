package objstore

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// firstPart is the size of an upload's first parts. An object that fits into one is a single request.
	firstPart = 8 << 20
	// minPart is what S3 wants of every part but the last.
	minPart = 5 << 20
	// Parts double each growAfter parts, so that 10,000 of them hold more than the 5 TiB that an object can have
	// although its size is not known when it begins, while up to 8 GiB are uploaded in 8 MiB parts.
	growAfter  = 1000
	maxObject  = 5 << 40
	maxParts   = 10_000
	inFlight   = 32 << 20 // bytes of parts being sent at once, unless one part is more
	maxSending = 4
)

// partLimit is how large part i (from 0) is. A known size is spread evenly instead.
func partLimit(first int64, i int, size int64) int64 {
	if size > 0 {
		const mib = 1 << 20
		return max(first, ((size+maxParts-1)/maxParts+mib-1)/mib*mib)
	}
	return first << (i / growAfter)
}

// Create uploads in parts while the object is being written; memory is bounded by the parts in flight. Nothing is sent
// before the first part is full.
func (s *S3) Create(ctx context.Context, key string, o CreateOptions) (Writer, error) {
	if err := ctx.Err(); err != nil {
		return nil, wrap("create", s.URI(key), context.Cause(ctx))
	}
	if key == "" || len(key) > 1024 {
		return nil, classed("create", s.URI(key), ErrBadKey, fmt.Errorf("a key has 1 to 1024 bytes, this has %d", len(key)))
	}
	w := &s3Writer{s: s, key: key, o: o}
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	return w, nil
}

type s3Writer struct {
	s      *S3
	key    string
	o      CreateOptions
	ctx    context.Context
	cancel context.CancelCauseFunc

	buf   []byte // the part being filled
	total int64
	id    string // of the multipart upload; "" until the first part is full
	done  bool

	sending sync.WaitGroup
	mu      sync.Mutex
	free    [][]byte // buffers to fill again
	tags    []string // ETag by part
	active  int
	room    *sync.Cond // a part left the wire
	err     error      // the first part that failed
}

func (w *s3Writer) fail(op string, err error) error { return wrap(op, w.s.URI(w.key), err) }

// limit is the size of the part that is being filled.
func (w *s3Writer) limit() int64 { return partLimit(w.s.c.part, len(w.tags), w.o.Size) }

func (w *s3Writer) header() http.Header {
	h := http.Header{}
	if w.o.ContentType != "" {
		h.Set("Content-Type", w.o.ContentType)
	}
	if w.o.KMSKeyID != "" {
		h.Set("X-Amz-Server-Side-Encryption", "aws:kms")
		h.Set("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id", w.o.KMSKeyID)
	}
	return h
}

func (w *s3Writer) Write(p []byte) (int, error) {
	if w.done {
		return 0, w.fail("write", fs.ErrClosed)
	}
	n := 0
	for len(p) > 0 {
		limit := w.limit()
		if int64(len(w.buf)) == limit {
			if err := w.send(); err != nil {
				return n, w.fail("write", err)
			}
			continue
		}
		take := int(min(int64(len(p)), limit-int64(len(w.buf))))
		w.grow(take, limit)
		w.buf = append(w.buf, p[:take]...)
		p, n, w.total = p[take:], n+take, w.total+int64(take)
	}
	if w.total > maxObject {
		return n, w.fail("write", errors.New("an S3 object cannot have more than 5 TiB"))
	}
	return n, nil
}

// grow makes room for n more bytes: for what is to come, where that is known, else doubling up to the part's size, so
// that small objects stay small in memory. Of one that has parts already the next is made at once, since each doubling
// leaves as much again for the collector.
func (w *s3Writer) grow(n int, limit int64) {
	need := len(w.buf) + n
	if need <= cap(w.buf) {
		return
	}
	c := max(2*cap(w.buf), 64<<10, need)
	if w.id != "" { // not the first part: this one will be full
		c = max(int(limit), need)
	}
	if left := w.o.Size - w.total; left > 0 {
		c = max(need, int(min(int64(len(w.buf))+left, limit)))
	} else if w.id != "" {
		c = int(limit)
	}
	b := make([]byte, len(w.buf), min(int64(c), limit))
	copy(b, w.buf)
	w.buf = b
}

// send puts the full part on the wire and takes an empty buffer, waiting for room if enough parts are under way.
func (w *s3Writer) send() error {
	if err := context.Cause(w.ctx); err != nil {
		return err
	}
	if w.id == "" {
		if err := w.begin(); err != nil {
			return err
		}
	}
	limit := int(min(max(inFlight/int64(len(w.buf)), 1), maxSending))
	w.mu.Lock()
	for w.active >= limit && w.err == nil {
		w.room.Wait()
	}
	if w.err != nil {
		w.mu.Unlock()
		return w.err
	}
	w.active++
	w.tags = append(w.tags, "")
	number, part := len(w.tags), w.buf
	w.buf = nil
	if n := len(w.free); n > 0 {
		w.buf, w.free = w.free[n-1][:0], w.free[:n-1]
	}
	w.mu.Unlock()
	w.sending.Go(func() {
		tag, err := w.part(number, part)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.active--
		w.tags[number-1] = tag
		if int64(cap(part)) >= w.limit() {
			w.free = append(w.free, part)
		}
		if err != nil && w.err == nil {
			w.err = err
			w.cancel(err) // the other parts are of no use
		}
		w.room.Broadcast()
	})
	return nil
}

func (w *s3Writer) begin() error {
	w.room = sync.NewCond(&w.mu)
	b, _, err := w.s.doAll(w.ctx, call{method: http.MethodPost, key: w.key, query: url.Values{"uploads": {""}}, header: w.header(), body: []byte{}})
	if err != nil {
		return err
	}
	var r struct{ UploadId string }
	if err := xml.Unmarshal(b, &r); err != nil || r.UploadId == "" {
		return errors.New("begin of the multipart upload was answered without an id")
	}
	w.id = r.UploadId
	return nil
}

func (w *s3Writer) part(number int, data []byte) (string, error) {
	_, h, err := w.s.doAll(w.ctx, call{method: http.MethodPut, key: w.key, body: data,
		query: url.Values{"partNumber": {strconv.Itoa(number)}, "uploadId": {w.id}}})
	if err != nil {
		return "", fmt.Errorf("part %d: %w", number, err)
	}
	tag := h.Get("ETag")
	if tag == "" {
		return "", fmt.Errorf("part %d: answer has no ETag", number)
	}
	return tag, nil
}

func (w *s3Writer) Commit(ctx context.Context) error {
	if w.done {
		return w.fail("commit", fs.ErrClosed)
	}
	err := w.commit(ctx)
	if err != nil {
		return errors.Join(w.fail("commit", err), w.Abort())
	}
	w.done = true
	w.cancel(nil)
	w.buf, w.free = nil, nil
	return nil
}

func (w *s3Writer) commit(ctx context.Context) error {
	// A stop of either context stops what is under way.
	defer context.AfterFunc(ctx, func() { w.cancel(context.Cause(ctx)) })()
	if err := context.Cause(w.ctx); err != nil {
		return err
	}
	if w.id == "" {
		if w.buf == nil {
			w.buf = []byte{}
		}
		_, _, err := w.s.doAll(w.ctx, call{method: http.MethodPut, key: w.key, header: w.header(), body: w.buf})
		return err
	}
	if len(w.buf) > 0 {
		if err := w.send(); err != nil {
			return err
		}
	}
	w.sending.Wait()
	if w.err != nil {
		return w.err
	}
	return w.complete()
}

func (w *s3Writer) complete() error {
	var b bytes.Buffer
	b.WriteString(`<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">`)
	for i, tag := range w.tags {
		fmt.Fprintf(&b, "<Part><PartNumber>%d</PartNumber><ETag>", i+1)
		if err := xml.EscapeText(&b, []byte(tag)); err != nil {
			return err
		}
		b.WriteString("</ETag></Part>")
	}
	b.WriteString("</CompleteMultipartUpload>")
	h := http.Header{"Content-Type": {"application/xml"}}
	// Servers that put the parts together only now take long over a large object.
	_, _, err := w.s.doAll(w.ctx, call{method: http.MethodPost, key: w.key, query: url.Values{"uploadId": {w.id}}, header: h, body: b.Bytes(), slow: true})
	if isNoSuchUpload(err) {
		// An earlier attempt may have succeeded while its answer was lost: then the object is there, of as many parts.
		o, serr := w.s.Stat(w.ctx, w.key)
		if serr == nil && o.Size == w.total && strings.HasSuffix(o.ETag, "-"+strconv.Itoa(len(w.tags))) && time.Since(o.ModTime) < time.Hour {
			return nil
		}
	}
	return err
}

func isNoSuchUpload(err error) bool {
	e, ok := errors.AsType[*ServiceError](err)
	return ok && e.Code == "NoSuchUpload"
}

// abortTimeout bounds the clean-up of an upload, which is done even if the context is gone.
const abortTimeout = 30 * time.Second

func (w *s3Writer) Abort() error {
	if w.done {
		return nil
	}
	w.done = true
	w.cancel(errors.New("upload aborted"))
	w.sending.Wait()
	w.buf, w.free = nil, nil
	if w.id == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.ctx), abortTimeout)
	defer cancel()
	return w.s.AbortUpload(ctx, w.key, w.id)
}
