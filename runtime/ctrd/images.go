package ctrd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sirupsen/logrus"

	"github.com/optml/optml/runtime/container"
)

// Images is the image store of a Client together with the registries it may ask. Its methods may be called concurrently.
type Images struct {
	c *Client
	r Registries
}

var (
	_ container.Images = (*Images)(nil)
	_ container.Images = (*Client)(nil)
)

// Images returns the image store, which asks the given registries.
func (c *Client) Images(r Registries) *Images { return &Images{c: c, r: r} }

// Ensure is Images(Registries{}).Ensure: Docker's credentials, the host's certs.d.
func (c *Client) Ensure(ctx context.Context, ref string, pull container.Pull) (container.Image, error) {
	return c.Images(Registries{}).Ensure(ctx, ref, pull)
}

const (
	// leaseTime is the backstop for content of an operation whose process died; it must outlast the longest pull.
	leaseTime = 24 * time.Hour
	// cleanTime bounds the removal of a lease when the operation itself is over or cancelled.
	cleanTime = 30 * time.Second
	// metadataLimit bounds a manifest or config that is read into memory. Registries allow 4 MiB for a manifest.
	metadataLimit = 8 << 20
)

// Ensure returns the image that ref names, pulled and unpacked if need be. ref may be short as in Docker
// (name:tag), by digest (repo@sha256:…, START-6), or exactly as in an image record. A tag that is here is not checked
// against the registry unless pull is PullAlways; a digest that is here under any tag of its repository is not pulled
// at all. Errors are *container.ImageError.
func (s *Images) Ensure(ctx context.Context, ref string, pull container.Pull) (container.Image, error) {
	ctx = s.c.quiet(ctx)
	name, err := normalise(ref)
	if err != nil {
		return container.Image{}, imageError(ref, container.ImageNotFound, err)
	}
	if pull == "" {
		pull = container.PullMissing
	}
	switch pull {
	case container.PullAlways, container.PullMissing, container.PullNever:
	default:
		return container.Image{}, imageError(ref, container.ImageNotFound, fmt.Errorf("pull %q: must be always, missing or never", pull))
	}
	if pull != container.PullAlways {
		found, err := s.c.lookup(ctx, ref, name)
		if err == nil {
			img, err := s.c.ready(ctx, ref, found)
			// Of an index only one platform's part may be here: the rest is fetched like what was never here.
			if _, partly := errors.AsType[*missingError](err); !partly || pull == container.PullNever {
				return img, err
			}
		} else if !errdefs.IsNotFound(err) {
			return container.Image{}, classify(ref, err)
		}
		if pull == container.PullNever {
			return container.Image{}, imageError(ref, container.ImageNotFound, errors.New("not on this machine, and pulling is off"))
		}
	}
	p := progressOf(ctx)
	ctx, began := WithProgress(ctx, p), time.Now()
	pulled, err := s.pull(ctx, name)
	if err != nil {
		return container.Image{}, classify(ref, err)
	}
	img, err := s.c.ready(ctx, ref, pulled)
	img.Pulled = time.Since(began)
	if at := p.arrived.Load(); at > 0 {
		img.Unpacked = time.Since(time.Unix(0, at))
		img.Pulled -= img.Unpacked
	}
	return img, err
}

// quiet is ctx in our namespace for containerd's own code, which would log to stderr what it also returns.
func (c *Client) quiet(ctx context.Context) context.Context { return quiet(c.ctx(ctx)) }

func quiet(ctx context.Context) context.Context {
	return log.WithLogger(ctx, silence)
}

var silence = func() *log.Entry {
	l := logrus.New()
	l.SetOutput(io.Discard)
	return logrus.NewEntry(l)
}()

// lookup finds an image record: the reference as it was given, its full form, or (for a digest) any name in the same
// repository that has the digest.
func (c *Client) lookup(ctx context.Context, ref, name string) (images.Image, error) {
	store := c.containerd().ImageService()
	for _, n := range []string{name, ref} {
		i, err := store.Get(ctx, n)
		if err == nil || !errdefs.IsNotFound(err) {
			return i, err
		}
	}
	repo, want, byDigest := strings.Cut(name, "@")
	if !byDigest {
		return images.Image{}, fmt.Errorf("image %s: %w", name, errdefs.ErrNotFound)
	}
	all, err := store.List(ctx, "target.digest=="+want)
	if err != nil {
		return images.Image{}, err
	}
	for _, i := range all {
		if i.Target.Digest.String() == want && repository(i.Name) == repo {
			return i, nil
		}
	}
	return images.Image{}, fmt.Errorf("image %s: %w", name, errdefs.ErrNotFound)
}

// ready describes an image and unpacks it when that was not done.
func (c *Client) ready(ctx context.Context, ref string, i images.Image) (container.Image, error) {
	out, err := c.describe(ctx, i)
	if err != nil {
		return container.Image{}, classify(ref, err)
	}
	f, err := c.facts(ctx, i)
	if err == nil {
		_, err = c.containerd().SnapshotService(c.snapshotter()).Stat(ctx, f.chain())
	}
	if errdefs.IsNotFound(err) {
		img := client.NewImageWithPlatform(c.containerd(), i, c.platform())
		began := time.Now()
		err = c.leased(ctx, func(ctx context.Context) error { return img.Unpack(ctx, c.snapshotter()) })
		out.Unpacked = time.Since(began)
	}
	if err != nil {
		return container.Image{}, classify(ref, err)
	}
	return out, nil
}

// describe reads manifest and config of the image for the Client's platform. A wrong platform is a
// *container.ImageError.
func (c *Client) describe(ctx context.Context, i images.Image) (container.Image, error) {
	f, err := c.facts(ctx, i)
	if err != nil {
		return container.Image{}, err
	}
	return f.describe(i), nil
}

func (f imageFacts) describe(i images.Image) container.Image {
	size, config := f.desc.Size+f.manifest.Config.Size, f.config
	for _, l := range f.manifest.Layers {
		size += l.Size
	}
	out := container.Image{
		Ref: i.Name, Digest: i.Target.Digest.String(), Manifest: f.desc.Digest.String(), Config: f.manifest.Config.Digest.String(), Size: size, OS: config.OS, Arch: config.Architecture,
		User: config.Config.User, Entrypoint: config.Config.Entrypoint, Cmd: config.Config.Cmd, Env: config.Config.Env,
		WorkingDir: config.Config.WorkingDir, Labels: config.Config.Labels, StopSignal: config.Config.StopSignal,
	}
	if config.Created != nil {
		out.Created = *config.Created
	}
	return out
}

// manifestFor finds the manifest for a platform: target itself, or the best match in an index.
func manifestFor(ctx context.Context, store content.Provider, want choice, target ocispec.Descriptor) (ocispec.Manifest, ocispec.Descriptor, error) {
	var m ocispec.Manifest
	for depth := 0; images.IsIndexType(target.MediaType); depth++ {
		if depth == 4 { // an index of an index is legal; more than that is not seen outside of attacks
			return m, target, fmt.Errorf("index %s: nested too deep", target.Digest)
		}
		var index ocispec.Index
		if err := readJSON(ctx, store, target, &index); err != nil {
			return m, target, err
		}
		best, offered := pick(want, index.Manifests)
		if best == nil {
			return m, target, want.wrongPlatform(offered)
		}
		target = *best
	}
	if !images.IsManifestType(target.MediaType) {
		return m, target, fmt.Errorf("%s is %q, not an image", target.Digest, target.MediaType)
	}
	return m, target, readJSON(ctx, store, target, &m)
}

// pick returns the descriptor that suits the platform best. One without a platform is taken when no other suits: its config
// decides later.
func pick(host platforms.MatchComparer, all []ocispec.Descriptor) (best *ocispec.Descriptor, offered []string) {
	var unknown *ocispec.Descriptor
	for i, d := range all {
		switch {
		case !images.IsManifestType(d.MediaType) && !images.IsIndexType(d.MediaType):
		case d.Platform == nil:
			if unknown == nil {
				unknown = &all[i]
			}
		case d.Platform.OS == "unknown": // attestations of buildkit
		case !host.Match(*d.Platform):
			offered = append(offered, platforms.Format(*d.Platform))
		case best == nil || host.Less(*d.Platform, *best.Platform):
			best = &all[i]
		}
	}
	if best == nil {
		best = unknown
	}
	return best, offered
}

func configFor(ctx context.Context, store content.Provider, want choice, desc ocispec.Descriptor) (ocispec.Image, error) {
	var config ocispec.Image
	if err := readJSON(ctx, store, desc, &config); err != nil {
		return config, err
	}
	return config, want.check(config)
}

func readJSON(ctx context.Context, store content.Provider, desc ocispec.Descriptor, into any) error {
	if desc.Size > metadataLimit {
		return fmt.Errorf("%s %s has %d bytes, the limit is %d", desc.MediaType, desc.Digest, desc.Size, metadataLimit)
	}
	raw, err := content.ReadBlob(ctx, store, desc)
	if err != nil {
		if errdefs.IsNotFound(err) { // the record exists, its content does not: not the same as an unknown image
			return &missingError{desc.Digest.String()}
		}
		return fmt.Errorf("read %s: %w", desc.Digest, err)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("read %s: %w", desc.Digest, err)
	}
	return nil
}

// leased runs do under a lease: what it makes stays until it has been referenced by an image record, and is removed at
// once when do fails.
func (c *Client) leased(ctx context.Context, do func(context.Context) error) error {
	if _, ok := leases.FromContext(ctx); ok {
		return do(ctx)
	}
	service := c.containerd().LeasesService()
	lease, err := service.Create(ctx, leases.WithRandomID(), leases.WithExpiration(leaseTime))
	if err != nil {
		return fmt.Errorf("take a lease: %w", err)
	}
	err = do(leases.WithLease(ctx, lease.ID))
	clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTime)
	defer cancel()
	var opts []leases.DeleteOpt
	if err != nil {
		opts = append(opts, leases.SynchronousDelete) // collect now, so that nothing is left when we return
	}
	if e := service.Delete(clean, lease, opts...); e != nil && !errdefs.IsNotFound(e) {
		c.log().Warn("lease not released", "lease", lease.ID, "error", e)
	}
	return err
}
