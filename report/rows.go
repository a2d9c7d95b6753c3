package report

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// row is the cells of a line. One that begins with the mark is aligned to the right.
type row []string

const mark = "\x00"

func right(s string) string { return mark + s }

// section is a title with rows below it; without rows there is none.
func (t *text) section(title string, rows []row) {
	if len(rows) > 0 {
		t.title(title)
		t.rows(rows, "  ")
	}
}

func (t *text) title(title string) { fmt.Fprintf(t, "\n%s\n", title) }

// rows writes cells in columns, two blanks between them. The last cell of a row does not widen its column; a column
// without anything in it is left out.
func (t *text) rows(rows []row, indent string) {
	var wide []int
	for _, r := range rows {
		for i, c := range r {
			if i == len(wide) {
				wide = append(wide, 0)
			}
			n := width(c)
			if i == len(r)-1 && !strings.HasPrefix(c, mark) {
				n = min(n, 1)
			}
			wide[i] = max(wide[i], n)
		}
	}
	for _, r := range rows {
		var line strings.Builder
		line.WriteString(indent)
		for i, c := range r {
			if wide[i] == 0 {
				continue
			}
			pad := strings.Repeat(" ", max(0, wide[i]-width(c)))
			if rest, ok := strings.CutPrefix(c, mark); ok {
				line.WriteString(pad + rest)
			} else {
				line.WriteString(c + pad)
			}
			line.WriteString("  ")
		}
		t.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
}

func width(cell string) int { return utf8.RuneCountInString(strings.TrimPrefix(cell, mark)) }
