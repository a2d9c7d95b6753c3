// server is the program of the image that benchtransform drives: it takes a request's body and answers four bytes, a
// row for each of its lines, or the body again, at once or as a model would that takes its time. It says when the first request came and the last response went, and how much it got in between.
//
// It uses the standard library only, so that its image holds one small file and starts at once.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// answer is what it has seen since the last reset.
type answer struct {
	First, Last     int64 // nanoseconds since 1970
	Requests, Bytes int64
	Sum             uint32 // of the bodies' checksums, where they were asked for
	Host            string // of the last request for /ping
}

type server struct {
	held    bool // is never ready, so that its network stays for others
	echo    bool
	rows    bool     // a result for each line
	model   *model   // nil: it takes no time
	reverse *reverse // nil: each response goes when it is ready

	sum                          atomic.Bool
	first, last, requests, bytes atomic.Int64
	sums                         atomic.Uint32
	host                         atomic.Value
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 256<<10); return &b }}

func main() {
	s := &server{held: os.Getenv("BENCH_HOLD") != "", echo: os.Getenv("BENCH_ECHO") != "", rows: os.Getenv("BENCH_ROWS") != ""}
	if text := os.Getenv("BENCH_MODEL"); text != "" {
		s.model = &model{}
		if err := s.model.parse(text); err != nil {
			fmt.Fprintln(os.Stderr, "server: BENCH_MODEL:", err)
			os.Exit(1)
		}
	}
	s.sum.Store(os.Getenv("BENCH_SUM") != "")
	if text := os.Getenv("BENCH_REVERSE"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			fmt.Fprintln(os.Stderr, "server: BENCH_REVERSE:", err)
			os.Exit(1)
		}
		s.reverse = &reverse{n: n}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/ping", s.ping)
	mux.HandleFunc("/invocations", s.invoke)
	mux.HandleFunc("/bench", s.tell)
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	go func() {
		<-stop
		b, err := json.Marshal(map[string]answer{"bench": s.answer()})
		if err == nil {
			_, err = fmt.Printf("%s\n", b)
		}
		if err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}()
	fmt.Fprintln(os.Stderr, "server:", http.ListenAndServe(":8080", mux))
	os.Exit(1)
}

func (s *server) ping(w http.ResponseWriter, r *http.Request) {
	s.host.Store(r.Host)
	if s.held {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
}

func (s *server) answer() answer {
	host, _ := s.host.Load().(string)
	return answer{First: s.first.Load(), Last: s.last.Load(), Requests: s.requests.Load(), Bytes: s.bytes.Load(), Sum: s.sums.Load(), Host: host}
}

// tell answers with what was seen and begins anew; ?sum=1 has the checksums of what comes.
func (s *server) tell(w http.ResponseWriter, r *http.Request) {
	_ = json.NewEncoder(w).Encode(s.answer()) // who asked sees it cut short
	s.sum.Store(r.FormValue("sum") != "")
	s.first.Store(0)
	s.last.Store(0)
	s.requests.Store(0)
	s.bytes.Store(0)
	s.sums.Store(0)
}

func (s *server) invoke(w http.ResponseWriter, r *http.Request) {
	if s.first.Load() == 0 {
		s.first.CompareAndSwap(0, time.Now().UnixNano())
	}
	n, sum, err := s.body(w, r)
	if err != nil { // there is nobody to tell but who looks at the log
		fmt.Fprintln(os.Stderr, "server:", err)
		return
	}
	s.requests.Add(1)
	s.bytes.Add(n)
	s.sums.Add(sum)
	for now := time.Now().UnixNano(); ; {
		if last := s.last.Load(); last >= now || s.last.CompareAndSwap(last, now) {
			return
		}
	}
}

// body reads a request and answers it.
func (s *server) body(w http.ResponseWriter, r *http.Request) (n int64, sum uint32, err error) {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	switch {
	case s.echo && r.ContentLength < 0: // streamed: back while it comes
		if err := http.NewResponseController(w).EnableFullDuplex(); err != nil {
			return 0, 0, err
		}
		n, err = io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r.Body}, *buf)
		return n, 0, err
	case s.echo:
		b := make([]byte, r.ContentLength)
		if _, err := io.ReadFull(r.Body, b); err != nil {
			return 0, 0, err
		}
		defer s.reverse.turn()()
		w.Header().Set("Content-Length", strconv.Itoa(len(b)))
		_, err = w.Write(b)
		return int64(len(b)), 0, err
	}
	if s.model != nil {
		defer func() {
			if err == nil {
				s.model.take(n)
				_, err = io.WriteString(w, "0.5\n")
			}
		}()
	}
	check, lines := s.sum.Load(), 0
	for {
		m, err := r.Body.Read(*buf)
		n += int64(m)
		if check {
			sum = crc32.Update(sum, crc32.IEEETable, (*buf)[:m])
		}
		if s.rows {
			lines += bytes.Count((*buf)[:m], []byte{'\n'})
		}
		if err == io.EOF {
			break
		} else if err != nil {
			return n, sum, err
		}
	}
	switch {
	case s.model != nil: // when its time is over
	case s.rows:
		_, err = w.Write(bytes.Repeat([]byte("0\n"), lines))
	default:
		_, err = io.WriteString(w, "0.5\n")
	}
	return n, sum, err
}

// model is one that takes some time for each request and some for each byte, and no more than a few requests at once.
type model struct {
	fixed, mebibyte time.Duration
	slots           chan struct{}
}

// parse reads "2ms,5ms,4": of a request, of a MiB of it, and how many at once.
func (m *model) parse(text string) (err error) {
	f := strings.Split(text, ",")
	if len(f) != 3 {
		return errors.New("not three values")
	}
	if m.fixed, err = time.ParseDuration(f[0]); err != nil {
		return err
	}
	if m.mebibyte, err = time.ParseDuration(f[1]); err != nil {
		return err
	}
	n, err := strconv.Atoi(f[2])
	m.slots = make(chan struct{}, n)
	return err
}

func (m *model) take(n int64) {
	m.slots <- struct{}{}
	defer func() { <-m.slots }()
	time.Sleep(m.fixed + time.Duration(float64(n)/(1<<20)*float64(m.mebibyte)))
}

// reverse lets requests that are there together go in the reverse of the order in which they came.
type reverse struct {
	n       int
	mu      sync.Mutex
	waiting []waiting
}

type waiting struct{ turn, done chan struct{} }

// turn waits until n requests are here, or a while for the last ones, and for its own turn. What it returns ends the turn.
func (r *reverse) turn() func() {
	if r == nil {
		return func() {}
	}
	w := waiting{make(chan struct{}), make(chan struct{})}
	r.mu.Lock()
	r.waiting = append(r.waiting, w)
	if len(r.waiting) == r.n {
		r.release()
	} else if len(r.waiting) == 1 {
		time.AfterFunc(time.Second, func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			if len(r.waiting) > 0 && r.waiting[0] == w {
				r.release()
			}
		})
	}
	r.mu.Unlock()
	<-w.turn
	return func() { close(w.done) }
}

func (r *reverse) release() {
	all := r.waiting
	r.waiting = nil
	go func() {
		for i := len(all) - 1; i >= 0; i-- {
			close(all[i].turn)
			<-all[i].done
		}
	}()
}
