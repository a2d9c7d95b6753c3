package objstore

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Location is what a URI names: an object or prefix in a bucket, or a path on this machine.
type Location struct {
	Bucket string // "" for a path
	Key    string // of the bucket; may be empty, a prefix, or a key
	Region string // if the https form says so
	Path   string // absolute; a trailing slash is kept, since it says that a directory is meant
	Base   string // what URIs of the same kind begin with: "s3://", "file://", ""
}

// bucketName is wider than today's rule, since old buckets may have capitals, underscores and 255 characters, and a
// directory that stands for a bucket may be short. It is one path element and none of "." and "..".
var bucketName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

const maxBucket = 255 // not in the expression, which would be compiled to as many steps at each start

// s3Host matches the host of an https form: [bucket.]s3[.-][dualstack.][region.]amazonaws.com[.cn].
var s3Host = regexp.MustCompile(`^(?:(.+)\.)?s3(?:[.-](?:dualstack\.)?([a-z]{2}(?:-[a-z]+)+-\d))?\.amazonaws\.com(?:\.cn)?$`)

// ParseURI reads the forms of D6: s3://bucket/key, https://… as the contract's pattern allows it (FILE-4), file://path
// as the SDK's local mode reads it, and plain paths. endpoint is the configured S3 endpoint, or "": an https URI on its
// host is bucket/key below it.
func ParseURI(uri, endpoint string) (Location, error) {
	scheme, rest, ok := strings.Cut(uri, "://")
	if !ok {
		return localPath(uri, uri, "")
	}
	switch scheme {
	case "s3":
		bucket, key, _ := strings.Cut(rest, "/")
		return inBucket(uri, bucket, key, "")
	case "file":
		return localPath(uri, rest, "file://")
	case "https", "http":
		return httpURI(uri, endpoint)
	}
	return Location{}, fmt.Errorf("read URI %s: scheme %q is none of s3, https, file", Redact(uri), scheme)
}

func inBucket(uri, bucket, key, region string) (Location, error) {
	if len(bucket) > maxBucket || !bucketName.MatchString(bucket) || strings.Contains(bucket, "..") {
		return Location{}, fmt.Errorf("read URI %s: %q is not a bucket name", Redact(uri), bucket)
	}
	return Location{Bucket: bucket, Key: key, Region: region, Base: "s3://"}, nil
}

func localPath(uri, p, base string) (Location, error) {
	if p == "" || strings.IndexByte(p, 0) >= 0 {
		return Location{}, fmt.Errorf("read URI %q: empty path", uri)
	}
	abs, err := filepath.Abs(p)
	if err != nil {
		return Location{}, fmt.Errorf("read URI %s: %w", uri, err)
	}
	if strings.HasSuffix(p, "/") && abs != "/" {
		abs += "/"
	}
	return Location{Path: abs, Base: base}, nil
}

func httpURI(uri, endpoint string) (Location, error) {
	u, err := url.Parse(uri)
	if err != nil {
		return Location{}, fmt.Errorf("read URI %s: not a URL", Redact(uri))
	}
	if u.RawQuery != "" || u.User != nil {
		return Location{}, fmt.Errorf("read URI %s: a signed URL or one with credentials is not an S3 URI", Redact(uri))
	}
	p := strings.TrimPrefix(u.Path, "/")
	if m := s3Host.FindStringSubmatch(u.Host); m != nil && u.Scheme == "https" {
		if m[1] != "" {
			return inBucket(uri, m[1], p, m[2])
		}
		bucket, key, _ := strings.Cut(p, "/")
		return inBucket(uri, bucket, key, m[2])
	}
	if e, err := url.Parse(endpoint); endpoint != "" && err == nil && e.Host == u.Host && e.Scheme == u.Scheme {
		bucket, key, _ := strings.Cut(p, "/")
		return inBucket(uri, bucket, key, "")
	}
	return Location{}, fmt.Errorf("read URI %s: host %s is neither Amazon S3 nor the given S3 endpoint", Redact(uri), u.Host)
}

// Redact removes from a URI what may be a secret: user information and the query of a signed URL.
func Redact(uri string) string {
	scheme, rest, ok := strings.Cut(uri, "://")
	if !ok || scheme != "https" && scheme != "http" {
		return uri
	}
	rest, _, _ = strings.Cut(rest, "?")
	host, path, slash := strings.Cut(rest, "/")
	if i := strings.LastIndexByte(host, '@'); i >= 0 {
		host = host[i+1:]
	}
	if slash {
		host += "/" + path
	}
	return scheme + "://" + host
}

// Join puts rel below key: <key>/<rel>, without doubling the slash.
func Join(key, rel string) string {
	if key == "" || strings.HasSuffix(key, "/") {
		return key + rel
	}
	return key + "/" + rel
}

// split finds the directory and key of a path. A directory is a tree of its own, a file lies in its parent; what does
// not exist yet is a file to be, unless a trailing slash says otherwise.
func (l Location) split() (root, key string) {
	if p, ok := strings.CutSuffix(l.Path, "/"); ok {
		return max(p, "/"), ""
	}
	if fi, err := os.Stat(l.Path); err == nil && fi.IsDir() {
		return l.Path, ""
	}
	return filepath.Dir(l.Path), filepath.Base(l.Path)
}
