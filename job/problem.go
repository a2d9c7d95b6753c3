package job

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Codes of problems, as the service names its errors.
const (
	CodeValidation    = "ValidationException"
	CodeSerialization = "SerializationException"
)

// maxProblems bounds what is kept of a document that is wrong everywhere.
const maxProblems = 200

// Problem is one thing that is wrong with a document.
type Problem struct {
	Code    string `json:"code"`              // ValidationException, SerializationException
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
	soft       softness
}

// softness says when a problem only warns.
type softness uint8

const (
	hard      softness = iota
	awsOnly            // matters on AWS alone: warns, unless Options.Strict (ruling 3)
	lenient            // an error, unless Options.Lenient (ruling 4, VAL-12)
	serviceNo          // the service refuses it, running works: warns, unless Options.Strict (ruling 11)
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

// Error is the service's sentence: constraint errors under its head line, then the others.
func (e *Invalid) Error() string {
	var constraints, others []string
	for _, p := range e.Problems {
		if p.constraint {
			constraints = append(constraints, p.Message)
		} else {
			others = append(others, cmp.Or(p.Message, p.Text))
		}
	}
	var parts []string
	if n := len(constraints); n == 1 {
		parts = append(parts, "1 validation error detected: "+constraints[0])
	} else if n > 1 {
		parts = append(parts, fmt.Sprintf("%d validation errors detected: %s", n, strings.Join(constraints, "; ")))
	}
	parts = append(parts, others...)
	if e.More > 0 {
		parts = append(parts, fmt.Sprintf("and %d more", e.More))
	}
	return strings.Join(parts, "; ")
}

// Code is the service's error code: a document that cannot be read comes before one that breaks a rule.
func (e *Invalid) Code() string {
	for _, p := range e.Problems {
		if p.Code == CodeSerialization {
			return CodeSerialization
		}
	}
	return CodeValidation
}

// problems collects.
type problems struct {
	list []Problem
	more int
}

func (ps *problems) add(p Problem) {
	if len(ps.list) >= maxProblems {
		ps.more++
		return
	}
	ps.list = append(ps.list, p)
}

// err sorts by place and returns nil when there is none.
func (ps *problems) err(operation string) error {
	if len(ps.list) == 0 {
		return nil
	}
	slices.SortStableFunc(ps.list, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
	})
	return &Invalid{Operation: operation, Problems: ps.list, More: ps.more}
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
}

func (e *Unsupported) Error() string {
	s := make([]string, len(e.Members))
	for i, m := range e.Members {
		s[i] = m.String()
	}
	return strings.Join(s, "; ")
}
