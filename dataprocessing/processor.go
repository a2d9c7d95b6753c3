package dataprocessing

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// Options are a request's DataProcessing with what it depends on. Empty values are the request's defaults.
type Options struct {
	InputFilter, OutputFilter string // "" is $
	Join                      bool   // JoinSource Input
	ContentType, Accept       string
	SplitType, AssembleWith   string

	// Identify gives each result an id and the time at which the job began (BT-172).
	Identify bool
	Began    time.Time
}

// Idle reports whether the options leave records and results as they are: nothing else is held to rules then.
func (o Options) Idle() bool {
	whole := func(filter string) bool { return filter == "" || filter == "$" }
	return whole(o.InputFilter) && whole(o.OutputFilter) && !o.Join
}

// Rule is a rule between members that Options break.
type Rule struct{ ID, Member, Text string }

// Broken says which rules the members break (BT-152 to BT-154, BT-172). Breaking one is an error at creation (BT-155).
func (o Options) Broken() (broken []Rule) {
	say := func(id, member, format string, a ...any) {
		broken = append(broken, Rule{id, member, fmt.Sprintf(format, a...)})
	}
	if o.Identify && formatOf(o.Accept) == 0 {
		say("BT-172", "TransformOutput.Accept", "with GenerateInferenceId this is text/csv, application/json or application/jsonlines, not %q", o.Accept)
	}
	if o.Idle() {
		return broken
	}
	for _, t := range [][2]string{{"TransformInput.ContentType", o.ContentType}, {"TransformOutput.Accept", o.Accept}} {
		if formatOf(t[1]) == 0 {
			say("BT-152", t[0], "with DataProcessing this is text/csv, application/json or application/jsonlines, not %q", t[1])
		}
	}
	if s := orNone(o.SplitType); s != "None" && s != "Line" {
		say("BT-152", "TransformInput.SplitType", "DataProcessing is for CSV and JSON, and %s frames are neither", s)
	}
	if o.Join && o.ContentType != o.Accept {
		say("BT-153", "TransformOutput.Accept", "a join needs the type of the input (%q), not %q", o.ContentType, o.Accept)
	}
	if in, out := orNone(o.SplitType), orNone(o.AssembleWith); o.Join && in != out {
		say("BT-153", "TransformOutput.AssembleWith", "a join needs the input's SplitType (%s), not %s", in, out)
	}
	if formatOf(o.ContentType) == csv && orNone(o.SplitType) != "Line" {
		say("BT-154", "TransformInput.SplitType", "text/csv needs Line with DataProcessing")
	}
	if (formatOf(o.ContentType) == csv || formatOf(o.Accept) == csv) && orNone(o.AssembleWith) != "Line" {
		say("BT-154", "TransformOutput.AssembleWith", "text/csv needs Line with DataProcessing")
	}
	return broken
}

func orNone(s string) string { return cmp.Or(s, "None") }

type format int

const (
	csv format = iota + 1
	jsonText
)

const jsonLines = "application/jsonlines"

func formatOf(mediaType string) format {
	switch mediaType {
	case "text/csv":
		return csv
	case "application/json", jsonLines:
		return jsonText
	}
	return 0
}

func (f format) String() string {
	if f == csv {
		return "CSV"
	}
	return "JSON"
}

// Processor filters and joins records. It may be used concurrently.
type Processor struct {
	in, out   Path
	join      bool
	from, to  format
	byLine    bool // a record is a line of the input
	wholeFile bool // the input is not split: what is sent is one document, or all lines of an object
	lines     bool // each result ends in LF (BT-166)

	began   string // "": results get no ids
	ownEnds bool   // results keep the ends that they have
}

// New makes a Processor; nil for options that leave everything as it is. The error is a *PathError for a filter that is
// not taken; the service finds it only when it has an object to process.
func New(o Options) (*Processor, error) {
	if o.Idle() && !o.Identify {
		return nil, nil
	}
	if broken := o.Broken(); len(broken) > 0 {
		return nil, fmt.Errorf("%s: %s", broken[0].Member, broken[0].Text)
	}
	in, err := ParsePath(o.InputFilter)
	if err != nil {
		return nil, err
	}
	out, err := ParsePath(o.OutputFilter)
	if err != nil {
		return nil, err
	}
	p := &Processor{in: in, out: out, join: o.Join, from: formatOf(o.ContentType), to: formatOf(o.Accept)}
	p.wholeFile = orNone(o.SplitType) == "None"
	p.byLine = !p.wholeFile || o.ContentType == jsonLines
	p.lines = o.AssembleWith == "Line" || o.Accept == jsonLines
	if o.Identify {
		p.began = o.Began.UTC().Format(time.RFC3339)
		p.ownEnds = o.Idle() && !p.lines
	}
	return p, nil
}

// Reads reports whether records are looked at before they are sent: filtered, or held to the format for the join.
func (p *Processor) Reads() bool { return p != nil && (p.join || !p.in.Whole()) }

// Filters reports whether what is sent differs from the record.
func (p *Processor) Filters() bool { return p != nil && !p.in.Whole() }

// Writes reports whether Output makes the output of a response, instead of the response itself.
func (p *Processor) Writes() bool { return p != nil && (p.join || !p.out.Whole() || p.began != "") }

// Whole reports whether a result may be a document of any length, instead of a line.
func (p *Processor) Whole() bool { return p != nil && p.wholeFile && !p.byLine }

// Lines reports whether each result ends in a line feed (BT-166).
func (p *Processor) Lines() bool { return p != nil && p.lines }

// Joins reports whether Output wants the unfiltered records.
func (p *Processor) Joins() bool { return p != nil && p.join }

// Record is the length of the next record of b: a line with its end, or all of b.
func (p *Processor) Record(b []byte) int {
	if p.byLine {
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			return i + 1
		}
	}
	return len(b)
}

// Count is the number of records in b.
func (p *Processor) Count(b []byte) (n int64) {
	for ; len(b) > 0; n++ {
		b = b[p.Record(b):]
	}
	return n
}

// ErrLong is a record that its filter makes longer than the limit given.
var ErrLong = errors.New("the filter makes a record too long")

func within(n, limit int) error {
	if limit > 0 && n > limit {
		return ErrLong
	}
	return nil
}

// Error is a record or a result that the job's DataProcessing cannot be applied to. Its text is the service's as far as
// one is known (BT-164).
type Error struct {
	Text string
	// Record is the place among the records given, counted from 1; 0: not about one of them.
	Record int64
}

func (e *Error) Error() string { return e.Text }

// split parts a line from its end.
func split(line []byte) (text, end []byte) {
	n := len(line)
	if n > 0 && line[n-1] == '\n' {
		if n--; n > 0 && line[n-1] == '\r' {
			n--
		}
	}
	return line[:n], line[n:]
}

func (p *Processor) parseError(record []byte, err error) error {
	if p.wholeFile && !p.byLine {
		return &Error{Text: fmt.Sprintf("Failed to parse input as %s: %v", p.from, err)}
	}
	return &Error{Text: fmt.Sprintf("Failed to parse line: '%s' as %s: %v", shown(record), p.from, err)}
}

// Input appends what is sent of a record: what InputFilter selects, with the record's own line end (BT-52). A filter
// that selects things more than once ends with ErrLong when it has gone over limit bytes; what it selects once can be
// longer. limit 0 is none. Without a filter the record is held to the format only, and appended as it is if dst is not
// nil.
func (p *Processor) Input(dst, record []byte, limit int) ([]byte, error) {
	text, end := record, []byte(nil)
	if p.byLine {
		text, end = split(record)
	}
	var err error
	fields := 0
	if p.from == csv {
		fields, err = checkCSV(text)
	} else {
		text, err = checkJSON(text)
	}
	if err != nil {
		return dst, p.parseError(record, err)
	}
	if p.in.Whole() {
		if dst == nil {
			return nil, nil
		}
		return append(dst, record...), nil
	}
	start := len(dst)
	if p.from == csv {
		dst, err = p.in.appendCSV(dst, text, fields, limit)
	} else {
		dst, err = p.in.appendJSON(dst, text, limit)
	}
	switch {
	case errors.Is(err, ErrLong):
		return dst[:start], err
	case err != nil:
		return dst[:start], &Error{Text: fmt.Sprintf("InputFilter %s: %v: '%s'", p.in, err, shown(bytes.TrimRight(record, "\r\n")))}
	}
	return append(dst, end...), nil
}

// Scratch is memory that Output uses again. It is for one output at a time; what it holds grows with the longest row.
type Scratch struct {
	rows   rows
	pieces [][]byte
	parts  [][]byte // of one row of the output
	rest   []byte   // of a record that has the result's member
	joined []byte
	line   []byte
	id     []byte // what an id adds to a result
}

// Output writes what becomes of a response (BT-151): its results, each joined with its record of originals, which are the
// request's unfiltered records one after the other, as Input has taken them, then filtered and given an id (BT-172), one a
// line (BT-166). limit is that of Input. Without a join originals are not looked at.
func (p *Processor) Output(w io.Writer, s *Scratch, originals []byte, response [][]byte, limit int) error {
	defer func() {
		clear(s.pieces)
		clear(s.parts)
		s.rows.pieces = nil
	}()
	s.pieces = append(s.pieces[:0], response...)
	s.rows = rows{pieces: s.pieces, carry: s.rows.carry[:0], nested: p.to == jsonText}
	left, record, results := originals, int64(0), int64(0)
	for {
		s.parts = s.parts[:0]
		row, ok := s.rows.next()
		if !ok {
			break
		}
		var text []byte
		if p.to == csv {
			text, _ = split(row)
		} else if text = bytes.TrimSpace(row); len(text) == 0 {
			continue
		}
		if p.join && len(left) == 0 && len(text) == 0 {
			continue // an empty line behind the last result is not one
		}
		results++
		if p.join && len(left) == 0 {
			continue // counted for the error
		}
		var fields int
		var err error
		if p.to == csv {
			fields, err = checkCSV(text)
		} else {
			text, err = checkJSON(text)
		}
		if err != nil {
			return &Error{fmt.Sprintf("Failed to parse output from the algorithm as %s: %v", p.to, err), min(results, record+1)}
		}
		if p.join {
			n := p.Record(left)
			original := left[:n]
			left = left[n:]
			record++
			if p.byLine {
				original, _ = split(original)
			}
			if p.from == csv { // BT-157
				s.parts = append(s.parts, original, comma, text)
			} else {
				s.parts = joinJSON(s.parts, &s.rest, bytes.TrimSpace(original), text)
			}
			if !p.out.Whole() {
				if p.from == csv {
					n, err := checkCSV(original)
					if err != nil {
						return &Error{p.parseError(original, err).Error(), record}
					}
					fields += n
				}
				text = s.join()
			}
		} else {
			s.parts = append(s.parts, text)
		}
		if !p.out.Whole() {
			if p.to == csv {
				s.line, err = p.out.appendCSV(s.line[:0], text, fields, limit)
			} else {
				s.line, err = p.out.appendJSON(s.line[:0], text, limit)
			}
			if err != nil {
				return &Error{fmt.Sprintf("OutputFilter %s: %v: '%s'", p.out, err, shown(text)), record} // BT-163
			}
			s.parts = append(s.parts[:0], s.line)
		}
		if p.began != "" {
			s.identify(p.to, p.began)
		}
		end := lf
		if p.ownEnds {
			end = row[len(bytes.TrimRight(row, " \t\r\n")):]
		}
		if err := p.write(w, s.parts, end, results == 1); err != nil {
			return err
		}
	}
	if p.join && (results != record || len(left) > 0) {
		record += p.Count(left)
		return &Error{Text: fmt.Sprintf("The algorithm returned %d results for %d records", results, record)} // BT-165
	}
	return nil
}

// join puts the parts of a row together.
func (s *Scratch) join() []byte {
	n := 0
	for _, part := range s.parts {
		n += len(part)
	}
	s.joined = slices.Grow(s.joined[:0], n)
	for _, part := range s.parts {
		s.joined = append(s.joined, part...)
	}
	return s.joined
}

// write writes one row of the output.
func (p *Processor) write(w io.Writer, parts [][]byte, end []byte, first bool) error {
	if !p.lines && !p.ownEnds && !first {
		if _, err := w.Write(lf); err != nil { // several documents where one was expected: they stay apart
			return err
		}
	}
	for _, text := range parts {
		for p.lines && p.to == jsonText {
			// A document over several lines becomes one: JSON has no line breaks that matter.
			i := bytes.IndexAny(text, "\r\n")
			if i < 0 {
				break
			}
			if _, err := w.Write(text[:i]); err != nil {
				return err
			}
			text = text[i+1:]
		}
		if _, err := w.Write(text); err != nil {
			return err
		}
	}
	if !p.lines && !p.ownEnds {
		return nil
	}
	_, err := w.Write(end)
	return err
}

var lf = []byte{'\n'}

// rows cuts a response, which lies in pieces, into its lines, each with its end. Nested, a line feed within a JSON value
// does not end one.
type rows struct {
	pieces [][]byte
	carry  []byte // a row that lies in several pieces
	nested bool

	depth           int
	quoted, escaped bool
}

// next returns the next row, which stays until the call after.
func (r *rows) next() (row []byte, ok bool) {
	r.depth, r.quoted, r.escaped = 0, false, false
	before := 0 // bytes of it in the pieces before
	for k, b := range r.pieces {
		n := r.end(b)
		if n < 0 && k < len(r.pieces)-1 {
			before += len(b)
			continue
		}
		if n < 0 {
			n = len(b)
		}
		row = b[:n]
		if before > 0 {
			r.carry = slices.Grow(r.carry[:0], before+n)
			for _, piece := range r.pieces[:k] {
				r.carry = append(r.carry, piece...)
			}
			r.carry = append(r.carry, row...)
			row = r.carry
		}
		r.pieces = r.pieces[k:]
		r.pieces[0] = b[n:]
		return row, len(row) > 0
	}
	return nil, false
}

// end is the place behind the row's end in b, -1 if it is not there.
func (r *rows) end(b []byte) int {
	if !r.nested {
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			return i + 1
		}
		return -1
	}
	for i, c := range b {
		switch {
		case r.escaped:
			r.escaped = false
		case r.quoted:
			r.escaped = c == '\\'
			r.quoted = c != '"'
		case c == '"':
			r.quoted = true
		case c == '{' || c == '[':
			r.depth++
		case c == '}' || c == ']':
			r.depth--
		case c == '\n' && r.depth <= 0:
			return i + 1
		}
	}
	return -1
}
