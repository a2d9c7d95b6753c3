package logfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func create(t *testing.T) (*Writer, string) {
	t.Helper()
	base := filepath.Join(t.TempDir(), "algo-1")
	w, err := Create(base)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w, base
}

func open(t *testing.T, base string) *Reader {
	t.Helper()
	r, err := Open(base)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func bytesOf(t *testing.T, base string) string {
	t.Helper()
	b, err := os.ReadFile(LogName(base))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// chunks reads everything as "stream:text" with neighbours of one stream joined.
func chunks(t *testing.T, r *Reader, from int64) []string {
	t.Helper()
	var out []string
	var last Stream = 255
	next := from
	for c, err := range r.Chunks(from) {
		if err != nil {
			t.Fatal(err)
		}
		if c.Offset != next {
			t.Errorf("chunk at %d, want %d", c.Offset, next)
		}
		next += int64(len(c.Data))
		if c.Stream == last {
			out[len(out)-1] += string(c.Data)
		} else {
			out = append(out, c.Stream.String()+":"+string(c.Data))
		}
		last = c.Stream
	}
	return out
}

// What Keep promises: the data of a chunk is as it was while as many more are read.
func TestKeep(t *testing.T) {
	w, base := create(t)
	var want []byte
	for i := range 100_000 {
		want = fmt.Appendf(want, "line %d of a log\n", i)
	}
	w.Write(Stdout, want)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r := open(t, base)
	r.Keep(2)
	var last []Chunk
	for c, err := range r.Chunks(0) {
		if err != nil {
			t.Fatal(err)
		}
		last = append(last, c)
		for _, old := range last[max(0, len(last)-3):] {
			if !bytes.Equal(old.Data, want[old.Offset:][:len(old.Data)]) {
				t.Fatalf("the chunk at %d has changed at the one at %d", old.Offset, c.Offset)
			}
		}
	}
	if len(last) < 4 {
		t.Errorf("%d chunks are too few to tell", len(last))
	}
}

func TestWholeLines(t *testing.T) {
	w, base := create(t)
	w.Write(Stdout, []byte("one\ntw"))
	w.Write(Stderr, []byte("error "))
	w.Write(Stdout, []byte("o\nthree"))
	w.Write(Stderr, []byte("1\n"))
	if got := bytesOf(t, base); got != "one\ntwo\nerror 1\n" {
		t.Errorf("before the end: %q", got)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if got := bytesOf(t, base); got != "one\ntwo\nerror 1\nthree" {
		t.Errorf("log is %q", got)
	}
	r := open(t, base)
	want := []string{"stdout:one\ntwo\n", "stderr:error 1\n", "stdout:three"}
	if got := chunks(t, r, 0); !slices.Equal(got, want) {
		t.Errorf("chunks are %q", got)
	}
	if got := chunks(t, r, 5); !slices.Equal(got, []string{"stdout:wo\n", "stderr:error 1\n", "stdout:three"}) { // back again
		t.Errorf("chunks from 5 are %q", got)
	}
	if complete, lost := r.Complete(); !complete || lost {
		t.Errorf("complete %v, lost %v", complete, lost)
	}
	if err := w.Close(); err != nil {
		t.Error("a second Close:", err)
	}
}

func TestLongLines(t *testing.T) {
	long := strings.Repeat("x", maxHeld+1)
	for name, feed := range map[string]func(*Writer){
		"Write": func(w *Writer) { w.Write(Stdout, []byte("a\n"+long)); w.Write(Stdout, []byte("y\nz")) },
		"Write in pieces": func(w *Writer) {
			for _, b := range []byte("a\n" + long + "y\nz") {
				w.Write(Stdout, []byte{b})
			}
		},
		"Copy":       func(w *Writer) { w.Copy(Stdout, strings.NewReader("a\n"+long+"y\nz")) },
		"Copy bytes": func(w *Writer) { w.Copy(Stdout, iotest.OneByteReader(strings.NewReader("a\n"+long+"y\nz"))) },
	} {
		w, base := create(t)
		feed(w)
		w.mu.Lock()
		if n := len(w.held[Stdout]); n > maxHeld {
			t.Errorf("%s: %d bytes are held", name, n)
		}
		w.mu.Unlock()
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		if got := bytesOf(t, base); got != "a\n"+long+"y\nz" {
			t.Errorf("%s: %d bytes", name, len(got))
		}
	}
}

func TestCopyOfTwoStreams(t *testing.T) {
	w, base := create(t)
	const lines = 5_000
	var wg sync.WaitGroup
	for _, s := range []Stream{Stdout, Stderr} {
		pr, pw := io.Pipe()
		wg.Go(func() {
			for i := range lines { // in pieces that do not end with lines
				line := fmt.Sprintf("%v %06d %s\n", s, i, strings.Repeat("x", i%300))
				for len(line) > 0 {
					n := min(len(line), 7+i%50)
					io.WriteString(pw, line[:n])
					line = line[n:]
				}
			}
			pw.Close()
		})
		wg.Go(func() {
			if err := w.Copy(s, pr); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	next := map[string]int{}
	for line := range strings.Lines(bytesOf(t, base)) {
		var s string
		var i int
		if _, err := fmt.Sscanf(line, "%s %d", &s, &i); err != nil || next[s] != i || !strings.HasSuffix(line, strings.Repeat("x", i%300)+"\n") {
			t.Fatalf("line %q, want number %d", line, next[s])
		}
		next[s]++
	}
	if next["stdout"] != lines || next["stderr"] != lines {
		t.Errorf("lines: %v", next)
	}
	for l, err := range Lines(open(t, base).Chunks(0), 1000) {
		if err != nil || !bytes.HasPrefix(l.Text, []byte(l.Stream.String())) {
			t.Fatalf("%q is said to be of %v, %v", l.Text, l.Stream, err)
		}
	}
}

func TestCopyFails(t *testing.T) {
	w, base := create(t)
	broken := errors.New("broken")
	err := w.Copy(Stdout, io.MultiReader(strings.NewReader("a\nb"), iotest.ErrReader(broken)))
	if !errors.Is(err, broken) {
		t.Errorf("error is %v", err)
	}
	w.Close()
	if got := bytesOf(t, base); got != "a\nb" {
		t.Errorf("log is %q", got)
	}
}

func TestTimes(t *testing.T) {
	w, base := create(t)
	at := time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)
	w.now = func() time.Time { return at }
	for _, step := range []time.Duration{0, tick / 2, tick, time.Second} { // the second shares the first's record
		at = at.Add(step)
		w.Write(Stdout, []byte("x\n"))
	}
	w.Close()
	var got []string
	for c := range open(t, base).Chunks(0) {
		got = append(got, fmt.Sprintf("%d %d %s", c.Offset, len(c.Data), c.Time.UTC().Format("05.0000")))
	}
	if want := []string{"0 4 00.0000", "4 2 00.0015", "6 2 01.0015"}; !slices.Equal(got, want) {
		t.Errorf("chunks are %q, want %q", got, want)
	}
}

// TestCrash is a log whose writer was killed: no end, a torn record, bytes that no record speaks of.
func TestCrash(t *testing.T) {
	w, base := create(t)
	w.Write(Stdout, []byte("out\n"))
	w.Write(Stderr, []byte("err\n"))
	idx, err := os.ReadFile(IndexName(base))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		idx  []byte
		want string
	}{
		"as it was":                       {idx, "stdout:out\n stderr:err\n"},
		"a torn record":                   {idx[:len(idx)-3], "stdout:out\nerr\n"},
		"only the header":                 {idx[:len(header)], "unknown:out\nerr\n"},
		"a torn header":                   {idx[:3], "unknown:out\nerr\n"},
		"nothing":                         {nil, "unknown:out\nerr\n"},
		"zeros, as after a loss of power": {append(slices.Clone(idx), make([]byte, 64)...), "stdout:out\n stderr:err\n"},
		"rubbish":                         {append(slices.Clone(idx), bytes.Repeat([]byte{0xee}, 64)...), "stdout:out\n stderr:err\n"},
	} {
		if err := os.WriteFile(IndexName(base), c.idx, 0o644); err != nil {
			t.Fatal(err)
		}
		r := open(t, base)
		if got := strings.Join(chunks(t, r, 0), " "); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		if complete, _ := r.Complete(); complete {
			t.Errorf("%s: counts as complete", name)
		}
	}
	os.Remove(IndexName(base))
	if got := chunks(t, open(t, base), 0); !slices.Equal(got, []string{"unknown:out\nerr\n"}) {
		t.Errorf("without an index: %q", got)
	}
}

func TestFull(t *testing.T) {
	w, base := create(t)
	w.Write(Stdout, []byte("first\n"))
	good := w.log
	if w.log, _ = os.OpenFile("/dev/full", os.O_WRONLY, 0); w.log == nil {
		t.Skip("no /dev/full")
	}
	w.Write(Stdout, []byte("lost\n")) // and the container goes on
	w.log.Close()
	w.log = good
	w.Write(Stdout, []byte("last\n"))
	if err := w.Close(); err == nil || !strings.Contains(err.Error(), "5 bytes") {
		t.Errorf("error is %v", err)
	}
	if got := bytesOf(t, base); got != "first\nlast\n" {
		t.Errorf("log is %q", got)
	}
	if complete, lost := open(t, base).Complete(); !complete || !lost {
		t.Errorf("complete %v, lost %v", complete, lost)
	}
}

func TestCreateTwice(t *testing.T) {
	w, base := create(t)
	w.Write(Stdout, []byte("x\n"))
	if _, err := Create(base); !errors.Is(err, fs.ErrExist) {
		t.Errorf("error is %v", err)
	}
	if got := bytesOf(t, base); got != "x\n" {
		t.Errorf("log is %q", got)
	}
}

func TestTail(t *testing.T) {
	w, base := create(t)
	text := "a\nbb\n\nccc\n" + strings.Repeat("d", 100) + "\nlast"
	w.Write(Stdout, []byte(text))
	w.Close()
	r := open(t, base)
	for _, c := range []struct {
		n    int
		max  int64
		want string
	}{
		{1, 1000, "last"}, {2, 1000, strings.Repeat("d", 100) + "\nlast"}, {4, 1000, text[5:]}, {5, 1000, text[2:]},
		{6, 1000, text}, {100, 1000, text}, {0, 1000, ""}, {-1, 1000, ""},
		{2, 50, "last"},       // the line before is longer than the bound
		{1, 3, "ast"},         // not even one fits
		{100, 107, text[10:]}, // from the first whole line
	} {
		off, err := r.Tail(c.n, c.max)
		if err != nil || text[off:] != c.want {
			t.Errorf("%d lines in %d bytes: %q, %v, want %q", c.n, c.max, text[off:], err, c.want)
		}
	}
	got, err := LastLines(base, 2, 10)
	if err != nil || !slices.Equal(got, []string{"dddddddddd", "last"}) && !slices.Equal(got, []string{"last"}) {
		t.Errorf("last lines are %q, %v", got, err)
	}
	if got, err := LastLines(base+"-none", 2, 10); got != nil || err != nil {
		t.Errorf("last lines of nothing are %q, %v", got, err)
	}
	w2, base2 := create(t)
	w2.Write(Stdout, []byte("a\nb\nc\n"))
	w2.Close()
	for n, want := range []string{"", "c\n", "b\nc\n", "a\nb\nc\n", "a\nb\nc\n"} {
		if off, err := open(t, base2).Tail(n, 1000); err != nil || "a\nb\nc\n"[off:] != want {
			t.Errorf("%d lines that end with a newline: from %d, %v", n, off, err)
		}
	}
	if off, err := open(t, base2).Tail(2, 1<<40); err != nil || off != 2 {
		t.Errorf("with a generous bound: %d, %v", off, err)
	}
}

func TestTailOfBig(t *testing.T) {
	w, base := create(t)
	var all []string
	for i := range 50_000 {
		all = append(all, fmt.Sprintf("line %d %s\n", i, strings.Repeat("x", i%30)))
	}
	w.Write(Stdout, []byte(strings.Join(all, "")))
	w.Close()
	for _, n := range []int{1, 10, 40_000} {
		off, err := open(t, base).Tail(n, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		if got := bytesOf(t, base)[off:]; got != strings.Join(all[len(all)-n:], "") {
			t.Errorf("%d lines: %d bytes, the first %.20q", n, len(got), got)
		}
	}
}

func TestFollow(t *testing.T) {
	w, base := create(t)
	w.Write(Stdout, []byte("before\n"))
	got := make(chan string)
	go func() {
		r, err := Open(base)
		if err != nil {
			t.Error(err)
			close(got)
			return
		}
		defer r.Close()
		for c, err := range r.Follow(t.Context(), 0, nil) {
			if err != nil {
				t.Error(err)
			}
			got <- c.Stream.String() + ":" + string(c.Data)
		}
		close(got)
	}()
	expect := func(want string) {
		t.Helper()
		select {
		case g := <-got:
			if g != want {
				t.Errorf("got %q, want %q", g, want)
			}
		case <-time.After(30 * time.Second):
			t.Errorf("got nothing, want %q", want)
		}
	}
	expect("stdout:before\n")
	w.Write(Stderr, []byte("later\n"))
	expect("stderr:later\n")
	w.Write(Stdout, []byte("tail"))
	w.Close()
	expect("stdout:tail")
	if g, ok := <-got; ok {
		t.Errorf("after the end: %q", g)
	}
}

// TestFollowAWriterThatDied ends when its caller says that no more comes, and still yields what is there.
func TestFollowAWriterThatDied(t *testing.T) {
	w, base := create(t)
	w.Write(Stdout, []byte("all\n"))
	done := make(chan struct{})
	time.AfterFunc(20*time.Millisecond, func() { w.Write(Stdout, []byte("last\n")); close(done) })
	var got bytes.Buffer
	for c, err := range open(t, base).Follow(t.Context(), 0, done) {
		if err != nil {
			t.Fatal(err)
		}
		got.Write(c.Data)
	}
	if got.String() != "all\nlast\n" {
		t.Errorf("got %q", &got)
	}
}

func TestFollowCancelled(t *testing.T) {
	_, base := create(t)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Hour, errors.New("an hour has gone"))
		defer cancel()
		var last error
		for _, last = range open(t, base).Follow(ctx, 0, nil) {
		}
		if last == nil || last.Error() != "an hour has gone" {
			t.Errorf("error is %v", last)
		}
	})
}

func TestFollowLoses(t *testing.T) { // nothing, while it grows fast
	w, base := create(t)
	const lines = 100_000
	go func() {
		for i := range lines {
			w.Write(Stream(1+i%2), fmt.Appendf(nil, "%v %d\n", Stream(1+i%2), i))
		}
		w.Close()
	}()
	next := 0
	for l, err := range Lines(open(t, base).Follow(t.Context(), 0, nil), 100) {
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("%v %d", Stream(1+next%2), next); string(l.Text) != want || l.Stream != Stream(1+next%2) {
			t.Fatalf("line %q of %v, want %q", l.Text, l.Stream, want)
		}
		next++
	}
	if next != lines {
		t.Errorf("%d lines of %d", next, lines)
	}
}

func TestLines(t *testing.T) {
	given := []Chunk{
		{Offset: 0, Stream: Stdout, Data: []byte("a\nlong li")},
		{Offset: 9, Stream: Stderr, Data: []byte("err\n\n")},
		{Offset: 14, Stream: Stdout, Data: []byte("ne\n1234567890\n1234567890ab\nend")},
	}
	var got []string
	for l, err := range Lines(func(yield func(Chunk, error) bool) {
		for _, c := range given {
			if !yield(c, nil) {
				return
			}
		}
	}, 10) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%d %v %q %v", l.Offset, l.Stream, l.Text, l.Part))
	}
	want := []string{
		`0 stdout "a" false`, `9 stderr "err" false`, `13 stderr "" false`, `2 stdout "long line" false`,
		`17 stdout "1234567890" false`, `28 stdout "1234567890" true`, `38 stdout "ab" false`, `41 stdout "end" false`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("lines are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	broken := errors.New("broken")
	for _, err := range Lines(func(yield func(Chunk, error) bool) { yield(Chunk{}, broken) }, 10) {
		if !errors.Is(err, broken) {
			t.Errorf("error is %v", err)
		}
	}
	for range Lines(func(yield func(Chunk, error) bool) { yield(given[0], nil) }, 10) {
		break // the caller may stop
	}
}

func TestManyRecords(t *testing.T) { // beyond one read of the index, and one step of its room
	w, base := create(t)
	at := time.Now()
	w.now = func() time.Time { at = at.Add(time.Second); return at }
	const n = 10_000
	for i := range n {
		w.Write(Stdout, fmt.Appendf(nil, "%d\n", i))
	}
	w.Close()
	r, i := open(t, base), 0
	for c, err := range r.Chunks(0) {
		if err != nil {
			t.Fatal(err)
		}
		if string(c.Data) != fmt.Sprintf("%d\n", i) {
			t.Fatalf("chunk %d is %q", i, c.Data)
		}
		i++
	}
	if i != n {
		t.Errorf("%d chunks of %d", i, n)
	}
}

func TestOpenNothing(t *testing.T) {
	if _, err := Open(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error is %v", err)
	}
}

func BenchmarkCopy(b *testing.B) {
	line := bytes.Repeat([]byte("x"), 99)
	block := bytes.Repeat(append(line, '\n'), 1000)
	b.SetBytes(64 * int64(len(block)))
	for b.Loop() {
		b.StopTimer()
		w, err := Create(filepath.Join(b.TempDir(), "log"))
		if err != nil {
			b.Fatal(err)
		}
		pr, pw, err := os.Pipe()
		if err != nil {
			b.Fatal(err)
		}
		unix.FcntlInt(pr.Fd(), unix.F_SETPIPE_SZ, 1<<20) // as the logger's
		b.StartTimer()
		go func() {
			for range 64 {
				pw.Write(block)
			}
			pw.Close()
		}()
		if err := w.Copy(Stdout, pr); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		w.Close()
		pr.Close()
		os.Remove(w.log.Name())
		os.Remove(w.idx.Name())
		b.StartTimer()
	}
}
