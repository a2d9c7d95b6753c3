// Package containertest is a container.Launcher whose images are Go functions, and the suite that every Launcher must
// pass. With it the rooms above the runtime are tested without root, daemon or network, and under testing/synctest.
//
//	l := containertest.New(map[string]containertest.Image{
//		"algo": {Commands: map[string]containertest.Program{"train": func(p *containertest.Process) int {
//			fmt.Fprintln(p.Stdout, "loss=0.5")
//			os.WriteFile(p.Path("/opt/ml/model/w.bin"), nil, 0o644)
//			return 0
//		}}},
//	})
package containertest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/optml/optml/runtime/container"
)

// Image is a fake image.
type Image struct {
	Entrypoint []string
	Cmd        []string
	Env        []string
	User       string
	WorkingDir string
	StopSignal string
	Labels     map[string]string
	// Commands are what can be executed, by the first word of the command line. A nil Program is a file that is not
	// executable.
	Commands map[string]Program
}

// Program is a command of an image. It returns the exit code. When the container is killed, Process.Context is done
// and what it returns later counts no more.
type Program func(p *Process) int

// Launcher is the fake. The fields may be set before use; the methods may be called concurrently.
type Launcher struct {
	Images map[string]Image
	// OnLaunch, OnStart and OnClose may fail or delay those calls.
	OnLaunch func(container.Spec) error
	OnStart  func(container.Spec) error
	OnClose  func(container.Spec) error
	// OnProcesses is what Task.Processes tells of a container that runs; nil: one process without a handler.
	OnProcesses func(container.Spec) []container.Process
	// OnEnsure may fail or delay Ensure.
	OnEnsure func(ref string, pull container.Pull) error

	mu       sync.Mutex
	live     map[string]*Task
	launched []container.Spec
	nextPID  int
}

var (
	_ container.Launcher = (*Launcher)(nil)
	_ container.Images   = (*Launcher)(nil)
)

// New returns a Launcher of these images by reference.
func New(images map[string]Image) *Launcher { return &Launcher{Images: images} }

// Ensure implements container.Images: an image is here, or does not exist.
func (l *Launcher) Ensure(ctx context.Context, ref string, pull container.Pull) (container.Image, error) {
	if l.OnEnsure != nil {
		if err := l.OnEnsure(ref, pull); err != nil {
			return container.Image{}, err
		}
	}
	if err := context.Cause(ctx); err != nil {
		return container.Image{}, &container.ImageError{Ref: ref, Kind: container.ImageBroken, Err: err}
	}
	img, ok := l.Images[ref]
	if !ok {
		return container.Image{}, &container.ImageError{Ref: ref, Kind: container.ImageNotFound, Err: fmt.Errorf("no such fake image")}
	}
	return container.Image{
		Ref: ref, Digest: "sha256:" + fmt.Sprintf("%064x", len(ref)), OS: "linux", Arch: "amd64", User: img.User,
		Entrypoint: img.Entrypoint, Cmd: img.Cmd, Env: img.Env, WorkingDir: img.WorkingDir, Labels: img.Labels,
		StopSignal: img.StopSignal,
	}, nil
}

// Launch implements container.Launcher.
func (l *Launcher) Launch(ctx context.Context, s container.Spec) (container.Task, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, fmt.Errorf("launch container %s: %w", s.ID, err)
	}
	if l.OnLaunch != nil {
		if err := l.OnLaunch(s); err != nil {
			return nil, err
		}
	}
	if s.ID == "" || s.Job == "" || s.Log == "" {
		return nil, fmt.Errorf("container %q: ID, Job and Log are required", s.ID)
	}
	img, ok := l.Images[s.Image]
	if !ok {
		return nil, &container.ImageError{Ref: s.Image, Kind: container.ImageNotFound, Err: fmt.Errorf("no such fake image")}
	}
	args := commandLine(s, img)
	if len(args) == 0 {
		return nil, fmt.Errorf("container %s: nothing to run", s.ID)
	}
	program, ok := img.Commands[args[0]]
	if !ok {
		return nil, &container.StartError{Code: 127, Msg: fmt.Sprintf("exec: %q: executable file not found in $PATH", args[0])}
	}
	if program == nil {
		return nil, &container.StartError{Code: 126, Msg: fmt.Sprintf("exec: %q: permission denied", args[0])}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.live[s.ID] != nil {
		return nil, fmt.Errorf("container %s exists", s.ID)
	}
	l.nextPID++
	t, err := newTask(l, s, program, args, environment(img.Env, s.Env), l.nextPID)
	if err != nil {
		return nil, err
	}
	if l.live == nil {
		l.live = map[string]*Task{}
	}
	l.live[s.ID] = t
	l.launched = append(l.launched, s)
	return t, nil
}

// Live are the IDs of the containers that are not closed, sorted: a test ends with none.
func (l *Launcher) Live() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Sorted(maps.Keys(l.live))
}

// Task returns the container with that ID if it is not closed.
func (l *Launcher) Task(id string) *Task {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.live[id]
}

// Launched are the Specs of all containers so far, in order.
func (l *Launcher) Launched() []container.Spec {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.launched)
}

func (l *Launcher) forget(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.live, id)
}

// commandLine is as a real Launcher's: START-1 table, INF-1.
func commandLine(s container.Spec, img Image) []string {
	switch {
	case s.Entrypoint != nil:
		return slices.Concat(s.Entrypoint, s.Args)
	case s.Args != nil:
		return slices.Concat(img.Entrypoint, s.Args)
	}
	return slices.Concat(img.Entrypoint, img.Cmd)
}

// environment lays over on top of base.
func environment(base, over []string) []string {
	out := slices.Clone(base)
	for _, kv := range over {
		k, _, _ := strings.Cut(kv, "=")
		if i := slices.IndexFunc(out, func(e string) bool { return strings.HasPrefix(e, k+"=") }); i >= 0 {
			out[i] = kv
		} else {
			out = append(out, kv)
		}
	}
	return out
}
