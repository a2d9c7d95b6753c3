//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/optml/optml/test/images"
)

// given is a containerd that is not ours, started for these tests as a host would have it: with its own root, state
// and socket.
type given struct {
	address  string
	binaries string // the directory of containerd and its shim
	config   string
	cmd      *exec.Cmd
	log      *os.File
	done     chan error
}

// startDebian starts Debian's containerd: the one on the PATH, or that of the package, unpacked and not installed.
func startDebian(root, state string) (*given, error) {
	binaries, err := debianContainerd()
	if err != nil {
		return nil, err
	}
	for _, d := range []string{root, state} {
		if err := os.MkdirAll(d, 0o711); err != nil {
			return nil, err
		}
	}
	g := &given{address: filepath.Join(state, "containerd.sock"), done: make(chan error, 1)}
	// Version 2 is what 1.6 reads. CRI would want a network configuration of its own.
	config := fmt.Sprintf("version = 2\nroot = %q\nstate = %q\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\n  address = %q\n",
		filepath.Join(root, "root"), filepath.Join(state, "state"), g.address)
	path := filepath.Join(root, "config.toml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		return nil, err
	}
	if g.log, err = os.Create(filepath.Join(root, "log")); err != nil {
		return nil, err
	}
	g.binaries, g.config = binaries, path
	return g, g.start()
}

// start returns when the daemon answers.
func (g *given) start() error {
	g.cmd = exec.Command(filepath.Join(g.binaries, "containerd"), "--config", g.config)
	g.cmd.Env = append(os.Environ(), "PATH="+g.binaries+":"+os.Getenv("PATH"))
	g.cmd.Stdout, g.cmd.Stderr = g.log, g.log
	if err := g.cmd.Start(); err != nil {
		return err
	}
	cmd := g.cmd
	go func() { g.done <- cmd.Wait() }()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if c, err := net.Dial("unix", g.address); err == nil {
			return c.Close()
		}
	}
	return errors.Join(fmt.Errorf("containerd does not answer at %s; it says:\n%s", g.address, read(g.log.Name())), g.stop())
}

// restart kills the daemon and starts it again.
func (g *given) restart() error {
	if err := g.cmd.Process.Kill(); err != nil {
		return err
	}
	<-g.done
	return g.start()
}

func (g *given) stop() error {
	defer g.log.Close()
	_ = g.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-g.done:
		return nil
	case <-time.After(20 * time.Second):
		_ = g.cmd.Process.Kill()
		return fmt.Errorf("containerd did not end on SIGTERM; it says:\n%s", read(g.log.Name()))
	}
}

// debianContainerd is the directory with containerd and its shim.
func debianContainerd() (string, error) {
	if path, err := exec.LookPath("containerd"); err == nil {
		return filepath.Dir(path), nil
	}
	cache, err := images.CacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "debian-containerd")
	bin := filepath.Join(dir, "usr", "bin")
	if _, err := os.Stat(filepath.Join(bin, "containerd-shim-runc-v2")); err == nil {
		return bin, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	temp, err := os.MkdirTemp(cache, ".debian-containerd-*")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(temp)
	if err := os.Chmod(temp, 0o755); err != nil { // apt downloads as a user of its own
		return "", err
	}
	for _, c := range []string{"apt-get download -q containerd || { apt-get update -q && apt-get download -q containerd; }", "dpkg -x containerd_*.deb tree"} {
		cmd := exec.Command("sh", "-c", c)
		cmd.Dir = temp
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("%s: %w\n%s", c, err, out)
		}
	}
	if err := os.Rename(filepath.Join(temp, "tree"), dir); err != nil {
		return "", err
	}
	return bin, nil
}
