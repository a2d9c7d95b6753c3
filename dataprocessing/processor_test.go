package dataprocessing

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func csvOptions(in, out string, join bool) Options {
	return Options{InputFilter: in, OutputFilter: out, Join: join, ContentType: "text/csv", Accept: "text/csv", SplitType: "Line", AssembleWith: "Line"}
}

func jsonOptions(in, out string, join bool) Options {
	return Options{InputFilter: in, OutputFilter: out, Join: join, ContentType: "application/jsonlines", Accept: "application/jsonlines", SplitType: "Line", AssembleWith: "Line"}
}

func processor(t testing.TB, o Options) *Processor {
	t.Helper()
	p, err := New(o)
	if err != nil || p == nil {
		t.Fatalf("%+v: %v, %v", o, p, err)
	}
	return p
}

// input is what is sent of records.
func input(p *Processor, records string) (string, error) {
	out := []byte{}
	for b := []byte(records); len(b) > 0; {
		n := p.Record(b)
		var err error
		if out, err = p.Input(out, b[:n], 0); err != nil {
			return "", err
		}
		b = b[n:]
	}
	return string(out), nil
}

// output gives the response in one piece and byte by byte: where it is cut makes no difference.
func output(t testing.TB, p *Processor, originals, response string) (string, error) {
	t.Helper()
	var whole, cut bytes.Buffer
	err := p.Output(&whole, new(Scratch), []byte(originals), [][]byte{[]byte(response)}, 1<<20)
	var pieces [][]byte
	for _, c := range []byte(response) {
		pieces = append(pieces, []byte{c}, nil)
	}
	if e := p.Output(&cut, new(Scratch), []byte(originals), pieces, 1<<20); whole.String() != cut.String() || !reflect.DeepEqual(e, err) {
		t.Errorf("in one piece %q, %v; in many %q, %v", whole.String(), err, cut.String(), e)
	}
	return whole.String(), err
}

// TestGoldenVectors is Appendix A, byte for byte.
func TestGoldenVectors(t *testing.T) { // BT-151, BT-157, BT-158
	for _, c := range []struct {
		o                            Options
		record, body, response, want string
	}{
		{csvOptions("$", "$", true), "1,2,3", "1,2,3", "1", "1,2,3,1"},
		{csvOptions("$[1:]", "$[0,-1]", true), "7,2,3", "2,3", "0.5", "7,0.5"},
		{jsonOptions("$", "$", true), `{"key":1}`, `{"key":1}`, `{"label":1}`, `{"key":1,"SageMakerOutput":{"label":1}}`},
		{jsonOptions("$", "$", true), `[1,2]`, `[1,2]`, `3`, `{"SageMakerInput":[1,2],"SageMakerOutput":3}`},
		{jsonOptions("$.f", "$['id','SageMakerOutput']", true), `{"id":5,"f":[1]}`, `[1]`, `{"s":2}`, `{"id":5,"SageMakerOutput":{"s":2}}`},
	} {
		p := processor(t, c.o)
		for _, end := range []string{"", "\n", "\r\n"} {
			body, err := input(p, c.record+end)
			if err != nil || body != c.body+end { // the line end stays (BT-52 to BT-54)
				t.Errorf("%s: body %q, %v, want %q", c.record, body, err, c.body+end)
			}
			for _, last := range []string{"", "\n", "\r\n"} {
				got, err := output(t, p, c.record+end, c.response+last)
				if err != nil || got != c.want+"\n" { // one record a line (BT-166)
					t.Errorf("%s: %q, %v, want %q", c.record, got, err, c.want)
				}
			}
		}
	}
}

func TestCSVFilters(t *testing.T) { // BT-156, BT-159, BT-162, BT-163
	for _, c := range []struct{ filter, row, want, err string }{
		{"$", `a,"b ""c"", d",`, `a,"b ""c"", d",`, ""},
		{"$[0]", "1,2,3", "1", ""},
		{"$[-1]", "1,2,3", "3", ""},
		{"$[2,0,0]", "1,2,3", "3,1,1", ""},
		{"$[1:]", "1,2,3", "2,3", ""},
		{"$[1:3]", "1,2,3", "2,3", ""},
		{"$[0:2]", "1,2,3,4", "1,2", ""}, // exclusive
		{"$[0:-1]", "1,2,3", "1,2", ""},
		{"$[-2:]", "1,2,3", "2,3", ""},
		{"$[:1]", "1,2,3", "1", ""},
		{"$[2:1]", "1,2,3", "", ""},
		{"$[*]", "1,2,3", "1,2,3", ""},
		{"$.*", "1,2,3", "1,2,3", ""},
		{"$[1:]", `1,"a,b","c ""d"""`, `"a,b","c ""d"""`, ""}, // quotes as written
		{"$[1,2]", `"1",,"x"`, `,"x"`, ""},
		{"$[0]", "", "", ""}, // an empty line has one empty column
		{"$[1:]", "1", "", ""},
		{"$[1:]", "1, 2 ,3", " 2 ,3", ""},
		{"$[3]", "1,2,3", "", "InputFilter $[3]: index 3 is out of range of 3: '1,2,3'"},
		{"$[-4]", "1,2,3", "", "InputFilter $[-4]: index -4 is out of range of 3: '1,2,3'"},
		{"$[0:4]", "1,2,3", "", "InputFilter $[0:4]: slice [0:4] is out of range of 3: '1,2,3'"},
		{"$[4:]", "1,2,3", "", "InputFilter $[4:]: slice [4:] is out of range of 3: '1,2,3'"},
		{"$.a", "1,2,3", "", "InputFilter $.a: .a is a name, and this is a list: '1,2,3'"},
		{"$[0][0]", "1,2,3", "", "InputFilter $[0][0]: [0]: a field has nothing inside: '1,2,3'"},
	} {
		p := processor(t, csvOptions(c.filter, "$", true))
		got, err := p.Input([]byte{}, []byte(c.row), 0)
		if c.err != "" {
			if err == nil || err.Error() != c.err {
				t.Errorf("%s of %s: %v, want %q", c.filter, c.row, err, c.err)
			}
			continue
		}
		if err != nil || string(got) != c.want {
			t.Errorf("%s of %s: %q, %v, want %q", c.filter, c.row, got, err, c.want)
		}
	}
}

func TestJSONFilters(t *testing.T) { // BT-159, BT-161, BT-163, BT-166
	const doc = `{"id": 5,"f":[1.10, 2e3,-0.0 ,12345678901234567890],"o":{"a":"x\"]}","b":{"c":null}},"l":[{"a":1,"b":[1,2]},{"a":2,"b":[3]}],"k\u0061":true}`
	for _, c := range []struct{ filter, doc, want, err string }{
		{"$.id", doc, "5", ""},
		{"$['id']", doc, "5", ""},
		{"$.f", doc, "[1.10, 2e3,-0.0 ,12345678901234567890]", ""},
		{"$.f[0]", doc, "1.10", ""},
		{"$.f[-1]", doc, "12345678901234567890", ""},
		{"$.f[2,0]", doc, "[-0.0,1.10]", ""},
		{"$.f[1:]", doc, "[2e3,-0.0,12345678901234567890]", ""},
		{"$.f[:2]", doc, "[1.10,2e3]", ""},
		{"$.f[0:-1]", doc, "[1.10,2e3,-0.0]", ""},
		{"$.f[4:]", doc, "[]", ""},
		{"$.f[*]", doc, "[1.10,2e3,-0.0,12345678901234567890]", ""},
		{"$.o.a", doc, `"x\"]}"`, ""},
		{"$.o.b.c", doc, "null", ""},
		{"$.o.*", doc, `["x\"]}",{"c":null}]`, ""},
		{"$.ka", doc, "true", ""}, // a name is a name however it is written
		{"$['f','id']", doc, `{"f":[1.10, 2e3,-0.0 ,12345678901234567890],"id":5}`, ""},
		{"$.o.['b','a']", doc, `{"b":{"c":null},"a":"x\"]}"}`, ""},
		{"$.l[*].a", doc, "[1,2]", ""},
		{"$.l[*].b[0]", doc, "[1,3]", ""},
		{"$.l[*].b[*]", doc, "[1,2,3]", ""},
		{"$.l[0,1]['a']", doc, "[1,2]", ""},
		{"$.l[0]['a','b']", doc, `{"a":1,"b":[1,2]}`, ""},
		{"$.l[*]['a','b']", doc, `[{"a":1,"b":[1,2]},{"a":2,"b":[3]}]`, ""},
		{"$[0]", "[[1,2],3]", "[1,2]", ""},
		{"$.a", `{"a":1,"a":2}`, "2", ""},
		{"$.x", `{"a":1}`, "", `InputFilter $.x: there is no member "x": '{"a":1}'`},
		{"$['a','x']", `{"a":1}`, "", `InputFilter $['a','x']: there is no member "x": '{"a":1}'`},
		{"$.a.b", `{"a":1}`, "", `InputFilter $.a.b: .b is a name, and this is a number: '{"a":1}'`},
		{"$[0]", `{"a":1}`, "", `InputFilter $[0]: [0] is for lists, and this is an object: '{"a":1}'`},
		{"$[2]", `[1,2]`, "", `InputFilter $[2]: index 2 is out of range of 2: '[1,2]'`},
		{"$[0:3]", `[1,2]`, "", `InputFilter $[0:3]: slice [0:3] is out of range of 2: '[1,2]'`},
		{"$.l[*].c", doc, "", "InputFilter $.l[*].c: there is no member \"c\": '" + doc + "'"},
	} {
		p := processor(t, jsonOptions(c.filter, "$", true))
		got, err := p.Input([]byte{}, []byte(c.doc), 0)
		if c.err != "" {
			if err == nil || err.Error() != c.err {
				t.Errorf("%s of %s: %v, want %q", c.filter, c.doc, err, c.err)
			}
			continue
		}
		if err != nil || string(got) != c.want {
			t.Errorf("%s: %q, %v, want %q", c.filter, got, err, c.want)
		}
	}
}

func TestJoin(t *testing.T) { // BT-157, BT-158, BT-166
	for _, c := range []struct {
		o                         Options
		records, response, output string
	}{
		{csvOptions("", "", true), "1,2\n3,4\r\n\n5,6", "a\nb\nc\nd\n", "1,2,a\n3,4,b\n,c\n5,6,d\n"},
		{csvOptions("", "", true), "1,\"x,\"\"y\"\n", "\"a,b\",0.10\r\n", "1,\"x,\"\"y\",\"a,b\",0.10\n"},
		{csvOptions("", "", true), "1\n2\n", "a\nb\n\n\n", "1,a\n2,b\n"}, // empty lines behind the last result
		{csvOptions("$[1]", "$[0,-1]", true), "id,1,2\nie,3,4\n", "x,0.5\ny,0.25\n", "id,0.5\nie,0.25\n"},
		{csvOptions("", "$[0:2]", true), "1,2\n", "a\n", "1,2\n"},
		{csvOptions("", "$[1:]", false), "", "a,b\nc,d", "b\nd\n"},
		{jsonOptions("", "", true), "{}\n", "1.50", "{\"SageMakerOutput\":1.50}\n"},
		{jsonOptions("", "", true), "{ \"b\" : 1 , \"a\" : 2 }\n", " [ 1 ] \n", "{ \"b\" : 1 , \"a\" : 2,\"SageMakerOutput\":[ 1 ]}\n"},
		{jsonOptions("", "", true), `{"SageMakerOutput":1,"a":2,"SageMakerOutput":3}`, "4", "{\"a\":2,\"SageMakerOutput\":4}\n"}, // overwritten
		{jsonOptions("", "", true), `{"SageMaker\u004futput":1}`, "4", "{\"SageMakerOutput\":4}\n"},
		{jsonOptions("", "", true), "\"x\"\nnull\n1e9", "1\n2\n3\n", "{\"SageMakerInput\":\"x\",\"SageMakerOutput\":1}\n{\"SageMakerInput\":null,\"SageMakerOutput\":2}\n{\"SageMakerInput\":1e9,\"SageMakerOutput\":3}\n"},
		{jsonOptions("", "", true), "{\"a\":1}\n", "{\n  \"s\": [1,\n 2]\n}\n", "{\"a\":1,\"SageMakerOutput\":{  \"s\": [1, 2]}}\n"}, // one record a line
		{jsonOptions("", "$.SageMakerOutput[1:]", true), "{\"a\":1}\n{\"a\":2}\n", "[1,2]\n\n[3]\n", "[2]\n[]\n"},
		{jsonOptions("", "$.s", false), "", "{\"s\":1.0}\n{\"s\":\"\\n\"}", "1.0\n\"\\n\"\n"},
		// A document: neither split nor assembled.
		{Options{Join: true, ContentType: "application/json", Accept: "application/json"}, "{\n\"a\": 1\n}\n", "[1,\n2]\n", "{\n\"a\": 1,\"SageMakerOutput\":[1,\n2]}"},
		{Options{OutputFilter: "$.s", ContentType: "application/jsonlines", Accept: "application/json", SplitType: "Line"}, "", "{\"s\":1}\n{\"s\":2}\n", "1\n2"},
		// An object of lines that is one request.
		{Options{Join: true, ContentType: "application/jsonlines", Accept: "application/jsonlines"}, "1\n2", "3\n4", "{\"SageMakerInput\":1,\"SageMakerOutput\":3}\n{\"SageMakerInput\":2,\"SageMakerOutput\":4}\n"},
	} {
		got, err := output(t, processor(t, c.o), c.records, c.response)
		if err != nil || got != c.output {
			t.Errorf("%q with %q: %q, %v, want %q", c.records, c.response, got, err, c.output)
		}
	}
}

func TestWhatCannotBeRead(t *testing.T) { // BT-164
	for _, c := range []struct {
		o            Options
		record, want string
	}{
		{csvOptions("", "", true), "1,a \"b\n", "Failed to parse line: '1,a \"b\n' as CSV: bare \" in non quoted field found near: a \"b"},
		{csvOptions("", "", true), `"a"b,c`, `Failed to parse line: '"a"b,c' as CSV: extraneous " in quoted field found near: "a"b,c`},
		{csvOptions("$[0]", "", false), "1,\"a\n", "Failed to parse line: '1,\"a\n' as CSV: unterminated quoted field found near: \"a"}, // BT-57
		{jsonOptions("", "", true), "{\"a\":}\n", "Failed to parse line: '{\"a\":}\n' as JSON: unexpected character '}' at byte 5"},
		{jsonOptions("", "", true), "\n", "Failed to parse line: '\n' as JSON: unexpected end of JSON"},
		{jsonOptions("", "", true), "1 2\n", "Failed to parse line: '1 2\n' as JSON: unexpected character '2' at byte 2"},
		{Options{Join: true, ContentType: "application/json", Accept: "application/json"}, "{\n", "Failed to parse input as JSON: unexpected end of JSON"},
	} {
		p := processor(t, c.o)
		_, err := p.Input(nil, []byte(c.record), 0)
		var bad *Error
		if !errors.As(err, &bad) || err.Error() != c.want {
			t.Errorf("%q: %v, want %q", c.record, err, c.want)
		}
	}
	for _, c := range []struct {
		o                       Options
		records, response, want string
		record                  int64
	}{
		{csvOptions("", "", true), "1\n2\n", "1\n[\"a\",\"b\"]\n", `Failed to parse output from the algorithm as CSV: bare " in non quoted field found near: ["a","b"]`, 2}, // TRAP-46
		{jsonOptions("", "", true), "1\n2\n", "{\"a\":", "Failed to parse output from the algorithm as JSON: unexpected end of JSON", 1},
		{jsonOptions("", "", true), "1\n", "NaN\n", "Failed to parse output from the algorithm as JSON: unexpected character 'N' at byte 0", 1},
	} {
		_, err := output(t, processor(t, c.o), c.records, c.response)
		var bad *Error
		if !errors.As(err, &bad) || bad.Text != c.want || bad.Record != c.record {
			t.Errorf("%q: %+v, want %q of record %d", c.response, err, c.want, c.record)
		}
	}
}

func TestResultsMatchRecords(t *testing.T) { // BT-165
	for _, c := range []struct {
		o                       Options
		records, response, want string
	}{
		{csvOptions("", "", true), "1\n2\n", "a\n", "The algorithm returned 1 results for 2 records"},
		{csvOptions("", "", true), "1\n2\n", "", "The algorithm returned 0 results for 2 records"},
		{csvOptions("", "", true), "1\n2\n", "a\nb\nc\n", "The algorithm returned 3 results for 2 records"},
		{csvOptions("", "", true), "1\n2\n", "a\nb\n\nc\n", "The algorithm returned 3 results for 2 records"},
		{csvOptions("$[0]", "$[0]", true), "1\n2\n", "a\n", "The algorithm returned 1 results for 2 records"},
		{jsonOptions("", "", true), "1\n2\n", "[1,2]\n", "The algorithm returned 1 results for 2 records"}, // TRAP-46
		{jsonOptions("", "", true), "1\n", "1\n2\n", "The algorithm returned 2 results for 1 records"},
	} {
		if _, err := output(t, processor(t, c.o), c.records, c.response); err == nil || err.Error() != c.want {
			t.Errorf("%q: %v, want %q", c.response, err, c.want)
		}
	}
	// Without a join there is nothing to match.
	if got, err := output(t, processor(t, csvOptions("", "$[0]", false)), "", "a\nb\nc\n"); err != nil || got != "a\nb\nc\n" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestOutputFilterOutOfRange(t *testing.T) { // BT-163
	for _, c := range []struct {
		o                       Options
		records, response, want string
	}{
		{csvOptions("", "$[3]", true), "1,2\n", "a\n", "OutputFilter $[3]: index 3 is out of range of 3: '1,2,a'"},
		{csvOptions("", "$[1]", false), "", "a\n", "OutputFilter $[1]: index 1 is out of range of 1: 'a'"},
		{jsonOptions("", "$.x", true), "{}\n", "1\n", `OutputFilter $.x: there is no member "x": '{"SageMakerOutput":1}'`},
	} {
		if _, err := output(t, processor(t, c.o), c.records, c.response); err == nil || err.Error() != c.want {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}

func TestLimits(t *testing.T) { // a filter that repeats what it selects does not grow without bound
	long := `[` + strings.Repeat("7", 1000) + `]`
	p := processor(t, jsonOptions("$[0,0,0,0]", "$.SageMakerInput[0,0,0,0]", true))
	if _, err := p.Input(nil, []byte(long), 3000); !errors.Is(err, ErrLong) {
		t.Errorf("input: %v", err)
	}
	if err := p.Output(new(bytes.Buffer), new(Scratch), []byte(long), [][]byte{[]byte("1")}, 3000); err == nil {
		t.Error("output: no error")
	}
	p = processor(t, csvOptions("$[0,0,0,0]", "$", true))
	if _, err := p.Input(nil, []byte(long[1:1001]), 3000); !errors.Is(err, ErrLong) {
		t.Errorf("CSV: %v", err)
	}
	deep := strings.Repeat("[", 1_000_000)
	if _, err := checkJSON([]byte(deep)); err == nil || !strings.Contains(err.Error(), "inside each other") {
		t.Errorf("deep: %v", err)
	}
	_, err := processor(t, csvOptions("", "", true)).Input(nil, []byte(`"`+strings.Repeat("x", 1<<20)), 0)
	if err == nil || len(err.Error()) > 2*maxShown {
		t.Errorf("an error shows %d bytes of the record", len(err.Error()))
	}
}

func TestIdleAndBroken(t *testing.T) { // BT-150, BT-152 to BT-155
	for _, o := range []Options{{}, {InputFilter: "$", OutputFilter: "$", ContentType: "image/png"}} {
		if p, err := New(o); p != nil || err != nil || o.Broken() != nil || p.Reads() || p.Writes() || p.Filters() || p.Joins() || p.Whole() {
			t.Errorf("%+v: %v, %v", o, p, err)
		}
	}
	for _, c := range []struct {
		change func(*Options)
		want   []string
	}{
		{func(o *Options) {}, nil},
		{func(o *Options) { o.ContentType = "" }, []string{"BT-152 TransformInput.ContentType", "BT-153 TransformOutput.Accept"}},
		{func(o *Options) { o.Accept = "text/csv; header=present" }, []string{"BT-152 TransformOutput.Accept", "BT-153 TransformOutput.Accept"}},
		{func(o *Options) { o.Accept = "application/json" }, []string{"BT-153 TransformOutput.Accept"}},
		{func(o *Options) { o.AssembleWith = "" }, []string{"BT-153 TransformOutput.AssembleWith", "BT-154 TransformOutput.AssembleWith"}},
		{func(o *Options) { o.SplitType, o.AssembleWith = "None", "None" }, []string{"BT-154 TransformInput.SplitType", "BT-154 TransformOutput.AssembleWith"}},
		{func(o *Options) { o.SplitType = "RecordIO" }, []string{"BT-152 TransformInput.SplitType", "BT-153 TransformOutput.AssembleWith", "BT-154 TransformInput.SplitType"}},
	} {
		o := csvOptions("", "", true)
		c.change(&o)
		var got []string
		for _, r := range o.Broken() {
			got = append(got, r.ID+" "+r.Member)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%+v: %q, want %q", o, got, c.want)
		}
		if _, err := New(o); (err != nil) != (c.want != nil) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	// Without a join types and splitting may differ.
	o := Options{InputFilter: "$.a", OutputFilter: "$[0]", ContentType: "application/jsonlines", Accept: "text/csv", SplitType: "Line", AssembleWith: "Line"}
	if _, err := New(o); err != nil {
		t.Error(err)
	}
}

// FuzzJSON: our reading of JSON agrees with encoding/json on what is a value, a join keeps what was in the record, and
// nothing panics.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{`{"a":1}`, `[1,2]`, `{"SageMakerOutput":1, "b" : [ ] }`, `"\u00e4\n"`, `-1.5e+10`, `{"a":{}}`, "\x00", `[1,]`, `nul`} {
		f.Add(s, `{"s":1}`)
	}
	p := processor(f, jsonOptions("", "", true))
	f.Fuzz(func(t *testing.T, record, result string) {
		_, err := checkJSON([]byte(record))
		if valid := json.Valid([]byte(record)); valid != (err == nil) && !strings.Contains(record, strings.Repeat("[", 500)) && !strings.Contains(record, strings.Repeat("{", 500)) {
			t.Fatalf("%q: %v, encoding/json says %v", record, err, valid)
		}
		if err != nil || strings.ContainsAny(record, "\r\n") {
			return
		}
		var out bytes.Buffer
		if p.Output(&out, new(Scratch), []byte(record), [][]byte{[]byte(result)}, 1<<20) != nil {
			return
		}
		var joined, was map[string]json.RawMessage
		if err := json.Unmarshal(out.Bytes(), &joined); err != nil || bytes.Count(out.Bytes(), []byte("\n")) != 1 {
			t.Fatalf("%q with %q: %q: %v", record, result, out.Bytes(), err)
		}
		if strings.HasPrefix(strings.TrimSpace(record), "{") {
			json.Unmarshal([]byte(record), &was)
		} else {
			was = map[string]json.RawMessage{"SageMakerInput": json.RawMessage(strings.TrimSpace(record))}
		}
		for k, v := range was {
			if k != "SageMakerOutput" && string(joined[k]) != string(v) {
				t.Fatalf("%q with %q: member %q is %s, was %s", record, result, k, joined[k], v)
			}
		}
		if _, ok := joined["SageMakerOutput"]; !ok {
			t.Fatalf("%q with %q: %q", record, result, out.Bytes())
		}
	})
}

// FuzzCSV: a row and its result give a row with the fields of both, whatever they hold, and filters of it fit.
func FuzzCSV(f *testing.F) {
	for _, s := range []string{"", "1,2", `"a,b","c""d"`, `a"b`, ",", `""`} {
		f.Add(s, "1")
	}
	p := processor(f, csvOptions("", "", true))
	last := processor(f, csvOptions("$[0]", "$[0,-1]", true))
	f.Fuzz(func(t *testing.T, record, result string) {
		n, err := checkCSV([]byte(record))
		m, err2 := checkCSV([]byte(result))
		if err != nil || err2 != nil || strings.ContainsAny(record+result, "\r\n") || record == "" {
			return
		}
		var out bytes.Buffer
		if err := p.Output(&out, new(Scratch), []byte(record), [][]byte{[]byte(result + "\n")}, 1<<20); err != nil {
			t.Fatalf("%q with %q: %v", record, result, err)
		}
		line, _ := split(out.Bytes())
		if k, err := checkCSV(line); err != nil || k != n+m || string(line) != record+","+result {
			t.Fatalf("%q with %q: %q of %d fields, %v", record, result, line, k, err)
		}
		if body, err := last.Input(nil, []byte(record), 0); err != nil {
			t.Fatalf("%q: %v", record, err)
		} else if k, err := checkCSV(body); k != 1 || err != nil {
			t.Fatalf("the first field of %q is %q", record, body)
		}
		out.Reset()
		if err := last.Output(&out, new(Scratch), []byte(record), [][]byte{[]byte(result + "\n")}, 1<<20); err != nil {
			t.Fatalf("%q with %q: %v", record, result, err)
		}
	})
}

func BenchmarkOutput(b *testing.B) {
	for name, c := range map[string]struct {
		o            Options
		record, line string
	}{
		"CSV": {csvOptions("$[1:]", "$[0,-1]", true), strings.Repeat("12.345,", 20) + "1\n", "0.5\n"},
		"JSON": {jsonOptions("$.f", "$['id','SageMakerOutput']", true),
			`{"id":5,"f":[` + strings.Repeat("12.345,", 20) + "1]}\n", "{\"s\":0.5}\n"},
	} {
		p := processor(b, c.o)
		records, response := []byte(strings.Repeat(c.record, 1000)), []byte(strings.Repeat(c.line, 1000))
		b.Run(name+"/input", func(b *testing.B) {
			b.SetBytes(int64(len(records)))
			var out []byte
			for b.Loop() {
				out = out[:0]
				for left := records; len(left) > 0; {
					n := p.Record(left)
					out, _ = p.Input(out, left[:n], 0)
					left = left[n:]
				}
			}
		})
		b.Run(name+"/join", func(b *testing.B) {
			b.SetBytes(int64(len(records)))
			var out bytes.Buffer
			var s Scratch
			for b.Loop() {
				out.Reset()
				if err := p.Output(&out, &s, records, [][]byte{response}, 1<<20); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BT-172: each result gets an id of its own and the time of the job's begin, as two last columns or two members, after
// the join and the OutputFilter.
func TestInferenceIDs(t *testing.T) {
	zone := time.FixedZone("", 3600)
	identified := func(o Options) Options {
		o.Identify, o.Began = true, time.Date(2022, 8, 30, 1, 49, 15, 7e8, zone)
		return o
	}
	csvOnly := Options{ContentType: "image/png", Accept: "text/csv", AssembleWith: "Line"}
	jsonOnly := Options{ContentType: "image/png", Accept: "application/json"}
	const members = `"SageMakerInferenceId":"ID","SageMakerInferenceTime":"2022-08-30T00:49:15Z"}`
	for name, c := range map[string]struct {
		o                        Options
		originals, response, out string
	}{
		"columns":                    {csvOnly, "", "0.5,a\n\"b,c\"\r\n7", "0.5,a,ID,2022-08-30T00:49:15Z\n\"b,c\",ID,2022-08-30T00:49:15Z\n7,ID,2022-08-30T00:49:15Z\n"},
		"columns, nothing assembled": {Options{Accept: "text/csv"}, "", "1\r\n2", "1,ID,2022-08-30T00:49:15Z\r\n2,ID,2022-08-30T00:49:15Z"},
		"an empty row":               {csvOnly, "", "1\n\n", "1,ID,2022-08-30T00:49:15Z\n\n"},
		"joined and filtered rows":   {csvOptions("", "$[0,-1]", true), "a,b\nc,d\n", "1\n2\n", "a,1,ID,2022-08-30T00:49:15Z\nc,2,ID,2022-08-30T00:49:15Z\n"},
		"members":                    {jsonOnly, "", "{\n \"a\": 1.50\n}\n", "{\n \"a\": 1.50," + members + "\n"},
		"no member":                  {jsonOnly, "", "{ }", "{" + members},
		"no object":                  {jsonOnly, "", "[1,2]\n", `{"SageMakerOutput":[1,2],` + members + "\n"},
		"members of the names":       {jsonOnly, "", `{"SageMakerInferenceId":"x","b":[{}],"\u0053ageMakerInferenceTime":0}`, `{"b":[{}],` + members},
		"only members of the names":  {jsonOnly, "", `{"SageMakerInferenceId":"x"}`, "{" + members},
		"lines of JSON":              {Options{Accept: "application/jsonlines"}, "", "{\"a\":1}\n{\"a\":2}", `{"a":1,` + members + "\n" + `{"a":2,` + members + "\n"},
		"joined lines of JSON":       {jsonOptions("", "", true), "{\"i\":1,\"SageMakerInferenceId\":0}\n", "3\n", `{"i":1,"SageMakerOutput":3,` + members + "\n"},
	} {
		p := processor(t, identified(c.o))
		if !p.Writes() || p.Reads() != c.o.Join {
			t.Errorf("%s: Writes %v, Reads %v", name, p.Writes(), p.Reads())
		}
		seen := map[string]bool{}
		for _, pieces := range [][]string{{c.response}, strings.Split(c.response, "")} { // where it is cut makes no difference
			got, err := identify(p, c.originals, pieces)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			got = uuids.ReplaceAllStringFunc(got, func(id string) string {
				if seen[id] {
					t.Errorf("%s: %s twice", name, id)
				}
				seen[id] = true
				return "ID"
			})
			if got != c.out {
				t.Errorf("%s: got %q, want %q", name, got, c.out)
			}
		}
	}
	if _, err := identify(processor(t, identified(csvOnly)), "", []string{"1,\"x\n"}); err == nil {
		t.Error("a row that does not end got an id")
	}
	for accept, want := range map[string]int{"text/csv": 0, "application/json": 0, "application/jsonlines": 0, "": 1, "image/png": 1} {
		if got := identified(Options{Accept: accept}).Broken(); len(got) != want || want > 0 && (got[0].ID != "BT-172" || got[0].Member != "TransformOutput.Accept") {
			t.Errorf("%q: %v", accept, got)
		}
	}
}

var uuids = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`)

func identify(p *Processor, originals string, response []string) (string, error) {
	var out bytes.Buffer
	var pieces [][]byte
	for _, piece := range response {
		pieces = append(pieces, []byte(piece))
	}
	err := p.Output(&out, new(Scratch), []byte(originals), pieces, 1<<20)
	return out.String(), err
}
