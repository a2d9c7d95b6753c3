package ctrd

import (
	"archive/tar"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	digest "github.com/opencontainers/go-digest"
)

// scope gives the ingests of one import names of their own. containerd's importer names them after the file in the
// archive (tar-index.json), so two imports at a time would wait for each other, and one that died would leave half a file
// that the next takes for its own.
type scope struct {
	content.Store
	prefix string
}

func newScope(store content.Store) (*scope, error) {
	var id [8]byte
	if _, err := rand.Read(id[:]); err != nil {
		return nil, err
	}
	return &scope{Store: store, prefix: "optml-import-" + hex.EncodeToString(id[:]) + "-"}, nil
}

func (s *scope) Writer(ctx context.Context, opts ...content.WriterOpt) (content.Writer, error) {
	var o content.WriterOpts
	for _, opt := range opts {
		if err := opt(&o); err != nil {
			return nil, err
		}
	}
	w, err := s.Store.Writer(ctx, append(opts, content.WithRef(s.prefix+o.Ref))...)
	if err != nil {
		return nil, err
	}
	return &scopedWriter{Writer: w, want: blobDigest(o.Ref)}, nil
}

// scopedWriter compares a blob with the digest that its name in an OCI layout claims.
type scopedWriter struct {
	content.Writer
	want digest.Digest
}

func (w *scopedWriter) Commit(ctx context.Context, size int64, expected digest.Digest, opts ...content.Opt) error {
	if got := w.Digest(); w.want != "" && got != w.want {
		return &digestError{fmt.Sprintf("blob %s holds bytes of digest %s", w.want, got)}
	}
	return w.Writer.Commit(ctx, size, expected, opts...)
}

// blobDigest is the digest in the importer's name for a blob, tar-blobs/sha256/<hex>; empty for other files.
func blobDigest(ref string) digest.Digest {
	rest, ok := strings.CutPrefix(ref, "tar-blobs/")
	if !ok {
		return ""
	}
	algorithm, hex, ok := strings.Cut(rest, "/")
	d := digest.NewDigestFromEncoded(digest.Algorithm(algorithm), hex)
	if !ok || d.Validate() != nil {
		return ""
	}
	return d
}

// tarWriter writes regular files into an archive.
type tarWriter struct{ *tar.Writer }

func newTarWriter(w io.Writer) *tarWriter { return &tarWriter{tar.NewWriter(w)} }

func (t *tarWriter) add(name string, f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: info.Size()}); err != nil {
		return err
	}
	_, err = io.Copy(t, f)
	return err
}
