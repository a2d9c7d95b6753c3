// benchstart measures how long it takes from a command line to the first instruction of an image's process, with the
// image present: `optml train` and `ctr run` in turn, the instant read from what the process itself prints.
//
// Both run their own containerd: optml the embedded one, ctr Debian's, with a configuration of its own. Root is needed.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/optml/optml/hack/measure"
	"github.com/optml/optml/test/images"
)

const image = "optml.bench/tiny:1"

// bench is what the sides share.
type bench struct {
	bin, against string

	measure.Space
	img    v1.Image
	optmls []*measure.Optml
	ctr    *measure.Containerd
	count  int
}

func main() {
	b := &bench{}
	flag.StringVar(&b.bin, "optml", "build/optml", "the `binary` to measure")
	flag.StringVar(&b.against, "against", "", "another optml `binary`, measured in turn with it instead of ctr")
	measure.Program[*bench]{
		Usage: "benchstart [-optml FILE] [-n RUNS]: command line to the image's first instruction, optml train against ctr run",
		Rows: []measure.Row[*bench]{{Name: "start", Says: "command line to the first instruction of the image's process, image present",
			Instants: []string{"to the process"}, Ready: (*bench).start}},
		Runs:    20,
		Prepare: (*bench).prepare, End: (*bench).end, Kill: func(b *bench) { b.Kill() },
	}.Main(b)
}

// prepare makes the directories and the image.
func (b *bench) prepare() (err error) {
	if err := b.Make("", "s3/out"); err != nil {
		return err
	}
	if b.img, err = images.Build(images.Options{}); err != nil {
		return err
	}
	return images.WriteOCIArchive(b.File("tiny.tar"), images.Named{Ref: image, Image: b.img})
}

// end takes away what prepare and the sides have made.
func (b *bench) end() {
	for _, o := range b.optmls {
		o.Close()
	}
	if b.ctr != nil {
		b.ctr.Close()
	}
	b.Remove()
}

// start is a job's start against its peer's, and the two things that ours cannot do without: runc, and its own start.
func (b *bench) start() (*measure.Contest, error) {
	ours, err := b.train("optml train", b.bin)
	if err != nil {
		return nil, err
	}
	var peer measure.Side
	if b.against != "" {
		peer, err = b.train("the other optml train", b.against)
	} else {
		peer, err = b.run()
	}
	if err != nil {
		return nil, err
	}
	floor, err := newRunc(b.File("bundle"), filepath.Join(b.Short, "r"), b.img)
	if err != nil {
		return nil, err
	}
	version := func(bool) (measure.Sample, error) {
		t0 := time.Now()
		err := b.optmls[0].Command("version").Run()
		return measure.Sample{Took: []time.Duration{time.Since(t0)}}, err
	}
	return &measure.Contest{Close: func() {}, Sides: []measure.Side{ours, peer,
		{Name: "of ours: runc run", Run: func(bool) (measure.Sample, error) { return floor.run(b.next()) }},
		{Name: "of ours: the program's start (optml version)", Run: version},
	}}, nil
}

func (b *bench) next() string {
	b.count++
	return fmt.Sprintf("bench-%d-%d", os.Getpid(), b.count)
}

// train is a side of a binary with a root of its own.
func (b *bench) train(name, bin string) (s measure.Side, err error) {
	at := fmt.Sprintf("o%d", len(b.optmls))
	o, err := measure.NewOptml(bin, b.File(at), filepath.Join(b.Short, at), b.File("tiny.tar"))
	if err != nil {
		return s, fmt.Errorf("%s: %w", bin, err)
	}
	b.optmls = append(b.optmls, o)
	file, err := o.Training("bench", image, map[string]any{"HyperParameters": map[string]string{"model": "none"}})
	return measure.Side{Name: name, Run: func(bool) (measure.Sample, error) {
		name := b.next()
		defer func() { _ = o.Command("rm", name).Run() }()
		return started(o.Command("--s3-dir", b.File("s3"), "train", file, "--name", name, "--logs"))
	}}, err
}

// run is the side of `ctr run`.
func (b *bench) run() (s measure.Side, err error) {
	b.ctr, err = measure.StartContainerd(b.Dir, filepath.Join(b.Short, "c"), b.File("tiny.tar"))
	return measure.Side{Name: "ctr run", Run: func(bool) (measure.Sample, error) {
		return started(b.ctr.Ctr("run", "--rm", image, b.next(), "train"))
	}}, err
}

// started runs a command. What it took is the time from just before it to the instant that the image's process prints.
func started(cmd *exec.Cmd) (s measure.Sample, err error) {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	t0 := time.Now()
	if err := cmd.Run(); err != nil {
		return s, fmt.Errorf("%w\n%s", err, out.Bytes())
	}
	ns, err := startedNS(&out)
	if err != nil {
		return s, err
	}
	return measure.Sample{Took: []time.Duration{time.Unix(0, ns).Sub(t0)}, CPU: measure.CPU(cmd)}, nil
}

// startedNS finds {"started_ns":…} in a log, whatever stands before it on its line.
func startedNS(r io.Reader) (int64, error) {
	for s := bufio.NewScanner(r); s.Scan(); {
		_, text, ok := bytes.Cut(s.Bytes(), []byte("{"))
		var line struct {
			NS int64 `json:"started_ns"`
		}
		if ok && json.Unmarshal(append([]byte("{"), text...), &line) == nil && line.NS > 0 {
			return line.NS, nil
		}
	}
	return 0, errors.New("the image's process printed no started_ns")
}

// runcRunner is runc alone on an unpacked image, with the configuration that `runc spec` writes: what no one who uses
// runc can go below.
type runcRunner struct{ bundle, root string }

func newRunc(bundle, root string, img v1.Image) (*runcRunner, error) {
	rootfs := filepath.Join(bundle, "rootfs")
	if err := os.MkdirAll(rootfs, 0o755); err != nil {
		return nil, err
	}
	tree := mutate.Extract(img)
	defer tree.Close()
	cmd := exec.Command("tar", "-C", rootfs, "-xf", "-")
	cmd.Stdin = tree
	if b, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("unpack the image: %w\n%s", err, b)
	}
	if b, err := exec.Command("runc", "spec", "--bundle", bundle).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("runc spec: %w\n%s", err, b)
	}
	conf := filepath.Join(bundle, "config.json")
	b, err := os.ReadFile(conf)
	if err != nil {
		return nil, err
	}
	var spec map[string]any
	if err := json.Unmarshal(b, &spec); err != nil {
		return nil, err
	}
	p := spec["process"].(map[string]any)
	p["terminal"], p["args"] = false, []string{"/tiny", "train"}
	p["env"] = []string{"TINY_MODEL=none"}
	if b, err = json.Marshal(spec); err != nil {
		return nil, err
	}
	return &runcRunner{bundle, root}, os.WriteFile(conf, b, 0o644)
}

func (r *runcRunner) run(name string) (measure.Sample, error) {
	return started(exec.Command("runc", "--root", r.root, "run", "--bundle", r.bundle, name))
}
