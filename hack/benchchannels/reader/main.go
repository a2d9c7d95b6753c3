// reader is the program of the image that benchchannels runs, and what reads on the host for the peers: it reads files or
// a named pipe as its plan says and prints one line of JSON with the instants and what it read.
//
// It uses the standard library only, so that its image holds one small file and starts at once.
package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

var started = time.Now() // before anything else of ours runs

// plan says what to read. It is the last argument, else the hyperparameter "plan".
type plan struct {
	Path    string // a pipe, a file, or a directory with files at any depth
	Pipe    bool
	Block   int  // bytes of one read
	Readers int  // that share the files, or the random reads, between them; 0: 1
	Epochs  int  // times that everything is read; 0: only looked at
	Drop    bool // before each epoch but the first: posix_fadvise(DONTNEED) on each file
	Random  int  // reads of a block each at random places of the only file, instead of all of it
	Sum     bool // say the checksum of what was read
	Counter bool // what is read must be the numbers 0, 1, 2 … of 8 bytes each
}

type answer struct {
	Started int64 // all instants: nanoseconds since 1970
	Opened  int64 // the first open returned
	First   int64 // the first read returned
	Ended   int64 // end of the last file, or of the pipe
	Epochs  []int64
	Bytes   int64
	Files   int64
	Sum     uint32 // of the files' checksums
}

func main() {
	a, err := run()
	if err == nil {
		var b []byte
		if b, err = json.Marshal(map[string]answer{"bench": a}); err == nil {
			_, err = fmt.Printf("%s\n", b)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "reader:", err)
		os.Exit(1)
	}
}

func readPlan() (p plan, err error) {
	text := []byte(os.Args[len(os.Args)-1])
	if text[0] != '{' {
		b, err := os.ReadFile("/opt/ml/input/config/hyperparameters.json")
		if err != nil {
			return p, err
		}
		var h struct{ Plan string }
		if err := json.Unmarshal(b, &h); err != nil {
			return p, err
		}
		text = []byte(h.Plan)
	}
	if err := json.Unmarshal(text, &p); err != nil {
		return p, fmt.Errorf("plan %q: %w", text, err)
	}
	p.Readers = max(p.Readers, 1)
	return p, nil
}

// work is one run of a plan.
type work struct {
	plan
	opened, first atomic.Int64
	bytes         atomic.Int64
	sum           atomic.Uint32
}

func run() (a answer, err error) {
	p, err := readPlan()
	if err != nil {
		return a, err
	}
	w := &work{plan: p}
	var files []string
	if p.Pipe {
		files = []string{p.Path}
	} else if err := filepath.WalkDir(p.Path, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, path)
			if p.Epochs == 0 {
				fi, err := d.Info()
				if err != nil {
					return err
				}
				w.bytes.Add(fi.Size())
			}
		}
		return err
	}); err != nil {
		return a, err
	}
	if len(files) == 0 {
		return a, fmt.Errorf("%s: no files", p.Path)
	}
	for e := range p.Epochs {
		if e > 0 && p.Drop {
			for _, f := range files {
				if err := drop(f); err != nil {
					return a, err
				}
			}
		}
		w.sum.Store(0)
		t0 := time.Now()
		if p.Random > 0 {
			err = w.random(files)
		} else {
			err = w.all(files)
		}
		if err != nil {
			return a, err
		}
		a.Ended = time.Now().UnixNano()
		a.Epochs = append(a.Epochs, int64(time.Since(t0)))
	}
	a.Started, a.Opened, a.First = started.UnixNano(), w.opened.Load(), w.first.Load()
	a.Bytes, a.Files, a.Sum = w.bytes.Load(), int64(len(files)), w.sum.Load()
	return a, nil
}

// each runs do in all readers.
func (w *work) each(do func(reader int) error) error {
	errs := make([]error, w.Readers)
	var wg sync.WaitGroup
	for r := range w.Readers {
		wg.Go(func() { errs[r] = do(r) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (w *work) all(files []string) error {
	return w.each(func(r int) error {
		buf := make([]byte, w.Block)
		for i := r; i < len(files); i += w.Readers {
			if err := w.file(files[i], buf); err != nil {
				return err
			}
		}
		return nil
	})
}

func (w *work) open(path string) (*os.File, error) {
	// Not os.Open: that would ask the poller to watch a pipe, which a plain reader does not do.
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	w.opened.CompareAndSwap(0, time.Now().UnixNano())
	return os.NewFile(uintptr(fd), path), nil
}

func (w *work) file(path string, buf []byte) error {
	f, err := w.open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	var sum uint32
	var at int64
	for {
		n, err := f.Read(buf)
		if n > 0 && w.first.Load() == 0 {
			w.first.CompareAndSwap(0, time.Now().UnixNano())
		}
		if w.Sum {
			sum = crc32.Update(sum, castagnoli, buf[:n])
		}
		if w.Counter {
			if bad := miscounted(buf[:n], at); bad >= 0 {
				return fmt.Errorf("%s: wrong byte at %d", path, bad)
			}
		}
		at += int64(n)
		if err == io.EOF {
			break
		} else if err != nil {
			return err
		}
	}
	w.bytes.Add(at)
	w.sum.Add(sum)
	return nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// miscounted is where the numbers that b, at the given place, should hold are not there; -1: nowhere.
func miscounted(b []byte, at int64) int64 {
	for i := 0; i < len(b); {
		if (at+int64(i))%8 == 0 && len(b)-i >= 8 {
			if binary.LittleEndian.Uint64(b[i:]) != uint64(at+int64(i))/8 {
				return at + int64(i)
			}
			i += 8
			continue
		}
		o := at + int64(i)
		if b[i] != byte(uint64(o/8)>>(8*(o%8))) {
			return o
		}
		i++
	}
	return -1
}

// random reads blocks at seeded places, the same each time, shared between the readers, each with a handle of its own.
func (w *work) random(files []string) error {
	fi, err := os.Stat(files[0])
	if err != nil {
		return err
	}
	return w.each(func(r int) error {
		f, err := w.open(files[0])
		if err != nil {
			return err
		}
		defer f.Close()
		places := rand.New(rand.NewPCG(1, uint64(r)))
		buf := make([]byte, w.Block)
		for range w.Random / w.Readers {
			at := places.Int64N((fi.Size()-int64(w.Block))/4096+1) * 4096
			if _, err := f.ReadAt(buf, at); err != nil {
				return err
			}
			w.bytes.Add(int64(w.Block))
			if w.Sum {
				w.sum.Add(crc32.Checksum(buf, castagnoli))
			}
		}
		return nil
	})
}

// drop tells the kernel that a file's pages are not needed.
func drop(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	const dontNeed = 4
	if _, _, errno := syscall.Syscall6(syscall.SYS_FADVISE64, f.Fd(), 0, 0, dontNeed, 0, 0); errno != 0 {
		return fmt.Errorf("fadvise %s: %w", path, errno)
	}
	return nil
}
