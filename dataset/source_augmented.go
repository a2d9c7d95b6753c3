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
	"os"
	"strings"

	"github.com/optml/optml/objstore"
)

const (
	// maxLine bounds a line of an augmented manifest.
	maxLine = 4 << 20
	// maxAugmented bounds the lines of one, of which we keep 12 bytes each, maxAugmentedBytes the room of its copy.
	maxAugmented      = 8 << 20
	maxAugmentedBytes = 64 << 30
	maxAttributes     = 16 // AUG-1
	maxAttribute      = 256
)

// augmented is an AugmentedManifestFile source: JSON Lines, of which each gives one entry for each attribute name, in
// the order of AttributeNames (AUG-2). It is checked as a whole before the first entry is delivered, and kept in an
// unlinked file, since each epoch reads it in another order.
type augmented struct {
	uri    string
	names  []string
	opener objstore.Opener
	file   *os.File
	starts []int64 // of the lines; one more for the end
	lines  []int32 // their numbers, if empty lines were left out
}

func newAugmented(ctx context.Context, c Config) (source, error) {
	names := c.Source.AttributeNames
	if len(names) == 0 || len(names) > maxAttributes {
		return nil, fmt.Errorf("AttributeNames has %d names, must have 1 to %d", len(names), maxAttributes)
	}
	for _, n := range names {
		if n == "" || len(n) > maxAttribute {
			return nil, fmt.Errorf("AttributeNames holds a name of %d bytes, must have 1 to %d", len(n), maxAttribute)
		}
	}
	body, err := c.openManifest(ctx)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	f, err := os.CreateTemp(c.TempDir, "augmented-manifest-")
	if err != nil {
		return nil, fmt.Errorf("keep manifest: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, fmt.Errorf("keep manifest: %w", err)
	}
	a := &augmented{uri: c.Source.URI, names: names, opener: c.Opener, file: f}
	if err := a.read(ctx, body); err != nil {
		f.Close()
		return nil, err
	}
	return a, nil
}

// read copies the manifest's lines to the file and checks each.
func (a *augmented) read(ctx context.Context, body io.Reader) error {
	w := bufio.NewWriterSize(a.file, 256<<10)
	var at int64
	for n, line := range lines(body) {
		if line.err != nil {
			return line.err
		}
		if len(bytes.TrimSpace(line.text)) == 0 {
			continue // a last empty line, mostly
		}
		if len(a.lines) == maxAugmented || at > maxAugmentedBytes {
			return fmt.Errorf("%w: more than %d lines or %d bytes", ErrManifest, maxAugmented, int64(maxAugmentedBytes))
		}
		if _, err := a.parse(ctx, n, line.text); err != nil {
			return err
		}
		a.starts, a.lines = append(a.starts, at), append(a.lines, int32(n))
		if _, err := w.Write(line.text); err != nil {
			return fmt.Errorf("keep manifest: %w", err)
		}
		at += int64(len(line.text))
	}
	a.starts = append(a.starts, at)
	if err := w.Flush(); err != nil {
		return fmt.Errorf("keep manifest: %w", err)
	}
	return nil
}

type textLine struct {
	text []byte // valid until the next
	err  error
}

// lines numbers the lines of r from 1. Its errors are r's own, or say that a line is too long.
func lines(r io.Reader) iter.Seq2[int, textLine] {
	return func(yield func(int, textLine) bool) {
		s := bufio.NewScanner(r)
		s.Buffer(make([]byte, 64<<10), maxLine)
		n := 1
		for ; s.Scan(); n++ {
			if !yield(n, textLine{text: s.Bytes()}) {
				return
			}
		}
		if err := s.Err(); errors.Is(err, bufio.ErrTooLong) {
			yield(n, textLine{err: fmt.Errorf("%w: line %d has more than %d bytes", ErrManifest, n, maxLine)})
		} else if err != nil {
			yield(n, textLine{err: err})
		}
	}
}

// parse makes a line's entries.
func (a *augmented) parse(ctx context.Context, number int, line []byte) ([]Entry, error) {
	fail := func(format string, args ...any) ([]Entry, error) {
		return nil, fmt.Errorf("%w: line %d: "+format, append([]any{ErrManifest, number}, args...)...)
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(line, &fields); err != nil {
		return fail("%w", err)
	}
	if fields == nil {
		return fail("not a JSON object")
	}
	unit := make([]Entry, 0, len(a.names))
	for i, name := range a.names {
		raw, ok := fields[name]
		if !ok {
			return fail("has no attribute %q", name) // AUG-5
		}
		var e Entry
		if strings.HasSuffix(name, "-ref") {
			var uri string
			if err := json.Unmarshal(raw, &uri); err != nil || uri == "" {
				return fail("attribute %q is not an S3 URI", name)
			}
			if err := reachable(a.uri, uri); err != nil {
				return fail("attribute %q: %w", name, err)
			}
			store, key, err := a.opener.Open(ctx, uri)
			if err != nil {
				return fail("attribute %q: %w", name, err)
			}
			if key == "" || strings.HasSuffix(key, "/") {
				return fail("attribute %q: %s names no object", name, objstore.Redact(uri))
			}
			e = Entry{Store: store, Object: objstore.Object{Key: key, Size: -1}}
		} else {
			text, err := value(raw)
			if err != nil {
				return fail("attribute %q: %w", name, err)
			}
			e = Entry{Text: text, Object: objstore.Object{Size: int64(len(text))}, name: fmt.Sprintf("%s, line %d, attribute %q", a.uri, number, name)}
		}
		e.more = i > 0
		unit = append(unit, e)
	}
	return unit, nil
}

// value is the text of an attribute (AUG-3): a string as it is, without quotes; everything else as in the line, compact.
func value(raw json.RawMessage) ([]byte, error) {
	if len(raw) > 0 && raw[0] == '"' {
		var s string
		err := json.Unmarshal(raw, &s)
		return []byte(s), err
	}
	var b bytes.Buffer
	err := json.Compact(&b, raw)
	return b.Bytes(), err
}

func (a *augmented) len() int { return len(a.lines) }

func (a *augmented) at(i int) ([]Entry, error) {
	line := make([]byte, a.starts[i+1]-a.starts[i])
	if _, err := a.file.ReadAt(line, a.starts[i]); err != nil {
		return nil, fmt.Errorf("read kept manifest: %w", err)
	}
	// It was looked up once already, when nothing of the network was asked: the context is of no matter.
	return a.parse(context.Background(), int(a.lines[i]), line)
}

func (a *augmented) index(context.Context) (indexed, error) { return a, nil }

func (a *augmented) entries(ctx context.Context) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for i := range a.len() {
			unit, err := a.at(i)
			if err == nil && ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			if err != nil {
				yield(Entry{}, err)
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

func (a *augmented) places(bool) []int { return nil } // AUG-7: by line

func (a *augmented) rival(context.Context, File) (string, bool) { return "", false }

func (a *augmented) close() error { return a.file.Close() }
