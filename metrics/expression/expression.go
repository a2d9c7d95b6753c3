// Package expression is the dialect of MetricDefinitions (MET-5): Go's regular expressions, which take time that grows
// with the line and no more, and for those that use what other dialects have beside (lookaround, backreferences,
// possessive quantifiers), an engine that backtracks, with a limit.
//
// Both read what they have in common in the same way: \d, \w and \s are ASCII, $ is the end, (?P<name>) is a group.
package expression

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/dlclark/regexp2/v2"
)

const (
	// Patience is how long an expression may backtrack on one line.
	Patience = 500 * time.Millisecond
	// stack bounds what a match holds in memory, in integers.
	stack = 1 << 20
	// buffer is how many characters of a line are kept allocated between matches.
	buffer = 64 << 10
)

// ErrGaveUp says that a line was not matched to the end: it took longer than Patience, or too much memory.
var ErrGaveUp = errors.New("gave up")

// Expression is a compiled pattern. It may be used concurrently.
type Expression struct {
	re        *regexp.Regexp  // nil: back
	back      *regexp2.Regexp // nil: re
	construct string
}

// Compile reads a pattern. One that neither engine takes is an *Error.
func Compile(pattern string) (*Expression, error) {
	re, err := regexp.Compile(pattern)
	if err == nil {
		return &Expression{re: re}, nil
	}
	e := &Error{Pattern: pattern, Construct: construct(pattern, err), Err: err}
	if esc := foreign(pattern); esc != "" {
		e.Construct = "the escape " + esc
		return nil, e
	}
	back, berr := regexp2.Compile(pattern, regexp2.RE2, regexp2.OptionMaintainCaptureOrder(),
		regexp2.OptionMaxBacktrackingStackSize(stack), regexp2.OptionMaxCachedRuneBufferLength(buffer))
	if berr != nil {
		return nil, e
	}
	back.MatchTimeout = Patience
	return &Expression{back: back, construct: e.Construct}, nil
}

// Construct is what the pattern has that Go's dialect lacks: "a lookbehind (?<=". "": nothing, it does not backtrack.
func (e *Expression) Construct() string { return e.construct }

// Regexp is the expression where it does not backtrack, else nil.
func (e *Expression) Regexp() *regexp.Regexp { return e.re }

// Groups is how many groups it has.
func (e *Expression) Groups() int {
	if e.re != nil {
		return e.re.NumSubexp()
	}
	return len(e.back.GetGroupNumbers()) - 1
}

// FindAll returns the matches on a line that do not overlap, in order, each as the indexes of the whole match and of the
// groups, -1 for one that took no part. After ErrGaveUp the matches are those until then.
func (e *Expression) FindAll(line []byte) ([][]int, error) {
	if e.re != nil {
		return e.re.FindAllSubmatchIndex(line, -1), nil
	}
	var all [][]int
	end := time.Now().Add(Patience)
	m, err := e.back.FindStringMatch(string(line))
	for ; err == nil && m != nil; m, err = e.back.FindNextMatch(m) {
		var at []int
		for i := range m.GroupCount() {
			g := m.GroupByNumber(i)
			if g == nil || len(g.Captures) == 0 {
				at = append(at, -1, -1)
				continue
			}
			from, n := g.ByteRange()
			at = append(at, from, from+n)
		}
		all = append(all, at)
		if time.Now().After(end) {
			return all, ErrGaveUp
		}
	}
	if err != nil { // of time or of the stack, there is no other
		return all, fmt.Errorf("%w: %w", ErrGaveUp, err)
	}
	return all, nil
}

// Error says that a pattern cannot be used.
type Error struct {
	Pattern   string
	Construct string // "a branch reset (?|", "missing closing )"
	Err       error  // of Go's regexp
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s is not supported in %s", e.Construct, e.Pattern)
}
func (e *Error) Unwrap() error { return e.Err }

// known are the escapes that mean something to the engine that backtracks. It takes other letters for themselves, which
// is not what whoever wrote \h or \R had in mind.
const known = "AaBbcDdEefGknPpQrSstuvWwxZz"

// foreign is the first escape of a letter that is not known, "" where there is none.
func foreign(pattern string) string {
	for i := 0; i+1 < len(pattern); i++ {
		if pattern[i] != '\\' {
			continue
		}
		c := pattern[i+1]
		if c == 'Q' {
			n := strings.Index(pattern[i:], `\E`)
			if n < 0 {
				return ""
			}
			i += n + 1
			continue
		}
		if letter := c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'; letter && strings.IndexByte(known, c) < 0 {
			return pattern[i : i+2]
		}
		i++
	}
	return ""
}
