package job

import (
	"cmp"
	"strconv"
	"strings"
	"sync"

	"github.com/optml/optml/human"
)

// row says how one member of a shape is treated. Its treatment can depend on the value: the first case that fits
// decides, else the row itself. To carry out what was refused, change the row's treatment, or remove its case.
type row struct {
	shape, member string // member "*": every member of a shape that is reached through inert or refused members only
	treatment     Treatment
	rules         string // contract rule ids and rulings, comma between
	note          string // how it is emulated, why it is inert or refused; of a refused one also what to do
	cases         []when
	strict        string // why --strict refuses what is emulated or only warned about; "" when it does not
}

// when is a treatment for certain values: the value itself, or ">n" for numbers above n and lists longer than n.
type when struct {
	is        string
	hosts     bool // only if --hosts names as many as the value says
	treatment Treatment
	rules     string
	note      string
	strict    string // in place of the row's
}

func (w when) fits(n *Node, o Options) bool {
	if w.hosts && !o.counted(n) {
		return false
	}
	bound, more := strings.CutPrefix(w.is, ">")
	if !more {
		return (n.Kind == String || n.Kind == Number || n.Kind == Bool) && n.Text == w.is
	}
	limit, err := strconv.ParseInt(bound, 10, 64)
	if err != nil {
		return false
	}
	switch n.Kind {
	case Array:
		return int64(len(n.Items)) > limit
	case Object:
		return int64(len(n.Members)) > limit
	case Number:
		v, ok := wholeNumber(n.Text)
		return ok && v.IsInt64() && v.Int64() > limit
	}
	return false
}

// rowIndex finds rows by Shape.Member; a "*" row stands for each member of its shape.
var rowIndex = sync.OnceValue(func() map[string]*row {
	index := map[string]*row{}
	for i := range fidelity {
		r := &fidelity[i]
		if r.member != "*" {
			index[r.shape+"."+r.member] = r
			continue
		}
		for m := range facts().Shapes[r.shape].Members {
			index[r.shape+"."+m] = r
		}
	}
	return index
})

// treat goes through a document and says of each member that is present what is done with it. A structure or list
// whose members are treated on their own is not listed itself; below an inert or refused member nothing is.
func treat(d *Document, o Options) (uses []MemberUse, refused []RefusedMember) {
	var walk func(n *Node, shapeName, path string)
	member := func(s *shape, m Member, path string) {
		r := rowIndex()[s.Name+"."+m.Name]
		t, rules, note, strict := r.treatment, r.rules, r.note, r.strict
		for _, c := range r.cases {
			if c.fits(m.Value, o) {
				t, rules, note, strict = c.treatment, cmp.Or(c.rules, rules), c.note, cmp.Or(c.strict, strict)
				break
			}
		}
		if o.Strict && strict != "" && t != Refused {
			t, note = Refused, strict
		}
		if t == Refused {
			no := RefusedMember{File: d.Name, Path: path, Text: note, Rule: rules}
			no.Line, no.Col = d.src.position(m.Value.Offset)
			if m.Value.Kind == String || m.Value.Kind == Number || m.Value.Kind == Bool {
				no.Value = human.Clip(m.Value.Text, 64)
			}
			refused = append(refused, no)
		}
		next := s.Members[m.Name]
		if (t == Honoured || t == Emulated) && !isLeaf(m.Value, next) {
			walk(m.Value, next, path)
			return
		}
		uses = append(uses, MemberUse{Path: path, Treatment: t, Note: note})
	}
	walk = func(n *Node, shapeName, path string) {
		s := facts().Shapes[shapeName]
		if s.Type == "list" {
			for i, it := range n.Items {
				walk(it, s.Member, index(path, i))
			}
			return
		}
		for _, m := range n.Members {
			if m.Value.Kind != Null {
				member(s, m, join(path, m.Name))
			}
		}
	}
	walk(d.Root, facts().Operations[d.Operation], "")
	return uses, refused
}

// isLeaf tells a member that is listed itself from one whose own members are.
func isLeaf(n *Node, shapeName string) bool {
	s := facts().Shapes[shapeName]
	switch s.Type {
	case "structure":
		return len(n.Members) == 0
	case "list":
		return len(n.Items) == 0 || facts().Shapes[s.Member].Type != "structure"
	}
	return true
}
