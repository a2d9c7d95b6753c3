package transform_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/optml/optml/framing"
	"github.com/optml/optml/job"
	"github.com/optml/optml/transform"
	tt "github.com/optml/optml/transform/transformtest"
)

const (
	clientReason    = "ClientError: See job logs for more information"
	algorithmReason = "AlgorithmError: See job logs for more information"
	internalReason  = "InternalServerError: We encountered an internal error.  Please try again."
)

// firstLine of every data log here.
const firstLine = "MaxConcurrentTransforms=1, MaxPayloadInMB=6, BatchStrategy=MULTI_RECORD"

func TestStatusesOfTheContainer(t *testing.T) { // BT-105, BT-107, BT-108, BT-140, BT-141, ST-10, ST-11, ST-21, ST-22
	for _, c := range []struct {
		status int
		body   string
		strict bool
		reason string
		log    []string
	}{
		{400, "bad\nrow\r\n", false, clientReason, []string{"ClientError: 400", "", "Message:", "bad", "row"}},
		{413, "<html>too large</html>", false, clientReason, []string{"ClientError: 413", "", "Message:", "<html>too large</html>"}},
		{500, "", false, algorithmReason, []string{"Bad HTTP status received from algorithm: 500", "", "Message:"}},
		{503, "loading", false, algorithmReason, []string{"Bad HTTP status received from algorithm: 503", "", "Message:", "loading"}},
		{302, "", false, algorithmReason, []string{"Bad HTTP status received from algorithm: 302", "", "Message:"}},
		{201, "fine", true, algorithmReason, []string{"Bad HTTP status received from algorithm: 201", "", "Message:", "fine"}}, // INF-70
	} {
		t.Run(fmt.Sprint(c.status), func(t *testing.T) {
			model := &tt.Container{Invoke: func(w http.ResponseWriter, r *http.Request) {
				if b, _ := io.ReadAll(r.Body); string(b) == "bad" {
					tt.Status(c.status, c.body)(w, r)
				} else {
					w.Write(b)
				}
			}}
			b := setup(tt.Serve(t, model), tt.Object("in/1", "bad"), tt.Object("in/2", "good"))
			b.Job.MaxRetries, b.Job.StrictStatus = 0, c.strict
			res, err := b.run(t)
			if !errors.Is(err, transform.ErrObjects) || res.FailureReason != c.reason {
				t.Errorf("%v, %q", err, res.FailureReason)
			}
			outputs(t, b, map[string]string{"2.out": "good"})
			want := []string{firstLine}
			for _, line := range c.log {
				want = append(want, "bucket/in/1: "+line)
			}
			same(t, "data log", b.logged(), want)
			if f := res.Failures[0]; f.Status != c.status || f.Body != c.body || f.Key != "in/1" || f.Output != "1.out" || f.Attempts != 1 {
				t.Errorf("failure %+v", f)
			}
			if res.Totals.Objects != 1 || res.Totals.Failed != 1 {
				t.Errorf("totals %+v", res.Totals)
			}
		})
	}
	t.Run("201 is good by default", func(t *testing.T) { // INF-70
		b := setup(tt.Serve(t, &tt.Container{Invoke: tt.Status(201, "y")}), tt.Object("in/1", "x"))
		b.must(t)
		outputs(t, b, map[string]string{"1.out": "y"})
	})
	t.Run("204 is an empty result", func(t *testing.T) {
		b := setup(tt.Serve(t, &tt.Container{Invoke: tt.Status(204, "")}), tt.Object("in/1", "x"))
		b.must(t)
		outputs(t, b, map[string]string{"1.out": ""})
	})
}

// broken says what a container does to a connection after it has read a request, and the least that an error says of it.
var broken = []struct {
	name  string
	do    func(c net.Conn)
	class error
	says  string
}{
	{"hangs up", func(net.Conn) {}, nil, "EOF"},
	{"resets", func(c net.Conn) { c.(*net.TCPConn).SetLinger(0) }, nil, "reset"},
	{"ends inside the header", func(c net.Conn) { io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-") }, transform.ErrMalformed, "header"},
	{"ends inside the body", func(c net.Conn) { io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf") }, io.ErrUnexpectedEOF, ""},
	{"ends inside a long body", func(c net.Conn) {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"+strings.Repeat("x", 900_000))
	}, io.ErrUnexpectedEOF, ""},
	{"ends inside a chunk", func(c net.Conn) {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhalf")
	}, io.ErrUnexpectedEOF, ""},
	{"ends before the last chunk", func(c net.Conn) {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
	}, io.ErrUnexpectedEOF, ""},
	{"says nonsense", func(c net.Conn) { io.WriteString(c, "SSH-2.0-OpenSSH_9.2\r\n\r\n") }, transform.ErrMalformed, "SSH"},
	{"sends two lengths", func(c net.Conn) {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx")
	}, transform.ErrMalformed, "Content-Length"},
	{"sends a negative length", func(c net.Conn) { io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nx") }, transform.ErrMalformed, "Content-Length"},
	{"sends wrong chunks", func(c net.Conn) {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
	}, transform.ErrMalformed, "chunk size"},
	{"sends a chunk that is too long", func(c net.Conn) {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabcd\r\n0\r\n\r\n")
	}, transform.ErrMalformed, "longer"},
	{"sends gzip coding unasked", func(c net.Conn) {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n")
	}, transform.ErrMalformed, "gzip"},
	{"sends headers without end", func(c net.Conn) {
		io.WriteString(c, "HTTP/1.1 200 OK\r\n")
		for range 10000 {
			if _, err := io.WriteString(c, "X-Header: "+strings.Repeat("y", 100)+"\r\n"); err != nil {
				return
			}
		}
	}, transform.ErrMalformed, "header over 65536 bytes"},
	{"switches protocols", func(c net.Conn) { io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\n\r\n") }, transform.ErrMalformed, "101"},
	{"only says continue", func(c net.Conn) { io.WriteString(c, strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 9)) }, transform.ErrMalformed, "interim"},
}

func TestBrokenResponses(t *testing.T) { // BT-106: one line, AlgorithmError, nothing partial
	for _, c := range broken {
		for _, payload := range []int{6, 0} { // in memory, and streamed
			t.Run(fmt.Sprintf("%s/%d", c.name, payload), func(t *testing.T) {
				var seen atomic.Int64
				in := answerRaw(t, func(_ int, conn net.Conn) bool {
					seen.Add(1)
					c.do(conn)
					return false
				})
				b := setup(in, tt.Object("in/1", "x"))
				b.Job.MaxRetries, b.Job.MaxPayloadMB = 0, &payload
				res, err := b.run(t)
				if res.FailureReason != algorithmReason || seen.Load() != 1 {
					t.Errorf("%q, %d requests", res.FailureReason, seen.Load())
				}
				if !strings.Contains(fmt.Sprint(err), c.says) || c.class != nil && !errors.Is(err, c.class) {
					t.Errorf("error %v, want %v, %q", err, c.class, c.says)
				}
				same(t, "data log", b.logged()[1:], []string{"bucket/in/1: Unable to get response from algorithm"})
				outputs(t, b, nil)
			})
		}
	}
}

func TestRefusedConnection(t *testing.T) {
	var gone atomic.Bool
	in := answerRaw(t, func(int, net.Conn) bool { return false })
	dial := in.Dial
	b := setup(in, tt.Object("in/1", "x"))
	b.Instances[0].Dial = func(ctx ctx, network, addr string) (net.Conn, error) {
		if gone.Load() {
			return nil, errors.New("connection refused")
		}
		return dial(ctx, network, addr)
	}
	b.Create = func(ctx, string, string) (transform.Writer, error) { panic("nothing to write") }
	b.Job.MaxRetries = 0
	b.Instances[0].DataLog = writerFunc(func([]byte) (int, error) { gone.Store(true); return 0, nil }) // after the handshake
	res, err := b.run(t)
	if res.FailureReason != algorithmReason || !strings.Contains(fmt.Sprint(err), "connect: connection refused") {
		t.Errorf("%q, %v", res.FailureReason, err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

func TestEarlyResponse(t *testing.T) { // a container that answers before it has read the request
	big := strings.Repeat("x", 5<<20)
	for _, c := range []struct {
		name, object string
		payload      int
		respond      func(c net.Conn)
		status       int
	}{
		{"refuses and closes", big, 6, func(c net.Conn) {
			io.WriteString(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 9\r\nConnection: close\r\n\r\ntoo large")
		}, 413},
		{"refuses and waits", big, 6, func(c net.Conn) {
			io.WriteString(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 9\r\n\r\ntoo large")
			io.Copy(io.Discard, io.LimitReader(c, 1)) // then reads no more
			time.Sleep(300 * time.Millisecond)
		}, 413},
		{"refuses a stream", big, 0, func(c net.Conn) {
			io.WriteString(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 9\r\n\r\ntoo large")
			time.Sleep(300 * time.Millisecond)
		}, 413},
		{"accepts", big, 6, func(c net.Conn) {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine")
			time.Sleep(300 * time.Millisecond)
		}, 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := tt.Raw(t, func(conn net.Conn) {
				r := bufio.NewReaderSize(conn, 4096)
				for {
					req, err := http.ReadRequest(r)
					if err != nil {
						return
					}
					if req.Method == http.MethodGet {
						io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
						continue
					}
					c.respond(conn)
					return
				}
			})
			b := setup(in, tt.Object("in/1", c.object))
			b.Job.MaxPayloadMB, b.Job.MaxRetries = &c.payload, 0
			start := time.Now()
			res, _ := b.run(t)
			if took := time.Since(start); took > time.Minute {
				t.Errorf("took %v", took)
			}
			if c.status == 200 {
				outputs(t, b, map[string]string{"1.out": "fine"})
				return
			}
			if len(res.Failures) != 1 || res.Failures[0].Status != c.status || res.Failures[0].Body != "too large" {
				t.Errorf("failures %+v", res.Failures)
			}
		})
	}
}

func TestDeadKeepAliveIsNoAttempt(t *testing.T) { // servers close idle connections without a word
	var seen atomic.Int64
	in := answerRaw(t, func(n int, c net.Conn) bool {
		seen.Add(1)
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")
		return false // though nothing said so
	})
	b := setup(in, tt.Object("in/1", strings.Repeat("1\n", 20))).line("SingleRecord")
	b.Job.MaxRetries = 0
	res := b.must(t)
	outputs(t, b, map[string]string{"1.out": strings.Repeat("x", 20)})
	if seen.Load() != 20 || res.Totals.Retries != 0 || res.Totals.Requests != 20 {
		t.Errorf("%d requests seen, totals %+v", seen.Load(), res.Totals)
	}
}

func TestLargeResponses(t *testing.T) { // ruling 23: max(MaxPayload, 6 MiB), or what is asked for
	const six = 6 << 20
	for _, c := range []struct {
		name    string
		payload int
		max     int64
		size    int
		chunked bool
		ok      bool
	}{
		{"at the limit", 1, 0, six, false, true},
		{"over it", 1, 0, six + 1, false, false},
		{"over it in chunks", 1, 0, six + 1, true, false},
		{"a large payload raises it", 7, 0, 7 << 20, true, true},
		{"raised", 1, 8 << 20, 8 << 20, true, true},
		{"lowered", 1, 100, 101, true, false},
		{"lowered, with a length", 1, 100, 101, false, false},
		{"streamed: none", 0, 0, 9 << 20, true, true},
		{"streamed: as asked", 0, 1 << 20, 1<<20 + 1, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var seen atomic.Int64
			model := &tt.Container{Invoke: func(w http.ResponseWriter, r *http.Request) {
				seen.Add(1)
				if c.chunked {
					w.(http.Flusher).Flush()
				} else {
					w.Header().Set("Content-Length", fmt.Sprint(c.size))
				}
				w.Write(bytes.Repeat([]byte("x"), c.size))
			}}
			b := setup(tt.Serve(t, model), tt.Object("in/1", "x"))
			b.Job.MaxPayloadMB, b.Job.MaxResponseBytes = &c.payload, c.max
			res, err := b.run(t)
			if c.ok {
				if err != nil || len(b.out.All()["1.out"]) != c.size {
					t.Errorf("%v, %d bytes", err, len(b.out.All()["1.out"]))
				}
				return
			}
			if !errors.Is(err, transform.ErrResponse) || res.FailureReason != algorithmReason || seen.Load() != 1 {
				t.Errorf("%v, %q, %d requests", err, res.FailureReason, seen.Load())
			}
			outputs(t, b, nil)
			if log := b.logged(); log[1] != "bucket/in/1: Unable to get response from algorithm" || !strings.Contains(log[4], "the limit is") {
				t.Errorf("data log %q", log)
			}
		})
	}
}

func TestEndlessResponse(t *testing.T) {
	for payload, timeout := range map[int]time.Duration{6: time.Hour, 0: time.Second} { // the size ends the one, the clock the other
		model := &tt.Container{Invoke: func(w http.ResponseWriter, r *http.Request) {
			for {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return
				}
				time.Sleep(time.Millisecond) // what has come is held by the test
			}
		}}
		b := setup(tt.Serve(t, model), tt.Object("in/1", "x"))
		b.Job.MaxRetries, b.Job.MaxPayloadMB, b.Job.InvocationTimeout = 0, &payload, job.Duration(timeout)
		res, err := b.run(t)
		if res.FailureReason != algorithmReason {
			t.Error(err)
		}
		if want := map[int]error{6: transform.ErrResponse, 0: transform.ErrTimeout}[payload]; !errors.Is(err, want) {
			t.Errorf("payload %d: %v", payload, err)
		}
	}
}

func TestDamagedInput(t *testing.T) { // BT-41, BT-42, BT-64, BT-69, BT-95, Appendix C 5, 6 and 10
	recordio := framing.RecordIO.Append(framing.RecordIO.Append(nil, []byte("one")), []byte("two"))
	tf := framing.TFRecord.Append(framing.TFRecord.Append(nil, []byte("one")), []byte("two"))
	flip := func(b []byte, i int) string {
		b = bytes.Clone(b)
		b[i] ^= 0xff
		return string(b)
	}
	zipped := gzipped("1\n2\n")
	for _, c := range []struct {
		name, split, strategy, compression, in string
		says                                   string
		record, offset                         int64
	}{
		{"RecordIO magic", "RecordIO", "SingleRecord", "", flip(recordio, 12), "wrong magic", 2, 12},
		{"RecordIO length", "RecordIO", "MultiRecord", "", flip(recordio, 16), "ends inside a record", 2, 12},
		{"RecordIO flag", "RecordIO", "MultiRecord", "", flip(recordio, 19), "out of order", 2, 12},
		{"RecordIO truncated", "RecordIO", "SingleRecord", "", string(recordio[:20]), "ends inside a record", 2, 12},
		{"TFRecord length", "TFRecord", "SingleRecord", "", flip(tf, 19), "checksum mismatch: of the length", 2, 19},
		{"TFRecord length checksum", "TFRecord", "MultiRecord", "", flip(tf, 19+8), "checksum mismatch: of the length", 2, 19},
		{"TFRecord data", "TFRecord", "MultiRecord", "", flip(tf, 19+12), "checksum mismatch: of the data", 2, 19},
		{"TFRecord data checksum", "TFRecord", "SingleRecord", "", flip(tf, len(tf)-1), "checksum mismatch: of the data", 2, 19},
		{"TFRecord truncated", "TFRecord", "SingleRecord", "", string(tf[:len(tf)-1]), "ends inside a record", 2, 19},
		{"not gzip", "Line", "MultiRecord", "Gzip", "1\n2\n", "not gzip", 0, 0},
		{"truncated gzip", "None", "MultiRecord", "Gzip", zipped[:len(zipped)-4], "damaged gzip: ends early", 0, 0},
		{"gzip checksum", "Line", "SingleRecord", "Gzip", zipped[:len(zipped)-8] + "\x00\x00\x00\x00\x04\x00\x00\x00", "damaged gzip", 0, 0},
	} {
		for _, at := range []string{c.strategy} {
			t.Run(c.name+"/"+at, func(t *testing.T) {
				good := string(framing.RecordIO.Append(nil, []byte("good")))
				if c.split == "TFRecord" {
					good = string(framing.TFRecord.Append(nil, []byte("good")))
				} else if c.compression == "Gzip" {
					good = gzipped("good")
				}
				model := &tt.Container{Invoke: tt.Status(200, "y")}
				b := setup(tt.Serve(t, model), tt.Object("in/1", c.in), tt.Object("in/2", good))
				b.Job.Input.SplitType, b.Job.BatchStrategy, b.Job.Input.Compression = c.split, &c.strategy, c.compression
				res, err := b.run(t)
				if res.FailureReason != clientReason || !strings.Contains(fmt.Sprint(err), c.says) {
					t.Errorf("%q, %v, want %q", res.FailureReason, err, c.says)
				}
				outputs(t, b, map[string]string{"2.out": "y"})
				if f := res.Failures[0]; f.Key != "in/1" || f.Record != c.record || f.Offset != c.offset {
					t.Errorf("failure %+v, want record %d at %d", f, c.record, c.offset)
				}
				log := b.logged()
				if len(log) != 5 || log[1] != "bucket/in/1: ClientError: 400" || log[3] != "bucket/in/1: Message:" || !strings.Contains(log[4], c.says) {
					t.Errorf("data log %q", log)
				}
			})
		}
	}
}

func TestObjectsOverTheLimit(t *testing.T) { // BT-93 to BT-96, Appendix C 6
	const mb = 1 << 20
	for _, c := range []struct {
		name, split, compression, in string
		ok                           bool
		says                         string
	}{
		{"unsplit at the limit", "None", "", strings.Repeat("x", mb), true, ""},
		{"unsplit over it", "None", "", strings.Repeat("x", mb+1), false, "Object is 1048577 bytes, larger than MaxPayloadInMB=1 (1048576 bytes)"},
		{"decompressed over it", "None", "Gzip", gzipped(strings.Repeat("x", mb+1)), false, "Object is at least 1048577 bytes, larger than MaxPayloadInMB=1 (1048576 bytes)"}, // BT-40
		{"decompressed at the limit", "None", "Gzip", gzipped(strings.Repeat("x", mb)), true, ""},
		{"line at the limit", "Line", "", strings.Repeat("x", mb-1) + "\n" + "y", true, ""},
		{"line over it", "Line", "", "1\n" + strings.Repeat("x", mb) + "\ny", false, "Record 2 is 1048577 bytes, larger than MaxPayloadInMB=1 (1048576 bytes)"},
		{"line without end", "Line", "", "1\n" + strings.Repeat("x", 5*mb), false, "Record 2 is 5242880 bytes, larger than MaxPayloadInMB=1 (1048576 bytes)"},
		{"line of zipped data", "Line", "Gzip", gzipped("1\n" + strings.Repeat("x", mb) + "\n"), false, "Record 2 is 1048577 bytes, larger than MaxPayloadInMB=1 (1048576 bytes)"},
	} {
		for _, strategy := range []string{"SingleRecord", "MultiRecord"} {
			t.Run(c.name+"/"+strategy, func(t *testing.T) {
				b := setup(tt.Serve(t, &tt.Container{Invoke: tt.Status(200, "y")}), tt.Object("in/1", c.in))
				b.Job.Input.SplitType, b.Job.Input.Compression, b.Job.BatchStrategy, b.Job.MaxPayloadMB = c.split, c.compression, &strategy, new(1)
				res, err := b.run(t)
				if c.ok {
					if err != nil {
						t.Error(err)
					}
					return
				}
				if res.FailureReason != clientReason || !errors.Is(err, framing.ErrTooLong) || b.logged()[4] != "bucket/in/1: "+c.says {
					t.Errorf("%q, %v, data log %q", res.FailureReason, err, b.logged())
				}
				outputs(t, b, nil)
			})
		}
	}
	t.Run("framed record fits, its payload does not count", func(t *testing.T) { // BT-81
		for strategy, ok := range map[string]bool{"SingleRecord": true, "MultiRecord": false} {
			in := string(framing.TFRecord.Append(nil, bytes.Repeat([]byte("x"), mb)))
			b := setup(tt.Serve(t, &tt.Container{Invoke: tt.Status(200, "y")}), tt.Object("in/1", in))
			b.Job.Input.SplitType, b.Job.BatchStrategy, b.Job.MaxPayloadMB = "TFRecord", &strategy, new(1)
			if _, err := b.run(t); (err == nil) != ok {
				t.Errorf("%s: %v", strategy, err)
			}
		}
	})
}

func TestStoreFailures(t *testing.T) { // ST-13, BT-140, BT-141
	denied := errors.New("access denied")
	for _, step := range []string{"create", "write", "commit"} {
		for _, payload := range []int{6, 0} {
			t.Run(fmt.Sprintf("%s/%d", step, payload), func(t *testing.T) {
				b := setup(tt.Serve(t, &tt.Container{}), tt.Object("in/1", strings.Repeat("x\n", 100_000)), tt.Object("in/2", "y"), tt.Object("in/3", ""))
				b.Job.MaxPayloadMB = &payload
				b.out.Fail = func(s, name string) error {
					if s == step && name == "1.out" {
						return denied
					}
					return nil
				}
				res, err := b.run(t)
				if !errors.Is(err, denied) || res.FailureReason != internalReason {
					t.Errorf("%v, %q", err, res.FailureReason)
				}
				outputs(t, b, map[string]string{"2.out": "y", "3.out": ""})
				if step != "create" {
					same(t, "aborted", b.out.Aborted(), []string{"1.out"})
				}
			})
		}
	}
	t.Run("input", func(t *testing.T) {
		for _, payload := range []int{6, 0} {
			gone := tt.Object("in/1", "x")
			gone.Open = func(ctx) (io.ReadCloser, error) { return nil, denied }
			broken := tt.Object("in/2", "0123456789")
			broken.Open = func(ctx) (io.ReadCloser, error) {
				return io.NopCloser(io.MultiReader(strings.NewReader("01234"), writerReader(denied))), nil
			}
			aborted := make(chan struct{}, 10)
			model := &tt.Container{}
			h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == "POST" {
					if _, err := io.Copy(io.Discard, r.Body); err != nil {
						aborted <- struct{}{}
						return
					}
					io.WriteString(w, "y")
					return
				}
				model.ServeHTTP(w, r)
			})
			b := setup(tt.Serve(t, h), gone, broken, tt.Object("in/3", "z"))
			b.Job.MaxPayloadMB = &payload
			res, err := b.run(t)
			if !errors.Is(err, denied) || res.FailureReason != clientReason || len(res.Failures) != 2 {
				t.Errorf("%v, %q, %+v", err, res.FailureReason, res.Failures)
			}
			outputs(t, b, map[string]string{"3.out": "y"})
			if payload == 0 {
				select { // the container sees it when it reads on, which may be after the end of ours
				case <-aborted:
				case <-time.After(10 * time.Second):
					t.Error("the container took a broken stream for a whole one")
				}
			}
		}
	})
	t.Run("listing", func(t *testing.T) {
		b := setup(tt.Serve(t, &tt.Container{}))
		b.Objects = func(yield func(transform.Object, error) bool) {
			_ = yield(tt.Object("in/1", "x"), nil) && yield(transform.Object{}, denied)
		}
		res, err := b.run(t)
		if !errors.Is(err, denied) || res.FailureReason != "ClientError: access denied" {
			t.Errorf("%v, %q", err, res.FailureReason)
		}
		outputs(t, b, nil)
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

func writerReader(err error) io.Reader {
	return readerFunc(func([]byte) (int, error) { return 0, err })
}

func TestTheEarliestRequestIsReported(t *testing.T) { // with several at once, whichever answers first
	var gate sync.WaitGroup
	gate.Add(3)
	model := &tt.Container{Invoke: func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		gate.Done()
		gate.Wait()
		switch string(b) {
		case "2\n":
			time.Sleep(50 * time.Millisecond)
			tt.Status(400, "second")(w, r)
		case "3\n":
			tt.Status(400, "third")(w, r)
		}
	}}
	b := setup(tt.Serve(t, model), tt.Object("in/1", "1\n2\n3\n")).line("SingleRecord")
	b.Job.MaxConcurrent, b.Job.MaxPayloadMB = new(3), new(1)
	res, _ := b.run(t)
	if f := res.Failures[0]; f.Record != 2 || f.Offset != 2 || f.Body != "second" || !strings.Contains(f.Error(), "in/1, record 2 at byte 2: the container answered 400") {
		t.Errorf("%+v: %v", f, &f)
	}
}

func TestManyFailures(t *testing.T) { // the list is bounded, the count is not, the first one decides
	var objects []transform.Object
	for i := range transform.MaxFailures + 50 {
		objects = append(objects, tt.Object(fmt.Sprintf("in/%05d", i), "x"))
	}
	b := setup(tt.Serve(t, &tt.Container{Invoke: tt.Status(400, "no")}), objects...)
	b.Job.MaxConcurrent = new(8)
	res, err := b.run(t)
	if len(res.Failures) != transform.MaxFailures || res.Totals.Failed != int64(len(objects)) || res.Failures[0].Key != "in/00000" {
		t.Errorf("%d listed, %d counted, %v", len(res.Failures), res.Totals.Failed, err)
	}
}
