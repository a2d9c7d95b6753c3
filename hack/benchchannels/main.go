// benchchannels measures how fast a job's channels bring their data, and in how much memory: the built optml running a
// real job whose container reads the data, against the tools that people use for it, in turn and to the same instants.
//
// The data comes from an S3 of its own on the loopback (server.go), or from a directory. Root is needed.
package main

import (
	"debug/buildinfo"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/optml/optml/hack/measure"
	"github.com/optml/optml/test/images"
)

const readerImage = "optml.bench/reader:1"

// bench is what all rows share.
type bench struct {
	bin, in, inDisk, peers string
	scale                  float64

	measure.Space
	data    string // the objects, in memory too
	disk    string // a directory on a disk
	reader  string
	archive string
	optml   *optml
	slow    *optml              // with its root on a disk; nil: not yet
	ctr     *measure.Containerd // nil: not yet
	ran     int                 // containers of ctr's
}

func main() {
	b := &bench{}
	measure.Scale(&b.scale)
	flag.StringVar(&b.bin, "optml", "build/optml", "the `binary` to measure")
	flag.StringVar(&b.peers, "peers", "build/peers", "`directory` with s5cmd and rclone, before the PATH")
	flag.StringVar(&b.in, "dir", "/dev/shm", "`directory` in memory for data, ours' root and what the peers write; 13 GiB")
	flag.StringVar(&b.inDisk, "disk", os.TempDir(), "`directory` on a disk, for ours' root in the rows of FastFile and of memory; 24 GiB")
	measure.Program[*bench]{
		Usage: "benchchannels [-optml FILE] [-n RUNS] [-rows REGEXP]: channels of a real job against the tools for the same, in turn",
		Rows:  rows, Runs: 10, Memory: 256 << 20, Roles: map[string]func(string) error{"serve": serve, "memory": writeMemory},
		Prepare: (*bench).prepare, End: (*bench).end, Kill: (*bench).kill,
	}.Main(b)
}

// end takes away what prepare and the rows have made.
func (b *bench) end() {
	for _, o := range []*optml{b.optml, b.slow} {
		if o != nil {
			o.Close()
		}
	}
	if b.ctr != nil {
		b.ctr.Close()
	}
	if b.disk != "" {
		os.RemoveAll(b.disk)
	}
	b.Remove()
}

// kill ends what is measured just now.
func (b *bench) kill() {
	measure.Kill(b.Dir, b.Short, b.disk)
	_ = unix.Unmount(b.File("mnt"), unix.MNT_DETACH)
	// Whoever waits for a pipe's reader has one for a moment.
	if fd, err := unix.Open(b.File("fifo"), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0); err == nil {
		unix.Close(fd)
	}
}

// prepare makes the directories, the reader's image and ours' root.
func (b *bench) prepare() (err error) {
	if err := b.Make(b.in, "data/"+bucket); err != nil {
		return err
	}
	if b.disk, err = os.MkdirTemp(b.inDisk, "optml-bench-"); err != nil {
		return err
	}
	b.data, b.reader, b.archive = b.File("data"), b.File("reader"), b.File("reader.tar")
	img, err := measure.Image(b.reader, "benchchannels/reader", "train")
	if err != nil {
		return err
	}
	if err := images.WriteOCIArchive(b.archive, images.Named{Ref: readerImage, Image: img}); err != nil {
		return err
	}
	if b.optml, err = newOptml(b.bin, b.File("optml"), filepath.Join(b.Short, "o"), b.archive); err != nil {
		return err
	}
	b.versions()
	return nil
}

// onDisk is ours with its root on a disk.
func (b *bench) onDisk() (_ *optml, err error) {
	if b.slow == nil {
		b.slow, err = newOptml(b.bin, filepath.Join(b.disk, "optml"), filepath.Join(b.Short, "d"), b.archive)
	}
	return b.slow, err
}

// versions says which programs are measured.
func (b *bench) versions() {
	for _, p := range []struct{ name, flag string }{{"s5cmd", ""}, {"rclone", ""}, {"s3fs", "--version"}, {"aws", "--version"}, {"pigz", "--version"}, {"gzip", "--version"}} {
		path, err := measure.Find(b.peers, p.name)
		text := ""
		switch {
		case err != nil:
		case p.flag == "": // a Go program: what it says of itself depends on how it was built
			text, err = module(path)
		default:
			var out []byte
			out, err = exec.Command(path, p.flag).CombinedOutput()
			text, _, _ = strings.Cut(string(out), "\n")
		}
		if err != nil {
			text = err.Error()
		}
		fmt.Printf("%-7s %s\n", p.name, text)
	}
}

// module is the module of a Go program's main package, with its version.
func module(path string) (string, error) {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return "", err
	}
	for _, m := range append(info.Deps, &info.Main) {
		if m.Path == info.Path || strings.HasPrefix(info.Path, m.Path+"/") {
			return m.Path + " " + m.Version, nil
		}
	}
	return info.Path, nil
}
