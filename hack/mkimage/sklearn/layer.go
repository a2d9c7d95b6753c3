package main

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"
)

// dropped are patterns of what the packages brought and the programs do not need; a pattern covers all below it. The
// compiler is there because python3-scipy depends on python3-pythran. What tells of this machine goes too.
var dropped = []string{
	"dev/*", "proc/*", "sys/*", "run/*", "tmp/*", "var/tmp/*", "var/log/*", "var/cache/*", "var/lib/apt/lists", "var/lib/dpkg/*-old",
	"etc/hostname", "etc/resolv.conf", "etc/machine-id", "etc/apt/sources.list", "etc/apt/sources.list.d/*", "etc/apt/apt.conf.d/99mmdebstrap",
	"usr/share/man", "usr/share/perl*", "usr/share/lintian", "usr/share/bug", "usr/share/gcc", "usr/share/gdb", "usr/share/zoneinfo/right", "usr/share/zoneinfo/posix",
	"usr/share/bash-completion", "usr/share/pixmaps", "usr/share/debhelper", "usr/share/python3/debpython/__pycache__", // differs from build to build
	"usr/lib/gcc", "usr/libexec/gcc", "usr/bin/*-linux-gnu*-*", "usr/bin/perl5*", "usr/bin/cpan*",
	"usr/lib/*-linux-gnu/perl", "usr/lib/*-linux-gnu/libperl.so*", "usr/lib/*-linux-gnu/gconv", "usr/lib/*-linux-gnu/gprofng", "usr/lib/*-linux-gnu/ldscripts",
	"usr/lib/*-linux-gnu/bfd-plugins", "usr/lib/*-linux-gnu/*.o", "usr/lib/*-linux-gnu/pkgconfig", "usr/lib/*-linux-gnu/cmake", "usr/lib/*-linux-gnu/libbfd-*",
	"usr/lib/*-linux-gnu/libopcodes-*", "usr/lib/*-linux-gnu/libctf*", "usr/lib/*-linux-gnu/libgprofng*", "usr/lib/*-linux-gnu/libsframe*", "usr/lib/*-linux-gnu/lib?san.so*",
	"usr/lib/*-linux-gnu/libhwasan.so*", "usr/lib/*-linux-gnu/libubsan.so*", "usr/lib/*-linux-gnu/libcc1.so*", "usr/lib/*-linux-gnu/libisl.so*", "usr/lib/*-linux-gnu/libmpc.so*",
	"usr/lib/*-linux-gnu/libmpfr.so*", "usr/lib/*-linux-gnu/libpython3*.so*", "usr/lib/*-linux-gnu/lapack", "usr/lib/*-linux-gnu/blas",
	"usr/lib/python3/dist-packages/pythran*", "usr/lib/python3/dist-packages/beniget*", "usr/lib/python3/dist-packages/gast*", "usr/lib/python3/dist-packages/ply*",
	"usr/lib/python3/dist-packages/setuptools*", "usr/lib/python3/dist-packages/_distutils_hack", "usr/lib/python3/dist-packages/distutils-precedence.pth",
	"usr/lib/python3.*/lib2to3", "usr/lib/python3.*/idlelib", "usr/lib/python3.*/pydoc_data", "usr/lib/python3.*/config-*",
}

// keep says whether a path of the new root goes into the image.
func keep(name string) bool {
	if strings.Contains(name, "/dist-packages/") && (strings.Contains(name+"/", "/tests/") || strings.Contains(name+"/", "/joblib/test/")) {
		return false
	}
	for _, pattern := range dropped {
		// Compare as many elements as the pattern has: what is below goes with it.
		elements := strings.Split(name, "/")
		n := strings.Count(pattern, "/") + 1
		if len(elements) < n {
			continue
		}
		if ok, err := path.Match(pattern, strings.Join(elements[:n], "/")); err != nil {
			panic("pattern " + pattern) // a constant of this file
		} else if ok {
			return false
		}
	}
	return true
}

// pack filters a root file system's tar and writes it compressed to a new file in dir. On an error there is no file.
func pack(r io.Reader, dir string) (c cached, file string, err error) {
	f, err := os.CreateTemp(dir, ".layer-*")
	if err != nil {
		return c, "", err
	}
	defer func() {
		if e := f.Close(); err == nil {
			err = e
		}
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	digest, diff := sha256.New(), sha256.New()
	counted := &counter{}
	z, err := zstd.NewWriter(io.MultiWriter(f, digest, counted), zstd.WithEncoderConcurrency(2))
	if err != nil {
		return c, "", err
	}
	if err := filter(r, io.MultiWriter(z, diff)); err != nil {
		return c, "", err
	}
	if err := z.Close(); err != nil {
		return c, "", err
	}
	if err := f.Chmod(0o644); err != nil {
		return c, "", err
	}
	return cached{Digest: sum(digest), DiffID: sum(diff), Size: counted.n}, f.Name(), nil
}

// filter copies a tar without what keep refuses. Names lose their leading ./ and times after sourceDate are cut.
func filter(r io.Reader, w io.Writer) error {
	in, out := tar.NewReader(r), tar.NewWriter(w)
	newest := time.Unix(sourceDate(), 0)
	n := 0
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read root file system: %w", err)
		}
		name := strings.Trim(strings.TrimPrefix(h.Name, "."), "/")
		if name == "" || !keep(name) || h.Typeflag == tar.TypeChar || h.Typeflag == tar.TypeBlock || h.Typeflag == tar.TypeFifo {
			continue
		}
		if h.Name = name; h.Typeflag == tar.TypeDir {
			h.Name += "/"
		}
		if h.Typeflag == tar.TypeLink {
			h.Linkname = strings.Trim(strings.TrimPrefix(h.Linkname, "."), "/")
			if !keep(h.Linkname) {
				return fmt.Errorf("%s is a hard link to %s, which is dropped", name, h.Linkname)
			}
		}
		if h.ModTime.After(newest) {
			h.ModTime = newest
		}
		h.ModTime = h.ModTime.Truncate(time.Second)
		h.AccessTime, h.ChangeTime, h.Uname, h.Gname, h.Format = time.Time{}, time.Time{}, "", "", tar.FormatPAX
		if err := out.WriteHeader(h); err != nil {
			return fmt.Errorf("pack %s: %w", name, err)
		}
		if _, err := io.Copy(out, in); err != nil {
			return fmt.Errorf("pack %s: %w", name, err)
		}
		n++
	}
	if n == 0 {
		return errors.New("the root file system is empty")
	}
	_, _ = io.Copy(io.Discard, r) // padding after the end of the tar
	return out.Close()
}

type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

func sum(h hash.Hash) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(h.Sum(nil))}
}

// fileLayer is a compressed layer in a file.
type fileLayer struct {
	cached
	path string
}

var _ v1.Layer = (*fileLayer)(nil)

func (l *fileLayer) Digest() (v1.Hash, error)             { return l.cached.Digest, nil }
func (l *fileLayer) DiffID() (v1.Hash, error)             { return l.cached.DiffID, nil }
func (l *fileLayer) Size() (int64, error)                 { return l.cached.Size, nil }
func (l *fileLayer) MediaType() (types.MediaType, error)  { return types.OCILayerZStd, nil }
func (l *fileLayer) Compressed() (io.ReadCloser, error)   { return os.Open(l.path) }
func (l *fileLayer) Uncompressed() (io.ReadCloser, error) { return nil, errors.New("not needed") }
