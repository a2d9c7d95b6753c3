package artifact

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/optml/optml/objstore"
)

// everything in a store, as "key content".
func everything(t *testing.T, s objstore.Store) (out []string) {
	t.Helper()
	for o, err := range s.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		r, err := s.Open(t.Context(), o.Key, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, o.Size)
		_, _ = r.Read(b)
		r.Close()
		out = append(out, o.Key+" "+string(b))
	}
	return out
}

// TestUploadTree holds what CompressionType NONE makes of a directory (OUT-6) and of links and what is no file (OUT-8).
func TestUploadTree(t *testing.T) {
	secret := tree(t, map[string]string{"key": "secret"})
	dir := tree(t, map[string]string{
		"model": "weights", "d/e/x": "y", "none": "", "empty/": "",
		"d/up": "->../model", "abs": "->/opt/ml/model/d/e/x", "there": "->d", "gone": "->nowhere",
		"out": "->" + filepath.Join(secret, "key"), "deep": "->../../../../../../etc/hostname", "code": "->/opt/ml/code/a.py",
	})
	if err := syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	around := tree(t, map[string]string{"code/a.py": "print()"})
	s := objstore.NewMem("s3://b/")
	s.Put("j/output/model-of-another", []byte("stays"))
	stats, err := UploadTree(t.Context(), s, "j/output/model", dir, UploadOptions{Pack: PackOptions{At: "/opt/ml/model", Around: around, AroundAt: "/opt/ml"}})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"j/output/model-of-another stays",
		"j/output/model/abs y", "j/output/model/code print()", "j/output/model/d/e/x y", "j/output/model/d/up weights",
		"j/output/model/model weights", "j/output/model/none ",
	}
	if got := everything(t, s); !slices.Equal(got, want) {
		t.Errorf("objects\n%q, want\n%q", got, want)
	}
	if stats.Files != 6 || stats.Bytes != 23 || stats.Packed != 23 || stats.Skipped != 5 || stats.Outside != 2 || stats.Empty || stats.URI != "s3://b/j/output/model" {
		t.Errorf("%+v", stats)
	}
}

func TestUploadTreeOfNothing(t *testing.T) { // OUT-4
	for name, files := range map[string]map[string]string{"empty": {}, "only directories": {"a/b/": ""}, "only what is skipped": {"l": "->/etc/hostname"}} {
		s := objstore.NewMem("s3://b/")
		stats, err := UploadTree(t.Context(), s, "k", tree(t, files), UploadOptions{})
		if err != nil || !stats.Empty || len(everything(t, s)) != 0 {
			t.Errorf("%s: %+v, %v", name, stats, err)
		}
	}
}

// refusing is a store that stops taking objects, in one of two ways, and may stop removing them.
type refusing struct {
	*objstore.Mem
	from    int64 // the Commit, counted from 1, that fails
	made    bool  // though the object is there
	deletes error
	discard bool // what is written
	n       atomic.Int64
	bytes   atomic.Int64
	most    atomic.Int64
}

type refusingWriter struct {
	objstore.Writer
	s    *refusing
	size int64
}

func (s *refusing) Create(ctx context.Context, key string, o objstore.CreateOptions) (objstore.Writer, error) {
	w, err := s.Mem.Create(ctx, key, o)
	if now := s.bytes.Add(o.Size); now > s.most.Load() {
		s.most.Store(now)
	}
	return &refusingWriter{w, s, o.Size}, err
}

func (w *refusingWriter) Write(b []byte) (int, error) {
	if w.s.discard {
		return len(b), nil
	}
	return w.Writer.Write(b)
}

func (w *refusingWriter) Commit(ctx context.Context) error {
	defer w.s.bytes.Add(-w.size)
	if w.s.n.Add(1) != w.s.from {
		return w.Writer.Commit(ctx)
	}
	if w.s.made {
		return errors.Join(w.Writer.Commit(ctx), objstore.ErrAccessDenied)
	}
	return objstore.ErrAccessDenied
}

func (s *refusing) Delete(ctx context.Context, key string) error {
	return errors.Join(s.deletes, s.Mem.Delete(ctx, key))
}

// TestUploadTreeFailuresLeaveNothing holds that no half of a model is left to be taken for a whole one.
func TestUploadTreeFailuresLeaveNothing(t *testing.T) {
	files := map[string]string{}
	for i := range 40 {
		files[fmt.Sprintf("d/%02d", i)] = strings.Repeat("x", 100)
	}
	dir := tree(t, files)
	for _, made := range []bool{false, true} {
		s := &refusing{Mem: objstore.NewMem("s3://b/"), from: 20, made: made}
		s.Put("model-of-another", nil)
		_, err := UploadTree(t.Context(), s, "model", dir, UploadOptions{})
		if left := everything(t, s); !errors.Is(err, objstore.ErrAccessDenied) || !strings.Contains(err.Error(), "d/") || !slices.Equal(left, []string{"model-of-another "}) {
			t.Errorf("%v; left: %q", err, left)
		}
	}
	s := &refusing{Mem: objstore.NewMem("s3://b/"), from: 20, deletes: objstore.ErrNoBucket}
	if _, err := UploadTree(t.Context(), s, "model", dir, UploadOptions{}); err == nil || !strings.Contains(err.Error(), "remain below s3://b/model") {
		t.Errorf("what could not be removed is not told: %v", err)
	}
	s = &refusing{Mem: objstore.NewMem("s3://b/")}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(objstore.ErrChanged)
	if _, err := UploadTree(ctx, s, "model", dir, UploadOptions{}); !errors.Is(err, objstore.ErrChanged) || len(everything(t, s)) != 0 {
		t.Errorf("cancelled: %v", err)
	}
}

// TestUploadTreeHoldsLittle holds that files that are on their way together are small.
func TestUploadTreeHoldsLittle(t *testing.T) {
	dir := t.TempDir()
	for i := range 12 {
		name := filepath.Join(dir, fmt.Sprint(i))
		if err := errors.Join(os.WriteFile(name, nil, 0o644), os.Truncate(name, 20<<20)); err != nil {
			t.Fatal(err)
		}
	}
	s := &refusing{Mem: objstore.NewMem("s3://b/"), discard: true}
	if _, err := UploadTree(t.Context(), s, "model", dir, UploadOptions{}); err != nil {
		t.Fatal(err)
	}
	if most := s.most.Load(); most > treeBudget {
		t.Errorf("%d bytes were on their way at once", most)
	}
}
