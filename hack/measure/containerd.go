package measure

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// Containerd is Debian's, with a root and a socket of its own.
type Containerd struct {
	Socket string
	daemon *exec.Cmd
}

// StartContainerd starts one with the images of an archive in it. Its root lies in dir, its sockets in runDir, which must
// be short.
func StartContainerd(dir, runDir, archive string) (*Containerd, error) {
	c := &Containerd{Socket: filepath.Join(runDir, "c.sock")}
	conf := filepath.Join(dir, "containerd.toml")
	text := fmt.Sprintf("version = 2\nroot = %q\nstate = %q\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = %q\n", filepath.Join(dir, "croot"), runDir, c.Socket)
	if err := errors.Join(os.MkdirAll(runDir, 0o711), os.WriteFile(conf, []byte(text), 0o644)); err != nil {
		return nil, err
	}
	c.daemon = exec.Command("containerd", "--config", conf)
	if err := c.daemon.Start(); err != nil {
		return nil, fmt.Errorf("containerd (apt-get install containerd): %w", err)
	}
	for range 200 {
		if c.Ctr("version").Run() == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if b, err := c.Ctr("images", "import", archive).CombinedOutput(); err != nil {
		c.Close()
		return nil, fmt.Errorf("ctr images import: %w\n%s", err, b)
	}
	return c, nil
}

// Ctr is its client with further arguments.
func (c *Containerd) Ctr(args ...string) *exec.Cmd {
	return exec.Command("ctr", append([]string{"-a", c.Socket}, args...)...)
}

// Close ends it.
func (c *Containerd) Close() {
	_ = c.daemon.Process.Signal(os.Interrupt)
	_ = c.daemon.Wait()
}
