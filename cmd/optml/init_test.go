package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/optml/optml/job"
)

func TestParseParameter(t *testing.T) {
	for text, want := range map[string]parameter{
		"depth=5":                            {name: "depth", value: "5", kind: "Integer"},
		"rate=0.1":                           {name: "rate", value: "0.1", kind: "Continuous"},
		"kernel=rbf":                         {name: "kernel", value: "rbf", kind: "FreeText"},
		"depth=5:integer:1..64":              {name: "depth", value: "5", kind: "Integer", low: "1", high: "64"},
		"rate=1e-3:Continuous:1e-5..1":       {name: "rate", value: "1e-3", kind: "Continuous", low: "1e-5", high: "1"},
		"kernel=rbf:categorical:rbf|linear":  {name: "kernel", value: "rbf", kind: "Categorical", values: []string{"rbf", "linear"}},
		"kernel=rbf:categorical":             {name: "kernel", value: "rbf", kind: "Categorical", values: []string{"rbf"}},
		"url=s3://b/k:text":                  {name: "url", value: "s3://b/k", kind: "FreeText"},
		"time=12:30":                         {name: "time", value: "12:30", kind: "FreeText"},
		"pairs=a=b,c=d":                      {name: "pairs", value: "a=b,c=d", kind: "FreeText"},
		"version=5:text":                     {name: "version", value: "5", kind: "FreeText"},
		"what=a:categorical:a|b:c":           {name: "what", value: "a", kind: "Categorical", values: []string{"a", "b:c"}},
		"empty=":                             {name: "empty", kind: "FreeText"},
		"nan=NaN":                            {name: "nan", value: "NaN", kind: "FreeText"},
		"negative=-5:integer:-10..-1":        {name: "negative", value: "-5", kind: "Integer", low: "-10", high: "-1"},
		"_tuning_objective_metric=loss:text": {name: "_tuning_objective_metric", value: "loss", kind: "FreeText"},
		"longer=5:unknown:1..64":             {name: "longer", value: "5:unknown:1..64", kind: "FreeText"},
	} {
		got, err := parseParameter(text)
		if err != nil || !cmp.Equal(got, want, cmp.AllowUnexported(parameter{})) {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"depth", "=5", "depth=5:integer:1", "depth=5:integer:..3", "kernel=rbf:text:a|b"} {
		if p, err := parseParameter(text); err == nil || exitCode(err) != 2 {
			t.Errorf("%s: %+v, %v", text, p, err)
		}
	}
}

func TestFactsOfCSV(t *testing.T) {
	for text, want := range map[string]*csvFacts{
		"":                             nil,
		"1,2\n3,4\n":                   {columns: 2},
		"a,b\n1,2\n":                   {columns: 2, header: []string{"a", "b"}},
		"x,1,2\ny,3,4\n":               {columns: 3, texts: []int{0}},
		"name,n,label\nx,1,p\ny,3,q\n": {columns: 3, header: []string{"name", "n", "label"}, texts: []int{0, 2}},
		"a,b\nc,d\n":                   {columns: 2, texts: []int{0, 1}},
		"a,b":                          {columns: 2, texts: []int{0, 1}},
		"\"a\nb\",1\n\"c\",2\n":        {columns: 2, texts: []int{0}},
		"1,\n,2\n":                     {columns: 2},
		"\"":                           nil,
		"1\n2\n\xff,\x00\n":            {columns: 1, texts: []int{0}},
	} {
		if got := factsOfCSV([]byte(text)); !cmp.Equal(got, want, cmp.AllowUnexported(csvFacts{})) {
			t.Errorf("%q: %+v", text, got)
		}
	}
	long := bytes.Repeat([]byte("1,2,3\n"), maxInitPeek/6+1)[:maxInitPeek]
	if got := factsOfCSV(long); got == nil || got.columns != 3 || len(got.texts) > 0 {
		t.Errorf("%+v", got)
	}
}

// tree writes files below a directory.
func tree(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// Of any data a document is made that the service takes as it is, and each of its fields is explained.
func TestInitDocument(t *testing.T) {
	rows := "a,1,2\nb,3,4\n"
	for name, c := range map[string]struct {
		files map[string]string
		data  string // below the directory
		s3Dir string
		flags initFlags
		has   []string // texts of the document
	}{
		"csv": {files: map[string]string{"my-data/train/x.csv": rows, "my-data/validation/y.csv": rows, "my-data/test/z.csv": rows, "my-data/output/old": "x", "my-data/.git/x": "x"},
			data: "my-data", flags: initFlags{label: "first"},
			has: []string{`"s3://my-data/train/"`, `"s3://my-data/validation/"`, `"s3://my-data/test/"`, `"s3://my-data/batch/"`, `"text/csv"`, `"BatchStrategy": "MultiRecord"`}},
		"a file": {files: map[string]string{"my-data/x.csv": rows}, data: "my-data/x.csv", flags: initFlags{label: "1"}, has: []string{`"s3://my-data/x.csv"`}},
		"in S3":  {files: map[string]string{"s3/bucket/data/train/x.csv": rows}, data: "s3/bucket/data", s3Dir: "s3", flags: initFlags{label: "none"}, has: []string{`"s3://bucket/data/train/"`, `"s3://bucket/output/training/"`}},
		"images": {files: map[string]string{"pictures/train/a.jpg": "\xff\xd8", "pictures/train/deep/b.jpg": "x", "pictures/batch/c.png": "x"}, data: "pictures",
			has: []string{`"image/jpeg"`, `"image/png"`, `"SplitType": "None"`, `"Accept": "application/json"`}},
		"lines":      {files: map[string]string{"lines/train/a.jsonl": "{}\n", "lines/inference/a.jsonl.gz": "x"}, data: "lines", has: []string{`"application/jsonlines"`, `"s3://lines/inference/"`, `"SplitType": "Line"`}},
		"unknown":    {files: map[string]string{"things/train/data": "1,2\n3,4\n", "things/batch/data": "\x00\x01"}, data: "things", has: []string{`"text/csv"`, `"application/octet-stream"`}},
		"train only": {files: map[string]string{"my-data/train/x.bin": "x"}, data: "my-data", flags: initFlags{trainOnly: true}},
		"everything": {files: map[string]string{"my-data/train/x.csv": rows}, data: "my-data", flags: initFlags{label: "last", description: "Grows.", certify: true, inference: "123456789012.dkr.ecr.us-east-1.amazonaws.com/serve:1",
			name: "forest", role: "arn:aws:iam::123456789012:role/me", accept: "application/json", instances: []string{"ml.c5.xlarge"},
			parameters: []string{"depth=5:integer:1..64", "rate=0.1:continuous:0..1", "kernel=rbf:categorical:rbf|linear", "note=x"},
			metrics:    []string{"validation:auc=auc=([0-9.]+)", "loss=loss=([0-9.]+)"}, maximize: []string{"validation:auc"}, minimize: []string{"loss"}},
			has: []string{`"AlgorithmName": "forest"`, `"MaxValue": "64"`, `"Type": "Minimize"`, `"AlgorithmDescription": "Grows."`, `"Accept": "application/json"`}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			tree(t, dir, c.files)
			f := c.flags
			f.image, f.data = "123456789012.dkr.ecr.us-east-1.amazonaws.com/My_Trees:1", filepath.Join(dir, c.data)
			var out, errs bytes.Buffer
			a := newApp(strings.NewReader(""), &out, &errs)
			a.root, a.runDir = filepath.Join(dir, "root"), filepath.Join(dir, "run") // without images
			if c.s3Dir != "" {
				a.s3Dir = filepath.Join(dir, c.s3Dir)
			}
			file := filepath.Join(dir, "algorithm.json")
			if err := a.init(&f, file); err != nil {
				t.Fatal(err)
			}
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, text := range c.has {
				if !strings.Contains(string(raw), text) {
					t.Errorf("no %s in\n%s", text, raw)
				}
			}
			d, err := job.Decode(file, raw)
			if err != nil {
				t.Fatal(err)
			}
			p, err := job.Make([]*job.Document{d}, job.Options{Strict: true, RunSuffix: "000001"}, job.HostFacts{CPUs: 4, MemoryBytes: 32 << 30, Arch: "amd64"})
			if err != nil || len(p.Warnings) > 0 {
				t.Errorf("%v, %v", err, p)
			}
			explained(t, a, &f, raw)
			// It is never overwritten unasked; asked, the same comes out.
			if err := a.init(&f, file); err == nil || !strings.Contains(err.Error(), "algorithm.json is there already") || exitCode(err) != 2 {
				t.Errorf("overwritten: %v", err)
			}
			f.force = true
			if err := a.init(&f, file); err != nil {
				t.Error(err)
			}
			if again, err := os.ReadFile(file); err != nil || !bytes.Equal(raw, again) {
				t.Errorf("another document: %v\n%s", err, again)
			}
		})
	}
}

// explained holds each value of a document against what is said of its fields.
func explained(t *testing.T, a *app, f *initFlags, raw []byte) {
	t.Helper()
	d, err := a.draft(f, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, fields := d.document()
	var root any
	if err := json.Unmarshal(raw, &root); err != nil {
		t.Fatal(err)
	}
	var walk func(path string, v any)
	walk = func(path string, v any) {
		for _, x := range fields {
			if path == x.Path {
				if x.Decides == "" || x.Value == "" {
					t.Errorf("%s: nothing is said", path)
				}
				return
			}
		}
		switch x := v.(type) {
		case map[string]any:
			for _, k := range slices.Sorted(maps.Keys(x)) {
				walk(strings.TrimPrefix(path+"."+k, "."), x[k])
			}
		case []any:
			for i, v := range x {
				walk(fmt.Sprintf("%s[%d]", path, i), v)
			}
		default:
			t.Errorf("%s is not explained", path)
		}
	}
	walk("", root)
}

// On a terminal it asks for what no flag says; an empty answer is the default.
func TestInitAsks(t *testing.T) {
	dir := t.TempDir()
	tree(t, dir, map[string]string{"my-data/train/x.csv": "1,2,a\n3,4,b\n"})
	var out bytes.Buffer
	a := newApp(nil, &out, &out)
	a.root, a.runDir = dir, filepath.Join(dir, "run")
	data := filepath.Join(dir, "my-data")
	d, err := a.draft(&initFlags{}, askOn(strings.NewReader("img:1\n"+data+"\n\n\n"), &out))
	if err != nil {
		t.Fatal(err)
	}
	if d.image != "img:1" || d.data.dir != data || d.role != "arn:aws:iam::000000000000:role/SageMakerValidation" || string(d.data.rows) != "1,2\n3,4\n" {
		t.Errorf("%+v %q", d, d.data.rows)
	}
	want := "Image that trains and serves: Directory of the data, with one directory a channel, or a file: " +
		"Column of the label, which is left out of what the transform reads (first, last, none, its number or its name) [last]: " +
		"Role that validates on the service [arn:aws:iam::000000000000:role/SageMakerValidation]: "
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
	for _, answers := range []string{"", "img:1\n", "\n"} { // the end of the input, and no answer where there is no default
		if _, err := a.draft(&initFlags{}, askOn(strings.NewReader(answers), &out)); err == nil || !strings.Contains(err.Error(), "nothing is written") {
			t.Errorf("%q: %v", answers, err)
		}
	}
}

// What was seen of the images is said where it matters.
func TestInitNotes(t *testing.T) {
	d := &draft{data: &initData{}, look: imageLook{arch: "arm64", all: []lookedAt{
		{ref: "img:1", command: "train", user: "1000"}, {ref: "img:2", command: "serve", at: "/bin/serve", user: "root"}}}}
	want := []string{`image img:1 has no "train" on its PATH and no entrypoint: the container cannot start`,
		"image img:1 runs as 1000, and /opt/ml is root's on the service: `train` cannot write its model there",
		"the image is for arm64, and the service trains and transforms on amd64"}
	if diff := cmp.Diff(want, d.notes()); diff != "" {
		t.Error(diff)
	}
	for command, want := range map[string]string{"train": `it has no "train" on its PATH and no entrypoint`, "serve": "it has /bin/serve, run by root", "other": ""} {
		if got := d.look.says(command); got != want {
			t.Errorf("%s: %s", command, got)
		}
	}
	d.look.all[0].entrypoint = true
	if got := d.look.says("train"); got != `it has an entrypoint, which is given "train", and runs as 1000` {
		t.Error(got)
	}
	for image, want := range map[string]string{"123456789012.dkr.ecr.us-east-1.amazonaws.com/team/My_Trees:1.2": "My-Trees", "img@sha256:" + strings.Repeat("a", 64): "img",
		"localhost:5000/__": "algorithm", strings.Repeat("a-", 50): strings.TrimRight(strings.Repeat("a-", 20), "-")} {
		if got := nameOf(image); got != want {
			t.Errorf("%s: %s", image, got)
		}
	}
}
