package gpu

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// program is the helper as a file that can be executed. It lies in memory alone: whoever lists GPUs need be able to
// write nowhere, and nothing has to be removed.
type program struct {
	once sync.Once
	file *os.File
	err  error
}

// mfdExec asks for a file that can be executed, where the kernel can tell (6.3 on).
const mfdExec = 0x10

func (p *program) path(content io.Reader) (string, error) {
	p.once.Do(func() {
		fd, err := unix.MemfdCreate("optml-gpu", unix.MFD_CLOEXEC|mfdExec)
		if errors.Is(err, unix.EINVAL) {
			fd, err = unix.MemfdCreate("optml-gpu", unix.MFD_CLOEXEC)
		}
		if err != nil {
			p.err = fmt.Errorf("make a file in memory: %w", err)
			return
		}
		w := os.NewFile(uintptr(fd), "optml-gpu")
		defer w.Close() // what can be written cannot be executed
		if _, p.err = io.Copy(w, content); p.err == nil {
			p.file, p.err = os.Open(fmt.Sprintf("/proc/self/fd/%d", fd))
		}
	})
	if p.err != nil {
		return "", p.err
	}
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), p.file.Fd()), nil
}

func (h *Host) command(ctx context.Context, args ...string) (*exec.Cmd, error) {
	if h.Helper == nil {
		return nil, errors.New(WithoutHelper)
	}
	path, err := h.program.path(h.Helper)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, path, append([]string{"--root", h.root()}, args...)...)
	cmd.Args[0] = "optml-gpu"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // the terminal's Ctrl-C is not for it
	return cmd, nil
}

// Most that is taken from a helper: an inventory of many GPUs is some tens of KB, edits of them likewise.
const mostOutput = 4 << 20

// ask runs the helper and returns what it says. Its death is an error with its last words.
func (h *Host) ask(ctx context.Context, args ...string) ([]byte, error) {
	cmd, err := h.command(ctx, args...)
	if err != nil {
		return nil, err
	}
	var out, words bounded
	out.most, words.most = mostOutput, 4096
	cmd.Stdout, cmd.Stderr = &out, &words
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		if w := strings.TrimSpace(words.String()); w != "" {
			return nil, fmt.Errorf("%s (%w)", strings.ReplaceAll(w, "\n", "; "), err)
		}
		return nil, fmt.Errorf("the helper did not end well: %w", err)
	}
	return out.Bytes(), nil
}

// bounded keeps the first bytes.
type bounded struct {
	bytes.Buffer
	most int
}

func (b *bounded) Write(p []byte) (int, error) {
	if n := b.most - b.Len(); n > 0 {
		b.Buffer.Write(p[:min(n, len(p))])
	}
	return len(p), nil
}

// watcher is a helper that reads GPUs as long as a job has them.
type watcher struct {
	cmd   *exec.Cmd
	stdin io.Closer
	done  chan struct{}

	mu   sync.Mutex
	last map[string]Reading
}

// watch starts one. Its end, by a crash say, leaves the job without readings, and does nothing else.
func (h *Host) watch(gpus []GPU) (*watcher, error) {
	args := []string{"watch"}
	for _, g := range gpus {
		args = append(args, g.UUID)
	}
	cmd, err := h.command(context.Background(), args...)
	if err != nil {
		return nil, err
	}
	stdin, err := cmd.StdinPipe() // its end, by our death too, is the helper's
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	words := &bounded{most: 4096}
	cmd.Stderr = words
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	w := &watcher{cmd: cmd, stdin: stdin, done: make(chan struct{}), last: map[string]Reading{}}
	go func() {
		defer close(w.done)
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var all []Reading
			if json.Unmarshal(lines.Bytes(), &all) != nil {
				continue
			}
			w.mu.Lock()
			for _, r := range all {
				w.last[r.UUID] = r
			}
			w.mu.Unlock()
		}
		_, _ = io.Copy(io.Discard, out) // after a line that is too long
		err := cmd.Wait()
		w.mu.Lock()
		w.last = nil // old figures are no figures
		w.mu.Unlock()
		if err != nil {
			h.log().Warn("the GPUs are not measured any more", "error", err, "helper", strings.TrimSpace(words.String()))
		}
	}()
	return w, nil
}

func (w *watcher) reading(uuid string) (Reading, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r, ok := w.last[uuid]
	return r, ok
}

func (w *watcher) close() {
	w.stdin.Close()
	<-w.done
}
