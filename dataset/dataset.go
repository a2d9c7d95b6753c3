// Package dataset says which objects a source has, in which order, and gives their bytes: prefix, manifest, augmented
// manifest or directory; the share of one host; the order of one epoch. How they appear in a container is the matter of
// package channels, what is made of their records that of package transform.
package dataset

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/optml/optml/job"
	"github.com/optml/optml/objstore"
)

// Config is what a Set is made of.
type Config struct {
	Channel string // named in errors; "" for a transform's input
	Source  job.Source
	Opener  objstore.Opener
	Seed    *int64 // ShuffleConfig

	// Rank of Hosts gets its share if the source is ShardedByS3Key (SHARD-2, BT-38). Hosts 0 is one host.
	Rank, Hosts int

	Region  string // for the text of EmptyError
	RoleARN string
}

// Set is the objects of one source. It may be used concurrently.
type Set struct {
	c      Config
	source source
}

// source lists a source's entries in their own order, unshuffled and unsharded. One file a source.
type source interface {
	entries(ctx context.Context) iter.Seq2[Entry, error]
}

// sources is what Source.Type can be.
var sources = map[string]func(context.Context, Config) (source, error){
	"S3Prefix": newPrefix,
}

// Entry is one thing to deliver.
type Entry struct {
	Store  objstore.Store
	Object objstore.Object // Size -1: not known before it is opened
	Dir    bool            // a folder marker: an empty object whose key ends in a slash (FILE-5). It has no bytes to deliver
	prefix string          // P of FILE-2
}

// URI names the entry's object.
func (e Entry) URI() string { return e.Store.URI(e.Object.Key) }

// Path is where the entry lies below the channel's directory (FILE-2), or why it cannot lie there (FILE-7). A folder
// marker's path is the directory's, "." for the channel's own.
func (e Entry) Path() (string, error) { return RelPath(e.prefix, e.Object.Key) }

// Open reads the entry's bytes: exactly the object that was listed, complete, or an error.
func (e Entry) Open(ctx context.Context) (io.ReadCloser, error) { return e.OpenRange(ctx, 0, -1) }

// OpenRange is Open of n bytes from off; n < 0 is the rest.
func (e Entry) OpenRange(ctx context.Context, off, n int64) (io.ReadCloser, error) {
	return e.Store.OpenVersion(ctx, e.Object, off, n)
}

// New finds the source's store. It reads manifests, but lists nothing yet.
func New(ctx context.Context, c Config) (*Set, error) {
	if c.Hosts == 0 {
		c.Hosts = 1
	}
	if c.Rank < 0 || c.Rank >= c.Hosts {
		return nil, fmt.Errorf("rank %d is not one of %d hosts", c.Rank, c.Hosts)
	}
	make, ok := sources[c.Source.Type]
	if !ok {
		return nil, &Error{Channel: c.Channel, Object: c.Source.URI, Err: fmt.Errorf("source type %q: %w", c.Source.Type, ErrUnsupported)}
	}
	src, err := make(ctx, c)
	if err != nil {
		return nil, c.fail(err)
	}
	return &Set{c: c, source: src}, nil
}

func (c Config) fail(err error) error {
	if _, ok := errors.AsType[*Error](err); ok {
		return err
	}
	uri := c.Source.URI
	if se, ok := errors.AsType[*objstore.Error](err); ok {
		uri = se.URI
	}
	return &Error{Channel: c.Channel, Object: uri, Err: err}
}

// Entries yields this host's share in the source's own order, folder markers included: every host gets those, and they
// are not counted for sharding. An error ends the sequence and is an *Error; a source without any object yields one
// with *EmptyError, a share without any is merely empty (SHARD-3).
func (s *Set) Entries(ctx context.Context) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		i, found := 0, false
		for e, err := range s.source.entries(ctx) {
			if err != nil {
				yield(Entry{}, s.c.fail(s.empty(err)))
				return
			}
			found = true
			if !e.Dir {
				mine := s.c.Source.Distribution != "ShardedByS3Key" || i%s.c.Hosts == s.c.Rank
				i++
				if !mine {
					continue
				}
			}
			if !yield(e, nil) {
				return
			}
		}
		if !found {
			yield(Entry{}, s.c.fail(s.emptyError(nil)))
		}
	}
}

func (s *Set) emptyError(err error) *EmptyError {
	return &EmptyError{URI: s.c.Source.URI, Region: s.c.Region, RoleARN: s.c.RoleARN, Err: err}
}

// empty turns a missing or forbidden bucket into the service's sentence: it cannot see objects either.
func (s *Set) empty(err error) error {
	se, ok := errors.AsType[*objstore.Error](err)
	if ok && se.Op == "list" && (se.Class == objstore.ErrNoBucket || se.Class == objstore.ErrNotFound || se.Class == objstore.ErrAccessDenied) {
		return s.emptyError(err)
	}
	return err
}

// Opener is objstore's, so that who delivers a dataset need not know where it is kept.
type Opener = objstore.Opener

// Local says whether the entry's object is a file on this machine: reading it in parts at once then gains nothing, and
// the reader of Open has a WriteTo that lets the kernel copy.
func (e Entry) Local() bool {
	_, ok := e.Store.(*objstore.Dir)
	return ok
}
