package ctrd

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/images/archive"
	"github.com/containerd/errdefs"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/optml/optml/runtime/container"
)

// ImportPath imports from a file (an OCI archive or what `docker save` writes, also compressed by gzip or zstd) or from
// the directory of an OCI layout. See Import.
func (c *Client) ImportPath(ctx context.Context, path, name string) ([]container.Image, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, imageError(path, container.ImageNotFound, err)
	}
	if !info.IsDir() {
		f, err := os.Open(path)
		if err != nil {
			return nil, imageError(path, container.ImageBroken, err)
		}
		defer f.Close()
		return c.importNamed(ctx, path, f, name)
	}
	r, err := tarOf(path)
	if err != nil {
		return nil, imageError(path, container.ImageBroken, err)
	}
	defer r.Close()
	return c.importNamed(ctx, path, r, name)
}

// Import imports images from a stream: an OCI archive or what `docker save` writes, also compressed by gzip or zstd.
//
// name is the reference that the image gets. When empty, the archive's own references are used (all of them when it has
// several, or several images); an archive without any is refused. With a name the archive must hold one image for this
// machine. The images are unpacked and their records made when Import returns; when it fails with a *container.ImageError,
// no record, content or snapshot of the archive is left.
func (c *Client) Import(ctx context.Context, r io.Reader, name string) ([]container.Image, error) {
	return c.importNamed(ctx, "archive", r, name)
}

func (c *Client) importNamed(ctx context.Context, what string, r io.Reader, name string) ([]container.Image, error) {
	ctx = c.quiet(ctx)
	if name != "" {
		full, err := normalise(name)
		if err != nil {
			return nil, imageError(name, container.ImageNotFound, err)
		}
		if strings.Contains(full, "@") {
			return nil, imageError(name, container.ImageDigest, errors.New("an import is named by tag, its digest is its own"))
		}
		name = full
	}
	var out []container.Image
	err := c.leased(ctx, func(ctx context.Context) error {
		plain, err := decompressed(r)
		if err != nil {
			return err
		}
		defer plain.Close()
		store := c.containerd().ContentStore()
		scope, err := newScope(store)
		if err != nil {
			return err
		}
		index, err := archive.ImportIndex(ctx, scope, plain)
		if err != nil {
			return err
		}
		chosen, err := chooseImages(ctx, store, c.platform(), index, name)
		if err != nil {
			return err
		}
		for _, i := range chosen {
			made, err := c.adopt(ctx, i)
			if err != nil {
				return imageError(Familiar(i.Name), kindOfImport(err), err)
			}
			out = append(out, made)
		}
		return nil
	})
	if err != nil {
		if _, ok := errors.AsType[*container.ImageError](err); !ok && ctx.Err() == nil {
			err = imageError(what, kindOfImport(err), err)
		}
		return nil, err
	}
	return out, nil
}

// kindOfImport is kindOf without the kinds that only a registry has: content that is missing or altered is a broken
// archive.
func kindOfImport(err error) container.ImageErrorKind {
	switch k := kindOf(err); k {
	case container.ImagePlatform, container.ImageNoSpace:
		return k
	}
	return container.ImageBroken
}

// chooseImages picks the images of an imported index and their names.
func chooseImages(ctx context.Context, store content.Provider, want choice, index ocispec.Descriptor, name string) ([]images.Image, error) {
	var idx ocispec.Index
	if err := readJSON(ctx, store, index, &idx); err != nil {
		return nil, err
	}
	var found []images.Image // one for each name, in the archive's order
	group := map[string][]ocispec.Descriptor{}
	var order []string
	for _, d := range idx.Manifests {
		if _, referrer := d.Annotations[images.AnnotationManifestSubject]; referrer {
			continue
		}
		if !images.IsManifestType(d.MediaType) && !images.IsIndexType(d.MediaType) {
			continue
		}
		key := ownName(d)
		if _, ok := group[key]; !ok {
			order = append(order, key)
		}
		group[key] = append(group[key], d)
	}
	if len(order) == 0 {
		return nil, errors.New("the archive holds no image")
	}
	for _, key := range order {
		// Several manifests under one name are one image for several platforms.
		best, offered := pick(want, group[key])
		if best == nil {
			return nil, want.wrongPlatform(offered)
		}
		best.Annotations = nil
		found = append(found, images.Image{Name: key, Target: *best})
	}
	if name != "" {
		first := found[0]
		for _, i := range found[1:] {
			if i.Target.Digest != first.Target.Digest {
				return nil, fmt.Errorf("the archive holds %d images (%s): a name can be given to one only", len(found), strings.Join(order, ", "))
			}
		}
		return []images.Image{{Name: name, Target: first.Target}}, nil
	}
	for i := range found {
		own := found[i].Name
		if own == "" || !strings.ContainsAny(own, "/:@") { // OCI allows a bare tag, which names nothing here
			hint := "the archive gives its image no name"
			if own != "" {
				hint = fmt.Sprintf("the archive names its image %q only, which is a tag without a repository", own)
			}
			return nil, fmt.Errorf("%s: give one (--name)", hint)
		}
		full, err := normalise(own)
		if err != nil {
			return nil, fmt.Errorf("name %q in the archive: %w: give another (--name)", own, err)
		}
		found[i].Name = full
	}
	slices.SortStableFunc(found, func(a, b images.Image) int { return strings.Compare(a.Name, b.Name) })
	return slices.CompactFunc(found, func(a, b images.Image) bool { return a.Name == b.Name }), nil
}

// ownName is the name that an archive gives an image: containerd's and Docker's full one, else OCI's.
func ownName(d ocispec.Descriptor) string {
	if n := d.Annotations[images.AnnotationImageName]; n != "" {
		return n
	}
	return d.Annotations[ocispec.AnnotationRefName]
}

// adopt checks that an image is whole and for this machine, unpacks it and makes its record, in this order: nobody sees
// a record of an image that cannot run.
func (c *Client) adopt(ctx context.Context, i images.Image) (container.Image, error) {
	store := c.containerd().ContentStore()
	out, err := c.describe(ctx, i)
	if err != nil {
		return out, err
	}
	manifest, _, err := manifestFor(ctx, store, c.platform(), i.Target)
	if err != nil {
		return out, err
	}
	for n, l := range manifest.Layers {
		info, err := store.Info(ctx, l.Digest)
		if errdefs.IsNotFound(err) {
			return out, fmt.Errorf("layer %d (%s) is missing, or its bytes are not what its digest says", n+1, l.Digest)
		}
		if err != nil {
			return out, err
		}
		if info.Size != l.Size {
			return out, fmt.Errorf("layer %d (%s) has %d bytes, the manifest says %d", n+1, l.Digest, info.Size, l.Size)
		}
	}
	// The labels keep content from the garbage collector. Of an index, only what is here and for this machine is kept.
	children := images.HandlerFunc(func(ctx context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		descs, err := images.Children(ctx, store, desc)
		if errdefs.IsNotFound(err) {
			return nil, images.ErrSkipDesc
		}
		return descs, err
	})
	handler := images.SetChildrenLabels(store, images.FilterPlatforms(children, c.platform()))
	if err := images.Walk(ctx, handler, i.Target); err != nil {
		return out, err
	}
	if err := client.NewImageWithPlatform(c.containerd(), i, c.platform()).Unpack(ctx, c.snapshotter()); err != nil {
		return out, fmt.Errorf("unpack: %w", err)
	}
	return out, c.record(ctx, i)
}

// record makes or replaces an image record.
func (c *Client) record(ctx context.Context, i images.Image) error {
	service := c.containerd().ImageService()
	if _, err := service.Update(ctx, i, "target"); err == nil || !errdefs.IsNotFound(err) {
		return err
	}
	_, err := service.Create(ctx, i)
	if errdefs.IsAlreadyExists(err) { // somebody else was faster
		_, err = service.Update(ctx, i, "target")
	}
	return err
}

var (
	gzipMagic  = []byte{0x1f, 0x8b}
	zstdMagic  = []byte{0x28, 0xb5, 0x2f, 0xfd}
	xzMagic    = []byte{0xfd, '7', 'z', 'X', 'Z', 0}
	bzip2Magic = []byte("BZh")
)

// decompressed unwraps gzip and zstd around an archive.
func decompressed(r io.Reader) (io.ReadCloser, error) {
	b := bufio.NewReaderSize(r, 1<<20)
	head, err := b.Peek(6)
	if err != nil && len(head) == 0 {
		if errors.Is(err, io.EOF) {
			return nil, errors.New("the archive is empty")
		}
		return nil, fmt.Errorf("read archive: %w", err)
	}
	switch {
	case bytes.HasPrefix(head, gzipMagic):
		return gzip.NewReader(b)
	case bytes.HasPrefix(head, zstdMagic):
		// The window bounds memory: 128 MiB is what `zstd --long=27` needs.
		d, err := zstd.NewReader(b, zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	case bytes.HasPrefix(head, xzMagic), bytes.HasPrefix(head, bzip2Magic):
		return nil, errors.New("compressed by xz or bzip2: decompress it first, or use gzip or zstd")
	}
	return io.NopCloser(b), nil
}

// tarOf streams the directory of an OCI layout as an archive. Only its regular files are read, without leaving it.
func tarOf(dir string) (io.ReadCloser, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	if _, err := root.Stat(ocispec.ImageLayoutFile); err != nil {
		root.Close()
		return nil, fmt.Errorf("not an OCI layout: no file %s", ocispec.ImageLayoutFile)
	}
	r, w := io.Pipe()
	go func() {
		defer root.Close()
		_ = w.CloseWithError(writeTar(w, root))
	}()
	return r, nil
}

func writeTar(w io.Writer, root *os.Root) error {
	t := newTarWriter(w)
	err := fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := root.Open(filepath.FromSlash(path))
		if err != nil {
			return err
		}
		defer f.Close()
		return t.add(path, f)
	})
	if err != nil {
		return fmt.Errorf("read OCI layout: %w", err)
	}
	return t.Close()
}
