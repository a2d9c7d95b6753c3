package transform_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/optml/optml/transform"
	tt "github.com/optml/optml/transform/transformtest"
)

// trivial is a container that drains the body and answers four bytes.
var trivial = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	io.WriteString(w, "0.5\n")
})

func benchServer(b *testing.B) transform.Instance { return tt.Serve(b, trivial) }

// BenchmarkSingleRecord sends 1 KiB lines one by one; Raw posts the same bodies over one connection without anything
// around it, NetHTTP as a program with the standard client would.
func BenchmarkSingleRecord(b *testing.B) {
	const size, count = 1 << 10, 20_000
	line := append(bytes.Repeat([]byte("x"), size-1), '\n')
	content := string(bytes.Repeat(line, count))
	for _, c := range []int{1, 4, 16} {
		b.Run(fmt.Sprintf("Run/c=%d", c), func(b *testing.B) {
			in := benchServer(b)
			b.SetBytes(size)
			for range (b.N + count - 1) / count {
				j := setup(in, tt.Object("in/x", content)).line("SingleRecord")
				j.Job.MaxConcurrent, j.Job.MaxPayloadMB = &c, new(1)
				if _, err := transform.Run(b.Context(), j.Config); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64((b.N+count-1)/count*count)/b.Elapsed().Seconds(), "req/s")
		})
		b.Run(fmt.Sprintf("NetHTTP/c=%d", c), func(b *testing.B) {
			in := benchServer(b)
			client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: c, MaxIdleConns: c}}
			defer client.CloseIdleConnections()
			b.SetBytes(size)
			b.SetParallelism(max(1, c/2))
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					res, err := client.Post("http://"+in.Addr+"/invocations", "text/csv", bytes.NewReader(line))
					if err != nil {
						b.Error(err)
						return
					}
					io.Copy(io.Discard, res.Body)
					res.Body.Close()
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
		})
	}
	for _, c := range []int{1, 4, 16} {
		b.Run(fmt.Sprintf("Raw/c=%d", c), func(b *testing.B) {
			in := benchServer(b)
			var left atomic.Int64
			left.Store(int64(b.N))
			b.SetBytes(size)
			var wg sync.WaitGroup
			for range c {
				wg.Go(func() { raw(b, in.Addr, line, func() bool { return left.Add(-1) >= 0 }) })
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
		})
	}
}

func raw(b *testing.B, addr string, body []byte, more func() bool) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		b.Error(err)
		return
	}
	defer c.Close()
	head := fmt.Appendf(nil, "POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", len(body))
	small := append(head, body...)
	r := bufio.NewReader(c)
	for more() {
		if len(body) < 64<<10 {
			_, err = c.Write(small)
		} else {
			bufs := net.Buffers{head[:len(head):len(head)], body}
			_, err = bufs.WriteTo(c)
		}
		if err != nil {
			b.Error(err)
			return
		}
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			b.Error(err)
			return
		}
		io.Copy(io.Discard, res.Body)
	}
}

func BenchmarkMultiRecord6MiB(b *testing.B) {
	const limit = 6 << 20
	line := append(bytes.Repeat([]byte("x"), 127), '\n')
	content := string(bytes.Repeat(line, 20*limit/len(line)))
	for _, c := range []int{1, 4} {
		b.Run(fmt.Sprintf("Run/c=%d", c), func(b *testing.B) {
			in := benchServer(b)
			b.SetBytes(int64(len(content)))
			for b.Loop() {
				j := setup(in, tt.Object("in/x", content)).line("MultiRecord")
				j.Job.MaxConcurrent = &c
				if _, err := transform.Run(b.Context(), j.Config); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("Raw/c=1", func(b *testing.B) {
		in := benchServer(b)
		b.SetBytes(limit)
		raw(b, in.Addr, bytes.Repeat(line, limit/len(line)), b.Loop)
	})
}
