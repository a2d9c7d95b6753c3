package metrics

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/optml/optml/job"
	"github.com/optml/optml/metrics/expression"
)

// maxMatched is how much of a line is matched, in bytes: the largest event that the service's log takes (MET-10).
const maxMatched = 256 << 10

// Set is compiled definitions and what they have found so far. Its methods may be called concurrently.
type Set struct {
	defs   []*definition
	finder *finder

	mu     sync.Mutex
	stats  []Definition
	finals []Final // in the order of the definitions, one a name; Count 0: none yet
	series []int   // of each definition the index in finals
	long   int64   // lines of which only the beginning was matched
	near   []*near // of the definitions that Nearest was asked for; else nil
}

type definition struct {
	name     string
	expr     *expression.Expression
	re       *regexp.Regexp // expr's; nil: it backtracks
	literals []literal      // a match contains one of them; nil: nothing is known
	greedy   *greedy        // nil: the pattern is of another form
	lead     *lead          // the same
	budget   *budget        // of one that backtracks
}

// Compile makes a Set. A pattern that cannot be used is a *DefinitionError (MET-5).
func Compile(defs []job.MetricDefinition) (*Set, error) {
	s := &Set{finder: new(finder)}
	for i, d := range defs {
		expr, err := expression.Compile(d.Regex)
		if err != nil {
			return nil, &DefinitionError{Index: i, Name: d.Name, Err: err}
		}
		literals, subs := required(d.Regex), sequence(d.Regex)
		s.defs = append(s.defs, &definition{d.Name, expr, expr.Regexp(), literals, newGreedy(subs), newLead(subs), new(budget)})
		s.stats = append(s.stats, Definition{Name: d.Name, Regex: d.Regex})
		s.finder.add(i, literals)
		f := slices.IndexFunc(s.finals, func(f Final) bool { return f.Name == d.Name })
		if f < 0 { // a name that is there twice is one series (MET-7)
			f = len(s.finals)
			s.finals = append(s.finals, Final{Name: d.Name})
		}
		s.series = append(s.series, f)
	}
	return s, nil
}

// Finals are the last values, one a name that has any, in the order of the definitions (MET-8).
func (s *Set) Finals() []Final {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.finals), func(f Final) bool { return f.Count == 0 })
}

// Definitions tell what became of each definition, in their order.
func (s *Set) Definitions() []Definition {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.stats)
}

// Unmatched are the definitions that no line has matched.
func (s *Set) Unmatched() []job.MetricDefinition {
	var u []job.MetricDefinition
	for _, d := range s.Definitions() {
		if d.Matches == 0 {
			u = append(u, job.MetricDefinition{Name: d.Name, Regex: d.Regex})
		}
	}
	return u
}

// Warnings are what the user should know when the log is over: definitions that gave nothing, and what would be
// otherwise on SageMaker.
func (s *Set) Warnings() []job.Warning {
	var ws []job.Warning
	add := func(rule, format string, args ...any) {
		ws = append(ws, job.Warning{Rule: rule, Text: fmt.Sprintf(format, args...)})
	}
	for i, d := range s.Definitions() {
		if d.Matches == 0 {
			add("MET-1", "metric %q: no line of the log matched %s%s", d.Name, d.Regex, s.nearest(i))
		}
		if d.NotNumbers > 0 {
			add("MET-2", "metric %q: %s no number and gave no value, for example %q", d.Name, count(d.NotNumbers, "matched text was", "matched texts were"), d.Example)
		}
		if d.NotFinite > 0 {
			add("MET-2", "metric %q: %s NaN or infinite and not published", d.Name, count(d.NotFinite, "value was", "values were"))
		}
		if d.GaveUp > 0 {
			text := fmt.Sprintf("%s only in part, since matching took longer than %s or too much memory", count(d.GaveUp, "line was matched", "lines were matched"), expression.Patience)
			if d.Dropped > 0 {
				text += fmt.Sprintf("; then %s not tried, to let the job end", count(d.Dropped, "line was", "lines were"))
			}
			add("MET-5", "metric %q: %s; %s backtracks too much", d.Name, text, d.Regex)
		}
		if d.RawLines > 0 {
			add("MET-3", "metric %q: %s only with control characters as they are; SageMaker turns them into # and three octal digits before matching (a tab is #011), so %s would find nothing there",
				d.Name, count(d.RawLines, "line matched", "lines matched"), d.Regex)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.long > 0 {
		add("MET-10", "metrics: %s longer than 256 KiB, of which only the beginning was matched", count(s.long, "line was", "lines were"))
	}
	return ws
}

func count(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// DefinitionError says that a definition's pattern cannot be used (MET-5).
type DefinitionError struct {
	Index int // of the definition
	Name  string
	Err   error // *expression.Error
}

func (e *DefinitionError) Error() string {
	return fmt.Sprintf("metric definition %d (%s): %v", e.Index, e.Name, e.Err)
}

func (e *DefinitionError) Unwrap() error { return e.Err }

// shorten bounds a text that came from a log.
func shorten(b []byte) string {
	const most = 80
	if len(b) > most {
		return strings.ToValidUTF8(string(b[:most]), "\uFFFD") + "…"
	}
	return strings.ToValidUTF8(string(b), "\uFFFD")
}
