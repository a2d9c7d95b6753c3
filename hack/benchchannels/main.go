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
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/optml/optml/hack/measure"
	"github.com/optml/optml/test/images"
)

// bench is what all rows share.
type bench struct {
	n     int
	scale float64
	peers string

	dir     string // in memory, where there is such a place: ours' root, and where the peers write
	data    string // the objects, in memory too
	disk    string
	short   string // sockets live below
	reader  string
	archive string
	optml   *optml
	slow    *optml // with its root on a disk
	bin     string
	ctr     *ctr
	stopped atomic.Bool
}

func main() {
	// The roles of processes that measure start.
	if len(os.Args) == 3 && (os.Args[1] == "serve" || os.Args[1] == "memory") {
		if err := role(os.Args[1], os.Args[2]); err != nil {
			fmt.Fprintf(os.Stderr, "benchchannels %s: %v\n", os.Args[1], err)
			os.Exit(1)
		}
		return
	}
	b := &bench{}
	bin := flag.String("optml", "build/optml", "the `binary` to measure")
	flag.IntVar(&b.n, "n", 10, "runs of each side that count; one more before does not")
	flag.Float64Var(&b.scale, "scale", 1, "multiply sizes or counts by this, to try a row")
	flag.StringVar(&b.peers, "peers", "build/peers", "`directory` with s5cmd and rclone, before the PATH")
	dir := flag.String("dir", "/dev/shm", "`directory` in memory for data, ours' root and what the peers write; 13 GiB")
	disk := flag.String("disk", os.TempDir(), "`directory` on a disk, for ours' root in the rows of FastFile and of memory; 24 GiB")
	only := flag.String("rows", "", "measure only the rows whose name matches this `regexp`")
	out := flag.String("json", "", "write every sample to this `file`")
	list := flag.Bool("list", false, "list the rows")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "benchchannels [-optml FILE] [-n RUNS] [-rows REGEXP]: channels of a real job against the tools for the same, in turn")
		flag.PrintDefaults()
	}
	flag.Parse()
	if *list {
		measure.List(rows)
		return
	}
	if err := b.run(*bin, *dir, *disk, *only, *out); err != nil {
		fmt.Fprintln(os.Stderr, "benchchannels:", err)
		os.Exit(1)
	}
}

func role(name, arg string) error {
	if name == "serve" {
		return serve(arg)
	}
	n, err := strconv.ParseInt(arg, 10, 64)
	if err != nil {
		return err
	}
	return writeMemory(n)
}

func (b *bench) run(bin, dir, disk, only, out string) (err error) {
	chosen, err := measure.Choose(rows, only)
	if err != nil {
		return err
	}
	err = b.prepare(bin, dir, disk)
	defer b.end()
	if err != nil {
		return err
	}
	defer measure.Heed(&b.stopped, b.kill)()
	b.versions()
	if b.scale != 1 {
		fmt.Printf("scale %v: to try the rows, not to quote them\n", b.scale)
	}
	return measure.All(b, chosen, measure.Options{N: b.n, Memory: 256 << 20, JSON: out, Stopped: &b.stopped})
}

// end takes away what prepare and the rows have made.
func (b *bench) end() {
	for _, o := range []*optml{b.optml, b.slow} {
		if o != nil {
			o.Close()
		}
	}
	if b.ctr != nil {
		b.ctr.close()
	}
	for _, d := range b.dirs() {
		os.RemoveAll(d)
	}
}

// dirs are the directories of this run, which have names that nothing else has.
func (b *bench) dirs() []string {
	return slices.DeleteFunc([]string{b.dir, b.disk, b.short}, func(d string) bool { return d == "" })
}

// kill ends what is measured just now.
func (b *bench) kill() {
	measure.Kill(b.dirs()...)
	_ = unix.Unmount(filepath.Join(b.dir, "mnt"), unix.MNT_DETACH)
	// Whoever waits for a pipe's reader has one for a moment.
	if fd, err := unix.Open(filepath.Join(b.dir, "fifo"), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0); err == nil {
		unix.Close(fd)
	}
}

// prepare makes the directories, the reader's image and ours' root. Something may be there to take away if it fails.
func (b *bench) prepare(bin, dir, disk string) (err error) {
	if b.bin, err = filepath.Abs(bin); err != nil {
		return err
	}
	for _, d := range []struct {
		in, name string
		to       *string
	}{{dir, "optml-bench-", &b.dir}, {disk, "optml-bench-", &b.disk}, {"/run", "ob", &b.short}} {
		if *d.to, err = os.MkdirTemp(d.in, d.name); err != nil {
			return err
		}
	}
	b.data, b.reader, b.archive = filepath.Join(b.dir, "data"), filepath.Join(b.dir, "reader"), filepath.Join(b.dir, "reader.tar")
	if err := os.MkdirAll(filepath.Join(b.data, bucket), 0o755); err != nil {
		return err
	}
	program, err := measure.Program(b.reader, "benchchannels/reader")
	if err != nil {
		return err
	}
	img, err := images.Build(images.Options{Without: []string{"train"}, Files: []images.File{{Name: "/usr/local/bin/train", Mode: 0o755, Data: program}}})
	if err != nil {
		return err
	}
	if err := images.WriteOCIArchive(b.archive, images.Named{Ref: "docker.io/library/reader:latest", Image: img}); err != nil {
		return err
	}
	b.optml, err = newOptml(b.bin, filepath.Join(b.dir, "optml"), filepath.Join(b.short, "o"), b.archive)
	return err
}

// onDisk is ours with its root on a disk.
func (b *bench) onDisk() (_ *optml, err error) {
	if b.slow == nil {
		b.slow, err = newOptml(b.bin, filepath.Join(b.disk, "optml"), filepath.Join(b.short, "d"), b.archive)
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
