package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/optml/optml/human"
	"github.com/optml/optml/runtime/container"
	"github.com/optml/optml/runtime/ctrd"
)

func (a *app) cmdImages() *cobra.Command {
	c := &cobra.Command{
		Use:   "images",
		Short: "List, import, pull and remove images",
		Args:  cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(c, args[0])
			}
			return c.Help()
		},
	}
	c.AddCommand(a.cmdImagesLs(), a.cmdImagesImport(), a.cmdImagesPull(), a.cmdImagesRm())
	return c
}

// withClient connects to containerd for the time of one function.
func (a *app) withClient(o hostOptions, do func(context.Context, *ctrd.Client) error) error {
	if err := needRoot(); err != nil {
		return err
	}
	ctx, sig := watchSignals(sayTo(a.stderr), func() {})
	defer sig.end()
	c, err := ctrd.Dial(ctx, o.ctrd(a.log()))
	if err != nil {
		return interrupted(ctx, err)
	}
	defer c.Close()
	return interrupted(ctx, do(ctx, c))
}

func (a *app) cmdImagesLs() *cobra.Command {
	var f jobFlags
	return &cobra.Command{
		Use:   "ls",
		Short: "List the images that are here",
		Args:  nargs(0, 0, ""),
		RunE: func(*cobra.Command, []string) error {
			return a.withClient(a.hostOptions(&f), func(ctx context.Context, c *ctrd.Client) error {
				images, err := c.List(ctx)
				if err != nil {
					return err
				}
				return printImages(images, a.output, a.stdout)
			})
		},
	}
}

// imageEntry is an image in JSON.
type imageEntry struct {
	Ref        string   `json:"ref"`
	Digest     string   `json:"digest"`
	Size       int64    `json:"size"`
	Platform   string   `json:"platform"`
	User       string   `json:"user,omitempty"`
	Entrypoint []string `json:"entrypoint,omitempty"`
	Cmd        []string `json:"cmd,omitempty"`
	Created    string   `json:"created,omitempty"`
}

func printImages(images []container.Image, f format, w io.Writer) error {
	if f == formatJSON {
		all := []imageEntry{}
		for _, i := range images {
			e := imageEntry{Ref: i.Ref, Digest: i.Digest, Size: i.Size, Platform: i.OS + "/" + i.Arch, User: i.User, Entrypoint: i.Entrypoint, Cmd: i.Cmd}
			if !i.Created.IsZero() {
				e.Created = i.Created.UTC().Format("2006-01-02T15:04:05Z")
			}
			all = append(all, e)
		}
		return writeJSON(w, all)
	}
	return human.Table(w, func(t io.Writer) {
		fmt.Fprintln(t, "IMAGE\tDIGEST\tSIZE\tPLATFORM\tUSER")
		for _, i := range images {
			user := i.User
			if user == "" {
				user = "root"
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s/%s\t%s\n", ctrd.Familiar(i.Ref), shortDigest(i.Digest), human.Bytes(i.Size), i.OS, i.Arch, user)
		}
	})
}

func (a *app) cmdImagesImport() *cobra.Command {
	var f jobFlags
	var name, namespace, address string
	c := &cobra.Command{
		Use:   "import FILE | DIRECTORY | -",
		Short: "Bring images in: docker save and OCI archives, OCI layouts, another containerd's",
		Long: `Bring images in from an archive (what "docker save" writes, or an OCI archive,
plain or compressed), from an OCI layout directory, or from another containerd
namespace on this host (--from-namespace).`,
		Example: `  optml images import image.tar
  docker save my-image:1 | optml images import -
  optml images import my-image:1 --from-namespace moby`,
		Args: nargs(1, 1, "the archive"),
		RunE: func(_ *cobra.Command, args []string) error {
			if namespace == "" && args[0] != "-" {
				if _, err := os.Stat(args[0]); err != nil {
					return &usageError{Err: fmt.Errorf("import: %w", err)}
				}
			}
			return a.withClient(a.hostOptions(&f), func(ctx context.Context, c *ctrd.Client) error {
				var images []container.Image
				var err error
				switch {
				case namespace != "":
					images, err = c.ImportFrom(ctx, address, namespace, args[0], name)
				case args[0] == "-":
					images, err = c.Import(ctx, a.stdin, name)
				default:
					images, err = c.ImportPath(ctx, args[0], name)
				}
				if err != nil {
					return err
				}
				return printImages(images, a.output, a.stdout)
			})
		},
	}
	c.Flags().Var(platform{&f.platform}, "platform", "`platform` to take of an archive for several, such as linux/arm64 (default: this machine's)")
	c.Flags().StringVar(&name, "name", "", "give the image this `reference` instead of its own")
	c.Flags().StringVar(&namespace, "from-namespace", "", "take the image from this `namespace` of another containerd: moby, k8s.io, default")
	c.Flags().StringVar(&address, "from-address", "/run/containerd/containerd.sock", "the other containerd's `socket`")
	return c
}

func (a *app) cmdImagesPull() *cobra.Command {
	var f jobFlags
	c := &cobra.Command{
		Use:   "pull IMAGE...",
		Short: "Pull images from their registry, or from a mirror of it",
		Long: `Pull images by tag or digest. Registries are reached as --registry-config says:
a mirror, a certificate of one's own, plain HTTP. Those of Amazon ECR are asked
with a token of the AWS credentials (--aws-profile), all others with what
"docker login" left or Docker's credential helpers know.`,
		Example: `  optml images pull 123456789012.dkr.ecr.us-east-1.amazonaws.com/decision-trees:1
  optml images pull localhost:5000/team/image:1 --platform linux/arm64`,
		Args: nargs(1, -1, "the image"),
		RunE: func(_ *cobra.Command, args []string) error {
			return a.withClient(a.hostOptions(&f), func(ctx context.Context, c *ctrd.Client) error {
				var images []container.Image
				store := a.hostOptions(&f).images(c)
				defer showPulls(newConsole(a.stderr), store, f.progress)()
				for _, ref := range args {
					i, err := store.Ensure(ctx, ref, container.PullAlways)
					if err != nil {
						return err
					}
					images = append(images, i)
				}
				return printImages(images, a.output, a.stdout)
			})
		},
	}
	f.progress = progressAuto
	c.Flags().Var(choice{&f.progress, progressModes}, "progress", "`how` to show progress on stderr: auto, bars, plain, json or none")
	c.Flags().Var(platform{&f.platform}, "platform", "`platform` of images for several, such as linux/arm64 (default: this machine's)")
	return c
}

func (a *app) cmdImagesRm() *cobra.Command {
	var f jobFlags
	return &cobra.Command{
		Use:   "rm IMAGE...",
		Short: "Remove images",
		Args:  nargs(1, -1, "the image"),
		RunE: func(_ *cobra.Command, args []string) error {
			return a.withClient(a.hostOptions(&f), func(ctx context.Context, c *ctrd.Client) error {
				for _, ref := range args {
					if err := c.Remove(ctx, ref); err != nil {
						return err
					}
					fmt.Fprintf(a.stderr, "optml: removed %s\n", strings.TrimSpace(ref))
				}
				return nil
			})
		},
	}
}
