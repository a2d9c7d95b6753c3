package ctrd

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/optml/optml/runtime/container"
)

// runc looks the command up when it creates a container, and so finds one that is missing; that the kernel cannot
// execute it shows only after the start, as an exit with code 1 and a line in the log. predictExec looks beforehand at
// what the kernel will look at, so that such an exit can be told from the program's own (END-4). It returns nil when
// nothing speaks against the command; a wrong answer of another kind is harmless, since the exit decides.
func predictExec(pid int, args, env []string, cwd string) *container.StartError {
	root, err := os.Open("/proc/" + strconv.Itoa(pid) + "/root")
	if err != nil || len(args) == 0 {
		return nil
	}
	defer root.Close()
	name, f := lookIn(root, args[0], env, cwd)
	if f == nil {
		return nil
	}
	defer f.Close()
	return judge(root, name, f)
}

// judge says why the kernel cannot execute the open file; nil is that it can, or that this is not known.
func judge(root *os.File, name string, f *os.File) *container.StartError {
	head := make([]byte, 256)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return nil
	}
	head = head[:n]
	notFormat := &container.StartError{Code: 126, Msg: fmt.Sprintf("exec %s: exec format error", name)}
	notFormat.Help = fmt.Sprintf("%s is neither a program nor a script: its first line must be #! and an interpreter, such as #!/bin/sh", name)
	missing := &container.StartError{Code: 127, Msg: fmt.Sprintf("exec %s: no such file or directory", name)}
	switch {
	case bytes.HasPrefix(head, []byte("#!")):
		line, _, _ := bytes.Cut(head[2:], []byte("\n"))
		words := strings.FieldsFunc(string(line), func(r rune) bool { return r == ' ' || r == '\t' }) // as the kernel does
		if len(words) == 0 {
			return notFormat
		}
		if interpreter := words[0]; !existsIn(root, interpreter) {
			missing.Help = fmt.Sprintf("%s is there, but its first line names the interpreter %q, which the image does not have: install that, or name another", name, interpreter)
			if bare := strings.TrimRight(interpreter, "\r"); bare != interpreter && existsIn(root, bare) {
				missing.Help = fmt.Sprintf("the lines of %s end in CR LF, as on Windows, so that its interpreter would be %q: save it with LF alone (dos2unix, or * text eol=lf in .gitattributes)", name, interpreter)
			}
			return missing
		}
		return nil
	case bytes.HasPrefix(head, []byte(elf.ELFMAG)):
		e, err := elf.NewFile(f)
		if err != nil || !slices.Contains(machines[runtime.GOARCH], e.Machine) {
			if foreignBinaries() {
				return nil
			}
			notFormat.Help = fmt.Sprintf("%s is a program for another machine than this one, which is %s: build the image for this platform (docker build --platform linux/%[2]s)", name, runtime.GOARCH)
			return notFormat
		}
		for _, p := range e.Progs {
			if p.Type != elf.PT_INTERP || p.Filesz > unix.PathMax {
				continue
			}
			b := make([]byte, p.Filesz)
			if _, err := p.ReadAt(b, 0); err == nil && !existsIn(root, strings.TrimRight(string(b), "\x00")) {
				missing.Help = fmt.Sprintf("%s is a program that needs the loader %s, which the image does not have: link it statically, or build it for this image's C library", name, bytes.TrimRight(b, "\x00"))
				return missing
			}
		}
		return nil
	case foreignBinaries():
		return nil
	}
	return notFormat
}

// machines are what a kernel of an architecture executes, its 32-bit kin included.
var machines = map[string][]elf.Machine{
	"amd64": {elf.EM_X86_64, elf.EM_386},
	"arm64": {elf.EM_AARCH64, elf.EM_ARM},
}

// foreignBinaries says whether the host has handlers for other formats (binfmt_misc, as of qemu).
func foreignBinaries() bool {
	entries, err := os.ReadDir("/proc/sys/fs/binfmt_misc")
	return err == nil && slices.ContainsFunc(entries, func(e os.DirEntry) bool {
		return e.Name() != "register" && e.Name() != "status"
	})
}

// lookIn finds a command as execvp does, in the container's root.
func lookIn(root *os.File, cmd string, env []string, cwd string) (string, *os.File) {
	if strings.Contains(cmd, "/") {
		if !filepath.IsAbs(cmd) {
			cmd = path.Join(cwd, cmd)
		}
		return cmd, openIn(root, cmd)
	}
	dirs := defaultPath
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, "PATH="); ok {
			dirs = v
		}
	}
	for dir := range strings.SplitSeq(dirs, ":") {
		name := path.Join(cwd, dir, cmd)
		if filepath.IsAbs(dir) {
			name = path.Join(dir, cmd)
		}
		f := openIn(root, name)
		if f == nil {
			continue
		}
		if st, err := f.Stat(); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return name, f
		}
		f.Close()
	}
	return "", nil
}

// openIn opens a file of the container; its symbolic links, absolute ones too, stay inside. A FIFO must not block us.
func openIn(root *os.File, name string) *os.File {
	fd, err := unix.Openat2(int(root.Fd()), strings.TrimPrefix(name, "/"), &unix.OpenHow{
		Flags: unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK, Resolve: unix.RESOLVE_IN_ROOT,
	})
	if err != nil {
		return nil
	}
	return os.NewFile(uintptr(fd), name)
}

func existsIn(root *os.File, name string) bool {
	f := openIn(root, name)
	if f == nil {
		return false
	}
	f.Close()
	return true
}
