// known is the program of the image whose latencies benchload knows: request number I of N takes the I-th of N values that
// are spread over a log-normal distribution, in an order by chance, and from one request on nothing is answered for a
// second. When it ends it says when each was answered, by the clock that all processes of the machine share.
//
// KNOWN_N, KNOWN_MEDIAN, KNOWN_SIGMA, KNOWN_STALL (a number; 0: none) and KNOWN_STALL_FOR say how.
package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/optml/optml/hack/measure"
)

type server struct {
	takes []time.Duration

	stall    int
	stallFor time.Duration

	mu       sync.Mutex
	answered map[int]int64 // nanoseconds since 1970
	from     time.Time     // of the stall
}

func main() {
	n, _ := strconv.Atoi(os.Getenv("KNOWN_N"))
	median, err := time.ParseDuration(os.Getenv("KNOWN_MEDIAN"))
	sigma, err2 := strconv.ParseFloat(os.Getenv("KNOWN_SIGMA"), 64)
	if n < 1 || err != nil || err2 != nil {
		fmt.Fprintln(os.Stderr, "known: KNOWN_N, KNOWN_MEDIAN and KNOWN_SIGMA are needed")
		os.Exit(2)
	}
	s := &server{takes: measure.Takes(n, median, sigma), answered: map[int]int64{}}
	s.stall, _ = strconv.Atoi(os.Getenv("KNOWN_STALL"))
	s.stallFor, _ = time.ParseDuration(os.Getenv("KNOWN_STALL_FOR"))
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	go func() {
		<-stop
		s.tell()
		os.Exit(0)
	}()
	fmt.Fprintln(os.Stderr, "known:", http.ListenAndServe(":8080", s))
	os.Exit(1)
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/ping" {
		return
	}
	body, _ := io.ReadAll(r.Body)
	i, err := strconv.Atoi(string(bytes.TrimSpace(body)))
	if err != nil || i < 0 || i >= len(s.takes) {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	now := time.Now()
	s.mu.Lock()
	if s.stall > 0 && i == s.stall && s.from.IsZero() {
		s.from = now
	}
	s.mu.Unlock()
	until(now.Add(s.takes[i]))
	s.mu.Lock()
	over := s.from.Add(s.stallFor)
	stalled := !s.from.IsZero() && time.Now().Before(over)
	s.mu.Unlock()
	if stalled {
		until(over)
	}
	_, _ = io.WriteString(w, "0.5\n")
	s.mu.Lock()
	s.answered[i] = time.Now().UnixNano()
	s.mu.Unlock()
}

// timer is a timerfd. File's own Fd would make it one that blocks a thread.
type timer struct {
	*os.File
	fd int
}

var timers sync.Pool // of *timer

// until waits, to the microsecond: Go's own timers are a millisecond late where nothing else happens.
func until(t time.Time) {
	left := time.Until(t)
	if left <= 0 {
		return
	}
	f, _ := timers.Get().(*timer)
	if f == nil {
		fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
		if err != nil {
			time.Sleep(left)
			return
		}
		f = &timer{os.NewFile(uintptr(fd), "timer"), fd}
	}
	if unix.TimerfdSettime(f.fd, 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(left.Nanoseconds())}, nil) == nil {
		var b [8]byte
		_, _ = f.Read(b[:])
	}
	timers.Put(f)
}

// tell prints what has been answered when, some in a line.
func (s *server) tell() {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := fmt.Appendf(nil, "known stall %d\n", s.from.UnixNano())
	k := 0
	for i, at := range s.answered {
		if k%100 == 0 {
			if k > 0 {
				out = append(out, '\n')
			}
			out = append(out, "known answered"...)
		}
		out = fmt.Appendf(out, " %d:%d", i, at)
		k++
	}
	_, _ = os.Stdout.Write(append(out, '\n'))
}
