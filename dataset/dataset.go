// Package dataset says which objects a source has, in which order, and gives their bytes: prefix, manifest, augmented
// manifest or directory; the share of one host; the order of one epoch. How they appear in a container is the matter of
// package channels, what is made of their records that of package transform.
package dataset

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"
	"sync"

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
	TempDir string // for the copy of an augmented manifest; "": the system's
}

// Set is the objects of one source. It may be used concurrently. Close it when it is done with.
type Set struct {
	c      Config
	source source

	mu     sync.Mutex
	loaded indexed // nil until all of the source was seen once
}

// source lists a source's entries in their own order, unshuffled and unsharded. One file a source.
//
// Sharding and shuffling move units: an object, or a line of an augmented manifest with all its entries. Folder markers
// are no units.
type source interface {
	entries(ctx context.Context) iter.Seq2[Entry, error]
	// index makes units reachable by number, in the order of entries.
	index(ctx context.Context) (indexed, error)
	// places, if not nil, is where each unit stands when hosts share the source, if not where it stands in entries. With
	// once, what the source names twice stands in one place.
	places(once bool) []int
	// rival names another object that needs the path of f, or one above or below it.
	rival(ctx context.Context, f File) (uri string, ok bool)
	close() error
}

type indexed interface {
	len() int
	at(i int) ([]Entry, error)
}

// sources is what Source.Type can be.
var sources = map[string]func(context.Context, Config) (source, error){
	"S3Prefix":              newPrefix,
	"ManifestFile":          newManifest,
	"AugmentedManifestFile": newAugmented,
}

// Entry is one thing to deliver: an object, or a value that stands in an augmented manifest itself.
type Entry struct {
	Store  objstore.Store  // nil for a value
	Object objstore.Object // Size -1: not known before it is opened
	Dir    bool            // a folder marker: an empty object whose key ends in a slash (FILE-5). It has no bytes to deliver
	Suffix string          // what a manifest says of it after the prefix (BT-136); "" where there is no such manifest
	Text   []byte          // the value (AUG-3)

	prefix string // P of FILE-2
	name   string // of a value
	more   bool   // belongs to the unit of the entry before
}

// URI names the entry's object, or where its value stands.
func (e Entry) URI() string {
	if e.Store == nil {
		return e.name
	}
	return e.Store.URI(e.Object.Key)
}

// Path is where the entry lies below the channel's directory (FILE-2, FILE-9), or why it cannot lie there (FILE-7). A
// folder marker's path is the directory's, "." for the channel's own.
func (e Entry) Path() (string, error) {
	if e.Suffix != "" {
		rel := strings.TrimPrefix(e.Suffix, "/")
		if err := checkPath(rel); err != nil {
			return "", fmt.Errorf("%w: %w", ErrBadPath, err)
		}
		return rel, nil
	}
	return relPath(e.prefix, e.Object.Key)
}

// Open reads the entry's bytes: exactly the object that was listed, complete, or an error.
func (e Entry) Open(ctx context.Context) (io.ReadCloser, error) { return e.OpenRange(ctx, 0, -1) }

// OpenRange is Open of n bytes from off; n < 0 is the rest.
func (e Entry) OpenRange(ctx context.Context, off, n int64) (io.ReadCloser, error) {
	if e.Store == nil {
		b := e.Text[min(off, int64(len(e.Text))):]
		if n >= 0 {
			b = b[:min(n, int64(len(b)))]
		}
		return io.NopCloser(bytes.NewReader(b)), nil
	}
	return e.Store.OpenVersion(ctx, e.Object, off, n)
}

// PartSums holds an entry that is read in parts against its checksum.
type PartSums = objstore.PartSums

// Checksum asks for what the entry's bytes must add up to when they are read in parts; nil where nobody knows.
func (e Entry) Checksum(ctx context.Context) (*PartSums, error) {
	if s, ok := e.Store.(objstore.Checksummed); ok {
		return s.Checksum(ctx, e.Object)
	}
	return nil, nil
}

// New finds the source's store. It reads a manifest and checks it, but lists nothing yet.
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

// Close lets go of what the source holds.
func (s *Set) Close() error { return s.source.close() }

// Entries yields this host's share in the source's own order, folder markers included: every host gets those, and they
// are not counted for sharding. An error ends the sequence and is an *Error; a source without any object yields one
// with *EmptyError, a share without any is merely empty (SHARD-3).
func (s *Set) Entries(ctx context.Context) iter.Seq2[Entry, error] { return s.share(ctx, false) }

func (s *Set) share(ctx context.Context, once bool) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		var places []int
		if s.sharded() {
			places = s.source.places(once)
		}
		i, found, mine := 0, false, true
		for e, err := range s.source.entries(ctx) {
			if err != nil {
				yield(Entry{}, s.c.fail(s.empty(err)))
				return
			}
			found = true
			if !e.Dir && !e.more {
				place := i
				if places != nil {
					place = places[i]
				}
				mine = !s.sharded() || isMine(place, s.c.Rank, s.c.Hosts)
				i++
			}
			if (e.Dir || mine) && !yield(e, nil) {
				return
			}
		}
		if !found {
			yield(Entry{}, s.c.fail(s.emptyError(nil)))
		}
	}
}

func (s *Set) sharded() bool { return s.c.Source.Distribution == "ShardedByS3Key" }

// Epoch yields what this host streams in epoch n, counted from 0: no folder markers (FILE-5), in the source's order or,
// with a seed, in an order of the epoch's own, drawn before the hosts share it, so that a host's share changes too. It
// is the same each time it is asked for; what is listed once stays listed.
func (s *Set) Epoch(ctx context.Context, n int) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		all, err := s.load(ctx)
		if err != nil {
			yield(Entry{}, s.c.fail(s.empty(err)))
			return
		}
		if all.len() == 0 {
			yield(Entry{}, s.c.fail(s.emptyError(nil)))
			return
		}
		var order, places []int
		if s.c.Seed != nil {
			order = Permutation(all.len(), *s.c.Seed, n)
		} else if s.sharded() {
			places = s.source.places(false)
		}
		for place := range all.len() {
			i := place
			if order != nil {
				i = order[place]
			}
			host := place
			if places != nil {
				host = places[i]
			}
			if s.sharded() && !isMine(host, s.c.Rank, s.c.Hosts) {
				continue
			}
			if err := ctx.Err(); err != nil {
				yield(Entry{}, s.c.fail(context.Cause(ctx)))
				return
			}
			unit, err := all.at(i)
			if err != nil {
				yield(Entry{}, s.c.fail(err))
				return
			}
			for _, e := range unit {
				if !yield(e, nil) {
					return
				}
			}
		}
	}
}

// load lists the source once.
func (s *Set) load(ctx context.Context) (indexed, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.loaded == nil {
		all, err := s.source.index(ctx)
		if err != nil {
			return nil, err
		}
		s.loaded = all
	}
	return s.loaded, nil
}

func (s *Set) emptyError(err error) *EmptyError {
	return &EmptyError{URI: s.c.Source.URI, Region: s.c.Region, RoleARN: s.c.RoleARN, Err: err}
}

// empty turns a missing or forbidden bucket into the service's sentence: it cannot see objects either.
func (s *Set) empty(err error) error {
	se, ok := errors.AsType[*objstore.Error](err)
	if ok && se.Op == "list" && (errors.Is(se.Class, objstore.ErrNoBucket) || errors.Is(se.Class, objstore.ErrNotFound) || errors.Is(se.Class, objstore.ErrAccessDenied)) {
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

// LocalFile opens the file of a Local entry: the one that was listed, or an error.
func (e Entry) LocalFile(ctx context.Context) (*os.File, error) {
	return e.Store.(*objstore.Dir).File(ctx, e.Object)
}

// Splices says whether OpenSplice gives the entry's bytes with less work than Open.
func (e Entry) Splices() bool {
	s, ok := e.Store.(*objstore.S3)
	return ok && s.Splices()
}

// Near says whether little is won by asking the entry's store for several things at once.
func (e Entry) Near() bool {
	s, ok := e.Store.(*objstore.S3)
	return ok && s.Near()
}

// Splicer is objstore's.
type Splicer = objstore.Splicer

// Permanent is objstore's.
func Permanent(err error) error { return objstore.Permanent(err) }

// OpenSplice is OpenRange for who has a pipe to fill.
func (e Entry) OpenSplice(ctx context.Context, off, n int64) (Splicer, error) {
	return e.Store.(*objstore.S3).OpenSplice(ctx, e.Object, off, n)
}

// Unchanged fails if what LocalFile gave has changed since it was listed.
func (e Entry) Unchanged(f *os.File) error { return e.Store.(*objstore.Dir).Unchanged(f, e.Object) }
