package ledger

import "time"

// Body is what an event says: a closed set, one struct each, all in this file. On disk an event is one JSON line with
// the body under the name of its type.
type Body interface{ body() }

// Transition is a change of the job's status in SageMaker's terms (training 6.1, ST-1). Status is TrainingJobStatus or
// TransformJobStatus (of a validation: AlgorithmStatus or ModelPackageStatus), Secondary the SecondaryStatus with its message; a transition
// that only changes Message updates the last element (LIFE-1). FailureReason and ExitCode are set on the final one.
type Transition struct {
	Status        string `json:"status"`
	Secondary     string `json:"secondary,omitempty"`
	Message       string `json:"message,omitempty"`
	FailureReason string `json:"failureReason,omitempty"` // at most 1024 characters (FAIL-2, ST-2)
	Detail        string `json:"detail,omitempty"`        // optml's own sentence: what, where, what to do
	Hint          string `json:"hint,omitempty"`
	ExitCode      *int   `json:"exitCode,omitempty"` // of optml; set on the final transition only
}

// StepBegan and StepEnded bracket a step of the run; Step of the Event names it.
type StepBegan struct{}

// StepEnded ends a step. Error is empty on success.
type StepEnded struct {
	Error    string        `json:"error,omitempty"`
	Bytes    int64         `json:"bytes,omitempty"`
	Duration time.Duration `json:"durationNs,omitempty"` // by a clock that nobody sets; 0: the events' times tell
}

// Intent is written, and synced, before something outside the job's directory is made, so that whoever finds the job
// without an owner knows what to undo.
type Intent struct {
	Kind string `json:"kind"` // container, network, mount, work, upload
	ID   string `json:"id"`
	Note string `json:"note,omitempty"`
}

// Released says that what the Intent named is gone.
type Released struct {
	Kind string `json:"kind"`
	ID   string `json:"id"`
}

// Started says that a container's process runs.
type Started struct {
	Container string `json:"container"`
	ID        string `json:"id"`
	PID       int    `json:"pid"`
	BootID    string `json:"bootId"`
}

// Exited says how a container's main process ended.
type Exited struct {
	Container string    `json:"container"`
	Code      int       `json:"code"`
	Signal    int       `json:"signal,omitempty"`
	OOM       bool      `json:"oom,omitempty"`
	At        time.Time `json:"at"`
}

// ImageResolved records what ran.
type ImageResolved struct {
	Container string `json:"container"`
	Ref       string `json:"ref"`
	Digest    string `json:"digest"`
	Manifest  string `json:"manifest,omitempty"` // where Digest is an index's
	Config    string `json:"config,omitempty"`   // digest of its configuration, which other tools call its id
	User      string `json:"user,omitempty"`
	Platform  string `json:"platform"`

	Pulled   time.Duration `json:"pulledNs,omitempty"`   // from the registry; 0: it was here
	Unpacked time.Duration `json:"unpackedNs,omitempty"` // after that; layers are unpacked while others arrive
}

// GPUsTaken says which of the machine's GPUs an instance has until the job's end.
type GPUsTaken struct {
	GPUs []GPU `json:"gpus"`
}

// GPU is one of them.
type GPU struct {
	Index string `json:"index"` // 0; of a part (MIG) 0:1
	UUID  string `json:"uuid"`
	Name  string `json:"name,omitempty"`
}

// ChannelTotals are one channel's figures at the end.
type ChannelTotals struct {
	Channel      string        `json:"channel"`
	Mode         string        `json:"mode"`
	Bytes        int64         `json:"bytes"`
	Objects      int64         `json:"objects"`
	Epochs       int64         `json:"epochs,omitempty"`
	Duration     time.Duration `json:"durationNs"`
	ReaderWaited time.Duration `json:"readerWaitedNs,omitempty"`
	WeWaited     time.Duration `json:"weWaitedNs,omitempty"`
	Note         string        `json:"note,omitempty"`
}

// UploadTotals is one artifact that was uploaded, or kept at Path when it could not be.
type UploadTotals struct {
	Artifact string        `json:"artifact"` // model, output, transform
	URI      string        `json:"uri"`
	Bytes    int64         `json:"bytes"`
	Files    int64         `json:"files"`
	Duration time.Duration `json:"durationNs"`
	SHA256   string        `json:"sha256,omitempty"`
	Kept     string        `json:"kept,omitempty"`  // local path, when the upload failed
	Empty    bool          `json:"empty,omitempty"` // nothing there, nothing uploaded (OUT-4)
}

// Interruption is what was seen of a rehearsed spot interruption (STOP-9).
type Interruption struct {
	Container string        `json:"container"`
	At        time.Time     `json:"at"` // of SIGTERM
	Grace     time.Duration `json:"graceNs"`
	Killed    bool          `json:"killed"`           // the main process was still there when the grace was over
	Ended     time.Duration `json:"endedNs"`          // how long after SIGTERM it ended
	Code      int           `json:"code"`             // its exit code
	Printed   int64         `json:"printedBytes"`     // by the container after SIGTERM
	Signal    string        `json:"signal"`           // what became of SIGTERM: reached, not in time, ignored, discarded, swallowed, unseen
	Says      string        `json:"says"`             // the same as a sentence, with what it is read from
	Remedy    string        `json:"remedy,omitempty"` // what to change in the image
	Saved     []Saved       `json:"saved"`

	Processes []InterruptedProcess `json:"processes"` // that ran when SIGTERM was sent
}

// InterruptedProcess is a process of the container; only the main one is sent the signal (STOP-4).
type InterruptedProcess struct {
	PID     int    `json:"pid"` // in the container
	Main    bool   `json:"main,omitempty"`
	Command string `json:"command"`
	SIGTERM string `json:"sigterm"` // default, ignored, caught
}

// Saved is how a directory stood when an interrupted container's main process ended or was about to be killed.
type Saved struct {
	What    string        `json:"what"`              // model, checkpoints
	State   string        `json:"state"`             // empty, left, quiet, unfinished
	Files   int64         `json:"files"`             // regular ones
	Bytes   int64         `json:"bytes"`             // in them
	Written int64         `json:"written"`           // files made or changed after SIGTERM
	Idle    time.Duration `json:"idleNs,omitempty"`  // since the last write
	Writing []string      `json:"writing,omitempty"` // open for writing at the kill, below the directory
	Says    string        `json:"says"`
}

// TransformTotals are a transform's figures at the end, with the resolved settings (ST-20).
type TransformTotals struct {
	Objects       int64         `json:"objects"`
	Failed        int64         `json:"failed"`
	TooLarge      int64         `json:"tooLarge,omitempty"` // of those: for a record or an answer over a limit
	Records       int64         `json:"records"`
	Requests      int64         `json:"requests"`
	Retries       int64         `json:"retries,omitempty"`
	BytesIn       int64         `json:"bytesIn"`
	BytesOut      int64         `json:"bytesOut"`
	Duration      time.Duration `json:"durationNs"`
	PingAfter     time.Duration `json:"pingAfterNs"` // start to the first 200, of the last instance
	MaxConcurrent int           `json:"maxConcurrent"`
	MaxPayloadMB  int           `json:"maxPayloadMb"`
	BatchStrategy string        `json:"batchStrategy"` // SINGLE_RECORD, MULTI_RECORD

	Instances []InstanceTotals `json:"instances,omitempty"` // of several: what each had (BT-37)
}

// InstanceTotals are one instance's part of a transform.
type InstanceTotals struct {
	Host      string        `json:"host"`
	Objects   int64         `json:"objects"` // assigned to it
	PingAfter time.Duration `json:"pingAfterNs"`
}

// FinalMetric is a metric's last value (MET-8).
type FinalMetric struct {
	Name  string    `json:"name"`
	Value float64   `json:"value"`
	At    time.Time `json:"at"`
	Count int64     `json:"count"` // samples seen
}

// InstanceUsage is what an instance used while its containers ran, in the service's percentages (training 5.2).
type InstanceUsage struct {
	Metrics []UsageMetric `json:"metrics"`

	Counters UsageCounters `json:"counters,omitzero"`
	OwnerCPU time.Duration `json:"ownerCpuNs,omitempty"` // that the process which carried the job out used meanwhile
}

// UsageCounters are what its containers have counted by their end, together.
type UsageCounters struct {
	CPU        time.Duration `json:"cpuNs,omitempty"`
	Throttled  time.Duration `json:"throttledNs,omitempty"`  // held back by its quota of processors
	MemoryPeak int64         `json:"memoryPeak,omitempty"`   // bytes, the page cache included
	Read       int64         `json:"readBytes,omitempty"`    // from disks
	Written    int64         `json:"writtenBytes,omitempty"` // to disks
	Received   int64         `json:"receivedBytes,omitempty"`
	Sent       int64         `json:"sentBytes,omitempty"`
}

// UsageMetric is one of them: CPUUtilization, MemoryUtilization …
type UsageMetric struct {
	Name string  `json:"name"`
	Mean float64 `json:"mean"`
	Max  float64 `json:"max"` // of a second
}

// Warning is a DECISION that mattered, or what the cloud would do differently.
type Warning struct {
	Rule string `json:"rule,omitempty"`
	Text string `json:"text"`
}

// Child says that a validation or a benchmark started another entry.
type Child struct {
	Kind  string `json:"kind"`
	Name  string `json:"name"`
	Probe string `json:"probe,omitempty"` // what it tries; that it ends badly may be what is wanted of it
}

// Verdict is the outcome of one validation rule.
type Verdict struct {
	Rule     string `json:"rule"`
	Outcome  string `json:"outcome"` // passed, failed, not checked
	Evidence string `json:"evidence,omitempty"`
	Remedy   string `json:"remedy,omitempty"`
}

// Adopted says that another process took the job over after its owner had died.
type Adopted struct {
	PID    int    `json:"pid"`
	Reason string `json:"reason"` // owner died, host rebooted
}

// Restarted begins another attempt of the same job: of one that was interrupted (--resume), or after an
// InternalServerError (RETRY-1).
type Restarted struct {
	Reason string `json:"reason,omitempty"`
}

func (Transition) body()      {}
func (StepBegan) body()       {}
func (StepEnded) body()       {}
func (Intent) body()          {}
func (Released) body()        {}
func (Started) body()         {}
func (Exited) body()          {}
func (ImageResolved) body()   {}
func (GPUsTaken) body()       {}
func (ChannelTotals) body()   {}
func (UploadTotals) body()    {}
func (Interruption) body()    {}
func (TransformTotals) body() {}
func (FinalMetric) body()     {}
func (InstanceUsage) body()   {}
func (Warning) body()         {}
func (Child) body()           {}
func (Verdict) body()         {}
func (Adopted) body()         {}
func (Restarted) body()       {}
