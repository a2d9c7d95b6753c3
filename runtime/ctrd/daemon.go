package ctrd

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/cmd/containerd/server"
	srvconfig "github.com/containerd/containerd/v2/cmd/containerd/server/config"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/version"
	clog "github.com/containerd/log"
	"golang.org/x/sys/unix"

	"github.com/optml/optml/runtime/shim"
)

// readyFD is where the daemon writes "ok", or why it could not start; its starter reads the other end.
const readyFD = 3

// daemonTick is how often the daemon looks whether it has users.
const daemonTick = time.Second

// DaemonMain is the daemon role: containerd, until nobody uses it any more (D15). It is started by Dial only.
func DaemonMain(args []string) int {
	var cfg Config
	fs := flag.NewFlagSet(daemonName, flag.ContinueOnError)
	fs.StringVar(&cfg.Root, "root", "", "persistent state")
	fs.StringVar(&cfg.RunDir, "run-dir", "", "transient state")
	fs.DurationVar(&cfg.Idle, "idle", defaultIdle, "leave after this time without a user")
	fs.BoolVar(&cfg.NoSync, "no-sync", false, "do not sync the metadata database")
	if err := fs.Parse(args); err != nil {
		return 2
	}
	ready := os.NewFile(readyFD, "ready")
	syscall.CloseOnExec(readyFD)
	err := runDaemon(cfg, func() { _, _ = io.WriteString(ready, "ok"); ready.Close() }) // who started us may be gone
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", daemonName, err)
		_, _ = io.WriteString(ready, err.Error())
		return 1
	}
	return 0
}

func runDaemon(cfg Config, ready func()) error {
	cfg, err := cfg.complete()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	signal.Ignore(unix.SIGHUP, unix.SIGPIPE)
	_ = clog.SetLevel("warn")

	// A second containerd on the same database would wait for it for ever, so we lock it ourselves first.
	lctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	lock, err := lockFile(lctx, cfg.daemonLock(), unix.LOCK_EX)
	if err != nil {
		return fmt.Errorf("another containerd runs on %s: %w", cfg.Root, err)
	}
	defer runtime.KeepAlive(lock) // freed by the process's end and not before: until then something may still write

	os.Setenv("PATH", cfg.bin()+":"+envOr("PATH", defaultPath))
	os.Remove(cfg.socket())
	os.Remove(cfg.socket() + ".ttrpc")
	conf := cfg.server()
	if err := server.CreateTopLevelDirectories(conf); err != nil {
		return fmt.Errorf("make containerd's directories: %w", err)
	}
	srv, err := server.New(ctx, conf)
	if err != nil {
		return fmt.Errorf("set containerd up: %w", err)
	}
	defer srv.Stop()
	if err := srv.Start(ctx); err != nil {
		return fmt.Errorf("start containerd: %w", err)
	}
	srv.Wait()
	ready()
	return idle(ctx, cfg)
}

// server is the embedded containerd's configuration.
func (cfg Config) server() *srvconfig.Config {
	return &srvconfig.Config{
		Version:         version.ConfigVersion,
		Root:            cfg.daemonRoot(),
		State:           cfg.daemonState(),
		DisabledPlugins: []string{shim.TaskPlugin},
		Plugins: map[string]any{
			"io.containerd.server.v1.grpc":   map[string]any{"address": cfg.socket()},
			"io.containerd.server.v1.ttrpc":  map[string]any{"address": cfg.socket() + ".ttrpc"},
			"io.containerd.shim.v1.manager":  map[string]any{"socket_dir": cfg.shimSockets()},
			"io.containerd.metadata.v1.bolt": map[string]any{"no_sync": cfg.NoSync},
		},
	}
}

// idle returns when the daemon has had no user for cfg.Idle and holds no container, with the use lock taken
// exclusively: nobody can begin to use a daemon that is leaving (D15). The lock goes with the process.
func idle(ctx context.Context, cfg Config) error {
	use, err := os.OpenFile(cfg.useLock(), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("open lock: %w", err)
	}
	tick := time.NewTicker(min(daemonTick, max(cfg.Idle/4, 10*time.Millisecond)))
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil // asked to; containers and shims live on and are found again by the next daemon
		case <-tick.C:
		}
		free, err := tryLock(use, unix.LOCK_EX)
		if err != nil {
			return err
		}
		if !free {
			last = time.Now()
			continue
		}
		if time.Since(last) >= cfg.Idle {
			if _, err := os.Lstat(cfg.socket()); errors.Is(err, fs.ErrNotExist) {
				return nil // its run directory was removed: nobody can reach it any more
			}
			if busy, err := holdsContainers(ctx, cfg.socket()); err == nil && !busy {
				return nil
			}
			last = time.Now()
		}
		if err := unlock(use); err != nil {
			return fmt.Errorf("unlock %s: %w", use.Name(), err)
		}
	}
}

// holdsContainers says whether any namespace of the containerd at address has a container.
func holdsContainers(ctx context.Context, address string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	conn, err := client.New(address)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	names, err := conn.NamespaceService().List(ctx)
	if err != nil {
		return false, err
	}
	for _, name := range names {
		list, err := conn.ContainerService().List(namespaces.WithNamespace(ctx, name))
		if err != nil {
			return false, err
		}
		if len(list) > 0 {
			return true, nil
		}
	}
	return false, nil
}

// startDaemon returns the lock that keeps the embedded daemon, which runs when it returns.
func startDaemon(ctx context.Context, cfg Config) (*os.File, error) {
	if err := cfg.makeDirs(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	use, err := lockFile(ctx, cfg.useLock(), unix.LOCK_SH)
	if err != nil {
		return nil, err
	}
	if err := ensureDaemon(ctx, cfg); err != nil {
		use.Close()
		return nil, err
	}
	return use, nil
}

// startTimeout bounds the start of the daemon; 25 ms is usual, a slow disk under load has been seen to take seconds.
const startTimeout = 30 * time.Second

// ensureDaemon starts the daemon if none answers. The caller holds the use lock.
func ensureDaemon(ctx context.Context, cfg Config) error {
	if answers(cfg.socket()) {
		return nil
	}
	lock, err := lockFile(ctx, cfg.startLock(), unix.LOCK_EX)
	if err != nil {
		return err
	}
	defer lock.Close()
	if answers(cfg.socket()) {
		return nil
	}
	return spawnDaemon(ctx, cfg)
}

func spawnDaemon(ctx context.Context, cfg Config) error {
	logf, err := openDaemonLog(cfg.daemonLog())
	if err != nil {
		return err
	}
	defer logf.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make pipe: %w", err)
	}
	defer r.Close()
	argv := []string{daemonName, "--root", cfg.Root, "--run-dir", cfg.RunDir, "--idle", cfg.Idle.String()}
	if cfg.NoSync {
		argv = append(argv, "--no-sync")
	}
	proc, err := os.StartProcess(cfg.Executable, argv, &os.ProcAttr{
		Dir:   "/",
		Env:   daemonEnv(os.Environ()),
		Files: []*os.File{null, logf, logf, w},
		Sys:   &syscall.SysProcAttr{Setsid: true}, // a Ctrl-C at the terminal is not for it
	})
	w.Close()
	if err != nil {
		return fmt.Errorf("start containerd role: %w", err)
	}
	go func() { _, _ = proc.Wait() }() // no zombie while we live; init has it afterwards
	deadline, _ := ctx.Deadline()
	r.SetReadDeadline(deadline)
	said, err := io.ReadAll(io.LimitReader(r, 4096))
	switch {
	case string(said) == "ok":
		return nil
	case len(said) > 0:
		return fmt.Errorf("start containerd: %s", said)
	case errors.Is(err, os.ErrDeadlineExceeded):
		_ = proc.Kill()
		return fmt.Errorf("start containerd: not ready after %v; its log is %s", startTimeout, cfg.daemonLog())
	}
	return fmt.Errorf("start containerd: it ended at once; its log is %s", cfg.daemonLog())
}

// maxDaemonLog is when the daemon's log is begun anew.
const maxDaemonLog = 4 << 20

func openDaemonLog(path string) (*os.File, error) {
	if st, err := os.Stat(path); err == nil && st.Size() > maxDaemonLog {
		_ = os.Rename(path, path+".1") // else it grows on
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open containerd's log: %w", err)
	}
	return f, nil
}

// answers says whether something accepts connections on the socket.
func answers(socket string) bool {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return unix.Connect(fd, &unix.SockaddrUnix{Name: socket}) == nil
}

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// daemonEnv is what the daemon needs of its starter's environment; the rest, credentials among it, would live in the
// daemon and in every shim for as long as they do.
func daemonEnv(env []string) []string {
	keep := []string{"PATH=", "HOME=", "LANG=", "TMPDIR=", "GOCOVERDIR=", "GODEBUG=", "GORACE="}
	var out []string
	for _, kv := range env {
		for _, k := range keep {
			if strings.HasPrefix(kv, k) {
				out = append(out, kv)
			}
		}
	}
	return out
}

func envOr(key, def string) string {
	if v := os.Getenv(key); v != "" {
		return v
	}
	return def
}

// StopDaemon ends the embedded daemon of this root and run directory if it runs. Containers live on. It waits until
// the daemon is gone.
func StopDaemon(ctx context.Context, cfg Config) error {
	cfg, err := cfg.complete()
	if err != nil {
		return err
	}
	pid, err := daemonPID(cfg)
	if err != nil || pid == 0 {
		return err
	}
	if err := unix.Kill(pid, unix.SIGTERM); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("stop containerd %d: %w", pid, err)
	}
	lock, err := lockFile(ctx, cfg.daemonLock(), unix.LOCK_EX)
	if err != nil {
		return err
	}
	return lock.Close()
}

// daemonPID asks the kernel who listens on the socket; 0 is nobody.
func daemonPID(cfg Config) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("make socket: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: cfg.socket()}); err != nil {
		return 0, nil
	}
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return 0, fmt.Errorf("ask who listens on %s: %w", filepath.Base(cfg.socket()), err)
	}
	return int(cred.Pid), nil
}
