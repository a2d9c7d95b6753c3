package images

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Named is an image and the reference that an archive gives it; "" leaves it without one.
type Named struct {
	Ref   string
	Image v1.Image
}

// blobs calls put for each file of an OCI layout, the index last; the layout that is written is the same each time.
func blobs(images []Named, put func(name string, data []byte) error) error {
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{}}
	seen := map[string]bool{}
	blob := func(h v1.Hash, data []byte) error {
		name := "blobs/" + h.Algorithm + "/" + h.Hex
		if seen[name] {
			return nil
		}
		seen[name] = true
		return put(name, data)
	}
	for _, n := range images {
		layers, err := n.Image.Layers()
		if err != nil {
			return err
		}
		for _, l := range layers {
			h, err := l.Digest()
			if err != nil {
				return err
			}
			rc, err := l.Compressed()
			if err != nil {
				return err
			}
			data, err := io.ReadAll(rc)
			rc.Close()
			if err != nil {
				return err
			}
			if err := blob(h, data); err != nil {
				return err
			}
		}
		config, err := n.Image.RawConfigFile()
		if err != nil {
			return err
		}
		h, err := n.Image.ConfigName()
		if err != nil {
			return err
		}
		if err := blob(h, config); err != nil {
			return err
		}
		manifest, err := n.Image.RawManifest()
		if err != nil {
			return err
		}
		if h, err = n.Image.Digest(); err != nil {
			return err
		}
		if err := blob(h, manifest); err != nil {
			return err
		}
		kind, err := n.Image.MediaType()
		if err != nil {
			return err
		}
		d := v1.Descriptor{MediaType: kind, Digest: h, Size: int64(len(manifest))}
		if n.Ref != "" {
			d.Annotations = map[string]string{"org.opencontainers.image.ref.name": n.Ref}
		}
		index.Manifests = append(index.Manifests, d)
	}
	raw, err := json.Marshal(index)
	if err != nil {
		return err
	}
	if err := put("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)); err != nil {
		return err
	}
	return put("index.json", raw)
}

// WriteOCI writes an OCI archive (a tar of an OCI layout) to w.
func WriteOCI(w io.Writer, images ...Named) error {
	t := tar.NewWriter(w)
	err := blobs(images, func(name string, data []byte) error {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(data)), ModTime: epoch, Format: tar.FormatPAX}
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		_, err := t.Write(data)
		return err
	})
	if err != nil {
		return fmt.Errorf("oci archive: %w", err)
	}
	return t.Close()
}

// WriteDocker writes what `docker save` writes. Each image needs a reference of the form name:tag.
func WriteDocker(w io.Writer, images ...Named) error {
	refs := map[name.Reference]v1.Image{}
	for _, n := range images {
		tag, err := name.NewTag(n.Ref)
		if err != nil {
			return fmt.Errorf("docker archive: %w", err)
		}
		refs[tag] = n.Image
	}
	if err := tarball.MultiRefWrite(refs, w); err != nil {
		return fmt.Errorf("docker archive: %w", err)
	}
	return nil
}

// WriteOCIArchive writes an OCI archive file; it appears whole.
func WriteOCIArchive(path string, images ...Named) error {
	return writeWhole(path, func(w io.Writer) error { return WriteOCI(w, images...) })
}

// WriteDockerArchive writes a docker-save file; it appears whole.
func WriteDockerArchive(path string, images ...Named) error {
	return writeWhole(path, func(w io.Writer) error { return WriteDocker(w, images...) })
}

// WriteLayout writes an OCI layout directory.
func WriteLayout(dir string, images ...Named) error {
	return blobs(images, func(name string, data []byte) error {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		return writeWhole(path, func(w io.Writer) error {
			_, err := io.Copy(w, bytes.NewReader(data))
			return err
		})
	})
}

func writeWhole(path string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".image-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone by then, unless something failed
	if err = write(f); err == nil {
		err = f.Chmod(0o644)
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
