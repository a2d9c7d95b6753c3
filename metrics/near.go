package metrics

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"regexp/syntax"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	nearLine   = 4 << 10 // bytes of a line that are looked at
	nearShown  = 200     // bytes of a line that are told
	nearParts  = 100     // of a pattern: its text counts a part a character
	nearLeast  = 3       // parts or bytes that a line must have to be told
	nearBlinks = 256     // lines between looks at the clock
)

// near is the line of a log that comes nearest to a definition that matched none.
type near struct {
	lit    []byte           // the longest text that a match must contain, lower-case
	begins []*regexp.Regexp // the expression's beginnings, each a part longer; case does not count
	inLit  int              // how much of lit the best line has
	depth  int              // how many parts of begins it matches
	line   string           // the best line, escaped (MET-3)
	offset int64
}

// newNear prepares the search of a pattern's nearest line.
func newNear(pattern string) *near {
	n := &near{lit: longestText(pattern)}
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return n // it backtracks; its text alone is looked for
	}
	parts := flatten(re.Simplify())
	for len(parts) > 0 && anyRun(parts[0]) {
		parts = parts[1:]
	}
	for i := range min(len(parts), nearParts) {
		begin, err := regexp.Compile("(?i:" + concat(parts[:i+1]) + ")")
		if err != nil {
			break
		}
		n.begins = append(n.begins, begin)
	}
	return n
}

// flatten takes a pattern apart: a text into its characters, groups into what they hold, without what looks around.
func flatten(re *syntax.Regexp) (parts []*syntax.Regexp) {
	switch {
	case re.Op == syntax.OpConcat:
		for _, sub := range re.Sub {
			parts = append(parts, flatten(sub)...)
		}
	case re.Op == syntax.OpCapture:
		return flatten(re.Sub[0])
	case re.Op == syntax.OpLiteral:
		for _, r := range re.Rune {
			parts = append(parts, &syntax.Regexp{Op: syntax.OpLiteral, Rune: []rune{r}})
		}
	case asserts(re) || re.Op == syntax.OpEmptyMatch:
	default:
		parts = append(parts, re)
	}
	return parts
}

// longestText is what a match must contain, or, of a pattern that only the other engine reads, its longest plain text.
func longestText(pattern string) []byte {
	best := ""
	for _, l := range required(pattern) {
		if len(l.text) > len(best) {
			best = l.text
		}
	}
	if _, err := syntax.Parse(pattern, syntax.Perl); err != nil {
		plain := func(r rune) bool {
			return unicode.IsLetter(r) || strings.ContainsRune(" _-/=,;%", r)
		}
		for _, f := range strings.FieldsFunc(stripGroups(pattern), func(r rune) bool { return !plain(r) }) {
			if len(f) > len(best) {
				best = f
			}
		}
	}
	return lowerASCII(nil, []byte(best))
}

// escapes, classes, and how groups begin: no text of a pattern.
var notText = regexp.MustCompile(`\\.|\[\^?\]?[^\]]*\]|\(\?(<?[=!]|P?<\w+>|P=\w+|[a-zA-Z|>#:]+)`)

func stripGroups(pattern string) string { return notText.ReplaceAllString(pattern, "\x00") }

// try looks whether a line, escaped, is nearer than the best so far. What has more of the text is; else what the
// expression matches further.
func (n *near) try(line []byte, offset int64) {
	line = line[:min(len(line), nearLine)]
	low := lowerASCII(nil, line)
	has := n.inLit
	for has < len(n.lit) && bytes.Contains(low, n.lit[:has+1]) {
		has++
	}
	depth := n.depth
	switch {
	case has > n.inLit:
		depth = 0
	case n.inLit > 0 && !bytes.Contains(low, n.lit[:n.inLit]):
		return
	}
	for depth < len(n.begins) && n.begins[depth].Match(line) {
		depth++
	}
	if has == n.inLit && depth == n.depth {
		return
	}
	n.inLit, n.depth, n.offset = has, depth, offset
	n.line = string(line[:min(len(line), nearShown)])
	if len(line) > nearShown {
		for !utf8.ValidString(n.line) && len(n.line) > nearShown-utf8.UTFMax {
			n.line = n.line[:len(n.line)-1]
		}
		n.line += "…"
	}
}

func (n *near) found() bool {
	return n.inLit >= min(nearLeast, max(1, len(n.lit))) && n.inLit > 0 || n.depth >= nearLeast
}

// Nearest looks through a log for the lines nearest to the definitions that matched none, for Warnings. It stops after
// the time given: what it has found by then is told. from is where log begins in the whole.
func (s *Set) Nearest(log io.Reader, from int64, patience time.Duration) error {
	var which []int
	s.mu.Lock()
	for i, d := range s.stats {
		if d.Matches > 0 {
			continue
		}
		if s.near == nil {
			s.near = make([]*near, len(s.stats))
		}
		if s.near[i] == nil {
			s.near[i] = newNear(d.Regex)
		}
		which = append(which, i)
	}
	s.mu.Unlock()
	if len(which) == 0 {
		return nil
	}
	end := time.Now().Add(patience)
	r := bufio.NewReaderSize(log, nearLine)
	var scratch []byte
	for lines, off := 0, from; ; lines++ {
		if lines%nearBlinks == 0 && time.Now().After(end) {
			return nil
		}
		line, err := r.ReadSlice('\n')
		size := int64(len(line))
		text := bytes.TrimSuffix(line, []byte("\n"))
		if escaped, changed := escape(scratch, text); changed {
			scratch, text = escaped, escaped
		}
		for _, i := range which {
			s.near[i].try(text, off)
		}
		for errors.Is(err, bufio.ErrBufferFull) { // the rest of a long line is not looked at
			line, err = r.ReadSlice('\n')
			size += int64(len(line))
		}
		off += size
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// nearest tells the line nearest to a definition, "" where none comes near.
func (s *Set) nearest(def int) string {
	if s.near == nil || s.near[def] == nil || !s.near[def].found() {
		return ""
	}
	n := s.near[def]
	text := fmt.Sprintf("; the nearest line, at byte %d of the log, is %q", n.offset, n.line)
	if n.inLit > 0 && n.inLit < len(n.lit) {
		text += fmt.Sprintf(", which has %q of %q", n.lit[:n.inLit], n.lit)
	}
	return text
}
