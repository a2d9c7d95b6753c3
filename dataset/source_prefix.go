package dataset

import (
	"context"
	"errors"
	"iter"
	"path"
	"strings"

	"github.com/optml/optml/objstore"
)

// prefix is an S3Prefix source, and with it a local directory or file: every object whose key starts with the given
// string (FILE-3, BT-30), in key order. For paths on this machine the string ends at a path element.
type prefix struct {
	store objstore.Store
	key   string
}

func newPrefix(ctx context.Context, c Config) (source, error) {
	store, key, err := c.Opener.Open(ctx, c.Source.URI)
	if err != nil {
		return nil, err
	}
	return prefix{store, key}, nil
}

func (p prefix) entries(ctx context.Context) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for o, err := range p.store.List(ctx, p.key) {
			if err != nil {
				yield(Entry{}, err)
				return
			}
			e := Entry{Store: p.store, Object: o, prefix: p.key, Dir: strings.HasSuffix(o.Key, "/")}
			if e.Dir && o.Size > 0 {
				yield(Entry{}, &objstore.Error{Op: "list", URI: e.URI(), Class: objstore.ErrBadKey, Err: errMarkerBytes})
				return
			}
			if !yield(e, nil) {
				return
			}
		}
	}
}

// FILE-5: no file can hold these bytes, and leaving them out would lose data.
var errMarkerBytes = errors.New("key ends in a slash but the object is not empty")

func (p prefix) places(bool) []int { return nil }

func (p prefix) close() error { return nil }

func (p prefix) index(ctx context.Context) (indexed, error) {
	x := &objects{from: Entry{Store: p.store, prefix: p.key}}
	for e, err := range p.entries(ctx) {
		if err != nil {
			return nil, err
		}
		if !e.Dir {
			x.add(e.Object)
		}
	}
	return x, nil
}

// rival looks for another key whose path is f's, lies above it or below it.
func (p prefix) rival(ctx context.Context, f File) (string, bool) {
	cut := strings.TrimSuffix(p.key, "/")
	for _, base := range []string{cut + "/", cut[:strings.LastIndexByte(cut, '/')+1]} {
		for q := f.Path; q != "."; q = path.Dir(q) {
			if key := base + q; key != f.Object.Key {
				if _, err := p.store.Stat(ctx, key); err == nil {
					return p.store.URI(key), true
				}
			}
		}
		for o, err := range p.store.List(ctx, base+f.Path+"/") {
			if err == nil && o.Key != f.Object.Key {
				return p.store.URI(o.Key), true
			}
			break
		}
	}
	return "", false
}
