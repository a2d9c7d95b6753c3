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
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/optml/optml/test/images"
)

func main() {
	optml := flag.String("optml", "build/optml", "the binary to measure")
	against := flag.String("against", "", "another optml to measure in turn with, instead of ctr")
	n := flag.Int("n", 20, "runs of each")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "benchstart [-optml FILE] [-n RUNS]: command line to the image's first instruction, optml train against ctr run")
		flag.PrintDefaults()
	}
	flag.Parse()
	if err := run(*optml, *against, *n); err != nil {
		fmt.Fprintln(os.Stderr, "benchstart:", err)
		os.Exit(1)
	}
}

func run(optml, against string, n int) (err error) {
	optml, err = filepath.Abs(optml)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "optml-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	short, err := os.MkdirTemp("/run", "ob") // sockets live below: short
	if err != nil {
		return err
	}
	defer os.RemoveAll(short)

	img, err := images.Build(images.Options{})
	if err != nil {
		return err
	}
	archive := filepath.Join(dir, "tiny.tar")
	if err := images.WriteOCIArchive(archive, images.Named{Ref: "docker.io/library/tiny:latest", Image: img}); err != nil {
		return err
	}
	o, err := newOptml(optml, dir, filepath.Join(short, "o"), archive)
	if err != nil {
		return err
	}
	defer o.close()
	peer := "ctr run"
	var c interface {
		run(i int) (time.Duration, error)
		close()
	}
	if against != "" {
		peer = "the other"
		if against, err = filepath.Abs(against); err != nil {
			return err
		}
		c, err = newOptml(against, filepath.Join(dir, "other"), filepath.Join(short, "p"), archive)
	} else {
		c, err = newCtr(dir, filepath.Join(short, "c"), archive)
	}
	if err != nil {
		return err
	}
	defer c.close()

	f, err := newRunc(filepath.Join(dir, "bundle"), filepath.Join(short, "r"), img)
	if err != nil {
		return err
	}
	var a, b, floor, self []time.Duration
	for i := range n + 2 { // two rounds of warm-up
		x, err := o.run(i)
		if err != nil {
			return fmt.Errorf("optml train: %w", err)
		}
		y, err := c.run(i)
		if err != nil {
			return fmt.Errorf("%s: %w", peer, err)
		}
		z, err := f.run(i)
		if err != nil {
			return fmt.Errorf("runc run: %w", err)
		}
		v, err := timed(exec.Command(optml, "version"))
		if err != nil {
			return fmt.Errorf("optml version: %w", err)
		}
		if i >= 2 {
			a, b, floor, self = append(a, x), append(b, y), append(floor, z), append(self, v)
		}
	}
	fmt.Printf("command line to the image's first instruction, image present, %d runs in turn\n", n)
	row("optml train", a)
	row(peer, b)
	row("runc run", floor)
	row("optml's own start", self)
	fmt.Printf("%-18s %.2f of %s: runc, and optml's own start, with nothing of containerd, network, record or log\n", "floor", float64(median(floor)+median(self))/float64(median(b)), peer)
	var ratios []float64
	for i := range a {
		ratios = append(ratios, float64(a[i])/float64(b[i]))
	}
	slices.Sort(ratios)
	fmt.Printf("%-18s median of pairs %.2f (min %.2f, max %.2f); of the medians %.2f\n", "ratio", ratios[len(ratios)/2], ratios[0], ratios[len(ratios)-1],
		float64(median(a))/float64(median(b)))
	return nil
}

func median(d []time.Duration) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[len(d)/2]
}

func row(name string, d []time.Duration) {
	s := slices.Sorted(slices.Values(d))
	fmt.Printf("%-18s median %6.1f ms  min %6.1f  max %6.1f\n", name, ms(median(d)), ms(s[0]), ms(s[len(s)-1]))
}

func ms(d time.Duration) float64 { return float64(d) / 1e6 }

// started runs a command and returns the time from just before it to the instant that the image's process prints.
func started(cmd *exec.Cmd) (time.Duration, error) {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	t0 := time.Now()
	if err := cmd.Run(); err != nil {
		return 0, fmt.Errorf("%w\n%s", err, out.Bytes())
	}
	ns, err := startedNS(&out)
	if err != nil {
		return 0, err
	}
	return time.Unix(0, ns).Sub(t0), nil
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

type optmlRunner struct {
	bin, dir, doc string
	flags         []string
}

func newOptml(bin, dir, runDir, archive string) (*optmlRunner, error) {
	o := &optmlRunner{bin: bin, dir: dir, doc: filepath.Join(dir, "job.json")}
	o.flags = []string{"--root", filepath.Join(dir, "root"), "--run-dir", runDir, "--s3-dir", filepath.Join(dir, "s3")}
	doc := `{"TrainingJobName":"bench","RoleArn":"arn:aws:iam::000000000000:role/bench","AlgorithmSpecification":{"TrainingImage":"tiny:latest","TrainingInputMode":"File"},` +
		`"HyperParameters":{"model":"none"},"OutputDataConfig":{"S3OutputPath":"s3://out/"},"EnableNetworkIsolation":true,` +
		`"ResourceConfig":{"InstanceType":"ml.m5.large","InstanceCount":1,"VolumeSizeInGB":1},"StoppingCondition":{"MaxRuntimeInSeconds":60}}`
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(o.doc, []byte(doc), 0o644), os.MkdirAll(filepath.Join(dir, "s3", "out"), 0o755)); err != nil {
		return nil, err
	}
	cmd := exec.Command(bin, append(o.flags, "images", "import", archive)...)
	if b, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("optml images import: %w\n%s", err, b)
	}
	return o, nil
}

func (o *optmlRunner) run(i int) (time.Duration, error) {
	name := fmt.Sprintf("bench-%d", i)
	d, err := started(exec.Command(o.bin, append(o.flags, "train", o.doc, "--name", name, "--logs")...))
	_ = exec.Command(o.bin, append(o.flags, "rm", name)...).Run()
	return d, err
}

func (o *optmlRunner) close() {
	_ = exec.Command(o.bin, append(o.flags, "prune")...).Run()
}

// ctrRunner is Debian's containerd with its own root and socket.
type ctrRunner struct {
	daemon *exec.Cmd
	socket string
}

func newCtr(dir, runDir, archive string) (*ctrRunner, error) {
	c := &ctrRunner{socket: filepath.Join(runDir, "c.sock")}
	conf := filepath.Join(dir, "containerd.toml")
	text := fmt.Sprintf("version = 2\nroot = %q\nstate = %q\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = %q\n", filepath.Join(dir, "croot"), runDir, c.socket)
	if err := errors.Join(os.MkdirAll(runDir, 0o711), os.WriteFile(conf, []byte(text), 0o644)); err != nil {
		return nil, err
	}
	c.daemon = exec.Command("containerd", "--config", conf)
	if err := c.daemon.Start(); err != nil {
		return nil, fmt.Errorf("containerd (apt-get install containerd): %w", err)
	}
	for range 200 {
		if exec.Command("ctr", "-a", c.socket, "version").Run() == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if b, err := exec.Command("ctr", "-a", c.socket, "images", "import", archive).CombinedOutput(); err != nil {
		c.close()
		return nil, fmt.Errorf("ctr images import: %w\n%s", err, b)
	}
	return c, nil
}

func (c *ctrRunner) run(i int) (time.Duration, error) {
	return started(exec.Command("ctr", "-a", c.socket, "run", "--rm", "docker.io/library/tiny:latest", fmt.Sprintf("bench-%d", i), "train"))
}

func (c *ctrRunner) close() {
	_ = c.daemon.Process.Signal(os.Interrupt)
	_, _ = c.daemon.Process.Wait()
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

func (r *runcRunner) run(i int) (time.Duration, error) {
	return started(exec.Command("runc", "--root", r.root, "run", "--bundle", r.bundle, fmt.Sprintf("bench-%d-%d", os.Getpid(), i)))
}

// timed is how long a whole command takes.
func timed(cmd *exec.Cmd) (time.Duration, error) {
	t0 := time.Now()
	err := cmd.Run()
	return time.Since(t0), err
}
