package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"github.com/optml/optml/human"
	"github.com/optml/optml/job"
)

// The JUnit form: a suite for a validation with a case a rule, and a suite with one case for each job.
type (
	junitSuites struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Name     string       `xml:"name,attr"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Errors   int          `xml:"errors,attr"`
		Skipped  int          `xml:"skipped,attr"`
		Time     string       `xml:"time,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name      string          `xml:"name,attr"`
		Tests     int             `xml:"tests,attr"`
		Failures  int             `xml:"failures,attr"`
		Errors    int             `xml:"errors,attr"`
		Skipped   int             `xml:"skipped,attr"`
		Time      string          `xml:"time,attr"`
		Timestamp string          `xml:"timestamp,attr"`
		Props     []junitProperty `xml:"properties>property,omitempty"`
		Cases     []junitCase     `xml:"testcase"`
		SystemErr string          `xml:"system-err,omitempty"`
	}
	junitProperty struct {
		Name  string `xml:"name,attr"`
		Value string `xml:"value,attr"`
	}
	junitCase struct {
		Class     string        `xml:"classname,attr"`
		Name      string        `xml:"name,attr"`
		Time      string        `xml:"time,attr"`
		Failure   *junitMessage `xml:"failure"`
		Error     *junitMessage `xml:"error"`
		Skipped   *junitMessage `xml:"skipped"`
		SystemOut string        `xml:"system-out,omitempty"`
	}
	junitMessage struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr,omitempty"`
		Text    string `xml:",chardata"`
	}
)

// JUnit writes the report as JUnit XML, for what shows the results of tests. A rule that fails and a job that does not
// complete are failures, a rule that was not checked is skipped, and a job that has not ended is an error.
func (r *Report) JUnit(w io.Writer) error {
	out := junitSuites{Name: "optml " + string(r.Kind) + "/" + human.Line(r.Name), Time: junitSeconds(r.Seconds)}
	var walk func(*Report)
	walk = func(r *Report) {
		out.Suites = append(out.Suites, r.junit())
		for _, child := range r.Jobs {
			walk(child)
		}
	}
	walk(r)
	for _, s := range out.Suites {
		out.Tests += s.Tests
		out.Failures += s.Failures
		out.Errors += s.Errors
		out.Skipped += s.Skipped
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(out); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func (r *Report) junit() junitSuite {
	s := junitSuite{
		Name: string(r.Kind) + "/" + human.Line(r.Name), Time: junitSeconds(r.Seconds), Timestamp: r.Created.UTC().Format("2006-01-02T15:04:05"),
		Props: []junitProperty{{"arn", human.Line(r.ARN)}, {"status", human.Line(r.Status)}, {"directory", human.Line(r.Directory)}},
	}
	for _, i := range r.Images {
		s.Props = append(s.Props, junitProperty{"image " + human.Line(i.Container), human.Line(i.Ref) + " " + human.Line(i.Digest)})
	}
	class := "optml." + string(r.Kind)
	for _, x := range r.Rules {
		c := junitCase{Class: class, Name: human.Line(x.Rule), Time: "0"}
		switch x.Outcome {
		case Failed:
			c.Failure = &junitMessage{Message: human.Line(x.Evidence), Type: "rule", Text: "to do: " + lines(x.Remedy)}
		case Passed:
			c.SystemOut = human.Line(x.Evidence)
		default:
			c.Skipped = &junitMessage{Message: human.Line(x.Evidence)}
		}
		s.Cases = append(s.Cases, c)
	}
	// A validation that ended by its rules has said so with them; a job, and what no rule knows of, has a case of its own.
	if r.Kind != job.KindValidation || len(r.Rules) == 0 || r.Verdict == Running || r.Verdict == Abandoned {
		c := r.junitEnd(class, s.Time)
		if r.Probe != "" && c.Failure != nil { // a rule says what comes of it
			c.Name, c.SystemOut, c.Failure = human.Line(r.Name)+" ends", human.Line(r.Probe)+"\n"+c.Failure.Message, nil
		}
		s.Cases = append(s.Cases, c)
	}
	for _, c := range s.Cases {
		s.Tests++
		switch {
		case c.Failure != nil:
			s.Failures++
		case c.Error != nil:
			s.Errors++
		case c.Skipped != nil:
			s.Skipped++
		}
	}
	if r.Failure != nil && r.Probe == "" {
		var b strings.Builder
		for _, l := range r.Failure.Logs {
			fmt.Fprintf(&b, "%s of %s:\n", countText(int64(len(l.Lines)), "last line"), human.Line(l.Path))
			for _, line := range l.Lines {
				b.WriteString(human.Line(line) + "\n")
			}
		}
		s.SystemErr = b.String()
	}
	return s
}

// junitEnd is the case that a job completes.
func (r *Report) junitEnd(class, took string) junitCase {
	c := junitCase{Class: class, Name: human.Line(r.Name) + " completes", Time: took}
	m := &junitMessage{Message: human.Line(r.Status), Type: human.Line(r.Status)}
	if f := r.Failure; f != nil {
		if f.Reason != "" {
			m.Message = human.Line(f.Reason)
		}
		var said []string
		for _, x := range []string{f.Detail, f.Hint} {
			if x != "" {
				said = append(said, lines(x))
			}
		}
		m.Text = strings.Join(said, "\n")
	}
	switch r.Verdict {
	case Passed:
	case Unvalidated:
		m.Message = "nothing was run"
		c.Skipped = m
	case Running, Abandoned:
		m.Type = r.Verdict
		c.Error = m
	default:
		c.Failure = m
	}
	return c
}

func junitSeconds(s float64) string { return fmt.Sprintf("%.3f", s) }
