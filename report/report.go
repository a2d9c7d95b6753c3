// Package report says what became of a job: as text for a terminal, as JSON and JUnit XML for programs, and as an HTML
// page that can be sent to others. It is made from the job's directory alone, at any time, so a report can be remade when
// the job has long ended, or while it runs. Its size is bounded whatever the job was; it says what it leaves out.
//
// Report is the schema of the JSON form. Format changes when a member changes its meaning or goes; members may be
// added; docs/report.schema.json is the schema. Sizes are bytes, durations seconds, times RFC 3339 in UTC; members that are unknown or do not apply are left
// out. Paths are of this machine.
package report

import (
	"time"

	"github.com/optml/optml/job"
)

// Format is the version of the schema.
const Format = 1

// Report is everything that is said of a job.
type Report struct {
	Format int      `json:"format"`
	Kind   job.Kind `json:"kind" jsonschema:"enum=training,enum=transform,enum=serving,enum=validation,enum=bench"` // training, transform, serving, validation, bench
	Name   string   `json:"name"`
	ARN    string   `json:"arn"`
	Probe  string   `json:"probe,omitempty"` // of a job of a validation that is not its profile's: what it tries. Its own end is no verdict: it may be to fail

	Verdict string `json:"verdict" jsonschema:"enum=passed,enum=failed,enum=stopped,enum=running,enum=abandoned,enum=unvalidated"` // passed, failed, stopped, running, abandoned (its owner died), unvalidated (it completed without running anything)
	Status  string `json:"status"`                                                                                                 // in SageMaker's words: Completed, Failed, Stopped, InProgress, Stopping, Pending
	// SecondaryStatus is the last one: Training, Uploading, MaxRuntimeExceeded …
	SecondaryStatus string   `json:"secondaryStatus,omitempty"`
	ExitCode        *int     `json:"exitCode,omitempty"` // of optml
	Failure         *Failure `json:"failure,omitempty"`

	Created time.Time `json:"created"`
	Started time.Time `json:"started,omitzero"` // on the instance, downloads included
	Ended   time.Time `json:"ended,omitzero"`   // as DescribeTrainingJob says it
	Seconds float64   `json:"seconds"`          // from creation to the end, or until now

	// Of a validation: what DescribeAlgorithm or DescribeModelPackage would say, one of the two pairs.
	AlgorithmStatus           string         `json:"AlgorithmStatus,omitempty"`
	AlgorithmStatusDetails    *StatusDetails `json:"AlgorithmStatusDetails,omitempty"`
	ModelPackageStatus        string         `json:"ModelPackageStatus,omitempty"`
	ModelPackageStatusDetails *StatusDetails `json:"ModelPackageStatusDetails,omitempty"`

	Rules        []Rule        `json:"rules,omitempty"` // of a validation
	Steps        []Step        `json:"steps,omitempty"`
	Images       []Image       `json:"images,omitempty"`
	GPUs         []GPU         `json:"gpus,omitempty"`
	Containers   []Container   `json:"containers,omitempty"`
	Channels     []Channel     `json:"channels,omitempty"`
	Transform    *Transform    `json:"transform,omitempty"`
	Metrics      []Metric      `json:"metrics,omitempty"`
	Usage        []Usage       `json:"usage,omitempty"`        // of the instances
	Interruption *Interruption `json:"interruption,omitempty"` // that was rehearsed
	Outputs      []Output      `json:"outputs,omitempty"`
	Warnings     []Warning     `json:"warnings,omitempty"`
	Transitions  []Status      `json:"transitions,omitempty"` // SecondaryStatusTransitions
	Takeovers    []Takeover    `json:"takeovers,omitempty"`   // attempts beyond the first: who took over from a dead owner
	Failing      []Batch       `json:"failing,omitempty"`     // the first failing batches of a transform
	Files        []File        `json:"files,omitempty"`       // what else is on record
	Directory    string        `json:"directory"`
	Optml        string        `json:"optml,omitempty"` // version and platform of the optml that made the report

	Jobs []*Report `json:"jobs,omitempty"` // of a validation or a benchmark: the jobs that it ran
}

// Verdicts.
const (
	Passed    = "passed"
	Failed    = "failed"
	Stopped   = "stopped"
	Running   = "running"
	Abandoned = "abandoned"

	Unvalidated = "unvalidated"
)

// Takeover is an attempt to end a job whose owner had died.
type Takeover struct {
	At     time.Time `json:"at"`
	Reason string    `json:"reason"`
}

// Batch is a request of a transform that failed; docs/transform.md tells more of it.
type Batch struct {
	Time      time.Time `json:"time"` // of the last attempt
	Host      string    `json:"host"`
	Container string    `json:"container,omitempty"` // of a pipeline: which one failed
	Object    string    `json:"object"`
	Record    int64     `json:"record,omitempty"`  // first record, counted from 1; absent: not about records
	Records   int64     `json:"records,omitempty"` // in the batch
	Offset    int64     `json:"offset"`            // of the first record in the decompressed object
	Bytes     int64     `json:"bytes"`             // of the request's body
	Status    int       `json:"status"`            // 0: no response
	Attempts  int       `json:"attempts"`
	Error     string    `json:"error"`
	Replay    string    `json:"replay,omitempty"`   // a command line that sends it again
	Note      string    `json:"note,omitempty"`     // why the body is not here
	Response  string    `json:"response,omitempty"` // its first 2 KiB
	Directory string    `json:"directory"`
}

// Last is the last record of the batch.
func (b Batch) Last() int64 { return b.Record + b.Records - 1 }

// File is a file of the record.
type File struct {
	What  string `json:"what"` // document, log, metrics, requests, failures, samples
	Path  string `json:"path"`
	Bytes int64  `json:"bytes"`
}

// GPU is one that an instance had.
type GPU struct {
	Host  string `json:"host,omitempty"`
	Index string `json:"index"`
	UUID  string `json:"uuid"`
	Name  string `json:"name,omitempty"`
}

// Failure is why a job did not complete.
type Failure struct {
	Reason string `json:"reason,omitempty"` // FailureReason, as SageMaker would give it
	Detail string `json:"detail,omitempty"` // what happened, in optml's words
	Hint   string `json:"hint,omitempty"`   // what to do
	Logs   []Log  `json:"logs,omitempty"`   // how the logs end
}

// Log is the end of one container's log, or of a transform's data log.
type Log struct {
	Name  string   `json:"name"`
	Path  string   `json:"path"`
	Lines []string `json:"lines"` // the last ones, as printed, each cut at 500 bytes
}

// StatusDetails is AlgorithmStatusDetails or ModelPackageStatusDetails, with the service's names.
type StatusDetails struct {
	ValidationStatuses []StatusItem `json:"ValidationStatuses"` // one a job: <ProfileName>-training, <ProfileName>-transform
	ImageScanStatuses  []StatusItem `json:"ImageScanStatuses"`  // one an image: training-image, inference-image
}

// StatusItem is how one job or image scan stands.
type StatusItem struct {
	Name          string `json:"Name"`
	Status        string `json:"Status" jsonschema:"enum=NotStarted,enum=InProgress,enum=Completed,enum=Failed"` // NotStarted, InProgress, Completed, Failed
	FailureReason string `json:"FailureReason,omitempty"`                                                        // also why an image was not scanned
}

// Rule is the outcome of one rule of a validation.
type Rule struct {
	Rule     string `json:"rule"`
	Outcome  string `json:"outcome" jsonschema:"enum=passed,enum=failed,enum=not checked"` // passed, failed, not checked
	Evidence string `json:"evidence,omitempty"`
	Remedy   string `json:"remedy,omitempty"`
}

// Step is one step of the run.
type Step struct {
	Host    string    `json:"host,omitempty"`
	Name    string    `json:"name"`
	Began   time.Time `json:"began"`
	Seconds float64   `json:"seconds"`
	Bytes   int64     `json:"bytes,omitempty"`
	Error   string    `json:"error,omitempty"`
	Open    bool      `json:"open,omitempty"` // it has not ended: it runs, or its owner died in it
}

// Image is what ran.
type Image struct {
	Container string `json:"container"`
	Ref       string `json:"ref"`
	Digest    string `json:"digest"`
	Platform  string `json:"platform"`
	User      string `json:"user,omitempty"`
}

// Container is one container and how its process ended.
type Container struct {
	Name     string  `json:"name"`
	Seconds  float64 `json:"seconds,omitempty"`
	ExitCode *int    `json:"exitCode,omitempty"` // absent while it runs, and when nobody saw it end
	Signal   int     `json:"signal,omitempty"`
	OOM      bool    `json:"oom,omitempty"` // the kernel killed it for want of memory
}

// Channel is what an input channel delivered.
type Channel struct {
	Host                string  `json:"host,omitempty"`
	Channel             string  `json:"channel"`
	Mode                string  `json:"mode"` // File, Pipe, FastFile
	Bytes               int64   `json:"bytes"`
	Objects             int64   `json:"objects"`
	Epochs              int64   `json:"epochs,omitempty"`
	Seconds             float64 `json:"seconds"`
	ReaderWaitedSeconds float64 `json:"readerWaitedSeconds,omitempty"` // the script waited for data
	WeWaitedSeconds     float64 `json:"weWaitedSeconds,omitempty"`     // the data waited for the script
	Note                string  `json:"note,omitempty"`
}

// Interruption is what was seen of a rehearsed spot interruption.
type Interruption struct {
	At           time.Time `json:"at"` // of SIGTERM
	GraceSeconds float64   `json:"graceSeconds"`
	Killed       bool      `json:"killed"`       // the main process was still there when the grace was over
	EndedSeconds float64   `json:"endedSeconds"` // from SIGTERM to its end
	ExitCode     int       `json:"exitCode"`
	PrintedBytes int64     `json:"printedBytes"` // after SIGTERM
	Signal       string    `json:"signal"`       // what became of it: reached, not in time, ignored, discarded, swallowed, unseen
	Says         string    `json:"says"`         // the same as a sentence, with what it is read from
	Remedy       string    `json:"remedy,omitempty"`
	Saved        []Saved   `json:"saved"`

	Processes []Process `json:"processes"` // that ran when SIGTERM was sent
}

// Process is a process of an interrupted container; only the main one is sent the signal.
type Process struct {
	PID     int    `json:"pid"` // in the container
	Main    bool   `json:"main,omitempty"`
	Command string `json:"command"`
	SIGTERM string `json:"sigterm"` // default, ignored, caught
}

// Saved is how a directory stood when the main process had ended or was about to be killed.
type Saved struct {
	What        string   `json:"what"`    // model, checkpoints
	State       string   `json:"state"`   // empty; left: by a process that ended by itself; quiet: nobody had a file open for writing; unfinished
	Files       int64    `json:"files"`   // regular ones
	Bytes       int64    `json:"bytes"`   // in them
	Written     int64    `json:"written"` // files made or changed after SIGTERM
	IdleSeconds float64  `json:"idleSeconds,omitempty"`
	Writing     []string `json:"writing,omitempty"` // open for writing at the kill
	Says        string   `json:"says"`
}

// Transform is what a batch transform did.
type Transform struct {
	Objects        int64   `json:"objects"`
	Failed         int64   `json:"failed"` // objects without an output
	Records        int64   `json:"records"`
	Requests       int64   `json:"requests"`
	Retries        int64   `json:"retries,omitempty"`
	BytesIn        int64   `json:"bytesIn"`
	BytesOut       int64   `json:"bytesOut"`
	Seconds        float64 `json:"seconds"`
	PingSeconds    float64 `json:"pingSeconds"` // start of the container to the first 200 on /ping
	MaxConcurrent  int     `json:"maxConcurrentTransforms"`
	MaxPayloadInMB int     `json:"maxPayloadInMB"`
	BatchStrategy  string  `json:"batchStrategy"`
	RecordsPerSec  float64 `json:"recordsPerSecond,omitempty"`
	RequestsPerSec float64 `json:"requestsPerSecond,omitempty"`

	Instances []Instance `json:"instances,omitempty"` // of several
}

// Instance is one instance's part of a transform.
type Instance struct {
	Host        string  `json:"host"`
	Objects     int64   `json:"objects"`
	PingSeconds float64 `json:"pingSeconds"`
}

// Metric is a metric's final value.
type Metric struct {
	Name    string    `json:"name"`
	Value   float64   `json:"value"`
	At      time.Time `json:"at,omitzero"`
	Samples int64     `json:"samples"`
}

// Usage is what an instance used while its containers ran, as SageMaker publishes it: CPUUtilization,
// GPUUtilization and GPUMemoryUtilization are sums over processors or GPUs, MemoryUtilization and DiskUtilization shares.
type Usage struct {
	Host    string  `json:"host,omitempty"`
	Name    string  `json:"name"`
	Percent float64 `json:"percent"` // the mean; while the job runs, now
	Max     float64 `json:"max"`     // of a second
}

// Output is an artifact.
type Output struct {
	Artifact string  `json:"artifact"` // model, output, transform
	URI      string  `json:"uri"`
	Bytes    int64   `json:"bytes"`
	Files    int64   `json:"files"`
	Seconds  float64 `json:"seconds"`
	SHA256   string  `json:"sha256,omitempty"`
	Kept     string  `json:"kept,omitempty"`  // where it lies, when it could not be uploaded
	Empty    bool    `json:"empty,omitempty"` // there was nothing to upload
}

// Warning is a decision that mattered, or what SageMaker would do differently.
type Warning struct {
	Rule string `json:"rule,omitempty"`
	Text string `json:"text"`
}

// Status is an element of SecondaryStatusTransitions.
type Status struct {
	Status  string    `json:"status"`
	Began   time.Time `json:"began"`
	Ended   time.Time `json:"ended,omitzero"`
	Message string    `json:"message"`
}
