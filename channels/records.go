package channels

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/optml/optml/dataset"
	"github.com/optml/optml/framing"
)

// held is how much of an entry of unknown length is held in memory; more of it goes to a file.
const held = 1 << 20

// sink takes the bytes of an epoch.
type sink interface {
	io.Writer
	splice(f *os.File, n int64) error
	drain(b dataset.Splicer, n int64) error
}

// records makes one RecordIO record of each entry (PIPE-11, AUG-4). The length stands before the bytes: where it is not
// known beforehand (gzip, the objects of manifests), the bytes are kept until it is.
type records struct {
	w       sink
	tempDir string

	pad   int
	keeps bool
	mem   []byte
	file  *os.File
	size  int64
}

var zeros [4]byte

func (r *records) add(p dataset.Piece) error {
	if p.First {
		r.keeps = p.Size < 0 && !p.Last
		if r.keeps {
			r.mem, r.size = r.mem[:0], 0
		} else if err := r.begin(max(p.Size, int64(len(p.Data)))); err != nil {
			return err
		}
	}
	if r.keeps {
		if err := r.keep(p.Data); err != nil || !p.Last {
			return err
		}
		return r.kept()
	}
	if err := send(r.w, p); err != nil || !p.Last {
		return err
	}
	return r.end()
}

// send writes a piece, which may be a whole file or body.
func send(w sink, p dataset.Piece) error {
	switch {
	case p.Body != nil:
		return w.drain(p.Body, p.N)
	case p.File == nil:
		_, err := w.Write(p.Data)
		return err
	}
	err := w.splice(p.File, p.N)
	if err == nil || errors.Is(err, errShort) {
		if changed := p.Entry.Unchanged(p.File); changed != nil {
			return changed
		}
	}
	return err
}

func (r *records) begin(size int64) error {
	header, pad, err := framing.RecordIOHeader(size)
	if err != nil {
		return err // ruling 9
	}
	r.pad = pad
	_, err = r.w.Write(header[:])
	return err
}

func (r *records) end() error {
	_, err := r.w.Write(zeros[:r.pad])
	return err
}

func (r *records) keep(p []byte) error {
	r.size += int64(len(p))
	if r.size > framing.MaxRecordIO {
		_, _, err := framing.RecordIOHeader(r.size)
		return err
	}
	if r.size <= held {
		r.mem = append(r.mem, p...)
		return nil
	}
	if r.file == nil {
		f, err := os.CreateTemp(r.tempDir, "record-")
		if err != nil {
			return fmt.Errorf("keep record: %w", err)
		}
		r.file = f
		if err := os.Remove(f.Name()); err != nil {
			return fmt.Errorf("keep record: %w", err)
		}
	}
	for _, b := range [][]byte{r.mem, p} {
		if _, err := r.file.Write(b); err != nil {
			return fmt.Errorf("keep record: %w", err)
		}
	}
	r.mem = r.mem[:0]
	return nil
}

// kept sends what was kept.
func (r *records) kept() error {
	if err := r.begin(r.size); err != nil {
		return err
	}
	if r.size <= held {
		if _, err := r.w.Write(r.mem); err != nil {
			return err
		}
		return r.end()
	}
	buf := make([]byte, pipeBuffer)
	if n, err := io.CopyBuffer(onlyWriter{r.w}, io.NewSectionReader(r.file, 0, r.size), buf); err != nil {
		return err
	} else if n != r.size {
		return fmt.Errorf("keep record: %d of %d bytes are there", n, r.size)
	}
	if _, err := r.file.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("keep record: %w", err)
	}
	if err := r.file.Truncate(0); err != nil {
		return fmt.Errorf("keep record: %w", err)
	}
	return r.end()
}

func (r *records) close() {
	if r.file != nil {
		r.file.Close()
	}
}
