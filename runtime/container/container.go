// Package container says what a container of a job is (Spec), what can be done with it (Launcher, Task) and what its
// /opt/ml looks like. It runs nothing: runtime/ctrd does, on containerd, and containertest does for tests, with a Go
// function as the image.
package container

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"
)

// Spec describes a container to launch.
type Spec struct {
	ID         string   // unique on this host, [a-z0-9.-], at most 76 characters
	Job        string   // the job's directory; marks what belongs to it, so that a sweep can tell
	Image      string   // reference that Images.Ensure returned
	Entrypoint []string // nil: the image's ENTRYPOINT
	Args       []string // replace the image's CMD; nil with an Entrypoint: no arguments
	Env        []string // K=V, over the image's ENV
	Hostname   string
	Mounts     []Mount
	Network    Network
	Log        string  // path of the log without its ending; the logger writes Log+".log" and Log+".idx"
	Guard      string  // path of the file whose flock the job's owner holds; when it is freed, the container is killed (D11)
	ShmBytes   int64   // /dev/shm; 0: 64 MiB
	Memory     int64   // bytes; 0: no limit
	CPUs       float64 // how much processor time it gets, in processors, and how many it sees; 0: the host's
	Init       bool    // a minimal init as PID 1 (START-5)
	// Edits are containerEdits of the Container Device Interface, in its JSON: device nodes, mounts, variables and hooks by
	// which a container has GPUs. nil: it has none.
	Edits json.RawMessage
}

// Mount is a bind mount into the container.
type Mount struct {
	Source, Target string
	ReadOnly       bool // with all that is mounted below
}

// Network is how the container is connected. Containers of one job with the same Bridge reach each other by host
// name; with Isolated nothing else is reachable, neither the host nor anything beyond it (training 6.5, INF-44).
// The host itself reaches the container by Task.Dial only.
type Network struct {
	Isolated bool
	Bridge   string   // name of the job's bridge, at most 15 bytes; made when missing, and where it would connect something
	Hosts    []string // all host names of the job in order: .Hosts[i] has address i+2 in the bridge's /24
	Index    int      // which of Hosts this container is
	// Of is the ID of another container whose network this one is in, instead of having one: they share addresses, ports
	// and the loopback (INF-54). That one was launched by the same Launcher and is not closed; the other fields are its.
	Of string
}

// Launcher makes containers. Launch returns when the container is created but not started: its network exists, Dial
// works, no instruction of the image has run. It may be called concurrently. After an error nothing of it is left.
type Launcher interface {
	Launch(ctx context.Context, s Spec) (Task, error)
}

// Task is one container. Methods may be called concurrently.
type Task interface {
	// Start runs the image's process. A process that cannot be started is a *StartError.
	Start(ctx context.Context) error
	// Wait returns when the main process has ended. It survives a restart of the daemon. It may be called several
	// times and before Start.
	Wait(ctx context.Context) (Exit, error)
	// Signal sends to the main process only (STOP-4). Signalling one that has ended is not an error.
	Signal(ctx context.Context, sig os.Signal) error
	// Dial connects from inside the container's network namespace (D3).
	Dial(ctx context.Context, network, addr string) (net.Conn, error)
	// Listen takes connections from inside the container's network namespace at addr, an IPv4 address and a port. An
	// address that is not there is given to the loopback: nothing beyond that network reaches it. The listener is closed
	// before the task is.
	Listen(ctx context.Context, addr string) (net.Listener, error)
	// Listening is where TCP connections are taken in the container's network namespace, once each: at most MaxListening.
	Listening(ctx context.Context) ([]netip.AddrPort, error)
	// Usage reads the counters of the cgroup and the network namespace.
	Usage(ctx context.Context) (Usage, error)
	// Processes are what runs in the container now, the main one first: at most MaxProcesses. None when it has ended.
	Processes(ctx context.Context) ([]Process, error)
	// PID of the main process on the host; 0 when unknown.
	PID() int
	// Interface is the network interface inside the container, for resourceconfig.json (RES-5).
	Interface() string
	// Addr is the container's own address on that interface, for Dial: what listens there alone is reached, what
	// listens on the loopback alone is not, as on SageMaker (INF-50). The loopback's where there is no such interface.
	Addr() string
	// Layer is the directory on this machine that holds what the container has written to its own file system, beside its
	// mounts, until Close; "" where there is none to look at. Removed files are character devices 0:0 there (overlayfs).
	Layer(ctx context.Context) (string, error)
	// Close kills what still runs, waits until the cgroup is empty and the log complete, and removes all that belongs
	// to the container. It is idempotent and works on its own, bounded deadline when ctx is done.
	Close(ctx context.Context) error
}

// Exit is how a main process ended.
type Exit struct {
	Code   int  // 0..255; 128+n after signal n (END-1)
	Signal int  // the signal, when one ended it and that is known
	OOM    bool // the cgroup reports an OOM kill (END-3)
	At     time.Time
}

// Process is one process of a container at one moment, as far as the kernel tells.
type Process struct {
	PID     int      // in the container; 1 is discarded what it has no handler for
	Main    bool     // the one that Task.Signal reaches
	Command string   // its arguments with blanks between, cut at MaxCommand bytes
	Term    Handling // of SIGTERM
	Pending bool     // SIGTERM has been sent to it, and it has not taken it yet
	Writing []string // files that it has open for writing, as the container names them; at most MaxWriting
}

// Handling is what a process does with a signal.
type Handling string

const (
	HandlingDefault Handling = "default" // no handler: it ends the process, or is discarded by PID 1
	HandlingIgnored Handling = "ignored"
	HandlingCaught  Handling = "caught" // there is a handler; what it does is not known
)

// Bounds of what Processes tells.
const (
	MaxProcesses = 200
	MaxCommand   = 120
	MaxWriting   = 100
)

// MaxListening bounds what Listening tells.
const MaxListening = 20

// Usage is a snapshot of a container's counters.
type Usage struct {
	At           time.Time
	CPU          time.Duration // consumed since start
	Throttled    time.Duration // of it held back by the quota
	MemoryBytes  int64         // working set
	MemoryPeak   int64
	MemoryLimit  int64 // 0: none
	ReadBytes    int64
	WrittenBytes int64
	RxBytes      int64
	TxBytes      int64
	PIDs         int
}

// StartError says that the image's process could not be started; Code is 127 (not found), 126 (not executable) or 128
// (END-4).
type StartError struct {
	Code int
	Msg  string // the runtime's message, e.g. exec: "train": executable file not found in $PATH
	Help string // what is wrong with the file, and what to change; "": not known
}

func (e *StartError) Error() string { return fmt.Sprintf("start: %s (code %d)", e.Msg, e.Code) }

// Pull says when Images.Ensure asks a registry.
type Pull string

const (
	PullMissing Pull = "missing" // the default: only when the image is not here
	PullAlways  Pull = "always"
	PullNever   Pull = "never"
)

// Image is what is known of an image that is here and unpacked.
type Image struct {
	Ref        string // to be used in Spec.Image
	Digest     string // of what the name points at: sha256:…
	Manifest   string // of the manifest for the platform, where Digest is an index's; else the same
	Config     string // of the configuration that the manifest names
	Size       int64  // bytes of content
	OS, Arch   string
	User       string
	Entrypoint []string
	Cmd        []string
	Env        []string
	WorkingDir string
	Labels     map[string]string
	StopSignal string
	Created    time.Time

	Pulled   time.Duration // from a registry, by this call of Ensure; 0: it was here
	Unpacked time.Duration // after that; 0: it was unpacked
}

// Images resolves names to images that can be launched.
type Images interface {
	// Ensure returns the image, pulled and unpacked if need be. Errors are *ImageError.
	Ensure(ctx context.Context, ref string, pull Pull) (Image, error)
}

// ImageError says why an image cannot be had.
type ImageError struct {
	Ref  string
	Kind ImageErrorKind
	Err  error
}

type ImageErrorKind string

const (
	ImageNotFound ImageErrorKind = "not found"
	ImageDenied   ImageErrorKind = "access denied"
	ImageDigest   ImageErrorKind = "digest mismatch"
	ImagePlatform ImageErrorKind = "wrong platform"
	ImageBroken   ImageErrorKind = "unreadable"
	ImageNoSpace  ImageErrorKind = "no space"
	// ImageUnreachable: it is not here, and there is no way to a registry that might have it.
	ImageUnreachable ImageErrorKind = "its registry cannot be reached"
)

func (e *ImageError) Error() string { return fmt.Sprintf("image %s: %s: %v", e.Ref, e.Kind, e.Err) }
func (e *ImageError) Unwrap() error { return e.Err }
