package main

import (
	"bytes"
	"io"
	"text/tabwriter"
)

// table prints columns: rows writes lines with tabs between the cells. No line ends in blanks.
func table(w io.Writer, rows func(t io.Writer)) error {
	var b bytes.Buffer
	t := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	rows(t)
	if err := t.Flush(); err != nil {
		return err
	}
	var out bytes.Buffer
	for line := range bytes.Lines(b.Bytes()) {
		out.Write(bytes.TrimRight(line, " \n"))
		out.WriteByte('\n')
	}
	_, err := w.Write(out.Bytes())
	return err
}
