package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/optml/optml/hack/measure"
)

// environ is how every program reaches the server.
func (s *server) environ() []string {
	env := append(measure.Plain(), "AWS_ACCESS_KEY_ID=bench", "AWS_SECRET_ACCESS_KEY=benchbench", "AWS_REGION=us-east-1", "AWS_DEFAULT_REGION=us-east-1",
		"AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null",
		"RCLONE_CONFIG=/dev/null", "RCLONE_CONFIG_S_TYPE=s3", "RCLONE_CONFIG_S_PROVIDER=Other", "RCLONE_CONFIG_S_ENDPOINT="+s.URL,
		"RCLONE_CONFIG_S_ACCESS_KEY_ID=bench", "RCLONE_CONFIG_S_SECRET_ACCESS_KEY=benchbench", "RCLONE_CONFIG_S_REGION=us-east-1", "RCLONE_CONFIG_S_FORCE_PATH_STYLE=true")
	if s.ca != "" {
		env = append(env, "AWS_CA_BUNDLE="+s.ca)
	}
	return env
}

// peer is a side that is a program. Without the program it says so instead of running.
func (b *bench) peer(s measure.Side, program string, run func(path string, check bool) (measure.Sample, error)) measure.Side {
	path, err := measure.Find(b.peers, program)
	s.Missing = err
	s.Run = func(check bool) (measure.Sample, error) { return run(path, check) }
	return s
}

func with(s *server, path string, args ...string) *exec.Cmd {
	cmd := exec.Command(path, args...)
	cmd.Env = s.environ()
	return cmd
}

// download is a side that brings objects into a directory. It is measured to its own end, and to the first instruction
// of a container that has the directory mounted, which `ctr run` starts as soon as the data is there.
func (b *bench) download(s measure.Side, srv *server, program string, args func(dir string) []string) measure.Side {
	return b.peer(s, program, func(path string, check bool) (measure.Sample, error) {
		dir := b.File("downloaded")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return measure.Sample{}, err
		}
		defer os.RemoveAll(dir)
		plan := reading{Path: "/opt/ml/input/data/train", Block: 1 << 20}
		if check {
			plan.Epochs, plan.Sum = 1, true
		}
		t0 := time.Now()
		took, used, peak, err := measure.RunAll(nil, with(srv, path, args(dir)...))
		if err != nil {
			return measure.Sample{}, err
		}
		out := measure.Sample{Took: []time.Duration{0, took}, CPU: used, Peak: peak}
		if b.ctr == nil {
			if b.ctr, err = measure.StartContainerd(b.Dir, filepath.Join(b.Short, "c"), b.archive); err != nil {
				return measure.Sample{}, err
			}
			t0 = time.Time{} // containerd must run before
		}
		a, err := b.contained(dir, plan)
		if err != nil {
			return measure.Sample{}, err
		}
		if !t0.IsZero() {
			out.Took[0] = time.Unix(0, a.Started).Sub(t0)
		}
		out.Bytes, out.Sum, out.HasSum = a.Bytes, a.Sum, check
		return out, nil
	})
}

// contained runs the reader in a container of ctr's that has a directory where a channel is.
func (b *bench) contained(dir string, plan reading) (a answer, err error) {
	p, err := json.Marshal(plan)
	if err != nil {
		return a, err
	}
	b.ran++
	out, err := b.ctr.Ctr("run", "--rm", "--mount", "type=bind,src="+dir+",dst=/opt/ml/input/data/train,options=rbind:ro",
		readerImage, fmt.Sprintf("bench-%d", b.ran), "train", string(p)).CombinedOutput()
	if err != nil {
		return a, fmt.Errorf("ctr run: %w\n%s", err, out)
	}
	return a, measure.FindAnswer(out, &a)
}

// read runs the reader on this machine.
func (b *bench) read(plan reading) (a answer, err error) {
	p, err := json.Marshal(plan)
	if err != nil {
		return a, err
	}
	out, err := exec.Command(b.reader, string(p)).CombinedOutput()
	if err != nil {
		return a, fmt.Errorf("reader: %w\n%s", err, out)
	}
	return a, measure.FindAnswer(out, &a)
}

const pipeSize = 1 << 20 // what anyone may ask for, and what ours does

// piped has write fill a pipe that the reader reads.
func (b *bench) piped(check, wide bool, write func(fifo *os.File) (used time.Duration, peak int64, err error)) (measure.Sample, error) {
	path := b.File("fifo")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		return measure.Sample{}, err
	}
	defer os.Remove(path)
	p, err := json.Marshal(reading{Path: path, Pipe: true, Block: pipeBlock, Epochs: 1, Sum: check})
	if err != nil {
		return measure.Sample{}, err
	}
	var out bytes.Buffer
	cmd := exec.Command(b.reader, string(p))
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return measure.Sample{}, err
	}
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0) // when the reader has opened it
	if err != nil {
		return measure.Sample{}, errors.Join(err, cmd.Process.Kill(), cmd.Wait())
	}
	if wide {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_SETPIPE_SZ, pipeSize)
	}
	fifo := os.NewFile(uintptr(fd), path)
	var s measure.Sample
	if err == nil {
		s.CPU, s.Peak, err = write(fifo)
	}
	fifo.Close()
	if err := errors.Join(err, cmd.Wait()); err != nil {
		return measure.Sample{}, fmt.Errorf("%w\n%s", err, out.Bytes())
	}
	var a answer
	err = measure.FindAnswer(out.Bytes(), &a)
	s.Took = []time.Duration{a.firstToEnd(), a.openToEnd()}
	s.Bytes, s.Sum, s.HasSum = a.Bytes, a.Sum, check
	return s, err
}

// cat is a side whose programs, as in a shell's pipeline, write into a pipe.
func (b *bench) cat(s measure.Side, srv *server, pipeline ...[]string) measure.Side {
	var cmds [][]string
	for _, p := range pipeline {
		path, err := measure.Find(b.peers, p[0])
		s.Missing = errors.Join(s.Missing, err)
		cmds = append(cmds, append([]string{path}, p[1:]...))
	}
	s.Run = func(check bool) (measure.Sample, error) {
		return b.piped(check, s.Wide, func(fifo *os.File) (time.Duration, int64, error) {
			var run []*exec.Cmd
			for _, c := range cmds {
				cmd := exec.Command(c[0], c[1:]...)
				if srv != nil {
					cmd = with(srv, c[0], c[1:]...)
				}
				run = append(run, cmd)
			}
			_, used, peak, err := measure.RunAll(fifo, run...)
			return used, peak, err
		})
	}
	return s
}

// memory is the side that writes so many bytes of memory into a pipe, in a process of its own.
func (b *bench) memory(s measure.Side, amount int64) measure.Side {
	s.Run = func(check bool) (measure.Sample, error) {
		if check {
			return measure.Sample{}, nil // its bytes are not those of the data
		}
		exe, err := os.Executable()
		if err != nil {
			return measure.Sample{}, err
		}
		return b.piped(false, true, func(fifo *os.File) (time.Duration, int64, error) {
			_, used, peak, err := measure.RunAll(fifo, exec.Command(exe, "memory", fmt.Sprint(amount)))
			return used, peak, err
		})
	}
	return s
}

// writeMemory is that process: write(2)s of a MiB from one place, to stdout.
func writeMemory(arg string) error {
	amount, err := strconv.ParseInt(arg, 10, 64)
	if err != nil {
		return err
	}
	buf := make([]byte, 1<<20)
	for amount > 0 {
		n, err := syscall.Write(1, buf[:min(amount, int64(len(buf)))])
		if err == syscall.EINTR {
			continue
		} else if err != nil {
			return err
		}
		amount -= int64(n)
	}
	return nil
}

// mount is a side that is a file system: mounted anew for each run, so that nothing is in any cache, and read by the
// reader on this machine.
func (b *bench) mount(s measure.Side, srv *server, program string, args func(dir string) []string, below string, plan reading, took func(answer) []time.Duration) measure.Side {
	return b.peer(s, program, func(path string, check bool) (measure.Sample, error) {
		dir := b.File("mnt")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return measure.Sample{}, err
		}
		defer os.RemoveAll(filepath.Join(b.disk, "cache"))
		var said bytes.Buffer
		cmd := with(srv, path, args(dir)...)
		cmd.Stdout, cmd.Stderr = &said, &said
		if err := cmd.Start(); err != nil {
			return measure.Sample{}, err
		}
		w := measure.Watch(cmd.Process.Pid, nil)
		end := func() {
			_ = unix.Unmount(dir, unix.MNT_DETACH)
			late := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
			_ = cmd.Wait() // some end with an error when their mount is taken away
			late.Stop()
			w.End()
		}
		if err := mounted(dir, 10*time.Second); err != nil {
			_ = cmd.Process.Kill()
			end()
			return measure.Sample{}, fmt.Errorf("%w\n%s", err, said.Bytes())
		}
		plan.Path, plan.Sum = filepath.Join(dir, below), check
		a, err := b.read(plan)
		end()
		if err != nil {
			return measure.Sample{}, fmt.Errorf("%w\n%s", err, said.Bytes())
		}
		return measure.Sample{Took: took(a), CPU: measure.CPU(cmd), Peak: w.Peak, Bytes: a.Bytes, Sum: a.Sum, HasSum: check}, nil
	})
}

func mounted(dir string, wait time.Duration) error {
	for until := time.Now().Add(wait); time.Now().Before(until); time.Sleep(10 * time.Millisecond) {
		b, err := os.ReadFile("/proc/self/mounts")
		if err != nil {
			return err
		}
		if strings.Contains(string(b), " "+dir+" ") {
			return nil
		}
	}
	return fmt.Errorf("%s: not mounted after %v", dir, wait)
}
