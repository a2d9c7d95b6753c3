//go:build e2e

package e2e

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/optml/optml/ledger"
	"github.com/optml/optml/objstore/s3test"
	"github.com/optml/optml/objstore/storetest"
)

// TestFastFileOwnerDies: D11, D12. The owner is killed while the container reads; the next command takes the mount away.
func TestFastFileOwnerDies(t *testing.T) {
	sameHost(t)
	put(t, "fast-dies", "in/x", string(storetest.Bytes(1<<20)))
	name := jobName("fast-dies")
	d := training(name, "channels", "sha256", "sleep", "1h")
	c := channel("train", "s3://fast-dies/in/")
	c["InputMode"] = "FastFile"
	d["InputDataConfig"] = []doc{c}
	p := begin(t, nil, "train", "--quiet", d.file(t))
	spoke(t, name)
	if n := len(mountsBelow(filepath.Join(w.run, "mnt"))); n != 1 {
		t.Fatalf("%d mounts while the container runs", n)
	}
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	p.wait(t)
	ok(t, "prune")
	if left := mountsBelow(filepath.Join(w.run, "mnt")); len(left) > 0 {
		t.Errorf("still mounted: %v", left)
	}
}

// fsChannel is a File channel over a directory of a file system.
func fsChannel(name, id, access, dir string) doc {
	return doc{"ChannelName": name, "DataSource": doc{"FileSystemDataSource": doc{
		"FileSystemId": id, "FileSystemAccessMode": access, "FileSystemType": "EFS", "DirectoryPath": dir}}}
}

// TestFileSystemChannels: FILE-13, IDC-2. Directories stand for file systems: one cannot be written, nor what is mounted
// below it; what is written to the other is in the user's directory. Its owner and modes stay.
func TestFileSystemChannels(t *testing.T) {
	sameHost(t)
	root, below := t.TempDir(), ""
	for _, d := range []string{"sets/a", "sets/a/below", "work"} {
		below = filepath.Join(root, "sets/a/below")
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mount("tmpfs", below, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(below, 0); err != nil {
			t.Error(err)
		}
	})
	for name, text := range map[string]string{"sets/a/x": "x", "sets/a/below/y": "y", "work/z": "z"} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Symlink("sets/a", filepath.Join(root, "latest")), os.Chown(filepath.Join(root, "work"), 1234, 1234), os.Chmod(filepath.Join(root, "work"), 0o750),
		os.Chown(filepath.Join(root, "work/z"), 1234, 1234)); err != nil {
		t.Fatal(err)
	}
	name := jobName("fs")
	d := training(name, "channels", "sha256", "layout", "dump", "write_input", "ro/new ro/below/new rw/new rw/z")
	d["InputDataConfig"] = []doc{fsChannel("ro", "fs-0123456789abcdef0", "ro", "/latest"), fsChannel("rw", "fs-00000001", "rw", "/")}
	ok(t, "train", "--quiet", "--user-writable", "--fs", "fs-0123456789abcdef0="+root, "--fs", "fs-00000001="+filepath.Join(root, "work"), d.file(t))
	files := modelOf(t, name)
	var read []string
	got := decode[map[string]readChannel](t, files["channels.json"])
	for _, c := range []string{"ro", "rw"} {
		for _, f := range got[c].Files {
			read = append(read, f.Path)
		}
	}
	if want := []string{"ro/below/y", "ro/x", "rw/z"}; !slices.Equal(slices.Sorted(slices.Values(read)), want) {
		t.Errorf("read %v, want %v", read, want)
	}
	written := decode[map[string]string](t, files["written.json"])
	for file, refused := range map[string]bool{"ro/new": true, "ro/below/new": true, "rw/new": false, "rw/z": false} {
		if e, tried := written[file]; !tried || refused != strings.Contains(e, "read-only file system") || !refused && e != "" {
			t.Errorf("write to %s: %q", file, e)
		}
	}
	for file, want := range map[string]string{"work/new": "tiny\n", "work/z": "tiny\n", "sets/a/x": "x"} {
		if b, err := os.ReadFile(filepath.Join(root, file)); err != nil || string(b) != want {
			t.Errorf("%s: %q, %v", file, b, err)
		}
	}
	for file, mode := range map[string]os.FileMode{"work": 0o750, "work/z": 0o640} {
		fi, err := os.Stat(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		if s := fi.Sys().(*syscall.Stat_t); s.Uid != 1234 || s.Gid != 1234 || fi.Mode().Perm() != mode {
			t.Errorf("%s belongs to %d:%d, mode %s", file, s.Uid, s.Gid, fi.Mode())
		}
	}
	l := decode[layout](t, files["layout.json"])
	if m := l.mounted(); !m["/opt/ml/input/data/ro"] || m["/opt/ml/input/data/rw"] {
		t.Errorf("mounts: %v", m)
	}
	if got, want := l.Config["inputdataconfig.json"].Text, `"ro":{"TrainingInputMode":"File","S3DistributionType":"FullyReplicated","RecordWrapperType":"None"}`; !strings.Contains(got, want) {
		t.Errorf("inputdataconfig.json: %s", got)
	}
	if s := record(t, name); !slices.ContainsFunc(s.Channels, func(x ledger.ChannelOfHost) bool {
		return x.Channel == "ro" && x.Mode == "File" && strings.Contains(x.Note, "mounted ro")
	}) {
		t.Errorf("the record says nothing of the mount: %+v", s.Channels)
	}

	// What is not there ends the job before the image runs.
	name = jobName("fs-none")
	d = training(name)
	d["InputDataConfig"] = []doc{fsChannel("train", "fs-00000001", "ro", "/none")}
	r := optml(t, "train", "--quiet", "--fs", "fs-00000001="+root, d.file(t))
	if r.code != 4 || !strings.Contains(r.stderr, "ClientError: Data download failed:") || !strings.Contains(r.stderr, filepath.Join(root, "none")) {
		t.Errorf("%s", r)
	}
}

// TestFileSystemOwnerDies: D11, D12. The owner is killed while a user's directory is mounted; whoever clears up leaves it
// as it is.
func TestFileSystemOwnerDies(t *testing.T) {
	sameHost(t)
	root := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(root, "empty"), 0o755), os.WriteFile(filepath.Join(root, "x"), []byte("x"), 0o644)); err != nil {
		t.Fatal(err)
	}
	name := jobName("fs-dies")
	d := training(name, "sleep", "1h")
	d["InputDataConfig"] = []doc{fsChannel("train", "fs-00000001", "rw", "/"), fsChannel("empty", "fs-00000001", "rw", "/empty")}
	p := begin(t, nil, "train", "--quiet", "--fs", "fs-00000001="+root, d.file(t))
	spoke(t, name)
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	p.wait(t)
	ok(t, "prune")
	ok(t, "rm", name)
	if fi, err := os.Stat(filepath.Join(root, "empty")); err != nil || !fi.IsDir() {
		t.Errorf("an empty directory of the user's: %v", err)
	}
	if b, err := os.ReadFile(filepath.Join(root, "x")); err != nil || string(b) != "x" {
		t.Errorf("a file of the user's: %q, %v", b, err)
	}
}

// readChannel is what the tiny image says that it read of a channel.
type readChannel struct {
	Mode   string            `json:"mode"`
	Files  []readInput       `json:"files"`
	Epochs []readInput       `json:"epochs"`
	Writes map[string]string `json:"writes"`
}

type readInput struct {
	Path    string   `json:"path"`
	Size    int64    `json:"size"`
	SHA256  string   `json:"sha256"`
	Perm    string   `json:"perm"`
	Records []string `json:"records"`
	Error   string   `json:"error"`
}

// pipeChannel is a Pipe channel over one source.
func pipeChannel(name, kind, uri, compression, wrapper string) doc {
	c := channel(name, uri)
	c["InputMode"], c["CompressionType"], c["RecordWrapperType"] = "Pipe", compression, wrapper
	source := c["DataSource"].(doc)["S3DataSource"].(doc)
	source["S3DataType"] = kind
	if kind == "AugmentedManifestFile" {
		source["AttributeNames"] = []string{"image-ref", "label"}
	}
	return c
}

// members is a gzip file of two members.
func members(t *testing.T, data []byte) string {
	t.Helper()
	var b bytes.Buffer
	for _, part := range [][]byte{data[:len(data)/2], data[len(data)/2:]} {
		z := gzip.NewWriter(&b)
		if _, err := z.Write(part); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

// TestPipeEarlyAndUnread: PIPE-4, PIPE-5. One job closes its epochs early, another reads nothing; both end well, and the
// record says so. File goes with Pipe.
func TestPipeEarlyAndUnread(t *testing.T) {
	sameHost(t)
	put(t, "pipe-early", "in/a", string(storetest.Bytes(5<<20)), "file/b", "b")
	piped := pipeChannel("train", "S3Prefix", "s3://pipe-early/in/", "None", "None")
	for _, c := range []struct {
		hp   []string
		note string
	}{
		{[]string{"channels", "sha256", "epochs", "3", "pipe_limit", "100000"}, "closed early at byte 100000 of epoch 2"},
		{nil, "never opened"},
	} {
		name := jobName("pipe-early")
		d := training(name, c.hp...)
		d["InputDataConfig"] = []doc{piped, channel("side", "s3://pipe-early/file/")}
		ok(t, "train", "--quiet", d.file(t))
		if s := record(t, name); !slices.ContainsFunc(s.Channels, func(x ledger.ChannelOfHost) bool { return x.Channel == "train" && x.Note == c.note }) {
			t.Errorf("%q is not in the record: %+v", c.note, s.Channels)
		}
		if c.hp == nil {
			continue
		}
		got := decode[map[string]readChannel](t, modelOf(t, name)["channels.json"])["train"]
		sum := sha256.Sum256(storetest.Bytes(5 << 20)[:100000])
		for e, in := range got.Epochs {
			if in.SHA256 != hex.EncodeToString(sum[:]) {
				t.Errorf("epoch %d: %+v", e, in)
			}
		}
	}
}

// TestPipeBroken: ruling 8. The script reads a stream that breaks: it sees no end, and the job fails with the object's
// name although the script would have ended well.
func TestPipeBroken(t *testing.T) {
	sameHost(t)
	whole := members(t, storetest.Bytes(2<<20))
	put(t, "pipe-broken", "in/1", whole, "in/2", whole[:len(whole)-1000], "in/3", whole)
	for _, sigterm := range []string{"default", "save"} {
		name := jobName("pipe-broken")
		d := training(name, "channels", "sha256", "sigterm", sigterm)
		d["InputDataConfig"] = []doc{pipeChannel("train", "S3Prefix", "s3://pipe-broken/in/", "Gzip", "None")}
		r := optml(t, "train", "--quiet", "--grace", "5s", d.file(t))
		if r.code == 0 || !strings.Contains(r.stderr, "ClientError: Data download failed:") || !strings.Contains(r.stderr, "s3://pipe-broken/in/2") {
			t.Errorf("%s", r)
		}
		if files := object(t, "out", "training/"+name+"/output/model.tar.gz"); files != nil && strings.Contains(string(unpack(t, files)["channels.json"]), `"epochs"`) {
			t.Errorf("the script saw the end of a broken stream: %s", unpack(t, files)["channels.json"])
		}
	}
}

// TestFilePrefixes: FILE-2, FILE-3, FILE-4. The prefix is a string, and what lies where follows from it.
func TestFilePrefixes(t *testing.T) {
	sameHost(t)
	put(t, "file-prefixes", "data/train/a/b.csv", "1", "data/train-01/b.csv", "2", "data/train.csv", "3", "other", "4")
	cells := map[string]struct {
		uri  string
		want []string
	}{
		"name":   {"s3://file-prefixes/data/train", []string{"a/b.csv 1", "train-01/b.csv 2", "train.csv 3"}},
		"folder": {"s3://file-prefixes/data/train/", []string{"a/b.csv 1"}},
		"object": {"s3://file-prefixes/data/train.csv", []string{"train.csv 3"}},
		"above":  {"s3://file-prefixes/data", []string{"train-01/b.csv 2", "train.csv 3", "train/a/b.csv 1"}},
		"bucket": {"s3://file-prefixes", []string{"data/train-01/b.csv 2", "data/train.csv 3", "data/train/a/b.csv 1", "other 4"}},
	}
	name := jobName("prefixes")
	d := training(name, "channels", "sha256")
	var list []doc
	for n, c := range cells {
		list = append(list, channel(n, c.uri))
	}
	d["InputDataConfig"] = list
	ok(t, "train", "--quiet", d.file(t))
	got := decode[map[string]readChannel](t, modelOf(t, name)["channels.json"])
	for n, c := range cells {
		var have, want []string
		for _, f := range got[n].Files {
			have = append(have, strings.TrimPrefix(f.Path, n+"/")+" "+f.SHA256)
		}
		for _, x := range c.want {
			path, text, _ := strings.Cut(x, " ")
			want = append(want, path+" "+sum([]byte(text)))
		}
		slices.Sort(have)
		if slices.Sort(want); !slices.Equal(have, want) {
			t.Errorf("%s: %q\nwant %q", c.uri, have, want)
		}
	}
}

// TestPipeReaders: PIPE-3, PIPE-7, SHARD-3. A reader that blocks, one that opens with O_NONBLOCK and reads when select
// says so, and one that opens each epoch while it still reads the one before; the store is slow to answer, so that whoever
// takes "nothing yet" for the end reads nothing. A host without data reads an end, each epoch.
func TestPipeReaders(t *testing.T) {
	sameHost(t)
	srv, env := store(t)
	srv.MakeBucket("out")
	data := storetest.Bytes(3 << 20)
	for i := range 3 {
		srv.Put("readers", "in/"+string(rune('a'+i)), data[i<<20:(i+1)<<20])
	}
	srv.Put("readers", "one/a", []byte("a"))
	srv.Fault(s3test.Fault{Method: "GET", Key: "in/", Latency: 200 * time.Millisecond})
	for _, reader := range []string{"blocking", "select", "overlapping"} {
		name := jobName("readers")
		d := training(name, "channels", "sha256", "epochs", "3", "pipe_reader", reader)
		d["ResourceConfig"].(doc)["InstanceCount"] = 3
		share := pipeChannel("share", "S3Prefix", "s3://readers/one/", "None", "None")
		share["DataSource"].(doc)["S3DataSource"].(doc)["S3DataDistributionType"] = "ShardedByS3Key"
		d["InputDataConfig"] = []doc{pipeChannel("train", "S3Prefix", "s3://readers/in/", "None", "None"), share}
		if r := begin(t, env, "train", "--quiet", "--hosts", "algo-1,algo-2,algo-3", "--current-host", "algo-3", d.file(t)).wait(t); r.code != 0 {
			t.Errorf("%s: %s", reader, r)
			continue
		}
		b, _, _ := srv.Get("out", "training/"+name+"/output/model.tar.gz")
		got := decode[map[string]readChannel](t, unpack(t, b)["channels.json"])
		for channel, want := range map[string]string{"train": sum(data), "share": sum(nil)} {
			if n := len(got[channel].Epochs); n != 3 {
				t.Errorf("%s, %s: %d epochs", reader, channel, n)
			}
			for e, in := range got[channel].Epochs {
				if in.SHA256 != want {
					t.Errorf("%s, %s, epoch %d: %+v, want %s", reader, channel, e, in, want)
				}
			}
		}
	}
}

// TestFileReadersAndWriters: TREE-1, FF-1, FF-6. Files are read plainly, as mappings and at random, whether they lie there
// or come when they are read. A File channel is the container's own, to be changed without touching the source; a
// FastFile channel refuses every change.
func TestFileReadersAndWriters(t *testing.T) {
	sameHost(t)
	source := t.TempDir()
	want := map[string]string{}
	for i, n := range []int{0, 1, 100_000, 5<<20 + 1} {
		path := string(rune('a' + i))
		put(t, "changes", "in/"+path, string(storetest.Bytes(n)))
		if err := os.WriteFile(filepath.Join(source, path), storetest.Bytes(n), 0o644); err != nil {
			t.Fatal(err)
		}
		want[path] = sum(storetest.Bytes(n))
	}
	before := contents(t, source)
	for _, reader := range []string{"plain", "mmap", "random"} {
		name := jobName("changes")
		d := training(name, "channels", "sha256", "file_reader", reader, "writes", "1", "layout", "dump")
		var list []doc
		for n, uri := range map[string]string{"file": "s3://changes/in/", "file-dir": source, "fast": "s3://changes/in/", "fast-dir": source} {
			c := channel(n, uri)
			if strings.HasPrefix(n, "fast") {
				c["InputMode"] = "FastFile"
			}
			list = append(list, c)
		}
		d["InputDataConfig"] = list
		ok(t, "train", "--quiet", d.file(t))
		files := modelOf(t, name)
		for n, c := range decode[map[string]readChannel](t, files["channels.json"]) {
			have := map[string]string{}
			for _, f := range c.Files {
				have[strings.TrimPrefix(f.Path, n+"/")] = f.SHA256
			}
			if !maps.Equal(have, want) {
				t.Errorf("%s, %s: %v, want %v", reader, n, have, want)
			}
			if len(c.Writes) != 7 {
				t.Errorf("%s: attempts %v", n, c.Writes)
			}
			for what, err := range c.Writes {
				if fast := c.Mode == "FastFile"; fast && err != "read-only file system" || !fast && err != "" {
					t.Errorf("%s: %s: %q", n, what, err)
				}
			}
		}
		seen := decode[layout](t, files["layout.json"])
		l := seen.mounted()
		if !l["/opt/ml/input/data/fast"] || !l["/opt/ml/input/data/fast-dir"] {
			t.Errorf("the FastFile channels are not mounted read-only: %v", l)
		}
	}
	if now := contents(t, source); !maps.Equal(now, before) {
		t.Errorf("the source was %v, is %v", before, now)
	}
}

// contents are the files of a directory with their modes and hashes.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, p := range tree(dir, nil) {
		fi, err := os.Lstat(filepath.Join(dir, p))
		if err != nil {
			t.Fatal(err)
		}
		out[p] = fi.Mode().String() + " " + sum(read(filepath.Join(dir, p)))
	}
	return out
}
