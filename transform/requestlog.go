package transform

import (
	"bufio"
	"encoding/json"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	maxErrorText  = 1 << 10 // of an error in a record
	flushInterval = time.Second
)

// requestLog writes one JSON line a request (docs/transform.md tells what is in it). nil: nobody wants it.
type requestLog struct {
	mu   sync.Mutex
	w    *bufio.Writer
	err  error // the first; nothing is written any more
	done chan struct{}
	wg   sync.WaitGroup
}

func newRequestLog(w io.Writer) *requestLog {
	if w == nil {
		return nil
	}
	l := &requestLog{w: bufio.NewWriterSize(w, 64<<10), done: make(chan struct{})}
	l.wg.Go(func() { // so that who looks at a job that hangs sees what came before
		t := time.NewTicker(flushInterval)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				l.write(nil)
			case <-l.done:
				return
			}
		}
	})
	return l
}

// write appends a line; without one it passes on what is buffered.
func (l *requestLog) write(line []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return
	}
	if line == nil {
		l.err = l.w.Flush()
		return
	}
	_, l.err = l.w.Write(line)
}

// close writes what is left and returns the first error. It may be called on nil.
func (l *requestLog) close() error {
	if l == nil {
		return nil
	}
	close(l.done)
	l.wg.Wait()
	l.write(nil)
	return l.err
}

// seen is what a worker saw of the attempt that it made last.
type seen struct {
	began    time.Time // zero: nothing was sent
	took     time.Duration
	sent     int64      // bytes of the request's body
	status   int        // 0: no response
	received int64      // bytes of the response's body
	head     []byte     // the response's status line and headers: the connection's, until it is used again
	body     []byte     // the first bytes of a response that is no use
	hop      *failedHop // of a pipeline: where it failed behind the first container
}

// note records a request that came to its end. first is when its first attempt began.
func (w *worker) note(it *item, first time.Time, attempts int, err error) {
	l := w.p.requests
	if l == nil || w.saw.began.IsZero() {
		return
	}
	if w.saw.took == 0 { // it never came to an exchange
		w.saw.took = time.Since(w.saw.began)
	}
	b := append(w.line[:0], `{"time":"`...)
	b = first.UTC().AppendFormat(b, "2006-01-02T15:04:05.000000Z07:00")
	b = append(b, `","host":`...)
	b = appendJSON(b, w.p.in.Host)
	b = appendInt(b, `,"worker":`, int64(w.number))
	b = append(b, `,"object":`...)
	b = appendJSON(b, it.obj.Key)
	if it.record > 0 {
		b = appendInt(b, `,"record":`, it.record)
		b = appendInt(b, `,"records":`, it.records)
		b = appendInt(b, `,"offset":`, it.offset)
	}
	b = appendInt(b, `,"sent":`, w.saw.sent)
	b = appendInt(b, `,"received":`, w.saw.received)
	b = appendInt(b, `,"status":`, int64(w.saw.status))
	b = appendInt(b, `,"attempts":`, int64(attempts))
	b = appendSeconds(b, `,"latencySeconds":`, w.saw.took)
	b = appendSeconds(b, `,"seconds":`, time.Since(first))
	if err != nil {
		b = append(b, `,"error":`...)
		b = appendJSON(b, bounded(err.Error()))
	}
	w.line = append(b, "}\n"...)
	l.write(w.line)
}

func appendInt(b []byte, name string, n int64) []byte {
	return strconv.AppendInt(append(b, name...), n, 10)
}

func appendSeconds(b []byte, name string, d time.Duration) []byte {
	return strconv.AppendFloat(append(b, name...), d.Seconds(), 'f', 6, 64)
}

// appendJSON appends a string as JSON has it. Nearly all need no escape.
func appendJSON(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			quoted, err := json.Marshal(s)
			if err != nil { // not of a string
				quoted = []byte(`""`)
			}
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// bounded cuts an error's text.
func bounded(s string) string {
	if len(s) > maxErrorText {
		s = strings.ToValidUTF8(s[:maxErrorText], "") + "…"
	}
	return s
}
