package objstore_test

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"hash/crc64"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/optml/optml/objstore"
	"github.com/optml/optml/objstore/s3test"
	"github.com/optml/optml/objstore/storetest"
)

// checksums are what S3 says of data, made here with the standard library alone.
func checksums(data []byte) map[string]string {
	b64 := base64.StdEncoding.EncodeToString
	s1, s256 := sha1.Sum(data), sha256.Sum256(data)
	return map[string]string{
		"Crc64nvme": b64(binary.BigEndian.AppendUint64(nil, crc64.Checksum(data, crc64.MakeTable(0x9a6c9329ac4bc9b5)))),
		"Crc32c":    b64(binary.BigEndian.AppendUint32(nil, crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)))),
		"Crc32":     b64(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(data))),
		"Sha1":      b64(s1[:]),
		"Sha256":    b64(s256[:]),
	}
}

// The test's own sums agree with the check values that are published for "123456789".
func TestChecksumVectors(t *testing.T) {
	got := checksums([]byte("123456789"))
	for name, want := range map[string]string{"Crc64nvme": "rosUhgp5mIg=", "Crc32c": "4waSgw==", "Crc32": "y/Q5Jg=="} {
		if got[name] != want {
			t.Errorf("%s: %s, want %s", name, got[name], want)
		}
	}
}

// TestChecksum: an object that is read whole is held against each checksum that the store has of it, also across broken
// connections; a byte that changed on the way is an error at the end, which is not tried again.
func TestChecksum(t *testing.T) {
	data := storetest.Bytes(300_007)
	for name, sum := range checksums(data) {
		for _, kind := range []string{"", "FULL_OBJECT"} {
			for _, known := range []bool{true, false} { // the size
				srv := s3test.New(s3test.Options{})
				srv.Put("bucket", "k", data)
				srv.SetHeader("bucket", "k", http.Header{"X-Amz-Checksum-" + name: {sum}, "X-Amz-Checksum-Type": {kind}})
				s := open(t, serve(t, srv, nil), "s3://bucket")
				read := func() ([]byte, error) {
					o := objstore.Object{Key: "k", Size: -1}
					if known {
						o.Size = int64(len(data))
					}
					r, err := s.OpenVersion(t.Context(), o, 0, -1)
					if err != nil {
						return nil, err
					}
					defer r.Close()
					return io.ReadAll(r)
				}
				if got, err := read(); err != nil || !bytes.Equal(got, data) {
					t.Fatalf("%s: %d bytes, %v", name, len(got), err)
				}
				srv.Fault(s3test.Fault{Method: "GET", Cut: 100_000})
				if got, err := read(); err != nil || !bytes.Equal(got, data) {
					t.Errorf("%s, resumed: %d bytes, %v", name, len(got), err)
				}
				srv.ClearFaults()
				for _, at := range []int64{1, 200_000, int64(len(data))} {
					srv.Fault(s3test.Fault{Method: "GET", Times: 1, Flip: at})
					srv.Record()
					before := len(srv.Requests())
					_, err := read()
					if !errors.Is(err, objstore.ErrChecksum) || !strings.Contains(err.Error(), "s3://bucket/k") || !strings.Contains(err.Error(), sum) {
						t.Errorf("%s, byte %d flipped: %v", name, at, err)
					}
					if n := len(srv.Requests()) - before; n != 1 {
						t.Errorf("%s, byte %d flipped: %d requests", name, at, n)
					}
					srv.ClearFaults()
				}
				// The flipped byte comes before the connection breaks: what came is part of the sum.
				srv.Fault(s3test.Fault{Method: "GET", Times: 1, Flip: 1000, Cut: 100_000})
				if _, err := read(); !errors.Is(err, objstore.ErrChecksum) {
					t.Errorf("%s, flipped before the connection broke: %v", name, err)
				}
			}
		}
	}
}

// TestNoChecksum: what says nothing of the bytes is not compared with them, and ranges ask for no checksum.
func TestNoChecksum(t *testing.T) {
	data := storetest.Bytes(100_000)
	right := checksums(data)
	wrong := checksums(data[1:])
	for _, c := range []struct {
		name   string
		header http.Header
		fails  bool
	}{
		{"none", http.Header{}, false},
		{"wrong", http.Header{"X-Amz-Checksum-Crc32": {wrong["Crc32"]}}, true}, // the others are not for want of looking
		{"composite", http.Header{"X-Amz-Checksum-Crc32": {wrong["Crc32"]}, "X-Amz-Checksum-Type": {"COMPOSITE"}}, false},
		{"composite by its form", http.Header{"X-Amz-Checksum-Sha256": {wrong["Sha256"] + "-3"}}, false},
		{"no base64", http.Header{"X-Amz-Checksum-Crc32": {"!!!!"}}, false},
		{"another length", http.Header{"X-Amz-Checksum-Crc32": {right["Sha1"]}}, false},
		{"unknown algorithm", http.Header{"X-Amz-Checksum-Md5": {wrong["Sha1"]}}, false},
		{"the cheapest of two counts", http.Header{"X-Amz-Checksum-Crc64nvme": {right["Crc64nvme"]}, "X-Amz-Checksum-Sha256": {wrong["Sha256"]}}, false},
	} {
		srv := s3test.New(s3test.Options{})
		srv.Put("bucket", "k", data)
		srv.SetHeader("bucket", "k", c.header)
		srv.Record()
		s := open(t, serve(t, srv, nil), "s3://bucket")
		if _, err := readAll(t.Context(), s, "k", 0, -1); errors.Is(err, objstore.ErrChecksum) != c.fails || !c.fails && err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		for _, span := range [][2]int64{{1, -1}, {0, 10}, {10, 50}} {
			if got, err := readAll(t.Context(), s, "k", span[0], span[1]); err != nil || !bytes.HasPrefix(data[span[0]:], got) {
				t.Errorf("%s, %v: %v", c.name, span, err)
			}
		}
		for _, r := range srv.Requests() {
			if ranged, asks := r.Header.Get("Range") != "", r.Header.Get("X-Amz-Checksum-Mode") == "ENABLED"; ranged == asks {
				t.Errorf("%s: range %v, asks for the checksum %v", c.name, ranged, asks)
			}
		}
	}
}

// TestPartSums: what is read in parts, in any order, adds up to the checksum of the whole; a part that differs does not,
// and a gap is no end.
func TestPartSums(t *testing.T) {
	data := storetest.Bytes(100_013)
	all := checksums(data)
	type span struct{ off, n int64 }
	for name, sum := range all {
		srv := s3test.New(s3test.Options{})
		srv.Put("bucket", "k", data)
		srv.SetHeader("bucket", "k", http.Header{"X-Amz-Checksum-" + name: {sum}})
		s := open(t, serve(t, srv, nil), "s3://bucket")
		o, err := s.Stat(t.Context(), "k")
		if err != nil {
			t.Fatal(err)
		}
		ask := func() *objstore.PartSums {
			p, err := s.(objstore.Checksummed).Checksum(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
		if crc := strings.HasPrefix(name, "Crc"); crc != (ask() != nil) {
			t.Errorf("%s: can be put together: %v", name, !crc)
			continue
		} else if !crc {
			continue
		}
		last := int64(len(data))
		for _, c := range []struct {
			parts []span
			flip  int64
			is    error
		}{
			{[]span{{0, last}}, -1, nil},
			{[]span{{500, last - 500}, {0, 499}, {499, 1}}, -1, nil},
			{[]span{{50_000, last - 50_000}, {0, 50_000}}, -1, nil},
			{[]span{{0, 50_000}, {50_000, last - 50_000}}, 17, objstore.ErrChecksum},
			{[]span{{0, 50_000}, {50_000, last - 50_000}}, last - 1, objstore.ErrChecksum},
			{[]span{{0, 100}, {200, last - 200}}, -1, objstore.ErrTruncated},
			{[]span{{0, last - 1}}, -1, objstore.ErrChecksum},
		} {
			came := bytes.Clone(data)
			if c.flip >= 0 {
				came[c.flip] ^= 0x80
			}
			p := ask()
			for _, part := range c.parts {
				h := p.Hash()
				h.Write(came[part.off : part.off+part.n])
				p.Add(part.off, part.n, h)
			}
			err := p.Verify()
			if c.is == nil && err != nil || !errors.Is(err, c.is) || err != nil && !strings.Contains(err.Error(), "s3://bucket/k") {
				t.Errorf("%s, %v, flipped %d: %v", name, c.parts, c.flip, err)
			}
		}
		srv.Put("bucket", "k", data[1:])
		if _, err := s.(objstore.Checksummed).Checksum(t.Context(), o); !errors.Is(err, objstore.ErrChanged) {
			t.Errorf("%s, the object is another one: %v", name, err)
		}
	}
}
