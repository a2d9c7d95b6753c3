package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/optml/optml/human"
	"github.com/optml/optml/job"
	"github.com/optml/optml/ledger"
	"github.com/optml/optml/runtime/container"
	"github.com/optml/optml/runtime/ctrd"
)

type pruneOptions struct {
	jobs      string
	olderThan time.Duration // 0: none
	all       bool
	now       time.Time
}

// imageStore is what pruning needs of images. ctrd.Client is one.
type imageStore interface {
	List(context.Context) ([]container.Image, error)
	Remove(ctx context.Context, ref string) error
}

func (a *app) cmdPrune() *cobra.Command {
	o := pruneOptions{}
	var older span
	var images bool
	c := &cobra.Command{
		Use:   "prune",
		Short: "Recover jobs whose owner died, and clear up what they left",
		Long: `Recover jobs whose owner died: deliver what they made, end their record with
the truth, and remove what they left on the host. Jobs that run are not touched.
Programs that an earlier version of optml has left below --root go too.
With --older-than or --all-finished, remove finished jobs as well; with
--unused-images, the images that no job on record names.`,
		Example: `  optml prune
  optml prune --older-than 30d --unused-images`,
		Args: nargs(0, 0, ""),
		RunE: func(c *cobra.Command, _ []string) error {
			o.jobs, o.olderThan, o.now = a.jobs(), time.Duration(older), time.Now()
			if c.Flags().Changed("older-than") && older == 0 {
				o.all = true
			}
			err := errors.Join(a.recoverDead(a.stderr), runPrune(o, a.stderr))
			if images && err == nil {
				err = a.withClient(a.hostOptions(&jobFlags{}), func(ctx context.Context, c *ctrd.Client) error { return pruneImages(ctx, o.jobs, c, a.stderr) })
			}
			return errors.Join(err, pruneHelpers(a.hostOptions(&jobFlags{}).ctrd(a.log()), a.stderr))
		},
	}
	c.Flags().Var(&older, "older-than", "also remove the record of jobs that ended longer ago than this `time`: 30d")
	c.Flags().BoolVar(&o.all, "all-finished", false, "also remove the record of every finished job")
	c.Flags().BoolVar(&images, "unused-images", false, "also remove the images that no job on record names")
	return c
}

// recoverDead recovers all jobs whose owner has died.
func (a *app) recoverDead(stderr io.Writer) error {
	say := sayTo(stderr)
	ctx, sig := watchSignals(say, func() {})
	defer sig.end()
	h, err := a.hostOptions(&jobFlags{}).open(ctx, a.log())
	if err != nil {
		return interrupted(ctx, err)
	}
	defer h.Close()
	return interrupted(ctx, h.recover(ctx, a.jobs(), say))
}

func sayTo(w io.Writer) func(string, ...any) {
	return func(format string, args ...any) { fmt.Fprintf(w, "optml: "+format+"\n", args...) }
}

// runPrune removes finished jobs that are old enough.
func runPrune(o pruneOptions, stderr io.Writer) error {
	if !o.all && o.olderThan == 0 {
		return nil
	}
	jobs, err := ledger.List(o.jobs)
	errs := []error{err}
	removed := 0
	for _, j := range jobs {
		if _, err := os.Stat(j.Dir()); errors.Is(err, fs.ErrNotExist) {
			continue // it went with its validation
		}
		owned, err := j.Owned()
		s, serr := j.State()
		if err := errors.Join(err, serr); err != nil {
			errs = append(errs, err)
			continue
		}
		if owned || !s.Final || !o.all && o.now.Sub(s.FinalTime) < o.olderThan {
			continue
		}
		err = removeFinished(j, false)
		var kept *ledger.KeptError
		if errors.As(err, &kept) {
			fmt.Fprintf(stderr, "optml: %v\nhint: %s\n", kept, kept.Hint())
			continue
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		removed++
	}
	fmt.Fprintf(stderr, "optml: removed %s\n", human.Count(int64(removed), "finished job"))
	return errors.Join(errs...)
}

// pruneImages removes the images that no job on record names. A job that is being made has its record before it asks for
// its images, and one that a container has is refused.
func pruneImages(ctx context.Context, jobs string, store imageStore, stderr io.Writer) error {
	images, err := store.List(ctx)
	if err != nil {
		return err
	}
	all, err := ledger.List(jobs) // after the images: what came in for a job that began meanwhile is not among them
	if err != nil {
		return fmt.Errorf("which images are used is not known: %w", err)
	}
	used := map[string]bool{}
	for _, j := range all {
		for _, ref := range imagesOf(j.Plan()) {
			used[sameName(ref)] = true
		}
		s, err := j.State()
		if err != nil {
			return fmt.Errorf("which images are used is not known: %w", err)
		}
		for _, i := range s.Images {
			used[i.Digest] = true
		}
	}
	var errs []error
	removed, bytes := int64(0), int64(0)
	for _, i := range images {
		if used[sameName(i.Ref)] || used[i.Digest] {
			continue
		}
		if err := store.Remove(ctx, i.Ref); err != nil {
			errs = append(errs, err)
			continue
		}
		removed, bytes = removed+1, bytes+i.Size
	}
	fmt.Fprintf(stderr, "optml: removed %s that no job on record names (%s)\n", human.Count(removed, "image"), human.Bytes(bytes))
	return errors.Join(errs...)
}

// sameName is what all spellings of an image's name come to.
func sameName(ref string) string { return strings.TrimSuffix(ctrd.Familiar(ref), ":latest") }

// imagesOf are the images that a plan names.
func imagesOf(p *job.Plan) (refs []string) {
	if p == nil {
		return nil
	}
	for _, i := range instancesOf(p) {
		for _, c := range i.Containers {
			refs = append(refs, c.Image.Ref)
		}
	}
	if v := p.Validation; v != nil {
		refs = append(append(refs, imagesOf(v.Training)...), imagesOf(v.Transform)...)
	}
	return refs
}

// instancesOf are a job's own instances; a validation has none.
func instancesOf(p *job.Plan) []job.Instance {
	switch {
	case p.Training != nil:
		return p.Training.Instances
	case p.Transform != nil:
		return p.Transform.Instances
	}
	return nil
}

// pruneHelpers removes what earlier versions of the binary left.
func pruneHelpers(cfg ctrd.Config, stderr io.Writer) error {
	n, busy, err := ctrd.PruneHelpers(cfg)
	switch {
	case n > 0:
		fmt.Fprintf(stderr, "optml: removed %s of earlier versions\n", human.Count(int64(n), "program"))
	case busy:
		fmt.Fprintln(stderr, "optml: other optml processes run: programs of earlier versions stay until the next prune")
	}
	return err
}
