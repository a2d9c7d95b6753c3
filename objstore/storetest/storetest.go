// Package storetest is the conformance suite of objstore.Store: what every store promises, and every fake too.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/optml/optml/objstore"
)

// Run runs the suite, but for the parts that are to be skipped, each for a reason that the caller gives. fresh makes an
// empty store of the test's own.
func Run(t *testing.T, fresh func(t *testing.T) objstore.Store, skip ...string) {
	for _, c := range []struct {
		name string
		test func(*testing.T, objstore.Store)
	}{
		{"RoundTrip", roundTrip},
		{"Overwrite", overwrite},
		{"NotVisibleBeforeCommit", notVisible},
		{"AbortLeavesNothing", abort},
		{"Ranges", ranges},
		{"KeyOrder", keyOrder},
		{"Prefixes", prefixes},
		{"OddKeys", oddKeys},
		{"ControlCharacters", controlCharacters},
		{"ManyKeys", manyKeys},
		{"Missing", missing},
		{"Changed", changed},
		{"Cancelled", cancelled},
		{"Concurrent", concurrent},
		{"SweepKeepsTheLiving", sweep},
		{"BadKeys", badKeys},
	} {
		if !slices.Contains(skip, c.name) {
			t.Run(c.name, func(t *testing.T) { c.test(t, fresh(t)) })
		}
	}
}

// Put writes an object or ends the test.
func Put(t testing.TB, s objstore.Store, key string, data []byte) {
	t.Helper()
	w, err := s.Create(context.Background(), key, objstore.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// Get reads an object or ends the test.
func Get(t testing.TB, s objstore.Store, key string) []byte {
	t.Helper()
	b, err := read(s.Open(context.Background(), key, 0, -1))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func read(r io.ReadCloser, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// Keys lists keys or ends the test.
func Keys(t testing.TB, s objstore.Store, prefix string) []string {
	t.Helper()
	var keys []string
	for o, err := range s.List(context.Background(), prefix) {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, o.Key)
	}
	return keys
}

// Bytes are n bytes that look random and are the same each time.
func Bytes(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(n)})
	r.Read(b)
	return b
}

func roundTrip(t *testing.T, s objstore.Store) {
	for _, n := range []int{0, 1, 65535, 65536, 65537, 3<<20 + 1} {
		key, data := fmt.Sprintf("dir/%d.bin", n), Bytes(n)
		w, err := s.Create(t.Context(), key, objstore.CreateOptions{ContentType: "text/csv"})
		if err != nil {
			t.Fatal(err)
		}
		for p := data; len(p) > 0; p = p[min(len(p), 100_001):] {
			if m, err := w.Write(p[:min(len(p), 100_001)]); err != nil || m != min(len(p), 100_001) {
				t.Fatalf("Write: %d, %v", m, err)
			}
		}
		if err := w.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := w.Abort(); err != nil {
			t.Errorf("Abort after Commit: %v", err)
		}
		if _, err := w.Write([]byte("x")); err == nil {
			t.Error("Write after Commit is no error")
		}
		if err := w.Commit(t.Context()); err == nil {
			t.Error("second Commit is no error")
		}
		if got := Get(t, s, key); !bytes.Equal(got, data) {
			t.Errorf("%s: read %d bytes that differ from the %d written", key, len(got), n)
		}
		o, err := s.Stat(t.Context(), key)
		if err != nil || o.Key != key || o.Size != int64(n) || time.Since(o.ModTime).Abs() > time.Hour {
			t.Errorf("Stat: %+v, %v", o, err)
		}
		for l, err := range s.List(t.Context(), key) {
			if err != nil || l.Key != o.Key || l.Size != o.Size || l.ETag != o.ETag {
				t.Errorf("List says %+v, %v, Stat %+v", l, err, o)
			}
		}
		if !strings.HasSuffix(s.URI(key), "/"+key) {
			t.Errorf("URI of %q is %q", key, s.URI(key))
		}
	}
}

func overwrite(t *testing.T, s objstore.Store) {
	Put(t, s, "k", []byte("old and longer"))
	Put(t, s, "k", []byte("new"))
	if got := string(Get(t, s, "k")); got != "new" {
		t.Errorf("after overwriting: %q", got)
	}
	if err := s.Delete(t.Context(), "k"); err != nil {
		t.Error(err)
	}
	if keys := Keys(t, s, ""); len(keys) != 0 {
		t.Errorf("after Delete: %q", keys)
	}
	if err := s.Delete(t.Context(), "k"); err != nil {
		t.Errorf("Delete of a missing object: %v", err)
	}
}

func notVisible(t *testing.T, s objstore.Store) {
	Put(t, s, "d/k", []byte("old"))
	w, err := s.Create(t.Context(), "d/k", objstore.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	if _, err := w.Write([]byte("half of the new")); err != nil {
		t.Fatal(err)
	}
	if got := string(Get(t, s, "d/k")); got != "old" {
		t.Errorf("before Commit: %q", got)
	}
	if keys := Keys(t, s, ""); !slices.Equal(keys, []string{"d/k"}) {
		t.Errorf("keys before Commit: %q", keys)
	}
}

func abort(t *testing.T, s objstore.Store) {
	w, err := s.Create(t.Context(), "a/b/c", objstore.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(Bytes(1 << 20)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := w.Abort(); err != nil {
			t.Fatal(err)
		}
	}
	if keys := Keys(t, s, ""); len(keys) != 0 {
		t.Errorf("after Abort: %q", keys)
	}
	if err := w.Commit(t.Context()); err == nil {
		t.Error("Commit after Abort is no error")
	}
	Put(t, s, "a/b", []byte("x")) // no directory is in the way
}

func ranges(t *testing.T, s objstore.Store) {
	data := Bytes(1000)
	Put(t, s, "k", data)
	Put(t, s, "empty", nil)
	for _, c := range []struct{ off, n, from, to int64 }{
		{0, -1, 0, 1000}, {0, 1000, 0, 1000}, {0, 10, 0, 10}, {990, 10, 990, 1000}, {990, -1, 990, 1000}, {990, 100, 990, 1000},
		{500, 1, 500, 501}, {0, 0, 0, 0}, {1000, -1, 0, 0}, {1000, 5, 0, 0}, {1000, 0, 0, 0}, {0, 5000, 0, 1000},
	} {
		if got, err := read(s.Open(t.Context(), "k", c.off, c.n)); err != nil || !bytes.Equal(got, data[c.from:c.to]) {
			t.Errorf("Open(%d, %d): %d bytes, %v, want [%d:%d]", c.off, c.n, len(got), err, c.from, c.to)
		}
		o, err := s.Stat(t.Context(), "k")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := read(s.OpenVersion(t.Context(), o, c.off, c.n)); err != nil || !bytes.Equal(got, data[c.from:c.to]) {
			t.Errorf("OpenVersion(%d, %d): %d bytes, %v, want [%d:%d]", c.off, c.n, len(got), err, c.from, c.to)
		}
	}
	for _, c := range [][2]int64{{1001, -1}, {1001, 0}, {5000, 10}, {-1, 5}} {
		if got, err := read(s.Open(t.Context(), "k", c[0], c[1])); err == nil {
			t.Errorf("Open(%d, %d) outside of 1000 bytes: %d bytes and no error", c[0], c[1], len(got))
		}
	}
	for _, n := range []int64{-1, 0, 10} {
		if got, err := read(s.Open(t.Context(), "empty", 0, n)); err != nil || len(got) != 0 {
			t.Errorf("Open(0, %d) of an empty object: %q, %v", n, got, err)
		}
	}
}

// keyOrder: listings come in UTF-8 byte order of whole keys, which is not the order of a directory walk.
func keyOrder(t *testing.T, s objstore.Store) {
	keys := []string{
		"a/b", "a-b", "a.b", "a0", "ab", "a b", "a/b/", "a/c/d", "a/c-d", "a/c.d/e", "A", "B/x", "z", "é", "e\u0301", "日本", "\U0001F600", "\uffee", "a!", "a/!",
	}
	keys = slices.DeleteFunc(keys, func(k string) bool { return strings.HasSuffix(k, "/") })
	for _, k := range keys {
		Put(t, s, k, []byte(k))
	}
	want := slices.Sorted(slices.Values(keys))
	if got := Keys(t, s, ""); !slices.Equal(got, want) {
		t.Errorf("order is\n%q, want\n%q", got, want)
	}
	// Stopping early is allowed anywhere.
	for n := range len(want) {
		var got []string
		for o, err := range s.List(t.Context(), "") {
			if err != nil {
				t.Fatal(err)
			}
			if got = append(got, o.Key); len(got) == n+1 {
				break
			}
		}
		if !slices.Equal(got, want[:n+1]) {
			t.Fatalf("first %d: %q", n+1, got)
		}
	}
}

// prefixes: a plain string prefix (FILE-3, BT-30).
func prefixes(t *testing.T, s objstore.Store) {
	keys := []string{"data/train-01/b", "data/train.csv", "data/train/a", "data/train/sub/c", "database", "other"}
	for _, k := range keys {
		Put(t, s, k, nil)
	}
	for prefix, want := range map[string][]string{
		"":                keys,
		"data":            keys[:5],
		"data/":           keys[:4],
		"data/train":      keys[:4],
		"data/train/":     keys[2:4],
		"data/train/s":    keys[3:4],
		"data/train.csv":  keys[1:2],
		"data/train.csvx": nil,
		"data/train.csv/": nil,
		"none/at/all":     nil,
		"o":               keys[5:],
	} {
		if got := Keys(t, s, prefix); !slices.Equal(got, want) {
			t.Errorf("List(%q) = %q, want %q", prefix, got, want)
		}
	}
}

// OddKeys are keys that every store can hold and that naive escaping spoils.
var OddKeys = []string{
	"odd/a b", "odd/a+b", "odd/a%b", "odd/a%20b", "odd/a&b=c?d#e", "odd/a'b\"c", "odd/a;b:c@d,e", "odd/<a>&amp;", "odd/a\\b", "odd/a*b~c!d(e)",
	"odd/..a/b..", "odd/...", "odd/.hidden", "odd/-rf", "odd/ü/ñ/日本語.csv", "odd/u\u0308", "odd/\U0001F600.bin", "odd/tab\there", "odd/line\nbreak",
	"odd/ lead", "odd/trail ", "odd/$HOME`x`", "odd/[1]{2}|3^4", "odd/" + strings.Repeat("n", 200) + "/" + strings.Repeat("é", 100),
}

func oddKeys(t *testing.T, s objstore.Store) { holds(t, s, OddKeys) }

// controlCharacters are legal in keys, but not in XML, so a server must know how to list them.
func controlCharacters(t *testing.T, s objstore.Store) {
	holds(t, s, []string{"odd/ctrl\x01", "odd/ctrl\x1f\x7f", "odd/\ufffe\uffff"})
}

func holds(t *testing.T, s objstore.Store, keys []string) {
	t.Helper()
	for _, k := range keys {
		Put(t, s, k, []byte("data of "+k))
	}
	want := slices.Sorted(slices.Values(keys))
	if got := Keys(t, s, "odd/"); !slices.Equal(got, want) {
		t.Errorf("listed %q\nwant   %q", got, want)
	}
	for _, k := range keys {
		if got := string(Get(t, s, k)); got != "data of "+k {
			t.Errorf("%q reads %q", k, got)
		}
		if got := Keys(t, s, k); len(got) != 1 || got[0] != k {
			t.Errorf("List(%q) = %q", k, got)
		}
		if err := s.Delete(t.Context(), k); err != nil {
			t.Error(err)
		}
	}
	if got := Keys(t, s, ""); len(got) != 0 {
		t.Errorf("after Delete: %q", got)
	}
}

// manyKeys is more than one page of S3.
func manyKeys(t *testing.T, s objstore.Store) {
	var want []string
	for i := range 1203 {
		k := fmt.Sprintf("many/%d/%05d", i%3, i)
		want = append(want, k)
		Put(t, s, k, nil)
	}
	slices.Sort(want)
	if got := Keys(t, s, "many/"); !slices.Equal(got, want) {
		t.Errorf("listed %d of %d keys, or not in order", len(got), len(want))
	}
}

func isError(t *testing.T, what string, err, class error) {
	t.Helper()
	var e *objstore.Error
	if !errors.As(err, &e) || !errors.Is(err, class) {
		t.Errorf("%s: %v, want an *Error of class %q", what, err, class)
	} else if e.Op == "" || e.URI == "" || !strings.Contains(err.Error(), e.URI) {
		t.Errorf("%s: %q names no step or no object", what, err)
	}
}

func missing(t *testing.T, s objstore.Store) {
	Put(t, s, "there/x", nil)
	for _, k := range []string{"no", "there", "there/x/y", "there/no/no"} {
		_, err := s.Stat(t.Context(), k)
		isError(t, "Stat of "+k, err, objstore.ErrNotFound)
		_, err = read(s.Open(t.Context(), k, 0, -1))
		isError(t, "Open of "+k, err, objstore.ErrNotFound)
		_, err = read(s.Open(t.Context(), k, 0, 0))
		isError(t, "Open of nothing of "+k, err, objstore.ErrNotFound)
	}
}

// changed: an object that is another by now is never taken for the one that was listed.
func changed(t *testing.T, s objstore.Store) {
	Put(t, s, "k", Bytes(100_000))
	o, err := s.Stat(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := read(s.OpenVersion(t.Context(), o, 0, -1)); err != nil {
		t.Fatalf("unchanged: %v", err)
	}
	time.Sleep(20 * time.Millisecond) // where a version is a time, times must differ
	other := Bytes(100_000)
	other[99_999]++
	Put(t, s, "k", other)
	_, err = read(s.OpenVersion(t.Context(), o, 0, -1))
	isError(t, "same size", err, objstore.ErrChanged)
	_, err = read(s.OpenVersion(t.Context(), o, 5, 10))
	isError(t, "range", err, objstore.ErrChanged)
	Put(t, s, "k", Bytes(50))
	_, err = read(s.OpenVersion(t.Context(), o, 0, -1))
	isError(t, "shorter", err, objstore.ErrChanged)
	if err := s.Delete(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	_, err = read(s.OpenVersion(t.Context(), o, 0, -1))
	isError(t, "gone", err, objstore.ErrNotFound)
}

func cancelled(t *testing.T, s objstore.Store) {
	Put(t, s, "k", Bytes(10))
	ctx, cancel := context.WithCancel(t.Context())
	w, err := s.Create(ctx, "new", objstore.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	_, err = s.Stat(ctx, "k")
	check := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s with a cancelled context: %v", what, err)
		}
	}
	check("Stat", err)
	_, err = read(s.Open(ctx, "k", 0, -1))
	check("Open", err)
	_, err = s.Create(ctx, "k2", objstore.CreateOptions{})
	check("Create", err)
	check("Delete", s.Delete(ctx, "k"))
	check("Commit", w.Commit(ctx))
	err = nil
	for _, e := range s.List(ctx, "") {
		err = errors.Join(err, e)
	}
	check("List", err)
	if err := w.Abort(); err != nil {
		t.Errorf("Abort after a cancelled Commit: %v", err)
	}
	if got := Keys(t, s, ""); !slices.Equal(got, []string{"k"}) {
		t.Errorf("keys: %q", got)
	}
}

func concurrent(t *testing.T, s objstore.Store) {
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 20 {
				key := fmt.Sprintf("c/%d/%d", g, i)
				w, err := s.Create(t.Context(), key, objstore.CreateOptions{})
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := w.Write([]byte(key)); err != nil {
					t.Error(err)
				}
				if i%4 == 3 {
					w.Abort()
					continue
				}
				if err := w.Commit(t.Context()); err != nil {
					t.Error(err)
				}
				for _, err := range s.List(t.Context(), "c/") {
					if err != nil {
						t.Error(err)
					}
				}
				if got, err := read(s.Open(t.Context(), key, 0, -1)); err != nil || string(got) != key {
					t.Errorf("%s: %q, %v", key, got, err)
				}
			}
		})
	}
	wg.Wait()
	if n := len(Keys(t, s, "c/")); n != 8*15 {
		t.Errorf("%d objects, want %d", n, 8*15)
	}
}

func sweep(t *testing.T, s objstore.Store) {
	w, err := s.Create(t.Context(), "d/k", objstore.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	if _, err := w.Write([]byte("alive")); err != nil {
		t.Fatal(err)
	}
	Put(t, s, "d/other", nil)
	if n, err := s.Sweep(t.Context(), "d/", time.Hour); n != 0 || err != nil {
		t.Errorf("Sweep: %d, %v", n, err)
	}
	if err := w.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := Keys(t, s, ""); !slices.Equal(got, []string{"d/k", "d/other"}) {
		t.Errorf("keys after Sweep: %q", got)
	}
}

func badKeys(t *testing.T, s objstore.Store) {
	_, err := s.Create(t.Context(), "", objstore.CreateOptions{})
	isError(t, "Create of the empty key", err, objstore.ErrBadKey)
	if got := Keys(t, s, ""); len(got) != 0 {
		t.Errorf("keys: %q", got)
	}
}
