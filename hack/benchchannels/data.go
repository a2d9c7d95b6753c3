package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/gzip"

	"github.com/optml/optml/hack/measure"
)

// set is objects of one size below a prefix.
type set struct {
	prefix string // with the slash
	count  int
	size   int64
	perDir int // objects in one directory; 0: all
}

func (s set) key(i int) string {
	if s.perDir > 0 {
		return fmt.Sprintf("%s%03d/%05d.bin", s.prefix, i/s.perDir, i)
	}
	return fmt.Sprintf("%s%05d.bin", s.prefix, i)
}

func (s set) bytes() int64 { return int64(s.count) * s.size }

// gets are the requests that bring a set: parts of 8 MiB for what is larger.
func (s set) gets() (gets []get) {
	const part = 8 << 20
	for i := range s.count {
		if s.size <= part {
			gets = append(gets, get{key: s.key(i), n: s.size})
			continue
		}
		for off := int64(0); off < s.size; off += part {
			gets = append(gets, get{s.key(i), off, min(part, s.size-off), true})
		}
	}
	return gets
}

// make writes a set below dir, once: bytes that look random, each object its own.
func (s set) make(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, s.key(s.count-1))); err == nil {
		return nil
	}
	block := make([]byte, min(s.size, 1<<20))
	for i := range s.count {
		path := filepath.Join(dir, s.key(i))
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if err != nil {
			return err
		}
		f, err := os.Create(path)
		if err != nil {
			return err
		}
		var seed [32]byte
		copy(seed[:], s.prefix)
		binary.LittleEndian.PutUint64(seed[24:], uint64(i))
		random := rand.NewChaCha8(seed)
		for left := s.size; left > 0 && err == nil; {
			b := block[:min(left, int64(len(block)))]
			_, _ = random.Read(b) // has no errors
			_, err = f.Write(b)
			left -= int64(len(b))
		}
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// makeText makes the objects of the gzip rows: the source text of Go's own library, of size bytes before it was compressed,
// each beginning at another place of it.
func (s set) makeText(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, s.key(s.count-1))); err == nil {
		return nil
	}
	text, err := measure.GoSource(math.MaxInt64)
	if err != nil {
		return err
	}
	if len(text) < 8<<20 {
		return errors.New("no source of Go where go env GOROOT says")
	}
	for i := range s.count {
		from := len(text) / s.count * i
		again := io.MultiReader(bytes.NewReader(text[from:]), &endless{text: text})
		path := filepath.Join(dir, s.key(i))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		f, err := os.Create(path)
		if err != nil {
			return err
		}
		z := gzip.NewWriter(f)
		_, err = io.CopyN(z, again, s.size)
		if err = errors.Join(err, z.Close(), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// endless is a text again and again.
type endless struct {
	text []byte
	at   int
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.text[e.at:])
	e.at = (e.at + n) % len(e.text)
	return n, nil
}
