package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"time"

	"github.com/optml/optml/framing"
	"github.com/optml/optml/hack/measure"
)

// data is an object of lines of one length, and how it is sent.
type data struct {
	key      string
	line     int   // bytes of a line with its line feed; a power of two
	lines    int64 // in the object
	limit    int   // of a payload in bytes
	multi    bool
	requests int64 // that this makes
}

func (b *bench) count(n int64) int64 { return max(16, int64(float64(n)*b.scale)) }

// single is lines of 1 KiB, one a request. Python gets fewer: it takes half a millisecond for each.
func (b *bench) single() data { return singles("single", b.count(100_000)) }
func (b *bench) fewer() data  { return singles("fewer", b.count(20_000)) }

func singles(key string, n int64) data {
	return data{key: key, line: 1 << 10, lines: n, limit: 1 << 20, requests: n}
}

// many is lines of 128 bytes that fill payloads of 6 MiB.
func (b *bench) many() data {
	n := b.count(170)
	return data{key: "multi", line: 128, lines: n * (6 << 20) / 128, limit: 6 << 20, multi: true, requests: n}
}

// large is an object of 2 GiB.
func (b *bench) large() data {
	d := data{key: "large", line: 128, lines: b.count(2<<30/(1<<20)) << 20 / 128, limit: 6 << 20, multi: true}
	d.requests = (d.bytes() + int64(d.limit) - 1) / int64(d.limit)
	return d
}

// few is lines of 1 KiB, one a request, to a model that takes its time.
func (b *bench) few() data {
	return data{key: "few", line: 1 << 10, lines: b.count(2000), limit: 1 << 20}
}

// tuned is an object of 512 MiB, to be sent in payloads of any size.
func (b *bench) tuned() data {
	return data{key: "tuned", line: 128, lines: b.count(512) << 20 / 128, multi: true}
}

func (d data) bytes() int64 { return d.lines * int64(d.line) }

func (d data) path(b *bench) string { return b.File("s3/in/" + d.key) }

func (d data) strategy() string {
	if d.multi {
		return "multi"
	}
	return "single"
}

// body is how many bytes a request has.
func (d data) body() int {
	if d.multi {
		return d.limit
	}
	return d.line
}

// record is the line with this number: digits that look random, with commas between.
func (d data) record(i int64) []byte {
	line := make([]byte, d.line)
	r := rand.New(rand.NewPCG(uint64(d.line), uint64(i)))
	for k := range line {
		line[k] = '0' + byte(r.UintN(10))
		if k%8 == 7 {
			line[k] = ','
		}
	}
	line[d.line-1] = '\n'
	return line
}

// make writes the object, once: a MiB of lines again and again.
func (d data) make(b *bench) (err error) {
	if fi, err := os.Stat(d.path(b)); err == nil && fi.Size() == d.bytes() {
		return nil
	}
	f, err := os.Create(d.path(b))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	block := d.block(1 << 20)
	w := bufio.NewWriterSize(f, len(block))
	for left := d.bytes(); left > 0 && err == nil; left -= int64(len(block)) {
		_, err = w.Write(block[:min(left, int64(len(block)))])
	}
	return errors.Join(err, w.Flush())
}

func (d data) block(size int) (block []byte) {
	for i := range size / d.line {
		block = append(block, d.record(int64(i))...)
	}
	return block
}

var instant = []string{"first request to last response"}

// rows is everything that is measured, in this order.
var rows = []measure.Row[*bench]{
	{Name: "single-1", Says: "SingleRecord, lines of 1 KiB, one request at a time", Instants: instant, Unit: "requests/s", Amount: requests((*bench).single), Ready: func(b *bench) (*measure.Contest, error) {
		return b.drive(b.single(), 1, func(h *held, d data) []measure.Side {
			return []measure.Side{
				b.raw(measure.Side{Target: 1 / 1.3}, h, d, 1, false),
				b.wrk(measure.Side{Target: 0.8}, h, d, 1, 1),
				b.python(measure.Side{Target: 12, Best: true}, h, b.fewer(), d.requests, 1, true),
				b.python(measure.Side{Target: 12, Best: true}, h, b.fewer(), d.requests, 1, false),
			}
		})
	}},
	{Name: "single-4", Says: "SingleRecord, lines of 1 KiB, four requests at a time", Instants: instant, Unit: "requests/s", Amount: requests((*bench).single), Ready: func(b *bench) (*measure.Contest, error) {
		return b.drive(b.single(), 4, func(h *held, d data) []measure.Side {
			return []measure.Side{
				b.raw(measure.Side{}, h, d, 4, false),
				b.wrk(measure.Side{Target: 0.8, Best: true}, h, d, 1, 4),
				b.wrk(measure.Side{Target: 0.8, Best: true}, h, d, 2, 4),
				b.python(measure.Side{Target: 16, Best: true}, h, b.fewer(), d.requests, 4, true),
				b.python(measure.Side{Target: 16, Best: true}, h, b.fewer(), d.requests, 4, false),
			}
		})
	}},
	{Name: "multi-1", Says: "MultiRecord, payloads of 6 MiB, one at a time", Instants: instant, Unit: "MB/s", Amount: megabytes((*bench).many), Ready: func(b *bench) (*measure.Contest, error) { return b.payloads(1) }},
	{Name: "multi-4", Says: "MultiRecord, payloads of 6 MiB, four at a time", Instants: instant, Unit: "MB/s", Amount: megabytes((*bench).many), Ready: func(b *bench) (*measure.Contest, error) { return b.payloads(4) }},

	// The prototype of the targets made 13.0 GB/s of the loop, 13.0, 5.3 and 2.7 of these.
	splitting("Line", framing.Line, 0.8, 5000),
	splitting("RecordIO", framing.RecordIO, 0.8*5.3/13, 5000),
	splitting("TFRecord", framing.TFRecord, 0.8*2.7/13, 2000),

	// A model of a known kind: a few milliseconds for each request, some more for each MiB, four at once.
	tuning("tune-single", "SingleRecord, lines of 1 KiB", (*bench).few, "5ms,5ms,4", 5),
	tuning("tune-multi", "MultiRecord, lines of 128 bytes", (*bench).tuned, "20ms,5ms,4", 2),

	memory("memory-multi", "MultiRecord, 4 x 6 MiB", 4, 6, nil),
	memory("memory-multi-echo", "MultiRecord, 4 x 6 MiB, responses as large as the requests", 4, 6, map[string]string{"BENCH_ECHO": "1"}),
	memory("memory-multi-reverse", "MultiRecord, 4 x 6 MiB, responses as large as the requests, the last one first", 4, 6, map[string]string{"BENCH_ECHO": "1", "BENCH_REVERSE": "4"}),
	memory("memory-multi-join", "MultiRecord, 4 x 6 MiB, each row joined with its result", 4, 6, map[string]string{"BENCH_ROWS": "1"}),
	memory("memory-multi-reverse-join", "MultiRecord, 4 x 6 MiB, responses as large as the requests, the last one first, each row joined with its result", 4, 6, map[string]string{"BENCH_ECHO": "1", "BENCH_REVERSE": "4"}),
	memory("memory-stream", "MaxPayloadInMB 0", 1, 0, nil),
	memory("memory-stream-echo", "MaxPayloadInMB 0, a response as large as the request", 1, 0, map[string]string{"BENCH_ECHO": "1"}),
}

func requests(of func(*bench) data) func(*bench) float64 {
	return func(b *bench) float64 { return float64(of(b).requests) }
}

func megabytes(of func(*bench) data) func(*bench) float64 {
	return func(b *bench) float64 { return float64(of(b).bytes()) / 1e6 }
}

// ours is the job.
func (b *bench) ours(d data, w work) measure.Side {
	w.key, w.split, w.strategy = d.key, "Line", "SingleRecord"
	if d.multi {
		w.strategy = "MultiRecord"
	}
	return measure.Side{Name: "optml transform", Run: func(check bool) (measure.Sample, error) {
		w := w
		if check {
			w.env = map[string]string{"BENCH_SUM": "1"}
		}
		s, a, err := b.optml.transform(w)
		want := d.requests
		if w.payload == 0 && d.multi {
			want = 1
		}
		if err == nil && (a.Requests != want || a.Bytes != d.bytes()) {
			err = fmt.Errorf("%d requests of %d bytes in all, want %d of %d", a.Requests, a.Bytes, want, d.bytes())
		}
		s.Took, s.HasSum = []time.Duration{a.took()}, check
		return s, err
	}}
}

// drive makes ours and its peers ready.
func (b *bench) drive(d data, concurrent int, peers func(*held, data) []measure.Side) (*measure.Contest, error) {
	if err := d.make(b); err != nil {
		return nil, err
	}
	h, err := b.hold()
	if err != nil {
		return nil, err
	}
	ours := b.ours(d, work{concurrent: concurrent, payload: d.limit >> 20})
	return &measure.Contest{Sides: append([]measure.Side{ours}, peers(h, d)...), Close: h.close}, nil
}

func (b *bench) payloads(concurrent int) (*measure.Contest, error) {
	return b.drive(b.many(), concurrent, func(h *held, d data) []measure.Side {
		return []measure.Side{
			b.raw(measure.Side{Target: 0.9}, h, d, concurrent, true),
			b.raw(measure.Side{}, h, d, concurrent, false), // no client can: the machine's own ceiling
			b.python(measure.Side{Target: 1.2, Best: true}, h, d, d.requests, concurrent, true),
			b.python(measure.Side{Target: 1.2, Best: true}, h, d, d.requests, concurrent, false),
		}
	})
}

// splitBytes are split in a row of splitting alone.
const splitBytes = 256 << 20

// splitting is a format alone, in this very process: records of 128 bytes are found one by one as SingleRecord finds
// them, and as MultiRecord fills payloads, against a loop that looks for the next line feed in memory.
func splitting(name string, f framing.Format, target, rate float64) measure.Row[*bench] {
	const size = 128
	return measure.Row[*bench]{
		Name: "split-" + name, Says: name + " of 128 bytes a record, splitting alone", Instants: []string{"splitting"}, Unit: "MB/s",
		Amount: func(*bench) float64 { return splitBytes / 1e6 },
		Ready: func(b *bench) (*measure.Contest, error) {
			lines := data{line: size}.block(splitBytes)
			rec := lines[:size]
			if name == "Line" {
				rec = rec[:size-1]
			}
			framed := f.Append(nil, rec)
			n := splitBytes / len(framed)
			content := bytes.Repeat(framed, n)
			timed := func(amount int, do func() (int, error)) func(bool) (measure.Sample, error) {
				return func(bool) (measure.Sample, error) {
					before, t0 := measure.Spent(), time.Now()
					got, err := do()
					took := time.Since(t0)
					if err == nil && got != amount {
						err = fmt.Errorf("%d records, want %d", got, amount)
					}
					return measure.Sample{Took: []time.Duration{took}, CPU: measure.Spent() - before}, err
				}
			}
			fill := func(buf []byte, each bool) (total int, err error) {
				st := framing.NewStream(f, bytes.NewReader(content))
				for {
					m, records, err := st.Fill(buf)
					if err == io.EOF {
						return total, nil
					} else if err != nil {
						return total, err
					}
					if !each {
						total += records
						continue
					}
					for _, rec := range f.Each(buf[:m], true) {
						if len(rec) > 0 {
							total++
						}
					}
				}
			}
			single, multi := make([]byte, 256<<10), make([]byte, 6<<20)
			return &measure.Contest{Close: func() {}, Sides: []measure.Side{
				{Name: "one by one", Run: timed(n, func() (int, error) { return fill(single, true) })},
				{Name: "bytes.IndexByte", Target: target, Or: rate, Run: timed(splitBytes/size, func() (n int, err error) {
					for rest := lines; len(rest) > 0; n++ {
						rest = rest[bytes.IndexByte(rest, '\n')+1:]
					}
					return n, nil
				})},
				{Name: "payloads of 6 MiB", Run: timed(n, func() (int, error) { return fill(multi, false) })},
			}}, nil
		},
	}
}

// memory is an object of 2 GiB within the bound: twice what may be open, and 64 MiB.
func memory(name, says string, concurrent, payload int, env map[string]string) measure.Row[*bench] {
	return measure.Row[*bench]{
		Name: name, Says: "one object of 2 GiB, " + says, Instants: instant, Unit: "MB/s", Amount: megabytes((*bench).large), Once: true,
		Memory: int64(2*concurrent*payload+64) << 20,
		Ready: func(b *bench) (*measure.Contest, error) {
			d := b.large()
			if err := d.make(b); err != nil {
				return nil, err
			}
			return &measure.Contest{Sides: []measure.Side{b.ours(d, work{concurrent: concurrent, payload: payload, env: env, join: strings.HasSuffix(name, "join")})}, Close: func() {}}, nil
		},
	}
}
