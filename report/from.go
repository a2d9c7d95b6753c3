package report

import (
	"slices"
	"time"

	"github.com/optml/optml/job"
	"github.com/optml/optml/ledger"
)

// source is what a report is made from; Make fills it from a job's directory.
type source struct {
	state ledger.State
	live  ledger.Snapshot // of a job that is under way
	owned bool
	dir   string
	now   time.Time
	logs  func() []Log // asked for only when the job has failed
	jobs  []*Report
}

func from(src source) *Report {
	s := &src.state
	r := &Report{
		Format: Format, Kind: s.Kind, Name: s.Name, ARN: s.ARN, Status: s.Status, SecondaryStatus: s.Secondary,
		ExitCode: s.ExitCode, Verdict: verdict(s, src.owned), Created: s.CreationTime, Started: s.StartTime, Ended: s.EndTime,
		Directory: src.dir, Jobs: src.jobs,
	}
	end := src.now
	switch {
	case s.Final:
		end = s.FinalTime
	case r.Verdict == Abandoned:
		end = s.ModifiedTime
	}
	r.Seconds = seconds(end.Sub(s.CreationTime))
	if r.Verdict == Failed || r.Verdict == Abandoned || s.FailureReason != "" || s.Detail != "" {
		r.Failure = &Failure{Reason: s.FailureReason, Detail: s.Detail, Hint: s.Hint}
		if r.Verdict == Failed || r.Verdict == Abandoned {
			r.Failure.Logs = src.logs()
		}
		if r.Verdict == Abandoned && r.Failure.Detail == "" {
			r.Failure.Detail = "the process that ran the job died before the job's end"
			r.Failure.Hint = "`optml prune` saves what the job left, marks it Failed and cleans up"
		}
	}
	for _, v := range s.Verdicts {
		r.Rules = append(r.Rules, Rule(v))
	}
	for _, x := range s.Steps {
		st := Step{Host: x.Host, Name: x.Name, Began: x.Begin, Seconds: seconds(x.Duration()), Bytes: x.Bytes, Error: x.Error}
		if x.End.IsZero() {
			st.Open, st.Seconds = true, seconds(end.Sub(x.Begin))
		}
		r.Steps = append(r.Steps, st)
	}
	for _, x := range s.Images {
		r.Images = append(r.Images, Image{x.Container, x.Ref, x.Digest, x.Platform, x.User})
	}
	for _, x := range s.GPUs {
		for _, g := range x.GPUs {
			r.GPUs = append(r.GPUs, GPU{x.Host, g.Index, g.UUID, g.Name})
		}
	}
	for _, x := range s.Containers {
		c := Container{Name: x.Name}
		if e := x.Exited; e != nil {
			c.ExitCode, c.Signal, c.OOM = new(e.Code), e.Signal, e.OOM
			if !x.Started.IsZero() {
				c.Seconds = seconds(e.At.Sub(x.Started))
			}
		}
		r.Containers = append(r.Containers, c)
	}
	channels := s.Channels
	if len(channels) == 0 { // the totals come with the end
		for _, x := range src.live.Channels {
			channels = append(channels, ledger.ChannelOfHost{Host: x.Host, ChannelTotals: x.ChannelTotals})
		}
	}
	for _, x := range channels {
		r.Channels = append(r.Channels, Channel{x.Host, x.Channel, x.Mode, x.Bytes, x.Objects, x.Epochs,
			seconds(x.Duration), seconds(x.ReaderWaited), seconds(x.WeWaited), x.Note})
	}
	if x := s.Transform; x != nil {
		r.Transform = &Transform{
			Objects: x.Objects, Failed: x.Failed, Records: x.Records, Requests: x.Requests, Retries: x.Retries,
			BytesIn: x.BytesIn, BytesOut: x.BytesOut, Seconds: seconds(x.Duration), PingSeconds: seconds(x.PingAfter),
			MaxConcurrent: x.MaxConcurrent, MaxPayloadInMB: x.MaxPayloadMB, BatchStrategy: x.BatchStrategy,
		}
		if d := x.Duration.Seconds(); d > 0 {
			r.Transform.RecordsPerSec = float64(x.Records) / d
			r.Transform.RequestsPerSec = float64(x.Requests) / d
		}
		for _, in := range x.Instances {
			r.Transform.Instances = append(r.Transform.Instances, Instance{in.Host, in.Objects, seconds(in.PingAfter)})
		}
	}
	if x := s.Interruption; x != nil {
		i := &Interruption{x.At, seconds(x.Grace), x.Killed, seconds(x.Ended), x.Code, x.Printed, x.Signal, x.Says, x.Remedy, []Saved{}, []Process{}}
		for _, v := range x.Saved {
			i.Saved = append(i.Saved, Saved{v.What, v.State, v.Files, v.Bytes, v.Written, seconds(v.Idle), v.Writing, v.Says})
		}
		for _, p := range x.Processes {
			i.Processes = append(i.Processes, Process(p))
		}
		r.Interruption = i
	}
	for _, x := range s.Metrics {
		r.Metrics = append(r.Metrics, Metric{x.Name, x.Value, x.At, x.Count})
	}
	for _, x := range s.Usage {
		for _, m := range x.Metrics {
			r.Usage = append(r.Usage, Usage{x.Host, m.Name, m.Mean, m.Max})
		}
	}
	for _, x := range s.Uploads {
		r.Outputs = append(r.Outputs, Output{x.Artifact, x.URI, x.Bytes, x.Files, seconds(x.Duration), x.SHA256, x.Kept, x.Empty})
	}
	for _, x := range s.Warnings {
		r.Warnings = append(r.Warnings, Warning{x.Rule, x.Text})
	}
	for _, x := range s.Adopted {
		r.Takeovers = append(r.Takeovers, Takeover{x.At, x.Reason})
	}
	for _, x := range s.Transitions {
		r.Transitions = append(r.Transitions, Status{x.Status, x.StartTime, x.EndTime, x.StatusMessage})
	}
	return r
}

// status is what the service would say of a validation (VAL-20, VAL-21).
func (r *Report) status(p *job.Plan, s *ledger.State, d *ledger.StatusDetails) {
	if d == nil {
		return
	}
	items := func(list []ledger.StatusItem) []StatusItem {
		out := make([]StatusItem, 0, len(list))
		for _, i := range list {
			out = append(out, StatusItem(i))
		}
		return out
	}
	status, details := &r.AlgorithmStatus, &r.AlgorithmStatusDetails
	if p.Operation == job.CreateModelPackage {
		status, details = &r.ModelPackageStatus, &r.ModelPackageStatusDetails
	}
	*status = ledger.ValidationStatus(s.Status)
	*details = &StatusDetails{items(d.ValidationStatuses), items(d.ImageScanStatuses)}
	if s.Status == ledger.StatusCompleted && p.Validation.Skipped != "" {
		r.Verdict = Unvalidated
	}
}

// statusRows are the status details as rows: what, status, why.
func (r *Report) statusRows() [][3]string {
	name, status, d := "AlgorithmStatus", r.AlgorithmStatus, r.AlgorithmStatusDetails
	if r.ModelPackageStatusDetails != nil {
		name, status, d = "ModelPackageStatus", r.ModelPackageStatus, r.ModelPackageStatusDetails
	}
	if d == nil {
		return nil
	}
	rows := [][3]string{{name, status}}
	for _, i := range append(slices.Clone(d.ValidationStatuses), d.ImageScanStatuses...) {
		rows = append(rows, [3]string{i.Name, i.Status, i.FailureReason})
	}
	return rows
}

func verdict(s *ledger.State, owned bool) string {
	switch {
	case s.Status == ledger.StatusCompleted:
		return Passed
	case s.Status == ledger.StatusFailed:
		return Failed
	case s.Status == ledger.StatusStopped:
		return Stopped
	case owned:
		return Running
	}
	return Abandoned
}

// seconds, to the microsecond.
func seconds(d time.Duration) float64 {
	return max(0, d).Round(time.Microsecond).Seconds()
}
