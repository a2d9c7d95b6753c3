package channels

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/optml/optml/dataset"
	"github.com/optml/optml/job"
	"github.com/optml/optml/objstore"
	"github.com/optml/optml/objstore/s3test"
	"github.com/optml/optml/objstore/storetest"
)

// running is a Pipe channel that is served.
type running struct {
	Delivery
	t    *testing.T
	dir  string
	name string
	stop context.CancelCauseFunc
	done chan struct{}
	err  error // of Serve, after done
}

func pipeChannel(uri string) job.Channel {
	ch := prefixChannel(uri)
	ch.Mode = "Pipe"
	return ch
}

// serve goes through Prepare and Fill, and serves until the test ends. Close comes last, as in a run.
func serve(t *testing.T, ch job.Channel, c Config) *running {
	t.Helper()
	if c.Dir == "" {
		c.Dir = t.TempDir()
	}
	if c.TempDir == "" {
		c.TempDir = t.TempDir()
	}
	d, err := New(ch, c)
	if err != nil {
		t.Fatal(err)
	}
	r := &running{Delivery: d, t: t, dir: c.Dir, name: ch.Name, done: make(chan struct{})}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		if left, _ := filepath.Glob(filepath.Join(c.Dir, "*")); len(left) != 0 {
			t.Errorf("left: %v", left)
		}
	})
	if err := d.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Lstat(r.path(0)); err != nil || fi.Mode() != os.ModeNamedPipe|0o644 { // PIPE-2
		t.Fatalf("the first pipe after Prepare: %v, %v", fi, err)
	}
	if err := d.Fill(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancelCause(context.Background())
	r.stop = stop
	go func() {
		defer close(r.done)
		r.err = d.Serve(ctx)
	}()
	t.Cleanup(func() { stop(errors.New("the test has ended")); r.ended() })
	return r
}

// ended waits for Serve.
func (r *running) ended() error {
	r.t.Helper()
	select {
	case <-r.done:
	case <-time.After(time.Minute):
		r.t.Fatal("Serve does not end")
	}
	return r.err
}

func (r *running) path(epoch int) string {
	return filepath.Join(r.dir, fmt.Sprintf("%s_%d", r.name, epoch))
}

// open opens an epoch's pipe as a blocking reader, such as Python's open.
func (r *running) open(epoch int) *os.File {
	r.t.Helper()
	var f *os.File
	var err error
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) { // PIPE-3: clients retry
		if f, err = os.Open(r.path(epoch)); !errors.Is(err, os.ErrNotExist) {
			break
		}
	}
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { f.Close() })
	return f
}

func (r *running) readAll(epoch int) []byte {
	r.t.Helper()
	f := r.open(epoch)
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		r.t.Fatal(err)
	}
	return b
}

// reads holds an epoch against what it has to be, piece by piece: a copy of it all costs much with the race detector.
func (r *running) reads(what string, epoch int, want []byte) {
	r.t.Helper()
	f := r.open(epoch)
	defer f.Close()
	buf := make([]byte, 256<<10)
	for at := 0; ; {
		n, err := f.Read(buf)
		if at+n > len(want) || !bytes.Equal(buf[:n], want[at:at+n]) {
			rest, _ := io.ReadAll(f)
			same(r.t, what, slices.Concat(want[:at], buf[:n], rest), want)
			return
		}
		if at += n; err == io.EOF {
			if at != len(want) {
				r.t.Errorf("%s: it ends after %d bytes of %d", what, at, len(want))
			}
			return
		} else if err != nil {
			r.t.Fatal(err)
		}
	}
}

// until waits for a condition.
func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never: " + what)
		}
	}
}

func same(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		n := 0
		for n < len(got) && n < len(want) && got[n] == want[n] {
			n++
		}
		t.Errorf("%s: %d bytes, want %d; they differ at %d", what, len(got), len(want), n)
	}
}

// local is an opener for files below a new directory that stands for S3, and their concatenation in key order.
func local(t *testing.T, sizes ...int) (objstore.Opener, []byte) {
	t.Helper()
	files := map[string]string{}
	var all []byte
	for i, n := range sizes {
		data := append(fmt.Appendf(nil, "<%d>", i), storetest.Bytes(n)...)
		files[fmt.Sprintf("b/in/%03d", i)] = string(data)
		all = append(all, data...)
	}
	return opener(t, objstore.Options{S3Dir: tree(t, files)}), all
}

// TestPipeEpochs: PIPE-1, PIPE-3, PIPE-5, PIPE-6, PIPE-9. Objects in key order with nothing between them, three times.
func TestPipeEpochs(t *testing.T) {
	op, want := local(t, 0, 1, 65535, 65536, 65537, 3<<20, 10, 5<<20+1)
	r := serve(t, pipeChannel("s3://b/in/"), Config{Opener: op, Window: 8 << 20})
	if s := r.Stats(); s.Note != "never opened" || s.Epochs != 0 || s.Mode != "Pipe" {
		t.Errorf("before: %+v", s)
	}
	if _, err := os.Lstat(filepath.Join(r.dir, "train")); err == nil {
		t.Error("PIPE-1: there is a directory of the channel")
	}
	for e := range 3 {
		f := r.open(e)
		var first [1]byte
		if _, err := io.ReadFull(f, first[:]); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Lstat(r.path(e + 1)); err != nil {
			t.Errorf("PIPE-3: epoch %d gives data, and the next pipe: %v", e, err)
		}
		rest, err := io.ReadAll(f)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Lstat(r.path(e)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("PIPE-6: the pipe of an epoch that has ended: %v", err)
		}
		same(t, fmt.Sprint("epoch ", e), append(first[:], rest...), want)
	}
	until(t, "three epochs", func() bool { return r.Stats().Epochs == 3 })
	if s := r.Stats(); s.Bytes != 3*int64(len(want)) || s.Objects != 3*8 || s.Note != "" {
		t.Errorf("%+v", s)
	}
}

// TestPipeNonblockingReader: PIPE-7. As ml-io reads: O_NONBLOCK, then select; and as a careless reader does: O_NONBLOCK
// and read at once, which must never look like an end.
func TestPipeNonblockingReader(t *testing.T) {
	op, want := local(t, 3<<20, 0, 17, 1<<20)
	for _, selects := range []bool{true, false} {
		r := serve(t, pipeChannel("s3://b/in/"), Config{Opener: op})
		for e := range 2 {
			until(t, "pipe", func() bool { _, err := os.Lstat(r.path(e)); return err == nil })
			fd, err := unix.Open(r.path(e), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			var got []byte
			buf := make([]byte, 100_000)
			for deadline := time.Now().Add(30 * time.Second); ; {
				if selects {
					n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 5000)
					if err == unix.EINTR {
						continue
					} else if err != nil || n == 0 {
						t.Fatalf("poll: %d, %v", n, err)
					}
				}
				n, err := unix.Read(fd, buf)
				if err == unix.EAGAIN && time.Now().Before(deadline) {
					time.Sleep(100 * time.Microsecond)
					continue
				} else if err != nil {
					t.Fatal(err)
				}
				if n == 0 {
					break
				}
				got = append(got, buf[:n]...)
			}
			unix.Close(fd)
			same(t, fmt.Sprintf("select %v, epoch %d", selects, e), got, want)
		}
	}
}

// TestPipeWriterWaits: PIPE-7. A reader with O_NONBLOCK that opens before Serve has begun, and reads at once, sees no end.
func TestPipeWriterWaits(t *testing.T) {
	op, _ := local(t, 10)
	dir := t.TempDir()
	d, err := New(pipeChannel("s3://b/in/"), Config{Dir: dir, Opener: op})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	time.Sleep(20 * time.Millisecond) // the open of the writing end begins in another thread
	fd, err := unix.Open(filepath.Join(dir, "train_0"), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if n, err := unix.Read(fd, make([]byte, 10)); err != unix.EAGAIN {
		t.Errorf("read: %d, %v, want EAGAIN", n, err)
	}
}

// TestPipeEarlyClose: PIPE-4. The rest of the epoch is dropped, the next begins at its beginning; the byte up to which
// it was read is known.
func TestPipeEarlyClose(t *testing.T) {
	op, want := local(t, 6<<20, 6<<20)
	r := serve(t, pipeChannel("s3://b/in/"), Config{Opener: op})
	for e, n := range []int{1000, 0, 3 << 20} {
		f := r.open(e)
		got := make([]byte, n)
		if _, err := io.ReadFull(f, got); err != nil {
			t.Fatal(err)
		}
		same(t, fmt.Sprint("epoch ", e), got, want[:n])
		f.Close()
		text := fmt.Sprintf("closed early at byte %d", n)
		if e > 0 {
			text += fmt.Sprintf(" of epoch %d", e)
		}
		until(t, text, func() bool { return r.Stats().Note == text })
	}
	r.reads("whole epoch", 3, want)
	until(t, "four epochs", func() bool { return r.Stats().Epochs == 4 })
	if s := r.Stats(); s.Bytes != 1000+3<<20+int64(len(want)) {
		t.Errorf("%+v", s)
	}
}

// TestPipeTwoEpochsAtOnce: acceptance check 5. A reader opens epoch 1 before it has read epoch 0 to its end, both larger
// than a pipe holds, and reads them in turn.
func TestPipeTwoEpochsAtOnce(t *testing.T) {
	op, want := local(t, 5<<20, 5<<20)
	r := serve(t, pipeChannel("s3://b/in/"), Config{Opener: op, Window: 4 << 20})
	a := r.open(0)
	head := make([]byte, 100)
	if _, err := io.ReadFull(a, head); err != nil {
		t.Fatal(err)
	}
	b := r.open(1)
	second, err := io.ReadAll(b)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "epoch 1", second, want)
	rest, err := io.ReadAll(a)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "epoch 0", append(head, rest...), want)
}

// TestPipeUnread: PIPE-5. A channel that nobody opens blocks neither the start nor the end.
func TestPipeUnread(t *testing.T) {
	op, _ := local(t, 1<<20)
	r := serve(t, pipeChannel("s3://b/in/"), Config{Opener: op})
	time.Sleep(10 * time.Millisecond)
	began := time.Now()
	r.stop(errors.New("the container has ended"))
	if err := r.ended(); err != nil {
		t.Error(err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("the end took %s", took)
	}
	if s := r.Stats(); s.Note != "never opened" || s.Bytes != 0 {
		t.Errorf("%+v", s)
	}
}

// TestPipeEmptyShard: SHARD-3. A host without objects reads an end at once, epoch after epoch.
func TestPipeEmptyShard(t *testing.T) {
	op, want := local(t, 10)
	ch := pipeChannel("s3://b/in/")
	ch.Source.Distribution = "ShardedByS3Key"
	for rank, want := range [][]byte{want, nil} {
		r := serve(t, ch, Config{Opener: op, Rank: rank, Hosts: 2})
		for e := range 3 {
			r.reads(fmt.Sprintf("rank %d, epoch %d", rank, e), e, want)
		}
	}
}

// TestPipeContainerDies: the reader goes away while the pipe is full and never comes back: nothing hangs, and what it
// had read is known.
func TestPipeContainerDies(t *testing.T) {
	op, want := local(t, 20<<20)
	r := serve(t, pipeChannel("s3://b/in/"), Config{Opener: op})
	f := r.open(0)
	if _, err := io.ReadFull(f, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	until(t, "pipe is full", func() bool { return r.Stats().WeWaited > int64(30*time.Millisecond) })
	if n := r.Stats().Bytes; n > 10+pipeBuffer+4096 || n < 1<<16 || n == int64(len(want)) {
		t.Errorf("%d bytes went into the pipe", n)
	}
	f.Close()
	r.stop(errors.New("the container has ended"))
	if err := r.ended(); err != nil {
		t.Error(err)
	}
}

// TestPipeStopWhileFull: a stop is felt at once by a writer that waits for its reader.
func TestPipeStopWhileFull(t *testing.T) {
	op, _ := local(t, 20<<20)
	r := serve(t, pipeChannel("s3://b/in/"), Config{Opener: op})
	f := r.open(0)
	until(t, "pipe is full", func() bool { return r.Stats().WeWaited > 0 })
	began := time.Now()
	r.stop(errors.New("stopped"))
	if err := r.ended(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("%s", took)
	}
	// D11: the pipe itself stays open until the container is known to be gone.
	if noEnd(t, f) < pipeBuffer/2 {
		t.Error("the full pipe held next to nothing")
	}
}

// noEnd reads what is in a pipe and holds that no end follows, but silence. It returns how much there was.
func noEnd(t *testing.T, f *os.File) int {
	t.Helper()
	now := make(chan struct{})
	close(now)
	return noEndUntil(t, f, now)
}

// noEndUntil is noEnd where silence counts only once done is closed.
func noEndUntil(t *testing.T, f *os.File, done <-chan struct{}) int {
	var n int
	buf := make([]byte, 1<<20)
	for {
		var over bool
		select {
		case <-done:
			over = true
		default:
		}
		if err := f.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
			t.Error(err)
			return n
		}
		m, err := f.Read(buf)
		n += m
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && over:
			return n
		case err != nil && !errors.Is(err, os.ErrDeadlineExceeded):
			t.Errorf("after %d bytes: %v; a broken stream must not look like an end", n, err)
			return n
		}
	}
}

// TestPipeFaults: ruling 8, ruling 27. What the network does wrong for a while is not seen; what stays wrong gives an
// error that names the object, and to the reader no end: neither of this epoch nor, opened later, of the next.
func TestPipeFaults(t *testing.T) {
	const size = 300_000
	for _, c := range []struct {
		name     string
		fault    s3test.Fault
		change   bool // the object is another one after the listing
		remove   bool
		survives bool
		text     string
	}{
		{name: "a third is 503", fault: s3test.Fault{Every: 3, Status: 503, Code: "SlowDown"}, survives: true},
		{name: "bodies are cut", fault: s3test.Fault{Method: "GET", Key: "in/", Every: 3, Cut: 40_000}, survives: true},
		{name: "connections are reset", fault: s3test.Fault{Every: 4, Reset: true}, survives: true},
		{name: "hangs once", fault: s3test.Fault{Method: "GET", Key: "in/2", Times: 1, HangAt: 100}, survives: true},
		{name: "truncated for good", fault: s3test.Fault{Method: "GET", Key: "in/2", Cut: 1000}, text: "in/2"},
		{name: "503 for good", fault: s3test.Fault{Method: "GET", Key: "in/2", Status: 503, Code: "SlowDown"}, text: "in/2"},
		{name: "forbidden", fault: s3test.Fault{Method: "GET", Key: "in/2", Status: 403, Code: "AccessDenied"}, text: "in/2"},
		{name: "a byte changes on the way", fault: s3test.Fault{Method: "GET", Key: "in/2", Flip: size}, text: "in/2"},
		{name: "changed", change: true, text: "in/2"},
		{name: "gone", remove: true, text: "in/2"},
	} {
		for _, wrapper := range []string{"None", "RecordIO"} {
			t.Run(c.name+", "+wrapper, func(t *testing.T) {
				t.Parallel()
				srv := s3test.New(s3test.Options{})
				var want []byte
				for i := range 5 {
					data := append([]byte{byte(i)}, storetest.Bytes(size)...)
					srv.Put("bucket", fmt.Sprintf("in/%d", i), data)
					srv.SetHeader("bucket", fmt.Sprintf("in/%d", i), crc32c(data))
					want = append(want, wrapped(data, wrapper)...)
				}
				op := s3(t, srv)
				// The listing is not what is tested here. Each object is one request, so that it has a checksum.
				r := serve(t, with(pipeChannel("s3://bucket/in/"), "None", wrapper), Config{Opener: op, Window: 4 << 20})
				srv.Fault(c.fault)
				if c.change || c.remove {
					srv.ClearFaults()
				}
				srv.Record()
				if c.change {
					srv.Put("bucket", "in/2", storetest.Bytes(size+1))
				}
				if c.remove {
					srv.Remove("bucket", "in/2")
				}
				if c.survives {
					r.reads("epoch", 0, want)
					return
				}
				f := r.open(0)
				err := r.ended()
				e, ok := errors.AsType[*dataset.Error](err)
				if !ok || e.Channel != "train" || !strings.Contains(e.Object, c.text) || e.Detail() == "" {
					t.Fatalf("Serve: %v", err)
				}
				good := len(wrapped(append([]byte{0}, storetest.Bytes(size)...), wrapper)) * 2
				if n := noEnd(t, f); n > good+size+12 {
					t.Errorf("%d bytes of at most %d", n, good)
				}
				next := r.open(1)
				if n := noEnd(t, next); n != 0 {
					t.Errorf("the epoch after the broken one gives %d bytes", n)
				}
				if n := len(srv.Requests()); n > 60 {
					t.Errorf("%d requests", n)
				}
			})
		}
	}
}

func with(ch job.Channel, compression, wrapper string) job.Channel {
	ch.Compression, ch.RecordWrapper = compression, wrapper
	return ch
}

// TestPipeRefusals: what cannot be streamed is said before the image runs.
func TestPipeRefusals(t *testing.T) {
	op, _ := local(t, 10)
	for _, c := range []struct {
		name, text string
		change     func(*job.Channel)
	}{
		{"nothing there", `No S3 objects found under S3 URL "s3://b/none"`, func(c *job.Channel) { c.Source.URI = "s3://b/none" }},
		{"no manifest", "b/none", func(c *job.Channel) { c.Source.URI, c.Source.Type = "s3://b/none", "ManifestFile" }},
		{"manifest is none", "manifest", func(c *job.Channel) { c.Source.URI, c.Source.Type = "s3://b/in/000", "ManifestFile" }},
		{"attributes", "AttributeNames", func(c *job.Channel) { c.Source.URI, c.Source.Type = "s3://b/in/000", "AugmentedManifestFile" }},
		{"file system (PIPE-13)", "cannot be piped", func(c *job.Channel) { c.Source.Type = "FileSystem" }},
		{"compression", "CompressionType", func(c *job.Channel) { c.Compression = "Zip" }},
		{"wrapper", "RecordWrapperType", func(c *job.Channel) { c.RecordWrapper = "TFRecord" }},
	} {
		ch := pipeChannel("s3://b/in/")
		c.change(&ch)
		d, err := New(ch, Config{Dir: t.TempDir(), Opener: op})
		if err == nil {
			if err = d.Prepare(t.Context()); err == nil {
				err = d.Fill(t.Context())
			}
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		}
		if de, ok := errors.AsType[*dataset.Error](err); !ok || de.Channel != "train" || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestPipeNames: the container may write the directory. What it puts in a pipe's place is not written to, and a name
// that is taken ends the job instead of losing an epoch.
func TestPipeNames(t *testing.T) {
	op, want := local(t, 3<<20)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := serve(t, pipeChannel("s3://b/in/"), Config{Opener: op})
	moved := filepath.Join(t.TempDir(), "moved")
	if err := os.Rename(r.path(0), moved); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(secret, r.path(0)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.path(1), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(moved)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := r.ended(); !errors.Is(err, syscall.EEXIST) || !strings.Contains(err.Error(), "train_1") {
		t.Errorf("Serve: %v", err)
	}
	if noEnd(t, f) > len(want) {
		t.Error("too much")
	}
	if got, err := os.ReadFile(secret); string(got) != "secret" {
		t.Errorf("the file that a link led to holds %q, %v", got, err)
	}
	os.Remove(r.path(0))
	os.Remove(r.path(1))
}

// TestPipeStalls: who waited for whom.
func TestPipeStalls(t *testing.T) {
	srv := s3test.New(s3test.Options{})
	for i := range 4 {
		srv.Put("bucket", fmt.Sprintf("in/%d", i), storetest.Bytes(100))
	}
	r := serve(t, pipeChannel("s3://bucket/in/"), Config{Opener: s3(t, srv), Workers: 1})
	srv.Fault(s3test.Fault{Method: "GET", Key: "in/", Latency: 50 * time.Millisecond})
	r.readAll(0)
	if s := r.Stats(); s.ReaderWaited < int64(150*time.Millisecond) || s.WeWaited > s.ReaderWaited/10 {
		t.Errorf("slow store: reader %s, we %s", time.Duration(s.ReaderWaited), time.Duration(s.WeWaited))
	}
	op, _ := local(t, 4<<20)
	r = serve(t, pipeChannel("s3://b/in/"), Config{Opener: op})
	f := r.open(0)
	time.Sleep(200 * time.Millisecond)
	if s := r.Stats(); s.WeWaited < int64(100*time.Millisecond) || s.ReaderWaited > s.WeWaited/4 {
		t.Errorf("slow reader, while it waits: reader %s, we %s", time.Duration(s.ReaderWaited), time.Duration(s.WeWaited))
	}
	io.Copy(io.Discard, f)
}
