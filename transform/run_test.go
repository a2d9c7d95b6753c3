package transform_test

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/optml/optml/framing"
	"github.com/optml/optml/job"
	"github.com/optml/optml/transform"
	tt "github.com/optml/optml/transform/transformtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bench is a job around one container.
type bench struct {
	transform.Config
	out *tt.Outputs
	log *bytes.Buffer
}

// setup makes a job over objects named in/0, in/1 … unless they have names.
func setup(in transform.Instance, objects ...transform.Object) *bench {
	b := &bench{out: &tt.Outputs{}, log: new(bytes.Buffer)}
	in.DataLog = &lockedWriter{w: b.log}
	b.Config = transform.Config{
		Bucket: "bucket", Prefix: "in/", Instances: []transform.Instance{in},
		Objects: tt.Sequence(objects...), Create: b.out.Create, Remove: b.out.Remove,
	}
	b.Job.MaxRetries = 3
	b.Job.Input.SplitType = "None"
	b.Job.Output.AssembleWith = "None"
	return b
}

type lockedWriter struct {
	mu sync.Mutex
	w  *bytes.Buffer
}

func (l *lockedWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

// line sets SplitType Line and a strategy.
func (b *bench) line(strategy string) *bench {
	b.Job.Input.SplitType = "Line"
	b.Job.BatchStrategy = &strategy
	return b
}

// logged is the data log without its time stamps.
func (b *bench) logged() []string {
	var out []string
	for line := range strings.Lines(b.log.String()) {
		_, text, _ := strings.Cut(line, ":[sagemaker logs]: ")
		out = append(out, strings.TrimSuffix(text, "\n"))
	}
	return out
}

func (b *bench) run(t *testing.T) (transform.Result, error) {
	t.Helper()
	res, err := transform.Run(t.Context(), b.Config)
	if n := b.out.Open(); n != 0 {
		t.Errorf("%d outputs neither committed nor aborted", n)
	}
	return res, err
}

func (b *bench) must(t *testing.T) transform.Result {
	t.Helper()
	res, err := b.run(t)
	if err != nil {
		t.Fatalf("run: %v\n%s", err, b.log)
	}
	return res
}

func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n%q\nwant:\n%q", what, got, want)
	}
}

func outputs(t *testing.T, b *bench, want map[string]string) {
	t.Helper()
	if got := b.out.All(); !maps.Equal(got, want) && len(got)+len(want) > 0 {
		t.Errorf("outputs %q, want %q", got, want)
	}
}

func TestSplittingAndStrategies(t *testing.T) { // BT-50 to BT-55, BT-70 to BT-72, the table of 3.3
	lines := "a,1\nb,2\r\n\nc,3"
	recordio := framing.RecordIO.Append(framing.RecordIO.Append(nil, []byte("hello")), nil)
	parts := "\x0a\x23\xd7\xce\x04\x00\x00\x20head\x0a\x23\xd7\xce\x05\x00\x00\x60tail!\x00\x00\x00"
	tf := framing.TFRecord.Append(framing.TFRecord.Append(nil, []byte("hello")), []byte("a"))
	for _, c := range []struct {
		split, strategy, in string
		keep                bool
		want                []string
	}{
		{"None", "SingleRecord", lines, false, []string{lines}},
		{"None", "MultiRecord", lines, false, []string{lines}},
		{"", "MultiRecord", lines, false, []string{lines}},
		{"Line", "SingleRecord", lines, false, []string{"a,1\n", "b,2\r\n", "\n", "c,3"}},
		{"Line", "MultiRecord", lines, false, []string{lines}},
		{"RecordIO", "SingleRecord", string(recordio), false, []string{"hello", ""}}, // BT-66
		{"RecordIO", "MultiRecord", string(recordio), false, []string{string(recordio)}},
		{"RecordIO", "SingleRecord", parts, false, []string{"head\x0a\x23\xd7\xcetail!"}}, // BT-62
		{"RecordIO", "SingleRecord", parts, true, []string{parts}},                        // BT-74
		{"RecordIO", "MultiRecord", parts, false, []string{parts}},
		{"TFRecord", "SingleRecord", string(tf), false, []string{"hello", "a"}},
		{"TFRecord", "MultiRecord", string(tf), false, []string{string(tf)}},
	} {
		t.Run(c.split+"/"+c.strategy, func(t *testing.T) {
			model := &tt.Container{}
			b := setup(tt.Serve(t, model), tt.Object("in/x", c.in))
			b.Job.Input.SplitType, b.Job.BatchStrategy, b.KeepFraming = c.split, &c.strategy, c.keep
			res := b.must(t)
			same(t, "requests", model.Invocations(), c.want)
			outputs(t, b, map[string]string{"x.out": strings.Join(c.want, "")})
			if n := res.Totals; n.Requests != int64(len(c.want)) || n.Objects != 1 || n.BytesIn != int64(len(strings.Join(c.want, ""))) || n.Read != int64(len(c.in)) {
				t.Errorf("totals %+v", n)
			}
			for _, r := range model.Requests() {
				if r.Method == "POST" && (r.Chunked || r.Length != int64(len(r.Body))) {
					t.Errorf("a request with chunked %v, Content-Length %d for %d bytes (BT-99)", r.Chunked, r.Length, len(r.Body))
				}
			}
		})
	}
}

func TestPackingUpToTheLimit(t *testing.T) { // BT-80, BT-82, BT-94, BT-95, Appendix A
	in := "abc\nabcd\n\nab\n" // 4, 5, 1 and 3 bytes
	for _, c := range []struct {
		limit int64
		want  []string
	}{
		{9, []string{"abc\nabcd\n", "\nab\n"}},
		{10, []string{"abc\nabcd\n\n", "ab\n"}},
		{13, []string{in}},
		{5, []string{"abc\n", "abcd\n", "\nab\n"}},
		{4, nil},
	} {
		model := &tt.Container{}
		b := setup(tt.Serve(t, model), tt.Object("in/x", in), tt.Object("in/y", "ok\n")).line("MultiRecord")
		b.Config = b.WithPayloadBytes(c.limit)
		if c.want != nil {
			b.must(t)
			same(t, "requests", model.Invocations(), append(slices.Clone(c.want), "ok\n"))
			outputs(t, b, map[string]string{"x.out": in, "y.out": "ok\n"})
			continue
		}
		res, err := b.run(t)
		if err == nil || res.FailureReason != "ClientError: See job logs for more information" { // ST-10
			t.Errorf("limit %d: %v, %q", c.limit, err, res.FailureReason)
		}
		outputs(t, b, map[string]string{"y.out": "ok\n"}) // BT-140, BT-141
		same(t, "data log", b.logged(), []string{
			"MaxConcurrentTransforms=1, MaxPayloadInMB=6, BatchStrategy=MULTI_RECORD",
			"bucket/in/x: ClientError: 400", "bucket/in/x: ", "bucket/in/x: Message:",
			"bucket/in/x: Record 2 is 5 bytes, larger than MaxPayloadInMB=6 (4 bytes)", // BT-96
			"bucket/in/x: at byte 4 of the object",
		})
		if f := res.Failures[0]; f.Record != 2 || f.Offset != 4 || f.Class != transform.ClientError {
			t.Errorf("failure %+v", f)
		}
	}
}

func TestBatchesNeverMixObjects(t *testing.T) { // BT-36, BT-120
	model := &tt.Container{}
	b := setup(tt.Serve(t, model), tt.Object("in/a", "1\n2"), tt.Object("in/b", "3\n"), tt.Object("in/c", "4\n")).line("MultiRecord")
	b.must(t)
	same(t, "requests", model.Invocations(), []string{"1\n2", "3\n", "4\n"})
	outputs(t, b, map[string]string{"a.out": "1\n2", "b.out": "3\n", "c.out": "4\n"})
}

func TestAssembleWith(t *testing.T) { // BT-121 to BT-124
	for _, c := range []struct {
		with string
		one  bool
		want string
	}{
		{"None", false, "xx\nx"}, {"", false, "xx\nx"}, {"Line", false, "x\nx\n\nx\n"}, {"Line", true, "x\nx\nx\n"},
	} {
		n := 0
		model := &tt.Container{Invoke: func(w http.ResponseWriter, r *http.Request) {
			n++
			fmt.Fprint(w, map[bool]string{false: "x", true: "x\n"}[n == 2])
		}}
		b := setup(tt.Serve(t, model), tt.Object("in/a", "1\n2\n3\n")).line("SingleRecord")
		b.Job.Output.AssembleWith, b.OneNewline = c.with, c.one
		b.must(t)
		outputs(t, b, map[string]string{"a.out": c.want})
	}
}

func TestEmptyObjects(t *testing.T) { // BT-34, BT-35
	for _, split := range []string{"None", "Line"} {
		for _, payload := range []int{6, 0} {
			model := &tt.Container{}
			b := setup(tt.Serve(t, model), tt.Object("in/", ""), tt.Object("in/dir/", ""), tt.Object("in/empty", ""), tt.Object("in/x", "1"))
			b.Job.Input.SplitType, b.Job.MaxPayloadMB, b.Job.Output.AssembleWith = split, &payload, "Line"
			b.must(t)
			same(t, "requests", model.Invocations(), []string{"1"})
			outputs(t, b, map[string]string{"empty.out": "", "x.out": "1\n"})
		}
	}
	b := setup(tt.Serve(t, &tt.Container{}), tt.Object("in/", ""))
	b.Job.Input.Source.URI = "s3://bucket/in/"
	res, err := b.run(t)
	if err == nil || res.FailureReason != "ClientError: no input objects: nothing matches s3://bucket/in/" {
		t.Errorf("nothing to do: %v, %q", err, res.FailureReason)
	}
}

func TestHeaders(t *testing.T) { // BT-21, BT-100, BT-109, BT-125, INF-72: these and no others
	for _, c := range []struct{ content, accept, stored string }{
		{"text/csv", "application/json", "application/json"}, {"", "", "application/octet-stream"}, {"text/csv", "", "application/octet-stream"},
	} {
		model := &tt.Container{}
		b := setup(tt.Serve(t, model), tt.Object("in/x", "1"))
		b.Job.Input.ContentType, b.Job.Output.Accept = c.content, c.accept
		b.must(t)
		for _, r := range model.Requests() {
			want := http.Header{"User-Agent": {"Go-http-client/1.1"}}
			if r.Method == "POST" {
				want.Set("Content-Length", "1")
				if c.content != "" {
					want.Set("Content-Type", c.content)
				}
				if c.accept != "" {
					want.Set("Accept", c.accept)
				}
			}
			if !maps.EqualFunc(r.Header, want, slices.Equal) {
				t.Errorf("%s %s: headers %v, want %v", r.Method, r.Path, r.Header, want)
			}
		}
		if got := b.out.ContentType("x.out"); got != c.stored {
			t.Errorf("stored as %q, want %q", got, c.stored)
		}
	}
}

func TestSequenceOfCalls(t *testing.T) { // BT-20
	t.Parallel() // it waits
	model := &tt.Container{Ping: func(n int) int { return map[bool]int{true: 200, false: 502}[n == 2] }}
	b := setup(tt.Serve(t, model), tt.Object("in/x", "1"))
	res := b.must(t)
	var calls []string
	for _, r := range model.Requests() {
		calls = append(calls, r.Method+" "+r.Path)
	}
	same(t, "calls", calls, []string{"GET /ping", "GET /ping", "GET /execution-parameters", "POST /invocations"})
	if in := res.Instances[0]; in.Pings != 2 || in.PingAfter <= 0 || in.Host != "algo-1" {
		t.Errorf("%+v", in)
	}
}

func TestOrderOfOutput(t *testing.T) { // BT-101, BT-103
	const n = 64
	var in, want strings.Builder
	for i := range n {
		fmt.Fprintf(&in, "%d\n", i)
		fmt.Fprintf(&want, "<%d>", i)
	}
	// Every four requests answer in reverse.
	var mu sync.Mutex
	var held []chan struct{}
	model := &tt.Container{Invoke: func(w http.ResponseWriter, r *http.Request) {
		body := make([]byte, 10)
		k, _ := r.Body.Read(body)
		mine := make(chan struct{})
		mu.Lock()
		held = append(held, mine)
		if len(held) == 4 {
			batch := held
			held = nil
			go func() {
				for _, c := range slices.Backward(batch) {
					c <- struct{}{}
				}
			}()
		}
		mu.Unlock()
		<-mine
		fmt.Fprintf(w, "<%s>", bytes.TrimSpace(body[:k]))
	}}
	b := setup(tt.Serve(t, model), tt.Object("in/a", in.String()), tt.Object("in/b", in.String())).line("SingleRecord")
	b.Job.MaxConcurrent = new(4)
	b.must(t)
	outputs(t, b, map[string]string{"a.out": want.String(), "b.out": want.String()})
	if most := model.MostOpen(); most != 4 {
		t.Errorf("%d requests were open at once, want 4", most)
	}
}

func TestInstances(t *testing.T) { // BT-37, BT-38
	var objects []transform.Object
	for _, i := range []int{3, 0, 4, 2, 1} { // as a manifest may list them
		objects = append(objects, tt.Object(fmt.Sprintf("in/%d", i), fmt.Sprint(i)))
	}
	models := []*tt.Container{{}, {}, {}}
	b := setup(tt.Serve(t, models[0]), objects...)
	b.Instances = append(b.Instances, tt.Serve(t, models[1]), tt.Serve(t, models[2]))
	res := b.must(t)
	for i, want := range [][]string{{"0", "3"}, {"1", "4"}, {"2"}} {
		same(t, fmt.Sprintf("instance %d", i), models[i].Invocations(), want)
		if res.Instances[i].Objects != len(want) {
			t.Errorf("instance %d: %+v", i, res.Instances[i])
		}
	}
	same(t, "outputs", b.out.Names(), []string{"0.out", "1.out", "2.out", "3.out", "4.out"})
	// More instances than objects: the others answer the handshake and idle.
	idle := &tt.Container{}
	b = setup(tt.Serve(t, &tt.Container{}), objects[0])
	b.Instances = append(b.Instances, tt.Serve(t, idle))
	b.must(t)
	if got := len(idle.Requests()); got != 2 {
		t.Errorf("the surplus instance saw %d requests", got)
	}
}

func TestLargeObjects(t *testing.T) { // streams of many batches, responses larger than a connection's memory
	var in strings.Builder
	size := 20 << 20
	if raceEnabled {
		size = 8 << 20
	}
	for i := 0; in.Len() < size; i++ {
		fmt.Fprintf(&in, "%d,%s\n", i, strings.Repeat("x", i%3000))
	}
	for _, c := range []struct {
		payload, concurrent int
		strategy            string
	}{{1, 1, "MultiRecord"}, {1, 8, "MultiRecord"}, {6, 3, "MultiRecord"}, {6, 4, "SingleRecord"}, {0, 2, "MultiRecord"}, {0, 2, "SingleRecord"}} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			model := &tt.Container{}
			b := setup(tt.Serve(t, model), tt.Object("in/a", in.String()), tt.Object("in/b", in.String())).line(c.strategy)
			b.Job.MaxPayloadMB, b.Job.MaxConcurrent = &c.payload, &c.concurrent
			b.must(t)
			for _, name := range []string{"a.out", "b.out"} {
				if b.out.All()[name] != in.String() {
					t.Errorf("%s is not the input", name)
				}
			}
			if most := model.MostOpen(); most > c.concurrent {
				t.Errorf("%d requests open at once", most)
			}
			for _, r := range model.Requests() {
				if r.Method == "POST" && r.Chunked != (c.payload == 0) {
					t.Fatalf("chunked: %v (BT-97 to BT-99)", r.Chunked)
				}
			}
		})
	}
}

func TestSettingsFromTheContainer(t *testing.T) { // BT-22 to BT-27, ST-20
	for _, c := range []struct {
		name     string
		answer   http.HandlerFunc
		request  func(*job.Transform)
		want     transform.Settings
		warnings int
	}{
		{"404", nil, nil, transform.Settings{1, 6, "MULTI_RECORD"}, 0},
		{"404 with JSON", tt.Status(404, "{}"), nil, transform.Settings{1, 6, "MULTI_RECORD"}, 0},
		{"500", tt.Status(500, `{"MaxConcurrentTransforms":3}`), nil, transform.Settings{1, 6, "MULTI_RECORD"}, 0},
		{"all", tt.Status(200, `{"MaxConcurrentTransforms":8,"BatchStrategy":"SINGLE_RECORD","MaxPayloadInMB":4}`), nil, transform.Settings{8, 4, "SINGLE_RECORD"}, 0},
		{"some", tt.Status(200, `{"MaxConcurrentTransforms":3}`), nil, transform.Settings{3, 6, "MULTI_RECORD"}, 0},
		{"none", tt.Status(200, `{}`), nil, transform.Settings{1, 6, "MULTI_RECORD"}, 0},
		{"not JSON", tt.Status(200, "<html>"), nil, transform.Settings{1, 6, "MULTI_RECORD"}, 1},
		{"an array", tt.Status(200, "[1]"), nil, transform.Settings{1, 6, "MULTI_RECORD"}, 1},
		{"null", tt.Status(200, "null"), nil, transform.Settings{1, 6, "MULTI_RECORD"}, 1},
		{"empty", tt.Status(200, ""), nil, transform.Settings{1, 6, "MULTI_RECORD"}, 1},
		{"wrong types", tt.Status(200, `{"MaxConcurrentTransforms":"3","BatchStrategy":1,"MaxPayloadInMB":2.5}`), nil, transform.Settings{1, 6, "MULTI_RECORD"}, 3},
		{"one wrong", tt.Status(200, `{"MaxConcurrentTransforms":null,"MaxPayloadInMB":2}`), nil, transform.Settings{1, 2, "MULTI_RECORD"}, 1},
		{"negative", tt.Status(200, `{"MaxConcurrentTransforms":-1,"MaxPayloadInMB":-2}`), nil, transform.Settings{1, 6, "MULTI_RECORD"}, 2},
		{"unknown strategy", tt.Status(200, `{"BatchStrategy":"EVERY_RECORD"}`), nil, transform.Settings{1, 6, "MULTI_RECORD"}, 1},
		{"API spelling", tt.Status(200, `{"BatchStrategy":"singleRecord"}`), nil, transform.Settings{1, 6, "SINGLE_RECORD"}, 0},
		{"zero concurrency", tt.Status(200, `{"MaxConcurrentTransforms":0}`), nil, transform.Settings{1, 6, "MULTI_RECORD"}, 0},
		{"zero payload", tt.Status(200, `{"MaxPayloadInMB":0}`), nil, transform.Settings{1, 0, "MULTI_RECORD"}, 0},
		{"too much", tt.Status(200, `{"MaxConcurrentTransforms":100,"MaxPayloadInMB":6}`), nil, transform.Settings{16, 6, "MULTI_RECORD"}, 1},
		{"payload too large", tt.Status(200, `{"MaxPayloadInMB":101}`), nil, transform.Settings{1, 100, "MULTI_RECORD"}, 1},
		{"no end of concurrency", tt.Status(200, `{"MaxConcurrentTransforms":1000000000,"MaxPayloadInMB":0}`), nil, transform.Settings{1000, 0, "MULTI_RECORD"}, 1},
		{"request wins", tt.Status(200, `{"MaxConcurrentTransforms":8,"BatchStrategy":"SINGLE_RECORD","MaxPayloadInMB":4}`), func(t *job.Transform) {
			t.MaxConcurrent, t.MaxPayloadMB, t.BatchStrategy = new(2), new(3), new("MultiRecord")
		}, transform.Settings{2, 3, "MULTI_RECORD"}, 0},
		{"request says unset", tt.Status(200, `{"MaxConcurrentTransforms":8}`), func(t *job.Transform) { t.MaxConcurrent = new(0) }, transform.Settings{8, 6, "MULTI_RECORD"}, 0}, // BT-15
		{"suggestion breaks the request", tt.Status(200, `{"MaxPayloadInMB":50}`), func(t *job.Transform) { t.MaxConcurrent = new(10) }, transform.Settings{2, 50, "MULTI_RECORD"}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := setup(tt.Serve(t, &tt.Container{Parameters: c.answer}), tt.Object("in/x", "1"))
			if c.request != nil {
				c.request(&b.Job)
			}
			res := b.must(t)
			if got := res.Settings(); got != c.want {
				t.Errorf("%+v, want %+v", got, c.want)
			}
			if len(res.Warnings) != c.warnings {
				t.Errorf("warnings %q, want %d", res.Warnings, c.warnings)
			}
			same(t, "data log", b.logged(), []string{fmt.Sprintf("MaxConcurrentTransforms=%d, MaxPayloadInMB=%d, BatchStrategy=%s", c.want.MaxConcurrent, c.want.MaxPayloadMB, c.want.BatchStrategy)})
		})
	}
}

func TestRefusedRequests(t *testing.T) { // BT-27, BT-91, BT-92
	for name, change := range map[string]func(*transform.Config){
		"MaxPayloadInMB 101":         func(c *transform.Config) { c.Job.MaxPayloadMB = new(101) },
		"MaxPayloadInMB -1":          func(c *transform.Config) { c.Job.MaxPayloadMB = new(-1) },
		"MaxConcurrentTransforms 17": func(c *transform.Config) { c.Job.MaxConcurrent = new(17) }, // times the default 6
		"MaxConcurrentTransforms 20": func(c *transform.Config) { c.Job.MaxConcurrent, c.Job.MaxPayloadMB = new(20), new(6) },
		"MaxConcurrentTransforms -1": func(c *transform.Config) { c.Job.MaxConcurrent = new(-1) },
		"BatchStrategy":              func(c *transform.Config) { c.Job.BatchStrategy = new("EveryRecord") },
		"SplitType":                  func(c *transform.Config) { c.Job.Input.SplitType = "Word" },
		"Compression":                func(c *transform.Config) { c.Job.Input.Compression = "Bzip2" },
		"AssembleWith":               func(c *transform.Config) { c.Job.Output.AssembleWith = "Comma" },
		"ContentType":                func(c *transform.Config) { c.Job.Input.ContentType = "a\r\nX: y" },
		"Accept":                     func(c *transform.Config) { c.Job.Output.Accept = "a\nX: y" },
		"two input objects":          func(c *transform.Config) { c.Objects = tt.Sequence(tt.Object("in/x", "1"), tt.Object("in/x", "2")) }, // BT-138
	} {
		model := &tt.Container{}
		b := setup(tt.Serve(t, model), tt.Object("in/x", "1"))
		change(&b.Config)
		res, err := b.run(t)
		if err == nil || !strings.Contains(res.FailureReason, name) || !strings.HasPrefix(res.FailureReason, "ClientError: ") || len(model.Requests()) > 0 {
			t.Errorf("%s: %q, %v, %d requests", name, res.FailureReason, err, len(model.Requests()))
		}
	}
	b := setup(tt.Serve(t, &tt.Container{}), tt.Object("in/x", "1"))
	b.Job.MaxConcurrent, b.Job.MaxPayloadMB = new(64), new(1) // the service's own example
	b.must(t)
}

func TestFirstObjectInKeyOrderDecides(t *testing.T) { // ST-10, ST-11 and the ruling below ST-14
	for _, c := range []struct {
		first, second int
		want          string
	}{{500, 400, "AlgorithmError"}, {400, 500, "ClientError"}} {
		model := &tt.Container{Invoke: func(w http.ResponseWriter, r *http.Request) {
			body := make([]byte, 1)
			r.Body.Read(body)
			w.WriteHeader(map[byte]int{'1': c.first, '2': c.second, '3': 200}[body[0]])
		}}
		b := setup(tt.Serve(t, model), tt.Object("in/2", "2"), tt.Object("in/3", "3"), tt.Object("in/1", "1"))
		b.Job.MaxRetries = 0
		b.Job.MaxConcurrent = new(3)
		res, err := b.run(t)
		if res.FailureReason != c.want+": See job logs for more information" || err == nil {
			t.Errorf("%v: %q, %v", c, res.FailureReason, err)
		}
		if len(res.Failures) != 2 || res.Failures[0].Key != "in/1" || cmp.Compare(res.Totals.Failed, 2) != 0 {
			t.Errorf("failures %+v", res.Failures)
		}
		outputs(t, b, map[string]string{"3.out": ""})
	}
}
