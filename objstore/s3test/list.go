package s3test

import (
	"encoding/xml"
	"net/http"
	"net/url"
	"sort"
	"strconv"
	"strings"
	"time"
)

const stamp = "2006-01-02T15:04:05.000Z"

func fail(w http.ResponseWriter, r *http.Request, status int, code, message string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	if r.Method == http.MethodHead {
		return
	}
	var b strings.Builder
	b.WriteString(xml.Header + "<Error><Code>" + code + "</Code><Message>")
	xml.EscapeText(&b, []byte(message))
	b.WriteString("</Message><RequestId>TESTREQUEST</RequestId></Error>")
	w.Write([]byte(b.String()))
}

func (s *Server) list(w http.ResponseWriter, r *http.Request, name string) {
	q := r.URL.Query()
	if q.Get("list-type") != "2" {
		fail(w, r, http.StatusNotImplemented, "NotImplemented", "only ListObjectsV2")
		return
	}
	prefix := q.Get("prefix")
	size := s.o.PageSize
	if n, err := strconv.Atoi(q.Get("max-keys")); err == nil && n > 0 {
		size = min(size, n)
	}
	encode := func(k string) string { return k }
	if q.Get("encoding-type") == "url" {
		encode = func(k string) string { return strings.ReplaceAll(url.QueryEscape(k), "%2F", "/") }
	}
	s.mu.Lock()
	keys := s.sorted(name)
	i := sort.SearchStrings(keys, prefix)
	if t := q.Get("continuation-token"); t != "" {
		if k, err := url.QueryUnescape(strings.TrimPrefix(t, "t-")); err == nil {
			i = after(keys, k)
		}
	}
	var b strings.Builder
	b.WriteString(xml.Header + `<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>` + name + "</Name>")
	if q.Get("encoding-type") == "url" {
		b.WriteString("<EncodingType>url</EncodingType>")
	}
	n, last := 0, ""
	for ; n < size && i < len(keys) && strings.HasPrefix(keys[i], prefix); i, n = i+1, n+1 {
		last = keys[i]
		o := s.buckets[name].objects[last]
		b.WriteString("<Contents><Key>")
		xml.EscapeText(&b, []byte(encode(last)))
		b.WriteString("</Key><LastModified>" + o.modTime.UTC().Format(stamp) + "</LastModified><ETag>&quot;" + o.etag + "&quot;</ETag><Size>")
		b.WriteString(strconv.FormatInt(o.size, 10) + "</Size><StorageClass>STANDARD</StorageClass></Contents>")
	}
	more := i < len(keys) && strings.HasPrefix(keys[i], prefix)
	s.mu.Unlock()
	b.WriteString("<KeyCount>" + strconv.Itoa(n) + "</KeyCount><IsTruncated>" + strconv.FormatBool(more) + "</IsTruncated>")
	if more {
		b.WriteString("<NextContinuationToken>t-" + url.QueryEscape(last) + "</NextContinuationToken>")
	}
	b.WriteString("</ListBucketResult>")
	w.Header().Set("Content-Type", "application/xml")
	w.Write([]byte(b.String()))
}

func (s *Server) listUploads(w http.ResponseWriter, r *http.Request, name string) {
	prefix := r.URL.Query().Get("prefix")
	marker := r.URL.Query().Get("key-marker") + "\x00" + r.URL.Query().Get("upload-id-marker")
	s.mu.RLock()
	var ids []string
	for id, u := range s.uploads {
		if u.bucket == name && strings.HasPrefix(u.key, prefix) && u.key+"\x00"+id > marker {
			ids = append(ids, id)
		}
	}
	sort.Slice(ids, func(i, j int) bool {
		return s.uploads[ids[i]].key+"\x00"+ids[i] < s.uploads[ids[j]].key+"\x00"+ids[j]
	})
	more := len(ids) > s.o.PageSize
	if more {
		ids = ids[:s.o.PageSize]
	}
	var b strings.Builder
	b.WriteString(xml.Header + "<ListMultipartUploadsResult><EncodingType>url</EncodingType><IsTruncated>" + strconv.FormatBool(more) + "</IsTruncated>")
	for i, id := range ids {
		u := s.uploads[id]
		key := url.QueryEscape(u.key)
		b.WriteString("<Upload><Key>" + key + "</Key><UploadId>" + id + "</UploadId><Initiated>" + u.begun.UTC().Format(stamp) + "</Initiated></Upload>")
		if more && i == len(ids)-1 {
			b.WriteString("<NextKeyMarker>" + key + "</NextKeyMarker><NextUploadIdMarker>" + id + "</NextUploadIdMarker>")
		}
	}
	s.mu.RUnlock()
	b.WriteString("</ListMultipartUploadsResult>")
	w.Header().Set("Content-Type", "application/xml")
	w.Write([]byte(b.String()))
}

// upload is an open multipart upload.
type upload struct {
	bucket, key string
	begun       time.Time
	header      http.Header
	parts       map[int]part
}

type part struct {
	data []byte
	sum  [16]byte
}
