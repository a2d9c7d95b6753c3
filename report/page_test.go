package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"

	"github.com/optml/optml/human"
	"github.com/optml/optml/job"
	"github.com/optml/optml/ledger"
	"github.com/optml/optml/logfile"
	"github.com/optml/optml/metrics"
	"github.com/optml/optml/test/browsertest"
)

const hostile = `</pre><script>document.title="owned"</script><img src=https://evil.example/x onerror=alert(1)>` + "\x1b[31m"

// onDisk makes a validation with its jobs as they lie in a ledger, whose logs, names and documents are hostile.
func onDisk(t *testing.T, failed bool) *ledger.Job {
	t.Helper()
	root := t.TempDir()
	put := func(p *job.Plan, docs map[string][]byte, events ...[]ledger.Event) *ledger.Job {
		t.Helper()
		o, err := ledger.Create(root, ledger.Request{Plan: p, Documents: docs})
		if err != nil {
			t.Fatal(err)
		}
		if err := o.Close(); err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		for i, e := range slices.Concat(events...) {
			e.Seq = int64(i + 1)
			if err := json.NewEncoder(&b).Encode(e); err != nil {
				t.Fatal(err)
			}
		}
		write(t, o.Job().EventsPath(), b.Bytes())
		return o.Job()
	}
	doc := map[string][]byte{"CreateAlgorithm.json": []byte(`{"AlgorithmName":"iris","TrainingSpecification":{"TrainingImage":"optml.test/iris:1","SupportedHyperParameters":[]},
		"InferenceSpecification":{"Containers":[{"Image":"optml.test/iris:1","Environment":{"API_TOKEN":"hunter2","N":"3"}}]},"N":1.50}`)}
	verdicts := []ledger.Event{
		ev(96, "", "", ledger.Verdict{Rule: "document is what the service accepts", Outcome: "passed", Evidence: "no member that the service refuses"}),
		ev(96, "", "", ledger.Verdict{Rule: "training completes", Outcome: "passed", Evidence: "training job iris-r1-training completed"}),
		ev(96, "", "", ledger.Verdict{Rule: "every defined metric is seen", Outcome: "passed", Evidence: "2 of 2"}),
		ev(96, "", "", ledger.Verdict{Rule: "/ping answers 200", Outcome: "passed", Evidence: "2.4 s after the start"}),
		ev(96, "", "", ledger.Verdict{Rule: "every input object gets an output", Outcome: "passed", Evidence: "3 objects, 1,500 records"}),
		ev(96, "", "", ledger.Verdict{Rule: "exits on bad input", Outcome: "not checked", Evidence: "run with --probe"}),
	}
	end := ledger.Transition{Status: "Completed", ExitCode: new(0)}
	if failed {
		verdicts[4].Body = ledger.Verdict{Rule: "every input object gets an output", Outcome: "failed", Evidence: "AlgorithmError: See job logs for more information",
			Remedy: "answer every record: record 2 of in/bad.csv got status 500; failing/1 has the request and the answer"}
		end = ledger.Transition{Status: "Failed", FailureReason: "AlgorithmError: See job logs for more information", Detail: "objects failed: 1 of 3, the first: in/bad.csv, record 2 at byte 5: the container answered 500" + hostile,
			Hint: "answer every record with 200", ExitCode: new(3)}
	}
	parent := put(plan(job.KindValidation, "iris-r1"), doc, []ledger.Event{
		ev(0, "", "", ledger.Transition{Status: "InProgress", Message: "Validating the algorithm"}),
		ev(0, "", "", ledger.Warning{Rule: "CH-4", Text: "instance type local runs with the whole host"}),
		ev(0, "", "", ledger.Child{Kind: "training", Name: "iris-r1-training"}), ev(77, "", "", ledger.Child{Kind: "transform", Name: "iris-r1-transform"}),
	}, verdicts, []ledger.Event{ev(96.5, "", "", end)})

	tr := put(plan(job.KindTraining, "iris-r1-training"), nil,
		status(0, "Starting", "Starting the training job"),
		step("algo-1", "layout", 0.1, 0.104, ledger.StepEnded{}),
		status(0.2, "Downloading", "Downloading input data"),
		step("algo-1", "image", 0.2, 4.3, ledger.StepEnded{Bytes: 82 << 20}),
		step("algo-1", "fill", 0.2, 1.6, ledger.StepEnded{Bytes: 3 << 20}),
		step("algo-1", "create", 4.3, 4.5, ledger.StepEnded{}),
		[]ledger.Event{
			ev(0.3, "algo-1", "image", ledger.ImageResolved{Container: "algo-1", Ref: "optml.test/iris:1", Digest: "sha256:" + strings.Repeat("ab", 32), Platform: "linux/amd64"}),
			ev(4.5, "algo-1", "wait", ledger.StepBegan{}),
			ev(4.5, "algo-1", "wait", ledger.Started{Container: "algo-1", ID: "x"}),
		},
		status(4.5, "Training", "Training in progress."),
		[]ledger.Event{
			ev(75, "algo-1", "wait", ledger.Exited{Container: "algo-1", At: at(75)}),
			ev(75, "algo-1", "wait", ledger.StepEnded{}),
			ev(75, "algo-1", "", ledger.ChannelTotals{Channel: "train", Mode: "File", Bytes: 3 << 20, Objects: 12, Duration: 1400 * time.Millisecond}),
			ev(75, "algo-1", "", ledger.ChannelTotals{Channel: "validation", Mode: "Pipe", Bytes: 812 << 20, Objects: 40, Epochs: 3, Duration: 70 * time.Second, ReaderWaited: 9 * time.Second, WeWaited: 48 * time.Second}),
		},
		status(75.1, "Uploading", "Uploading generated training model"),
		step("", "upload", 75.2, 75.9, ledger.StepEnded{Bytes: 1234567}),
		[]ledger.Event{
			ev(76, "", "", ledger.UploadTotals{Artifact: "model", URI: "s3://demo/out/iris-r1-training/output/model.tar.gz", Bytes: 1234567, Files: 3}),
			ev(76, "", "", ledger.UploadTotals{Artifact: "output", URI: "s3://demo/out/iris-r1-training/output/output.tar.gz", Empty: true}),
			ev(76, "", "", ledger.FinalMetric{Name: "validation:auc", Value: 0.96, At: at(70), Count: 60}),
			ev(76, "", "", ledger.FinalMetric{Name: "train:loss", Value: 1.25e-7, At: at(70), Count: 5000}),
			ev(76, "", "", ledger.Warning{Rule: "START-8", Text: "the image's user is 1000, which would fail on SageMaker"}),
			ev(76.2, "", "", ledger.Transition{Status: "Completed", Secondary: "Completed", Message: "Training job completed", ExitCode: new(0)}),
		})
	var samples []metrics.Sample
	for i := range 5_000 {
		x := float64(i) / 5_000
		samples = append(samples, metrics.Sample{At: at(5 + 68*x), Host: "algo-1", Name: "train:loss", Value: 2*math.Exp(-4*x) + 0.1*math.Sin(float64(i)*1.7)*(1-x)})
		if i%100 == 0 {
			samples = append(samples, metrics.Sample{At: at(5 + 68*x), Host: "algo-1", Name: "validation:auc", Value: 1 - 0.5*math.Exp(-3*x)},
				metrics.Sample{At: at(5.1 + 68*x), Host: "algo-2", Name: "validation:auc", Value: 1 - 0.45*math.Exp(-2*x)})
		}
	}
	samples = append(samples, metrics.Sample{At: at(70), Host: `"><script>`, Name: "<b>hostile</b>" + hostile, Value: 1})
	for i := range 70 {
		for n, name := range []string{"CPUUtilization", "MemoryUtilization", "GPUUtilization"} {
			samples = append(samples, metrics.Sample{At: at(5 + float64(i)), Host: "algo-1", Name: name, Value: 40*float64(n+1) + 20*math.Sin(float64(i)/5+float64(n))})
		}
	}
	putSamples(t, tr.MetricsPath(), samples)
	putLog(t, tr.LogPath("algo-1"), hostile+"\nepoch 1 loss=0.5\n", "UserWarning: deprecated\n", strings.Repeat("epoch 2 loss=0.25\n", 300))
	putLines(t, tr.SamplesPath(), []sample{
		{"input", "train/iris.csv", 9000, []byte("5.1,3.5,1.4,0.2,setosa\n4.9,3.0,1.4,0.2,setosa\n" + hostile)},
		{"input", "train/images.rec", 900, []byte{0x0a, 0x23, 0xd7, 0xce, 0, 1, 2}},
		{"output", "model/weights.bin", 3, []byte{0xff, 0, 1}},
	})

	last := []ledger.Event{
		ev(95, "", "", ledger.TransformTotals{Objects: 3, Records: 1500, Requests: 1502, Retries: 2, BytesIn: 51200, BytesOut: 9000,
			Duration: 15 * time.Second, PingAfter: 2400 * time.Millisecond, MaxConcurrent: 4, MaxPayloadMB: 6, BatchStrategy: "SINGLE_RECORD"}),
		ev(95.2, "", "", ledger.Transition{Status: "Completed", ExitCode: new(0)}),
	}
	if failed {
		last[1].Body = end
	}
	tf := put(&job.Plan{Format: 1, Kind: job.KindTransform, Name: "iris-r1-transform", ARN: "arn:aws:sagemaker:us-east-1:000000000000:transform-job/iris-r1-transform", Transform: &job.Transform{CreationTime: at(77)}}, nil,
		step("algo-1", "create", 77, 77.2, ledger.StepEnded{}), step("algo-1", "serve", 77.2, 79.6, ledger.StepEnded{}), step("algo-1", "transform", 79.6, 94.6, ledger.StepEnded{}), last)
	var reqs []map[string]any
	for i := range 1500 {
		s := 200
		if failed && i == 700 {
			s = 500
		}
		reqs = append(reqs, map[string]any{"time": at(79.6 + float64(i)/100), "host": "algo-1", "worker": 1 + i%4, "object": "in/a.csv", "record": i + 1, "records": 1, "offset": i * 34,
			"sent": 34, "received": 6, "status": s, "attempts": 1 + i/1498, "latencySeconds": 0.002 * math.Exp(2*math.Sin(float64(i)*0.7)*math.Sin(float64(i)*0.7)), "seconds": 0.01})
	}
	putLines(t, tf.RequestLogPath(), reqs)
	putLog(t, tf.LogPath("algo-1"), "listening on 8080\n")
	if failed {
		putLog(t, tf.LogPath("data-log"), "in/bad.csv: status 500\n")
		dir := filepath.Join(tf.FailingDir(), "1")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		b, _ := json.Marshal(Batch{Time: at(80), Host: "algo-1", Object: "in/bad.csv", Record: 2, Records: 1, Offset: 5, Bytes: 4, Status: 500, Attempts: 3, Error: "the container answered 500",
			Replay: "curl -i -A Go-http-client/1.1 -H Accept: -H 'Content-Type: text/csv' -H Expect: --data-binary @" + dir + "/request http://localhost:8080/invocations"})
		write(t, filepath.Join(dir, "batch.json"), b)
		write(t, filepath.Join(dir, "response.body"), []byte("Traceback: could not convert string to float: 'x' "+hostile))
	}
	return parent
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func putLines[T any](t *testing.T, path string, all []T) {
	t.Helper()
	var b bytes.Buffer
	for _, x := range all {
		if err := json.NewEncoder(&b).Encode(x); err != nil {
			t.Fatal(err)
		}
	}
	write(t, path, b.Bytes())
}

func putSamples(t *testing.T, path string, all []metrics.Sample) {
	t.Helper()
	out, err := metrics.OpenJSONL(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if err := out.Add(s); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}

// putLog writes what was printed: stdout, stderr, stdout …
func putLog(t *testing.T, base string, texts ...string) {
	t.Helper()
	w, err := logfile.Create(base)
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range texts {
		w.Write([]logfile.Stream{logfile.Stdout, logfile.Stderr}[i%2], []byte(s))
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func pageOf(t *testing.T, j *ledger.Job) (*html.Node, []byte) {
	t.Helper()
	r, err := Make(j)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := r.HTML(&b); err != nil {
		t.Fatal(err)
	}
	n, err := html.Parse(bytes.NewReader(b.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	return n, b.Bytes()
}

func elements(n *html.Node, name string) (out []*html.Node) {
	for x := range n.Descendants() {
		if x.Type == html.ElementNode && x.Data == name {
			out = append(out, x)
		}
	}
	return out
}

// The page asks for nothing and runs nothing, whatever a container printed or a document says.
func TestPageIsInert(t *testing.T) {
	for _, failed := range []bool{false, true} {
		page, raw := pageOf(t, onDisk(t, failed))
		for n := range page.Descendants() {
			if n.Type != html.ElementNode {
				continue
			}
			switch n.Data {
			case "script", "img", "iframe", "object", "embed", "link", "base", "form", "audio", "video", "source", "use", "image", "foreignobject":
				t.Errorf("there is a <%s>", n.Data)
			}
			for _, a := range n.Attr {
				key := strings.ToLower(a.Key)
				if strings.HasPrefix(key, "on") || slices.Contains([]string{"src", "srcset", "action", "background", "poster", "xlink:href", "ping"}, key) || key == "href" && !strings.HasPrefix(a.Val, "#") {
					t.Errorf("<%s %s=%q>", n.Data, a.Key, a.Val)
				}
				if key == "style" && strings.Contains(a.Val, "url") {
					t.Errorf("style %q", a.Val)
				}
			}
		}
		for _, s := range elements(page, "style") {
			if x := browsertest.Text(s); strings.Contains(x, "url(") || strings.Contains(x, "@import") {
				t.Error("the style asks for something")
			}
		}
		text := browsertest.Text(page)
		// It shows as text, with the control characters as escapes.
		if n := strings.Count(text, `</pre><script>document.title="owned"</script><img src=https://evil.example/x onerror=alert(1)>\x1b[31m`); n < 2 {
			t.Errorf("the hostile text shows %d times", n)
		}
		for i, c := range string(raw) {
			if c < ' ' && c != '\n' && c != '\t' {
				t.Fatalf("control character %q at %d", c, i)
			}
		}
		if bytes.Contains(raw, []byte("hunter2")) || !strings.Contains(text, `"API_TOKEN": "(not shown)"`) || !strings.Contains(text, `"N": 1.50`) {
			t.Error("the values of environment variables are not as they should be")
		}
	}
}

// What the page tells: verdict, rules with what to do, and that the data will be public (VAL-45).
func TestPageTells(t *testing.T) {
	page, _ := pageOf(t, onDisk(t, true))
	text := browsertest.Text(page)
	var outcomes []string
	for n := range page.Descendants() {
		if o := browsertest.Attribute(n, "data-outcome"); o != "" {
			outcomes = append(outcomes, o)
		}
	}
	if diff := cmp.Diff([]string{"passed", "passed", "passed", "passed", "failed", "not checked"}, outcomes); diff != "" {
		t.Error(diff)
	}
	for _, want := range []string{
		"FAILED", "4 of 6 rules passed", "answer every record: record 2 of in/bad.csv got status 500", "VAL-45",
		"What the instances used", "Request latencies", "The slowest requests", "Failing batches", "curl -i -A Go-http-client/1.1", "could not convert string to float",
		"5.1,3.5,1.4,0.2,setosa", "not text", "00000000  0a 23 d7 ce", "before these lines are left out", "sha256:abab", "Made by optml",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not said", want)
		}
	}
	lines := 0
	for _, n := range elements(page, "span") {
		if c := browsertest.Attribute(n, "class"); c == "stdout" || c == "stderr" {
			lines++
		}
	}
	if lines != pageLogLines+2 { // of the training, whose log is longer, and of the transform's two
		t.Errorf("%d lines of logs", lines)
	}
}

func float(t *testing.T, s string) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// Each plot's points equal metrics.jsonl: one by one where there are few, else the extremes of each column.
func TestPlotsEqualMetrics(t *testing.T) {
	parent := onDisk(t, false)
	page, _ := pageOf(t, parent)
	f, err := os.ReadFile(filepath.Join(parent.Root(), "training", "iris-r1-training", "metrics.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	type sampled struct {
		Time       time.Time
		Host, Name string
		Value      float64
	}
	want := map[string][]sampled{} // by name and host
	for l := range bytes.Lines(f) {
		var s sampled
		if err := json.Unmarshal(l, &s); err != nil {
			t.Fatal(err)
		}
		key := human.Line(s.Name) + " of " + human.Line(s.Host)
		want[key] = append(want[key], s)
	}
	seen, few, many := 0, 0, 0
	for _, fig := range elements(page, "figure") {
		name := browsertest.Attribute(fig, "data-metric")
		x0, x1, y0, y1 := browsertest.Attribute(fig, "data-x0"), browsertest.Attribute(fig, "data-x1"), browsertest.Attribute(fig, "data-y0"), browsertest.Attribute(fig, "data-y1")
		for _, g := range elements(fig, "g") {
			all := want[name+" of "+browsertest.Attribute(g, "data-host")]
			if all == nil {
				continue // latencies
			}
			seen++
			left, right, low, high := float(t, x0), float(t, x1), float(t, y0), float(t, y1)
			var drawn []point
			for xy := range strings.FieldsSeq(browsertest.Attribute(elements(g, "polyline")[0], "points")) {
				x, y, _ := strings.Cut(xy, ",")
				drawn = append(drawn, point{at(left + (float(t, x)-plotLeft)/(plotRight-plotLeft)*(right-left)), low + (plotBottom-float(t, y))/(plotBottom-plotTop)*(high-low)})
			}
			// A coordinate is rounded to a hundredth of a pixel.
			dt, dv := time.Duration((right-left)/(plotRight-plotLeft)*0.0051*1e9)+1, (high-low)/(plotBottom-plotTop)*0.0051
			near := func(p point, s sampled) bool {
				d := p.t.Sub(s.Time)
				return d <= dt && d >= -dt && math.Abs(p.v-s.Value) <= dv
			}
			dots := elements(g, "circle")
			if len(all) <= pointsRaw {
				few++
				if len(dots) != len(all) || len(drawn) != len(all) {
					t.Fatalf("%s: %d dots, %d points of %d samples", name, len(dots), len(drawn), len(all))
				}
				for i, d := range dots {
					if when, err := time.Parse(time.RFC3339Nano, browsertest.Attribute(d, "data-time")); err != nil || !when.Equal(all[i].Time) || float(t, browsertest.Attribute(d, "data-value")) != all[i].Value || !near(drawn[i], all[i]) {
						t.Errorf("%s: sample %d is %+v, drawn %+v, said %v", name, i, all[i], drawn[i], d.Attr)
					}
				}
				continue
			}
			many++
			if len(dots) > 0 || len(drawn) > 2*columns+2 {
				t.Errorf("%s: %d dots, %d points", name, len(dots), len(drawn))
			}
			for _, p := range drawn { // none is invented
				i, _ := slices.BinarySearchFunc(all, p.t.Add(-dt), func(s sampled, at time.Time) int { return s.Time.Compare(at) })
				for i < len(all) && !near(p, all[i]) && !all[i].Time.After(p.t.Add(dt)) {
					i++
				}
				if i == len(all) || !near(p, all[i]) {
					t.Fatalf("%s: %+v is no sample", name, p)
				}
			}
			for _, s := range all { // none is outside of what is drawn within a column of it
				column := all[len(all)-1].Time.Sub(all[0].Time) / (columns / 2)
				a, b := math.Inf(1), math.Inf(-1)
				for _, p := range drawn {
					if d := p.t.Sub(s.Time); d <= column && d >= -column {
						a, b = min(a, p.v), max(b, p.v)
					}
				}
				if s.Value < a-dv || s.Value > b+dv {
					t.Fatalf("%s: %+v is not in what is drawn, %v to %v", name, s, a, b)
				}
			}
			if !near(drawn[0], all[0]) || !near(drawn[len(drawn)-1], all[len(all)-1]) {
				t.Errorf("%s: the first or the last is missing", name)
			}
		}
	}
	if seen != len(want) || few < 3 || many < 1 {
		t.Errorf("%d of %d lines, %d of few samples, %d of many", seen, len(want), few, many)
	}
}

// The page is bounded whatever the job: hundreds of metrics, hosts and logs, long lines, and what is left out is said.
func TestPageIsBounded(t *testing.T) {
	o, err := ledger.Create(t.TempDir(), ledger.Request{Plan: plan(job.KindTraining, "big"), Documents: map[string][]byte{
		"CreateTrainingJob.json": []byte(`{"HyperParameters":{"x":"` + strings.Repeat("y", 1<<20) + `"}}`)}})
	if err != nil {
		t.Fatal(err)
	}
	o.Close()
	j := o.Job()
	var all []metrics.Sample
	for i := range 40_000 {
		all = append(all, metrics.Sample{At: at(float64(i) / 10), Host: fmt.Sprintf("algo-%d", i%12), Name: fmt.Sprintf("m%d", i%100), Value: float64(i % 7)})
	}
	putSamples(t, j.MetricsPath(), all)
	f, err := os.OpenFile(j.MetricsPath(), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(f, "{}\nnull\n"+strings.Repeat("z", 1<<20)+"\n"+`{"time":"2026-03-01T12:00:00Z","name":"torn`)
	f.Close()
	for i := range 20 {
		putLog(t, j.LogPath(fmt.Sprintf("algo-%02d", i)), strings.Repeat(strings.Repeat("<", 3000)+"\n", 400))
	}
	page, raw := pageOf(t, j)
	if len(raw) > 8<<20 {
		t.Errorf("%d bytes", len(raw))
	}
	text := browsertest.Text(page)
	for _, want := range []string{"metrics beyond the first 64 are left out", "3 lines of ", "It has more than 64 KiB and is not shown", "14 logs more are in"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not said", want)
		}
	}
	if n := len(elements(page, "figure")); n != seriesMost {
		t.Errorf("%d plots", n)
	}
	// Without its directory, or with one that has been emptied, a page says what is missing.
	r, err := Make(j)
	if err != nil {
		t.Fatal(err)
	}
	r.Directory = filepath.Join(t.TempDir(), "gone")
	var b bytes.Buffer
	if err := r.HTML(&b); err != nil || !strings.Contains(b.String(), "cannot be read, so plots") {
		t.Error(err)
	}
}

// Axes stay sane for every kind of values.
func TestPlotOfOddValues(t *testing.T) {
	for name, values := range map[string][]float64{
		"one": {3}, "same": {0, 0, 0}, "tiny": {1e-300, 2e-300}, "huge": {-math.MaxFloat64, math.MaxFloat64}, "negative": {-5, -4}, "near": {1e9, 1e9 + 1e-6},
	} {
		l := &line{}
		for i, v := range values {
			l.add(point{at(float64(i)), v})
		}
		p := newPlot(&series{name: name, n: int64(len(values)), lines: []*line{l}}, t0, Axis{Say: tickText})
		if len(p.YTicks) < 2 || len(p.YTicks) > 7 {
			t.Errorf("%s: %v", name, p.YTicks)
		}
		for _, xy := range strings.FieldsFunc(p.Lines[0].Points, func(r rune) bool { return r == ' ' || r == ',' }) {
			if v := float(t, xy); math.IsNaN(v) || v < -0.01 || v > plotWide {
				t.Errorf("%s: coordinate %s", name, xy)
			}
		}
	}
}

// Quantiles are right to 1 %, for any number of requests.
func TestLatencies(t *testing.T) {
	q := &requests{statuses: map[int]int64{}, bins: map[int]int64{}}
	for i := range 10_000 {
		q.add(request{Time: at(float64(i)), Latency: float64(i+1) / 1000, Status: 200 + i%50, Tries: 2})
	}
	for share, want := range map[float64]float64{0.5: 5, 0.9: 9, 0.99: 9.9} {
		if got := q.quantile(share); math.Abs(got-want)/want > 0.011 {
			t.Errorf("%v: %v, want %v", share, got, want)
		}
	}
	if len(q.slowest) != slowestMost || q.slowest[0].Latency != 10 || q.slowest[9].Latency != 9.991 || q.retried != 10_000 || len(q.statuses) != statusesMost || q.other != 3600 {
		t.Errorf("%+v", q)
	}
	counts, from, to := q.histogram(40)
	sum := int64(0)
	for _, c := range counts {
		sum += c
	}
	if sum != q.n || len(counts) > 40 || from > 0.001 || to < 10 {
		t.Error(counts, from, to)
	}
}

// XML that a parser reads holds no character that XML does not have.
func TestJUnitIsXML(t *testing.T) {
	r, err := Make(onDisk(t, true))
	if err != nil {
		t.Fatal(err)
	}
	r.Failure.Logs = []Log{{Name: "x", Path: "\x00", Lines: []string{hostile, "]]>\x01\xff"}}}
	var b bytes.Buffer
	if err := r.JUnit(&b); err != nil {
		t.Fatal(err)
	}
	dec := xml.NewDecoder(&b)
	for {
		if _, err := dec.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
}
