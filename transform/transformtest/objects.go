package transformtest

import (
	"context"
	"errors"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/optml/optml/transform"
)

// Object is an input object with this content.
func Object(key, content string) transform.Object {
	return transform.Object{Key: key, Size: int64(len(content)), Open: func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(content)), nil
	}}
}

// Sequence lists objects.
func Sequence(objects ...transform.Object) iter.Seq2[transform.Object, error] {
	return func(yield func(transform.Object, error) bool) {
		for _, o := range objects {
			if !yield(o, nil) {
				return
			}
		}
	}
}

// Outputs is a store of outputs. Fail, if set, is asked before each step: create, write, commit, remove.
type Outputs struct {
	Fail func(step, name string) error

	mu      sync.Mutex
	objects map[string]string
	types   map[string]string
	open    int
	aborted []string
	removed []string
	most    int
}

type output struct {
	s    *Outputs
	name string
	kind string
	b    strings.Builder
	done bool
}

func (s *Outputs) fail(step, name string) error {
	if s.Fail == nil {
		return nil
	}
	return s.Fail(step, name)
}

// Create is transform.Config.Create.
func (s *Outputs) Create(_ context.Context, name, contentType string) (transform.Writer, error) {
	if err := s.fail("create", name); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open++
	s.most = max(s.most, s.open)
	return &output{s: s, name: name, kind: contentType}, nil
}

func (o *output) Write(b []byte) (int, error) {
	if o.done {
		return 0, errors.New("write after the end")
	}
	if err := o.s.fail("write", o.name); err != nil {
		return 0, err
	}
	return o.b.Write(b)
}

func (o *output) Commit(ctx context.Context) error {
	if err := o.s.fail("commit", o.name); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	o.s.mu.Lock()
	defer o.s.mu.Unlock()
	if o.done {
		return errors.New("second end")
	}
	if o.s.objects == nil {
		o.s.objects, o.s.types = map[string]string{}, map[string]string{}
	}
	o.done = true
	o.s.open--
	o.s.objects[o.name], o.s.types[o.name] = o.b.String(), o.kind
	return nil
}

func (o *output) Abort() error {
	o.s.mu.Lock()
	defer o.s.mu.Unlock()
	if !o.done {
		o.done = true
		o.s.open--
		o.s.aborted = append(o.s.aborted, o.name)
	}
	return nil
}

// Remove is transform.Config.Remove.
func (s *Outputs) Remove(_ context.Context, name string) error {
	if err := s.fail("remove", name); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.objects, name)
	s.removed = append(s.removed, name)
	return nil
}

// All are the outputs that are there.
func (s *Outputs) All() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.objects)
}

// Names are the outputs that are there, in order.
func (s *Outputs) Names() []string { return slices.Sorted(maps.Keys(s.All())) }

// ContentType is what an output was created with.
func (s *Outputs) ContentType(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.types[name]
}

// Open is the number of outputs neither committed nor aborted: 0 after every Run.
func (s *Outputs) Open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open
}

// Aborted and Removed are the names of outputs that ended so, in the order in which they did.
func (s *Outputs) Aborted() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.aborted)
}

func (s *Outputs) Removed() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.removed)
}
