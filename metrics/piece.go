package metrics

import (
	"strings"
	"unicode/utf8"
)

// piece is the longest part of a text that is in the raw line whenever the text is in the escaped or in the raw line.
// Escaping makes # and three octal digits from a control character. So a text is cut at control characters, at each #
// with up to three digits behind it, and after digits at its beginning, which may be an escape's end. It is also cut at
// U+FFFD, which a pattern matches on any byte that is not UTF-8, and, where it is folded, at what is not ASCII.
func piece(t literal) literal {
	var best string
	start := 0
	keep := func(end int) {
		if end-start > len(best) {
			best = t.text[start:end]
		}
	}
	s := t.text
	i := digits(s, 0)
	start = i
	for i < len(s) {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case s[i] == '#':
			keep(i)
			i = digits(s, i+1)
			start = i
		case r < 0x20 || r == 0x7f || r == utf8.RuneError || t.fold && r >= utf8.RuneSelf:
			keep(i)
			i += n
			i = digits(s, i)
			start = i
		default:
			i += n
		}
	}
	keep(len(s))
	if len(best) > maxLiteral {
		best = best[len(best)-maxLiteral:]
		for !utf8.RuneStart(best[0]) {
			best = best[1:]
		}
		best = best[digits(best, 0):]
	}
	if t.fold {
		best = strings.ToLower(best)
	}
	return literal{best, t.fold}
}

// digits is the index behind at most three octal digits from i on.
func digits(s string, i int) int {
	for n := 0; n < 3 && i < len(s) && s[i] >= '0' && s[i] <= '7'; n++ {
		i++
	}
	return i
}
