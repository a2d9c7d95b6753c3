// Package objstore is where objects are: one small interface over directories, S3 and memory. Keys are the store's own
// (for S3 and --s3-dir: the part after the bucket), listings come in UTF-8 byte order of keys, and an object that is
// being written is not visible before it is whole.
package objstore

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"
)

// Object is what a store knows of one object without reading it.
type Object struct {
	Key     string
	Size    int64
	ETag    string // without quotes; "" where the store has none
	ModTime time.Time
}

// Store is one bucket or directory tree. All methods may be called concurrently; they retry what is worth retrying
// themselves and their errors are *Error.
type Store interface {
	Stat(ctx context.Context, key string) (Object, error)
	// Open reads n bytes from off; n < 0 reads to the end. The reader resumes a broken body at the byte by itself, and
	// a body that ends early is an error, never an EOF. Where a store keeps a checksum of the object, one that is read
	// whole is held against it: the end is ErrChecksum then, once all bytes have been handed out, and nothing is tried again.
	Open(ctx context.Context, key string, off, n int64) (io.ReadCloser, error)
	// OpenVersion is Open of the very object that Stat or List described. If the store has another one by now, this or
	// a later Read fails with ErrChanged. A Size below zero and an empty ETag are not compared.
	OpenVersion(ctx context.Context, o Object, off, n int64) (io.ReadCloser, error)
	// List yields every object whose key starts with prefix (a plain string prefix, FILE-3), in key order. After an
	// error nothing more is yielded.
	List(ctx context.Context, prefix string) iter.Seq2[Object, error]
	// Create writes an object. Nothing is visible before Commit; Abort after Commit does nothing, so it may be deferred.
	Create(ctx context.Context, key string, o CreateOptions) (Writer, error)
	// Delete removes an object; a missing one is no error.
	Delete(ctx context.Context, key string) error
	// URI is how the user would name the key.
	URI(key string) string
	// Sweep removes what writers that died without Commit or Abort left below prefix: temporary files, open multipart
	// uploads. Those of living writers in this or another process are kept where that can be known (files are locked);
	// elsewhere those younger than olderThan are. It returns how many it removed.
	Sweep(ctx context.Context, prefix string, olderThan time.Duration) (int, error)
}

// CreateOptions travel with an object.
type CreateOptions struct {
	ContentType string
	KMSKeyID    string
	Size        int64 // how large it is going to be, if that is known; a hint
}

// Writer takes an object's bytes. Not for concurrent use.
type Writer interface {
	io.Writer
	Commit(ctx context.Context) error
	Abort() error
}

// Classes of errors; errors.Is tells them apart.
var (
	ErrNotFound     = errors.New("not found")
	ErrNoBucket     = errors.New("no such bucket")
	ErrAccessDenied = errors.New("access denied")
	ErrChanged      = errors.New("object changed while it was read")
	ErrTruncated    = errors.New("body ended early")
	ErrChecksum     = errors.New("checksum does not match")
	ErrNoSpace      = errors.New("no space left")
	ErrBadKey       = errors.New("key cannot be stored")
	ErrEscapes      = errors.New("symbolic link leaves the directory")
)

// Error names the step and the object.
type Error struct {
	Op    string // stat, open, list, create, write, commit, delete
	URI   string
	Class error // one of the classes above, or nil
	Err   error
}

func (e *Error) Error() string { return e.Op + " " + e.URI + ": " + e.Err.Error() }
func (e *Error) Unwrap() []error {
	if e.Class == nil {
		return []error{e.Err}
	}
	return []error{e.Class, e.Err}
}

// Opener finds the store of a URI.
type Opener interface {
	// Open returns the store that uri lies in and its key there. uri is s3://bucket/key, https://… as the contract
	// allows it, file:///dir/key or a plain path (D6).
	Open(ctx context.Context, uri string) (Store, string, error)
}
