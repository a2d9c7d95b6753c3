// benchtransform measures how fast a batch transform drives a container, and in how much memory: the built optml running
// a real job against a trivial server in an image, and in turn what one would write or use instead, over the same
// loopback of the same kind of container. All are measured by the server: from the first request to the last response.
//
// Root is needed.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/optml/optml/hack/measure"
	"github.com/optml/optml/test/images"
)

// bench is what all rows share.
type bench struct {
	scale float64

	dir     string // in memory, where there is such a place: ours' root, the objects, and what the peers write
	short   string // sockets live below
	self    string
	bin     string
	asked   map[int]bool // processes of ours that were told to end
	optml   *optml
	stopped atomic.Bool
}

func main() {
	// The roles of processes that measure start.
	if len(os.Args) == 3 && (os.Args[1] == "raw" || os.Args[1] == "get") {
		if err := map[string]func(string) error{"raw": raw, "get": get}[os.Args[1]](os.Args[2]); err != nil {
			fmt.Fprintf(os.Stderr, "benchtransform %s: %v\n", os.Args[1], err)
			os.Exit(1)
		}
		return
	}
	b := &bench{asked: map[int]bool{}}
	o := measure.Options{Stopped: &b.stopped}
	bin := flag.String("optml", "build/optml", "the `binary` to measure")
	flag.IntVar(&o.N, "n", 10, "runs of each side that count; one more before does not")
	flag.Float64Var(&b.scale, "scale", 1, "multiply sizes or counts by this, to try a row")
	dir := flag.String("dir", "/dev/shm", "`directory` in memory for the objects, the outputs and ours' root; 6 GiB")
	only := flag.String("rows", "", "measure only the rows whose name matches this `regexp`")
	flag.StringVar(&o.JSON, "json", "", "write every sample to this `file`")
	list := flag.Bool("list", false, "list the rows")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "benchtransform [-optml FILE] [-n RUNS] [-rows REGEXP]: a transform job against a loop of one's own and wrk, in turn")
		flag.PrintDefaults()
	}
	flag.Parse()
	if *list {
		measure.List(rows)
		return
	}
	if err := b.run(*bin, *dir, *only, o); err != nil {
		fmt.Fprintln(os.Stderr, "benchtransform:", err)
		os.Exit(1)
	}
}

func (b *bench) run(bin, dir, only string, o measure.Options) error {
	chosen, err := measure.Choose(rows, only)
	if err != nil {
		return err
	}
	err = b.prepare(bin, dir)
	defer b.end()
	if err != nil {
		return err
	}
	defer measure.Heed(&b.stopped, b.kill)()
	b.versions()
	if b.scale != 1 {
		fmt.Printf("scale %v: to try the rows, not to quote them\n", b.scale)
	}
	return measure.All(b, chosen, o)
}

// kill ends what is measured just now. Ours is asked, once: it stops its job and takes away what belongs to it.
func (b *bench) kill() {
	for pid, command := range measure.Processes {
		switch {
		case !strings.Contains(command, b.dir), strings.Contains(command, "containerd "), b.asked[pid]:
		case strings.HasPrefix(command, b.bin+" "):
			b.asked[pid] = true
			_ = syscall.Kill(pid, syscall.SIGTERM)
		default:
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// end takes away what prepare and the rows have made.
func (b *bench) end() {
	if b.optml != nil {
		b.optml.Close()
	}
	for _, d := range []string{b.dir, b.short} {
		if d != "" {
			os.RemoveAll(d)
		}
	}
}

// prepare makes the directories, the server's image and ours' root. Something may be there to take away if it fails.
func (b *bench) prepare(bin, dir string) (err error) {
	if b.bin, err = filepath.Abs(bin); err != nil {
		return err
	}
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp(dir, "optml-bench-"); err != nil {
		return err
	}
	if b.short, err = os.MkdirTemp("/run", "ob"); err != nil {
		return err
	}
	for _, d := range []string{"s3/in", "s3/out"} {
		if err := os.MkdirAll(filepath.Join(b.dir, d), 0o755); err != nil {
			return err
		}
	}
	program, archive := filepath.Join(b.dir, "server"), filepath.Join(b.dir, "server.tar")
	data, err := measure.Program(program, "benchtransform/server")
	if err != nil {
		return err
	}
	img, err := images.Build(images.Options{Without: []string{"serve"}, Files: []images.File{{Name: "/usr/local/bin/serve", Mode: 0o755, Data: data}}})
	if err != nil {
		return err
	}
	if err := images.WriteOCIArchive(archive, images.Named{Ref: "docker.io/library/server:latest", Image: img}); err != nil {
		return err
	}
	if err := os.WriteFile(b.file("peer.py"), peerSource, 0o644); err != nil {
		return err
	}
	o, err := measure.NewOptml(b.bin, filepath.Join(b.dir, "optml"), filepath.Join(b.short, "o"), archive)
	if err == nil {
		b.optml = &optml{Optml: o, s3: filepath.Join(b.dir, "s3")}
	}
	return err
}

func (b *bench) file(name string) string { return filepath.Join(b.dir, name) }

// versions says which programs are measured.
func (b *bench) versions() {
	say := func(name string, err error, text []byte) {
		line, _, _ := strings.Cut(string(bytes.TrimSpace(text)), "\n")
		if err != nil {
			line = err.Error()
		}
		fmt.Printf("%-9s %s\n", name, line)
	}
	text, err := exec.Command("/usr/bin/python3", "-c", "import sys, requests, urllib3; print(sys.version.split()[0], 'requests', requests.__version__, 'urllib3', urllib3.__version__)").CombinedOutput()
	say("python3", err, text)
	path, err := measure.Find("", "wrk")
	if err == nil {
		text, err = exec.Command(path, "-v").CombinedOutput()
		if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == 1 { // as it ends when it has told its version
			err = nil
		}
	}
	say("wrk", err, text)
}
