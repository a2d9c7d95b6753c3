package validate

import (
	"fmt"
	"slices"
	"strings"

	"github.com/optml/optml/human"
	"github.com/optml/optml/ledger"
)

// judgeScan: an image with Critical or High findings cannot be published (VAL-30). Who scans is somebody else (VAL-32).
func judgeScan(e evidence) ledger.Verdict {
	var resolved []ledger.ImageResolved
	for _, s := range []*ledger.State{e.training, e.transform} {
		if s != nil {
			resolved = append(resolved, s.Images...)
		}
	}
	var bad, open, clean, todo, judged []string
	for _, x := range ledger.ImageScans(e.plan.Validation, resolved) {
		switch seen := slices.Contains(judged, x.Image); { // training and inference may have one image (VAL-38)
		case x.Other && !seen:
			bad = append(bad, x.Reason)
			todo = append(todo, "scan "+x.Image+" as it is here, and give that report")
		case x.Status == ledger.StatusFailed && !seen:
			bad = append(bad, x.Reason)
			todo = append(todo, mend(x))
		case x.Other || x.Status == ledger.StatusFailed:
		case x.Status == ledger.StatusNotStarted:
			open = append(open, x.Name)
		default:
			clean = append(clean, x.Name)
		}
		judged = append(judged, x.Image)
	}
	if len(bad) > 0 {
		return ledger.Verdict{Outcome: failed, Evidence: strings.Join(bad, "; "), Remedy: strings.Join(todo, "; ")}
	}
	var found []string
	for _, s := range e.plan.Validation.Scans {
		if !slices.Contains(judged, s.Image) {
			continue
		}
		text := fmt.Sprintf("%s found no Critical and no High in %s, and %s", s.Scanner, s.Image, human.Count(int64(s.Other), "other finding"))
		if !s.Packages {
			text = fmt.Sprintf("%s found no packages to judge in %s", s.Scanner, s.Image)
		}
		found = append(found, text)
	}
	switch {
	case len(clean) == 0:
		return ledger.Verdict{Outcome: notChecked, Evidence: "no scanner's report was given (--scan-report); the service scans images when they are in Amazon ECR"}
	case len(open) > 0:
		return ledger.Verdict{Outcome: notChecked, Evidence: "no scanner's report was given for " + strings.Join(open, ", ") + "; " + strings.Join(found, "; ")}
	}
	return ledger.Verdict{Outcome: passed, Evidence: strings.Join(found, "; ")}
}

// mend says what to change in an image.
func mend(x ledger.ImageScan) string {
	const most = 5
	var fixed, without []string
	for _, f := range x.Findings {
		name, _, _ := strings.Cut(f.Package, " ")
		list, text := &without, name
		if f.Fixed != "" {
			list, text = &fixed, name+" to "+f.Fixed
		}
		if !slices.Contains(*list, text) {
			*list = append(*list, text)
		}
	}
	say := func(list []string) string {
		if n := len(list) - most; n > 0 {
			return strings.Join(list[:most], ", ") + fmt.Sprintf(" and %d more", n)
		}
		return strings.Join(list, ", ")
	}
	var out []string
	if len(fixed) > 0 {
		out = append(out, "update "+say(fixed))
	}
	if len(without) > 0 {
		out = append(out, "remove "+say(without)+", of which no version is fixed yet, or take another base image")
	}
	return strings.Join(out, "; ") + "; build " + x.Image + " again, and scan it again"
}
