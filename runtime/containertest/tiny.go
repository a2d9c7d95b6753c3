package containertest

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Tiny is the image of the suite: the few behaviours of test/images' tiny program that the suite asks for, by the same
// environment variables. `train` and `serve` are on its PATH, `noexec` is there but not executable.
func Tiny() Image {
	return Image{Commands: map[string]Program{
		"/tiny": tiny, "train": tiny, "serve": tiny, "/etc/passwd": nil,
	}}
}

func tiny(p *Process) int {
	code := func(name string) int {
		n, _ := strconv.Atoi(p.Getenv(name))
		return n
	}
	io.WriteString(p.Stdout, p.Getenv("TINY_PRINT"))
	io.WriteString(p.Stderr, p.Getenv("TINY_PRINT_STDERR"))
	for f := range strings.FieldsSeq(p.Getenv("TINY_SCRATCH")) {
		name, size, _ := strings.Cut(f, ":")
		n, _ := strconv.Atoi(size)
		name = filepath.Join(p.Layer(), name)
		if errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, make([]byte, n), 0o644)) != nil {
			return 65
		}
	}
	if a := p.Getenv("TINY_LISTEN"); a != "" {
		_, port, err := net.SplitHostPort(a)
		if err != nil {
			return 64
		}
		l, err := p.Listen(port)
		if err != nil {
			return 1
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				io.WriteString(c, "tiny\n")
				c.Close()
			}
		}()
	}
	var sleep <-chan time.Time
	if d, err := time.ParseDuration(p.Getenv("TINY_SLEEP")); err == nil {
		t := time.NewTimer(d)
		defer t.Stop()
		sleep = t.C
	} else {
		return code("TINY_EXIT_CODE")
	}
	for {
		select {
		case <-sleep:
			return code("TINY_EXIT_CODE")
		case <-p.Context.Done():
			return 137
		case sig := <-p.Signals:
			if sig == os.Signal(syscall.SIGTERM) && p.Getenv("TINY_SIGTERM") == "exit" {
				return code("TINY_SIGTERM_EXIT_CODE")
			}
		}
	}
}
