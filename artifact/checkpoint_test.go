package artifact

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/optml/optml/objstore"
)

// synced is a directory with its store, restored from these objects.
type synced struct {
	*Checkpoints
	t     *testing.T
	mu    sync.Mutex // puts
	store *objstore.Mem
	puts  []string
	fail  func(key string) error
	in    func(key string) // called when an upload begins
}

// spy notes what is written to a store.
type spy struct {
	objstore.Store
	s *synced
}

func (x spy) Create(ctx context.Context, key string, o objstore.CreateOptions) (objstore.Writer, error) {
	if x.s.fail != nil {
		if err := x.s.fail(key); err != nil {
			return nil, err
		}
	}
	if x.s.in != nil {
		x.s.in(key)
	}
	x.s.mu.Lock()
	x.s.puts = append(x.s.puts, key)
	x.s.mu.Unlock()
	return x.Store.Create(ctx, key, o)
}

func restored(t *testing.T, kv ...string) *synced {
	t.Helper()
	m := objstore.NewMem("s3://b/")
	for i := 0; i < len(kv); i += 2 {
		m.Put(kv[i], []byte(kv[i+1]))
	}
	s := &synced{t: t, store: m}
	s.Checkpoints = &Checkpoints{Store: spy{m, s}, Prefix: "c/", Dir: t.TempDir(), At: "/opt/ml/checkpoints", Record: filepath.Join(t.TempDir(), "record")}
	if _, err := s.Restore(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *synced) write(name, body string) {
	s.t.Helper()
	p := filepath.Join(s.Dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, []byte(body), 0o644)); err != nil {
		s.t.Fatal(err)
	}
}

func (s *synced) sync(last bool) SyncStats {
	s.t.Helper()
	s.puts = nil
	n, err := s.Sync(s.t.Context(), last)
	if err != nil {
		s.t.Fatal(err)
	}
	slices.Sort(s.puts)
	return n
}

func (s *synced) objects() map[string]string {
	s.t.Helper()
	all := map[string]string{}
	for o, err := range s.store.List(s.t.Context(), "") {
		if err != nil {
			s.t.Fatal(err)
		}
		r, err := s.store.Open(s.t.Context(), o.Key, 0, -1)
		if err != nil {
			s.t.Fatal(err)
		}
		var b bytes.Buffer
		_, _ = b.ReadFrom(r)
		all[o.Key] = b.String()
	}
	return all
}

func (s *synced) has(want map[string]string) {
	s.t.Helper()
	if got := s.objects(); !maps.Equal(got, want) {
		s.t.Errorf("store has %q, want %q", got, want)
	}
}

// CKP-2: everything below the prefix comes, with its time; a folder's key is a directory; what merely begins like it does
// not come.
func TestCheckpointsRestore(t *testing.T) {
	s := restored(t, "c/", "", "c/a", "1", "c/step-1/w", "2", "c/empty/", "", "c2/x", "no", "cc", "no")
	want := map[string]string{"a": "1", "step-1/w": "2"}
	if got := files(t, s.Dir); !maps.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if fi, err := os.Stat(filepath.Join(s.Dir, "empty")); err != nil || !fi.IsDir() {
		t.Errorf("%v %v", fi, err)
	}
	o, _ := s.store.Stat(t.Context(), "c/a")
	if fi, _ := os.Stat(filepath.Join(s.Dir, "a")); !fi.ModTime().Equal(o.ModTime) {
		t.Errorf("%v, the object is of %v", fi.ModTime(), o.ModTime)
	}
	if n := s.sync(true); n.Uploaded != 0 || n.Deleted != 0 {
		t.Errorf("what was restored is uploaded again: %+v", n)
	}
	for key, class := range map[string]error{"c/../x": ErrUnsafeName, "c/a//b": ErrUnsafeName, "c/../d/": ErrUnsafeName, "c/" + strings.Repeat("n", 256): ErrUnsafeName} {
		m := objstore.NewMem("s3://b/")
		m.Put(key, nil)
		c := &Checkpoints{Store: m, Prefix: "c/", Dir: t.TempDir(), Record: filepath.Join(t.TempDir(), "r")}
		if _, err := c.Restore(t.Context(), false); !errors.Is(err, class) || !strings.Contains(err.Error(), key[:min(len(key), 20)]) {
			t.Errorf("%s: %v", key, err)
		}
		if _, err := c.Sync(t.Context(), true); !errors.Is(err, ErrNotRestored) { // half a restore must delete nothing
			t.Errorf("%s: sync: %v", key, err)
		}
	}
	m := objstore.NewMem("s3://b/")
	m.Put("c/f", nil)
	m.Put("c/f/g", nil)
	if _, err := (&Checkpoints{Store: m, Prefix: "c/", Dir: t.TempDir()}).Restore(t.Context(), false); !errors.Is(err, ErrClash) {
		t.Errorf("%v", err)
	}
	if _, err := (&Checkpoints{Store: m, Prefix: "c/", Dir: t.TempDir(), Files: 1}).Restore(t.Context(), false); err == nil {
		t.Error("two files where one is allowed")
	}
}

// CKP-2, CKP-5: only what changed goes up, and only when it has been the same for one sync; what is gone is deleted; what
// others put there stays, and is not fetched.
func TestCheckpointsSync(t *testing.T) {
	s := restored(t, "c/old", "1", "c/gone", "2")
	s.store.Put("c/others", []byte("theirs"))
	s.write("new", "n")
	s.write("d/deep", "d")
	if err := os.Remove(filepath.Join(s.Dir, "gone")); err != nil {
		t.Fatal(err)
	}
	if n := s.sync(false); n.Uploaded != 0 || n.Deleted != 0 || n.Waiting != 2 {
		t.Errorf("first: %+v", n)
	}
	s.write("d/deep", "deeper") // not quiet yet
	if n := s.sync(false); n.Uploaded != 1 || n.Deleted != 1 || n.Waiting != 1 || !slices.Equal(s.puts, []string{"c/new"}) {
		t.Errorf("second: %+v %v", n, s.puts)
	}
	if n := s.sync(false); n.Uploaded != 1 || n.Waiting != 0 {
		t.Errorf("third: %+v", n)
	}
	s.has(map[string]string{"c/old": "1", "c/new": "n", "c/d/deep": "deeper", "c/others": "theirs"})
	if n := s.sync(false); n.Uploaded+n.Deleted+n.Waiting != 0 {
		t.Errorf("nothing changed: %+v", n)
	}
	if _, err := os.Stat(filepath.Join(s.Dir, "others")); err == nil {
		t.Error("an object that others added was fetched")
	}
	s.write("old", "9")  // the same size
	s.write("late", "l") // not quiet, but the last sync takes it
	if n := s.sync(true); n.Uploaded != 2 {
		t.Errorf("last: %+v", n)
	}
	s.has(map[string]string{"c/old": "9", "c/new": "n", "c/d/deep": "deeper", "c/others": "theirs", "c/late": "l"})
}

// A small file whose content did not change is not uploaded again, whatever became of its times.
func TestCheckpointsCompareContent(t *testing.T) {
	s := restored(t)
	s.write("small", "x")
	s.write("large", strings.Repeat("x", hashed+1))
	s.sync(true)
	for _, n := range []string{"small", "large"} {
		if err := os.Chtimes(filepath.Join(s.Dir, n), time.Now(), time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.sync(true); n.Uploaded != 1 || !slices.Equal(s.puts, []string{"c/large"}) {
		t.Errorf("%+v %v", n, s.puts)
	}
}

// A file that is written while it is uploaded is not committed: what is in the store stays whole (CKP-5).
func TestCheckpointsNeverHalf(t *testing.T) {
	s := restored(t, "c/w", "whole")
	s.write("w", "begun")
	s.in = func(string) { s.write("w", "begun and more") }
	if _, err := s.Sync(t.Context(), true); err == nil || !strings.Contains(err.Error(), "kept changing") {
		t.Errorf("%v", err)
	}
	s.has(map[string]string{"c/w": "whole"})
	s.in = nil
	for range 2 { // it has to be quiet again
		s.has(map[string]string{"c/w": "whole"})
		s.sync(false)
	}
	s.sync(false)
	s.has(map[string]string{"c/w": "begun and more"})
}

// Written under another name and renamed, as trainers do: directory by directory.
func TestCheckpointsRename(t *testing.T) {
	s := restored(t, "c/last/w", "1")
	s.write("tmp/w", "2")
	s.sync(false)
	if err := errors.Join(os.RemoveAll(filepath.Join(s.Dir, "last")), os.Rename(filepath.Join(s.Dir, "tmp"), filepath.Join(s.Dir, "last"))); err != nil {
		t.Fatal(err)
	}
	s.sync(false)
	s.has(map[string]string{"c/last/w": "1"})
	s.sync(false)
	s.has(map[string]string{"c/last/w": "2"})
}

// Links to files inside are those files; what cannot be kept is told of once, and what can is kept.
func TestCheckpointsOddFiles(t *testing.T) {
	s := restored(t)
	s.write("w-1", "one")
	in := func(n string) string { return filepath.Join(s.Dir, n) }
	err := errors.Join(os.Symlink("w-1", in("latest")), os.Symlink("/opt/ml/checkpoints/w-1", in("absolute")), os.Symlink("/etc/passwd", in("out")),
		os.Symlink("../../../../etc/passwd", in("up")), os.Symlink("nowhere", in("dangling")), syscall.Mkfifo(in("fifo"), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	n := s.sync(true)
	s.has(map[string]string{"c/w-1": "one", "c/latest": "one", "c/absolute": "one"})
	if len(n.Warnings) != 4 || !strings.Contains(n.Warnings[0], `"dangling"`) {
		t.Errorf("%q", n.Warnings)
	}
	if n := s.sync(true); len(n.Warnings) != 0 || n.Uploaded != 0 {
		t.Errorf("again: %+v", n)
	}
	s.write("bad\xff", "x")
	if _, err := s.Sync(t.Context(), true); !errors.Is(err, objstore.ErrBadKey) {
		t.Errorf("a file that no object can be made of: %v", err)
	}
}

// What fails is done by the next sync, which may be another process': nothing is deleted that was not seen.
func TestCheckpointsContinue(t *testing.T) {
	s := restored(t, "c/a", "1", "c/b", "2")
	s.write("n", "3")
	os.Remove(filepath.Join(s.Dir, "b"))
	s.fail = func(key string) error { return fmt.Errorf("no way to %s", key) }
	if _, err := s.Sync(t.Context(), true); err == nil || !strings.Contains(err.Error(), "no way") {
		t.Errorf("%v", err)
	}
	s.has(map[string]string{"c/a": "1", "c/b": "2"})
	next := &Checkpoints{Store: s.store, Prefix: "c/", Dir: s.Dir, Record: s.Record}
	if n, err := next.Sync(t.Context(), true); err != nil || n.Uploaded != 1 || n.Deleted != 1 {
		t.Errorf("%+v %v", n, err)
	}
	s.has(map[string]string{"c/a": "1", "c/n": "3"})
	// A directory that cannot be read is no deletion.
	if err := os.RemoveAll(s.Dir); err != nil {
		t.Fatal(err)
	}
	if _, err := next.Sync(t.Context(), true); err == nil {
		t.Error("no error without the directory")
	}
	s.has(map[string]string{"c/a": "1", "c/n": "3"})
}

// One file that may not be written does not keep the others back; a store that is gone is not asked for each.
func TestCheckpointsFailures(t *testing.T) {
	s := restored(t)
	for i := range 30 {
		s.write(fmt.Sprintf("f-%02d", i), "x")
	}
	s.fail = func(key string) error {
		if key == "c/f-00" {
			return objstore.ErrAccessDenied
		}
		return nil
	}
	if n, err := s.Sync(t.Context(), true); !errors.Is(err, objstore.ErrAccessDenied) || n.Uploaded != 29 {
		t.Errorf("%+v %v", n, err)
	}
	s = restored(t)
	for i := range 30 {
		s.write(fmt.Sprintf("f-%02d", i), "x")
	}
	var asked atomic.Int32
	s.fail = func(key string) error { asked.Add(1); return errors.New("gone") }
	if _, err := s.Sync(t.Context(), true); err == nil || asked.Load() > maxFailures+uploaders {
		t.Errorf("asked %d times: %v", asked.Load(), err)
	}
}

func TestCheckpointsLimit(t *testing.T) {
	s := restored(t)
	s.Files = 2
	for _, n := range []string{"a", "b", "c"} {
		s.write(n, n)
	}
	if _, err := s.Sync(t.Context(), true); !errors.Is(err, ErrTooMany) {
		t.Errorf("%v", err)
	}
}

// Cancelled, it returns the cause and leaves nothing half done.
func TestCheckpointsCancel(t *testing.T) {
	s := restored(t)
	s.write("a", "1")
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("the container has ended")
	s.in = func(string) { cancel(why) }
	if _, err := s.Sync(ctx, true); !errors.Is(err, why) {
		t.Errorf("%v", err)
	}
	s.in = nil
	if n := s.sync(true); n.Uploaded+int64(len(s.objects())) == 0 {
		t.Errorf("%+v", n)
	}
}
