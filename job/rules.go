package job

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/optml/optml/human"
)

// check holds every document, and each against those that it names, to the constraints and the rules between members.
// What the Options soften becomes a warning.
func (s documents) check(o Options, out *problems) ([]Warning, error) {
	var warnings []Warning
	for _, d := range s.all() {
		found := d.found
		found.list = slices.Clone(d.found.list)
		c := &ruling{doc: d, set: s, o: o, out: &found}
		for _, r := range rules {
			c.id = r.id
			r.check(c)
		}
		last := map[softness]Warning{}
		for _, p := range found.list {
			if p.softens(o) {
				text := p.Text
				if p.Hint != "" {
					text += ": " + p.Hint
				}
				last[p.soft] = Warning{Rule: p.rule(), Path: p.Path, Text: text, Refuses: true}
				warnings = append(warnings, last[p.soft])
				continue
			}
			out.add(p)
		}
		for s, n := range found.more {
			if w, softened := last[softness(s)]; softened && n > 0 {
				warnings = append(warnings, Warning{Rule: w.Rule, Path: w.Path, Text: fmt.Sprintf("and %d more of the kind", n), Refuses: true})
			} else {
				out.more[s] += n
			}
		}
		warnings = append(warnings, c.warnings...)
	}
	return warnings, out.err(s.main.Operation)
}

// softens says that a problem only warns under the Options.
func (p Problem) softens(o Options) bool {
	switch p.soft {
	case awsOnly, serviceNo:
		return !o.Strict
	case lenient:
		return o.Lenient
	}
	return false
}

func (p Problem) rule() string {
	switch {
	case p.Rule != "":
		return p.Rule
	case p.soft == awsOnly:
		return "ruling 3"
	case p.soft == lenient && strings.HasPrefix(p.Path, "ValidationSpecification"):
		return "ruling 4"
	}
	return "VAL-12"
}

// ruling is what a rule sees.
type ruling struct {
	doc      *Document
	set      documents
	o        Options
	out      *problems
	warnings []Warning
	id       string
	compiled []compiled // see expressions
}

// rule is one rule between members.
type rule struct {
	id    string
	check func(*ruling)
}

// broken reports a rule as broken. message is in the service's words where they are known, else ours; text is the
// plain sentence.
func (c *ruling) broken(path, message, text, hint string) { c.soft(hard, path, message, text, hint) }

func (c *ruling) soft(s softness, path, message, text, hint string) {
	if c.out.full(s) {
		return
	}
	text = human.Clip(text, maxText)
	message = human.Clip(cmp.Or(message, text), maxMessage)
	c.out.add(c.doc.problem(path, Problem{Message: message, unknown: message == text, Text: text, Hint: hint, Rule: c.id, soft: s}))
}

// What a document holds may be long; a sentence about it is not.
const (
	maxText    = 1024
	maxMessage = 4096
)

func (c *ruling) warn(path, text string) {
	c.warnings = append(c.warnings, Warning{Rule: c.id, Path: path, Text: human.Clip(text, maxText)})
}

// rules are all of them; each has a row in the test of the same name.
var rules = slices.Concat(requestRules, trainingRules, algorithmRules, transformRules, modelRules, packageRules, optionRules)

// requestRules hold for the requests of all operations.
var requestRules = []rule{
	{"DOC-7", func(c *ruling) {
		tags := c.doc.Root.Get("Tags")
		if tags == nil {
			return
		}
		seen := map[string]int{}
		for i, t := range tags.Items {
			key := t.Get("Key")
			if key == nil {
				continue
			}
			at := index("Tags", i) + ".Key"
			if first, dup := seen[key.Text]; dup {
				c.soft(serviceNo, at, "", fmt.Sprintf("tag %q stands in %s already", human.Clip(key.Text, 128), index("Tags", first)), "each key once")
				continue
			}
			seen[key.Text] = i
			if len(key.Text) >= 4 && strings.EqualFold(key.Text[:4], "aws:") {
				c.soft(serviceNo, at, "", fmt.Sprintf("tag %q: keys that begin with aws: are AWS's own", human.Clip(key.Text, 128)), "choose another key")
			}
		}
	}},
	{"VAL-33", oneHome},
}

// optionRules hold what the user said beside the document.
var optionRules = []rule{
	{"VAL-51", func(c *ruling) {
		if c.doc == c.set.main && c.o.Name != "" && !nameForm().MatchString(c.o.Name) {
			c.broken("", "", fmt.Sprintf("name %q: 1 to 63 letters, digits and inner hyphens", human.Clip(c.o.Name, 80)), "choose another --name")
		}
		if suffix := c.o.RunSuffix; c.doc == c.set.main && suffix != "" && (len(suffix) > 20 || !nameForm().MatchString(suffix)) {
			c.broken("", "", fmt.Sprintf("run suffix %q: 1 to 20 letters, digits and inner hyphens", human.Clip(suffix, 80)), "")
		}
	}},
}
