package metrics

import (
	"bytes"
	"regexp"
	"regexp/syntax"
	"slices"
)

// lead matches patterns that begin with a literal, such as train_loss=([0-9.]+), faster than the regexp package, which
// walks over the literal a character at a time. It is looked for, and the rest of the pattern is tried behind it.
type lead struct {
	literal []byte
	rest    *regexp.Regexp // anchored
}

// newLead is nil for a pattern of another form.
func newLead(pattern string) *lead {
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil || re.Op != syntax.OpConcat {
		return nil
	}
	first := re.Sub[0]
	if first.Op != syntax.OpLiteral || first.Flags&syntax.FoldCase != 0 || slices.Contains(first.Rune, '\uFFFD') || slices.ContainsFunc(re.Sub, asserts) {
		return nil
	}
	rest, err := regexp.Compile(`\A(?:` + concat(re.Sub[1:]) + `)`)
	if err != nil {
		return nil
	}
	return &lead{[]byte(string(first.Rune)), rest}
}

// match returns the first match on a line, as regexp.FindSubmatchIndex does, nil when there is none. ok is false when it
// gives up.
func (l *lead) match(line []byte) (m []int, ok bool) {
	from := 0
	for range maxTries {
		i := bytes.Index(line[from:], l.literal)
		if i < 0 {
			return nil, true
		}
		start := from + i
		behind := start + len(l.literal)
		if m = l.rest.FindSubmatchIndex(line[behind:]); m != nil {
			for k := range m {
				if m[k] >= 0 {
					m[k] += behind
				}
			}
			m[0] = start
			return m, true
		}
		from = start + 1
	}
	return nil, false
}
