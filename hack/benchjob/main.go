// benchjob measures a whole job, from the command line to its exit, and how fast what a job has made is packed and
// uploaded: the built optml against what one does by hand with public tools, in turn.
//
// Containers are run by optml and by Debian's containerd; the S3 on the loopback is one of its own (server.go). Root is
// needed.
package main

import (
	"flag"
	"fmt"
	"path/filepath"

	"github.com/optml/optml/hack/measure"
	"github.com/optml/optml/test/images"
)

const (
	tinyImage   = "optml.bench/tiny:1"
	copierImage = "optml.bench/copier:1"
)

// bench is what all rows share.
type bench struct {
	bin, against, in, peers string
	scale                   float64

	measure.Space
	archive string // of both images
	optml   *optml
	other   *optml              // to be measured too; nil: none
	ctr     *measure.Containerd // nil: not yet
}

func main() {
	b := &bench{}
	measure.Scale(&b.scale)
	flag.StringVar(&b.bin, "optml", "build/optml", "the `binary` to measure")
	flag.StringVar(&b.against, "against", "", "another optml `binary`, measured in turn with it in the row whole")
	flag.StringVar(&b.peers, "peers", "build/peers", "`directory` with s5cmd, before the PATH")
	flag.StringVar(&b.in, "dir", "/dev/shm", "`directory` in memory for data, ours' root and the script's; 1.5 GiB")
	measure.Program[*bench]{
		Usage: "benchjob [-optml FILE] [-n RUNS] [-rows REGEXP]: a whole job, and the upload of its model, against the same by hand",
		Rows:  rows, Runs: 20, Roles: map[string]func(string) error{"serve": serve},
		Prepare: (*bench).prepare, End: (*bench).end, Kill: func(b *bench) { b.Kill() },
	}.Main(b)
}

// end takes away what prepare and the rows have made.
func (b *bench) end() {
	for _, o := range []*optml{b.optml, b.other} {
		if o != nil {
			o.Close()
		}
	}
	if b.ctr != nil {
		b.ctr.Close()
	}
	b.Remove()
}

// prepare makes the directories, the images and ours' root.
func (b *bench) prepare() error {
	if err := b.Make(b.in, "tmp", "s3/in", "s3/out"); err != nil {
		return err
	}
	tiny, err := images.Build(images.Options{})
	if err != nil {
		return err
	}
	copier, err := measure.Image(b.File("train"), "benchjob/train", "train")
	if err != nil {
		return err
	}
	b.archive = b.File("images.tar")
	if err := images.WriteOCIArchive(b.archive, images.Named{Ref: tinyImage, Image: tiny}, images.Named{Ref: copierImage, Image: copier}); err != nil {
		return err
	}
	if b.optml, err = b.newOptml(b.bin, "optml"); err == nil && b.against != "" {
		b.other, err = b.newOptml(b.against, "other")
	}
	return err
}

// newOptml gives a binary a root of its own.
func (b *bench) newOptml(bin, name string) (*optml, error) {
	o, err := measure.NewOptml(bin, b.File(name), filepath.Join(b.Short, name[:2]), b.archive)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", bin, err)
	}
	return &optml{Optml: o, b: b}, nil
}

// containerd starts Debian's with the images in it.
func (b *bench) containerd() (err error) {
	if b.ctr == nil {
		b.ctr, err = measure.StartContainerd(b.Dir, filepath.Join(b.Short, "c"), b.archive)
	}
	return err
}
