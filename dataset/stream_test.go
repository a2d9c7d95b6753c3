package dataset

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/optml/optml/job"
	"github.com/optml/optml/objstore"
	"github.com/optml/optml/objstore/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// slow is a store whose answers come late and out of order, and that counts what it gives at once.
type slow struct {
	*objstore.Mem
	delay     time.Duration
	now, most atomic.Int64
	requests  atomic.Int64
}

func (s *slow) OpenVersion(ctx context.Context, o objstore.Object, off, n int64) (io.ReadCloser, error) {
	s.requests.Add(1)
	if now := s.now.Add(1); now > s.most.Load() {
		s.most.Store(now)
	}
	defer s.now.Add(-1)
	select {
	case <-time.After(rand.N(s.delay + 1)):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return s.Mem.OpenVersion(ctx, o, off, n)
}

func entriesOf(s objstore.Store, sized bool, keys ...string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for _, k := range keys {
			o, err := s.Stat(context.Background(), k)
			if err != nil || !sized {
				o = objstore.Object{Key: k, Size: -1}
			}
			if !yield(Entry{Store: s, Object: o}, nil) {
				return
			}
		}
	}
}

// drain reads a stream to its end and checks that the pieces of each entry are framed by First and Last.
func drain(t *testing.T, s *Stream) (map[string][]byte, []string, error) {
	t.Helper()
	defer s.Close()
	got, order := map[string][]byte{}, []string{}
	open := ""
	for {
		p, err := s.Next()
		if err == io.EOF {
			if open != "" {
				t.Errorf("EOF within %s", open)
			}
			return got, order, nil
		} else if err != nil {
			if _, again := s.Next(); again != err {
				t.Errorf("after %v Next says %v", err, again)
			}
			return got, order, err
		}
		k := p.Entry.Object.Key
		if p.Entry.Store == nil {
			k = p.Entry.name
		}
		if p.First != (open == "") || !p.First && open != k {
			t.Errorf("piece of %s within %q, first %v", k, open, p.First)
		}
		if p.First {
			order = append(order, k)
		}
		if open = k; p.Last {
			open = ""
		}
		got[k] = append(got[k], p.Data...)
		if p.First && p.Size >= 0 && p.Last && p.Size != int64(len(p.Data)) {
			t.Errorf("%s: size %d, %d bytes", k, p.Size, len(p.Data))
		}
	}
}

// TestStreamOrder: bytes and order are those of the sequence, whatever comes first; sizes around the chunk's, known and
// not known beforehand, compressed or not.
func TestStreamOrder(t *testing.T) {
	const chunk = 64 << 10
	store := &slow{Mem: objstore.NewMem("s3://b/"), delay: 3 * time.Millisecond}
	want, zipped := map[string][]byte{}, &slow{Mem: objstore.NewMem("s3://z/"), delay: 3 * time.Millisecond}
	var keys []string
	for i, n := range []int{0, 1, chunk - 1, chunk, chunk + 1, 3*chunk + 7, 0, 10, 5 * chunk, 100, 2} {
		for j := range 4 {
			k := fmt.Sprintf("%02d-%d", i, j)
			data := storetest.Bytes(n)
			keys, want[k] = append(keys, k), data
			store.Put(k, data)
			var z bytes.Buffer
			half := len(data) / 2
			for _, member := range [][]byte{data[:half], data[half:]} { // PIPE-10: all members
				w := gzip.NewWriter(&z)
				w.Write(member)
				w.Close()
			}
			zipped.Put(k, z.Bytes())
		}
	}
	for _, c := range []struct {
		name   string
		store  objstore.Store
		sized  bool
		gunzip bool
	}{{"sized", store, true, false}, {"unsized", store, false, false}, {"gzip", zipped, true, true}, {"gzip, unsized", zipped, false, true}} {
		for _, workers := range []int{1, 2, 16} {
			s := NewStream(t.Context(), entriesOf(c.store, c.sized, keys...), StreamOptions{Chunk: chunk, Window: 6 * chunk, Workers: workers, Gunzip: c.gunzip})
			got, order, err := drain(t, s)
			if err != nil || strings.Join(order, " ") != strings.Join(keys, " ") {
				t.Fatalf("%s, %d workers: %v, order %v", c.name, workers, err, order)
			}
			for k, w := range want {
				if !bytes.Equal(got[k], w) {
					t.Errorf("%s, %d workers: %s has %d bytes, want %d", c.name, workers, k, len(got[k]), len(w))
				}
			}
		}
	}
	if m := store.most.Load(); m < 2 || m > 16 {
		t.Errorf("%d requests at once", m)
	}
}

// TestStreamValues: an augmented manifest's values and objects in turn; values are not gunzipped.
func TestStreamValues(t *testing.T) {
	b := newBucket(nil)
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	io.WriteString(w, "object")
	w.Close()
	b.Put("o", z.Bytes())
	b.Put("m", []byte(strings.Repeat(`{"x-ref":"s3://bucket/o","y":"value"}`+"\n", 3)))
	set := newSet(t, Config{Source: augmentedSource("y", "x-ref"), Opener: b})
	s := NewStream(t.Context(), set.Epoch(t.Context(), 0), StreamOptions{Gunzip: true})
	defer s.Close()
	var all []string
	for {
		p, err := s.Next()
		if err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if len(p.Data) > 0 {
			all = append(all, string(p.Data))
		}
	}
	if got := strings.Join(all, " "); got != "value object value object value object" {
		t.Error(got)
	}
}

// TestStreamErrors: what came before an error is good, the error names its object, and there is no end instead of it.
func TestStreamErrors(t *testing.T) {
	store := objstore.NewMem("s3://b/")
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	w.Write(storetest.Bytes(200_000))
	w.Close()
	whole := z.Bytes()
	flipped := bytes.Clone(whole)
	flipped[len(flipped)-6] ^= 1 // of the checksum
	garbage := bytes.Clone(whole)
	for i := range 50 {
		garbage[100+i] = 0xff
	}
	store.Put("a", whole)
	for name, c := range map[string]struct {
		data []byte
		is   error
		text string
	}{
		"missing":                 {nil, objstore.ErrNotFound, "s3://b/bad: not found"},
		"not gzip":                {[]byte("id,label\n1,2\n"), ErrGzip, "invalid header"},
		"empty":                   {[]byte{}, ErrGzip, "ends early"},
		"truncated":               {whole[:len(whole)/2], ErrGzip, "ends early"},
		"truncated in the header": {whole[:5], ErrGzip, "ends early"},
		"truncated in its end":    {whole[:len(whole)-3], ErrGzip, "ends early"},
		"wrong checksum":          {flipped, ErrGzip, "checksum"},
		"second member cut":       {append(bytes.Clone(whole), whole[:50]...), ErrGzip, "ends early"},
		"something after":         {append(bytes.Clone(whole), "trailing garbage"...), ErrGzip, "invalid header"},
	} {
		store.Delete(t.Context(), "bad")
		if c.data != nil {
			store.Put("bad", c.data)
		}
		s := NewStream(t.Context(), entriesOf(store, false, "a", "bad", "a"), StreamOptions{Channel: "train", Chunk: 32 << 10, Gunzip: true})
		got, order, err := drain(t, s)
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Channel != "train" || e.Object != "s3://b/bad" || !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v", name, err)
		}
		if len(got["a"]) != 200_000 || len(order) == 0 || order[0] != "a" {
			t.Errorf("%s: %d bytes of the object before, order %v", name, len(got["a"]), order)
		}
	}
	boom := errors.New("listing broke")
	s := NewStream(t.Context(), func(yield func(Entry, error) bool) {
		for e, err := range entriesOf(store, true, "a") {
			yield(e, err)
		}
		yield(Entry{}, boom)
	}, StreamOptions{})
	if got, _, err := drain(t, s); !errors.Is(err, boom) || !bytes.Equal(got["a"], whole) {
		t.Errorf("listing: %d bytes, %v", len(got["a"]), err)
	}
}

// TestStreamStops: by its context with the cause, by Close, at any moment, without a goroutine left (TestMain looks).
func TestStreamStops(t *testing.T) {
	store := &slow{Mem: objstore.NewMem("s3://b/"), delay: time.Millisecond}
	var keys []string
	for i := range 50 {
		k := fmt.Sprint(i)
		keys = append(keys, k)
		store.Put(k, storetest.Bytes(100_000))
	}
	for pieces := range 20 {
		cause := errors.New("stopped by the user")
		ctx, cancel := context.WithCancelCause(t.Context())
		s := NewStream(ctx, entriesOf(store, pieces%2 == 0, keys...), StreamOptions{Chunk: 32 << 10, Window: 128 << 10})
		for range pieces {
			if _, err := s.Next(); err != nil {
				t.Fatal(err)
			}
		}
		if pieces%3 == 0 {
			cancel(cause)
			if _, err := s.Next(); !errors.Is(err, cause) {
				// One piece may have been ready.
				for err == nil {
					_, err = s.Next()
				}
				if !errors.Is(err, cause) {
					t.Errorf("after %d pieces: %v", pieces, err)
				}
			}
		}
		s.Close()
		if _, err := s.Next(); err == nil || err == io.EOF {
			t.Errorf("after Close: %v", err)
		}
		cancel(nil)
	}
}

// TestStreamMemory: what is held does not depend on the data's size, nor on a reader that is slow.
func TestStreamMemory(t *testing.T) {
	store := zeros{objstore.NewMem("s3://b/")}
	entries := func(yield func(Entry, error) bool) {
		for i := range 4 {
			if !yield(Entry{Store: store, Object: objstore.Object{Key: fmt.Sprint(i), Size: 256 << 20}}, nil) {
				return
			}
		}
	}
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	s := NewStream(t.Context(), entries, StreamOptions{Chunk: 1 << 20, Window: 16 << 20})
	defer s.Close()
	var total, most int64
	for n := 0; ; n++ {
		p, err := s.Next()
		if err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		total += int64(len(p.Data))
		if n%200 == 199 {
			time.Sleep(20 * time.Millisecond)
			runtime.GC()
			runtime.ReadMemStats(&now)
			most = max(most, int64(now.HeapAlloc)-int64(before.HeapAlloc))
		}
	}
	if total != 1<<30 || most > 24<<20 {
		t.Errorf("%d bytes, held %d MiB", total, most>>20)
	}
}

// zeros is a store of endless zeros.
type zeros struct{ *objstore.Mem }

func (zeros) OpenVersion(_ context.Context, _ objstore.Object, _, n int64) (io.ReadCloser, error) {
	return io.NopCloser(io.LimitReader(zero{}, n)), nil
}

type zero struct{}

func (zero) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func BenchmarkStream(b *testing.B) {
	for _, c := range []struct {
		name    string
		n, size int
	}{{"20x10MiB", 20, 10 << 20}, {"5000x16KiB", 5000, 16 << 10}} {
		b.Run(c.name, func(b *testing.B) {
			store := objstore.NewMem("s3://b/")
			for i := range c.n {
				store.Put(fmt.Sprintf("in/%06d", i), make([]byte, c.size))
			}
			set, err := New(b.Context(), Config{Source: job.Source{Type: "S3Prefix", URI: "s3://bucket/in/"}, Opener: bucket{store}})
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(c.n * c.size))
			for b.Loop() {
				s := NewStream(b.Context(), set.Epoch(b.Context(), 0), StreamOptions{})
				for {
					if _, err := s.Next(); err == io.EOF {
						break
					} else if err != nil {
						b.Fatal(err)
					}
				}
				s.Close()
			}
		})
	}
}

func FuzzGunzip(f *testing.F) {
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	io.WriteString(w, "seed seed seed")
	w.Close()
	f.Add(z.Bytes())
	f.Add(z.Bytes()[:10])
	f.Add([]byte("plain"))
	f.Fuzz(func(t *testing.T, data []byte) {
		// The standard library is the judge: both take it, with the same bytes, or both do not.
		var want []byte
		r, werr := gzip.NewReader(bytes.NewReader(data))
		if werr == nil {
			want, werr = io.ReadAll(io.LimitReader(r, 8<<20))
		}
		store := objstore.NewMem("s3://b/")
		store.Put("k", data)
		s := NewStream(t.Context(), entriesOf(store, true, "k"), StreamOptions{Gunzip: true, Chunk: 64 << 10})
		defer s.Close()
		var got []byte
		var err error
		for err == nil && len(got) < 8<<20 {
			var p Piece
			p, err = s.Next()
			got = append(got, p.Data...)
		}
		if len(got) >= 8<<20 || len(want) >= 8<<20 {
			return
		}
		if (err == io.EOF) != (werr == nil) || werr == nil && !bytes.Equal(got, want) {
			t.Fatalf("%d bytes, %v; the standard library: %d bytes, %v", len(got), err, len(want), werr)
		}
	})
}

// TestStreamReady: where Ready says so, Next returns at once; where it does not, it turns true when the piece has come.
func TestStreamReady(t *testing.T) {
	store := &slow{Mem: objstore.NewMem("s3://b/"), delay: 2 * time.Millisecond}
	var keys []string
	for i := range 50 {
		k := fmt.Sprintf("%02d", i)
		keys = append(keys, k)
		store.Put(k, storetest.Bytes(i*1000))
	}
	s := NewStream(t.Context(), entriesOf(store, true, keys...), StreamOptions{Chunk: 20_000, Workers: 3})
	defer s.Close()
	pieces := 0
	for ; ; pieces++ {
		for end := time.Now().Add(30 * time.Second); !s.Ready(); time.Sleep(50 * time.Microsecond) {
			if time.Now().After(end) {
				t.Fatalf("never ready after %d pieces", pieces)
			}
		}
		began := time.Now()
		_, err := s.Next()
		if took := time.Since(began); took > 30*time.Second {
			t.Errorf("Next took %s", took)
		}
		if err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if want := 21 + 2*20 + 9*3; pieces != want { // 0 to 20 in one piece, 21 to 40 in two, 41 to 49 in three
		t.Errorf("%d pieces, want %d", pieces, want)
	}
	if !s.Ready() {
		t.Error("not ready after the end")
	}
}
