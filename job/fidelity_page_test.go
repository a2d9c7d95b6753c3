package job_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/optml/optml/harness"
	"github.com/optml/optml/job"
)

// ends is the section of docs/fidelity.md that says how jobs end: what harness decides of each case of its table.
func ends() string {
	var b strings.Builder
	p := func(format string, a ...any) { fmt.Fprintf(&b, format+"\n", a...) }
	p("## How jobs end\n")
	p("Made by the code that decides, of each case. Texts of failure files, programs, paths and stores are examples; a line break is shown as ↵. Artifacts are uploaded whatever the end, if the process had been started (OUT-5, STOP-3).\n")
	p("| end | what happens | TrainingJobStatus, TransformJobStatus | SecondaryStatus | FailureReason | exit code of optml | rules |\n| --- | --- | --- | --- | --- | --- | --- |")
	for _, e := range harness.Ends() {
		r := e.Row()
		reason := ""
		if r[3] != "" {
			reason = "`" + strings.NewReplacer("|", `\|`, "\n", "↵", "`", "'").Replace(r[3]) + "`"
		}
		p("| %s | %s | %s | %s | %s | %s | %s |", e.Name, job.Cell(r[0]), r[1], r[2], reason, r[4], r[5])
	}
	p("\nEnds of the service that no job has here:\n")
	for _, n := range harness.NotHere {
		p("* `%s`: %s", n[0], n[1])
	}
	p("")
	return b.String()
}

// docs/fidelity.md is in step with the tables.
func TestFidelityPage(t *testing.T) {
	job.Golden(t, filepath.Join("..", "docs", "fidelity.md"), job.FidelityPage(ends()))
}
