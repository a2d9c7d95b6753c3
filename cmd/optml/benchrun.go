package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/optml/optml/bench"
	"github.com/optml/optml/harness"
	"github.com/optml/optml/job"
	"github.com/optml/optml/ledger"
	"golang.org/x/sys/unix"
)

// benchVariant is one way to run the job: its documents, and what is said beside them.
type benchVariant struct {
	bench.Variant
	docs    []given
	options job.Options
}

// benchmark is one that is carried out.
type benchmark struct {
	app      *app
	flags    *benchFlags
	host     *host
	hostOpts hostOptions
	owner    *ledger.Owner
	variants []benchVariant
	stops    chan ledger.Stop // for the run under way
	say      func(string, ...any)
	serve    *serveFlags // nil: no serving
	payloads [][]byte    // of the requests to one
}

// bench carries a benchmark out. read reads a document and those that go with it.
func (a *app) bench(f *jobFlags, b *benchFlags, s *serveFlags, path string, read func(string) ([]given, error), more func(*job.Options)) error {
	variants, err := a.variants(f, b, path, read, more)
	if err != nil {
		return err
	}
	if n := len(variants) * (b.runs + b.warmups); n > allRunsMost {
		return usage("%d variants of %d runs are %d runs, more than %d", len(variants), b.runs+b.warmups, n, allRunsMost)
	}
	var baseline *bench.Result
	if b.baseline != "" {
		if baseline, err = a.result(b.baseline); err != nil {
			return err
		}
		if !slices.ContainsFunc(variants, func(v benchVariant) bool { return baseline.Variant(v.Name) != nil }) && len(variants)+len(baseline.Variants) > 2 {
			return &usageError{Err: fmt.Errorf("--baseline %s has none of these variants", b.baseline), Hint: "a baseline is a result of the same --vary and --vs"}
		}
	}
	// Each variant's plan is made once before anything runs: what is wrong with one is told now. A name that is given is
	// the benchmark's.
	var first *job.Plan
	for i := range variants {
		o := variants[i].options
		o.Name = ""
		plan, err := makePlan(variants[i].docs, o)
		if err != nil {
			if len(variants) > 1 {
				fmt.Fprintf(a.stderr, "optml: %s:\n", variants[i].Name)
			}
			return err
		}
		if err := checkGPUs(context.Background(), plan); err != nil {
			return err
		}
		for _, w := range plan.Warnings {
			variants[i].Warnings = append(variants[i].Warnings, w.Text)
		}
		if i == 0 {
			first = plan
		}
	}
	parent := job.PlanBench(first, f.name, runSuffix(), hostFacts().Now)
	if err := taken(a.jobs(), parent, false); err != nil {
		return err
	}

	con := newConsole(a.stderr)
	say := sayTo(con)
	ctx, sig := watchSignals(say, con.detach)
	defer sig.end()
	x := &benchmark{app: a, flags: b, hostOpts: a.hostOptions(f), variants: variants, stops: make(chan ledger.Stop, 8), serve: s}
	if x.host, err = x.hostOpts.open(ctx, a.log()); err != nil {
		return interrupted(ctx, err)
	}
	defer x.host.Close()
	if err := x.host.recover(ctx, a.jobs(), say); err != nil && ctx.Err() == nil {
		say("not every dead job could be recovered: %v", err)
	}
	if ctx.Err() != nil {
		return interrupted(ctx, ctx.Err())
	}
	if s != nil {
		if x.payloads, err = s.read(ctx, x.host.Stores, say); err != nil {
			return interrupted(ctx, err)
		}
	}
	docs := map[string][]byte{}
	for _, d := range variants[0].docs {
		docs[d.Operation+".json"] = d.raw
	}
	x.owner, err = ledger.Create(a.jobs(), ledger.Request{Plan: parent, Documents: docs,
		Options: kept{Job: variants[0].options, Host: x.hostOpts}, UID: x.hostOpts.UID, GID: x.hostOpts.GID})
	if err != nil {
		return err
	}
	defer x.owner.Close()
	if err := x.owner.Append(ledger.Transition{Status: ledger.StatusInProgress, Message: "Benchmarking"}); err != nil {
		return err
	}
	sig.begin("The result so far is kept; the container is killed, and `optml prune` or the next job clears up")
	if x.say = say; f.quiet {
		x.say = func(string, ...any) {}
	}
	runs, endStops := x.watchStops(sig.Stops)
	result, runErr := bench.Carry(runs, x.config(first, x.say))
	endStops()
	final := x.final(result, runErr)
	if err := errors.Join(os.RemoveAll(x.owner.WorkDir()), x.owner.Append(final), x.owner.Close()); err != nil {
		return fmt.Errorf("%s/%s: its end could not be recorded: %w", parent.Kind, parent.Name, err)
	}
	return errors.Join(b.forms.print(result, a.stdout), x.conclude(result, baseline, runErr, final))
}

// config is what the room of benchmarks needs.
func (x *benchmark) config(of *job.Plan, say func(string, ...any)) bench.Config {
	b := x.flags
	c := bench.Config{
		Name: x.owner.Plan().Name, Job: of.Name, Kind: of.Kind, Optml: madeBy(), Say: say, Run: x.run, Machine: benchMachine(),
		Settings: bench.Settings{Runs: b.runs, Warmups: b.warmups, Seed: b.seed, Figure: b.figure, Outputs: b.outputs},
		Save: func(r *bench.Result) error {
			var w bytes.Buffer
			if err := r.JSON(&w); err != nil {
				return err
			}
			return writeFile(x.owner.Job().BenchPath(), w.Bytes())
		},
	}
	if x.serve != nil {
		c.Settings.Load = x.serve.said()
	}
	for _, v := range x.variants {
		c.Variants = append(c.Variants, v.Variant)
	}
	if b.cold {
		c.Settings.Cache, c.Before = "cold", dropCaches
	}
	return c
}

// watchStops ends the benchmark on a request from its entry or a signal, and hands it to the run that is under way.
func (x *benchmark) watchStops(signals <-chan ledger.Stop) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	done := make(chan struct{})
	var wg sync.WaitGroup
	for _, from := range []<-chan ledger.Stop{x.owner.Stops(), signals} {
		wg.Go(func() {
			for {
				select {
				case s, ok := <-from:
					if !ok {
						return
					}
					cancel(errors.New("it was stopped: " + s.Reason))
					select {
					case x.stops <- s:
					default: // it has as many as can mean anything
					}
				case <-done:
					return
				}
			}
		})
	}
	return ctx, func() { close(done); wg.Wait(); cancel(nil) }
}

// run carries one run out, as a job of its own.
func (x *benchmark) run(ctx context.Context, t bench.Task) (bench.Outcome, error) {
	v := x.variants[t.Variant]
	o := v.options
	o.Name = x.owner.Plan().JobName(t.N)
	plan, err := makePlan(v.docs, o)
	if err != nil {
		return bench.Outcome{}, err
	}
	out := filepath.Join(x.owner.WorkDir(), "out")
	if x.flags.outputs == benchOutputs {
		redirect(plan, out)
		defer os.RemoveAll(out)
	}
	docs := map[string][]byte{}
	for _, d := range v.docs {
		docs[d.Operation+".json"] = d.raw
	}
	child, err := ledger.Create(x.app.jobs(), ledger.Request{Plan: plan, Documents: docs, Options: kept{Job: o, Host: x.hostOpts}, UID: x.hostOpts.UID, GID: x.hostOpts.GID})
	if err != nil {
		return bench.Outcome{}, err
	}
	defer child.Close()
	if err := x.owner.Append(ledger.Child{Kind: string(plan.Kind), Name: plan.Name}); err != nil {
		return bench.Outcome{}, err
	}
	h := x.host.Host
	h.Stops = x.stops
	var l loading
	if x.serve != nil {
		l = loading{flags: x.serve, payloads: x.payloads, say: x.say}
		h.Drive = l.drive
	}
	// A stop comes by the channel, with its grace; the context only says that there is to be no other run.
	if _, err := harness.Run(context.WithoutCancel(ctx), child, plan, h); err != nil {
		return bench.Outcome{}, err
	}
	if err := child.Close(); err != nil {
		return bench.Outcome{}, err
	}
	became, err := bench.Measure(child.Job())
	if err == nil && l.result != nil {
		became.Served(l.result)
	}
	return became, err
}

// redirect sends what a run makes to a directory that is removed. Its checkpoints go there too: with those of the run
// before, a run would have nothing to do.
func redirect(p *job.Plan, dir string) {
	if t := p.Training; t != nil {
		t.ModelURI, t.OutputURI, t.KMSKeyID = filepath.Join(dir, "model"), filepath.Join(dir, "output"), ""
		if !t.Unpacked {
			t.ModelURI, t.OutputURI = t.ModelURI+".tar.gz", t.OutputURI+".tar.gz"
		}
		if t.Checkpoint != nil {
			c := *t.Checkpoint
			c.URI = filepath.Join(dir, "checkpoints")
			t.Checkpoint = &c
		}
	}
	if t := p.Transform; t != nil && p.Kind == job.KindTransform {
		t.Output.Path, t.Output.KMSKeyID = filepath.Join(dir, "transform"), ""
		if t.Capture != nil {
			c := *t.Capture
			c.Path, c.KMSKeyID = filepath.Join(dir, "capture"), ""
			t.Capture = &c
		}
	}
}

// final is how the benchmark ends.
func (x *benchmark) final(r *bench.Result, err error) ledger.Transition {
	failed, of := r.Failed()
	switch {
	case err != nil:
		return ledger.Transition{Status: ledger.StatusFailed, FailureReason: "InternalServerError: We encountered an internal error. Please try again.", Detail: err.Error(), ExitCode: new(exitCode(err))}
	case strings.HasPrefix(r.Partial, "it was stopped"):
		return ledger.Transition{Status: ledger.StatusStopped, Detail: r.Partial, ExitCode: new(harness.ExitStopped)}
	case failed > 0 || r.Partial != "":
		return ledger.Transition{Status: ledger.StatusFailed, FailureReason: fmt.Sprintf("ClientError: %d of %d runs failed", failed, of), Detail: r.Partial, ExitCode: new(harness.ExitRuns)}
	}
	return ledger.Transition{Status: ledger.StatusCompleted, Message: "Benchmark completed", ExitCode: new(harness.ExitCompleted)}
}

// conclude compares with the baseline and gives the exit code.
func (x *benchmark) conclude(r, baseline *bench.Result, err error, final ledger.Transition) error {
	if err != nil {
		return err
	}
	a, b := x.app, x.flags
	var slow error
	if baseline != nil {
		c, err := bench.Compare(baseline, r, filepath.Base(b.baseline), "this one", "")
		if err != nil {
			return &usageError{Err: err}
		}
		w := a.stdout
		if b.forms.output != "text" {
			w = a.stderr
		} else {
			fmt.Fprintln(w)
		}
		if err := c.Text(w); err != nil {
			return err
		}
		slow = tooSlow(c, b.slower, a.stderr)
	}
	if *final.ExitCode != harness.ExitCompleted {
		fmt.Fprintf(a.stderr, "optml: %s/%s: %s: %s\n", job.KindBench, r.Name, final.Status, strings.Trim(strings.Join([]string{final.FailureReason, final.Detail}, "; "), "; "))
		return ended{*final.ExitCode}
	}
	return slow
}

// variants are all combinations of the documents and of what is varied.
func (a *app) variants(f *jobFlags, b *benchFlags, path string, read func(string) ([]given, error), more func(*job.Options)) ([]benchVariant, error) {
	var varied []bench.Vary
	for _, s := range b.vary {
		v, err := bench.ParseVary(s)
		if err != nil {
			return nil, &usageError{Err: fmt.Errorf("--vary %s: %w", s, err)}
		}
		if slices.ContainsFunc(varied, func(o bench.Vary) bool { return o.Member == v.Member }) {
			return nil, usage("--vary %s is given twice", v.Member)
		}
		varied = append(varied, v)
	}
	combinations, err := bench.Combine(varied)
	if err != nil {
		return nil, &usageError{Err: fmt.Errorf("--vary: %w", err)}
	}
	paths := append([]string{path}, b.vs...)
	names := documentNames(paths)
	var all []benchVariant
	for i, p := range paths {
		docs, err := read(p)
		if err != nil {
			return nil, err
		}
		o, err := f.options(a, p)
		if err != nil {
			return nil, err
		}
		if more != nil {
			more(&o)
		}
		for _, c := range combinations {
			v := benchVariant{docs: slices.Clone(docs), options: o}
			var said []string
			if len(paths) > 1 {
				v.Document = names[i]
				said = append(said, names[i])
			}
			for k, place := range c {
				value := varied[k].Values[place]
				path, err := v.vary(varied[k].Member, value)
				if err != nil {
					return nil, &usageError{Err: fmt.Errorf("--vary %s: %w", varied[k].Member, err), Hint: hintOf(err)}
				}
				v.Members = append(v.Members, bench.Setting{Path: path, Value: value})
				said = append(said, varied[k].Member+"="+value)
			}
			if v.Name = strings.Join(said, ", "); v.Name == "" {
				v.Name = "the job"
			}
			all = append(all, v)
		}
	}
	if len(all) > bench.VariantsMost {
		return nil, usage("%d variants are more than %d", len(all), bench.VariantsMost)
	}
	return all, nil
}

// documentNames are the documents' base names, or their paths where those do not tell them apart.
func documentNames(paths []string) (names []string) {
	for i, p := range paths {
		base := filepath.Base(p)
		if slices.ContainsFunc(slices.Delete(slices.Clone(paths), i, i+1), func(o string) bool { return filepath.Base(o) == base }) {
			base = p
		}
		names = append(names, base)
	}
	return names
}

// vary gives the variant another value of a member, and returns its path.
func (v *benchVariant) vary(member, value string) (string, error) {
	switch member {
	case "gpus":
		r, err := parseGPUs(value)
		if err != nil {
			return "", fmt.Errorf("%s: %w", value, err)
		}
		v.options.GPUs = r
		return member, nil
	case "image":
		if v.options.ModelImage != "" {
			v.options.ModelImage = value
			return member, nil
		}
		var err error
		if member, err = v.imageMember(); err != nil {
			return "", err
		}
	}
	var docs []*job.Document
	for _, d := range v.docs {
		docs = append(docs, d.Document)
	}
	found, err := job.FindMembers(docs, member)
	if err != nil {
		return "", err
	}
	for _, m := range found {
		d := v.docs[m.Doc]
		raw, err := m.Set(d.Document, value)
		if err != nil {
			return "", err
		}
		doc, err := job.DecodeAs(d.Operation, d.Name, raw)
		if err != nil {
			return "", err
		}
		v.docs[m.Doc] = given{doc, raw}
	}
	if len(found) > 1 {
		return found[0].Each(), nil
	}
	return found[0].Path, nil
}

// imageMember is where the documents name the image.
func (v *benchVariant) imageMember() (string, error) {
	where := map[string][]string{
		job.CreateTrainingJob: {"AlgorithmSpecification.TrainingImage"},
		job.CreateAlgorithm:   {"TrainingSpecification.TrainingImage"},
		job.CreateModel:       {"PrimaryContainer.Image", "Containers[0].Image"},
	}
	for _, d := range v.docs {
		for _, p := range where[d.Operation] {
			if _, ok := d.Root.At(p); ok {
				return d.Operation + "." + p, nil
			}
		}
	}
	return "", &job.MemberError{Text: "the documents name no image by itself", Help: "vary the member that does, by its path"}
}

// dropCaches makes the next run read everything from disks: the page cache of the whole machine goes, with directory
// entries and inodes.
func dropCaches() error {
	unix.Sync()
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0o200); err != nil {
		return &harness.HostError{What: "--cold: the page cache cannot be dropped", Hint: "run it as root of the machine itself, not of a container", Err: err}
	}
	return nil
}

// benchMachine is this host as a benchmark looks at it.
func benchMachine() bench.Machine {
	var names []string
	for _, g := range hostGPUs().Inventory(context.Background()).Usable() {
		names = append(names, g.Name)
	}
	return bench.Machine{
		Root: os.DirFS("/"), Containers: besides, GPUNames: names,
		GPUs: func() (n int) {
			for _, g := range hostGPUs().Held(context.Background()).GPUs {
				if g.Holder != nil {
					n++
				}
			}
			return n
		},
	}
}

// monitors are the programs that stand beside each container of containerd, ours included, and of podman and CRI-O.
var monitors = []string{"containerd-shim", "conmon", "optml-shim", "shim-"}

// besides counts what runs beside: a benchmark asks between its own runs.
func besides() (n int) {
	proc, err := os.Open("/proc")
	if err != nil {
		return 0
	}
	defer proc.Close()
	names, _ := proc.Readdirnames(-1)
	for _, p := range names {
		if p[0] < '0' || p[0] > '9' {
			continue
		}
		b, err := os.ReadFile("/proc/" + p + "/comm")
		if err != nil || !slices.ContainsFunc(monitors, func(m string) bool { return strings.HasPrefix(string(b), m) }) {
			continue
		}
		if args, err := os.ReadFile("/proc/" + p + "/cmdline"); err == nil && len(args) > 0 { // else it has ended, and nobody asked how
			n++
		}
	}
	return n
}
