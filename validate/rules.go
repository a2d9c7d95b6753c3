package validate

import (
	"fmt"
	"slices"
	"strings"

	"github.com/optml/optml/job"
	"github.com/optml/optml/ledger"
)

// Outcomes of a rule.
const (
	passed     = "passed"
	failed     = "failed"
	notChecked = "not checked"
)

// evidence is what the rules judge: the plan and what was recorded of the jobs. A nil state is a job that never ran.
type evidence struct {
	plan                *job.Plan
	training, transform *ledger.State
}

// rule is one thing that a marketplace validation needs. judge is pure.
type rule struct {
	id    string
	judge func(evidence) ledger.Verdict
}

// rules is every rule, in the order of a run.
var rules = []rule{
	{"document is what the service accepts", judgeDocument},
	{"training completes", judgeTraining},
	{"every defined metric is seen", judgeMetrics},
	{"a model is made", judgeModel},
	{"the model loads from model.tar.gz alone", judgeLoads},
	{"/ping answers 200", judgePing},
	{"every input object gets an output", judgeTransform},
	{"network isolation", judgeIsolation},
	{"the image runs as root", judgeUser},
	{"image scan", judgeScan},
}

// judgeDocument fails on what optml runs but the service refuses (CH-3, VAL-14; ruling 11). Instance types are no
// matter of the algorithm: a local run may name any (CH-4, ruling 3).
func judgeDocument(e evidence) ledger.Verdict {
	var broken []string
	for _, p := range plans(e.plan) {
		for _, w := range p.Warnings {
			if w.Refuses && w.Rule != "CH-4" && w.Rule != "ruling 3" && !slices.Contains(broken, w.Text) {
				broken = append(broken, w.Text)
			}
		}
	}
	if len(broken) > 0 {
		return ledger.Verdict{Outcome: failed, Evidence: strings.Join(broken, "; "), Remedy: "change the document as the sentence says"}
	}
	return ledger.Verdict{Outcome: passed, Evidence: "no member that the service refuses"}
}

func plans(p *job.Plan) []*job.Plan {
	all := []*job.Plan{p}
	if v := p.Validation; v != nil {
		if v.Training != nil {
			all = append(all, v.Training)
		}
		if v.Transform != nil {
			all = append(all, v.Transform)
		}
	}
	return all
}

// untrained is the verdict of a rule about a training when there is none.
func (e evidence) untrained() (ledger.Verdict, bool) {
	v := e.plan.Validation
	why := "a model package has no training"
	if v.Skipped != "" {
		why = "nothing was run: " + v.Skipped
	}
	return ledger.Verdict{Outcome: notChecked, Evidence: why}, v.Training == nil
}

func judgeTraining(e evidence) ledger.Verdict {
	if v, none := e.untrained(); none {
		return v
	}
	return judgeEnd(e.training, "training")
}

// judgeEnd passes when a job completed; else its own words are the evidence.
func judgeEnd(s *ledger.State, what string) ledger.Verdict {
	switch {
	case s == nil:
		return ledger.Verdict{Outcome: notChecked, Evidence: "the " + what + " job did not run"}
	case s.Status != ledger.StatusCompleted:
		return ledger.Verdict{Outcome: failed, Evidence: or(s.FailureReason, s.Status), Remedy: or(s.Hint, "see the last lines of its log")}
	}
	return ledger.Verdict{Outcome: passed, Evidence: fmt.Sprintf("%s job %s completed", what, s.Name)}
}

// judgeMetrics: a definition that never matched gives buyers no metric (MET-2).
func judgeMetrics(e evidence) ledger.Verdict {
	if v, none := e.untrained(); none {
		return v
	}
	defs := e.plan.Validation.Training.Training.Metrics
	switch {
	case len(defs) == 0:
		return ledger.Verdict{Outcome: notChecked, Evidence: "the algorithm defines no metrics"}
	case e.training == nil || e.training.Status != ledger.StatusCompleted:
		return ledger.Verdict{Outcome: notChecked, Evidence: "the training job did not complete"}
	}
	var unseen []string
	for _, d := range defs {
		if !slices.ContainsFunc(e.training.Metrics, func(m ledger.FinalMetric) bool { return m.Name == d.Name }) {
			unseen = append(unseen, fmt.Sprintf("%s (%s)", d.Name, d.Regex))
		}
	}
	if len(unseen) > 0 {
		return ledger.Verdict{Outcome: failed, Evidence: "never matched: " + strings.Join(unseen, ", "),
			Remedy: "print the metric as its Regex expects, or change the Regex; the first group must be a number (MET-1, MET-2)"}
	}
	return ledger.Verdict{Outcome: passed, Evidence: fmt.Sprintf("%d of %d", len(defs), len(defs))}
}

const (
	emptyModel       = "the training job left /opt/ml/model empty, so there is nothing to make a model of"
	emptyModelRemedy = "write the model to /opt/ml/model before the training process exits (OUT-1)"
)

func (e evidence) model() (ledger.UploadTotals, bool) {
	if e.training != nil {
		for _, u := range e.training.Uploads {
			if u.Artifact == "model" {
				return u, true
			}
		}
	}
	return ledger.UploadTotals{}, false
}

// emptyModel says whether the training made no model although one is needed (ruling 19).
func (e evidence) emptyModel() bool {
	u, ok := e.model()
	return e.plan.Validation.Training != nil && e.plan.Validation.Transform != nil && (!ok || u.Empty)
}

func judgeModel(e evidence) ledger.Verdict {
	if v, none := e.untrained(); none {
		return v
	}
	if e.training == nil || e.training.Status != ledger.StatusCompleted {
		return ledger.Verdict{Outcome: notChecked, Evidence: "the training job did not complete"}
	}
	if u, ok := e.model(); ok && !u.Empty {
		return ledger.Verdict{Outcome: passed, Evidence: u.URI + ", " + many(u.Files, "file")}
	}
	if e.plan.Validation.Transform == nil {
		return ledger.Verdict{Outcome: notChecked, Evidence: "no model was made, and none is needed: there is no InferenceSpecification"}
	}
	return ledger.Verdict{Outcome: failed, Evidence: emptyModel, Remedy: emptyModelRemedy}
}

// judgeLoads: the transform's container gets what model.tar.gz holds and nothing else (INF-20), and links that leave
// the archive are not in it (INF-31, ruling 19).
func judgeLoads(e evidence) ledger.Verdict {
	if e.training != nil {
		for _, w := range e.training.Warnings {
			if w.Rule == "INF-31" {
				return ledger.Verdict{Outcome: failed, Evidence: w.Text, Remedy: "write files, or links that stay inside /opt/ml/model"}
			}
		}
	}
	if e.transform == nil {
		return ledger.Verdict{Outcome: notChecked, Evidence: "the transform job did not run"}
	}
	for _, s := range e.transform.Steps {
		if s.Name == "model" && s.Error != "" {
			return ledger.Verdict{Outcome: failed, Evidence: s.Error, Remedy: or(e.transform.Hint, "see INF-20 and INF-31")}
		}
	}
	if e.transform.Transform == nil {
		return ledger.Verdict{Outcome: notChecked, Evidence: "the model's container did not get that far"}
	}
	return ledger.Verdict{Outcome: passed, Evidence: "the inference container had nothing but the unpacked archive"}
}

func judgePing(e evidence) ledger.Verdict {
	switch {
	case e.transform == nil:
		return ledger.Verdict{Outcome: notChecked, Evidence: "the transform job did not run"}
	case e.transform.Transform != nil && e.transform.Transform.PingAfter > 0:
		return ledger.Verdict{Outcome: passed, Evidence: fmt.Sprintf("%.1f s after the start", e.transform.Transform.PingAfter.Seconds())}
	case strings.Contains(e.transform.FailureReason, "/ping"):
		return ledger.Verdict{Outcome: failed, Evidence: e.transform.FailureReason, Remedy: or(e.transform.Hint, "answer GET /ping on port 8080 with 200 once the model is loaded (INF-60)")}
	}
	return ledger.Verdict{Outcome: notChecked, Evidence: "the container was not asked: " + or(e.transform.FailureReason, e.transform.Status)}
}

func judgeTransform(e evidence) ledger.Verdict {
	if e.plan.Validation.Transform == nil {
		return ledger.Verdict{Outcome: notChecked, Evidence: or(e.plan.Validation.Skipped, "there is no TransformJobDefinition, or no InferenceSpecification for it")}
	}
	v := judgeEnd(e.transform, "transform")
	if t := e.transform; v.Outcome == passed && t.Transform != nil {
		v.Evidence = many(t.Transform.Objects, "object") + ", " + many(t.Transform.Records, "record")
	}
	return v
}

// judgeIsolation: marketplace jobs run without any network (CH-5, INF-44, VAL-34).
func judgeIsolation(e evidence) ledger.Verdict {
	v := e.plan.Validation
	if e.training == nil && e.transform == nil {
		return ledger.Verdict{Outcome: notChecked, Evidence: "no container ran"}
	}
	if v.Training != nil && !v.Training.Training.Isolated || v.Transform != nil && !v.Transform.Transform.Isolated {
		return ledger.Verdict{Outcome: failed, Evidence: "a container ran with an open network", Remedy: "validate without --network open"}
	}
	return ledger.Verdict{Outcome: passed, Evidence: "every container ran without routes, name servers and credentials"}
}

// judgeUser: an image of another user fails on the service, whose /opt/ml belongs to root (START-8, INF-4).
func judgeUser(e evidence) ledger.Verdict {
	seen := false
	for _, s := range []*ledger.State{e.training, e.transform} {
		if s == nil {
			continue
		}
		for _, i := range s.Images {
			seen = true
			if user, _, _ := strings.Cut(i.User, ":"); user != "" && user != "0" && user != "root" {
				return ledger.Verdict{Outcome: failed, Evidence: fmt.Sprintf("image %s has USER %s", i.Ref, i.User), Remedy: "remove USER from the image, or set it to root"}
			}
		}
	}
	if !seen {
		return ledger.Verdict{Outcome: notChecked, Evidence: "no image was resolved"}
	}
	return ledger.Verdict{Outcome: passed, Evidence: "USER is root in every image"}
}

func many(n int64, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
