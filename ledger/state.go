package ledger

import (
	"slices"
	"time"

	"github.com/optml/optml/job"
)

// Statuses of SageMaker that the fold knows. Final are Completed, Failed and Stopped.
const (
	StatusPending    = "Pending"
	StatusInProgress = "InProgress"
	StatusCompleted  = "Completed"
	StatusFailed     = "Failed"
	StatusStopping   = "Stopping"
	StatusStopped    = "Stopped"
)

// State is what is known of a job: a pure fold of its events and its plan. It is the content of status.json.
type State struct {
	Kind job.Kind `json:"kind"`
	Name string   `json:"name"`
	ARN  string   `json:"arn"`

	Status        string       `json:"status"`
	Secondary     string       `json:"secondaryStatus,omitempty"`
	Message       string       `json:"message,omitempty"`
	Final         bool         `json:"final"`
	FailureReason string       `json:"failureReason,omitempty"`
	Detail        string       `json:"detail,omitempty"`
	Hint          string       `json:"hint,omitempty"`
	ExitCode      *int         `json:"exitCode,omitempty"` // of optml
	Transitions   []StatusSpan `json:"transitions,omitempty"`

	CreationTime time.Time `json:"creationTime,omitzero"`
	StartTime    time.Time `json:"startTime,omitzero"`    // on the instance, downloads included (LIFE-5, ST-2)
	EndTime      time.Time `json:"endTime,omitzero"`      // only with a StartTime (LIFE-5)
	ModifiedTime time.Time `json:"modifiedTime,omitzero"` // of the last event
	FinalTime    time.Time `json:"finalTime,omitzero"`    // of the final transition

	Steps        []Step           `json:"steps,omitempty"`      // in the order in which they began
	Images       []ImageResolved  `json:"images,omitempty"`     // one a container
	GPUs         []GPUsOfHost     `json:"gpus,omitempty"`       // one an instance that has any
	Containers   []Container      `json:"containers,omitempty"` // in the order in which they started
	Channels     []ChannelOfHost  `json:"channels,omitempty"`
	Uploads      []UploadTotals   `json:"uploads,omitempty"` // one an artifact
	Transform    *TransformTotals `json:"transform,omitempty"`
	Interruption *Interruption    `json:"interruption,omitempty"` // that was rehearsed, in whichever attempt
	Metrics      []FinalMetric    `json:"metrics,omitempty"`      // one a name (MET-8)
	Usage        []UsageOfHost    `json:"usage,omitempty"`        // one an instance
	Warnings     []Warning        `json:"warnings,omitempty"`
	Children     []Child          `json:"children,omitempty"`
	Verdicts     []Verdict        `json:"verdicts,omitempty"` // one a rule
	Open         []OpenIntent     `json:"open,omitempty"`     // made outside the directory and not released
	Adopted      []Adoption       `json:"adopted,omitempty"`
	Attempts     []Past           `json:"attempts,omitempty"` // before the one that all else is about

	Seq     int64 `json:"seq"`               // of the last event
	Damaged int   `json:"damaged,omitempty"` // lines that could not be read
}

// StatusSpan is an element of SecondaryStatusTransitions (LIFE-1).
type StatusSpan struct {
	Status        string    `json:"status"`
	StartTime     time.Time `json:"startTime"`
	EndTime       time.Time `json:"endTime,omitzero"`
	StatusMessage string    `json:"statusMessage"`
}

// Step is one step of the run on one host. A step that has neither End nor an owner was cut off.
type Step struct {
	Host  string    `json:"host,omitempty"`
	Name  string    `json:"name"`
	Begin time.Time `json:"begin"`
	End   time.Time `json:"end,omitzero"`
	Bytes int64     `json:"bytes,omitempty"`
	Error string    `json:"error,omitempty"`

	Took time.Duration `json:"durationNs,omitempty"`
}

// Duration is how long it took, 0 while it runs.
func (s Step) Duration() time.Duration {
	if s.Took > 0 {
		return s.Took
	}
	if s.End.IsZero() {
		return 0
	}
	return max(0, s.End.Sub(s.Begin))
}

// Container is a container that was started.
type Container struct {
	Host    string    `json:"host,omitempty"`
	Name    string    `json:"name"`
	ID      string    `json:"id,omitempty"`
	PID     int       `json:"pid,omitempty"`
	BootID  string    `json:"bootId,omitempty"`
	Started time.Time `json:"started,omitzero"`
	Exited  *Exited   `json:"exited,omitempty"` // nil: no owner has seen its end
}

// GPUsOfHost are the GPUs of one instance.
type GPUsOfHost struct {
	Host string `json:"host,omitempty"`
	GPUs []GPU  `json:"gpus"`
}

// UsageOfHost is what one instance used.
type UsageOfHost struct {
	Host string `json:"host,omitempty"`
	InstanceUsage
}

// ChannelOfHost is what one channel brought to one host.
type ChannelOfHost struct {
	Host string `json:"host,omitempty"`
	ChannelTotals
}

// OpenIntent is something outside the job's directory that may exist.
type OpenIntent struct {
	Host string `json:"host,omitempty"`
	Step string `json:"step,omitempty"`
	Intent
}

// Adoption is a change of owner.
type Adoption struct {
	At time.Time `json:"at"`
	Adopted
}

// Duration is how long the job took on the instance, 0 while it runs.
func (s *State) Duration() time.Duration {
	if s.StartTime.IsZero() || s.EndTime.IsZero() {
		return 0
	}
	return max(0, s.EndTime.Sub(s.StartTime))
}

// Kept are the artifacts that could not be uploaded; they lie where Kept says.
func (s *State) Kept() []UploadTotals {
	var kept []UploadTotals
	for _, u := range s.Uploads {
		if u.Kept != "" {
			kept = append(kept, u)
		}
	}
	return kept
}

// Running are the containers whose end no owner has seen.
func (s *State) Running() []Container {
	var r []Container
	for _, c := range s.Containers {
		if c.Exited == nil {
			r = append(r, c)
		}
	}
	return r
}

// Gone says that a container that no owner saw end is gone for certain: it was started in another boot than the
// given one.
func (c Container) Gone(boot string) bool {
	return c.Exited != nil || boot != "" && c.BootID != "" && c.BootID != boot
}

// clone copies deep enough that apply on the one does not show in the other.
func (s *State) clone() State {
	c := *s
	if s.ExitCode != nil {
		c.ExitCode = new(*s.ExitCode)
	}
	if s.Transform != nil {
		c.Transform = new(*s.Transform)
		c.Transform.Instances = slices.Clone(s.Transform.Instances)
	}
	if s.Interruption != nil {
		c.Interruption = new(*s.Interruption)
		c.Interruption.Saved = slices.Clone(s.Interruption.Saved)
		c.Interruption.Processes = slices.Clone(s.Interruption.Processes)
	}
	c.Transitions = slices.Clone(s.Transitions)
	c.Steps = slices.Clone(s.Steps)
	c.Images = slices.Clone(s.Images)
	c.GPUs = slices.Clone(s.GPUs)
	for i := range c.GPUs {
		c.GPUs[i].GPUs = slices.Clone(c.GPUs[i].GPUs)
	}
	c.Containers = slices.Clone(s.Containers)
	c.Channels = slices.Clone(s.Channels)
	c.Uploads = slices.Clone(s.Uploads)
	c.Metrics = slices.Clone(s.Metrics)
	c.Usage = slices.Clone(s.Usage)
	for i := range c.Usage {
		c.Usage[i].Metrics = slices.Clone(c.Usage[i].Metrics)
	}
	c.Warnings = slices.Clone(s.Warnings)
	c.Children = slices.Clone(s.Children)
	c.Verdicts = slices.Clone(s.Verdicts)
	c.Open = slices.Clone(s.Open)
	c.Adopted = slices.Clone(s.Adopted)
	c.Attempts = slices.Clone(s.Attempts)
	return c
}
