package ledger

import (
	"iter"
	"slices"
	"time"

	"github.com/optml/optml/job"
)

// Fold is the state after events. It is total: it takes any events in any order, and it looks at nothing else.
func Fold(p *job.Plan, events iter.Seq[Event]) State {
	s := newState(p)
	for e := range events {
		s.apply(e)
	}
	return *s
}

// newState is the state of a job to which nothing has happened.
func newState(p *job.Plan) *State {
	s := &State{Kind: p.Kind, Name: p.Name, ARN: p.ARN, CreationTime: planCreated(p), Status: StatusInProgress}
	if p.Kind == job.KindValidation {
		s.Status = StatusPending // VAL-20
	}
	return s
}

func planCreated(p *job.Plan) time.Time {
	switch {
	case p.Training != nil:
		return p.Training.CreationTime
	case p.Transform != nil:
		return p.Transform.CreationTime
	case p.Validation != nil && p.Validation.Training != nil:
		return planCreated(p.Validation.Training)
	case p.Validation != nil && p.Validation.Transform != nil:
		return planCreated(p.Validation.Transform)
	case p.Bench != nil:
		return p.Bench.CreationTime
	}
	return time.Time{}
}

func (s *State) apply(e Event) {
	s.Seq = e.Seq
	s.ModifiedTime = e.Time
	if s.CreationTime.IsZero() {
		s.CreationTime = e.Time
	}
	switch b := e.Body.(type) {
	case Transition:
		s.transition(e.Time, b)
	case StepBegan:
		s.Steps = append(s.Steps, Step{Host: e.Host, Name: e.Step, Begin: e.Time})
	case StepEnded:
		s.endStep(e, b)
	case Intent:
		put(&s.Open, OpenIntent{e.Host, e.Step, b}, func(o OpenIntent) bool { return o.Kind == b.Kind && o.ID == b.ID })
	case Released:
		if s.Open = slices.DeleteFunc(s.Open, func(o OpenIntent) bool { return o.Kind == b.Kind && o.ID == b.ID }); len(s.Open) == 0 {
			s.Open = nil // as it is read back
		}
	case Started:
		s.begin(e.Time)
		s.Containers = append(s.Containers, Container{
			Host: e.Host, Name: b.Container, ID: b.ID, PID: b.PID, BootID: b.BootID, Started: e.Time,
		})
	case Exited:
		s.exit(e, b)
	case ImageResolved:
		put(&s.Images, b, func(i ImageResolved) bool { return i.Container == b.Container })
	case GPUsTaken:
		put(&s.GPUs, GPUsOfHost{e.Host, b.GPUs}, func(g GPUsOfHost) bool { return g.Host == e.Host })
	case ChannelTotals:
		put(&s.Channels, ChannelOfHost{e.Host, b}, func(c ChannelOfHost) bool { return c.Host == e.Host && c.Channel == b.Channel })
	case UploadTotals:
		put(&s.Uploads, b, func(u UploadTotals) bool { return u.Artifact == b.Artifact && u.URI == b.URI })
	case Interruption:
		s.Interruption = &b
	case TransformTotals:
		s.Transform = &b
	case FinalMetric:
		put(&s.Metrics, b, func(m FinalMetric) bool { return m.Name == b.Name })
	case InstanceUsage:
		put(&s.Usage, UsageOfHost{e.Host, b}, func(u UsageOfHost) bool { return u.Host == e.Host })
	case Warning:
		put(&s.Warnings, b, func(w Warning) bool { return w == b })
	case Child:
		put(&s.Children, b, func(c Child) bool { return c == b })
	case Verdict:
		put(&s.Verdicts, b, func(v Verdict) bool { return v.Rule == b.Rule })
	case Adopted:
		s.Adopted = append(s.Adopted, Adoption{e.Time, b})
	case Restarted:
		s.restart(e.Time, b)
	}
}

// put replaces the element that is the same thing, or appends.
func put[T any](list *[]T, v T, same func(T) bool) {
	if i := slices.IndexFunc(*list, same); i >= 0 {
		(*list)[i] = v
		return
	}
	*list = append(*list, v)
}

// transition follows LIFE-1: another SecondaryStatus closes the last span and opens one; the same one updates its
// message. A transition without a SecondaryStatus (a transform, a validation) opens spans by its Status.
func (s *State) transition(at time.Time, t Transition) {
	if s.Final {
		return // nothing follows the end; a second one would be a fault of the owner
	}
	if t.Status != "" {
		s.Status = t.Status
	}
	if t.Secondary != "" {
		s.Secondary = t.Secondary
	}
	s.Message = t.Message
	name := t.Secondary
	if name == "" {
		name = s.Status
	}
	if n := len(s.Transitions); n > 0 && s.Transitions[n-1].Status == name {
		if t.Message != "" {
			s.Transitions[n-1].StatusMessage = t.Message
		}
	} else {
		if n > 0 {
			s.Transitions[n-1].EndTime = at
		}
		s.Transitions = append(s.Transitions, StatusSpan{Status: name, StartTime: at, StatusMessage: t.Message})
	}
	if onInstance(t.Secondary) {
		s.begin(at)
	}
	if t.FailureReason != "" {
		s.FailureReason = t.FailureReason
	}
	if t.Detail != "" {
		s.Detail = t.Detail
	}
	if t.Hint != "" {
		s.Hint = t.Hint
	}
	if t.ExitCode != nil {
		s.ExitCode = new(*t.ExitCode)
	}
	if IsFinal(s.Status) {
		s.end(at)
	}
}

// IsFinal says of a job's status that no other follows.
func IsFinal(status string) bool {
	return status == StatusCompleted || status == StatusFailed || status == StatusStopped
}

// onInstance says that with this SecondaryStatus the job has begun on its instance (LIFE-5).
func onInstance(secondary string) bool {
	return secondary == "Downloading" || secondary == "DownloadingTrainingImage" || secondary == "Training" || secondary == "Uploading"
}

func (s *State) begin(at time.Time) {
	if s.StartTime.IsZero() {
		s.StartTime = at
	}
}

// end closes the last span and sets the times. A failed job's EndTime is when the failure was noticed, not when what
// there was had been uploaded (LIFE-5, ST-2).
func (s *State) end(at time.Time) {
	s.Final, s.FinalTime = true, at
	if n := len(s.Transitions); n > 0 {
		s.Transitions[n-1].EndTime = at
	}
	if s.StartTime.IsZero() {
		return
	}
	s.EndTime = at
	if s.Status != StatusFailed {
		return
	}
	if t := s.noticed(); !t.IsZero() && t.After(s.StartTime) && t.Before(at) {
		s.EndTime = t
	}
}

// noticed is the first sign of failure: a container's end with another code than 0, else a step's error.
func (s *State) noticed() time.Time {
	var exit, step time.Time
	for _, c := range s.Containers {
		if x := c.Exited; x != nil && x.Code != 0 && (exit.IsZero() || x.At.Before(exit)) {
			exit = x.At
		}
	}
	for _, st := range s.Steps {
		if st.Error != "" && (step.IsZero() || st.End.Before(step)) {
			step = st.End
		}
	}
	if exit.IsZero() || !step.IsZero() && step.Before(exit) {
		return step
	}
	return exit
}

// endStep ends the last step of that name and host that has not ended. The end of one that never began is kept as a
// step without a length.
func (s *State) endStep(e Event, b StepEnded) {
	for i := len(s.Steps) - 1; i >= 0; i-- {
		st := &s.Steps[i]
		if st.Name == e.Step && st.Host == e.Host && st.End.IsZero() {
			st.End, st.Bytes, st.Error, st.Took = e.Time, b.Bytes, b.Error, b.Duration
			return
		}
	}
	s.Steps = append(s.Steps, Step{e.Host, e.Step, e.Time, e.Time, b.Bytes, b.Error, b.Duration})
}

func (s *State) exit(e Event, b Exited) {
	if b.At.IsZero() {
		b.At = e.Time
	}
	for i := len(s.Containers) - 1; i >= 0; i-- {
		c := &s.Containers[i]
		if c.Name == b.Container && c.Exited == nil {
			c.Exited = &b
			return
		}
	}
	s.Containers = append(s.Containers, Container{Host: e.Host, Name: b.Container, Exited: &b})
}
