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
	"syscall"

	"github.com/optml/optml/hack/measure"
	"github.com/optml/optml/test/images"
)

const serverImage = "optml.bench/server:1"

// bench is what all rows share.
type bench struct {
	bin, in string
	scale   float64

	measure.Space
	self  string       // this program
	asked map[int]bool // processes of ours that were told to end
	optml *optml
}

func main() {
	b := &bench{asked: map[int]bool{}}
	measure.Scale(&b.scale)
	flag.StringVar(&b.bin, "optml", "build/optml", "the `binary` to measure")
	flag.StringVar(&b.in, "dir", "/dev/shm", "`directory` in memory for the objects, the outputs and ours' root; 6 GiB")
	measure.Program[*bench]{
		Usage: "benchtransform [-optml FILE] [-n RUNS] [-rows REGEXP]: a transform job against a loop of one's own and wrk, in turn",
		Rows:  rows, Runs: 10, Roles: map[string]func(string) error{"raw": raw, "get": get},
		Prepare: (*bench).prepare, End: (*bench).end, Kill: (*bench).kill,
	}.Main(b)
}

// kill ends what is measured just now. Ours is asked, once: it stops its job and takes away what belongs to it.
func (b *bench) kill() {
	for pid, command := range measure.Processes {
		switch {
		case !strings.Contains(command, b.Dir), strings.Contains(command, "containerd "), b.asked[pid]:
		case strings.HasPrefix(command, b.optml.Bin+" "):
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
	b.Remove()
}

// prepare makes the directories, the server's image and ours' root.
func (b *bench) prepare() (err error) {
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	if err := b.Make(b.in, "s3/in", "s3/out"); err != nil {
		return err
	}
	img, err := measure.Image(b.File("server"), "benchtransform/server", "serve")
	if err != nil {
		return err
	}
	archive := b.File("server.tar")
	if err := images.WriteOCIArchive(archive, images.Named{Ref: serverImage, Image: img}); err != nil {
		return err
	}
	if err := os.WriteFile(b.File("peer.py"), peerSource, 0o644); err != nil {
		return err
	}
	o, err := measure.NewOptml(b.bin, b.File("optml"), filepath.Join(b.Short, "o"), archive)
	if err != nil {
		return err
	}
	b.optml = &optml{Optml: o, s3: b.File("s3")}
	b.versions()
	return nil
}

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
