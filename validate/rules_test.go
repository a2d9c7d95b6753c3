package validate

import (
	"strings"
	"testing"
	"time"

	"github.com/optml/optml/job"
	"github.com/optml/optml/ledger"
)

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// served is the record of a transform whose containers ended so long after its work.
func served(exits ...ledger.Exited) *ledger.State {
	s := &ledger.State{Kind: job.KindTransform, Name: "tr", Status: ledger.StatusCompleted,
		Steps:     []ledger.Step{{Name: "transform", Begin: noon.Add(-time.Second), End: noon}},
		Transform: &ledger.TransformTotals{Objects: 1, Records: 2, PingAfter: time.Second, MaxPayloadMB: 6}}
	for i := range exits {
		s.Containers = append(s.Containers, ledger.Container{Name: exits[i].Container, Exited: &exits[i]})
	}
	return s
}

// unserved is the record of a transform whose container ended before it answered /ping.
func unserved(code int, warnings ...ledger.Warning) *ledger.State {
	s := served(ledger.Exited{Container: "algo-1", Code: code, At: noon.Add(-time.Second)})
	s.Status, s.FailureReason, s.Transform, s.Warnings = ledger.StatusFailed, "AlgorithmError: Model container failed to respond to ping.", nil, warnings
	return s
}

func after(name string, d time.Duration, code, signal int) ledger.Exited {
	return ledger.Exited{Container: name, Code: code, Signal: signal, At: noon.Add(d)}
}

// What was recorded of jobs, the rule that is asked, and its verdict, where no image of the end-to-end tests gives it.
func TestJudges(t *testing.T) {
	plan := algorithm()
	trained := func(change func(*ledger.State)) *ledger.State {
		s := &ledger.State{Kind: job.KindTraining, Name: "t", Status: ledger.StatusCompleted,
			Containers: []ledger.Container{{Name: "algo-1", Exited: &ledger.Exited{Container: "algo-1"}}}}
		if change != nil {
			change(s)
		}
		return s
	}
	ended := func(code, signal int, reason string) *ledger.State {
		return trained(func(s *ledger.State) {
			s.Status, s.FailureReason = ledger.StatusFailed, reason
			s.Containers[0].Exited.Code, s.Containers[0].Exited.Signal = code, signal
		})
	}
	probe := func(kind string, must bool, s *ledger.State, failures ...failure) []probed {
		x := job.Probe{Kind: kind, About: "x", Must: must, Limit: job.Duration(time.Minute), Plan: job.Plan{Kind: job.KindTraining},
			Files: []job.ProbeFile{{Name: "1-malformed"}}}
		return []probed{{Probe: x, state: s, failures: failures}}
	}
	for _, c := range []struct {
		name, rule string
		e          evidence
		outcome    string
		says       string
	}{
		{"STOP-2 a stop is nobody's fault", "training completes", evidence{training: trained(func(s *ledger.State) { s.Status = ledger.StatusStopped })}, notChecked, "stopped"},
		{"STOP-6 a limit is the image's", "training completes", evidence{training: trained(func(s *ledger.State) {
			s.Status, s.Secondary, s.Detail = ledger.StatusStopped, "MaxRuntimeExceeded", "MaxRuntimeInSeconds (1s) exceeded"
		})}, failed, "MaxRuntimeInSeconds"},
		{"a shell that finds nothing", "train starts", evidence{training: ended(127, 0, "AlgorithmError: , exit code: 127")}, failed, "as a shell does"},
		{"is no failure of the training too", "training completes", evidence{training: ended(127, 0, "AlgorithmError: , exit code: 127")}, notChecked, "train starts"},
		{"nor one that should have been told", "a failure is told", evidence{training: ended(127, 0, "AlgorithmError: , exit code: 127")}, notChecked, "--probe"},
		{"FAIL-1 a crash tells nothing by itself", "a failure is told", evidence{training: ended(139, 11, "AlgorithmError: , exit code: 139")}, notChecked, "--probe"},
		{"ruling 13 a full volume", "sizes are within the limits", evidence{training: trained(func(s *ledger.State) {
			s.Status, s.FailureReason, s.Hint = ledger.StatusFailed, "ClientError: Artifact upload failed:Insufficient disk space", "raise ResourceConfig.VolumeSizeInGB, or write less"
		})}, failed, "Insufficient disk space"},
		{"INF-32 a large model", "sizes are within the limits", evidence{training: trained(nil), transform: func() *ledger.State {
			s := served()
			s.Warnings = []ledger.Warning{{Rule: "INF-32", Text: "the model has 40000000000 bytes unpacked"}}
			return s
		}()}, failed, "40000000000"},
		{"a hole in the network", "network isolation", evidence{training: trained(func(s *ledger.State) {
			s.Status, s.Detail, s.Containers = ledger.StatusFailed, "network isolation: the container has a route to 198.51.100.2:80", nil
		})}, failed, "has a route"},
		{"is no fault of the training", "training completes", evidence{training: trained(func(s *ledger.State) {
			s.Status, s.Detail, s.Containers = ledger.StatusFailed, "network isolation: the container has a route to 198.51.100.2:80", nil
		})}, notChecked, "network isolation"},
		{"INF-62 too slow for an endpoint", "/ping answers 200", evidence{transform: func() *ledger.State {
			s := served()
			s.Transform.PingAfter = 9 * time.Minute
			return s
		}()}, passed, "an endpoint is given up after 8m0s"},
		{"INF-7 the slowest container", "serve ends on SIGTERM", evidence{transform: served(after("a", time.Second, 0, 0), after("b", 3*time.Second, 143, 15))}, passed, "3s after SIGTERM with exit code 143"},
		{"INF-7 killed", "serve ends on SIGTERM", evidence{transform: served(after("a", time.Second, 0, 0), after("b", 30*time.Second, 137, 9))}, failed, "b still ran"},
		{"INF-67 it had ended", "serve ends on SIGTERM", evidence{transform: served(after("a", -time.Second, 1, 0))}, notChecked, "had ended before"},
		{"INF-5 tini", "serve starts", evidence{transform: func() *ledger.State {
			s := served(after("a", time.Second, 0, 0))
			s.Warnings = []ledger.Warning{{Rule: "INF-5", Text: "tini is the entrypoint"}}
			return s
		}()}, passed, "tini"},
		{"a server in the background", "serve starts", evidence{transform: unserved(0), transformWords: "started"}, failed, "with exit code 0: nothing serves any more; its log ends with: started"},
		{"is no fault of the model", "the model loads from model.tar.gz alone", evidence{transform: unserved(0)}, notChecked, "did not get that far"},
		{"START-3 a shell keeps the argument", "serve starts", evidence{transform: unserved(1, ledger.Warning{Rule: "INF-1", Text: "the ENTRYPOINT is in shell form"})}, failed, "shell form; the process ended with exit code 1"},
		{"a shell that serves all the same", "serve starts", evidence{transform: func() *ledger.State {
			s := served(after("a", time.Second, 0, 0))
			s.Warnings = []ledger.Warning{{Rule: "INF-1", Text: "the ENTRYPOINT is in shell form"}}
			return s
		}()}, passed, "shell form"},
		{"INF-20 what it printed", "the model loads from model.tar.gz alone", evidence{transform: unserved(1), transformWords: "KeyError: 'w'"}, failed, "its log ends with: KeyError: 'w'"},
		{"INF-20 or did not", "the model loads from model.tar.gz alone", evidence{transform: unserved(1)}, failed, "it printed nothing"},
		{"FAIL-3 what a training printed", "training completes", evidence{training: ended(1, 0, "AlgorithmError: , exit code: 1"), trainingWords: "ValueError: x"}, failed, "its log ends with: ValueError: x"},
		{"an image that cannot be had", "training completes", evidence{training: &ledger.State{Kind: job.KindTraining, Status: ledger.StatusFailed,
			FailureReason: "ClientError: Cannot pull algorithm container.", Detail: "image x: its registry cannot be reached"}}, failed, "(image x: its registry cannot be reached)"},
		{"answers without a body", "every input object gets an output", evidence{transform: served(after("a", time.Second, 0, 0))}, passed, "the answers were empty"},
		{"a text may be anything", "a bad hyperparameter is refused", evidence{probes: probe(job.ProbeHyperparameter, false, trained(nil))}, notChecked, "may be right"},
		{"a crash is no refusal", "a bad hyperparameter is refused", evidence{probes: probe(job.ProbeHyperparameter, true, ended(139, 11, "AlgorithmError: , exit code: 139"))}, failed, "signal 11"},
		{"data that did not come", "an empty channel is refused", evidence{probes: probe(job.ProbeChannel, true, &ledger.State{Status: ledger.StatusFailed, FailureReason: "ClientError: Data download failed"})}, notChecked, "download"},
		{"STOP-9 too late", "train ends on SIGTERM", evidence{probes: probe(job.ProbeStop, true, trained(func(s *ledger.State) {
			s.Warnings = []ledger.Warning{{Rule: "STOP-9", Text: "nothing was interrupted: the process had ended"}}
		}))}, notChecked, "nothing was interrupted"},
		{"STOP-9 unseen", "train ends on SIGTERM", evidence{probes: probe(job.ProbeStop, true, trained(func(s *ledger.State) {
			s.Interruption = &ledger.Interruption{Signal: "unseen", Says: "could not be seen"}
		}))}, notChecked, "could not be seen"},
		{"any bytes will do", "a malformed request is refused", evidence{probes: probe(job.ProbeRequest, false, served())}, notChecked, "may be right"},
		{"no answer", "a malformed request is refused", evidence{probes: probe(job.ProbeRequest, true, served(), failure{Object: "/1-malformed", Error: "connection reset"})}, failed, "connection reset"},
		{"ST-10", "a malformed request is refused", evidence{probes: probe(job.ProbeRequest, true, served(), failure{Object: "/1-malformed", Status: 422})}, passed, "422"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.e.plan = plan
			for _, r := range rules {
				if r.id != c.rule {
					continue
				}
				v := r.judge(c.e)
				if v.Outcome != c.outcome || !strings.Contains(v.Evidence, c.says) || v.Outcome == failed && v.Remedy == "" {
					t.Errorf("%+v, want %s with %q", v, c.outcome, c.says)
				}
				return
			}
			t.Errorf("no rule %q", c.rule)
		})
	}
}

// VAL-13: what the supported types' verdict says of what was not run.
func TestJudgeTypes(t *testing.T) {
	done := &ledger.State{Status: ledger.StatusCompleted}
	small := job.SupportedTypes{Job: job.KindTraining, Class: "cpu", Ran: "ml.m5.large", Probe: "ml.t3.medium"}
	gpu := job.SupportedTypes{Job: job.KindTraining, Class: "gpu", Lacks: "ml.p3.2xlarge has 1 GPU(s), this host 0"}
	probe := func(s *ledger.State, why string) []probed {
		return []probed{{Probe: job.Probe{Kind: job.ProbeInstance, About: "ml.t3.medium", Plan: job.Plan{Kind: job.KindTraining}}, state: s, why: why}}
	}
	for _, c := range []struct {
		name    string
		types   []job.SupportedTypes
		e       evidence
		outcome string
		says    string
	}{
		{"none named", nil, evidence{}, notChecked, "no instance types are named"},
		{"a probe is needed", []job.SupportedTypes{small}, evidence{training: done}, notChecked, "optml validate --probe"},
		{"it ran", []job.SupportedTypes{small, gpu}, evidence{training: done, probes: probe(done, "")}, passed, "this host does not show training (gpu): ml.p3.2xlarge"},
		{"it did not work", []job.SupportedTypes{small}, evidence{training: done, probes: probe(&ledger.State{Status: ledger.StatusFailed, FailureReason: "ClientError: Please use an instance type with more memory"}, "")}, failed, "more memory"},
		{"it did not run", []job.SupportedTypes{small}, evidence{training: done, probes: probe(nil, "the validation was stopped")}, notChecked, "stopped"},
		{"nothing can be shown", []job.SupportedTypes{gpu}, evidence{training: done}, notChecked, "1 GPU(s)"},
		{"the profile failed", []job.SupportedTypes{{Job: job.KindTraining, Class: "cpu", Ran: "ml.m5.large"}}, evidence{training: &ledger.State{Status: ledger.StatusFailed}}, notChecked, "did not complete"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.e.plan = algorithm()
			c.e.plan.Validation.Types = c.types
			if v := judgeTypes(c.e); v.Outcome != c.outcome || !strings.Contains(v.Evidence, c.says) {
				t.Errorf("%+v, want %s with %q", v, c.outcome, c.says)
			}
		})
	}
}
