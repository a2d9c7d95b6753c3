package main

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/optml/optml/ledger"
	"github.com/optml/optml/report"
)

type reportOptions struct {
	jobs string
	job  string
	form string // "": that of the file's name, else text
	file string // "", -: stdout; a directory takes every form
}

func (a *app) cmdReport() *cobra.Command {
	o := reportOptions{}
	c := &cobra.Command{
		Use:   "report JOB",
		Short: "Print a job's report: verdict, steps, metrics, outputs, failure",
		Long: `Make a job's report from its record, at any time, while the job runs too. A
validation's report has those of its jobs in it.

The html form is one page to look at or to send: rules with evidence and what to
do, timeline, plots, samples, logs, documents. It needs no network and has no
script. The junit form is for CI: a test case a rule, and one a job.

With -o the form is that of the file's name (.html, .json, .xml, .txt) unless
--format says it. A directory that is there, or a name that ends in /, takes all
forms: index.html, report.json, junit.xml and report.txt.`,
		Example: `  optml report my-job
  optml report my-job -o my-job.html
  optml report my-job --format junit -o results/junit.xml
  optml report my-job -o report/`,
		Args: nargs(1, 1, "the job's name"),
		RunE: func(c *cobra.Command, args []string) error {
			o.jobs, o.job = a.jobs(), args[0]
			switch {
			case o.form == "" && c.Flags().Changed("output"):
				o.form = string(a.output)
			case o.form != "" && c.Flags().Changed("output") && o.form != string(a.output):
				return usage("--format %s and --output %s do not go together", o.form, a.output)
			}
			return runReport(o, a.stdout)
		},
	}
	c.Flags().StringVar(&o.form, "format", "", "`form` of the report: "+strings.Join(report.Forms(), ", ")+" (default: text)")
	c.Flags().StringVarP(&o.file, "file", "o", "", "write to this `file` or directory instead of stdout")
	return c
}

// reportFiles are the forms, by the ending of a file's name, and what they are called in a directory of all.
var reportFiles = []struct{ ending, form, name string }{
	{".html", "html", "index.html"},
	{".json", "json", "report.json"},
	{".xml", "junit", "junit.xml"},
	{".txt", "text", "report.txt"},
}

func runReport(o reportOptions, stdout io.Writer) error {
	if o.form != "" && !slices.Contains(report.Forms(), o.form) {
		return &usageError{Err: fmt.Errorf("--format %s: a report has no such form", o.form), Hint: "the forms are " + strings.Join(report.Forms(), ", ")}
	}
	j, err := ledger.Find(o.jobs, o.job)
	if err != nil {
		return err
	}
	r, err := report.Make(j)
	if err != nil {
		return err
	}
	if o.file == "" || o.file == "-" {
		return r.Print(cmp.Or(o.form, string(formatText)), stdout)
	}
	put := func(form, path string) error {
		var b bytes.Buffer
		if err := r.Print(form, &b); err != nil {
			return err
		}
		return writeFile(path, b.Bytes())
	}
	fi, err := os.Stat(o.file)
	if isDir := err == nil && fi.IsDir(); !isDir && !strings.HasSuffix(o.file, "/") {
		form := o.form
		for _, x := range reportFiles {
			if form == "" && filepath.Ext(o.file) == x.ending {
				form = x.form
			}
		}
		return put(cmp.Or(form, string(formatText)), o.file)
	} else if !isDir {
		if err := makeDir(o.file); err != nil {
			return err
		}
	}
	for _, x := range reportFiles {
		if o.form != "" && o.form != x.form {
			continue
		}
		if err := put(x.form, filepath.Join(o.file, x.name)); err != nil {
			return err
		}
	}
	return nil
}
