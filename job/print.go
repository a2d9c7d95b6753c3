package job

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// Print writes the plan for people: what will run, then how each member of the document is treated, then the warnings.
// The text may change; scripts read the JSON.
func (p *Plan) Print(w io.Writer) error {
	var b bytes.Buffer
	t := &table{tabwriter.NewWriter(&b, 0, 4, 2, ' ', 0)}
	t.head("%s %s (%s)", p.Kind, p.Name, p.Operation)
	t.row("arn", p.ARN)
	t.row("region, account", p.Region+", "+p.Account)
	p.print(t)
	if len(p.Members) > 0 {
		t.head("members of the document")
		for _, m := range p.Members {
			text := m.Path
			if m.Note != "" {
				text += ": " + m.Note
			}
			t.row(string(m.Treatment), text)
		}
		counts := map[Treatment]int{}
		for _, m := range p.Members {
			counts[m.Treatment]++
		}
		t.head("%d honoured, %d emulated, %d inert", counts[Honoured], counts[Emulated], counts[Inert])
	}
	if len(p.Warnings) > 0 {
		t.head("warnings")
		for _, x := range p.Warnings {
			note := x.Text
			if x.Path != "" {
				note = x.Path + ": " + note
			}
			if x.Refuses {
				note += " (SageMaker refuses this)"
			}
			t.row(x.Rule, note)
		}
	}
	if err := t.w.Flush(); err != nil {
		return err
	}
	// Cells that are empty leave their padding behind.
	for line := range strings.Lines(b.String()) {
		if _, err := io.WriteString(w, strings.TrimRight(line, " \n")+"\n"); err != nil {
			return err
		}
	}
	return nil
}

// table is aligned columns under headings.
type table struct{ w *tabwriter.Writer }

func (t *table) head(format string, a ...any) {
	t.w.Flush() // columns are aligned under their own heading only; the buffer below takes every write
	fmt.Fprintf(t.w, format+"\n", a...)
}

func (t *table) row(cells ...string) {
	for i := range cells {
		cells[i] = oneLine(cells[i])
	}
	fmt.Fprintln(t.w, "  "+strings.Join(cells, "\t"))
}

// oneLine keeps a value from breaking the table or the terminal.
func oneLine(s string) string {
	s = short(s, 240)
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		s = strconv.Quote(s)
	}
	return s
}

func (p *Plan) print(t *table) {
	switch {
	case p.Training != nil:
		p.Training.print(t)
	case p.Transform != nil:
		p.Transform.print(t)
	case p.Validation != nil:
		v := p.Validation
		t.row("algorithm, profile", v.Algorithm+", "+v.Profile)
		t.head("training %s", v.Training.Name)
		v.Training.Training.print(t)
		if v.Transform != nil {
			t.head("transform %s", v.Transform.Name)
			v.Transform.Transform.print(t)
		}
	}
}

func (tr *Training) print(t *table) {
	printInstances(t, tr.Instances)
	t.row("instance type", tr.InstanceType)
	t.row("network", network(tr.Isolated))
	printMap(t, "hyperparameter", tr.HyperParameters)
	for _, c := range tr.Channels {
		t.row("channel "+c.Name, c.Mode+" "+c.Source.URI, cmp.Or(c.ContentType, "no content type"), c.Source.Distribution)
	}
	for _, m := range tr.Metrics {
		t.row("metric "+m.Name, m.Regex)
	}
	t.row("model", tr.ModelURI)
	t.row("output", tr.OutputURI)
	t.row("limits", fmt.Sprintf("runs at most %s, %s from SIGTERM to SIGKILL, volume %s, /dev/shm %s", span(tr.MaxRuntime), span(tr.Grace), size(tr.VolumeBytes), size(tr.ShmBytes)))
}

func (tr *Transform) print(t *table) {
	printInstances(t, tr.Instances)
	t.row("network", network(tr.Isolated))
	for _, m := range tr.Models {
		t.row("model of "+m.Container, cmp.Or(m.URI, "none: /opt/ml/model is empty"))
	}
	t.row("input", tr.Input.Source.Type+" "+tr.Input.Source.URI, cmp.Or(tr.Input.ContentType, "no content type"), "split "+tr.Input.SplitType)
	t.row("output", tr.Output.Path, cmp.Or(tr.Output.Accept, "no accept"), "assemble "+tr.Output.AssembleWith)
	or := func(p *int) string {
		if p == nil {
			return "as the container says"
		}
		return strconv.Itoa(*p)
	}
	t.row("batches", fmt.Sprintf("strategy %s, at most MB %s, at once %s", cmp.Or(value(tr.BatchStrategy, ""), "as the container says"), or(tr.MaxPayloadMB), or(tr.MaxConcurrent)))
	t.row("limits", fmt.Sprintf("%s an invocation, %d retries, %s to be ready, %s from SIGTERM to SIGKILL", span(tr.InvocationTimeout), tr.MaxRetries, span(tr.PingWindow), span(tr.Grace)))
}

func printInstances(t *table, list []Instance) {
	for _, i := range list {
		for _, c := range i.Containers {
			image := c.Image.Ref
			if c.Image.Digest != "" {
				image += " (" + c.Image.Digest + ")"
			}
			command := "the image's entrypoint"
			if c.Entrypoint != nil {
				command = strings.Join(c.Entrypoint, " ")
			}
			t.row("image of "+c.Name, image)
			t.row("command", strings.TrimSpace(command+" "+strings.Join(c.Args, " ")))
			t.row("host name", c.Hostname)
			printMap(t, "environment", c.Env)
		}
		if i.GPUs > 0 {
			t.row("GPUs", strconv.Itoa(i.GPUs))
		}
	}
}

func printMap(t *table, what string, m map[string]string) {
	for _, k := range slices.Sorted(maps.Keys(m)) {
		t.row(what+" "+k, m[k])
	}
}

func network(isolated bool) string {
	if isolated {
		return "isolated: nothing can be reached"
	}
	return "open"
}

// span prints a duration without the zeros of its tail: 2m, not 2m0s.
func span(d Duration) string {
	s := d.Std().Round(time.Millisecond).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func size(n int64) string {
	switch {
	case n == 0:
		return "unbounded"
	case n >= 1<<30:
		return strconv.FormatFloat(float64(n)/(1<<30), 'g', 4, 64) + " GiB"
	}
	return strconv.FormatFloat(float64(n)/(1<<20), 'g', 4, 64) + " MiB"
}
