package dataset

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
)

// File is an entry with its place below the channel's directory.
type File struct {
	Entry
	Path string
}

// Files is Entries for those who make files of them: each with its path, and an error for a key that cannot be one
// (FILE-7) and for two keys where one would have to be file and directory at once (FILE-6). The latter is seen here as
// far as it can be in one pass without memory of all keys; who makes the files must still refuse a path that is taken,
// and may ask Clash why.
func (s *Set) Files(ctx context.Context) iter.Seq2[File, error] {
	return func(yield func(File, error) bool) {
		var taken clashes
		again := map[string]bool{} // FILE-9: what a manifest names twice is one file, of one host
		for e, err := range s.share(ctx, true) {
			if err != nil {
				yield(File{}, err)
				return
			}
			if e.Suffix != "" {
				if again[e.Suffix] {
					continue
				}
				again[e.Suffix] = true
			}
			p, err := e.Path()
			if err == nil && e.Suffix == "" {
				if other := taken.add(e); other != "" {
					err = clashError(e.Store.URI(other), e.URI())
				}
			}
			if err != nil {
				yield(File{}, &Error{Channel: s.c.Channel, Object: e.URI(), Err: err})
				return
			}
			if !yield(File{e, p}, nil) {
				return
			}
		}
	}
}

// ErrClash is the class of two keys that are one path, or file and directory of one name (FILE-6).
var ErrClash = errors.New("two objects cannot both be files")

func clashError(a, b string) error { return fmt.Errorf("%w: %s and %s", ErrClash, a, b) }

// clashes sees in a listing in key order that one key is a directory of another. Between "a" and "a/b" only keys that
// start with "a" can come, so of the files seen it needs those alone that are a prefix of the current key.
type clashes struct{ stack []string }

// add returns an earlier key that e clashes with, or "". One group of keys keeps its order when FILE-2 maps it to
// paths; a clash between two groups (data/train/train-01/x and data/train-01/x for the prefix data/train) is not seen.
func (c *clashes) add(e Entry) (other string) {
	key := e.Object.Key
	for n := len(c.stack); n > 0 && !strings.HasPrefix(key, c.stack[n-1]); n = len(c.stack) {
		c.stack = c.stack[:n-1]
	}
	for _, f := range c.stack {
		if len(key) > len(f) && key[len(f)] == '/' {
			return f
		}
	}
	// The object that is the prefix itself takes its base name (FILE-2 rule 1): what lies below its key lies beside it.
	if !e.Dir && key != strings.TrimSuffix(e.prefix, "/") {
		c.stack = append(c.stack, key)
	}
	return ""
}

// Clash is asked by who found f's path taken, and names the object that took it (FILE-6).
func (s *Set) Clash(ctx context.Context, f File) error {
	other, ok := s.source.rival(ctx, f)
	if !ok {
		other = "another object"
	}
	return &Error{Channel: s.c.Channel, Object: f.URI(), Err: clashError(other, f.URI())}
}

// PartialPrefixError is a FastFile source whose prefix ends in the middle of a name, in the service's words (FF-3).
type PartialPrefixError struct{ Prefix, Key string }

func (e *PartialPrefixError) Error() string {
	return "For FastFile mode, partial S3 prefix is not supported. S3 prefix has to end with a full file or folder. Add a trailing '/' to the S3 prefix" +
		" if it ends with a folder name that is also a prefix for other folders. Current S3 prefix: [" + e.Prefix + "], found S3 object: [" + e.Key + "]."
}

// Whole is a *PartialPrefixError for an entry that only shares the beginning of a name with its source's prefix.
func (e Entry) Whole() error {
	p, key := e.prefix, e.Object.Key
	if p == "" || strings.HasSuffix(p, "/") || key == p || strings.HasPrefix(key, p+"/") {
		return nil
	}
	return &PartialPrefixError{Prefix: p, Key: key}
}
