package measure

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Optml is the binary with a root of its own.
type Optml struct {
	Dir               string // for what its jobs need
	bin, root, runDir string
}

// NewOptml makes a root below dir with an image in it. Sockets lie in runDir, which must be short.
func NewOptml(bin, dir, runDir, archive string) (*Optml, error) {
	o := &Optml{Dir: dir, bin: bin, root: filepath.Join(dir, "root"), runDir: runDir}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if b, err := o.Command("images", "import", archive).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("optml images import: %w\n%s", err, b)
	}
	return o, nil
}

// Command is optml with further arguments.
func (o *Optml) Command(args ...string) *exec.Cmd {
	cmd := exec.Command(o.bin, append([]string{"--root", o.root, "--run-dir", o.runDir}, args...)...)
	cmd.Env = Plain()
	return cmd
}

// Close ends the containerd that the jobs have used; it would end by itself a minute later.
func (o *Optml) Close() {
	_ = o.Command("prune").Run()
	for range 100 {
		left := o.Helpers()
		if len(left) == 0 {
			return
		}
		for pid, name := range left {
			if name == "containerd" {
				_ = syscall.Kill(pid, syscall.SIGTERM)
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// Helpers are the processes beside the owner.
func (o *Optml) Helpers() map[int]string {
	all := map[int]string{}
	for pid, command := range Processes {
		switch {
		case strings.HasPrefix(command, "optml-containerd --root "+o.root):
			all[pid] = "containerd"
		case strings.Contains(command, "-address "+o.runDir):
			all[pid] = "shim"
		case strings.HasPrefix(command, o.runDir+"/bin/optml-logger"):
			all[pid] = "logger"
		}
	}
	return all
}

// Program builds a program of ours for an image, at path, and reads it.
func Program(path, pkg string) ([]byte, error) {
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, "github.com/optml/optml/hack/"+pkg)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build %s: %w\n%s", pkg, err, text)
	}
	return os.ReadFile(path)
}

// Plain is the environment without what would lead a program elsewhere.
func Plain() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "AWS_") || strings.HasPrefix(v, "RCLONE_") || strings.HasPrefix(v, "OPTML_") || strings.HasPrefix(v, "CONTAINERD_")
	})
}

// ErrNotFound is the error of a program that is not there.
var ErrNotFound = errors.New("not found")

// Find looks for a peer's program: in dir ("": nowhere), then where Debian has its own, then on the PATH.
func Find(dir, name string) (string, error) {
	for _, d := range []string{dir, "/usr/bin"} {
		if path := filepath.Join(d, name); d != "" && unix.Access(path, unix.X_OK) == nil {
			return path, nil
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, ErrNotFound)
	}
	return path, nil
}

// Heed sets stopped at a signal, and calls kill again and again until the function that it returns is called: gigabytes
// of memory would stay taken if the signal ended this process.
func Heed(stopped *atomic.Bool, kill func()) func() {
	signals, done := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case <-done:
			return
		case s := <-signals:
			fmt.Fprintf(os.Stderr, "%s: %v\n", filepath.Base(os.Args[0]), s)
			stopped.Store(true)
		}
		for {
			kill()
			select {
			case <-done:
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	})
	return func() { close(done); wg.Wait() }
}

// Kill ends the processes that measure or are measured: all that name one of the directories, but for containerd, which
// is asked later.
func Kill(dirs ...string) {
	for pid, command := range Processes {
		for _, d := range dirs {
			if strings.Contains(command, d) && !strings.Contains(command, "containerd ") {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	}
}
