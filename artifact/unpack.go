package artifact

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/klauspost/compress/gzip"
)

// Limits bound what an archive may unpack to. Zero fields have the defaults named.
type Limits struct {
	Bytes   int64 // of content: 1 TiB
	Members int64 // files, directories and links: 1,000,000
	// NoLinks refuses symbolic links altogether, as the service does when it makes a model (INF-31).
	NoLinks bool
}

func (l Limits) orDefault() Limits {
	if l.Bytes == 0 {
		l.Bytes = 1 << 40
	}
	if l.Members == 0 {
		l.Members = 1_000_000
	}
	return l
}

// UnpackStats are what an Unpack did.
type UnpackStats struct {
	Files       int64
	Directories int64
	Links       int64
	Bytes       int64 // of the files' content
	Packed      int64 // of the archive
}

// Unpack puts the members of a tar.gz into dir, which exists: files, directories, symbolic links that stay inside and
// hard links, with their permissions and modification times, owned by who runs it. Everything else, every name that is
// absolute or climbs, every link that leads out and everything over the limits is an *Error that names the member
// (INF-21, INF-26, INF-31, ruling 19). A later member of the same name replaces a file. After an error a directory that
// was empty is empty again.
func Unpack(ctx context.Context, r io.Reader, dir string, l Limits) (UnpackStats, error) {
	l = l.orDefault()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return UnpackStats{}, &Error{Op: "unpack", Err: err}
	}
	defer root.Close()
	before, err := names(root, ".")
	if err != nil {
		return UnpackStats{}, &Error{Op: "unpack", Err: err}
	}
	in := &counter{ctx: ctx, r: r}
	u := &unpacker{root: root, limits: l, in: in, real: map[string]bool{".": true}, buf: make([]byte, 256<<10)}
	err = u.archive()
	if err == nil {
		err = u.finish()
	}
	u.stats.Packed = in.n
	if err == nil {
		return u.stats, nil
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if len(before) == 0 {
		if e := empty(root); e != nil {
			err = errors.Join(err, &Error{Op: "unpack", Err: fmt.Errorf("clear the directory: %w", e)})
		}
	}
	return u.stats, err
}

func empty(root *os.Root) error {
	entries, err := names(root, ".")
	for _, e := range entries {
		err = errors.Join(err, root.RemoveAll(e))
	}
	return err
}

type unpacker struct {
	root   *os.Root
	limits Limits
	in     *counter
	stats  UnpackStats
	real   map[string]bool // directories known to be no links
	dirs   []dirMeta       // permissions and times are set last: a directory may be read-only
	buf    []byte
}

type dirMeta struct {
	name string
	mode fs.FileMode
	time time.Time
}

// trailing bounds what may follow the archive's end mark inside the gzip stream: padding.
const trailing = 16 << 20

func (u *unpacker) archive() error {
	z, err := gzip.NewReader(bufio.NewReaderSize(u.in, 256<<10))
	if err != nil {
		if u.in.err != nil {
			return &Error{Op: "unpack", Err: u.in.err}
		}
		return &Error{Op: "unpack", Class: ErrNotGzip}
	}
	defer z.Close()
	t := tar.NewReader(z)
	for {
		h, err := t.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return u.damage("", err)
		}
		if err := u.member(h, t); err != nil {
			return err
		}
	}
	// To the end of the gzip stream, so that its checksum is verified.
	if n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, io.LimitReader(z, trailing+1), u.buf); err != nil {
		return u.damage("", err)
	} else if n > trailing {
		return &Error{Op: "unpack", Class: ErrDamaged, Err: errors.New("data after the end of the archive")}
	}
	return nil
}

// finish sets what directories are to look like, the deepest first.
func (u *unpacker) finish() error {
	for i := len(u.dirs) - 1; i >= 0; i-- {
		d := u.dirs[i]
		err := u.root.Chtimes(d.name, d.time, d.time)
		if err == nil {
			err = u.root.Chmod(d.name, d.mode)
		}
		if err != nil {
			return &Error{Op: "unpack", Member: printable(d.name), Err: err}
		}
	}
	return nil
}

// damage tells a broken archive from a broken reader below it.
func (u *unpacker) damage(member string, err error) error {
	e := &Error{Op: "unpack", Member: printable(member), Err: err}
	switch {
	case u.in.err != nil:
		e.Err = u.in.err
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		e.Class, e.Err = ErrTruncated, fmt.Errorf("after %d bytes", u.in.n)
	default:
		e.Class = ErrDamaged
	}
	return e
}

// counter counts the archive's bytes, remembers an error of the reader below and ends when ctx does.
type counter struct {
	ctx context.Context
	r   io.Reader
	n   int64
	err error
}

func (c *counter) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		c.err = err
		return 0, err
	}
	n, err := c.r.Read(p)
	c.n += int64(n)
	if err != nil && err != io.EOF {
		c.err = err
	}
	return n, err
}

// sink remembers an error of the file below.
type sink struct {
	w   io.Writer
	err error
}

func (s *sink) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	if err != nil {
		s.err = err
	}
	return n, err
}
