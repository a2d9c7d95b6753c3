package dataprocessing

import (
	"errors"
	"strings"
	"testing"
)

func TestPathsAreTaken(t *testing.T) { // BT-150, BT-159, BT-161
	for _, text := range []string{
		"", "$", "$.a", "$.a.b_c-d", "$.*", "$[*]", "$.a[*].b", "$['a']", "$['a','b']", "$[ 'a' , 'b' ]", "$['a.b']", `$['it\'s']`,
		"$[0]", "$[-1]", "$[0,-1]", "$[ 0 , 2 ]", "$[1:5]", "$[1:]", "$[:5]", "$[0:-1]", "$[-2:]", "$.field1.['a','b']", "$.[0]", "$.ä", "$.a[0][1:]",
	} {
		p, err := ParsePath(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if want := max(text, "$"); p.String() != want {
			t.Errorf("%s is %s", text, p)
		}
		if p.Whole() != (text == "" || text == "$") {
			t.Errorf("%s: whole is %v", text, p.Whole())
		}
	}
}

func TestPathsAreRefused(t *testing.T) { // BT-159, BT-160
	const single = "only single range filters of format (eg: [1:5]) are supported. Format "
	for text, want := range map[string]string{
		"$[0:2,246:]":                  single + "[0:2,246:] is not supported",
		"$[0,5:]":                      single + "[0,5:] is not supported",
		"$[1:5:2]":                     single + "[1:5:2] is not supported",
		"$[:]":                         single + "[:] is not supported",
		"$[a:b]":                       single + "[a:b] is not supported",
		"a":                            "it does not begin with $",
		".a":                           "it does not begin with $",
		"@.a":                          "it does not begin with $",
		"$a":                           `"a" stands where . or [ is expected`,
		"$..a":                         "recursive descent (..) is not supported",
		"$.a..b":                       "recursive descent (..) is not supported",
		"$..[0]":                       "recursive descent (..) is not supported",
		"$.":                           "a name is missing after the dot",
		"$.a.":                         "a name is missing after the dot",
		"$.a.length()":                 "functions and scripts are not supported",
		"$[?(@.a>1)]":                  "filters and scripts are not supported",
		"$[(@.length-1)]":              "filters and scripts are not supported",
		"$[]":                          "[] selects nothing",
		"$[0":                          `"[0" has no end`,
		"$['a'":                        `"['a'" has no end`,
		"$['a',]":                      "a list of names has quoted names only",
		"$['a',0]":                     "a list of names has quoted names only",
		"$['a','b.c']":                 "a path inside a list of names is not supported: 'b.c'",
		"$['a','b[0]']":                "a path inside a list of names is not supported: 'b[0]'",
		`$["a"]`:                       `"\"a\"" is neither an index, a slice nor a 'name'`,
		"$[a]":                         `"a" is neither an index, a slice nor a 'name'`,
		"$[1,,2]":                      `"" is neither an index, a slice nor a 'name'`,
		"$[1e3]":                       `"1e3" is neither an index, a slice nor a 'name'`,
		"$[+1]":                        `"+1" is neither an index, a slice nor a 'name'`,
		"$[99999999999]":               `"99999999999" is neither an index, a slice nor a 'name'`,
		"$.a b":                        `"a b" is not a name`,
		"$." + strings.Repeat("a", 62): "it has more than 63 characters",
	} {
		_, err := ParsePath(text)
		var bad *PathError
		if !errors.As(err, &bad) || err.Error() != "Invalid JsonPath: "+text+": "+want {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestSliceEndIsTold(t *testing.T) { // BT-162
	for text, want := range map[string]string{
		"$[0:2]": "[0:2]", "$[:5]": "[:5]", "$[0:-1]": "[0:-1]", "$.a[1:3].b": "[1:3]",
		"$": "", "$[1:]": "", "$[0,-1]": "", "$.a": "",
	} {
		p, err := ParsePath(text)
		if err != nil || p.SliceEnd() != want {
			t.Errorf("%s: %q, %v", text, p.SliceEnd(), err)
		}
	}
}

// FuzzParsePath: what is taken can be applied to any value and row without a panic, and gives what it takes.
func FuzzParsePath(f *testing.F) {
	for _, s := range []string{"$", "$.a['b'][0][1:]", "$[0:2,246:]", "$.field1.['a','b']", "$[*].*", `$['\'']`, "$[-1,0]", "$..a", "$['"} {
		f.Add(s)
	}
	values := []string{`{"a":{"b":[1,[2,3]]},"'":0}`, `[[1,2],{"a":[]},"x",null]`, `5`}
	rows := []string{"", "1", `1,"a,""b",`, ",,"}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParsePath(text)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "Invalid JsonPath: ") {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		for _, v := range values {
			out, err := p.appendJSON(nil, []byte(v), 1<<16)
			if err == nil {
				if _, err := checkJSON(out); err != nil {
					t.Fatalf("%q of %s is %s: %v", text, v, out, err)
				}
			}
		}
		for _, r := range rows {
			n, err := checkCSV([]byte(r))
			if err != nil {
				t.Fatal(err)
			}
			out, err := p.appendCSV(nil, []byte(r), n, 1<<16)
			if err == nil {
				if _, err := checkCSV(out); err != nil {
					t.Fatalf("%q of %q is %q: %v", text, r, out, err)
				}
			}
		}
	})
}
