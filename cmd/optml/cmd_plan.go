package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/optml/optml/human"
	"github.com/optml/optml/job"
)

func (a *app) cmdPlan() *cobra.Command {
	var f jobFlags
	var m modelFlags
	c := &cobra.Command{
		Use:   "plan DOCUMENT.json [OTHER.json...]",
		Short: "Check a request and print what would be done, without doing it",
		Long: `Check a CreateAlgorithm, CreateModelPackage, CreateTrainingJob or
CreateTransformJob request and print what would be run, and how each of its
members is treated: honoured as on the service, emulated (the note says how),
inert (it has no effect inside a container) or refused (it would change what the
container sees or what comes out, and is not carried out). Others are what it
names: the CreateModel request of a transform job with the CreateModelPackage
request that it may name, the CreateAlgorithm request of a training job or of a
model package. Each may also be the reply that describes it (see "optml train
--help"). A CreateModel request alone runs nothing, and is only checked. Needs
neither root nor images.

What is wrong is told all at once, with line and column, in a plain sentence and
in the service's words; the exit code is then 2. --output json prints it as
{"problems", "refused", "members"}, each with its path. --strict refuses what
the service refuses, and what is carried out in another way that can change
bytes, order, limits or status.`,
		Example: `  optml plan algorithm.json
  optml plan transform.json model.json --output json`,
		Args: nargs(1, 4, "the document"),
		RunE: func(_ *cobra.Command, args []string) error {
			var docs []given
			for _, path := range args {
				d, err := a.decode(path, either, false)
				if err != nil {
					return refuse(err, nil, a)
				}
				docs = append(docs, d)
			}
			docs, err := a.withAlgorithm(docs, true)
			if err != nil {
				return err
			}
			o, err := f.options(a, args[0])
			if err != nil {
				return err
			}
			m.set(&o)
			if len(docs) == 1 && docs[0].Operation == job.CreateModel {
				members, warnings, err := job.Check(documentsOf(docs), o)
				if err != nil {
					return refuse(err, members, a)
				}
				return printModel(members, warnings, a.output, a.stdout)
			}
			p, err := makePlan(docs, o)
			if err != nil {
				members, _, _ := job.Check(documentsOf(docs), o)
				return refuse(err, members, a)
			}
			return printPlan(p, a.output, a.stdout)
		},
	}
	f.plan(c)
	f.instances(c)
	f.place(c)
	f.data(c)
	f.validation(c)
	c.Flags().StringVar(&m.model, "model", "", "`path` of a transform job's model.tar.gz, instead of the ModelDataUrl")
	c.Flags().StringVar(&m.image, "image", "", "inference `image` of a transform job without a CreateModel request")
	return c
}

func printPlan(p *job.Plan, f format, w io.Writer) error {
	if f == formatJSON {
		return writeJSON(w, p)
	}
	err := human.Table(w, func(t io.Writer) {
		planText(t, p)
	})
	if err != nil {
		return err
	}
	if len(p.Members) > 0 {
		fmt.Fprintln(w)
	}
	membersText(w, p.Members)
	warningsText(w, p.Warnings)
	return nil
}

// printModel tells of a CreateModel request, which runs nothing itself.
func printModel(members []job.MemberUse, warnings []job.Warning, f format, w io.Writer) error {
	if f == formatJSON {
		return writeJSON(w, struct {
			Operation string          `json:"operation"`
			Members   []job.MemberUse `json:"members"`
			Warnings  []job.Warning   `json:"warnings,omitempty"`
		}{job.CreateModel, members, warnings})
	}
	fmt.Fprintln(w, "A model runs nothing itself: give the CreateTransformJob request that names it too, to see what would be run.")
	fmt.Fprintln(w)
	membersText(w, members)
	warningsText(w, warnings)
	return nil
}

// refusal is why there is no plan, for machines.
type refusal struct {
	Operation string              `json:"operation,omitempty"`
	Problems  []job.Problem       `json:"problems,omitempty"`
	Refused   []job.RefusedMember `json:"refused,omitempty"`
	More      int                 `json:"more,omitempty"`    // problems and refused members beyond those
	Answers   []job.Answer        `json:"answers,omitempty"` // of the service and its clients, in turn
	Members   []job.MemberUse     `json:"members,omitempty"`
}

// refuse prints what is known of documents that there is no plan of: everything for machines; for people the members of
// documents that are sound, with those that are refused among them. What is wrong stands on stderr, whole. It returns err.
func refuse(err error, members []job.MemberUse, a *app) error {
	var invalid *job.Invalid
	var no *job.Unsupported
	r := refusal{Members: members}
	if errors.As(err, &no) {
		r.Operation, r.Refused, r.More = no.Operation, no.Members, no.More
		for _, m := range no.Members { // some are for what this machine is, which the table of members does not know
			for i := range members {
				if members[i].Path == m.Path {
					members[i].Treatment, members[i].Note = job.Refused, m.Text
				}
			}
		}
	}
	if errors.As(err, &invalid) {
		r.Operation, r.Problems, r.Answers = invalid.Operation, invalid.Problems, invalid.Answers()
		r.More += invalid.More
	}
	var perr error
	switch {
	case invalid == nil && no == nil:
	case a.output == formatJSON:
		perr = writeJSON(a.stdout, r)
	case invalid == nil:
		membersText(a.stdout, members)
	}
	return cmp.Or(perr, err)
}

// membersText lists how each member is treated.
func membersText(w io.Writer, members []job.MemberUse) {
	if len(members) == 0 {
		return
	}
	n := map[job.Treatment]int{}
	for _, m := range members {
		n[m.Treatment]++
	}
	var counts []string
	for _, t := range []job.Treatment{job.Honoured, job.Emulated, job.Inert, job.Refused} {
		if n[t] > 0 {
			counts = append(counts, fmt.Sprintf("%d %s", n[t], t))
		}
	}
	fmt.Fprintf(w, "MEMBERS OF THE REQUEST: %s\n", strings.Join(counts, ", "))
	for _, m := range members {
		fmt.Fprintf(w, "%-8s  %s", m.Treatment, m.Path)
		if m.Note != "" {
			fmt.Fprintf(w, ": %s", m.Note)
		}
		fmt.Fprintln(w)
	}
}

func warningsText(w io.Writer, warnings []job.Warning) {
	for _, x := range warnings {
		where := ""
		if x.Path != "" {
			where = x.Path + ": "
		}
		fmt.Fprintf(w, "\nwarning: %s%s (%s)\n", visible(where), visible(x.Text), x.Rule)
	}
}

// row prints a name and a value; an empty value is left out.
func row(t io.Writer, name, format string, args ...any) {
	if v := fmt.Sprintf(format, args...); strings.TrimSpace(v) != "" {
		fmt.Fprintf(t, "%s\t%s\n", name, v)
	}
}

func planText(t io.Writer, p *job.Plan) {
	row(t, "Kind", "%s", p.Kind)
	row(t, "Name", "%s", p.Name)
	row(t, "ARN", "%s", p.ARN)
	row(t, "Account", "%s, region %s", p.Account, p.Region)
	switch {
	case p.Training != nil:
		trainingText(t, p.Training)
	case p.Transform != nil:
		transformText(t, p.Transform)
	case p.Validation != nil:
		validationText(t, p.Validation)
	}
}

func validationText(t io.Writer, v *job.Validation) {
	what, name := "Algorithm", v.Algorithm
	if v.Package != "" {
		what, name = "Model package", v.Package
	}
	if v.Profile != "" {
		name += ", profile " + v.Profile
	}
	row(t, what, "%s", name)
	for _, i := range v.Images {
		row(t, "Image", "%s: %s", i.Name, i.Image.Ref)
	}
	if v.Skipped != "" {
		row(t, "Runs", "nothing: %s", v.Skipped)
	}
	n := 0
	for _, child := range []*job.Plan{v.Training, v.Transform} {
		if child != nil {
			n++
			fmt.Fprintf(t, "\n%d. %s\n", n, strings.ToUpper(string(child.Kind)))
			planText(t, child)
		}
	}
	typesText(t, v.Types)
	if len(v.Probes) > 0 {
		fmt.Fprintln(t, "\nPROBES")
	}
	for _, x := range v.Probes {
		row(t, strings.TrimSpace(x.Kind+" "+x.About), "%s", x.Does)
	}
}

// typesText says of the supported instance types what this host shows of them.
func typesText(t io.Writer, all []job.SupportedTypes) {
	if len(all) > 0 {
		fmt.Fprintln(t, "\nSUPPORTED INSTANCE TYPES")
	}
	for _, s := range all {
		var said []string
		if s.Ran != "" {
			said = append(said, "the profile shows "+s.Ran)
		}
		if s.Probe != "" {
			said = append(said, "--probe shows "+s.Probe)
		}
		if s.Lacks != "" {
			said = append(said, "not shown here: "+s.Lacks)
		}
		row(t, fmt.Sprintf("%s (%s)", s.Job, s.Class), "%s: %s", strings.Join(s.Types, ", "), strings.Join(said, "; "))
	}
}

func trainingText(t io.Writer, x *job.Training) {
	instancesText(t, x.Instances)
	if len(x.Hosts) > 1 {
		row(t, "Hosts", "%s", strings.Join(x.Hosts, ", "))
	}
	row(t, "Network", "%s", network(x.Isolated))
	for _, k := range slices.Sorted(maps.Keys(x.HyperParameters)) {
		row(t, "Hyperparameter", "%s = %q", k, x.HyperParameters[k])
	}
	for _, c := range x.Channels {
		how := []string{c.Mode, c.Source.Type}
		for _, s := range []string{c.Source.Distribution, c.ContentType, c.Compression, c.RecordWrapper} {
			if s != "" && s != "None" {
				how = append(how, s)
			}
		}
		from := c.Source.URI
		if c.Source.Type == "FileSystem" {
			from = filepath.Join(from, c.Source.Directory)
			if c.Source.ReadOnly {
				how = append(how, "read-only")
			}
		}
		row(t, "Channel", "%s from %s (%s)", c.Name, from, strings.Join(how, ", "))
	}
	for _, m := range x.Metrics {
		row(t, "Metric", "%s: %s", m.Name, m.Regex)
	}
	row(t, "Model to", "%s", x.ModelURI)
	row(t, "Output to", "%s", x.OutputURI)
	if c := x.Checkpoint; c != nil {
		row(t, "Checkpoints", "%s at %s, synced every %s", c.URI, c.LocalPath, c.Every.Std())
	}
	if x.Retries > 0 {
		row(t, "Retries", "%d, of an InternalServerError", x.Retries)
	}
	row(t, "Limit", "%s, then SIGTERM, then SIGKILL after %s", x.MaxRuntime.Std(), x.Grace.Std())
	row(t, "/dev/shm", "%s", human.Bytes(x.ShmBytes))
	if x.VolumeBytes > 0 {
		how := "the job is stopped when it has written more"
		if x.EnforceVolume {
			how = "/opt/ml is a file system of that size"
		}
		row(t, "Volume", "%s: %s", human.Bytes(x.VolumeBytes), how)
	}
}

func transformText(t io.Writer, x *job.Transform) {
	instancesText(t, x.Instances)
	row(t, "Network", "%s", network(x.Isolated))
	for _, m := range slices.Concat(x.Models, x.More) {
		uri := m.URI
		if uri == "" {
			uri = "an empty /opt/ml/model"
		}
		if m.Channel != "" {
			uri += " (" + m.Channel + ")"
		}
		row(t, "Model", "%s: %s", m.Container, uri)
	}
	row(t, "Input", "%s (%s, split %s)", x.Input.Source.URI, x.Input.Source.Type, x.Input.SplitType)
	row(t, "Output", "%s (assembled with %s)", x.Output.Path, x.Output.AssembleWith)
	if c := x.Capture; c != nil {
		ids := ""
		if c.InferenceIDs {
			ids = "; each result gets an inference id"
		}
		row(t, "Data capture", "manifests below %s%s", c.Path, ids)
	}
	if x.BatchStrategy != nil {
		row(t, "Batches", "%s", *x.BatchStrategy)
	}
	if x.MaxPayloadMB != nil {
		row(t, "Payload", "at most %d MB", *x.MaxPayloadMB)
	}
	if x.MaxConcurrent != nil {
		row(t, "Concurrency", "%d", *x.MaxConcurrent)
	}
	row(t, "/ping within", "%s", x.PingWindow.Std())
}

func instancesText(t io.Writer, all []job.Instance) {
	for _, i := range all {
		row(t, "Instance", "%s: %s", i.Host, sizeText(i))
		for _, c := range i.Containers {
			command := "the image's own command"
			if len(c.Entrypoint)+len(c.Args) > 0 {
				command = strings.Join(append(slices.Clone(c.Entrypoint), c.Args...), " ")
			}
			gpus := ""
			if i.GPUs > 0 {
				gpus = ", " + human.Count(int64(i.GPUs), "GPU")
				if len(i.GPUDevices) > 0 {
					gpus += " (" + strings.Join(i.GPUDevices, ", ") + ")"
				}
				if i.SharedGPUs {
					gpus += ", shared with the other instances"
				}
			}
			row(t, "Container", "%s: %s, runs %q%s", c.Name, c.Image.Ref, command, gpus)
		}
	}
}

// sizeText is what an instance has of this machine.
func sizeText(i job.Instance) string {
	if i.Type == "" {
		return "all of this machine"
	}
	cpus, memory := "all processors", "all memory"
	if i.CPUs > 0 {
		cpus = human.Count(int64(i.CPUs), "processor")
	}
	if i.MemoryBytes > 0 {
		memory = human.Bytes(i.MemoryBytes) + " of memory"
	}
	return fmt.Sprintf("as %s, %s, %s", i.Type, cpus, memory)
}

func network(isolated bool) string {
	if isolated {
		return "isolated: nothing can be reached but the job's own containers"
	}
	return "open"
}
