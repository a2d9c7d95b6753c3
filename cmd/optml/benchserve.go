package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/optml/optml/bench"
	"github.com/optml/optml/dataset"
	"github.com/optml/optml/framing"
	"github.com/optml/optml/harness"
	"github.com/optml/optml/human"
	"github.com/optml/optml/job"
	"github.com/optml/optml/load"
	"github.com/optml/optml/objstore"
	"github.com/optml/optml/transform"
)

// serveFlags say what load is put on a model's container.
type serveFlags struct {
	concurrency []int
	rates       []string
	sweep       bool
	arrivals    string
	connections int
	duration    span
	warmup      span
	timeout     span
	payloads    []string
	data        string
	split       string
	contentType string
	accept      string
	seed        uint64 // of arrivals by chance

	open []float64 // rates
}

const (
	serveLevels  = 32 // of one kind of loop
	servePayload = 100 << 20
	// What requests are made of is held in memory: the first so many of a data set say enough.
	serveBytes   = 64 << 20
	serveRecords = 100_000
	serveSeconds = 1_000_000 // of load in all runs of a variant: each is a row of a table
	// sweepAt is the concurrency by which a sweep finds out what to sweep.
	sweepAt = 16
)

func (s *serveFlags) add(c *cobra.Command) {
	x := c.Flags()
	x.IntSliceVar(&s.concurrency, "concurrency", nil, "`numbers` of requests that are kept open, one closed loop each: 1,4,16 (default, without --rate and --sweep)")
	x.StringSliceVar(&s.rates, "rate", nil, "`rates` in requests a second, one open loop each: 100,200")
	x.BoolVar(&s.sweep, "sweep", false, "find what the container does with "+strconv.Itoa(sweepAt)+" requests at a time, then try rates from a tenth of that to beyond it, for the curve and its knee")
	s.arrivals = "constant"
	x.Var(choice{&s.arrivals, []string{"constant", "poisson"}}, "arrivals", "`how` requests of an open loop come: constant or poisson (by chance, as of many users)")
	x.IntVar(&s.connections, "connections", 0, "`number` of requests of an open loop that may be open (default "+strconv.Itoa(load.DefaultConnections)+")")
	s.duration, s.warmup = span(10*time.Second), span(time.Second)
	x.Var(&s.duration, "duration", "`time` for which each load is put on the container")
	x.Var(&s.warmup, "warmup", "`time` of the same load before, which does not count")
	x.Var(&s.timeout, "timeout", "`time` in which a request must be answered (default 60s)")
	x.StringArrayVar(&s.payloads, "payload", nil, "`file` that is the body of a request; repeatable: sent in turn")
	x.StringVar(&s.data, "data", "", "objects below this path or `URI`, instead of --payload: each, or each record in it, is the body of a request")
	s.split = "None"
	x.Var(choice{&s.split, []string{"None", "Line", "RecordIO", "TFRecord"}}, "split", "`how` the objects of --data are cut into records: None, Line, RecordIO or TFRecord")
	x.StringVar(&s.contentType, "content-type", "", "Content-Type of the requests, a MIME `type`")
	x.StringVar(&s.accept, "accept", "", "Accept of the requests, a MIME `type`")
}

func (s *serveFlags) check(c *cobra.Command, b *benchFlags) error {
	s.seed = b.seed
	if len(s.payloads) == 0 && s.data == "" {
		return &usageError{Err: errors.New("what is to be sent?"), Hint: "files with --payload FILE, or the records of a data set with --data URI --split Line"}
	}
	if len(s.payloads) > 0 && s.data != "" {
		return usage("--payload and --data exclude each other")
	}
	if s.split != "None" && s.data == "" {
		return usage("--split says how --data is cut: a --payload is sent as it is")
	}
	for _, r := range s.rates {
		v, err := strconv.ParseFloat(strings.TrimSpace(r), 64)
		if err != nil || !(v >= load.MinRate && v <= load.MaxRate) {
			return usage("--rate %s: from %v to %v requests a second", r, load.MinRate, load.MaxRate)
		}
		s.open = append(s.open, v)
	}
	if !s.sweep && len(s.open) == 0 && len(s.concurrency) == 0 {
		s.concurrency = []int{1, 4, 16}
	}
	for _, n := range s.concurrency {
		if n < 1 || n > transform.MaxConnections {
			return usage("--concurrency %d: from 1 to %d", n, transform.MaxConnections)
		}
	}
	switch {
	case len(s.concurrency) > serveLevels || len(s.open) > serveLevels:
		return usage("--concurrency and --rate take %d values each at most", serveLevels)
	case s.sweep && len(s.open) > 0:
		return usage("--sweep and --rate exclude each other: a sweep finds its rates")
	case (c.Flags().Changed("connections") || c.Flags().Changed("arrivals")) && len(s.open) == 0 && !s.sweep:
		return usage("--connections and --arrivals are an open loop's: give --rate or --sweep")
	case s.connections < 0 || s.connections > transform.MaxConnections:
		return usage("--connections: from 1 to %d", transform.MaxConnections)
	case s.duration < span(100*time.Millisecond) || s.duration > span(load.MaxDuration) || s.warmup > span(load.MaxDuration):
		return usage("--duration is from 100ms to %s, --warmup at most that", load.MaxDuration)
	case c.Flags().Changed("max-response"):
		return usage("--max-response bounds the answers that a transform keeps: a load keeps none")
	case s.timeout > span(time.Hour):
		return usage("--timeout: at most 1h")
	}
	loads := len(s.concurrency) + len(s.open)
	if s.sweep {
		loads += 1 + len(load.Ladder(1))
	}
	if all := time.Duration(s.duration).Seconds() * float64(loads*(b.runs+b.warmups)); all > serveSeconds {
		return usage("%d loads of %s in %d runs are more than the %d seconds that a result has room for", loads, time.Duration(s.duration), b.runs+b.warmups, serveSeconds)
	}
	for name, v := range map[string]string{"content-type": s.contentType, "accept": s.accept} {
		if strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r > '~' }) {
			return usage("--%s %q cannot stand in a request", name, v)
		}
	}
	slices.Sort(s.open) // a curve gives up after rates that are not held
	if !c.Flags().Changed("figure") && len(s.concurrency) == 0 && !s.sweep {
		b.figure = "p50" // the throughput is what was asked for
	}
	return nil
}

// said is the load in words.
func (s *serveFlags) said() string {
	var parts []string
	for _, n := range s.concurrency {
		parts = append(parts, strconv.Itoa(n))
	}
	var all []string
	if len(parts) > 0 {
		all = append(all, "closed loops of "+strings.Join(parts, ", ")+" at a time")
	}
	if len(s.open) > 0 {
		var rates []string
		for _, v := range s.open {
			rates = append(rates, strconv.FormatFloat(v, 'f', -1, 64))
		}
		all = append(all, "open loops of "+strings.Join(rates, ", ")+"/s, "+s.arrivals)
	}
	if s.sweep {
		all = append(all, "a sweep of rates, "+s.arrivals)
	}
	return fmt.Sprintf("%s; %s each after %s", strings.Join(all, "; "), time.Duration(s.duration), time.Duration(s.warmup))
}

// read reads what requests are made of.
func (s *serveFlags) read(ctx context.Context, stores objstore.Opener, say func(string, ...any)) ([][]byte, error) {
	var all [][]byte
	total := 0
	for _, name := range s.payloads {
		b, err := readPayload(name)
		if err != nil {
			return nil, err
		}
		if total += len(b); total > serveBytes && len(all) > 0 {
			return nil, usage("--payload: the files have more than %d MiB together, which are held in memory", serveBytes>>20)
		}
		all = append(all, b)
	}
	if s.data == "" {
		return all, nil
	}
	uri := s.data
	if !strings.Contains(uri, "://") {
		abs, err := filepath.Abs(uri)
		if err != nil {
			return nil, err
		}
		if uri = abs; strings.HasSuffix(s.data, "/") {
			uri += "/"
		}
	}
	set, err := dataset.New(ctx, dataset.Config{Source: job.Source{Type: "S3Prefix", URI: uri}, Opener: stores})
	if err != nil {
		return nil, err
	}
	defer set.Close()
	enough := false
	take := func(rec []byte) bool {
		if enough = len(all) == serveRecords || total+len(rec) > serveBytes && len(all) > 0; enough {
			return false
		}
		total += len(rec)
		all = append(all, slices.Clone(rec))
		return true
	}
	for e, err := range set.Entries(ctx) {
		if err != nil {
			return nil, err
		}
		if e.Dir {
			continue
		}
		if err := s.records(ctx, e, take); err != nil {
			return nil, fmt.Errorf("--data: %s: %w", e.URI(), err)
		}
		if enough {
			say("the first %d records of --data, %s, are sent again and again; they are held in memory", len(all), human.Bytes(int64(total)))
			break
		}
	}
	if len(all) == 0 {
		return nil, usage("--data %s has no records", s.data)
	}
	return all, nil
}

// records gives the records of an object to take until it has enough.
func (s *serveFlags) records(ctx context.Context, e dataset.Entry, take func([]byte) bool) error {
	r, err := e.Open(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	format, split := framing.ByName(s.split)
	if !split {
		b, err := io.ReadAll(io.LimitReader(r, servePayload+1))
		if err == nil && len(b) > servePayload {
			err = fmt.Errorf("larger than %d MiB, which no request may have", servePayload>>20)
		}
		if err == nil {
			take(b)
		}
		return err
	}
	for rec, err := range format.Split(r, servePayload) {
		if err != nil {
			return err
		}
		if !take(rec) {
			return nil
		}
	}
	return nil
}

func readPayload(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, &usageError{Err: fmt.Errorf("--payload: %w", err)}
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, servePayload+1))
	if err != nil {
		return nil, &usageError{Err: fmt.Errorf("--payload: %w", err)}
	}
	if len(b) > servePayload {
		return nil, usage("--payload %s: larger than %d MiB, which no request may have", name, servePayload>>20)
	}
	return b, nil
}

// loading puts load on one container.
type loading struct {
	flags    *serveFlags
	payloads [][]byte
	say      func(string, ...any)
	result   *bench.Load // nil: it was never ready
}

// drive is a harness.Host's.
func (l *loading) drive(ctx context.Context, s harness.Served) error {
	l.result = &bench.Load{Ready: s.Ready.Seconds()}
	err := l.all(ctx, s)
	if err != nil {
		l.result.Cut = err.Error()
	}
	return err
}

func (l *loading) all(ctx context.Context, s harness.Served) error {
	f := l.flags
	t := load.Target{Container: s.Container, ContentType: f.contentType, Accept: f.accept}
	first, err := load.Run(ctx, t, load.Options{Concurrency: 1, Requests: 1, Payloads: l.payloads, Timeout: time.Duration(f.timeout)})
	if err != nil {
		return err
	}
	l.result.First = first.Latency.Max
	if first.Good == 0 && len(first.Errors) > 0 {
		e := first.Errors[0]
		l.result.FirstError = strings.Join(append([]string{e.Kind}, e.Texts...), ": ")
	}
	base := load.Options{Payloads: l.payloads, Duration: time.Duration(f.duration), WarmUp: time.Duration(f.warmup), Timeout: time.Duration(f.timeout)}
	closed := func(n int) load.Options {
		o := base
		o.Concurrency = n
		return o
	}
	// What the way costs is measured behind each load, while the container has nothing to do.
	sweep := func(into **load.Curve, rungs []load.Options) error {
		var path error
		c, err := load.Sweep(ctx, t, rungs, func(i int, r *load.Result) {
			l.tell(r)
			if r.Cut != "" || path != nil {
				return
			}
			var way *load.Result
			if way, path = load.Baseline(ctx, t, rungs[i], s.Listen); path == nil {
				r.SetPath(way)
			}
		})
		*into = c
		return cmp.Or(err, path)
	}
	var rungs []load.Options
	for _, n := range f.concurrency {
		rungs = append(rungs, closed(n))
	}
	if f.sweep && !slices.Contains(f.concurrency, sweepAt) {
		rungs = append(rungs, closed(sweepAt))
	}
	if len(rungs) > 0 {
		if err := sweep(&l.result.Closed, rungs); err != nil {
			return err
		}
	}
	rates := f.open
	if f.sweep {
		most := 0.0
		for _, p := range l.result.Closed.Points {
			most = max(most, p.Throughput)
		}
		if most == 0 {
			return nil // there is nothing to sweep
		}
		rates = load.Ladder(most)
	}
	rungs = nil
	for _, rate := range rates {
		o := base
		o.Arrivals, o.Connections = load.Constant(rate), f.connections
		if f.arrivals == "poisson" {
			o.Arrivals = load.Poisson(rate, f.seed)
		}
		rungs = append(rungs, o)
	}
	if len(rungs) == 0 {
		return nil
	}
	return sweep(&l.result.Open, rungs)
}

// tell says how one load went.
func (l *loading) tell(r *load.Result) {
	what := fmt.Sprintf("%d at a time", r.Concurrency)
	if r.Loop == "open" {
		what = fmt.Sprintf("%.4g/s", r.Rate)
	}
	how := fmt.Sprintf("%.4g good answers a second", r.Throughput)
	if r.Good > 0 {
		how += fmt.Sprintf(", half of them within %s", time.Duration(r.Latency.Median()*1e9).Round(10*time.Microsecond))
	}
	if r.Good == 0 && r.Sent > 0 {
		how = fmt.Sprintf("no good answer to %d requests", r.Sent)
	}
	if r.Cut != "" {
		how += ", cut short"
	} else if !r.Held {
		how += ", not held: " + r.Why
	}
	l.say("%s: %s", what, how)
}

func (a *app) cmdBenchServe() *cobra.Command {
	var f jobFlags
	var b benchFlags
	var s serveFlags
	var m modelFlags
	c := &cobra.Command{
		Use:   "serve [MODEL.json]",
		Short: "Put load on a model's container, from a CreateModel request",
		Long: `Start the container of a CreateModel request as a batch transform does, with its
model and its network, or one of --image and --model, and put load on it:

  closed loops   so many requests are always open (--concurrency 1,4,16)
  open loops     requests come at a rate, whatever the container does (--rate 100,200,
                 or --sweep for the curve of throughput and latency and its knee)

Latencies of an open loop count from when a request was due: a container that
stalls is charged for those who had to wait. What the way there and back costs is
measured with the same load on a server that does nothing, in the container's own
network.

` + "`optml bench train --help`" + ` says more of --vary and of exit codes. A run counts as
failed when some load got no good answer at all.`,
		Example: `  optml bench serve model.json --payload request.csv --content-type text/csv
  optml bench serve model.json --data s3://bucket/rows/ --split Line --rate 100,200,400
  optml bench serve model.json --payload a.json --payload b.json --sweep -o curve.html
  optml bench serve model.json --model-package package.json --payload request.csv
  optml bench serve --image registry/name:tag --model out/model.tar.gz --payload request.csv
  optml bench serve model.json --payload request.csv --vary Environment.WORKERS=1,2,4 --runs 5`,
		Args: nargs(0, 1, "the document"),
		RunE: func(c *cobra.Command, args []string) error {
			path := strings.Join(args, "")
			switch {
			case path == "" && m.image == "":
				return &usageError{Err: errors.New("which model?"), Hint: "a CreateModel request, or an image with --image and its artifacts with --model"}
			case path != "" && m.image != "":
				return usage("%s and --image exclude each other", path)
			case path == "" && m.pkg+m.algorithm != "":
				return usage("--model-package and --algorithm are what a CreateModel request names: give one instead of --image")
			case m.image != "" && len(b.vs) > 0:
				return usage("--vs compares documents: give one instead of --image, or --vary image=A,B")
			}
			if err := b.check(c); err != nil {
				return err
			}
			if err := s.check(c, &b); err != nil {
				return err
			}
			read := func(path string) ([]given, error) {
				if path == "" {
					g, err := imageModel(m.image)
					return []given{g}, err
				}
				docs, err := a.decodeAs(either, f.quiet, path, []string{job.CreateModel}, second{m.pkg, job.CreateModelPackage}, second{m.algorithm, job.CreateAlgorithm})
				if err != nil {
					return nil, err
				}
				return a.withAlgorithm(docs, f.quiet)
			}
			return a.bench(&f, &b, &s, path, read, func(o *job.Options) {
				(&modelFlags{model: m.model}).set(o) // an image has become a document
				o.Serve = true
			})
		},
	}
	s.add(c)
	b.add(c, job.KindServing)
	f.plan(c)
	f.reach(c)
	m.addPackage(c)
	c.Flags().StringVar(&m.model, "model", "", "model.tar.gz, a path or an object's `URI`, instead of the ModelDataUrl")
	c.Flags().StringVar(&m.image, "image", "", "inference `image`, instead of a document")
	c.Flags().BoolVarP(&f.quiet, "quiet", "q", false, "do not tell of each load on stderr")
	return c
}

// imageModel is the request of a model that is an image alone.
func imageModel(image string) (given, error) {
	raw, err := json.Marshal(map[string]any{"ModelName": "model", "PrimaryContainer": map[string]string{"Image": image}})
	if err != nil {
		return given{}, err
	}
	d, err := job.DecodeAs(job.CreateModel, "--image", raw)
	return given{d, raw}, err
}
