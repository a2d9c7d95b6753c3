package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/optml/optml/human"
	"github.com/optml/optml/job"
	"github.com/optml/optml/runtime/container"
	"github.com/optml/optml/runtime/ctrd"
)

// initFlags are what init is told.
type initFlags struct {
	image, inference, data, name, description, role, label, accept string

	parameters, metrics, maximize, minimize, instances []string
	trainOnly, certify, force                          bool
}

func (a *app) cmdInit() *cobra.Command {
	var f initFlags
	c := &cobra.Command{
		Use:   "init [FILE]",
		Short: "Write a first algorithm.json from an image and a directory of data",
		Long: `Write a CreateAlgorithm request with a validation profile (default: algorithm.json;
"-" writes it to stdout), and say of each field what it decides. On a terminal it
asks for what no flag says; elsewhere it lists what is missing.

The data (--data) is a directory with one directory a channel: train, which each
job must have, validation, test, or others. It stands for a bucket of its name, or,
below --s3-dir, for what it is there. What the transform reads lies in a directory
batch; without one --label-column writes batch/rows.csv: up to 100 rows of
validation, test or train, without their label and without a header. --data may
also be one file, the data of the channel train.

The image is looked at if it is here (optml images import, optml images pull) and
optml runs as root: whether train and serve are in it, its user, and whether it is
made for GPUs. Nothing is run.

A hyperparameter is NAME=VALUE, with its type (integer, continuous, categorical,
text) and its range if it has one: depth=5:integer:1..64, rate=0.1:continuous:0..1,
kernel=rbf:categorical:rbf|linear. VALUE is the default, and what the validation
trains with.`,
		Example: `  optml init --image registry/name:tag --data ./my-data --label-column first
  optml init --image registry/name:tag --data ./my-data \
    --hyperparameter depth=5:integer:1..64 --metric 'loss=loss=([0-9.]+)' --minimize loss
  optml init --image registry/name:tag --data ./my-data --train-only --force`,
		Args: nargs(0, 1, "the file to write"),
		RunE: func(_ *cobra.Command, args []string) error {
			file := "algorithm.json"
			if len(args) > 0 {
				file = args[0]
			}
			return a.init(&f, file)
		},
	}
	x := c.Flags()
	x.SortFlags = false
	x.StringVar(&f.image, "image", "", "the `image` that trains, and serves unless --inference-image says another")
	x.StringVar(&f.data, "data", "", "`directory` of the data, one directory a channel, or a file")
	x.StringVar(&f.label, "label-column", "", "`column` of the label in CSV data: first, last, none, its number or its name; writes batch/rows.csv without it")
	x.StringVar(&f.inference, "inference-image", "", "the `image` that serves")
	x.BoolVar(&f.trainOnly, "train-only", false, "an algorithm that trains and does not serve")
	x.StringVar(&f.name, "name", "", "the algorithm's `name` (default: the image's)")
	x.StringVar(&f.description, "description", "", "`text` for buyers")
	x.StringArrayVar(&f.parameters, "hyperparameter", nil, "a hyperparameter, `NAME=VALUE[:TYPE[:RANGE]]`; repeatable")
	x.StringArrayVar(&f.metrics, "metric", nil, "a metric and the expression that finds it in the log, `NAME=REGEX`; repeatable")
	x.StringArrayVar(&f.maximize, "maximize", nil, "a metric's `name` that a tuning job can maximize; repeatable")
	x.StringArrayVar(&f.minimize, "minimize", nil, "a metric's `name` that a tuning job can minimize; repeatable")
	x.StringArrayVar(&f.instances, "instance-type", nil, "a `type` that is supported, the first for the validation; repeatable (default: ml.m5.large and ml.m5.xlarge; ml.g4dn.xlarge and ml.g5.xlarge for an image with CUDA)")
	x.StringVar(&f.role, "role", "", "`ARN` of the role that validates (default: SageMakerValidation of the image's account)")
	x.StringVar(&f.accept, "accept", "", "MIME `type` of what serve answers (default: that of the data where it is text)")
	x.BoolVar(&f.certify, "certify", false, "set CertifyForMarketplace")
	x.BoolVar(&f.force, "force", false, "overwrite what is there")
	return c
}

// asker puts a question with what an empty answer means; nil asks nobody.
type asker func(question, empty string) (string, error)

// asker asks on a terminal alone.
func (a *app) asker() asker {
	in, ok := a.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) || !newConsole(a.stderr).term {
		return nil
	}
	return askOn(a.stdin, a.stderr)
}

func askOn(in io.Reader, out io.Writer) asker {
	lines := bufio.NewReader(io.LimitReader(in, 1<<20))
	return func(question, empty string) (string, error) {
		if empty != "" {
			question += " [" + empty + "]"
		}
		fmt.Fprint(out, question+": ")
		line, err := lines.ReadString('\n')
		if err != nil && (!errors.Is(err, io.EOF) || line == "") {
			fmt.Fprintln(out)
			return "", &usageError{Err: errors.New("no answer: nothing is written")}
		}
		return cmp.Or(strings.TrimSpace(line), empty), nil
	}
}

// init makes the document and writes it.
func (a *app) init(f *initFlags, file string) error {
	if _, err := os.Lstat(file); file != "-" && err == nil && !f.force {
		return exists(file)
	}
	d, err := a.draft(f, a.asker())
	if err != nil {
		return err
	}
	made, fields := d.document()
	var raw bytes.Buffer
	if err := writeJSON(&raw, made); err != nil {
		return err
	}
	notes, err := d.check(raw.Bytes())
	if err != nil {
		return err
	}
	if err := d.data.saveBatch(); err != nil {
		return err
	}
	if file == "-" {
		if _, err := a.stdout.Write(raw.Bytes()); err != nil {
			return err
		}
		printFields(a.stderr, "the document", fields, append(d.notes(), notes...), a.next(d, "algorithm.json"))
		return nil
	}
	if err := writeFile(file, raw.Bytes()); err != nil {
		return err
	}
	if a.output == formatJSON {
		return writeJSON(a.stdout, map[string]any{"file": file, "fields": fields, "notes": append([]string{}, append(d.notes(), notes...)...), "next": a.next(d, file)})
	}
	printFields(a.stdout, file, fields, append(d.notes(), notes...), a.next(d, file))
	return nil
}

// draft decides what the document has: what flags say, what answers say, and what can be seen.
func (a *app) draft(f *initFlags, ask asker) (*draft, error) {
	d := &draft{name: f.name, description: f.description, role: f.role, accept: f.accept, certify: f.certify}
	var missing []string
	need := func(value *string, flag, question, empty string) error {
		if *value != "" {
			return nil
		}
		if ask == nil {
			missing = append(missing, flag)
			return nil
		}
		v, err := ask(question, empty)
		if *value = v; err == nil && v == "" {
			err = usage("no answer, and %s is needed: nothing is written", flag)
		}
		return err
	}
	if err := errors.Join(f.settle(d), need(&f.image, "--image IMAGE", "Image that trains and serves", "")); err != nil {
		return nil, err
	}
	if err := need(&f.data, "--data DIR", "Directory of the data, with one directory a channel, or a file", ""); err != nil {
		return nil, err
	}
	var err error
	if f.data != "" {
		if d.data, err = lookAtData(f.data, a.s3Dir); err != nil {
			return nil, err
		}
		if !f.trainOnly && d.data.batch == nil && f.label == "" {
			batch := filepath.Join(d.data.dir, "batch")
			if d.data.channels[0].csv == nil {
				return nil, &usageError{Err: fmt.Errorf("the transform has nothing to read: there is no %s", batch), Hint: "put records into it as `serve` takes them, or say --train-only"}
			}
			err = need(&f.label, fmt.Sprintf("--label-column COLUMN (or records without their label in %s, or --train-only)", batch),
				"Column of the label, which is left out of what the transform reads (first, last, none, its number or its name)", d.data.channels[0].csv.label())
			if err != nil {
				return nil, err
			}
		}
	}
	if missing != nil {
		return nil, &usageError{Err: fmt.Errorf("missing: %s", strings.Join(missing, ", ")), Hint: "on a terminal optml init asks for it; `optml init --help` has examples"}
	}
	d.image = f.image
	if !f.trainOnly {
		d.inference = cmp.Or(f.inference, f.image)
	}
	if f.label != "" {
		if err := d.data.makeBatch(f.label, f.force); err != nil {
			return nil, err
		}
	}
	d.look = a.lookAtImages(d.image, d.inference)
	if d.instances = f.instances; len(d.instances) == 0 {
		d.instances = []string{"ml.m5.large", "ml.m5.xlarge"}
		if d.look.gpu {
			d.instances = []string{"ml.g4dn.xlarge", "ml.g5.xlarge"}
		}
	}
	if d.name == "" {
		d.name = nameOf(d.image)
	}
	if d.role == "" {
		account := "000000000000"
		if m := accountOf.FindString(d.image); m != "" {
			account = m
		}
		d.role = "arn:aws:iam::" + account + ":role/SageMakerValidation"
		if ask != nil {
			if d.role, err = ask("Role that validates on the service", d.role); err != nil {
				return nil, err
			}
		}
	}
	if d.accept == "" && d.data.batch != nil {
		d.accept = "application/json"
		if slices.Contains(lineTypes, d.data.batch.kind) {
			d.accept = d.data.batch.kind
		}
	}
	return d, nil
}

// settle reads the flags that have a form of their own.
func (f *initFlags) settle(d *draft) error {
	for _, s := range f.parameters {
		p, err := parseParameter(s)
		if err != nil {
			return err
		}
		d.parameters = append(d.parameters, p)
	}
	var names []string
	for _, s := range f.metrics {
		m, err := parseMetric(s)
		if err != nil {
			return err
		}
		d.metrics, names = append(d.metrics, m), append(names, m.name)
	}
	for _, x := range []struct {
		kind, flag string
		names      []string
	}{{"Maximize", "maximize", f.maximize}, {"Minimize", "minimize", f.minimize}} {
		for _, n := range x.names {
			if !slices.Contains(names, n) {
				return &usageError{Err: fmt.Errorf("--%s %s: there is no metric of this name", x.flag, n), Hint: fmt.Sprintf("say how it is found in the log: --metric '%s=REGEX'", n)}
			}
			d.objectives = append(d.objectives, objective{x.kind, n})
		}
	}
	if f.trainOnly && (f.inference != "" || f.label != "" || f.accept != "") {
		return usage("--train-only makes no transform: leave out --inference-image, --label-column and --accept")
	}
	return nil
}

// label guesses which column is the label: the first or the last if it alone is text.
func (c *csvFacts) label() string {
	if len(c.texts) == 1 && c.texts[0] == c.columns-1 && c.columns > 1 {
		return "last"
	}
	return "first"
}

// check holds the document against what the service takes, as `optml plan --strict` does. What it refuses is an error; what
// this host cannot do is a note.
func (d *draft) check(raw []byte) ([]string, error) {
	doc, err := job.Decode("", raw)
	if err == nil {
		_, err = job.Make([]*job.Document{doc}, job.Options{RunSuffix: runSuffix(), Strict: true}, hostFacts())
	}
	var invalid *job.Invalid
	var refused *job.Unsupported
	switch {
	case errors.As(err, &invalid): // in terms of the flags: there is no file yet that its places are in
		all := []error{errors.New("the service would refuse the document, so it is not written")}
		seen := map[string]bool{}
		for _, p := range invalid.Problems {
			if !seen[p.Text] {
				all = append(all, &usageError{Err: fmt.Errorf("%s: %s", p.Path, p.Text), Hint: p.Hint})
			}
			seen[p.Text] = true
		}
		return nil, errors.Join(all...)
	case errors.As(err, &refused):
		var notes []string
		for _, m := range refused.Members {
			notes = append(notes, fmt.Sprintf("%s: --strict refuses it here: %s", m.Path, m.Text))
		}
		return notes, nil
	}
	return nil, err
}

var (
	accountOf   = regexp.MustCompile(`^[0-9]{12}\b`)
	notNameChar = regexp.MustCompile(`[^a-zA-Z0-9]+`)
)

// nameOf makes an algorithm's name of an image's.
func nameOf(image string) string {
	ref, _, _ := strings.Cut(image, "@")
	base := path.Base(ref)
	base, _, _ = strings.Cut(base, ":")
	name := strings.Trim(notNameChar.ReplaceAllString(base, "-"), "-")
	return cmp.Or(strings.Trim(name[:min(len(name), 40)], "-"), "algorithm")
}

// imageLook is what is known of the images.
type imageLook struct {
	why  string // they were not looked at
	all  []lookedAt
	gpu  bool
	arch string
}

type lookedAt struct {
	ref, command, at, user string
	entrypoint             bool
}

// lookAtImages looks into the images if they are here. What hinders it is a note: they may be elsewhere.
func (a *app) lookAtImages(training, inference string) (l imageLook) {
	if os.Geteuid() != 0 {
		l.why = "looking into an image needs root"
		return l
	}
	_, noStore := os.Stat(filepath.Join(a.root, "containerd"))
	if _, noDaemon := os.Stat(a.runDir); noStore != nil && noDaemon != nil && a.containerd == "" { // nothing need be started to see that
		l.why = notHere(training)
		return l
	}
	err := a.withClient(a.hostOptions(&jobFlags{}), func(ctx context.Context, c *ctrd.Client) error {
		for _, x := range []struct{ ref, command string }{{training, "train"}, {inference, "serve"}} {
			if x.ref == "" {
				continue
			}
			img, found, err := c.Commands(ctx, x.ref, x.command)
			if err != nil {
				return err
			}
			l.all = append(l.all, lookedAt{x.ref, x.command, found[x.command], cmp.Or(img.User, "root"), len(img.Entrypoint) > 0})
			l.arch = img.Arch
			for _, kv := range img.Env {
				name, _, _ := strings.Cut(kv, "=")
				l.gpu = l.gpu || name == "CUDA_VERSION" || strings.HasPrefix(name, "NVIDIA_REQUIRE_")
			}
		}
		return nil
	})
	var image *container.ImageError
	switch {
	case errors.As(err, &image) && image.Kind == container.ImageNotFound:
		l.why = notHere(image.Ref)
	case err != nil:
		l.why = err.Error()
	}
	return l
}

func notHere(ref string) string {
	return ref + " is not on this machine: `optml images import` or `optml images pull` brings it in"
}

// says tells what was seen of a command; "" is nothing.
func (l imageLook) says(command string) string {
	for _, x := range l.all {
		if x.command != command {
			continue
		}
		switch {
		case x.at != "":
			return fmt.Sprintf("it has %s, run by %s", x.at, x.user)
		case x.entrypoint:
			return fmt.Sprintf("it has an entrypoint, which is given %q, and runs as %s", command, x.user)
		}
		return fmt.Sprintf("it has no %q on its PATH and no entrypoint", command)
	}
	return ""
}

// kind says what the instance types were chosen for.
func (l imageLook) kind() string {
	switch {
	case l.why != "":
		return "types without a GPU unless the image is known to want one"
	case l.gpu:
		return "types with an NVIDIA GPU, since the image has CUDA"
	}
	return "types without a GPU, since the image has no CUDA"
}

// notes are what the user should know before the validation.
func (d *draft) notes() []string {
	var all []string
	if d.look.why != "" {
		all = append(all, "the image was not looked at: "+d.look.why)
	}
	for _, x := range d.look.all {
		if x.at == "" && !x.entrypoint {
			all = append(all, fmt.Sprintf("image %s has no %q on its PATH and no entrypoint: the container cannot start", x.ref, x.command))
		}
		if x.user != "root" && x.user != "0" && x.command == "train" {
			all = append(all, fmt.Sprintf("image %s runs as %s, and /opt/ml is root's on the service: `train` cannot write its model there", x.ref, x.user))
		}
	}
	if d.look.arch != "" && d.look.arch != "amd64" {
		all = append(all, "the image is for "+d.look.arch+", and the service trains and transforms on amd64")
	}
	for _, c := range append(slices.Clone(d.data.channels), orNone(d.data.batch)...) {
		if c.csv != nil && c.csv.header != nil {
			all = append(all, fmt.Sprintf("%s begins with a header (%s): the container is given it as any other row", c.first, human.Clip(strings.Join(c.csv.header, ","), 60)))
		}
	}
	return all
}

func orNone(c *foundChannel) []foundChannel {
	if c == nil {
		return nil
	}
	return []foundChannel{*c}
}

// next is what to do with the document.
func (a *app) next(d *draft, file string) []string {
	where := ""
	if a.s3Dir != d.data.s3Dir {
		where = " --s3-dir " + d.data.s3Dir
	}
	return []string{"optml plan " + file + " --strict", "optml validate " + file + where}
}

// groups are the structures under which fields are printed.
var groups = []string{"TrainingSpecification", "InferenceSpecification", "ValidationSpecification.ValidationProfiles[0].TrainingJobDefinition",
	"ValidationSpecification.ValidationProfiles[0].TransformJobDefinition", "ValidationSpecification"}

func printFields(w io.Writer, file string, fields []field, notes, next []string) {
	fmt.Fprintf(w, "%s: its fields, and what each decides\n\n", file)
	last := ""
	for _, f := range fields {
		group, name := "", f.Path
		for _, g := range groups {
			if rest, ok := strings.CutPrefix(f.Path, g+"."); ok {
				group, name = g, rest
				break
			}
		}
		if group != last && group != "" {
			fmt.Fprintf(w, "\n%s\n", group)
		} else if group != last {
			fmt.Fprintln(w)
		}
		last = group
		indent := ""
		if group != "" {
			indent = "  "
		}
		fmt.Fprintf(w, "%s%s: %s\n%s    %s\n", indent, name, human.Clip(f.Value, 100), indent, f.Decides)
	}
	for _, n := range notes {
		fmt.Fprintf(w, "\nnote: %s\n", n)
	}
	fmt.Fprintf(w, "\nNext:\n")
	for _, n := range next {
		fmt.Fprintf(w, "  %s\n", n)
	}
}
