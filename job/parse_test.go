package job

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// problemsOf decodes a text that must be refused and returns what was found.
func problemsOf(t *testing.T, text string) []Problem {
	t.Helper()
	_, err := Decode("doc.json", []byte(text))
	var invalid *Invalid
	if !errors.As(err, &invalid) {
		t.Fatalf("Decode gave %v, want *Invalid", err)
	}
	return invalid.Problems
}

// TestSyntax: each text is refused in one problem, at its place.
func TestSyntax(t *testing.T) {
	for name, tc := range map[string]struct {
		text      string
		line, col int
		want      string // in the sentence
		hint      string
	}{
		"empty":                   {"", 1, 1, "the document is empty", ""},
		"spaces":                  {" \n ", 2, 2, "the document is empty", ""},
		"trailing garbage":        {`{"ModelName":"a"} x`, 1, 19, `after the end of the document: "x"`, ""},
		"two documents":           {"{}\n{}", 2, 1, "after the end", ""},
		"trailing comma":          {`{"ModelName":"a",}`, 1, 18, "member's name in double quotes", "remove the comma"},
		"trailing comma in list":  {`{"Tags":[1,]}`, 1, 12, "is not a JSON value", "a comma stands between values only"},
		"single quotes":           {`{'ModelName':"a"}`, 1, 2, "member's name", ""},
		"single quoted value":     {`{"ModelName":'a'}`, 1, 14, "is not a JSON value", "double quotes"},
		"comment":                 {"{\n  // no\n}", 2, 3, "member's name", ""},
		"comment value":           {`{"ModelName": // x`, 1, 15, "is not a JSON value", "JSON has no comments"},
		"NaN":                     {`{"MaxPayloadInMB":NaN}`, 1, 19, "is not a JSON value", "neither NaN nor Infinity"},
		"True":                    {`{"EnableNetworkIsolation":True}`, 1, 27, "is not a JSON value", "in lower case"},
		"leading zero":            {`{"MaxPayloadInMB":007}`, 1, 19, "is not a JSON number", ""},
		"plus sign":               {`{"MaxPayloadInMB":+1}`, 1, 19, "is not a JSON value", ""},
		"hexadecimal":             {`{"MaxPayloadInMB":0x10}`, 1, 19, "is not a JSON number", ""},
		"bare point":              {`{"MaxPayloadInMB":1.}`, 1, 19, "is not a JSON number", ""},
		"bare exponent":           {`{"MaxPayloadInMB":1e}`, 1, 19, "is not a JSON number", ""},
		"minus alone":             {`{"MaxPayloadInMB":-}`, 1, 19, "is not a JSON number", ""},
		"long number":             {`{"MaxPayloadInMB":` + strings.Repeat("1", 65) + `}`, 1, 19, "a number of 65 digits", ""},
		"unclosed object":         {"{\n \"ModelName\": \"a\"", 1, 1, "this object is not closed", ""},
		"unclosed list":           {`{"Tags": [{}`, 1, 10, "this list is not closed", ""},
		"unclosed string":         {`{"ModelName": "a`, 1, 15, "this string is not closed", ""},
		"missing colon":           {`{"ModelName" "a"}`, 1, 14, "a colon is expected", ""},
		"missing comma":           {`{"ModelName":"a" "Tags":[]}`, 1, 18, "a comma or a closing brace", ""},
		"missing comma in list":   {`{"Tags":[{} {}]}`, 1, 13, "a comma or a closing bracket", ""},
		"bad escape":              {`{"ModelName":"\x41"}`, 1, 15, "is not an escape sequence", ""},
		"half a surrogate":        {`{"ModelName":"\ud83d!"}`, 1, 15, "half of a surrogate pair", ""},
		"control character":       {"{\"ModelName\":\"a\tb\"}", 1, 16, "control character 0x09", `\t`},
		"line break in a string":  {"{\"ModelName\":\"a\nb\"}", 1, 16, "control character 0x0a", `\n`},
		"not UTF-8":               {"{\n\"ModelName\":\"ä\xff\"}", 2, 15, "byte 0xff is not UTF-8", ""},
		"not UTF-8 after escape":  {"{\"ModelName\":\"\\n\xc3\"}", 1, 17, "is not UTF-8", ""},
		"byte order mark":         {"\xef\xbb\xbf{}", 1, 1, "byte order mark", "without"},
		"nothing but a list":      {`[]`, 1, 1, "a request is a JSON object, this is a list", ""},
		"nothing but a string":    {`"CreateModel"`, 1, 1, "this is the string", ""},
		"unknown kind of request": {`{"Foo": 1}`, 1, 1, "cannot tell which operation", "a request has"},
	} {
		t.Run(name, func(t *testing.T) {
			ps := problemsOf(t, tc.text)
			if len(ps) != 1 {
				t.Fatalf("%d problems, want 1: %v", len(ps), ps)
			}
			p := ps[0]
			if p.Line != tc.line || p.Col != tc.col || !strings.Contains(p.Text, tc.want) || !strings.Contains(p.Hint, tc.hint) || (tc.hint == "") != (p.Hint == "") {
				t.Errorf("got %d:%d %q (hint %q), want %d:%d %q (hint %q)", p.Line, p.Col, p.Text, p.Hint, tc.line, tc.col, tc.want, tc.hint)
			}
		})
	}
}

// Columns count characters, not bytes.
func TestColumnIsInCharacters(t *testing.T) {
	p := problemsOf(t, `{"AlgorithmName":"a","AlgorithmDescription":"äöü😀", "Foo":1}`)[1]
	if p.Path != "Foo" || p.Line != 1 || p.Col != 53 {
		t.Errorf("got %s, want Foo at 1:53", p)
	}
}

// A document that is wrong everywhere gives a bounded list.
func TestProblemsAreBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"ModelName":"m"`)
	for i := range 5000 {
		fmt.Fprintf(&b, ",\n\"k%d\":0", i)
	}
	b.WriteString("}")
	_, err := Decode("doc.json", []byte(b.String()))
	var invalid *Invalid
	if !errors.As(err, &invalid) || len(invalid.Problems) != maxProblems || invalid.More != 5000-maxProblems {
		t.Fatalf("got %d problems and %d more", len(invalid.Problems), invalid.More)
	}
	if !strings.HasSuffix(err.Error(), fmt.Sprintf("and %d more", 5000-maxProblems)) {
		t.Errorf("the error does not say how many more: …%s", err.Error()[len(err.Error())-80:])
	}
}

// encoding/json keeps the last of two; here both are named.
func TestDuplicates(t *testing.T) {
	ps := problemsOf(t, "{\"ModelName\":\"a\",\n\"PrimaryContainer\":{\"Image\":\"x\",\"Image\":\"y\"},\n \"ModelName\":\"b\"}")
	if len(ps) != 2 {
		t.Fatalf("got %v", ps)
	}
	for i, want := range []string{"doc.json:2:33: PrimaryContainer.Image: stands here a second time; first in line 2", "doc.json:3:2: ModelName: stands here a second time; first in line 1"} {
		if ps[i].String() != want || ps[i].Code != CodeSerialization {
			t.Errorf("got %q (%s), want %q", ps[i], ps[i].Code, want)
		}
	}
}

// Keys of a map are told apart above the count at which the parser changes to an index, too.
func TestDuplicateInLargeMap(t *testing.T) {
	var b strings.Builder
	for i := range 40 {
		fmt.Fprintf(&b, `"k%d":"v",`, i)
	}
	ps := problemsOf(t, `{"TransformJobName":"a","Environment":{`+b.String()+`"k3":"w"}}`)
	if last := ps[len(ps)-1]; last.Path != "Environment.k3" || last.Code != CodeSerialization {
		t.Errorf("got %v", ps)
	}
}

// Numbers keep their text: a seed above 2^53 is not rounded.
func TestNumbersKeepTheirText(t *testing.T) {
	root, err := parse([]byte(`{"Seed": 9007199254740993, "x": -0.10e+2}`))
	if err != nil {
		t.Fatal(err)
	}
	if got := root.Get("Seed").Text + " " + root.Get("x").Text; got != "9007199254740993 -0.10e+2" {
		t.Errorf("got %s", got)
	}
}

func TestStrings(t *testing.T) {
	root, err := parse([]byte(`{"a": "q\"\\\/\b\f\n\r\t\u00e4\ud83d\ude00é", "b": ""}`))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := root.Get("a").Text, "q\"\\/\b\f\n\r\tä😀é"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// FuzzDecode: no input breaks the parser, and what it takes for JSON has places within the text.
func FuzzDecode(f *testing.F) {
	docs, _ := filepath.Glob("testdata/*.json")
	for _, d := range docs {
		if b, err := os.ReadFile(d); err == nil {
			f.Add(b)
		}
	}
	for _, s := range []string{`{"ModelName":"\ud83d\ude00"}`, `{"a":[1,-2e3,null,true]}`, `{"ModelName":1}`, "{\"a\":\"\xff\"}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := Decode("f", data)
		if (d == nil) == (err == nil) {
			t.Fatalf("document %v, error %v", d, err)
		}
		var invalid *Invalid
		if errors.As(err, &invalid) {
			for _, p := range invalid.Problems {
				if p.Line < 1 || p.Col < 1 || p.Text == "" || p.Message == "" {
					t.Fatalf("problem without place or text: %+v", p)
				}
			}
		}
		if err != nil && len(err.Error()) > 3*maxError {
			t.Fatalf("an error of %d bytes", len(err.Error()))
		}
		if d != nil {
			_, _, _ = Check([]*Document{d}, Options{Strict: true})
			_, _ = Make([]*Document{d}, Options{ModelImage: "i"}, machine)
		}
	})
}
