package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/optml/optml/human"
	"github.com/optml/optml/ledger"
	"github.com/optml/optml/report"
)

func (a *app) cmdDescribe() *cobra.Command {
	return &cobra.Command{
		Use:   "describe JOB",
		Short: "Show how a job stands, in the service's words",
		Long: `Show how a job stands. With --output json it is the reply that
DescribeTrainingJob, DescribeTransformJob, DescribeAlgorithm or
DescribeModelPackage would give.`,
		Args: nargs(1, 1, "the job's name"),
		RunE: func(_ *cobra.Command, args []string) error {
			return runDescribe(describeOptions{a.jobs(), args[0], a.output}, a.stdout)
		},
	}
}

type describeOptions struct {
	jobs   string
	job    string
	output format
}

func runDescribe(o describeOptions, stdout io.Writer) error {
	j, err := ledger.Find(o.jobs, o.job)
	if err != nil {
		return err
	}
	if o.output == formatJSON {
		d, err := j.Describe()
		if err != nil {
			return err
		}
		return writeJSON(stdout, d)
	}
	s, err := j.State()
	if err != nil {
		return err
	}
	e, err := entryOf(j)
	if err != nil {
		return err
	}
	r, err := report.Make(j)
	if err != nil {
		return err
	}
	d, err := j.StatusDetails()
	if err != nil {
		return err
	}
	err = human.Table(stdout, func(t io.Writer) {
		row(t, "Name", "%s/%s", j.Kind(), j.Name())
		row(t, "ARN", "%s", s.ARN)
		row(t, "Status", "%s", statusText(e))
		describeEnd(t, j, &s)
		describeHas(t, j, &s)
		for _, c := range r.Channels {
			row(t, "Channel", "%s: %s", c.Channel, c.Summary())
		}
		if live, ok, err := j.Live(); err == nil && ok && !s.Final {
			describeLive(t, live)
		}
		for _, u := range r.Usage {
			row(t, "Used", "%s: %s", u.Host, u.Summary())
		}
		if d != nil {
			for _, i := range d.ValidationStatuses {
				row(t, "ValidationStatus", "%s: %s", i.Name, strings.TrimSuffix(i.Status+": "+i.FailureReason, ": "))
			}
			for _, i := range d.ImageScanStatuses {
				row(t, "ImageScanStatus", "%s: %s", i.Name, strings.TrimSuffix(i.Status+": "+i.FailureReason, ": "))
			}
		}
		describeMade(t, &s)
		row(t, "Directory", "%s", j.Dir())
	})
	if err != nil || len(s.Transitions) == 0 {
		return err
	}
	fmt.Fprintln(stdout)
	return human.Table(stdout, func(t io.Writer) {
		for i, x := range s.Transitions {
			took := ""
			if !x.EndTime.IsZero() && i < len(s.Transitions)-1 {
				took = timeText(x.EndTime.Sub(x.StartTime))
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", clock(x.StartTime), x.Status, took, x.StatusMessage)
		}
	})
}

// describeEnd is how the job ended, its attempts and its times.
func describeEnd(t io.Writer, j *ledger.Job, s *ledger.State) {
	row(t, "FailureReason", "%s", s.FailureReason)
	row(t, "Detail", "%s", s.Detail)
	row(t, "Hint", "%s", s.Hint)
	for _, p := range s.Attempts {
		row(t, "Attempt", "%d ended %s: %s; its logs are in %s", p.Number, p.Status, strings.TrimSpace(p.FailureReason+" "+p.Detail), j.AttemptDir(p.Number))
	}
	if len(s.Attempts) > 0 {
		row(t, "Attempt", "%d", s.Attempt())
	}
	row(t, "Created", "%s", clock(s.CreationTime))
	row(t, "Started", "%s", clock(s.StartTime))
	row(t, "Ended", "%s", clock(s.EndTime))
}

// describeHas is what the job has been given: size, images, GPUs, containers, instances.
func describeHas(t io.Writer, j *ledger.Job, s *ledger.State) {
	if in := instancesOf(j.Plan()); len(in) > 0 && in[0].Type != "" {
		row(t, "Size", "%s", sizeText(in[0]))
	}
	for _, x := range s.Images {
		row(t, "Image", "%s (%s)", x.Ref, x.Digest)
	}
	for _, x := range s.GPUs {
		for _, g := range x.GPUs {
			row(t, "GPU", "%s: %s %s (%s)", x.Host, g.Index, g.Name, g.UUID)
		}
	}
	if len(s.Containers) > 1 {
		for _, c := range s.Containers {
			row(t, "Container", "%s: %s", c.Name, containerText(c))
		}
	}
	if s.Transform != nil {
		for _, in := range s.Transform.Instances {
			row(t, "Instance", "%s: %s, ready after %s", in.Host, human.Count(in.Objects, "object"), timeText(in.PingAfter))
		}
	}
}

// describeLive is what a job that runs does now.
func describeLive(t io.Writer, live ledger.Snapshot) {
	for _, i := range live.Images {
		row(t, "Pulling", "%s: %s of %s", i.Ref, human.Bytes(i.Bytes), human.Bytes(i.TotalBytes))
	}
	for _, c := range live.Containers {
		row(t, "Using", "%s: %s", c.Container, usingText(c))
	}
	if live.Transform != nil {
		row(t, "Progress", "%s", progressText(live.Transform))
	}
}

// describeMade is what came of the job: its children, artifacts and warnings.
func describeMade(t io.Writer, s *ledger.State) {
	for _, c := range s.Children {
		what := "Child"
		if c.Probe != "" {
			what = "Probe"
		}
		row(t, what, "%s/%s", c.Kind, c.Name)
	}
	for _, u := range s.Uploads {
		switch {
		case u.Kept != "":
			row(t, "Artifact", "%s kept in %s", u.Artifact, u.Kept)
		case !u.Empty:
			row(t, "Artifact", "%s %s (%s)", u.Artifact, u.URI, human.Bytes(u.Bytes))
		}
	}
	for _, w := range s.Warnings {
		row(t, "Warning", "%s", w.Text)
	}
}

// usingText is what a container uses now (training 5.2).
func usingText(c ledger.ContainerLive) string {
	text := fmt.Sprintf("CPU %.0f %%, memory %.0f %% (%s)", c.CPUPercent, c.MemoryPercent, human.Bytes(c.MemoryBytes))
	if c.DiskPercent > 0 {
		text += fmt.Sprintf(", disk %.0f %%", c.DiskPercent)
	}
	if c.GPUPercent != nil && c.GPUMemoryPercent != nil {
		text += fmt.Sprintf(", GPU %.0f %%, GPU memory %.0f %%", *c.GPUPercent, *c.GPUMemoryPercent)
	}
	return text
}

// progressText is how far a transform is.
func progressText(t *ledger.TransformLive) string {
	bytes := human.Bytes(t.Bytes)
	if t.TotalBytes > 0 {
		bytes += " of " + human.Bytes(t.TotalBytes)
	}
	return bytes + ", " + transformedText(t)
}

// containerText says how one of several containers stands.
func containerText(c ledger.Container) string {
	switch x := c.Exited; {
	case x == nil:
		return "running"
	case x.OOM:
		return "killed for want of memory"
	case x.Signal != 0:
		return fmt.Sprintf("ended by signal %d", x.Signal)
	default:
		return fmt.Sprintf("ended with exit code %d", x.Code)
	}
}

func clock(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format(time.DateTime)
}
