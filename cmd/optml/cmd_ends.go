package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/optml/optml/harness"
	"github.com/optml/optml/human"
)

func (a *app) cmdEnds() *cobra.Command {
	return &cobra.Command{
		Use:   "ends",
		Short: "Show how jobs can end, with status, FailureReason and exit code",
		Long: `Show how jobs can end: what happens, and the status, the FailureReason and the exit
code of optml that come of it. With --output json nothing is cut. Texts of failure
files, programs and stores are examples.`,
		Args: nargs(0, 0, ""),
		RunE: func(*cobra.Command, []string) error { return runEnds(a.stdout, a.output) },
	}
}

// endDocument is one end in --output json.
type endDocument struct {
	Name            string   `json:"name"`
	What            string   `json:"what"`
	Kind            string   `json:"kind"`
	Status          string   `json:"status"`
	SecondaryStatus string   `json:"secondaryStatus"`
	FailureReason   string   `json:"failureReason,omitempty"`
	ExitCode        int      `json:"exitCode"`
	Rules           []string `json:"rules"`
}

func runEnds(w io.Writer, f format) error {
	ends := harness.Ends()
	if f == formatJSON {
		docs := []endDocument{}
		for _, e := range ends {
			o := e.Ending.Outcome()
			docs = append(docs, endDocument{e.Name, e.What, string(e.Ending.Kind), o.Status, o.Secondary, o.FailureReason, *o.ExitCode, strings.Split(e.Rules, ", ")})
		}
		return writeJSON(w, docs)
	}
	return human.Table(w, func(t io.Writer) {
		fmt.Fprintln(t, "WHAT HAPPENS\tSTATUS\tEXIT\tFAILURE REASON")
		for _, e := range ends {
			o := e.Ending.Outcome()
			status := o.Status
			if o.Secondary != o.Status {
				status += " (" + o.Secondary + ")"
			}
			reason := []rune(oneLine(o.FailureReason))
			if len(reason) > 70 {
				reason = append(reason[:69], '…')
			}
			fmt.Fprintf(t, "%s\t%s\t%d\t%s\n", e.What, status, *o.ExitCode, string(reason))
		}
	})
}
