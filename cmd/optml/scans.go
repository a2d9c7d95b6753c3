package main

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/optml/optml/job"
	"github.com/optml/optml/validate"
)

const mostScans = 32 // reports: a request has 16 images at most

// readScans reads what --scan-report gives: FILE, or IMAGE=FILE of a report that does not name its image as the request
// does. A file whose name has = in it is given as IMAGE=FILE or with a path that is there.
func readScans(given []string) ([]job.Scan, error) {
	if len(given) > mostScans {
		return nil, usage("--scan-report is given %d times: at most %d", len(given), mostScans)
	}
	var all []job.Scan
	for _, g := range given {
		image, file := "", g
		s, err := validate.ReadScan(file)
		if i := strings.LastIndex(g, "="); errors.Is(err, fs.ErrNotExist) && i > 0 {
			image, file = g[:i], g[i+1:]
			s, err = validate.ReadScan(file)
		}
		var no *validate.ScanError
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, usage("--scan-report: there is no file %s", file)
		case errors.As(err, &no):
			return nil, &usageError{Err: err, Hint: no.Hint()}
		case err != nil:
			return nil, &usageError{Err: fmt.Errorf("--scan-report: %w", err)}
		}
		s.Image = image
		all = append(all, s)
	}
	return all, nil
}

// withScans gives a validation the reports on its images. A report that is of none of them is refused: it would be
// thought to count.
func withScans(p *job.Plan, scans []job.Scan) error {
	v := p.Validation
	if v == nil {
		return nil
	}
	var refs []string
	for _, i := range v.Images {
		if !slices.Contains(refs, i.Image.Ref) {
			refs = append(refs, i.Image.Ref)
		}
	}
	v.Scans = nil // of the profile before
	for _, s := range scans {
		of := s.Names
		if s.Image != "" {
			of = []string{s.Image}
		}
		found := false
		for _, ref := range refs {
			if namesImage(of, ref) {
				s.Image, found = ref, true
				v.Scans = append(v.Scans, s)
			}
		}
		switch {
		case found:
		case s.Image != "":
			return &usageError{Err: fmt.Errorf("--scan-report %s=%s: the request has no image %s", s.Image, s.File, s.Image), Hint: "its images are " + strings.Join(refs, ", ")}
		default:
			return &usageError{Err: fmt.Errorf("scan report %s is of %s, which is none of the request's images: %s", s.File, strings.Join(s.Names, ", "), strings.Join(refs, ", ")),
				Hint: "if it is the same image under another name, say of which: --scan-report IMAGE=" + s.File}
		}
	}
	return nil
}

// namesImage says whether a scanner's report, which has these names for its image, is of an image of the request. One
// that knows its image by digest alone is taken for any tag of the repository: what runs tells later.
func namesImage(names []string, ref string) bool {
	tagged := slices.ContainsFunc(names, func(n string) bool { return !strings.Contains(n, "@") })
	repo, digest, pinned := strings.Cut(ref, "@")
	return slices.ContainsFunc(names, func(n string) bool {
		if n == "" {
			return false
		}
		if sameName(n) == sameName(ref) {
			return true
		}
		r, d, digested := strings.Cut(n, "@")
		return digested && repository(r) == repository(repo) && (d == digest || !pinned && !tagged)
	})
}

// repository is an image's name without its tag.
func repository(ref string) string {
	name := sameName(ref)
	if i := strings.LastIndex(name, ":"); i > strings.LastIndex(name, "/") {
		name = name[:i]
	}
	return name
}
