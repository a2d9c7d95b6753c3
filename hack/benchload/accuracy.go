package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	results "github.com/optml/optml/bench"
	"github.com/optml/optml/hack/measure"
	"github.com/optml/optml/load"
	"github.com/optml/optml/test/images"
)

// Of the container whose latencies are known.
const (
	knownN      = 10_000
	knownMedian = 20 * time.Millisecond
	knownSigma  = 0.5
	knownStall  = 4000 // the request from which on nothing is answered
	stallFor    = time.Second

	accuracyRate = 500
	accuracyTime = knownN / accuracyRate * time.Second
	// accuracyClosed is so many at a time that they get about as much.
	accuracyClosed         = 11
	accuracyWithin float64 = 0.02
)

// told are the percentiles that are held against each other; the last is the maximum.
var told = []float64{50, 90, 95, 99, 99.9, 100}

// accuracy is a row in which what optml bench serve says is held against what is true.
func accuracy(name, says string, stall bool) measure.Row[*bench] {
	r := measure.Row[*bench]{Name: name, Says: fmt.Sprintf("%s, log-normal, median %s, sigma %v, at %d/s", says, knownMedian, knownSigma, accuracyRate),
		Amount: func(*bench) float64 { return 1 }}
	for _, p := range told {
		r.Instants = append(r.Instants, "p"+strconv.FormatFloat(p, 'f', -1, 64))
	}
	r.Instants[len(told)-1] = "max"
	r.Ready = func(b *bench) (*measure.Contest, error) {
		k, err := b.newKnown(stall)
		if err != nil {
			return nil, err
		}
		var noted, asked measure.Sample
		meant := accuracyWithin
		if stall { // for all who have waited it takes a processor's time to answer them, which is not in it
			meant = 0
		}
		return &measure.Contest{Close: k.close, Sides: []measure.Side{
			{Name: "optml bench serve", Run: func(bool) (s measure.Sample, err error) {
				s, noted, asked, err = k.open()
				return s, err
			}},
			{Name: "what the server noted", Within: accuracyWithin, Run: func(bool) (measure.Sample, error) { return noted, nil }},
			{Name: "what it was to take", Within: meant, Run: func(bool) (measure.Sample, error) { return asked, nil }},
			{Name: fmt.Sprintf("a closed loop, %d at a time", accuracyClosed), Run: func(bool) (measure.Sample, error) { return k.closed() }},
		}}, nil
	}
	return r
}

// known is the container's image, and what is asked of it.
type known struct {
	optml *measure.Optml
	short string
	model string
	rows  string
	runs  int
	takes []time.Duration
}

func (b *bench) newKnown(stall bool) (k *known, err error) {
	k = &known{}
	defer func() {
		if err != nil {
			k.close()
		}
	}()
	bin, err := filepath.Abs(b.optml)
	if err != nil {
		return k, err
	}
	dir, err := os.MkdirTemp(b.dir, "known")
	if err != nil {
		return k, err
	}
	if k.short, err = os.MkdirTemp("/run", "ob"); err != nil {
		return k, err
	}
	archive := filepath.Join(dir, "known.tar")
	img, err := measure.Image(filepath.Join(dir, "serve"), "benchload/known", "serve")
	if err != nil {
		return k, err
	}
	if err := images.WriteOCIArchive(archive, images.Named{Ref: "optml.bench/known:1", Image: img}); err != nil {
		return k, err
	}
	env := map[string]string{"KNOWN_N": strconv.Itoa(knownN), "KNOWN_MEDIAN": knownMedian.String(), "KNOWN_SIGMA": fmt.Sprint(knownSigma)}
	if stall {
		env["KNOWN_STALL"], env["KNOWN_STALL_FOR"] = strconv.Itoa(knownStall), stallFor.String()
	}
	doc, err := json.Marshal(map[string]any{"ModelName": "known", "ExecutionRoleArn": "arn:aws:iam::000000000000:role/bench", "EnableNetworkIsolation": true,
		"PrimaryContainer": map[string]any{"Image": "optml.bench/known:1", "Environment": env}})
	if err != nil {
		return k, err
	}
	var rows []byte
	for i := range knownN {
		rows = fmt.Appendf(rows, "%d\n", i)
	}
	k.model, k.rows = filepath.Join(dir, "model.json"), filepath.Join(dir, "rows.csv")
	for name, text := range map[string][]byte{k.model: doc, k.rows: rows} {
		if err := os.WriteFile(name, text, 0o644); err != nil {
			return k, err
		}
	}
	k.takes = measure.Takes(knownN, knownMedian, knownSigma)
	k.optml, err = measure.NewOptml(bin, filepath.Join(dir, "optml"), filepath.Join(k.short, "o"), archive)
	return k, err
}

func (k *known) close() {
	if k.optml != nil {
		k.optml.Close()
	}
	if k.short != "" {
		os.RemoveAll(k.short)
	}
}

// serve runs optml bench serve, and returns the one load's result and the container's log.
func (k *known) serve(args ...string) (*load.Result, []byte, error) {
	k.runs++
	name := fmt.Sprintf("known-%d", k.runs)
	cmd := k.optml.Command(append([]string{"bench", "serve", k.model, "--data", k.rows, "--split", "Line", "--duration", accuracyTime.String(),
		"--warmup", "0s", "--name", name, "--quiet", "--output", "json"}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return nil, nil, fmt.Errorf("optml bench serve: %w\n%s", err, errs.Bytes())
	}
	var r results.Result
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		return nil, nil, err
	}
	l := r.Variants[0].Runs[0].Load
	points := slices.Concat(curve(l.Closed), curve(l.Open))
	if len(points) != 1 || points[0].Failed > 0 || points[0].Missed > 0 {
		return nil, nil, fmt.Errorf("%d loads: %+v", len(points), points)
	}
	log, err := k.optml.Command("logs", name+"-1").Output()
	return points[0], log, err
}

func curve(c *load.Curve) []*load.Result {
	if c == nil {
		return nil
	}
	return c.Points
}

// percentilesOf are those of a result.
func percentilesOf(d load.Distribution) (s measure.Sample, err error) {
	for _, p := range told {
		v, ok := d.At(p)
		if p == 100 {
			v, ok = d.Max, true
		}
		if !ok {
			return s, fmt.Errorf("no p%v of %d", p, d.Count)
		}
		s.Took = append(s.Took, time.Duration(v*1e9))
	}
	return s, nil
}

// rank are those of values, sorted.
func rank(v []time.Duration) (s measure.Sample) {
	slices.Sort(v)
	for _, p := range told {
		s.Took = append(s.Took, v[max(0, int(math.Ceil(p/100*float64(len(v))-1e-9))-1)])
	}
	return s
}

// open has requests come at the rate. noted is from when each was due to when the server had answered; asked is what it
// was to be, with nothing on the way and no processor waited for.
func (k *known) open() (ours, noted, asked measure.Sample, err error) {
	r, log, err := k.serve("--rate", strconv.Itoa(accuracyRate), "--connections", "1000")
	if err != nil {
		return
	}
	answered, stall, err := readKnown(log)
	if err != nil {
		return
	}
	if int64(len(answered)) != r.Sent {
		return ours, noted, asked, fmt.Errorf("%d requests sent, the server knows of %d", r.Sent, len(answered))
	}
	var seen, meant []time.Duration
	for i, at := range answered {
		due := r.Began.Add(time.Duration(i+1) * time.Second / accuracyRate)
		seen = append(seen, at.Sub(due))
		end := due.Add(k.takes[i])
		if !stall.IsZero() && end.After(stall) && end.Before(stall.Add(stallFor)) {
			end = stall.Add(stallFor)
		}
		meant = append(meant, end.Sub(due))
	}
	fmt.Printf("%d requests, %d of them took 0.1 s or more; %d should have\n", r.Sent, over(seen), over(meant))
	for _, s := range r.Stalls {
		fmt.Printf("told: no answer for %.3f s\n", s.Seconds)
	}
	ours, err = percentilesOf(r.Latency)
	return ours, rank(seen), rank(meant), err
}

func over(v []time.Duration) (n int) {
	for _, d := range v {
		if d >= 100*time.Millisecond {
			n++
		}
	}
	return n
}

func (k *known) closed() (measure.Sample, error) {
	r, _, err := k.serve("--concurrency", strconv.Itoa(accuracyClosed))
	if err != nil {
		return measure.Sample{}, err
	}
	return percentilesOf(r.Latency)
}

// readKnown finds what the server has said.
func readKnown(log []byte) (answered map[int]time.Time, stall time.Time, err error) {
	answered = map[int]time.Time{}
	for s := bufio.NewScanner(bytes.NewReader(log)); s.Scan(); {
		_, text, ok := strings.Cut(s.Text(), "known ")
		what, text, _ := strings.Cut(text, " ")
		if !ok {
			continue
		}
		if what == "stall" {
			ns, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				return nil, stall, err
			}
			if ns > 0 {
				stall = time.Unix(0, ns)
			}
			continue
		}
		for pair := range strings.FieldsSeq(text) {
			number, at, _ := strings.Cut(pair, ":")
			i, err := strconv.Atoi(number)
			ns, err2 := strconv.ParseInt(at, 10, 64)
			if err != nil || err2 != nil {
				return nil, stall, fmt.Errorf("the server said %q", pair)
			}
			answered[i] = time.Unix(0, ns)
		}
	}
	return answered, stall, nil
}
