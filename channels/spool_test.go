package channels

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/optml/optml/objstore"
	"github.com/optml/optml/objstore/s3test"
	"github.com/optml/optml/objstore/storetest"
)

// TestSpans compares with a plain map of bytes.
func TestSpans(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var s spans
		var there [64]bool
		for range 20 {
			a, b := rnd.Int64N(64), rnd.Int64N(64)
			a, b = min(a, b), max(a, b)+1
			all := !slices.Contains(there[a:b], false)
			if s.hold(a, b) != all {
				t.Fatalf("%v holds %d to %d: %v", s, a, b, !all)
			}
			s.add(a, b)
			for i := a; i < b; i++ {
				there[i] = true
			}
			for i := 1; i < len(s); i++ {
				if s[i-1][1] >= s[i][0] {
					t.Fatalf("%v", s)
				}
			}
		}
	}
}

func spoolOf(t *testing.T, limit int64) *spool {
	t.Helper()
	dir := t.TempDir()
	s, err := newSpool(dir, "train", limit)
	if err != nil {
		t.Fatal(err)
	}
	s.keepsUp()
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
		if left, _ := os.ReadDir(dir); len(left) != 0 {
			t.Errorf("left: %v", left)
		}
	})
	return s
}

// keepsUp has the disk never be behind, whatever else this machine writes.
func (s *spool) keepsUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looked = time.Now().Add(time.Hour)
}

// TestSpoolClosed: what still comes when the spool is closed is not taken, and leaves nothing.
func TestSpoolClosed(t *testing.T) {
	s, err := newSpool(t.TempDir(), "train", 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	s.keepsUp()
	k := s.object(1, 2<<20, true)
	if k.use(); k.room() == nil {
		t.Fatal("no room")
	}
	k.unuse()
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	if err := k.fill(nil, 0, 1<<20, new(atomic.Int64)); err != errSpool {
		t.Errorf("a closed spool: %v", err)
	}
	if len(s.tubes) != 0 || s.busy.Load() != 0 {
		t.Errorf("left: %d tubes, %d bytes on their way", len(s.tubes), s.busy.Load())
	}
}

// TestSpoolLate: while the disk is behind nothing is kept, and what was is read from there.
func TestSpoolLate(t *testing.T) {
	s := spoolOf(t, 1<<30)
	o := &ranged{data: storetest.Bytes(6 << 20)}
	k := s.object(1, int64(len(o.data)), false)
	all := func() {
		buf := make([]byte, len(o.data))
		if n, err := o.reader(t, 64<<20, k).read(t.Context(), buf, 0); err != nil || !bytes.Equal(buf[:n], o.data) {
			t.Fatal(n, err)
		}
	}
	late := func(is bool) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.behind = is
	}
	late(true)
	all()
	if k.hold(0, 1) || k.room() != nil {
		t.Error("something is kept on a disk that is behind")
	}
	late(false)
	all()
	within(t, "it is kept", k.complete)
	late(true)
	all()
	if got := o.bytes.Load(); got != int64(2*len(o.data)) {
		t.Errorf("%d bytes were fetched", got)
	}
}

// TestSpoolFetchesOnce: FF-7. What was fetched once comes from the disk the next time, for small and large objects, read
// straight or in pieces.
func TestSpoolFetchesOnce(t *testing.T) {
	s := spoolOf(t, 1<<30)
	for id, size := range []int{1, 70_000, ownFile - 1, ownFile, 20 << 20} {
		o := &ranged{data: storetest.Bytes(size)}
		k := s.object(uint64(id), int64(size), false)
		for epoch := range 2 {
			r := o.reader(t, 64<<20, k)
			buf := make([]byte, 100_000)
			for off := 0; off < size; off += len(buf) {
				n, err := r.read(t.Context(), buf, int64(off))
				if err != nil || !bytes.Equal(buf[:n], o.data[off:min(off+len(buf), size)]) {
					t.Fatalf("%d bytes, epoch %d, at %d: %d bytes, %v", size, epoch, off, n, err)
				}
			}
			within(t, "everything is on disk", func() bool { k.mu.Lock(); defer k.mu.Unlock(); return k.have.hold(0, k.size) })
		}
		if got := o.bytes.Load(); got != int64(size) {
			t.Errorf("%d bytes were fetched of %d", got, size)
		}
		f := k.whole()
		if (f != nil) != (size >= ownFile) {
			t.Errorf("%d bytes: a file of its own: %v", size, f != nil)
		}
		if f != nil {
			b := make([]byte, size)
			if _, err := f.ReadAt(b, 0); err != nil || !bytes.Equal(b, o.data) {
				t.Errorf("%d bytes: the kept file differs, %v", size, err)
			}
			f.Close()
		}
	}
}

// TestSpoolLazy: of a channel that fits into memory small objects are kept only when they had to be fetched again.
func TestSpoolLazy(t *testing.T) {
	s := spoolOf(t, 1<<30)
	s.fits(1)
	if !s.lazy.Load() {
		t.Fatal("one byte does not fit into memory")
	}
	o := &ranged{data: storetest.Bytes(300_000)}
	k := s.object(1, int64(len(o.data)), false)
	for epoch, want := range []int64{300_000, 600_000, 600_000} { // fetched in all
		r := o.reader(t, 64<<20, k)
		buf := make([]byte, len(o.data))
		if n, err := r.read(t.Context(), buf, 0); err != nil || !bytes.Equal(buf[:n], o.data) {
			t.Fatal(n, err)
		}
		if epoch > 0 {
			within(t, "it is kept", func() bool { k.mu.Lock(); defer k.mu.Unlock(); return k.have.hold(0, k.size) })
		}
		if got := o.bytes.Load(); got != want {
			t.Errorf("epoch %d: %d bytes were fetched, want %d", epoch, got, want)
		}
	}
	if s.fits(1 << 60); s.lazy.Load() {
		t.Error("2^60 bytes fit into memory")
	}
}

func within(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// TestSpoolBounds: an object that would not fit is not kept, a full disk ends keeping, and neither is felt by the reader.
func TestSpoolBounds(t *testing.T) {
	s := spoolOf(t, 3<<20)
	big := &ranged{data: storetest.Bytes(4 << 20)}
	small := &ranged{data: storetest.Bytes(2 << 20)}
	for range 2 {
		for i, o := range []*ranged{big, small} {
			r := o.reader(t, 64<<20, s.object(uint64(i), int64(len(o.data)), false))
			buf := make([]byte, len(o.data))
			if n, err := r.read(t.Context(), buf, 0); err != nil || !bytes.Equal(buf[:n], o.data) {
				t.Fatal(n, err)
			}
		}
	}
	if n := s.left.Load(); n != 1<<20 {
		t.Errorf("%d bytes of the limit are left", n)
	}
	full := spoolOf(t, 1<<30)
	k := full.object(7, 2<<20, false)
	if err := os.Symlink("/dev/full", k.path()); err != nil { // O_NOFOLLOW: not even a link is followed
		t.Fatal(err)
	}
	r := small.reader(t, 64<<20, k)
	buf := make([]byte, len(small.data))
	if n, err := r.read(t.Context(), buf, 0); err != nil || !bytes.Equal(buf[:n], small.data) {
		t.Fatal(n, err)
	}
	within(t, "the spool gives up", full.full.Load)
	if k.whole() != nil {
		t.Error("an object that could not be written counts as kept")
	}
}

// TestFastFilePassthrough: FF-7. The second epoch of a large object is served past the store, with the same bytes by read
// and mmap, also while the first handle is still open, and with the kernel's help and without.
func TestFastFilePassthrough(t *testing.T) {
	for _, plain := range []bool{false, true} {
		t.Run(fmt.Sprintf("plain=%v", plain), func(t *testing.T) {
			want := string(storetest.Bytes(9 << 20))
			srv := s3test.New(s3test.Options{})
			srv.Put("bucket", "in/big", []byte(want))
			srv.Put("bucket", "in/small", []byte(want[:1000]))
			dir, d, err := fast(t, fastChannel("s3://bucket/in/"), Config{Opener: s3(t, srv), NoPassthrough: plain, Spool: 1 << 30, TempDir: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			view := d.(*fastFile).view
			first, err := os.Open(filepath.Join(dir, "big"))
			if err != nil {
				t.Fatal(err)
			}
			defer first.Close()
			all := map[string]string{"big": want, "small": want[:1000]}
			differ(t, read(t, dir), all)
			big := view.root.children["big"]
			within(t, "it is kept", func() bool { f := big.kept.whole(); defer f.Close(); return f != nil })
			differ(t, read(t, dir), all) // beside the first handle, which is served by us
			first.Close()
			within(t, "it is closed", func() bool { big.mu.Lock(); defer big.mu.Unlock(); return big.through == 0 })
			fetched := d.Stats().Bytes
			srv.Fault(s3test.Fault{Method: "GET", Key: "in/big", Status: 500}) // nobody asks any more
			for range 3 {
				fadvise(t, filepath.Join(dir, "big"))
				differ(t, read(t, dir), all)
			}
			s := d.Stats()
			if s.Bytes != fetched || s.Bytes < int64(len(want)) {
				t.Errorf("%d bytes were fetched, then %d", fetched, s.Bytes)
			}
			if kernel := kernelPasses(t); strings.Contains(s.Note, "past the store") != (kernel && !plain) {
				t.Errorf("the kernel can: %v; %+v", kernel, s)
			}
		})
	}
}

// TestFastFileFirstEpoch: FF-7. What is fetched goes straight to the disk, and comes from there: for reads of any size, at
// any place, by several readers at once, and for both kinds of mmap; and if the disk takes no more, from memory.
func TestFastFileFirstEpoch(t *testing.T) {
	want := storetest.Bytes(23<<20 + 77)
	for _, full := range []bool{false, true} {
		t.Run(fmt.Sprintf("full=%v", full), func(t *testing.T) {
			srv := s3test.New(s3test.Options{})
			srv.Put("bucket", "in/x", want)
			c := Config{Opener: s3(t, srv), Spool: 1 << 30, TempDir: t.TempDir()}
			if full {
				if err := syscall.Mount("none", c.TempDir, "tmpfs", 0, "size=5m"); err != nil {
					t.Skip(err)
				}
				t.Cleanup(func() { _ = syscall.Unmount(c.TempDir, syscall.MNT_DETACH) })
				c.Spool = 100 << 20
			}
			dir, d, err := fast(t, fastChannel("s3://bucket/in/"), c)
			if err != nil {
				t.Fatal(err)
			}
			view := d.(*fastFile).view
			if full {
				view.spool.left.Store(1 << 30) // as if others had filled the disk since
			}
			open := func() *os.File {
				f, err := os.Open(filepath.Join(dir, "x"))
				if err != nil {
					t.Fatal(err)
				}
				return f
			}
			first := open() // nothing is whole while it is read, and nothing is served past us while it is open
			defer first.Close()
			var g sync.WaitGroup
			for i, size := range []int{4 << 10, 100_000, 3 << 20} {
				g.Go(func() {
					f := open()
					defer f.Close()
					at, buf := 0, make([]byte, size)
					for {
						n, err := f.Read(buf)
						if at+n > len(want) || !bytes.Equal(buf[:n], want[at:at+n]) {
							t.Errorf("reads of %d bytes gave other bytes at %d", size, at)
							return
						}
						if at += n; err != nil {
							break
						}
					}
					if at != len(want) {
						t.Errorf("reads of %d bytes gave %d of %d", size, at, len(want))
					}
				})
				g.Go(func() {
					f := open()
					defer f.Close()
					rnd, all := rand.New(rand.NewPCG(1, uint64(i))), make([]byte, size)
					for range 50 {
						at := rnd.IntN(len(want) - 1)
						buf := all[:min(size, len(want)-at)]
						if n, err := f.ReadAt(buf, int64(at)); n != len(buf) || !bytes.Equal(buf, want[at:at+n]) {
							t.Errorf("%d bytes at %d: %d, %v", len(buf), at, n, err)
						}
					}
				})
			}
			g.Go(func() {
				cmd := exec.Command(os.Args[0])
				cmd.Env = append(os.Environ(), "CHANNELS_TEST_MMAP="+filepath.Join(dir, "x"))
				sum := fmt.Sprintf("%x", sha256.Sum256(want))
				if got, err := cmd.CombinedOutput(); err != nil || string(got) != sum+sum {
					t.Errorf("mmap: %s, %v, want %s twice", got, err, sum)
				}
			})
			g.Wait()
			if view.spool.full.Load() != full {
				t.Errorf("the spool is full: %v", !full)
			}
			kept := view.root.children["x"].kept
			if !full {
				within(t, "it is whole", kept.complete)
			} else if kept.complete() {
				t.Error("it is whole on a full disk")
			}
			first.Close()
			if got, err := os.ReadFile(filepath.Join(dir, "x")); err != nil || !bytes.Equal(got, want) {
				t.Errorf("the next epoch gave other bytes, %v", err)
			}
		})
	}
}

// mapped prints the checksums of what a file is in memory, by both kinds of mmap. It is a process of its own: one that
// serves a file must not wait for a page of it.
func mapped(path string) int {
	f, err := os.Open(path)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fi, err := f.Stat()
	if err != nil {
		fmt.Println(err)
		return 1
	}
	for _, kind := range []int{syscall.MAP_SHARED, syscall.MAP_PRIVATE} {
		m, err := syscall.Mmap(int(f.Fd()), 0, int(fi.Size()), syscall.PROT_READ, kind)
		if err != nil {
			fmt.Println(err)
			return 1
		}
		fmt.Printf("%x", sha256.Sum256(m))
	}
	return 0
}

// TestSpoolLost: what the disk does not give back is fetched again.
func TestSpoolLost(t *testing.T) {
	s := spoolOf(t, 1<<30)
	o := &ranged{data: storetest.Bytes(6 << 20)}
	k := s.object(1, int64(len(o.data)), false)
	k.use()
	defer k.unuse()
	buf := make([]byte, len(o.data))
	for epoch := range 2 {
		r := o.reader(t, 64<<20, k)
		clear(buf)
		for off := 0; off < len(buf); off += 10_000 { // less than lookFrom
			if n, err := r.read(t.Context(), buf[off:min(off+10_000, len(buf))], int64(off)); n == 0 || err != nil {
				t.Fatal(n, err)
			}
		}
		if !bytes.Equal(buf, o.data) {
			t.Fatalf("other bytes in epoch %d", epoch)
		}
		within(t, "it is whole", func() bool { return epoch > 0 || k.complete() })
		if err := os.Truncate(k.path(), 1<<20); err != nil {
			t.Fatal(err)
		}
	}
	if k.complete() {
		t.Error("what was lost counts as kept")
	}
}

// fadvise drops a file's pages, so that the next read is seen.
func fadvise(t *testing.T, path string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, _, errno := syscall.Syscall6(syscall.SYS_FADVISE64, f.Fd(), 0, 0, 4, 0, 0); errno != 0 {
		t.Fatal(errno)
	}
}

// kernelPasses says whether this kernel can serve files past us: from 6.9 on.
func kernelPasses(t *testing.T) bool {
	t.Helper()
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		t.Fatal(err)
	}
	var major, minor int
	if _, err := fmt.Sscanf(string(b), "%d.%d", &major, &minor); err != nil {
		t.Fatal(err)
	}
	return major > 6 || major == 6 && minor >= 9
}

// TestFastFileLocal: FF-7. Local files are served with the view's names, modes and errors; one that has changed since the
// listing is EIO and fails the job, one that is shared by readers of two kinds is read right by both.
func TestFastFileLocal(t *testing.T) {
	files := map[string]string{"b/in/x": string(storetest.Bytes(3 << 20)), "b/in/d/y": "y", "b/in/empty": ""}
	root := tree(t, files)
	for _, plain := range []bool{false, true} {
		dir, d, err := fast(t, fastChannel("s3://b/in/"), Config{Opener: opener(t, objstore.Options{S3Dir: root}), NoPassthrough: plain})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			differ(t, read(t, dir), map[string]string{"x": files["b/in/x"], "d/": "", "d/y": "y", "empty": ""})
		}
		if fi, err := os.Stat(filepath.Join(dir, "x")); err != nil || fi.Mode() != 0o644 {
			t.Errorf("%v, %v", fi, err)
		}
		if s := d.Stats(); s.Objects != 3 || s.TotalObjects != 3 {
			t.Errorf("%+v", s)
		}
		y := filepath.Join(root, "b/in/d/y")
		if err := os.WriteFile(y, []byte("other"), 0o644); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		done := make(chan error, 1)
		go func() { done <- d.Serve(ctx) }()
		fadvise(t, filepath.Join(dir, "d/y"))
		if b, err := os.ReadFile(filepath.Join(dir, "d/y")); !errors.Is(err, syscall.EIO) {
			t.Errorf("plain=%v: %q, %v", plain, b, err)
		}
		if err := <-done; !errors.Is(err, objstore.ErrChanged) || !strings.Contains(err.Error(), "d/y") {
			t.Errorf("%v", err)
		}
		cancel()
		if err := os.WriteFile(y, []byte("y"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFastFileStalls: whoever waits is seen: a reader that works between its reads makes us wait.
func TestFastFileStalls(t *testing.T) {
	st := newStock(1<<20, new(atomic.Int64))
	st.change(1, 0)
	time.Sleep(2 * time.Millisecond)
	if st.weWait.read() == 0 {
		t.Error("an open file that nobody reads is no wait")
	}
	st.change(0, 1)
	was := st.weWait.read()
	time.Sleep(2 * time.Millisecond)
	if st.weWait.read() != was {
		t.Error("we wait while we fetch")
	}
	st.change(-1, -1)
	if st.weWait.read() != was {
		t.Error("we wait for nobody")
	}
}
