//go:build e2e

// Package e2e runs the command line with real containers: the scripts beside this file, each a scenario of bad input or
// bad luck that asserts the sentence, the FailureReason, the exit code, and that nothing is left behind.
//
// OPTML_BINARY names the binary (make e2e sets it). With CONTAINERD_ADDRESS the same scripts run on the host's containerd.
package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/optml/optml/runtime/ctrd"
	"github.com/optml/optml/test/images"
)

// One daemon and one store of images serve all scripts; each script has jobs of its own.
var (
	work   string // of the whole run
	runDir string // short: sockets live in it
)

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	fail := func(err error) int {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	if os.Geteuid() != 0 {
		return fail(fmt.Errorf("real containers need root"))
	}
	binary := os.Getenv("OPTML_BINARY")
	if binary == "" {
		return fail(fmt.Errorf("OPTML_BINARY is not set: `make e2e` builds it and runs this"))
	}
	before, err := hostState()
	if err != nil {
		return fail(err)
	}
	if work, err = os.MkdirTemp("", "optml-script-"); err != nil {
		return fail(err)
	}
	defer os.RemoveAll(work)
	runDir = fmt.Sprintf("/run/optml-t%d", os.Getpid())
	defer os.RemoveAll(runDir)

	if err := prepare(binary); err != nil {
		return fail(err)
	}
	code := m.Run()
	if err := tearDown(); err != nil {
		code = fail(err)
	}
	after, err := hostState()
	if err != nil {
		return fail(err)
	}
	for _, x := range after.without(before).ours() {
		code = fail(fmt.Errorf("left behind: %s", x))
	}
	return code
}

// names of the images that the scripts use, in the archive that they are imported from.
const (
	imageGood    = "optml.test/tiny:1"
	imageNoTrain = "optml.test/no-train:1"
	imageNotExec = "optml.test/not-exec:1"
	imageUser    = "optml.test/user:1"
	imageMend    = "optml.test/mend:1" // fails on "poison" in picky.tar, not in mended.tar
	imagePipe    = "optml.test/pipe:1" // takes its port from the environment (INF-52)
	imageCUDA    = "optml.test/cuda:1" // says that it has CUDA, and has not
)

// prepare puts the binary on the PATH, makes the images and imports those that can be.
func prepare(binary string) error {
	binary, err := filepath.Abs(binary)
	if err != nil {
		return err
	}
	if _, err := os.Stat(binary); err != nil { // and a newer binary is not answered from go test's cache
		return err
	}
	bin := filepath.Join(work, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		return err
	}
	if err := os.Symlink(binary, filepath.Join(bin, "optml")); err != nil {
		return err
	}
	os.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	var good []images.Named
	for _, x := range []struct {
		ref string
		o   images.Options
	}{
		{imageGood, images.Options{}},
		{imageNoTrain, images.Options{Without: []string{"train"}}},
		{imageNotExec, images.Options{Entrypoint: []string{"/usr/local/bin/train"}, NotExec: []string{"train"}}},
		{imageUser, images.Options{User: "1000"}},
		{imagePipe, images.Options{Labels: map[string]string{"com.amazonaws.sagemaker.capabilities.accept-bind-to-port": "true"}}},
		{imageCUDA, images.Options{Env: []string{"CUDA_VERSION=12.4.1"}}},
	} {
		img, err := images.Build(x.o)
		if err != nil {
			return err
		}
		good = append(good, images.Named{Ref: x.ref, Image: img})
	}
	if err := images.WriteOCIArchive(filepath.Join(work, "good.tar"), good...); err != nil {
		return err
	}
	if err := images.WriteOCIArchive(filepath.Join(work, "one.tar"), good[0]); err != nil {
		return err
	}
	for file, o := range map[string]images.Options{"picky.tar": {Env: []string{"TINY_FAIL_IF=poison"}}, "mended.tar": {}} {
		img, err := images.Build(o)
		if err != nil {
			return err
		}
		if err := images.WriteOCIArchive(filepath.Join(work, file), images.Named{Ref: imageMend, Image: img}); err != nil {
			return err
		}
	}
	broken, err := images.Build(images.Options{Corrupt: true})
	if err != nil {
		return err
	}
	if err := images.WriteOCIArchive(filepath.Join(work, "broken.tar"), images.Named{Ref: "optml.test/broken:1", Image: broken}); err != nil {
		return err
	}
	for _, args := range [][]string{{"images", "import", filepath.Join(work, "good.tar")}, {"images", "import", filepath.Join(work, "picky.tar")}} {
		cmd := exec.Command("optml", args...)
		cmd.Env = append(os.Environ(), "OPTML_ROOT="+filepath.Join(work, "root"), "OPTML_RUN_DIR="+runDir)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("optml %v: %w\n%s", args, err, out)
		}
	}
	return nil
}

// tearDown ends the daemon and removes what a given containerd would keep.
func tearDown() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cfg := ctrd.Config{Root: filepath.Join(work, "root"), RunDir: runDir, Address: os.Getenv("CONTAINERD_ADDRESS")}
	if cfg.Address == "" {
		return ctrd.StopDaemon(ctx, cfg)
	}
	c, err := ctrd.Dial(ctx, cfg)
	if err != nil {
		return err
	}
	defer c.Close()
	for _, ref := range []string{imageGood, imageNoTrain, imageNotExec, imageUser, imageMend, imagePipe, imageCUDA} {
		if err := c.Remove(ctx, ref); err != nil {
			return err
		}
	}
	return nil
}

// hasVolumes says whether the host has what --enforce-volume-size needs.
func hasVolumes() bool {
	if _, err := exec.LookPath("mkfs.ext4"); err != nil {
		return false
	}
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return false
	}
	control.Close()
	_, err = os.Stat("/dev/loop0")
	return err == nil
}

func TestScripts(t *testing.T) {
	fresh, err := os.MkdirTemp(work, "") // -count 2 finds no jobs of the first time
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 ".",
		WorkdirRoot:         fresh,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			s := &script{env: e, jobs: map[string]*process{}}
			e.Values[scriptKey{}] = s
			e.Defer(s.end)
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("TZ", "UTC")
			e.Setenv("OPTML_ROOT", filepath.Join(e.WorkDir, "root"))
			e.Setenv("OPTML_RUN_DIR", runDir)
			e.Setenv("OPTML_S3_DIR", filepath.Join(e.WorkDir, "s3"))
			e.Setenv("CONTAINERD_ADDRESS", os.Getenv("CONTAINERD_ADDRESS"))
			e.Setenv("IMAGES", work)
			for _, d := range []string{"s3/bucket/train", "s3/bucket/rows", "s3/bucket/empty"} {
				if err := os.MkdirAll(filepath.Join(e.WorkDir, d), 0o755); err != nil {
					return err
				}
			}
			if err := os.WriteFile(filepath.Join(e.WorkDir, "s3/bucket/train/data.csv"), []byte("1,2\n"), 0o644); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(e.WorkDir, "s3/bucket/rows/rows.csv"), []byte("one\ntwo\nthree\n"), 0o644)
		},
		Cmds: commands,
		Condition: func(name string) (bool, error) {
			if name != "volumes" {
				return false, fmt.Errorf("unknown condition %q", name)
			}
			return hasVolumes(), nil
		},
	})
}
