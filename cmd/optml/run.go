package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/optml/optml/harness"
	"github.com/optml/optml/job"
	"github.com/optml/optml/ledger"
	"github.com/optml/optml/report"
	"github.com/optml/optml/validate"
)

// runOptions is one job to run: what the three verbs come down to.
type runOptions struct {
	jobs      string
	documents []given
	scans     []job.Scan
	kept      kept
	replace   bool
	detach    bool
	progress  progressOptions
	output    format
	app       *app
	own       func() (*ledger.Owner, error) // nil: a new job of the documents
}

// runAll carries out what a verb's documents ask for. A document with several validation profiles, which --lenient
// alone allows, is one job for each (ruling 4).
func (a *app) runAll(f *jobFlags, path string, docs []given, more func(*job.Options)) error {
	o, err := f.options(a, path)
	if err != nil {
		return err
	}
	if more != nil {
		more(&o)
	}
	r := runOptions{
		jobs: a.jobs(), documents: docs, scans: f.scans, kept: kept{Job: o, Host: a.hostOptions(f)}, replace: f.replace, detach: f.detach,
		progress: f.progressOptions(), output: a.output, app: a,
	}
	profiles := docs[0].Profiles()
	if !f.lenient || f.profile != "" || len(profiles) < 2 {
		return r.run(a.stdout, a.stderr)
	}
	var first error
	for _, p := range profiles {
		r.kept.Job.Profile = p
		if err := r.run(a.stdout, a.stderr); err != nil {
			var end ended
			if !errors.As(err, &end) {
				return err
			}
			if first == nil {
				first = err
			}
		}
	}
	return first
}

// run makes the plan of the documents and carries it out.
func (r runOptions) run(stdout, stderr io.Writer) error {
	plan, err := r.plan()
	if err != nil {
		return err
	}
	docs := map[string][]byte{}
	for _, d := range r.documents {
		docs[d.Operation+".json"] = d.raw
	}
	return r.carry(plan, docs, stdout, stderr)
}

// carry makes a job of a plan and its documents, and its owner, and carries it out here or hands it to a process in the
// background.
func (r runOptions) carry(plan *job.Plan, docs map[string][]byte, stdout, stderr io.Writer) error {
	if r.own == nil {
		request := ledger.Request{Documents: docs, Options: r.kept, Plan: plan, Replace: r.replace, UID: r.kept.Host.UID, GID: r.kept.Host.GID}
		r.own = func() (*ledger.Owner, error) { return ledger.Create(r.jobs, request) }
		if err := taken(r.jobs, plan, r.replace); err != nil {
			return err
		}
	}
	if err := checkGPUs(context.Background(), plan); err != nil {
		return err
	}
	con := newConsole(stderr)
	say := sayTo(con)
	ctx, sig := watchSignals(say, con.detach)
	defer sig.end()
	log := r.app.log()

	listen := r.kept.Host.Metrics
	if r.detach { // the process in the background listens; here it is seen whether it can
		_, end, err := servePage(listen, func(string, ...any) {})
		if err != nil {
			return err
		}
		end()
		listen = ""
	}
	page, endPage, err := servePage(listen, say)
	if err != nil {
		return err
	}
	defer endPage()

	h, err := r.kept.Host.open(ctx, log)
	if err != nil {
		return interrupted(ctx, err)
	}
	defer h.Close()
	h.Page = page
	if err := checkGrant(ctx, h.Credentials, plan); err != nil {
		return interrupted(ctx, err)
	}
	recovered := func() {
		if err := h.recover(ctx, r.jobs, say); err != nil && ctx.Err() == nil {
			say("not every dead job could be recovered: %v", err)
		}
	}
	owner, err := r.own()
	if errors.Is(err, ledger.ErrInUse) || errors.Is(err, ledger.ErrUnfinished) { // maybe one whose owner died: it must have its end first
		recovered()
		if ctx.Err() != nil {
			return interrupted(ctx, ctx.Err())
		}
		owner, err = r.own()
	}
	if err != nil {
		return err
	}
	defer owner.Close()
	if r.detach {
		recovered()
		return handOver(owner, r.output, stdout)
	}
	h.Stops = sig.Stops // before anything else reads h
	// What others left is seen to beside the job, which does not wait for it.
	var recovering sync.WaitGroup
	defer recovering.Wait()
	recovering.Go(recovered)

	shown := owner.Job()
	sig.begin(keptText(shown))
	var watching sync.WaitGroup
	wctx, stopWatching := context.WithCancel(context.Background())
	defer stopWatching()
	r.progress.pulls = h.pulls
	watching.Go(func() { r.progress.watch(wctx, shown, con) })
	final, err := carryOut(context.Background(), r.jobs, owner, plan, h.Host)
	if err != nil {
		stopWatching() // the end is not on record: nothing more will come
	}
	watching.Wait()
	if cerr := owner.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("%s/%s: its end could not be recorded: %w", plan.Kind, plan.Name, err)
	}
	return r.conclude(shown, final, stdout, con)
}

// plan makes the plan of the documents.
func (r runOptions) plan() (*job.Plan, error) {
	if op := r.documents[0].Operation; op == job.CreateAlgorithm || op == job.CreateModelPackage {
		r.kept.Job.RunSuffix = runSuffix()
	}
	p, err := makePlan(r.documents, r.kept.Job)
	if err != nil {
		return nil, err
	}
	return p, withScans(p, r.scans)
}

func makePlan(docs []given, o job.Options) (*job.Plan, error) {
	p, err := job.Make(documentsOf(docs), o, hostFacts())
	if err != nil && !isDocumentError(err) {
		return nil, &usageError{Err: err}
	}
	return p, err
}

func documentsOf(docs []given) []*job.Document {
	var d []*job.Document
	for _, x := range docs {
		d = append(d, x.Document)
	}
	return d
}

func isDocumentError(err error) bool {
	var invalid *job.Invalid
	var refused *job.Unsupported
	return errors.As(err, &invalid) || errors.As(err, &refused)
}

// carryOut is the one place that tells the kinds of jobs apart. It is what a foreground command and a detached owner do.
func carryOut(ctx context.Context, jobs string, o *ledger.Owner, p *job.Plan, h harness.Host) (ledger.Transition, error) {
	if p.Kind == job.KindValidation {
		return validate.Run(ctx, jobs, o, p, h)
	}
	return harness.Run(ctx, o, p, h)
}

// interrupted prefers the signal to the error that came of it.
func interrupted(ctx context.Context, err error) error {
	if err != nil && errors.Is(context.Cause(ctx), errInterrupted) {
		return errInterrupted
	}
	return err
}

// conclude prints the result on stdout and the sentence on stderr, and turns the final transition into the exit code.
func (r runOptions) conclude(j *ledger.Job, final ledger.Transition, stdout io.Writer, stderr *console) error {
	if err := printReport(j, r.output, stdout); err != nil {
		fmt.Fprintf(stderr, "optml: report: %v\n", err)
	}
	if final.ExitCode == nil {
		return ended{harness.ExitInternal}
	}
	if *final.ExitCode != harness.ExitCompleted {
		printEnd(stderr, j, final)
		return ended{*final.ExitCode}
	}
	return nil
}

// printEnd is the last word on a job that did not complete.
func printEnd(w io.Writer, j *ledger.Job, t ledger.Transition) {
	what := t.FailureReason
	if what == "" {
		what = t.Detail
	}
	if what == "" {
		what = t.Message
	}
	fmt.Fprintf(w, "optml: %s/%s: %s: %s\n", j.Kind(), j.Name(), t.Status, what)
	if t.FailureReason != "" && t.Detail != "" {
		fmt.Fprintf(w, "optml: %s\n", t.Detail)
	}
	if t.Hint != "" {
		fmt.Fprintf(w, "hint: %s\n", t.Hint)
	}
}

// printReport prints what is known of a job.
func printReport(j *ledger.Job, f format, w io.Writer) error {
	r, err := report.Make(j)
	if err != nil {
		return err
	}
	if f == formatJSON {
		return r.JSON(w)
	}
	return r.Text(w)
}
