package channels

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/optml/optml/dataset"
	"github.com/optml/optml/objstore"
	"github.com/optml/optml/objstore/s3test"
	"github.com/optml/optml/objstore/storetest"
)

// s3 starts srv and returns an opener for it that retries without waiting long.
func s3(t testing.TB, srv *s3test.Server) objstore.Opener {
	t.Helper()
	tr := http.DefaultTransport.(*http.Transport).Clone()
	tr.MaxIdleConnsPerHost, tr.DisableCompression = 64, true
	t.Cleanup(tr.CloseIdleConnections)
	return s3with(t, srv, objstore.S3Options{Transport: tr})
}

// spliced is s3 whose large bodies go into pipes without a copy.
func spliced(t testing.TB, srv *s3test.Server) objstore.Opener {
	t.Helper()
	return s3with(t, srv, objstore.S3Options{Near: time.Hour})
}

func s3with(t testing.TB, srv *s3test.Server, o objstore.S3Options) objstore.Opener {
	t.Helper()
	ts := httptest.NewServer(srv)
	t.Cleanup(func() { srv.Close(); ts.Close() })
	o.Endpoint, o.Retry = ts.URL, objstore.Retry{Base: time.Millisecond, Max: 2 * time.Millisecond, Stall: 2 * time.Second}
	op, err := objstore.NewOpener(objstore.Options{S3: o})
	if err != nil {
		t.Fatal(err)
	}
	return op
}

// ways are those in which bytes come from S3.
var ways = map[string]func(testing.TB, *s3test.Server) objstore.Opener{"copied": s3, "spliced": spliced}

// partSize is that of the tests: large objects are to have parts, not to be large.
const partSize = 256 << 10

// crc32c is what S3 says of an object's bytes.
func crc32c(data []byte) http.Header {
	sum := crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli))
	return http.Header{"X-Amz-Checksum-Crc32c": {base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, sum))}, "X-Amz-Checksum-Type": {"FULL_OBJECT"}}
}

// matrix is data of ruling 26: 0 B, 1 B, 64 KiB and a part give or take one, odd and unicode keys.
func matrix(srv *s3test.Server) map[string]string {
	want := map[string]string{}
	add := func(rel string, data []byte) {
		srv.Put("bucket", "in/"+rel, data)
		want[rel] = string(data)
		for dir := filepath.Dir(rel); dir != "."; dir = filepath.Dir(dir) {
			want[dir+"/"] = ""
		}
	}
	for _, n := range []int{0, 1, 65535, 65536, 65537, partSize - 1, partSize, partSize + 1, 2*partSize + 7} {
		add(fmt.Sprintf("size/%d", n), storetest.Bytes(n))
	}
	for i, k := range storetest.OddKeys {
		add(k, storetest.Bytes(100+i))
	}
	for i := range 10 {
		add(fmt.Sprintf("deep/%d/%d/x", i%2, i), storetest.Bytes(i))
	}
	srv.Put("bucket", "in/", nil) // FILE-5: markers of the channel itself and of an empty folder
	srv.Put("bucket", "in/empty/folder/", nil)
	want["empty/"], want["empty/folder/"] = "", ""
	return want
}

// differ says how two trees differ without printing megabytes.
func differ(t *testing.T, got, want map[string]string) {
	t.Helper()
	for k, v := range want {
		if g, ok := got[k]; !ok || g != v {
			t.Errorf("%q: there: %v, %d bytes, want %d", k, ok, len(g), len(v))
		}
	}
	for k := range got {
		if _, ok := want[k]; !ok {
			t.Errorf("%q should not be there", k)
		}
	}
}

// TestFileFromS3 is the matrix, once on a good network and once with each fault of ruling 27 that reading can meet.
func TestFileFromS3(t *testing.T) {
	for _, c := range []struct {
		name   string
		faults []s3test.Fault
	}{
		{"no fault", nil},
		{"a third is 503", []s3test.Fault{{Every: 3, Status: 503, Code: "SlowDown"}}},
		{"bodies are cut", []s3test.Fault{{Method: "GET", Key: "in/", Every: 4, Cut: 40_000}}},
		{"connections are reset", []s3test.Fault{{Every: 5, Reset: true}}},
	} {
		for way, op := range ways {
			t.Run(c.name+"/"+way, func(t *testing.T) {
				srv := s3test.New(s3test.Options{PageSize: 9})
				want := matrix(srv)
				for _, f := range c.faults {
					srv.Fault(f)
				}
				srv.Record()
				dir, d, err := fill(t, prefixChannel("s3://bucket/in/"), Config{Opener: op(t, srv), PartSize: partSize, Workers: 8})
				if err != nil {
					t.Fatal(err)
				}
				differ(t, read(t, dir), want)
				var bytes, objects int64
				for k, v := range want {
					if !strings.HasSuffix(k, "/") {
						objects++
						bytes += int64(len(v))
					}
				}
				if s := d.Stats(); s.Bytes != bytes || s.TotalBytes != bytes || s.Objects != objects || s.TotalObjects != objects {
					t.Errorf("stats %+v, want %d bytes of %d objects", s, bytes, objects)
				}
				if n := len(srv.Requests()); n > 3*len(want) {
					t.Errorf("%d requests for %d objects", n, len(want))
				}
			})
		}
	}
}

// TestFileManyObjects is more than a page, and all in one directory.
func TestFileManyObjects(t *testing.T) {
	srv := s3test.New(s3test.Options{})
	want := map[string]string{}
	for i := range 1203 {
		k := fmt.Sprintf("%04d", i)
		want[k] = k
		srv.Put("bucket", "many/"+k, []byte(k))
	}
	dir, _, err := fill(t, prefixChannel("s3://bucket/many"), Config{Opener: s3(t, srv)})
	if err != nil {
		t.Fatal(err)
	}
	if got := read(t, dir); !maps.Equal(got, want) {
		t.Errorf("%d files, want %d", len(got), len(want))
	}
}

// TestFileFailures: each ends with an error that names channel and object, with the service's words for FailureReason
// (END-2), and with no file that is not whole.
func TestFileFailures(t *testing.T) {
	for _, c := range []struct {
		name   string
		set    func(*s3test.Server)
		object string
		is     error
		detail string
	}{
		{"denied", func(s *s3test.Server) {
			s.Fault(s3test.Fault{Method: "GET", Key: "in/b", Status: 403, Code: "AccessDenied"})
		},
			"s3://bucket/in/b", objstore.ErrAccessDenied, "Unable to download object s3://bucket/in/b (AccessDenied: injected 403)"},
		{"503 for ever", func(s *s3test.Server) {
			s.Fault(s3test.Fault{Method: "GET", Key: "in/b", Status: 503, Code: "SlowDown"})
		},
			"s3://bucket/in/b", nil, "Unable to download object s3://bucket/in/b (SlowDown: injected 503)"},
		{"always cut", func(s *s3test.Server) { s.Fault(s3test.Fault{Method: "GET", Key: "in/b", Cut: 1000}) },
			"s3://bucket/in/b", objstore.ErrTruncated, "Failed to download data. channel \"train\": read s3://bucket/in/b: body ended early"},
		{"a byte changes on the way", func(s *s3test.Server) {
			s.SetHeader("bucket", "in/b", crc32c(storetest.Bytes(320_000)))
			s.Fault(s3test.Fault{Method: "GET", Key: "in/b", Flip: 70_000})
		}, "s3://bucket/in/b", objstore.ErrChecksum, "read s3://bucket/in/b: checksum does not match: the store has CRC32C "},
		{"changes after it was listed", func(s *s3test.Server) {
			s.Fault(s3test.Fault{Method: "GET", Key: "in/b", Times: 1, Before: func() { s.Put("bucket", "in/b", []byte("other")) }})
		}, "s3://bucket/in/b", objstore.ErrChanged, "(PreconditionFailed: "},
		{"vanishes after it was listed", func(s *s3test.Server) {
			s.Fault(s3test.Fault{Method: "GET", Key: "in/b", Times: 1, Before: func() { s.Remove("bucket", "in/b") }})
		}, "s3://bucket/in/b", objstore.ErrNotFound, "(NoSuchKey: "},
		{"bucket denied", func(s *s3test.Server) { s.Deny("bucket") },
			"s3://bucket/in", dataset.ErrEmpty, `"s3:ListBucket" permissions on bucket "bucket". Error message from S3: Access Denied`},
		{"no bucket", func(s *s3test.Server) {
			s.Fault(s3test.Fault{Status: 404, Code: "NoSuchBucket"})
		}, "s3://bucket/in", objstore.ErrNoBucket, `No S3 objects found under S3 URL "s3://bucket/in"`},
		{"dot-dot (FILE-7)", func(s *s3test.Server) { s.Put("bucket", "in/../x", nil) },
			"s3://bucket/in/../x", dataset.ErrBadPath, `path element ".."`},
		{"file and folder (FILE-6)", func(s *s3test.Server) { s.Put("bucket", "in/b/c", nil) },
			"s3://bucket/in/b/c", dataset.ErrClash, "s3://bucket/in/b and s3://bucket/in/b/c"},
		{"two objects, one path (FILE-6)", func(s *s3test.Server) {
			s.Put("bucket", "in/in-2/x", nil)
			s.Put("bucket", "in-2/x", nil)
		}, "", dataset.ErrClash, "s3://bucket/in-2/x"},
		{"file and folder of two groups (FILE-6)", func(s *s3test.Server) {
			s.Put("bucket", "in/in-2", nil)
			s.Put("bucket", "in-2/x", nil)
		}, "", dataset.ErrClash, "s3://bucket/in-2/x"},
		{"bytes behind a slash (FILE-5)", func(s *s3test.Server) { s.Put("bucket", "in/c/", []byte("x")) },
			"s3://bucket/in/c/", objstore.ErrBadKey, "key ends in a slash"},
	} {
		for way, op := range ways {
			t.Run(c.name+"/"+way, func(t *testing.T) {
				srv := s3test.New(s3test.Options{})
				whole := map[string]string{"a": string(storetest.Bytes(280_000)), "b": string(storetest.Bytes(320_000)), "z": "1"}
				for k, v := range whole {
					srv.Put("bucket", "in/"+k, []byte(v))
				}
				c.set(srv)
				cfg := Config{Dir: t.TempDir(), Opener: op(t, srv), Workers: 4}
				_, _, err := fill(t, prefixChannel("s3://bucket/in"), cfg)
				e, ok := errors.AsType[*dataset.Error](err)
				if !ok || e.Channel != "train" || !strings.Contains(err.Error(), `channel "train"`) || c.object != "" && e.Object != c.object ||
					c.is != nil && !errors.Is(err, c.is) || !strings.Contains(e.Detail(), c.detail) {
					t.Errorf("error %v\ndetail %q", err, e.Detail())
				}
				for k, v := range read(t, filepath.Join(cfg.Dir, "train")) {
					if w := whole[k]; v != w || "s3://bucket/in/"+k == c.object && errors.Is(c.is, objstore.ErrChecksum) {
						t.Errorf("%s has %d bytes of %d", k, len(v), len(w))
					}
				}
			})
		}
	}
}

// TestFilePartsAddUp: an object that is fetched in parts is held against its checksum too, at the price of one request. A
// byte that changed leaves no file.
func TestFilePartsAddUp(t *testing.T) {
	data := storetest.Bytes(5*partSize + 3)
	for _, c := range []struct {
		name   string
		header http.Header
		flip   bool
		is     error
	}{
		{"right", crc32c(data), false, nil},
		{"a byte changes on the way", crc32c(data), true, objstore.ErrChecksum},
		{"the store has other bytes than it says", crc32c(data[1:]), false, objstore.ErrChecksum},
		{"no checksum", http.Header{}, false, nil},
		{"composite", http.Header{"X-Amz-Checksum-Crc32c": crc32c(data[1:])["X-Amz-Checksum-Crc32c"], "X-Amz-Checksum-Type": {"COMPOSITE"}}, false, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := s3test.New(s3test.Options{})
			srv.Put("bucket", "in/big", data)
			srv.SetHeader("bucket", "in/big", c.header)
			if c.flip {
				srv.Fault(s3test.Fault{Method: "GET", Key: "in/big", Flip: 5, Match: func(r *http.Request) bool {
					return strings.HasPrefix(r.Header.Get("Range"), fmt.Sprintf("bytes=%d-", 3*partSize))
				}})
			}
			srv.Record()
			dir, d, err := fill(t, prefixChannel("s3://bucket/in/"), Config{Opener: s3(t, srv), PartSize: partSize, Workers: 4})
			if !errors.Is(err, c.is) || c.is == nil && err != nil {
				t.Fatalf("%v", err)
			}
			got := read(t, dir)
			if c.is == nil {
				differ(t, got, map[string]string{"big": string(data)})
				if n := len(srv.Requests()); n != 1+1+6 {
					t.Errorf("%d requests: a listing, a checksum and six parts are 8", n)
				}
				return
			}
			if len(got) != 0 || d.Stats().Objects != 0 || !strings.Contains(err.Error(), "s3://bucket/in/big") {
				t.Errorf("%d files are left after %v", len(got), err)
			}
		})
	}
}

// TestFileCancelled: a stop is felt in less than a second although the server hangs, in any phase; nothing half is left.
func TestFileCancelled(t *testing.T) {
	for name, f := range map[string]s3test.Fault{
		"listing":  {Hang: true},
		"headers":  {Method: "GET", Key: "in/", Hang: true},
		"bodies":   {Method: "GET", Key: "in/", HangAt: 5000},
		"retrying": {Method: "GET", Key: "in/", Status: 503, Code: "SlowDown", Header: http.Header{"Retry-After": {"30"}}},
	} {
		t.Run(name, func(t *testing.T) {
			srv := s3test.New(s3test.Options{})
			for i := range 100 {
				srv.Put("bucket", fmt.Sprintf("in/%d", i), storetest.Bytes(10_000))
			}
			srv.Put("bucket", "in/big", storetest.Bytes(40*partSize))
			srv.Fault(f)
			c := Config{Dir: t.TempDir(), Opener: s3(t, srv), PartSize: partSize, Workers: 8}
			d, err := New(prefixChannel("s3://bucket/in/"), c)
			if err != nil {
				t.Fatal(err)
			}
			if err := d.Prepare(t.Context()); err != nil {
				t.Fatal(err)
			}
			cause := errors.New("stopped by the user")
			ctx, cancel := context.WithCancelCause(t.Context())
			var stopped time.Time
			time.AfterFunc(300*time.Millisecond, func() { stopped = time.Now(); cancel(cause) })
			err = d.Fill(ctx)
			if !errors.Is(err, cause) {
				t.Errorf("Fill: %v", err)
			}
			if took := time.Since(stopped); took > 30*time.Second {
				t.Errorf("the stop was felt after %s", took)
			}
			if got := read(t, filepath.Join(c.Dir, "train")); len(got) != 0 {
				t.Errorf("%d files are left", len(got))
			}
		})
	}
}

// TestDiskFull: known from the listing before it is full (here: the file system is said to have little room), or
// noticed when a write fails; both name the object and give the service's words.
func TestDiskFull(t *testing.T) {
	srv := s3test.New(s3test.Options{})
	for i := range 5 {
		srv.Put("bucket", fmt.Sprintf("in/%d", i), storetest.Bytes(1000))
	}
	op := s3(t, srv)
	room = func(string) (int64, error) { return 3500, nil }
	defer func() { room = freeBytes }()
	_, _, err := fill(t, prefixChannel("s3://bucket/in/"), Config{Opener: op})
	e, ok := errors.AsType[*dataset.Error](err)
	if !ok || e.Object != "s3://bucket/in/3" || e.Detail() != "Insufficient disk space" || !strings.Contains(err.Error(), "4000 bytes and more do not fit into 3500") {
		t.Errorf("%v", err)
	}
	e = &dataset.Error{Channel: "train", Object: "s3://bucket/in/3", Err: fmt.Errorf("write: %w", syscall.ENOSPC)}
	if e.Detail() != "Insufficient disk space" || !strings.Contains(e.Error(), "object s3://bucket/in/3: write: no space left") {
		t.Errorf("%v", e)
	}
}

// TestFileManifest: what is named twice is one file (FILE-9), sizes become known on the way, two names of one file clash.
func TestFileManifest(t *testing.T) {
	srv := s3test.New(s3test.Options{})
	want := map[string]string{"sub/": "", "sub/b": string(storetest.Bytes(3 * partSize)), "a": "1"}
	for k, v := range want {
		if v != "" {
			srv.Put("bucket", "in/"+k, []byte(v))
		}
	}
	srv.Put("bucket", "m", []byte(`[{"prefix":"s3://bucket/in/"},"sub/b","a","a"]`))
	srv.Put("bucket", "clash", []byte(`[{"prefix":"s3://bucket/in"},"/a","/a/x"]`))
	op := s3(t, srv)
	ch := prefixChannel("s3://bucket/m")
	ch.Source.Type = "ManifestFile"
	dir, d, err := fill(t, ch, Config{Opener: op, PartSize: partSize})
	if err != nil {
		t.Fatal(err)
	}
	differ(t, read(t, dir), want)
	if s := d.Stats(); s.Objects != 2 || s.TotalObjects != 2 || s.Bytes != 3*partSize+1 || s.TotalBytes != s.Bytes {
		t.Errorf("%+v", s)
	}
	ch.Source.URI = "s3://bucket/clash"
	srv.Put("bucket", "in/a/x", nil)
	if _, _, err := fill(t, ch, Config{Opener: op}); !errors.Is(err, dataset.ErrClash) {
		t.Errorf("clash: %v", err)
	}
}

func TestFileEmptyShareOfS3(t *testing.T) {
	srv := s3test.New(s3test.Options{})
	srv.Put("bucket", "in/", nil) // not counted (FILE-5)
	srv.Put("bucket", "in/only", []byte("1"))
	ch := prefixChannel("s3://bucket/in/")
	ch.Source.Distribution = "ShardedByS3Key"
	op := s3(t, srv)
	for rank, want := range []map[string]string{{"only": "1"}, {}} {
		dir, d, err := fill(t, ch, Config{Opener: op, Rank: rank, Hosts: 2})
		if err != nil {
			t.Fatal(err)
		}
		if got := read(t, dir); !maps.Equal(got, want) || d.Stats().TotalObjects != int64(len(want)) {
			t.Errorf("rank %d: %v, %+v", rank, got, d.Stats())
		}
	}
}

// TestStatsWhileFilling: the counters may be read at any time, and only grow.
func TestStatsWhileFilling(t *testing.T) {
	srv := s3test.New(s3test.Options{})
	data := bytes.Repeat([]byte("x"), 1<<20)
	for i := range 20 {
		srv.Put("bucket", fmt.Sprintf("in/%d", i), data)
	}
	d, err := New(prefixChannel("s3://bucket/in/"), Config{Dir: t.TempDir(), Opener: s3(t, srv), Workers: 2})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- d.Fill(t.Context()) }()
	var last Stats
	for {
		s := d.Stats()
		if s.Bytes < last.Bytes || s.Objects < last.Objects || s.TotalBytes < last.TotalBytes || s.Objects > s.TotalObjects {
			t.Fatalf("%+v after %+v", s, last)
		}
		last = s
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
			return
		case <-time.After(time.Millisecond):
		}
	}
}
