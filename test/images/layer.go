package images

import (
	"bytes"
	"io"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// layer is a layer from a tar in memory, compressed once, fast and the same each time.
type layer struct {
	tar  []byte
	kind types.MediaType
	pack func() ([]byte, error)
}

func newLayer(tar []byte, o Options) *layer {
	l := &layer{tar: tar}
	switch {
	case o.Zstd:
		l.kind = types.OCILayerZStd
		l.pack = sync.OnceValues(func() ([]byte, error) {
			w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
			if err != nil {
				return nil, err
			}
			defer w.Close()
			return w.EncodeAll(tar, nil), nil
		})
	default:
		l.kind = types.OCILayer
		if o.Docker {
			l.kind = types.DockerLayer
		}
		l.pack = sync.OnceValues(func() ([]byte, error) {
			var b bytes.Buffer
			w, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
			if err != nil {
				return nil, err
			}
			if _, err := w.Write(tar); err != nil {
				return nil, err
			}
			if err := w.Close(); err != nil {
				return nil, err
			}
			return b.Bytes(), nil
		})
	}
	return l
}

func (l *layer) Digest() (v1.Hash, error) {
	b, err := l.pack()
	if err != nil {
		return v1.Hash{}, err
	}
	h, _, err := v1.SHA256(bytes.NewReader(b))
	return h, err
}

func (l *layer) DiffID() (v1.Hash, error) {
	h, _, err := v1.SHA256(bytes.NewReader(l.tar))
	return h, err
}

func (l *layer) Compressed() (io.ReadCloser, error) {
	b, err := l.pack()
	return io.NopCloser(bytes.NewReader(b)), err
}

func (l *layer) Uncompressed() (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(l.tar)), nil
}

func (l *layer) Size() (int64, error) {
	b, err := l.pack()
	return int64(len(b)), err
}

func (l *layer) MediaType() (types.MediaType, error) { return l.kind, nil }
