package ledger

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/optml/optml/job"
)

// StatusDetails is AlgorithmStatusDetails or ModelPackageStatusDetails (VAL-21). Its JSON has the service's names.
type StatusDetails struct {
	ValidationStatuses []StatusItem // one a job
	ImageScanStatuses  []StatusItem // one an image
}

// StatusItem is how one job or image scan of a validation stands.
type StatusItem struct {
	Name          string // <ProfileName>-training, <ProfileName>-transform, training-image, inference-image (VAL-22)
	Status        string // NotStarted, InProgress, Completed, Failed
	FailureReason string `json:",omitempty"` // also why a scan has not started (VAL-23)
}

// StatusNotStarted is a status of items alone.
const StatusNotStarted = "NotStarted"

// StatusDetails is that of a validation, nil of any other job. The records of its jobs lie beside its own.
func (j *Job) StatusDetails() (*StatusDetails, error) {
	s, err := j.State()
	if err != nil {
		return nil, err
	}
	return j.statusDetails(&s)
}

func (j *Job) statusDetails(s *State) (*StatusDetails, error) {
	v := j.plan.Validation
	if v == nil {
		return nil, nil
	}
	children := make(map[Child]State)
	var images []ImageResolved
	for _, c := range s.Children {
		child, err := Open(filepath.Join(j.Root(), c.Kind, c.Name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		cs, err := child.State()
		if err != nil {
			return nil, err
		}
		children[c], images = cs, append(images, cs.Images...)
	}
	d := &StatusDetails{ValidationStatuses: []StatusItem{}, ImageScanStatuses: []StatusItem{}}
	if v.Training != nil {
		d.ValidationStatuses = append(d.ValidationStatuses, childStatus(s, v.Profile, job.KindTraining, children))
	}
	if v.Transform != nil {
		d.ValidationStatuses = append(d.ValidationStatuses, childStatus(s, v.Profile, job.KindTransform, children))
	}
	for _, x := range ImageScans(v, images) {
		d.ImageScanStatuses = append(d.ImageScanStatuses, StatusItem{x.Name, x.Status, x.Reason})
	}
	return d, nil
}

// ValidationStatus is AlgorithmStatus or ModelPackageStatus of a validation: an algorithm and a package know no stopping (VAL-20); a validation that was stopped has not passed.
func ValidationStatus(status string) string {
	switch status {
	case StatusStopping:
		return StatusInProgress
	case StatusStopped:
		return StatusFailed
	}
	return status
}

// childStatus is one item of ValidationStatuses.
func childStatus(s *State, profile string, kind job.Kind, children map[Child]State) StatusItem {
	suffix := "-" + string(kind)
	item := StatusItem{Name: profile[:min(len(profile), 63-len(suffix))] + suffix, Status: StatusNotStarted}
	for _, c := range s.Children {
		if c.Kind != string(kind) || c.Probe != "" {
			continue
		}
		cs, ok := children[c]
		if !ok { // its record was removed
			cs = *s
		}
		item.Status, item.FailureReason = ValidationStatus(cs.Status), cs.FailureReason
		if ok && cs.Status == StatusStopped {
			item.FailureReason = "the job was stopped"
		}
		return item
	}
	return item
}

// ImageScan is how one image of a validation stands with the scanners' reports that were given for it (VAL-30, VAL-32).
type ImageScan struct {
	Name     string // in ImageScanStatuses
	Image    string
	Status   string // NotStarted, Completed, Failed
	Reason   string // of NotStarted and Failed
	Other    bool   // a report was given, and it is of another image
	Findings []job.Finding
}

// ImageScans judges the reports that a validation has; resolved is what its images came to be, as far as that is known.
func ImageScans(v *job.Validation, resolved []ImageResolved) []ImageScan {
	var out []ImageScan
	for _, image := range v.Images {
		x := ImageScan{Name: image.Name, Image: image.Image.Ref, Status: StatusNotStarted,
			Reason: "no scanner's report was given for " + image.Image.Ref + "; the service scans it when it is in Amazon ECR"}
		ran := identities(image.Image, resolved)
		var clean, blocking, others []string
		for _, s := range v.Scans {
			switch {
			case s.Image != image.Image.Ref:
			case len(ran) > 0 && len(s.IDs) > 0 && !slices.ContainsFunc(s.IDs, func(id string) bool { return slices.Contains(ran, id) }):
				others = append(others, fmt.Sprintf("%s is of another image, %s, not of %s, which is %s", s.File, strings.Join(s.IDs, ", "), s.Image, ran[0]))
			case s.Critical+s.High > 0:
				blocking = append(blocking, blocked(s))
				x.Findings = append(x.Findings, s.Findings...)
			default:
				clean = append(clean, s.File)
			}
		}
		switch {
		case len(others) > 0:
			x.Other, x.Reason = true, strings.Join(others, "; ")
		case len(blocking) > 0:
			x.Status, x.Reason = StatusFailed, strings.Join(blocking, "; ")
		case len(clean) > 0:
			x.Status, x.Reason = "Completed", ""
		}
		out = append(out, x)
	}
	return out
}

// identities are the digests by which an image may be called.
func identities(image job.Image, resolved []ImageResolved) []string {
	var ids []string
	for _, r := range resolved {
		if r.Ref == image.Ref {
			ids = append(ids, r.Digest, r.Manifest, r.Config)
		}
	}
	if len(ids) == 0 {
		_, digest, _ := strings.Cut(image.Ref, "@")
		ids = append(ids, image.Digest, digest)
	}
	return slices.DeleteFunc(ids, func(id string) bool { return id == "" })
}

// findingsSaid is how many findings a reason names; the report has the rest.
const findingsSaid = 5

// blocked says what is in the way of an image.
func blocked(s job.Scan) string {
	var said []string
	for _, f := range s.Findings[:min(len(s.Findings), findingsSaid)] {
		fixed := "no fixed version"
		if f.Fixed != "" {
			fixed = "fixed in " + f.Fixed
		}
		said = append(said, fmt.Sprintf("%s (%s) in %s, %s", f.ID, f.Severity, f.Package, fixed))
	}
	if n := s.Critical + s.High - len(said); n > 0 {
		said = append(said, fmt.Sprintf("and %d more", n))
	}
	return fmt.Sprintf("%s found %d Critical and %d High in %s: %s", s.Scanner, s.Critical, s.High, s.Image, strings.Join(said, "; "))
}
