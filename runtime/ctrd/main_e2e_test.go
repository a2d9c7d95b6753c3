//go:build e2e

package ctrd

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"golang.org/x/sys/unix"

	"github.com/optml/optml/runtime/container"
	"github.com/optml/optml/test/images"
)

// The tests run real containers in an embedded daemon of their own (or, with CONTAINERD_ADDRESS, in the given one),
// whose roles this test binary plays.
func TestMain(m *testing.M) {
	switch Role(os.Args[0], os.Getenv(RoleEnv)) {
	case RoleDaemon:
		os.Exit(DaemonMain(os.Args[1:]))
	case RoleShim:
		os.Exit(ShimMain())
	case RoleLogger:
		os.Exit(LoggerMain(os.Args[1:]))
	}
	if os.Getenv(ownerEnv) != "" {
		os.Exit(ownerMain())
	}
	os.Exit(run(m))
}

var (
	testDir string // short: sockets live under it
	testCfg Config
	client_ *Client
	tinyRef = "optml.test/tiny:1"
)

func run(m *testing.M) int {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "the tests of real containers need root")
		return 1
	}
	var err error
	if testDir, err = os.MkdirTemp("/tmp", "oe"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	testCfg = Config{
		Root: filepath.Join(testDir, "root"), RunDir: filepath.Join(testDir, "run"),
		Address: os.Getenv("CONTAINERD_ADDRESS"), Idle: 2 * time.Second,
	}
	if testCfg.Address != "" {
		testCfg.Namespace = "optml-e2e"
	}
	code := 1
	ctx := context.Background()
	if client_, err = Dial(ctx, testCfg); err == nil {
		if err = importTiny(ctx, client_); err == nil {
			code = m.Run()
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	if err := tearDown(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "left behind:", err)
		code = 1
	}
	return code
}

func tearDown(ctx context.Context) error {
	if client_ != nil {
		swept, err := client_.Sweep(ctx, func(job string) bool { return !testJobs[job] })
		if err != nil || !swept.Empty() {
			fmt.Fprintf(os.Stderr, "swept at the end: %+v, %v\n", swept, err)
		}
		if testCfg.Address != "" {
			img := client_.containerd().ImageService()
			if list, err := img.List(client_.ctx(ctx)); err == nil {
				for _, i := range list {
					img.Delete(client_.ctx(ctx), i.Name)
				}
			}
		}
		client_.Close()
	}
	if testCfg.Address == "" {
		if err := StopDaemon(ctx, testCfg); err != nil {
			return err
		}
	}
	if b, _ := os.ReadFile("/proc/self/mounts"); strings.Contains(string(b), testDir) {
		for line := range strings.Lines(string(b)) {
			if strings.Contains(line, testDir) {
				unix.Unmount(strings.Fields(line)[1], unix.MNT_DETACH)
				defer fmt.Fprint(os.Stderr, "mount ", line)
			}
		}
	}
	return os.RemoveAll(testDir)
}

// importTiny puts the tiny image into the store, unpacked, under tinyRef.
func importTiny(ctx context.Context, c *Client) error {
	return importImage(ctx, c, tinyRef, images.Options{})
}

func importImage(ctx context.Context, c *Client, ref string, o images.Options) error {
	img, err := images.Build(o)
	if err != nil {
		return err
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(images.WriteOCI(w, images.Named{Ref: ref, Image: img})) }()
	ctx = c.ctx(ctx)
	list, err := c.containerd().Import(ctx, r, containerd.WithIndexName(""))
	if err != nil {
		return fmt.Errorf("import %s: %w", ref, err)
	}
	for _, i := range list {
		if i.Name == ref {
			return containerd.NewImage(c.containerd(), i).Unpack(ctx, c.snapshotter())
		}
	}
	return fmt.Errorf("import %s: not among %v", ref, list)
}

var (
	serial       int
	testJobs     = map[string]bool{} // what may be swept at the end: the host may have others
	idPrefix     = fmt.Sprintf("e2e-%d-", os.Getpid())
	bridgePrefix = fmt.Sprintf("oe%x-", os.Getpid())
)

// newSpec is a container of the tiny image, isolated on its own bridge, with its job's directory and log in a
// temporary directory.
func newSpec(t *testing.T, env ...string) container.Spec {
	t.Helper()
	serial++
	name := fmt.Sprintf("t%d", serial)
	job := t.TempDir()
	testJobs[job] = true
	return container.Spec{
		ID: idPrefix + name, Job: job, Image: tinyRef, Args: []string{"train"}, Env: env,
		Hostname: "algo-1", Log: filepath.Join(t.TempDir(), "algo-1"),
		Network: container.Network{Isolated: true, Bridge: bridgePrefix + name, Hosts: []string{"algo-1"}},
	}
}

func launch(t *testing.T, s container.Spec) container.Task {
	t.Helper()
	return launchOn(t, client_, s)
}

func launchOn(t *testing.T, c *Client, s container.Spec) container.Task {
	t.Helper()
	task, err := c.Launch(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := task.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return task
}

func wait(t *testing.T, task container.Task) container.Exit {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	e, err := task.Wait(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func readLog(t *testing.T, s container.Spec) string {
	t.Helper()
	b, err := os.ReadFile(s.Log + ".log")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
