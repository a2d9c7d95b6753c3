package objstore

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
)

// Options say how URIs are resolved. The zero value is the standard AWS chain (AWS_PROFILE, AWS_REGION,
// AWS_ENDPOINT_URL_S3, …) and paths on this machine.
type Options struct {
	// S3Dir, if set, stands for S3: s3://bucket/key is S3Dir/bucket/key (D6), and nothing is asked of any network.
	S3Dir string
	// S3 is used when S3Dir is empty.
	S3 S3Options
	// UID and GID own the files and directories that are made on this machine; 0 and 0: whoever runs this.
	UID, GID int
}

// NewOpener makes the Opener for the schemes s3, https (as FILE-4 allows it), file, and plain paths. It does no I/O:
// credentials are looked up when the first object is asked for. It may be used concurrently.
func NewOpener(o Options) (Opener, error) {
	if o.S3Dir != "" {
		abs, err := filepath.Abs(o.S3Dir)
		if err != nil {
			return nil, fmt.Errorf("s3 directory %s: %w", o.S3Dir, err)
		}
		o.S3Dir = abs
	}
	return &opener{o: o, s3: map[string]*S3{}}, nil
}

type opener struct {
	o Options

	mu     sync.Mutex
	client *s3Client
	s3     map[string]*S3 // by bucket and region, so that connections and what was learnt of the region are shared
}

func (p *opener) Open(ctx context.Context, uri string) (Store, string, error) {
	var endpoint string
	if p.o.S3Dir == "" && strings.HasPrefix(uri, "http") {
		c, err := p.s3Client(ctx)
		if err != nil {
			return nil, "", classed("open", Redact(uri), nil, err)
		}
		endpoint = c.endpoint
	}
	l, err := ParseURI(uri, endpoint)
	if err != nil {
		return nil, "", classed("open", Redact(uri), ErrBadKey, err)
	}
	switch {
	case l.Bucket == "":
		root, key := l.split()
		d, err := NewDir(root, "")
		if err != nil {
			return nil, "", err
		}
		d.base, d.exact = l.Base+d.base, true
		d.uid, d.gid = p.o.UID, p.o.GID
		return d, key, nil
	case p.o.S3Dir != "":
		d, err := NewDir(filepath.Join(p.o.S3Dir, l.Bucket), "s3://"+l.Bucket+"/")
		if err != nil {
			return nil, "", err
		}
		d.uid, d.gid = p.o.UID, p.o.GID
		return d, l.Key, nil
	}
	s, err := p.bucket(ctx, l)
	return s, l.Key, err
}

func (p *opener) s3Client(ctx context.Context) (*s3Client, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.client == nil {
		c, err := newS3Client(ctx, p.o.S3)
		if err != nil {
			return nil, err
		}
		p.client = c
	}
	return p.client, nil
}

func (p *opener) bucket(ctx context.Context, l Location) (Store, error) {
	c, err := p.s3Client(ctx)
	if err != nil {
		return nil, classed("open", "s3://"+l.Bucket+"/"+l.Key, nil, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	id := l.Bucket + "\x00" + l.Region
	if s := p.s3[id]; s != nil {
		return s, nil
	}
	s := c.bucket(l.Bucket, l.Region)
	p.s3[id] = s
	return s, nil
}
