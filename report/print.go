package report

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// printers are the forms that a report can take. Each writes a whole report.
var printers = []struct {
	Name  string
	Print func(*Report, io.Writer) error
}{
	{"text", (*Report).Text},
	{"json", (*Report).JSON},
	{"html", (*Report).HTML},
	{"junit", (*Report).JUnit},
}

// Print writes the report in the named form.
func (r *Report) Print(form string, w io.Writer) error {
	for _, p := range printers {
		if p.Name == form {
			return p.Print(r, w)
		}
	}
	return fmt.Errorf("report: form %q is not known, it is one of %s", form, strings.Join(Forms(), ", "))
}

// Forms are the names that Print knows.
func Forms() []string {
	var names []string
	for _, p := range printers {
		names = append(names, p.Name)
	}
	return names
}

// JSON writes the report as JSON, indented, with a line feed at its end.
func (r *Report) JSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(r)
}
