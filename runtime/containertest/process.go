package containertest

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"github.com/optml/optml/runtime/container"
)

// Process is what a Program sees of its container.
type Process struct {
	Context  context.Context // done when the container is killed
	Spec     container.Spec
	Args     []string // the whole command line
	Env      []string
	Stdout   io.Writer // fail with os.ErrClosed once the process has ended
	Stderr   io.Writer
	Signals  <-chan os.Signal // what it is sent, SIGKILL apart; unread ones are ignored, as by a PID 1 without a handler
	Hostname string

	t *Task
}

// Getenv returns a variable of the environment.
func (p *Process) Getenv(key string) string {
	for i := len(p.Env) - 1; i >= 0; i-- {
		if k, v, _ := strings.Cut(p.Env[i], "="); k == key {
			return v
		}
	}
	return ""
}

// Path is where a path of the container is on the host: below the deepest mount that holds it. A path that no mount
// holds is an error of the test.
func (p *Process) Path(name string) string {
	best := container.Mount{}
	for _, m := range p.Spec.Mounts {
		if (name == m.Target || strings.HasPrefix(name, strings.TrimSuffix(m.Target, "/")+"/")) && len(m.Target) > len(best.Target) {
			best = m
		}
	}
	if best.Target == "" {
		panic(fmt.Sprintf("containertest: no mount holds %s", name))
	}
	return filepath.Join(best.Source, strings.TrimPrefix(name, strings.TrimSuffix(best.Target, "/")))
}

// Layer is a directory for what the image would write to its own file system, beside its mounts.
func (p *Process) Layer() string {
	p.t.mu.Lock()
	defer p.t.mu.Unlock()
	if p.t.layer == "" {
		dir, err := os.MkdirTemp("", "containertest-")
		if err != nil {
			panic(err) // of the test
		}
		p.t.layer = dir
	}
	return p.t.layer
}

// Listen opens a port of the container, which Task.Dial reaches. Nothing of the host's network is used.
func (p *Process) Listen(port string) (net.Listener, error) { return p.t.listen(port) }

// Dial connects to what listens in the container's network.
func (p *Process) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return p.t.Dial(ctx, network, address)
}

// listen opens a port on every address, or one address with its port.
func (t *Task) listen(port string) (net.Listener, error) {
	t.ports.mu.Lock()
	defer t.ports.mu.Unlock()
	if t.ports.open[port] != nil {
		return nil, fmt.Errorf("listen on %s: address already in use", port)
	}
	l := &listener{of: t, port: port, conns: make(chan net.Conn), closed: make(chan struct{})}
	t.ports.open[port] = l
	return l, nil
}

// OOM ends the process as the kernel does when memory runs out. It does not return.
func (p *Process) OOM() {
	p.t.end(container.Exit{Code: 137, Signal: 9, OOM: true})
	runtime.Goexit()
}

// listener is a port in memory.
type listener struct {
	of     *Task
	port   string
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *listener) Addr() net.Addr { return addr(l.port) }

type addr string

func (a addr) Network() string { return "tcp" }
func (a addr) String() string  { return "127.0.0.1:" + string(a) }
