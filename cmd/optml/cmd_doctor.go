package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/optml/optml/harness"
	"github.com/optml/optml/human"
)

func (a *app) cmdDoctor() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Say what this host has and lacks, with the command that mends it",
		Args:  nargs(0, 0, ""),
		RunE: func(c *cobra.Command, _ []string) error {
			return runDoctor(contextOr(c.Context()), a.thisMachine(), a.output, a.stdout)
		},
	}
}

// runDoctor ends with the exit code for a lacking host if jobs cannot run.
func runDoctor(ctx context.Context, m *machine, f format, stdout io.Writer) error {
	var all []finding
	bad := 0
	for _, c := range checks {
		x := c.check(ctx, m)
		x.Check = c.name
		if x.Level == levelLacks {
			bad++
		}
		all = append(all, x)
	}
	if f == formatJSON {
		if err := writeJSON(stdout, all); err != nil {
			return err
		}
	} else {
		err := human.Table(stdout, func(t io.Writer) {
			for _, x := range all {
				fmt.Fprintf(t, "%s\t%s\t%s\n", x.Level, x.Check, x.Text)
				if x.Mend != "" {
					fmt.Fprintf(t, "\t\t-> %s\n", x.Mend)
				}
			}
		})
		if err != nil {
			return err
		}
	}
	if bad > 0 {
		return ended{harness.ExitHost}
	}
	return nil
}
