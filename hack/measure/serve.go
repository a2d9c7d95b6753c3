package measure

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

// Server is a process of this very program that serves, and whose first line says where.
type Server struct {
	URL string
	cmd *exec.Cmd
	in  io.Closer
}

// Serve starts this program again as "serve arg".
func Serve(arg string) (*Server, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(exe, "serve", arg)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe() // its end ends the server, also when this process is killed
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start server: %w", err)
	}
	s := &Server{cmd: cmd, in: in}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("server does not say where it is: %w", err)
	}
	s.URL = strings.TrimSpace(line)
	return s, nil
}

// Close ends the server.
func (s *Server) Close() {
	s.in.Close()
	_ = s.cmd.Wait()
}
