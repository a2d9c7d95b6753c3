package measure

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
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

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"github.com/optml/optml/test/images"
)

// Optml is the binary with a root of its own.
type Optml struct {
	Dir          string // for what its jobs need
	Bin          string // the binary, absolute
	root, runDir string
}

// NewOptml makes a root below dir with the images of an archive in it. Sockets lie in runDir, which must be short.
func NewOptml(bin, dir, runDir, archive string) (*Optml, error) {
	bin, err := filepath.Abs(bin)
	if err != nil {
		return nil, err
	}
	o := &Optml{Dir: dir, Bin: bin, root: filepath.Join(dir, "root"), runDir: runDir}
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
	cmd := exec.Command(o.Bin, append([]string{"--root", o.root, "--run-dir", o.runDir}, args...)...)
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

// Training writes the request of a training job in File mode, with members beside and instead of the usual ones, and
// returns its file. Its name is the job's.
func (o *Optml) Training(name, image string, members map[string]any) (file string, err error) {
	doc := map[string]any{
		"TrainingJobName": name, "RoleArn": "arn:aws:iam::000000000000:role/bench", "EnableNetworkIsolation": true,
		"AlgorithmSpecification": map[string]any{"TrainingImage": image, "TrainingInputMode": "File"},
		"OutputDataConfig":       map[string]any{"S3OutputPath": "s3://out/"},
		"ResourceConfig":         map[string]any{"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 100},
		"StoppingCondition":      map[string]any{"MaxRuntimeInSeconds": 3600},
	}
	maps.Copy(doc, members)
	text, err := json.Marshal(doc)
	if err != nil {
		return "", err
	}
	file = filepath.Join(o.Dir, name+".json")
	return file, os.WriteFile(file, text, 0o644)
}

// Input is the InputDataConfig of one channel, train: what lies below an S3 URI.
func Input(uri string) []any {
	return []any{map[string]any{"ChannelName": "train",
		"DataSource": map[string]any{"S3DataSource": map[string]any{"S3DataType": "S3Prefix", "S3Uri": uri}}}}
}

// Image is the tests' image with a program of ours in place of its train or serve. The program is built at path.
func Image(path, pkg, instead string) (v1.Image, error) {
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, "github.com/optml/optml/hack/"+pkg)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build %s: %w\n%s", pkg, err, text)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return images.Build(images.Options{Without: []string{instead}, Files: []images.File{{Name: "/usr/local/bin/" + instead, Mode: 0o755, Data: data}}})
}

// GoSource is the source text of Go's own library, at least so many bytes of it where there are as many.
func GoSource(least int64) (text []byte, err error) {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("go env GOROOT: %w", err)
	}
	err = filepath.WalkDir(filepath.Join(strings.TrimSpace(string(root)), "src"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".go" || int64(len(text)) >= least {
			return err
		}
		b, err := os.ReadFile(path)
		text = append(text, b...)
		return err
	})
	return text, err
}

// FindAnswer finds the line {"bench":ANSWER} of a program of ours in a log, whatever stands before it, and reads the answer.
func FindAnswer(log []byte, answer any) error {
	for line := range bytes.Lines(log) {
		_, text, ok := bytes.Cut(bytes.TrimRight(line, "\r\n"), []byte(`{"bench":`))
		if ok && json.Unmarshal(bytes.TrimSuffix(text, []byte("}")), answer) == nil {
			return nil
		}
	}
	return fmt.Errorf("the program in the image printed no answer:\n%s", log)
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
			if d != "" && strings.Contains(command, d) && !strings.Contains(command, "containerd ") {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	}
}
