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
	keptRequest = "request"       // the body as it was sent; with a dot and a container's name: as it was sent to that one
	keptHead    = "response.head" // status line and headers
	keptBody    = "response.body" // its first bytes
	keptBatch   = "batch.json"    // Batch
)

// Batch says what a kept batch is.
type Batch struct {
	Time      time.Time `json:"time"` // of the last attempt
	Host      string    `json:"host"`
	Container string    `json:"container,omitempty"` // of a pipeline: which one failed
	Object    string    `json:"object"`
	Record    int64     `json:"record,omitempty"`  // first record, counted from 1; 0: not about records
	Records   int64     `json:"records,omitempty"` // in the batch
	Offset    int64     `json:"offset"`            // of the first record in the decompressed object
	Bytes     int64     `json:"bytes"`             // of the request's body
	Status    int       `json:"status"`            // 0: no response
	Attempts  int       `json:"attempts"`
	Error     string    `json:"error"`
	Replay    string    `json:"replay,omitempty"` // a command line that sends it again
	Note      string    `json:"note,omitempty"`   // why the body is not here
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

// evidence is a failed request and what came of it.
type evidence struct {
	object *object
	seq    int64
	Batch

	request []byte
	stream  bool // the request was sent as it was read, and is not there
	head    []byte
	body    []byte
	hop     *failedHop // of a pipeline: what failed behind the first container
}

// keepBatch writes down the request that failed. Not being able to is no reason to fail.
func (w *worker) keepBatch(it *item, attempts int, err error) {
	if w.p.keeper == nil || w.saw.began.IsZero() || errors.Is(err, ErrInput) || errors.Is(err, ErrOutput) {
		return // nothing was sent, or it is not the batch that failed
	}
	e := evidence{object: it.obj, seq: it.seq, request: it.body, stream: it.stream, head: w.saw.head, body: w.saw.body, hop: w.saw.hop}
	e.Batch = Batch{
		Time: w.saw.began.UTC(), Record: it.record, Records: it.records, Offset: it.offset, Bytes: int64(len(it.body)),
		Status: w.saw.status, Attempts: attempts, Error: bounded(err.Error()),
	}
	if it.stream {
		e.Bytes = w.saw.sent
	}
	w.p.keep(&e)
}

// sent is what is held of a request until the output made of its response is written.
type sent struct {
	began            time.Time
	status, attempts int
	head, request    []byte
}

// answered is what becomes of a response. Where its output is made by filters and joins, which may refuse it, what was
// sent stays until then, as for a join.
func (w *worker) answered(it *item, attempts int, b body) {
	if p := w.p; p.keeper != nil && p.dp.Writes() {
		b.sent = &sent{w.saw.began, w.saw.status, attempts, bytes.Clone(w.saw.head), it.body}
	}
	w.p.answered(it, b)
}

// keepRefused writes down a request whose response the join or a filter does not take.
func (p *pool) keepRefused(o *object, b *body, f *Failure) {
	if b.sent == nil {
		return
	}
	e := evidence{object: o, seq: o.next, request: b.sent.request, head: b.sent.head}
	for _, part := range append([][]byte{b.small}, b.chunks...) {
		e.body = append(e.body, part[:min(len(part), maxErrorBody-len(e.body))]...)
	}
	e.Batch = Batch{
		Time: b.sent.began.UTC(), Record: b.it.record, Records: b.it.records, Offset: b.offset, Bytes: int64(len(b.sent.request)),
		Status: b.sent.status, Attempts: b.sent.attempts, Error: bounded(f.Err.Error()),
	}
	p.keep(&e)
}

// keep writes a failed request down, unless as many earlier ones are there.
func (p *pool) keep(e *evidence) {
	k := p.keeper
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err != nil {
		return
	}
	slot := len(k.kept) + 1
	if slot > MaxKept {
		last := k.kept[MaxKept-1]
		if last.before(e.object.index, e.seq) {
			return
		}
		slot, k.kept = last.slot, k.kept[:MaxKept-1]
	}
	b := e.Batch
	b.Host, b.Object = p.in.Host, e.object.Key
	if b.Record == 0 {
		b.Records = 0
	}
	dir := filepath.Join(k.dir, strconv.Itoa(slot))
	files := map[string][]byte{keptRequest: e.request, keptHead: withoutSecrets(e.head), keptBody: e.body}
	switch t := &p.cfg.Job; {
	case e.stream:
		b.Note = "the request was the whole object, sent as it was read (MaxPayloadInMB 0): it is not kept"
		delete(files, keptRequest)
	case len(e.request) > maxKeptBody:
		b.Note = fmt.Sprintf("a request of more than %d MiB is not kept", maxKeptBody>>20)
		delete(files, keptRequest)
	default:
		accept := t.Output.Accept
		if len(p.in.Next) > 0 {
			accept = "" // it is for the last one (INF-56)
		}
		b.Replay = replay(filepath.Join(dir, keptRequest), accept, t.Input.ContentType, p.limit == 0)
	}
	if len(p.in.Next) > 0 {
		b.Container = p.in.Name
	}
	if hop := e.hop; hop != nil {
		b.Container = hop.to
		name := keptRequest + "." + hop.to
		files[name] = hop.body
		b.Replay = replay(filepath.Join(dir, name), hop.accept, hop.contentType, false)
	}
	if b.Status == 0 {
		delete(files, keptHead)
		delete(files, keptBody)
	}
	if k.err = writeBatch(dir, b, files); k.err != nil {
		return
	}
	i, _ := slices.BinarySearchFunc(k.kept, e, func(x *kept, e *evidence) int {
		if x.before(e.object.index, e.seq) {
			return -1
		}
		return 1
	})
	k.kept = slices.Insert(k.kept, i, &kept{e.object.index, e.seq, slot, b.Replay})
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
func replay(file, accept, contentType string, chunked bool) string {
	args := []string{"curl", "-i", "-A", "Go-http-client/1.1"}
	for _, h := range []struct{ name, value string }{{"Accept", accept}, {"Content-Type", contentType}} {
		if h.value == "" {
			args = append(args, "-H", h.name+":")
		} else {
			args = append(args, "-H", h.name+": "+h.value)
		}
	}
	args = append(args, "-H", "Expect:")
	if chunked {
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
