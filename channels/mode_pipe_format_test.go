package channels

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/optml/optml/dataset"
	"github.com/optml/optml/framing"
	"github.com/optml/optml/objstore"
	"github.com/optml/optml/objstore/s3test"
	"github.com/optml/optml/objstore/storetest"
)

// wrapped is what a reader must get of one object, made by hand from the contract's table of RecordIO.
func wrapped(data []byte, wrapper string) []byte {
	if wrapper != "RecordIO" {
		return data
	}
	out := append([]byte{0x0a, 0x23, 0xd7, 0xce}, binary.LittleEndian.AppendUint32(nil, uint32(len(data)))...)
	out = append(out, data...)
	for len(out)%4 != 0 {
		out = append(out, 0)
	}
	return out
}

// zipped is data as gzip files are that were made by appending: two members.
func zipped(data []byte) []byte {
	var b bytes.Buffer
	for _, part := range [][]byte{data[:len(data)/2], data[len(data)/2:]} {
		z, _ := gzip.NewWriterLevel(&b, gzip.BestSpeed)
		z.Write(part)
		z.Close()
	}
	return b.Bytes()
}

// letters is text that gzip can make smaller.
func letters(n int) []byte {
	block := []byte(base64.StdEncoding.EncodeToString(storetest.Bytes(3000)))
	return append(make([]byte, 0, n), bytes.Repeat(block, n/len(block)+1)[:n]...)
}

// TestPipeFormats is every source with every wrapping on the data of ruling 26: PIPE-9, PIPE-10, PIPE-11, AUG-2 to AUG-4,
// AUG-7, FILE-5 (folder markers give no record), FILE-9 (a manifest's order, and twice what it names twice).
func TestPipeFormats(t *testing.T) {
	for _, compression := range []string{"None", "Gzip"} {
		srv := s3test.New(s3test.Options{PageSize: 7})
		plain := map[string][]byte{}
		put := func(key string, data []byte) {
			plain[key] = data
			if compression == "Gzip" {
				data = zipped(data)
			}
			srv.Put("bucket", key, data)
		}
		for i, n := range []int{0, 1, 2, 3, 4, 65535, 65536, 65537, 1<<20 - 1, 1 << 20, 1<<20 + 1, 5<<20 + 3} {
			put(fmt.Sprintf("in/size/%02d", i), letters(n))
		}
		for i, k := range storetest.OddKeys {
			put("in/"+k, storetest.Bytes(100+i))
		}
		srv.Put("bucket", "in/", nil)
		srv.Put("bucket", "in/empty/", nil)
		keys := make([]string, 0, len(plain))
		for k := range plain {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		srv.Put("bucket", "m/manifest", []byte(`[{"prefix":"s3://bucket/in/size/"},"10","00","11","00","05"]`))
		srv.Put("bucket", "m/augmented", []byte(`{"label":1,"name":"ü \"x\"","image-ref":"s3://bucket/in/size/11","more":2}`+"\n"+
			`{"image-ref":"s3://bucket/in/size/00","meta":{ "a" : [1, 2] },"name":"","label":0.50}`))
		op := s3(t, srv)
		for _, wrapper := range []string{"None", "RecordIO"} {
			w := func(items ...[]byte) []byte {
				var out []byte
				for _, it := range items {
					out = append(out, wrapped(it, wrapper)...)
				}
				return out
			}
			size := func(i int) []byte { return plain[fmt.Sprintf("in/size/%02d", i)] }
			var inOrder [][]byte
			for _, k := range keys {
				inOrder = append(inOrder, plain[k])
			}
			for _, c := range []struct {
				kind, uri string
				want      []byte
				objects   int64
			}{
				{"S3Prefix", "s3://bucket/in/", w(inOrder...), int64(len(keys))},
				{"ManifestFile", "s3://bucket/m/manifest", w(size(10), size(0), size(11), size(0), size(5)), 5},
				{"AugmentedManifestFile", "s3://bucket/m/augmented", w(size(11), []byte("1"), []byte(`ü "x"`), size(0), []byte("0.50"), nil), 2},
			} {
				t.Run(c.kind+" "+compression+" "+wrapper, func(t *testing.T) {
					ch := with(pipeChannel(c.uri), compression, wrapper)
					ch.Source.Type = c.kind
					if c.kind == "AugmentedManifestFile" {
						ch.Source.AttributeNames = []string{"image-ref", "label", "name"} // not the lines' order (AUG-2)
					}
					r := serve(t, ch, Config{Opener: op, Window: 8 << 20})
					for e := range 2 {
						r.reads(fmt.Sprint("epoch ", e), e, c.want)
					}
					until(t, "objects are counted", func() bool { return r.Stats().Objects == 2*c.objects })
				})
			}
		}
	}
}

// TestPipeRecordVectors holds the contract's test vectors of RecordIO.
func TestPipeRecordVectors(t *testing.T) {
	op := opener(t, objstore.Options{S3Dir: tree(t, map[string]string{"b/in/1": "1", "b/in/2": "abcd", "b/in/3": ""})})
	r := serve(t, with(pipeChannel("s3://b/in/"), "None", "RecordIO"), Config{Opener: op})
	want := "0a23d7ce 01000000 31000000 0a23d7ce 04000000 61626364 0a23d7ce 00000000"
	if got := fmt.Sprintf("%x", r.readAll(0)); got != strings.ReplaceAll(want, " ", "") {
		t.Errorf("%s\nwant %s", got, want)
	}
}

// TestPipeShuffle: each epoch has an order of its own, the same for the same seed; shares of hosts are disjoint and
// complete in each epoch; an augmented manifest's lines stay whole (AUG-7).
func TestPipeShuffle(t *testing.T) {
	files := map[string]string{}
	var manifest strings.Builder
	for i := range 30 {
		files[fmt.Sprintf("b/in/%02d", i)] = fmt.Sprintf("%02d;", i)
		fmt.Fprintf(&manifest, `{"n":%d,"x-ref":"s3://b/in/%02d"}`+"\n", i+10, i)
	}
	files["b/manifest"] = manifest.String()
	op := opener(t, objstore.Options{S3Dir: tree(t, files)})
	for _, kind := range []string{"S3Prefix", "AugmentedManifestFile"} {
		epochs := func(seed int64, rank, hosts int) []string {
			ch := pipeChannel("s3://b/in/")
			if kind != "S3Prefix" {
				ch.Source.Type, ch.Source.URI, ch.Source.AttributeNames = kind, "s3://b/manifest", []string{"x-ref", "n"}
			}
			ch.ShuffleSeed = &seed
			if hosts > 1 {
				ch.Source.Distribution = "ShardedByS3Key"
			}
			r := serve(t, ch, Config{Opener: op, Rank: rank, Hosts: hosts})
			return []string{string(r.readAll(0)), string(r.readAll(1)), string(r.readAll(2))}
		}
		units := func(s string) []string {
			n := len("00;10")
			if kind == "S3Prefix" {
				n = len("00;")
			}
			var out []string
			for ; s != ""; s = s[n:] {
				out = append(out, s[:n])
			}
			return out
		}
		a, b, other := epochs(7, 0, 1), epochs(7, 0, 1), epochs(8, 0, 1)
		if !slices.Equal(a, b) {
			t.Errorf("%s: one seed gives two orders", kind)
		}
		if a[0] == a[1] || a[1] == a[2] || a[0] == other[0] {
			t.Errorf("%s: orders repeat: %q", kind, a)
		}
		var shares [3][]string
		for rank := range 3 {
			for e, s := range epochs(7, rank, 3) {
				shares[e] = append(shares[e], units(s)...)
			}
		}
		for e, s := range a {
			all := units(s)
			slices.Sort(all)
			slices.Sort(shares[e])
			if len(slices.Compact(slices.Clone(all))) != 30 || !slices.Equal(all, shares[e]) {
				t.Errorf("%s, epoch %d: all %q\nshares %q", kind, e, all, shares[e])
			}
		}
	}
}

// TestPipeBadData: PIPE-10, ruling 8. What is no gzip, or not whole, ends the job with the key's name and no end of data,
// wrapped or not.
func TestPipeBadData(t *testing.T) {
	whole := zipped(letters(300_000))
	damaged := bytes.Clone(whole)
	damaged[len(damaged)/4] ^= 0x55
	for _, c := range []struct {
		name    string
		data    []byte
		is      error
		wrapper string
	}{
		{"not gzip", []byte("plain text"), dataset.ErrGzip, "None"},
		{"truncated", whole[:len(whole)-100], dataset.ErrGzip, "None"},
		{"truncated between members", append(bytes.Clone(whole), 0x1f, 0x8b), dataset.ErrGzip, "None"},
		{"damaged", damaged, dataset.ErrGzip, "None"},
		{"truncated record", whole[:len(whole)-100], dataset.ErrGzip, "RecordIO"},
	} {
		t.Run(c.name, func(t *testing.T) {
			op := opener(t, objstore.Options{S3Dir: tree(t, map[string]string{
				"b/in/1": string(zipped([]byte("good"))), "b/in/2": string(c.data), "b/in/3": string(zipped([]byte("never")))})})
			r := serve(t, with(pipeChannel("s3://b/in/"), "Gzip", c.wrapper), Config{Opener: op, Window: 4 << 20})
			f := r.open(0)
			var n int
			broken := make(chan struct{})
			go func() { // a reader keeps up with what comes before the damage
				defer close(broken)
				n = noEndUntil(t, f, r.done)
			}()
			err := r.ended()
			<-broken
			e, ok := errors.AsType[*dataset.Error](err)
			if !ok || !errors.Is(err, c.is) || !strings.HasSuffix(e.Object, "/in/2") || !strings.Contains(e.Detail(), "in/2") {
				t.Errorf("Serve: %v", err)
			}
			good := wrapped([]byte("good"), c.wrapper)
			if c.wrapper == "RecordIO" && n > len(good) {
				t.Errorf("%d bytes were given, there are %d before the broken record", n, len(good))
			}
		})
	}
}

// TestPipeLargeRecord: a record whose length is not known before it was unpacked goes through a file, which has no name.
func TestPipeLargeRecord(t *testing.T) {
	files, want := map[string]string{}, []byte(nil)
	for i, n := range []int{held + 1, 10, 3 * held, held, 0} {
		data := letters(n)
		files[fmt.Sprintf("b/in/%d", i)] = string(zipped(data))
		want = append(want, wrapped(data, "RecordIO")...)
	}
	temp := t.TempDir()
	r := serve(t, with(pipeChannel("s3://b/in/"), "Gzip", "RecordIO"), Config{Opener: opener(t, objstore.Options{S3Dir: tree(t, files)}), TempDir: temp, Window: 4 << 20})
	r.reads("epoch", 0, want)
	if left := read(t, temp); len(left) != 0 {
		t.Errorf("left: %d files", len(left))
	}
}

// TestPipeTooLong: ruling 9. An object that no record can hold is refused by name, before a byte of it is sent; one whose
// length shows only while it is unpacked, as soon as it does.
func TestPipeTooLong(t *testing.T) {
	dir := tree(t, map[string]string{"b/in/1": "x", "b/in/2": ""})
	if err := os.Truncate(filepath.Join(dir, "b/in/2"), framing.MaxRecordIO+1); err != nil {
		t.Fatal(err)
	}
	r := serve(t, with(pipeChannel("s3://b/in/"), "None", "RecordIO"), Config{Opener: opener(t, objstore.Options{S3Dir: dir}), Window: 1 << 20})
	f := r.open(0)
	e, ok := errors.AsType[*dataset.Error](r.ended())
	if !ok || !errors.Is(e, framing.ErrTooLong) || e.Object != "s3://b/in/2" {
		t.Errorf("Serve: %v", r.err)
	}
	if n := noEnd(t, f); n > 12 {
		t.Errorf("%d bytes", n)
	}
	var out bytes.Buffer
	x := &records{w: bufferSink{&out}, keeps: true, size: framing.MaxRecordIO}
	if err := x.add(dataset.Piece{Data: []byte{1}, Size: -1, Last: true}); !errors.Is(err, framing.ErrTooLong) || out.Len() > 0 {
		t.Errorf("%v, %d bytes", err, out.Len())
	}
}

// TestPipeMagic: ruling 9. What looks like a header inside of an object stays what it is.
func TestPipeMagic(t *testing.T) {
	data, _ := base64.StdEncoding.DecodeString("CiPXzgojys4KI9fOCiPXzg==")
	op := opener(t, objstore.Options{S3Dir: tree(t, map[string]string{"b/in/1": string(data)})})
	r := serve(t, with(pipeChannel("s3://b/in/"), "None", "RecordIO"), Config{Opener: op})
	r.reads("record", 0, wrapped(data, "RecordIO"))
}

// bufferSink is a sink of bytes alone.
type bufferSink struct{ *bytes.Buffer }

func (b bufferSink) splice(f *os.File, n int64) error {
	_, err := io.CopyN(b, f, n)
	return err
}

// TestPipeLocalFiles: PIPE-9, PIPE-11. Files of this machine go into the pipe without a copy: the bytes are the same for
// every size around the bounds, wrapped or not, and one that has changed since the listing, or changes under way, is no
// end of data (ruling 8).
func TestPipeLocalFiles(t *testing.T) {
	for _, wrapper := range []string{"None", "RecordIO"} {
		files := map[string]string{}
		var want []byte
		for i, n := range []int{0, 1, 64<<10 - 1, 64 << 10, 64<<10 + 1, 1<<20 + 3, 5<<20 + 1} {
			data := storetest.Bytes(n)
			files[fmt.Sprintf("b/in/%d", i)] = string(data)
			want = append(want, wrapped(data, wrapper)...)
		}
		dir := tree(t, files)
		r := serve(t, with(pipeChannel("s3://b/in/"), "None", wrapper), Config{Opener: opener(t, objstore.Options{S3Dir: dir})})
		for epoch := range 2 {
			r.reads(wrapper, epoch, want)
		}
		if s := r.Stats(); s.Bytes != 2*int64(len(want)) || s.Objects != 14 {
			t.Errorf("%+v", s)
		}
		f := r.open(2)
		if _, err := io.ReadFull(f, make([]byte, 100_000)); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(filepath.Join(dir, "b/in/6"), 4<<20); err != nil {
			t.Fatal(err)
		}
		noEndUntil(t, f, r.done)
		e, ok := errors.AsType[*dataset.Error](r.ended())
		if !ok || !errors.Is(e, objstore.ErrChanged) || e.Object != "s3://b/in/6" {
			t.Errorf("%s: %v", wrapper, e)
		}
	}
}

func (b bufferSink) drain(x dataset.Splicer, n int64) error {
	return errors.New("nobody drains here")
}
