// Package ctrd carries containers out on containerd: on one embedded in this binary and started on demand (D1), or on
// the host's (--containerd-address). It is the only package that knows containerd, netlink and nftables.
//
// The binary re-executes itself in three roles, told apart by Role: the containerd daemon, the runc shim and the
// logger, which is also the guard of a container (D2, D11). A program that uses this package must dispatch them first
// thing in main:
//
//	switch ctrd.Role(os.Args[0], os.Getenv(ctrd.RoleEnv)) {
//	case ctrd.RoleDaemon:
//		os.Exit(ctrd.DaemonMain(os.Args[1:]))
//	case ctrd.RoleShim:
//		os.Exit(ctrd.ShimMain())
//	case ctrd.RoleLogger:
//		os.Exit(ctrd.LoggerMain(os.Args[1:]))
//	}
package ctrd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"

	"github.com/optml/optml/runtime/container"
)

// Config says which containerd to use and where our own keeps its things.
type Config struct {
	Root        string        // own persistent state; the embedded daemon uses Root/containerd
	RunDir      string        // own state that a reboot may lose; short, since sockets live under it
	Address     string        // socket of a given daemon (1.6 to 2.x); empty: the embedded one
	Namespace   string        // containerd namespace; empty: "optml"
	Snapshotter string        // empty: "overlayfs"
	Runc        string        // runc binary; empty: "runc" from PATH
	Idle        time.Duration // how long the embedded daemon stays without a user; 0: 60 s
	NoSync      bool          // the embedded daemon does not sync its database: faster, and lost with the power
	Executable  string        // what to re-execute; empty: this binary
	BootID      string        // identity of this boot; empty: the kernel's
	Log         *slog.Logger  // nil: discarded
	Helpers     fs.FS         // small programs for the roles, ROLE-HASH; without one the role is Executable
	Platform    string        // that images are taken for, such as linux/arm64; empty: this machine's

	platform choice
}

const (
	defaultNamespace   = "optml"
	defaultSnapshotter = "overlayfs"
	defaultIdle        = 60 * time.Second
	connectTimeout     = 10 * time.Second
)

// Client is a connection to a containerd. Its methods may be called concurrently. While one is open, the embedded
// daemon does not leave (D15).
type Client struct {
	cfg  Config
	conn *client.Client
	use  *os.File // shared flock that keeps the embedded daemon; nil with a given daemon
	runc string   // absolute path
	seen sync.Map // digest of an image -> imageFacts

	tasks sync.Map // ID of a container launched and not closed -> *task

	closed atomic.Bool
}

var _ container.Launcher = (*Client)(nil)

// Dial connects, starting the embedded daemon if it is wanted and not running. A host without runc is
// *MissingRuncError.
func Dial(ctx context.Context, cfg Config) (*Client, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	runc, err := findRunc(cfg.Runc)
	if err != nil {
		return nil, err
	}
	c := &Client{cfg: cfg, runc: runc}
	if cfg.Address == "" {
		if c.use, err = startDaemon(ctx, cfg); err != nil {
			return nil, err
		}
	}
	if c.conn, err = connect(ctx, cfg.address()); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Close ends the connection. Containers go on; a Wait for one ends with os.ErrClosed.
func (c *Client) Close() error {
	c.closed.Store(true)
	var errs []error
	if c.conn != nil {
		errs = append(errs, c.conn.Close())
	}
	if c.use != nil {
		errs = append(errs, c.use.Close())
		c.use = nil
	}
	return errors.Join(errs...)
}

// containerd is the connection, for calls with a context from ctx.
func (c *Client) containerd() *client.Client { return c.conn }

// ctx returns ctx with our containerd namespace.
func (c *Client) ctx(ctx context.Context) context.Context {
	return namespaces.WithNamespace(ctx, c.cfg.Namespace)
}

// snapshotter is the name of the snapshotter that images are unpacked for.
func (c *Client) snapshotter() string { return c.cfg.Snapshotter }

// log is never nil.
func (c *Client) log() *slog.Logger { return c.cfg.Log }

func (cfg Config) complete() (Config, error) {
	if cfg.Namespace == "" {
		cfg.Namespace = defaultNamespace
	}
	if cfg.Snapshotter == "" {
		cfg.Snapshotter = defaultSnapshotter
	}
	if cfg.Idle == 0 {
		cfg.Idle = defaultIdle
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	var err error
	if cfg.platform, err = choosePlatform(cfg.Platform); err != nil {
		return cfg, err
	}
	for _, dir := range []*string{&cfg.Root, &cfg.RunDir} {
		if *dir == "" {
			return cfg, errors.New("containerd configuration: Root and RunDir are required")
		}
		abs, err := filepath.Abs(*dir)
		if err != nil {
			return cfg, fmt.Errorf("containerd configuration: %w", err)
		}
		*dir = abs
	}
	if cfg.Executable == "" {
		exe, err := os.Executable()
		if err != nil {
			return cfg, fmt.Errorf("find own executable: %w", err)
		}
		cfg.Executable = exe
	}
	if cfg.BootID == "" {
		id, err := bootID()
		if err != nil {
			return cfg, err
		}
		cfg.BootID = id
	}
	return cfg, nil
}

func (cfg Config) address() string {
	if cfg.Address != "" {
		return cfg.Address
	}
	return cfg.socket()
}

// connect dials and asks for the version, so that a dead socket shows here and not in the middle of a job.
func connect(ctx context.Context, address string) (*client.Client, error) {
	conn, err := client.New(address, client.WithTimeout(connectTimeout), client.WithDefaultRuntime(runtimeName))
	if err != nil {
		return nil, fmt.Errorf("connect to containerd at %s: %w", address, err)
	}
	vctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if _, err := conn.Version(vctx); err != nil {
		conn.Close()
		return nil, fmt.Errorf("ask containerd at %s for its version: %w", address, err)
	}
	return conn, nil
}
