package ledger

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// Document is a JSON object whose members keep their order. Values are what encoding/json encodes, Documents and
// time.Time among them: the CLI prints times as RFC 3339 in UTC with milliseconds, as `aws` does with its default
// iso8601 format; an endpoint that speaks the wire protocol walks the tree and writes epoch seconds instead.
type Document []Member

// Member is one member of a Document.
type Member struct {
	Name  string
	Value any
}

// Get is a member's value, nil when it is not there.
func (d Document) Get(name string) any {
	for _, m := range d {
		if m.Name == name {
			return m.Value
		}
	}
	return nil
}

// set appends a member unless it is unset: nil, an empty string or list, a zero time. The service leaves such out.
func (d *Document) set(name string, value any) {
	switch v := value.(type) {
	case nil:
		return
	case string:
		if v == "" {
			return
		}
	case time.Time:
		if v.IsZero() {
			return
		}
		value = v.UTC().Truncate(time.Millisecond)
	case []Document:
		if len(v) == 0 {
			return
		}
	case Document:
		if len(v) == 0 {
			return
		}
	case json.RawMessage:
		if len(v) == 0 {
			return
		}
	}
	*d = append(*d, Member{name, value})
}

// MarshalJSON writes the members in their order. It leaves <, > and & as they are; whether they end up escaped is for
// the encoder that is asked (json.Encoder.SetEscapeHTML).
func (d Document) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	b.WriteByte('{')
	for i, m := range d {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := enc.Encode(m.Name); err != nil {
			return nil, err
		}
		b.WriteByte(':')
		if err := enc.Encode(m.Value); err != nil {
			return nil, fmt.Errorf("member %s: %w", m.Name, err)
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// request is the top-level members of a document as given, for the members that Describe echoes.
type request map[string]json.RawMessage

// echo sets the named members from the document, or, where there is no document, from what the plan tells.
func (d *Document) echo(r request, fromPlan Document, names ...string) {
	for _, n := range names {
		if r != nil {
			d.set(n, r[n])
		} else {
			d.set(n, fromPlan.Get(n))
		}
	}
}

// Names are the members' names in order.
func (d Document) Names() []string {
	return slices.Collect(func(yield func(string) bool) {
		for _, m := range d {
			if !yield(m.Name) {
				return
			}
		}
	})
}
