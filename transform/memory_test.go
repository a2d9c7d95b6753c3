package transform_test

import (
	"bufio"
	"context"
	"fmt"
	"hash/crc64"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/optml/optml/transform"
	tt "github.com/optml/optml/transform/transformtest"
)

// pattern is a stream of lines of n bytes in all, made as it is read.
type pattern struct {
	line []byte
	at   int
	left int64
}

func newPattern(n int64, line int) *pattern {
	b := make([]byte, line)
	for i := range b {
		b[i] = 'a' + byte(i%26)
	}
	b[line-1] = '\n'
	return &pattern{line: b, left: n}
}

func (p *pattern) Read(b []byte) (int, error) {
	if p.left == 0 {
		return 0, io.EOF
	}
	if int64(len(b)) > p.left {
		b = b[:p.left]
	}
	n := 0
	for n < len(b) {
		k := copy(b[n:], p.line[p.at:])
		p.at = (p.at + k) % len(p.line)
		n += k
	}
	p.left -= int64(n)
	return n, nil
}

func (p *pattern) Close() error { return nil }

// sumWriter keeps the checksum of an output, not the output.
type sumWriter struct{ sum, n uint64 }

var sumTable = crc64.MakeTable(crc64.ECMA)

func (s *sumWriter) Write(b []byte) (int, error) {
	s.sum = crc64.Update(s.sum, sumTable, b)
	s.n += uint64(len(b))
	return len(b), nil
}
func (s *sumWriter) Commit(context.Context) error { return nil }
func (s *sumWriter) Abort() error                 { return nil }

const memoryEnv = "OPTML_TEST_MEMORY"

// TestMemory is ruling 23 with the bound of a transform: whatever the size of an object, with responses as large as the
// requests that come in reverse order, the process takes at most MaxConcurrentTransforms x 2 x MaxPayload + 64 MB.
// Container and transform are processes of their own.
func TestMemory(t *testing.T) {
	if job := os.Getenv(memoryEnv); job != "" {
		memoryChild(t, job)
		return
	}
	if raceEnabled || testing.Short() {
		t.Skip("the bound is that of an ordinary build")
	}
	least := int64(160 << 20)
	if s := os.Getenv("OPTML_TEST_MEMORY_MIB"); s != "" {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		least = n << 20
	}
	for _, c := range []struct {
		name                string
		payload, concurrent int
		split, strategy     string
		line                int
	}{
		{"MultiRecord", 6, 4, "Line", "MultiRecord", 128},
		{"one large payload", 100, 1, "Line", "MultiRecord", 128},
		{"two large payloads", 50, 2, "Line", "MultiRecord", 1 << 10},
		{"large records", 10, 4, "Line", "MultiRecord", 7 << 20},
		{"SingleRecord of large records", 8, 4, "Line", "SingleRecord", 5 << 20},
		{"SingleRecord of small records", 1, 8, "Line", "SingleRecord", 16 << 10},
		{"joined", 6, 4, "Joined", "MultiRecord", 128},
		{"joined large records", 10, 4, "Joined", "MultiRecord", 7 << 20},
		{"filtered and joined", 6, 4, "Filtered", "MultiRecord", 128},
		{"filtered and joined, two large payloads", 50, 2, "Filtered", "MultiRecord", 128},
		{"filtered and joined large records", 10, 4, "Filtered", "MultiRecord", 3 << 20},
		{"filtered and joined SingleRecord", 1, 8, "Filtered", "SingleRecord", 16 << 10},
		{"joined documents", 6, 4, "Documents", "MultiRecord", 5 << 20},
		{"filtered and joined documents", 6, 4, "FilteredDocuments", "MultiRecord", 5 << 20},
		{"streamed", 0, 2, "Line", "MultiRecord", 128},
		{"streamed unsplit", 0, 2, "None", "SingleRecord", 128},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run=^TestMemory$")
			cmd.Env = append(os.Environ(), memoryEnv+"=serve "+strconv.Itoa(c.concurrent), "GOMEMLIMIT=off")
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			bound := (c.concurrent*2*c.payload + 64) << 10
			size := max(least, int64(bound)<<11) // twice the bound at least: it would not fit
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() {
				in.Close()
				cmd.Wait()
			}()
			addr, err := bufio.NewReader(out).ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			run := exec.Command(os.Args[0], "-test.run=^TestMemory$", "-test.v")
			run.Env = append(os.Environ(), memoryEnv+"="+fmt.Sprint("run ", strings.TrimSpace(addr), " ", size, " ", c.payload, " ", c.concurrent, " ", c.split, " ", c.strategy, " ", c.line))
			text, err := run.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			_, rest, _ := strings.Cut(string(text), "VmHWM: ")
			kib, _ := strconv.Atoi(strings.Fields(rest + " 0")[0])
			t.Logf("%d MiB of %d", kib>>10, bound>>10)
			if kib == 0 || kib > bound {
				t.Errorf("%d KiB at most, the bound is %d", kib, bound)
			}
		})
	}
}

func memoryChild(t *testing.T, job string) {
	var c int
	if n, _ := fmt.Sscanf(job, "serve %d", &c); n == 1 {
		serveReversed(t, c)
		return
	}
	var addr, split, strategy string
	var size int64
	var payload, line int
	if _, err := fmt.Sscanf(job, "run %s %d %d %d %s %s %d", &addr, &size, &payload, &c, &split, &strategy, &line); err != nil {
		t.Fatal(err)
	}
	out := &sumWriter{}
	object := transform.Object{Key: "in/x", Size: size, Open: func(context.Context) (io.ReadCloser, error) { return newPattern(size, line), nil }}
	b := setup(tt.At(addr), object)
	b.Job.Input.SplitType, b.Job.BatchStrategy, b.Job.MaxPayloadMB, b.Job.MaxConcurrent = split, &strategy, &payload, &c
	// Data processing: each row, of one column, is joined with its echo.
	filter, processed := map[string]string{"Joined": "$", "Filtered": "$[0]", "Documents": "$", "FilteredDocuments": "$[0]"}[split]
	if strings.HasSuffix(split, "Documents") {
		memoryOfDocuments(t, b, filter, size, line)
		return
	}
	if processed {
		b.processing("text/csv", filter, "", true)
	}
	b.Create = func(context.Context, string, string) (transform.Writer, error) { return out, nil }
	if _, err := transform.Run(t.Context(), b.Config); err != nil {
		t.Fatal(err)
	}
	want := &sumWriter{}
	if !processed {
		io.Copy(want, newPattern(size, line))
	}
	for left, row := size, newPattern(size, line).line; processed && left > 0; left -= int64(line) {
		text := row[:min(left, int64(line-1))]
		want.Write(text)
		want.Write([]byte{','})
		want.Write(text)
		want.Write([]byte{'\n'})
	}
	if *out != *want {
		t.Errorf("the output has %d bytes, want %d, or others", out.n, want.n)
	}
	mostMemory(t)
}

// memoryOfDocuments joins many JSON documents, none of them split, with their echoes.
func memoryOfDocuments(t *testing.T, b *bench, filter string, size int64, length int) {
	doc := `["` + strings.Repeat("x", length) + `"]`
	var objects []transform.Object
	for i := range size / int64(length) {
		objects = append(objects, tt.Object(fmt.Sprintf("in/%04d", i), doc))
	}
	echo := doc
	if filter != "$" {
		echo = doc[1 : len(doc)-1]
	}
	want := &sumWriter{}
	io.WriteString(want, `{"SageMakerInput":`+doc+`,"SageMakerOutput":`+echo+`}`)
	b.processing("application/json", filter, "", true)
	b.Job.Input.SplitType, b.Job.Output.AssembleWith = "None", "None"
	b.Objects = tt.Sequence(objects...)
	var outs []*sumWriter
	var mu sync.Mutex
	b.Create = func(context.Context, string, string) (transform.Writer, error) {
		mu.Lock()
		defer mu.Unlock()
		outs = append(outs, &sumWriter{})
		return outs[len(outs)-1], nil
	}
	if _, err := transform.Run(t.Context(), b.Config); err != nil {
		t.Fatal(err)
	}
	for _, out := range outs {
		if *out != *want || len(outs) != len(objects) {
			t.Fatalf("%d outputs of %d; one has %d bytes, want %d, or others", len(outs), len(objects), out.n, want.n)
		}
	}
	mostMemory(t)
}

func mostMemory(t *testing.T) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	fmt.Println("VmHWM:", strings.Fields(rest)[0])
}

// serveReversed echoes; of the requests that are open at once the last one is answered first. It ends with its stdin.
func serveReversed(t *testing.T, c int) {
	var mu sync.Mutex
	var held []chan struct{}
	release := func(all []chan struct{}) {
		for i := len(all) - 1; i >= 0; i-- {
			close(all[i])
			time.Sleep(50 * time.Microsecond)
		}
	}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method != http.MethodPost:
			return
		case r.ContentLength < 0:
			http.NewResponseController(w).EnableFullDuplex()
			io.Copy(w, r.Body)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		mine := make(chan struct{})
		mu.Lock()
		if held = append(held, mine); len(held) == c {
			go release(held)
			held = nil
		}
		mu.Unlock()
		select {
		case <-mine:
		case <-time.After(50 * time.Millisecond): // the last ones are fewer
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.Write(body)
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println(l.Addr())
	s := &http.Server{Handler: h}
	go s.Serve(l)
	io.Copy(io.Discard, os.Stdin)
	s.Close()
}
