package report

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/optml/optml/human"
	"github.com/optml/optml/job"
)

// Text writes the report for a terminal. It uses no colours and no control characters, whatever a container printed.
func (r *Report) Text(w io.Writer) error {
	var t text
	t.report(r, true)
	_, err := io.WriteString(w, t.String())
	return err
}

// text is a report under way: sections of aligned rows.
type text struct {
	strings.Builder
}

func (t *text) report(r *Report, outermost bool) {
	t.head(r, outermost)
	if r.Probe != "" { // a rule tells what came of it, and its own report the rest
		t.interruption(r.Interruption)
		return
	}
	t.rules(r.Rules)
	t.status(r)
	t.failure(r)
	t.interruption(r.Interruption)
	t.steps(r)
	t.channels(r.Channels)
	t.transform(r.Transform)
	t.metrics(r.Metrics)
	t.usage(r.Usage)
	t.outputs(r.Outputs)
	t.warnings(r.Warnings)
	for _, child := range r.Jobs {
		var c text
		c.report(child, false)
		t.WriteByte('\n')
		for line := range strings.Lines(c.String()) {
			if line != "\n" {
				line = "  " + line
			}
			t.WriteString(line)
		}
	}
	if outermost {
		t.section("Record", []row{{human.Line(r.Directory)}})
	}
}

// words for the verdict; a validation passes, a job completes.
func verdictText(r *Report) string {
	switch r.Verdict {
	case Running:
	default:
		if r.Probe != "" { // its end is no verdict
			return "PROBE"
		}
	}
	switch r.Verdict {
	case Passed:
		if r.Kind == job.KindValidation {
			return "PASSED"
		}
		return "COMPLETED"
	case Unvalidated:
		return "NOT VALIDATED"
	case Running:
		if r.SecondaryStatus != "" {
			return "RUNNING (" + r.SecondaryStatus + ")"
		}
	case Stopped:
		if r.SecondaryStatus != "" && r.SecondaryStatus != "Stopped" {
			return "STOPPED (" + r.SecondaryStatus + ")"
		}
	}
	return strings.ToUpper(r.Verdict)
}

func (t *text) head(r *Report, outermost bool) {
	fmt.Fprintf(t, "%s  %s %s\n", verdictText(r), r.Kind, human.Line(r.Name))
	var rows []row
	if r.Probe != "" {
		rows = append(rows, row{"probe", "it " + human.Line(r.Probe)})
		ended := r.Status
		if f := r.Failure; f != nil {
			ended = f.Reason
			if ended == "" {
				ended = f.Detail
			}
			ended = r.Status + ": " + ended
		}
		rows = append(rows, row{"ended", human.Line(ended)})
	}
	if outermost {
		rows = append(rows, row{"arn", human.Line(r.ARN)}, row{"created", clockText(r.Created)})
	}
	took := "took"
	if r.Verdict == Running {
		took = "so far"
	}
	rows = append(rows, row{took, secondsText(r.Seconds)})
	said := map[Image]bool{} // containers that have one image need it said once
	for _, i := range r.Images {
		if i.Container = ""; said[i] {
			continue
		}
		said[i] = true
		rows = append(rows, row{"image", human.Line(i.Ref)})
		if i.Digest != "" && !strings.Contains(i.Ref, i.Digest) {
			rows = append(rows, row{"", human.Line(i.Digest)})
		}
	}
	for _, g := range r.GPUs {
		rows = append(rows, row{"gpu", human.Line(strings.TrimSpace(g.Index + " " + g.Name + " (" + g.UUID + ")"))})
	}
	t.rows(rows, "  ")
}

func (t *text) rules(rules []Rule) {
	var rows []row
	for _, x := range rules {
		rows = append(rows, row{x.Outcome, human.Line(x.Rule), human.Line(x.Evidence)})
		if x.Remedy != "" && x.Outcome != Passed {
			rows = append(rows, row{"", "", "to do: " + human.Line(x.Remedy)})
		}
	}
	t.section("Rules", rows)
}

func (t *text) status(r *Report) {
	var rows []row
	for _, x := range r.statusRows() {
		rows = append(rows, row{human.Line(x[0]), human.Line(x[1]), human.Line(x[2])})
	}
	t.section("Status, as the service says it", rows)
}

func (t *text) failure(r *Report) {
	f := r.Failure
	if f == nil {
		return
	}
	var rows []row
	for _, x := range []row{{"reason", f.Reason}, {"detail", f.Detail}, {"hint", f.Hint}} {
		for i, line := range strings.Split(strings.TrimRight(x[1], "\n"), "\n") {
			if x[1] == "" {
				break
			}
			if i > 0 {
				x[0] = ""
			}
			rows = append(rows, row{x[0], human.Line(line)})
		}
	}
	for _, c := range r.Containers {
		switch {
		case c.OOM:
			rows = append(rows, row{"exit", fmt.Sprintf("%s was killed for want of memory", human.Line(c.Name))})
		case c.Signal != 0:
			rows = append(rows, row{"exit", fmt.Sprintf("%s ended by signal %d", human.Line(c.Name), c.Signal)})
		case c.ExitCode != nil && *c.ExitCode != 0:
			rows = append(rows, row{"exit", fmt.Sprintf("%s ended with code %d", human.Line(c.Name), *c.ExitCode)})
		}
	}
	title := "Failure"
	if f.Reason == "" && r.Verdict == Stopped { // a stop is no failure
		title = "Stopped"
	}
	t.section(title, rows)
	for _, l := range f.Logs {
		t.title(fmt.Sprintf("Last %s of %s", countText(int64(len(l.Lines)), "line"), human.Line(l.Name)))
		for _, line := range l.Lines {
			t.WriteString(strings.TrimRight("  | "+human.Line(line), " ") + "\n")
		}
		fmt.Fprintf(t, "  in %s\n", human.Line(l.Path))
	}
}

func (t *text) interruption(x *Interruption) {
	if x == nil {
		return
	}
	rows := []row{{"signal", human.Line(x.Signal)}, {"", human.Line(x.Says)}}
	if x.Remedy != "" {
		rows = append(rows, row{"", "to do: " + human.Line(x.Remedy)})
	}
	for _, s := range x.Saved {
		rows = append(rows, row{human.Line(s.What), human.Line(s.Says)})
	}
	t.section("Rehearsed interruption", rows)
}

func (t *text) steps(r *Report) {
	hosts := false
	for _, s := range r.Steps {
		hosts = hosts || s.Host != "" && s.Host != r.Steps[0].Host
	}
	var rows []row
	for _, s := range r.Steps {
		x := row{human.Line(s.Name), right(secondsText(s.Seconds)), "", ""}
		if s.Bytes > 0 {
			x[2] = right(human.Bytes(s.Bytes))
		}
		switch {
		case s.Error != "":
			x[3] = human.Line(s.Error)
		case s.Open && r.Verdict == Running:
			x[3] = "under way"
		case s.Open:
			x[3] = "cut off"
		}
		if hosts {
			x = append(row{human.Line(s.Host)}, x...)
		}
		rows = append(rows, x)
	}
	t.section("Steps", rows)
}

func (t *text) channels(channels []Channel) {
	var rows []row
	for _, c := range channels {
		x := row{human.Line(c.Channel), human.Line(c.Mode), right(human.Bytes(c.Bytes)), right(countText(c.Objects, "object")), right(secondsText(c.Seconds)), right(rateText(c.Bytes, c.Seconds))}
		rows = append(rows, append(x, human.Line(c.Notes())))
	}
	t.section("Channels", rows)
}

// Summary is a channel in one line.
func (c Channel) Summary() string {
	parts := []string{c.Mode, human.Bytes(c.Bytes), countText(c.Objects, "object")}
	for _, x := range []string{rateText(c.Bytes, c.Seconds), c.Notes()} {
		if x != "" {
			parts = append(parts, x)
		}
	}
	return human.Line(strings.Join(parts, ", "))
}

// Notes say who waited for whom, so that one sees whether the data or the script is what a job takes its time for.
func (c Channel) Notes() string {
	var notes []string
	if c.Epochs > 1 {
		notes = append(notes, countText(c.Epochs, "epoch"))
	}
	wait := func(who, whom string, s float64) {
		if s < 0.1 {
			return
		}
		share := ""
		if c.Seconds > 0 {
			share = fmt.Sprintf(" (%.0f %%)", min(100, 100*s/c.Seconds))
		}
		notes = append(notes, who+" waited "+secondsText(s)+share+" for "+whom)
	}
	wait("the script", "data", c.ReaderWaitedSeconds)
	wait("optml", "the script", c.WeWaitedSeconds)
	if c.Note != "" {
		notes = append(notes, c.Note)
	}
	return strings.Join(notes, ", ")
}

func (t *text) transform(x *Transform) {
	if x == nil {
		return
	}
	objects := countText(x.Objects, "object")
	if x.Failed > 0 {
		objects += fmt.Sprintf(", %d without an output", x.Failed)
	}
	requests := countText(x.Requests, "request")
	if x.Retries > 0 {
		requests += fmt.Sprintf(", %s", strings.Replace(countText(x.Retries, "retrie"), "1 retrie", "1 retry", 1))
	}
	rows := []row{
		{"input", objects + ", " + countText(x.Records, "record") + ", " + human.Bytes(x.BytesIn)},
		{"output", human.Bytes(x.BytesOut)},
		{"requests", requests},
		{"settings", fmt.Sprintf("MaxConcurrentTransforms=%d, MaxPayloadInMB=%d, BatchStrategy=%s", x.MaxConcurrent, x.MaxPayloadInMB, human.Line(x.BatchStrategy))},
		{"ready after", secondsText(x.PingSeconds)},
		{"took", secondsText(x.Seconds)},
	}
	if x.RecordsPerSec > 0 {
		rows[5][1] += fmt.Sprintf(", %s records/s", valueText(roughly(x.RecordsPerSec)))
	}
	for _, in := range x.Instances {
		rows = append(rows, row{human.Line(in.Host), countText(in.Objects, "object") + ", ready after " + secondsText(in.PingSeconds)})
	}
	t.section("Transform", rows)
}

func (t *text) metrics(metrics []Metric) {
	var rows []row
	for _, m := range metrics {
		rows = append(rows, row{human.Line(m.Name), right(valueText(m.Value)), right(countText(m.Samples, "sample"))})
	}
	t.section("Metrics", rows)
}

func (t *text) usage(usage []Usage) {
	var rows []row
	for _, u := range usage {
		rows = append(rows, row{human.Line(u.Host), human.Line(u.Name), right(percentText(u.Percent)), "at most", right(percentText(u.Max))})
	}
	t.section("Instance metrics", rows)
}

// Summary is a metric of an instance in one line.
func (u Usage) Summary() string {
	return human.Line(u.Name) + " " + percentText(u.Percent) + ", at most " + percentText(u.Max)
}

func (t *text) outputs(outputs []Output) {
	var rows []row
	for _, o := range outputs {
		switch {
		case o.Empty:
			rows = append(rows, row{human.Line(o.Artifact), "nothing to upload"})
		case o.Kept != "":
			rows = append(rows, row{human.Line(o.Artifact), "not uploaded to " + human.Line(o.URI) + ", kept in " + human.Line(o.Kept)})
		default:
			rows = append(rows, row{human.Line(o.Artifact), human.Line(o.URI), right(human.Bytes(o.Bytes)), right(countText(o.Files, "file"))})
		}
	}
	t.section("Outputs", rows)
}

func (t *text) warnings(warnings []Warning) {
	var rows []row
	for _, w := range warnings {
		rows = append(rows, row{human.Line(w.Rule), human.Line(w.Text)})
	}
	t.section("Warnings", rows)
}

// roughly is v with three significant digits.
func roughly(v float64) float64 {
	x, _ := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 3, 64), 64)
	return x
}
