package framing

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
)

// Gunzip reads r as gzip, all members to the end (BT-42). Nothing is read before the first Read. What is not gzip from
// its first byte on is ErrNotGzip (BT-41), what breaks later ErrGzip; errors of r come as they are.
func Gunzip(r io.Reader) io.Reader { return &gunzip{src: source{r: r}} }

type gunzip struct {
	src source
	z   *gzip.Reader
	n   int64
	err error
}

// source remembers an error of the reader below, so that it is not taken for damaged data.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

func (g *gunzip) Read(p []byte) (int, error) {
	if g.err != nil {
		return 0, g.err
	}
	if g.z == nil {
		z, err := gzip.NewReader(bufio.NewReaderSize(&g.src, 64<<10))
		if err != nil {
			g.err = g.class(err, ErrNotGzip)
			return 0, g.err
		}
		g.z = z
	}
	n, err := g.z.Read(p)
	g.n += int64(n)
	if err != nil {
		if err != io.EOF {
			err = g.class(err, ErrGzip)
		}
		g.err = err
	}
	return n, err
}

func (g *gunzip) class(err, class error) error {
	if g.src.err != nil {
		return g.src.err
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: ends early, after %d bytes of content", class, g.n)
	}
	return fmt.Errorf("%w: after %d bytes of content: %w", class, g.n, err)
}
