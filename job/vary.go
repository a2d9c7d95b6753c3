package job

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/optml/optml/human"
)

// Choice is a member of one of several documents that go together, to be given other values.
type Choice struct {
	Doc  int    // which of the documents
	Path string // InputDataConfig[0].InputMode

	steps []any // a member's name or a list's index
	kind  string
}

// Each is the path of all like it: InputDataConfig[*].InputMode.
func (m Choice) Each() string { return starred(m.Path) }

// MemberError says that a member cannot be given other values, or not this one.
type MemberError struct{ Text, Help string }

func (e *MemberError) Error() string { return e.Text }

// Hint says what to do instead.
func (e *MemberError) Hint() string { return e.Help }

// FindMembers finds the member that name means in documents that go together: its path, or an end of the path that no
// other member's ends in, with the operation before it where that is needed (CreateModel.PrimaryContainer.Image). A member
// that is there goes before one that could be. [*] for an index is each of a list's: InputDataConfig[*].InputMode is as
// many members as there are channels, else there is one. *MemberError when there is none, or more than one is meant.
func FindMembers(docs []*Document, name string) ([]Choice, error) {
	var there, may []Choice
	var known []string
	for i, d := range docs {
		want := strings.TrimPrefix(name, d.Operation+".")
		memberWalk{doc: i, want: want, there: &there, may: &may, known: &known}.shape(d.Root, facts().Operations[d.Operation], nil, "", 0)
	}
	found := there
	if len(found) == 0 {
		found = may
	}
	each := strings.Contains(name, "[*]")
	if each && len(there) > 0 { // one of them may be where another could be
		for _, m := range may {
			if m.Doc == there[0].Doc && starred(m.Path) == starred(there[0].Path) {
				found = append(found, m)
			}
		}
	}
	alike := func(a Choice) bool { return a.Doc == found[0].Doc && starred(a.Path) == starred(found[0].Path) }
	switch {
	case len(found) == 0:
		hint := "name it as the document does: InputMode, InputDataConfig[0].InputMode, HyperParameters.epochs"
		slices.Sort(known)
		if near := human.Nearest(name, known); near != "" {
			hint = "did you mean " + near + "?"
		}
		return nil, &MemberError{"no member " + strconv.Quote(name) + " is in the document, or could be", hint}
	case len(found) == 1 || each && !slices.ContainsFunc(found, func(m Choice) bool { return !alike(m) }):
		if found[0].kind == "" {
			return nil, &MemberError{found[0].Path + " is an object or a list, not a single value", "name a member in it"}
		}
		slices.SortFunc(found, func(a, b Choice) int { return strings.Compare(a.Path, b.Path) })
		return found, nil
	}
	var paths []string
	for _, m := range found {
		p := m.Path
		if len(docs) > 1 {
			p = docs[m.Doc].Operation + "." + p
		}
		paths = append(paths, p)
	}
	slices.Sort(paths)
	hint := "give as much of the path as tells them apart"
	if !slices.ContainsFunc(found, func(m Choice) bool { return !alike(m) }) {
		hint += ", or " + starred(paths[0]) + " for all of them"
	}
	return nil, &MemberError{strconv.Quote(name) + " may be " + strings.Join(paths, " or "), hint}
}

var anIndex = regexp.MustCompile(`\[\d+\]`)

// starred is a path with [*] for each index.
func starred(path string) string { return anIndex.ReplaceAllString(path, "[*]") }

// memberWalk goes over all members that a document has or could have.
type memberWalk struct {
	doc        int
	want       string
	there, may *[]Choice
	known      *[]string
}

// shapesDeep is more than any request is.
const shapesDeep = 12

func (w memberWalk) shape(n *Node, name string, steps []any, path string, depth int) {
	s := facts().Shapes[name]
	if s == nil || depth > shapesDeep {
		return
	}
	if len(steps) > 0 {
		w.offer(n, s, steps, path)
	}
	switch s.Type {
	case "structure":
		for m, of := range s.Members {
			w.shape(n.Get(m), of, append(steps[:len(steps):len(steps)], m), join(path, m), depth+1)
		}
	case "list":
		if n == nil || n.Kind != Array {
			return
		}
		for i, x := range n.Items {
			w.shape(x, s.Member, append(steps[:len(steps):len(steps)], i), index(path, i), depth+1)
		}
	case "map":
		var keys []string
		if n != nil && n.Kind == Object {
			for _, m := range n.Members {
				keys = append(keys, m.Name)
				w.shape(m.Value, s.Value, append(steps[:len(steps):len(steps)], m.Name), join(path, m.Name), depth+1)
			}
		}
		// A key that is not there yet has the map's name before it.
		if key, ok := keyBelow(w.want, path); ok && !slices.Contains(keys, key) {
			w.shape(nil, s.Value, append(steps[:len(steps):len(steps)], key), join(path, key), depth+1)
		}
	}
}

func (w memberWalk) offer(n *Node, s *shape, steps []any, path string) {
	*w.known = append(*w.known, path)
	if last, ok := steps[len(steps)-1].(string); ok {
		*w.known = append(*w.known, last)
	}
	if !endsIn(path, w.want) {
		return
	}
	m := Choice{Doc: w.doc, Path: path, steps: steps}
	switch s.Type {
	case "structure", "list", "map":
	default:
		m.kind = s.Type
	}
	if n != nil {
		*w.there = append(*w.there, m)
	} else {
		*w.may = append(*w.may, m)
	}
}

// endsIn says whether a path ends in whole members that are called end, where [*] is any index.
func endsIn(path, end string) bool {
	if strings.Contains(end, "[*]") {
		any := strings.ReplaceAll(regexp.QuoteMeta(end), `\[\*\]`, `\[\d+\]`)
		at := regexp.MustCompile(any + "$").FindStringIndex(path)
		if at == nil {
			return false
		}
		end = path[at[0]:]
	}
	before, ok := strings.CutSuffix(path, end)
	return ok && end != "" && (before == "" || before[len(before)-1] == '.' || end[0] == '[')
}

// keyBelow is the key in a name such as Environment.LOG_LEVEL, where path is a map's.
func keyBelow(name, path string) (string, bool) {
	for i := range len(name) {
		if name[i] == '.' && i+1 < len(name) && endsIn(path, name[:i]) {
			return name[i+1:], true
		}
	}
	return "", false
}

// Set returns the document's text with another value for the member: everything else stays as it is, byte for byte. The
// value is as a command line has it: a string without quotes. Whether the service takes it is for Make to say.
func (m Choice) Set(d *Document, value string) ([]byte, error) {
	var text []byte
	switch m.kind {
	case "integer", "long":
		if _, err := strconv.ParseInt(value, 10, 64); err != nil {
			return nil, &MemberError{fmt.Sprintf("%s: %q is not a whole number", m.Path, value), ""}
		}
		text = []byte(value)
	case "boolean":
		if value != "true" && value != "false" {
			return nil, &MemberError{fmt.Sprintf("%s: %q is neither true nor false", m.Path, value), ""}
		}
		text = []byte(value)
	default:
		text = quoted(value)
	}
	n := d.Root
	for i, step := range m.steps {
		next := child(n, step)
		if next == nil {
			return m.insert(d, n, i, text)
		}
		n = next
	}
	end, err := valueEnd(d.src.data, n.Offset)
	if err != nil {
		return nil, err
	}
	return splice(d.src.data, n.Offset, end, text), nil
}

// insert adds the member to n, the deepest of those above it that is there: steps[i:] are not.
func (m Choice) insert(d *Document, n *Node, i int, text []byte) ([]byte, error) {
	if n.Kind != Object {
		return nil, &MemberError{m.Path + " is not in the document, and what it would be in is no object", ""}
	}
	for k := len(m.steps) - 1; k > i; k-- {
		name, ok := m.steps[k].(string)
		if !ok {
			return nil, &MemberError{m.Path + " is in a list that the document does not have", "write the list into the document"}
		}
		text = slices.Concat([]byte("{"), quoted(name), []byte(": "), text, []byte("}"))
	}
	name, _ := m.steps[i].(string)
	for _, x := range n.Members { // it is there as null
		if x.Name == name {
			end, err := valueEnd(d.src.data, x.Value.Offset)
			if err != nil {
				return nil, err
			}
			return splice(d.src.data, x.Value.Offset, end, text), nil
		}
	}
	text = slices.Concat(quoted(name), []byte(": "), text)
	if len(n.Members) > 0 {
		text = append(text, ", "...)
	}
	return splice(d.src.data, n.Offset+1, n.Offset+1, text), nil
}

func child(n *Node, step any) *Node {
	switch s := step.(type) {
	case string:
		return n.Get(s)
	case int:
		if n.Kind == Array && s < len(n.Items) {
			return n.Items[s]
		}
	}
	return nil
}

func quoted(s string) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string can be written
	return bytes.TrimRight(b.Bytes(), "\n")
}

// valueEnd is where the value ends that begins at an offset.
func valueEnd(data []byte, from int) (int, error) {
	dec := json.NewDecoder(bytes.NewReader(data[from:]))
	var v json.RawMessage
	if err := dec.Decode(&v); err != nil {
		return 0, fmt.Errorf("value at byte %d: %w", from, err)
	}
	return from + int(dec.InputOffset()), nil
}

func splice(data []byte, from, to int, text []byte) []byte {
	return slices.Concat(data[:from], text, data[to:])
}

// Value is how the member stands in the document, "" when it is not there.
func (m Choice) Value(d *Document) string {
	n := d.Root
	for _, s := range m.steps {
		if n = child(n, s); n == nil {
			return ""
		}
	}
	return n.Text
}
