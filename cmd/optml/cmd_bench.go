package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/optml/optml/bench"
	"github.com/optml/optml/harness"
	"github.com/optml/optml/job"
	"github.com/optml/optml/ledger"
)

func (a *app) cmdBench() *cobra.Command {
	c := &cobra.Command{
		Use:   "bench COMMAND",
		Short: "Run a job again and again, in variants, and say which is faster and by how much",
		Long: `Run a job again and again and measure each phase. With several variants, they run
in turn, in an order within each round that is random, and are compared: medians
with confidence intervals, ratios with theirs, a verdict in words.

A benchmark is an entry of the ledger, and so is each of its runs: ls, describe,
logs, stop and rm know them.`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return c.Help()
			}
			return unknownCommand(c, args[0])
		},
	}
	c.AddCommand(a.cmdBenchTrain(), a.cmdBenchTransform(), a.cmdBenchServe(), a.cmdBenchCompare(), a.cmdBenchShow())
	return c
}

// benchFlags are those of the commands that run a benchmark.
type benchFlags struct {
	forms    benchForms
	runs     int
	warmups  int
	seed     uint64
	seeded   bool
	figure   string
	vary     []string
	vs       []string
	cold     bool
	outputs  string
	baseline string
	slower   percent
}

const (
	// Two samples are compared pair by pair, so their product is what takes memory.
	runsMost     = 1000
	allRunsMost  = 10_000
	benchOutputs = "discard"
)

func (b *benchFlags) add(c *cobra.Command, kind job.Kind) {
	x := c.Flags()
	x.SortFlags = false
	runs, warmups := 10, 1
	b.figure = "total"
	if kind == job.KindServing { // one container says much already
		runs, warmups, b.figure = 1, 0, "throughput"
	}
	x.IntVarP(&b.runs, "runs", "n", runs, "`number` of runs of each variant that count")
	x.IntVar(&b.warmups, "warmups", warmups, "`number` of runs of each variant before, which do not")
	x.StringArrayVar(&b.vary, "vary", nil, "`MEMBER=A,B,…`: run with each of these values of a member of a document, by its path or what tells it apart, or of image or gpus; repeatable: each with each")
	x.StringArrayVar(&b.vs, "vs", nil, "compare with the job in this `file`; repeatable")
	x.Var(choice{&b.figure, bench.FigureNames(kind)}, "figure", "`which` figure the verdicts are of: "+strings.Join(bench.FigureNames(kind), ", "))
	x.Uint64Var(&b.seed, "seed", 0, "`number` that decides the order within the rounds (default: another each time)")
	x.BoolVar(&b.cold, "cold", false, "before each run, drop the page cache of the whole machine, with directory entries and inodes (default: warm)")
	b.outputs = benchOutputs
	if kind != job.KindServing {
		x.Var(choice{&b.outputs, []string{benchOutputs, "document"}}, "outputs", "`where` outputs and checkpoints go: discard (to this machine, and they are removed) or document (where it says)")
	}
	x.StringVar(&b.baseline, "baseline", "", "compare with the result in this `file`, in its JSON form")
	x.Var(&b.slower, "fail-if-slower", "with --baseline: exit code 10 if a variant is shown to be slower by more than this `share`, such as 5%")
	b.forms.add(c)
}

func (b *benchFlags) check(c *cobra.Command) error {
	b.seeded = c.Flags().Changed("seed")
	switch {
	case b.runs < 1 || b.runs > runsMost:
		return usage("--runs: from 1 to %d", runsMost)
	case b.warmups < 0 || b.warmups > runsMost:
		return usage("--warmups: from 0 to %d", runsMost)
	case b.slower.set && b.baseline == "":
		return &usageError{Err: errors.New("--fail-if-slower: slower than what?"), Hint: "name an earlier result with --baseline FILE.json"}
	}
	if !b.seeded {
		b.seed = uint64(rand.Uint32())
	}
	return b.forms.check()
}

// benchForms are how a result is shown.
type benchForms struct {
	output string
	files  []string
}

func (f *benchForms) add(c *cobra.Command) {
	f.output = "text"
	c.Flags().Var(choice{&f.output, []string{"text", "json", "benchstat"}}, "output", "`format` of the result on stdout: text, json or benchstat")
	c.Flags().StringArrayVarP(&f.files, "file", "o", nil, "write the result to this `file` too: .html, .json, or .txt for benchstat; repeatable")
}

// check looks at the files before hours are spent on what would go into them.
func (f *benchForms) check() error {
	for _, name := range f.files {
		if !slices.Contains([]string{".html", ".json", ".txt"}, filepath.Ext(name)) {
			return &usageError{Err: fmt.Errorf("-o %s: by its ending it is no form of a result", name), Hint: "the forms are .html, .json, and .txt for benchstat"}
		}
		if fi, err := os.Stat(filepath.Dir(name)); err != nil || !fi.IsDir() {
			return usage("-o %s: there is no directory %s", name, filepath.Dir(name))
		}
	}
	return nil
}

// print shows a result.
func (f *benchForms) print(r *bench.Result, stdout io.Writer) error {
	var errs []error
	for _, name := range f.files {
		var b bytes.Buffer
		err := map[string]func(io.Writer) error{".html": r.HTML, ".json": r.JSON, ".txt": r.Benchstat}[filepath.Ext(name)](&b)
		if err == nil {
			err = writeFile(name, b.Bytes())
		}
		errs = append(errs, err)
	}
	show := map[string]func(io.Writer) error{"text": r.Text, "json": r.JSON, "benchstat": r.Benchstat}[f.output]
	return errors.Join(append(errs, show(stdout))...)
}

// percent is a flag for a share: 5%, or 0.05.
type percent struct {
	share float64
	set   bool
}

func (p *percent) Set(s string) error {
	text, hundred := strings.CutSuffix(strings.TrimSpace(s), "%")
	v, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if hundred {
		v /= 100
	}
	if err != nil || !(v >= 0 && v <= 100) {
		return errors.New("it is a share such as 5% or 0.05")
	}
	p.share, p.set = v, true
	return nil
}
func (p *percent) String() string {
	if !p.set {
		return ""
	}
	return strconv.FormatFloat(p.share*100, 'g', -1, 64) + "%"
}
func (p *percent) Type() string { return "share" }

func (a *app) cmdBenchTrain() *cobra.Command {
	var f jobFlags
	var b benchFlags
	var algorithm string
	c := &cobra.Command{
		Use:   "train JOB.json",
		Short: "Benchmark a training job from a CreateTrainingJob request",
		Long: `Run a training job again and again, from a CreateTrainingJob request, and print
how long each phase took and what the job used, with optml's own part of it.

--vary names a member by its path, or by as much of the path's end as tells it
apart: InputMode, InputDataConfig[0].InputMode, HyperParameters.epochs. A value
with a comma stands in double quotes. image and gpus can be varied as well.

The exit code is 10 with --fail-if-slower and a baseline that was faster, 11 when
runs failed, 6 when it was stopped: then the result is of what there is.`,
		Example: `  optml bench train job.json --vary InputMode=File,Pipe,FastFile
  optml bench train job.json --vary image=algo:1,algo:2 --runs 20 -o result.html
  optml bench train file.json --vs pipe.json --vs fastfile.json --figure run
  optml bench train job.json --baseline main.json --fail-if-slower 5%`,
		Args: nargs(1, 1, "the document"),
		RunE: func(c *cobra.Command, args []string) error {
			if err := b.check(c); err != nil {
				return err
			}
			read := func(path string) ([]given, error) {
				docs, err := a.decodeAll(&f, path, []string{job.CreateTrainingJob}, second{algorithm, job.CreateAlgorithm})
				if err != nil {
					return nil, err
				}
				return a.withAlgorithm(docs, f.quiet)
			}
			return a.bench(&f, &b, nil, args[0], read, nil)
		},
	}
	b.add(c, job.KindTraining)
	f.plan(c)
	f.reach(c)
	f.data(c)
	c.Flags().StringVar(&algorithm, "algorithm", "", "`file` with the CreateAlgorithm request that AlgorithmName names (default: that of its last validation)")
	c.Flags().BoolVarP(&f.quiet, "quiet", "q", false, "do not tell of each run on stderr")
	return c
}

func (a *app) cmdBenchTransform() *cobra.Command {
	var f jobFlags
	var b benchFlags
	var m modelFlags
	c := &cobra.Command{
		Use:   "transform JOB.json",
		Short: "Benchmark a batch transform from a CreateTransformJob request",
		Long: `Run a batch transform again and again, from a CreateTransformJob request, and
print how long each phase took and what the model's containers used. Members of
the model's documents can be varied too: --vary Environment.WORKERS=1,2,4.
` + "`optml bench train --help`" + ` says more of --vary and of exit codes.`,
		Example: `  optml bench transform job.json --model-doc model.json --vary MaxConcurrentTransforms=1,2,4
  optml bench transform job.json --model-doc model.json --vary BatchStrategy=SingleRecord,MultiRecord --figure records`,
		Args: nargs(1, 1, "the document"),
		RunE: func(c *cobra.Command, args []string) error {
			if err := cmp.Or(b.check(c), m.check()); err != nil {
				return err
			}
			read := func(path string) ([]given, error) {
				docs, err := a.decodeAll(&f, path, []string{job.CreateTransformJob}, second{m.document, job.CreateModel},
					second{m.pkg, job.CreateModelPackage}, second{m.algorithm, job.CreateAlgorithm})
				if err != nil {
					return nil, err
				}
				return a.withAlgorithm(docs, f.quiet)
			}
			return a.bench(&f, &b, nil, args[0], read, m.set)
		},
	}
	b.add(c, job.KindTransform)
	f.plan(c)
	f.reach(c)
	f.instances(c)
	m.add(c)
	c.Flags().BoolVarP(&f.quiet, "quiet", "q", false, "do not tell of each run on stderr")
	return c
}

func (a *app) cmdBenchCompare() *cobra.Command {
	var slower percent
	figure := ""
	c := &cobra.Command{
		Use:   "compare A B",
		Short: "Compare two results: files in their JSON form, or names of benchmarks",
		Long: `Compare the variants of B with those of A that have the same names; where both
have one variant only, these. A and B are files in the JSON form, or the names
of benchmarks in the ledger.`,
		Example: `  optml bench compare before.json after.json
  optml bench compare main.json my-job-bench-x1y2z3 --fail-if-slower 5%`,
		Args: nargs(2, 2, "a result"),
		RunE: func(_ *cobra.Command, args []string) error {
			var r [2]*bench.Result
			for i, name := range args {
				var err error
				if r[i], err = a.result(name); err != nil {
					return err
				}
			}
			names := documentNames(args)
			x, err := bench.Compare(r[0], r[1], names[0], names[1], figure)
			if err != nil {
				return &usageError{Err: err}
			}
			show := x.Text
			if a.output == formatJSON {
				show = x.JSON
			}
			return cmp.Or(show(a.stdout), tooSlow(x, slower, a.stderr))
		},
	}
	c.Flags().StringVar(&figure, "figure", "", "`which` figure to compare (default: that of B's verdicts)")
	c.Flags().Var(&slower, "fail-if-slower", "exit code 10 if a variant of B is shown to be slower by more than this `share`, such as 5%")
	return c
}

func (a *app) cmdBenchShow() *cobra.Command {
	var f benchForms
	c := &cobra.Command{
		Use:   "show NAME",
		Short: "Print a benchmark's result again, from the ledger or from a file in its JSON form",
		Example: `  optml bench show my-job-bench-x1y2z3 -o result.html
  optml bench show result.json --output benchstat`,
		Args: nargs(1, 1, "the benchmark's name"),
		RunE: func(_ *cobra.Command, args []string) error {
			if err := f.check(); err != nil {
				return err
			}
			r, err := a.result(args[0])
			if err != nil {
				return err
			}
			return f.print(r, a.stdout)
		},
	}
	f.add(c)
	return c
}

// result reads a result: a file's, or that of a benchmark in the ledger.
func (a *app) result(name string) (*bench.Result, error) {
	if _, err := os.Stat(name); err == nil {
		r, err := bench.Read(name)
		if err != nil {
			return nil, &usageError{Err: err}
		}
		return r, nil
	}
	if strings.HasSuffix(name, ".json") {
		return nil, usage("there is no file %s", name)
	}
	j, err := ledger.Find(a.jobs(), name)
	if err != nil {
		return nil, err
	}
	if j.Kind() != job.KindBench {
		return nil, usage("%s/%s is no benchmark", j.Kind(), j.Name())
	}
	r, err := bench.Read(j.BenchPath())
	if errors.Is(err, os.ErrNotExist) {
		return nil, usage("%s/%s has no result: no run had ended", j.Kind(), j.Name())
	}
	return r, err
}

// tooSlow is the error of a comparison that shows something slower than is allowed.
func tooSlow(c *bench.Compared, allowed percent, stderr io.Writer) error {
	if !allowed.set {
		return nil
	}
	slower := c.Slower(allowed.share)
	for _, s := range slower {
		fmt.Fprintf(stderr, "optml: slower by more than %s: %s\n", allowed.String(), s)
	}
	if len(slower) > 0 {
		return ended{harness.ExitSlower}
	}
	return nil
}
