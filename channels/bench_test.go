package channels

import (
	"fmt"
	"os"
	"testing"

	"github.com/optml/optml/objstore/s3test"
	"github.com/optml/optml/objstore/storetest"
)

// BenchmarkFile is File mode from an S3 in the same process into a directory, /dev/shm where there is one: many small
// objects, and some of a MiB. The server's work is in the figures.
func BenchmarkFile(b *testing.B) {
	for _, c := range []struct {
		name    string
		n, size int
	}{{"10000x16KiB", 10_000, 16 << 10}, {"200x1MiB", 200, 1 << 20}, {"2x256MiB", 2, 256 << 20}} {
		b.Run(c.name, func(b *testing.B) {
			srv := s3test.New(s3test.Options{})
			data := storetest.Bytes(c.size)
			for i := range c.n {
				srv.Put("bucket", fmt.Sprintf("in/%05d", i), data)
			}
			op := s3(b, srv)
			b.SetBytes(int64(c.n) * int64(c.size))
			for b.Loop() {
				b.StopTimer()
				dir, err := os.MkdirTemp(shm(), "optml-bench-")
				if err != nil {
					b.Fatal(err)
				}
				d, err := New(prefixChannel("s3://bucket/in/"), Config{Dir: dir, Opener: op})
				if err != nil {
					b.Fatal(err)
				}
				if err := d.Prepare(b.Context()); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				if err := d.Fill(b.Context()); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				os.RemoveAll(dir)
				b.StartTimer()
			}
			b.ReportMetric(float64(c.n)*float64(b.N)/b.Elapsed().Seconds(), "objects/s")
		})
	}
}

// shm is a directory in memory, or "" where there is none.
func shm() string {
	if fi, err := os.Stat("/dev/shm"); err == nil && fi.IsDir() {
		return "/dev/shm"
	}
	return ""
}
