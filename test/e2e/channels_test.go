//go:build e2e

package e2e

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/optml/optml/ledger"
	"github.com/optml/optml/objstore/storetest"
)

// TestFastFileChannels: FF-1, ruling 26. What a container reads through the view is what File mode gives.
func TestFastFileChannels(t *testing.T) {
	sameHost(t)
	want := map[string]string{}
	add := func(k string, data []byte) {
		put(t, "fast", "in/"+k, string(data))
		sum := sha256.Sum256(data)
		want[k] = hex.EncodeToString(sum[:])
	}
	for i, n := range []int{0, 1, 65535, 65536, 65537, 4<<20 - 1, 4 << 20, 4<<20 + 1} {
		add(fmt.Sprintf("size/%d", i), storetest.Bytes(n))
	}
	for i, k := range storetest.OddKeys {
		add(k, storetest.Bytes(100+i))
	}
	for i := range 40 {
		add(fmt.Sprintf("many/%02d", i), storetest.Bytes(i))
	}
	name := jobName("fast")
	d := training(name, "channels", "sha256", "layout", "dump")
	c := channel("train", "s3://fast/in")
	c["InputMode"] = "FastFile"
	d["InputDataConfig"] = []doc{c, channel("side", "s3://fast/in/many/")}
	ok(t, "train", "--quiet", d.file(t))
	files := modelOf(t, name)
	got := map[string]string{}
	for _, f := range decode[map[string]readChannel](t, files["channels.json"])["train"].Files {
		got[strings.TrimPrefix(f.Path, "train/")] = f.SHA256
	}
	if !maps.Equal(got, want) {
		t.Errorf("read %d files: %v\nwant %v", len(got), got, want)
	}
	if l := decode[layout](t, files["layout.json"]); !l.mounted()["/opt/ml/input/data/train"] {
		t.Errorf("the channel is not mounted read-only: %v", l.mounted())
	}
}

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
	Mode  string `json:"mode"`
	Files []struct {
		Path   string `json:"path"`
		SHA256 string `json:"sha256"`
	} `json:"files"`
	Epochs []struct {
		Path   string `json:"path"`
		Size   int64  `json:"size"`
		SHA256 string `json:"sha256"`
		Perm   string `json:"perm"`
	} `json:"epochs"`
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

// wrapped is one object as a reader must get it, made by hand from the contract's table.
func wrapped(data []byte, wrapper string) []byte {
	if wrapper != "RecordIO" {
		return data
	}
	out := binary.LittleEndian.AppendUint32([]byte{0x0a, 0x23, 0xd7, 0xce}, uint32(len(data)))
	return append(append(out, data...), make([]byte, (4-len(data)%4)%4)...)
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

// TestPipeChannels is every legal cell of Pipe mode in one job of twelve channels, over two epochs, on the data of
// ruling 26: what the container read has the hash of what is computed here from the objects.
func TestPipeChannels(t *testing.T) {
	sameHost(t)
	plain := map[string][]byte{}
	for i, n := range []int{0, 1, 65535, 65536, 65537, 4<<20 - 1, 4 << 20, 4<<20 + 1} {
		plain[fmt.Sprintf("size/%d", i)] = storetest.Bytes(n)
	}
	for i, k := range storetest.OddKeys {
		plain[k] = storetest.Bytes(100 + i)
	}
	for i := range 40 {
		plain[fmt.Sprintf("many/%02d", i)] = storetest.Bytes(i)
	}
	keys := slices.Sorted(maps.Keys(plain))
	for k, data := range plain {
		put(t, "pipe", "None/"+k, string(data), "Gzip/"+k, members(t, data))
	}
	var channels []doc
	want := map[string]string{}
	for _, compression := range []string{"None", "Gzip"} {
		prefix := "s3://pipe/" + compression + "/"
		names, _ := json.Marshal([]any{map[string]string{"prefix": prefix + "size/"}, "7", "0", "5", "7"})
		var lines strings.Builder
		for i, k := range []string{"size/3", "size/0", "size/6"} {
			fmt.Fprintf(&lines, `{"label": %d, "other": "x", "image-ref": "%s%s"}`+"\n", i, prefix, k)
		}
		put(t, "pipe-manifests", compression+".manifest", string(names), compression+".jsonl", lines.String())
		for _, wrapper := range []string{"None", "RecordIO"} {
			for _, kind := range []string{"S3Prefix", "ManifestFile", "AugmentedManifestFile"} {
				h := sha256.New()
				uri := prefix
				switch kind {
				case "S3Prefix":
					for _, k := range keys {
						h.Write(wrapped(plain[k], wrapper))
					}
				case "ManifestFile":
					uri = "s3://pipe-manifests/" + compression + ".manifest"
					for _, k := range []string{"7", "0", "5", "7"} {
						h.Write(wrapped(plain["size/"+k], wrapper))
					}
				case "AugmentedManifestFile":
					uri = "s3://pipe-manifests/" + compression + ".jsonl"
					for i, k := range []string{"size/3", "size/0", "size/6"} {
						h.Write(wrapped(plain[k], wrapper))
						h.Write(wrapped(fmt.Append(nil, i), wrapper))
					}
				}
				name := fmt.Sprintf("%s-%s-%s", kind, compression, wrapper)
				want[name] = hex.EncodeToString(h.Sum(nil))
				channels = append(channels, pipeChannel(name, kind, uri, compression, wrapper))
			}
		}
	}
	name := jobName("pipe")
	d := training(name, "channels", "sha256", "epochs", "2")
	d["InputDataConfig"] = channels
	ok(t, "train", "--quiet", d.file(t))
	got := decode[map[string]readChannel](t, modelOf(t, name)["channels.json"])
	if len(got) != len(want) {
		t.Errorf("%d channels, want %d", len(got), len(want))
	}
	for n, c := range got {
		if c.Mode != "Pipe" || len(c.Epochs) != 2 {
			t.Fatalf("%s: mode %s, %d epochs", n, c.Mode, len(c.Epochs))
		}
		for e, in := range c.Epochs {
			if in.Path != fmt.Sprintf("%s_%d", n, e) || in.Perm != "prw-r--r--" || in.SHA256 != want[n] {
				t.Errorf("%s, epoch %d: %+v, want %s", n, e, in, want[n])
			}
		}
	}
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
