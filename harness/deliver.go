package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/optml/optml/artifact"
	"github.com/optml/optml/ledger"
)

// deliverTimeout bounds a delivery. A model of 1 TiB at 20 MB/s takes fourteen hours; stores give up on a connection
// that does not move long before.
const deliverTimeout = 24 * time.Hour

// deliver brings what the container made to where the plan says. It runs after success, failure and stop (OUT-5), on a
// context of its own; what could not be uploaded stays in the work directory, and the record says where. Removing the
// container and the last of its log goes on beside it.
func (in *instance) deliver(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), deliverTimeout)
	defer cancel()
	r := in.run
	closed := make(chan error, 1)
	go func() { closed <- in.close(ctx) }()

	r.uploading()
	var kept error
	if in.checkpoints != nil {
		kept = r.do(ctx, in.host, "checkpoints", in.lastSync)
	}
	err := r.do(ctx, in.host, "artifacts", func(context.Context) error { return in.artifacts() })
	if err == nil {
		err = r.do(ctx, in.host, "upload", func(ctx context.Context) error {
			t := in.training
			return errors.Join(
				in.upload(ctx, "model", t.ModelURI, in.tree.Model(), "/opt/ml/model"),
				in.upload(ctx, "output", t.OutputURI, in.tree.Output(), "/opt/ml/output/data"),
			)
		})
	}
	if cerr := <-closed; cerr != nil {
		r.append(ledger.Warning{Rule: "optml", Text: "the container could not be removed: " + cerr.Error()})
	}
	return errors.Join(kept, err)
}

// uploading says what comes now; a job that is being stopped goes on being so.
func (r *run) uploading() {
	status := ledger.StatusInProgress
	if r.owner.State().Status == ledger.StatusStopping {
		status = ledger.StatusStopping
	}
	r.transition(status, "Uploading", "Uploading generated training model")
}

// close ends the container, so that its log is complete, then what served it, and records the totals. A Pipe channel
// that is closed looks like the end of data to whoever still reads it (ruling 8), so the container goes first.
func (in *instance) close(ctx context.Context) error {
	r := in.run
	var errs []error
	if in.task != nil {
		in.warnLost(ctx)
		errs = append(errs, in.task.Close(ctx))
	}
	for _, d := range in.deliveries {
		errs = append(errs, d.Close())
		errs = append(errs, r.appendAt(in.host, "fill", in.totals(d.Stats())))
	}
	if in.metrics == nil { // an adopted job: the whole log is there
		var err error
		if in.metrics, err = r.followMetrics(in.spec.Name, in.training.Metrics); err != nil {
			return errors.Join(append(errs, err)...)
		}
	}
	return errors.Join(append(errs, in.metrics.finish())...)
}

// artifacts looks at all that the container left, so that a tree that cannot be read is found before anything of it is
// uploaded.
func (in *instance) artifacts() error {
	for _, dir := range []string{in.tree.Model(), in.tree.Output()} {
		root, err := os.OpenRoot(dir)
		if err == nil {
			err = walkFiles(root, func(string, os.FileInfo) {})
			root.Close()
		}
		if err != nil {
			return fmt.Errorf("artifacts of %s: %w", in.host, err)
		}
	}
	return nil
}

// delivered says of an artifact that it is where the plan says. That is asked for a job that was adopted: whoever
// delivered it may have died while removing what it was made of, and of half of it nothing is made once more.
func (r *run) delivered(artifact string) bool {
	return slices.ContainsFunc(r.owner.State().Uploads, func(u ledger.UploadTotals) bool { return u.Artifact == artifact && u.Kept == "" })
}

// upload packs one directory to its place.
func (in *instance) upload(ctx context.Context, name, uri, dir, at string) error {
	r := in.run
	if r.delivered(name) {
		return nil
	}
	r.sampled(sampleDir("output", name, dir))
	began := time.Now()
	totals := ledger.UploadTotals{Artifact: name, URI: uri}
	err := func() error {
		store, key, err := r.host.Stores.Open(ctx, uri)
		if err != nil {
			return err
		}
		send := artifact.Upload
		if in.training.Unpacked { // OUT-6
			send = artifact.UploadTree
		}
		s, err := send(ctx, store, key, dir, artifact.UploadOptions{
			KMSKeyID: in.training.KMSKeyID,
			Pack:     artifact.PackOptions{At: at, Around: in.tree.Root, AroundAt: "/opt/ml"},
		})
		totals.Bytes, totals.Files, totals.SHA256, totals.Empty = s.Packed, s.Files, s.SHA256, s.Empty
		for _, w := range s.Warnings {
			r.append(ledger.Warning{Rule: "OUT-8", Text: name + ": " + w})
		}
		if s.Outside > 0 && name == "model" {
			r.append(ledger.Warning{Rule: "INF-31", Text: fmt.Sprintf("/opt/ml/model holds links that lead out of it (%d); they are not uploaded, so the model lacks them", s.Outside)})
		}
		return err
	}()
	totals.Duration = time.Since(began)
	if err != nil {
		totals.Kept = in.kept(dir)
		err = fmt.Errorf("upload %s to %s: %w; kept in %s", name, uri, err, totals.Kept)
	} else if totals.Empty && name == "model" {
		r.append(ledger.Warning{Rule: "OUT-4", Text: "/opt/ml/model is empty: nothing is uploaded to " + uri})
	}
	return errors.Join(err, r.appendAt(in.host, "upload", totals))
}
