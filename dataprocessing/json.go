package dataprocessing

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
)

// maxDepth bounds how deep values may lie in each other.
const maxDepth = 1000

// checkJSON returns the one value that b is, without the space around it. What follows here relies on values that have
// been checked.
func checkJSON(b []byte) ([]byte, error) {
	from := space(b, 0)
	to, err := scan(b, from, 0)
	if err != nil {
		return nil, err
	}
	if end := space(b, to); end < len(b) {
		return nil, unexpected(b, end)
	}
	return b[from:to], nil
}

func unexpected(b []byte, i int) error {
	if i >= len(b) {
		return errors.New("unexpected end of JSON")
	}
	return fmt.Errorf("unexpected character %q at byte %d", b[i], i)
}

func space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		i++
	}
	return i
}

// scan returns the end of the value at i.
func scan(b []byte, i, depth int) (int, error) {
	if depth > maxDepth {
		return 0, fmt.Errorf("more than %d values inside each other", maxDepth)
	}
	if i >= len(b) {
		return 0, unexpected(b, i)
	}
	switch c := b[i]; {
	case c == '"':
		return scanString(b, i)
	case c == '-' || c >= '0' && c <= '9':
		return scanNumber(b, i)
	case c == '{' || c == '[':
		closing := c + 2 // } and ] stand two behind
		i = space(b, i+1)
		if i < len(b) && b[i] == closing {
			return i + 1, nil
		}
		for {
			var err error
			if c == '{' {
				if i >= len(b) || b[i] != '"' {
					return 0, unexpected(b, i)
				}
				if i, err = scanString(b, i); err != nil {
					return 0, err
				}
				if i = space(b, i); i >= len(b) || b[i] != ':' {
					return 0, unexpected(b, i)
				}
				i = space(b, i+1)
			}
			if i, err = scan(b, i, depth+1); err != nil {
				return 0, err
			}
			i = space(b, i)
			switch {
			case i < len(b) && b[i] == closing:
				return i + 1, nil
			case i >= len(b) || b[i] != ',':
				return 0, unexpected(b, i)
			}
			i = space(b, i+1)
		}
	}
	for _, word := range []string{"true", "false", "null"} {
		if len(b)-i >= len(word) && string(b[i:i+len(word)]) == word {
			return i + len(word), nil
		}
	}
	return 0, unexpected(b, i)
}

func scanString(b []byte, i int) (int, error) {
	for i++; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			return i + 1, nil
		case c < ' ':
			return 0, unexpected(b, i)
		case c == '\\':
			if i++; i >= len(b) {
				return 0, unexpected(b, i)
			}
			switch b[i] {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			case 'u':
				for range 4 {
					if i++; i >= len(b) || !hex(b[i]) {
						return 0, unexpected(b, i)
					}
				}
			default:
				return 0, unexpected(b, i)
			}
		}
	}
	return 0, unexpected(b, i)
}

func hex(c byte) bool { return digit(c) || c|0x20 >= 'a' && c|0x20 <= 'f' }

func digit(c byte) bool { return c >= '0' && c <= '9' }

func scanNumber(b []byte, i int) (int, error) {
	digits := func() bool {
		from := i
		for i < len(b) && digit(b[i]) {
			i++
		}
		return i > from
	}
	if b[i] == '-' {
		i++
	}
	if i < len(b) && b[i] == '0' {
		i++
	} else if !digits() {
		return 0, unexpected(b, i)
	}
	if i < len(b) && b[i] == '.' {
		if i++; !digits() {
			return 0, unexpected(b, i)
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		if i++; i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		if !digits() {
			return 0, unexpected(b, i)
		}
	}
	return i, nil
}

// skip returns the end of the value at i, which has been checked.
func skip(b []byte, i int) int {
	switch b[i] {
	case '"':
		return skipString(b, i)
	case '{', '[':
		for depth := 0; ; i++ {
			switch b[i] {
			case '"':
				i = skipString(b, i) - 1
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
		}
	}
	for i < len(b) && b[i] != ',' && b[i] != '}' && b[i] != ']' && b[i] > ' ' {
		i++
	}
	return i
}

func skipString(b []byte, i int) int {
	for i++; b[i] != '"'; i++ {
		if b[i] == '\\' {
			i++
		}
	}
	return i + 1
}

// members yields the keys of an object, quotes and all, and their values.
func members(v []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		for i := space(v, 1); v[i] != '}'; {
			end := skipString(v, i)
			key := v[i:end]
			i = space(v, space(v, end)+1)
			end = skip(v, i)
			if !yield(key, v[i:end]) {
				return
			}
			if i = space(v, end); v[i] == ',' {
				i = space(v, i+1)
			}
		}
	}
}

// elements yields the values of an array.
func elements(v []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for i := space(v, 1); v[i] != ']'; {
			end := skip(v, i)
			if !yield(v[i:end]) {
				return
			}
			if i = space(v, end); v[i] == ',' {
				i = space(v, i+1)
			}
		}
	}
}

// is reports whether a key, with its quotes, is the name.
func is(key []byte, name string) bool {
	inside := key[1 : len(key)-1]
	if bytes.IndexByte(inside, '\\') < 0 {
		return string(inside) == name
	}
	var text string
	return json.Unmarshal(key, &text) == nil && text == name
}

// kindOf names what a value is.
func kindOf(v []byte) string {
	switch v[0] {
	case '{':
		return "an object"
	case '[':
		return "a list"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return "a number"
}

// member finds a name in a value; of several of one name the last counts, as for most readers.
func (s *step) member(v []byte, name string) (key, value []byte, err error) {
	if v[0] != '{' {
		return nil, nil, fmt.Errorf("%s is a name, and this is %s", s.text, kindOf(v))
	}
	for k, x := range members(v) {
		if is(k, name) {
			key, value = k, x
		}
	}
	if key == nil {
		return nil, nil, fmt.Errorf("there is no member %q", name)
	}
	return key, value, nil
}

// one is the value that a single step leads to.
func (s *step) one(v []byte) (x []byte, err error) {
	if s.kind == byName {
		_, v, err := s.member(v, s.names[0])
		return v, err
	}
	err = s.each(v, func(e []byte) error {
		x = e
		return nil
	})
	return x, err
}

// each calls f with the elements of a list that the step selects.
func (s *step) each(v []byte, f func([]byte) error) error {
	if v[0] != '[' {
		return fmt.Errorf("%s is for lists, and this is %s", s.text, kindOf(v))
	}
	n := 0
	for range elements(v) {
		n++
	}
	return s.ranges(n, func(from, to int) error {
		i := 0
		for x := range elements(v) {
			if i >= to {
				break
			}
			if i >= from {
				if err := f(x); err != nil {
					return err
				}
			}
			i++
		}
		return nil
	})
}

// appendJSON appends what the path selects of a value that has been checked: the value itself if each step leads to one,
// an object if names are listed last, else a list.
func (p Path) appendJSON(dst, v []byte, limit int) ([]byte, error) {
	steps := p.steps
	for ; len(steps) > 0 && steps[0].single(); steps = steps[1:] {
		var err error
		if v, err = steps[0].one(v); err != nil {
			return dst, err
		}
	}
	switch {
	case len(steps) == 0:
		return append(dst, v...), nil
	case len(steps) == 1 && steps[0].kind == byName:
		return steps[0].project(dst, v)
	}
	c := collector{dst: append(dst, '['), start: len(dst), limit: limit}
	err := c.collect(v, steps)
	return append(c.dst, ']'), err
}

// project makes an object of the names listed, in their order.
func (s *step) project(dst, v []byte) ([]byte, error) {
	dst = append(dst, '{')
	for i, name := range s.names {
		key, value, err := s.member(v, name)
		if err != nil {
			return dst, err
		}
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(append(append(dst, key...), ':'), value...)
	}
	return append(dst, '}'), nil
}

// collector makes one flat list of what steps with several results lead to.
type collector struct {
	dst          []byte
	start, limit int
}

func (c *collector) next() {
	if len(c.dst) > c.start+1 {
		c.dst = append(c.dst, ',')
	}
}

func (c *collector) collect(v []byte, steps []step) (err error) {
	if len(steps) == 0 {
		c.next()
		c.dst = append(c.dst, v...)
		return within(len(c.dst)-c.start, c.limit)
	}
	s, rest := &steps[0], steps[1:]
	switch {
	case s.kind == byName && len(rest) == 0 && len(s.names) > 1:
		c.next()
		if c.dst, err = s.project(c.dst, v); err != nil {
			return err
		}
		return within(len(c.dst)-c.start, c.limit)
	case s.kind == byName:
		for _, name := range s.names {
			_, x, err := s.member(v, name)
			if err != nil {
				return err
			}
			if err := c.collect(x, rest); err != nil {
				return err
			}
		}
		return nil
	case s.kind == byStar && v[0] == '{':
		for _, x := range members(v) {
			if err := c.collect(x, rest); err != nil {
				return err
			}
		}
		return nil
	}
	return s.each(v, func(x []byte) error { return c.collect(x, rest) })
}

// The members of BT-158.
const (
	keyInput  = "SageMakerInput"
	keyOutput = "SageMakerOutput"
)

var (
	openInput  = []byte(`{"` + keyInput + `":`)
	openOutput = []byte(`{"` + keyOutput + `":`)
	moreOutput = []byte(`,"` + keyOutput + `":`)
	closing    = []byte{'}'}
)

// joinJSON appends the parts of the record with the result in it (BT-158); both have been checked. The record stays as
// it is written, unless it has the result's member already: what is left of it then lies in buf.
func joinJSON(parts [][]byte, buf *[]byte, record, result []byte) [][]byte {
	if record[0] != '{' {
		return append(parts, openInput, record, moreOutput, result, closing)
	}
	taken, others := false, false
	for key := range members(record) {
		if is(key, keyOutput) {
			taken = true
		} else {
			others = true
		}
	}
	switch {
	case !others:
		return append(parts, openOutput, result, closing)
	case !taken:
		return append(parts, bytes.TrimRight(record[:len(record)-1], " \t\r\n"), moreOutput, result, closing)
	}
	*buf = without((*buf)[:0], record, keyOutput)
	return append(parts, (*buf)[:len(*buf)-1], moreOutput, result, closing)
}

// without appends an object without its members of these names.
func without(dst, v []byte, names ...string) []byte {
	start := len(dst)
	dst = append(dst, '{')
	for key, value := range members(v) {
		if slices.ContainsFunc(names, func(name string) bool { return is(key, name) }) {
			continue
		}
		if len(dst) > start+1 {
			dst = append(dst, ',')
		}
		dst = append(append(append(dst, key...), ':'), value...)
	}
	return append(dst, '}')
}
