package report

import (
	"bytes"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/optml/optml/human"
	"github.com/optml/optml/job"
	"github.com/optml/optml/ledger"
	"github.com/optml/optml/logfile"
)

// Bounds of the page, for each job.
const (
	pageLogs      = 6
	pageLogLines  = 200
	pageLineBytes = 500
	documentMost  = 64 << 10
	documentsMost = 8
	samplesMost   = 40
	rowsMost      = 500 // of a table: steps, outputs, warnings …
	textMost      = 8 << 10

	histogramLeast = 20 // requests: fewer have no distribution worth a picture
)

//go:embed page.tmpl
var pageText string

// pageTemplate is parsed when a page is made: every start of the program would wait a millisecond for it.
var pageTemplate = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("page").Funcs(template.FuncMap{
		"bytes": human.Bytes, "seconds": secondsText, "count": countText, "rate": rateText, "value": valueText, "clock": clockText,
		"plain": human.Line, "verdict": verdictText, "lines": lines, "latency": latencyText,
		"count64": func(n int, noun string) string { return countText(int64(n), noun) },
	}).Parse(pageText))
})

// HTML writes the report as one page that needs nothing else: no network, no script. What the other forms leave out
// (plots, logs, documents, samples) is read from the job's directory; where that is not, the page says so.
func (r *Report) HTML(w io.Writer) error {
	p := pageView{Report: r, Jobs: views(r)}
	for _, x := range r.Rules {
		switch x.Outcome {
		case Passed:
			p.RulesPassed++
		case Failed:
			p.RulesFailed++
		default:
			p.RulesOpen++
		}
	}
	// The template writes in small pieces; and half a page is no page.
	var b bytes.Buffer
	if err := pageTemplate().Execute(&b, p); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	_, err := w.Write(b.Bytes())
	return err
}

type pageView struct {
	*Report
	Jobs                                []*jobView // the report's own first
	RulesPassed, RulesFailed, RulesOpen int
}

// Public says whether there is what buyers will see (VAL-45): of a validation that ran something.
func (p pageView) Public() bool { return p.Kind == job.KindValidation && p.Verdict != Unvalidated }

// Statuses are what the service would say of a validation.
func (p pageView) Statuses() [][3]string { return p.statusRows() }

// jobView is what the page shows of one job.
type jobView struct {
	*Report
	ID         string
	Outer      bool // the report's own job
	Told       bool // why it failed is what the outer one says
	Gantt      []bar
	Axis       []tick
	StepsLeft  int
	Metrics    []plot
	Usage      []plot
	Series     []string // what of the samples is not shown
	Requests   *requestsView
	Stalls     []stall
	Samples    []sampleView
	SamplesOut int
	Logs       []logView
	LogsLeft   int
	Documents  []documentView
	Notes      []string // what could not be read
}

// bar is a row of the timeline.
type bar struct {
	Name, Host, Left, Width, Took, Error, Bytes, Class string
}

func views(r *Report) []*jobView {
	out := []*jobView{view(r, true)}
	for i, child := range r.Jobs {
		v := view(child, false)
		v.Told = child.Failure != nil && r.Failure != nil && child.Failure.Reason == r.Failure.Reason && child.Failure.Detail == r.Failure.Detail
		v.ID = "job" + strconv.Itoa(i+1)
		out = append(out, v)
	}
	return out
}

func view(r *Report, outer bool) *jobView {
	v := &jobView{Report: r, Outer: outer, ID: "job"}
	v.gantt()
	v.stalls()
	j, err := ledger.Open(r.Directory)
	if err != nil {
		v.Notes = append(v.Notes, "The job's directory "+r.Directory+" cannot be read, so plots, logs, documents and samples are missing.")
		return v
	}
	failed := func(what string, err error) {
		if err != nil {
			v.Notes = append(v.Notes, what+": "+err.Error())
		}
	}
	failed("metrics", v.series(j))
	failed("requests", v.requests(j.RequestLogPath()))
	failed("samples", v.samples(j.SamplesPath()))
	failed("logs", v.logs(j))
	failed("documents", v.documents(j.RequestDir()))
	return v
}

// gantt lays the steps, or a validation's jobs, along the time from the first's begin to the last's end.
func (v *jobView) gantt() {
	type span struct {
		bar
		from, to time.Time
	}
	var spans []span
	several := false
	for _, s := range v.Steps {
		several = several || s.Host != v.Steps[0].Host
	}
	for _, s := range v.Steps {
		b := bar{Name: s.Name, Took: secondsText(s.Seconds), Error: s.Error, Class: "ok"}
		if several {
			b.Host = s.Host
		}
		if s.Bytes > 0 {
			b.Bytes = human.Bytes(s.Bytes)
		}
		switch {
		case s.Error != "":
			b.Class = "bad"
		case s.Open && v.Verdict == Running:
			b.Class, b.Error = "open", "under way"
		case s.Open:
			b.Class, b.Error = "bad", "cut off"
		}
		spans = append(spans, span{b, s.Began, s.Began.Add(time.Duration(s.Seconds * 1e9))})
	}
	if len(v.Steps) == 0 {
		for _, j := range v.Report.Jobs {
			b := bar{Name: string(j.Kind), Took: secondsText(j.Seconds), Class: "ok"}
			switch {
			case j.Probe != "":
				b.Name = "probe, " + b.Name
			case j.Verdict != Passed:
				b.Class, b.Error = "bad", j.Verdict
			}
			if j.Verdict == Running {
				b.Class = "open"
			}
			spans = append(spans, span{b, j.Created, j.Created.Add(time.Duration(j.Seconds * 1e9))})
		}
	}
	if len(spans) == 0 {
		return
	}
	if n := len(spans) - rowsMost; n > 0 {
		v.StepsLeft, spans = n, spans[:rowsMost]
	}
	from, to := v.Created, time.Time{}
	if from.IsZero() || spans[0].from.Before(from) {
		from = spans[0].from
	}
	for _, s := range spans {
		if s.to.After(to) {
			to = s.to
		}
	}
	whole := max(to.Sub(from).Seconds(), 1e-6)
	share := func(s float64) string { return strconv.FormatFloat(min(100, max(0, 100*s/whole)), 'f', 3, 64) }
	for _, s := range spans {
		s.Left, s.Width = share(s.from.Sub(from).Seconds()), share(s.to.Sub(s.from).Seconds())
		v.Gantt = append(v.Gantt, s.bar)
	}
	for _, t := range timeTicks(0, whole) {
		v.Axis = append(v.Axis, tick{At: share(t), Text: secondsText(t)})
	}
}

// stall is how a channel's time went.
type stall struct {
	Channel
	Script, Optml string // shares in percent: waited for data, waited for the script
}

func (v *jobView) stalls() {
	for _, c := range v.Channels {
		s := stall{Channel: c, Script: "0", Optml: "0"}
		if c.Seconds > 0 {
			a := min(100, 100*c.ReaderWaitedSeconds/c.Seconds)
			b := min(100-a, 100*c.WeWaitedSeconds/c.Seconds)
			s.Script, s.Optml = strconv.FormatFloat(a, 'f', 2, 64), strconv.FormatFloat(b, 'f', 2, 64)
		}
		v.Stalls = append(v.Stalls, s)
	}
}

// used are the metrics of an instance that are sampled beside the job's own (training 5.2), in percent.
var used = []string{"CPUUtilization", "MemoryUtilization", "DiskUtilization", "GPUUtilization", "GPUMemoryUtilization"}

func (v *jobView) series(j *ledger.Job) error {
	path := j.MetricsPath()
	set, err := readSeries(path)
	for _, s := range set.all {
		own := j.Plan().Training != nil && slices.ContainsFunc(j.Plan().Training.Metrics, func(d job.MetricDefinition) bool { return d.Name == s.name })
		if !own && slices.Contains(used, s.name) {
			v.Usage = append(v.Usage, newPlot(s, v.Created, Axis{Say: percentText, Zero: true}))
		} else {
			v.Metrics = append(v.Metrics, newPlot(s, v.Created, Axis{Say: tickText}))
		}
	}
	if set.left > 0 {
		v.Series = append(v.Series, fmt.Sprintf("%s of metrics beyond the first %d are left out; all are in %s.", countText(set.left, "sample"), seriesMost, path))
	}
	if set.bad > 0 {
		v.Series = append(v.Series, fmt.Sprintf("%s of %s cannot be read.", countText(set.bad, "line"), path))
	}
	return err
}

// requestsView is a transform's requests as the page shows them.
type requestsView struct {
	N, Retried, Bad int64
	Quantiles       []tick // At is the name
	Statuses        []tick
	Bins            []histogramBar
	From, To        string
	Plot            plot
	Slowest         []request
	Path            string
}

type histogramBar struct {
	X, Y, Wide, High, Says string
}

func (v *jobView) requests(path string) error {
	q, err := readRequests(path)
	if err != nil || q.n == 0 {
		return err
	}
	x := &requestsView{N: q.n, Retried: q.retried, Bad: q.bad, Slowest: q.slowest, Path: path}
	for _, y := range []struct {
		name  string
		share float64
	}{{"half", 0.5}, {"90 %", 0.9}, {"99 %", 0.99}} {
		x.Quantiles = append(x.Quantiles, tick{At: y.name, Text: latencyText(min(q.quantile(y.share), q.slowest[0].Latency))})
	}
	x.Quantiles = append(x.Quantiles, tick{At: "all", Text: latencyText(q.slowest[0].Latency)})
	for _, s := range slices.Sorted(maps.Keys(q.statuses)) {
		name := strconv.Itoa(s)
		if s == 0 {
			name = "no response"
		}
		x.Statuses = append(x.Statuses, tick{At: name, Text: countText(q.statuses[s], "request")})
	}
	if q.other > 0 {
		x.Statuses = append(x.Statuses, tick{At: "others", Text: countText(q.other, "request")})
	}
	counts, from, to := q.histogram(40)
	if q.n < histogramLeast {
		counts = []int64{0}
	}
	x.From, x.To = latencyText(from), latencyText(to)
	wide := (plotRight - plotLeft) / float64(len(counts))
	most := max(1, slices.Max(counts))
	for i, c := range counts {
		if c > 0 {
			h := max(1, (plotBottom-plotTop)*float64(c)/float64(most))
			x.Bins = append(x.Bins, histogramBar{number(plotLeft + float64(i)*wide), number(plotBottom - h), number(max(1, wide-1)), number(h), countText(c, "request")})
		}
	}
	x.Plot = newPlot(&series{name: "latency", n: q.n, lines: []*line{&q.latency}}, v.Created, Axis{Say: latencyText, Zero: true})
	v.Requests = x
	return nil
}

// sample is the beginning of an input or an output, a line of samples.jsonl.
type sample struct {
	Kind  string `json:"kind"` // input, output
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"` // of the whole; -1: not known
	Data  []byte `json:"data"`
}

type sampleView struct {
	Kind, Name, Size, Text string
	Binary                 bool
}

func (v *jobView) samples(path string) error {
	return records(path, func(b []byte) {
		var s sample
		if json.Unmarshal(b, &s) != nil {
			return
		}
		if len(v.Samples) == samplesMost {
			v.SamplesOut++
			return
		}
		x := sampleView{Kind: s.Kind, Name: s.Name}
		data := s.Data[:min(len(s.Data), textMost)]
		cut := s.Bytes > int64(len(data))
		if s.Bytes >= 0 {
			x.Size = human.Bytes(s.Bytes)
			if cut {
				x.Size = "first " + human.Bytes(int64(len(data))) + " of " + x.Size
			}
		}
		if cut || s.Bytes < 0 { // the cut may be in the middle of a character
			for i := 0; i < utf8.UTFMax && len(data) > 0 && !utf8.Valid(data); i++ {
				data = data[:len(data)-1]
			}
		}
		if utf8.Valid(data) && !bytes.ContainsRune(data, 0) {
			x.Text = lines(string(data))
		} else {
			x.Binary, x.Text = true, hex.Dump(s.Data[:min(len(s.Data), 256)])
		}
		v.Samples = append(v.Samples, x)
	})
}

// logView is the end of a log.
type logView struct {
	Name, Path string
	Bytes      int64
	Left       int64 // bytes before the lines
	Open       bool
	Lines      []logLine
}

type logLine struct{ Time, Class, Text string }

func (v *jobView) logs(j *ledger.Job) error {
	bad := func(name string) bool {
		return slices.ContainsFunc(v.Containers, func(c Container) bool { return c.Name == name && c.ExitCode != nil && *c.ExitCode != 0 })
	}
	names := logNames(j, bad)
	var errs []error
	for i, name := range names {
		if i == pageLogs {
			v.LogsLeft = len(names) - i
			break
		}
		l, err := logOf(j.LogPath(name))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		l.Name, l.Open = name, bad(name)
		if len(l.Lines) > 0 {
			v.Logs = append(v.Logs, *l)
		}
	}
	return errors.Join(errs...)
}

func logOf(base string) (*logView, error) {
	r, err := logfile.Open(base)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	l := &logView{Path: logfile.LogName(base)}
	if l.Bytes, err = r.Size(); err != nil {
		return nil, err
	}
	if l.Left, err = r.Tail(pageLogLines, pageLogLines*(pageLineBytes+1)); err != nil {
		return nil, err
	}
	part := false
	for x, err := range logfile.Lines(r.Chunks(l.Left), pageLineBytes) {
		if err != nil {
			return nil, err
		}
		if part { // the rest of a line that is too long
			part = x.Part
			continue
		}
		part = x.Part
		text := human.Line(strings.TrimRight(string(x.Text), "\r"))
		if part {
			text += " …"
		}
		y := logLine{Text: text, Class: x.Stream.String()}
		if !x.Time.IsZero() {
			y.Time = x.Time.UTC().Format("15:04:05.000")
		}
		l.Lines = append(l.Lines, y)
		if len(l.Lines) > pageLogLines { // it grows
			break
		}
	}
	return l, nil
}

type documentView struct{ Name, Note, Text string }

func (v *jobView) documents(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for i, e := range entries {
		if i == documentsMost {
			v.Notes = append(v.Notes, fmt.Sprintf("%s more are in %s.", countText(int64(len(entries)-i), "document"), dir))
			break
		}
		d := documentView{Name: e.Name()}
		b, err := head(filepath.Join(dir, e.Name()), documentMost+1)
		if err != nil {
			return err
		}
		switch text, hidden, err := withoutValues(b); {
		case len(b) > documentMost:
			d.Note = "It has more than " + human.Bytes(documentMost) + " and is not shown; it is " + filepath.Join(dir, e.Name())
		case err != nil:
			d.Note = "It is no JSON document: " + err.Error()
		default:
			d.Text = lines(text)
			if hidden > 0 {
				d.Note = "Values of environment variables are not shown."
			}
		}
		v.Documents = append(v.Documents, d)
	}
	return err
}

// hidden are the members whose values may be secrets; their names stay.
var hidden = map[string]bool{"Environment": true, "ContainerEnvironment": true}

const notShown = "(not shown)"

// withoutValues is a JSON document, indented, its members in their order, without the values of environment variables.
func withoutValues(b []byte) (string, int, error) {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	var out bytes.Buffer
	n := 0
	var value func(hide bool, depth int) error
	value = func(hide bool, depth int) error {
		t, err := dec.Token()
		if err != nil {
			return err
		}
		d, ok := t.(json.Delim)
		if !ok {
			if hide {
				t = notShown
				n++
			}
			return put(&out, t)
		}
		if depth > 1000 {
			return errors.New("it is nested too deep")
		}
		out.WriteRune(rune(d))
		for first := true; dec.More(); first = false {
			if !first {
				out.WriteByte(',')
			}
			below := hide
			if d == '{' {
				name, err := dec.Token()
				if err != nil {
					return err
				}
				if err := put(&out, name); err != nil {
					return err
				}
				out.WriteByte(':')
				s, _ := name.(string)
				below = hide || hidden[s]
			}
			if err := value(below, depth+1); err != nil {
				return err
			}
		}
		t, err = dec.Token()
		if err != nil {
			return err
		}
		d, _ = t.(json.Delim)
		out.WriteRune(rune(d))
		return nil
	}
	if err := value(false, 0); err != nil {
		return "", 0, err
	}
	var tidy bytes.Buffer
	err := json.Indent(&tidy, out.Bytes(), "", "  ")
	return tidy.String(), n, err
}

func put(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// lines makes text of several lines harmless.
func lines(s string) string {
	var b strings.Builder
	for l := range strings.Lines(s) {
		end := ""
		if t, ok := strings.CutSuffix(l, "\n"); ok {
			l, end = strings.TrimSuffix(t, "\r"), "\n"
		}
		b.WriteString(human.Line(l))
		b.WriteString(end)
	}
	return b.String()
}
