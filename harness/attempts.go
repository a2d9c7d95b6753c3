package harness

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/optml/optml/ledger"
)

// again begins another attempt of a job that ended with an InternalServerError (RETRY-1). What the attempt before made has
// been delivered, its checkpoints among it; nothing else of it is left. Where that cannot be had end tells why.
func (r *run) again(ctx context.Context, end *Ending, attempt int) bool {
	end.Kind, end.Region = r.plan.Kind, r.plan.Region
	o := end.Outcome()
	if ctx.Err() != nil || end.Upload != nil || o.Status != ledger.StatusFailed || *o.ExitCode != ExitInternal {
		return false
	}
	reason := fmt.Sprintf("attempt %d: %s (%s)", attempt-1, o.FailureReason, o.Detail)
	err := r.undoAll()
	r.unmeasured()
	r.recorded() // each attempt has its own metrics
	if err == nil {
		err = os.RemoveAll(r.owner.WorkDir())
	}
	if err == nil {
		err = r.owner.Restart(reason)
	}
	if err != nil {
		end.Err = errors.Join(end.Err, fmt.Errorf("begin attempt %d: %w", attempt, err))
		return false
	}
	r.mu.Lock()
	r.sources, r.disks, r.step = nil, nil, ""
	r.grants, r.taken, r.gpus = grants{}, nil, nil
	r.mu.Unlock()
	r.warnings()
	r.append(ledger.Warning{Rule: "RETRY-1", Text: fmt.Sprintf("this is attempt %d of %d; %s", attempt, r.plan.Training.Retries+1, reason)})
	return true
}

// Deliver uploads what a finished job has kept because it could not be uploaded at its end. The job's status stays what
// it was. When all is delivered the kept copies are removed.
func Deliver(ctx context.Context, o *ledger.Owner, h Host) error {
	s := o.State()
	if len(s.Kept()) == 0 {
		return nil
	}
	t := o.Plan().Training
	if t == nil {
		return fmt.Errorf("%s/%s keeps what is no artifact of a training", o.Plan().Kind, o.Plan().Name)
	}
	if h.Log == nil {
		h.Log = slog.New(slog.DiscardHandler)
	}
	r := &run{owner: o, plan: o.Plan(), host: h, kill: make(chan struct{})}
	in := &instance{run: r, training: t, host: t.Instances[0].Host, spec: t.Instances[0].Containers[0]}
	if err := in.place(); err != nil {
		return err
	}
	err := r.do(ctx, in.host, "upload", func(ctx context.Context) error {
		if err := in.openVolume(ctx); err != nil {
			return err
		}
		var errs []error
		r.dropUploads(ctx, t.ModelURI, t.OutputURI) // of one who was to do this and died
		for _, u := range s.Kept() {
			switch u.Artifact {
			case "model":
				errs = append(errs, in.upload(ctx, u.Artifact, u.URI, in.tree.Model(), "/opt/ml/model"))
			case "output":
				errs = append(errs, in.upload(ctx, u.Artifact, u.URI, in.tree.Output(), "/opt/ml/output/data"))
			case "checkpoints":
				err := in.openCheckpoints(ctx)
				if err == nil {
					r.unfinished(in.checkpoints.SweepUploads(ctx))
					err = in.lastSync(ctx)
				}
				errs = append(errs, err)
			}
		}
		return errors.Join(errs...)
	})
	if err = errors.Join(err, r.undoAll()); err != nil {
		return err
	}
	if err := os.RemoveAll(o.WorkDir()); err != nil {
		return fmt.Errorf("remove what has been uploaded: %w", err)
	}
	return r.lost
}

// Resume begins the next attempt of a finished job that the caller has reopened; Run carries it out.
func Resume(o *ledger.Owner) error {
	s := o.State()
	return o.Restart(strings.TrimSpace("resumed after " + s.Status + " " + s.FailureReason))
}
