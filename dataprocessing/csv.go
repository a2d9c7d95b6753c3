package dataprocessing

import (
	"bytes"
	"errors"
	"fmt"
)

// A row is one line (BT-156): RFC 4180 quoting without line breaks inside. Fields are kept as they are written, quotes
// and all; encoding/csv is not used because it takes the quotes off, and a writer would put them on in its own way.

// maxNear bounds the text that a parse error shows.
const maxNear = 64

// fieldEnd is the length of the first field.
func fieldEnd(row []byte) (int, error) {
	near := func(what string, i int) error {
		return fmt.Errorf("%s found near: %s", what, row[i:min(len(row), i+maxNear)])
	}
	if len(row) == 0 || row[0] != '"' {
		n := bytes.IndexByte(row, ',')
		if n < 0 {
			n = len(row)
		}
		if bytes.IndexByte(row[:n], '"') >= 0 {
			return 0, near(`bare " in non quoted field`, 0) // BT-164
		}
		return n, nil
	}
	for i := 1; ; i++ {
		q := bytes.IndexByte(row[i:], '"')
		if q < 0 {
			return 0, near(`unterminated quoted field`, 0)
		}
		switch i += q + 1; {
		case i == len(row) || row[i] == ',':
			return i, nil
		case row[i] != '"':
			return 0, near(`extraneous " in quoted field`, 0)
		}
	}
}

// checkCSV holds a row, without its line end, to the format and counts its fields. An empty row has one empty field.
func checkCSV(row []byte) (fields int, err error) {
	for bytes.IndexByte(row, '"') >= 0 {
		n, err := fieldEnd(row)
		if err != nil {
			return 0, err
		}
		fields++
		if n == len(row) {
			return fields, nil
		}
		row = row[n+1:]
	}
	return fields + bytes.Count(row, comma) + 1, nil
}

var comma = []byte{','}

// after is the place behind n fields of a row that has been checked and has as many, and behind the comma that follows.
func after(row []byte, n int) int {
	i := 0
	for ; n > 0; n-- {
		end := len(row) - i
		if i < len(row) && row[i] == '"' {
			end, _ = fieldEnd(row[i:])
		} else if k := bytes.IndexByte(row[i:], ','); k >= 0 {
			end = k
		}
		i += end + 1
	}
	return i
}

var errInsideField = errors.New("a field has nothing inside")

// appendCSV appends what the path selects of a row that has been checked and has so many fields.
func (p Path) appendCSV(dst, row []byte, fields, limit int) ([]byte, error) {
	if len(p.steps) == 0 {
		return append(dst, row...), nil
	}
	if len(p.steps) > 1 {
		return dst, fmt.Errorf("%s: %w", p.steps[1].text, errInsideField)
	}
	start, first := len(dst), true
	err := p.steps[0].ranges(fields, func(from, to int) error {
		if from == to {
			return nil
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		a := after(row, from)
		b := len(row)
		if to < fields {
			b = a + after(row[a:], to-from) - 1
		}
		dst = append(dst, row[a:b]...)
		return within(len(dst)-start, limit)
	})
	return dst, err
}
