package metrics

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// JSONL appends samples to a file, one JSON line each. Calls are made by one goroutine at a time. Add may buffer; after
// Flush what was added can be read by others. After an error it takes no more and returns the same error again.
//
//	{"time":"2026-03-01T12:00:00.123Z","host":"algo-1","name":"validation:auc","value":0.8,"offset":1234}
//	{"time":"2026-03-01T12:00:01.001Z","host":"algo-1","name":"CPUUtilization","value":93.5,"instance":true}
//
// The file has a limit. Whenever half of what was left of it is used up, only every tenth of the samples that came so far
// is kept of what a log line gave: a series thins out towards its end, and does not stop.
type JSONL struct {
	f       *os.File
	w       *bufio.Writer
	buf     []byte
	series  map[string]*written // by name
	hosts   map[string][]byte   // as JSON
	at      time.Time           // the last, which many samples share
	stamp   []byte              // as JSON
	err     error
	left    int64 // bytes
	half    int64 // of left: where the next thinning begins
	every   int64 // of samples of a name, one is kept
	skipped int64
}

// written is what is known of a series.
type written struct {
	name []byte // as JSON
	seen int64  // samples since the last thinning
}

// maxJSONL is what the samples of a job may take on disk: half a million of them.
const maxJSONL = 64 << 20

// OpenJSONL opens the file for appending; a last line that is not whole, which a killed process left, is ended first.
func OpenJSONL(path string) (*JSONL, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return nil, fmt.Errorf("open metrics: %w", err)
	}
	s := &JSONL{f: f, w: bufio.NewWriterSize(f, 32<<10), series: make(map[string]*written), hosts: make(map[string][]byte), every: 1, left: maxJSONL}
	last := make([]byte, 1)
	if fi, err := f.Stat(); err == nil && fi.Size() > 0 {
		s.left -= fi.Size()
		if _, err := f.ReadAt(last, fi.Size()-1); err == nil && last[0] != '\n' {
			s.w.WriteByte('\n')
		}
	}
	s.half = s.left / 2
	return s, nil
}

// Add appends a sample.
func (s *JSONL) Add(x Sample) error {
	if s.err != nil {
		return s.err
	}
	series := s.series[x.Name]
	if series == nil {
		series = &written{name: quote(x.Name)}
		s.series[x.Name] = series
	}
	if !s.keep(series, x.Instance) {
		s.skipped++
		return nil
	}
	host := s.hosts[x.Host]
	if host == nil {
		host = quote(x.Host)
		s.hosts[x.Host] = host
	}
	if s.stamp == nil || !x.At.Equal(s.at) {
		s.at = x.At
		s.stamp = append(s.stamp[:0], '"')
		s.stamp = x.At.UTC().AppendFormat(s.stamp, time.RFC3339Nano)
		s.stamp = append(s.stamp, '"')
	}
	b := append(s.buf[:0], `{"time":`...)
	b = append(b, s.stamp...)
	b = append(b, `,"host":`...)
	b = append(b, host...)
	b = append(b, `,"name":`...)
	b = append(b, series.name...)
	b = append(b, `,"value":`...)
	b = strconv.AppendFloat(b, x.Value, 'g', -1, 64)
	if x.Instance {
		b = append(b, `,"instance":true`...)
	} else {
		b = append(b, `,"offset":`...)
		b = strconv.AppendInt(b, x.Offset, 10)
	}
	b = append(b, "}\n"...)
	s.buf = b
	s.left -= int64(len(b))
	_, err := s.w.Write(b)
	return s.fail(err)
}

// keep decides whether a sample is written.
func (s *JSONL) keep(series *written, instance bool) bool {
	for s.left < s.half {
		s.half /= 2
		s.every *= 10
		for _, other := range s.series {
			other.seen = 0
		}
	}
	if s.left < 1<<10 {
		return false
	}
	if instance { // few, and with a rate of their own
		return true
	}
	series.seen++
	return (series.seen-1)%s.every == 0
}

// Skipped is how many samples were not written because of the limit.
func (s *JSONL) Skipped() int64 { return s.skipped }

// Flush hands what was added to the file.
func (s *JSONL) Flush() error {
	if s.err != nil {
		return s.err
	}
	return s.fail(s.w.Flush())
}

// Close flushes and closes the file.
func (s *JSONL) Close() error {
	err := s.Flush()
	if cerr := s.f.Close(); err == nil {
		err = s.fail(cerr)
	}
	return err
}

func (s *JSONL) fail(err error) error {
	if err != nil {
		s.err = fmt.Errorf("write metrics: %w", err)
	}
	return s.err
}

func quote(name string) []byte {
	q, _ := json.Marshal(name) // a string always has a JSON form
	return q
}

// KeepInstance drops from a file of samples those that log lines gave, which are found again, and keeps those of the
// instance, which are not. A file that is not there is none.
func KeepInstance(path string) error {
	in, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	defer in.Close()
	out, err := os.CreateTemp(filepath.Dir(path), ".metrics-*")
	if err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	defer os.Remove(out.Name())
	w := bufio.NewWriter(out)
	for lines := bufio.NewScanner(io.LimitReader(in, maxJSONL)); lines.Scan(); {
		var x struct{ Instance bool }
		if json.Unmarshal(lines.Bytes(), &x) == nil && x.Instance {
			w.Write(lines.Bytes())
			w.WriteByte('\n')
		}
	}
	err = errors.Join(w.Flush(), out.Chmod(0o640), out.Close())
	if err == nil {
		err = os.Rename(out.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	return nil
}
