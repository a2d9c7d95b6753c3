package ledger

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/optml/optml/job"
)

// VAL-20 to VAL-22, VAL-32, VAL-52: a model package in the words of DescribeModelPackage, with and without a version.
func TestDescribeModelPackage(t *testing.T) {
	root := t.TempDir()
	p := &job.Plan{
		Format: 1, Kind: job.KindValidation, Operation: job.CreateModelPackage, Name: "pkg-r1", ARN: "arn:aws:sagemaker:us-east-1:000000000000:model-package/pkg",
		Validation: &job.Validation{Package: "pkg", Profile: "p1", Transform: &job.Plan{Transform: &job.Transform{CreationTime: t0}},
			Images: []job.NamedImage{{Name: "inference-image-1", Image: job.Image{Ref: "i"}}, {Name: "inference-image-2", Image: job.Image{Ref: "j"}}},
			Scans:  []job.Scan{{File: "j.json", Scanner: "trivy", Image: "j", High: 1, Findings: []job.Finding{{ID: "CVE-1", Severity: "High", Package: "p 1"}}}}},
	}
	o, err := Create(root, Request{Plan: p, Documents: map[string][]byte{
		"CreateModelPackage.json": []byte(`{"ModelPackageName":"pkg","ModelPackageDescription":"d","InferenceSpecification":{"Containers":[{"Image":"i"},{"Image":"j"}]},
			"ValidationSpecification":{"ValidationRole":"r"},"CertifyForMarketplace":true,"Tags":[],"SkipModelValidation":"None"}`),
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	mustAppend(t, o, Transition{Status: StatusInProgress}, Transition{Status: StatusFailed, FailureReason: "ClientError: 1 of 10 validation rules failed"})
	d, err := o.Job().Describe()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"ModelPackageName", "ModelPackageArn", "ModelPackageDescription", "CreationTime", "InferenceSpecification", "ValidationSpecification",
		"ModelPackageStatus", "ModelPackageStatusDetails", "CertifyForMarketplace", "SkipModelValidation"}
	if diff := cmp.Diff(want, d.Names()); diff != "" {
		t.Error(diff)
	}
	b, _ := json.Marshal(d.Get("ModelPackageStatusDetails"))
	const details = `{"ValidationStatuses":[{"Name":"p1-transform","Status":"NotStarted"}],` +
		`"ImageScanStatuses":[{"Name":"inference-image-1","Status":"NotStarted","FailureReason":"no scanner's report was given for i; the service scans it when it is in Amazon ECR"},` +
		`{"Name":"inference-image-2","Status":"Failed","FailureReason":"trivy found 0 Critical and 1 High in j: CVE-1 (High) in p 1, no fixed version"}]}`
	if string(b) != details || d.Get("ModelPackageStatus") != "Failed" || !o.State().CreationTime.Equal(t0) {
		t.Errorf("%s %v %v", b, d.Get("ModelPackageStatus"), o.State().CreationTime)
	}

	// Nothing was run: the lists are there all the same, since clients read them without asking (VAL-21).
	v := &job.Plan{Format: 1, Kind: job.KindValidation, Operation: job.CreateModelPackage, Name: "g-r1",
		Validation: &job.Validation{Package: "g", Version: 1, Skipped: "the request has no validation profile"}}
	o2, err := Create(root, Request{Plan: v})
	if err != nil {
		t.Fatal(err)
	}
	defer o2.Close()
	if d, err = o2.Job().Describe(); err != nil || !cmp.Equal(d.Names()[:2], []string{"ModelPackageGroupName", "ModelPackageVersion"}) {
		t.Errorf("%v %v", d.Names(), err)
	}
	if b, _ := json.Marshal(d.Get("ModelPackageStatusDetails")); string(b) != `{"ValidationStatuses":[],"ImageScanStatuses":[]}` {
		t.Errorf("%s", b)
	}
	if d, err := create(t, root, "t").Job().StatusDetails(); d != nil || err != nil {
		t.Errorf("a training has none: %v %v", d, err)
	}
}

// VAL-30, VAL-32: which reports count for which image.
func TestImageScans(t *testing.T) {
	clean := func(image string, ids ...string) job.Scan {
		return job.Scan{File: "r.json", Scanner: "s", Image: image, IDs: ids}
	}
	ran := []ImageResolved{{Ref: "i:1", Digest: "sha256:index", Manifest: "sha256:manifest", Config: "sha256:config"}}
	for name, c := range map[string]struct {
		image    job.Image
		scans    []job.Scan
		resolved []ImageResolved
		status   string
		reason   string
	}{
		"none":                    {job.Image{Ref: "i:1"}, nil, ran, "NotStarted", "no scanner's report"},
		"of another":              {job.Image{Ref: "i:1"}, []job.Scan{clean("j")}, ran, "NotStarted", "no scanner's report"},
		"by index":                {job.Image{Ref: "i:1"}, []job.Scan{clean("i:1", "sha256:index")}, ran, "Completed", ""},
		"by manifest":             {job.Image{Ref: "i:1"}, []job.Scan{clean("i:1", "sha256:x", "sha256:manifest")}, ran, "Completed", ""},
		"by id":                   {job.Image{Ref: "i:1"}, []job.Scan{clean("i:1", "sha256:config")}, ran, "Completed", ""},
		"by name alone":           {job.Image{Ref: "i:1"}, []job.Scan{clean("i:1")}, ran, "Completed", ""},
		"nothing ran":             {job.Image{Ref: "i:1"}, []job.Scan{clean("i:1", "sha256:x")}, nil, "Completed", ""},
		"moved since":             {job.Image{Ref: "i:1"}, []job.Scan{clean("i:1", "sha256:x")}, ran, "NotStarted", "r.json is of another image, sha256:x, not of i:1, which is sha256:index"},
		"pinned, not run":         {job.Image{Ref: "i@sha256:p"}, []job.Scan{clean("i@sha256:p", "sha256:x")}, nil, "NotStarted", "which is sha256:p"},
		"the document's digest":   {job.Image{Ref: "i:1", Digest: "sha256:d"}, []job.Scan{clean("i:1", "sha256:x")}, nil, "NotStarted", "which is sha256:d"},
		"another beside a right":  {job.Image{Ref: "i:1"}, []job.Scan{clean("i:1"), clean("i:1", "sha256:x")}, ran, "NotStarted", "of another image"},
		"one of several blocking": {job.Image{Ref: "i:1"}, []job.Scan{clean("i:1"), {Scanner: "s", Image: "i:1", Critical: 40}}, ran, "Failed", "s found 40 Critical and 0 High in i:1: and 40 more"},
	} {
		x := ImageScans(&job.Validation{Images: []job.NamedImage{{Name: "training-image", Image: c.image}}, Scans: c.scans}, c.resolved)[0]
		if x.Status != c.status || !strings.Contains(x.Reason, c.reason) || (c.reason == "") != (x.Reason == "") || x.Other != strings.Contains(x.Reason, "another image") {
			t.Errorf("%s: %+v", name, x)
		}
	}
}
