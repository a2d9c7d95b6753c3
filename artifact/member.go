package artifact

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
)

func (u *unpacker) member(h *tar.Header, content io.Reader) error {
	fail := func(class, err error) error {
		return &Error{Op: "unpack", Member: printable(h.Name), Class: class, Err: err}
	}
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	name, ok := memberName(h.Name)
	if !ok {
		return fail(ErrUnsafeName, nil)
	}
	if u.stats.Files+u.stats.Directories+u.stats.Links >= u.limits.Members {
		return fail(ErrTooMany, fmt.Errorf("more than %d", u.limits.Members))
	}
	if name == "." {
		if h.Typeflag != tar.TypeDir {
			return fail(ErrUnsafeName, nil)
		}
		return nil
	}
	if err := u.parents(path.Dir(name)); err != nil {
		if errors.Is(err, ErrClash) {
			return fail(ErrClash, errors.New("a parent is not a directory"))
		}
		return fail(nil, err)
	}
	switch h.Typeflag {
	case tar.TypeDir:
		u.stats.Directories++
		if err := u.directory(name); err != nil {
			return fail(ErrClash, err)
		}
		u.dirs = append(u.dirs, dirMeta{name, h.FileInfo().Mode().Perm(), h.ModTime})
		return nil
	case tar.TypeReg, tar.TypeGNUSparse:
		u.stats.Files++
		return u.file(name, h, content)
	case tar.TypeSymlink:
		u.stats.Links++
		if u.limits.NoLinks {
			return fail(ErrLink, fmt.Errorf("to %q", printable(h.Linkname)))
		}
		if !staysInside(name, h.Linkname) {
			return fail(ErrUnsafeLink, fmt.Errorf("to %q", printable(h.Linkname)))
		}
		if err := u.clear(name); err != nil {
			return fail(ErrClash, err)
		}
		if err := u.root.Symlink(h.Linkname, name); err != nil {
			return fail(nil, err)
		}
		return nil
	case tar.TypeLink:
		u.stats.Links++
		return u.hardLink(name, h)
	default:
		return fail(ErrType, fmt.Errorf("type %q", string(rune(h.Typeflag))))
	}
}

// parents makes sure that dir and all above it are directories and no links, so that the depth of a name is real.
func (u *unpacker) parents(dir string) error {
	if u.real[dir] {
		return nil
	}
	if err := u.parents(path.Dir(dir)); err != nil {
		return err
	}
	return u.directory(dir)
}

func (u *unpacker) directory(name string) error {
	if u.real[name] {
		return nil
	}
	err := u.root.Mkdir(name, 0o755)
	if errors.Is(err, fs.ErrExist) {
		info, e := u.root.Lstat(name)
		if e != nil {
			return e
		}
		if !info.IsDir() {
			return ErrClash
		}
		err = nil
	}
	if err == nil {
		u.real[name] = true
	}
	return err
}

// clear removes a file or link that a later member replaces (INF-26: a directory is not replaced).
func (u *unpacker) clear(name string) error {
	info, err := u.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.IsDir() {
		return errors.New("a directory")
	}
	return u.root.Remove(name)
}

func (u *unpacker) file(name string, h *tar.Header, content io.Reader) (err error) {
	fail := func(class, err error) error {
		return &Error{Op: "unpack", Member: printable(h.Name), Class: class, Err: err}
	}
	left := u.limits.Bytes - u.stats.Bytes
	if h.Size > left {
		return fail(ErrTooLarge, fmt.Errorf("%d bytes of content, %d allowed in all", h.Size, u.limits.Bytes))
	}
	if err := u.clear(name); err != nil {
		return fail(ErrClash, err)
	}
	f, err := u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fail(nil, err)
	}
	defer func() {
		if e := f.Close(); e != nil && err == nil {
			err = fail(nil, e)
		}
	}()
	w := &sink{w: f}
	n, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{content}, u.buf)
	u.stats.Bytes += n
	if w.err != nil {
		return fail(nil, w.err)
	}
	if err != nil {
		return u.damage(h.Name, err)
	}
	// Bits that give rights to who runs the file are not taken over.
	if err := f.Chmod(h.FileInfo().Mode().Perm()); err != nil {
		return fail(nil, err)
	}
	if err := u.root.Chtimes(name, h.ModTime, h.ModTime); err != nil {
		return fail(nil, err)
	}
	return nil
}

func (u *unpacker) hardLink(name string, h *tar.Header) error {
	fail := func(class, err error) error {
		return &Error{Op: "unpack", Member: printable(h.Name), Class: class, Err: err}
	}
	old, ok := memberName(h.Linkname)
	if !ok {
		return fail(ErrUnsafeLink, fmt.Errorf("to %q", printable(h.Linkname)))
	}
	if !u.real[path.Dir(old)] {
		return fail(ErrUnsafeLink, fmt.Errorf("to %q, which is not in the archive before it", printable(h.Linkname)))
	}
	info, err := u.root.Lstat(old)
	if err != nil || !info.Mode().IsRegular() {
		return fail(ErrUnsafeLink, fmt.Errorf("to %q, which is no file of the archive before it", printable(h.Linkname)))
	}
	if old == name {
		return nil
	}
	if err := u.clear(name); err != nil {
		return fail(ErrClash, err)
	}
	if err := u.root.Link(old, name); err != nil {
		return fail(nil, err)
	}
	return nil
}
