package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/optml/optml/ledger"
)

type pruneOptions struct {
	jobs      string
	olderThan time.Duration // 0: none
	all       bool
	now       time.Time
}

func (a *app) cmdPrune() *cobra.Command {
	o := pruneOptions{}
	var older span
	c := &cobra.Command{
		Use:   "prune",
		Short: "Recover jobs whose owner died, and clear up what they left",
		Long: `Recover jobs whose owner died: deliver what they made, end their record with
the truth, and remove what they left on the host. Jobs that run are not touched.
With --older-than or --all-finished, remove finished jobs as well.`,
		Example: `  optml prune
  optml prune --older-than 30d`,
		Args: nargs(0, 0, ""),
		RunE: func(c *cobra.Command, _ []string) error {
			o.jobs, o.olderThan, o.now = a.jobs(), time.Duration(older), time.Now()
			if c.Flags().Changed("older-than") && older == 0 {
				o.all = true
			}
			return errors.Join(a.recoverDead(a.stderr), runPrune(o, a.stderr))
		},
	}
	c.Flags().Var(&older, "older-than", "also remove the record of jobs that ended longer ago than this `time`: 30d")
	c.Flags().BoolVar(&o.all, "all-finished", false, "also remove the record of every finished job")
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
	fmt.Fprintf(stderr, "optml: removed %s\n", plural(int64(removed), "finished job"))
	return errors.Join(errs...)
}
