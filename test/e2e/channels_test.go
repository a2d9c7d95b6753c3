//go:build e2e

package e2e

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/optml/optml/ledger"
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
