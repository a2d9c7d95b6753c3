package job

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// list is n items of a JSON list or object, comma between.
func list(n int, item func(i int) string) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(item(i))
	}
	return b.String()
}

// TestHostileDocuments: documents that are made to be dear. Each is refused with what is wrong first, in an error that
// somebody can read, and in memory that is a small multiple of the document: what copies a path for each value, or a
// value for each problem, takes gigabytes.
func TestHostileDocuments(t *testing.T) {
	const many = 45_000 // values, under the parser's bound
	training, algorithm := edit(t, "training.json", "", ""), edit(t, "algorithm.json", "", "")
	insert := func(text, after, more string) string {
		t.Helper()
		if !strings.Contains(text, after) {
			t.Fatalf("no %s", after)
		}
		return strings.Replace(text, after, after+more, 1)
	}
	zero := func(prefix string) func(int) string {
		return func(i int) string { return fmt.Sprintf(`"%s%05d":0`, prefix, i) }
	}
	for name, tc := range map[string]struct {
		text string
		want string // in the error
		more bool   // further problems are counted
	}{
		"100 MB":                         {`{"TrainingJobName":"` + strings.Repeat("a", 100<<20) + `"}`, "more than the 8388608 bytes", false},
		"a million names":                {`{"TrainingJobName":"a",` + list(600_000, func(i int) string { return fmt.Sprintf(`"%x":0`, i) }) + `}`, "more than 50000 values", false},
		"a map of a million":             {`{"TrainingJobName":"a","HyperParameters":{` + list(600_000, func(i int) string { return fmt.Sprintf(`"%x":""`, i) }) + `}}`, "more than 50000 values", false},
		"lists in lists":                 {`{"Tags":` + strings.Repeat("[", 4<<20), "nested more than 64 levels deep", false},
		"objects in objects":             {strings.Repeat(`{"a":`, 1<<20), "nested more than 64 levels deep", false},
		"unknown names":                  {insert(training, "{", list(many, zero("k"))+","), `Unknown parameter in input: "k00000"`, true},
		"a long name over many":          {`{"TrainingJobName":"a","` + strings.Repeat("k", 4<<20) + `":[` + list(many, func(int) string { return "0" }) + `]}`, "Unknown parameter in input", false},
		"doubled below a long name":      {`{"TrainingJobName":"a","` + strings.Repeat("k", 1<<20) + `":{` + list(many, func(int) string { return `"a":0` }) + `}}`, "Duplicate field 'a'", true},
		"doubled names that are long":    {`{"TrainingJobName":"a",` + list(4, func(int) string { return `"` + strings.Repeat("k", 1<<20) + `":0` }) + `}`, "Duplicate field 'kkkk", false},
		"wrong types in a map":           {insert(training, `"HyperParameters": {`, list(many, zero("k"))+","), "NUMBER_VALUE can not be converted to a String", true},
		"names of a map":                 {insert(training, `"Environment": {`, list(many, func(i int) string { return fmt.Sprintf(`"%d":""`, i) })+","), "Map keys must satisfy constraint", true},
		"numbers as strings":             {insert(training, `"InputDataConfig": [`, list(9_000, func(int) string { return `{"ShuffleConfig":{"Seed":"7"}}` })+","), "STRING_VALUE can not be converted to a Long", true},
		"NaN":                            {insert(training, `"HyperParameters": `, `NaN,"x":`), `"NaN,\"x\":{\"nu" is not a JSON value`, false},
		"not UTF-8":                      {strings.Replace(training, "boost-2026-11-20", "boost\xc0\xaf"+strings.Repeat("\xff", 4<<20), 1), "byte 0xc0 is not UTF-8", false},
		"a long string":                  {strings.Replace(training, "boost-2026-11-20", strings.Repeat("a-", 3<<20), 1), "Member must have length less than or equal to 63", false},
		"a long number":                  {strings.Replace(training, `"VolumeSizeInGB": 30`, `"VolumeSizeInGB": `+strings.Repeat("1", 4<<20), 1), "a number of 4194304 digits", false},
		"items of a list of strings":     {insert(training, "{", `"VpcConfig":{"SecurityGroupIds":[`+list(many, func(int) string { return `"a b"` })+`],"Subnets":["s"]},`), "[-0-9a-zA-Z]+", true},
		"instance types that nobody has": {insert(algorithm, `"SupportedTrainingInstanceTypes": [`, list(many, func(i int) string { return fmt.Sprintf(`"ml.m5.large%d"`, i) })+","), "enum value set", true},
		"hyperparameters of long names that nearly fit": {insert(insert(algorithm, `"SupportedHyperParameters": [`, list(8_000, func(i int) string {
			return fmt.Sprintf(`{"Name":"%s%d","Type":"FreeText"}`, strings.Repeat("n", 60), i)
		})+","),
			`"HyperParameters": {`, list(20_000, func(i int) string { return fmt.Sprintf(`"%sx%d":"1"`, strings.Repeat("n", 58), i) })+","), "is not supported by iris-forest", true},
		"channels that nobody knows": {insert(algorithm, `"InputDataConfig": [`, list(6_000, func(i int) string {
			return fmt.Sprintf(`{"ChannelName":"trai%d","DataSource":{"S3DataSource":{"S3DataType":"S3Prefix","S3Uri":"s3://b"}}}`, i)
		})+","), "Unknown input channel: trai0", true},
		"refused members": {insert(training, `"InputDataConfig": [`, list(6_000, func(i int) string {
			return fmt.Sprintf(`{"ChannelName":"c%d","DataSource":{"DatasetSource":{"DatasetArn":"arn:aws:sagemaker:us-east-1:123456789012:hub-content/h/DataSet/d"}}}`, i)
		})+","), "DatasetSource: refused", true},
		"an expression beyond its length": {strings.Replace(training, `auc=([0-9.]+)`, strings.Repeat(`(a|b)*?\\pL`, 300_000), 1), "Member must have length less than or equal to 500", false},
		"expressions beyond their number": {insert(training, `"MetricDefinitions": [`, list(15_000, func(int) string { return `{"Name":"m","Regex":"(\\pL{1000}"}` })+","), "Member must have length less than or equal to 40", false},
	} {
		t.Run(name, func(t *testing.T) {
			data := []byte(tc.text)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			d, err := Decode("doc.json", data)
			if err == nil {
				_, err = Make([]*Document{d}, Options{Strict: true}, machine)
			}
			if err == nil {
				t.Fatal("it passes")
			}
			text := err.Error()
			runtime.ReadMemStats(&after)
			if !strings.Contains(text, tc.want) {
				t.Errorf("got %.600s, want %s", text, tc.want)
			}
			if len(text) > 3*maxError {
				t.Errorf("the error has %d bytes", len(text))
			}
			if n := after.TotalAlloc - before.TotalAlloc; n > 256<<20 {
				t.Errorf("took %d MiB for a document of %d bytes", n>>20, len(data))
			}
			more := 0
			var invalid *Invalid
			if errors.As(err, &invalid) {
				more = invalid.More
				for _, p := range invalid.Problems {
					if len(p.Path) > 4*maxPath || len(p.Message) > 8*maxMessage || len(p.Text) > 4*maxText || len(p.Hint) > 4*maxText {
						t.Errorf("a problem of %d, %d, %d, %d bytes", len(p.Path), len(p.Message), len(p.Text), len(p.Hint))
						break
					}
				}
				if len(invalid.Problems) > int(softnesses)*maxProblems {
					t.Errorf("%d problems", len(invalid.Problems))
				}
			}
			var no *Unsupported
			if errors.As(err, &no) {
				more += no.More
				if len(no.Members) > maxProblems {
					t.Errorf("%d refused members", len(no.Members))
				}
			}
			if (more > 0) != tc.more || more > 0 && !strings.HasSuffix(text, " more") { // the sentence may count more: what it has no room for
				t.Errorf("%d more, told in …%s", more, text[max(0, len(text)-80):])
			}
		})
	}
}

// What only warns, however much of it, does not push out what is wrong, and is counted itself.
func TestWarningsDoNotHideProblems(t *testing.T) {
	text := edit(t, "algorithm.json", `"SupportedTrainingInstanceTypes": [`, `"SupportedTrainingInstanceTypes": [`+list(500, func(i int) string { return fmt.Sprintf(`"ml.x%d.large"`, i) })+",")
	p, err := Make([]*Document{decode(t, "doc", text)}, Options{}, machine)
	if err != nil {
		t.Fatal(err)
	}
	var refusing int
	for _, w := range p.Warnings {
		if w.Refuses {
			refusing++
		}
	}
	if last := p.Warnings[maxProblems].Text; refusing != maxProblems+1 || last != "and 300 more of the kind" {
		t.Errorf("%d warnings, then %q", refusing, last)
	}
	if got := refusal(t, Options{}, strings.Replace(text, `"MaxRuntimeInSeconds": 600`, `"MaxRuntimeInSeconds": 0`, 1)); !strings.Contains(got, "Member must have value greater than or equal to 1") {
		t.Errorf("got %q", got)
	}
}

// A metric's expression that backtracks without end is taken with a warning: it is bounded when it is matched (MET-5), and
// compiling it costs little.
func TestCatastrophicExpressions(t *testing.T) {
	for _, expr := range []string{`(a+)+$`, `(?=(a+)+b)x`, `(a|aa)+(?!c)$`, `(.*)*\\1$`, `((((((((((a*)*)*)*)*)*)*)*)*)*)*(?<!b)`} {
		p, err := Make([]*Document{decode(t, "doc", edit(t, "training.json", `auc=([0-9.]+)`, expr))}, Options{}, machine)
		if err != nil {
			t.Errorf("%s: %v", expr, err)
			continue
		}
		backtracks := expr != `(a+)+$`
		warned := false
		for _, w := range p.Warnings {
			warned = warned || w.Rule == "MET-5" && strings.Contains(w.Text, "at most 500ms a line")
		}
		if warned != backtracks {
			t.Errorf("%s: warnings %v", expr, p.Warnings)
		}
	}
}

// Places are found by counting on from the place before: all in one line, each is right.
func TestPlacesInOneLine(t *testing.T) {
	text := `{"TrainingJobName":"ä",` + list(300, func(i int) string { return fmt.Sprintf(`"é%03d":0`, i) }) + `}`
	ps := problemsOf(t, text)
	first := len([]rune(`{"TrainingJobName":"ä",`)) + 1
	at := 0
	for _, p := range ps {
		if !strings.HasPrefix(p.Path, "é") {
			continue
		}
		if p.Line != 1 || p.Col != first+9*at || p.Path != fmt.Sprintf("é%03d", at) {
			t.Fatalf("problem %d: %s, want column %d", at, p, first+9*at)
		}
		at++
	}
	s := &source{data: []byte("äb\ncde\nfg")}
	for _, want := range [][3]int{{3, 1, 3}, {2, 1, 2}, {8, 3, 1}, {4, 2, 1}, {6, 2, 3}, {5, 2, 2}, {0, 1, 1}, {9, 3, 2}} {
		if line, col := s.position(want[0]); line != want[1] || col != want[2] {
			t.Errorf("offset %d: %d:%d, want %d:%d", want[0], line, col, want[1], want[2])
		}
	}
}
