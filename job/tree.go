package job

import (
	"bytes"
	"encoding/json"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"
)

// NodeKind is what a JSON value is.
type NodeKind uint8

const (
	Null NodeKind = iota
	Bool
	Number
	String
	Array
	Object
)

// Node is one JSON value with its place in the text. Numbers keep their text, so nothing is lost to a float.
type Node struct {
	Kind    NodeKind
	Text    string   // of a String its value, of a Number or Bool its text in the document
	Members []Member // of an Object, in document order
	Items   []*Node  // of an Array
	Offset  int      // of the value's first byte
}

// Member is one name and value of an object.
type Member struct {
	Name   string
	Value  *Node
	Offset int // of the name's opening quote
}

// Get returns the named member's value, exactly so spelled; nil when it is absent or null, which the service takes for
// absent.
func (n *Node) Get(name string) *Node {
	if n == nil {
		return nil
	}
	for i := range n.Members {
		if n.Members[i].Name == name {
			if n.Members[i].Value.Kind == Null {
				return nil
			}
			return n.Members[i].Value
		}
	}
	return nil
}

// At returns the node at a path such as InputDataConfig[0].ChannelName, and whether it is there. When it is not, the
// node is the last one that was found on the way, so that a message has a place to point at.
func (n *Node) At(path string) (*Node, bool) {
	for path != "" {
		var next *Node
		if path[0] == '[' {
			end := strings.IndexByte(path, ']')
			if end < 0 {
				return n, false
			}
			i, err := strconv.Atoi(path[1:end])
			if err != nil || i < 0 || i >= len(n.Items) {
				return n, false
			}
			next, path = n.Items[i], path[end+1:]
		} else {
			name := path
			if i := strings.IndexAny(path, ".["); i >= 0 {
				name = path[:i]
			}
			if next = n.Get(name); next == nil {
				// A map's key may hold any character: take the rest for one.
				if next = n.Get(path); next == nil {
					return n, false
				}
				name = path
			}
			path = path[len(name):]
		}
		path = strings.TrimPrefix(path, ".")
		n = next
	}
	return n, true
}

// write prints a tree as JSON again: members in their order, numbers as they were. newline is a line's end and the
// indentation of the next.
func (n *Node) write(b *bytes.Buffer, newline string) {
	list := func(opened, closed byte, items int, item func(i int)) {
		b.WriteByte(opened)
		for i := range items {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(newline + "  ")
			item(i)
		}
		if items > 0 {
			b.WriteString(newline)
		}
		b.WriteByte(closed)
	}
	switch n.Kind {
	case Object:
		list('{', '}', len(n.Members), func(i int) {
			writeString(b, n.Members[i].Name)
			b.WriteString(": ")
			n.Members[i].Value.write(b, newline+"  ")
		})
	case Array:
		list('[', ']', len(n.Items), func(i int) { n.Items[i].write(b, newline+"  ") })
	case String:
		writeString(b, n.Text)
	default:
		b.WriteString(n.Text)
	}
}

func writeString(b *bytes.Buffer, s string) {
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // of a string, into memory: it cannot fail
	b.Truncate(b.Len() - 1)
}

// source is a document's text, which knows lines.
type source struct {
	data  []byte
	lines []int // offset of each line's first byte, as far as they were asked for
	known int   // bytes that were searched for line ends

	last, col int // the last offset that was asked for and its column: the next one in its line is counted from there
}

// line returns the line of an offset, from 1.
func (s *source) line(offset int) int {
	offset = min(max(offset, 0), len(s.data))
	if s.lines == nil {
		s.lines = append(s.lines, 0)
	}
	for s.known < offset {
		i := bytes.IndexByte(s.data[s.known:offset], '\n')
		if i < 0 {
			s.known = offset
			break
		}
		s.known += i + 1
		s.lines = append(s.lines, s.known)
	}
	return sort.SearchInts(s.lines, offset+1)
}

// position returns the line and the column of an offset, both from 1, the column in characters.
func (s *source) position(offset int) (line, col int) {
	line = s.line(offset)
	offset = min(max(offset, 0), len(s.data))
	from, col := s.lines[line-1], 1
	if s.last > from && s.last <= offset {
		from, col = s.last, s.col
	}
	s.last, s.col = offset, col+utf8.RuneCount(s.data[from:offset])
	return line, s.col
}

// join appends a member's name to a path.
func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// index appends a list index to a path.
func index(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }
