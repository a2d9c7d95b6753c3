package metrics

import (
	"regexp/syntax"
	"slices"
	"strings"
)

// literal is a text that is looked for. A folded one is lower-case ASCII and looked for in lower-cased text.
type literal struct {
	text string
	fold bool
}

const (
	maxAlternatives = 16 // literals of one pattern; each costs a pass over the log
	maxClass        = 8  // characters of a class that is taken apart
	maxLiteral      = 48 // bytes; longer ones find no better
)

// required derives from a pattern literals of which every line that it matches contains at least one, as the bytes are
// in the log, before escaping. nil: there are none, and every line must be matched.
//
// A pattern is matched on the escaped line, and then on the raw one (MET-3), so a literal must be in the log whichever
// of the two matches: texts are cut where they could be made by escaping or could not survive it (see piece).
func required(pattern string) []literal {
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return nil
	}
	a := analyze(re.Simplify())
	a.consider(a.exact)
	return a.best
}

// analysis of a part of a pattern. exact, unless nil, are all the texts that the part can match. best are literals of
// which what it matches must contain one.
type analysis struct {
	exact []literal
	best  []literal
	score int
}

var empty = []literal{{}}

func analyze(re *syntax.Regexp) analysis {
	switch re.Op {
	case syntax.OpLiteral:
		return analysis{exact: []literal{{string(re.Rune), re.Flags&syntax.FoldCase != 0}}}
	case syntax.OpCharClass:
		return analysis{exact: classTexts(re.Rune)}
	case syntax.OpEmptyMatch, syntax.OpBeginLine, syntax.OpEndLine, syntax.OpBeginText, syntax.OpEndText,
		syntax.OpWordBoundary, syntax.OpNoWordBoundary:
		return analysis{exact: empty}
	case syntax.OpCapture:
		return analyze(re.Sub[0])
	case syntax.OpPlus:
		a := analyze(re.Sub[0])
		a.consider(a.exact)
		a.exact = nil
		return a
	case syntax.OpQuest:
		if a := analyze(re.Sub[0]); a.exact != nil && len(a.exact) < maxAlternatives {
			return analysis{exact: append(slices.Clone(a.exact), literal{})}
		}
	case syntax.OpConcat:
		return analyzeConcat(re.Sub)
	case syntax.OpAlternate:
		return analyzeAlternate(re.Sub)
	}
	return analysis{} // a star, any character, a large class: nothing is required
}

func analyzeConcat(subs []*syntax.Regexp) analysis {
	var all analysis
	run, whole := empty, true
	for _, sub := range subs {
		a := analyze(sub)
		if next := product(run, a.exact); next != nil {
			if len(next) > len(run) { // fewer literals may be better than longer ones
				all.consider(run)
			}
			run = next
			continue
		}
		whole = false
		all.consider(run)
		run = empty
		if a.exact != nil {
			run = a.exact
		} else if a.score > all.score {
			all.best, all.score = a.best, a.score
		}
	}
	if whole {
		all.exact = run
		return all
	}
	all.consider(run)
	return all
}

func analyzeAlternate(subs []*syntax.Regexp) analysis {
	var exact, best []literal
	isExact, has := true, true
	for _, sub := range subs {
		a := analyze(sub)
		isExact = isExact && a.exact != nil
		exact = append(exact, a.exact...)
		a.consider(a.exact)
		has = has && a.best != nil
		best = append(best, a.best...)
	}
	var all analysis
	if isExact && len(exact) <= maxAlternatives {
		all.exact = exact
		return all
	}
	if has {
		all.consider(best)
	}
	return all
}

// product is every text of a followed by every text of b; nil when b is not exact or there are too many.
func product(a, b []literal) []literal {
	if b == nil || len(a)*len(b) > maxAlternatives {
		return nil
	}
	out := make([]literal, 0, len(a)*len(b))
	for _, x := range a {
		for _, y := range b {
			// Folding a text that is not folded finds more than it must, never less.
			out = append(out, literal{x.text + y.text, x.fold || y.fold})
		}
	}
	return out
}

// classTexts are the characters of a small class.
func classTexts(ranges []rune) []literal {
	var out []literal
	for i := 0; i+1 < len(ranges); i += 2 {
		for r := ranges[i]; r <= ranges[i+1]; r++ {
			if len(out) == maxClass {
				return nil
			}
			out = append(out, literal{text: string(r)})
		}
	}
	return out
}

// consider takes the pieces of texts for the best literals if they are better than those so far. A literal of eight
// bytes is as good as any: it seldom is on a line by chance. Each further literal costs a pass over the log, as much
// as some lines that are matched in vain because a literal is short.
func (a *analysis) consider(texts []literal) {
	if len(texts) == 0 {
		return
	}
	var lits []literal
	shortest := maxLiteral
	for _, t := range texts {
		if slices.ContainsFunc(texts, func(l literal) bool { return stoodInFor(t, l) }) {
			continue // reduce adds it again
		}
		p := piece(t)
		if p.text == "" {
			return
		}
		shortest = min(shortest, len(p.text))
		lits = append(lits, p)
	}
	lits = reduce(lits)
	if len(lits) > maxAlternatives {
		return
	}
	if score := max(1, min(shortest, 8)*64-(len(lits)-1)*40); score > a.score {
		a.best, a.score = lits, score
	}
}

// beyondASCII are the characters that fold to an ASCII letter without being ASCII: the long s and the Kelvin sign.
var beyondASCII = []struct{ letter, text string }{{"s", "\u017f"}, {"k", "\u212a"}}

// stoodInFor says that t is one of these and was added on account of l.
func stoodInFor(t, l literal) bool {
	for _, b := range beyondASCII {
		if t.text == b.text && !t.fold && l.fold && strings.Contains(l.text, b.letter) {
			return true
		}
	}
	return false
}

// reduce drops literals that are there twice and those that contain another, which is found whenever they are. For
// folded ones it adds those of beyondASCII that they need.
func reduce(lits []literal) []literal {
	var out []literal
	for i, l := range lits {
		redundant := slices.Contains(lits[:i], l)
		for _, m := range lits {
			redundant = redundant || m.fold == l.fold && len(m.text) < len(l.text) && strings.Contains(l.text, m.text)
		}
		if !redundant {
			out = append(out, l)
		}
	}
	for _, b := range beyondASCII {
		if t := (literal{text: b.text}); slices.ContainsFunc(out, func(l literal) bool { return stoodInFor(t, l) }) {
			out = append(out, t)
		}
	}
	return out
}
