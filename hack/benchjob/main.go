// benchjob measures a whole job, from the command line to its exit, and how fast what a job has made is packed and
// uploaded: the built optml against what one does by hand with public tools, in turn.
//
// Containers are run by optml and by Debian's containerd; the S3 on the loopback is one of its own (server.go). Root is
// needed.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/optml/optml/hack/measure"
	"github.com/optml/optml/test/images"
)

// bench is what all rows share.
type bench struct {
	n     int
	scale float64
	peers string

	dir     string // in memory, where there is such a place
	short   string // sockets live below
	archive string // of both images
	optml   *optml
	other   *optml    // to be measured too; nil: none
	daemon  *exec.Cmd // Debian's containerd
	socket  string
	stopped atomic.Bool
}

func main() {
	if len(os.Args) == 3 && os.Args[1] == "serve" { // the role of a process that the bench starts
		if err := serve(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, "benchjob serve:", err)
			os.Exit(1)
		}
		return
	}
	b := &bench{}
	bin := flag.String("optml", "build/optml", "the `binary` to measure")
	against := flag.String("against", "", "another optml `binary`, measured in turn with it in the row whole")
	flag.IntVar(&b.n, "n", 20, "runs of each side that count; one more before does not")
	flag.Float64Var(&b.scale, "scale", 1, "multiply sizes by this, to try a row")
	flag.StringVar(&b.peers, "peers", "build/peers", "`directory` with s5cmd, before the PATH")
	dir := flag.String("dir", "/dev/shm", "`directory` in memory for data, ours' root and the script's; 1.5 GiB")
	only := flag.String("rows", "", "measure only the rows whose name matches this `regexp`")
	out := flag.String("json", "", "write every sample to this `file`")
	list := flag.Bool("list", false, "list the rows")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "benchjob [-optml FILE] [-n RUNS] [-rows REGEXP]: a whole job, and the upload of its model, against the same by hand")
		flag.PrintDefaults()
	}
	flag.Parse()
	if *list {
		measure.List(rows)
		return
	}
	if err := b.run(*bin, *against, *dir, *only, *out); err != nil {
		fmt.Fprintln(os.Stderr, "benchjob:", err)
		os.Exit(1)
	}
}

func (b *bench) run(bin, against, dir, only, out string) error {
	chosen, err := measure.Choose(rows, only)
	if err != nil {
		return err
	}
	err = b.prepare(bin, against, dir)
	defer b.end()
	if err != nil {
		return err
	}
	defer measure.Heed(&b.stopped, func() { measure.Kill(b.dir, b.short) })()
	if b.scale != 1 {
		fmt.Printf("scale %v: to try the rows, not to quote them\n", b.scale)
	}
	return measure.All(b, chosen, measure.Options{N: b.n, JSON: out, Stopped: &b.stopped})
}

// end takes away what prepare and the rows have made.
func (b *bench) end() {
	for _, o := range []*optml{b.optml, b.other} {
		if o != nil {
			o.Close()
		}
	}
	if b.daemon != nil {
		_ = b.daemon.Process.Signal(os.Interrupt)
		_ = b.daemon.Wait()
	}
	for _, d := range []string{b.dir, b.short} {
		if d != "" {
			os.RemoveAll(d)
		}
	}
}

// prepare makes the directories, the images and ours' root. Something may be there to take away if it fails.
func (b *bench) prepare(bin, against, dir string) (err error) {
	if b.dir, err = os.MkdirTemp(dir, "optml-bench-"); err != nil {
		return err
	}
	if b.short, err = os.MkdirTemp("/run", "ob"); err != nil {
		return err
	}
	for _, d := range []string{"tmp", "s3/in", "s3/out"} {
		if err := os.MkdirAll(filepath.Join(b.dir, d), 0o755); err != nil {
			return err
		}
	}
	program := filepath.Join(b.dir, "train")
	data, err := measure.Program(program, "benchjob/train")
	if err != nil {
		return err
	}
	tiny, err := images.Build(images.Options{})
	if err != nil {
		return err
	}
	copier, err := images.Build(images.Options{Without: []string{"train"}, Files: []images.File{{Name: "/usr/local/bin/train", Mode: 0o755, Data: data}}})
	if err != nil {
		return err
	}
	b.archive = filepath.Join(b.dir, "images.tar")
	err = images.WriteOCIArchive(b.archive, images.Named{Ref: "docker.io/library/tiny:latest", Image: tiny}, images.Named{Ref: "docker.io/library/copier:latest", Image: copier})
	if err != nil {
		return err
	}
	if b.optml, err = b.newOptml(bin, "optml"); err == nil && against != "" {
		b.other, err = b.newOptml(against, "other")
	}
	return err
}

// newOptml gives a binary a root of its own.
func (b *bench) newOptml(bin, name string) (*optml, error) {
	bin, err := filepath.Abs(bin)
	if err != nil {
		return nil, err
	}
	o, err := measure.NewOptml(bin, filepath.Join(b.dir, name), filepath.Join(b.short, name[:2]), b.archive)
	if err != nil {
		return nil, err
	}
	return &optml{Optml: o, b: b}, nil
}

// containerd starts Debian's with the images in it.
func (b *bench) containerd() error {
	if b.daemon != nil {
		return nil
	}
	state, conf := filepath.Join(b.short, "c"), filepath.Join(b.dir, "containerd.toml")
	b.socket = filepath.Join(state, "c.sock")
	text := fmt.Sprintf("version = 2\nroot = %q\nstate = %q\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = %q\n", filepath.Join(b.dir, "croot"), state, b.socket)
	if err := os.MkdirAll(state, 0o711); err != nil {
		return err
	}
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		return err
	}
	daemon := exec.Command("containerd", "--config", conf)
	if err := daemon.Start(); err != nil {
		return fmt.Errorf("containerd (apt-get install containerd): %w", err)
	}
	b.daemon = daemon
	for range 200 {
		if exec.Command("ctr", "-a", b.socket, "version").Run() == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if text, err := exec.Command("ctr", "-a", b.socket, "images", "import", b.archive).CombinedOutput(); err != nil {
		return fmt.Errorf("ctr images import: %w\n%s", err, text)
	}
	return nil
}
