// Package s3test is an S3 server for tests and benchmarks: an http.Handler that keeps objects in memory, answers as
// Amazon's does in what this project uses, and misbehaves on request. Signatures are not checked.
//
//	srv := s3test.New(s3test.Options{PageSize: 10})
//	srv.Put("bucket", "key", data)
//	srv.Fault(s3test.Fault{Method: "GET", Every: 3, Status: 503, Code: "SlowDown"})
//	ts := httptest.NewServer(srv)
//
// It serves path style (http://host/bucket/key).
package s3test

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"
)

// Options shape a Server.
type Options struct {
	PageSize  int           // keys in one page of a listing; 0: 1,000
	Latency   time.Duration // before each answer
	Region    string        // that buckets are in: requests signed for another are redirected; "": any is right
	NoIfMatch bool          // ignores If-Match, as several servers do
}

// Server is the handler. It may be used concurrently, also while it serves.
type Server struct {
	o Options

	mu       sync.RWMutex
	buckets  map[string]*bucket
	uploads  map[string]*upload
	faults   []*Fault
	requests []Request
	keepLog  bool
	nextID   int
	closed   chan struct{}
}

type bucket struct {
	objects map[string]*object
	keys    []string // sorted; nil after a change
	denied  bool
}

type object struct {
	data    io.ReaderAt
	size    int64
	etag    string
	modTime time.Time
	header  http.Header // Content-Type, encryption
}

// Request is one that was served.
type Request struct {
	Method, Bucket, Key string
	Query               string
	Header              http.Header
	Fault               bool // it got a fault instead of an answer, or in it
}

// New makes an empty server.
func New(o Options) *Server {
	if o.PageSize <= 0 {
		o.PageSize = 1000
	}
	return &Server{o: o, buckets: map[string]*bucket{}, uploads: map[string]*upload{}, closed: make(chan struct{})}
}

// Close lets go of requests that hang, so that the http server around it can end.
func (s *Server) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.closed:
	default:
		close(s.closed)
	}
}

// MakeBucket makes an empty bucket; Put makes it too.
func (s *Server) MakeBucket(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bucket(name)
}

func (s *Server) bucket(name string) *bucket {
	b := s.buckets[name]
	if b == nil {
		b = &bucket{objects: map[string]*object{}}
		s.buckets[name] = b
	}
	return b
}

// Deny makes all requests for a bucket AccessDenied.
func (s *Server) Deny(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bucket(name).denied = true
}

// Put stores an object. data must not be changed afterwards.
func (s *Server) Put(bucket, key string, data []byte) {
	sum := md5.Sum(data)
	s.PutReader(bucket, key, bytes.NewReader(data), int64(len(data)), hex.EncodeToString(sum[:]))
}

// PutReader stores an object of any size that is made while it is read.
func (s *Server) PutReader(bucket, key string, data io.ReaderAt, size int64, etag string) {
	s.store(bucket, key, &object{data: data, size: size, etag: etag, modTime: time.Now()})
}

func (s *Server) store(bucket, key string, o *object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.bucket(bucket)
	if b.objects[key] == nil {
		b.keys = nil
	}
	b.objects[key] = o
}

// SetHeader adds to what every answer with the object says of it, such as X-Amz-Checksum-Crc32c. Checksums are left out
// of answers to requests that do not ask for them, and of those with a part of the object, as Amazon's does.
func (s *Server) SetHeader(bucket, key string, h http.Header) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := *s.buckets[bucket].objects[key] // one that is being served keeps its own
	o.header = o.header.Clone()
	if o.header == nil {
		o.header = http.Header{}
	}
	maps.Copy(o.header, h)
	s.buckets[bucket].objects[key] = &o
}

// Remove deletes an object.
func (s *Server) Remove(bucket, key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.buckets[bucket]; b != nil {
		delete(b.objects, key)
		b.keys = nil
	}
}

// Get is an object's bytes and what came with it, or false.
func (s *Server) Get(bucket, key string) ([]byte, http.Header, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	b := s.buckets[bucket]
	if b == nil || b.objects[key] == nil {
		return nil, nil, false
	}
	o := b.objects[key]
	data := make([]byte, o.size)
	if _, err := o.data.ReadAt(data, 0); err != nil && err != io.EOF {
		return nil, nil, false
	}
	return data, o.header, true
}

// Keys are a bucket's keys, sorted.
func (s *Server) Keys(bucket string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.sorted(bucket))
}

func (s *Server) sorted(name string) []string {
	b := s.buckets[name]
	if b == nil {
		return nil
	}
	if b.keys == nil {
		b.keys = slices.Sorted(maps.Keys(b.objects))
	}
	return b.keys
}

// Uploads counts the multipart uploads that are open.
func (s *Server) Uploads() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.uploads)
}

// Record begins to keep requests for Requests.
func (s *Server) Record() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keepLog = true
}

// Requests are those served since Record.
func (s *Server) Requests() []Request {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Clone(s.requests)
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	f := s.fault(r, name, key)
	if s.o.Latency > 0 {
		if !s.pause(r, s.o.Latency) {
			return
		}
	}
	if f != nil {
		if w = f.spoil(s, w, r); w == nil {
			return
		}
	}
	s.serve(w, r, name, key)
	if _, ok := w.(lost); ok {
		panic(http.ErrAbortHandler)
	}
}

// pause waits, unless the client or the server goes away.
func (s *Server) pause(r *http.Request, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-r.Context().Done():
	case <-s.closed:
	}
	return false
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request, name, key string) {
	w.Header().Set("X-Amz-Request-Id", "TESTREQUEST")
	if s.o.Region != "" {
		w.Header().Set("X-Amz-Bucket-Region", s.o.Region)
		if auth := r.Header.Get("Authorization"); auth != "" && !strings.Contains(auth, "/"+s.o.Region+"/s3/") {
			fail(w, r, http.StatusMovedPermanently, "PermanentRedirect", "The bucket you are attempting to access must be addressed using the specified endpoint.")
			return
		}
	}
	s.mu.RLock()
	b := s.buckets[name]
	s.mu.RUnlock()
	switch {
	case b == nil:
		fail(w, r, http.StatusNotFound, "NoSuchBucket", "The specified bucket does not exist")
		return
	case b.denied:
		fail(w, r, http.StatusForbidden, "AccessDenied", "Access Denied")
		return
	}
	q := r.URL.Query()
	switch {
	case key == "" && r.Method == http.MethodGet && q.Has("uploads"):
		s.listUploads(w, r, name)
	case key == "" && r.Method == http.MethodGet:
		s.list(w, r, name)
	case key == "" && r.Method == http.MethodHead:
	case key == "":
		fail(w, r, http.StatusMethodNotAllowed, "MethodNotAllowed", "The specified method is not allowed against this resource.")
	case r.Method == http.MethodGet, r.Method == http.MethodHead:
		s.get(w, r, name, key)
	case r.Method == http.MethodPut && q.Has("uploadId"):
		s.part(w, r, q)
	case r.Method == http.MethodPut:
		s.put(w, r, name, key)
	case r.Method == http.MethodPost && q.Has("uploads"):
		s.begin(w, r, name, key)
	case r.Method == http.MethodPost && q.Has("uploadId"):
		s.complete(w, r, q)
	case r.Method == http.MethodDelete && q.Has("uploadId"):
		s.abort(w, r, q)
	case r.Method == http.MethodDelete:
		s.Remove(name, key)
		w.WriteHeader(http.StatusNoContent)
	default:
		fail(w, r, http.StatusMethodNotAllowed, "MethodNotAllowed", "The specified method is not allowed against this resource.")
	}
}

func (s *Server) get(w http.ResponseWriter, r *http.Request, name, key string) {
	s.mu.RLock()
	o := s.buckets[name].objects[key]
	s.mu.RUnlock()
	if o == nil {
		fail(w, r, http.StatusNotFound, "NoSuchKey", "The specified key does not exist.")
		return
	}
	h := w.Header()
	plain := r.Header.Get("X-Amz-Checksum-Mode") == "" || r.Header.Get("Range") != ""
	for k, v := range o.header {
		if !plain || !strings.HasPrefix(k, "X-Amz-Checksum-") {
			h[k] = v
		}
	}
	if h.Get("Content-Type") == "" {
		h.Set("Content-Type", "binary/octet-stream")
	}
	if h.Get("ETag") == "" { // a fault may have set a wrong one
		h.Set("ETag", `"`+o.etag+`"`)
	}
	if m := r.Header.Get("If-Match"); m != "" && !s.o.NoIfMatch && m != `"`+o.etag+`"` {
		fail(w, r, http.StatusPreconditionFailed, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
		return
	}
	if s.o.NoIfMatch {
		r.Header.Del("If-Match")
	}
	if d, ok := o.data.(*bytes.Reader); ok && r.Header.Get("Range") == "" && r.Method == http.MethodGet {
		// The short way, for benchmarks.
		h.Set("Content-Length", fmt.Sprint(o.size))
		h.Set("Last-Modified", o.modTime.UTC().Format(http.TimeFormat))
		c := *d
		c.Seek(0, io.SeekStart)
		io.Copy(w, &c)
		return
	}
	http.ServeContent(w, r, "", o.modTime, io.NewSectionReader(o.data, 0, o.size))
}

func (s *Server) put(w http.ResponseWriter, r *http.Request, name, key string) {
	data, err := io.ReadAll(r.Body)
	if err != nil || r.ContentLength >= 0 && int64(len(data)) != r.ContentLength {
		fail(w, r, http.StatusBadRequest, "IncompleteBody", "You did not provide the number of bytes specified by the Content-Length HTTP header")
		return
	}
	sum := md5.Sum(data)
	etag := hex.EncodeToString(sum[:])
	s.store(name, key, &object{data: bytes.NewReader(data), size: int64(len(data)), etag: etag, modTime: time.Now(), header: kept(r.Header)})
	w.Header().Set("ETag", `"`+etag+`"`)
}

// kept is what S3 keeps of a request's header with the object.
func kept(h http.Header) http.Header {
	out := http.Header{}
	for k, v := range h {
		if k == "Content-Type" || strings.HasPrefix(k, "X-Amz-Server-Side-Encryption") || strings.HasPrefix(k, "X-Amz-Meta-") {
			out[k] = v
		}
	}
	return out
}

// after is the index of the first key above k.
func after(keys []string, k string) int {
	return sort.Search(len(keys), func(i int) bool { return keys[i] > k })
}
