package metrics

import (
	"bytes"
	"regexp"
	"regexp/syntax"
	"slices"
	"sync"
	"unicode/utf8"
)

// lead matches patterns that begin with a literal, such as train_loss=([0-9.]+), faster than the regexp package, which
// walks over the literal a character at a time: the literal is looked for, and the rest is tried behind it.
type lead struct {
	literal []byte
	skip    int                   // bytes of the literal that rest does not begin with
	rest    func() *regexp.Regexp // anchored; nil: it cannot be used
	run     *[utf8.RuneSelf]bool  // the rest is a group of one of these or more, or of others beyond ASCII; nil: it is not
}

// maxTries bounds the places where a rest is tried, since each may cost as much as the whole line.
const maxTries = 8

// newLead is nil for a pattern of another form. subs are what it is a concatenation of.
func newLead(subs []*syntax.Regexp) *lead {
	if len(subs) < 2 || subs[0].Op != syntax.OpLiteral || subs[0].Flags&syntax.FoldCase != 0 || slices.Contains(subs[0].Rune, utf8.RuneError) {
		return nil
	}
	l := &lead{literal: []byte(string(subs[0].Rune))}
	rest := subs
	if !slices.ContainsFunc(subs, asserts) { // else it may look at the literal
		rest, l.skip = subs[1:], len(l.literal)
		l.run = newRun(rest)
	}
	l.rest = later(`\A`, rest)
	return l
}

// newRun is nil if subs are not one group of a repeated class.
func newRun(subs []*syntax.Regexp) *[utf8.RuneSelf]bool {
	if len(subs) != 1 || subs[0].Op != syntax.OpCapture {
		return nil
	}
	plus := subs[0].Sub[0]
	if plus.Op != syntax.OpPlus || plus.Flags&syntax.NonGreedy != 0 || plus.Sub[0].Op != syntax.OpCharClass {
		return nil
	}
	run := new([utf8.RuneSelf]bool)
	for ranges := range slices.Chunk(plus.Sub[0].Rune, 2) {
		for r := ranges[0]; r <= ranges[1] && r < utf8.RuneSelf; r++ {
			run[r] = true
		}
	}
	return run
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
		if m, ok = l.at(line, from+i); m != nil || !ok {
			return m, ok
		}
		from += i + 1
	}
	return nil, false
}

// at matches where the literal stands at i. ok is false when it gives up.
func (l *lead) at(line []byte, i int) (m []int, ok bool) {
	behind := i + l.skip
	if l.run != nil {
		end := behind
		for end < len(line) && line[end] < utf8.RuneSelf && l.run[line[end]] {
			end++
		}
		if end == len(line) || line[end] < utf8.RuneSelf {
			if end == behind {
				return nil, true
			}
			return []int{i, end, behind, end}, true
		}
	}
	rest := l.rest()
	if rest == nil {
		return nil, false
	}
	if m = rest.FindSubmatchIndex(line[behind:]); m == nil {
		return nil, true
	}
	for k := range m {
		if m[k] >= 0 {
			m[k] += behind
		}
	}
	m[0] = i
	return m, true
}

// later compiles when it is asked for the first time: writing a large class down takes a millisecond. It gives nil if
// that fails, which it should not with parts of what was compiled before.
func later(begin string, subs []*syntax.Regexp) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp {
		re, err := regexp.Compile(begin + "(?:" + concat(subs) + ")")
		if err != nil {
			return nil
		}
		return re
	})
}

// sequence is what a pattern is a concatenation of, nil if it is none.
func sequence(pattern string) []*syntax.Regexp {
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil || re.Op != syntax.OpConcat {
		return nil
	}
	return re.Sub
}
