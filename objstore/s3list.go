package objstore

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"time"
)

type listPage struct {
	EncodingType          string
	IsTruncated           bool
	NextContinuationToken string
	Contents              []struct {
		Key          string
		Size         int64
		ETag         string
		LastModified time.Time
	}
}

// List asks for the next page while the current one is being worked on.
func (s *S3) List(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		type result struct {
			page listPage
			err  error
		}
		fetch := func(token string) <-chan result {
			c := make(chan result, 1)
			go func() {
				p, err := s.listPage(ctx, prefix, token)
				c <- result{p, err}
			}()
			return c
		}
		next := fetch("")
		defer func() {
			cancel()
			if next != nil {
				<-next
			}
		}()
		last, any := "", false
		for next != nil {
			r := <-next
			next = nil
			if r.err != nil {
				yield(Object{}, wrap("list", s.URI(prefix), r.err))
				return
			}
			if r.page.IsTruncated {
				next = fetch(r.page.NextContinuationToken)
			}
			for _, c := range r.page.Contents {
				o := Object{Key: c.Key, Size: c.Size, ETag: strings.Trim(c.ETag, `"`), ModTime: c.LastModified}
				// Everything that rests on key order (shards, order of a pipe) would be wrong in silence.
				if any && o.Key <= last {
					yield(Object{}, wrap("list", s.URI(prefix), fmt.Errorf("server does not list in key order: %q after %q", o.Key, last)))
					return
				}
				last, any = o.Key, true
				if !yield(o, nil) {
					return
				}
			}
		}
	}
}

func (s *S3) listPage(ctx context.Context, prefix, token string) (listPage, error) {
	var p listPage
	q := url.Values{"list-type": {"2"}, "encoding-type": {"url"}}
	if prefix != "" {
		q.Set("prefix", prefix)
	}
	if token != "" {
		q.Set("continuation-token", token)
	}
	if err := s.page(ctx, q, &p); err != nil {
		return p, err
	}
	if p.IsTruncated && (p.NextContinuationToken == "" || p.NextContinuationToken == token) {
		return p, fmt.Errorf("listing is truncated but does not say how it goes on")
	}
	for i := range p.Contents {
		if err := decodeKey(p.EncodingType, &p.Contents[i].Key); err != nil {
			return p, err
		}
		if !strings.HasPrefix(p.Contents[i].Key, prefix) {
			return p, fmt.Errorf("listing holds the key %q, which does not begin with %q", p.Contents[i].Key, prefix)
		}
		if p.Contents[i].Size < 0 {
			return p, fmt.Errorf("listing gives %q %d bytes", p.Contents[i].Key, p.Contents[i].Size)
		}
	}
	return p, nil
}

// page asks for one page of a listing of the bucket.
func (s *S3) page(ctx context.Context, q url.Values, into any) error {
	b, _, err := s.doAll(ctx, call{method: http.MethodGet, query: q})
	if err != nil {
		return err
	}
	if err := xml.Unmarshal(b, into); err != nil {
		return fmt.Errorf("read listing: %w", err)
	}
	return nil
}

// decodeKey undoes encoding-type=url, which is asked for since XML cannot hold every character that a key can.
func decodeKey(encoding string, key *string) error {
	if encoding != "url" {
		return nil
	}
	k, err := url.QueryUnescape(*key)
	if err != nil {
		return fmt.Errorf("listing holds the key %q: %w", *key, err)
	}
	*key = k
	return nil
}

// Upload is a multipart upload that was begun and neither completed nor aborted: its parts cost room.
type Upload struct {
	Key, ID   string
	Initiated time.Time
}

// Uploads yields the open multipart uploads whose key starts with prefix. Some servers list those of a complete key only.
func (s *S3) Uploads(ctx context.Context, prefix string) iter.Seq2[Upload, error] {
	return func(yield func(Upload, error) bool) {
		var key, id string
		for {
			q := url.Values{"uploads": {""}, "encoding-type": {"url"}}
			if prefix != "" {
				q.Set("prefix", prefix)
			}
			if key != "" {
				q.Set("key-marker", key)
				q.Set("upload-id-marker", id)
			}
			var p struct {
				EncodingType                      string
				IsTruncated                       bool
				NextKeyMarker, NextUploadIdMarker string
				Upload                            []struct {
					Key, UploadId string
					Initiated     time.Time
				}
			}
			err := s.page(ctx, q, &p)
			if err == nil {
				err = decodeKey(p.EncodingType, &p.NextKeyMarker)
			}
			for i := 0; err == nil && i < len(p.Upload); i++ {
				u := p.Upload[i]
				if err = decodeKey(p.EncodingType, &u.Key); err == nil && strings.HasPrefix(u.Key, prefix) && !yield(Upload{u.Key, u.UploadId, u.Initiated}, nil) {
					return
				}
			}
			if err == nil && p.IsTruncated && p.NextKeyMarker == key && p.NextUploadIdMarker == id {
				err = fmt.Errorf("listing of uploads is truncated but does not say how it goes on")
			}
			if err != nil {
				yield(Upload{}, wrap("list uploads", s.URI(prefix), err))
				return
			}
			if !p.IsTruncated {
				return
			}
			key, id = p.NextKeyMarker, p.NextUploadIdMarker
		}
	}
}

// AbortUpload removes an open multipart upload; one that is gone is no error.
func (s *S3) AbortUpload(ctx context.Context, key, id string) error {
	_, _, err := s.doAll(ctx, call{method: http.MethodDelete, key: key, query: url.Values{"uploadId": {id}}})
	if isNoSuchUpload(err) {
		return nil
	}
	return wrap("abort upload", s.URI(key), err)
}

// Sweep aborts the open uploads below prefix that were begun longer than olderThan ago. It cannot know whose they are:
// give it prefixes that are a job's own.
func (s *S3) Sweep(ctx context.Context, prefix string, olderThan time.Duration) (int, error) {
	n := 0
	for u, err := range s.Uploads(ctx, prefix) {
		if err != nil {
			return n, err
		}
		if time.Since(u.Initiated) < olderThan {
			continue
		}
		if err := s.AbortUpload(ctx, u.Key, u.ID); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

func (s *S3) Delete(ctx context.Context, key string) error {
	_, _, err := s.doAll(ctx, call{method: http.MethodDelete, key: key})
	if err == nil || errors.Is(classify(err), ErrNotFound) {
		return nil
	}
	return wrap("delete", s.URI(key), err)
}
