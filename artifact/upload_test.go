package artifact

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/optml/optml/objstore"
)

// shelf is a store that can fail at a step.
type shelf struct {
	objstore.Store // what is not used here
	objects        map[string][]byte
	options        objstore.CreateOptions
	fail           map[string]error
	aborted        int
}

type shelfWriter struct {
	s    *shelf
	key  string
	b    bytes.Buffer
	done bool
}

func (w *shelfWriter) Write(b []byte) (int, error) {
	if err := w.s.fail["write"]; err != nil {
		return 0, err
	}
	return w.b.Write(b)
}

func (w *shelfWriter) Commit(context.Context) error {
	if err := w.s.fail["commit"]; err != nil {
		return err
	}
	w.done = true
	w.s.objects[w.key] = w.b.Bytes()
	return nil
}

func (w *shelfWriter) Abort() error {
	if !w.done {
		w.s.aborted++
	}
	return nil
}

func (s *shelf) Create(_ context.Context, key string, o objstore.CreateOptions) (objstore.Writer, error) {
	s.options = o
	return &shelfWriter{s: s, key: key}, s.fail["create"]
}

func (s *shelf) Open(_ context.Context, key string, off, n int64) (io.ReadCloser, error) {
	b, ok := s.objects[key]
	if !ok {
		return nil, &objstore.Error{Op: "open", URI: s.URI(key), Class: objstore.ErrNotFound, Err: errors.New("no such key")}
	}
	return io.NopCloser(bytes.NewReader(b)), nil
}

func (s *shelf) URI(key string) string { return "s3://b/" + key }

func newShelf() *shelf { return &shelf{objects: map[string][]byte{}, fail: map[string]error{}} }

func TestUploadAndDownload(t *testing.T) { // OUT-1
	s := newShelf()
	dir := tree(t, map[string]string{"model": "weights", "d/x": "y"})
	stats, err := Upload(t.Context(), s, "j/output/model.tar.gz", dir, UploadOptions{KMSKeyID: "k"})
	if err != nil {
		t.Fatal(err)
	}
	if stats.URI != "s3://b/j/output/model.tar.gz" || stats.Empty || stats.Files != 2 || stats.SHA256 == "" || s.options.KMSKeyID != "k" {
		t.Errorf("%+v, %+v", stats, s.options)
	}
	out := t.TempDir()
	if _, err := Download(t.Context(), s, "j/output/model.tar.gz", out, Limits{}); err != nil {
		t.Fatal(err)
	}
	if got, want := describe(t, out), describe(t, dir); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if _, err := Download(t.Context(), s, "other", out, Limits{}); !errors.Is(err, objstore.ErrNotFound) || !strings.Contains(err.Error(), "s3://b/other") {
		t.Errorf("missing archive: %v", err)
	}
}

func TestUploadOfNothing(t *testing.T) { // OUT-4
	for name, files := range map[string]map[string]string{
		"empty": {}, "only directories": {"lost+found/": "", "a/b/c/": ""}, "only what is skipped": {"l": "->/etc/hostname"},
	} {
		s := newShelf()
		stats, err := Upload(t.Context(), s, "k", tree(t, files), UploadOptions{})
		if err != nil || !stats.Empty || len(s.objects) != 0 {
			t.Errorf("%s: %+v, %v, %d objects", name, stats, err, len(s.objects))
		}
	}
}

func TestUploadFailuresLeaveNothing(t *testing.T) {
	for _, step := range []string{"create", "write", "commit"} {
		s := newShelf()
		s.fail[step] = objstore.ErrAccessDenied
		_, err := Upload(t.Context(), s, "k", tree(t, map[string]string{"a": "b"}), UploadOptions{})
		if !errors.Is(err, objstore.ErrAccessDenied) || len(s.objects) != 0 {
			t.Errorf("%s: %v", step, err)
		}
		if step != "create" && s.aborted == 0 {
			t.Errorf("%s: not aborted", step)
		}
	}
}
