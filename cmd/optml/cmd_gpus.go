package main

import (
	"cmp"
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/optml/optml/human"
	"github.com/optml/optml/runtime/gpu"
)

func (a *app) cmdGpus() *cobra.Command {
	return &cobra.Command{
		Use:   "gpus",
		Short: "List the GPUs of this host and the jobs that have them",
		Long: `List the GPUs of this host as its driver knows them, and the jobs that have them.
A job gets as many as its instance type has, or what --gpus or --device says; no
two jobs of this host get the same.`,
		Example: `  optml gpus
  optml gpus --output json
  optml train job.json --gpus device=0,2`,
		Args: nargs(0, 0, ""),
		RunE: func(c *cobra.Command, _ []string) error {
			return runGpus(contextOr(c.Context()), hostGPUs(), a.output, a.stdout, a.stderr)
		},
	}
}

// runGpus prints the inventory. A host without GPUs is no error.
func runGpus(ctx context.Context, h *gpu.Host, f format, stdout, stderr io.Writer) error {
	inv := h.Held(ctx)
	if f == formatJSON {
		return writeJSON(stdout, inv)
	}
	if inv.Absent != "" {
		fmt.Fprintf(stderr, "optml: no GPUs: %s\n", inv.Absent)
		if m := gpuMend(inv.Absent); m != "" {
			fmt.Fprintf(stderr, "hint: %s\n", m)
		}
		return nil
	}
	fmt.Fprintf(stdout, "driver %s, CUDA up to %s\n\n", orDash(inv.Driver), orDash(inv.CUDA))
	return human.Table(stdout, func(t io.Writer) {
		fmt.Fprintln(t, "INDEX\tNAME\tMEMORY\tIN USE\tBUSY\tCOMPUTE\tUUID\tJOB")
		for _, g := range inv.GPUs {
			busy, used, total, job := "-", "-", "-", "-"
			if g.Busy != nil {
				busy = fmt.Sprintf("%.0f%%", *g.Busy)
			}
			if g.MemoryTotal > 0 {
				used, total = human.Bytes(g.MemoryUsed), human.Bytes(g.MemoryTotal)
			}
			switch {
			case g.Broken != "":
				job = "cannot be used: " + g.Broken
			case g.MIG:
				job = "divided (MIG): its parts are given to jobs"
			case g.Holder != nil:
				job = g.Holder.Job
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", g.Index, orDash(g.Name), total, used, busy, orDash(g.ComputeCapability), orDash(g.UUID), job)
		}
	})
}

func orDash(s string) string { return cmp.Or(s, "-") }

// gpuMend is what to do about there being no GPUs.
func gpuMend(why string) string {
	if why == gpu.WithoutHelper {
		return "build optml with `make build` where gcc is (apt-get install gcc libc6-dev)"
	}
	return ""
}
