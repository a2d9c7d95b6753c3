package transform

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Failing batches are kept so that one can be looked at and sent again: the first MaxKept in the order of the objects.
const (
	MaxKept     = 10
	maxKeptBody = maxPayload << 20 // of a request: larger ones there are only without a limit (MaxPayloadInMB 0)
)

// Names of what lies in the directory of a failing batch.
const (
	keptRequest = "request"       // the body as it was sent
	keptHead    = "response.head" // status line and headers
	keptBody    = "response.body" // its first bytes
	keptBatch   = "batch.json"    // Batch
)

// Batch says what a kept batch is.
type Batch struct {
	Time     time.Time `json:"time"` // of the last attempt
	Host     string    `json:"host"`
	Object   string    `json:"object"`
	Record   int64     `json:"record,omitempty"`  // first record, counted from 1; 0: not about records
	Records  int64     `json:"records,omitempty"` // in the batch
	Offset   int64     `json:"offset"`            // of the first record in the decompressed object
	Bytes    int64     `json:"bytes"`             // of the request's body
	Status   int       `json:"status"`            // 0: no response
	Attempts int       `json:"attempts"`
	Error    string    `json:"error"`
	Replay   string    `json:"replay,omitempty"` // a command line that sends it again
	Note     string    `json:"note,omitempty"`   // why the body is not here
}

// keeper keeps failing batches. nil: nobody wants them.
type keeper struct {
	dir string

	mu   sync.Mutex
	kept []*kept // in the order of objects and requests
	err  error   // the first
}

type kept struct {
	index  int
	seq    int64
	slot   int
	replay string
}

func (k *kept) before(index int, seq int64) bool {
	return k.index < index || k.index == index && k.seq < seq
}

func newKeeper(dir string) *keeper {
	if dir == "" {
		return nil
	}
	return &keeper{dir: dir}
}

// first is where batches are kept, and how to send the first again.
func (k *keeper) first() (dir, replay string) {
	if k == nil || len(k.kept) == 0 {
		return "", ""
	}
	return k.dir, k.kept[0].replay
}

func (k *keeper) failure() error {
	if k == nil {
		return nil
	}
	return k.err
}

// keepBatch writes down the request that failed, unless as many earlier ones are there. Not being able to is no reason to fail.
func (w *worker) keepBatch(it *item, attempts int, err error) {
	k := w.p.keeper
	if k == nil || w.saw.began.IsZero() || errors.Is(err, ErrInput) || errors.Is(err, ErrOutput) {
		return // nothing was sent, or it is not the batch that failed
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err != nil {
		return
	}
	slot := len(k.kept) + 1
	if slot > MaxKept {
		last := k.kept[MaxKept-1]
		if last.before(it.obj.index, it.seq) {
			return
		}
		slot, k.kept = last.slot, k.kept[:MaxKept-1]
	}
	b := Batch{
		Time: w.saw.began.UTC(), Host: w.p.in.Host, Object: it.obj.Key, Record: it.record, Offset: it.offset, Bytes: int64(len(it.body)),
		Status: w.saw.status, Attempts: attempts, Error: bounded(err.Error()),
	}
	if it.record > 0 {
		b.Records = it.records
	}
	dir := filepath.Join(k.dir, strconv.Itoa(slot))
	files := map[string][]byte{keptRequest: it.body, keptHead: withoutSecrets(w.saw.head), keptBody: w.saw.body}
	switch {
	case it.stream:
		b.Bytes = w.saw.sent
		b.Note = "the request was the whole object, sent as it was read (MaxPayloadInMB 0): it is not kept"
		delete(files, keptRequest)
	case len(it.body) > maxKeptBody:
		b.Note = fmt.Sprintf("a request of more than %d MiB is not kept", maxKeptBody>>20)
		delete(files, keptRequest)
	default:
		b.Replay = w.p.replay(filepath.Join(dir, keptRequest))
	}
	if b.Status == 0 {
		delete(files, keptHead)
		delete(files, keptBody)
	}
	if k.err = writeBatch(dir, b, files); k.err != nil {
		return
	}
	i, _ := slices.BinarySearchFunc(k.kept, it, func(x *kept, it *item) int {
		if x.before(it.obj.index, it.seq) {
			return -1
		}
		return 1
	})
	k.kept = slices.Insert(k.kept, i, &kept{it.obj.index, it.seq, slot, b.Replay})
}

// writeBatch makes the directory of a batch appear whole, in place of one that was there.
func writeBatch(dir string, b Batch, files map[string][]byte) error {
	text, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		return err
	}
	files[keptBatch] = append(text, '\n')
	temp := filepath.Join(filepath.Dir(dir), "."+filepath.Base(dir)+".tmp")
	err = func() error {
		for _, d := range []string{temp, dir} {
			if err := os.RemoveAll(d); err != nil {
				return err
			}
		}
		if err := os.MkdirAll(temp, 0o750); err != nil {
			return err
		}
		for name, data := range files {
			if err := os.WriteFile(filepath.Join(temp, name), data, 0o640); err != nil {
				return err
			}
		}
		return os.Rename(temp, dir)
	}()
	if err != nil {
		os.RemoveAll(temp)
	}
	return err
}

// replay is a command line that sends a body as it was sent, to a container that serves on this machine. What curl would
// add by itself is left away.
func (p *pool) replay(file string) string {
	t := &p.cfg.Job
	args := []string{"curl", "-i", "-A", "Go-http-client/1.1"}
	for _, h := range []struct{ name, value string }{{"Accept", t.Output.Accept}, {"Content-Type", t.Input.ContentType}} {
		if h.value == "" {
			args = append(args, "-H", h.name+":")
		} else {
			args = append(args, "-H", h.name+": "+h.value)
		}
	}
	args = append(args, "-H", "Expect:")
	if p.limit == 0 {
		args = append(args, "-H", "Transfer-Encoding: chunked")
	}
	args = append(args, "--data-binary", "@"+file, "http://localhost:8080/invocations")
	for i, a := range args {
		args[i] = shellWord(a)
	}
	return strings.Join(args, " ")
}

func shellWord(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:@%+=,", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// secretNames are parts of the names of headers whose values are not kept.
var secretNames = []string{"auth", "cookie", "token", "secret", "password", "credential", "api-key", "apikey"}

// withoutSecrets blanks the values of headers that may hold credentials.
func withoutSecrets(head []byte) []byte {
	var out []byte
	blank := false
	for line := range bytes.Lines(head) {
		if folded := line[0] == ' ' || line[0] == '\t'; folded && blank {
			continue
		}
		name, _, ok := bytes.Cut(line, []byte(":"))
		lower := strings.ToLower(string(name))
		blank = ok && slices.ContainsFunc(secretNames, func(s string) bool { return strings.Contains(lower, s) })
		if blank {
			line = append(append([]byte(nil), name...), ": (not kept)\r\n"...)
		}
		out = append(out, line...)
	}
	return out
}

// FailedObject is a line of the list of failed objects (Config.Failures).
type FailedObject struct {
	Object   string `json:"object"`
	Output   string `json:"output"` // the name that its output would have had
	Class    Class  `json:"class"`
	Record   int64  `json:"record,omitempty"`
	Records  int64  `json:"records,omitempty"`
	Offset   int64  `json:"offset,omitempty"`
	Status   int    `json:"status,omitempty"`
	Attempts int    `json:"attempts,omitempty"`
	Error    string `json:"error"`
}

func (f *Failure) line() ([]byte, error) {
	b, err := json.Marshal(FailedObject{f.Key, f.Output, f.Class, f.Record, f.Records, f.Offset, f.Status, f.Attempts, bounded(f.Err.Error())})
	return append(b, '\n'), err
}
