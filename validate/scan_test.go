package validate

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/optml/optml/harness"
	"github.com/optml/optml/job"
	"github.com/optml/optml/runtime/containertest"
)

const trivyReport = `{
  "SchemaVersion": 2, "CreatedAt": "2026-11-30T10:00:00Z", "ArtifactName": "seller/algo:1", "ArtifactType": "container_image", "Trivy": {"Version": "0.68.1"},
  "Metadata": {"Size": 12, "OS": {"Family": "alpine", "Name": "3.19"}, "ImageID": "sha256:c0", "DiffIDs": ["sha256:d1"],
    "RepoTags": ["seller/algo:1", "seller/algo:latest"], "RepoDigests": ["seller/algo@sha256:aa"], "ImageConfig": {"architecture": "amd64"}},
  "Results": [
    {"Target": "seller/algo:1 (alpine 3.19)", "Class": "os-pkgs", "Type": "alpine", "Packages": [{"Name": "zlib"}], "Vulnerabilities": [
      {"VulnerabilityID": "CVE-1", "PkgName": "zlib", "InstalledVersion": "1.2", "Severity": "HIGH", "CVSS": {"nvd": {"V3Score": 7.5}}, "References": ["x"]},
      {"VulnerabilityID": "CVE-2", "PkgName": "xz", "InstalledVersion": "5.6.0", "FixedVersion": "5.6.2", "Severity": "CRITICAL"},
      {"VulnerabilityID": "CVE-3", "PkgName": "musl", "InstalledVersion": "1", "Severity": "UNKNOWN"}]},
    {"Target": "Python", "Class": "lang-pkgs", "Type": "python-pkg", "Vulnerabilities": null},
    {"Target": "/root/key", "Class": "secret", "Secrets": [{"RuleID": "private-key", "Severity": "CRITICAL"}]}]}`

const grypeReport = `{
  "matches": [
    {"vulnerability": {"id": "GHSA-1", "severity": "High", "fix": {"versions": ["2.0", "1.9.1"], "state": "fixed"}, "advisories": []}, "relatedVulnerabilities": [{"id": "CVE-9", "severity": "Critical"}],
     "matchDetails": [], "artifact": {"name": "flask", "version": "1.0", "type": "python"}},
    {"vulnerability": {"id": "CVE-4", "severity": "Negligible", "fix": {"versions": [], "state": "wont-fix"}}, "artifact": {"name": "tar", "version": "1"}}],
  "ignoredMatches": [{"vulnerability": {"id": "CVE-8", "severity": "Critical"}, "artifact": {"name": "a", "version": "1"}}],
  "source": {"type": "image", "target": {"userInput": "seller/algo:1", "imageID": "sha256:c0", "manifestDigest": "sha256:bb", "tags": ["seller/algo:1"], "repoDigests": [], "layers": [{"digest": "sha256:ll"}]}},
  "distro": {"name": "debian"}, "descriptor": {"name": "grype", "version": "0.104.0"}}`

// VAL-30: what is read of each scanner's report.
func TestScanReports(t *testing.T) {
	for name, c := range map[string]struct {
		report string
		want   job.Scan
	}{
		"trivy": {trivyReport, job.Scan{Scanner: "trivy 0.68.1", Packages: true, Critical: 1, High: 1, Other: 1,
			Names: []string{"seller/algo:1", "seller/algo:latest", "seller/algo@sha256:aa"}, IDs: []string{"sha256:c0", "sha256:aa"},
			Findings: []job.Finding{{ID: "CVE-2", Severity: "Critical", Package: "xz 5.6.0", Fixed: "5.6.2"}, {ID: "CVE-1", Severity: "High", Package: "zlib 1.2"}}}},
		"grype": {grypeReport, job.Scan{Scanner: "grype 0.104.0", Packages: true, High: 1, Other: 1,
			Names: []string{"seller/algo:1"}, IDs: []string{"sha256:bb", "sha256:c0"},
			Findings: []job.Finding{{ID: "GHSA-1", Severity: "High", Package: "flask 1.0", Fixed: "2.0, 1.9.1"}}}},
		"nothing found": {`{"SchemaVersion": 2, "ArtifactName": "a", "Results": null}`, job.Scan{Scanner: "trivy", Names: []string{"a"}}},
		"nothing in it": {`{"matches": null, "source": {"type": "image", "target": {"userInput": "a", "tags": null}}}`, job.Scan{Scanner: "grype", Packages: true, Names: []string{"a"}}},
		"texts from outside": {`{"SchemaVersion": 2, "ArtifactName": "a\u001b[31m", "Results": [{"Vulnerabilities": [{"VulnerabilityID": "<script>\n", "PkgName": "` + strings.Repeat("ü", 150) + `", "Severity": "critical"}]}]}`,
			job.Scan{Scanner: "trivy", Packages: true, Critical: 1, Names: []string{"a [31m"}, Findings: []job.Finding{{ID: "<script> ", Severity: "Critical", Package: strings.Repeat("ü", 100) + "…"}}}},
	} {
		got, err := readScan("r.json", strings.NewReader(c.report))
		c.want.File = "r.json"
		if diff := cmp.Diff(c.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v %s", name, err, diff)
		}
	}
}

// What is no report of an image, or cannot be relied on, is refused with what is wrong with it.
func TestScanReportsRefused(t *testing.T) {
	t.Parallel() // it waits
	found := func(f string) string {
		return `{"SchemaVersion": 2, "ArtifactName": "a", "Results": [{"Vulnerabilities": [` + f + `]}]}`
	}
	for report, want := range map[string]string{
		"":                      "it is not JSON",
		"{\n \"matches\": [,]}": "line 2, column 14: it is not JSON",
		"[]":                    "is a list, as trivy wrote it before 0.20",
		`"x"`:                   "not a report of trivy or grype",
		"{}":                    "not a report of trivy",
		`{"SchemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json"}`: "not a report of trivy",
		`{"SchemaVersion": 3, "ArtifactName": "a"}`:                                       "SchemaVersion 3",
		`{"SchemaVersion": 2, "ArtifactName": "src", "ArtifactType": "filesystem"}`:       "it is of a filesystem, not of an image",
		`{"SchemaVersion": 2, "ArtifactName": "a", "Results": {}}`:                        "is where a list is expected",
		`{"SchemaVersion": 2, "ArtifactName": "a", "Results": [7]}`:                       "cannot unmarshal number",
		`{"matches": [], "source": {"type": "directory", "target": "/src"}}`:              `of a source of type "directory", not of an image`,
		`{"matches": [], "source": {"type": "image", "target": "x"}}`:                     "source.target",
		`{"matches": []}`:                                           `of a source of type ""`,
		found(`{"VulnerabilityID": "CVE-1"}`):                       `finding CVE-1 has the severity ""`,
		found(`{"VulnerabilityID": "CVE-1", "Severity": "Severe"}`): `the severity "Severe"`,
		found(`{"Severity": "HIGH"}`):                               "a finding has no id",
		found(`{"VulnerabilityID": 7, "Severity": "HIGH"}`):         "cannot unmarshal number",
		strings.Repeat("[", 20_000):                                 "exceeded max depth",
		`{"SchemaVersion": 2, "ArtifactName": "a", "Results": [` + strings.Repeat(`{"x":`, 20_000): "exceeded max depth",
		strings.Repeat(" ", scanBytes+1): "it has more than 64 MB",
	} {
		_, err := readScan("r.json", strings.NewReader(report))
		var no *ScanError
		if !errors.As(err, &no) || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "scan report r.json: ") || no.Hint() == "" || len(err.Error()) > 300 {
			t.Errorf("%.60q: got %v, want %q", report, err, want)
		}
	}
}

// A report with more findings and names than anybody reads costs no more than its size, and what is kept is bounded:
// the Critical ones before the High ones.
func TestScanIsBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"SchemaVersion": 2, "ArtifactName": "a", "Metadata": {"RepoTags": [""` + strings.Repeat(`,""`, 300_000) + `]}, "Results": [{},{"Class": "os-pkgs", "Vulnerabilities": [`)
	for i := range 30_000 {
		fmt.Fprintf(&b, `{"VulnerabilityID":"CVE-%d","PkgName":"p","Severity":"HIGH"},`, i)
	}
	b.WriteString(`{"VulnerabilityID":"CVE-last","PkgName":"p","Severity":"CRITICAL"}]}` + strings.Repeat(",{}", 300_000) + `]}`)
	s, err := readScan("r.json", strings.NewReader(b.String()))
	if err != nil || s.High != 30_000 || s.Critical != 1 || len(s.Findings) != scanFindings || s.Findings[0].ID != "CVE-last" || len(s.Names) != 1 {
		t.Errorf("%v: %d, %d, %d findings, first %+v, names %q", err, s.High, s.Critical, len(s.Findings), s.Findings[:1], s.Names)
	}
	var result struct{ Results trivyResults }
	if n := testing.AllocsPerRun(1, func() { _ = result.Results.UnmarshalJSON([]byte(`[` + strings.Repeat("{},", 1000) + `{}]`)) }); n > 10_000 {
		t.Errorf("%v allocations for 1000 empty results", n)
	}
}

// VAL-30, VAL-32: the rule of the scan, by what was given and what ran; no other rule is touched by it.
func TestScanRule(t *testing.T) {
	t.Parallel()
	const ran = "sha256:0000000000000000000000000000000000000000000000000000000000000004" // the digest of "algo"
	scan := func(s job.Scan) job.Scan {
		s.File, s.Scanner, s.Image, s.Packages = "r.json", "trivy", "algo", true
		return s
	}
	blocking := scan(job.Scan{Critical: 1, High: 7, Findings: []job.Finding{{ID: "CVE-2", Severity: "Critical", Package: "xz 5.6.0", Fixed: "5.6.2"}, {ID: "CVE-1", Severity: "High", Package: "zlib 1.2"}}})
	for name, c := range map[string]struct {
		scans            []job.Scan
		outcome          string
		evidence, remedy string
	}{
		"none":      {nil, notChecked, "no scanner's report was given (--scan-report)", ""},
		"clean":     {[]job.Scan{scan(job.Scan{Other: 3, IDs: []string{"sha256:x", ran}})}, passed, "trivy found no Critical and no High in algo, and 3 other findings", ""},
		"blocking":  {[]job.Scan{blocking}, failed, "trivy found 1 Critical and 7 High in algo: CVE-2 (Critical) in xz 5.6.0, fixed in 5.6.2; CVE-1 (High) in zlib 1.2, no fixed version; and 6 more", "update xz to 5.6.2; remove zlib, of which no version is fixed yet, or take another base image; build algo again, and scan it again"},
		"both":      {[]job.Scan{scan(job.Scan{}), blocking}, failed, "1 Critical and 7 High", "update xz"},
		"other":     {[]job.Scan{scan(job.Scan{IDs: []string{"sha256:old"}})}, failed, "r.json is of another image, sha256:old, not of algo, which is " + ran, "scan algo as it is here"},
		"no digest": {[]job.Scan{scan(job.Scan{})}, passed, "no Critical", ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := algorithm()
			p.Validation.Scans = c.scans
			final, s, broken := run(t, p, map[string]containertest.Program{"train": train, "serve": serve}, "", nil)
			v := s.Verdicts[slices.IndexFunc(rules, func(r rule) bool { return r.id == "image scan" })]
			if v.Outcome != c.outcome || !strings.Contains(v.Evidence, c.evidence) || strings.Count(v.Evidence, "trivy found") > max(1, len(c.scans)) || !strings.HasPrefix(v.Remedy, c.remedy) {
				t.Errorf("%+v", v)
			}
			if want := c.outcome == failed; want != (final.Status == "Failed") || want && (!slices.Equal(broken, []string{"image scan"}) || *final.ExitCode != harness.ExitVerdict) || !want && len(broken) > 0 {
				t.Errorf("%+v %q", final, broken)
			}
		})
	}
	// A report on one of two images says nothing of the other.
	p := algorithm()
	p.Validation.Images[1].Image.Ref = "server"
	if v := judgeScan(evidence{plan: p}); v.Outcome != notChecked || !strings.HasPrefix(v.Evidence, "no scanner's report was given for inference-image; trivy found no Critical") {
		t.Errorf("%+v", v)
	}
}

// modelPackage is the plan of a package's validation whose model is s3://in/model.tar.gz, or none.
func modelPackage() *job.Plan {
	p := algorithm()
	v := p.Validation
	p.Operation, p.Name = job.CreateModelPackage, "pkg-1"
	v.Algorithm, v.Package, v.Training, v.Images, v.Scans = "", "pkg", nil, v.Images[1:], nil
	v.Transform.Name, v.Transform.Transform.Models[0].URI = "pkg-p-transform-1", ""
	return p
}

// VAL-2: a model package is a transform; each rule about a training is not checked, and says why.
func TestVAL2ModelPackage(t *testing.T) {
	t.Parallel() // it waits
	final, s, broken := run(t, modelPackage(), map[string]containertest.Program{"serve": serve}, "", nil)
	if final.Status != "Completed" || len(broken) > 0 || len(s.Children) != 1 || s.Children[0].Kind != "transform" || s.Transitions[0].StatusMessage != "Validating the model package" {
		t.Errorf("%+v %q %+v %+v", final, broken, s.Children, s.Transitions)
	}
	for _, v := range s.Verdicts {
		ofTraining := slices.Contains([]string{ruleTrainStarts, ruleTraining, "a failure is told", "every defined metric is seen", "a model is made", "nothing written is lost",
			"train ends on SIGTERM", "a bad hyperparameter is refused", "an empty channel is refused"}, v.Rule)
		if ofTraining != (v.Evidence == "a model package has no training") || ofTraining && v.Outcome != notChecked {
			t.Errorf("%+v", v)
		}
	}

	p := modelPackage()
	p.Validation.Transform.Transform.PingWindow = job.Duration(300 * time.Millisecond)
	final, _, broken = run(t, p, map[string]containertest.Program{"serve": func(p *containertest.Process) int { <-p.Signals; return 0 }}, "", nil)
	if final.Status != "Failed" || *final.ExitCode != harness.ExitAlgorithm || !slices.Equal(broken, []string{"/ping answers 200"}) || final.Message != "Validation failed: the transform job did not complete" {
		t.Errorf("%+v %q", final, broken)
	}
}

// VAL-7: of what has no profile nothing runs, it completes, and no rule says that it is known to hold.
func TestVAL7NothingRuns(t *testing.T) {
	for _, p := range []*job.Plan{algorithm(), modelPackage()} {
		v := p.Validation
		v.Training, v.Transform, v.Scans, v.Skipped = nil, nil, nil, "the request has no validation profile"
		final, s, broken := run(t, p, nil, "", nil)
		if final.Status != "Completed" || *final.ExitCode != 0 || len(broken) > 0 || len(s.Children) > 0 || final.Message != "Nothing was run: "+v.Skipped {
			t.Errorf("%+v %q %+v", final, broken, s.Children)
		}
		for i, v := range s.Verdicts {
			if i > 0 && v.Outcome != notChecked { // the document itself was judged
				t.Errorf("%+v", v)
			}
		}
	}
}
