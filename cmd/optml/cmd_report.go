package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/optml/optml/ledger"
)

type reportOptions struct {
	jobs   string
	job    string
	file   string
	output format
}

func (a *app) cmdReport() *cobra.Command {
	o := reportOptions{}
	c := &cobra.Command{
		Use:   "report JOB",
		Short: "Print a job's report: verdict, steps, metrics, outputs, failure",
		Example: `  optml report my-job
  optml report my-job --output json -o report.json`,
		Args: nargs(1, 1, "the job's name"),
		RunE: func(_ *cobra.Command, args []string) error {
			o.jobs, o.job, o.output = a.jobs(), args[0], a.output
			return runReport(o, a.stdout)
		},
	}
	c.Flags().StringVarP(&o.file, "file", "o", "", "write to this `file` instead of stdout")
	return c
}

func runReport(o reportOptions, stdout io.Writer) error {
	j, err := ledger.Find(o.jobs, o.job)
	if err != nil {
		return err
	}
	if o.file == "" || o.file == "-" {
		return printReport(j, o.output, stdout)
	}
	var b bytes.Buffer
	if err := printReport(j, o.output, &b); err != nil {
		return err
	}
	return writeFile(o.file, b.Bytes())
}

// writeFile writes a file that appears whole.
func writeFile(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".optml-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if uid, gid := invoker(os.Geteuid(), os.Getenv); err == nil && (uid != 0 || gid != 0) {
		err = f.Chown(uid, gid)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
