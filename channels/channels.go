// Package channels is how a dataset appears in a container: as files (File), as named pipes (Pipe) or as a mounted
// file system (FastFile). All three have one shape, so that who runs a job does not ask which it is.
package channels

import "context"

// Delivery brings one channel to one host. The calls come in the order Prepare, Fill, Serve, Close; Stats at any time
// and concurrently. Each returns errors that name channel and object (*dataset.Error).
type Delivery interface {
	// Prepare makes what must exist before the container is created: directories, first FIFOs, FUSE mounts. Milliseconds.
	Prepare(ctx context.Context) error
	// Fill brings File's bytes, before the container starts. Pipe and FastFile list the source there, so that what is
	// not there fails before the image runs; their bytes follow in Serve.
	Fill(ctx context.Context) error
	// Serve blocks while the container lives, until ctx is done; its error cancels the job with that cause. What the
	// container has met before ctx was done is an error then too: it may have ended at once, well or not. For File Serve
	// returns nil at once.
	Serve(ctx context.Context) error
	Stats() Stats
	// Close undoes Prepare where something must not outlive the job (mounts, FIFOs). Idempotent.
	Close() error
}

// Stats are totals so far.
type Stats struct {
	Channel      string
	Mode         string
	Bytes        int64 // delivered
	Objects      int64
	TotalBytes   int64 // known from the listing; 0 until listed
	TotalObjects int64
	Epochs       int64
	ReaderWaited int64  // nanoseconds that the reader waited for us
	WeWaited     int64  // nanoseconds that we waited for the reader
	Note         string // "never opened", "closed early at byte N"
}
