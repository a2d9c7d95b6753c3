package ctrd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/images/archive"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/optml/optml/runtime/container"
)

// List returns the images that are here, sorted by name. One that is not here for the Client's platform is described
// for the one that it is here for; one whose content is damaged is listed with its name and digest only.
func (c *Client) List(ctx context.Context) ([]container.Image, error) {
	ctx = c.quiet(ctx)
	all, err := c.containerd().ImageService().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	out := make([]container.Image, 0, len(all))
	for _, i := range all {
		d, err := c.describe(ctx, i)
		if err != nil {
			d, err = c.describeOther(ctx, i)
		}
		if err != nil {
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			d = container.Image{Ref: i.Name, Digest: i.Target.Digest.String(), Created: i.CreatedAt}
		}
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b container.Image) int { return cmp.Compare(a.Ref, b.Ref) })
	return out, nil
}

// describeOther describes an image for the first platform whose part of it is here.
func (c *Client) describeOther(ctx context.Context, i images.Image) (container.Image, error) {
	store, at, every := c.containerd().ContentStore(), i, choice{MatchComparer: platforms.All, name: "any platform"}
	if images.IsIndexType(i.Target.MediaType) {
		var index ocispec.Index
		if err := readJSON(ctx, store, i.Target, &index); err != nil {
			return container.Image{}, err
		}
		here := slices.IndexFunc(index.Manifests, func(d ocispec.Descriptor) bool {
			_, err := store.Info(ctx, d.Digest)
			return err == nil && images.IsManifestType(d.MediaType) && (d.Platform == nil || d.Platform.OS != "unknown")
		})
		if here < 0 {
			return container.Image{}, &missingError{i.Target.Digest.String()}
		}
		at.Target = index.Manifests[here]
	}
	f, err := c.factsFor(ctx, at, every)
	return f.describe(i), err
}

// Remove deletes an image's record and, when no other record or container needs them, its content and snapshots; it
// returns when they are gone. An image that a container uses is refused.
func (c *Client) Remove(ctx context.Context, ref string) error {
	ctx = c.quiet(ctx)
	name, err := normalise(ref)
	if err != nil {
		return imageError(ref, container.ImageNotFound, err)
	}
	i, err := c.lookup(ctx, ref, name)
	if errdefs.IsNotFound(err) {
		return imageError(ref, container.ImageNotFound, errors.New("not on this machine"))
	}
	if err != nil {
		return classify(ref, err)
	}
	users, err := c.containerd().ContainerService().List(ctx, fmt.Sprintf("image==%q", i.Name))
	if err != nil {
		return classify(ref, err)
	}
	if len(users) > 0 {
		return fmt.Errorf("remove image %s: container %s uses it", ref, users[0].ID)
	}
	facts, ferr := c.facts(ctx, i)
	if err := c.containerd().ImageService().Delete(ctx, i.Name, images.SynchronousDelete()); err != nil {
		return classify(ref, err)
	}
	if ferr == nil { // of an image that cannot be read nothing was kept
		os.Remove(c.userFile(facts))
	}
	return nil
}

// ImportFrom copies one image, for this machine's platform, from another containerd: the socket's address and the
// namespace there, e.g. Docker's own with namespace "moby" when Docker uses containerd's image store. name is as in
// Import; empty: the name it has there.
func (c *Client) ImportFrom(ctx context.Context, address, namespace, ref, name string) ([]container.Image, error) {
	full, err := normalise(ref)
	if err != nil {
		return nil, imageError(ref, container.ImageNotFound, err)
	}
	if name == "" {
		name = full
	}
	if _, err := os.Stat(address); err != nil { // the client would wait for it to appear
		return nil, imageError(ref, container.ImageNotFound, fmt.Errorf("connect to containerd: %w", err))
	}
	other, err := connect(ctx, address)
	if err != nil {
		return nil, imageError(ref, container.ImageNotFound, err)
	}
	defer other.Close()
	there := namespaces.WithNamespace(quiet(ctx), namespace)
	store := other.ImageService()
	from, err := store.Get(there, full)
	if errdefs.IsNotFound(err) {
		from, err = store.Get(there, ref)
	}
	if errdefs.IsNotFound(err) {
		err = fmt.Errorf("not in namespace %s of %s", namespace, address)
		if namespace == "moby" {
			err = fmt.Errorf("%w: Docker keeps its images elsewhere unless it uses containerd's image store: pipe `docker save` into the import", err)
		}
		return nil, imageError(ref, container.ImageNotFound, err)
	}
	if err != nil {
		return nil, classify(ref, err)
	}
	r, w := io.Pipe()
	go func() {
		_ = w.CloseWithError(other.Export(there, w, archive.WithImage(store, from.Name), archive.WithPlatform(c.platform())))
	}()
	defer r.Close() // ends the export when the import has given up
	return c.importNamed(ctx, ref, r, name)
}
