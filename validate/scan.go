package validate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/optml/optml/job"
)

// Bounds of a scanner's report, which comes from outside.
const (
	scanBytes     = 64 << 20 // of the file: those of large images with all severities have some 15 MB
	scanFindings  = 50       // that are kept of an image
	scanNames     = 32       // of an image
	scanTextBytes = 200      // of an id, a package, a version
)

// ScanError is a scanner's report that cannot be used.
type ScanError struct {
	File string
	Err  error
	hint string
}

func (e *ScanError) Error() string { return fmt.Sprintf("scan report %s: %v", e.File, e.Err) }
func (e *ScanError) Unwrap() error { return e.Err }
func (e *ScanError) Hint() string  { return e.hint }

const howToScan = "make it with `trivy image --format json --output FILE IMAGE` or `grype IMAGE --output json --file FILE`"

// ReadScan reads the JSON report of trivy or grype on an image. Image is left open. The error is a *ScanError, or what
// kept the file from being read.
func ReadScan(path string) (job.Scan, error) {
	f, err := os.Open(path)
	if err != nil {
		return job.Scan{}, err
	}
	defer f.Close()
	return readScan(path, f)
}

func readScan(name string, r io.Reader) (job.Scan, error) {
	fail := func(hint, format string, a ...any) (job.Scan, error) {
		return job.Scan{}, &ScanError{name, fmt.Errorf(format, a...), hint}
	}
	b, err := io.ReadAll(io.LimitReader(r, scanBytes+1))
	if err != nil {
		return job.Scan{}, fmt.Errorf("scan report %s: %w", name, err)
	}
	if len(b) > scanBytes {
		return fail("let the scanner report Critical and High findings alone: `trivy image --severity HIGH,CRITICAL`", "it has more than %d MB", scanBytes>>20)
	}
	var d scanDocument
	switch err := json.Unmarshal(b, &d); {
	case errors.As(err, new(*json.SyntaxError)):
		line, col := place(b, err)
		return fail(howToScan, "line %d, column %d: it is not JSON: %w", line, col, err)
	case err != nil && strings.HasPrefix(strings.TrimSpace(string(b[:min(len(b), 64)])), "["):
		return fail("use trivy 0.20 or later", "it is a list, as trivy wrote it before 0.20, and does not say which image it is of")
	case err != nil:
		return fail(howToScan, "it is not a report of trivy or grype: %w", err)
	}
	var s job.Scan
	switch {
	case d.SchemaVersion != nil && d.ArtifactName != "":
		s, err = d.trivy()
	case d.Matches.read:
		s, err = d.grype()
	default:
		return fail(howToScan, "it is not a report of trivy (no SchemaVersion with an ArtifactName) or grype (no matches)")
	}
	if err != nil {
		return fail(howToScan, "%w", err)
	}
	s.File, s.Names, s.IDs = name, bounded(s.Names), bounded(s.IDs)
	return s, nil
}

// scanDocument is what is read of a report of either scanner; their members do not meet. Names of members are matched
// in any case, which is harmless.
type scanDocument struct {
	// trivy
	SchemaVersion *int
	ArtifactName  string
	ArtifactType  string
	Metadata      struct {
		ImageID               string
		RepoTags, RepoDigests names
	}
	Results trivyResults
	Trivy   struct{ Version string }

	// grype
	Matches grypeMatches
	Source  struct {
		Type   string
		Target json.RawMessage // of an image an object, else a string
	}
	Descriptor struct{ Name, Version string }
}

func (d *scanDocument) trivy() (job.Scan, error) {
	s := d.Results.scan()
	if *d.SchemaVersion != 2 {
		return s, fmt.Errorf("it has SchemaVersion %d of trivy's report; 2 is known here", *d.SchemaVersion)
	}
	if t := d.ArtifactType; t != "" && t != "container_image" && t != "image" {
		return s, fmt.Errorf("it is of a %s, not of an image", text(t))
	}
	s.Scanner = text(strings.TrimSpace("trivy " + d.Trivy.Version))
	s.Names = slices.Concat([]string{d.ArtifactName}, d.Metadata.RepoTags, d.Metadata.RepoDigests)
	s.IDs = append([]string{d.Metadata.ImageID}, digests(s.Names)...)
	return s, nil
}

func (d *scanDocument) grype() (job.Scan, error) {
	s := d.Matches.scan()
	if t := d.Source.Type; t != "image" {
		return s, fmt.Errorf("it is of a source of type %q, not of an image", text(t))
	}
	var target struct {
		UserInput, ImageID, ManifestDigest string
		Tags, RepoDigests                  names
	}
	if err := json.Unmarshal(d.Source.Target, &target); err != nil {
		return s, fmt.Errorf("source.target: %w", err)
	}
	name := d.Descriptor.Name
	if name == "" {
		name = "grype"
	}
	s.Scanner = text(strings.TrimSpace(name + " " + d.Descriptor.Version))
	s.Names = slices.Concat([]string{target.UserInput}, target.Tags, target.RepoDigests)
	s.IDs = append([]string{target.ManifestDigest, target.ImageID}, digests(s.Names)...)
	s.Packages = true // grype tells only what matched
	return s, nil
}

// trivyResults and grypeMatches are lists of findings, counted while they are read: a hostile report has more elements
// than memory.
type (
	trivyResults struct{ tally }
	trivyFound   struct{ tally }
	grypeMatches struct{ tally }
)

func (t *trivyResults) UnmarshalJSON(b []byte) error {
	t.read = true
	type result struct {
		Class           string
		Vulnerabilities trivyFound
	}
	return each(b, func(r *result) error {
		t.packages = t.packages || r.Class == "os-pkgs" || r.Class == "lang-pkgs"
		t.add(&r.Vulnerabilities.tally)
		return nil
	})
}

func (t *trivyFound) UnmarshalJSON(b []byte) error {
	type vulnerability struct{ VulnerabilityID, PkgName, InstalledVersion, FixedVersion, Severity string }
	return each(b, func(v *vulnerability) error {
		t.packages = true
		return t.count(v.VulnerabilityID, v.Severity, v.PkgName, v.InstalledVersion, v.FixedVersion)
	})
}

func (t *grypeMatches) UnmarshalJSON(b []byte) error {
	t.read = true
	type match struct {
		Vulnerability struct {
			ID       string
			Severity string
			Fix      struct{ Versions names }
		}
		Artifact struct{ Name, Version string }
	}
	return each(b, func(m *match) error {
		v := m.Vulnerability
		return t.count(v.ID, v.Severity, m.Artifact.Name, m.Artifact.Version, strings.Join(v.Fix.Versions, ", "))
	})
}

// names is a list of strings of which the first are kept.
type names []string

func (n *names) UnmarshalJSON(b []byte) error {
	*n = nil
	return each(b, func(s *string) error {
		if len(*n) < scanNames {
			*n = append(*n, text(*s))
		}
		return nil
	})
}

// each reads a list, or null, element by element.
func each[T any](b []byte, do func(*T) error) error {
	d := json.NewDecoder(bytes.NewReader(b))
	switch open, err := d.Token(); {
	case err != nil:
		return err
	case open == nil:
		return nil
	case open != json.Delim('['):
		return fmt.Errorf("%.20s… is where a list is expected", b)
	}
	for d.More() {
		var x T
		if err := d.Decode(&x); err != nil {
			return err
		}
		if err := do(&x); err != nil {
			return err
		}
	}
	return nil
}

// tally counts findings, and keeps the first of those that are in the way.
type tally struct {
	read, packages        bool
	critical, high, other int
	worst, bad            []job.Finding // Critical, High
}

func (t *tally) scan() job.Scan {
	found := append(t.worst, t.bad...)
	return job.Scan{Packages: t.packages, Critical: t.critical, High: t.high, Other: t.other, Findings: found[:min(len(found), scanFindings)]}
}

func (t *tally) add(o *tally) {
	t.packages = t.packages || o.packages
	t.critical, t.high, t.other = t.critical+o.critical, t.high+o.high, t.other+o.other
	t.worst, t.bad = keep(t.worst, o.worst...), keep(t.bad, o.bad...)
}

func keep(list []job.Finding, more ...job.Finding) []job.Finding {
	return append(list, more[:min(len(more), scanFindings-len(list))]...)
}

// count counts a finding. One whose severity is not known might be in the way, so then the report is no use.
func (t *tally) count(id, severity, pkg, version, fixed string) error {
	f := job.Finding{ID: text(id), Package: text(strings.TrimSpace(pkg + " " + version)), Fixed: text(fixed)}
	if id == "" {
		return errors.New("a finding has no id")
	}
	switch strings.ToLower(severity) {
	case "critical":
		f.Severity = "Critical"
		t.critical++
		t.worst = keep(t.worst, f)
	case "high":
		f.Severity = "High"
		t.high++
		t.bad = keep(t.bad, f)
	case "medium", "low", "negligible", "unknown":
		t.other++
	default:
		return fmt.Errorf("finding %s has the severity %q, which neither trivy nor grype has", f.ID, text(severity))
	}
	return nil
}

// digests are those in names of images: name@sha256:…
func digests(names []string) []string {
	var out []string
	for _, n := range names {
		if _, d, ok := strings.Cut(n, "@"); ok {
			out = append(out, d)
		}
	}
	return out
}

// bounded is a list without what is empty or there twice, none of it too long.
func bounded(list []string) []string {
	var out []string
	for _, x := range list {
		if x = text(x); x != "" && !slices.Contains(out, x) && len(out) < scanNames {
			out = append(out, x)
		}
	}
	return out
}

// text is a text from outside, short and without control characters.
func text(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s[:min(len(s), 4*scanTextBytes)], "�"))
	if len(s) <= scanTextBytes {
		return s
	}
	n := scanTextBytes
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

// place is where a syntax error is, lines and columns from 1.
func place(b []byte, err error) (line, col int) {
	var syntax *json.SyntaxError
	errors.As(err, &syntax)
	before := string(b[:min(int64(len(b)), max(0, syntax.Offset-1))])
	return 1 + strings.Count(before, "\n"), 1 + len(before) - (strings.LastIndex(before, "\n") + 1)
}
