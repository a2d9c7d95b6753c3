package job

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/optml/optml/human"
)

// Bounds of a document. The largest request that the model allows (each list full, each string at its maximum) has
// under 3 MB and some thousand values, ten levels deep.
const (
	MaxDocumentBytes = 8 << 20
	maxDepth         = 64
	maxValues        = 50_000
	maxPathName      = 1024 // characters of a name in a path; no name that the service takes has more
	maxPath          = 4096 // characters of a rule's path
)

// syntaxError stops the parser: the text is not JSON, or beyond a bound.
type syntaxError struct {
	offset    int
	msg, hint string
}

// duplicate is a name that an object has twice; encoding/json would keep the last in silence.
type duplicate struct {
	name, path    string
	offset, first int
}

type parser struct {
	data   []byte
	pos    int
	values int
	dups   []duplicate // as many as are told
	more   int         // dups beyond those
	at     []step      // the way to the current value
}

// step is a name, or an index, on the way to a value. Paths are made of them when they are needed: making one for each
// value takes as long as the names in it.
type step struct {
	name  string
	index int // -1: a name
}

// path is the current value's, with one more name.
func (p *parser) path(name string) string {
	path := ""
	for _, s := range append(p.at, step{name, -1}) {
		if s.index < 0 {
			path = join(path, human.Clip(s.name, maxPathName))
		} else {
			path = index(path, s.index)
		}
	}
	return path
}

// parse reads one JSON value and nothing after it.
func parse(data []byte) (*Node, *syntaxError) {
	return (&parser{data: data}).document()
}

func (p *parser) document() (*Node, *syntaxError) {
	if len(p.data) > MaxDocumentBytes {
		return nil, &syntaxError{0, fmt.Sprintf("the document has more than the %d bytes that a request may have", MaxDocumentBytes), ""}
	}
	if bytes.HasPrefix(p.data, []byte("\xef\xbb\xbf")) {
		return nil, &syntaxError{0, "the document begins with a byte order mark", "save it as UTF-8 without a byte order mark"}
	}
	p.space()
	if p.pos == len(p.data) {
		return nil, p.fail(p.pos, "the document is empty")
	}
	n, err := p.value()
	if err != nil {
		return nil, err
	}
	p.space()
	if p.pos < len(p.data) {
		return nil, p.fail(p.pos, "text after the end of the document: %s", p.near())
	}
	return n, nil
}

func (p *parser) fail(offset int, format string, a ...any) *syntaxError {
	return &syntaxError{offset: offset, msg: fmt.Sprintf(format, a...)}
}

// near quotes a few characters at the current position.
func (p *parser) near() string {
	if p.pos >= len(p.data) {
		return "the end of the document"
	}
	end := min(p.pos+12, len(p.data))
	s := strings.ToValidUTF8(string(p.data[p.pos:end]), "�")
	return fmt.Sprintf("%q", s)
}

func (p *parser) space() {
	for p.pos < len(p.data) {
		switch p.data[p.pos] {
		case ' ', '\t', '\n', '\r':
			p.pos++
		default:
			return
		}
	}
}

func (p *parser) value() (*Node, *syntaxError) {
	if p.pos >= len(p.data) {
		return nil, p.fail(p.pos, "the document ends in the middle of a value")
	}
	if p.values++; p.values > maxValues {
		return nil, p.fail(p.pos, "the document has more than %d values", maxValues)
	}
	if len(p.at) > maxDepth {
		return nil, p.fail(p.pos, "the document is nested more than %d levels deep", maxDepth)
	}
	start := p.pos
	switch c := p.data[p.pos]; {
	case c == '{':
		return p.object()
	case c == '[':
		return p.array()
	case c == '"':
		s, err := p.str()
		return &Node{Kind: String, Text: s, Offset: start}, err
	case c == '-' || c >= '0' && c <= '9':
		s, err := p.number()
		return &Node{Kind: Number, Text: s, Offset: start}, err
	}
	for _, lit := range []struct {
		text string
		kind NodeKind
	}{{"true", Bool}, {"false", Bool}, {"null", Null}} {
		if bytes.HasPrefix(p.data[p.pos:], []byte(lit.text)) {
			p.pos += len(lit.text)
			return &Node{Kind: lit.kind, Text: lit.text, Offset: start}, nil
		}
	}
	e := p.fail(p.pos, "%s is not a JSON value", p.near())
	switch p.data[p.pos] {
	case '\'':
		e.hint = "JSON strings stand in double quotes"
	case '/', '#':
		e.hint = "JSON has no comments"
	case ',', ']', '}':
		e.hint = "a comma stands between values only, not after the last one"
	case 'N', 'I', 'T', 'F':
		e.hint = "JSON knows true, false and null in lower case, and neither NaN nor Infinity"
	}
	return nil, e
}

func (p *parser) object() (*Node, *syntaxError) {
	n := &Node{Kind: Object, Offset: p.pos}
	p.pos++
	var seen map[string]int // name to offset, once there are many
	for first := true; ; first = false {
		p.space()
		if p.pos >= len(p.data) {
			return nil, p.fail(n.Offset, "this object is not closed")
		}
		if p.data[p.pos] == '}' && first {
			p.pos++
			return n, nil
		}
		if p.data[p.pos] != '"' {
			e := p.fail(p.pos, "%s where a member's name in double quotes is expected", p.near())
			if p.data[p.pos] == '}' {
				e.hint = "remove the comma before it"
			}
			return nil, e
		}
		at := p.pos
		name, err := p.str()
		if err != nil {
			return nil, err
		}
		p.space()
		if p.pos >= len(p.data) || p.data[p.pos] != ':' {
			return nil, p.fail(p.pos, "%s where a colon is expected after %q", p.near(), name)
		}
		p.pos++
		p.space()
		p.at = append(p.at, step{name, -1})
		v, err := p.value()
		if err != nil {
			return nil, err
		}
		p.at = p.at[:len(p.at)-1]
		if was, dup := findName(n.Members, seen, name); dup {
			if len(p.dups) < maxProblems {
				p.dups = append(p.dups, duplicate{name, p.path(name), at, was})
			} else {
				p.more++
			}
		} else {
			n.Members = append(n.Members, Member{name, v, at})
			if seen != nil {
				seen[name] = at
			} else if len(n.Members) > 16 {
				seen = make(map[string]int, 64)
				for _, m := range n.Members {
					seen[m.Name] = m.Offset
				}
			}
		}
		p.space()
		switch {
		case p.pos >= len(p.data):
			return nil, p.fail(n.Offset, "this object is not closed")
		case p.data[p.pos] == ',':
			p.pos++
		case p.data[p.pos] == '}':
			p.pos++
			return n, nil
		default:
			return nil, p.fail(p.pos, "%s where a comma or a closing brace is expected", p.near())
		}
	}
}

func findName(members []Member, seen map[string]int, name string) (int, bool) {
	if seen != nil {
		at, ok := seen[name]
		return at, ok
	}
	for i := range members {
		if members[i].Name == name {
			return members[i].Offset, true
		}
	}
	return 0, false
}

func (p *parser) array() (*Node, *syntaxError) {
	n := &Node{Kind: Array, Offset: p.pos}
	p.pos++
	for first := true; ; first = false {
		p.space()
		if p.pos >= len(p.data) {
			return nil, p.fail(n.Offset, "this list is not closed")
		}
		if p.data[p.pos] == ']' && first {
			p.pos++
			return n, nil
		}
		p.at = append(p.at, step{"", len(n.Items)})
		v, err := p.value()
		if err != nil {
			return nil, err
		}
		p.at = p.at[:len(p.at)-1]
		n.Items = append(n.Items, v)
		p.space()
		switch {
		case p.pos >= len(p.data):
			return nil, p.fail(n.Offset, "this list is not closed")
		case p.data[p.pos] == ',':
			p.pos++
		case p.data[p.pos] == ']':
			p.pos++
			return n, nil
		default:
			return nil, p.fail(p.pos, "%s where a comma or a closing bracket is expected", p.near())
		}
	}
}

// number checks the grammar of JSON: no leading zero, plus sign or hexadecimal.
func (p *parser) number() (string, *syntaxError) {
	start, i, d := p.pos, p.pos, p.data
	digits := func() bool {
		from := i
		for i < len(d) && d[i] >= '0' && d[i] <= '9' {
			i++
		}
		return i > from
	}
	if d[i] == '-' {
		i++
	}
	zero := i < len(d) && d[i] == '0'
	from := i
	ok := digits() && !(zero && i-from > 1)
	if ok && i < len(d) && d[i] == '.' {
		i++
		ok = digits()
	}
	if ok && i < len(d) && (d[i] == 'e' || d[i] == 'E') {
		i++
		if i < len(d) && (d[i] == '+' || d[i] == '-') {
			i++
		}
		ok = digits()
	}
	if ok && i < len(d) && !strings.ContainsRune(" \t\r\n,]}:", rune(d[i])) {
		ok = false
	}
	if !ok {
		return "", p.fail(start, "%s is not a JSON number", p.near())
	}
	if i-start > 64 {
		return "", p.fail(start, "a number of %d digits", i-start)
	}
	p.pos = i
	return string(d[start:i]), nil
}
