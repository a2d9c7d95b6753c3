package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/optml/optml/dataset"
	"github.com/optml/optml/harness"
	"github.com/optml/optml/human"
	"github.com/optml/optml/job"
	"github.com/optml/optml/ledger"
	"github.com/optml/optml/transform"
)

// setting is one way to drive a transform's container, as a document says it.
type setting struct {
	Strategy   string `json:"batchStrategy,omitempty"` // "": the document has it, or nothing is split
	Concurrent int    `json:"maxConcurrentTransforms"`
	PayloadMB  int    `json:"maxPayloadInMB"`
}

// trial is what came of one.
type trial struct {
	setting
	Records          int64   `json:"records"`
	Seconds          float64 `json:"seconds"`
	RecordsPerSecond float64 `json:"recordsPerSecond"` // the median, of a setting that was tried several times
	BytesPerSecond   float64 `json:"bytesPerSecond"`
	Error            string  `json:"error,omitempty"`
	Tried            int     `json:"tried"`

	rates []float64
}

const (
	tuneSample = 16 << 20
	tuneTime   = 15 * time.Second
	// A trial that is over sooner says more of the start than of the container: the sample is then made larger and the
	// setting tried again.
	tuneLeast = 2 * time.Second
	tuneFiles = 10_000 // of a sample, with its copies
	// An object up to this size is tried in its whole length: how its end is worked off is part of its time. Of a larger
	// one there is as much as fills the largest payloads.
	tuneObject = 512 << 20
	// An input from this size on is never made larger than it is; a smaller one is an example of what is to come.
	tuneInput = 64 << 20
	// What is larger need not be counted to its end.
	tuneEnough = 16 << 30
	// near: what is within so much of the best, but no more than so many settings, is tried again, in turn.
	near       = 0.15
	tuneFinal  = 4
	tuneRounds = 2
	// alike: what is within so much of the best is as good, and the smallest of those is chosen: it needs the least memory.
	alike = 0.03
)

var (
	tuneConcurrent = []int{1, 2, 4, 8, 16, 32}
	tunePayload    = []int{1, 2, 6, 12, 25, 50}
)

// settings is the grid: what the service allows, and what makes a difference for this document.
func settings(t *job.Transform, largest int64) []setting {
	given := 6 // the service's default; more where a record or an object needs it
	if t.MaxPayloadMB != nil {
		given = *t.MaxPayloadMB
	} else if int64(given)<<20 < largest {
		given = int((largest + 1<<20 - 1) >> 20)
	}
	split := t.Input.SplitType != "None"
	strategies := []string{""}
	if split && t.BatchStrategy == nil {
		strategies = []string{"SingleRecord", "MultiRecord"}
	}
	var all []setting
	for _, s := range strategies {
		payloads := []int{given}
		if multi := s == "MultiRecord" || s == "" && split && *t.BatchStrategy == "MultiRecord"; multi && given > 0 {
			// Where one record is a request, or an object is, MaxPayloadInMB is only a limit.
			payloads = slices.DeleteFunc(slices.Clone(tunePayload), func(mb int) bool { return int64(mb)<<20 < largest })
			if !slices.Contains(payloads, given) && int64(given)<<20 >= largest {
				payloads = append(payloads, given)
				slices.Sort(payloads)
			}
		}
		for _, mb := range payloads {
			for _, n := range tuneConcurrent {
				if n*mb <= 100 { // BT-92
					all = append(all, setting{s, n, mb})
				}
			}
		}
	}
	return all
}

// document is the request with a setting in it.
func (s setting) document(d given) (given, error) {
	var m map[string]json.RawMessage
	if err := json.Unmarshal(d.raw, &m); err != nil {
		return given{}, err
	}
	m["MaxConcurrentTransforms"] = json.RawMessage(strconv.Itoa(s.Concurrent))
	m["MaxPayloadInMB"] = json.RawMessage(strconv.Itoa(s.PayloadMB))
	if s.Strategy != "" {
		m["BatchStrategy"] = json.RawMessage(strconv.Quote(s.Strategy))
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return given{}, err
	}
	doc, err := job.Decode(d.Name, raw)
	return given{doc, raw}, err
}

// lines are what the document should say.
func (s setting) lines() string {
	text := fmt.Sprintf("\"MaxConcurrentTransforms\": %d,\n\"MaxPayloadInMB\": %d,\n", s.Concurrent, s.PayloadMB)
	if s.Strategy != "" {
		text += fmt.Sprintf("\"BatchStrategy\": %q,\n", s.Strategy)
	}
	return text
}

// best is the trial whose setting is to be taken; -1: none went well.
func best(trials []trial) int {
	top := 0.0
	for _, t := range trials {
		if t.Error == "" {
			top = max(top, t.RecordsPerSecond)
		}
	}
	chosen := -1
	for i, t := range trials {
		if t.Error != "" || t.Records == 0 || t.RecordsPerSecond < top*(1-alike) {
			continue
		}
		if chosen < 0 || t.memory() < trials[chosen].memory() {
			chosen = i
		}
	}
	return chosen
}

func (s setting) memory() int { return s.Concurrent * max(1, s.PayloadMB) }

// tuner tries settings, each as a job of its own: a container may be made for them (BT-11 to BT-13).
type tuner struct {
	run  runOptions
	host *host
	plan *job.Plan
	dir  string
	con  *console
	say  func(string, ...any)
	name string // of the trials' jobs, before their number
	n    int
}

// tune tries settings on a sample of the input and prints which is the best.
func (a *app) tune(f *jobFlags, path string, docs []given, more func(*job.Options)) error {
	o, err := f.options(a, path)
	if err != nil {
		return err
	}
	more(&o)
	r := runOptions{jobs: a.jobs(), documents: docs, kept: kept{Job: o, Host: a.hostOptions(f)}, output: a.output, app: a}
	plan, err := r.plan()
	if err != nil {
		return err
	}
	con := newConsole(a.stderr)
	t := &tuner{run: r, plan: plan, con: con, say: sayTo(con), name: "optml-tune-" + runSuffix()}
	if f.quiet {
		t.say = func(string, ...any) {}
	}
	for _, w := range plan.Warnings {
		t.say("warning: %s", w.Text)
	}
	ctx, sig := watchSignals(sayTo(con), con.detach)
	defer sig.end()
	if t.host, err = r.kept.Host.open(ctx, a.log()); err != nil {
		return interrupted(ctx, err)
	}
	defer t.host.Close()
	if t.dir, err = os.MkdirTemp("", "optml-tune-"); err != nil {
		return err
	}
	defer os.RemoveAll(t.dir)
	trials, err := t.all(ctx)
	if err != nil {
		return interrupted(ctx, err)
	}
	return printTrials(trials, a.output, a.stdout)
}

// all takes the sample and tries the grid.
func (t *tuner) all(ctx context.Context) ([]trial, error) {
	sample, err := t.sample(ctx)
	if err != nil {
		return nil, err
	}
	grid := settings(t.plan.Transform, sample.Largest)
	if len(grid) == 0 {
		return nil, usage("no MaxPayloadInMB is large enough for the records of this input")
	}
	if err := sample.lengthen(needs(grid)); err != nil {
		return nil, err
	}
	t.say("sample: %s, %s, %s; %d settings", human.Count(int64(sample.Objects), "object"), human.Count(int64(sample.Records), "record"), human.Bytes(sample.Bytes), len(grid))
	// One more at the beginning: what happens only once (the image is unpacked) is not the setting's.
	if _, err := t.try(ctx, grid[0]); err != nil {
		return nil, err
	}
	var trials []trial
	for i, s := range grid {
		x, err := t.try(ctx, s)
		for err == nil && x.Error == "" && x.Seconds < tuneLeast.Seconds()/2 {
			var larger bool
			if larger, err = sample.grow(tuneLeast.Seconds() / max(x.Seconds, 0.01)); err != nil || !larger {
				break
			}
			x, err = t.try(ctx, s)
		}
		if err != nil {
			return nil, err
		}
		result := fmt.Sprintf("%.4g records/s", x.RecordsPerSecond)
		if x.Error != "" {
			result = oneLine(x.Error)
		}
		t.say("%d of %d: %s: %s", i+1, len(grid), s, result)
		trials = append(trials, x)
	}
	final := finalists(trials)
	for round := range tuneRounds {
		if len(final) < 2 {
			break
		}
		for _, i := range final {
			x, err := t.try(ctx, trials[i].setting)
			if err != nil {
				return nil, err
			}
			trials[i].again(x)
		}
		t.say("the %d best once more, %d of %d", len(final), round+1, tuneRounds)
	}
	return trials, nil
}

// finalists are the settings that are near the best, the best of them first.
func finalists(trials []trial) (final []int) {
	for i, t := range trials {
		if t.Error == "" && t.Records > 0 {
			final = append(final, i)
		}
	}
	slices.SortStableFunc(final, func(a, b int) int { return cmp.Compare(trials[b].RecordsPerSecond, trials[a].RecordsPerSecond) })
	n := 0
	for n < min(len(final), tuneFinal) && trials[final[n]].RecordsPerSecond >= trials[final[0]].RecordsPerSecond*(1-near) {
		n++
	}
	return final[:n]
}

// again takes another run of the setting: the median is what counts, and one that fails is enough.
func (t *trial) again(x trial) {
	t.Tried++
	if t.Error = cmp.Or(t.Error, x.Error); t.Error != "" {
		return
	}
	if len(t.rates) == 0 {
		t.rates = []float64{t.RecordsPerSecond}
	}
	bytes := t.BytesPerSecond / t.RecordsPerSecond
	t.rates = append(t.rates, x.RecordsPerSecond)
	slices.Sort(t.rates)
	n := len(t.rates)
	t.RecordsPerSecond = (t.rates[(n-1)/2] + t.rates[n/2]) / 2
	t.BytesPerSecond = bytes * t.RecordsPerSecond
	t.Records, t.Seconds = t.Records+x.Records, t.Seconds+x.Seconds
}

// needs is how large an object must be for each setting to have all its requests open, full, twice; 0 where payloads are
// not filled.
func needs(grid []setting) (size int64) {
	several := slices.ContainsFunc(grid, func(s setting) bool { return s.Strategy == grid[0].Strategy && s.PayloadMB != grid[0].PayloadMB }) ||
		slices.ContainsFunc(grid, func(s setting) bool { return s.Strategy == "MultiRecord" })
	for _, s := range grid {
		if several {
			size = max(size, 2*int64(s.Concurrent*s.PayloadMB)<<20)
		}
	}
	return size
}

func (s setting) String() string {
	text := fmt.Sprintf("MaxConcurrentTransforms %d, MaxPayloadInMB %d", s.Concurrent, s.PayloadMB)
	if s.Strategy != "" {
		text += ", " + s.Strategy
	}
	return text
}

// sampled is a sample that can be made larger.
type sampled struct {
	transform.Sampled
	times int   // that it is there
	total int64 // bytes of all the input; 0: not known
}

// lengthen repeats the last file within itself until it is as long as the object of which it is the beginning, or, if that
// is very long, as the size that is needed. 0: it need not be.
func (s *sampled) lengthen(size int64) error {
	if size > 0 && s.Long >= 0 && s.Long <= tuneObject {
		size = s.Long
	}
	f, err := os.OpenFile(s.Files[len(s.Files)-1], os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	had := s.Bytes
	for n, each := fi.Size(), fi.Size(); n+each <= size; n += each {
		if _, err := f.Seek(0, io.SeekEnd); err != nil {
			return err
		}
		if _, err := io.Copy(f, io.NewSectionReader(f, 0, each)); err != nil {
			return err
		}
		s.Bytes += each
	}
	s.Records = int(float64(s.Records) * float64(s.Bytes) / float64(had))
	return f.Close()
}

// grow adds copies, which take no room, until the sample is so many times as large. false: it is as large as it may be.
func (s *sampled) grow(factor float64) (bool, error) {
	want := min(int(math.Ceil(factor*float64(s.times))), tuneFiles/len(s.Files))
	if s.total >= tuneInput {
		want = min(want, int((s.total+s.Bytes-1)/s.Bytes))
	}
	if want <= s.times {
		return false, nil
	}
	for ; s.times < want; s.times++ {
		for _, f := range s.Files {
			if err := os.Link(f, fmt.Sprintf("%s-%d", f, s.times)); err != nil {
				return false, err
			}
		}
	}
	return true, nil
}

func (t *tuner) input() string { return filepath.Join(t.dir, "in") }

func (t *tuner) sample(ctx context.Context) (*sampled, error) {
	if err := os.Mkdir(t.input(), 0o700); err != nil {
		return nil, err
	}
	set, err := dataset.New(ctx, dataset.Config{Source: t.plan.Transform.Input.Source, Opener: t.host.Stores, Region: t.plan.Region, TempDir: t.dir})
	if err != nil {
		return nil, err
	}
	defer set.Close()
	s, err := transform.Sample(ctx, transform.Config{Job: *t.plan.Transform, Objects: func(yield func(transform.Object, error) bool) {
		for e, err := range set.Entries(ctx) {
			if err != nil {
				yield(transform.Object{}, err)
				return
			}
			if !e.Dir && !yield(transform.Object{Key: e.Object.Key, Size: e.Object.Size, Open: e.Open}, nil) {
				return
			}
		}
	}}, t.input(), tuneSample)
	if err != nil {
		err = fmt.Errorf("sample of the input: %w", err)
	}
	all := &sampled{Sampled: s, times: 1}
	if t.plan.Transform.Input.Compression == "Gzip" {
		if all.Long != 0 {
			all.Long = -1 // decompressed
		}
		return all, err
	}
	for e, lerr := range set.Entries(ctx) {
		if err != nil || lerr != nil || e.Object.Size < 0 || all.total > tuneEnough {
			all.total = 0
			break
		}
		all.total += e.Object.Size
	}
	return all, err
}

// try runs the sample with a setting. The error is for what keeps any setting from being tried.
func (t *tuner) try(ctx context.Context, s setting) (trial, error) {
	doc, err := s.document(t.run.documents[0])
	if err != nil {
		return trial{}, err
	}
	o := t.run.kept.Job
	t.n++
	o.Name = fmt.Sprintf("%s-%d", t.name, t.n)
	plan, err := makePlan(append([]given{doc}, t.run.documents[1:]...), o)
	if err != nil {
		return trial{}, err
	}
	out := filepath.Join(t.dir, "out")
	x := plan.Transform
	x.Input.Source = job.Source{Type: "S3Prefix", URI: t.input() + "/"}
	x.Input.Compression, x.Output.Path, x.Output.KMSKeyID = "None", out, ""
	if x.Capture != nil { // ids take time; manifests go with the rest
		x.Capture.Path, x.Capture.KMSKeyID = out, ""
	}
	owner, err := ledger.Create(t.run.jobs, ledger.Request{Options: t.run.kept, Plan: plan, UID: t.run.kept.Host.UID, GID: t.run.kept.Host.GID})
	if err != nil {
		return trial{}, err
	}
	limited, cancel := context.WithCancel(ctx)
	defer cancel()
	go enough(limited, cancel, owner.Job())
	final, err := harness.Run(limited, owner, plan, t.host.Host)
	state := owner.State()
	err = errors.Join(err, owner.Close(), removeFinished(owner.Job(), true), os.RemoveAll(out))
	if ctx.Err() != nil {
		err = errors.Join(err, context.Cause(ctx))
	}
	if err != nil {
		return trial{}, err
	}
	result := trial{setting: s, Tried: 1}
	if final.Status == ledger.StatusFailed {
		result.Error = final.Detail
		if state.Transform == nil || state.Transform.Requests == 0 { // no setting will do better
			printEnd(t.con, owner.Job(), final)
			return result, ended{*final.ExitCode}
		}
	}
	if n := state.Transform; n != nil {
		result.Records, result.Seconds = n.Records, (n.Duration - n.PingAfter).Seconds()
		if result.Seconds > 0 {
			result.RecordsPerSecond = float64(n.Records) / result.Seconds
			result.BytesPerSecond = float64(n.BytesIn) / result.Seconds
		}
	}
	return result, nil
}

// enough ends a trial some time after its first request.
func enough(ctx context.Context, cancel func(), j *ledger.Job) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var began time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			if began.IsZero() {
				if s, ok, err := j.Live(); err == nil && ok && s.Transform != nil && s.Transform.Requests > 0 {
					began = now
				}
			} else if now.Sub(began) >= tuneTime {
				cancel()
				return
			}
		}
	}
}

// printTrials prints the table and the best setting.
func printTrials(trials []trial, f format, w io.Writer) error {
	chosen := best(trials)
	if f == formatJSON {
		x := struct {
			Trials []trial  `json:"trials"`
			Best   *setting `json:"best,omitempty"`
		}{Trials: trials}
		if chosen >= 0 {
			x.Best = &trials[chosen].setting
		}
		if err := writeJSON(w, x); err != nil {
			return err
		}
	} else {
		var b bytes.Buffer
		err := human.Table(&b, func(t io.Writer) {
			fmt.Fprintln(t, "\tCONCURRENT\tPAYLOAD\tSTRATEGY\tRECORDS/S\tBYTES/S\tTOOK")
			for i, x := range trials {
				mark := ""
				if i == chosen {
					mark = "best"
				}
				if x.Error != "" {
					fmt.Fprintf(t, "%s\t%d\t%d\t%s\tfailed: %s\n", mark, x.Concurrent, x.PayloadMB, x.Strategy, oneLine(x.Error))
					continue
				}
				fmt.Fprintf(t, "%s\t%d\t%d\t%s\t%.4g\t%s/s\t%s\n", mark, x.Concurrent, x.PayloadMB, x.Strategy, x.RecordsPerSecond,
					human.Bytes(int64(x.BytesPerSecond)), timeText(time.Duration(x.Seconds*float64(time.Second))))
			}
		})
		if err != nil {
			return err
		}
		if chosen >= 0 {
			fmt.Fprintf(&b, "\nThe best setting, for the document:\n%s", trials[chosen].lines())
		}
		if _, err := w.Write(b.Bytes()); err != nil {
			return err
		}
	}
	if chosen < 0 {
		return errors.New("no setting could process the sample")
	}
	return nil
}
