//go:build e2e

package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"

	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/optml/optml/objstore/s3test"
	"github.com/optml/optml/objstore/storetest"
)

// victim is the object that the faults hit: neither the first nor the last of its channel.
const victim = "in/3"

// faultData are the objects of the channel "train".
var faultData = map[string][]byte{
	"in/1": storetest.Bytes(70_000), "in/2": storetest.Bytes(1), victim: storetest.Bytes(3 << 20), "in/4": storetest.Bytes(300_000), "in/5": {},
}

// fault is something that goes wrong with a store or with what lies in it, and what must come of it.
type fault struct {
	name  string
	modes []string // those that it can hit
	make  func(srv *s3test.Server, o hurt)
	like  s3test.Options
	env   []string
	kind  string // S3DataType; "": S3Prefix
	uri   string // "": the prefix
	hp    []string

	names string // what the failure names; "": the fault is mended, and the container reads what is right
	text  string // that the failure says

	requests int    // at the most
	quick    string // the mode in which it belongs to the tier that every change must pass; "": none
}

// hurt is how the objects of one job are kept.
type hurt struct{ gzip bool }

// of is an object as it is kept.
func (o hurt) of(data []byte) []byte {
	if !o.gzip {
		return data
	}
	return zipped(map[string][]byte{"": data})[""]
}

var (
	everyMode = []string{"File", "Pipe-None", "Pipe-Gzip", "Pipe-RecordIO", "Pipe-Both", "FastFile"}
	piped     = []string{"Pipe-None", "Pipe-Gzip", "Pipe-RecordIO", "Pipe-Both"}
	unzipped  = []string{"Pipe-Gzip", "Pipe-Both"}
	notFast   = append([]string{"File"}, piped...) // manifests
)

const (
	// attempts is how often one request is sent at the most.
	attempts = 16
	// usual is what a job of this size asks for beside the object that is hurt: listing, other objects, artifacts.
	usual = 40
)

// on hurts the victim's reads alone.
func on(f s3test.Fault) func(*s3test.Server, hurt) {
	f.Method, f.Key = http.MethodGet, victim
	return func(srv *s3test.Server, _ hurt) { srv.Fault(f) }
}

// all hurts reads and listings alike.
func all(f s3test.Fault) func(*s3test.Server, hurt) {
	f.Method = http.MethodGet
	return func(srv *s3test.Server, _ hurt) { srv.Fault(f) }
}

// replaced is a store with another object, e.g. a manifest.
func replaced(key, text string) func(*s3test.Server, hurt) {
	return func(srv *s3test.Server, _ hurt) { srv.Put("f", key, []byte(text)) }
}

// faults are ruling 27's.
var faults = []fault{
	// What is mended.
	{name: "503 for a third of the requests", modes: everyMode, make: all(s3test.Fault{Every: 3, Status: 503, Code: "ServiceUnavailable"}), requests: 2 * usual, quick: "File"},
	{name: "SlowDown for a third", modes: everyMode, make: all(s3test.Fault{Every: 3, Status: 503, Code: "SlowDown"}), requests: 2 * usual},
	{name: "500 twice", modes: everyMode, make: on(s3test.Fault{Times: 2, Status: 500, Code: "InternalError"}), requests: usual},
	{name: "bodies cut now and then", modes: everyMode, make: all(s3test.Fault{Every: 3, Cut: 50_000}), requests: 2 * usual},
	// It comes 600,000 bytes at a time, and is resumed at the byte.
	{name: "body cut again and again", modes: everyMode, make: on(s3test.Fault{Cut: 600_000}), requests: usual + 32, quick: "FastFile"},
	{name: "connections reset now and then", modes: everyMode, make: all(s3test.Fault{Every: 3, Reset: true}), requests: 2 * usual, quick: "Pipe-RecordIO"},
	{name: "server hangs now and then", modes: everyMode, make: on(s3test.Fault{Times: 2, Hang: true}), env: []string{"OPTML_S3_STALL=300ms"}, requests: usual},
	{name: "body hangs now and then", modes: everyMode, make: on(s3test.Fault{Times: 2, HangAt: 20_000}), env: []string{"OPTML_S3_STALL=300ms"}, requests: usual},
	{name: "slow body", modes: everyMode, make: on(s3test.Fault{Rate: 4 << 20}), env: []string{"OPTML_S3_STALL=1s"}, requests: usual},

	// What is not.
	{name: "503 always", modes: everyMode, make: on(s3test.Fault{Status: 503, Code: "SlowDown"}), names: victim, text: "SlowDown"},
	{name: "body cut always", modes: everyMode, make: on(s3test.Fault{Cut: -1}), names: victim, text: "bytes are missing"},
	{name: "connection reset always", modes: everyMode, make: on(s3test.Fault{Reset: true}), names: victim, text: "after 16 attempts"},
	{name: "server hangs", modes: everyMode, make: on(s3test.Fault{Hang: true}), env: []string{"OPTML_S3_STALL=200ms"}, names: victim, text: "stalled"},
	{name: "body hangs", modes: everyMode, make: on(s3test.Fault{HangAt: -1}), env: []string{"OPTML_S3_STALL=200ms"}, names: victim, text: "stalled"},
	{name: "forbidden", modes: everyMode, make: on(s3test.Fault{Status: 403, Code: "AccessDenied"}), names: victim, text: "Unable to download object s3://f/in/3 (AccessDenied: injected 403)", quick: "Pipe-Gzip"},
	{name: "object vanishes after the listing", modes: everyMode, names: victim, text: "NoSuchKey", make: func(srv *s3test.Server, _ hurt) {
		srv.Fault(s3test.Fault{Method: http.MethodGet, Key: victim, Times: 1, Before: func() { srv.Remove("f", victim) }})
	}},
	{name: "object changes after the listing", modes: everyMode, names: victim, text: "PreconditionFailed", quick: "FastFile", make: func(srv *s3test.Server, o hurt) {
		srv.Fault(s3test.Fault{Method: http.MethodGet, Key: victim, Times: 1, Before: func() { srv.Put("f", victim, o.of(storetest.Bytes(3<<20 + 1)[1:])) }})
	}},
	{name: "object changes in the middle of a read", modes: everyMode, names: victim, text: "PreconditionFailed", make: func(srv *s3test.Server, o hurt) {
		srv.Fault(s3test.Fault{Method: http.MethodGet, Key: victim, Times: 1, Cut: 90_000})
		srv.Fault(s3test.Fault{Method: http.MethodGet, Key: victim, Times: 1, Before: func() { srv.Put("f", victim, o.of(storetest.Bytes(3<<20 + 1)[1:])) }})
	}},
	{name: "object changes, and the server does not know If-Match", modes: everyMode, like: s3test.Options{NoIfMatch: true}, names: victim, text: "had ETag", make: func(srv *s3test.Server, o hurt) {
		srv.Fault(s3test.Fault{Method: http.MethodGet, Key: victim, Times: 1, Before: func() { srv.Put("f", victim, o.of(storetest.Bytes(3<<20 + 1)[1:])) }})
	}},

	{name: "gzip cut", modes: unzipped, names: victim, text: "ends early", quick: "Pipe-Both", make: func(srv *s3test.Server, o hurt) {
		whole := o.of(faultData[victim])
		srv.Put("f", victim, whole[:len(whole)-1000])
	}},
	{name: "gzip with a wrong checksum", modes: unzipped, names: victim, text: "checksum", make: func(srv *s3test.Server, o hurt) {
		whole := o.of(faultData[victim])
		whole[len(whole)-6] ^= 1
		srv.Put("f", victim, whole)
	}},
	{name: "not gzip", modes: unzipped, names: victim, text: "gzip", make: replaced(victim, "label,x\n1,2\n")},

	{name: "manifest is not JSON", modes: notFast, kind: "ManifestFile", uri: "s3://f/m", make: replaced("m", "in/1\nin/2\n"), names: "m", text: "not a JSON array", quick: "File"},
	{name: "manifest ends early", modes: notFast, kind: "ManifestFile", uri: "s3://f/m", make: replaced("m", `[{"prefix": "s3://f/in/"}, "1", "2"`), names: "m", text: "does not end"},
	{name: "manifest without a prefix", modes: notFast, kind: "ManifestFile", uri: "s3://f/m", make: replaced("m", `["in/1", "in/2"]`), names: "m", text: `must be {"prefix": "s3://…"}`},
	{name: "manifest names a missing object", modes: notFast, kind: "ManifestFile", uri: "s3://f/m", make: replaced("m", `[{"prefix": "s3://f/in/"}, "1", "missing", "4"]`), names: "in/missing", text: "NoSuchKey"},
	{name: "manifest is missing", modes: notFast, kind: "ManifestFile", uri: "s3://f/none", make: replaced("m", ""), names: "none", text: "NoSuchKey"},
	{name: "augmented line without an attribute", modes: piped, kind: "AugmentedManifestFile", uri: "s3://f/a", names: "a", text: `line 2: has no attribute "label"`,
		make: replaced("a", `{"image-ref": "s3://f/in/1", "label": 1}`+"\n"+`{"image-ref": "s3://f/in/2"}`+"\n")},
	{name: "augmented line too long", modes: piped, kind: "AugmentedManifestFile", uri: "s3://f/a", names: "a", text: "line 2 has more than 4194304 bytes",
		make: replaced("a", `{"image-ref": "s3://f/in/1", "label": 1}`+"\n"+`{"image-ref": "s3://f/in/2", "label": "`+strings.Repeat("x", 5<<20)+`"}`+"\n")},
	{name: "augmented line names a missing object", modes: piped, kind: "AugmentedManifestFile", uri: "s3://f/a", names: "in/missing", text: "NoSuchKey",
		make: replaced("a", `{"image-ref": "s3://f/in/1", "label": 1}`+"\n"+`{"image-ref": "s3://f/in/missing", "label": 2}`+"\n")},

	// The reader's, which are no faults of the data.
	{name: "reader closes early", modes: piped, hp: []string{"pipe_limit", "100000"}, make: func(*s3test.Server, hurt) {}, requests: usual},
	{name: "reader exits while the pipe is full", modes: piped, hp: []string{"pipe_limit", "1", "pipe_exit", "1"}, make: func(s *s3test.Server, o hurt) { s.Put("f", "in/6", o.of(storetest.Bytes(32<<20))) }, requests: usual, quick: "Pipe-None"},
}

// ruined is one job with a fault.
type ruined struct {
	fault
	mode   string
	srv    *s3test.Server
	job    string
	proc   *proc
	gotten func(key string) []byte
}

func (f fault) begin(t *testing.T, mode string) *ruined {
	srv, env := storeLike(t, f.like)
	srv.MakeBucket("out")
	mode, wrapper, _ := strings.Cut(mode, "-")
	o := hurt{gzip: wrapper == "Gzip" || wrapper == "Both"}
	for k, data := range faultData {
		srv.Put("f", k, o.of(data))
	}
	f.make(srv, o)
	srv.Record()
	r := &ruined{fault: f, mode: mode, srv: srv, job: jobName("fault"), gotten: func(key string) []byte { b, _, _ := srv.Get("out", key); return b }}
	// On SIGTERM the script exits with 0: what failed must show whatever the exit code is (ruling 8).
	hp := append([]string{"channels", "sha256", "sigterm", "save", "swallow", "1"}, f.hp...)
	d := training(r.job, hp...)
	uri := "s3://f/in/"
	if f.uri != "" {
		uri = f.uri
	}
	c := channel("train", uri)
	c["InputMode"] = mode
	source := c["DataSource"].(doc)["S3DataSource"].(doc)
	if f.kind != "" {
		source["S3DataType"] = f.kind
	}
	if f.kind == "AugmentedManifestFile" {
		source["AttributeNames"] = []string{"image-ref", "label"}
	}
	if o.gzip {
		c["CompressionType"] = "Gzip"
	}
	if wrapper == "RecordIO" || wrapper == "Both" {
		c["RecordWrapperType"] = "RecordIO"
	}
	d["InputDataConfig"] = []doc{c}
	r.proc = begin(t, append(env, f.env...), "train", "--quiet", "--grace", "5s", d.file(t))
	return r
}

// check holds what must be so once the job has ended.
func (r *ruined) check(t *testing.T, res result) {
	most := r.requests
	if most == 0 {
		most = usual + attempts
		if r.mode == "FastFile" { // some reads ahead of the reader each have their own attempts
			most = usual + 24*attempts
		}
	}
	if n := len(r.srv.Requests()); n > most {
		t.Errorf("%d requests, want at most %d", n, most)
	}
	if n := r.srv.Uploads(); n != 0 {
		t.Errorf("%d uploads are open", n)
	}
	if inData := r.kind != "" || r.hp != nil || strings.Contains(r.name, "gzip"); inData == slices.ContainsFunc(r.srv.Requests(), func(q s3test.Request) bool { return q.Fault }) {
		t.Errorf("the server misbehaved: %v", !inData)
	}
	s := record(t, r.job)
	if r.names == "" {
		if res.code != 0 || s.Status != "Completed" {
			t.Fatalf("%s", res)
		}
		if !slices.Contains(r.hp, "pipe_exit") {
			if !strings.Contains(log(t, r.job), `"channels"`) {
				t.Error("the script does not print that it came to an end")
			}
			r.read(t, decode[map[string]readChannel](t, unpack(t, r.gotten("training/"+r.job+"/output/model.tar.gz"))["channels.json"])["train"])
		} else if len(s.Channels) != 1 || !strings.HasPrefix(s.Channels[0].Note, "closed early at byte ") {
			t.Errorf("the record says %+v", s.Channels)
		}
		return
	}
	object := "s3://f/" + r.names
	if res.code != 4 || s.Status != "Failed" || !strings.HasPrefix(s.FailureReason, "ClientError: Data download failed:") || !strings.Contains(s.FailureReason, object) {
		t.Errorf("%s, %s\n%s", s.Status, s.FailureReason, res)
	}
	if !strings.Contains(res.stderr, object) || !strings.Contains(res.stderr, `channel "train"`) || !strings.Contains(res.stderr, r.text) {
		t.Errorf("stderr does not name channel %q, object %s and %q:\n%s", "train", object, r.text, res.stderr)
	}
	r.noEnd(t)
}

// read compares what the container read with what is right.
func (r *ruined) read(t *testing.T, c readChannel) {
	keys := []string{"in/1", "in/2", victim, "in/4", "in/5"}
	if r.mode != "Pipe" {
		if len(c.Files) != len(keys) {
			t.Fatalf("%d files", len(c.Files))
		}
		for i, k := range keys {
			if f := c.Files[i]; f.Path != "train/"+strings.TrimPrefix(k, "in/") || f.SHA256 != sum(faultData[k]) || f.Error != "" {
				t.Errorf("%+v, want %s of %s", f, sum(faultData[k]), k)
			}
		}
		return
	}
	recordIO := len(c.Epochs) == 1 && c.Epochs[0].Records != nil
	var whole []byte
	for _, k := range keys {
		whole = append(whole, wrapped(faultData[k], recordIO)...)
	}
	if slices.Contains(r.hp, "pipe_limit") { // the head of the stream, and it may be wrapped
		head, other := sum(whole[:100_000]), []byte{}
		for _, k := range keys {
			other = append(other, wrapped(faultData[k], true)...)
		}
		if len(c.Epochs) != 1 || c.Epochs[0].SHA256 != head && c.Epochs[0].SHA256 != sum(other[:100_000]) {
			t.Errorf("%+v", c.Epochs)
		}
		return
	}
	h := sha256.Sum256(whole)
	if len(c.Epochs) != 1 || c.Epochs[0].SHA256 != hex.EncodeToString(h[:]) {
		t.Errorf("%d epochs: %.300v, want %x", len(c.Epochs), c.Epochs, h)
	}
}

// noEnd holds that the script saw no end of data that is not there (ruling 8). It prints what it read when it has come
// to an end.
func (r *ruined) noEnd(t *testing.T) {
	t.Helper()
	said := log(t, r.job)
	switch r.mode {
	case "File": // it never ran
		if strings.Contains(said, "started_ns") {
			t.Errorf("the container was started:\n%s", said)
		}
	case "Pipe":
		if strings.Contains(said, `"channels"`) {
			t.Errorf("the script saw an end:\n%.2000s", said)
		}
	case "FastFile":
		_, after, found := strings.Cut(said, `{"channels":`)
		if !found { // it was stopped before
			return
		}
		line, _, _ := strings.Cut(after, "\n")
		for _, f := range decode[map[string]readChannel](t, []byte(strings.TrimSuffix(line, "}")))["train"].Files {
			if want := sum(faultData["in/"+strings.TrimPrefix(f.Path, "train/")]); f.Error == "" && f.SHA256 != want {
				t.Errorf("%+v was taken for a whole file, want %s", f, want)
			} else if f.Error != "" && !strings.Contains(f.Error, "input/output error") {
				t.Errorf("%+v", f)
			}
		}
	}
}

// TestFaults is ruling 27: each fault in each mode that it can hit, what is mended with the right bytes, what is not with
// a sentence, and without a false end, a hang, an endless retry, or anything left behind.
func TestFaults(t *testing.T) {
	sameHost(t)
	for _, f := range faults {
		for _, mode := range f.modes {
			if !full && mode != f.quick {
				continue
			}
			t.Run(f.name+"/"+mode, func(t *testing.T) {
				t.Parallel() // most of their time they wait
				r := f.begin(t, mode)
				r.check(t, r.proc.waitFor(t, 3*commandTime))
			})
		}
	}
}

// TestDiskFull fills the file system that a job lies in, for real: in File mode with a file whose size the listing tells,
// and with one of a manifest, whose size nobody knows before; in Pipe mode with a record that must be kept until its
// length is known, and with an augmented manifest, which is kept for the epochs to come.
func TestDiskFull(t *testing.T) {
	for _, c := range []struct {
		name, mode, kind, uri string
		gzip                  bool
		names                 string
	}{
		{"File", "File", "S3Prefix", "s3://f/in/", false, "s3://f/in/1"},
		{"File of a manifest", "File", "ManifestFile", "s3://f/m", false, "s3://f/in/1"},
		{"Pipe with Gzip and RecordIO", "Pipe", "S3Prefix", "s3://f/in/", true, "s3://f/in/1"},
		{"Pipe of an augmented manifest", "Pipe", "AugmentedManifestFile", "s3://f/a", false, "s3://f/a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			sameHost(t)
			jobs := filepath.Join(w.root, "jobs")
			if err := unix.Mount("optml-e2e", jobs, "tmpfs", 0, "size=12m,mode=0755"); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := unix.Unmount(jobs, unix.MNT_DETACH); err != nil {
					t.Error(err)
				}
			})
			srv, env := store(t)
			srv.MakeBucket("out")
			big := bytes.Repeat(storetest.Bytes(1<<20), 20)
			kept := big
			if c.gzip {
				kept = zipped(map[string][]byte{"": big})[""]
			}
			srv.Put("f", "in/1", kept)
			srv.Put("f", "m", []byte(`[{"prefix": "s3://f/"}, "in/1"]`))
			srv.Put("f", "a", bytes.Repeat([]byte(`{"image-ref": "s3://f/in/1", "label": "`+strings.Repeat("x", 1<<20)+"\"}\n"), 20))
			ch := channel("train", c.uri)
			source := ch["DataSource"].(doc)["S3DataSource"].(doc)
			if source["S3DataType"] = c.kind; c.kind == "AugmentedManifestFile" {
				source["AttributeNames"] = []string{"image-ref", "label"}
			}
			ch["InputMode"] = c.mode
			if c.gzip {
				ch["CompressionType"], ch["RecordWrapperType"] = "Gzip", "RecordIO"
			}
			name := jobName("disk-full")
			d := training(name, "channels", "sha256", "sigterm", "save")
			d["InputDataConfig"] = []doc{ch}
			srv.Record()
			r := begin(t, env, "train", "--quiet", "--grace", "5s", d.file(t)).wait(t)
			s := record(t, name)
			if r.code != 4 || s.Status != "Failed" || s.FailureReason != "ClientError: Data download failed:Insufficient disk space" {
				t.Errorf("%s, %s\n%s", s.Status, s.FailureReason, r)
			}
			if !strings.Contains(r.stderr, `channel "train"`) || !strings.Contains(r.stderr, c.names) {
				t.Errorf("%s", r)
			}
			if strings.Contains(log(t, name), `"channels"`) {
				t.Errorf("the script saw an end:\n%s", log(t, name))
			}
			if n := len(srv.Requests()); n > usual {
				t.Errorf("%d requests", n)
			}
		})
	}
}

// TestFastFileReaderKilled: a reader that waits for a store is killed; its job ends, as its own failure, and the view goes.
func TestFastFileReaderKilled(t *testing.T) {
	sameHost(t)
	srv, env := store(t)
	srv.MakeBucket("out")
	srv.Put("f", victim, faultData[victim])
	srv.Fault(s3test.Fault{Method: http.MethodGet, Key: victim, HangAt: 1000})
	srv.Record()
	name := jobName("reader-killed")
	d := training(name, "channels", "sha256")
	c := channel("train", "s3://f/in/")
	c["InputMode"] = "FastFile"
	d["InputDataConfig"] = []doc{c}
	p := begin(t, env, "train", "--quiet", d.file(t))
	pid := running(t, name)
	eventually(t, "the read to be under way", func() bool {
		return slices.ContainsFunc(srv.Requests(), func(r s3test.Request) bool { return r.Key == victim })
	})
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	r := p.wait(t)
	if s := record(t, name); r.code != 3 || s.Status != "Failed" || s.FailureReason != "AlgorithmError: , exit code: 137" {
		t.Errorf("%s %s\n%s", s.Status, s.FailureReason, r)
	}
	if left := mountsBelow(filepath.Join(w.run, "mnt")); len(left) > 0 {
		t.Errorf("still mounted: %v", left)
	}
}
