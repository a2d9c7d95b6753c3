package metrics

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// Sink is where samples go. Calls are made by one goroutine at a time. Add may buffer; after Flush what was added can
// be read by others. Close flushes. After an error the sink takes no more and returns the same error again.
type Sink interface {
	Add(Sample) error
	Flush() error
	Close() error
}

// Sinks are the kinds of sinks. Open makes one in a directory, a job's.
var Sinks = []struct {
	Name string
	Open func(dir string) (Sink, error)
}{
	{"jsonl", func(dir string) (Sink, error) { return OpenJSONL(filepath.Join(dir, "metrics.jsonl")) }},
}

// JSONL appends samples to a file, one JSON line each:
//
//	{"time":"2026-03-01T12:00:00.123Z","host":"algo-1","name":"validation:auc","value":0.8,"offset":1234}
type JSONL struct {
	f     *os.File
	w     *bufio.Writer
	buf   []byte
	names map[string][]byte // as JSON
	err   error
}

var _ Sink = (*JSONL)(nil)

// OpenJSONL opens the file for appending; a last line that is not whole, which a killed process left, is ended first.
func OpenJSONL(path string) (*JSONL, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return nil, fmt.Errorf("open metrics: %w", err)
	}
	s := &JSONL{f: f, w: bufio.NewWriterSize(f, 32<<10), names: make(map[string][]byte)}
	last := make([]byte, 1)
	if fi, err := f.Stat(); err == nil && fi.Size() > 0 {
		if _, err := f.ReadAt(last, fi.Size()-1); err == nil && last[0] != '\n' {
			s.w.WriteByte('\n')
		}
	}
	return s, nil
}

// Add appends a sample.
func (s *JSONL) Add(x Sample) error {
	if s.err != nil {
		return s.err
	}
	b := append(s.buf[:0], `{"time":"`...)
	b = x.At.UTC().AppendFormat(b, time.RFC3339Nano)
	b = append(b, `","host":`...)
	b = append(b, s.quote(x.Host)...)
	b = append(b, `,"name":`...)
	b = append(b, s.quote(x.Name)...)
	b = append(b, `,"value":`...)
	b = strconv.AppendFloat(b, x.Value, 'g', -1, 64)
	b = append(b, `,"offset":`...)
	b = strconv.AppendInt(b, x.Offset, 10)
	b = append(b, "}\n"...)
	s.buf = b
	_, err := s.w.Write(b)
	return s.fail(err)
}

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

func (s *JSONL) quote(name string) []byte {
	q, ok := s.names[name]
	if !ok {
		q, _ = json.Marshal(name) // a string always has a JSON form
		s.names[name] = q
	}
	return q
}
