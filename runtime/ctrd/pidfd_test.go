package ctrd

import (
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/optml/optml/runtime/container"
)

func TestPidfdExit(t *testing.T) {
	for script, want := range map[string]container.Exit{
		"exit 0": {}, "exit 7": {Code: 7}, "kill -9 $$": {Code: 137, Signal: 9},
	} {
		cmd := exec.Command("/bin/sh", "-c", "read x; "+script)
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		fd, err := unix.PidfdOpen(cmd.Process.Pid, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		if e, ok := pidfdExit(fd); ok {
			t.Errorf("%s: %+v of a process that lives", script, e)
		}
		in.Write([]byte("\n"))
		in.Close()
		cmd.Wait()
		got, ok := pidfdExit(fd)
		if !ok {
			t.Skip("this kernel does not tell how another's process ended (before 6.15)")
		}
		if time.Since(got.At) > time.Minute {
			t.Errorf("%s: ended at %v", script, got.At)
		}
		if got.At = want.At; got != want {
			t.Errorf("%s: %+v, want %+v", script, got, want)
		}
	}
}
