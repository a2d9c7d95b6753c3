package artifact

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"slices"
	"testing"
)

// weights are float32 as a model has them: their exponents are alike, nothing repeats.
func weights(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
		if i%4 == 3 {
			b[i] = 0x3c + byte(r.IntN(3))
		}
	}
	return b
}

func text(n int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "epoch %d: loss=%d accuracy=%d\n", i, i*7919%1000, i*31%100)
	}
	return b.Bytes()[:n]
}

// TestGzipReadsBack: what is written comes back through Go's reader and through gzip(1), whatever its blocks are.
func TestGzipReadsBack(t *testing.T) {
	for name, data := range map[string][]byte{
		"nothing": nil, "byte": {7}, "block": text(packBlock), "block and a byte": noise(packBlock + 1), "noise": noise(3<<20 + 17),
		"zeros": make([]byte, 5<<20), "weights": weights(3 << 20), "mixed": slices.Concat(text(1500<<10), weights(2<<20), noise(1<<20), text(77)),
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			z := newGzipWriter(&out, 3)
			for part := range slices.Chunk(data, 100_003) {
				if n, err := z.Write(part); n != len(part) || err != nil {
					t.Fatal(n, err)
				}
			}
			if err := z.Close(); err != nil {
				t.Fatal(err)
			}
			r, err := gzip.NewReader(bytes.NewReader(out.Bytes()))
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(got, data) {
				t.Fatalf("%d of %d bytes, %v", len(got), len(data), err)
			}
			cmd := exec.Command("gzip", "-dc")
			cmd.Stdin = bytes.NewReader(out.Bytes())
			if got, err := cmd.Output(); err != nil || !bytes.Equal(got, data) {
				t.Errorf("gzip -dc: %d of %d bytes, %v", len(got), len(data), err)
			}
		})
	}
}

// TestGzipSizes: each kind of data is compressed as well as it deserves.
func TestGzipSizes(t *testing.T) {
	for name, c := range map[string]struct {
		data []byte
		most float64 // of its size
	}{
		"text": {text(4 << 20), 0.35}, "weights": {weights(4 << 20), 0.92}, "noise": {noise(4 << 20), 1.001}, "zeros": {make([]byte, 4<<20), 0.01},
		"a quarter of each block text": {bytes.Repeat(slices.Concat(text(256<<10), noise(768<<10)), 4), 0.9},
	} {
		var out bytes.Buffer
		z := newGzipWriter(&out, 3)
		_, err := z.Write(c.data)
		if err := errors.Join(err, z.Close()); err != nil {
			t.Fatal(err)
		}
		part := float64(out.Len()) / float64(len(c.data))
		t.Logf("%s: %.3f", name, part)
		if part > c.most {
			t.Errorf("%s: %.3f of its size is left, want at most %.3f", name, part, c.most)
		}
	}
}

// TestGzipError: an error of what it writes to is that of a Write or of Close, and nothing hangs.
func TestGzipError(t *testing.T) {
	want := errors.New("full")
	z := newGzipWriter(&failing{after: 2 << 20, err: want}, 3)
	data := noise(1 << 20)
	var err error
	for i := 0; i < 64 && err == nil; i++ {
		_, err = z.Write(data)
	}
	if !errors.Is(err, want) {
		t.Errorf("Write: %v", err)
	}
	if err := z.Close(); !errors.Is(err, want) {
		t.Errorf("Close: %v", err)
	}
}

type failing struct {
	after int
	err   error
}

func (f *failing) Write(p []byte) (int, error) {
	if f.after -= len(p); f.after < 0 {
		return 0, f.err
	}
	return len(p), nil
}

// BenchmarkGzip is the rate of each kind of data.
func BenchmarkGzip(b *testing.B) {
	for name, data := range map[string][]byte{"text": text(64 << 20), "weights": weights(64 << 20), "noise": noise(64 << 20)} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				z := newGzipWriter(io.Discard, 4)
				_, _ = z.Write(data)
				if err := z.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
