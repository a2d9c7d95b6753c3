package job

import (
	"bytes"
	"fmt"
	"strings"
)

// Bounds of a document. The largest request that the model allows (each list full, each string at its maximum) has
// under 3 MB and some thousand values, ten levels deep.
const (
	MaxDocumentBytes = 8 << 20
	maxDepth         = 64
	maxValues        = 50_000
)

// syntaxError stops the parser: the text is not JSON, or beyond a bound.
type syntaxError struct {
	offset    int
	msg, hint string
}

// duplicate is a name that an object has twice; encoding/json would keep the last in silence.
type duplicate struct {
	path          string
	offset, first int
}

type parser struct {
	data   []byte
	pos    int
	values int
	dups   []duplicate
}

// parse reads one JSON value and nothing after it.
func parse(data []byte) (*Node, []duplicate, *syntaxError) {
	p := &parser{data: data}
	if len(data) > MaxDocumentBytes {
		return nil, nil, &syntaxError{0, fmt.Sprintf("the document has %d bytes, more than the %d that a request may have", len(data), MaxDocumentBytes), ""}
	}
	if bytes.HasPrefix(data, []byte("\xef\xbb\xbf")) {
		return nil, nil, &syntaxError{0, "the document begins with a byte order mark", "save it as UTF-8 without a byte order mark"}
	}
	p.space()
	if p.pos == len(data) {
		return nil, nil, p.fail(p.pos, "the document is empty")
	}
	n, err := p.value("", 0)
	if err != nil {
		return nil, p.dups, err
	}
	p.space()
	if p.pos < len(data) {
		return nil, p.dups, p.fail(p.pos, "text after the end of the document: %s", p.near())
	}
	return n, p.dups, nil
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

func (p *parser) value(path string, depth int) (*Node, *syntaxError) {
	if p.pos >= len(p.data) {
		return nil, p.fail(p.pos, "the document ends in the middle of a value")
	}
	if p.values++; p.values > maxValues {
		return nil, p.fail(p.pos, "the document has more than %d values", maxValues)
	}
	if depth > maxDepth {
		return nil, p.fail(p.pos, "the document is nested more than %d levels deep", maxDepth)
	}
	start := p.pos
	switch c := p.data[p.pos]; {
	case c == '{':
		return p.object(path, depth)
	case c == '[':
		return p.array(path, depth)
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

func (p *parser) object(path string, depth int) (*Node, *syntaxError) {
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
		v, err := p.value(join(path, name), depth+1)
		if err != nil {
			return nil, err
		}
		if was, dup := findName(n.Members, seen, name); dup {
			p.dups = append(p.dups, duplicate{join(path, name), at, was})
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

func (p *parser) array(path string, depth int) (*Node, *syntaxError) {
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
		v, err := p.value(index(path, len(n.Items)), depth+1)
		if err != nil {
			return nil, err
		}
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
