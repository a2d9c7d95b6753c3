package dataprocessing

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxPath is the length of a filter in characters (BT-150).
const maxPath = 63

// Path is a compiled filter: the part of JSONPath that the service takes (BT-159).
type Path struct {
	text  string
	steps []step
}

// step selects among the members or elements of one value.
type step struct {
	kind    kind
	names   []string
	indexes []int
	from    int
	to      int
	open    bool // a slice without an end
	text    string
}

type kind int

const (
	byName kind = iota
	byIndex
	bySlice
	byStar
)

// single reports whether the step leads to one value, not to a list of them.
func (s *step) single() bool {
	return s.kind == byName && len(s.names) == 1 || s.kind == byIndex && len(s.indexes) == 1
}

// PathError is a filter that is not taken. Its text is the service's as far as one is known (BT-160).
type PathError struct{ Path, Detail string }

func (e *PathError) Error() string { return "Invalid JsonPath: " + e.Path + ": " + e.Detail }

// ParsePath compiles a filter; an empty one is $, the whole record (BT-150).
func ParsePath(text string) (Path, error) {
	p := Path{text: text}
	if text == "" {
		p.text = "$"
		return p, nil
	}
	refuse := func(format string, a ...any) (Path, error) {
		return Path{}, &PathError{shown(text), fmt.Sprintf(format, a...)}
	}
	if utf8.RuneCountInString(text) > maxPath {
		return refuse("it has more than %d characters", maxPath)
	}
	rest, ok := strings.CutPrefix(text, "$")
	if !ok {
		return refuse("it does not begin with $")
	}
	for rest != "" {
		if after, dot := strings.CutPrefix(rest, "."); dot && !strings.HasPrefix(after, "[") {
			n := strings.IndexAny(after, ".[")
			if n < 0 {
				n = len(after)
			}
			name := after[:n]
			switch {
			case name == "" && strings.HasPrefix(after, "."):
				return refuse("recursive descent (..) is not supported")
			case name == "":
				return refuse("a name is missing after the dot")
			case name == "*":
				p.steps = append(p.steps, step{kind: byStar, text: ".*"})
			case strings.ContainsAny(name, "()"):
				return refuse("functions and scripts are not supported")
			case strings.ContainsAny(name, "*?@,:'\"]\\ \t\r\n"):
				return refuse("%q is not a name", name)
			default:
				p.steps = append(p.steps, step{kind: byName, names: []string{name}, text: "." + name})
			}
			rest = after[n:]
			continue
		} else if dot {
			rest = after // $.a.['b'] (BT-161)
		}
		if rest[0] != '[' {
			return refuse("%q stands where . or [ is expected", rest)
		}
		s, n, err := bracket(rest)
		if err != "" {
			return refuse("%s", err)
		}
		s.text = rest[:n]
		p.steps = append(p.steps, s)
		rest = rest[n:]
	}
	return p, nil
}

// bracket compiles the bracket at the beginning of text and returns its length.
func bracket(text string) (s step, n int, err string) {
	if strings.HasPrefix(strings.TrimLeft(text[1:], " "), "'") {
		return nameList(text)
	}
	n = strings.IndexByte(text, ']') + 1
	if n == 0 {
		return s, 0, fmt.Sprintf("%q has no end", text)
	}
	inside := strings.TrimSpace(text[1 : n-1])
	switch {
	case inside == "":
		return s, 0, "[] selects nothing"
	case inside == "*":
		return step{kind: byStar}, n, ""
	case strings.ContainsAny(inside, "?@()"):
		return s, 0, "filters and scripts are not supported"
	case strings.Contains(inside, ":"):
		from, to, _ := strings.Cut(inside, ":")
		from, to = strings.TrimSpace(from), strings.TrimSpace(to)
		s = step{kind: bySlice, open: to == ""}
		a, okA := number(from)
		b, okB := number(to)
		if from != "" && !okA || to != "" && !okB || from == "" && to == "" {
			// The words of BT-160.
			return s, 0, fmt.Sprintf("only single range filters of format (eg: [1:5]) are supported. Format %s is not supported", text[:n])
		}
		s.from, s.to = a, b
		return s, n, ""
	}
	s = step{kind: byIndex}
	for part := range strings.SplitSeq(inside, ",") {
		i, ok := number(strings.TrimSpace(part))
		if !ok {
			return s, 0, fmt.Sprintf("%q is neither an index, a slice nor a 'name'", strings.TrimSpace(part))
		}
		s.indexes = append(s.indexes, i)
	}
	return s, n, ""
}

// nameList compiles ['a','b'].
func nameList(text string) (s step, n int, err string) {
	s = step{kind: byName}
	for i := 1; ; {
		for i < len(text) && text[i] == ' ' {
			i++
		}
		if i == len(text) || text[i] != '\'' {
			return s, 0, "a list of names has quoted names only"
		}
		var name strings.Builder
		for i++; i < len(text) && text[i] != '\''; i++ {
			if text[i] == '\\' && i+1 < len(text) && (text[i+1] == '\'' || text[i+1] == '\\') {
				i++
			}
			name.WriteByte(text[i])
		}
		s.names = append(s.names, name.String())
		for i++; i < len(text) && text[i] == ' '; i++ {
		}
		switch {
		case i < len(text) && text[i] == ',':
			i++
			continue
		case i >= len(text) || text[i] != ']':
			return s, 0, fmt.Sprintf("%q has no end", text)
		}
		if len(s.names) > 1 {
			for _, name := range s.names {
				if strings.ContainsAny(name, ".[") {
					return s, 0, fmt.Sprintf("a path inside a list of names is not supported: '%s'", name)
				}
			}
		}
		return s, i + 1, ""
	}
}

// number reads an index. Ten digits are more than any record has.
func number(s string) (int, bool) {
	digits := strings.TrimPrefix(s, "-")
	if digits == "" || len(digits) > 9 || strings.Trim(digits, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(s)
	return n, err == nil
}

func (p Path) String() string { return p.text }

// Whole reports whether the path selects the whole record: $.
func (p Path) Whole() bool { return len(p.steps) == 0 }

// SliceEnd returns the first slice with an explicit end, "" if there is none. The service's guide reads ends as
// inclusive, its users as exclusive: who writes one is told which it is here (BT-162).
func (p Path) SliceEnd() string {
	for _, s := range p.steps {
		if s.kind == bySlice && !s.open {
			return s.text
		}
	}
	return ""
}

// at turns an index into a place in a list of n (BT-163).
func at(i, n int) (int, error) {
	k := i
	if k < 0 {
		k += n
	}
	if k < 0 || k >= n {
		return 0, fmt.Errorf("index %d is out of range of %d", i, n)
	}
	return k, nil
}

// bounds turns a slice into places in a list of n: to is exclusive (BT-162). Ends beyond the list are errors, as indexes
// are (BT-163); a slice may be empty.
func (s *step) bounds(n int) (from, to int, err error) {
	from, to = s.from, s.to
	if from < 0 {
		from += n
	}
	switch {
	case s.open:
		to = n
	case to < 0:
		to += n
	}
	if from < 0 || from > n || to < 0 || to > n {
		return 0, 0, fmt.Errorf("slice %s is out of range of %d", s.text, n)
	}
	return from, max(from, to), nil
}

// ranges calls f with the places [from, to) in a list of n that the step selects, in its order.
func (s *step) ranges(n int, f func(from, to int) error) error {
	switch s.kind {
	case byStar:
		return f(0, n)
	case bySlice:
		from, to, err := s.bounds(n)
		if err != nil {
			return err
		}
		return f(from, to)
	case byIndex:
		for _, i := range s.indexes {
			k, err := at(i, n)
			if err != nil {
				return err
			}
			if err := f(k, k+1); err != nil {
				return err
			}
		}
		return nil
	}
	return fmt.Errorf("%s is a name, and this is a list", s.text)
}

// maxShown bounds what of a record stands in an error.
const maxShown = 1 << 10

func shown[T []byte | string](b T) string {
	if len(b) > maxShown {
		return string(b[:maxShown]) + "…"
	}
	return string(b)
}
