package channels

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/optml/optml/dataset"
	"github.com/optml/optml/objstore"
	"github.com/optml/optml/objstore/s3test"
	"github.com/optml/optml/objstore/storetest"
)

// spliceSizes are those around the bounds of what is spliced, and of a pipe.
var spliceSizes = []int{0, 1, 64 << 10, 1<<20 - 1, 1 << 20, 1<<20 + 1, 3<<20 + 17, 9 << 20}

// spliceObjects and spliceWant, what a reader has to get of them, are made once.
var (
	spliceObjects = sync.OnceValue(func() (all [][]byte) {
		for _, n := range spliceSizes {
			all = append(all, storetest.Bytes(n))
		}
		return all
	})
	spliceWant = map[string]func() []byte{"None": sync.OnceValue(func() []byte { return spliceJoined("None") }), "RecordIO": sync.OnceValue(func() []byte { return spliceJoined("RecordIO") })}
)

func spliceJoined(wrapper string) (want []byte) {
	for _, data := range spliceObjects() {
		want = append(want, wrapped(data, wrapper)...)
	}
	return want
}

func spliceData(srv *s3test.Server, wrapper string) (want []byte) {
	for i, data := range spliceObjects() {
		srv.Put("bucket", fmt.Sprintf("in/%d", i), data)
	}
	return spliceWant[wrapper]()
}

// TestPipeSpliced: PIPE-9, PIPE-11. Bodies that the kernel moves into the pipe have the same bytes as those that go
// through us, in order, whole; a connection that breaks is continued at the byte (ruling 27).
func TestPipeSpliced(t *testing.T) {
	for name, fault := range map[string]s3test.Fault{
		"none":                 {Method: "HEAD"},
		"cut often":            {Method: "GET", Key: "in/", Cut: 1500 << 10},
		"cut after the header": {Method: "GET", Key: "in/7", Times: 3, Cut: -1},
		"a third is 503":       {Method: "GET", Key: "in/", Every: 3, Status: 503, Code: "SlowDown"},
		"slow":                 {Method: "GET", Key: "in/7", Times: 1, Rate: 20 << 20},
		"stalls":               {Method: "GET", Key: "in/7", Times: 1, HangAt: 5 << 20},
	} {
		for _, c := range []struct {
			wrapper string
			near    time.Duration // far: in several requests at once
		}{{"None", time.Hour}, {"RecordIO", time.Hour}, {"None", 1}, {"RecordIO", 1}} {
			wrapper := c.wrapper
			t.Run(fmt.Sprintf("%s/%s/near=%v", name, wrapper, c.near > 1), func(t *testing.T) {
				t.Parallel()
				srv := s3test.New(s3test.Options{})
				want := spliceData(srv, wrapper)
				op := s3with(t, srv, objstore.S3Options{Near: c.near})
				r := serve(t, with(pipeChannel("s3://bucket/in/"), "None", wrapper), Config{Opener: op})
				srv.Fault(fault)
				for epoch := range 2 {
					r.reads(name, epoch, want)
				}
				if s := r.Stats(); s.Bytes != 2*int64(len(want)) || s.Objects != 2*int64(len(spliceSizes)) {
					t.Errorf("%+v", s)
				}
				// It was shown only if it happened.
				store, _, err := op.Open(t.Context(), "s3://bucket/")
				if x := store.(*objstore.S3); err != nil || !x.Splices() || x.Near() != (c.near > 1) {
					t.Errorf("spliced %v, near %v, %v", x.Splices(), x.Near(), err)
				}
			})
		}
	}
}

// TestPipeSplicedBroken: ruling 8, ruling 27. What cannot be continued is no end of data.
func TestPipeSplicedBroken(t *testing.T) {
	for name, c := range map[string]struct {
		fault s3test.Fault
		is    error
	}{
		"cut for good":      {s3test.Fault{Method: "GET", Key: "in/7", Cut: 5 << 20}, nil},
		"gone":              {s3test.Fault{Method: "GET", Key: "in/7", Status: 404, Code: "NoSuchKey"}, objstore.ErrNotFound},
		"changed":           {s3test.Fault{Method: "GET", Key: "in/7", Before: nil}, objstore.ErrChanged},
		"flipped, with sum": {s3test.Fault{Method: "GET", Key: "in/7", Flip: 8 << 20}, objstore.ErrChecksum},
	} {
		t.Run(name, func(t *testing.T) {
			srv := s3test.New(s3test.Options{})
			spliceData(srv, "None")
			if name == "flipped, with sum" {
				srv.SetHeader("bucket", "in/7", crc32c(storetest.Bytes(spliceSizes[7])))
			}
			r := serve(t, pipeChannel("s3://bucket/in/"), Config{Opener: spliced(t, srv)})
			switch name {
			case "changed":
				srv.Put("bucket", "in/7", storetest.Bytes(spliceSizes[7]+1))
			case "cut for good":
				c.fault.Match = after(5 << 20) // and the rest cannot be had
				srv.Fault(s3test.Fault{Method: "GET", Key: "in/7", Match: c.fault.Match, Status: 500})
				c.fault.Match = nil
				c.fault.Times = 1
				srv.Fault(c.fault)
			default:
				srv.Fault(c.fault)
			}
			f := r.open(0)
			noEndUntil(t, f, r.done)
			e, ok := errors.AsType[*dataset.Error](r.ended())
			if !ok || e.Object != "s3://bucket/in/7" || c.is != nil && !errors.Is(e, c.is) {
				t.Errorf("%v", e)
			}
		})
	}
}

// after matches requests for what lies behind off.
func after(off int) func(*http.Request) bool {
	return func(r *http.Request) bool {
		return strings.HasPrefix(r.Header.Get("Range"), fmt.Sprintf("bytes=%d-", off))
	}
}

// TestPipeSplicedEarly: PIPE-4. A reader that closes early gets the next epoch; what it did not read is not counted.
func TestPipeSplicedEarly(t *testing.T) {
	srv := s3test.New(s3test.Options{})
	want := spliceData(srv, "None")
	r := serve(t, pipeChannel("s3://bucket/in/"), Config{Opener: spliced(t, srv)})
	for epoch := range 3 {
		f := r.open(epoch)
		b := make([]byte, 3<<20)
		if _, err := io.ReadFull(f, b); err != nil {
			t.Fatal(err)
		}
		same(t, "beginning", b, want[:len(b)])
		f.Close()
	}
	r.reads("the next", 3, want)
	if s := r.Stats(); s.Note != fmt.Sprintf("closed early at byte %d of epoch 2", 3<<20) || s.Bytes != int64(3*(3<<20)+len(want)) {
		t.Errorf("%+v", s)
	}
}
