package gpu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A GPU is held by a record lock on a file of its name (fcntl F_OFD_SETLK), which the kernel frees with the process that
// holds it, kill -9 included, and which can be asked about without being taken. The file says who holds it. It is removed
// with the lock; one without a lock is what a dead process left.

// Holder is the job that has a GPU.
type Holder struct {
	Job       string    `json:"job"`       // kind/name
	Directory string    `json:"directory"` // its own
	PID       int       `json:"pid"`       // of its owner
	Since     time.Time `json:"since"`
}

func holderOf(dir string) Holder {
	return Holder{
		Job: filepath.Base(filepath.Dir(dir)) + "/" + filepath.Base(dir), Directory: dir, PID: os.Getpid(), Since: time.Now().UTC().Truncate(time.Millisecond),
	}
}

var errHeld = errors.New("held by another job")

func record(typ int16) *unix.Flock_t { return &unix.Flock_t{Type: typ} } // the whole file

// lock takes the lock of a file, which is made if need be. A file that was removed in between is no lock.
func lock(path string) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return nil, err
		}
		err = unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, record(unix.F_WRLCK))
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
			err = errHeld
		}
		if err != nil {
			f.Close()
			return nil, err
		}
		if same(f, path) {
			return f, nil
		}
		f.Close()
	}
}

func same(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Lstat(path)
	return err == nil && os.SameFile(a, b)
}

// taken is the lock of one GPU.
type taken struct {
	file *os.File
	// died is the job whose owner left the lock by dying, "" for none.
	died string
}

func (h *Host) path(uuid string) string { return filepath.Join(h.locks(), uuid+".lock") }

// take locks a GPU. errHeld: another job has it.
func (h *Host) take(uuid string, who Holder) (*taken, error) {
	if uuid == "" || strings.ContainsAny(uuid, "/\x00") {
		return nil, fmt.Errorf("%q is no UUID", uuid)
	}
	f, err := lock(h.path(uuid))
	if err != nil {
		return nil, err
	}
	t := &taken{file: f}
	if old, err := readHolder(f); err == nil {
		t.died = old.Directory
	}
	b, err := json.Marshal(who)
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = f.WriteAt(append(b, '\n'), 0)
	}
	if err != nil {
		t.free()
		return nil, fmt.Errorf("lock GPU %s: %w", uuid, err)
	}
	return t, nil
}

// free removes the file while the lock is held, so that whoever opens it later makes another.
func (t *taken) free() {
	os.Remove(t.file.Name())
	t.file.Close()
}

func readHolder(f *os.File) (Holder, error) {
	var w Holder
	b, err := io.ReadAll(io.NewSectionReader(f, 0, 64<<10))
	if err == nil {
		err = json.Unmarshal(b, &w)
	}
	return w, err
}

// holder is who holds a GPU; nil: nobody.
func (h *Host) holder(uuid string) *Holder {
	f, err := os.Open(h.path(uuid))
	if err != nil {
		return nil
	}
	defer f.Close()
	l := record(unix.F_WRLCK)
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, l); err != nil || l.Type == unix.F_UNLCK {
		return nil
	}
	for range 10 { // it is being written
		if w, err := readHolder(f); err == nil {
			return &w
		}
		time.Sleep(time.Millisecond)
	}
	return &Holder{Job: "another job"}
}

// choosing makes the choice of several GPUs one step: two jobs that choose at once would each get some and neither enough.
func (h *Host) choosing(ctx context.Context) (done func(), err error) {
	if err := os.MkdirAll(h.locks(), 0o755); err != nil {
		return nil, fmt.Errorf("make directory of GPU locks: %w", err)
	}
	path := filepath.Join(h.locks(), "choosing")
	for {
		f, err := lock(path)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, errHeld) {
			return nil, fmt.Errorf("choose GPUs: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// Sweep removes the lock files that dead jobs left. Nothing needs it: they are no locks.
func (h *Host) Sweep() error {
	files, err := filepath.Glob(filepath.Join(h.locks(), "*.lock"))
	if err != nil || len(files) == 0 {
		return err
	}
	done, err := h.choosing(context.Background())
	if err != nil {
		return err
	}
	defer done()
	for _, path := range files {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if errors.Is(err, syscall.ENOENT) {
			continue
		}
		if err != nil {
			return err
		}
		if unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, record(unix.F_WRLCK)) == nil && same(f, path) {
			// A job that died may still have processes on it: who takes it next must hear of that.
			if w, err := readHolder(f); err != nil || !h.lingers(w.Directory) {
				os.Remove(path)
			}
		}
		f.Close()
	}
	return nil
}

func (h *Host) lingers(job string) bool { return job != "" && h.Lingers != nil && h.Lingers(job) }
