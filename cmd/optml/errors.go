package main

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"github.com/optml/optml/harness"
	"github.com/optml/optml/job"
	"github.com/optml/optml/runtime/container"
	"github.com/optml/optml/runtime/ctrd"
)

// hinter is an error that knows what the user can do.
type hinter interface{ Hint() string }

// printError tells a person what went wrong: one sentence, then hints on lines of their own. What is wrong with a
// document is listed whole, with places.
func printError(w io.Writer, err error) {
	var end ended
	if errors.As(err, &end) {
		return
	}
	var invalid *job.Invalid
	var refused *job.Unsupported
	if errors.As(err, &invalid) {
		printInvalid(w, invalid)
	}
	if errors.As(err, &refused) {
		for _, m := range refused.Members {
			fmt.Fprintf(w, "optml: %s\n", visible(m.String()))
		}
		if refused.More > 0 {
			fmt.Fprintf(w, "optml: and %d more\n", refused.More)
		}
		fmt.Fprintln(w, "hint: what would change what the container sees or what comes out, and is not carried out, is refused; `optml plan` lists how each member is treated")
	}
	if invalid != nil || refused != nil {
		return
	}
	for _, e := range split(err) {
		fmt.Fprintf(w, "optml: %v\n", e)
		if h := hintOf(e); h != "" {
			fmt.Fprintf(w, "hint: %s\n", h)
		}
	}
}

// split takes errors that were joined apart, so that each gets its line and its hint.
func split(err error) []error {
	j, ok := err.(interface{ Unwrap() []error }) // joined errors are taken apart one level at a time
	if !ok {
		return []error{err}
	}
	var all []error
	var text []string
	for _, e := range j.Unwrap() {
		all = append(all, split(e)...)
		text = append(text, e.Error())
	}
	if err.Error() != strings.Join(text, "\n") {
		return []error{err} // it has a sentence of its own
	}
	return all
}

// printInvalid lists the problems by place, each with its hint, and then what the service would answer.
func printInvalid(w io.Writer, e *job.Invalid) {
	for _, p := range e.Problems {
		fmt.Fprintf(w, "optml: %s\n", visible(p.String()))
		if p.Hint != "" {
			fmt.Fprintf(w, "hint: %s\n", visible(p.Hint))
		}
	}
	if e.More > 0 {
		fmt.Fprintf(w, "optml: and %d more\n", e.More)
	}
	what := e.Operation
	if what == "" {
		what = "the request"
	}
	for i, a := range e.Answers() {
		who := "SageMaker"
		if a.Code == job.CodeParameters {
			who = "SageMaker's clients, such as the aws command,"
		}
		if i > 0 {
			who = "With that mended, " + who
		}
		message := visible(shortSets(a.Message))
		switch {
		case message == "":
			message = ", in words that are not published"
		case a.Others > 0:
			message = fmt.Sprintf(": %s; and %d more", message, a.Others)
		default:
			message = ": " + message
		}
		fmt.Fprintf(w, "%s would answer %s with %s%s\n", who, what, a.Code, message)
	}
}

// valueSet is a list of values in one of the service's sentences.
var valueSet = regexp.MustCompile(`(Member must satisfy enum value set: \[|must be one of: )([^\]:]*, [^\]:;]*)`)

// shortSets cuts the lists of values in the service's sentence, which has them whole, however many instance types there are.
func shortSets(message string) string {
	const keep = 8
	return valueSet.ReplaceAllStringFunc(message, func(set string) string {
		m := valueSet.FindStringSubmatch(set)
		values := strings.Split(m[2], ", ")
		if len(values) <= keep+4 {
			return set
		}
		return m[1] + strings.Join(values[:keep], ", ") + fmt.Sprintf(", … %d more", len(values)-keep)
	})
}

// visible is a text of a document for a terminal: what would move the cursor or change its colours shows as an escape.
func visible(s string) string {
	if !strings.ContainsFunc(s, unicode.IsControl) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if unicode.IsControl(r) {
			q := strconv.QuoteRune(r)
			b.WriteString(q[1 : len(q)-1])
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

func hintOf(err error) string {
	var u *usageError
	if errors.As(err, &u) {
		return u.Hint
	}
	var host *harness.HostError
	if errors.As(err, &host) {
		return host.Hint
	}
	var runc *ctrd.MissingRuncError
	if errors.As(err, &runc) {
		return runc.Hint
	}
	var image *container.ImageError
	if errors.As(err, &image) {
		return harness.Ending{Err: err}.Outcome().Hint
	}
	var h hinter
	if errors.As(err, &h) {
		return h.Hint()
	}
	return ""
}

// isHostLack says whether the host lacks something that doctor names.
func isHostLack(err error) bool {
	var runc *ctrd.MissingRuncError
	var gpus *container.GPUError
	return errors.As(err, &runc) || errors.As(err, &gpus)
}
