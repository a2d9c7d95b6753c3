package harness

import (
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/optml/optml/artifact"
	"github.com/optml/optml/ledger"
	"github.com/optml/optml/runtime/container"
)

// checkpointsRecord is where a job notes what of its checkpoints is in the store, for whoever finishes its work.
const checkpointsRecord = "checkpoints.json"

// checkpoints are those of one instance (CKP-2). One goroutine at a time syncs them.
type checkpoints struct {
	artifact.Checkpoints
	uri string

	mu    sync.Mutex
	sum   artifact.SyncStats // of all syncs
	took  time.Duration
	fault string // the last sync's, told once
}

// openCheckpoints finds the store of the checkpoints.
func (in *instance) openCheckpoints(ctx context.Context) error {
	c := in.training.Checkpoint
	uri := strings.TrimSuffix(c.URI, "/") + "/" // a folder: what is uploaded lies below it, so what is restored does too
	store, prefix, err := in.run.host.Stores.Open(ctx, uri)
	if err != nil {
		return &CheckpointError{uri, err}
	}
	if prefix != "" && !strings.HasSuffix(prefix, "/") {
		prefix += "/"
	}
	in.checkpoints = &checkpoints{uri: uri, Checkpoints: artifact.Checkpoints{
		Store: store, Prefix: prefix, Dir: in.tree.Checkpoints(), At: path.Clean(c.LocalPath),
		Record: filepath.Join(in.run.owner.WorkDir(), in.host+"-"+checkpointsRecord),
	}}
	return nil
}

func (in *instance) checkpointMounts() []container.Mount {
	if in.checkpoints == nil {
		return nil
	}
	return []container.Mount{{Source: in.tree.Checkpoints(), Target: path.Clean(in.training.Checkpoint.LocalPath)}}
}

// restore brings the checkpoints that are there (CKP-2).
func (in *instance) restore(ctx context.Context) error {
	s, err := in.checkpoints.Restore(ctx, in.training.UserWritable)
	if err != nil {
		return &CheckpointError{in.checkpoints.uri, err}
	}
	if s.Files > 0 {
		in.run.append(ledger.Warning{Rule: "CKP-2", Text: fmt.Sprintf("the job begins with %d files (%d bytes) of %s", s.Files, s.Bytes, in.checkpoints.uri)})
	}
	return nil
}

// syncing syncs the checkpoints until ctx is done, which cuts an upload short: lastSync follows. A sync that fails is
// tried again; the record tells of each new fault.
func (in *instance) syncing(ctx context.Context) {
	t := time.NewTicker(max(in.training.Checkpoint.Every.Std(), time.Millisecond))
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		err := in.sync(ctx, false)
		if ctx.Err() != nil {
			return
		}
		fault := ""
		if err != nil {
			fault = err.Error()
		}
		if fault != "" && fault != in.checkpoints.fault {
			in.run.append(ledger.Warning{Rule: "CKP-2", Text: "the checkpoints could not be synced, and will be tried again: " + fault})
		}
		in.checkpoints.fault = fault
	}
}

func (in *instance) sync(ctx context.Context, last bool) error {
	c := in.checkpoints
	began := time.Now()
	s, err := c.Sync(ctx, last)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.took += time.Since(began)
	c.sum.Uploaded += s.Uploaded
	c.sum.Bytes += s.Bytes
	c.sum.Deleted += s.Deleted
	for _, w := range s.Warnings {
		in.run.append(ledger.Warning{Rule: "CKP-2", Text: "checkpoints: " + w})
	}
	return err
}

// lastSync uploads what is there when the container has ended, whatever state it is in (CKP-4, CKP-5). What cannot be
// uploaded is kept, as a model is.
func (in *instance) lastSync(ctx context.Context) error {
	if in.run.delivered("checkpoints") {
		return nil
	}
	c := in.checkpoints
	err := in.sync(ctx, true)
	if errors.Is(err, artifact.ErrNotRestored) { // the container never started
		return nil
	}
	totals := ledger.UploadTotals{Artifact: "checkpoints", URI: c.uri, Bytes: c.sum.Bytes, Files: c.sum.Uploaded, Duration: c.took}
	totals.Empty = err == nil && c.sum.Uploaded == 0
	if err != nil {
		totals.Kept = in.kept(c.Dir)
		err = fmt.Errorf("upload checkpoints to %s: %w; kept in %s", c.uri, err, totals.Kept)
	}
	return errors.Join(err, in.run.appendAt(in.host, "checkpoints", totals))
}

// CheckpointError is why a job's checkpoints could not be restored.
type CheckpointError struct {
	URI string
	Err error
}

func (e *CheckpointError) Error() string {
	return fmt.Sprintf("restore checkpoints from %s: %v", e.URI, e.Err)
}
func (e *CheckpointError) Unwrap() error { return e.Err }
