package ctrd

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// imageFacts are what an image is on this machine. They follow from its digest, so they are read once per process.
type imageFacts struct {
	desc     ocispec.Descriptor // of the manifest
	manifest ocispec.Manifest
	config   ocispec.Image
}

// chain is the name of the snapshot that its layers come to.
func (f imageFacts) chain() string { return identity.ChainID(f.config.RootFS.DiffIDs).String() }

// facts reads manifest and config for the platform of the Client. A wrong platform is a *container.ImageError.
func (c *Client) facts(ctx context.Context, i images.Image) (imageFacts, error) {
	if f, ok := c.seen.Load(i.Target.Digest); ok {
		return f.(imageFacts), nil
	}
	f, err := c.factsFor(ctx, i, c.platform())
	if err == nil {
		c.seen.Store(i.Target.Digest, f)
	}
	return f, err
}

func (c *Client) factsFor(ctx context.Context, i images.Image, want choice) (imageFacts, error) {
	store := c.containerd().ContentStore()
	manifest, desc, err := manifestFor(ctx, store, want, i.Target)
	if err != nil {
		return imageFacts{}, err
	}
	config, err := configFor(ctx, store, want, manifest.Config)
	return imageFacts{desc: desc, manifest: manifest, config: config}, err
}

// withSnapshot makes the container's snapshot on top of the image's.
func (c *Client) withSnapshot(f imageFacts) client.NewContainerOpts {
	return func(ctx context.Context, cl *client.Client, r *containers.Container) error {
		if _, err := cl.SnapshotService(c.cfg.Snapshotter).Prepare(ctx, r.ID, f.chain()); err != nil {
			return fmt.Errorf("make snapshot: %w", err)
		}
		r.Snapshotter, r.SnapshotKey = c.cfg.Snapshotter, r.ID
		return nil
	}
}

// withImage takes over environment, working directory and user, as containerd's WithImageConfig does. The latter reads
// the image's config anew and mounts its file system each time, to look the user's groups up.
func (c *Client) withImage(f imageFacts) oci.SpecOpts {
	return func(ctx context.Context, cl oci.Client, r *containers.Container, s *oci.Spec) error {
		conf := f.config.Config
		s.Process.Env = slices.Clone(conf.Env)
		if len(conf.Env) == 0 {
			s.Process.Env = []string{"PATH=" + defaultPath}
		}
		if s.Process.Cwd = conf.WorkingDir; conf.WorkingDir == "" {
			s.Process.Cwd = "/"
		}
		cache := c.userFile(f)
		if b, err := os.ReadFile(cache); err == nil {
			var u specs.User
			if json.Unmarshal(b, &u) == nil {
				s.Process.User = u
				return nil
			}
		}
		if err := lookUpUser(ctx, cl, r, s, conf.User); err != nil {
			return err
		}
		b, err := json.Marshal(s.Process.User)
		if err == nil {
			err = os.MkdirAll(filepath.Dir(cache), 0o755)
		}
		if err == nil {
			err = writeFile(cache, b, 0o600)
		}
		if err != nil { // a cache: without it the next container looks again
			c.log().Debug("an image's user is not kept", "error", err)
		}
		return nil
	}
}

// lookUpUser finds IDs and groups in the image's /etc/passwd and /etc/group.
func lookUpUser(ctx context.Context, cl oci.Client, r *containers.Container, s *oci.Spec, user string) error {
	if user == "" {
		return oci.WithAdditionalGIDs("root")(ctx, cl, r, s)
	}
	if err := oci.WithUser(user)(ctx, cl, r, s); err != nil {
		return err
	}
	return oci.WithAdditionalGIDs(strconv.FormatInt(int64(s.Process.User.UID), 10))(ctx, cl, r, s)
}

// userFile keeps what an image's user comes to. The layers never change, so neither does it.
func (c *Client) userFile(f imageFacts) string {
	sum := sha256.Sum256([]byte(f.chain() + "\n" + f.config.Config.User))
	return filepath.Join(c.cfg.RunDir, "users", fmt.Sprintf("%x.json", sum[:16]))
}
