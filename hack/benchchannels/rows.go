package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/optml/optml/hack/measure"
)

const (
	pipeBlock = 256 << 10 // bytes that the reader asks a pipe for at once
	fileBlock = 1 << 20   // and a file
)

// The data. The counts and sizes are those of -scale 1.
func (b *bench) small() set  { return set{"small/", b.count(10_000), 16 << 10, 200} }
func (b *bench) mid() set    { return set{"mid/", b.count(200), 1 << 20, 0} }
func (b *bench) big() set    { return set{"big/", 2, b.size(1 << 30), 0} }
func (b *bench) one() set    { return set{"one/", 1, b.size(2 << 30), 0} }
func (b *bench) many() set   { return set{"many/", b.count(200), 10 << 20, 0} }
func (b *bench) files() set  { return set{"files/", b.count(2_000), 16 << 10, 0} }
func (b *bench) texts() set  { return set{"text/", 16, b.size(64 << 20), 0} }
func (b *bench) huge() int64 { return b.size(20 << 30) }

func (b *bench) count(n int) int { return max(16, int(float64(n)*b.scale)) }

// size keeps to whole MiB.
func (b *bench) size(n int64) int64 { return max(4, int64(float64(n>>20)*b.scale)) << 20 }

var (
	fileInstants = []string{"to the process", "download alone"}
	pipeInstants = []string{"first byte to end", "open to end"}
	readInstants = []string{"open to end"}
)

func megabytes(of func(*bench) set) func(*bench) float64 {
	return func(b *bench) float64 { return float64(of(b).bytes()) / 1e6 }
}

func objects(of func(*bench) set) func(*bench) float64 {
	return func(b *bench) float64 { return float64(of(b).count) }
}

// randomReads are those of the random rows, by readers.
func (b *bench) randomReads(readers int) int { return max(readers*4, b.count(250*min(readers, 4))) }

// rows is everything that is measured, in this order.
var rows = []measure.Row[*bench]{
	{Name: "file-small", Says: "File, 10,000 x 16 KiB from S3", Instants: fileInstants, Unit: "objects/s", Amount: objects((*bench).small), Ready: func(b *bench) (*measure.Contest, error) {
		return b.file(b.small(), 16, func(srv *server) []measure.Side {
			return []measure.Side{b.s5cmd(srv, measure.Side{Target: 2.5}, b.small()), b.aws(srv, measure.Side{Target: 20, Runs: 3}, b.small())}
		})
	}},
	{Name: "file-mid", Says: "File, 200 x 1 MiB from S3", Instants: fileInstants, Unit: "MB/s", Amount: megabytes((*bench).mid), Ready: func(b *bench) (*measure.Contest, error) {
		return b.file(b.mid(), 16, func(srv *server) []measure.Side {
			return []measure.Side{b.s5cmd(srv, measure.Side{Target: 1.5}, b.mid())}
		})
	}},
	{Name: "file-big", Says: "File, 2 x 1 GiB from S3", Instants: fileInstants, Unit: "MB/s", Amount: megabytes((*bench).big), Ready: func(b *bench) (*measure.Contest, error) {
		return b.file(b.big(), 4, func(srv *server) []measure.Side {
			return []measure.Side{
				b.s5cmd(srv, measure.Side{Target: 1, Best: true, CPU: 0.7}, b.big()),
				b.s5cmd(srv, measure.Side{Target: 1, Best: true, CPU: 0.7}, b.big(), "-c", "2", "-p", "64"), // larger parts, fewer at once: best here
				b.rcloneCopy(srv, measure.Side{Target: 1, Best: true}, b.big()),
			}
		})
	}},
	{Name: "pipe-one", Says: "Pipe, 1 x 2 GiB from S3", Instants: pipeInstants, Unit: "MB/s", Amount: megabytes((*bench).one), Ready: func(b *bench) (*measure.Contest, error) {
		return b.pipe(b.one(), "s3://"+bucket+"/"+b.one().key(0))
	}},
	{Name: "pipe-many", Says: "Pipe, 200 x 10 MiB from S3", Instants: pipeInstants, Unit: "MB/s", Amount: megabytes((*bench).many), Ready: func(b *bench) (*measure.Contest, error) {
		return b.pipe(b.many(), "s3://"+bucket+"/"+b.many().prefix+"*")
	}},
	{Name: "pipe-local-one", Says: "Pipe, 1 x 2 GiB from a directory", Instants: pipeInstants, Unit: "MB/s", Amount: megabytes((*bench).one), Ready: func(b *bench) (*measure.Contest, error) { return b.pipeLocal(b.one()) }},
	{Name: "pipe-local-many", Says: "Pipe, 200 x 10 MiB from a directory", Instants: pipeInstants, Unit: "MB/s", Amount: megabytes((*bench).many), Ready: func(b *bench) (*measure.Contest, error) { return b.pipeLocal(b.many()) }},
	{Name: "pipe-gzip", Says: "Pipe with Gzip, 16 objects of 64 MiB of text from S3; the peers read files", Instants: pipeInstants, Unit: "MB/s", Amount: megabytes((*bench).texts), Ready: (*bench).gzip},
	{Name: "fastfile-sequential", Says: "FastFile, first epoch, 1 x 2 GiB from S3", Instants: readInstants, Unit: "MB/s", Amount: megabytes((*bench).one), Touch: true, Ready: func(b *bench) (*measure.Contest, error) {
		return b.fastFile(b.one(), 4, reading{Block: fileBlock, Epochs: 1}, b.mounts(2, 3, "one", asItComes, deep, streams, full))
	}},
	{Name: "fastfile-again", Says: "FastFile, later epochs of 1 x 2 GiB, nothing dropped from any cache", Instants: []string{"second epoch", "third epoch"}, Unit: "MB/s", Amount: megabytes((*bench).one), Touch: true, Ready: func(b *bench) (*measure.Contest, error) {
		return b.again(reading{Block: fileBlock, Epochs: 3})
	}},
	{Name: "fastfile-again-spool", Says: "FastFile, later epochs of 1 x 2 GiB that the page cache does not have, kept on disk", Instants: []string{"third epoch", "fourth epoch"}, Unit: "MB/s", Amount: megabytes((*bench).one), Touch: true, Ready: func(b *bench) (*measure.Contest, error) {
		return b.again(reading{Block: fileBlock, Epochs: 4, Drop: true})
	}},
	{Name: "fastfile-random-1", Says: "FastFile, reads of 128 KiB at random places of 2 GiB, 1 thread", Instants: readInstants, Unit: "reads/s", Amount: func(b *bench) float64 { return float64(b.randomReads(1)) }, Ready: func(b *bench) (*measure.Contest, error) { return b.random(1) }},
	{Name: "fastfile-random-8", Says: "FastFile, reads of 128 KiB at random places of 2 GiB, 8 threads", Instants: readInstants, Unit: "reads/s", Amount: func(b *bench) float64 { return float64(b.randomReads(8)) }, Ready: func(b *bench) (*measure.Contest, error) { return b.random(8) }},
	{Name: "fastfile-small", Says: "FastFile, 2,000 x 16 KiB, 8 readers", Instants: readInstants, Unit: "files/s", Amount: objects((*bench).files), Ready: func(b *bench) (*measure.Contest, error) {
		return b.fastFile(b.files(), 16, reading{Block: 64 << 10, Epochs: 1, Readers: 8}, b.mounts(0, 1.5, "files", asItComes, scattered))
	}},
	{Name: "latency-pipe-one", Says: "Pipe, 1 x 2 GiB with 20 ms of latency, against no latency", Instants: pipeInstants, Unit: "MB/s", Amount: megabytes((*bench).one), Ready: func(b *bench) (*measure.Contest, error) {
		return b.latency("Pipe", b.one(), false)
	}},
	{Name: "latency-pipe-many", Says: "Pipe, 200 x 10 MiB with 20 ms of latency, against no latency", Instants: pipeInstants, Unit: "MB/s", Amount: megabytes((*bench).many), Ready: func(b *bench) (*measure.Contest, error) {
		return b.latency("Pipe", b.many(), false)
	}},
	{Name: "latency-fastfile", Says: "FastFile, 1 x 2 GiB with 20 ms of latency, against no latency", Instants: readInstants, Unit: "MB/s", Amount: megabytes((*bench).one), Touch: true, Ready: func(b *bench) (*measure.Contest, error) {
		return b.latency("FastFile", b.one(), false)
	}},
	{Name: "tls-pipe-one", Says: "Pipe, 1 x 2 GiB over TLS with 20 ms of latency, against TLS without", Instants: pipeInstants, Unit: "MB/s", Amount: megabytes((*bench).one), Ready: func(b *bench) (*measure.Contest, error) {
		return b.latency("Pipe", b.one(), true)
	}},
	{Name: "tls-pipe-many", Says: "Pipe, 200 x 10 MiB over TLS with 20 ms of latency, against TLS without", Instants: pipeInstants, Unit: "MB/s", Amount: megabytes((*bench).many), Ready: func(b *bench) (*measure.Contest, error) {
		return b.latency("Pipe", b.many(), true)
	}},
	{Name: "tls-fastfile", Says: "FastFile, 1 x 2 GiB over TLS with 20 ms of latency, against TLS without", Instants: readInstants, Unit: "MB/s", Amount: megabytes((*bench).one), Touch: true, Ready: func(b *bench) (*measure.Contest, error) {
		return b.latency("FastFile", b.one(), true)
	}},
	{Name: "memory-pipe", Says: "Pipe, one made object of 20 GiB, every byte checked", Instants: pipeInstants, Unit: "MB/s", Amount: func(b *bench) float64 { return float64(b.huge()) / 1e6 }, Once: true, Ready: func(b *bench) (*measure.Contest, error) { return b.made("Pipe") }},
	{Name: "memory-fastfile", Says: "FastFile, one made object of 20 GiB, every byte checked", Instants: readInstants, Unit: "MB/s", Amount: func(b *bench) float64 { return float64(b.huge()) / 1e6 }, Once: true, Ready: func(b *bench) (*measure.Contest, error) { return b.made("FastFile") }},
}

// serve makes the data and starts a server for it.
func (b *bench) serve(s set, make func(dir string) error, o serverOptions) (*server, error) {
	if err := make(filepath.Join(b.data, bucket)); err != nil {
		return nil, fmt.Errorf("make %s: %w", s.prefix, err)
	}
	o.Dir = b.data
	return startServer(o)
}

// ceiling is the side that is the server alone.
func (b *bench) ceiling(srv *server, s set, conns int, instants, at int) measure.Side {
	gets := s.gets()
	return measure.Side{Name: "server alone", Run: func(check bool) (measure.Sample, error) {
		out := measure.Sample{Took: make([]time.Duration, instants)}
		before, t0 := measure.Spent(), time.Now()
		err := discard(srv, conns, gets)
		out.Took[at], out.CPU = time.Since(t0), measure.Spent()-before
		return out, err
	}}
}

func (b *bench) file(s set, conns int, peers func(*server) []measure.Side) (*measure.Contest, error) {
	srv, err := b.serve(s, s.make, serverOptions{})
	if err != nil {
		return nil, err
	}
	look := reading{Path: "/opt/ml/input/data/train", Block: fileBlock}
	sides := []measure.Side{{Name: "optml train", Run: func(check bool) (measure.Sample, error) {
		plan := look
		if check {
			plan.Epochs, plan.Sum = 1, true
		}
		r, err := b.optml.train(&source{server: srv}, "File", s.prefix, "None", plan)
		if err == nil && (r.Files != int64(s.count) || r.Bytes != s.bytes()) {
			err = fmt.Errorf("%d files of %d bytes in all, want %d of %d", r.Files, r.Bytes, s.count, s.bytes())
		}
		return r.sample(time.Unix(0, r.Started).Sub(r.began), r.filled), err
	}}}
	sides = append(sides, peers(srv)...)
	sides = append(sides, b.ceiling(srv, s, conns, 2, 1), measure.Side{Name: "optml train, no data", Idle: true, Run: func(bool) (measure.Sample, error) {
		r, err := b.optml.train(&source{server: srv}, "File", "", "", reading{Path: "/opt/ml/input/config"})
		r.Bytes = 0
		return r.sample(time.Unix(0, r.Started).Sub(r.began), 0), err
	}})
	return &measure.Contest{Sides: sides, Close: srv.Close}, nil
}

func (b *bench) s5cmd(srv *server, s measure.Side, data set, flags ...string) measure.Side {
	s.Name = strings.Join(append([]string{"s5cmd cp"}, flags...), " ")
	return b.download(s, srv, "s5cmd", func(dir string) []string {
		args := append([]string{"--endpoint-url", srv.URL, "--log", "error", "cp"}, flags...)
		return append(args, "s3://"+bucket+"/"+data.prefix+"*", dir+"/")
	})
}

func (b *bench) aws(srv *server, s measure.Side, data set) measure.Side {
	s.Name = "aws s3 cp"
	return b.download(s, srv, "aws", func(dir string) []string {
		return []string{"--endpoint-url", srv.URL, "s3", "cp", "--quiet", "--recursive", "s3://" + bucket + "/" + data.prefix, dir}
	})
}

func (b *bench) rcloneCopy(srv *server, s measure.Side, data set) measure.Side {
	s.Name = "rclone copy"
	return b.download(s, srv, "rclone", func(dir string) []string {
		return []string{"copy", "s:" + bucket + "/" + data.prefix, dir, "--transfers", "16", "--multi-thread-streams", "4", "--multi-thread-chunk-size", "256M"}
	})
}

// ours in Pipe mode.
func (b *bench) piping(name string, from *source, s set, compression string) measure.Side {
	return measure.Side{Name: name, Run: func(check bool) (measure.Sample, error) {
		r, err := b.optml.train(from, "Pipe", s.prefix, compression, reading{Path: "/opt/ml/input/data/train_0", Pipe: true, Block: pipeBlock, Epochs: 1, Sum: check})
		if err == nil && r.Bytes != s.bytes() {
			err = fmt.Errorf("read %d bytes, want %d", r.Bytes, s.bytes())
		}
		return r.sample(r.firstToEnd(), r.openToEnd()), err
	}}
}

func (b *bench) pipe(s set, glob string) (*measure.Contest, error) {
	srv, err := b.serve(s, s.make, serverOptions{})
	if err != nil {
		return nil, err
	}
	rclone := []string{"rclone", "cat", "s:" + bucket + "/" + s.prefix, "--buffer-size", "64M"}
	s5cmd := []string{"s5cmd", "--endpoint-url", srv.URL}
	one := slices.Concat(s5cmd, []string{"cat", "-c", "1", glob}) // one part at a time: best here, where nothing is far away
	return &measure.Contest{Sides: []measure.Side{
		b.piping("optml train", &source{server: srv}, s, "None"),
		b.cat(measure.Side{Name: "rclone cat", Target: 1.5, Order: s.count > 1}, srv, rclone),
		b.cat(measure.Side{Name: "s5cmd cat", Target: 2, Best: true}, srv, slices.Concat(s5cmd, []string{"cat", glob})),
		b.cat(measure.Side{Name: "s5cmd cat -c 1", Target: 2, Best: true}, srv, one),
		b.cat(measure.Side{Name: "rclone cat, 1 MiB pipe", Wide: true, Order: s.count > 1}, srv, rclone),
		b.cat(measure.Side{Name: "s5cmd cat -c 1, 1 MiB pipe", Wide: true}, srv, one),
		b.ceiling(srv, s, 4, 2, 0),
	}, Close: srv.Close}, nil
}

func (b *bench) pipeLocal(s set) (*measure.Contest, error) {
	if err := s.make(filepath.Join(b.data, bucket)); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(b.data, "out"), 0o755); err != nil {
		return nil, err
	}
	return &measure.Contest{Sides: []measure.Side{
		b.piping("optml train", &source{dir: b.data}, s, "None"),
		b.memory(measure.Side{Name: "memory into a pipe", Target: 0.8}, s.bytes()),
	}, Close: func() {}}, nil
}

func (b *bench) gzip() (*measure.Contest, error) {
	s := b.texts()
	srv, err := b.serve(s, s.makeText, serverOptions{})
	if err != nil {
		return nil, err
	}
	cat := []string{"cat"}
	for i := range s.count {
		cat = append(cat, filepath.Join(b.data, bucket, s.key(i)))
	}
	return &measure.Contest{Sides: []measure.Side{
		b.piping("optml train", &source{server: srv}, s, "Gzip"),
		b.cat(measure.Side{Name: "cat | gzip -d", Target: 1.7}, nil, cat, []string{"gzip", "-d"}),
		b.cat(measure.Side{Name: "cat | pigz -d"}, nil, cat, []string{"pigz", "-d"}),
	}, Close: srv.Close}, nil
}

// reads is ours in FastFile mode.
func (b *bench) reads(name string, from *source, s set, plan reading, took func(answer) []time.Duration) measure.Side {
	return measure.Side{Name: name, Run: func(check bool) (measure.Sample, error) {
		p := plan
		p.Path, p.Sum = "/opt/ml/input/data/train", check
		o, err := b.onDisk() // where ours may keep what it fetches, as it does for a user
		if err != nil {
			return measure.Sample{}, err
		}
		r, err := o.train(from, "FastFile", s.prefix, "None", p)
		return r.sample(took(r.answer)...), err
	}}
}

func openToEnd(a answer) []time.Duration { return []time.Duration{a.openToEnd()} }

// peersOf makes the peers of a FastFile row.
type peersOf func(srv *server, plan reading) []measure.Side

// variant is a way to run rclone mount. In each row those are tried that may be the best there.
type variant struct {
	name  string
	flags []string
}

var (
	asItComes = variant{"rclone mount", []string{"--vfs-cache-mode", "off"}}
	deep      = variant{"rclone mount, deep", []string{"--vfs-cache-mode", "off", "--buffer-size", "64M"}}
	streams   = variant{"rclone mount, streams", []string{"--vfs-cache-mode", "off", "--buffer-size", "64M", "--vfs-read-chunk-streams", "4", "--vfs-read-chunk-size", "8M"}}
	full      = variant{"rclone mount, full", []string{"--vfs-cache-mode", "full", "--buffer-size", "64M", "--vfs-read-chunk-streams", "4", "--vfs-read-chunk-size", "8M"}}
	scattered = variant{"rclone mount, scattered", []string{"--vfs-cache-mode", "off", "--buffer-size", "0", "--vfs-read-chunk-size", "128K", "--vfs-read-chunk-size-limit", "128K"}}
)

// mounts are s3fs and rclone mount with the targets given, reading below a directory of the bucket.
func (b *bench) mounts(s3fs, rclone float64, below string, variants ...variant) peersOf {
	return func(srv *server, plan reading) []measure.Side {
		secret := b.File("s3fs")
		made := os.WriteFile(secret, []byte("bench:benchbench\n"), 0o600)
		fuse := b.mount(measure.Side{Name: "s3fs", Target: s3fs}, srv, "s3fs", func(dir string) []string {
			return []string{bucket, dir, "-f", "-o", "ro,use_path_request_style,url=" + srv.URL + ",passwd_file=" + secret + ",parallel_count=8,multipart_size=16"}
		}, below, plan, openToEnd)
		if fuse.Missing == nil {
			fuse.Missing = made
		}
		sides := []measure.Side{fuse}
		for _, v := range variants {
			sides = append(sides, b.mount(measure.Side{Name: v.name, Target: rclone, Best: true}, srv, "rclone", func(dir string) []string {
				return append([]string{"mount", "s:" + bucket, dir, "--cache-dir", filepath.Join(b.disk, "cache"),
					"--read-only", "--no-modtime", "--dir-cache-time", "1h", "--attr-timeout", "1h", "--max-read-ahead", "1M"}, v.flags...)
			}, below, plan, openToEnd))
		}
		return sides
	}
}

func (b *bench) fastFile(s set, conns int, plan reading, peers peersOf) (*measure.Contest, error) {
	srv, err := b.serve(s, s.make, serverOptions{})
	if err != nil {
		return nil, err
	}
	sides := append([]measure.Side{b.reads("optml train", &source{server: srv}, s, plan, openToEnd)}, peers(srv, plan)...)
	if plan.Random == 0 {
		sides = append(sides, b.ceiling(srv, s, conns, 1, 0))
	}
	return &measure.Contest{Sides: sides, Close: srv.Close}, nil
}

func (b *bench) random(readers int) (*measure.Contest, error) {
	return b.fastFile(b.one(), 4, reading{Block: 128 << 10, Epochs: 1, Readers: readers, Random: b.randomReads(readers)}, b.mounts(0, 6, "one", asItComes, scattered))
}

// again is later epochs against a file on the file system where ours keeps what it keeps.
func (b *bench) again(plan reading) (*measure.Contest, error) {
	s := b.one()
	srv, err := b.serve(s, s.make, serverOptions{})
	if err != nil {
		return nil, err
	}
	later := func(a answer) []time.Duration {
		n := len(a.Epochs)
		return []time.Duration{time.Duration(a.Epochs[n-2]), time.Duration(a.Epochs[n-1])}
	}
	local := set{"local/", s.count, s.size, 0}
	dir := filepath.Join(b.disk, "files")
	if err := local.make(dir); err != nil {
		return nil, err
	}
	return &measure.Contest{Sides: []measure.Side{
		b.reads("optml train", &source{server: srv}, s, plan, later),
		{Name: "File mode", Target: 0.8, Order: true, Run: func(check bool) (measure.Sample, error) {
			o, err := b.onDisk()
			if err != nil {
				return measure.Sample{}, err
			}
			p := plan
			p.Path, p.Sum, p.Drop = "/opt/ml/input/data/train", check, false // it stays in the page cache, as what ours keeps does
			r, err := o.train(&source{server: srv}, "File", s.prefix, "None", p)
			return r.sample(later(r.answer)...), err
		}},
		{Name: "a local file, outside", Order: true, Run: func(bool) (measure.Sample, error) {
			p := plan
			p.Path, p.Drop = filepath.Join(dir, local.prefix), false // it stays in the page cache, as what ours keeps does
			a, err := b.read(p)
			if err != nil {
				return measure.Sample{}, err
			}
			return measure.Sample{Took: later(a), Bytes: a.Bytes}, nil
		}},
	}, Close: func() { os.RemoveAll(dir); srv.Close() }}, nil
}

const roundTrip = 20 * time.Millisecond

// latency is ours with latency against ours without.
func (b *bench) latency(mode string, s set, secure bool) (*measure.Contest, error) {
	c := &measure.Contest{}
	var all []*server
	c.Close = func() {
		for _, srv := range all {
			srv.Close()
		}
	}
	add := func(name string, target float64, o serverOptions) error {
		srv, err := b.serve(s, s.make, o)
		if err != nil {
			return err
		}
		all = append(all, srv)
		var one measure.Side
		if mode == "Pipe" {
			one = b.piping(name, &source{server: srv}, s, "None")
		} else {
			one = b.reads(name, &source{server: srv}, s, reading{Block: fileBlock, Epochs: 1}, openToEnd)
		}
		one.Target = target
		c.Sides = append(c.Sides, one)
		return nil
	}
	var cert string
	words := ""
	if secure {
		words, cert = "TLS, ", b.File("cert.pem")
		if err := selfSigned(cert); err != nil {
			return nil, err
		}
	}
	err := add("optml train, "+words+"20 ms", 0, serverOptions{Latency: roundTrip, TLS: cert})
	if err == nil {
		err = add("optml train, "+words+"0 ms", 0.8, serverOptions{TLS: cert})
	}
	if err == nil && secure {
		err = add("optml train, no TLS, 0 ms", 0, serverOptions{})
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	for i, srv := range all {
		gets := s.gets()
		instants := len(pipeInstants)
		if mode != "Pipe" {
			instants = len(readInstants)
		}
		one := b.ceiling(srv, s, 4, instants, 0)
		one.Name = "server alone, " + c.Sides[i].Name[len("optml train, "):]
		if srv.opts.Latency > 0 {
			one.Run = func(bool) (measure.Sample, error) { // as many connections as hide the latency
				out := measure.Sample{Took: make([]time.Duration, instants)}
				before, t0 := measure.Spent(), time.Now()
				err := discard(srv, 16, gets)
				out.Took[0], out.CPU = time.Since(t0), measure.Spent()-before
				return out, err
			}
		}
		c.Sides = append(c.Sides, one)
	}
	return c, nil
}

// made is an object that no file holds. What ours keeps of it is kept on a disk.
func (b *bench) made(mode string) (*measure.Contest, error) {
	o, err := b.onDisk()
	if err != nil {
		return nil, err
	}
	srv, err := startServer(serverOptions{Dir: b.data, Made: map[string]int64{"made/numbers": b.huge()}})
	if err != nil {
		return nil, err
	}
	plan := reading{Path: "/opt/ml/input/data/train", Block: fileBlock, Epochs: 1, Counter: true}
	if mode == "Pipe" {
		plan.Path, plan.Pipe = plan.Path+"_0", true
	}
	return &measure.Contest{Sides: []measure.Side{{Name: "optml train", Run: func(bool) (measure.Sample, error) {
		r, err := o.train(&source{server: srv}, mode, "made/", "None", plan)
		if err == nil && r.Bytes != b.huge() {
			err = fmt.Errorf("read %d bytes, want %d", r.Bytes, b.huge())
		}
		if mode == "Pipe" {
			return r.sample(r.firstToEnd(), r.openToEnd()), err
		}
		return r.sample(r.openToEnd()), err
	}}}, Close: srv.Close}, nil
}
