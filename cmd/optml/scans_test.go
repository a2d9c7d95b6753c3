package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/optml/optml/job"
)

// Which image of the request a scanner's report is of.
func TestNamesImage(t *testing.T) {
	const d1, d2 = "sha256:1111111111111111111111111111111111111111111111111111111111111111", "sha256:2222222222222222222222222222222222222222222222222222222222222222"
	for _, c := range []struct {
		names []string
		ref   string
		want  bool
	}{
		{[]string{"seller/a:1"}, "seller/a:1", true},
		{[]string{"seller/a:1"}, "seller/a:2", false},
		{[]string{"seller/a"}, "seller/a:latest", true},
		{[]string{"a.tar", "seller/a:1"}, "seller/a:1", true},
		{[]string{""}, "seller/a:1", false},
		{[]string{"seller/a@" + d1}, "seller/a:1", true}, // what runs tells
		{[]string{"seller/a:1", "seller/a@" + d1}, "seller/a:2", false},
		{[]string{"seller/a:1", "seller/a@" + d1}, "seller/a@" + d1, true},
		{[]string{"seller/a@" + d1}, "seller/a@" + d2, false},
		{[]string{"seller/b@" + d1}, "seller/a@" + d1, false},
		{[]string{"123456789012.dkr.ecr.us-east-1.amazonaws.com:443/a:1"}, "123456789012.dkr.ecr.us-east-1.amazonaws.com:443/a:1", true},
	} {
		if got := namesImage(c.names, c.ref); got != c.want {
			t.Errorf("%q is of %s: %v", c.names, c.ref, got)
		}
	}
}

// A report goes to each image of its name, and one of none is refused.
func TestScansOfAPlan(t *testing.T) {
	t.Chdir(t.TempDir())
	report := func(name string) string {
		return `{"SchemaVersion": 2, "ArtifactName": "` + name + `", "Results": []}`
	}
	for file, name := range map[string]string{"a.json": "a:1", "b.json": "archive.tar", "c=d.json": "a:1"} {
		if err := os.WriteFile(filepath.Base(file), []byte(report(name)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	plan := func() *job.Plan {
		return &job.Plan{Validation: &job.Validation{Images: []job.NamedImage{{Name: "training-image", Image: job.Image{Ref: "a:1"}}, {Name: "inference-image-1", Image: job.Image{Ref: "b:1"}}, {Name: "inference-image-2", Image: job.Image{Ref: "a:1"}}}}}
	}
	for _, c := range []struct {
		given []string
		want  []string // images
		err   string
	}{
		{[]string{"a.json"}, []string{"a:1"}, ""},
		{[]string{"a.json", "b:1=b.json", "c=d.json"}, []string{"a:1", "b:1", "a:1"}, ""},
		{[]string{"b.json"}, nil, "scan report b.json is of archive.tar, which is none of the request's images: a:1, b:1"},
		{[]string{"c:1=b.json"}, nil, "--scan-report c:1=b.json: the request has no image c:1"},
		{[]string{"c:1=none.json"}, nil, "--scan-report: there is no file none.json"},
		{[]string{"none.json"}, nil, "--scan-report: there is no file none.json"},
		{[]string{"."}, nil, "is a directory"},
		{slices.Repeat([]string{"a.json"}, 33), nil, "at most 32"},
	} {
		p := plan()
		scans, err := readScans(c.given)
		if err == nil {
			err = withScans(p, scans)
		}
		if c.err != "" {
			var usage *usageError
			if !errors.As(err, &usage) || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%q: got %v, want %q", c.given, err, c.err)
			}
			continue
		}
		var got []string
		for _, s := range p.Validation.Scans {
			got = append(got, s.Image)
		}
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%q: %v %v", c.given, got, err)
		}
	}
}
