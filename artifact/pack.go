package artifact

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"runtime"
	"slices"

	"github.com/klauspost/pgzip"
)

// PackStats are what a Pack did.
type PackStats struct {
	Files       int64
	Directories int64
	Links       int64
	Bytes       int64    // of the files' content
	Packed      int64    // of the archive
	SHA256      string   // of the archive, hex
	Skipped     int64    // members left out; Warnings says which and why
	Outside     int64    // of them, links that lead out of the directory
	Warnings    []string // at most maxWarnings, the last one counts the rest
}

// PackOptions say what the container saw around the directory.
type PackOptions struct {
	// At is where dir was in the container, e.g. /opt/ml/model. Absolute links below it stay inside and are stored as
	// relative ones. Empty: absolute links leave the directory.
	At string
	// Around is a directory of this host that was AroundAt in the container, e.g. the work tree at /opt/ml. A link that
	// leaves dir but stays there, and is a file, is stored as that file (OUT-8). Empty: such links are skipped.
	Around, AroundAt string
}

const (
	packLevel   = 1       // what does not compress is stored at memory's speed; 6 % more bytes than gzip -1
	packBlock   = 1 << 20 // compressed apart, in parallel
	maxBlocks   = 8       // each costs about 3 MiB: bounded memory on hosts of many cores
	maxWarnings = 100
)

// Pack writes everything in dir to w as one tar.gz whose members sit at the root of the archive (OUT-1), in lexical
// order, owned by 0:0, with their modes and modification times (OUT-8). Symbolic links that stay inside are stored as
// links; the content of no link is read outside dir and o.Around. Sockets, FIFOs and devices are skipped with a warning.
// A file that changes while it is read is stored with the size that it had when it was opened.
func Pack(ctx context.Context, dir string, w io.Writer, o PackOptions) (PackStats, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return PackStats{}, &Error{Op: "pack", Err: err}
	}
	defer root.Close()
	p := &packer{op: "pack", ctx: ctx, root: root, o: o}
	if o.Around != "" {
		if p.around, err = os.OpenRoot(o.Around); err != nil {
			return PackStats{}, &Error{Op: "pack", Err: err}
		}
		defer p.around.Close()
	}
	sum := &summer{w: w, hash: sha256.New()}
	z, err := pgzip.NewWriterLevel(sum, packLevel)
	if err != nil {
		return PackStats{}, &Error{Op: "pack", Err: err}
	}
	if err := z.SetConcurrency(packBlock, min(runtime.GOMAXPROCS(0)+1, maxBlocks)); err != nil {
		return PackStats{}, &Error{Op: "pack", Err: err}
	}
	t := &tarball{packer: p, tar: tar.NewWriter(z), buf: make([]byte, 256<<10)}
	p.out = t
	err = p.directory(".")
	if err == nil {
		err = t.tar.Close()
	}
	// Its goroutines end only with Close, so it is closed after errors too.
	if e := z.Close(); err == nil {
		err = e
	}
	p.stats.Packed, p.stats.SHA256 = sum.n, hex.EncodeToString(sum.hash.Sum(nil))
	if err != nil {
		var e *Error
		if !errors.As(err, &e) {
			err = &Error{Op: "pack", Err: err}
		}
	}
	return p.stats, err
}

// summer counts and hashes what passes.
type summer struct {
	w    io.Writer
	n    int64
	hash hash.Hash
}

func (s *summer) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	s.hash.Write(p[:n])
	s.n += int64(n)
	return n, err
}

// packer walks a directory that a container wrote and gives what may leave it to out.
type packer struct {
	op     string // of errors
	ctx    context.Context
	root   *os.Root
	around *os.Root
	o      PackOptions
	out    members
	stats  PackStats
}

// members is what a packer's finds become.
type members interface {
	directory(name string, info fs.FileInfo) error
	// link stores a link to target, which stays inside; false: it cannot, so that the file at its end is stored.
	link(name string, info fs.FileInfo, target string) (bool, error)
	// file stores the file at from below root as name.
	file(root *os.Root, from, name string) error
}

func (p *packer) skip(name, why string) {
	p.stats.Skipped++
	p.warn(name, why+"; left out")
}

func (p *packer) warn(name, text string) {
	switch n := len(p.stats.Warnings); {
	case n < maxWarnings-1:
		p.stats.Warnings = append(p.stats.Warnings, fmt.Sprintf("%q: %s", name, text))
	case n == maxWarnings-1:
		p.stats.Warnings = append(p.stats.Warnings, "more like these, not listed")
	}
}

func (p *packer) directory(name string) error {
	entries, err := names(p.root, name)
	if err != nil {
		return &Error{Op: p.op, Member: name, Err: err}
	}
	for _, e := range entries {
		if err := p.ctx.Err(); err != nil {
			return context.Cause(p.ctx)
		}
		if err := p.member(path.Join(name, e)); err != nil {
			return err
		}
	}
	return nil
}

// names lists a directory in lexical order. It does not go through Root.FS, which refuses names that are not UTF-8.
func names(root *os.Root, dir string) ([]string, error) {
	f, err := root.OpenFile(dir, os.O_RDONLY|nonBlock, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	list, err := f.Readdirnames(-1)
	slices.Sort(list)
	return list, err
}

func (p *packer) member(name string) error {
	info, err := p.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		p.skip(name, "gone while packing")
		return nil
	}
	if err != nil {
		return &Error{Op: p.op, Member: name, Err: err}
	}
	switch mode := info.Mode(); {
	case mode.IsDir():
		if err := p.out.directory(name, info); err != nil {
			return err
		}
		p.stats.Directories++
		return p.directory(name)
	case mode.IsRegular():
		return p.out.file(p.root, name, name)
	case mode&fs.ModeSymlink != 0:
		return p.link(name, info)
	case mode&fs.ModeSocket != 0:
		p.skip(name, "a socket")
	case mode&fs.ModeNamedPipe != 0:
		p.skip(name, "a FIFO")
	default:
		p.skip(name, "a device")
	}
	return nil
}

// open opens the file at from for whoever stores it as name; nil if it is not there, or no file, any more.
func (p *packer) open(root *os.Root, from, name string) (*os.File, fs.FileInfo, error) {
	// O_NONBLOCK, so that a FIFO that takes the file's place does not hold the packer.
	f, err := root.OpenFile(from, os.O_RDONLY|nonBlock, 0)
	if errors.Is(err, fs.ErrNotExist) {
		p.skip(name, "gone while packing")
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, &Error{Op: p.op, Member: name, Err: err}
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, nil, &Error{Op: p.op, Member: name, Err: err}
	}
	if !info.Mode().IsRegular() {
		f.Close()
		p.skip(name, "no longer a file")
		return nil, nil, nil
	}
	return f, info, nil
}

// tarball stores members in an archive.
type tarball struct {
	*packer
	tar *tar.Writer
	buf []byte
}

func (t *tarball) directory(name string, info fs.FileInfo) error {
	return t.header(name+"/", info, tar.TypeDir, "", 0)
}

func (t *tarball) link(name string, info fs.FileInfo, target string) (bool, error) {
	return true, t.header(name, info, tar.TypeSymlink, target, 0)
}

func (t *tarball) header(name string, info fs.FileInfo, kind byte, target string, size int64) error {
	h := &tar.Header{
		Typeflag: kind, Name: name, Linkname: target, Size: size,
		Mode: int64(info.Mode().Perm()), ModTime: info.ModTime(),
	}
	if info.Mode()&fs.ModeSticky != 0 {
		h.Mode |= 0o1000
	}
	if info.Mode()&fs.ModeSetuid != 0 {
		h.Mode |= 0o4000
	}
	if info.Mode()&fs.ModeSetgid != 0 {
		h.Mode |= 0o2000
	}
	if err := t.tar.WriteHeader(h); err != nil {
		return &Error{Op: "pack", Member: name, Err: err}
	}
	return nil
}

func (t *tarball) file(root *os.Root, from, name string) error {
	f, info, err := t.open(root, from, name)
	if f == nil {
		return err
	}
	defer f.Close()
	size := info.Size()
	if err := t.header(name, info, tar.TypeReg, "", size); err != nil {
		return err
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{t.tar}, io.LimitReader(&cancelReader{t.ctx, f}, size), t.buf)
	if err == nil && n < size {
		t.warn(name, fmt.Sprintf("shrank from %d to %d bytes while packing; filled with zeros", size, n))
		err = t.zeros(size - n)
	}
	if err != nil {
		if t.ctx.Err() != nil {
			return context.Cause(t.ctx)
		}
		return &Error{Op: "pack", Member: name, Err: err}
	}
	if end, err := f.Stat(); err == nil && end.Size() > size {
		t.warn(name, fmt.Sprintf("grew from %d to %d bytes while packing; the first %d are stored", size, end.Size(), size))
	}
	t.stats.Files++
	t.stats.Bytes += size
	return nil
}

func (t *tarball) zeros(n int64) error {
	clear(t.buf)
	for n > 0 {
		m, err := t.tar.Write(t.buf[:min(n, int64(len(t.buf)))])
		if err != nil {
			return err
		}
		n -= int64(m)
	}
	return nil
}

// cancelReader ends when ctx does: a file may be large.
type cancelReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *cancelReader) Read(b []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(b)
}
