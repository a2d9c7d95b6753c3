package objstore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// call is one request to a bucket, complete enough to be sent again.
type call struct {
	method string
	key    string // "" for the bucket itself
	query  url.Values
	header http.Header
	body   []byte
	slow   bool // the server may think about it for minutes without a byte
	wire   bool // the body may be spliced
}

const (
	emptySHA = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	// maxReply bounds the XML that we read: a page of a thousand keys of 1,024 bytes, each escaped threefold, and as much again.
	maxReply = 8 << 20
)

var errStalled = errors.New("connection stalled")

// reply is a response whose body is watched: a Read that waits too long breaks the connection.
type reply struct {
	*http.Response
	dog  *watchdog
	wire *wire // that it comes over, if that was asked for
}

func (r *reply) Read(p []byte) (int, error) {
	r.dog.kick()
	n, err := r.Body.Read(p)
	r.dog.rest()
	if err != nil && err != io.EOF {
		err = r.dog.why(err)
	}
	return n, err
}

func (r *reply) Close() error {
	err := r.Body.Close()
	r.dog.end()
	return err
}

// all reads the rest of a short reply.
func (r *reply) all() ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxReply+1))
	if err == nil && len(b) > maxReply {
		err = fmt.Errorf("reply of more than %d bytes", maxReply)
	}
	return b, err
}

// once sends a call and returns a response of status 2xx, or an error: what S3 said as *ServiceError.
func (s *S3) once(ctx context.Context, c call) (*reply, error) {
	at, err := s.place(ctx)
	if err != nil {
		return nil, permanent{err}
	}
	stall := s.c.retry.Stall
	if c.slow {
		stall *= 20
	}
	actx, dog := watch(ctx, stall)
	req, err := s.request(actx, dog, at, c)
	if err != nil {
		dog.end()
		return nil, permanent{err}
	}
	var w *wire
	if c.wire {
		req = req.WithContext(traced(req.Context(), &w))
	}
	asked := time.Now()
	resp, err := s.c.http.Do(req) //nolint:bodyclose // the reply closes it
	if err != nil {
		err = dog.why(err)
		dog.end()
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err // its text would repeat the URL
		}
		return nil, err
	}
	dog.rest()
	s.answered(time.Since(asked))
	r := &reply{resp, dog, w}
	if resp.StatusCode/100 == 2 {
		return r, nil
	}
	defer r.Close()
	return nil, s.serviceError(at, r)
}

func (s *S3) request(ctx context.Context, dog *watchdog, at *place, c call) (*http.Request, error) {
	u := at.url
	u.Path += "/" + c.key
	u.RawPath = escapePath(u.Path)
	if c.query != nil {
		u.RawQuery = strings.ReplaceAll(c.query.Encode(), "+", "%20")
	}
	req := (&http.Request{Method: c.method, URL: &u, Host: u.Host, Header: http.Header{}, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}).WithContext(ctx)
	maps.Copy(req.Header, c.header)
	hash := emptySHA
	if c.body != nil && len(c.body) == 0 {
		req.Body = http.NoBody // a length of 0 beside a body would mean "unknown"
	} else if c.body != nil {
		req.Body = io.NopCloser(&watchedBody{bytes.NewReader(c.body), dog})
		req.ContentLength = int64(len(c.body))
		if hash = "UNSIGNED-PAYLOAD"; !at.unsigned {
			sum := sha256.Sum256(c.body)
			hash = hex.EncodeToString(sum[:])
		}
	}
	// After signing, since a proxy may change it: whoever recodes on the way shall not.
	defer req.Header.Set("Accept-Encoding", "identity")
	req.Header.Set("User-Agent", "optml")
	if s.c.anon {
		return req, nil
	}
	req.Header.Set("X-Amz-Content-Sha256", hash)
	creds, err := s.c.o.Credentials.Retrieve(ctx)
	if err != nil {
		return nil, classed("sign", s.URI(c.key), ErrAccessDenied, fmt.Errorf("no AWS credentials found: %w", err))
	}
	return req, s.c.signer.SignHTTP(ctx, creds, req, hash, "s3", at.region, time.Now())
}

// escapePath escapes as S3 signs: everything but unreserved characters and slashes.
func escapePath(p string) string {
	const hexDigits = "0123456789ABCDEF"
	var b strings.Builder
	for _, c := range []byte(p) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-._~/", c) >= 0:
			b.WriteByte(c)
		default:
			b.Write([]byte{'%', hexDigits[c>>4], hexDigits[c&15]})
		}
	}
	return b.String()
}

// serviceError reads what S3 says is wrong, and learns the bucket's region if that is it.
func (s *S3) serviceError(at *place, r *reply) error {
	e := &ServiceError{Status: r.StatusCode, RequestID: r.Header.Get("X-Amz-Request-Id")}
	var body struct {
		Code, Message, RequestId, Region string
	}
	if b, err := r.all(); err == nil && len(b) > 0 && xml.Unmarshal(b, &body) == nil {
		e.Code, e.Message = body.Code, body.Message
		if body.RequestId != "" {
			e.RequestID = body.RequestId
		}
	}
	if e.Code == "" { // HEAD has no body
		e.Code = strings.ReplaceAll(http.StatusText(e.Status), " ", "")
		e.Message = strconv.Itoa(e.Status) + " " + http.StatusText(e.Status)
	}
	e.retryAfter = retryAfter(r.Header.Get("Retry-After"))
	region := r.Header.Get("X-Amz-Bucket-Region")
	if region == "" {
		region = body.Region
	}
	switch e.Status {
	case http.StatusMovedPermanently, http.StatusTemporaryRedirect, http.StatusBadRequest, http.StatusForbidden:
		e.moved = s.moved(at, region)
	}
	if e.Code == "ExpiredToken" || e.Code == "ExpiredTokenException" {
		if cache, ok := s.c.o.Credentials.(*aws.CredentialsCache); ok {
			cache.Invalidate()
			e.expired = true
		}
	}
	return e
}

func retryAfter(h string) time.Duration {
	n, err := strconv.Atoi(h)
	if err != nil || n < 0 {
		return 0
	}
	return min(time.Duration(n)*time.Second, 30*time.Second)
}

// class is what a service error means for a caller.
func (e *ServiceError) class() error {
	switch e.Code {
	case "NoSuchBucket":
		return ErrNoBucket
	case "NoSuchKey":
		return ErrNotFound
	case "PreconditionFailed":
		return ErrChanged
	case "KeyTooLongError":
		return ErrBadKey
	}
	switch e.Status {
	case http.StatusNotFound:
		return ErrNotFound
	case http.StatusUnauthorized, http.StatusForbidden:
		return ErrAccessDenied
	case http.StatusPreconditionFailed:
		return ErrChanged
	case http.StatusInsufficientStorage:
		return ErrNoSpace
	}
	return nil
}

// Is makes errors.Is tell the classes apart on a bare ServiceError too.
func (e *ServiceError) Is(target error) bool { return target != nil && target == e.class() }

// do sends a call until it succeeds or is not worth another attempt.
func (s *S3) do(ctx context.Context, c call) (*reply, error) {
	r := retrier{Retry: s.c.retry}
	for {
		rep, err := s.once(ctx, c)
		if err == nil {
			return rep, nil
		}
		if err := r.again(ctx, err); err != nil {
			return nil, err
		}
	}
}

// doAll is do and the whole reply, which counts as one attempt.
func (s *S3) doAll(ctx context.Context, c call) ([]byte, http.Header, error) {
	r := retrier{Retry: s.c.retry}
	for {
		rep, err := s.once(ctx, c)
		if err == nil {
			var b []byte
			if b, err = rep.all(); err == nil {
				err = embeddedError(rep.StatusCode, b)
			}
			rep.Close()
			if err == nil {
				return b, rep.Header, nil
			}
		}
		if err := r.again(ctx, err); err != nil {
			return nil, nil, err
		}
	}
}

// embeddedError finds the error that S3 may send after it has said 200: completing an upload takes long, and the
// status line goes out before.
func embeddedError(status int, b []byte) error {
	var x struct {
		XMLName                  xml.Name
		Code, Message, RequestId string
	}
	if !bytes.Contains(b[:min(len(b), 512)], []byte("<Error")) || xml.Unmarshal(b, &x) != nil || x.XMLName.Local != "Error" {
		return nil
	}
	if x.Code == "InternalError" {
		status = http.StatusInternalServerError
	}
	return &ServiceError{Status: status, Code: x.Code, Message: x.Message, RequestID: x.RequestId}
}

// permanent marks an error that no attempt will mend.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// retryable says whether another attempt may succeed, and whether the service could not even be reached, which is
// rather a wrong address than a bad moment.
func retryable(err error) (again, unreachable bool) {
	if _, ok := errors.AsType[permanent](err); ok {
		return false, false
	}
	if e, ok := errors.AsType[*ServiceError](err); ok {
		switch {
		case e.moved, e.expired:
			return true, false
		case e.Status == http.StatusNotImplemented:
			return false, false
		case e.Status >= 500, e.Status == http.StatusTooManyRequests, e.Status == http.StatusRequestTimeout:
			return true, false
		}
		switch e.Code {
		case "SlowDown", "RequestTimeout", "InternalError", "ServiceUnavailable", "Throttling", "ThrottlingException",
			"RequestLimitExceeded", "BandwidthLimitExceeded", "OperationAborted":
			return true, false
		}
		return false, false
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return false, false
	}
	if d, ok := errors.AsType[*net.DNSError](err); ok {
		return true, d.IsNotFound
	}
	return true, errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENETUNREACH)
}
