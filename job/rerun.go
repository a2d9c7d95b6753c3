package job

import (
	"errors"
	"regexp"
	"time"
)

// Rerun says which objects of a transform are processed again. It lies beside the new job's documents, as RerunFile.
type Rerun struct {
	Of      string   `json:"of"` // kind/name of the job in which they failed
	Objects []string `json:"objects"`
}

// RerunFile is the name of a Rerun among a job's documents.
const RerunFile = "Rerun.json"

// PlanRerun is the plan of a transform that does again what another did, for some of its objects. name "": one that is made
// of the other's and suffix.
func PlanRerun(of *Plan, name, suffix string, now time.Time) (*Plan, error) {
	if of.Transform == nil {
		return nil, errors.New("only a transform can be run again for some of its objects")
	}
	if name == "" {
		tail := "-rerun-" + suffix
		name = cut(rerunName.ReplaceAllString(of.Name, ""), maxName-len(tail)) + tail
	}
	p, t := *of, *of.Transform
	p.Name, p.ARN = name, arn(of.Region, of.Account, "transform-job", name)
	t.RerunOf, t.CreationTime = string(of.Kind)+"/"+of.Name, now
	p.Transform = &t
	return &p, nil
}

// rerunName is what a rerun has added to a name.
var rerunName = regexp.MustCompile(`-rerun-[0-9a-z]{6}$`)
