package ctrd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/core/remotes/docker/config"
	remoteerrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Registries says how registries are reached. The zero value is what Docker and containerd users have set up.
type Registries struct {
	// HostsDir holds <registry>/hosts.toml (mirrors, certificates, plain HTTP) in containerd's format; empty: the first
	// of /etc/optml/certs.d, /etc/containerd/certs.d and /etc/docker/certs.d that exists. A registry on loopback is
	// reached by plain HTTP without any configuration.
	HostsDir string
	// Credentials returns user and secret for a host, both empty for none; a secret without a user is an identity token.
	// registry is that of the image's name: host is the same, or a mirror of it that HostsDir names. nil: Docker's.
	Credentials func(ctx context.Context, registry, host string) (user, secret string, err error)
}

var hostsDirs = []string{"/etc/optml/certs.d", "/etc/containerd/certs.d", "/etc/docker/certs.d"}

func (r Registries) hostsDir() string {
	if r.HostsDir != "" {
		return r.HostsDir
	}
	for _, dir := range hostsDirs {
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			return dir
		}
	}
	return ""
}

func (r Registries) resolver(ctx context.Context, name string, p *PullProgress) remotes.Resolver {
	credentials := r.Credentials
	if credentials == nil {
		credentials = func(ctx context.Context, _, host string) (string, string, error) { return DockerCredentials(ctx, host) }
	}
	o := config.HostOptions{Credentials: func(host string) (string, string, error) {
		user, secret, err := credentials(ctx, registryOf(name), host)
		if err != nil {
			return "", "", fmt.Errorf("%w for %s: %w", errCredentials, host, err)
		}
		return user, secret, nil
	}}
	if dir := r.hostsDir(); dir != "" {
		o.HostDir = config.HostDirFromRoot(dir)
	}
	return &countingResolver{Resolver: docker.NewResolver(docker.ResolverOptions{Hosts: config.ConfigureHosts(ctx, o)}), p: p}
}

// PullProgress counts a pull. Its fields may be read at any time. Bytes are those of the layers and the config as they
// travel; content that is here already counts as done.
type PullProgress struct {
	Total, Done         atomic.Int64 // bytes; Total is 0 until the manifest is known
	Layers, LayersDone  atomic.Int64
	Unpacking, Attempts atomic.Int64 // Unpacking is 1 when all bytes are here and layers are still being unpacked

	arrived atomic.Int64 // when all bytes were here, in ns since 1970
}

type progressKey struct{}

// WithProgress makes Ensure count a pull in p.
func WithProgress(ctx context.Context, p *PullProgress) context.Context {
	return context.WithValue(ctx, progressKey{}, p)
}

func progressOf(ctx context.Context) *PullProgress {
	if p, ok := ctx.Value(progressKey{}).(*PullProgress); ok && p != nil {
		return p
	}
	return new(PullProgress)
}

// pullAttempts bounds how often a pull is tried when the network or the registry fails in a way that may pass. Bytes
// that arrived are kept between attempts.
const (
	pullAttempts = 4
	pullPause    = 500 * time.Millisecond // before the second attempt; then doubled
)

// pull fetches and unpacks an image and makes its record. When it fails, nothing is left.
func (s *Images) pull(ctx context.Context, name string) (images.Image, error) {
	p := progressOf(ctx)
	var out images.Image
	err := s.c.leased(ctx, func(ctx context.Context) error {
		pause := pullPause
		for attempt := 1; ; attempt++ {
			p.Attempts.Store(int64(attempt))
			img, err := s.pullOnce(ctx, name, p)
			if err == nil {
				out = img.Metadata()
				return nil
			}
			if attempt == pullAttempts || ctx.Err() != nil || !mayPass(err) {
				return err
			}
			s.c.log().Info("pull is tried again", "image", name, "attempt", attempt, "error", redacted{err})
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-time.After(pause):
			}
			pause *= 2
		}
	})
	return out, err
}

func (s *Images) pullOnce(ctx context.Context, name string, p *PullProgress) (client.Image, error) {
	store := s.c.containerd().ContentStore()
	p.Total.Store(0)
	p.Done.Store(0)
	p.Layers.Store(0)
	p.LayersDone.Store(0)
	p.Unpacking.Store(0)
	p.arrived.Store(0)
	return s.c.containerd().Pull(ctx, name,
		client.WithResolver(s.r.resolver(ctx, name, p)),
		client.WithPlatformMatcher(s.c.platform()),
		client.WithPullUnpack,
		client.WithPullSnapshotter(s.c.snapshotter()),
		client.WithMaxConcurrentDownloads(6),
		client.WithImageHandlerWrapper(func(next images.Handler) images.Handler {
			return &gate{next: next, store: store, want: s.c.platform(), p: p}
		}))
}

// gate looks at a manifest and its config before any layer is asked for: an image for another platform costs a few
// kilobytes, not gigabytes. It also learns what there is to count.
type gate struct {
	next  images.Handler
	store content.Store
	want  choice
	p     *PullProgress
	mu    sync.Mutex // a config is fetched here once; the dispatcher asks for it again and finds it
}

func (g *gate) Handle(ctx context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	children, err := g.next.Handle(ctx, desc)
	if err != nil {
		return nil, g.explain(ctx, desc, err)
	}
	if !images.IsManifestType(desc.MediaType) {
		return children, nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, child := range children {
		size := child.Size
		g.p.Total.Add(size)
		if images.IsLayerType(child.MediaType) {
			g.p.Layers.Add(1)
		}
		if _, err := g.store.Info(ctx, child.Digest); err == nil {
			g.p.Done.Add(size)
			if images.IsLayerType(child.MediaType) {
				g.p.LayersDone.Add(1)
			}
		}
	}
	for _, child := range children {
		if !images.IsConfigType(child.MediaType) {
			continue
		}
		if _, err := g.next.Handle(ctx, child); err != nil {
			return nil, err
		}
		if _, err := configFor(ctx, g.store, g.want, child); err != nil {
			return nil, err
		}
	}
	return children, nil
}

// explain names what an index has, when that is nothing for the platform.
func (g *gate) explain(ctx context.Context, desc ocispec.Descriptor, err error) error {
	var index ocispec.Index
	if !images.IsIndexType(desc.MediaType) || !errdefs.IsNotFound(err) || readJSON(ctx, g.store, desc, &index) != nil {
		return err
	}
	if best, offered := pick(g.want, index.Manifests); best == nil {
		return g.want.wrongPlatform(offered)
	}
	return err
}

// countingResolver counts the bytes that arrive.
type countingResolver struct {
	remotes.Resolver
	p *PullProgress
}

func (r *countingResolver) Fetcher(ctx context.Context, ref string) (remotes.Fetcher, error) {
	f, err := r.Resolver.Fetcher(ctx, ref)
	if err != nil {
		return nil, err
	}
	return remotes.FetcherFunc(func(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
		rc, err := f.Fetch(ctx, desc)
		if err != nil || images.IsManifestType(desc.MediaType) || images.IsIndexType(desc.MediaType) {
			return rc, err
		}
		return &countingBody{ReadCloser: rc, p: r.p, size: desc.Size, layer: images.IsLayerType(desc.MediaType)}, nil
	}), nil
}

// countingBody counts up to the highest offset, so that a resumed blob does not count twice.
type countingBody struct {
	io.ReadCloser
	p                  *PullProgress
	offset, high, size int64
	layer              bool
}

func (b *countingBody) Read(buf []byte) (int, error) {
	n, err := b.ReadCloser.Read(buf)
	b.move(b.offset + int64(n))
	return n, err
}

// Seek lets containerd go on where a broken connection ended.
func (b *countingBody) Seek(offset int64, whence int) (int64, error) {
	s, ok := b.ReadCloser.(io.Seeker)
	if !ok {
		return 0, errors.New("registry's answer cannot be resumed")
	}
	at, err := s.Seek(offset, whence)
	if err == nil {
		b.move(at)
	}
	return at, err
}

func (b *countingBody) move(to int64) {
	b.offset = to
	if to <= b.high {
		return
	}
	b.p.Done.Add(to - b.high)
	b.high = to
	if b.layer && to == b.size {
		if b.p.LayersDone.Add(1) == b.p.Layers.Load() {
			b.p.Unpacking.Store(1)
			b.p.arrived.Store(time.Now().UnixNano())
		}
	}
}

// mayPass says whether an error of a pull is worth another attempt: the registry is overloaded or the network broke.
// What the registry says about the image or about us is not.
func mayPass(err error) bool {
	if status, ok := errors.AsType[remoteerrors.ErrUnexpectedStatus](err); ok {
		return status.StatusCode >= 500 || status.StatusCode == 429 || status.StatusCode == 408
	}
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || errdefs.IsUnavailable(err) {
		return true
	}
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return dns.IsTemporary || dns.IsTimeout
	}
	var op *net.OpError
	return errors.As(err, &op) && op.Op != "dial" // nobody listens: another second does not help
}
