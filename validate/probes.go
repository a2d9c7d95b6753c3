package validate

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/optml/optml/harness"
	"github.com/optml/optml/job"
	"github.com/optml/optml/ledger"
)

// A probe is a job of the validation beside the profile's: one that is given what it should refuse, that is stopped, or
// that runs on another instance type (optml validate --probe). What comes of it is judged with the rest; a probe that
// cannot be carried out leaves its rule open.

// probed is a probe and what was recorded of its job.
type probed struct {
	job.Probe
	state    *ledger.State // nil: it did not run
	why      string        // it did not
	failures []failure     // objects that a transform failed on
}

// failure is what a line of a transform's list of failed objects says.
type failure struct {
	Object string `json:"object"`
	Status int    `json:"status"`
	Error  string `json:"error"`
}

// tooLong begins the reason of a stop that a probe's limit asks for.
const tooLong = "the probe's time is over"

// probe runs the plan's probes, one after the other. It ends early when the validation is stopped.
func (v *validation) probe(ctx context.Context, stops *fan, ev *evidence) error {
	for _, p := range v.plan.Validation.Probes {
		x := probed{Probe: p, why: ev.unfit(p)}
		if stops.asked() || ctx.Err() != nil {
			x.why = "the validation was stopped"
		}
		if x.why == "" {
			if err := v.try(ctx, stops, ev, &x); err != nil {
				return err
			}
		}
		ev.probes = append(ev.probes, x)
	}
	return nil
}

// unfit is why a probe would show nothing; "": it is worth its time.
func (e evidence) unfit(p job.Probe) string {
	if p.Plan.Kind == job.KindTraining {
		switch fault := e.trainingFault(); {
		case e.training == nil || len(e.training.Containers) == 0 || fault == ruleTrainStarts || fault == ruleIsolation:
			return "the profile's training did not start"
		case fault != "" && p.Kind != job.ProbeHyperparameter && p.Kind != job.ProbeChannel:
			return "the profile's training did not complete"
		}
		return ""
	}
	if e.transform == nil || !ready(e.transform) {
		return "the profile's inference container was not ready"
	}
	return ""
}

// try carries out one probe. What it reads and writes lies in its job's own scratch, and goes with it.
func (v *validation) try(ctx context.Context, stops *fan, ev *evidence, x *probed) error {
	p := begun(&x.Plan, time.Now().UTC())
	dir := filepath.Join(v.root, string(p.Kind), p.Name, filepath.Base(v.owner.WorkDir()), "probe")
	limit, payload := x.Limit.Std(), int64(0)
	if s := ev.transform; s != nil && s.Transform != nil {
		payload = int64(s.Transform.MaxPayloadMB) << 20
		if x.Kind == job.ProbeRequest {
			limit += 2 * s.Transform.PingAfter // the time that it takes to load its model is no answer
		}
	}
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	if t := p.Training; t != nil {
		t.OutputPath, t.ModelURI, t.OutputURI = out, filepath.Join(out, "model.tar.gz"), filepath.Join(out, "output.tar.gz")
		t.Channels = slices.Clone(t.Channels)
		for i := range t.Channels {
			if x.Kind == job.ProbeChannel && t.Channels[i].Name == x.About {
				t.Channels[i].Source.URI = in + "/"
			}
		}
		if x.Kind == job.ProbeStop {
			t.InterruptAfter = job.Duration(min(max((trained(ev.training)/2).Round(time.Millisecond), 10*time.Millisecond), limit))
			limit += t.Grace.Std()
		}
	}
	if t := p.Transform; t != nil {
		t.Output.Path = out
		if len(x.Files) > 0 {
			t.Input.Source.URI = in + "/"
		}
	}
	_, state, err := v.carry(ctx, stops, p, &aside{
		does:  x.Does,
		lay:   func() error { return errors.Join(os.MkdirAll(out, 0o755), lay(in, x.Files, payload)) },
		watch: func(ctx context.Context, j *ledger.Job) { stopAfter(ctx, j, limit, x.Kind == job.ProbeServeStop) },
	})
	x.state = state
	if err != nil {
		return fmt.Errorf("probe %s: %w", p.Name, err)
	}
	if p.Transform != nil {
		j, err := ledger.Find(v.root, string(p.Kind)+"/"+p.Name)
		if err != nil {
			return err
		}
		x.failures, err = failures(j.FailuresPath())
		return err
	}
	return nil
}

// trained is how long the process of a training ran.
func trained(s *ledger.State) time.Duration {
	for _, st := range s.Steps {
		if st.Name == "wait" {
			return st.Duration()
		}
	}
	return 0
}

// lay makes a probe's files. Those that are too large take up no room.
func lay(dir string, files []job.ProbeFile, payload int64) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, f := range files {
		if f.TooLarge && payload == 0 { // MaxPayloadInMB 0: nothing is
			continue
		}
		path := filepath.Join(dir, f.Name)
		err := os.WriteFile(path, f.Content, 0o644)
		if err == nil && f.TooLarge {
			err = os.Truncate(path, payload+1)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// stopAfter asks a job to stop so long after its first process has started.
func stopAfter(ctx context.Context, j *ledger.Job, limit time.Duration, wanted bool) {
	for e, err := range j.Follow(ctx) {
		if err != nil {
			return
		}
		if _, ok := e.Body.(ledger.Started); ok {
			break
		}
	}
	select {
	case <-ctx.Done():
		return
	case <-time.After(limit):
	}
	reason := fmt.Sprintf("%s: %s", tooLong, limit)
	if wanted {
		reason = "the probe stops it"
	}
	_ = j.RequestStop(ledger.Stop{Reason: reason}) // of one that has just ended: nothing to stop
}

// failures reads the list of failed objects; without a file there are none.
func failures(path string) ([]failure, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	const most = 1 << 20 // a probe has a handful of objects
	var all []failure
	for s := bufio.NewScanner(io.LimitReader(f, most)); s.Scan(); {
		var x failure
		if err := json.Unmarshal(s.Bytes(), &x); err == nil {
			all = append(all, x)
		}
	}
	return all, nil
}

// of are the probes of a kind.
func (e evidence) of(kind string) []probed {
	var all []probed
	for _, p := range e.probes {
		if p.Kind == kind {
			all = append(all, p)
		}
	}
	return all
}

// first is the probe of a kind of which there is one at most.
func (e evidence) first(kind string) (p probed, ok bool) {
	if all := e.of(kind); len(all) > 0 {
		return all[0], true
	}
	return p, false
}

// needs is the verdict of a rule that the profile's own jobs do not show. Without the probe's flag it names it.
func (e evidence) needs(kind, because string) ledger.Verdict {
	switch list := e.of(kind); {
	case e.trainingPlan() == nil && (kind == job.ProbeHyperparameter || kind == job.ProbeChannel || kind == job.ProbeStop):
		return open("%s", e.noTraining())
	case len(list) > 0 && list[0].why != "":
		return open("%s", list[0].why)
	case len(e.plan.Validation.Probes) > 0:
		return open("%s", because)
	}
	return open("%s; `optml validate --probe` tries it", because)
}

// judgeTrainStop: SIGTERM, and SIGKILL after the grace (STOP-1, STOP-4, STOP-9).
func judgeTrainStop(e evidence) ledger.Verdict {
	if p, ok := e.first(job.ProbeStop); ok {
		if p.state == nil {
			return open("%s", p.why)
		}
		i := p.state.Interruption
		if i == nil {
			return open("%s", cmp.Or(warned(p.state, "STOP-9"), p.state.FailureReason, "the training was not interrupted"))
		}
		all := []string{i.Says}
		for _, s := range i.Saved {
			all = append(all, fmt.Sprintf("%s: %s", s.What, s.Says))
		}
		said := strings.Join(all, ". ")
		switch {
		case i.Killed || slices.Contains([]string{"ignored", "discarded", "swallowed"}, i.Signal):
			return fail(said, cmp.Or(i.Remedy, "handle SIGTERM in the main process, and end before the grace is over (STOP-1)"))
		case i.Signal == "unseen":
			return open("%s", said)
		}
		return pass("%s", said)
	}
	return e.needs(job.ProbeStop, "no training was stopped")
}

// judgeHyperparameter: a value that cannot be meant ends the training (END-1). Whether it says why is another rule's.
func judgeHyperparameter(e evidence) ledger.Verdict {
	return e.refused(job.ProbeHyperparameter, "no training had a bad hyperparameter", "hyperparameter %s",
		"check hyperparameters before training; when one is wrong, say which in /opt/ml/output/failure and exit with another code than 0 (END-1, FAIL-1)")
}

// judgeChannels: a required channel without content ends the training. One without objects never reaches the image
// (END-2).
func judgeChannels(e evidence) ledger.Verdict {
	return e.refused(job.ProbeChannel, "no required channel was empty", "channel %s",
		"check that there is data before training; when there is none, say so in /opt/ml/output/failure and exit with another code than 0 (END-1, FAIL-1)")
}

// refused judges trainings that are to fail.
func (e evidence) refused(kind, because, what, remedy string) ledger.Verdict {
	list := e.of(kind)
	if len(list) == 0 {
		return e.needs(kind, because)
	}
	var said []string
	undecided := ""
	for _, p := range list {
		about := fmt.Sprintf(what, p.About)
		does, _, _ := strings.Cut(p.Does, "; ")
		took := ""
		switch s := p.state; {
		case s == nil:
			undecided = cmp.Or(undecided, p.why)
			continue
		case s.Status == ledger.StatusCompleted:
			took = "the training completed all the same"
		case s.Status == ledger.StatusStopped && strings.Contains(s.Detail, tooLong), s.Secondary == "MaxRuntimeExceeded":
			took = fmt.Sprintf("the training still ran after %s", p.Limit.Std())
		case s.Status == ledger.StatusStopped:
			undecided = cmp.Or(undecided, "the validation was stopped")
			continue
		}
		if took != "" {
			if !p.Must {
				undecided = cmp.Or(undecided, fmt.Sprintf("%s: %s, which may be right: the algorithm specifies no hyperparameter of a type that a value can miss", about, took))
				continue
			}
			return fail(fmt.Sprintf("%s: %s (it %s)", about, took, does), remedy)
		}
		x := endedByItself(p.state)
		switch {
		case x == nil:
			undecided = cmp.Or(undecided, p.state.FailureReason, p.state.Detail)
		case x.OOM || x.Signal != 0:
			return fail(fmt.Sprintf("%s: the training %s (it %s)", about, exitText(x), does), remedy)
		default:
			said = append(said, fmt.Sprintf("%s: %s", about, p.state.FailureReason))
		}
	}
	if undecided != "" {
		return open("%s", strings.Join(append(said, undecided), "; "))
	}
	return pass("%s", strings.Join(said, "; "))
}

// judgeRequest: a request that is none is the client's fault, 400 to 499, and the container lives on (ST-10, INF-70). One
// over MaxPayloadInMB never reaches it (BT-94).
func judgeRequest(e evidence) ledger.Verdict {
	const remedy = "check what /invocations gets, answer 400 with a sentence when it is not of the content type, and go on serving (ST-10)"
	if p, ok := e.first(job.ProbeRequest); ok {
		s := p.state
		switch {
		case s == nil:
			return open("%s", p.why)
		case stoppedByUser(s) && !strings.Contains(s.Detail, tooLong):
			return open("the validation was stopped")
		case !ready(s):
			return open("the container was not ready: %s", cmp.Or(s.FailureReason, s.Status))
		}
		if x := endedByItself(s); x != nil {
			return fail(fmt.Sprintf("the inference container %s at a malformed request", exitText(x)), remedy)
		}
		if stoppedByUser(s) {
			return fail(fmt.Sprintf("a malformed request had no answer after %s", p.Limit.Std()), remedy)
		}
		var said []string
		for _, f := range p.Files {
			at := slices.IndexFunc(p.failures, func(x failure) bool { return strings.HasSuffix(x.Object, f.Name) })
			switch {
			case f.TooLarge && at >= 0:
				said = append(said, "a request over MaxPayloadInMB was refused before it was sent")
			case f.TooLarge:
			case at < 0 && p.Must:
				return fail(fmt.Sprintf("the container answered a request well that is not of content type %s", cmp.Or(p.About, "(none)")), remedy)
			case at < 0:
				said = append(said, "a request of arbitrary bytes was answered well")
			case p.failures[at].Status >= 400 && p.failures[at].Status < 500:
				said = append(said, fmt.Sprintf("answered with %d", p.failures[at].Status))
			case p.failures[at].Status > 0:
				return fail(fmt.Sprintf("the container answered a malformed request with %d, as if the fault were its own; the service then sends it again, and fails the job as AlgorithmError", p.failures[at].Status), remedy)
			default:
				all := []string{"a malformed request had no answer: " + p.failures[at].Error}
				for _, c := range s.Containers { // it may end a moment after its connection
					if x := c.Exited; x != nil && (x.Code != 0 || x.OOM) {
						all = append(all, "the container "+exitText(x))
					}
				}
				return fail(strings.Join(all, "; "), remedy)
			}
		}
		if slices.Contains(said, "a request of arbitrary bytes was answered well") {
			return open("%s, which may be right: content type %q says nothing of a body", said[0], p.About)
		}
		return pass("%s; the container lived on", strings.Join(slices.Compact(said), "; "))
	}
	if e.transformPlan() == nil {
		return open("%s", e.noTransform())
	}
	return e.needs(job.ProbeRequest, "no malformed request was sent")
}

// judgeTypes: each class of instance types that the algorithm supports (VAL-13), on the smallest that this host can stand
// in for: what is too little there is too little for buyers.
func judgeTypes(e evidence) ledger.Verdict {
	var shown, not []string
	untried, incomplete := false, false
	for _, s := range e.plan.Validation.Types {
		of := fmt.Sprintf("%s (%s)", s.Job, s.Class)
		state := e.training
		if s.Job == job.KindTransform {
			state = e.transform
		}
		if s.Ran != "" && state != nil && state.Status == ledger.StatusCompleted {
			shown = append(shown, of+" as "+s.Ran)
		} else if s.Ran != "" {
			incomplete = true
			not = append(not, of+": the profile's job did not complete")
		}
		if s.Probe == "" {
			if s.Lacks != "" {
				not = append(not, of+": "+s.Lacks)
			}
			continue
		}
		at := slices.IndexFunc(e.probes, func(p probed) bool {
			return p.Kind == job.ProbeInstance && p.About == s.Probe && p.Plan.Kind == s.Job
		})
		switch {
		case at < 0:
			untried = true
			not = append(not, fmt.Sprintf("%s as %s", of, s.Probe))
		case e.probes[at].state == nil:
			incomplete = true
			not = append(not, fmt.Sprintf("%s as %s: %s", of, s.Probe, e.probes[at].why))
		default:
			switch x := e.probes[at].state; {
			case x.Status == ledger.StatusCompleted:
				shown = append(shown, of+" as "+s.Probe)
			case stoppedByUser(x) && !strings.Contains(x.Detail, tooLong):
				incomplete = true
				not = append(not, fmt.Sprintf("%s as %s: the validation was stopped", of, s.Probe))
			default:
				return fail(fmt.Sprintf("%s as %s: %s", of, s.Probe, cmp.Or(x.FailureReason, x.Detail)),
					fmt.Sprintf("need less of the instance, or take %s from the types that the algorithm supports", s.Probe))
			}
		}
	}
	switch {
	case len(e.plan.Validation.Types) == 0:
		return open("no instance types are named as supported")
	case untried:
		return open("shown: %s; not shown: %s; `optml validate --probe` tries what this host can stand in for", cmp.Or(strings.Join(shown, ", "), "nothing"), strings.Join(not, "; "))
	case incomplete && len(shown) > 0:
		return open("shown: %s; not shown: %s", strings.Join(shown, ", "), strings.Join(not, "; "))
	case len(shown) == 0:
		return open("%s", strings.Join(not, "; "))
	case len(not) > 0:
		return pass("%s; this host does not show %s", strings.Join(shown, ", "), strings.Join(not, "; "))
	}
	return pass("%s", strings.Join(shown, ", "))
}

// asked says whether a stop was asked for.
func (f *fan) asked() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.past) > 0
}

// stoppedProbing is the validation's end when it was stopped during its probes.
func stoppedProbing() ledger.Transition {
	return ledger.Transition{Status: ledger.StatusFailed, FailureReason: "ClientError: the validation was stopped during its probes",
		Message: "Validation failed: it was stopped", ExitCode: new(harness.ExitStopped)}
}
