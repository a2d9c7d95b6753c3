package transform

import (
	"context"
	"io"
	"iter"
	"net"
	"net/netip"
	"time"

	"github.com/optml/optml/job"
)

// Config is one transform job, ready to run. The containers are started; nothing has been sent to them yet.
type Config struct {
	Job job.Transform // settings; its containers and URIs are not looked at, but for the texts of errors

	// Bucket is what the data log puts before keys: <bucket>/<key> (ST-21).
	Bucket string
	// Prefix is the key part of the input's S3Uri; output names are what lies below it (BT-131). Objects with a Name of
	// their own (a manifest's) do not need it.
	Prefix string

	// Instances are driven side by side; objects are assigned to them in key order, one by one (BT-38).
	Instances []Instance
	// Objects lists the input; an error ends it and fails the job before anything is sent.
	Objects iter.Seq2[Object, error]
	// Create begins an output object; name is below the output path and ends in .out. It is called concurrently.
	Create func(ctx context.Context, name, contentType string) (Writer, error)
	// Remove deletes a committed output when the job is stopped (BT-144). A missing one is no error.
	Remove func(ctx context.Context, name string) error

	// Began is when the job began: part of results' ids and of the names of its manifests (BT-171, BT-172). Zero: now.
	Began time.Time
	// Capture is where manifests of what was read and written go. nil: nowhere.
	Capture *Capture

	// Requests takes one JSON line a request (docs/transform.md). nil: nobody wants them.
	Requests io.Writer
	// Failures takes one JSON line a failed object, a FailedObject, in the order in which they fail. nil: nobody wants them.
	Failures io.Writer
	// FailingDir is where failing batches are kept, each in a directory of its own (Batch); it need not be there. "": nowhere.
	FailingDir string

	// Stats are counted live, for progress; nil: counted for the Result only.
	Stats *Stats

	// KeepFraming sends RecordIO and TFRecord records with their framing in SingleRecord too (BT-74).
	KeepFraming bool
	// SkipChecksums does not verify the data checksums of TFRecord (BT-69).
	SkipChecksums bool
	// OneNewline makes AssembleWith Line add its line feed only to responses that do not end in one (BT-123).
	OneNewline bool

	payloadBytes int64 // for tests: the limit in bytes instead of megabytes
}

// Instance is one container that answers /ping, /execution-parameters and /invocations, or the first of a pipeline.
type Instance struct {
	Host string // algo-1
	Container
	// Next are the other containers of an inference pipeline, in order: each gets what the one before has answered, and
	// the last one's answer is the result (INF-54).
	Next []Container
	// DataLog takes the lines of the job's data log (ST-18 to ST-23). nil: none.
	DataLog io.Writer
}

// Container is where one container answers.
type Container struct {
	Name string // in errors and in the data log; "" where an instance has one container
	// Addr is host:port to dial and the Host header that the container sees.
	Addr string
	// Dial connects from inside the container's network.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Exited is closed when the container's main process has ended: nothing is waited for any longer (INF-65, INF-67).
	// nil: not known.
	Exited <-chan struct{}
	// Listening is where TCP connections are taken in the container's network; asked to explain why it cannot be reached.
	// nil: not known.
	Listening func(ctx context.Context) ([]netip.AddrPort, error)
}

// Object is one input object.
type Object struct {
	Key  string
	Size int64  // -1: not known
	Name string // below the input's prefix, where the source says it (BT-136); "": Key without Config.Prefix
	Open func(ctx context.Context) (io.ReadCloser, error)
}

// Writer takes one output object. Nothing is visible before Commit; Abort after Commit does nothing.
type Writer interface {
	io.Writer
	Commit(ctx context.Context) error
	Abort() error
}

// Settings are the resolved values of what request, container and defaults say (BT-23, BT-24).
type Settings struct {
	MaxConcurrent int
	MaxPayloadMB  int
	BatchStrategy string // SINGLE_RECORD, MULTI_RECORD
}

// InstanceResult is what is known of one instance.
type InstanceResult struct {
	Host      string
	Settings  Settings
	PingAfter time.Duration // from the first ping to the first 200
	Pings     int
	Objects   int // assigned to it
}

// Result is what a Run did, also when it failed or was stopped.
type Result struct {
	Instances []InstanceResult
	Totals    Totals
	Duration  time.Duration
	// FailureReason is the service's sentence (ST-10 to ST-14); "" when the job is Completed or was stopped.
	FailureReason string
	// Failures are the failed objects in key order, at most MaxFailures of Totals.Failed.
	Failures []Failure
	// Warnings are settings that were ignored or clamped (BT-26, BT-27).
	Warnings []string
	// Unrecorded is why requests, failures or failing batches are not all on record. The job is none the worse for it.
	Unrecorded error
}

// Settings of the first instance, for the record.
func (r Result) Settings() Settings {
	if len(r.Instances) == 0 {
		return Settings{}
	}
	return r.Instances[0].Settings
}

// MaxFailures bounds Result.Failures: the rest is counted.
const MaxFailures = 1000
