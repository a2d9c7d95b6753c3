//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/optml/optml/runtime/ctrd"
)

// full is the tier that runs everything.
var full = os.Getenv("OPTML_FULL") != ""

// world is where the tests of one run live.
type world struct {
	dir     string // of everything but the run directory
	root    string
	run     string
	s3      string
	tmp     string // TMPDIR of what we run
	work    string // where the documents are
	binary  string // a copy of our own, so that our processes are known by it
	path    string // PATH of what we run: runc and nothing else
	given   *given // the daemon that we started for this run; nil for the embedded one
	address string // of a given daemon
	client  *ctrd.Client
}

var w world

func (w *world) config() ctrd.Config {
	return ctrd.Config{Root: w.root, RunDir: w.run, Address: w.address, Executable: w.binary}
}

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(both(m))
}

// both runs the suite on the embedded daemon and, in the full tier, once more on Debian's, in a process of its own.
func both(m *testing.M) int {
	address := os.Getenv("OPTML_E2E_CONTAINERD")
	code := once(m, address)
	if address != "" || !full {
		return code
	}
	fmt.Println("=== once more, on Debian's containerd")
	cmd := exec.Command(os.Args[0], os.Args[1:]...)
	cmd.Env = append(os.Environ(), "OPTML_E2E_CONTAINERD=debian")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "on Debian's containerd:", err)
		return 1
	}
	return code
}

// once prepares a world, runs the tests in it, and holds that the host is afterwards as it was before.
func once(m *testing.M, address string) (code int) {
	code = 1
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "the tests of real containers need root")
		return 1
	}
	untouched := takeHost()
	err := w.make(address)
	if err == nil {
		code = m.Run()
	}
	if err = errors.Join(err, w.destroy()); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	if left := settle(untouched, takeHost); left != "" {
		fmt.Fprintf(os.Stderr, "e2e: the host is not as it was before the tests:\n%s", left)
		code = 1
	}
	return code
}

func (w *world) make(address string) error {
	var err error
	if w.dir, err = os.MkdirTemp("", "optml-e2e-"); err != nil {
		return err
	}
	w.run = fmt.Sprintf("/run/optml-e%d", os.Getpid()) // short: sockets live under it
	w.root, w.s3 = filepath.Join(w.dir, "root"), filepath.Join(w.dir, "s3")
	w.tmp, w.work = filepath.Join(w.dir, "tmp"), filepath.Join(w.dir, "work")
	w.path = filepath.Join(w.dir, "bin")
	for _, d := range []string{w.s3, w.tmp, w.work, w.path} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return err
		}
	}
	runc, err := exec.LookPath("runc")
	if err == nil {
		err = os.Symlink(runc, filepath.Join(w.path, "runc"))
	}
	if err != nil {
		return err
	}
	w.binary = filepath.Join(w.dir, "optml")
	if err := provideBinary(w.binary); err != nil {
		return err
	}
	switch address {
	case "", "embedded":
	case "debian":
		if w.given, err = startDebian(filepath.Join(w.dir, "containerd"), w.run+"-c"); err != nil {
			return err
		}
		w.address = w.given.address
	default:
		w.address = address
	}
	// As long as this connection is open, the embedded daemon stays.
	if w.client, err = ctrd.Dial(context.Background(), w.config()); err != nil {
		return err
	}
	if err := importTiny(); err != nil {
		return err
	}
	return w.warmUp()
}

// warmUp runs an isolated and an open job, so that the directories which are made with the first job and stay are
// there when the first test looks.
func (w *world) warmUp() error {
	for _, network := range []string{"isolated", "open"} {
		b, err := json.Marshal(training("warm-up-" + network))
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(context.Background(), commandTime)
		defer cancel()
		cmd := command(ctx, nil, "train", "--quiet", "--network", network, "-")
		cmd.Stdin = bytes.NewReader(b)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("the first job: %w\n%s", err, out)
		}
	}
	return nil
}

// provideBinary copies OPTML_BINARY to path, or builds it there.
func provideBinary(path string) error {
	from := os.Getenv("OPTML_BINARY")
	if from == "" {
		args := []string{"build", "-trimpath", "-o", path}
		env := append(os.Environ(), "CGO_ENABLED=0")
		if raceEnabled {
			args, env = append(args, "-race"), append(os.Environ(), "CGO_ENABLED=1")
		}
		cmd := exec.Command("go", append(args, "github.com/optml/optml/cmd/optml")...)
		cmd.Env = env
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go build: %w\n%s", err, out)
		}
		return nil
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// killContainerd kills the daemon of this world. The embedded one is started again by whoever needs it; a given one is
// the host's, whose init system starts it again: we do.
func (w *world) killContainerd(t *testing.T) {
	t.Helper()
	if w.address == "" {
		kill9(t, "containerd")
		return
	}
	if w.given == nil {
		t.Skip("the containerd at OPTML_E2E_CONTAINERD is not ours to kill")
	}
	if err := w.given.restart(); err != nil {
		t.Fatal(err)
	}
}

func (w *world) destroy() error {
	var errs []error
	if w.client != nil {
		if w.address != "" && w.given == nil { // it is somebody's, and stays
			errs = append(errs, w.client.Remove(context.Background(), tiny))
		}
		errs = append(errs, w.client.Close())
		w.client = nil
		if w.address == "" {
			errs = append(errs, ctrd.StopDaemon(context.Background(), w.config()))
		}
	}
	if w.given != nil {
		errs = append(errs, w.given.stop())
	}
	for _, dir := range []string{w.run, w.run + "-c", w.dir} {
		// A mount that is still there would make RemoveAll remove what is mounted.
		for _, m := range mountsBelow(dir) {
			errs = append(errs, fmt.Errorf("still mounted: %s", m))
			_ = unix.Unmount(m, unix.MNT_DETACH)
		}
		if dir != "" {
			errs = append(errs, os.RemoveAll(dir))
		}
	}
	return errors.Join(errs...)
}
