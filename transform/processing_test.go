package transform_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/optml/optml/job"
	"github.com/optml/optml/transform"
	tt "github.com/optml/optml/transform/transformtest"
)

// processing sets DataProcessing for a type, Line on both sides.
func (b *bench) processing(mediaType, in, out string, join bool) *bench {
	b.Job.Processing = &job.Processing{InputFilter: in, OutputFilter: out, Join: join}
	b.Job.Input.ContentType, b.Job.Output.Accept = mediaType, mediaType
	b.Job.Input.SplitType, b.Job.Output.AssembleWith = "Line", "Line"
	return b
}

// rows answers each line of a request with what f makes of it.
func rows(f func(line string) string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		for line := range strings.Lines(string(body)) {
			fmt.Fprintln(w, f(strings.TrimRight(line, "\r\n")))
		}
	}
}

func TestProcessingGoldenVectors(t *testing.T) { // Appendix A, through the whole of a transform
	for _, strategy := range []string{"SingleRecord", "MultiRecord"} {
		for _, c := range []struct {
			media, record, in, body, response, out, want string
		}{
			{"text/csv", "1,2,3", "$", "1,2,3", "1", "$", "1,2,3,1"},
			{"text/csv", "7,2,3", "$[1:]", "2,3", "0.5", "$[0,-1]", "7,0.5"},
			{"application/jsonlines", `{"key":1}`, "$", `{"key":1}`, `{"label":1}`, "$", `{"key":1,"SageMakerOutput":{"label":1}}`},
			{"application/json", `[1,2]`, "$", `[1,2]`, `3`, "$", `{"SageMakerInput":[1,2],"SageMakerOutput":3}`},
			{"application/json", `{"id":5,"f":[1]}`, "$.f", `[1]`, `{"s":2}`, "$['id','SageMakerOutput']", `{"id":5,"SageMakerOutput":{"s":2}}`},
		} {
			model := &tt.Container{Invoke: rows(func(string) string { return c.response })}
			b := setup(tt.Serve(t, model), tt.Object("in/x", c.record+"\n"+c.record)).line(strategy).processing(c.media, c.in, c.out, true)
			res := b.must(t)
			bodies := []string{c.body + "\n" + c.body}
			if strategy == "SingleRecord" {
				bodies = []string{c.body + "\n", c.body}
			}
			same(t, "requests", model.Invocations(), bodies)
			outputs(t, b, map[string]string{"x.out": c.want + "\n" + c.want + "\n"})
			if n := res.Totals; n.Records != 2 || n.BytesIn != int64(2*len(c.body)+1) {
				t.Errorf("totals %+v", n)
			}
		}
	}
}

func TestFilteredPacking(t *testing.T) { // BT-83: the limit is that of the filtered body
	in := "aaaa,1\nbbbb,22\ncccc,333\ndddd,4\neeee,5" // 2, 3, 4, 2 and 1 bytes
	for _, join := range []bool{false, true} {
		for _, c := range []struct {
			limit int64
			want  []string
		}{
			{4, []string{"1\n", "22\n", "333\n", "4\n5"}},
			{5, []string{"1\n22\n", "333\n", "4\n5"}},
			{9, []string{"1\n22\n333\n", "4\n5"}},
			{100, []string{"1\n22\n333\n4\n5"}},
			{3, nil},
		} {
			model := &tt.Container{}
			b := setup(tt.Serve(t, model), tt.Object("in/x", in), tt.Object("in/y", "ffff,6")).line("MultiRecord").processing("text/csv", "$[1]", "", join)
			b.Config = b.WithPayloadBytes(c.limit)
			res, err := b.run(t)
			if c.want == nil {
				if err == nil || b.out.All()["y.out"] == "" {
					t.Errorf("limit %d: %v, %q", c.limit, err, b.out.All())
				}
				if f := res.Failures[0]; f.Record != 3 || f.Offset != 15 || f.Class != transform.ClientError {
					t.Errorf("failure %+v", f)
				}
				if log := b.logged(); !slices.Contains(log, "bucket/in/x: Record 3 is 4 bytes, larger than MaxPayloadInMB=6 (3 bytes)") { // BT-95, BT-96
					t.Errorf("data log %q", log)
				}
				continue
			}
			if err != nil {
				t.Fatalf("%v\n%s", err, b.log)
			}
			same(t, "requests", model.Invocations(), append(slices.Clone(c.want), "6"))
			if join {
				outputs(t, b, map[string]string{"x.out": "aaaa,1,1\nbbbb,22,22\ncccc,333,333\ndddd,4,4\neeee,5,5\n", "y.out": "ffff,6,6\n"})
			} else {
				outputs(t, b, map[string]string{"x.out": strings.Join(c.want, "") + "\n", "y.out": "6\n"})
			}
		}
	}
}

// TestFilteredPackingOfAnything holds requests against the plainest packing that there is (BT-80, BT-83).
func TestFilteredPackingOfAnything(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	model := &tt.Container{}
	in := tt.Serve(t, model)
	for range 60 {
		limit := 1 + r.IntN(2000)
		var content, out strings.Builder
		var want []string
		batch := ""
		for k := range 1 + r.IntN(300) {
			body := strings.Repeat("b", r.IntN(min(limit, 400)))
			rec := strings.Repeat("a", r.IntN(3000)) + "," + body
			content.WriteString(rec + "\n")
			if k > 0 && len(batch)+len(body)+1 > limit {
				want, batch = append(want, batch), ""
			}
			batch += body + "\n"
			out.WriteString(rec + "," + body + "\n")
		}
		want = append(want, batch)
		seen := len(model.Invocations())
		b := setup(in, tt.Object("in/x", content.String())).line("MultiRecord").processing("text/csv", "$[1]", "", true)
		b.Config = b.WithPayloadBytes(int64(limit))
		b.must(t)
		same(t, "requests", model.Invocations()[seen:], want)
		outputs(t, b, map[string]string{"x.out": out.String()})
	}
}

// TestProcessingOfManyRecords: order is kept whatever order responses come in, for both strategies, gzip or not, filtered
// or not, with records of all lengths (BT-103, BT-41).
func TestProcessingOfManyRecords(t *testing.T) {
	var in, want strings.Builder
	for i := range 400 {
		line := fmt.Sprintf("%d,\"%s\",x", i, strings.Repeat("y", i*i%700))
		if i == 200 {
			line = fmt.Sprintf("%d,%s,x", i, strings.Repeat("z", 600<<10)) // longer than what is read at once
		}
		fmt.Fprintf(&in, "%s\n", line)
		fmt.Fprintf(&want, "%d,%d\n", i, i*2)
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	io.WriteString(z, in.String())
	z.Close()
	double := rows(func(line string) string {
		id, _, _ := strings.Cut(line, ",")
		n, _ := strconv.Atoi(id)
		return strconv.Itoa(n * 2)
	})
	for _, filter := range []string{"$", "$[0]", "$[0:2]"} {
		for _, strategy := range []string{"SingleRecord", "MultiRecord"} {
			for _, compressed := range []bool{false, true} {
				content := in.String()
				if compressed {
					content = packed.String()
				}
				model := &tt.Container{Invoke: func(w http.ResponseWriter, r *http.Request) {
					if r.ContentLength%3 == 0 {
						time.Sleep(2 * time.Millisecond) // others overtake it
					}
					double(w, r)
				}}
				b := setup(tt.Serve(t, model), tt.Object("in/a", content), tt.Object("in/b", content)).line(strategy).processing("text/csv", filter, "$[0,-1]", true)
				if compressed {
					b.Job.Input.Compression = "Gzip"
				}
				four := 4
				b.Job.MaxConcurrent = &four
				b.Config = b.WithPayloadBytes(700 << 10)
				b.must(t)
				outputs(t, b, map[string]string{"a.out": want.String(), "b.out": want.String()})
			}
		}
	}
}

func TestProcessingWithoutJoin(t *testing.T) { // BT-151: the output filter is of the result alone
	model := &tt.Container{Invoke: rows(func(line string) string { return "label," + line })}
	b := setup(tt.Serve(t, model), tt.Object("in/x", "1,2\n3,4\n")).line("MultiRecord").processing("text/csv", "$[1]", "$[-1]", false)
	b.must(t)
	outputs(t, b, map[string]string{"x.out": "2\n4\n"})

	// An input filter alone leaves the response as it is, but no empty line behind it (BT-166).
	b = setup(tt.Serve(t, model), tt.Object("in/x", "1,2\n3,4\n")).line("SingleRecord").processing("text/csv", "$[1]", "", false)
	b.must(t)
	outputs(t, b, map[string]string{"x.out": "label,2\nlabel,4\n"})

	// JSON Lines are lines, also where nothing assembles them.
	model = &tt.Container{Invoke: func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, `{"s":1}`) }}
	b = setup(tt.Serve(t, model), tt.Object("in/x", "[1]\n[2]\n")).line("SingleRecord").processing("application/jsonlines", "$[0]", "", false)
	b.Job.Output.AssembleWith = "None"
	b.must(t)
	outputs(t, b, map[string]string{"x.out": "{\"s\":1}\n{\"s\":1}\n"})

	// Types may differ: columns in, a document out.
	model = &tt.Container{Invoke: rows(func(line string) string { return `{"in":"` + line + `","s":1.50}` })}
	b = setup(tt.Serve(t, model), tt.Object("in/x", "1,2\n3,4\n")).line("MultiRecord").processing("text/csv", "$[0]", "$.s", false)
	b.Job.Output.Accept = "application/jsonlines"
	b.must(t)
	outputs(t, b, map[string]string{"x.out": "1.50\n1.50\n"})
}

func TestProcessingOfWholeDocuments(t *testing.T) { // SplitType None
	pad := strings.Repeat("x", 700<<10) // the response comes in pieces
	model := &tt.Container{Invoke: func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "{\"n\": %d,\n\"pad\": %q}\n", len(body), pad)
	}}
	b := setup(tt.Serve(t, model), tt.Object("in/x", "{\n\"id\": 7.0, \"f\": [1,\n2]\n}\n"), tt.Object("in/empty", "")).processing("application/json", "$.f", "$['id','SageMakerOutput']", true)
	b.Job.Input.SplitType, b.Job.Output.AssembleWith = "None", "None"
	b.must(t)
	same(t, "requests", model.Invocations(), []string{"[1,\n2]"})
	outputs(t, b, map[string]string{"x.out": "{\"id\":7.0,\"SageMakerOutput\":{\"n\": 6,\n\"pad\": \"" + pad + "\"}}", "empty.out": ""})

	// All lines of an object in one request.
	for _, filter := range []string{"$", "$.f"} {
		model = &tt.Container{Invoke: rows(func(line string) string { return "1" })}
		b = setup(tt.Serve(t, model), tt.Object("in/x", "{\"f\":1}\n{\"f\":2}")).processing("application/jsonlines", filter, "", true)
		b.Job.Input.SplitType, b.Job.Output.AssembleWith = "None", "None"
		if res := b.must(t); res.Totals.Records != 2 {
			t.Errorf("totals %+v", res.Totals)
		}
		outputs(t, b, map[string]string{"x.out": "{\"f\":1,\"SageMakerOutput\":1}\n{\"f\":2,\"SageMakerOutput\":1}\n"})
	}

	// The filtered document is what the limit is for (BT-83), and one over it is an error (BT-95).
	b = setup(tt.Serve(t, &tt.Container{}), tt.Object("in/x", `{"a":"12345678901234567890","b":1}`), tt.Object("in/y", `{"a":1,"b":"12345678901234567890"}`)).processing("application/json", "$.b", "", false)
	b.Job.Input.SplitType, b.Job.Output.AssembleWith = "None", "None"
	b.Config = b.WithPayloadBytes(10)
	if _, err := b.run(t); err == nil {
		t.Error("no error")
	}
	outputs(t, b, map[string]string{"x.out": "1"})
	if log := b.logged(); !slices.Contains(log, "bucket/in/y: Object is 22 bytes, larger than MaxPayloadInMB=6 (10 bytes)") {
		t.Errorf("data log %q", log)
	}
}

func TestProcessingFailures(t *testing.T) { // BT-140, BT-141, BT-160, BT-163 to BT-165
	head := "MaxConcurrentTransforms=1, MaxPayloadInMB=6, BatchStrategy=MULTI_RECORD"
	message := func(lines ...string) []string {
		out := []string{head, "bucket/in/x: ClientError: 400", "bucket/in/x: ", "bucket/in/x: Message:"}
		for _, l := range lines {
			out = append(out, "bucket/in/x: "+l)
		}
		return out
	}
	for _, c := range []struct {
		name, in, out, content string
		answer                 func(string) string
		log                    []string
		record, offset         int64
		requests               int // of the good object one
	}{
		{"BT-160", "$[0:2,246:]", "", "1,2\n", nil, []string{
			head,
			"bucket/in/x: Invalid JsonPath: $[0:2,246:]: only single range filters of format (eg: [1:5]) are supported. Format [0:2,246:] is not supported",
			"bucket/in/y: Invalid JsonPath: $[0:2,246:]: only single range filters of format (eg: [1:5]) are supported. Format [0:2,246:] is not supported"}, 0, 0, 0},
		{"BT-164 input", "", "", "1,2\n3,a \"b\"\n5,6\n", nil, message("Failed to parse line: '3,a \"b\"", "' as CSV: bare \" in non quoted field found near: a \"b\""), 2, 4, 1},
		{"BT-164 filtered input", "$[0]", "", "1,2\n3,a \"b\"\n5,6\n", nil, message("Failed to parse line: '3,a \"b\"", "' as CSV: bare \" in non quoted field found near: a \"b\""), 2, 4, 1},
		{"BT-164 output", "", "", "1,2\n3,4\n", func(l string) string {
			if l == "3,4" {
				return `["a"]`
			}
			return l
		}, message(`Failed to parse output from the algorithm as CSV: bare " in non quoted field found near: ["a"]`), 2, 4, 2},
		{"BT-163 input", "$[1]", "", "1,2\n3\n", nil, message("InputFilter $[1]: index 1 is out of range of 1: '3'"), 2, 4, 1},
		{"BT-163 output", "", "$[3]", "1,2\n3,4\n", func(l string) string {
			if l == "3,4" {
				return "a"
			}
			return "a,b"
		}, message("OutputFilter $[3]: index 3 is out of range of 3: '3,4,a'"), 2, 4, 2},
		{"BT-165", "$[0]", "", "1,2\n3,4\n", func(l string) string {
			if l == "3" {
				return "a\nb"
			}
			return l
		}, message("The algorithm returned 3 results for 2 records"), 1, 0, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			answer := func(l string) string { return l }
			if c.answer != nil {
				answer = c.answer
			}
			model := &tt.Container{Invoke: rows(answer)}
			b := setup(tt.Serve(t, model), tt.Object("in/x", c.content), tt.Object("in/y", "8,9\n")).line("MultiRecord").processing("text/csv", c.in, c.out, true)
			res, err := b.run(t)
			if err == nil || res.FailureReason != "ClientError: See job logs for more information" { // ST-10
				t.Errorf("%v, %q", err, res.FailureReason)
			}
			log := b.logged()
			slices.Sort(log[1:]) // objects may end in any order
			slices.Sort(c.log[1:])
			same(t, "data log", log, c.log)
			if n := len(model.Invocations()); n != c.requests {
				t.Errorf("%d requests, want %d: what cannot be read is not sent, and no answer is asked for twice", n, c.requests)
			}
			if f := res.Failures[0]; f.Record != c.record || f.Offset != c.offset || f.Class != transform.ClientError {
				t.Errorf("failure %+v", f)
			}
			if names := b.out.Names(); c.requests > 0 && !slices.Equal(names, []string{"y.out"}) || c.requests == 0 && len(names) > 0 {
				t.Errorf("outputs %q", names)
			}
		})
	}
}

func TestProcessingIsRefused(t *testing.T) { // BT-152 to BT-155 for a plan that nobody checked, BT-97
	b := setup(tt.Serve(t, &tt.Container{}), tt.Object("in/x", "1\n")).line("MultiRecord").processing("image/png", "$[0]", "", false)
	if res, err := b.run(t); err == nil || !strings.HasPrefix(res.FailureReason, "ClientError: TransformInput.ContentType: with DataProcessing this is text/csv") {
		t.Errorf("%v, %q", err, res.FailureReason)
	}
	zero := 0
	for _, strategy := range []string{"MultiRecord", "SingleRecord"} {
		model := &tt.Container{}
		b = setup(tt.Serve(t, model), tt.Object("in/x", "1,2\n3,4\n")).line(strategy).processing("text/csv", "$[0]", "", true)
		b.Job.MaxPayloadMB = &zero
		res, err := b.run(t)
		if strategy == "SingleRecord" { // a record is held
			if err != nil {
				t.Error(err)
			}
			outputs(t, b, map[string]string{"x.out": "1,2,1\n3,4,3\n"})
		} else if err == nil || !strings.HasPrefix(res.FailureReason, "ClientError: DataProcessing or GenerateInferenceId with MaxPayloadInMB 0") || len(model.Invocations()) > 0 {
			t.Errorf("%v, %q", err, res.FailureReason)
		}
	}
}

// TestFailedProcessingGivesItsMemoryBack: the objects that fail take together more than the account has, so that the job
// would not end if what they held were lost.
func TestFailedProcessingGivesItsMemoryBack(t *testing.T) {
	var objects []transform.Object
	want := map[string]string{}
	for i := range 40 {
		var in, out strings.Builder
		for k := range 600 {
			row := fmt.Sprintf("%d,%s", k, strings.Repeat("x", 500))
			if k == 550 && i%4 == 1 {
				row = "bare\"," + row
			}
			if k > 5 && i%4 == 2 {
				row = "drop," + row
			}
			in.WriteString(row + "\n")
			out.WriteString(row + "," + row[:1] + "\n")
		}
		name := fmt.Sprintf("%02d", i)
		objects = append(objects, tt.Object("in/"+name, in.String()))
		if i%4 == 0 || i%4 == 3 {
			want[name+".out"] = out.String()
		}
	}
	for _, filter := range []string{"$", "$[0,1]"} {
		for _, strategy := range []string{"SingleRecord", "MultiRecord"} {
			model := &tt.Container{Invoke: func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				for line := range strings.Lines(string(body)) {
					if !strings.HasPrefix(line, "drop") {
						fmt.Fprintln(w, line[:1])
					}
				}
			}}
			b := setup(tt.Serve(t, model), objects...).line(strategy).processing("text/csv", filter, "", true)
			four := 4
			b.Job.MaxConcurrent = &four
			b.Config = b.WithPayloadBytes(64 << 10)
			res, err := b.run(t)
			if err == nil || res.Totals.Failed != 20 {
				t.Errorf("%v, %d failed", err, res.Totals.Failed)
			}
			outputs(t, b, want)
		}
	}
}

func TestRecordsTooLongToFilter(t *testing.T) { // what is held is bounded, whatever is left of it
	long := "1," + strings.Repeat("x", 6<<20)
	for _, join := range []bool{false, true} {
		for _, split := range []string{"Line", "None"} {
			b := setup(tt.Serve(t, &tt.Container{}), tt.Object("in/x", "2,3\n"+long+"\n"), tt.Object("in/y", "2")).line("MultiRecord").processing("text/csv", "$[0]", "", join)
			if split == "None" {
				b = setup(tt.Serve(t, &tt.Container{}), tt.Object("in/x", "[1,\""+long+"\"]"), tt.Object("in/y", "[2]")).processing("application/json", "$[0]", "", join)
				b.Job.Input.SplitType, b.Job.Output.AssembleWith = "None", "None"
			}
			b.Config = b.WithPayloadBytes(10)
			res, err := b.run(t)
			if err == nil || !strings.Contains(err.Error(), "are held to be filtered") || len(b.out.All()) != 1 || res.Failures[0].Class != transform.ClientError {
				t.Errorf("join %v, %s: %v, %q", join, split, err, b.out.Names())
			}
			if split == "Line" && (res.Failures[0].Record != 2 || res.Failures[0].Offset != 4) {
				t.Errorf("%+v", res.Failures[0])
			}
		}
	}
}

// TestJoinedRetry: a request that is repeated is the filtered one, and its records are still there for the join (BT-105).
func TestJoinedRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		model := &tt.Container{Invoke: func(w http.ResponseWriter, r *http.Request) {
			if n++; n == 1 {
				w.WriteHeader(500)
				return
			}
			rows(func(l string) string { return l })(w, r)
		}}
		in, stop := tt.Pipe(model)
		defer stop()
		b := setup(in, tt.Object("in/x", "1,2\n3,4")).line("MultiRecord").processing("text/csv", "$[1]", "", true)
		b.must(t)
		same(t, "requests", model.Invocations(), []string{"2\n4", "2\n4"})
		outputs(t, b, map[string]string{"x.out": "1,2,2\n3,4,4\n"})
	})
}

// BenchmarkJoin is a transform of rows of 20 columns with answers of one, without and with data processing.
func BenchmarkJoin(b *testing.B) {
	content := strings.Repeat("1234567,"+strings.Repeat("0.12345,", 19)+"0.5\n", 100_000)
	answer := []byte("0.5\n")
	in := tt.Serve(b, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Write(bytes.Repeat(answer, bytes.Count(body, []byte("\n"))))
	}))
	for _, c := range []struct {
		name string
		set  func(*bench)
	}{
		{"off", func(*bench) {}},
		{"InputFilter", func(j *bench) { j.processing("text/csv", "$[1:]", "", false) }},
		{"Join", func(j *bench) { j.processing("text/csv", "", "", true) }},
		{"Filters and join", func(j *bench) { j.processing("text/csv", "$[1:]", "$[0,-1]", true) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(content)))
			for b.Loop() {
				j := setup(in, tt.Object("in/x", content)).line("MultiRecord")
				c.set(j)
				four := 4
				j.Job.MaxConcurrent = &four
				if _, err := transform.Run(b.Context(), j.Config); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
