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
	tail *lead
	pre  func() *regexp.Regexp // nil: it matches anything; gives nil: it cannot be used
}

// newGreedy is nil for a pattern of another form. subs are what it is a concatenation of.
func newGreedy(subs []*syntax.Regexp) *greedy {
	at, groups := -1, 0 // of the last .* before the first group
	for i, sub := range subs {
		if groups == 0 && anyRun(sub) && sub.Flags&syntax.NonGreedy == 0 {
			at = i
		}
		groups += sub.MaxCap()
	}
	if at < 0 || groups == 0 {
		return nil
	}
	pre := subs[:at]
	for len(pre) > 0 && anyRun(pre[0]) {
		pre = pre[1:] // to be found somewhere is all that is asked of PRE
	}
	if slices.ContainsFunc(pre, asserts) {
		return nil
	}
	g := &greedy{tail: newLead(subs[at+1:])}
	if g.tail == nil {
		return nil
	}
	if len(pre) > 0 {
		g.pre = later("", pre)
	}
	return g
}

// match returns the one match on a line, as regexp.FindSubmatchIndex does but for where it begins. ok is false when it
// gives up.
func (g *greedy) match(line []byte) (m []int, ok bool) {
	end := len(line)
	for range maxTries {
		q := lastIndex(line[:end], g.tail.literal)
		if q < 0 {
			return nil, true
		}
		if m, ok = g.tail.at(line, q); !ok {
			return nil, false
		}
		if m == nil {
			end = q + len(g.tail.literal) - 1 // the next one may overlap
			continue
		}
		if g.pre == nil {
			return m, true
		}
		pre := g.pre()
		if pre == nil {
			return nil, false
		}
		if !pre.Match(line[:q]) {
			return nil, true // nor is there a PRE before a TAIL further left
		}
		return m, true
	}
	return nil, false
}

// lastIndex is bytes.LastIndex, which is several times as slow as looking forwards where there are few.
func lastIndex(b, text []byte) int {
	last := -1
	for i := 0; ; i++ {
		n := bytes.Index(b[i:], text)
		if n < 0 {
			return last
		}
		i += n
		last = i
	}
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
