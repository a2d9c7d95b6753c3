package s3test

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// minPart is Amazon's: every part but the last has 5 MiB or more.
const minPart = 5 << 20

func (s *Server) begin(w http.ResponseWriter, r *http.Request, name, key string) {
	s.mu.Lock()
	s.nextID++
	id := fmt.Sprintf("upload-%06d", s.nextID)
	s.uploads[id] = &upload{bucket: name, key: key, begun: time.Now(), header: kept(r.Header), parts: map[int]part{}}
	s.mu.Unlock()
	w.Write([]byte(xml.Header + "<InitiateMultipartUploadResult><Bucket>" + name + "</Bucket><UploadId>" + id + "</UploadId></InitiateMultipartUploadResult>"))
}

func noUpload(w http.ResponseWriter, r *http.Request) {
	fail(w, r, http.StatusNotFound, "NoSuchUpload", "The specified multipart upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.")
}

func (s *Server) part(w http.ResponseWriter, r *http.Request, q url.Values) {
	data, err := io.ReadAll(r.Body)
	if err != nil || r.ContentLength >= 0 && int64(len(data)) != r.ContentLength {
		fail(w, r, http.StatusBadRequest, "IncompleteBody", "You did not provide the number of bytes specified by the Content-Length HTTP header")
		return
	}
	n, err := strconv.Atoi(q.Get("partNumber"))
	if err != nil || n < 1 || n > 10_000 {
		fail(w, r, http.StatusBadRequest, "InvalidArgument", "Part number must be an integer between 1 and 10000, inclusive")
		return
	}
	p := part{data, md5.Sum(data)}
	s.mu.Lock()
	u := s.uploads[q.Get("uploadId")]
	if u != nil {
		u.parts[n] = p
	}
	s.mu.Unlock()
	if u == nil {
		noUpload(w, r)
		return
	}
	w.Header().Set("ETag", `"`+hex.EncodeToString(p.sum[:])+`"`)
}

func (s *Server) complete(w http.ResponseWriter, r *http.Request, q url.Values) {
	var list struct {
		Part []struct {
			PartNumber int
			ETag       string
		}
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 8<<20))
	if err != nil || xml.Unmarshal(body, &list) != nil || len(list.Part) == 0 {
		fail(w, r, http.StatusBadRequest, "MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema")
		return
	}
	s.mu.Lock()
	u := s.uploads[q.Get("uploadId")]
	s.mu.Unlock()
	if u == nil {
		noUpload(w, r)
		return
	}
	var data, sums []byte
	last := 0
	for i, p := range list.Part {
		have, ok := u.parts[p.PartNumber]
		switch {
		case !ok || strings.Trim(p.ETag, `"`) != hex.EncodeToString(have.sum[:]):
			fail(w, r, http.StatusBadRequest, "InvalidPart", "One or more of the specified parts could not be found.")
			return
		case p.PartNumber <= last:
			fail(w, r, http.StatusBadRequest, "InvalidPartOrder", "The list of parts was not in ascending order.")
			return
		case i < len(list.Part)-1 && len(have.data) < minPart:
			fail(w, r, http.StatusBadRequest, "EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size")
			return
		}
		last = p.PartNumber
		data = append(data, have.data...)
		sums = append(sums, have.sum[:]...)
	}
	sum := md5.Sum(sums)
	etag := fmt.Sprintf("%s-%d", hex.EncodeToString(sum[:]), len(list.Part))
	s.store(u.bucket, u.key, &object{data: bytes.NewReader(data), size: int64(len(data)), etag: etag, modTime: time.Now(), header: u.header})
	s.mu.Lock()
	delete(s.uploads, q.Get("uploadId"))
	s.mu.Unlock()
	w.Write([]byte(xml.Header + "<CompleteMultipartUploadResult><ETag>&quot;" + etag + "&quot;</ETag></CompleteMultipartUploadResult>"))
}

func (s *Server) abort(w http.ResponseWriter, r *http.Request, q url.Values) {
	s.mu.Lock()
	u := s.uploads[q.Get("uploadId")]
	delete(s.uploads, q.Get("uploadId"))
	s.mu.Unlock()
	if u == nil {
		noUpload(w, r)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
