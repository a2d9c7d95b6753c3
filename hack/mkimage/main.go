// Command mkimage writes the tiny test image to an archive: an image that trains and serves, and misbehaves on request,
// for trying optml without Docker or a registry.
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/optml/optml/test/images"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "mkimage:", err)
		os.Exit(1)
	}
}

func run() error {
	out := flag.String("o", "tiny.tar", "archive to write")
	ref := flag.String("name", "optml/tiny:latest", "reference inside the archive; empty for none")
	docker := flag.Bool("docker", false, "write what docker save writes instead of an OCI archive")
	entrypoint := flag.String("entrypoint", "", "ENTRYPOINT, words separated by blanks (default none: train and serve are on the PATH)")
	user := flag.String("user", "", "USER")
	arch := flag.String("arch", "", "GOARCH (default this machine's)")
	pad := flag.Int("pad", 0, "add a layer of so many MB")
	zstd := flag.Bool("zstd", false, "compress layers by zstd")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), "usage: go run ./hack/mkimage [flags]\n\nWrites the tiny test image to an archive, for `optml images import`.\n",
			"What the image does is chosen by hyperparameters (train) and TINY_ variables (serve):\ntest/images/tiny/options.go lists them.\n\n")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	img, err := images.Build(images.Options{
		Entrypoint: strings.Fields(*entrypoint), User: *user, Arch: *arch, PadMB: *pad, Zstd: *zstd, Docker: *docker,
	})
	if err != nil {
		return err
	}
	write := images.WriteOCIArchive
	if *docker {
		write = images.WriteDockerArchive
	}
	if err := write(*out, images.Named{Ref: *ref, Image: img}); err != nil {
		return err
	}
	digest, err := img.Digest()
	if err != nil {
		return err
	}
	fmt.Println(*out, *ref, digest)
	return nil
}
