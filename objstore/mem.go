package objstore

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"
)

// Mem is a store in memory. Its ETags are those that S3 gives to objects of one part.
type Mem struct {
	base string

	mu   sync.RWMutex
	objs map[string]memObject
}

type memObject struct {
	Object
	data []byte
}

var _ Store = (*Mem)(nil)

// NewMem makes an empty store whose URIs begin with base, e.g. "mem://bucket/".
func NewMem(base string) *Mem { return &Mem{base: base, objs: map[string]memObject{}} }

func (m *Mem) URI(key string) string { return m.base + key }

// Put stores an object at once. data must not be changed afterwards.
func (m *Mem) Put(key string, data []byte) {
	sum := md5.Sum(data)
	o := Object{Key: key, Size: int64(len(data)), ETag: hex.EncodeToString(sum[:]), ModTime: time.Now().Truncate(time.Millisecond)}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.objs[key] = memObject{o, data}
}

func (m *Mem) get(ctx context.Context, op, key string) (memObject, error) {
	if err := ctx.Err(); err != nil {
		return memObject{}, wrap(op, m.URI(key), err)
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	o, ok := m.objs[key]
	if !ok {
		return o, classed(op, m.URI(key), ErrNotFound, ErrNotFound)
	}
	return o, nil
}

func (m *Mem) Stat(ctx context.Context, key string) (Object, error) {
	o, err := m.get(ctx, "stat", key)
	return o.Object, err
}

func (m *Mem) Open(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	return m.OpenVersion(ctx, Object{Key: key, Size: -1}, off, n)
}

func (m *Mem) OpenVersion(ctx context.Context, want Object, off, n int64) (io.ReadCloser, error) {
	o, err := m.get(ctx, "open", want.Key)
	if err != nil {
		return nil, err
	}
	if want.Size >= 0 && want.Size != o.Size || want.ETag != "" && want.ETag != o.ETag {
		return nil, classed("open", m.URI(want.Key), ErrChanged, fmt.Errorf("%w: had ETag %q, has %q", ErrChanged, want.ETag, o.ETag))
	}
	n, err = span(o.Size, off, n)
	if err != nil {
		return nil, wrap("open", m.URI(want.Key), err)
	}
	return io.NopCloser(bytes.NewReader(o.data[off : off+n])), nil
}

func (m *Mem) List(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		m.mu.RLock()
		var objs []Object
		for k, o := range m.objs {
			if strings.HasPrefix(k, prefix) {
				objs = append(objs, o.Object)
			}
		}
		m.mu.RUnlock()
		slices.SortFunc(objs, func(a, b Object) int { return strings.Compare(a.Key, b.Key) })
		for _, o := range objs {
			if err := ctx.Err(); err != nil {
				yield(Object{}, wrap("list", m.URI(prefix), err))
				return
			}
			if !yield(o, nil) {
				return
			}
		}
	}
}

func (m *Mem) Create(ctx context.Context, key string, _ CreateOptions) (Writer, error) {
	if err := ctx.Err(); err != nil {
		return nil, wrap("create", m.URI(key), err)
	}
	if key == "" {
		return nil, classed("create", m.URI(key), ErrBadKey, errors.New("empty key"))
	}
	return &memWriter{m: m, key: key}, nil
}

type memWriter struct {
	m    *Mem
	key  string
	buf  bytes.Buffer
	done bool
}

func (w *memWriter) Write(p []byte) (int, error) {
	if w.done {
		return 0, classed("write", w.m.URI(w.key), nil, fs.ErrClosed)
	}
	return w.buf.Write(p)
}

func (w *memWriter) Commit(ctx context.Context) error {
	if w.done {
		return classed("commit", w.m.URI(w.key), nil, fs.ErrClosed)
	}
	w.done = true
	if err := ctx.Err(); err != nil {
		return wrap("commit", w.m.URI(w.key), err)
	}
	w.m.Put(w.key, w.buf.Bytes())
	return nil
}

func (w *memWriter) Abort() error { w.done = true; return nil }

func (m *Mem) Delete(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return wrap("delete", m.URI(key), err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.objs, key)
	return nil
}

// Sweep has nothing to do: what a dead writer held died with it.
func (m *Mem) Sweep(context.Context, string, time.Duration) (int, error) { return 0, nil }
