package objstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"
)

func (d *Dir) Open(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	return d.OpenVersion(ctx, Object{Key: key, Size: -1}, off, n)
}

// OpenVersion's reader has a WriteTo that lets the kernel copy between files (copy_file_range), which on file systems
// that can share blocks copies nothing.
func (d *Dir) OpenVersion(ctx context.Context, o Object, off, n int64) (io.ReadCloser, error) {
	uri := d.URI(o.Key)
	f, fi, err := d.file(ctx, o.Key)
	if err != nil {
		return nil, err
	}
	r := &fileReader{ctx: ctx, f: f, uri: uri, version: o}
	if err = r.same(fi); err == nil {
		r.left, err = span(fi.Size(), off, n)
	}
	if err == nil && off > 0 {
		_, err = f.Seek(off, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, wrap("open", uri, bare(err))
	}
	return r, nil
}

// File opens the very file that Stat or List described, for those who let the kernel read it.
func (d *Dir) File(ctx context.Context, o Object) (*os.File, error) {
	f, fi, err := d.file(ctx, o.Key)
	if err != nil {
		return nil, err
	}
	if err := same(d.URI(o.Key), o, fi); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Unchanged fails if a file that File gave is not what it was (ErrChanged): its reader then knows that the bytes may be
// of two versions.
func (d *Dir) Unchanged(f *os.File, o Object) error {
	fi, err := f.Stat()
	if err != nil {
		return wrap("read", d.URI(o.Key), bare(err))
	}
	return same(d.URI(o.Key), o, fi)
}

// file opens a regular file of the tree.
func (d *Dir) file(ctx context.Context, key string) (*os.File, fs.FileInfo, error) {
	uri := d.URI(key)
	if err := ctx.Err(); err != nil {
		return nil, nil, wrap("open", uri, err)
	}
	root, err := d.open("open", key)
	if err != nil {
		return nil, nil, err
	}
	defer root.Close()
	if !validKey(key) {
		return nil, nil, classed("open", uri, ErrNotFound, errors.New("no file can have this name"))
	}
	// Without O_NONBLOCK the open of a FIFO would wait for a writer; for a regular file it means nothing.
	f, err := root.OpenFile(key, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, d.fileError(root, "open", key, err)
	}
	fi, err := f.Stat()
	if err == nil {
		err = d.regular("open", key, fi)
	}
	if err != nil {
		f.Close()
		return nil, nil, wrap("open", uri, bare(err))
	}
	return f, fi, nil
}

// span is how many of an object's bytes Open(off, n) covers. Reading from the very end is an empty read.
func span(size, off, n int64) (int64, error) {
	if off < 0 || off > size {
		return 0, fmt.Errorf("offset %d is outside of %d bytes", off, size)
	}
	if n < 0 || n > size-off {
		n = size - off
	}
	return n, nil
}

type fileReader struct {
	ctx     context.Context
	f       *os.File
	uri     string
	left    int64
	version Object // the one that is wanted; of a Size below zero, any
	err     error
}

func (r *fileReader) same(fi fs.FileInfo) error { return same(r.uri, r.version, fi) }

// same fails if an open file is not the version that was listed. A Size below zero and a zero ModTime are not compared.
func same(uri string, o Object, fi fs.FileInfo) error {
	if o.Size < 0 {
		return nil
	}
	if fi.Size() != o.Size || !o.ModTime.IsZero() && !fi.ModTime().Equal(o.ModTime) {
		return classed("read", uri, ErrChanged, fmt.Errorf("%w: had %d bytes of %s, has %d bytes of %s", ErrChanged,
			o.Size, o.ModTime.Format(time.RFC3339Nano), fi.Size(), fi.ModTime().Format(time.RFC3339Nano)))
	}
	return nil
}

// end is called when nothing is left: the file must still be what it was when the first byte was read.
func (r *fileReader) end() error {
	if r.err == nil {
		r.err = io.EOF
		if r.version.Size >= 0 {
			fi, err := r.f.Stat()
			if err == nil {
				err = r.same(fi)
			}
			if err != nil {
				r.err = wrap("read", r.uri, bare(err))
			}
		}
	}
	return r.err
}

func (r *fileReader) fail(err error) error {
	switch {
	case err == io.EOF && r.left > 0:
		r.err = classed("read", r.uri, ErrTruncated, fmt.Errorf("%w: %d bytes are missing", ErrTruncated, r.left))
	case err != nil:
		r.err = wrap("read", r.uri, bare(err))
	}
	return r.err
}

func (r *fileReader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	if err := r.ctx.Err(); err != nil {
		return 0, wrap("read", r.uri, err)
	}
	if r.left == 0 {
		return 0, r.end()
	}
	if int64(len(p)) > r.left {
		p = p[:r.left]
	}
	n, err := r.f.Read(p)
	r.left -= int64(n)
	if err != nil {
		return n, r.fail(err)
	}
	return n, nil
}

// copyChunk is what WriteTo copies between two looks at the context: a multiple of every block size, so that chunks
// can share blocks, and some tens of milliseconds of a slow disk.
const copyChunk = 32 << 20

func (r *fileReader) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for r.err == nil && r.left > 0 {
		if err := r.ctx.Err(); err != nil {
			return total, wrap("read", r.uri, err)
		}
		n, err := io.CopyN(w, r.f, min(r.left, copyChunk))
		total += n
		r.left -= n
		if err == io.EOF {
			return total, r.fail(err)
		} else if err != nil {
			return total, err // the writer's, most likely: the caller names it
		}
	}
	if err := r.end(); err != io.EOF {
		return total, err
	}
	return total, nil
}

func (r *fileReader) Close() error { return r.f.Close() }
