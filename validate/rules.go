package validate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/optml/optml/human"
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
	probes              []probed // those of the plan, in its order
	// What the containers of training and transform that ended printed last.
	trainingWords, transformWords string
}

// rule is one thing that a marketplace validation needs. judge is pure.
type rule struct {
	id    string
	judge func(evidence) ledger.Verdict
}

// rules is every rule, in the order of a run. docs/validation.md has a line for each, and test/e2e breaks each.
var rules = []rule{
	{"document is what the service accepts", judgeDocument},
	{ruleIsolation, judgeIsolation},
	{"the image runs as root", judgeUser},
	{ruleTrainStarts, judgeTrainStarts},
	{ruleTraining, judgeTraining},
	{"a failure is told", judgeTold},
	{"every defined metric is seen", judgeMetrics},
	{"a model is made", judgeModel},
	{"nothing written is lost", judgeLost},
	{ruleServeStarts, judgeServeStarts},
	{ruleLoads, judgeLoads},
	{rulePing, judgePing},
	{ruleOutputs, judgeTransform},
	{ruleSizes, judgeSizes},
	{"serve ends on SIGTERM", judgeServeStop},
	{"train ends on SIGTERM", judgeTrainStop},
	{"a bad hyperparameter is refused", judgeHyperparameter},
	{"an empty channel is refused", judgeChannels},
	{"a malformed request is refused", judgeRequest},
	{"the supported instance types work", judgeTypes},
	{"image scan", judgeScan},
}

// Rules that a job's bad end may belong to. The others that it touches are not checked then: one fault, one verdict.
const (
	ruleIsolation   = "network isolation"
	ruleTrainStarts = "train starts"
	ruleTraining    = "training completes"
	ruleServeStarts = "serve starts"
	ruleLoads       = "the model loads from model.tar.gz alone"
	rulePing        = "/ping answers 200"
	ruleOutputs     = "every input object gets an output"
	ruleSizes       = "sizes are within the limits"
)

func pass(format string, a ...any) ledger.Verdict {
	return ledger.Verdict{Outcome: passed, Evidence: fmt.Sprintf(format, a...)}
}

func open(format string, a ...any) ledger.Verdict {
	return ledger.Verdict{Outcome: notChecked, Evidence: fmt.Sprintf(format, a...)}
}

func fail(evidence, remedy string) ledger.Verdict {
	return ledger.Verdict{Outcome: failed, Evidence: evidence, Remedy: remedy}
}

// trainingPlan is nil of a validation without a training.
func (e evidence) trainingPlan() *job.Training {
	if t := e.plan.Validation.Training; t != nil {
		return t.Training
	}
	return nil
}

// transformPlan is nil of a validation without a transform.
func (e evidence) transformPlan() *job.Transform {
	if t := e.plan.Validation.Transform; t != nil {
		return t.Transform
	}
	return nil
}

// noTraining says why nothing is recorded of a training.
func (e evidence) noTraining() string {
	switch v := e.plan.Validation; {
	case v.Skipped != "":
		return "nothing was run: " + v.Skipped
	case v.Training == nil:
		return "a model package has no training"
	}
	return "the training job did not run"
}

// noTransform says why nothing is recorded of a transform.
func (e evidence) noTransform() string {
	switch v := e.plan.Validation; {
	case v.Skipped != "":
		return "nothing was run: " + v.Skipped
	case v.Transform == nil:
		return "there is no TransformJobDefinition, or no InferenceSpecification for it"
	}
	return "the transform job did not run"
}

// trainingFault is the rule that the training's end breaks; "" of one that completed, or was stopped by the user.
func (e evidence) trainingFault() string {
	s := e.training
	switch {
	case s == nil || s.Status == ledger.StatusCompleted || stoppedByUser(s):
		return ""
	case strings.Contains(s.Detail, ruleIsolation):
		return ruleIsolation
	case cannotStart(s):
		return ruleTrainStarts
	case strings.Contains(s.FailureReason, "Insufficient disk space") && strings.Contains(s.Hint, "VolumeSizeInGB"):
		return ruleSizes
	}
	return ruleTraining
}

// transformFault is the same of the transform.
func (e evidence) transformFault() string {
	s := e.transform
	switch {
	case s == nil || s.Status == ledger.StatusCompleted || stoppedByUser(s):
		return ""
	case strings.Contains(s.Detail, ruleIsolation):
		return ruleIsolation
	case stepError(s, "model") != "":
		return ruleLoads
	case cannotStart(s), !ready(s) && leaves(s):
		return ruleServeStarts
	case !ready(s) && endedByItself(s) != nil:
		return ruleLoads
	case !ready(s) && strings.Contains(s.FailureReason, "/ping"):
		return rulePing
	case s.Transform != nil && s.Transform.Failed > 0 && s.Transform.TooLarge == s.Transform.Failed:
		return ruleSizes
	}
	return ruleOutputs
}

// stoppedByUser tells a stop that somebody asked for from MaxRuntimeInSeconds, which is the image's to keep.
func stoppedByUser(s *ledger.State) bool {
	return s.Status == ledger.StatusStopped && s.Secondary != "MaxRuntimeExceeded"
}

// cannotStart says that no process of the image ran, or that what ran was a shell that found no program (END-4).
func cannotStart(s *ledger.State) bool {
	if s.Status != ledger.StatusFailed || !strings.HasPrefix(s.FailureReason, "AlgorithmError") {
		return false
	}
	if len(s.Containers) == 0 {
		return true
	}
	x := endedByItself(s)
	return x != nil && !ready(s) && x.Signal == 0 && (x.Code == 126 || x.Code == 127)
}

// leaves says that a container did not even try to serve: it ended well, or never heard that it should.
func leaves(s *ledger.State) bool {
	x := endedByItself(s)
	return x != nil && x.Signal == 0 && !x.OOM && (x.Code == 0 || warned(s, "INF-1") != "")
}

// ready says that the containers of a transform have answered /ping.
func ready(s *ledger.State) bool { return s.Transform != nil && s.Transform.PingAfter > 0 }

// endedByItself is the end of a container that ended before its job asked it to; nil: there is none. A training waits for
// its container, a transform stops those that are left when its work is done.
func endedByItself(s *ledger.State) *ledger.Exited {
	done := workDone(s)
	for _, c := range s.Containers {
		if c.Exited != nil && (s.Kind != job.KindTransform || done.IsZero() || c.Exited.At.Before(done)) {
			return c.Exited
		}
	}
	return nil
}

// workDone is when a transform had no more to send, and stopped its containers.
func workDone(s *ledger.State) time.Time {
	for _, st := range s.Steps {
		if st.Name == "transform" {
			return st.End
		}
	}
	return time.Time{}
}

func stepError(s *ledger.State, name string) string {
	for _, st := range s.Steps {
		if st.Name == name && st.Error != "" {
			return st.Error
		}
	}
	return ""
}

func warned(s *ledger.State, rule string) string {
	if s != nil {
		for _, w := range s.Warnings {
			if w.Rule == rule {
				return w.Text
			}
		}
	}
	return ""
}

// exitText says how a process ended.
func exitText(x *ledger.Exited) string {
	switch {
	case x.OOM:
		return "was killed for want of memory"
	case x.Signal != 0:
		return fmt.Sprintf("was ended by signal %d", x.Signal)
	}
	return fmt.Sprintf("ended with exit code %d", x.Code)
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
		return fail(strings.Join(broken, "; "), "change the document as the sentence says")
	}
	return pass("no member that the service refuses")
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

// judgeIsolation: marketplace jobs run without any network (CH-5, INF-44, VAL-34). The runtime dials out of each
// container's network before it starts anything there, and does not start it where that finds a way.
func judgeIsolation(e evidence) ledger.Verdict {
	for _, s := range []*ledger.State{e.training, e.transform} {
		if s != nil && strings.Contains(s.Detail, ruleIsolation) {
			return fail(s.Detail, cmp.Or(s.Hint, "report it with the output of `optml doctor`"))
		}
	}
	t := e.transformPlan()
	if x := e.trainingPlan(); x != nil && !x.Isolated || t != nil && !t.Isolated {
		return fail("a container ran with an open network; on the service it has none", "validate without --network open")
	}
	var n int64
	for _, s := range []*ledger.State{e.training, e.transform} {
		if s != nil {
			n += int64(len(s.Containers))
		}
	}
	if n == 0 {
		return open("no container ran")
	}
	return pass("%s ran without routes, name servers and credentials; each network was tried before its container started", human.Count(n, "container"))
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
				return fail(fmt.Sprintf("image %s has USER %s; on the service /opt/ml belongs to root", i.Ref, i.User), "remove USER from the image, or set it to root")
			}
		}
	}
	if !seen {
		return open("no image was resolved")
	}
	return pass("USER is root in every image")
}

// judgeTrainStarts: the image is run with "train" (START-2, START-3, END-4, VAL-35).
func judgeTrainStarts(e evidence) ledger.Verdict {
	return judgeStarts(e.training, e.noTraining(), "train", e.trainingFault() == ruleTrainStarts, "START-2, START-3", e.trainingWords)
}

// judgeServeStarts: the image is run with "serve" (INF-1, INF-5, VAL-36).
func judgeServeStarts(e evidence) ledger.Verdict {
	v := judgeStarts(e.transform, e.noTransform(), "serve", e.transformFault() == ruleServeStarts, "INF-1", e.transformWords)
	for _, rule := range []string{"INF-1", "INF-5"} {
		if w := warned(e.transform, rule); w != "" && v.Outcome == passed {
			v.Evidence += "; " + w
		}
	}
	return v
}

func judgeStarts(s *ledger.State, none, command string, broken bool, rules, words string) ledger.Verdict {
	switch {
	case s == nil:
		return open("%s", none)
	case broken:
		remedy := fmt.Sprintf("have an executable `%s` on the PATH of the image, or an ENTRYPOINT in exec form that takes %q as its argument (%s)", command, command, rules)
		x := endedByItself(s)
		switch {
		case x == nil:
			return fail(cmp.Or(s.FailureReason, s.Detail), cmp.Or(s.Hint, remedy))
		case warned(s, rules) != "":
			return fail(quoted(fmt.Sprintf("%s; the process %s before it answered /ping", warned(s, rules), exitText(x)), words),
				fmt.Sprintf("write ENTRYPOINT in exec form, with a program that looks at its argument: ENTRYPOINT [\"/path/to/program\"]; or have none, and an executable `%s` on the PATH (%s)", command, rules))
		case x.Code == 0:
			return fail(quoted("the process that was started ended before it answered /ping, with exit code 0: nothing serves any more", words),
				remedyFor(words, "keep the server in the foreground, without & and without daemon mode: the container lives as long as its first process. If that was not the server, have the ENTRYPOINT look at its argument \"serve\" (INF-1, INF-65)"))
		}
		return fail(quoted(fmt.Sprintf("%s: the container's shell %s, as a shell does that cannot run a command", cmp.Or(s.FailureReason, s.Detail), exitText(x)), words), remedy)
	case len(s.Containers) == 0:
		return open("no process was started: %s", cmp.Or(s.FailureReason, s.Status))
	}
	return pass("the image was run with the argument %q", command)
}

func judgeTraining(e evidence) ledger.Verdict {
	if e.training == nil {
		return open("%s", e.noTraining())
	}
	v := judgeEnd(e.training, "training", e.trainingFault(), ruleTraining)
	if v.Outcome != failed {
		return v
	}
	s, x := e.training, endedByItself(e.training)
	switch {
	case len(s.Containers) == 0: // data or image; the service's sentence does not tell which
		if s.Detail != "" {
			v.Evidence += " (" + s.Detail + ")"
		}
	case x != nil && x.Code != 0 && !x.OOM && s.Status == ledger.StatusFailed:
		v.Evidence = quoted(v.Evidence, e.trainingWords)
		v.Remedy = remedyFor(e.trainingWords, "see what it printed: optml logs "+s.Name)
	}
	return v
}

// judgeEnd passes when a job completed; else its own words are the evidence, unless another rule has them.
func judgeEnd(s *ledger.State, what, fault, id string) ledger.Verdict {
	switch {
	case fault == id:
		return fail(cmp.Or(s.FailureReason, cmp.Or(s.Detail, s.Status)), cmp.Or(s.Hint, "see the job: optml report "+s.Name))
	case fault != "":
		return open("the rule %q failed", fault)
	case s.Status != ledger.StatusCompleted:
		return open("the %s job was stopped", what)
	}
	return pass("%s job %s completed", what, s.Name)
}

// judgeTold: who fails says so with the exit code, and why in /opt/ml/output/failure (END-1, FAIL-1, FAIL-3, FAIL-4).
// Probes that make a training fail are looked at too.
func judgeTold(e evidence) ledger.Verdict {
	told := ""
	for _, s := range e.trainings() {
		if w := warned(s, "FAIL-4"); w != "" {
			return fail(w, "exit with another code than 0 after writing /opt/ml/output/failure, or do not write it (FAIL-4)")
		}
		x := endedByItself(s)
		if x == nil || x.Code == 0 || x.Signal != 0 || x.OOM || s.Status != ledger.StatusFailed || cannotStart(s) {
			continue
		}
		if silent := fmt.Sprintf("AlgorithmError: , exit code: %d", x.Code); s.FailureReason == silent {
			return fail(fmt.Sprintf("%s ended with exit code %d and wrote nothing to /opt/ml/output/failure: all that a buyer sees is %q", s.Name, x.Code, silent),
				"write what went wrong to /opt/ml/output/failure before exiting: it becomes the FailureReason (FAIL-1)")
		}
		told = cmp.Or(told, s.FailureReason)
	}
	if told == "" {
		return e.needs(job.ProbeHyperparameter, "no training failed")
	}
	return pass("%s", told)
}

// trainings are the trainings whose exit code is the image's own: the profile's, and those that are to fail.
func (e evidence) trainings() []*ledger.State {
	var all []*ledger.State
	if e.training != nil {
		all = append(all, e.training)
	}
	for _, p := range e.probes {
		if p.state != nil && (p.Kind == job.ProbeHyperparameter || p.Kind == job.ProbeChannel) {
			all = append(all, p.state)
		}
	}
	return all
}

// judgeMetrics: a definition that never matched gives buyers no metric (MET-2).
func judgeMetrics(e evidence) ledger.Verdict {
	t := e.trainingPlan()
	switch {
	case t == nil:
		return open("%s", e.noTraining())
	case len(t.Metrics) == 0:
		return open("the algorithm defines no metrics")
	case e.training == nil || e.training.Status != ledger.StatusCompleted:
		return open("the training job did not complete")
	}
	var unseen []string
	for _, d := range t.Metrics {
		if !slices.ContainsFunc(e.training.Metrics, func(m ledger.FinalMetric) bool { return m.Name == d.Name }) {
			unseen = append(unseen, fmt.Sprintf("%s (%s)", d.Name, d.Regex)+nearest(e.training, d.Name))
		}
	}
	if len(unseen) > 0 {
		return fail("never matched: "+strings.Join(unseen, ", "), "print the metric as its Regex expects, or change the Regex; the first group must be a number (MET-1, MET-2)")
	}
	return pass("%d of %d", len(t.Metrics), len(t.Metrics))
}

// nearest is what the training's warning says of the line that came nearest to a metric's expression.
func nearest(s *ledger.State, metric string) string {
	const from = "; the nearest line"
	for _, w := range s.Warnings {
		if text, ok := strings.CutPrefix(w.Text, fmt.Sprintf("metric %q: ", metric)); ok {
			if i := strings.LastIndex(text, from); i >= 0 {
				return text[i:]
			}
		}
	}
	return ""
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
	return e.trainingPlan() != nil && e.transformPlan() != nil && (!ok || u.Empty)
}

func judgeModel(e evidence) ledger.Verdict {
	if e.training == nil {
		return open("%s", e.noTraining())
	}
	if e.training.Status != ledger.StatusCompleted {
		return open("the training job did not complete")
	}
	if u, ok := e.model(); ok && !u.Empty {
		return pass("%s, %s", u.URI, human.Count(u.Files, "file"))
	}
	if e.plan.Validation.Transform == nil {
		return open("no model was made, and none is needed: there is no InferenceSpecification")
	}
	return fail(emptyModel, emptyModelRemedy)
}

// judgeLost: what a training writes elsewhere goes with the instance (OUT-1, OUT-2).
func judgeLost(e evidence) ledger.Verdict {
	switch {
	case e.training == nil:
		return open("%s", e.noTraining())
	case len(e.training.Containers) == 0:
		return open("no training ran")
	case warned(e.training, "OUT-1") != "":
		return fail(warned(e.training, "OUT-1"), "write models to /opt/ml/model, other results to /opt/ml/output/data, and what need not be kept to /tmp (OUT-1, OUT-2)")
	}
	return pass("beside /opt/ml/model and /opt/ml/output/data the training wrote scratch only")
}

// judgeLoads: the transform's container gets what model.tar.gz holds and nothing else (INF-20), and links that leave
// the archive are not in it (INF-31, ruling 19).
func judgeLoads(e evidence) ledger.Verdict {
	const links = "write files, or links that stay inside /opt/ml/model (INF-31)"
	if w := warned(e.training, "INF-31"); w != "" {
		return fail(w, links)
	}
	s := e.transform
	if s == nil {
		return open("%s", e.noTransform())
	}
	if err := stepError(s, "model"); err != "" {
		return fail(err, cmp.Or(s.Hint, "see INF-20 and INF-31"))
	}
	if e.transformFault() == ruleLoads {
		x := endedByItself(s)
		v := fail(quoted(fmt.Sprintf("the inference container %s before it answered /ping; it had nothing but the unpacked archive", exitText(x)), e.transformWords),
			remedyFor(e.transformWords, "a file that it misses must be in /opt/ml/model when the training ends, or in the image (INF-20); optml logs "+s.Name+" shows all that it printed"))
		if x.OOM {
			v.Remedy = cmp.Or(s.Hint, v.Remedy)
		}
		return v
	}
	if !ready(s) {
		return open("the model's container did not get that far")
	}
	return pass("the inference container had nothing but the unpacked archive, and answered")
}

// judgePing: ready is status 200 (INF-60, INF-61, INF-64). An endpoint has less time than a transform (INF-62).
func judgePing(e evidence) ledger.Verdict {
	s := e.transform
	const endpoint = 8 * time.Minute
	switch fault := e.transformFault(); {
	case s == nil:
		return open("%s", e.noTransform())
	case ready(s) && s.Transform.PingAfter > endpoint:
		return pass("%s after the start; an endpoint is given up after %s (INF-62)", human.Duration(s.Transform.PingAfter), endpoint)
	case ready(s):
		return pass("%s after the start", human.Duration(s.Transform.PingAfter))
	case fault == rulePing:
		return fail(cmp.Or(s.Detail, s.FailureReason), cmp.Or(s.Hint, "answer GET /ping on port 8080 with 200 within 2 s, once the model is loaded (INF-60, INF-61)"))
	}
	return open("the container was not asked: %s", cmp.Or(s.FailureReason, s.Status))
}

func judgeTransform(e evidence) ledger.Verdict {
	if e.transform == nil {
		return open("%s", e.noTransform())
	}
	v := judgeEnd(e.transform, "transform", e.transformFault(), ruleOutputs)
	if t := e.transform; v.Outcome == passed && t.Transform != nil {
		v.Evidence = human.Count(t.Transform.Objects, "object") + ", " + human.Count(t.Transform.Records, "record")
		if t.Transform.Objects > 0 && t.Transform.BytesOut <= t.Transform.Requests {
			v.Evidence += "; the answers were empty, and so is what buyers will see"
		}
	} else if v.Outcome == failed {
		v.Evidence = cmp.Or(t.Detail, v.Evidence)
		switch x := endedByItself(t); {
		case x != nil:
			v.Evidence = quoted(v.Evidence, e.transformWords)
			v.Remedy = remedyFor(e.transformWords, "an inference container has to live until it is stopped, whatever it is sent (INF-67): optml logs "+t.Name+" shows all that it printed")
		case t.Transform == nil && len(t.Containers) == 0 && t.Detail != "":
			v.Evidence = cmp.Or(t.FailureReason, t.Status) + " (" + t.Detail + ")"
		}
	}
	return v
}

// judgeSizes: the volume of a training (ruling 13), the model of a transform (INF-32), records and answers (BT-94, ruling
// 23), and the limits of a marketplace product (VAL-39).
func judgeSizes(e evidence) ledger.Verdict {
	if e.trainingFault() == ruleSizes {
		return fail(cmp.Or(e.training.Detail, e.training.FailureReason), cmp.Or(e.training.Hint, "write less"))
	}
	s := e.transform
	if w := warned(s, "INF-32"); w != "" {
		return fail(w, "make the model smaller: leave optimizer states and checkpoints out of /opt/ml/model")
	}
	if e.transformFault() == ruleSizes {
		return fail(cmp.Or(s.Detail, s.FailureReason), "send smaller records or answers, or raise MaxPayloadInMB, which is at most 100 (BT-91, VAL-39)")
	}
	var said []string
	if u, ok := e.model(); ok && !u.Empty {
		said = append(said, fmt.Sprintf("the model has %d bytes packed, and a transform's instance 30 GB for it (INF-32)", u.Bytes))
	}
	if s != nil && ready(s) {
		said = append(said, fmt.Sprintf("requests had at most %d MB (MaxPayloadInMB)", s.Transform.MaxPayloadMB))
		if s.Transform.MaxPayloadMB > 25 {
			said = append(said, "an endpoint of a marketplace product takes 25 MB (VAL-39)")
		}
	}
	if len(said) == 0 {
		return open("there was nothing to measure")
	}
	return pass("%s", strings.Join(said, "; "))
}

// judgeServeStop: a container that is stopped gets SIGTERM, and SIGKILL after the grace (INF-6, INF-7): the profile's when
// its work is done, and a probe's while it starts.
func judgeServeStop(e evidence) ledger.Verdict {
	if e.transform == nil {
		return open("%s", e.noTransform())
	}
	v := stopOf(e.transform, e.transformPlan().Grace.Std(), "when its work was done")
	if v.Outcome == failed {
		return v
	}
	for _, p := range e.of(job.ProbeServeStop) {
		if p.state == nil {
			continue
		}
		when := "while it started or worked"
		if p.state.Status == ledger.StatusCompleted { // it was done before the probe's time
			when = "when its work was done"
		}
		w := stopOf(p.state, p.Plan.Transform.Grace.Std(), when)
		switch {
		case w.Outcome == failed:
			return w
		case w.Outcome == passed && v.Outcome == passed && p.state.Status == ledger.StatusCompleted: // nothing new
		case w.Outcome == passed && v.Outcome == passed:
			v.Evidence += "; " + w.Evidence
		case w.Outcome == passed:
			v = w
		}
	}
	return v
}

func stopOf(s *ledger.State, grace time.Duration, when string) ledger.Verdict {
	sent := workDone(s)
	if sent.IsZero() || len(s.Containers) == 0 {
		return open("no inference container was stopped")
	}
	var last time.Duration
	code := 0
	for _, c := range s.Containers {
		switch x := c.Exited; {
		case x == nil:
			return open("how %s ended was not seen", c.Name)
		case x.At.Before(sent):
			return open("%s had ended before it was stopped", c.Name)
		case x.Signal == 9 && !x.OOM:
			return fail(fmt.Sprintf("stopped %s, %s still ran %s after SIGTERM, and was killed", when, c.Name, human.Duration(grace)),
				"handle SIGTERM in the main process, or start the server with exec in an ENTRYPOINT in exec form, so that the signal reaches it (INF-6, INF-7)")
		case x.At.Sub(sent) >= last:
			last, code = x.At.Sub(sent), x.Code
		}
	}
	return pass("stopped %s, it ended %s after SIGTERM with exit code %d", when, human.Duration(last), code)
}
