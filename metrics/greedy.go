package metrics

import (
	"bytes"
	"regexp"
	"regexp/syntax"
	"slices"
)

// greedy matches patterns of the form PRE.*TAIL faster than the regexp package, which walks to the end of the line and
// back for each .* there is. AWS's own definitions are of this form: .*\[[0-9]+\].*#011validation-auc:(\S+).
//
// TAIL begins with a literal and holds all groups; PRE has no assertions. Then a greedy .* makes TAIL match where it
// can match last, at q; there is a match if PRE matches before q, whatever way; and none can follow it. So TAIL is
// tried, anchored, where its literal is, from the end on, and PRE is looked for once.
type greedy struct {
	literal []byte
	tail    *regexp.Regexp // anchored
	pre     *regexp.Regexp // nil: matches anything
}

// maxTries bounds the places where TAIL is tried, since each may cost as much as the whole line.
const maxTries = 8

// newGreedy is nil for a pattern of another form.
func newGreedy(pattern string) *greedy {
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil || re.Op != syntax.OpConcat {
		return nil
	}
	at := -1 // of the last .* before the first group
	for i, sub := range re.Sub {
		if anyRun(sub) && sub.Flags&syntax.NonGreedy == 0 {
			at = i
		}
		if sub.MaxCap() > 0 {
			break
		}
	}
	if at < 0 || at+1 >= len(re.Sub) {
		return nil
	}
	first := re.Sub[at+1]
	if first.Op != syntax.OpLiteral || first.Flags&syntax.FoldCase != 0 || slices.Contains(first.Rune, '\uFFFD') {
		return nil
	}
	pre := re.Sub[:at]
	for len(pre) > 0 && anyRun(pre[0]) {
		pre = pre[1:] // to be found somewhere is all that is asked of PRE
	}
	if re.MaxCap() == 0 || slices.ContainsFunc(pre, asserts) {
		return nil
	}
	g := &greedy{literal: []byte(string(first.Rune))}
	if g.tail, err = regexp.Compile(`\A(?:` + concat(re.Sub[at+1:]) + `)`); err != nil {
		return nil
	}
	if len(pre) > 0 {
		if g.pre, err = regexp.Compile(concat(pre)); err != nil {
			return nil
		}
	}
	return g
}

// match returns the one match on a line, as regexp.FindSubmatchIndex does but for where it begins. ok is false when it
// gives up.
func (g *greedy) match(line []byte) (m []int, ok bool) {
	end := len(line)
	for range maxTries {
		q := bytes.LastIndex(line[:end], g.literal)
		if q < 0 {
			return nil, true
		}
		if m = g.tail.FindSubmatchIndex(line[q:]); m == nil {
			end = q + len(g.literal) - 1 // the next one may overlap
			continue
		}
		if g.pre != nil && !g.pre.Match(line[:q]) {
			return nil, true // nor is there a PRE before a TAIL further left
		}
		for i := range m {
			if m[i] >= 0 {
				m[i] += q
			}
		}
		return m, true
	}
	return nil, false
}

// anyRun says of a part that it is .* of either kind.
func anyRun(re *syntax.Regexp) bool {
	return re.Op == syntax.OpStar && (re.Sub[0].Op == syntax.OpAnyCharNotNL || re.Sub[0].Op == syntax.OpAnyChar)
}

// asserts says that a part looks at what is around it.
func asserts(re *syntax.Regexp) bool {
	switch re.Op {
	case syntax.OpBeginLine, syntax.OpEndLine, syntax.OpBeginText, syntax.OpEndText, syntax.OpWordBoundary, syntax.OpNoWordBoundary:
		return true
	}
	return slices.ContainsFunc(re.Sub, asserts)
}

func concat(subs []*syntax.Regexp) string {
	return (&syntax.Regexp{Op: syntax.OpConcat, Sub: subs}).String()
}
