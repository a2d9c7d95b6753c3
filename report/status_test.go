package report

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/optml/optml/job"
	"github.com/optml/optml/ledger"
)

// VAL-20 to VAL-22, VAL-32: the report of a validation says what the service would say of it, in its words; one of which
// nothing was run (VAL-7) has not passed.
func TestStatusOfAValidation(t *testing.T) {
	v := &job.Validation{Package: "p", Skipped: "the request has no validation profile",
		Images: []job.NamedImage{{Name: "inference-image", Image: job.Image{Ref: "i:1"}}},
		Scans:  []job.Scan{{File: "f", Scanner: "trivy <b>", Image: "i:1", Critical: 1, Findings: []job.Finding{{ID: "CVE-<i>", Severity: "Critical", Package: "p"}}}}}
	o, err := ledger.Create(t.TempDir(), ledger.Request{Plan: &job.Plan{Format: 1, Kind: job.KindValidation, Operation: job.CreateModelPackage, Name: "p-1", Validation: v}})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	if err := o.Append(ledger.Transition{Status: "Completed"}); err != nil {
		t.Fatal(err)
	}
	r, err := Make(o.Job())
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := r.JSON(&b); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Verdict, ModelPackageStatus string
		AlgorithmStatus             *string
		ModelPackageStatusDetails   struct{ ValidationStatuses, ImageScanStatuses []map[string]string }
	}
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	d := got.ModelPackageStatusDetails
	if got.Verdict != Unvalidated || got.ModelPackageStatus != "Completed" || got.AlgorithmStatus != nil || d.ValidationStatuses == nil || len(d.ValidationStatuses) != 0 ||
		len(d.ImageScanStatuses) != 1 || d.ImageScanStatuses[0]["Name"] != "inference-image" || d.ImageScanStatuses[0]["Status"] != "Failed" || !strings.Contains(d.ImageScanStatuses[0]["FailureReason"], "CVE-<i>") {
		t.Errorf("%s", b.String())
	}
	b.Reset()
	if err := r.Text(&b); err != nil || !strings.HasPrefix(b.String(), "NOT VALIDATED  validation p-1\n") || !strings.Contains(b.String(), "  inference-image     Failed     trivy <b> found") {
		t.Errorf("%v %s", err, b.String())
	}
	b.Reset()
	if err := r.HTML(&b); err != nil || !strings.Contains(b.String(), `<span class="pill unvalidated">NOT VALIDATED</span>`) || !strings.Contains(b.String(), "<dt>inference-image</dt><dd><b>Failed</b>: trivy &lt;b&gt; found") || strings.Contains(b.String(), "What buyers will see") {
		t.Errorf("%v %s", err, b.String())
	}
	b.Reset()
	if err := r.JUnit(&b); err != nil || !strings.Contains(b.String(), `tests="1" failures="0" errors="0" skipped="1"`) {
		t.Errorf("%v %s", err, b.String())
	}

	r = &Report{}
	r.status(&job.Plan{Operation: job.CreateAlgorithm, Validation: &job.Validation{}}, &ledger.State{Status: "Stopped"}, &ledger.StatusDetails{})
	if r.AlgorithmStatus != "Failed" || r.AlgorithmStatusDetails == nil || r.ModelPackageStatus != "" {
		t.Errorf("%+v", r)
	}
}
