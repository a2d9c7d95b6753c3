package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/optml/optml/ledger"
	"github.com/optml/optml/transform"
)

// Beginnings of inputs and outputs are kept for the report: what a validation reads and writes, buyers can look at
// (VAL-45). They are few and short.
const (
	sampleBytes   = 2 << 10
	samplesOfDir  = 2 // files of a channel
	samplesOfKind = 3 // objects of a transform, read and written
	sampleVisits  = 1000
)

// sample is a line of samples.jsonl.
type sample struct {
	Kind  string `json:"kind"` // input, output
	Name  string `json:"name"` // channel/file, model/file, the object's key
	Bytes int64  `json:"bytes"`
	Data  []byte `json:"data"`
}

// sampled puts samples on record. Not being able to is no reason to fail.
func (r *run) sampled(all []sample) {
	if len(all) == 0 {
		return
	}
	var b bytes.Buffer
	for _, s := range all {
		_ = json.NewEncoder(&b).Encode(s) // a buffer takes all
	}
	f, err := os.OpenFile(r.owner.SamplesPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err == nil {
		_, err = f.Write(b.Bytes())
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		r.append(ledger.Warning{Rule: "optml", Text: fmt.Sprintf("samples of inputs and outputs: %v", err)})
	}
}

// sampleDir takes the beginnings of the first files below dir, looking at few of its entries: there may be millions. name
// is what they are called below. Nothing outside of dir is read, whatever links a container has put there.
func sampleDir(kind, name, dir string) (out []sample) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil
	}
	defer root.Close()
	visits := 0
	for dirs := []string{"."}; len(dirs) > 0 && visits < sampleVisits; dirs = dirs[1:] {
		for _, d := range someOf(root, dirs[0], sampleVisits-visits) {
			visits++
			p := path.Join(dirs[0], d.Name())
			switch {
			case d.IsDir():
				dirs = append(dirs, p)
			case d.Type().IsRegular():
				if s, err := sampleFile(root, p); err == nil {
					s.Kind, s.Name = kind, path.Join(name, p)
					out = append(out, s)
				}
			}
			if len(out) == samplesOfDir {
				return out
			}
		}
	}
	return out
}

// someOf are n entries of a directory, by name.
func someOf(root *os.Root, dir string, n int) []fs.DirEntry {
	f, err := root.Open(dir)
	if err != nil {
		return nil
	}
	defer f.Close()
	some, _ := f.ReadDir(n) // what cannot be read is no sample
	slices.SortFunc(some, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return some
}

func sampleFile(root *os.Root, p string) (s sample, err error) {
	f, err := root.Open(p)
	if err != nil {
		return s, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return s, err
	}
	s.Bytes = fi.Size()
	s.Data, err = io.ReadAll(io.LimitReader(f, sampleBytes))
	return s, err
}

// taps take the beginnings of what a transform reads and writes as they go by: no request is made for them.
type taps struct {
	mu      sync.Mutex
	inputs  []*tap // in the order of the objects
	outputs []*tap // in the order in which they are begun
}

// tap holds the beginning of one object.
type tap struct {
	mu sync.Mutex
	s  sample
	ok bool // it was read, or committed
}

func (t *tap) take(b []byte, total int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.s.Data = append(t.s.Data, b[:min(len(b), sampleBytes-len(t.s.Data))]...)
	t.s.Bytes = total
}

func (t *tap) again() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.s.Data = nil
}

func (t *tap) keep() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ok = true
}

// objects are the same, the first of them tapped.
func (t *taps) objects(all iter.Seq2[transform.Object, error]) iter.Seq2[transform.Object, error] {
	return func(yield func(transform.Object, error) bool) {
		n := 0
		for o, err := range all {
			if n++; err == nil && n <= samplesOfKind {
				x := &tap{s: sample{Kind: "input", Name: o.Key}}
				t.mu.Lock()
				t.inputs = append(t.inputs, x)
				t.mu.Unlock()
				open, size := o.Open, o.Size
				o.Open = func(ctx context.Context) (io.ReadCloser, error) {
					rc, err := open(ctx)
					if err != nil {
						return nil, err
					}
					x.again() // an object that is sent again is read again
					x.keep()
					return &tappedReader{rc, x, size, 0}, nil
				}
			}
			if !yield(o, err) {
				return
			}
		}
	}
}

type tappedReader struct {
	io.ReadCloser
	tap  *tap
	size int64
	n    int
}

func (r *tappedReader) Read(b []byte) (int, error) {
	n, err := r.ReadCloser.Read(b)
	if r.n < sampleBytes && n > 0 {
		r.tap.take(b[:n], r.size)
		r.n += n
	}
	return n, err
}

// create is the same, the first outputs tapped.
func (t *taps) create(create func(context.Context, string, string) (transform.Writer, error)) func(context.Context, string, string) (transform.Writer, error) {
	return func(ctx context.Context, name, contentType string) (transform.Writer, error) {
		w, err := create(ctx, name, contentType)
		if err != nil {
			return nil, err
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		if len(t.outputs) == samplesOfKind {
			return w, nil
		}
		x := &tap{s: sample{Kind: "output", Name: name}}
		t.outputs = append(t.outputs, x)
		return &tappedWriter{w, x, 0}, nil
	}
}

type tappedWriter struct {
	transform.Writer
	tap *tap
	n   int64
}

func (w *tappedWriter) Write(b []byte) (int, error) {
	n, err := w.Writer.Write(b)
	w.n += int64(n)
	w.tap.take(b[:n], w.n)
	return n, err
}

func (w *tappedWriter) Commit(ctx context.Context) error {
	err := w.Writer.Commit(ctx)
	if err == nil {
		w.tap.keep()
	}
	return err
}

// samples are what was read, and what was written and is there.
func (t *taps) samples() (out []sample) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, all := range [][]*tap{t.inputs, t.outputs} {
		for _, x := range all {
			x.mu.Lock()
			if x.ok {
				out = append(out, x.s)
			}
			x.mu.Unlock()
		}
	}
	return out
}
