package dataset

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"

	"github.com/optml/optml/objstore"
)

const (
	// maxManifest bounds a ManifestFile: a million entries of a hundred bytes and more.
	maxManifest = 128 << 20
	// maxKey is the longest key that S3 has.
	maxKey = 1024
)

// ErrManifest is the class of manifests that cannot be used.
var ErrManifest = errors.New("bad manifest")

// manifest is a ManifestFile source (FILE-9, BT-31): a JSON array, first {"prefix": "s3://…"}, then strings; each URI is
// the prefix and the string, one behind the other.
type manifest struct {
	uri   string
	store objstore.Store
	base  string // key part of the prefix
	text  []byte // the strings, one behind the other
	ends  []uint64
}

// openManifest opens the object that the source's URI names.
func (c Config) openManifest(ctx context.Context) (io.ReadCloser, error) {
	store, key, err := c.Opener.Open(ctx, c.Source.URI)
	if err != nil {
		return nil, err
	}
	return store.Open(ctx, key, 0, -1)
}

func newManifest(ctx context.Context, c Config) (source, error) {
	body, err := c.openManifest(ctx)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	m := &manifest{uri: c.Source.URI}
	prefix, err := m.read(body)
	if err == nil {
		err = m.locate(ctx, c.Opener, prefix)
	}
	if err != nil {
		return nil, err
	}
	return m, nil
}

// read parses the manifest and returns its prefix. Only its strings are kept, without a pointer for each.
func (m *manifest) read(r io.Reader) (string, error) {
	limited := &io.LimitedReader{R: r, N: maxManifest + 1}
	d := json.NewDecoder(bufio.NewReaderSize(limited, 64<<10))
	fail := func(format string, args ...any) (string, error) {
		if limited.N == 0 {
			return "", fmt.Errorf("%w: more than %d bytes", ErrManifest, maxManifest)
		}
		return "", fmt.Errorf("%w: "+format, append([]any{ErrManifest}, args...)...)
	}
	// What breaks the reading is the store's error, not the manifest's.
	broken := func(err error) error {
		if _, ok := errors.AsType[*objstore.Error](err); ok {
			return err
		}
		return nil
	}
	t, err := d.Token()
	if b := broken(err); b != nil {
		return "", b
	}
	if t != json.Delim('[') {
		return fail("not a JSON array")
	}
	if !d.More() {
		return fail(`empty: the first element must be {"prefix": "s3://…"}`)
	}
	var first json.RawMessage
	if err := d.Decode(&first); err != nil {
		if b := broken(err); b != nil {
			return "", b
		}
		return fail("element 1: %w", err)
	}
	prefix, err := manifestPrefix(first)
	if err != nil {
		return fail("element 1: %w", err)
	}
	for n := 2; d.More(); n++ {
		t, err := d.Token()
		if err != nil {
			if b := broken(err); b != nil {
				return "", b
			}
			return fail("element %d: %w", n, err)
		}
		s, ok := t.(string)
		switch {
		case !ok:
			return fail("element %d is not a string (BT-32: no objects, no numbers)", n)
		case s == "":
			return fail("element %d is empty", n)
		case len(s) > maxKey:
			return fail("element %d has %d bytes, a key has at most %d", n, len(s), maxKey)
		case strings.HasSuffix(s, "/"):
			return fail("element %d, %q, names a folder, not an object", n, s)
		}
		m.text = append(m.text, s...)
		m.ends = append(m.ends, uint64(len(m.text)))
	}
	if _, err := d.Token(); err != nil {
		if b := broken(err); b != nil {
			return "", b
		}
		return fail("the array does not end: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		if b := broken(err); b != nil {
			return "", b
		}
		return fail("something follows the array")
	}
	return prefix, nil
}

// manifestPrefix reads {"prefix": "…"}, exactly.
func manifestPrefix(raw json.RawMessage) (string, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil || fields == nil {
		return "", errors.New(`must be {"prefix": "s3://…"}`)
	}
	var prefix string
	if err := json.Unmarshal(fields["prefix"], &prefix); err != nil || prefix == "" {
		return "", errors.New(`must be {"prefix": "s3://…"} with a prefix that is not empty`)
	}
	if len(fields) != 1 {
		return "", errors.New(`has members beside "prefix"`)
	}
	return prefix, nil
}

// locate finds the store of the prefix. The part behind its last slash may be the beginning of a name.
func (m *manifest) locate(ctx context.Context, o objstore.Opener, prefix string) error {
	if err := reachable(m.uri, prefix); err != nil {
		return fmt.Errorf("%w: prefix %w", ErrManifest, err)
	}
	dir, rest := prefix[:strings.LastIndexByte(prefix, '/')+1], prefix[strings.LastIndexByte(prefix, '/')+1:]
	if dir == "" || strings.HasSuffix(dir, "://") {
		return fmt.Errorf("%w: prefix %s must be s3://bucket/…", ErrManifest, objstore.Redact(prefix))
	}
	store, key, err := o.Open(ctx, dir)
	if err != nil {
		return fmt.Errorf("%w: prefix: %w", ErrManifest, err)
	}
	m.store, m.base = store, key+rest
	return nil
}

// reachable refuses that a manifest which lies in a bucket names files of this machine: whoever made it would read them
// with our rights.
func reachable(manifest, uri string) error {
	if remote(manifest) && !remote(uri) {
		return fmt.Errorf("%s is not in a bucket, but the manifest is", objstore.Redact(uri))
	}
	return nil
}

func remote(uri string) bool {
	return strings.HasPrefix(uri, "s3://") || strings.HasPrefix(uri, "https://") || strings.HasPrefix(uri, "http://")
}

func (m *manifest) len() int { return len(m.ends) }

func (m *manifest) suffix(i int) string {
	from := uint64(0)
	if i > 0 {
		from = m.ends[i-1]
	}
	return string(m.text[from:m.ends[i]])
}

func (m *manifest) entry(i int) Entry {
	s := m.suffix(i)
	return Entry{Store: m.store, Object: objstore.Object{Key: m.base + s, Size: -1}, Suffix: s}
}

func (m *manifest) at(i int) ([]Entry, error) { return []Entry{m.entry(i)}, nil }

func (m *manifest) index(context.Context) (indexed, error) { return m, nil }

func (m *manifest) entries(ctx context.Context) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for i := range m.len() {
			if err := ctx.Err(); err != nil {
				yield(Entry{}, context.Cause(ctx))
				return
			}
			if !yield(m.entry(i), nil) {
				return
			}
		}
	}
}

// places: objects are shared by their sorted keys (SHARD-2), whatever their order in the manifest.
func (m *manifest) places(once bool) []int {
	sorted := make([]int, m.len())
	for i := range sorted {
		sorted[i] = i
	}
	slices.SortStableFunc(sorted, func(a, b int) int { return bytes.Compare(m.raw(a), m.raw(b)) })
	places := make([]int, len(sorted))
	for place, n := 0, 0; n < len(sorted); n++ {
		if n > 0 && !(once && bytes.Equal(m.raw(sorted[n]), m.raw(sorted[n-1]))) {
			place++
		}
		places[sorted[n]] = place
	}
	return places
}

func (m *manifest) raw(i int) []byte {
	from := uint64(0)
	if i > 0 {
		from = m.ends[i-1]
	}
	return m.text[from:m.ends[i]]
}

func (m *manifest) rival(_ context.Context, f File) (string, bool) {
	for i := range m.len() {
		s := m.suffix(i)
		p := strings.TrimPrefix(s, "/")
		if s != f.Suffix && (p == f.Path || strings.HasPrefix(p, f.Path+"/") || strings.HasPrefix(f.Path, p+"/")) {
			return m.entry(i).URI(), true
		}
	}
	return "", false
}

func (m *manifest) close() error { return nil }
