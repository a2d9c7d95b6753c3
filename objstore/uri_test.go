package objstore

import (
	"os"
	"path/filepath"
	"testing"
)

// The forms of D6 and of the contract's pattern (https|s3)://([^/]+)/?(.*) (FILE-4).
func TestParseURI(t *testing.T) {
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		uri  string
		want Location
	}{
		{"s3://bucket/a/b", Location{Bucket: "bucket", Key: "a/b", Base: "s3://"}},
		{"s3://bucket", Location{Bucket: "bucket", Base: "s3://"}},
		{"s3://bucket/", Location{Bucket: "bucket", Base: "s3://"}},
		{"s3://bucket//a", Location{Bucket: "bucket", Key: "/a", Base: "s3://"}},
		{"s3://bucket/a%20b?c#d", Location{Bucket: "bucket", Key: "a%20b?c#d", Base: "s3://"}},
		{"https://s3.amazonaws.com/bucket/a/b", Location{Bucket: "bucket", Key: "a/b", Base: "s3://"}},
		{"https://s3.us-west-2.amazonaws.com/bucket/a%20b", Location{Bucket: "bucket", Key: "a b", Region: "us-west-2", Base: "s3://"}},
		{"https://s3-eu-west-1.amazonaws.com/bucket", Location{Bucket: "bucket", Region: "eu-west-1", Base: "s3://"}},
		{"https://my.bucket.s3.amazonaws.com/k", Location{Bucket: "my.bucket", Key: "k", Base: "s3://"}},
		{"https://bucket.s3.dualstack.us-gov-west-1.amazonaws.com/k", Location{Bucket: "bucket", Key: "k", Region: "us-gov-west-1", Base: "s3://"}},
		{"https://bucket.s3.cn-north-1.amazonaws.com.cn/k", Location{Bucket: "bucket", Key: "k", Region: "cn-north-1", Base: "s3://"}},
		{"http://localhost:9000/bucket/k", Location{Bucket: "bucket", Key: "k", Base: "s3://"}},
		{"file:///data/train", Location{Path: "/data/train", Base: "file://"}},
		{"file:///data/train/", Location{Path: "/data/train/", Base: "file://"}},
		{"file:///data/../x%20y", Location{Path: "/x%20y", Base: "file://"}},
		{"file://data", Location{Path: wd + "/data", Base: "file://"}}, // as the SDK's local mode reads it
		{"/data/train", Location{Path: "/data/train"}},
		{"data//train/", Location{Path: wd + "/data/train/"}},
		{"/", Location{Path: "/"}},
	} {
		if got, err := ParseURI(c.uri, "http://localhost:9000"); err != nil || got != c.want {
			t.Errorf("ParseURI(%q) = %+v, %v, want %+v", c.uri, got, err, c.want)
		}
	}
	for _, uri := range []string{
		"", "s3://", "s3:///key", "s3://../etc", "s3://./x", "s3://a..b/x", "s3://buck et/x", "ftp://host/x", "https://example.com/bucket/k",
		"http://bucket.s3.amazonaws.com/k", "https://bucket.s3.amazonaws.com/k?X-Amz-Signature=x", "https://u:p@bucket.s3.amazonaws.com/k",
		"https://evil.com/s3.amazonaws.com", "https://bucket.s3.amazonaws.com.evil.com/k", "file://", "a\x00b", "https://s3.amazonaws.com/", "https://b.s3.amazonaws.com/%zz",
	} {
		if got, err := ParseURI(uri, "http://localhost:9000"); err == nil {
			t.Errorf("ParseURI(%q) = %+v, want an error", uri, got)
		}
	}
}

// A bucket's name never leads out of the directory that stands for S3.
func FuzzParseURI(f *testing.F) {
	for _, s := range []string{"s3://b/k", "s3://../x", "https://s3.amazonaws.com/../x", "file:///x", "https://..s3.amazonaws.com/k"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		l, err := ParseURI(uri, "")
		if err != nil {
			return
		}
		if l.Bucket == "" {
			if !filepath.IsAbs(l.Path) {
				t.Fatalf("%q: path %q", uri, l.Path)
			}
			return
		}
		if filepath.Join("/s3", l.Bucket) != "/s3/"+l.Bucket {
			t.Fatalf("%q: bucket %q", uri, l.Bucket)
		}
	})
}

func TestOpenerPaths(t *testing.T) {
	dir := t.TempDir()
	for _, f := range []string{"b/data/x", "file"} {
		p := filepath.Join(dir, f)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	op, err := NewOpener(Options{S3Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ uri, root, key, name string }{
		{"s3://b/data/x", dir + "/b", "data/x", "s3://b/data/x"},
		{"s3://b/data", dir + "/b", "data", "s3://b/data"},
		{"s3://new/out", dir + "/new", "out", "s3://new/out"},
		{"https://b.s3.amazonaws.com/data", dir + "/b", "data", "s3://b/data"},
		{dir + "/b/data", dir + "/b/data", "", dir + "/b/data/"},
		{"file://" + dir + "/b/data/", dir + "/b/data", "", "file://" + dir + "/b/data/"},
		{dir + "/file", dir, "file", dir + "/file"},
		{dir + "/not/yet", dir + "/not", "yet", dir + "/not/yet"},
		{dir + "/not/yet/", dir + "/not/yet", "", dir + "/not/yet/"},
		{"/", "/", "", "/"},
	} {
		s, key, err := op.Open(t.Context(), c.uri)
		if err != nil {
			t.Errorf("%s: %v", c.uri, err)
			continue
		}
		if root := s.(*Dir).Root(); root != c.root || key != c.key || s.URI(key) != c.name {
			t.Errorf("%s: root %s, key %q, URI %s, want %s, %q, %s", c.uri, root, key, s.URI(key), c.root, c.key, c.name)
		}
	}
}

func TestRedactAndJoin(t *testing.T) {
	for uri, want := range map[string]string{
		"https://u:p@h/p?sig=x": "https://h/p", "http://h?x@y": "http://h", "s3://b/k?v": "s3://b/k?v", "/p?q": "/p?q",
	} {
		if got := Redact(uri); got != want {
			t.Errorf("Redact(%q) = %q, want %q", uri, got, want)
		}
	}
	for _, c := range [][3]string{{"", "a", "a"}, {"k", "a/b", "k/a/b"}, {"k/", "a", "k/a"}} {
		if got := Join(c[0], c[1]); got != c[2] {
			t.Errorf("Join(%q, %q) = %q, want %q", c[0], c[1], got, c[2])
		}
	}
}
