package job

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Codes of problems, as the service and its clients name their errors.
const (
	CodeValidation    = "ValidationException"
	CodeSerialization = "SerializationException"
	CodeParameters    = "ParamValidationError" // of the clients, which refuse members that they do not know
)

// maxProblems bounds what is kept of a document that is wrong everywhere, and maxError the service's sentence of it.
const (
	maxProblems = 200
	maxError    = 64 << 10
)

// Problem is one thing that is wrong with a document.
type Problem struct {
	Code    string `json:"code"`              // ValidationException, SerializationException, ParamValidationError
	File    string `json:"file,omitempty"`    // the document's name
	Path    string `json:"path,omitempty"`    // InputDataConfig[0].ChannelName
	AWSPath string `json:"awsPath,omitempty"` // inputDataConfig.1.member.channelName
	Line    int    `json:"line,omitempty"`    // from 1
	Col     int    `json:"col,omitempty"`     // from 1, in characters
	Message string `json:"message"`           // the service's words
	Text    string `json:"text"`              // a plain sentence
	Hint    string `json:"hint,omitempty"`    // what to do
	Rule    string `json:"rule,omitempty"`    // contract rule id

	constraint bool // found by the table of constraints: counted in the service's head line
	unknown    bool // the service's words are not published: Message has ours
	soft       softness
}

// softness says when a problem only warns.
type softness uint8

const (
	hard      softness = iota
	awsOnly            // matters on AWS alone: warns, unless Options.Strict (ruling 3)
	lenient            // an error, unless Options.Lenient (ruling 4, VAL-12)
	serviceNo          // the service refuses it, running works: warns, unless Options.Strict (ruling 11)
	softnesses
)

// String is the problem on one line, for people: file:line:col: path: sentence.
func (p Problem) String() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File + ":")
	}
	if p.Line > 0 {
		fmt.Fprintf(&b, "%d:%d:", p.Line, p.Col)
	}
	if b.Len() > 0 {
		b.WriteByte(' ')
	}
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	b.WriteString(p.Text)
	return b.String()
}

// Invalid is what is wrong with a document, all of it at once.
type Invalid struct {
	Operation string // when it could be told
	Problems  []Problem
	More      int // problems beyond those that are kept
}

// Error is the service's sentence: constraint errors under its head line, then the others. Of a document that is wrong
// everywhere it is cut.
func (e *Invalid) Error() string { return e.sentence(e.Problems, e.More) }

func (e *Invalid) sentence(problems []Problem, more int) string {
	var constraints, others []string
	size := 0
	for _, p := range problems {
		message := cmp.Or(p.Message, p.Text)
		if size += len(message); size > maxError {
			more++
			continue
		}
		if p.constraint {
			constraints = append(constraints, message)
		} else {
			others = append(others, message)
		}
	}
	var parts []string
	if n := len(constraints); n == 1 {
		parts = append(parts, "1 validation error detected: "+constraints[0])
	} else if n > 1 {
		parts = append(parts, fmt.Sprintf("%d validation errors detected: %s", n, strings.Join(constraints, "; ")))
	}
	parts = append(parts, others...)
	if more > 0 {
		parts = append(parts, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(parts, "; ")
}

// Code is that of the first of Answers.
func (e *Invalid) Code() string { return e.Answers()[0].Code }

// Answer is what one who sends the document is told before the rest of it is looked at.
type Answer struct {
	Code    string `json:"code"`
	Message string `json:"message,omitempty"` // its words; "": they are not published
	Others  int    `json:"others,omitempty"`  // what it would say beside them, in words that are not published
}

// Answers are the answers that one would get in turn, each when what the ones before it name has been mended: of the
// client for members that it does not know, of the service's reader for what it cannot read, of the service for what
// breaks a constraint or a rule. There is one at least.
func (e *Invalid) Answers() []Answer {
	var out []Answer
	for _, code := range []string{CodeParameters, CodeSerialization, CodeValidation} {
		var of []Problem
		others := 0
		for _, p := range e.Problems {
			switch {
			case p.Code != code:
			case p.unknown:
				others++
			default:
				if rest, ok := strings.CutPrefix(p.Message, unknownParameters); ok && len(of) > 0 {
					p.Message = rest
				}
				of = append(of, p)
			}
		}
		if len(of)+others > 0 {
			out = append(out, Answer{code, e.sentence(of, 0), others})
		}
	}
	if last := len(out) - 1; last >= 0 {
		out[last].Others += e.More
	}
	return out
}

// unknownParameters is how a client begins, once, what it has against the members of a request.
const unknownParameters = "Parameter validation failed: "

// problems collects. Each softness has a bound of its own: what only warns must not push out what does not.
type problems struct {
	list []Problem
	kept [softnesses]int
	more [softnesses]int // beyond those that are kept
}

// full says that a further problem would only be counted, and counts it: then nobody needs to find its words and place.
func (ps *problems) full(s softness) bool {
	if ps.kept[s] < maxProblems {
		return false
	}
	ps.more[s]++
	return true
}

// room says that a further problem would be kept.
func (ps *problems) room(s softness) bool { return ps.kept[s] < maxProblems }

func (ps *problems) add(p Problem) {
	if !ps.full(p.soft) {
		ps.list = append(ps.list, p)
		ps.kept[p.soft]++
	}
}

// err sorts by place and returns nil when there is none.
func (ps *problems) err(operation string) error {
	if len(ps.list) == 0 {
		return nil
	}
	more := 0
	for _, n := range ps.more {
		more += n
	}
	slices.SortStableFunc(ps.list, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
	})
	return &Invalid{Operation: operation, Problems: ps.list, More: more}
}

// RefusedMember is a member that optml does not carry out and that would change what the container sees or what comes
// out (ruling 3).
type RefusedMember struct {
	File  string `json:"file,omitempty"`
	Path  string `json:"path"`
	Line  int    `json:"line,omitempty"`
	Col   int    `json:"col,omitempty"`
	Value string `json:"value,omitempty"` // short
	Text  string `json:"text"`            // why, and what to do instead
	Rule  string `json:"rule,omitempty"`
}

func (m RefusedMember) String() string {
	p := Problem{File: m.File, Line: m.Line, Col: m.Col, Path: m.Path, Text: m.Text}
	if m.Value != "" {
		p.Text = m.Value + " is refused: " + m.Text
	} else {
		p.Text = "refused: " + m.Text
	}
	return p.String()
}

// Unsupported is a document that is valid but asks for what optml does not carry out.
type Unsupported struct {
	Operation string
	Members   []RefusedMember
	More      int // beyond those that are kept
}

// add keeps as many as of other problems.
func (e *Unsupported) add(members ...RefusedMember) {
	n := min(len(members), maxProblems-len(e.Members))
	e.Members = append(e.Members, members[:n]...)
	e.More += len(members) - n
}

func (e *Unsupported) Error() string {
	s := make([]string, len(e.Members))
	for i, m := range e.Members {
		s[i] = m.String()
	}
	if e.More > 0 {
		s = append(s, fmt.Sprintf("and %d more", e.More))
	}
	return strings.Join(s, "; ")
}
