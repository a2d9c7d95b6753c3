package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// channel is what was read of one channel.
type channel struct {
	Mode   string            `json:"mode"`
	Files  []inputFile       `json:"files,omitempty"`  // File and FastFile: sorted by path
	Epochs []inputFile       `json:"epochs,omitempty"` // Pipe: one for each epoch read
	Writes map[string]string `json:"writes,omitempty"` // what became of attempts to change the directory: "" or the error
}

type inputFile struct {
	Path    string   `json:"path"` // below /opt/ml/input/data
	Size    int64    `json:"size"`
	SHA256  string   `json:"sha256"`
	Perm    string   `json:"perm"`
	Records []string `json:"records,omitempty"` // RecordIO: the first 8 bytes of each record's SHA-256
	Error   string   `json:"error,omitempty"`   // with swallow: why the reading ended
}

// readChannels reads everything that inputdataconfig.json names. On an error it returns what was read so far.
func readChannels(o options) (map[string]*channel, error) {
	raw, err := os.ReadFile(ml("input/config/inputdataconfig.json"))
	if err != nil {
		return nil, err
	}
	var config map[string]struct{ TrainingInputMode, RecordWrapperType string }
	if err := json.Unmarshal(raw, &config); err != nil {
		return nil, fmt.Errorf("inputdataconfig.json: %w", err)
	}
	all := map[string]*channel{}
	for _, name := range slices.Sorted(maps.Keys(config)) {
		c := &channel{Mode: config[name].TrainingInputMode}
		all[name] = c
		if c.Mode == "Pipe" {
			err = c.readPipe(name, o, config[name].RecordWrapperType == "RecordIO")
		} else {
			err = c.readTree(name, o)
			if err == nil && o.text("writes", "") == "1" {
				c.Writes = tryChanges(name, c.Files)
			}
		}
		if err != nil {
			return all, fmt.Errorf("channel %s: %w", name, err)
		}
	}
	return all, nil
}

func (c *channel) readTree(name string, o options) error {
	return filepath.WalkDir(ml("input/data", name), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		in, err := readFile(path, o.text("file_reader", "plain"))
		if err != nil && o.text("swallow", "") == "1" {
			in.Error, err = err.Error(), nil
		}
		c.Files = append(c.Files, in)
		return err
	})
}

// readFile reads a file from its beginning to its end, as a mapping of memory, or in blocks from its end to its
// beginning, every other one first.
func readFile(path, how string) (inputFile, error) {
	in, err := describe(path)
	if err != nil {
		return in, err
	}
	f, err := os.Open(path)
	if err != nil {
		return in, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return in, err
	}
	h := sha256.New()
	switch n := int(info.Size()); {
	case how == "mmap" && n > 0:
		b, err := syscall.Mmap(int(f.Fd()), 0, n, syscall.PROT_READ, syscall.MAP_PRIVATE)
		if err != nil {
			return in, fmt.Errorf("map %s: %w", path, err)
		}
		defer syscall.Munmap(b)
		h.Write(b)
		in.Size = int64(n)
	case how == "random":
		b := make([]byte, n)
		const block = 128<<10 - 1
		for _, odd := range []int{1, 0} {
			for i := n / block; i >= 0; i-- {
				if i%2 != odd {
					continue
				}
				from := i * block
				if _, err := f.ReadAt(b[from:min(from+block, n)], int64(from)); err != nil {
					return in, err
				}
			}
		}
		h.Write(b)
		in.Size = int64(n)
	default:
		if in.Size, err = io.Copy(h, f); err != nil {
			return in, err
		}
	}
	in.SHA256 = hex.EncodeToString(h.Sum(nil))
	return in, nil
}

// tryChanges changes a channel's directory in each way there is.
func tryChanges(name string, files []inputFile) map[string]string {
	dir := ml("input/data", name)
	told := map[string]string{}
	try := func(what string, err error) {
		told[what] = ""
		if err != nil {
			var no syscall.Errno
			told[what] = err.Error()
			if errors.As(err, &no) {
				told[what] = no.Error()
			}
		}
	}
	try("create", os.WriteFile(filepath.Join(dir, "new"), []byte("new"), 0o644))
	try("mkdir", os.Mkdir(filepath.Join(dir, "new.d"), 0o755))
	if len(files) == 0 {
		return told
	}
	first := ml("input/data", files[0].Path)
	f, err := os.OpenFile(first, os.O_WRONLY|os.O_APPEND, 0)
	if err == nil {
		_, err = f.WriteString("more")
		f.Close()
	}
	try("append", err)
	try("truncate", os.Truncate(first, 0))
	try("chmod", os.Chmod(first, 0o755))
	try("rename", os.Rename(first, first+".renamed"))
	if err := os.Remove(first); os.IsNotExist(err) {
		try("unlink", os.Remove(first+".renamed"))
	} else {
		try("unlink", err)
	}
	return told
}

// readPipe reads the FIFOs <name>_0, <name>_1 … (PIPE-1).
func (c *channel) readPipe(name string, o options, records bool) error {
	epochs, limit := o.number("epochs", 1), int64(o.number("pipe_limit", 0))
	path := func(e int) string { return ml("input/data", fmt.Sprintf("%s_%d", name, e)) }
	if o.text("pipe_reader", "blocking") == "overlapping" {
		return c.overlap(epochs, path, records)
	}
	for e := range epochs {
		in, f, err := openPipe(path(e), e > 0, o.text("pipe_reader", "blocking") == "select")
		if err != nil {
			return err
		}
		if o.text("pipe_exit", "") == "1" { // with the pipe open and full
			io.CopyN(io.Discard, f, max(limit, 1))
			waitFull(f)
			os.Exit(o.number("exit_code", 0))
		}
		err = in.digest(f, limit, records)
		f.Close()
		c.Epochs = append(c.Epochs, in)
		if err != nil {
			return err
		}
	}
	return nil
}

// overlap opens each epoch while the one before is being read.
func (c *channel) overlap(epochs int, path func(int) string, records bool) error {
	c.Epochs = make([]inputFile, epochs)
	errs := make([]error, epochs)
	opened := make([]chan struct{}, epochs+1)
	for e := range opened {
		opened[e] = make(chan struct{})
	}
	close(opened[epochs])
	var wg sync.WaitGroup
	var read func(e int)
	read = func(e int) {
		defer wg.Done()
		in, f, err := openPipe(path(e), e > 0, false)
		close(opened[e])
		if err != nil {
			errs[e] = err
			if e+1 < epochs {
				close(opened[e+1])
			}
			return
		}
		defer f.Close()
		head := make([]byte, 1000)
		n, err := io.ReadFull(f, head)
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF { // a short epoch is one too
			errs[e] = err
		}
		if e+1 < epochs {
			wg.Add(1)
			go read(e + 1)
		}
		<-opened[e+1]
		err = in.digest(io.MultiReader(bytes.NewReader(head[:n]), f), 0, records)
		c.Epochs[e], errs[e] = in, errors.Join(errs[e], err)
	}
	wg.Add(1)
	read(0)
	wg.Wait()
	return errors.Join(errs...)
}

// openPipe opens one epoch's FIFO. Any but the first may come late: retry (PIPE-3). The two ways are those of PIPE-7.
func openPipe(path string, late, nonblock bool) (in inputFile, f io.ReadCloser, err error) {
	open := func() (io.ReadCloser, error) {
		if in, err = describe(path); err != nil { // a short epoch's name may be gone once it is open (PIPE-6)
			return nil, err
		}
		if !nonblock {
			return os.Open(path)
		}
		fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
		if err != nil {
			return nil, &os.PathError{Op: "open", Path: path, Err: err}
		}
		return selecting(fd), nil
	}
	f, err = open()
	for deadline := time.Now().Add(10 * time.Second); os.IsNotExist(err) && late && time.Now().Before(deadline); f, err = open() {
		time.Sleep(20 * time.Millisecond)
	}
	return in, f, err
}

// selecting is a non-blocking descriptor that is read when select says so. A read of nothing is the end.
type selecting int

func (fd selecting) Read(p []byte) (int, error) {
	for {
		var set syscall.FdSet
		set.Bits[int(fd)/64] |= 1 << (uint(fd) % 64)
		if _, err := syscall.Select(int(fd)+1, &set, nil, nil, nil); err == syscall.EINTR {
			continue
		} else if err != nil {
			return 0, os.NewSyscallError("select", err)
		}
		switch n, err := syscall.Read(int(fd), p); {
		case err == syscall.EAGAIN, err == syscall.EINTR:
		case err != nil:
			return 0, os.NewSyscallError("read", err)
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

func (fd selecting) Close() error { return syscall.Close(int(fd)) }

// waitFull returns when the pipe holds all that it can, or after some seconds.
func waitFull(r io.Reader) {
	f, ok := r.(*os.File)
	if !ok {
		return
	}
	const getPipeSize = 1032 // F_GETPIPE_SZ
	size, _, _ := syscall.Syscall(syscall.SYS_FCNTL, f.Fd(), getPipeSize, 0)
	for range 500 {
		var n int32
		syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), 0x541B, uintptr(unsafe.Pointer(&n))) // FIONREAD
		if size > 0 && int(n) > int(size)*9/10 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func describe(path string) (inputFile, error) {
	rel, err := filepath.Rel(ml("input/data"), path)
	if err != nil {
		return inputFile{}, err
	}
	info, err := os.Lstat(path)
	if err != nil {
		return inputFile{Path: rel}, err
	}
	return inputFile{Path: rel, Perm: info.Mode().String()}, nil
}

// digest reads r to its end, or so many bytes of it.
func (in *inputFile) digest(r io.Reader, limit int64, records bool) (err error) {
	if limit > 0 {
		r = io.LimitReader(r, limit)
	}
	h := sha256.New()
	if records && limit == 0 {
		n := &counter{Reader: io.TeeReader(r, h)}
		in.Records, err = readRecords(bufio.NewReaderSize(n, 1<<20))
		in.Size = n.n
	} else {
		in.Size, err = io.Copy(h, r)
	}
	in.SHA256 = hex.EncodeToString(h.Sum(nil))
	return err
}

type counter struct {
	io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += int64(n)
	return n, err
}

// readRecords reads RecordIO to its end: whole records only, padded with zeros.
func readRecords(r io.Reader) ([]string, error) {
	list := []string{}
	for {
		var head [8]byte
		if _, err := io.ReadFull(r, head[:]); err == io.EOF {
			return list, nil
		} else if err != nil {
			return list, fmt.Errorf("record %d: header: %w", len(list), err)
		}
		if magic := binary.LittleEndian.Uint32(head[:4]); magic != 0xCED7230A {
			return list, fmt.Errorf("record %d: magic %#x", len(list), magic)
		}
		n := binary.LittleEndian.Uint32(head[4:])
		if n>>29 != 0 {
			return list, fmt.Errorf("record %d: flag %d", len(list), n>>29)
		}
		h := sha256.New()
		if _, err := io.CopyN(h, r, int64(n)); err != nil {
			return list, fmt.Errorf("record %d of %d bytes: %w", len(list), n, err)
		}
		pad := make([]byte, (4-n%4)%4)
		if _, err := io.ReadFull(r, pad); err != nil {
			return list, fmt.Errorf("record %d: padding: %w", len(list), err)
		}
		for _, b := range pad {
			if b != 0 {
				return list, fmt.Errorf("record %d: padding %x", len(list), pad)
			}
		}
		list = append(list, hex.EncodeToString(h.Sum(nil)[:8]))
	}
}
