package bench

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/optml/optml/job"
	"github.com/optml/optml/ledger"
	"github.com/optml/optml/logfile"
)

// figures are all that is measured, in the order in which they are shown. Each kind of job has some of them.
var figures = []Figure{
	{"total", "total", "s", "lower", "wall"},
	{"pull", "pull of the image", "s", "lower", ""},
	{"unpack", "unpacking it", "s", "lower", ""},
	{"model", "model, fetched and unpacked", "s", "lower", ""},
	{"stage", "staging of the data", "s", "lower", ""},
	{"create", "create the container", "s", "lower", "wall"},
	{"start", "start it", "s", "lower", "wall"},
	{"firstLog", "start to first log line", "s", "lower", ""},
	{"firstMetric", "start to first metric", "s", "lower", ""},
	{"ready", "start to first 200 on /ping", "s", "lower", ""},
	{"run", "run", "s", "lower", "cpu"},
	{"transform", "transform", "s", "lower", "cpu"},
	{"stop", "stop of the container", "s", "lower", ""},
	{"upload", "pack and upload", "s", "lower", ""},
	{"clear", "clearing up", "s", "lower", "wall"},
	{"records", "records a second", "1/s", "higher", ""},
	{"requests", "requests a second", "1/s", "higher", ""},
	{"first", "first invocation", "s", "lower", ""},
	{"throughput", "most good answers a second", "1/s", "higher", ""},
	{"knee", "good answers a second at the knee", "1/s", "higher", ""},
	{"p50", "half of the answers within, at the first load", "s", "lower", ""},
	{"p99", "99 % of the answers within, at the first load", "s", "lower", ""},
	{"path", "the way there and back, at the first load", "s", "lower", ""},
	{"scriptWaited", "script waited for data", "s", "lower", ""},
	{"dataWaited", "data waited for the script", "s", "", ""},
	{"channelBytes", "data brought", "B", "", ""},
	{"cpu", "processor time of the container", "s", "lower", ""},
	{"cpuPercent", "processors in use", "%", "", ""},
	{"throttled", "held back by the quota", "s", "lower", ""},
	{"memoryPeak", "memory at most, with its cache", "B", "lower", ""},
	{"memoryPercent", "memory in use", "%", "", ""},
	{"read", "read from disks", "B", "lower", ""},
	{"written", "written to disks", "B", "lower", ""},
	{"received", "received from the network", "B", "", ""},
	{"sent", "sent to the network", "B", "", ""},
	{"gpuPercent", "GPUs in use", "%", "", ""},
	{"gpuMemoryPercent", "memory of GPUs in use", "%", "", ""},
}

// FigureNames are the names of all figures that a kind of job may have.
func FigureNames(kind job.Kind) []string {
	var names []string
	for _, f := range figures {
		if !slices.Contains(notOf[kind], f.Name) {
			names = append(names, f.Name)
		}
	}
	return names
}

// ofLoad are those that a load has.
var ofLoad = []string{"first", "throughput", "knee", "p50", "p99", "path"}

var notOf = map[job.Kind][]string{
	job.KindTraining:  append([]string{"model", "ready", "transform", "stop", "records", "requests"}, ofLoad...),
	job.KindTransform: append([]string{"stage", "firstMetric", "run", "upload", "scriptWaited", "dataWaited", "channelBytes"}, ofLoad...),
	job.KindServing:   {"stage", "firstMetric", "run", "transform", "upload", "records", "requests", "scriptWaited", "dataWaited", "channelBytes"},
}

// Outcome is what became of one run.
type Outcome struct {
	Job     string // kind/name
	Began   time.Time
	Status  string
	Error   string // why it counts for nothing; "" of one that completed
	Image   string
	Figures map[string]float64
	Own     map[string]float64

	Load *Load // that was put on it; nil: none

	Busy     time.Duration // processor time of its containers and of this process, for telling others' apart
	Timeline *Timeline
}

// Measure reads a finished job's figures from its record.
func Measure(j *ledger.Job) (Outcome, error) {
	s, err := j.State()
	if err != nil {
		return Outcome{}, err
	}
	o := Outcome{Job: string(j.Kind()) + "/" + j.Name(), Began: s.CreationTime, Status: s.Status}
	if s.Status != ledger.StatusCompleted {
		o.Error = cmp.Or(s.FailureReason, s.Detail, s.Message, s.Status)
		if s.Detail != "" && !strings.Contains(o.Error, s.Detail) { // the service's words alone may not say which image it was
			o.Error += " (" + s.Detail + ")"
		}
		return o, nil
	}
	m := measure{state: &s, figures: map[string]float64{}, own: map[string]float64{}}
	line, ok := firstLine(j, &s)
	m.began(line)
	m.times()
	m.use(&o)
	if ok {
		m.since("firstLog", line)
	}
	var first time.Time
	o.Timeline, first = samples(j.MetricsPath(), s.CreationTime)
	if !first.IsZero() {
		m.since("firstMetric", first)
	}
	if len(s.Images) > 0 {
		i := s.Images[0]
		o.Image = i.Ref
		if !strings.Contains(i.Ref, "@") && i.Digest != "" {
			o.Image += "@" + i.Digest
		}
	}
	o.Figures, o.Own = m.figures, m.own
	return o, nil
}

type measure struct {
	state        *ledger.State
	started      time.Time // the first container's process
	figures, own map[string]float64
}

func (m measure) set(name string, d time.Duration) {
	m.figures[name] = max(0, d).Round(time.Microsecond).Seconds()
}

func (m measure) since(name string, at time.Time) {
	if !m.started.IsZero() {
		m.set(name, at.Sub(m.started))
	}
}

// began finds when the first container's process ran. The record says so when the runtime has said so, by when a quick
// one may have printed something.
func (m *measure) began(line time.Time) {
	for _, c := range m.state.Containers {
		if m.started.IsZero() || !c.Started.IsZero() && c.Started.Before(m.started) {
			m.started = c.Started
		}
	}
	if !line.IsZero() && line.Before(m.started) {
		m.started = line
	}
}

// span is a stretch of time.
type span struct{ from, to time.Time }

// times reads the phases from the steps.
func (m measure) times() {
	s := m.state
	steps := map[string]span{} // from the first begin to the last end: hosts do a step side by side
	for _, x := range s.Steps {
		sp := span{x.Begin, x.Begin.Add(x.Duration())}
		if was, ok := steps[x.Name]; ok {
			if was.from.Before(sp.from) {
				sp.from = was.from
			}
			if was.to.After(sp.to) {
				sp.to = was.to
			}
		}
		steps[x.Name] = sp
	}
	for name, step := range map[string]string{"stage": "fill", "model": "model", "create": "create", "start": "start", "upload": "upload"} {
		if sp, ok := steps[step]; ok {
			m.set(name, sp.to.Sub(sp.from))
		}
	}
	if sp, ok := steps["serve"]; ok {
		m.set("start", sp.to.Sub(sp.from))
	}
	var pulled, unpacked time.Duration
	for _, i := range s.Images {
		pulled, unpacked = max(pulled, i.Pulled), max(unpacked, i.Unpacked)
	}
	m.set("pull", pulled)
	m.set("unpack", unpacked)

	var theirs []span // in which somebody else than optml has to do
	for _, name := range []string{"fill", "restore", "model", "checkpoints", "upload", "transform"} {
		if sp, ok := steps[name]; ok {
			theirs = append(theirs, sp)
		}
	}
	if pulled+unpacked > 0 {
		theirs = append(theirs, steps["image"])
	}
	var exited, last time.Time
	for _, c := range s.Containers {
		if c.Exited != nil && c.Exited.At.After(exited) {
			exited = c.Exited.At
		}
	}
	if !m.started.IsZero() && !exited.IsZero() {
		if theirs = append(theirs, span{m.started, exited}); s.Kind == job.KindTraining {
			m.set("run", exited.Sub(m.started))
		} else if sp, ok := steps["transform"]; ok {
			m.set("stop", exited.Sub(sp.to))
		} else if sp, ok := steps["load"]; ok {
			m.set("stop", exited.Sub(sp.to))
		}
	}
	if t := s.Transform; t != nil {
		m.set("ready", t.PingAfter)
		m.set("transform", t.Duration-t.PingAfter)
		if d := (t.Duration - t.PingAfter).Seconds(); d > 0 {
			m.figures["records"] = float64(t.Records) / d
			m.figures["requests"] = float64(t.Requests) / d
		}
	}
	for _, sp := range theirs {
		if sp.to.After(last) {
			last = sp.to
		}
	}
	total := s.FinalTime.Sub(s.CreationTime)
	m.set("total", total)
	m.own["total"] = max(0, total-covered(theirs, s.CreationTime, s.FinalTime)).Seconds()
	if !last.IsZero() {
		m.set("clear", s.FinalTime.Sub(last))
	}
	for _, name := range []string{"create", "start", "clear"} {
		if v, ok := m.figures[name]; ok {
			m.own[name] = v
		}
	}
}

// covered is how much of the time between two moments spans cover.
func covered(spans []span, from, to time.Time) (sum time.Duration) {
	slices.SortFunc(spans, func(a, b span) int { return a.from.Compare(b.from) })
	at := from
	for _, s := range spans {
		if s.from.Before(at) {
			s.from = at
		}
		if s.to.After(to) {
			s.to = to
		}
		if s.to.After(s.from) {
			sum += s.to.Sub(s.from)
			at = s.to
		}
	}
	return sum
}

// use reads what the containers used.
func (m measure) use(o *Outcome) {
	var own time.Duration
	for _, u := range m.state.Usage {
		c := u.Counters
		own = max(own, u.OwnerCPU)
		for name, v := range map[string]float64{
			"cpu": c.CPU.Seconds(), "throttled": c.Throttled.Seconds(), "memoryPeak": float64(c.MemoryPeak), "read": float64(c.Read),
			"written": float64(c.Written), "received": float64(c.Received), "sent": float64(c.Sent),
		} {
			m.figures[name] += v
		}
		o.Busy += c.CPU
		for _, x := range u.Metrics {
			if name := percents[x.Name]; name != "" {
				m.figures[name] += x.Mean
			}
		}
	}
	o.Busy += own
	for _, name := range []string{"run", "transform"} {
		if _, ok := m.figures[name]; ok && own > 0 {
			m.own[name] = own.Seconds()
		}
	}
	for _, c := range m.state.Channels {
		m.figures["scriptWaited"] += c.ReaderWaited.Seconds()
		m.figures["dataWaited"] += c.WeWaited.Seconds()
		if c.Mode != "FastFile" || c.Bytes > 0 { // else the kernel read files of this machine past optml
			m.figures["channelBytes"] += float64(c.Bytes)
		}
	}
}

var percents = map[string]string{"CPUUtilization": "cpuPercent", "MemoryUtilization": "memoryPercent",
	"GPUUtilization": "gpuPercent", "GPUMemoryUtilization": "gpuMemoryPercent"}

// firstLine is when the containers printed something first.
func firstLine(j *ledger.Job, s *ledger.State) (first time.Time, ok bool) {
	for _, c := range s.Containers {
		log, err := logfile.Open(j.LogPath(c.Name))
		if err != nil {
			continue
		}
		for chunk, err := range log.Chunks(0) {
			if err == nil && !chunk.Time.IsZero() && (first.IsZero() || chunk.Time.Before(first)) {
				first = chunk.Time
			}
			break
		}
		log.Close()
	}
	return first, !first.IsZero()
}

const (
	seriesMost   = 40  // of a timeline
	pointsMost   = 240 // of a series
	sampleLength = 64 << 10
)

// samples reads the file of samples: what the instances used, and when the first metric was found in a log.
func samples(path string, began time.Time) (*Timeline, time.Time) {
	var t Timeline
	var first time.Time
	f, err := os.Open(filepath.Clean(path))
	if err != nil {
		return nil, first
	}
	defer f.Close()
	for r := bufio.NewReaderSize(f, sampleLength); ; {
		line, err := r.ReadSlice('\n')
		if errors.Is(err, io.EOF) || err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			break
		}
		var x struct {
			Time     time.Time `json:"time"`
			Host     string    `json:"host"`
			Name     string    `json:"name"`
			Value    *float64  `json:"value"`
			Instance bool      `json:"instance"`
		}
		if json.Unmarshal(bytes.TrimSpace(line), &x) != nil || x.Value == nil || x.Time.IsZero() {
			continue
		}
		if !x.Instance {
			if first.IsZero() || x.Time.Before(first) {
				first = x.Time
			}
			continue
		}
		i := slices.IndexFunc(t.Series, func(s Series) bool { return s.Name == x.Name && s.Host == x.Host })
		if i < 0 {
			if len(t.Series) == seriesMost {
				continue
			}
			i = len(t.Series)
			t.Series = append(t.Series, Series{Name: x.Name, Host: x.Host})
		}
		s := &t.Series[i]
		s.Points = append(s.Points, [2]float64{x.Time.Sub(began).Seconds(), *x.Value})
		if len(s.Points) >= 2*pointsMost {
			s.halve()
		}
	}
	for i := range t.Series {
		if len(t.Series[i].Points) > pointsMost {
			t.Series[i].halve()
		}
	}
	if len(t.Series) == 0 {
		return nil, first
	}
	return &t, first
}

// halve makes one point of two neighbours: their mean.
func (s *Series) halve() {
	p := s.Points
	for i := 0; i+1 < len(p); i += 2 {
		p[i/2] = [2]float64{p[i+1][0], (p[i][1] + p[i+1][1]) / 2}
	}
	s.Points = p[:len(p)/2]
}
